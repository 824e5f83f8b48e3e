/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Deadlock: in a program that runs by kith_main everybody waits, and nobody is left who could wake
 * anybody. It is reported with who waits in what, and main's wait ends with KITH_EDEADLK.
 *
 * Called by whoever is the last to stop: a worker that goes to sleep (sched/park.c), or the main thread
 * that begins to wait without a deadline (thread.c, shutdown.c).
 *
 * Invariants
 *  DL1. There is no deadlock while anything could still happen: a worker runs, a task waits in a list,
 *       a timer is set, a socket is open, a blocking call or an open promise is outside, another thread
 *       is attached, or main runs. All of it is looked at under park_lock, so no worker wakes
 *       meanwhile; and since nobody runs who could begin anything, it stays as it was seen.
 *  DL2. main_waits (DL2b) is set after main's inbox has gone to rest; so as long as it rests nobody
 *       has sent main anything. (That a message was sent shows in the inbox at once, and in main_waits
 *       not before it is taken back, DL2a.) Main sets it and looks; a worker that sleeps says so (B1c)
 *       and looks. Sequentially consistent, so the last of them sees all others.
 *  DL5. Whoever looks holds main_lock from before it reads rt->main until it has told main: a main that
 *       was woken meanwhile does not end before.
 *
 * A thread that is not attached may be about to attach, and would be right to complain: a program that
 * is woken from outside only shows it by being attached, by a socket, a timer or a promise.
 */
#include "actors/actor.h"
#include "sched/single.h"
#include "sched/worker.h"

static uint64_t sockets_of(struct kith_runtime *rt)
{
    const struct kith__ctx *main = kith__load_rlx(&rt->main)->ctx;
    uint64_t open =
        kith__load_rlx(&rt->left.sockets_opened) - kith__load_rlx(&rt->left.sockets_closed);
    open += kith__load_rlx(&main->counters.sockets_opened) -
            kith__load_rlx(&main->counters.sockets_closed);
    for (uint32_t i = 0; i < rt->worker_count; i++) {
        const struct kith__counters *c = &rt->workers[i].ctx.counters;
        open += kith__load_rlx(&c->sockets_opened) - kith__load_rlx(&c->sockets_closed);
    }
    return open;
}

static bool worker_is_empty(struct kith__worker *w)
{
    /* seq DL1; pairs with B1a and PL2a */
    return kith__load_seq(&w->overflow.count) == 0 && kith__load_seq(&w->placed_sent) == NULL &&
           kith__load_rlx(&w->timer_next) == KITH_FOREVER;
}

static bool main_sleeps(struct kith_runtime *rt)
{
    const struct kith_co *main = kith__load_rlx(&rt->main); /* stays: DL5 */
    if (main == NULL)
        return false;
    uint32_t how = kith__load_seq(&rt->main_waits); /* seq DL2b; pairs with DL2a */
    if (how != KITH__MAIN_RESTS)
        return how == KITH__MAIN_JOINS;
    /* seq DL2b; pairs with M1: read after main_waits, so what was sent to main is seen here */
    return kith__load_seq(&main->task->inbox) == KITH__INBOX_IDLE;
}

/* Under park_lock (DL1). */
static bool nobody_can_wake(struct kith_runtime *rt)
{
    /* seq DL1; pairs with S1 in kith_shutdown, DL4, U5, U4, J6 and B1a */
    if (!main_sleeps(rt) || kith__load_rlx(&rt->idle) != rt->worker_count * KITH__IDLE_PARKED ||
        kith__load_seq(&rt->shutting_down) != 0 || kith__load_seq(&rt->attached) != 1 ||
        kith__load_seq(&rt->outside) != 0 || kith__load_seq(&rt->shared.count) != 0)
        return false;
    for (uint32_t i = 0; i < rt->worker_count; i++)
        if (!worker_is_empty(&rt->workers[i]))
            return false;
    return sockets_of(rt) == 0;
}

/* ---- the report ---- */

#define NAMED_MAX 32u

static bool waits(const struct kith_co *co)
{
    return co != NULL && co->where != NULL;
}

static void waiter_log(struct kith_runtime *rt, const struct kith_self *task)
{
    const struct kith_co *co = kith__co_of(task);
    const char *name =
        co == kith__load_rlx(&rt->main) ? "main" : kith__name_of(kith__behavior_of(task));
    if (co->what != NULL)
        kith__log(&rt->log, KITH_LOG_ERROR, "deadlock: %s (slot %u) waits in %s for %p", name,
                  kith__bits_slot(kith__task_bits(task)), co->where, co->what);
    else
        kith__log(&rt->log, KITH_LOG_ERROR, "deadlock: %s (slot %u) waits in %s", name,
                  kith__bits_slot(kith__task_bits(task)), co->where);
}

/* Counts those that wait; logs the first of them if told to. */
static uint32_t waiters(struct kith_runtime *rt, bool log)
{
    uint32_t n = kith__load_rlx(&rt->table.chunk_count) * KITH__CHUNK_SLOTS;
    uint32_t found = 0;
    for (uint32_t slot = 0; slot < n; slot++) {
        struct kith_self *task = kith__task_at(rt, slot);
        if (task == NULL || !waits(kith__co_of(task)))
            continue;
        if (log && found < NAMED_MAX)
            waiter_log(rt, task);
        found++;
    }
    return found;
}

static void report(struct kith_runtime *rt)
{
    uint32_t n = waiters(rt, true);
    if (n > NAMED_MAX)
        kith__log(&rt->log, KITH_LOG_ERROR, "deadlock: and %u others", n - NAMED_MAX);
    kith__log(&rt->log, KITH_LOG_ERROR,
              "deadlock: all wait, and no timer, socket or other thread can wake anybody");
}

/* Under main_lock (DL5): tells main, if so. */
static bool look(struct kith__ctx *ctx)
{
    struct kith_runtime *rt = ctx->rt;
    pthread_mutex_lock(&rt->park_lock);
    bool found = nobody_can_wake(rt) && waiters(rt, false) > 0;
    if (found)
        kith__store_seq(&rt->main_waits, KITH__MAIN_RUNS); /* seq DL2a; reported once */
    pthread_mutex_unlock(&rt->park_lock);
    if (!found)
        return false;
    report(rt);
    kith__store_seq(&rt->deadlocked, 1); /* seq DL3; pairs with its readers: why main wakes */
    kith__co_cancel(ctx, kith__load_rlx(&rt->main));
    return true;
}

void kith__deadlock_look(struct kith__ctx *ctx)
{
    struct kith_runtime *rt = ctx->rt;
    pthread_mutex_t *main_lock = &kith__actors_of(rt)->main_lock;
    pthread_mutex_lock(main_lock);
    bool found = look(ctx);
    pthread_mutex_unlock(main_lock);
    if (!found)
        return;
    pthread_mutex_lock(&rt->lock);
    pthread_cond_broadcast(&rt->changed);
    pthread_mutex_unlock(&rt->lock);
    kith__single_look(rt);
}

void kith__main_leaves(struct kith_runtime *rt)
{
    pthread_mutex_t *main_lock = &kith__actors_of(rt)->main_lock;
    pthread_mutex_lock(main_lock); /* DL5 */
    kith__store_rlx(&rt->main, NULL);
    pthread_mutex_unlock(main_lock);
}

bool kith__main_waits(struct kith__ctx *ctx, uint32_t how)
{
    struct kith_co *main = kith__load_rlx(&ctx->rt->main);
    if (main == NULL || main->ctx != ctx)
        return false;
    kith__store_seq(&ctx->rt->main_waits, how); /* seq DL2b; pairs with B1c: main's look follows */
    /* In a loop main's own loop looks, before it sleeps. */
    if (!kith__is_loop(ctx->rt))
        kith__deadlock_look(ctx);
    return true;
}

void kith__main_woken(struct kith_runtime *rt, const struct kith_co *co)
{
    if (kith__load_rlx(&rt->main) == co)
        kith__store_seq(&rt->main_waits, KITH__MAIN_RUNS); /* seq DL2a */
}
