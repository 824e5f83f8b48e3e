/* SPDX-License-Identifier: BSD-2-Clause
 *
 * The contrast: what all dresses use: reports, work with a known answer, latencies.
 *
 * Called by: the workloads.
 * Invariants: a latency is counted in a bucket whose borders are 1.6% apart, so a quantile is as
 *   exact as that, whatever its size; the memory is fixed.
 * Threads: report is main's; the rest has no state but the caller's.
 * Why a histogram and not a list: the client must not allocate, nor sort, while it measures.
 */
#include "contrast.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

contrast_run run;
static bool failed;

bool param_is(const char *text)
{
    return strcmp(run.param, text) == 0;
}

long param_number(void)
{
    return strtol(run.param, NULL, 10);
}

long by_size(long tiny, long quick, long full)
{
    return run.size == FULL ? full : run.size == QUICK ? quick : tiny;
}

/* ---- reports ---- */

static const char *const dress_names[DRESSES] = {"callbacks", "fibers",   "csp",
                                                 "actors",    "stealing", "threads"};

static void report_head(const char *figure)
{
    printf("%s,%s,%s,%s,", run.work->name, run.param, dress_names[run.dress], figure);
}

void report(const char *figure, double value, const char *unit, bool ok)
{
    report_head(figure);
    printf("%.6g,%s,%s,\n", value, unit, ok ? "ok" : "FAILED");
    failed = failed || !ok;
}

void report_none(const char *figure, const char *unit, const char *why)
{
    report_head(figure);
    printf("-,%s,-,%s\n", unit, why);
}

bool anything_failed(void)
{
    return failed;
}

bool dress_named(const char *name, enum dress *dress)
{
    for (int i = 0; i < DRESSES; i++) {
        *dress = (enum dress)i;
        if (strcmp(name, dress_names[i]) == 0)
            return true;
    }
    return false;
}

/* ---- kith ---- */

unsigned place(long i)
{
    return run.dress == CSP || run.dress == ACTORS ? (unsigned)i % run.cores + 1 : 0;
}

kith_ref spawn_placed(kith_self *self, const kith_behavior *behavior, const void *arg, long i)
{
    return kith_spawn_with(self, behavior, arg, &(kith_spawn_options){.worker = place(i)});
}

bool wait_finished(kith_co *co, finished *result)
{
    kith_msg *msg;
    if (kith_receive_only(co, finished, kith_in(PATIENCE), &msg) != KITH_OK)
        return false;
    *result = *kith_body(msg, finished);
    return true;
}

/* ---- work ---- */

uint64_t mix(uint64_t x)
{
    x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9;
    x = (x ^ x >> 27) * 0x94d049bb133111eb;
    return x ^ x >> 31;
}

enum { MIXES = 360 };

uint64_t work(uint64_t x)
{
    for (int i = 0; i < MIXES; i++)
        x = mix(x);
    return x;
}

static uint64_t thread_cpu_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
    return (uint64_t)now.tv_sec * KITH_SECOND + (uint64_t)now.tv_nsec;
}

/* CPU time and not time: a hog that is preempted has not done its work yet. */
void burn(kith_time cpu_ns)
{
    uint64_t end = thread_cpu_ns() + cpu_ns;
    volatile uint64_t x = end;
    while (thread_cpu_ns() < end)
        x = work(x);
}

double seconds_since(kith_time then)
{
    return (double)(kith_now() - then) / (double)KITH_SECOND;
}

/* ---- latencies ---- */

/* 64 buckets from each power of two to the next; below 64 ns, one a nanosecond. */
static size_t bucket_of(uint64_t ns)
{
    if (ns < 64)
        return (size_t)ns;
    int top = 63 - __builtin_clzll(ns);
    size_t bucket = (size_t)(top - 5) * 64 + (size_t)(ns >> (top - 6) & 63);
    return bucket < BUCKETS ? bucket : BUCKETS - 1;
}

static double bucket_ms(size_t bucket)
{
    uint64_t ns = bucket;
    if (bucket >= 64)
        ns = (64 + (uint64_t)bucket % 64) << (bucket / 64 - 1);
    return (double)ns / (double)KITH_MS;
}

void histogram_add(histogram *h, kith_time ns)
{
    h->count++;
    h->bucket[bucket_of(ns)]++;
}

double histogram_ms(const histogram *h, double quantile)
{
    uint64_t wanted = (uint64_t)((double)h->count * quantile);
    uint64_t seen = 0;
    size_t i = 0;
    while (i < BUCKETS - 1 && (seen += h->bucket[i]) <= wanted)
        i++;
    return bucket_ms(i);
}

/* Lines of milliseconds and how many: several runs are added up by adding the lines. */
static void write_cdf(const histogram *h)
{
    FILE *out = fopen(run.cdf, "a");
    if (out == NULL) {
        perror(run.cdf);
        failed = true;
        return;
    }
    for (size_t i = 0; i < BUCKETS; i++) {
        if (h->bucket[i] != 0)
            fprintf(out, "%.9g %llu\n", bucket_ms(i), (unsigned long long)h->bucket[i]);
    }
    fclose(out);
}

void report_latencies(const histogram *h, bool ok)
{
    report("p50", histogram_ms(h, 0.5), "ms", ok);
    report("p99", histogram_ms(h, 0.99), "ms", ok);
    report("p99.9", histogram_ms(h, 0.999), "ms", ok);
    if (run.cdf != NULL)
        write_cdf(h);
}
