/* SPDX-License-Identifier: BSD-2-Clause
 *
 * The runtime's own structures: the whole machine, a worker, and the context that a thread has in
 * it (a worker's or an attached thread's). Everything above sched sees the machine through these.
 *
 * Threads: a context and a worker belong to their thread, except for the fields marked otherwise.
 */
#ifndef KITH__SCHED_RUNTIME_H
#define KITH__SCHED_RUNTIME_H

#include "base/handle.h"
#include "base/log.h"
#include "base/random.h"
#include "mailbox/memory.h"
#include "sched/driver.h"
#include "sched/runq.h"
#include "sched/task.h"
#include "sched/wheel.h"
#include <kith/runtime.h>
#include <pthread.h>

_Static_assert(KITH_WORKERS_MAX <= 256, "a task names a worker in one byte");

/* Counters of one thread: written by it, summed by kith_stats_get. */
struct kith__counters {
    KITH__ATOMIC(uint64_t) spawned;
    KITH__ATOMIC(uint64_t) died;
    KITH__ATOMIC(uint64_t) dead_letters;
    KITH__ATOMIC(uint64_t) late_replies;
    KITH__ATOMIC(uint64_t) steals;
    KITH__ATOMIC(uint64_t) parks;
    KITH__ATOMIC(uint64_t) stalls;
    KITH__ATOMIC(uint64_t) rescues;
    KITH__ATOMIC(uint64_t) sockets_opened;
    KITH__ATOMIC(uint64_t) sockets_closed;
    KITH__ATOMIC(uint64_t) timers_set;
    KITH__ATOMIC(uint64_t) timers_ended;
};

/* A list of tasks under a lock: what outsiders schedule, and what does not fit into a ring. */
struct kith__task_list {
    pthread_mutex_t lock;
    struct kith_self *first;
    struct kith_self *last;
    KITH__ATOMIC(uint32_t) count;
};

struct kith__ctx {
    struct kith_self *running;   /* who acts: the task whose turn it is, or the attached thread's */
    struct kith_msg *current;    /* the message in its hands; NULL once given away */
    struct kith__worker *worker; /* NULL on an attached thread */
    struct kith__msg_cache *cache;
    struct kith_runtime *rt;
    struct kith__slot_cache slots;
    struct kith__counters counters;
    struct kith__random random;
    struct kith__ctx *next; /* in the runtime's list, under its lock */
};

/* The calling thread's context; NULL outside. */
extern _Thread_local struct kith__ctx *kith__ctx_here;

/* The context of the caller if self is who acts on this thread, else NULL: the caller then answers
 * KITH_EPERM. */
static inline struct kith__ctx *kith__ctx_of(const struct kith_self *self)
{
    struct kith__ctx *ctx = kith__ctx_here;
    return KITH__LIKELY(ctx != NULL && self != NULL && ctx->running == self) ? ctx : NULL;
}

/* What the tasks of lower layers need of the actor layer. */
struct kith__upper {
    const char *(*name_of)(const void *behavior); /* for logs; NULL: a thread */
    /* Ends what a task has besides its own memory: what it owns, its mailbox, its watchers, its slot. */
    void (*end)(struct kith__ctx *ctx, struct kith_self *task);
    /* A message that nobody takes; owns msg. */
    void (*stray)(struct kith__ctx *ctx, uint64_t to, struct kith_msg *msg, kith_err reason);
    /* A message with KITH__MSG_REPLY has arrived; owns msg. */
    void (*answer)(struct kith__ctx *ctx, struct kith_self *task, struct kith_msg *msg);
    /* A task that was made while a shutdown began: stops it. */
    void (*stop)(struct kith__ctx *ctx, uint64_t task);
    /* main waits and all workers sleep: whether that is a deadlock. */
    void (*quiet)(struct kith__ctx *ctx);
};

/* Where a worker is, as others see it. */
enum kith__worker_state {
    KITH__WORKER_RUNS,
    KITH__WORKER_PARKED,  /* asleep, or about to be: whoever swaps this to CLAIMED must wake it */
    KITH__WORKER_CLAIMED, /* woken to search */
    KITH__WORKER_ENDED
};

struct kith__worker {
    struct kith__ctx ctx;

    /* The owner's alone. */
    uint32_t until_clock;         /* messages until the clock is read again (sched/worker.h) */
    uint32_t clock_every;         /* how many at a time */
    uint64_t clock_turns;         /* turns begun until then */
    uint32_t slot_runs;           /* how often in a row the slot was run */
    struct kith_self *overloaded; /* the task that was put into the slot to work off its mailbox */
    kith_time clock_at;           /* when the clock was read last */
    kith_time turn_began;         /* the first reading in this turn; 0: none yet */
    kith_time polled_at;          /* when the loop was polled last */
    bool clock_due;               /* the clock was read: look around after this turn */
    bool searching;
    uint64_t seen_turns; /* watch: the owner of the watch keeps here what it saw of this worker */
    kith_time seen_at;
    bool stall_logged;

    /* Written by the owner, read by others. */
    _Alignas(KITH__CACHE_LINE) KITH__ATOMIC(uint64_t) turns; /* begun */
    KITH__ATOMIC(uint64_t) handled;     /* messages, in whole readings of the clock */
    KITH__ATOMIC(uint32_t) turn_ns;     /* how long a turn took lately, on average */
    KITH__ATOMIC(const void *) turn_of; /* the behaviour that is in the turn, for the log */
    KITH__ATOMIC(kith_time) timer_next; /* no later than its first timer; under timer_lock */

    /* The slot for the task that was woken last (sched/worker.h, kith__slot_take). */
    KITH__ATOMIC(struct kith_self *) woken;
    KITH__ATOMIC(uint32_t) taking;
    KITH__ATOMIC(uint32_t) raided;
    bool asymmetric; /* constant: heavy fences work */

    /* Tasks that run here and nowhere else: sched/placed.c. */
    struct kith_self *placed_first; /* the owner's alone */
    struct kith_self *placed_last;
    uint32_t placed_count;
    uint32_t round_left; /* turns that this kind still has: next_of_both in worker.c */
    bool round_placed;

    /* Written by all. */
    _Alignas(KITH__CACHE_LINE) KITH__ATOMIC(uint32_t) state;
    KITH__ATOMIC(struct kith_self *) placed_sent; /* newest first: sched/placed.c */
    pthread_mutex_t raid_lock;
    struct kith__runq queue;
    struct kith__task_list overflow; /* behind the ring, while it is not empty: sched/queue.c */

    pthread_mutex_t timer_lock;
    struct kith__wheel wheel;    /* under timer_lock */
    struct kith__wheel_list due; /* under timer_lock: expired, not sent yet */
    kith_time sleeps_to;         /* under timer_lock: the deadline it sleeps to; 0 while it runs */

    pthread_t thread;
    uint32_t index;
    bool started;
    struct kith__trace *trace; /* sched/watch.c's */
    KITH__ATOMIC(struct kith_self *) ring[KITH__RUNQ_CAPACITY];
};

/* How many workers share fine-grained work: sched/spread.c. */
struct kith__spread {
    KITH__ATOMIC(uint32_t) limit; /* workers from this index on hand their work to the others */
    KITH__ATOMIC(uint32_t) fine;  /* the work is fine-grained: limits are tried out */
    KITH__ATOMIC(kith_time) next; /* when to look again */
    pthread_mutex_t lock;         /* of the rest */
    kith_time began;              /* of the window that is measured */
    uint64_t work;                /* done until then */
    uint64_t rate;                /* of the window before the trial: work a millisecond */
    kith_time interval;
    uint32_t before; /* the limit to go back to; 0: nothing is being tried */
    bool upward;
    bool settling; /* the window just after a change: not counted */
};

/* The loop executor: one worker, which has no thread of its own. See sched/single.h. */
struct kith__single {
    pthread_t home;               /* constant: the thread on which the worker runs */
    KITH__ATOMIC(uint32_t) asked; /* what ends its run, or its sleep */
    /* Home's alone. */
    uint32_t heeds; /* which of these it runs for */
    uint32_t marks; /* of a round, that wait in its queues */
    bool runs;
    bool watched; /* another loop polls its descriptor */
    struct kith_self mark[2];
};

struct kith_runtime {
    struct kith__table table;
    struct kith__msg_pool messages;
    uint32_t actor_tag; /* kind and number of this runtime's actors, to refuse others at a glance */
    uint32_t worker_count;
    struct kith__worker *workers;
    const struct kith__driver *driver;
    struct kith__log log;
    kith_config config;
    kith_allocator allocator;

    /* How many workers search and how many are parked, in one word: see sched/park.c. */
    _Alignas(KITH__CACHE_LINE) KITH__ATOMIC(uint32_t) idle;
    KITH__ATOMIC(uint32_t) watch_armed;
    pthread_mutex_t watch_lock;
    bool stall_handler;
    KITH__ATOMIC(uint32_t) ending; /* the workers leave when they find nothing to do */
    pthread_mutex_t park_lock;
    uint32_t parked_last;                 /* under park_lock */
    KITH__ATOMIC(uint32_t) shutting_down; /* new work is refused */

    _Alignas(KITH__CACHE_LINE) struct kith__task_list shared;

    struct kith__spread spread;
    struct kith__single single;

    pthread_mutex_t lock; /* contexts, joiners, shutdown */
    pthread_cond_t changed;
    KITH__ATOMIC(uint32_t) joining; /* somebody waits for the workers to go quiet */
    struct kith__ctx *contexts;
    struct kith__counters left;      /* of threads that have detached */
    KITH__ATOMIC(uint32_t) attached; /* written under the lock */
    uint32_t pins;                   /* calls from outside that look at it: actors/runtime.c */
    KITH__ATOMIC(uint32_t) attaches; /* ever, for the seeds of their random numbers */

    KITH__ATOMIC(struct kith_co *) main; /* kith_main's, while its function runs */
    KITH__ATOMIC(uint32_t) main_waits;   /* without a deadline: actors/deadlock.c */
    KITH__ATOMIC(uint32_t) deadlocked;
    KITH__ATOMIC(uint32_t) outside; /* what may yet wake a task: blocking calls, open promises */

    const struct kith__upper *upper;
    void *actors;                            /* the actor layer's */
    void *io;                                /* the io layer's */
    const struct kith__readiness *readiness; /* the io layer's: sched/co.h */
    struct kith__blocking *blocking;         /* the csp layer's pool for blocking calls */
    struct kith__csp *csp;                   /* the csp layer's */
    void *loops;                             /* the driver's */
};

#endif
