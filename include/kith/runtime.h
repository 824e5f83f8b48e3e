/* SPDX-License-Identifier: BSD-2-Clause
 *
 * A runtime is a pool of worker threads and the actors that they run. A program starts one by
 * kith_main, a library inside a program by kith_start; up to 16 may live in one process at a time.
 * Threads that are not workers attach to it, get a kith_self and a kith_co, and then use the same
 * calls as actors do. The library starts no threads but the workers and those of blocking calls,
 * and installs no signal handler unless stall_signal or stack_report asks for one (kith_main has
 * stack_report on).
 */
#ifndef KITH_RUNTIME_H
#define KITH_RUNTIME_H

#include <kith/actor.h>
#include <kith/co.h>
#include <kith/err.h>
#include <kith/log.h>
#include <kith/time.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

KITH_BEGIN_DECLS

typedef struct kith_runtime kith_runtime;

/* Where memory comes from. alloc returns bytes aligned to align (a power of two, at least 16), not
 * necessarily zeroed, or NULL; free gets what alloc gave, with the same bytes. Both are called from
 * several threads at once. */
typedef struct kith_allocator {
    void *(*alloc)(void *arg, size_t bytes, size_t align);
    void (*free)(void *arg, void *memory, size_t bytes);
    void *arg;
} kith_allocator;

#define KITH_WORKERS_MAX 256

/* What runs the actors. */
typedef enum kith_executor {
    KITH_POOL = 0, /* a pool of worker threads */
    KITH_LOOP = 1  /* the calling thread alone: loop.h */
} kith_executor;

/* How KITH_LOOP asks the system for events. */
typedef enum kith_poller { KITH_EPOLL = 0, KITH_POLL = 1, KITH_SELECT = 2 } kith_poller;

/* Zero in any field means its default. */
typedef struct kith_config {
    unsigned workers;         /* default: the CPUs that the process may use (affinity, cgroup) */
    uint64_t seed;            /* of the workers' random numbers; default: from the system */
    kith_log_fn *log;         /* default: none (kith_main: kith_log_stderr) */
    void *log_arg;            /* handed to log */
    kith_log_level log_level; /* what is logged: this level and above; default KITH_LOG_WARN */
    kith_time spin_ns;        /* poll that long before sleeping; default 0 */
    kith_time stall_ns;       /* a turn longer than this is logged; default 25 ms */
    int stall_signal;         /* a signal (SIGURG, say) by which the stalled worker is asked for its
                                 backtrace; its handler is installed while the runtime lives;
                                 default: none, and no backtrace */
    kith_time shutdown_ns;    /* how long kith_main waits for the actors to end; default 5 s */
    kith_allocator allocator; /* default: the C library's */
    bool no_stack_guards;     /* fibers' stacks without guard pages: for a million of them */
    bool stack_report;        /* a fiber that overflows its stack is named on stderr, by a handler
                                 of SIGSEGV and SIGBUS that passes every fault on to the handler
                                 that was there before; default: off (kith_main: always on) */
    bool no_stealing;         /* workers take no work from each other, stalled or not */
    bool debug;               /* reports handlers that last long, and results nobody looks at */
    kith_time slow_ns;        /* with debug: how long is long; default 100 ms */
    kith_executor executor;   /* default KITH_POOL */
    kith_poller poller;       /* of KITH_LOOP; default KITH_EPOLL */
    unsigned blocking_threads;  /* most threads for blocking.h; default: 2 a CPU + 8 */
    unsigned blocking_queue;    /* most calls that wait for one; default 10,000 */
    kith_time blocking_idle_ns; /* how long an idle one stays; default 10 s */
} kith_config;

/* A program's main function: it runs on the calling thread, attached. */
typedef void kith_main_fn(kith_self *self, kith_co *co, void *arg);

/* Starts a runtime, runs fn on this thread, shuts the runtime down; returns main's exit status: 0,
 * or 1 if the runtime could not start, fn called kith_fail, or the shutdown's deadline passed.
 * Thread: any, not an attached one or a worker. Blocks: yes. Errors: 1, and a line in the log. */
KITH_API int kith_main(const kith_config *config, kith_main_fn *fn, void *arg);

/* Starts a runtime. config may be NULL.
 * Owns: the caller owns *runtime, and ends it by kith_shutdown. Thread: any. Blocks: no.
 * Errors: KITH_EINVAL, KITH_ENOMEM, KITH_EAGAIN (16 live, or no thread to be had), KITH_EMFILE. */
KITH_API KITH_MUST_CHECK kith_err kith_start(const kith_config *config, kith_runtime **runtime);

/* Waits until no actor is alive; attached threads do not count. At the deadline, names what is left
 * in the log. Not to be called from an actor.
 * Thread: any but a worker. Blocks: until deadline.
 * Errors: KITH_ETIMEOUT, KITH_EINVAL, KITH_EPERM. */
KITH_API kith_err kith_join(kith_runtime *runtime, kith_time deadline);

/* Ends a runtime: refuses new work (spawns, timers, listens, connects), stops the actors, children
 * before parents, waits until they are dead and all attached threads have detached, ends the
 * workers and frees everything. At the deadline, names what is left in the log, answers
 * KITH_ETIMEOUT and frees nothing: call it again. While it runs, whoever waits in kith_receive or
 * kith_ask hears KITH_ESHUTDOWN.
 * Owns: takes runtime if it returns KITH_OK. Thread: any that is not attached to it and no worker;
 * with KITH_LOOP the one that started it (loop.h), which runs what is left meanwhile, as in
 * kith_join. Blocks: until deadline.
 * Errors: KITH_ETIMEOUT, KITH_EINVAL, KITH_EPERM, KITH_EBUSY (another thread is shutting it down).
 */
KITH_API KITH_MUST_CHECK kith_err kith_shutdown(kith_runtime *runtime, kith_time deadline);

/* Makes this thread one of runtime's: gives it a self and a co, to be used on this thread only,
 * until kith_detach. A thread is attached to one runtime at a time. co may be NULL if not needed.
 * Owns: both belong to the runtime. Thread: any but a worker or an attached one. Blocks: no.
 * Errors: KITH_EINVAL, KITH_EPERM, KITH_ENOMEM, KITH_EAGAIN, KITH_ESHUTDOWN. */
KITH_API KITH_MUST_CHECK kith_err kith_attach(kith_runtime *runtime, kith_self **self,
                                              kith_co **co);

/* Ends what kith_attach began; the thread's reference is then dead, like an actor's.
 * Thread: self's. Blocks: no. Errors: KITH_EPERM. */
KITH_API kith_err kith_detach(kith_self *self);

/* The runtime of self. Thread: self's. Blocks: no. Errors: NULL. */
KITH_API kith_runtime *kith_self_runtime(kith_self *self);

/* How many workers a runtime gets by default: the CPUs of the affinity mask, no more than a cgroup
 * quota allows, at least 1. Thread: any. Blocks: no (reads files). Errors: none. */
KITH_API unsigned kith_cpus(void);

/* A uniformly distributed random number, from self's worker (splitmix64-seeded xoshiro256**).
 * Thread: self's. Blocks: no. Errors: 0. */
KITH_API uint64_t kith_random(kith_self *self);

/* Counts since the start, except where marked *: those are counts of now. They are gathered while
 * the workers run, so each is right, but not all at the same instant. */
typedef struct kith_stats {
    uint64_t workers;      /* * worker threads */
    uint64_t actors;       /* * alive, attached threads not counted */
    uint64_t spawned;      /* actors ever */
    uint64_t dead_letters; /* messages that nobody took */
    uint64_t late_replies; /* answers that came after their question had ended */
    uint64_t turns;        /* times an actor was run */
    uint64_t steals;       /* times a worker took work from another */
    uint64_t parks;        /* times a worker went to sleep */
    uint64_t stalls;       /* turns that lasted longer than stall_ns */
    uint64_t rescues;      /* times a stalled worker's sockets and timers were served by another */
    uint64_t messages;     /* * messages that exist */
    uint64_t sockets;      /* * open sockets */
    uint64_t timers;       /* * timers set */
} kith_stats;

/* Fills *stats. Thread: any, while the runtime lives. Blocks: no. Errors: KITH_EINVAL. */
KITH_API kith_err kith_stats_get(kith_runtime *runtime, kith_stats *stats);

/* The library's version, "MAJOR.MINOR.PATCH".
 * Owns: the text is constant. Thread: any. Blocks: no. Errors: none. */
KITH_API const char *kith_version(void);

KITH_END_DECLS

#endif
