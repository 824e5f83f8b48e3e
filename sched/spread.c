/* SPDX-License-Identifier: BSD-2-Clause
 *
 * How many workers share the work, when messages cost less than a cache miss.
 *
 * A message between two cores costs some hundred nanoseconds, one on the same core fifteen. So actors
 * that only talk to each other run faster on one core than on two, and actors that do not talk run
 * twice as fast on two. No look at a queue tells which it is: only trying does. So while the work is
 * fine-grained (making or handling a message takes less than FINE_NS), the workers, one at a time and
 * between turns, first gather all work on one of them and measure how many messages are made and
 * handled in a window. Then they double (later: double or halve) the number that take part, measure
 * again, and stay with what was better. Each trial that brings nothing quadruples the time to the next,
 * so that trials cost less than a hundredth in the long run. With coarser work everybody takes part.
 *
 * Workers from `limit` on hand what they have to the others, between turns, and sleep; their loops
 * and timers are their own as before.
 *
 * Called by the worker's loop between turns (kith__spread_step).
 *
 * The method is hill climbing on throughput, as the thread pool of .NET does it (Hellerstein,
 * Morrison and Eilebrecht, 2010); the difference is what is climbed for: not blocking, but locality.
 */
#include "sched/worker.h"

#define FINE_NS 150 /* for one end of a message */
#define WINDOW_NS (1 * KITH_MS)
#define INTERVAL_MAX_NS (512 * KITH_MS)

/* A trial must bring a tenth. */
#define BETTER(rate, before) ((rate)*10 > (before)*11)

void kith__spread_open(struct kith_runtime *rt)
{
    struct kith__spread *s = &rt->spread;
    pthread_mutex_init(&s->lock, NULL);
    kith__store_rlx(&s->limit, rt->worker_count);
    kith__store_rlx(&s->next, rt->worker_count > 1 ? 0 : KITH_FOREVER);
    s->interval = WINDOW_NS;
}

void kith__spread_close(struct kith_runtime *rt)
{
    pthread_mutex_destroy(&rt->spread.lock);
}

/* Messages made and messages handled: a worker that only sends works too. */
static uint64_t work_of_all(struct kith_runtime *rt)
{
    uint64_t n = 0;
    for (uint32_t i = 0; i < rt->worker_count; i++)
        n += kith__load_rlx(&rt->workers[i].handled) +
             kith__load_rlx(&rt->workers[i].ctx.cache->made);
    return n;
}

static void limit_set(struct kith_runtime *rt, uint32_t limit)
{
    uint32_t before = kith__load_rlx(&rt->spread.limit);
    kith__store_rlx(&rt->spread.limit, limit);
    if (limit > before)
        kith__wake_one(rt);
}

/* The next limit to try in the direction that is on; the other one at the end of the road. */
static uint32_t limit_next(struct kith_runtime *rt)
{
    struct kith__spread *s = &rt->spread;
    uint32_t limit = kith__load_rlx(&s->limit);
    if (limit == 1)
        s->upward = true;
    else if (limit == rt->worker_count)
        s->upward = false;
    if (!s->upward)
        return limit / 2;
    return limit * 2 > rt->worker_count ? rt->worker_count : limit * 2;
}

/* The change itself costs: mailboxes that have filled up, memory that is cold. */
static kith_time settle(struct kith__spread *s)
{
    s->settling = true;
    return WINDOW_NS;
}

static kith_time trial_begin(struct kith_runtime *rt, uint64_t rate)
{
    struct kith__spread *s = &rt->spread;
    s->rate = rate;
    s->before = kith__load_rlx(&s->limit);
    limit_set(rt, limit_next(rt));
    return settle(s);
}

/* The first guess is one worker: mailboxes that fill up while the work is torn apart are expensive
 * to empty, and to have tried two workers too late is not. */
static kith_time gather(struct kith_runtime *rt)
{
    struct kith__spread *s = &rt->spread;
    kith__store_rlx(&s->fine, 1);
    s->upward = true;
    limit_set(rt, 1);
    return settle(s);
}

/* Returns how long what was decided is to stay. */
static kith_time trial_end(struct kith_runtime *rt, uint64_t rate)
{
    struct kith__spread *s = &rt->spread;
    if (BETTER(rate, s->rate)) {
        s->interval = WINDOW_NS;
    } else {
        limit_set(rt, s->before);
        s->upward = !s->upward;
        s->interval = s->interval * 4 > INTERVAL_MAX_NS ? INTERVAL_MAX_NS : s->interval * 4;
    }
    s->before = 0;
    return s->interval;
}

static void everybody(struct kith_runtime *rt)
{
    struct kith__spread *s = &rt->spread;
    s->before = 0;
    s->settling = false;
    s->interval = WINDOW_NS;
    kith__store_rlx(&s->fine, 0);
    limit_set(rt, rt->worker_count);
}

/* Under the lock: one window has passed. */
static void decide(struct kith_runtime *rt, kith_time now)
{
    struct kith__spread *s = &rt->spread;
    uint64_t work = work_of_all(rt);
    uint64_t n = work - s->work;
    kith_time passed = now - s->began + 1;
    kith_time stay = WINDOW_NS;
    bool fine = kith__load_rlx(&s->fine) != 0;
    if (s->settling) {
        s->settling = false;
    } else if (n * FINE_NS * (fine ? 2 : 1) < passed) { /* not one worker's worth of it */
        everybody(rt);
    } else if (!fine) {
        stay = gather(rt);
    } else {
        uint64_t rate = n * KITH_MS / passed;
        if (s->before != 0)
            stay = trial_end(rt, rate);
        else
            stay = trial_begin(rt, rate);
    }
    s->work = work;
    s->began = now;
    kith__store_rlx(&s->next, now + stay);
}

/* Hands all that waits here to a worker that takes part. */
static void hand_over(struct kith__worker *w)
{
    struct kith_runtime *rt = w->ctx.rt;
    struct kith__worker *to = &rt->workers[w->index % kith__load_rlx(&rt->spread.limit)];
    if (to == w) /* the limit was raised just now */
        return;
    struct kith_self *task = kith__slot_take(w);
    if (task == NULL)
        task = kith__runq_pop(&w->queue);
    if (task == NULL)
        task = kith__overflow_take(w);
    if (task == NULL)
        return;
    for (; task != NULL; task = kith__runq_pop(&w->queue))
        kith__overflow_push(to, task);
    kith__wake_worker(to);
}

void kith__spread_step(struct kith__worker *w)
{
    struct kith_runtime *rt = w->ctx.rt;
    if (w->clock_at >= kith__load_rlx(&rt->spread.next) &&
        pthread_mutex_trylock(&rt->spread.lock) == 0) {
        if (w->clock_at >= kith__load_rlx(&rt->spread.next))
            decide(rt, w->clock_at);
        pthread_mutex_unlock(&rt->spread.lock);
    }
    if (!kith__takes_part(w))
        hand_over(w);
}

void kith__spread_reset(struct kith_runtime *rt)
{
    pthread_mutex_lock(&rt->spread.lock);
    everybody(rt);
    kith__store_rlx(&rt->spread.next, rt->driver->now() + WINDOW_NS);
    pthread_mutex_unlock(&rt->spread.lock);
}
