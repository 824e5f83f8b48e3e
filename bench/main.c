/* SPDX-License-Identifier: BSD-2-Clause
 *
 * kith-bench: options, the list of workloads, and what is run how.
 *
 * Called by: the user, and ./dev bench.
 * Invariants: exit status 0 only if every self-check held; 1 if one did not, 2 for a wrong command.
 * Threads: main's.
 * Why so: one workload runs in this process, so that a profiler sees it; several, or several runs,
 *   get a process each, so that none inherits another one's memory.
 */
#include "bench/bench.h"

#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define SLICE_DEFAULT 1000
#define RUNS_MAX 1000

static const bench_workload *const families[] = {bench_pairs,  bench_streams, bench_crowds,
                                                 bench_births, bench_wakes,   bench_timers,
                                                 bench_echoes, bench_chans,   bench_blocking};
#define FAMILIES (sizeof families / sizeof families[0])

static void list(FILE *out)
{
    fprintf(
        out,
        "usage: kith-bench [--workers N | --loop] [--slice N] [--runs K] [--json] WORKLOAD [n]\n"
        "       kith-bench [--workers N | --loop] [--slice N] [--runs K] [--json] all\n\n"
        "  --workers N  worker threads; default: the CPUs of this process\n"
        "  --loop       on this thread alone (KITH_LOOP)\n"
        "  --slice N    messages or actors from one turn, where marked *; default 1000,\n"
        "               0: all from one handler\n"
        "  --runs K     in K new processes: minimum, median and maximum\n"
        "  --json       one JSON line a workload\n\n"
        "workloads (* sliced), and their default n:\n");
    for (size_t f = 0; f < FAMILIES; f++)
        for (const bench_workload *w = families[f]; w->name != NULL; w++)
            fprintf(out, "  %-22s%c %10llu  %s\n", w->name, w->sliced ? '*' : ' ',
                    (unsigned long long)w->n_default, w->what);
}

static const bench_workload *find(const char *name)
{
    for (size_t f = 0; f < FAMILIES; f++)
        for (const bench_workload *w = families[f]; w->name != NULL; w++)
            if (strcmp(w->name, name) == 0)
                return w;
    return NULL;
}

static bool number(const char *text, uint64_t least, uint64_t most, uint64_t *value)
{
    char *end = NULL;
    if (*text < '0' || *text > '9')
        return false;
    errno = 0;
    *value = strtoull(text, &end, 10);
    return errno == 0 && *end == '\0' && *value >= least && *value <= most;
}

static bool option(int letter, const char *text, bench_options *options)
{
    uint64_t value = 0;
    switch (letter) {
    case 'j':
        options->json = true;
        return true;
    case 'l':
        options->loop = true;
        return true;
    case 'w':
        if (!number(text, 1, KITH_WORKERS_MAX, &value))
            return false;
        options->workers = (unsigned)value;
        return true;
    case 's':
        return number(text, 0, UINT64_MAX, &options->slice);
    case 'r':
        if (!number(text, 1, RUNS_MAX, &value))
            return false;
        options->runs = (unsigned)value;
        return true;
    case 'f':
        if (!number(text, 0, INT32_MAX, &value))
            return false;
        options->result_fd = (int)value;
        return true;
    default:
        return false;
    }
}

/* In a child process the result goes to its parent as it is; see runs.c. */
static bool run_here(const bench_workload *workload, const bench_options *options)
{
    bench_result result;
    bench_run(workload, options, &result);
    if (options->result_fd >= 0)
        return write(options->result_fd, &result, sizeof result) == (ssize_t)sizeof result;
    bench_print(workload, options, &result, 1);
    return result.check;
}

static bool run_children(const bench_workload *workload, const bench_options *options)
{
    bool check = true;
    bench_result *results = bench_calloc(options->runs, sizeof *results);
    if (bench_run_children(workload, options, results)) {
        for (unsigned i = 0; i < options->runs; i++)
            check = check && results[i].check;
        bench_print(workload, options, results, options->runs);
    } else {
        fprintf(stderr, "kith-bench: %s: the process failed\n", workload->name);
        check = false;
    }
    free(results);
    return check;
}

static int run_all(bench_options *options)
{
    bool check = true;
    if (options->runs == 0)
        options->runs = 1;
    for (size_t f = 0; f < FAMILIES; f++)
        for (const bench_workload *w = families[f]; w->name != NULL; w++)
            check = run_children(w, options) && check;
    return check ? 0 : 1;
}

static int run_one(const char *name, const char *n, bench_options *options)
{
    const bench_workload *workload = find(name);
    if (workload == NULL) {
        fprintf(stderr, "kith-bench: no workload %s\n", name);
        return 2;
    }
    if (n != NULL && !number(n, 1, workload->n_max, &options->n)) {
        fprintf(stderr, "kith-bench: %s: n must be a number from 1 to %llu, not %s\n", name,
                (unsigned long long)workload->n_max, n);
        return 2;
    }
    bool check = options->runs > 0 ? run_children(workload, options) : run_here(workload, options);
    return check ? 0 : 1;
}

int main(int argc, char **argv)
{
    static const struct option names[] = {{"workers", required_argument, NULL, 'w'},
                                          {"loop", no_argument, NULL, 'l'},
                                          {"slice", required_argument, NULL, 's'},
                                          {"runs", required_argument, NULL, 'r'},
                                          {"json", no_argument, NULL, 'j'},
                                          {"help", no_argument, NULL, 'h'},
                                          {"result-fd", required_argument, NULL, 'f'},
                                          {0}};
    bench_options options = {.slice = SLICE_DEFAULT, .result_fd = -1};
    int letter;
    while ((letter = getopt_long(argc, argv, "", names, NULL)) != -1) {
        if (letter == 'h') {
            list(stdout);
            return 0;
        }
        if (!option(letter, optarg, &options)) {
            if (letter != '?')
                fprintf(stderr, "kith-bench: %s: out of range\n", optarg);
            return 2;
        }
    }
    int rest = argc - optind;
    if (rest == 0) {
        list(stdout);
        return 0;
    }
    bool all = strcmp(argv[optind], "all") == 0;
    if (rest > (all ? 1 : 2)) {
        list(stderr);
        return 2;
    }
    return all ? run_all(&options)
               : run_one(argv[optind], rest == 2 ? argv[optind + 1] : NULL, &options);
}
