/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Sleeping and waking: which worker sleeps, who wakes it, and why no wake is lost.
 *
 * Called by the worker's loop (search, park) and by whoever publishes work (wake_one).
 *
 * One word, rt->idle, counts the searching (low half) and the parked (high half) workers. It is
 * changed, together with the workers' states, under park_lock only, and read by everybody.
 *
 * Invariants
 *  B1. Work that only the shared queue knows of finds a worker. The publisher stores the queue's
 *      count (B1a), then reads idle (B1b); a worker that goes to sleep adds itself to idle (B1c),
 *      then reads the count (B1d). All four are sequentially consistent, so in any order of them
 *      one of the two sees the other.
 *  B2. Nobody is woken while somebody searches: the searcher will find the work, because it leaves
 *      the count of searchers (B1c) before it looks at everything a last time.
 *  B3. A parked worker is woken once: by whoever moves its state from PARKED to CLAIMED.
 *  B4. A searcher that finds work, and was the last one, wakes another if more is waiting.
 *  B5. At most half of the workers search.
 *  B6. A list that another thread may append to (a worker's overflow) follows B1 too: append, then
 *      look whether its worker sleeps; sleep, then look at the list.
 *  B7. A worker that takes no part (sched/spread.c) leaves the shared list to the others; if it
 *      finds something there before it sleeps, it wakes one of them.
 *  B8. The end of the pool (sched/pool.c) is published as work is: stored, then all are woken.
 *
 * A wake that a worker misses for its *own* queue does not exist: it runs that queue empty first.
 * A lock and not a compare-and-swap on the states: the two must change together, and whoever parks
 * or wakes makes a system call of a microsecond anyway.
 */
#include "sched/single.h"
#include "sched/timer.h"
#include "sched/worker.h"

#define SEARCHING(idle) ((idle) % KITH__IDLE_PARKED)
#define PARKED(idle) ((idle) / KITH__IDLE_PARKED)

/* Under park_lock. */
static void idle_add(struct kith_runtime *rt, uint32_t change)
{
    kith__store_seq(&rt->idle, kith__load_rlx(&rt->idle) + change); /* B1c */
}

static void state_set(struct kith__worker *w, uint32_t state)
{
    kith__store_seq(&w->state, state); /* seq G1d; pairs with G1b in watch.c, PL2c */
}

/* Under park_lock: a parked worker that takes part, the one that parked last if it is one, because
 * its core and its cache are the warmest. If there is none, those that take part all run, and see
 * the shared list before they sleep. */
static struct kith__worker *parked_worker(struct kith_runtime *rt)
{
    for (uint32_t i = 0; i < rt->worker_count; i++) {
        struct kith__worker *w = &rt->workers[(rt->parked_last + i) % rt->worker_count];
        if (kith__load_rlx(&w->state) == KITH__WORKER_PARKED && kith__takes_part(w)) {
            return w;
        }
    }
    return NULL;
}

void kith__wake_one(struct kith_runtime *rt)
{
    uint32_t idle = kith__load_seq(&rt->idle); /* B1b */
    if (SEARCHING(idle) > 0 || PARKED(idle) == 0)
        return;
    struct kith__worker *w = NULL;
    pthread_mutex_lock(&rt->park_lock);
    if (SEARCHING(kith__load_rlx(&rt->idle)) == 0)
        w = parked_worker(rt);
    if (w != NULL) {
        state_set(w, KITH__WORKER_CLAIMED); /* B3 */
        idle_add(rt, 1 - KITH__IDLE_PARKED);
    }
    pthread_mutex_unlock(&rt->park_lock);
    if (w != NULL)
        rt->driver->wake(w);
}

/* Wakes this worker, to look at its own list (B6). */
void kith__wake_worker(struct kith__worker *w)
{
    struct kith_runtime *rt = w->ctx.rt;
    pthread_mutex_lock(&rt->park_lock);
    bool parked = kith__load_rlx(&w->state) == KITH__WORKER_PARKED;
    if (parked) {
        state_set(w, KITH__WORKER_CLAIMED);
        idle_add(rt, 1 - KITH__IDLE_PARKED);
    }
    pthread_mutex_unlock(&rt->park_lock);
    if (parked)
        rt->driver->wake(w);
}

bool kith__search_begin(struct kith__worker *w)
{
    struct kith_runtime *rt = w->ctx.rt;
    if (rt->worker_count == 1 || !kith__takes_part(w))
        return false;
    pthread_mutex_lock(&rt->park_lock);
    w->searching = 2 * SEARCHING(kith__load_rlx(&rt->idle)) < rt->worker_count; /* B5 */
    if (w->searching)
        idle_add(rt, 1);
    pthread_mutex_unlock(&rt->park_lock);
    return w->searching;
}

/* The searcher has found work (B4). */
void kith__search_end(struct kith__worker *w)
{
    struct kith_runtime *rt = w->ctx.rt;
    w->searching = false;
    pthread_mutex_lock(&rt->park_lock);
    idle_add(rt, (uint32_t)-1);
    pthread_mutex_unlock(&rt->park_lock);
    if (kith__load_seq(&rt->shared.count) > 0 || kith__worth_stealing(w)) /* B1d */
        kith__wake_one(rt);
}

static void park_begin(struct kith__worker *w)
{
    struct kith_runtime *rt = w->ctx.rt;
    pthread_mutex_lock(&rt->park_lock);
    state_set(w, KITH__WORKER_PARKED);
    rt->parked_last = w->index;
    idle_add(rt, KITH__IDLE_PARKED - (w->searching ? 1 : 0));
    bool last = PARKED(kith__load_rlx(&rt->idle)) == rt->worker_count;
    pthread_mutex_unlock(&rt->park_lock);
    w->searching = false;
    if (last && kith__load_rlx(&rt->spread.fine) != 0)
        kith__spread_reset(rt); /* what comes next may be other work */
}

/* Again is nothing. A worker that handles events must not be taken for a sleeper: it would be claimed to
 * search, and nobody else would be woken (B2). */
void kith__unpark(struct kith__worker *w)
{
    struct kith_runtime *rt = w->ctx.rt;
    pthread_mutex_lock(&rt->park_lock);
    uint32_t state = kith__load_rlx(&w->state);
    if (state == KITH__WORKER_PARKED)
        idle_add(rt, 0 - KITH__IDLE_PARKED);
    else if (state == KITH__WORKER_CLAIMED)
        w->searching = true; /* its waker has counted it */
    state_set(w, KITH__WORKER_RUNS);
    pthread_mutex_unlock(&rt->park_lock);
}

/* The last look, after the worker can be seen sleeping (B1d, B2). */
static bool nothing_to_do(struct kith__worker *w)
{
    struct kith_runtime *rt = w->ctx.rt;
    if (kith__load_seq(&w->overflow.count) > 0)  /* B1d */
        return false;                            /* B6 */
    if (kith__load_seq(&w->placed_sent) != NULL) /* seq PL2d; pairs with PL2a */
        return false;
    if (kith__single_asked(rt)) /* Y2 */
        return false;
    if (kith__load_seq(&rt->ending) != 0) /* seq B8; pairs with threads_end */
        return false;
    if (!kith__takes_part(w)) {
        if (kith__load_seq(&rt->shared.count) > 0) /* B1d */
            kith__wake_one(rt);                    /* B7 */
        return true;
    }
    if (kith__load_seq(&rt->shared.count) > 0) /* B1d */
        return false;
    for (uint32_t i = 0; i < rt->worker_count; i++)
        if (i != w->index && kith__worth_stealing(&rt->workers[i]))
            return false;
    return true;
}

/* Whoever waits for the runtime to go quiet looks again whenever a worker sleeps. */
void kith__tell_joiners(struct kith_runtime *rt)
{
    /* seq S3; pairs with quiet_wait in actors/shutdown.c: the deaths of this worker's turns stand
     * before B1c. */
    if (kith__load_seq(&rt->joining) == 0)
        return;
    pthread_mutex_lock(&rt->lock);
    pthread_cond_broadcast(&rt->changed);
    pthread_mutex_unlock(&rt->lock);
}

/* All sleep, main too, and nothing was found: perhaps for ever. */
static void quiet(struct kith__worker *w)
{
    struct kith_runtime *rt = w->ctx.rt;
    /* seq DL2b; pairs with DL2b in kith__main_waits: read after idle was stored (B1c) */
    if (kith__load_seq(&rt->main_waits) != 0 &&
        PARKED(kith__load_rlx(&rt->idle)) == rt->worker_count)
        rt->upper->quiet(&w->ctx);
}

void kith__park_until(struct kith__worker *w, kith_time until)
{
    struct kith_runtime *rt = w->ctx.rt;
    kith__msg_cache_flush(w->ctx.cache);
    kith__count(&w->ctx.counters.parks);
    park_begin(w);
    kith__tell_joiners(rt);
    if (nothing_to_do(w)) {
        quiet(w);
        kith_time deadline = kith__timers_sleep(w);
        rt->driver->poll(w, w, deadline < until ? deadline : until);
        kith__timers_woke(w);
        w->polled_at = rt->driver->now();
    }
    kith__unpark(w);
}

void kith__park(struct kith__worker *w)
{
    kith__park_until(w, KITH_FOREVER);
}

/* ---- the loop executor ---- */

void kith__park_away(struct kith__worker *w)
{
    kith__msg_cache_flush(w->ctx.cache);
    park_begin(w);
    kith__tell_joiners(w->ctx.rt);
    kith__timers_sleep(w);
}

void kith__park_back(struct kith__worker *w)
{
    kith__timers_woke(w);
    kith__unpark(w);
}

bool kith__work_left(struct kith__worker *w)
{
    return kith__load_rlx(&w->woken) != NULL || w->placed_first != NULL || kith__waiting(w) > 0 ||
           !nothing_to_do(w);
}
