/* SPDX-License-Identifier: BSD-2-Clause
 *
 * kith-bench: round trips between a thread outside and something that sleeps: wake, its raw peers,
 * and pairs of both.
 *
 * Called by: measure.c, through bench_wakes.
 * Invariants: one trip at a time, and each is timed by itself; the answer carries the question's
 *   number, and a wrong one fails the check.
 * Threads: main asks. An actor answers (wake), or a thread that sleeps on an eventfd (the raw
 *   forms): that thread touches the two descriptors and nothing else.
 * Why pairs: on a virtual machine the price of a wake drifts from minute to minute. wake-pair takes
 *   both in turns, a few hundred trips each, so that their ratio means something.
 */
#include "bench/bench.h"

#include <dirent.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#define WAKE_BLOCK 500

/* ---- the actor ---- */

KITH_MESSAGE(wake_ask, { uint64_t number; });
KITH_MESSAGE(wake_answer, { uint64_t number; });

struct sleeper {
    uint64_t trips;
};

KITH_ON(sleeper, wake_ask)
{
    me->trips++;
    return kith_reply(self, wake_answer, .number = msg->number);
}

static const kith_behavior sleeper = {
    .name = "sleeper",
    .state_bytes = sizeof(struct sleeper),
    .handlers = KITH_HANDLERS(sleeper, wake_ask),
};

static bool actor_trip(bench *b, kith_ref actor, uint64_t number)
{
    kith_msg *reply = NULL;
    kith_err err = kith_ask(b->co, actor, KITH_FOREVER, &reply, wake_ask, .number = number);
    const wake_answer *answer = err == KITH_OK ? kith_body(reply, wake_answer) : NULL;
    return answer != NULL && answer->number == number;
}

/* ---- the raw thread ---- */

struct raw {
    pthread_t thread;
    int there; /* main writes, the thread sleeps on it */
    int back;  /* the thread writes, main sleeps on it */
    int poll;  /* an epoll descriptor with there in it, or -1: the thread reads there itself */
};

/* Ends when it reads the largest number: a trip carries its own number + 1. */
static void *raw_thread(void *arg)
{
    struct raw *raw = arg;
    eventfd_t value = 0;
    while (value != UINT64_MAX - 1) {
        struct epoll_event event;
        if (raw->poll >= 0 && epoll_wait(raw->poll, &event, 1, -1) < 1)
            continue;
        if (eventfd_read(raw->there, &value) != 0 || eventfd_write(raw->back, value) != 0)
            break;
    }
    return NULL;
}

static bool raw_trip(struct raw *raw, uint64_t number)
{
    eventfd_t value = 0;
    return eventfd_write(raw->there, number + 1) == 0 && eventfd_read(raw->back, &value) == 0 &&
           value == number + 1;
}

static bool raw_open(struct raw *raw, bool polled)
{
    struct epoll_event event = {.events = EPOLLIN};
    raw->poll = -1;
    raw->there = eventfd(0, EFD_CLOEXEC);
    raw->back = eventfd(0, EFD_CLOEXEC);
    if (polled) {
        raw->poll = epoll_create1(EPOLL_CLOEXEC);
        if (epoll_ctl(raw->poll, EPOLL_CTL_ADD, raw->there, &event) != 0)
            return false;
    }
    return raw->there >= 0 && raw->back >= 0 &&
           pthread_create(&raw->thread, NULL, raw_thread, raw) == 0;
}

static void raw_close(struct raw *raw)
{
    raw_trip(raw, UINT64_MAX - 2);
    pthread_join(raw->thread, NULL);
    close(raw->there);
    close(raw->back);
    if (raw->poll >= 0)
        close(raw->poll);
}

/* ---- where the threads run ---- */

static void move_thread(pid_t thread, size_t cpu)
{
    cpu_set_t set;
    CPU_ZERO(&set);
    CPU_SET(cpu, &set);
    sched_setaffinity(thread, sizeof set, &set);
}

/* The asker on the first CPU that the process may use, all other threads on the last: else the
 * system puts both ends of a pair on one core or on two as it likes, a matter of 4 us or 35. */
static void place_apart(void)
{
    cpu_set_t allowed;
    if (sched_getaffinity(0, sizeof allowed, &allowed) != 0 || CPU_COUNT(&allowed) < 2)
        return;
    size_t first = CPU_SETSIZE;
    size_t last = 0;
    for (size_t cpu = 0; cpu < CPU_SETSIZE; cpu++) {
        if (!CPU_ISSET(cpu, &allowed))
            continue;
        first = cpu < first ? cpu : first;
        last = cpu;
    }
    DIR *tasks = opendir("/proc/self/task");
    for (struct dirent *entry; tasks != NULL && (entry = readdir(tasks)) != NULL;)
        if (entry->d_name[0] != '.')
            move_thread((pid_t)strtol(entry->d_name, NULL, 10), last);
    if (tasks != NULL)
        closedir(tasks);
    move_thread(0, first);
}

/* ---- the workloads ---- */

/* Where trips go, to measure both kinds by the same loop. */
struct target {
    bench *b;
    kith_ref actor;
    struct raw *raw; /* NULL: the actor */
};

static bool measure(const struct target *to, uint64_t first, uint64_t n, uint32_t *samples)
{
    bool check = true;
    for (uint64_t i = first; i < first + n; i++) {
        kith_time began = kith_now();
        check = (to->raw ? raw_trip(to->raw, i) : actor_trip(to->b, to->actor, i)) && check;
        kith_time ns = kith_now() - began;
        samples[i] = ns < UINT32_MAX ? (uint32_t)ns : UINT32_MAX;
    }
    return check;
}

static void measure_all(bench *b, const struct target *to)
{
    uint32_t *samples = bench_calloc(b->n, sizeof *samples);
    place_apart();
    kith_time began = kith_now();
    bool check = measure(to, 0, b->n, samples);
    bench_report(b, began, kith_now(), b->n, check);
    bench_add_quantiles(b->result, "", samples, b->n);
    free(samples);
}

static void run_wake(bench *b)
{
    struct target to = {b, kith_spawn(b->self, &sleeper, NULL), NULL};
    measure_all(b, &to);
}

static void run_raw(bench *b, bool polled)
{
    struct raw raw;
    struct target to = {b, {0}, &raw};
    if (!raw_open(&raw, polled)) {
        perror("kith-bench: wake-raw");
        return;
    }
    measure_all(b, &to);
    raw_close(&raw);
}

static void run_wake_raw(bench *b)
{
    run_raw(b, false);
}

static void run_wake_epoll(bench *b)
{
    run_raw(b, true);
}

static void compare(bench *b, uint32_t *kith_ns, uint32_t *raw_ns)
{
    bench_quantiles k = bench_add_quantiles(b->result, "", kith_ns, b->n);
    bench_quantiles r = bench_add_quantiles(b->result, "raw_", raw_ns, b->n);
    bench_add_extra(b->result, "p50_ratio", k.p50_ns / r.p50_ns);
    bench_add_extra(b->result, "p99_ratio", k.p99_ns / r.p99_ns);
}

/* Its rate is that of both together. */
static void run_wake_pair(bench *b)
{
    struct raw raw;
    if (!raw_open(&raw, false)) {
        perror("kith-bench: wake-pair");
        return;
    }
    struct target actor = {b, kith_spawn(b->self, &sleeper, NULL), NULL};
    struct target thread = {b, {0}, &raw};
    uint32_t *kith_ns = bench_calloc(b->n, sizeof *kith_ns);
    uint32_t *raw_ns = bench_calloc(b->n, sizeof *raw_ns);
    bool check = true;
    place_apart();
    kith_time began = kith_now();
    for (uint64_t i = 0, n; i < b->n; i += n) {
        n = bench_slice(WAKE_BLOCK, b->n - i);
        check = measure(&actor, i, n, kith_ns) && check;
        check = measure(&thread, i, n, raw_ns) && check;
    }
    bench_report(b, began, kith_now(), 2 * b->n, check);
    compare(b, kith_ns, raw_ns);
    raw_close(&raw);
    free(kith_ns);
    free(raw_ns);
}

const bench_workload bench_wakes[] = {
    {.name = "wake",
     .op = "round trip",
     .what = "a thread outside asks an idle actor n times",
     .n_default = 20000,
     .n_max = UINT32_MAX,
     .run = run_wake},
    {.name = "wake-raw",
     .op = "round trip",
     .what = "peer: two threads, an eventfd there and one back",
     .n_default = 20000,
     .n_max = UINT32_MAX,
     .no_runtime = true,
     .run = run_wake_raw},
    {.name = "wake-raw-epoll",
     .op = "round trip",
     .what = "peer: the same, where the other thread sleeps in epoll_wait",
     .n_default = 20000,
     .n_max = UINT32_MAX,
     .no_runtime = true,
     .run = run_wake_epoll},
    {.name = "wake-pair",
     .op = "round trip",
     .what = "wake and wake-raw in turns, 500 trips each, and their ratios",
     .n_default = 20000,
     .n_max = UINT32_MAX,
     .run = run_wake_pair},
    {0},
};
