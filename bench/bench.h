/* SPDX-License-Identifier: BSD-2-Clause
 *
 * What the files of kith-bench share: a workload, what it is given and what it gives back.
 *
 * Called by: main.c (options), runs.c (child processes), and the workloads, one file a family.
 * Invariants: a workload takes its own times, between its first send and its last message, so that
 *   starting and stopping a runtime is never counted; every workload compares what it handled with
 *   a known answer and puts that into bench_result.check.
 * Threads: a workload's function runs on the main thread, attached to the runtime. Results come
 *   back in a bench_done message, or through memory that is read after kith_join.
 * Why so: a benchmark that uses only public calls measures what a program gets.
 *
 * Message names are one program's: every file puts its family's prefix before them.
 */
#ifndef BENCH_H
#define BENCH_H

#include <kith.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define BENCH_PATIENCE (300 * KITH_SECOND) /* a workload that takes longer has failed */
#define BENCH_EXTRAS_MAX 8

typedef struct bench_options {
    unsigned workers; /* 0: the default of kith_start */
    uint64_t n;       /* 0: the workload's default */
    uint64_t slice;   /* messages from one turn of a producer; 0: all */
    unsigned runs;    /* 0: once, in this process */
    bool loop;        /* the single-thread executor */
    bool json;
    int result_fd; /* in a child process: where its bench_result goes; else -1 */
} bench_options;

/* A further number of a workload, such as p99_us. */
typedef struct bench_extra {
    char name[24];
    double value;
} bench_extra;

/* Plain bytes without pointers: a child process writes it into a pipe. */
typedef struct bench_result {
    uint64_t ops; /* 0: the workload has no rate */
    uint64_t elapsed_ns;
    uint64_t peak_rss_bytes;
    uint64_t n;
    uint64_t workers;
    bool check;
    unsigned extras;
    bench_extra extra[BENCH_EXTRAS_MAX];
} bench_result;

/* What a workload's function gets. runtime, self and co are NULL if it asked for no runtime. */
typedef struct bench {
    const bench_options *options;
    uint64_t n;
    bench_result *result;
    kith_runtime *runtime;
    kith_self *self;
    kith_co *co;
} bench;

typedef struct bench_workload {
    const char *name;
    const char *op;   /* what one operation is */
    const char *what; /* a line for the list */
    uint64_t n_default;
    uint64_t n_max;
    bool sliced;     /* --slice has a meaning */
    bool no_runtime; /* a peer in raw form */
    void (*run)(bench *b);
} bench_workload;

/* The tables of the families; each ends with a NULL name. */
extern const bench_workload bench_pairs[];    /* pairs.c: pingpong, threadring */
extern const bench_workload bench_streams[];  /* streams.c: counting, counting-bounded, fanin */
extern const bench_workload bench_crowds[];   /* crowds.c: big, chameneos */
extern const bench_workload bench_births[];   /* births.c: fjcreate, idle, skynet, idlecpu */
extern const bench_workload bench_chans[];    /* chans.c: channels, select, fibers */
extern const bench_workload bench_wakes[];    /* wake.c: wake, wake-raw, wake-pair */
extern const bench_workload bench_timers[];   /* timers.c */
extern const bench_workload bench_blocking[]; /* blocking.c: blocking */
extern const bench_workload bench_echoes[];   /* echo.c: echo, echo-fibers, echo-raw */

/* From the main thread to the actor that begins; its sender is whom to report to. */
KITH_MESSAGE(bench_go, { uint64_t n; });

/* From that actor, when all is done. */
KITH_MESSAGE(bench_done, {
    kith_time began_ns;
    kith_time ended_ns;
    uint64_t ops;
    bool check;
});

/* ---- measure.c ---- */

/* Runs a workload in this process: starts the runtime that it wants, ends it, fills the result. */
void bench_run(const bench_workload *workload, const bench_options *options, bench_result *result);

/* Sends a bench_go to first, waits for the bench_done and puts it into the result. */
void bench_go_and_wait(bench *b, kith_ref first);

/* Waits for a bench_done, without a bench_go. */
void bench_wait(bench *b);

/* Puts times, operations and the self-check into the result. */
void bench_report(bench *b, kith_time began_ns, kith_time ended_ns, uint64_t ops, bool check);

void bench_add_extra(bench_result *result, const char *name, double value);

/* Sorts samples, adds PREFIXp50_us, PREFIXp99_us and PREFIXmean_us; returns what it found. */
typedef struct bench_quantiles {
    double p50_ns;
    double p99_ns;
    double max_ns;
} bench_quantiles;
bench_quantiles bench_add_quantiles(bench_result *result, const char *prefix, uint32_t *samples_ns,
                                    size_t n);

uint64_t bench_rss_bytes(void);      /* resident now */
uint64_t bench_peak_rss_bytes(void); /* most that ever was */
uint64_t bench_cpu_ns(void);         /* of all threads of this process */

/* A small generator (splitmix64) for choices that must be the same in every run. */
uint64_t bench_random(uint64_t *state);

/* calloc that ends the program if there is no memory: a benchmark has no way on. */
void *bench_calloc(size_t n, size_t bytes);

/* How long a slice is, of what is left. */
static inline uint64_t bench_slice(uint64_t slice, uint64_t left)
{
    return slice == 0 || slice > left ? left : slice;
}

/* ---- runs.c ---- */

/* Runs a workload options->runs times, each in a new process; false if a process failed. */
bool bench_run_children(const bench_workload *workload, const bench_options *options,
                        bench_result *results);

/* ---- print.c ---- */

/* Prints the results of n runs of a workload, as a line of text or of JSON. */
void bench_print(const bench_workload *workload, const bench_options *options,
                 const bench_result *results, size_t n);

#endif
