/* SPDX-License-Identifier: BSD-2-Clause
 *
 * contrast DRESS WORKLOAD [PARAMETER] [--size tiny|quick|full] [--cdf FILE]: one workload in one
 * dress, once; its figures as CSV on standard output. `contrast --list SIZE` prints what there is to
 * run, `contrast --versions` what it was built from.
 *
 * Called by: tools/contrast.sh, people.
 * Invariants: a run is a process, so that no run inherits another's memory or threads.
 * Threads: main's, attached to the runtime in the dresses of kith.
 */
#include "contrast.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

static const workload *const workloads[] = {&w1_hop,      &w2_echo,   &w3_hog,    &w4_idle,
                                            &w5_gather,   &w6_queens, &w7_shared, &w8_pipeline,
                                            &w9_overload, &w10_chat};
enum { WORKLOADS = sizeof workloads / sizeof workloads[0] };

static int usage(void)
{
    fputs("usage: contrast DRESS WORKLOAD [PARAMETER] [--size tiny|quick|full] [--cdf FILE]\n"
          "       contrast --list tiny|quick|full\n"
          "       contrast --versions\n"
          "dresses: callbacks fibers csp actors stealing threads\n",
          stderr);
    for (int i = 0; i < WORKLOADS; i++)
        fprintf(stderr, "%s: %s (%s)\n", workloads[i]->name, workloads[i]->what,
                workloads[i]->params[FULL]);
    return 2;
}

static bool size_named(const char *name, enum size *size)
{
    static const char *const names[SIZES] = {"tiny", "quick", "full"};
    for (int i = 0; i < SIZES; i++) {
        *size = (enum size)i;
        if (strcmp(name, names[i]) == 0)
            return true;
    }
    return false;
}

static const workload *workload_named(const char *name)
{
    for (int i = 0; i < WORKLOADS; i++) {
        if (strcmp(workloads[i]->name, name) == 0)
            return workloads[i];
    }
    return NULL;
}

/* WORKLOAD and its parameters, a line each. */
static int list(enum size size)
{
    for (int i = 0; i < WORKLOADS; i++)
        printf("%s %s\n", workloads[i]->name, workloads[i]->params[size]);
    return 0;
}

/* Whether param is one of the words that this size has. */
static bool has_param(const workload *w, const char *param)
{
    size_t n = strlen(param);
    for (int size = 0; size < SIZES; size++) {
        for (const char *at = w->params[size]; (at = strstr(at, param)) != NULL; at += n) {
            bool begins = at == w->params[size] || at[-1] == ' ';
            if (begins && (at[n] == ' ' || at[n] == '\0'))
                return n > 0;
        }
    }
    return false;
}

/* ---- a run ---- */

static kith_config config_of(enum dress dress)
{
    kith_config config = {
        .workers = run.cores,
        .stall_ns = 10 * KITH_SECOND, /* the hogs of W3 are meant to be */
        .shutdown_ns = PATIENCE,
        .no_stack_guards = true, /* a million fibers (W4) */
    };
    if (dress == CALLBACKS || dress == FIBERS) {
        config.executor = KITH_LOOP;
        config.workers = 1;
    }
    config.no_stealing = dress == ACTORS;
    return config;
}

static int run_it(void)
{
    const workload *w = run.work;
    client_start();
    if (run.dress == THREADS) {
        w->threads();
    } else {
        kith_config config = config_of(run.dress);
        if (kith_main(&config, w->kith[run.dress], NULL) != 0)
            return 1;
    }
    return anything_failed() ? 1 : 0;
}

/* 10,000 connections are 10,000 descriptors on each side. */
static void raise_limits(void)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) == 0) {
        limit.rlim_cur = limit.rlim_max;
        setrlimit(RLIMIT_NOFILE, &limit);
    }
}

/* The options at the end; how many words stand before them, -1 for nonsense. */
static int read_options(int argc, char **argv)
{
    int words = argc;
    for (int i = argc - 2; i > 0; i -= 2) {
        if (strcmp(argv[i], "--cdf") == 0)
            run.cdf = argv[i + 1];
        else if (strcmp(argv[i], "--size") != 0)
            break;
        else if (!size_named(argv[i + 1], &run.size))
            return -1;
        words = i;
    }
    return words;
}

int main(int argc, char **argv)
{
    if (argc == 2 && strcmp(argv[1], "--versions") == 0) {
        printf("kith %s, compiled by %s %s\n", kith_version(),
#ifdef __clang__
               "clang",
#else
               "gcc",
#endif
               __VERSION__);
        return 0;
    }
    if (argc == 3 && strcmp(argv[1], "--list") == 0 && size_named(argv[2], &run.size))
        return list(run.size);

    run.size = QUICK;
    run.cores = kith_cpus();
    int words = read_options(argc, argv);
    if (words < 3 || words > 4 || !dress_named(argv[1], &run.dress) ||
        (run.work = workload_named(argv[2])) == NULL)
        return usage();
    char first[32];
    snprintf(first, sizeof first, "%.*s", (int)strcspn(run.work->params[run.size], " "),
             run.work->params[run.size]);
    run.param = words == 4 ? argv[3] : first;
    if (!has_param(run.work, run.param))
        return usage();

    setvbuf(stdout, NULL, _IOLBF, 0); /* a client that is forked must not inherit half a line */
    raise_limits();
    alarm(600); /* whoever waits for something that never comes is ended */
    return run_it();
}
