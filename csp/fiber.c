/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Fibers: spawning one, its turn, its end.
 *
 * A turn sifts what has come (sched/co.h) on the worker's stack, and switches to the fiber only if
 * that ends its wait: a message that the fiber does not wait for costs no switch.
 *
 * Invariants
 *  F1. A fiber runs on one worker: the one that gave it its first turn, or the one that its options
 *      name. Before its first turn it is a task like any other, and may be stolen.
 *  F2. While the fiber runs or is queued its task owns its inbox; when it is suspended, the turn rests
 *      last, after the switch: nobody can run it while it is still on its stack.
 *  F3. The control block, the argument's copy and the first frames stand in the stack's first page. The
 *      stack is given back after the last switch away from it, by the worker.
 *  F4. on_end runs after all else of the fiber is gone: whoever waits for it then finds its memory,
 *      descriptors and messages given back.
 *
 * Threads: new and start: whoever spawns. The rest: its worker.
 *
 * Why the stack is taken at the spawn and not at the first turn: so that the spawner hears that memory
 * is out, and not a fiber that never began.
 */
#include "csp/fiber.h"
#include "csp/bound.h"
#include "csp/scope.h"
#include "sched/slow.h"
#include "sched/worker.h"
#include <string.h>

#define ARG_BYTES_MAX 4096u
/* Of those that end, each of the first, and then one in so many, has its stack measured. */
#define MEASURED_FIRST 16u
#define MEASURED_EVERY 64u

static struct kith__fiber *fiber_of(struct kith_co *co)
{
    return (struct kith__fiber *)(void *)co;
}

/* ---- the stack's use ---- */

static void raise_to(KITH__ATOMIC(size_t) *mark, size_t bytes)
{
    size_t seen = kith__load_rlx(mark);
    while (bytes > seen && !kith__cas_rlx(mark, &seen, bytes))
        ;
}

static KITH__COLD void overflowed(const struct kith__fiber *f)
{
    kith__overflow_die(f->co.ctx->rt, f->stack, f->kind->behavior.name);
}

/* At each suspension: how deep it is. */
static inline void depth_note(struct kith__fiber *f)
{
    char *here = __builtin_frame_address(0);
    if (KITH__LIKELY(here >= f->lowest))
        return;
    f->lowest = here;
    if (KITH__UNLIKELY(here < (char *)f->stack->low))
        overflowed(f);
}

/* At the end. */
static void stack_measure(struct kith__fiber *f)
{
    struct kith__fiber_kind *kind = f->kind;
    uint64_t ended = kith__add_rlx(&kind->ended, 1);
    size_t used = (size_t)((char *)f->stack->high - f->lowest);
    if (ended < MEASURED_FIRST || ended % MEASURED_EVERY == 0)
        used = kith__stack_used(f->stack);
    raise_to(&kind->stack_used, used);
    if (KITH__UNLIKELY(!f->stack->guarded) && kith__stack_overflowed(f->stack))
        overflowed(f);
}

/* ---- running ---- */

static void fiber_suspend(struct kith_co *co)
{
    struct kith__fiber *f = fiber_of(co);
    depth_note(f);
    kith__context_switch(&f->context, f->back);
}

static void fiber_yield(struct kith_co *co)
{
    fiber_of(co)->yields = true;
    fiber_suspend(co);
}

static const struct kith__co_ops fiber_co_ops = {.suspend = fiber_suspend, .yield = fiber_yield};

static void fiber_main(void *arg)
{
    struct kith__fiber *f = arg;
    f->fn(f->co.task, &f->co, f->arg);
    if (KITH__UNLIKELY(f->co.scopes != NULL))
        kith__scopes_abandon(&f->co);
    f->ended = true;
    kith__context_switch_last(&f->context, f->back);
}

static void message_end(struct kith__ctx *ctx)
{
    struct kith_msg *msg = ctx->current;
    ctx->current = NULL;
    if (msg != NULL)
        kith__msg_end(ctx->cache, msg);
}

static void fiber_end(struct kith__ctx *ctx, struct kith__fiber *f)
{
    struct kith__stack *stack = f->stack;
    kith__fiber_end_fn *on_end = f->on_end;
    void *on_end_arg = f->on_end_arg;
    kith_err failed = f->co.failed;
    message_end(ctx);
    if (f->before_end != NULL)
        f->before_end(ctx, f);
    kith__context_end(&f->context);
    stack_measure(f);
    f->co.task->reason = failed;
    kith__co_end(&f->co);
    ctx->rt->upper->end(ctx, f->co.task);
    kith__csp_stack_give(ctx, stack); /* F3 */
    if (on_end != NULL)
        on_end(ctx, on_end_arg, failed); /* F4 */
}

/* Returns whether it lives on. */
static void fiber_ran(struct kith__ctx *ctx, kith_time began, const struct kith__fiber_kind *kind)
{
    void *at = NULL;
    memcpy(&at, &kind->fn, sizeof at); /* a function's address */
    kith__slow_end(ctx, began, kind->behavior.name, NULL, at);
}

static bool fiber_run(struct kith__ctx *ctx, struct kith__fiber *f)
{
    struct kith__context back;
    const struct kith__fiber_kind *kind = f->kind;
    kith_time began = kith__slow_begin(ctx);
    kith__context_here(&back);
    f->back = &back;
    f->yields = false;
    ctx->current = f->co.current;
    kith__context_switch(&back, &f->context);
    if (KITH__UNLIKELY(began != 0))
        fiber_ran(ctx, began, kind);
    if (KITH__UNLIKELY(f->ended)) {
        fiber_end(ctx, f);
        return false;
    }
    f->co.current = ctx->current;
    ctx->current = NULL;
    return true;
}

/* F1 */
static void settle(struct kith__ctx *ctx, struct kith__fiber *f)
{
    f->co.ctx = ctx;
    kith__task_place(f->co.task, ctx->worker->index);
    kith__overflow_here(ctx, &ctx->rt->csp->overflow);
}

/* Whether it has something to run for: it begins, has yielded, or has what it waits for. */
static bool is_ready(const struct kith__fiber *f)
{
    return f->yields || (f->co.woke & f->co.wants) != 0;
}

static void fiber_turn(struct kith__ctx *ctx, struct kith_self *task)
{
    struct kith__fiber *f = task->state;
    struct kith__worker *w = ctx->worker;
    ctx->running = task;
    kith__store_rlx(&w->turn_of, kith__load_rlx(&task->behavior));
    if (KITH__UNLIKELY(f->co.ctx == NULL))
        settle(ctx, f);
    kith__co_sift(&f->co);
    bool alive = !is_ready(f) || fiber_run(ctx, f);
    if (alive && (f->yields || !kith__inbox_rest(&task->inbox))) /* F2 */
        kith__place(ctx, task);
    ctx->running = NULL;
    if (KITH__UNLIKELY(kith__clock_due(w)))
        kith__worker_clock(w);
}

const struct kith__task_ops kith__fiber_ops = {.turn = fiber_turn};

/* ---- spawning ---- */

static kith_err options_check(struct kith__ctx *ctx, const kith_fiber_options *options,
                              const void *arg)
{
    if (options->worker > ctx->rt->worker_count || options->stack_bytes > KITH__STACK_BYTES_MAX ||
        options->arg_bytes > ARG_BYTES_MAX || (options->arg_bytes > 0 && arg == NULL))
        return KITH_EINVAL;
    if (kith__load_rlx(&ctx->rt->shutting_down) != 0)
        return KITH_ESHUTDOWN;
    return options->sock.bits != 0 ? ctx->rt->readiness->mine(ctx, options->sock.bits) : KITH_OK;
}

/* The control block and the argument's copy, at the high end of the stack. */
static struct kith__fiber *control_block(struct kith__stack *stack, void *arg, size_t arg_bytes)
{
    char *at = (char *)stack->high - (sizeof(struct kith__fiber) + 15) / 16 * 16;
    struct kith__fiber *f = (struct kith__fiber *)(void *)at;
    memset(f, 0, sizeof *f);
    f->stack = stack;
    f->arg = arg;
    if (arg_bytes > 0) {
        at -= (arg_bytes + 15) / 16 * 16;
        f->arg = memcpy(at, arg, arg_bytes);
    }
    f->lowest = at;
    return f;
}

static struct kith_self *task_make(struct kith__ctx *ctx, struct kith__fiber *f, uint64_t parent,
                                   const kith_fiber_options *options)
{
    uint32_t max = options->mailbox_max;
    struct kith_self *task =
        max == 0 ? kith__task_new(ctx, &kith__fiber_ops, &f->kind->behavior, 0)
                 : kith__task_new_bounded(ctx, &kith__fiber_ops, &f->kind->behavior, 0);
    if (task == NULL)
        return NULL;
    if (max != 0)
        kith__bound_open(task, max);
    kith__store_rlx(&task->parent, parent);
    if (options->worker != 0)
        kith__task_place(task, options->worker - 1);
    return task;
}

struct kith__fiber *kith__fiber_new(struct kith__ctx *ctx, kith_fiber_fn *fn, void *arg,
                                    const char *name, const kith_fiber_options *options,
                                    kith_err *err)
{
    static const kith_fiber_options defaults;
    if (options == NULL)
        options = &defaults;
    uint64_t parent;
    *err = fn == NULL || name == NULL ? KITH_EINVAL : options_check(ctx, options, arg);
    if (*err == KITH_OK)
        *err = kith__task_parent(ctx, options->parent.bits, &parent);
    if (*err != KITH_OK)
        return NULL;
    *err = KITH_ENOMEM;
    struct kith__fiber_kind *kind = kith__csp_kind(ctx, fn, name);
    size_t bytes = options->stack_bytes + (options->stack_bytes != 0 ? options->arg_bytes : 0);
    struct kith__stack *stack = kind != NULL ? kith__csp_stack_take(ctx, bytes) : NULL;
    if (stack == NULL)
        return NULL;
    struct kith__fiber *f = control_block(stack, arg, options->arg_bytes);
    f->kind = kind;
    f->fn = fn;
    f->sock = options->sock.bits;
    struct kith_self *task = task_make(ctx, f, parent, options);
    if (task == NULL) {
        kith__csp_stack_give(ctx, stack);
        return NULL;
    }
    kith__co_init(&f->co, task, &fiber_co_ops);
    kith__context_make(&f->context, stack->low, f->lowest, fiber_main, f);
    f->yields = true; /* it is ready */
    raise_to(&kind->stack_bytes, (size_t)((char *)stack->high - (char *)stack->low));
    *err = KITH_OK;
    return f;
}

kith_ref kith__fiber_start(struct kith__ctx *ctx, struct kith__fiber *f)
{
    struct kith_self *task = f->co.task;
    kith_ref ref = {kith__task_bits(task)};
    kith__count(&ctx->counters.spawned);
    kith__add_rlx(&f->kind->begun, 1);
    kith__inbox_open(&task->inbox, KITH__INBOX_EMPTY);
    if (KITH__UNLIKELY(f->sock != 0))
        ctx->rt->readiness->move(ctx, f->sock, task);
    kith__schedule(ctx, task);
    if (KITH__UNLIKELY(kith__load_seq(&ctx->rt->shutting_down) != 0)) /* S1 */
        ctx->rt->upper->stop(ctx, ref.bits);
    return ref;
}

kith_ref kith_go_named(kith_self *self, kith_fiber_fn *fn, void *arg, const char *name,
                       const kith_fiber_options *options)
{
    struct kith__ctx *ctx = kith__ctx_of(self);
    if (ctx == NULL)
        return (kith_ref){kith__bits_error(KITH_EPERM)};
    kith_err err;
    struct kith__fiber *f = kith__fiber_new(ctx, fn, arg, name, options, &err);
    if (f == NULL)
        return (kith_ref){kith__bits_error(err)};
    return kith__fiber_start(ctx, f);
}

/* ---- what any co can do ---- */

kith_err kith_yield(kith_co *co)
{
    if (!kith__co_here(co))
        return KITH_EPERM;
    kith_err err = kith__co_may_wait(co);
    if (err == KITH_OK)
        co->ops->yield(co);
    return err;
}

bool kith_canceled(const kith_co *co)
{
    return kith__co_here(co) && (co->woke & KITH__WOKE_CANCEL) != 0 && co->shield == 0;
}

kith_err kith_shield(kith_co *co, bool on)
{
    if (!kith__co_here(co))
        return KITH_EPERM;
    if (!on && co->shield == 0)
        return KITH_EINVAL;
    co->shield += on ? 1u : -1u;
    return KITH_OK;
}
