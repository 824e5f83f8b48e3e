/* SPDX-License-Identifier: BSD-2-Clause
 *
 * The worker's loop: which task is next, and what is looked after between turns.
 *
 * Next is the task that was woken last (its message is in this core's cache), three times in a row
 * at most, then the oldest of the worker's queue, then the shared list, then another worker's
 * queue, then sleep. Between turns, whenever the clock was read, the loop is polled, due timers go
 * off, the shared list gets its share, and a sleeper is woken if work waits.
 *
 * Why a thief does not simply take what it finds: tasks that talk to each other cost a cache miss a
 * message when they run on two cores, ten times what the message costs. So work is stolen only
 * where it would wait longer than the stealing costs (kith__worth_stealing): a conversation, whose
 * turns are tens of nanoseconds, stays together, and a crowd of real work is spread at once.
 */
#include "sched/worker.h"
#include "base/clock.h"
#include "sched/timer.h"

_Thread_local struct kith__ctx *kith__ctx_here;

/* ---- the clock ---- */

void kith__worker_clock(struct kith__worker *w)
{
    kith_time now = w->ctx.rt->driver->now();
    kith_time passed = now - w->clock_at;
    uint64_t turns = kith__load_rlx(&w->turns);
    uint64_t taken = turns - w->clock_turns;
    uint64_t turn_ns = taken > 0 ? passed / taken : passed;
    kith__store_rlx(&w->turn_ns, turn_ns > UINT32_MAX ? UINT32_MAX : (uint32_t)turn_ns);
    kith__count_by(&w->handled, w->clock_every - w->until_clock);
    kith_time each = passed / w->clock_every + 1;
    uint64_t every = KITH__CLOCK_NS / each;
    w->clock_every = every > KITH__CLOCK_EVERY_MAX ? KITH__CLOCK_EVERY_MAX
                     : every == 0                  ? 1
                                                   : (uint32_t)every;
    w->until_clock = w->clock_every;
    w->clock_turns = turns;
    w->clock_at = now;
    w->clock_due = true;
}

/* The first reading in a turn is its begin, as far as is known; unless every message is timed, and the
 * last one alone took a turn's time. */
bool kith__turn_over(struct kith__worker *w)
{
    kith_time before = w->clock_at;
    bool timed = w->clock_every == 1;
    kith__worker_clock(w);
    if (w->turn_began == 0)
        w->turn_began = timed ? before : w->clock_at;
    return w->clock_at - w->turn_began >= KITH__TURN_NS;
}

/* After a sleep nothing is known about how long turns take: the first message is timed. */
static void clock_restart(struct kith__worker *w)
{
    w->clock_at = w->ctx.rt->driver->now();
    w->clock_turns = kith__load_rlx(&w->turns);
    w->clock_every = 1;
    w->until_clock = 1;
    kith__store_rlx(&w->turn_ns, KITH__TURN_NS_UNKNOWN);
}

/* ---- choosing ---- */

#define FREE_MAX 256u

/* The owner meets a raid: waits for its end, and looks again. */
struct kith_self *kith__slot_take_slow(struct kith__worker *w)
{
    pthread_mutex_lock(&w->raid_lock);
    struct kith_self *task = kith__load_rlx(&w->woken);
    kith__store_rlx(&w->woken, NULL);
    kith__store_rlx(&w->taking, 0);
    pthread_mutex_unlock(&w->raid_lock);
    return task;
}

/* A thread's own task, or from a thread that is no worker, or the slot is full. */
__attribute__((noinline)) void kith__schedule_slow(struct kith__ctx *ctx, struct kith_self *task)
{
    struct kith__worker *w = ctx->worker;
    if ((task->flags & KITH__TASK_THREAD) != 0) {
        task->ops->wake(task);
    } else if ((task->flags & KITH__TASK_PLACED) != 0) {
        kith__place(ctx, task);
    } else if (w == NULL) {
        kith__inject(ctx->rt, task);
    } else {
        struct kith_self *before = kith__slot_take(w);
        kith__store_rel(&w->woken, task); /* release K1; pairs with K2 in slot_raid */
        if (before != NULL)
            kith__enqueue(w, before);
    }
}

/* A rescuer takes what stands in the slot of a worker that stands still; NULL also if it moves. */
static struct kith_self *slot_raid(struct kith__worker *victim)
{
    if (kith__load_rlx(&victim->woken) == NULL)
        return NULL;
    struct kith_self *task = NULL;
    pthread_mutex_lock(&victim->raid_lock);
    kith__store_rlx(&victim->raided, 1);
    kith__fence_heavy(); /* K3 */
    /* acquire K6; pairs with the release in kith__slot_take: the slot is empty by then. */
    if (kith__load_acq(&victim->taking) == 0)
        task = kith__load_acq(&victim->woken); /* acquire K2; pairs with K1: the task */
    if (task != NULL)
        kith__store_rlx(&victim->woken, NULL);
    kith__store_rel(&victim->raided, 0); /* release K5; pairs with kith__slot_take */
    pthread_mutex_unlock(&victim->raid_lock);
    return task;
}

/* The slot's task has had its three turns, or is overloaded: NULL if it is the turn of the others. The
 * first goes behind them; an overloaded one waits in the slot for its next turn, after one of theirs. */
static __attribute__((noinline)) struct kith_self *slot_or_others(struct kith__worker *w)
{
    bool overloaded = kith__load_rlx(&w->woken) == w->overloaded;
    if (kith__waiting(w) == 0) {
        w->slot_runs = 0;
        return kith__slot_take(w);
    }
    if (overloaded) {
        w->slot_runs = !w->slot_runs;
        return w->slot_runs == 0 ? kith__slot_take(w) : NULL;
    }
    struct kith_self *task = kith__slot_take(w);
    if (task != NULL)
        kith__enqueue(w, task);
    w->slot_runs = 0;
    return NULL;
}

static struct kith_self *queue_next(struct kith__worker *w)
{
    struct kith_self *task = kith__runq_pop(&w->queue);
    if (task == NULL)
        task = kith__overflow_take(w);
    if (task == NULL)
        task = kith__slot_take(w); /* the others' tasks were stolen just now */
    return task;
}

/* Of those that may be stolen. */
static inline struct kith_self *free_next(struct kith__worker *w)
{
    struct kith_self *task = kith__load_rlx(&w->woken);
    if (KITH__LIKELY(task != NULL)) {
        bool again = w->slot_runs < KITH__SLOT_RUNS && task != w->overloaded;
        w->slot_runs += again;
        task = KITH__LIKELY(again) ? kith__slot_take(w) : slot_or_others(w);
        if (KITH__LIKELY(task != NULL))
            return task;
    } else {
        w->overloaded = NULL; /* it is not here any more, if it ever was */
        w->slot_runs = 0;
    }
    return queue_next(w);
}

static struct kith_self *placed_next(struct kith__worker *w)
{
    struct kith_self *task = w->placed_first;
    if (task == NULL)
        return NULL;
    w->placed_first = (struct kith_self *)(void *)task->slot.next;
    w->placed_count--;
    return task;
}

/* Both kinds wait, perhaps: all placed ones that are there now have a turn, then as many of the
 * others as wait then (FREE_MAX at most), and so on. So each task's turn comes as if all stood in one
 * queue. */
static __attribute__((noinline)) struct kith_self *next_of_both(struct kith__worker *w)
{
    if (kith__load_rlx(&w->placed_sent) != NULL)
        kith__placed_fetch(w);
    uint64_t waiting = kith__waiting(w) + (kith__load_rlx(&w->woken) != NULL);
    if (waiting == 0)
        return placed_next(w);
    if (w->round_left == 0) {
        w->round_placed = !w->round_placed;
        w->round_left =
            w->round_placed ? w->placed_count : (uint32_t)(waiting < FREE_MAX ? waiting : FREE_MAX);
    }
    w->round_left -= w->round_left > 0;
    struct kith_self *task = w->round_placed ? placed_next(w) : free_next(w);
    if (task != NULL)
        return task;
    w->round_left = 0;
    return w->round_placed ? free_next(w) : placed_next(w);
}

static inline struct kith_self *next_own(struct kith__worker *w)
{
    /* relaxed: a hint; who sleeps looks again (PL2d). */
    if (KITH__LIKELY(w->placed_first == NULL && kith__load_rlx(&w->placed_sent) == NULL))
        return free_next(w);
    return next_of_both(w);
}

static struct kith_self *steal(struct kith__worker *w)
{
    struct kith_runtime *rt = w->ctx.rt;
    uint32_t n = rt->worker_count;
    uint32_t first = (uint32_t)(rt->driver->random(w) % n);
    for (uint32_t i = 0; i < n; i++) {
        struct kith__worker *victim = &rt->workers[(first + i) % n];
        if (victim == w || !kith__worth_stealing(victim))
            continue;
        struct kith_self *task = kith__steal_half(w, victim);
        if (task != NULL)
            return task;
    }
    return NULL;
}

/* All that a stalled worker has: its slot too. For sched/watch.c; returns whether it had any. */
bool kith__steal_all(struct kith__worker *w, struct kith__worker *victim)
{
    if (w->ctx.rt->config.no_stealing)
        return false;
    struct kith_self *task = slot_raid(victim);
    bool any = task != NULL;
    if (any)
        kith__enqueue(w, task);
    while ((task = kith__steal_half(w, victim)) != NULL) {
        kith__enqueue(w, task);
        any = true;
    }
    return any;
}

/* ---- between turns ---- */

static void look_around(struct kith__worker *w)
{
    w->clock_due = false;
    const struct kith__driver *driver = w->ctx.rt->driver;
    if (w->clock_at - w->polled_at >= KITH__POLL_NS) {
        w->polled_at = w->clock_at;
        driver->poll(w, w, KITH_NOWAIT);
    }
    kith__timers_run(w, w, w->clock_at);
    struct kith_self *task = kith__shared_take(w);
    if (task != NULL)
        kith__enqueue(w, task);
    if (!w->ctx.rt->config.no_stealing)
        kith__spread_step(w);
    if (kith__nobody_searches(w->ctx.rt) && kith__worth_stealing(w))
        kith__wake_one(w->ctx.rt);
}

static struct kith_self *search(struct kith__worker *w)
{
    if (!w->searching && !kith__search_begin(w))
        return NULL;
    return steal(w);
}

/* config.spin_ns: polls a while before sleeping. */
static struct kith_self *spin(struct kith__worker *w)
{
    struct kith_runtime *rt = w->ctx.rt;
    kith_time end = kith__time_add(rt->driver->now(), rt->config.spin_ns);
    struct kith_self *task = NULL;
    while (task == NULL && rt->driver->now() < end) {
        rt->driver->poll(w, w, KITH_NOWAIT);
        kith__timers_run(w, w, rt->driver->now());
        task = next_own(w);
        if (task == NULL)
            task = kith__shared_take(w);
    }
    return task;
}

static struct kith_self *find(struct kith__worker *w)
{
    struct kith_self *task = kith__shared_take(w);
    if (task == NULL)
        task = search(w);
    if (task == NULL && w->ctx.rt->config.spin_ns != 0)
        task = spin(w);
    return task;
}

static void turn(struct kith__worker *w, struct kith_self *task)
{
    kith__count(&w->turns);
    w->turn_began = 0;
    task->ops->turn(&w->ctx, task);
    if (KITH__UNLIKELY(w->clock_due))
        look_around(w);
}

/* Runs what there is. A worker that wakes and finds nothing to run does not arm the watch: the watch
 * itself wakes workers, and an idle runtime must come to rest. */
static void run_all(struct kith__worker *w)
{
    struct kith_self *task;
    bool first = true;
    while ((task = next_own(w)) != NULL || (task = find(w)) != NULL) {
        if (KITH__UNLIKELY(w->searching))
            kith__search_end(w);
        if (KITH__UNLIKELY(first) && w->ctx.rt->worker_count > 1)
            kith__watch_arm(w->ctx.rt);
        first = false;
        turn(w, task);
    }
}

void kith__worker_slice(struct kith__worker *w, kith_time until)
{
    struct kith__single *single = &w->ctx.rt->single;
    struct kith_self *task;
    clock_restart(w);
    kith__timers_run(w, w, w->clock_at);
    while ((task = next_own(w)) != NULL || (task = find(w)) != NULL) {
        if (KITH__UNLIKELY(w->searching))
            kith__search_end(w);
        turn(w, task);
        /* relaxed: who is asked takes the bit with acquire (Y2b). */
        if (KITH__UNLIKELY((kith__load_rlx(&single->asked) & single->heeds) != 0))
            break;
        if (KITH__UNLIKELY(w->clock_at >= until) && single->marks == 0)
            break;
    }
}

void kith__worker_run(struct kith__worker *w)
{
    kith__ctx_here = &w->ctx;
    clock_restart(w);
    run_all(w);
    while (kith__load_acq(&w->ctx.rt->ending) == 0) { /* B8 */
        kith__park(w);
        clock_restart(w);
        kith__timers_run(w, w, w->clock_at);
        run_all(w);
    }
    kith__ctx_here = NULL;
}
