/* SPDX-License-Identifier: BSD-2-Clause
 *
 * One future: a task's or a promise's; awaiting it, canceling it, callbacks. Many at once: gather.c.
 *
 * Called by programs; who waits is a co (sched/co.h).
 *
 * Invariants
 *  FU1. Status and result are written before `done` is set (U1), under the lock, and never after.
 *       Whoever sees it set (U2) reads them without the lock.
 *  FU2. Whoever stands in line is in the list, under the lock, until `done` is set; all that were in
 *       it then are fired or delivered, and nobody comes after them.
 *  FU3. co names the task's co while that may be canceled: it is taken out, under the lock, in the
 *       fiber's last turn, before the co's memory goes. So a cancel never meets a dead co.
 *  FU4. A task completes its future after all else of it is gone (F4 in fiber.c): whoever awaited it
 *       finds its stack given back.
 *  FU5. A future's memory goes with its last reference (U3), also after the runtime's end: so it
 *       has the allocator and the log with it. A task has a reference, and so has a callback.
 *  FU6. A promise that is open may be completed from outside: while there is one there is no deadlock
 *       (DL1 in actors/deadlock.c). It is counted until it is done, or was dropped.
 *
 * Threads: any that has a reference. One that is not the runtime's acts with a context on its stack,
 * and counts as attached meanwhile, so that a shutdown does not free what it still walks through.
 *
 * Why a lock a future and not a word that is swapped, as an inbox has: a waiter must be able to leave
 * the line in the middle, at its deadline.
 */
#include "csp/future.h"
#include "base/alloc.h"
#include "csp/fiber.h"
#include "csp/wake.h"
#include "sched/single.h"
#include "sched/worker.h"
#include <string.h>

/* ---- a context for whoever acts ---- */

struct visit {
    struct kith__ctx spare; /* of a thread that is not the runtime's; else not initialized */
    struct kith__ctx *ctx;
};

/* Thread: any. The runtime lives, because the future has not ended and somebody answers for that. */
static struct kith__ctx *visit_begin(struct visit *visit, struct kith_runtime *rt)
{
    visit->ctx = kith__ctx_here;
    if (KITH__LIKELY(visit->ctx != NULL && visit->ctx->rt == rt))
        return visit->ctx;
    memset(&visit->spare, 0, sizeof visit->spare);
    visit->spare.rt = rt;
    visit->ctx = &visit->spare;
    pthread_mutex_lock(&rt->lock);
    kith__store_seq(&rt->attached, kith__load_rlx(&rt->attached) + 1); /* seq U5: no deadlock yet */
    pthread_mutex_unlock(&rt->lock);
    return visit->ctx;
}

/* The last access to the runtime, as at a detach. If all slept meanwhile, nobody has seen that they do
 * so for ever: a worker looks. */
static void visit_end(struct visit *visit)
{
    if (KITH__LIKELY(visit->ctx != &visit->spare))
        return;
    struct kith_runtime *rt = visit->spare.rt;
    pthread_mutex_lock(&rt->lock);
    kith__store_seq(&rt->attached, kith__load_rlx(&rt->attached) - 1); /* seq U5 */
    pthread_cond_broadcast(&rt->changed);
    kith__single_look(rt);
    if (kith__load_seq(&rt->main_waits) != 0) /* seq U5: after that */
        kith__wake_one(rt);
    pthread_mutex_unlock(&rt->lock);
}

/* A promise is open no more (FU6). If all wait for ever now, that is seen by the worker that has done it
 * when it goes to sleep, or at the end of the visit. */
static void outside_no_more(struct kith_runtime *rt)
{
    kith__sub_seq(&rt->outside, 1); /* seq U4; before the look for a deadlock */
}

/* ---- its memory ---- */

static struct kith_future *future_new(struct kith_runtime *rt, const char *name)
{
    struct kith_future *f = kith__alloc_zero(&rt->allocator, sizeof *f, 16);
    if (f == NULL)
        return NULL;
    f->rt = rt;
    f->allocator = rt->allocator;
    f->name = name;
    if (rt->config.debug)
        f->log = rt->log;
    kith__store_rlx(&f->refs, 1);
    return f;
}

/* In debug mode, what nobody has looked at. */
static void report(const struct kith_future *f)
{
    if (f->log.fn == NULL || f->canceled || kith__load_rlx(&f->looked) != 0 ||
        kith__load_rlx(&f->done) == 0)
        return;
    if (f->status != KITH_OK)
        kith__log(&f->log, KITH_LOG_WARN, "%s: its failure was never looked at: %s", f->name,
                  kith_strerror(f->status));
    else
        kith__log(&f->log, KITH_LOG_WARN, "%s: its result was never awaited", f->name);
}

kith_future *kith_future_keep(kith_future *f)
{
    if (f != NULL)
        kith__add_rlx(&f->refs, 1); /* relaxed: the caller has one */
    return f;
}

void kith_future_drop(kith_future *f)
{
    /* release U3: what this one did to it; acquire U3, by the last: all that was done to it. */
    if (f == NULL || kith__sub_ar(&f->refs, 1) != 1)
        return;
    if (f->promise && kith__load_rlx(&f->done) == 0) { /* nobody can complete it any more */
        struct visit visit;
        visit_begin(&visit, f->rt);
        outside_no_more(f->rt);
        visit_end(&visit);
    }
    report(f);
    if (f->drop != NULL && f->result != NULL && kith__load_rlx(&f->taken) == 0)
        f->drop(f->result);
    kith_allocator allocator = f->allocator;
    kith__free(&allocator, f, sizeof *f);
}

void kith_future_owns(kith_future *f, void (*drop)(void *result))
{
    if (f != NULL)
        f->drop = drop;
}

/* ---- callbacks ---- */

struct kith__then {
    struct kith_msg msg; /* first: it is the record */
    struct kith__then *next;
    struct kith_future *future;
    uint64_t to;
    kith_future_then_fn *fn;
    void *arg;
};

static void then_free(struct kith__then *then)
{
    struct kith_future *f = then->future;
    kith_allocator allocator = f->allocator;
    kith__free(&allocator, then, sizeof *then);
    kith_future_drop(f);
}

/* Its status, and its result, which the caller takes. */
static kith_err look(struct kith_future *f, void **result)
{
    kith__store_rlx(&f->looked, 1);
    if (result != NULL)
        *result = f->status == KITH_OK ? f->result : NULL;
    if (result != NULL && f->status == KITH_OK)
        kith__store_rlx(&f->taken, 1);
    return f->status;
}

/* In the turn of whom it belongs to, while that has no message in its hands. Its co, if it has one, is
 * hidden meanwhile: it is in the middle of a wait, so it cannot begin another (KITH_EPERM). */
static void then_call(struct kith__then *then, struct kith_self *task)
{
    struct kith_co *co = kith__co_of(task);
    if (co != NULL)
        co->barred = true;
    void *result;
    kith_err status = look(then->future, &result);
    kith_err err = then->fn(task, co != NULL ? NULL : task->state, then->arg, status, result);
    if (err != KITH_OK)
        kith_fail(task, err);
    if (co != NULL)
        co->barred = false;
}

static void then_run(struct kith__ctx *ctx, struct kith_self *task, struct kith_msg *msg)
{
    struct kith__then *then = (struct kith__then *)(void *)msg;
    struct kith_msg *current = ctx->current; /* a co may be sifting with one in its hands */
    ctx->current = NULL;
    then_call(then, task);
    ctx->current = current;
    then_free(then);
}

static void then_dead(struct kith__ctx *ctx, struct kith_msg *msg)
{
    (void)ctx;
    then_free((struct kith__then *)(void *)msg);
}

static const struct kith__internal then_type = {
    .type = {"future", 0, NULL}, .run = then_run, .dead = then_dead};

static void then_post(struct kith__ctx *ctx, struct kith__then *then)
{
    if (kith__post(ctx, then->to, &then->msg) != KITH_OK)
        then_free(then);
}

/* All that were set, oldest first. */
static void thens_post(struct kith__ctx *ctx, struct kith__then *newest)
{
    struct kith__then *oldest = NULL;
    while (newest != NULL) {
        struct kith__then *older = newest->next;
        newest->next = oldest;
        oldest = newest;
        newest = older;
    }
    while (oldest != NULL) {
        struct kith__then *then = oldest;
        oldest = oldest->next; /* before it is posted: it may be gone then */
        then_post(ctx, then);
    }
}

static struct kith__then *then_new(struct kith__ctx *ctx, struct kith_future *f)
{
    struct kith__then *then = kith__alloc_zero(&f->allocator, sizeof *then, 16);
    if (then == NULL)
        return NULL;
    then->msg.type = &then_type.type;
    then->msg.flags = KITH__MSG_INTERNAL | KITH__MSG_EMBEDDED;
    then->to = kith__task_bits(ctx->running);
    then->future = kith_future_keep(f);
    return then;
}

kith_err kith_future_then(kith_self *self, kith_future *f, kith_future_then_fn *fn, void *arg)
{
    struct kith__ctx *ctx = kith__ctx_of(self);
    if (ctx == NULL)
        return KITH_EPERM;
    if (fn == NULL)
        return KITH_EINVAL;
    if (f != NULL && f->rt != ctx->rt)
        return KITH_EBADREF;
    struct kith__then *then = f != NULL ? then_new(ctx, f) : NULL;
    if (then == NULL)
        return KITH_ENOMEM;
    then->fn = fn;
    then->arg = arg;
    kith__lock_enter(&f->lock, ctx);
    bool done = kith__load_rlx(&f->done) != 0; /* relaxed: under the lock */
    if (!done) {
        then->next = f->thens;
        f->thens = then;
    }
    kith__lock_leave(&f->lock, ctx);
    if (done)
        then_post(ctx, then);
    return KITH_OK;
}

/* ---- the end ---- */

/* The lock is held, status and result are set, and the caller has a reference: leaves the lock, and
 * tells all. */
static void finish(struct kith__ctx *ctx, struct kith_future *f)
{
    struct kith__wake wake = {NULL, NULL};
    struct kith__waiter *w;
    kith__store_rel(&f->done, 1);                          /* release U1; pairs with U2 */
    while ((w = kith__waiter_take(&f->waiters)) != NULL) { /* FU2 */
        w->status = f->status;
        if (w->item == NULL || kith__group_deliver(ctx, w, f->status))
            kith__wake_add(&wake, w);
    }
    struct kith__then *thens = f->thens;
    f->thens = NULL;
    kith__lock_leave(&f->lock, ctx);
    kith__wake_fire(ctx, &wake);
    thens_post(ctx, thens);
    if (f->promise)
        outside_no_more(ctx->rt);
}

static kith_err complete(struct kith__ctx *ctx, struct kith_future *f, kith_err status,
                         void *result)
{
    kith__lock_enter(&f->lock, ctx);
    if (kith__load_rlx(&f->done) != 0) { /* relaxed: under the lock */
        kith__lock_leave(&f->lock, ctx);
        return KITH_EBUSY;
    }
    f->status = status;
    f->result = result;
    finish(ctx, f);
    return KITH_OK;
}

kith_err kith_future_complete(kith_future *f, kith_err status, void *result)
{
    if (f == NULL)
        return KITH_EINVAL;
    if (!f->promise)
        return KITH_EPERM;
    if (kith__future_is_done(f))
        return KITH_EBUSY;
    struct visit visit;
    struct kith__ctx *ctx = visit_begin(&visit, f->rt);
    kith_err err = complete(ctx, f, status, result);
    visit_end(&visit);
    return err;
}

/* The lock is held; leaves it. */
static bool cancel_locked(struct kith__ctx *ctx, struct kith_future *f)
{
    bool heard = kith__load_rlx(&f->done) == 0 && (f->promise || f->co != NULL);
    f->canceled |= heard;
    if (heard && f->promise) {
        f->status = KITH_ECANCELED;
        finish(ctx, f);
        return true;
    }
    if (heard)
        kith__co_cancel(ctx, f->co); /* FU3 */
    kith__lock_leave(&f->lock, ctx);
    return heard;
}

bool kith_future_cancel(kith_future *f)
{
    if (f == NULL || kith__future_is_done(f))
        return false;
    struct visit visit;
    struct kith__ctx *ctx = visit_begin(&visit, f->rt);
    kith__lock_enter(&f->lock, ctx);
    bool heard = cancel_locked(ctx, f);
    visit_end(&visit);
    return heard;
}

/* ---- tasks and promises ---- */

/* A task's fiber. Its argument is the program's, so that the fiber's options can copy it; the future
 * is known by what is to be done at the end. */
static void task_main(kith_self *self, kith_co *co, void *arg)
{
    struct kith_future *f = ((struct kith__fiber *)(void *)co)->on_end_arg;
    void *result = NULL;
    kith_err status = f->fn(self, co, arg, &result);
    f->status = status;
    f->result = result;
    bool obeyed = status == KITH_ECANCELED && (co->woke & KITH__WOKE_CANCEL) != 0;
    if (status != KITH_OK && co->failed == KITH_OK && !obeyed)
        co->failed = status; /* what a monitor hears */
}

/* FU3 */
static void task_ends(struct kith__ctx *ctx, struct kith__fiber *fiber)
{
    struct kith_future *f = fiber->on_end_arg;
    kith__lock_enter(&f->lock, ctx);
    f->co = NULL;
    kith__lock_leave(&f->lock, ctx);
}

/* FU4 */
static void task_ended(struct kith__ctx *ctx, void *arg, kith_err failed)
{
    struct kith_future *f = arg;
    kith__lock_enter(&f->lock, ctx);
    if (f->status == KITH_OK)
        f->status = failed;
    finish(ctx, f);
    kith_future_drop(f);
}

kith_future *kith_async_named(kith_self *self, kith_async_fn *fn, void *arg, const char *name,
                              const kith_fiber_options *options)
{
    struct kith__ctx *ctx = kith__ctx_of(self);
    struct kith_future *f = ctx != NULL ? future_new(ctx->rt, name != NULL ? name : "?") : NULL;
    if (f == NULL)
        return NULL;
    kith_err err = KITH_EINVAL;
    struct kith__fiber *fiber =
        fn != NULL ? kith__fiber_new(ctx, task_main, arg, name, options, &err) : NULL;
    if (fiber == NULL) {
        f->status = err;
        kith__store_rlx(&f->done, 1); /* relaxed: nobody else knows it */
        return f;
    }
    f->fn = fn;
    f->co = &fiber->co;
    kith__store_rlx(&f->refs, 2);
    fiber->before_end = task_ends;
    fiber->on_end = task_ended;
    fiber->on_end_arg = f;
    kith__fiber_start(ctx, fiber);
    return f;
}

kith_future *kith_promise(kith_self *self)
{
    struct kith__ctx *ctx = kith__ctx_of(self);
    struct kith_future *f = ctx != NULL ? future_new(ctx->rt, "promise") : NULL;
    if (f == NULL)
        return NULL;
    f->promise = true;
    kith__add_seq(&ctx->rt->outside, 1); /* seq U4; pairs with DL1 */
    return f;
}

/* ---- looking ---- */

bool kith_future_done(const kith_future *f)
{
    return f == NULL || kith__future_is_done(f);
}

kith_err kith_future_result(kith_future *f, void **result)
{
    if (result != NULL)
        *result = NULL;
    if (f == NULL)
        return KITH_ENOMEM;
    return kith__future_is_done(f) ? look(f, result) : KITH_EBUSY;
}

/* ---- awaiting ---- */

kith_err kith__future_join(struct kith__ctx *ctx, struct kith_future *f, struct kith__waiter *w,
                           bool *done)
{
    *done = kith__future_is_done(f);
    if (*done)
        return KITH_OK;
    if (f->rt != ctx->rt)
        return KITH_EBADREF;
    kith__lock_enter(&f->lock, ctx);
    *done = kith__load_rlx(&f->done) != 0; /* relaxed: under the lock */
    bool itself = f->co == w->co;
    if (!*done && !itself)
        kith__waiter_add(&f->waiters, w);
    kith__lock_leave(&f->lock, ctx);
    return itself ? KITH_EDEADLK : KITH_OK;
}

bool kith__future_leave(struct kith__ctx *ctx, struct kith_future *f, struct kith__waiter *w)
{
    kith__lock_enter(&f->lock, ctx);
    bool stood = kith__waiter_remove(&f->waiters, w);
    kith__lock_leave(&f->lock, ctx);
    return stood;
}

/* What a wait that is given up does to the task. */
enum give_up { LEAVES_IT, CANCELS_WHEN_CANCELED, CANCELS_ALWAYS };

static bool cancels(enum give_up how, kith_err err)
{
    if (how == CANCELS_ALWAYS)
        return err == KITH_ETIMEOUT || err == KITH_ECANCELED || err == KITH_ENOMEM;
    return how == CANCELS_WHEN_CANCELED && err == KITH_ECANCELED;
}

/* The wait has ended for the reason err, and not by the future's end: KITH_OK if that has come after
 * all. */
static kith_err give_up(struct kith_co *co, struct kith_future *f, struct kith__waiter *w,
                        kith_err err, enum give_up how)
{
    if (cancels(how, err)) { /* and stays in line */
        bool heard = kith_future_cancel(f);
        kith__co_wait_fired(co);
        return heard ? err : KITH_OK;
    }
    if (kith__future_leave(co->ctx, f, w))
        return err;
    kith__co_wait_fired(co); /* O2 */
    return KITH_OK;
}

/* KITH_OK: it has ended. */
static kith_err await_end(struct kith_co *co, struct kith_future *f, kith_time deadline,
                          const char *where, enum give_up how)
{
    kith_err may = kith__co_may_wait(co);
    struct kith__waiter w = {.co = co};
    bool done;
    kith_err err = kith__future_join(co->ctx, f, &w, &done);
    if (err != KITH_OK || done)
        return err != KITH_OK ? err : may;
    err = may != KITH_OK ? may : kith__co_wait(co, KITH__WOKE_FIRED, deadline, where, f);
    return err == KITH_OK ? KITH_OK : give_up(co, f, &w, err, how);
}

static kith_err await(struct kith_co *co, struct kith_future *f, kith_time deadline, void **result,
                      const char *where, enum give_up how)
{
    if (result != NULL)
        *result = NULL;
    if (!kith__co_here(co))
        return KITH_EPERM;
    if (f == NULL)
        return KITH_ENOMEM;
    kith__co_spend(co);
    kith_err err = await_end(co, f, deadline, where, how);
    return err == KITH_OK ? look(f, result) : err;
}

kith_err kith_await(kith_co *co, kith_future *f, kith_time deadline, void **result)
{
    return await(co, f, deadline, result, "kith_await", CANCELS_WHEN_CANCELED);
}

kith_err kith_await_shielded(kith_co *co, kith_future *f, kith_time deadline, void **result)
{
    return await(co, f, deadline, result, "kith_await_shielded", LEAVES_IT);
}

kith_err kith_timeout(kith_co *co, kith_future *f, kith_time deadline, void **result)
{
    return await(co, f, deadline, result, "kith_timeout", CANCELS_ALWAYS);
}
