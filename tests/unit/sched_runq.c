/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Tests of sched/runq.h: the ring at capacity 4, against a model.
 * Run by: the test driver; --seed N repeats the random run.
 * What it holds: Q1 and Q2 of sched/runq.h as far as one thread shows them; thieves on threads of
 *   their own are in tests/stress/runq.c.
 * Threads: one.
 */
#include "sched/runq.h"

#include "base/random.h"
#include "tests/unit/test.h"

#define CAPACITY 4u

static KITH__ATOMIC(struct kith_self *) ring[CAPACITY];
static struct kith__runq queue;

/* Tasks are never looked into: any address will do. */
static char tasks[1 << 16];

static struct kith_self *task_at(uint64_t i)
{
    return (struct kith_self *)(void *)&tasks[i % sizeof tasks];
}

/* An empty queue whose positions begin at `at`. */
static void start(uint64_t at)
{
    queue.mask = CAPACITY - 1;
    queue.ring = ring;
    kith__store_rlx(&queue.head, at);
    kith__store_rlx(&queue.tail, at);
}

TEST(an_empty_queue_gives_nothing)
{
    struct kith_self *out[CAPACITY];
    start(0);
    CHECK(kith__runq_pop(&queue) == NULL);
    CHECK_EQ(kith__runq_steal(&queue, out, CAPACITY), 0u);
    CHECK_EQ(kith__runq_count(&queue), (uint64_t)0);
}

/* Q2 */
TEST(a_full_queue_refuses)
{
    start(0);
    for (uint64_t i = 0; i < CAPACITY; i++) {
        CHECK(kith__runq_push(&queue, task_at(i)));
        CHECK_EQ(kith__runq_count(&queue), i + 1);
    }
    CHECK(!kith__runq_push(&queue, task_at(9)));
    for (uint64_t i = 0; i < CAPACITY; i++)
        CHECK(kith__runq_pop(&queue) == task_at(i));
    CHECK(kith__runq_pop(&queue) == NULL);
}

TEST(a_thief_takes_half_rounded_up_of_the_oldest)
{
    for (uint64_t n = 0; n <= CAPACITY; n++) {
        struct kith_self *out[CAPACITY];
        start(n);
        for (uint64_t i = 0; i < n; i++)
            CHECK(kith__runq_push(&queue, task_at(i)));
        uint32_t stolen = kith__runq_steal(&queue, out, CAPACITY);
        CHECK_EQ((uint64_t)stolen, (n + 1) / 2);
        for (uint32_t i = 0; i < stolen; i++)
            CHECK(out[i] == task_at(i));
        for (uint64_t i = stolen; i < n; i++)
            CHECK(kith__runq_pop(&queue) == task_at(i));
        CHECK(kith__runq_pop(&queue) == NULL);
    }
}

TEST(a_thief_takes_no_more_than_it_can_carry)
{
    struct kith_self *out[1] = {NULL};
    start(0);
    for (uint64_t i = 0; i < CAPACITY; i++)
        CHECK(kith__runq_push(&queue, task_at(i)));
    for (uint64_t i = 0; i < CAPACITY; i++) {
        CHECK_EQ(kith__runq_steal(&queue, out, 1), 1u);
        CHECK(out[0] == task_at(i));
    }
    CHECK_EQ(kith__runq_steal(&queue, out, 1), 0u);
}

/* Q1: each once, oldest first, whoever takes it; from a place where 32 bits would have ended. */
TEST(random_operations_against_two_counters)
{
    struct kith__random random;
    kith__random_seed(&random, test_seed());
    start(UINT32_MAX - 100);
    uint64_t in = 0;
    uint64_t out = 0;
    for (int step = 0; step < 100000; step++) {
        struct kith_self *loot[CAPACITY];
        uint64_t what = kith__random_below(&random, 5);
        if (what < 3) {
            bool room = in - out < CAPACITY;
            CHECK_EQ(kith__runq_push(&queue, task_at(in)), room);
            in += room;
        } else if (what == 3) {
            CHECK(kith__runq_pop(&queue) == (in == out ? NULL : task_at(out)));
            out += in != out;
        } else {
            uint32_t max = (uint32_t)kith__random_below(&random, CAPACITY);
            uint64_t half = (in - out + 1) / 2;
            uint32_t n = kith__runq_steal(&queue, loot, max);
            CHECK_EQ((uint64_t)n, half < max ? half : max);
            for (uint32_t i = 0; i < n; i++)
                CHECK(loot[i] == task_at(out++));
        }
        CHECK_EQ(kith__runq_count(&queue), in - out);
    }
}
