/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Tests of sched/queue.c: a worker's ring and the list behind it, the shared list, and thieves.
 * Run by: the test driver; --seed N repeats the random run.
 * What it holds: V1 to V3 of sched/queue.c: first in, first out across ring and list, counts that
 *   are right, and nothing that only its own worker could find.
 * Threads: one; the workers have none, and nobody is parked, so nobody is woken. Threads are in
 *   tests/stress/churn.c and stall.c.
 */
#include "sched/worker.h"

#include "base/random.h"
#include "tests/unit/test.h"

#define TASKS 2000u
#define WORKERS 2u

static struct kith_runtime rt;
static struct kith__worker workers[WORKERS];
static struct kith_self tasks[TASKS];

static void start(void)
{
    memset(&rt, 0, sizeof rt);
    memset(workers, 0, sizeof workers);
    memset(tasks, 0, sizeof tasks);
    rt.workers = workers;
    rt.worker_count = WORKERS;
    kith__store_rlx(&rt.spread.limit, WORKERS);
    pthread_mutex_init(&rt.shared.lock, NULL);
    pthread_mutex_init(&rt.park_lock, NULL);
    for (uint32_t i = 0; i < WORKERS; i++) {
        workers[i].index = i;
        workers[i].ctx.rt = &rt;
        workers[i].ctx.worker = &workers[i];
        workers[i].queue.mask = KITH__RUNQ_CAPACITY - 1;
        workers[i].queue.ring = workers[i].ring;
        pthread_mutex_init(&workers[i].overflow.lock, NULL);
    }
}

static void finish(void)
{
    for (uint32_t i = 0; i < WORKERS; i++)
        pthread_mutex_destroy(&workers[i].overflow.lock);
    pthread_mutex_destroy(&rt.shared.lock);
    pthread_mutex_destroy(&rt.park_lock);
}

/* As the worker's loop takes from its own. */
static struct kith_self *next_of(struct kith__worker *w)
{
    struct kith_self *task = kith__runq_pop(&w->queue);
    return task != NULL ? task : kith__overflow_take(w);
}

/* V1, V2 */
TEST(what_does_not_fit_into_the_ring_waits_behind_it)
{
    start();
    struct kith__worker *w = &workers[0];
    for (uint32_t i = 0; i < TASKS; i++) {
        kith__enqueue(w, &tasks[i]);
        CHECK_EQ(kith__waiting(w), (uint64_t)i + 1);
    }
    uint32_t behind = kith__load_rlx(&w->overflow.count);
    CHECK_EQ(behind, TASKS - KITH__RUNQ_CAPACITY);
    for (uint32_t i = 0; i < TASKS; i++) {
        CHECK(next_of(w) == &tasks[i]);
        CHECK_EQ(kith__waiting(w), (uint64_t)TASKS - i - 1);
    }
    CHECK(next_of(w) == NULL);
    finish();
}

/* V1: also when the ring has room again while some wait behind it. */
TEST(ring_and_list_are_one_queue)
{
    struct kith__random random;
    kith__random_seed(&random, test_seed());
    start();
    struct kith__worker *w = &workers[0];
    uint64_t in = 0;
    uint64_t out = 0;
    for (int step = 0; step < 200000; step++) {
        bool swells = step / 3000 % 2 == 0;
        bool push = in - out < TASKS && kith__random_below(&random, 8) < (swells ? 6u : 2u);
        if (push) {
            kith__enqueue(w, &tasks[in++ % TASKS]);
        } else {
            struct kith_self *task = next_of(w);
            CHECK(task == (in == out ? NULL : &tasks[out % TASKS]));
            out += in != out;
        }
        CHECK_EQ(kith__waiting(w), in - out);
    }
    finish();
}

/* V3: the ring first, then what is behind it. */
TEST(a_thief_gets_at_everything)
{
    static unsigned char taken[TASKS];
    memset(taken, 0, sizeof taken);
    start();
    for (uint32_t i = 0; i < TASKS; i++)
        kith__enqueue(&workers[0], &tasks[i]);
    struct kith_self *task;
    uint32_t n = 0;
    while ((task = kith__steal_half(&workers[1], &workers[0])) != NULL) {
        do {
            CHECK_EQ(taken[task - tasks]++, (unsigned char)0);
            n++;
        } while ((task = next_of(&workers[1])) != NULL);
    }
    CHECK_EQ(n, TASKS);
    CHECK_EQ(kith__waiting(&workers[0]), (uint64_t)0);
    finish();
}

/* A full ring takes no more, and the rest stays in front of the list. */
TEST(a_full_ring_leaves_the_list_in_order)
{
    start();
    struct kith__worker *w = &workers[0];
    for (uint32_t i = 0; i < 100; i++)
        kith__overflow_push(w, &tasks[i]);
    for (uint32_t i = 0; i + 10 < KITH__RUNQ_CAPACITY; i++)
        CHECK(kith__runq_push(&w->queue, &tasks[1000 + i]));
    CHECK(kith__overflow_take(w) == &tasks[0]);
    uint32_t behind = kith__load_rlx(&w->overflow.count);
    CHECK_EQ(behind, 89u);
    for (uint32_t i = 0; i + 10 < KITH__RUNQ_CAPACITY; i++)
        CHECK(next_of(w) == &tasks[1000 + i]);
    for (uint32_t i = 1; i < 100; i++)
        CHECK(next_of(w) == &tasks[i]);
    CHECK(next_of(w) == NULL);
    finish();
}

TEST(each_takes_a_share_of_the_shared_list)
{
    start();
    for (uint32_t i = 0; i < 100; i++)
        kith__inject(&rt, &tasks[i]);
    CHECK(kith__shared_take(&workers[0]) == &tasks[0]);
    uint64_t share = kith__waiting(&workers[0]) + 1;
    CHECK_GE(share, (uint64_t)100 / WORKERS);
    CHECK_LT(share, (uint64_t)100);
    for (uint64_t i = 1; i < share; i++)
        CHECK(next_of(&workers[0]) == &tasks[i]);
    uint64_t next = share;
    struct kith_self *task;
    while ((task = kith__shared_take(&workers[1])) != NULL) {
        do {
            CHECK(task == &tasks[next++]);
        } while ((task = next_of(&workers[1])) != NULL);
    }
    CHECK_EQ(next, (uint64_t)100);
    uint32_t left = kith__load_rlx(&rt.shared.count);
    CHECK_EQ(left, 0u);
    finish();
}

TEST(who_takes_no_part_takes_no_share)
{
    start();
    kith__store_rlx(&rt.spread.limit, 1);
    kith__inject(&rt, &tasks[0]);
    CHECK(kith__shared_take(&workers[1]) == NULL);
    CHECK(kith__shared_take(&workers[0]) == &tasks[0]);
    finish();
}
