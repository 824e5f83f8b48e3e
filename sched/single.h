/* SPDX-License-Identifier: BSD-2-Clause
 *
 * The loop executor (KITH_LOOP): one worker, which runs on the program's own thread, called home,
 * whenever that thread waits in kith or asks for a run. See single.c.
 *
 *   home, outside of its loop   run, round, deadline
 *   any                         ask, look, kith__is_loop, kith__single_home
 */
#ifndef KITH__SCHED_SINGLE_H
#define KITH__SCHED_SINGLE_H

#include "sched/runtime.h"

/* What a run of the loop can be asked for. */
enum {
    KITH__ASKED_READY = 1, /* home's task was woken: it has what it waits for */
    KITH__ASKED_STOP = 2,  /* kith_loop_stop */
    KITH__ASKED_LOOK = 4   /* something has changed that home may wait for; no end of a run */
};

static inline bool kith__is_loop(const struct kith_runtime *rt)
{
    return rt->config.executor == KITH_LOOP;
}

/* Whether the caller is rt's home thread (in its loop or outside of it). */
static inline bool kith__single_home(const struct kith_runtime *rt)
{
    return kith__is_loop(rt) && pthread_equal(rt->single.home, pthread_self()) != 0;
}

/* Whether home is asked to do something else than to sleep. Under, or after having been under,
 * park_lock (Y2). */
static inline bool kith__single_asked(const struct kith_runtime *rt)
{
    return (kith__load_rlx(&rt->single.asked) & (rt->single.heeds | KITH__ASKED_LOOK)) != 0;
}

/* The caller becomes home. */
void kith__single_open(struct kith_runtime *rt);

/* Asked whenever nothing is left to run, before the thread sleeps: whether the run is over. */
typedef bool kith__single_idle_fn(struct kith_runtime *rt, void *arg);

/* Runs the loop until one of the bits is asked for, or idle (may be NULL) says so: true; or until
 * deadline: false. What was asked for is taken back. */
bool kith__single_run(struct kith_runtime *rt, uint32_t bits, kith_time deadline,
                      kith__single_idle_fn *idle, void *arg);
/* Runs all that is ready now, and what that makes ready, but no longer than KITH__ROUND_NS once all
 * that was ready has had its turn. Never sleeps. */
#define KITH__ROUND_NS (10 * KITH_MS)
void kith__single_round(struct kith_runtime *rt);
/* When there is something to run: KITH_NOWAIT: now. */
kith_time kith__single_deadline(struct kith_runtime *rt);

/* Asks for the end of a run. */
void kith__single_ask(struct kith_runtime *rt, uint32_t bits);
/* A death, or a thread's detach: home may wait for it. Nothing in a runtime with a pool. */
void kith__single_look(struct kith_runtime *rt);

#endif
