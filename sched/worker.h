/* SPDX-License-Identifier: BSD-2-Clause
 *
 * What a worker does: scheduling a task, taking turns, reading the clock. The small and hot parts;
 * the loop itself is sched/worker.c, sleeping and waking sched/park.c.
 *
 * A turn handles the messages that wait when it begins, but no longer than KITH__TURN_NS. The clock
 * costs as much as two messages, so it is read once every clock_every messages, a number that is
 * set anew at each reading so that about KITH__CLOCK_NS pass between two: slow handlers are timed
 * one by one, fast ones by the 64.
 */
#ifndef KITH__SCHED_WORKER_H
#define KITH__SCHED_WORKER_H

#include "base/asymmetric.h"
#include "sched/runtime.h"

#define KITH__TURN_NS (200 * KITH_US)
#define KITH__CLOCK_NS (32 * KITH_US)
#define KITH__CLOCK_EVERY_MAX 64u
#define KITH__POLL_NS (100 * KITH_US)
#define KITH__SLOT_RUNS 3u

/* Waking a thief costs about this much; work that waits less is not worth it. */
#define KITH__STEAL_NS (20 * KITH_US)
/* What a turn is taken to last before any was measured: worth a thief at once. */
#define KITH__TURN_NS_UNKNOWN ((uint32_t)(100 * KITH_US))

/* worker.c */
void kith__worker_run(struct kith__worker *w);
/* For sched/single.c: runs what there is, until it is asked to end, which is looked at after each turn,
 * or `until` has passed (and no mark of a round waits). */
void kith__worker_slice(struct kith__worker *w, kith_time until);
void kith__worker_clock(struct kith__worker *w);
/* Reads the clock; whether the turn has lasted long enough. */
bool kith__turn_over(struct kith__worker *w);
struct kith_self *kith__slot_take_slow(struct kith__worker *w);
bool kith__steal_all(struct kith__worker *w, struct kith__worker *victim);

void kith__schedule_slow(struct kith__ctx *ctx, struct kith_self *task);

/* queue.c */
/* Appends to the list behind w's ring; w need not be the caller's worker. */
void kith__overflow_push(struct kith__worker *w, struct kith_self *task);
/* Refills the ring from the list behind it; returns one task more. */
struct kith_self *kith__overflow_take(struct kith__worker *w);
/* A fair share of the shared list: one to run, the rest into the worker's own queue. */
struct kith_self *kith__shared_take(struct kith__worker *w);
/* All of it, in order, behind what waits in the worker's own queue. */
void kith__shared_drain(struct kith__worker *w);
/* Half of another worker's queue: one to run, the rest into the own one. */
struct kith_self *kith__steal_half(struct kith__worker *w, struct kith__worker *victim);
/* For whoever is no worker. */
void kith__inject(struct kith_runtime *rt, struct kith_self *task);

/* placed.c */
/* Schedules a placed task that the caller has woken, or that has used up its turn. */
void kith__place(struct kith__ctx *ctx, struct kith_self *task);
/* The owner takes what others have sent into its list. */
void kith__placed_fetch(struct kith__worker *w);

/* spread.c */
void kith__spread_open(struct kith_runtime *rt);
void kith__spread_close(struct kith_runtime *rt);
/* From time to time, between turns: measures, decides, and hands work over if w is to rest. */
void kith__spread_step(struct kith__worker *w);
/* A worker stands still: everybody may help. */
void kith__spread_reset(struct kith_runtime *rt);

/* park.c */
#define KITH__IDLE_PARKED (1u << 16) /* in kith_runtime.idle: the high half counts the parked */
void kith__wake_one(struct kith_runtime *rt);
void kith__wake_worker(struct kith__worker *w);
bool kith__search_begin(struct kith__worker *w);
void kith__search_end(struct kith__worker *w);
void kith__park(struct kith__worker *w);
/* The same, but no longer than until. */
void kith__park_until(struct kith__worker *w, kith_time until);
/* The loop executor's thread leaves its loop, and comes back (sched/single.c). In between it counts as
 * asleep: whoever gives it work writes its eventfd. */
void kith__park_away(struct kith__worker *w);
void kith__park_back(struct kith__worker *w);
/* Whether a worker that runs nothing has something to run; not counting what its loop may know. */
bool kith__work_left(struct kith__worker *w);
/* The driver, out of its wait and before it handles anything: w sleeps no more. */
void kith__unpark(struct kith__worker *w);
void kith__tell_joiners(struct kith_runtime *rt);

/* watch.c */
/* w has got the watch's event; busy: between two turns, and not out of its sleep. */
void kith__watch(struct kith__worker *w, bool busy);
void kith__watch_arm(struct kith_runtime *rt);
kith_err kith__watch_open(struct kith_runtime *rt);
void kith__watch_close(struct kith_runtime *rt);

/* pool.c */
kith_err kith__pool_start(struct kith_runtime *rt);
void kith__pool_stop(struct kith_runtime *rt);

/* How many tasks wait behind w's turn, its slot not counted: a guess for other threads. */
static inline uint64_t kith__waiting(struct kith__worker *w)
{
    return kith__runq_count(&w->queue) + kith__load_rlx(&w->overflow.count);
}

/* Whether what waits behind w's turn would wait longer than fetching it costs; or there is some, and
 * it is being tried out how many workers are good for it. */
static inline bool kith__worth_stealing(struct kith__worker *w)
{
    if (KITH__UNLIKELY(w->ctx.rt->config.no_stealing))
        return false;
    uint64_t n = kith__waiting(w);
    return n * kith__load_rlx(&w->turn_ns) >= KITH__STEAL_NS ||
           (n > 1 && kith__load_rlx(&w->ctx.rt->spread.fine) != 0);
}

/* Whether w takes part in what all workers share. */
static inline bool kith__takes_part(const struct kith__worker *w)
{
    return w->index < kith__load_rlx(&w->ctx.rt->spread.limit);
}

/* Whether waking somebody for what waits could help: one that takes part sleeps, and none searches.
 * Relaxed: a hint, see kith__wake_one. */
static inline bool kith__nobody_searches(struct kith_runtime *rt)
{
    uint32_t idle = kith__load_rlx(&rt->idle);
    uint32_t runs = rt->worker_count - idle / KITH__IDLE_PARKED;
    return idle % KITH__IDLE_PARKED == 0 && runs < kith__load_rlx(&rt->spread.limit);
}

/* Appends to the worker's own queue. A missed wake here loses time, not work: the owner runs its
 * queue before it sleeps. So the push needs no fence. */
static inline void kith__enqueue(struct kith__worker *w, struct kith_self *task)
{
    if (KITH__UNLIKELY(kith__load_rlx(&w->overflow.count) != 0 ||
                       !kith__runq_push(&w->queue, task)))
        kith__overflow_push(w, task);
    if (KITH__UNLIKELY(kith__nobody_searches(w->ctx.rt)) && kith__worth_stealing(w))
        kith__wake_one(w->ctx.rt);
}

/* The slot for the task that was woken last. Its owner puts and takes without a locked instruction,
 * a quarter of a message's cost; a rescuer, who takes from a worker that stands still (watch.c), pays
 * for both:
 *
 *   owner:    taking = 1; light fence; if raided, wait for the raid; load, take; taking = 0
 *   rescuer:  raided = 1; heavy fence; if taking, leave it; take; raided = 0
 *
 *  K3. If the owner did not see the raid, its `taking` was visible to the rescuer after the heavy
 *      fence, and the rescuer left the slot alone. If it did, it waits.
 *  K4. The owner fills the slot only when it is empty, and then the rescuer does not store to it.
 */
static inline struct kith_self *kith__slot_take(struct kith__worker *w)
{
    if (kith__load_rlx(&w->woken) == NULL)
        return NULL;
    kith__store_rlx(&w->taking, 1);
    kith__fence_light(w->asymmetric); /* K3 */
    /* acquire K5; pairs with the end of a raid in slot_raid: that the slot is empty. */
    if (KITH__UNLIKELY(kith__load_acq(&w->raided) != 0))
        return kith__slot_take_slow(w);
    struct kith_self *task = kith__load_rlx(&w->woken); /* again: a raid may lie between the two */
    kith__store_rlx(&w->woken, NULL);
    kith__store_rel(&w->taking, 0); /* release K6; pairs with slot_raid: the slot is empty */
    return task;
}

/* Schedules a task that the caller has woken (I1 of inbox.h): it will run soon. On a worker it
 * becomes the next one to run, because what it is to read is in this core's cache. */
static inline void kith__schedule(struct kith__ctx *ctx, struct kith_self *task)
{
    struct kith__worker *w = ctx->worker;
    bool plain = w != NULL && (task->flags & (KITH__TASK_THREAD | KITH__TASK_PLACED)) == 0;
    if (KITH__LIKELY(plain && kith__load_rlx(&w->woken) == NULL))
        kith__store_rel(&w->woken, task); /* release K1; pairs with K2 in slot_raid */
    else
        kith__schedule_slow(ctx, task);
}

/* Schedules a task that has used up its turn: behind all others. */
static inline void kith__schedule_last(struct kith__ctx *ctx, struct kith_self *task)
{
    if (KITH__UNLIKELY((task->flags & KITH__TASK_PLACED) != 0))
        kith__place(ctx, task);
    else
        kith__enqueue(ctx->worker, task);
}

/* Schedules an overloaded task that has used up its turn: every other turn is its. */
static inline void kith__schedule_overloaded(struct kith__ctx *ctx, struct kith_self *task)
{
    if (KITH__LIKELY((task->flags & KITH__TASK_PLACED) == 0))
        ctx->worker->overloaded = task;
    kith__schedule(ctx, task);
}

/* After each message: whether the clock is to be read. */
static inline bool kith__clock_due(struct kith__worker *w)
{
    return KITH__UNLIKELY(--w->until_clock == 0);
}

#endif
