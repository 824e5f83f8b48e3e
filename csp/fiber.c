/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Fibers: spawning one, and its end. How they run is csp/run.c.
 *
 * Invariants
 *  F1. A fiber runs on one worker: the one that gave it its first turn, or the one that its options
 *      name. Before its first turn it is a task like any other, and may be stolen.
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
#include "sched/worker.h"
#include <string.h>

#define ARG_BYTES_MAX 4096u
/* Of those that end, each of the first, and then one in so many, has its stack measured. */
#define MEASURED_FIRST 16u
#define MEASURED_EVERY 64u

/* ---- the stack's use ---- */

static void raise_to(KITH__ATOMIC(size_t) * mark, size_t bytes)
{
    size_t seen = kith__load_rlx(mark);
    while (bytes > seen && !kith__cas_rlx(mark, &seen, bytes))
        ;
}

KITH__COLD void kith__fiber_overflowed(const struct kith__fiber *f)
{
    kith__overflow_die(f->co.ctx->rt, f->stack, f->kind->behavior.name);
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
        kith__fiber_overflowed(f);
}

/* ---- the end ---- */

static void fiber_main(void *arg)
{
    struct kith__fiber *f = arg;
    f->fn(f->co.task, &f->co, f->arg);
    if (KITH__UNLIKELY(f->co.scopes != NULL))
        kith__scopes_abandon(&f->co);
    kith__fiber_leave(f);
}

static void message_end(struct kith__ctx *ctx)
{
    struct kith_msg *msg = ctx->current;
    ctx->current = NULL;
    if (msg != NULL)
        kith__msg_end(ctx->cache, msg);
}

void kith__fiber_end(struct kith__ctx *ctx, struct kith__fiber *f)
{
    struct kith__stack *stack = f->stack;
    kith__fiber_end_fn *on_end = f->on_end;
    void *on_end_arg = f->on_end_arg;
    kith_err failed = f->co.failed;
    ctx->current = f->co.current;
    message_end(ctx);
    if (f->before_end != NULL)
        f->before_end(ctx, f);
    kith__context_end(&f->context);
    stack_measure(f);
    f->co.task->reason = failed;
    if (KITH__UNLIKELY(failed != KITH_OK))
        kith__log(&ctx->rt->log, KITH_LOG_INFO, "%s failed: %s", f->kind->behavior.name,
                  kith_strerror(failed));
    kith__co_end(&f->co);
    ctx->rt->upper->end(ctx, f->co.task);
    kith__csp_stack_give(ctx, stack); /* F3 */
    if (on_end != NULL)
        on_end(ctx, on_end_arg, failed); /* F4 */
}

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
    kith__co_init(&f->co, task, &kith__fiber_co_ops);
    kith__context_make(&f->context, stack->low, f->lowest, fiber_main, f);
    f->begins = true;
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
