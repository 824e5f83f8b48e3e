/* SPDX-License-Identifier: BSD-2-Clause
 *
 * kith-bench: runs a workload several times, each in a new process of the same program.
 *
 * Called by: main.c.
 * Invariants: a child writes one whole bench_result into its pipe, or it has failed.
 * Threads: main's, before any other exists, so fork is harmless.
 * Why exec and not fork alone: each run then has its own address layout and a peak of memory that
 *   knows nothing of its parent's.
 */
#include "bench/bench.h"

#include <errno.h>
#include <stdio.h>
#include <sys/wait.h>
#include <unistd.h>

static void exec_self(const bench_workload *workload, const bench_options *options, int fd)
{
    char workers[32], slice[32], result[32], n[32];
    const char *argv[13] = {"kith-bench", "--slice", slice, "--result-fd", result};
    size_t argc = 5;
    snprintf(slice, sizeof slice, "%llu", (unsigned long long)options->slice);
    snprintf(result, sizeof result, "%d", fd);
    snprintf(workers, sizeof workers, "%u", options->workers);
    snprintf(n, sizeof n, "%llu", (unsigned long long)options->n);
    if (options->workers != 0) {
        argv[argc++] = "--workers";
        argv[argc++] = workers;
    }
    if (options->loop)
        argv[argc++] = "--loop";
    argv[argc++] = workload->name;
    if (options->n != 0)
        argv[argc++] = n;
    argv[argc] = NULL;
    /* exec takes char *const *, and changes nothing. */
    execv("/proc/self/exe", (char *const *)(void *)argv);
    _exit(127);
}

static bool read_result(int fd, bench_result *result)
{
    size_t have = 0;
    while (have < sizeof *result) {
        ssize_t n = read(fd, (char *)result + have, sizeof *result - have);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return false;
        have += (size_t)n;
    }
    return true;
}

static bool run_child(const bench_workload *workload, const bench_options *options,
                      bench_result *result)
{
    int fds[2];
    int status = 0;
    if (pipe(fds) != 0)
        return false;
    pid_t child = fork();
    if (child == 0) {
        close(fds[0]);
        exec_self(workload, options, fds[1]);
    }
    close(fds[1]);
    bool whole = child > 0 && read_result(fds[0], result);
    close(fds[0]);
    while (child > 0 && waitpid(child, &status, 0) < 0 && errno == EINTR)
        continue;
    return whole && WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

bool bench_run_children(const bench_workload *workload, const bench_options *options,
                        bench_result *results)
{
    for (unsigned i = 0; i < options->runs; i++)
        if (!run_child(workload, options, &results[i]))
            return false;
    return true;
}
