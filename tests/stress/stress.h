/* SPDX-License-Identifier: BSD-2-Clause
 *
 * What the stress tests share: how much to do, threads that begin together, a log that no error
 * passes, and an end for a test that hangs.
 * Used by: the files of tests/stress; it brings tests/unit/test.h with it.
 * Invariants: a test that makes no progress fails with its name, it does not hang (stress_limit).
 * Threads: stress_threads returns when all its threads have ended; a failed check may come from any.
 * Why no time is measured: on a loaded machine each would be wrong once. The limit is no measure:
 *   it is so far away that only a test that stands still meets it.
 */
#ifndef KITH_TESTS_STRESS_STRESS_H
#define KITH_TESTS_STRESS_STRESS_H

#include "tests/unit/test.h"

#include "base/random.h"
#include <kith.h>
#include <sched.h>
#include <signal.h>
#include <unistd.h>

#if defined(__SANITIZE_THREAD__)
#define STRESS_SLOW 10u
#elif defined(__SANITIZE_ADDRESS__)
#define STRESS_SLOW 4u
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define STRESS_SLOW 10u
#elif __has_feature(address_sanitizer)
#define STRESS_SLOW 4u
#endif
#endif
#ifndef STRESS_SLOW
#define STRESS_SLOW 1u
#endif

/* How often to do what takes a few seconds n times: fewer under a sanitizer, more for a soak
 * (KITH_STRESS=100 in the environment: a hundred times as much). */
static TEST_UNUSED uint64_t stress_times(uint64_t n)
{
    uint64_t times = n * test_env("KITH_STRESS", 1) / STRESS_SLOW;
    return times != 0 ? times : 1;
}

/* What takes longer will never happen. */
#define STRESS_PATIENCE_NS (30 * KITH_SECOND)

/* The random numbers of thread `index`: the same for the same seed. */
static TEST_UNUSED void stress_random(struct kith__random *random, unsigned index)
{
    kith__random_seed(random, test_seed() + index * UINT64_C(0x9e3779b97f4a7c15));
}

/* ---- threads ---- */

#define STRESS_THREADS_MAX 16

struct stress_thread {
    void (*fn)(unsigned index, void *arg);
    void *arg;
    unsigned index;
    pthread_barrier_t *begin;
    pthread_t id;
};

static void *stress_thread_main(void *arg)
{
    struct stress_thread *thread = arg;
    pthread_barrier_wait(thread->begin);
    thread->fn(thread->index, thread->arg);
    return NULL;
}

/* Runs fn(0, arg) ... fn(n - 1, arg), all at once. */
static TEST_UNUSED void stress_threads(unsigned n, void (*fn)(unsigned index, void *arg), void *arg)
{
    struct stress_thread threads[STRESS_THREADS_MAX];
    pthread_barrier_t begin;
    REQUIRE(n <= STRESS_THREADS_MAX);
    pthread_barrier_init(&begin, NULL, n);
    for (unsigned i = 0; i < n; i++) {
        threads[i] = (struct stress_thread){fn, arg, i, &begin, 0};
        if (pthread_create(&threads[i].id, NULL, stress_thread_main, &threads[i]) != 0)
            abort(); /* the others wait at the barrier */
    }
    for (unsigned i = 0; i < n; i++)
        pthread_join(threads[i].id, NULL);
    pthread_barrier_destroy(&begin);
}

/* ---- what must not happen ---- */

static const char *stress_now_in; /* the test that the limit is for */

static void stress_on_alarm(int signal)
{
    static const char text[] = "\nFAIL: stands still for minutes: ";
    (void)signal;
    (void)!write(STDOUT_FILENO, text, sizeof text - 1);
    (void)!write(STDOUT_FILENO, stress_now_in, strlen(stress_now_in));
    (void)!write(STDOUT_FILENO, "\n", 1);
    _exit(1);
}

/* The test that runs fails if it still does so long after this; call again for each new test. */
static TEST_UNUSED void stress_limit(const char *name)
{
    stress_now_in = name;
    signal(SIGALRM, stress_on_alarm);
    alarm((unsigned)test_env("KITH_STRESS_LIMIT_S", 180 * test_env("KITH_STRESS", 1)));
}

/* A log function: an error in the log (a lost message, say) fails the test. */
static TEST_UNUSED void stress_log(void *arg, kith_log_level level, const char *text)
{
    (void)arg;
    if (level >= KITH_LOG_ERROR)
        FAIL("logged: %s", text);
}

/* Starts a runtime for a test; NULL, and a failed check, if it does not start. */
static TEST_UNUSED kith_runtime *stress_start(unsigned workers)
{
    kith_runtime *rt = NULL;
    kith_config config = {.workers = workers, .seed = test_seed() | 1, .log = stress_log};
    CHECK_EQ(kith_start(&config, &rt), KITH_OK);
    return rt;
}

/* Ends it: nobody and nothing may be left. */
static TEST_UNUSED void stress_end(kith_runtime *rt)
{
    CHECK_EQ(kith_shutdown(rt, kith_in(STRESS_PATIENCE_NS)), KITH_OK);
    alarm(0);
}

#endif
