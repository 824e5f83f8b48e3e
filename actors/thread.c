/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Attached threads: threads that are no workers, with a reference, an inbox and a kith_co. Whatever
 * may wait blocks the thread.
 *
 * Invariants
 *  C1. The thread owns its task while it runs: its inbox is EMPTY or a list then. Before it waits it
 *      rests (IDLE); whoever wakes it owns the task until it has set `ready` under the lock.
 *  C2. A thread whose deadline passes takes its inbox back from IDLE by a compare-and-swap; if that
 *      fails, somebody has woken it, and `ready` is on its way.
 *  C6. The thread of a loop executor (home) does not sleep: it runs the loop (sched/single.h). Its waker
 *      asks the loop for READY instead of setting `ready`.
 *  C3. The waker signals under the lock and touches nothing after it has unlocked, so the thread may
 *      detach and free the co at once.
 */
#include "actors/actor.h"
#include "base/clock.h"
#include "csp/scope.h"
#include "sched/single.h"
#include <sched.h>

/* ---- waiting ---- */

static struct kith__thread *thread_of(struct kith_co *co)
{
    return (struct kith__thread *)(void *)co;
}

static void thread_wake(struct kith_self *task)
{
    struct kith__thread *thread = task->state;
    kith__main_woken(thread->ctx.rt, &thread->co);
    pthread_mutex_lock(&thread->lock);
    thread->ready = true;
    pthread_cond_signal(&thread->changed);
    pthread_mutex_unlock(&thread->lock); /* C3 */
}

const struct kith__task_ops kith__thread_ops = {.wake = thread_wake};

static void home_wake(struct kith_self *task)
{
    struct kith_runtime *rt = kith__co_of(task)->ctx->rt;
    kith__main_woken(rt, kith__co_of(task));
    kith__single_ask(rt, KITH__ASKED_READY); /* C6 */
}

static const struct kith__task_ops home_ops = {.wake = home_wake};

/* Waits for ready until deadline; false if it passed first. */
static bool ready_wait(struct kith__thread *thread, kith_time deadline)
{
    struct timespec at = kith__timespec_of(deadline);
    int err = 0;
    if (thread->home)
        return kith__single_run(thread->ctx.rt, KITH__ASKED_READY, deadline, NULL, NULL); /* C6 */
    pthread_mutex_lock(&thread->lock);
    while (!thread->ready && err == 0)
        err = deadline == KITH_FOREVER
                  ? pthread_cond_wait(&thread->changed, &thread->lock)
                  : pthread_cond_timedwait(&thread->changed, &thread->lock, &at);
    bool ready = thread->ready;
    thread->ready = false;
    pthread_mutex_unlock(&thread->lock);
    return ready;
}

/* Rests until something comes. False if the deadline passed first. */
static bool sleep_until(struct kith__thread *thread, kith_time deadline)
{
    struct kith_self *task = thread->co.task;
    kith__msg_cache_flush(thread->ctx.cache);
    if (!kith__inbox_rest(&task->inbox))
        return true;
    if (deadline == KITH_FOREVER)
        kith__main_waits(&thread->ctx, KITH__MAIN_RESTS);
    if (ready_wait(thread, deadline))
        return true;
    uintptr_t seen = KITH__INBOX_IDLE;
    if (kith__cas_acq(&task->inbox, &seen, KITH__INBOX_EMPTY)) /* acquire M4, as a push does */
        return false;
    return ready_wait(thread, KITH_FOREVER); /* C2 */
}

static void thread_suspend(struct kith_co *co)
{
    kith__co_sift(co);
    if (kith__load_acq(&co->ctx->rt->shutting_down) != 0) /* S1 */
        co->woke |= KITH__WOKE_SHUTDOWN;
    if ((co->woke & co->wants) != 0)
        return;
    if (!sleep_until(thread_of(co), co->deadline))
        co->woke |= KITH__WOKE_TIME;
}

static void thread_yield(struct kith_co *co)
{
    (void)co;
    sched_yield();
}

static const struct kith__co_ops thread_co_ops = {.suspend = thread_suspend, .yield = thread_yield};

/* Nobody else runs the others. */
static void home_yield(struct kith_co *co)
{
    kith__single_round(co->ctx->rt);
}

static const struct kith__co_ops home_co_ops = {
    .suspend = thread_suspend, .yield = home_yield, .glance = home_yield};

/* ---- attach and detach ---- */

static kith_err thread_open(struct kith_runtime *rt, struct kith__thread *thread)
{
    struct kith__ctx *ctx = &thread->ctx;
    ctx->rt = rt;
    ctx->cache = kith__msg_cache_enter(&rt->messages);
    if (ctx->cache == NULL)
        return KITH_EAGAIN;
    kith__random_seed(&ctx->random,
                      rt->config.seed + KITH_WORKERS_MAX + kith__add_rlx(&rt->attaches, 1));
    thread->home = kith__single_home(rt);
    struct kith_self *task =
        kith__task_new(ctx, thread->home ? &home_ops : &kith__thread_ops, NULL, 0);
    if (task == NULL) {
        kith__msg_cache_leave(ctx->cache);
        return KITH_ENOMEM;
    }
    task->flags = KITH__TASK_THREAD;
    kith__store_rlx(&task->parent, 0);
    kith__co_init(&thread->co, task, thread->home ? &home_co_ops : &thread_co_ops);
    thread->co.ctx = ctx;
    ctx->running = task;
    pthread_mutex_init(&thread->lock, NULL);
    pthread_condattr_t monotonic;
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_cond_init(&thread->changed, &monotonic);
    pthread_condattr_destroy(&monotonic);
    return KITH_OK;
}

static void thread_list(struct kith_runtime *rt, struct kith__thread *thread)
{
    struct kith__actors *actors = kith__actors_of(rt);
    pthread_mutex_lock(&rt->lock);
    thread->next = actors->threads;
    actors->threads = thread;
    thread->ctx.next = rt->contexts;
    rt->contexts = &thread->ctx;
    kith__store_seq(&rt->attached, kith__load_rlx(&rt->attached) + 1); /* seq DL4; pairs with DL1 */
    pthread_mutex_unlock(&rt->lock);
}

/* Out of the lists, but still counted as attached. */
static void thread_unlist(struct kith_runtime *rt, struct kith__thread *thread)
{
    struct kith__thread **at = &kith__actors_of(rt)->threads;
    struct kith__ctx **ctx = &rt->contexts;
    pthread_mutex_lock(&rt->lock);
    while (*at != thread)
        at = &(*at)->next;
    *at = thread->next;
    while (*ctx != &thread->ctx)
        ctx = &(*ctx)->next;
    *ctx = thread->ctx.next;
    kith__counters_add(&rt->left, &thread->ctx.counters);
    pthread_mutex_unlock(&rt->lock);
}

static void thread_free(struct kith_runtime *rt, struct kith__thread *thread)
{
    pthread_cond_destroy(&thread->changed);
    pthread_mutex_destroy(&thread->lock);
    kith__free(&rt->allocator, thread, sizeof *thread);
}

/* The last access to the runtime: a shutdown may free it as soon as the lock is free. If all slept
 * meanwhile, nobody has seen that they do so for ever (DL1): a worker looks. */
static void uncount(struct kith_runtime *rt)
{
    pthread_mutex_lock(&rt->lock);
    kith__store_seq(&rt->attached, kith__load_rlx(&rt->attached) - 1); /* seq DL4; pairs with DL1 */
    pthread_cond_broadcast(&rt->changed);
    kith__single_look(rt);
    if (kith__load_seq(&rt->main_waits) != 0) /* seq DL4: after that */
        kith__wake_one(rt);
    pthread_mutex_unlock(&rt->lock);
}

kith_err kith__attach(struct kith_runtime *rt, struct kith_co **out)
{
    struct kith__thread *thread = kith__alloc_zero(&rt->allocator, sizeof *thread, 64);
    if (thread == NULL)
        return KITH_ENOMEM;
    kith_err err = thread_open(rt, thread);
    if (err != KITH_OK) {
        kith__free(&rt->allocator, thread, sizeof *thread);
        return err;
    }
    thread_list(rt, thread);
    kith__ctx_here = &thread->ctx;
    kith__inbox_open(&thread->co.task->inbox, KITH__INBOX_EMPTY);
    *out = &thread->co;
    return KITH_OK;
}

void kith__detach(struct kith_co *co)
{
    struct kith__thread *thread = thread_of(co);
    struct kith_runtime *rt = co->ctx->rt;
    if (co->scopes != NULL)
        kith__scopes_abandon(co);
    kith__current_end(co->ctx);
    co->task->reason = co->failed;
    kith__co_end(co);
    kith__task_end(co->ctx, co->task);
    kith__slot_cache_drain(&rt->table, &thread->ctx.slots);
    kith__msg_cache_leave(thread->ctx.cache);
    kith__ctx_here = NULL;
    thread_unlist(rt, thread);
    thread_free(rt, thread);
    uncount(rt);
}

kith_err kith_attach(kith_runtime *runtime, kith_self **self, kith_co **co)
{
    if (self == NULL || !kith__runtime_lives(runtime))
        return KITH_EINVAL;
    if (kith__ctx_here != NULL)
        return KITH_EPERM;
    if (kith__load_acq(&runtime->shutting_down) != 0) /* S1 */
        return KITH_ESHUTDOWN;
    struct kith_co *made;
    kith_err err = kith__attach(runtime, &made);
    if (err != KITH_OK)
        return err;
    *self = made->task;
    if (co != NULL)
        *co = made;
    return KITH_OK;
}

kith_err kith_detach(kith_self *self)
{
    if (kith__ctx_of(self) == NULL || (self->flags & KITH__TASK_THREAD) == 0)
        return KITH_EPERM;
    if (!kith__co_here(kith__co_of(self))) /* in a generator, on a stack that would end, too */
        return KITH_EPERM;
    kith__detach(kith__co_of(self));
    return KITH_OK;
}
