/* SPDX-License-Identifier: BSD-2-Clause
 *
 * kith-bench: runs one workload in this process and measures it.
 *
 * Called by: main.c; the bench_ helpers by every workload.
 * Invariants: the result's times are the workload's own; the peak of memory is read after the
 *   runtime has ended, so it covers everything that the workload did.
 * Threads: the main thread, attached to the runtime while the workload runs.
 * Why VmHWM: it is the kernel's own count of the largest resident set of this program image;
 *   getrusage's is inherited across exec, and would count the parent of a child run.
 */
#include "bench/bench.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static uint64_t status_bytes(const char *key)
{
    FILE *file = fopen("/proc/self/status", "r");
    char line[256];
    unsigned long long kib = 0;
    if (file == NULL)
        return 0;
    while (fgets(line, sizeof line, file) != NULL)
        if (strncmp(line, key, strlen(key)) == 0)
            kib = strtoull(line + strlen(key), NULL, 10);
    fclose(file);
    return (uint64_t)kib * 1024;
}

uint64_t bench_rss_bytes(void)
{
    return status_bytes("VmRSS:");
}

uint64_t bench_peak_rss_bytes(void)
{
    return status_bytes("VmHWM:");
}

uint64_t bench_cpu_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (uint64_t)t.tv_sec * KITH_SECOND + (uint64_t)t.tv_nsec;
}

uint64_t bench_random(uint64_t *state)
{
    uint64_t z = *state += 0x9e3779b97f4a7c15u;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

void *bench_calloc(size_t n, size_t bytes)
{
    void *memory = calloc(n, bytes);
    if (memory == NULL) {
        fprintf(stderr, "kith-bench: out of memory\n");
        exit(1);
    }
    return memory;
}

void bench_add_extra(bench_result *result, const char *name, double value)
{
    if (result->extras == BENCH_EXTRAS_MAX)
        return;
    bench_extra *extra = &result->extra[result->extras++];
    snprintf(extra->name, sizeof extra->name, "%s", name);
    extra->value = value;
}

static int by_size(const void *a, const void *b)
{
    uint32_t x = *(const uint32_t *)a;
    uint32_t y = *(const uint32_t *)b;
    return (x > y) - (x < y);
}

static void add_us(bench_result *result, const char *prefix, const char *name, double ns)
{
    char full[sizeof result->extra[0].name];
    snprintf(full, sizeof full, "%s%s_us", prefix, name);
    bench_add_extra(result, full, ns / 1000);
}

bench_quantiles bench_add_quantiles(bench_result *result, const char *prefix, uint32_t *samples_ns,
                                    size_t n)
{
    bench_quantiles q = {0, 0, 0};
    double sum = 0;
    if (n == 0)
        return q;
    qsort(samples_ns, n, sizeof *samples_ns, by_size);
    for (size_t i = 0; i < n; i++)
        sum += samples_ns[i];
    q.p50_ns = samples_ns[n / 2];
    q.p99_ns = samples_ns[n - 1 - (n - 1) / 100];
    q.max_ns = samples_ns[n - 1];
    add_us(result, prefix, "p50", q.p50_ns);
    add_us(result, prefix, "p99", q.p99_ns);
    add_us(result, prefix, "mean", sum / (double)n);
    return q;
}

void bench_report(bench *b, kith_time began_ns, kith_time ended_ns, uint64_t ops, bool check)
{
    b->result->elapsed_ns = ended_ns - began_ns;
    b->result->ops = ops;
    b->result->check = check;
}

void bench_wait(bench *b)
{
    kith_time deadline = kith_in(BENCH_PATIENCE);
    kith_msg *msg = NULL;
    kith_err err;
    while ((err = kith_receive(b->co, deadline, &msg)) == KITH_OK) {
        const bench_done *done = kith_body(msg, bench_done);
        if (done != NULL) {
            bench_report(b, done->began_ns, done->ended_ns, done->ops, done->check);
            return;
        }
    }
    fprintf(stderr, "kith-bench: no end of the workload: %s\n", kith_strerror(err));
}

void bench_go_and_wait(bench *b, kith_ref first)
{
    kith_err err = kith_send(b->self, first, bench_go, .n = b->n);
    if (err == KITH_OK)
        bench_wait(b);
    else
        fprintf(stderr, "kith-bench: cannot begin: %s\n", kith_strerror(err));
}

static void complain(bench *b, const char *what, kith_err err)
{
    fprintf(stderr, "kith-bench: %s: %s\n", what, kith_strerror(err));
    b->result->check = false;
}

/* No workload sends to who may be dead: a dead letter is a message that came twice, or astray. */
static void check_letters(bench *b)
{
    kith_stats stats = {.dead_letters = 1};
    kith_err err = kith_stats_get(b->runtime, &stats);
    if (err != KITH_OK)
        complain(b, "stats", err);
    if (stats.dead_letters > 0) {
        fprintf(stderr, "kith-bench: dead letters: %llu\n", (unsigned long long)stats.dead_letters);
        b->result->check = false;
    }
}

static void run_attached(const bench_workload *workload, bench *b)
{
    kith_stats stats;
    kith_err err = kith_attach(b->runtime, &b->self, &b->co);
    if (err != KITH_OK) {
        complain(b, "attach", err);
        return;
    }
    if (kith_stats_get(b->runtime, &stats) == KITH_OK)
        b->result->workers = stats.workers;
    workload->run(b);
    check_letters(b);
    err = kith_detach(b->self);
    if (err != KITH_OK)
        complain(b, "detach", err);
}

/* Full mailboxes and long turns are what some workloads are made of: only errors are logged. */
static void run_with_runtime(const bench_workload *workload, bench *b)
{
    const kith_config config = {.workers = b->options->workers,
                                .executor = b->options->loop ? KITH_LOOP : KITH_POOL,
                                .log = kith_log_stderr,
                                .log_level = KITH_LOG_ERROR};
    kith_err err = kith_start(&config, &b->runtime);
    if (err != KITH_OK) {
        complain(b, "start", err);
        return;
    }
    run_attached(workload, b);
    err = kith_shutdown(b->runtime, kith_in(30 * KITH_SECOND));
    if (err != KITH_OK)
        complain(b, "shutdown", err);
}

void bench_run(const bench_workload *workload, const bench_options *options, bench_result *result)
{
    bench b = {.options = options, .result = result};
    memset(result, 0, sizeof *result);
    b.n = options->n != 0 ? options->n : workload->n_default;
    result->n = b.n;
    if (workload->no_runtime)
        workload->run(&b);
    else
        run_with_runtime(workload, &b);
    result->peak_rss_bytes = bench_peak_rss_bytes();
}
