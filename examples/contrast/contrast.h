/* SPDX-License-Identifier: BSD-2-Clause
 *
 * The contrast: what the workloads share. Each workload is one file, wNN_name.c, in which the same
 * task is solved in up to four styles of program; a dress is a style and what runs it:
 *
 *   callbacks   handlers, all on one thread (KITH_LOOP), which therefore share plain variables
 *   fibers      fibers, all on one thread (KITH_LOOP)
 *   csp         fibers and channels on the pool
 *   actors      actors on the pool, each placed on a worker in turn, no stealing
 *   stealing    actors on the pool, as kith runs them when it is told nothing
 *   threads     plain threads, a mutex and condition variables, without kith
 *
 * A program is `contrast DRESS WORKLOAD [PARAMETER]`. It prints CSV, a line a figure:
 *
 *   workload,parameter,dress,figure,value,unit,check,note
 *
 * and check is ok or FAILED, or - where the dress does not fit, and the note says why.
 */
#ifndef CONTRAST_H
#define CONTRAST_H

#include <kith.h>
#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* ---- a run ---- */

enum dress { CALLBACKS, FIBERS, CSP, ACTORS, STEALING, THREADS, DRESSES };
enum size { TINY, QUICK, FULL, SIZES }; /* for the tests, for two minutes, for the figures */

typedef struct workload {
    const char *name; /* W1 */
    const char *what;
    const char *params[SIZES];     /* words; the driver runs each of them */
    kith_main_fn *kith[THREADS];   /* what kith_main runs, a dress each */
    void (*threads)(void);         /* without kith */
    bool (*client)(uint16_t port); /* a process of its own that speaks TCP to the dress */
} workload;

extern const workload w1_hop, w2_echo, w3_hog, w4_idle, w5_gather, w6_queens, w7_shared,
    w8_pipeline, w9_overload, w10_chat;

/* What this process runs; set by main before anything else happens. */
typedef struct contrast_run {
    const workload *work;
    enum dress dress;
    enum size size;
    const char *param;
    unsigned cores;
    const char *cdf; /* a file to add the distribution of the latencies to; NULL: none */
} contrast_run;
extern contrast_run run;

bool dress_named(const char *name, enum dress *dress);
bool anything_failed(void);
bool param_is(const char *text);
long param_number(void);
long by_size(long tiny, long quick, long full);

/* One figure. A check that fails makes the program end with status 1. Thread: main's. */
void report(const char *figure, double value, const char *unit, bool ok);
/* The dress does not fit this parameter. */
void report_none(const char *figure, const char *unit, const char *why);

/* Where the i-th of several runs: kith_spawn_options.worker and kith_fiber_options.worker. In turn in
 * the dresses that place by hand (csp, actors), 0 in the others. */
unsigned place(long i);
kith_ref spawn_placed(kith_self *self, const kith_behavior *behavior, const void *arg, long i);

/* What an actor tells its main when all is done, and main's wait for it (false: it never came). */
KITH_MESSAGE(finished, {
    uint64_t count;
    uint64_t sum;
});
bool wait_finished(kith_co *co, finished *result);

/* The same for a program whose handlers only need to be told to begin, or to go on. */
KITH_MESSAGE(begin, { kith_ref peer; });

/* ---- work with a known answer ---- */

uint64_t mix(uint64_t x);    /* some 5 ns */
uint64_t work(uint64_t x);   /* some 1 us, the same for the same x on every machine */
void burn(kith_time cpu_ns); /* that much time of a core, counted as this thread's own */
double seconds_since(kith_time then);
#define PATIENCE (300 * KITH_SECOND) /* nothing takes that long */

/* ---- latencies ---- */

/* Counts in buckets that are 1.6% wide. Plain memory, so that it can be shared with a client. */
enum { BUCKETS = 64 * 40 };
typedef struct histogram {
    uint64_t count;
    uint64_t bucket[BUCKETS];
} histogram;

void histogram_add(histogram *h, kith_time ns);
double histogram_ms(const histogram *h, double quantile);
/* p50, p99 and p99.9, in milliseconds; and the distribution, into run.cdf. */
void report_latencies(const histogram *h, bool ok);

/* ---- clients: client.c ---- */

/* What a client leaves for the program that it has driven. */
typedef struct client_result {
    bool ok;
    uint64_t ops;
    double seconds;
    histogram latency;
} client_result;

/* Forks the workload's client if it has one, before any thread is started. */
void client_start(void);
/* Says where the server listens. */
void client_go(uint16_t port);
/* Waits for its end. */
const client_result *client_end(void);
/* In the client: its result; connects count sockets into fds; one epoll loop over them. */
extern client_result *client;
bool client_connect(uint16_t port, int *fds, long count);

/* Everything that is sent is records, but for W2's. */
typedef struct record {
    uint64_t when;  /* when it should have been sent */
    uint32_t from;  /* who sent it */
    uint32_t value; /* its number, or how many microseconds it burns */
} record;

/* Cuts a stream of bytes into records: takes from *bytes, false if they do not make a whole one. */
typedef struct cutter {
    size_t held;
    unsigned char part[sizeof(record)];
} cutter;
bool cut(cutter *c, const unsigned char **bytes, size_t *n, record *out);

/* ---- servers: servers.c, which is where the dresses differ in how they accept ---- */

/* Accepts count connections, gives each to an actor (or a fiber, arg NULL, which gets its socket as
 * arg), waits until all of them have ended. */
bool serve_actors(kith_self *self, kith_co *co, const kith_behavior *connection, const void *arg,
                  long count);
bool serve_fibers(kith_self *self, kith_co *co, kith_fiber_fn *connection, void *shared,
                  long count);

/* What a fiber that serves a connection gets. */
struct served {
    kith_sock sock;
    void *shared; /* serve_fibers's */
};

/* A connection of the threads' server, and of clients. */
typedef struct conn {
    pthread_mutex_t mutex; /* held while handler runs */
    int fd;
    cutter cut;
    void *shared;
    long number;
} conn;

/* One thread in epoll_wait, which hands connections that are ready to a pool of threads, where
 * handler reads what there is; false: the connection is over. */
typedef bool conn_fn(conn *c, const unsigned char *bytes, size_t n);
bool serve_threads(conn_fn *handler, void *shared, long count, unsigned threads);
bool write_all(int fd, const void *bytes, size_t n);
enum {
    POOL_THREADS = 16
}; /* of a server: more than cores, so that the system can share them out */

/* ---- what the dress threads is sewn from: threads.c ---- */

/* A queue of words between threads. limit 0: without one. */
typedef struct queue {
    pthread_mutex_t mutex;
    pthread_cond_t filled;
    pthread_cond_t drained;
    uint64_t *items;
    size_t room; /* of items; a power of two */
    size_t head;
    size_t count;
    size_t limit;
    size_t most; /* count, at its highest */
    bool closed;
} queue;

void queue_open(queue *q, size_t limit);
void queue_put(queue *q, uint64_t item);     /* waits for room */
bool queue_try_put(queue *q, uint64_t item); /* false: full */
bool queue_take(queue *q, uint64_t *item);   /* waits; false: closed and empty */
void queue_close(queue *q);
void queue_free(queue *q);

/* Counts down to zero, and lets one thread wait for that. */
typedef struct countdown {
    pthread_mutex_t mutex;
    pthread_cond_t zero;
    uint64_t left;
    uint64_t sum;
} countdown;

void countdown_open(countdown *c, uint64_t count);
void countdown_step(countdown *c, uint64_t add);
uint64_t countdown_wait(countdown *c); /* the sum */

/* Starts a thread with a small stack, on any CPU (-1) or on that one; false: the system refuses. */
bool thread_try_start(pthread_t *thread, void *(*fn)(void *), void *arg, int cpu);
pthread_t thread_start(void *(*fn)(void *), void *arg, int cpu); /* refused: the program ends */

#endif
