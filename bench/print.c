/* SPDX-License-Identifier: BSD-2-Clause
 *
 * kith-bench: prints results, as text for people or as one JSON line.
 *
 * Called by: main.c.
 * Invariants: with several runs every figure is its own median, and JSON has NAME_min and NAME_max
 *   beside it; check is true only if it held in every run.
 * Threads: main's.
 * Why medians: on a shared machine the mean is that of the neighbours.
 */
#include "bench/bench.h"

#include <stdio.h>
#include <stdlib.h>

/* What can be asked of a result: its rate, time and memory, and its extras by number. */
enum { FIGURE_RATE = -3, FIGURE_NS, FIGURE_RSS };

typedef struct spread {
    double min;
    double median;
    double max;
} spread;

static double figure_of(const bench_result *r, int figure)
{
    double ops = (double)r->ops;
    double ns = (double)r->elapsed_ns;
    switch (figure) {
    case FIGURE_RATE:
        return ns > 0 ? ops * 1e9 / ns : 0;
    case FIGURE_NS:
        return ops > 0 ? ns / ops : 0;
    case FIGURE_RSS:
        return (double)r->peak_rss_bytes;
    default:
        return r->extra[figure].value;
    }
}

static int by_size(const void *a, const void *b)
{
    double x = *(const double *)a;
    double y = *(const double *)b;
    return (x > y) - (x < y);
}

static spread spread_of(const bench_result *results, size_t n, int figure)
{
    double *values = bench_calloc(n, sizeof *values);
    for (size_t i = 0; i < n; i++)
        values[i] = figure_of(&results[i], figure);
    qsort(values, n, sizeof *values, by_size);
    double middle = n % 2 == 1 ? values[n / 2] : (values[n / 2 - 1] + values[n / 2]) / 2;
    spread s = {values[0], middle, values[n - 1]};
    free(values);
    return s;
}

static bool all_held(const bench_result *results, size_t n)
{
    bool check = true;
    for (size_t i = 0; i < n; i++)
        check = check && results[i].check;
    return check;
}

static void json_figure(const char *name, spread s, size_t n, int decimals)
{
    printf(", \"%s\": %.*f", name, decimals, s.median);
    if (n > 1)
        printf(", \"%s_min\": %.*f, \"%s_max\": %.*f", name, decimals, s.min, name, decimals,
               s.max);
}

static void print_json(const bench_workload *w, const bench_options *options,
                       const bench_result *results, size_t n)
{
    printf("{\"workload\": \"%s\", \"workers\": %llu, \"n\": %llu", w->name,
           (unsigned long long)results->workers, (unsigned long long)results->n);
    if (w->sliced)
        printf(", \"slice\": %llu", (unsigned long long)options->slice);
    if (n > 1)
        printf(", \"runs\": %zu", n);
    if (results->ops > 0) {
        json_figure("ops_per_s", spread_of(results, n, FIGURE_RATE), n, 0);
        json_figure("ns_per_op", spread_of(results, n, FIGURE_NS), n, 3);
    } else {
        printf(", \"ops_per_s\": null, \"ns_per_op\": null");
    }
    json_figure("peak_rss_bytes", spread_of(results, n, FIGURE_RSS), n, 0);
    printf(", \"check\": %s", all_held(results, n) ? "true" : "false");
    for (unsigned i = 0; i < results->extras; i++)
        json_figure(results->extra[i].name, spread_of(results, n, (int)i), n, 3);
    printf("}\n");
}

static void text_figure(const char *name, spread s, size_t n, double unit, const char *suffix)
{
    printf("  %-22s %12.3f", name, s.median / unit);
    if (n > 1)
        printf("  (%.3f to %.3f)", s.min / unit, s.max / unit);
    printf(" %s\n", suffix);
}

static void print_text(const bench_workload *w, const bench_options *options,
                       const bench_result *results, size_t n)
{
    printf("%s: n %llu, workers %llu", w->name, (unsigned long long)results->n,
           (unsigned long long)results->workers);
    if (w->sliced)
        printf(", slice %llu", (unsigned long long)options->slice);
    if (n > 1)
        printf(", median of %zu runs (min to max)", n);
    printf("\n");
    if (results->ops > 0) {
        text_figure("rate", spread_of(results, n, FIGURE_RATE), n, 1e6, "million operations/s");
        text_figure("time an operation", spread_of(results, n, FIGURE_NS), n, 1, "ns");
        printf("  %-22s %12s\n", "an operation is a", w->op);
    }
    text_figure("peak resident", spread_of(results, n, FIGURE_RSS), n, 1048576, "MiB");
    for (unsigned i = 0; i < results->extras; i++)
        text_figure(results->extra[i].name, spread_of(results, n, (int)i), n, 1, "");
    printf("  %-22s %12s\n", "self-check", all_held(results, n) ? "held" : "FAILED");
}

void bench_print(const bench_workload *workload, const bench_options *options,
                 const bench_result *results, size_t n)
{
    if (options->json)
        print_json(workload, options, results, n);
    else
        print_text(workload, options, results, n);
    fflush(stdout);
}
