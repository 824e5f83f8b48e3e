/* SPDX-License-Identifier: BSD-2-Clause
 *
 * The watch: finds workers whose turn lasts too long, serves their sockets and timers, takes over
 * what they have queued, and logs the stall.
 *
 * C cannot preempt a handler. So when a worker wakes and finds something to run, it arms one timer of
 * the operating system that all sleeping workers wait on (the driver's arm_watch); when it goes off,
 * one of them wakes and looks whether the others still begin turns. It arms the timer again as long
 * as anybody runs. An idle runtime arms nothing and sleeps for good; in a runtime in which all workers
 * are busy nobody is there to help, and nobody watches.
 *
 * Invariants
 *  G1. While a worker runs and another sleeps, the timer is armed. Whoever disarms (G1a) looks at
 *      all workers afterwards (G1b); a worker that begins to run says so (G1d, state_set in park.c)
 *      and then looks whether the timer is armed (G1c). Sequentially consistent, all of them.
 *  G2. seen_turns, seen_at and stall_logged belong to the watch: one at a time, watch_lock.
 *
 * Why a timer and not a thread that looks: the library starts no threads but the workers, and a
 * sleeping worker costs nothing.
 */
#include "sched/timer.h"
#include "sched/worker.h"
#include <execinfo.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

/* How long until somebody looks: the first time after a wake, and then. */
#define WATCH_FIRST_NS (2 * KITH_MS)
#define WATCH_NS (1 * KITH_MS)
#define FRAMES_MAX 48

struct kith__trace {
    void *frames[FRAMES_MAX];
    KITH__ATOMIC(uint32_t) count; /* 0: not there yet */
    char text[1024];
};

void kith__watch_arm(struct kith_runtime *rt)
{
    /* seq G1c; pairs with G1a. The load first, because it is most often armed. */
    if (kith__load_seq(&rt->watch_armed) == 0 && kith__xchg_seq(&rt->watch_armed, 1) == 0)
        rt->driver->arm_watch(rt, WATCH_FIRST_NS);
}

/* ---- the backtrace of another thread, by a signal, if the configuration names one ---- */

static pthread_mutex_t handler_lock = PTHREAD_MUTEX_INITIALIZER;
static struct {
    uint32_t users;
    struct sigaction before;
} handlers[_NSIG]; /* under the lock */

static void on_stall_signal(int signal)
{
    (void)signal;
    int saved = errno;
    struct kith__ctx *ctx = kith__ctx_here;
    if (ctx != NULL && ctx->worker != NULL && ctx->worker->trace != NULL) {
        struct kith__trace *trace = ctx->worker->trace;
        int n = backtrace(trace->frames, FRAMES_MAX);
        /* release G3; pairs with trace_log: the frames. */
        kith__store_rel(&trace->count, (uint32_t)(n > 0 ? n : 0));
    }
    errno = saved;
}

static kith_err handler_install(int signal)
{
    struct sigaction action;
    memset(&action, 0, sizeof action);
    action.sa_handler = on_stall_signal;
    action.sa_flags = SA_RESTART;
    sigemptyset(&action.sa_mask);
    pthread_mutex_lock(&handler_lock);
    int failed = 0;
    if (handlers[signal].users == 0)
        failed = sigaction(signal, &action, &handlers[signal].before);
    if (failed == 0)
        handlers[signal].users++;
    pthread_mutex_unlock(&handler_lock);
    return failed == 0 ? KITH_OK : KITH_EINVAL;
}

kith_err kith__watch_open(struct kith_runtime *rt)
{
    if (rt->config.stall_signal == 0)
        return KITH_OK;
    void *frames[4];
    backtrace(frames, 4); /* loads what it needs now, because a signal handler may not */
    for (uint32_t i = 0; i < rt->worker_count; i++) {
        rt->workers[i].trace = kith__alloc_zero(&rt->allocator, sizeof(struct kith__trace), 16);
        if (rt->workers[i].trace == NULL)
            return KITH_ENOMEM;
    }
    kith_err err = handler_install(rt->config.stall_signal);
    rt->stall_handler = err == KITH_OK;
    return err;
}

void kith__watch_close(struct kith_runtime *rt)
{
    if (rt->stall_handler) {
        pthread_mutex_lock(&handler_lock);
        int signal = rt->config.stall_signal;
        if (--handlers[signal].users == 0)
            sigaction(signal, &handlers[signal].before, NULL);
        pthread_mutex_unlock(&handler_lock);
    }
    for (uint32_t i = 0; i < rt->worker_count; i++)
        kith__free(&rt->allocator, rt->workers[i].trace, sizeof(struct kith__trace));
}

static void trace_ask(struct kith__worker *of)
{
    if (of->trace == NULL)
        return;
    kith__store_rlx(&of->trace->count, 0);
    pthread_kill(of->thread, of->ctx.rt->config.stall_signal);
}

static void trace_log(struct kith__worker *of)
{
    struct kith__trace *trace = of->trace;
    uint32_t n = trace != NULL ? kith__load_acq(&trace->count) : 0; /* acquire G3 */
    if (n == 0)
        return;
    char **names = backtrace_symbols(trace->frames, (int)n);
    for (uint32_t i = 0; names != NULL && i < n; i++)
        kith__log(&of->ctx.rt->log, KITH_LOG_WARN, "  stalled at %s", names[i]);
    free(names);
    kith__store_rlx(&trace->count, 0);
}

/* ---- looking ---- */

static void stall_log(struct kith__worker *w, struct kith__worker *of, kith_time now)
{
    struct kith_runtime *rt = w->ctx.rt;
    if (of->stall_logged) {
        trace_log(of);
        return;
    }
    if (now - of->seen_at < rt->config.stall_ns)
        return;
    of->stall_logged = true;
    kith__count(&w->ctx.counters.stalls);
    kith__log(&rt->log, KITH_LOG_WARN, "worker %u: a turn of %s has lasted %llu ms", of->index,
              rt->upper->name_of(kith__load_rlx(&of->turn_of)),
              (unsigned long long)((now - of->seen_at) / KITH_MS));
    trace_ask(of);
}

/* Whether a running worker has begun no turn since the last look. */
static bool stands_still(struct kith__worker *of, kith_time now)
{
    uint64_t turns = kith__load_rlx(&of->turns);
    if (turns == of->seen_turns && of->seen_at != 0)
        return true;
    of->seen_turns = turns;
    of->seen_at = now;
    of->stall_logged = false;
    return false;
}

static void rescue(struct kith__worker *w, struct kith__worker *of, kith_time now)
{
    kith__spread_reset(w->ctx.rt);
    bool any = w->ctx.rt->driver->poll(w, of, KITH_NOWAIT);
    any |= kith__load_rlx(&of->timer_next) <= now;
    kith__timers_run(w, of, now);
    any |= kith__steal_all(w, of);
    if (any)
        kith__count(&w->ctx.counters.rescues);
    stall_log(w, of, now);
}

/* Returns whether anybody runs; of w itself the caller knows. */
static bool look_at_all(struct kith__worker *w, bool running)
{
    struct kith_runtime *rt = w->ctx.rt;
    kith_time now = rt->driver->now();
    for (uint32_t i = 0; i < rt->worker_count; i++) {
        struct kith__worker *of = &rt->workers[i];
        if (of == w)
            continue;
        if (kith__load_seq(&of->state) != KITH__WORKER_RUNS) { /* seq G1b */
            of->seen_at = 0;
            continue;
        }
        running = true;
        if (stands_still(of, now))
            rescue(w, of, now);
    }
    return running;
}

/* A worker that is busy may be the one that gets the event, between two turns: then it is somebody who
 * runs, and whose next turn may be a long one. Whoever gets the event while another looks gives it
 * back: nobody else would arm the timer again. */
void kith__watch(struct kith__worker *w, bool busy)
{
    struct kith_runtime *rt = w->ctx.rt;
    if (pthread_mutex_trylock(&rt->watch_lock) != 0) {
        rt->driver->arm_watch(rt, WATCH_NS);
        return;
    }
    kith__store_seq(&rt->watch_armed, 0); /* seq G1a */
    bool running = look_at_all(w, busy);
    pthread_mutex_unlock(&rt->watch_lock);
    if (running && kith__xchg_seq(&rt->watch_armed, 1) == 0) /* seq G1c */
        rt->driver->arm_watch(rt, WATCH_NS);
}
