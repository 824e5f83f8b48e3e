/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Stress of sched/runq.h: the owner against thieves, at capacity 4.
 * Run by: the test driver; --seed N repeats the random choices, KITH_STRESS=N does more.
 * What it holds: Q1 to Q3 of sched/runq.h: each task is taken exactly once, by the owner in the
 *   order in which it was pushed, and whoever takes it sees what was written into it before.
 * Threads: the owner pushes and pops, the thieves steal. What stands in a task is plain memory, so
 *   that a race detector sees a missing order.
 */
#include "tests/stress/stress.h"

#include "sched/runq.h"

#define CAPACITY 4u
#define THIEVES 2u

/* Stands where a task would: its address is what the queue holds. */
struct job {
    uint64_t number;
    KITH__ATOMIC(uint32_t) taken;
};

static KITH__ATOMIC(struct kith_self *) ring[CAPACITY];
static struct kith__runq queue;
static struct job *jobs;
static uint64_t job_count;
static KITH__ATOMIC(uint32_t) done;
static uint64_t by_thief[THIEVES];

static void start(uint64_t n)
{
    queue.mask = CAPACITY - 1;
    queue.ring = ring;
    kith__store_rlx(&queue.head, 0);
    kith__store_rlx(&queue.tail, 0);
    kith__store_rlx(&done, 0);
    memset(by_thief, 0, sizeof by_thief);
    job_count = n;
    jobs = calloc(n, sizeof *jobs);
}

static uint64_t take(struct kith_self *task)
{
    struct job *job = (struct job *)(void *)task;
    uint64_t number = job->number;
    CHECK(job == &jobs[number]);
    CHECK_EQ(kith__add_rlx(&job->taken, 1), 0u);
    return number;
}

static void owner_main(void)
{
    struct kith__random random;
    int64_t before = -1; /* the job that the owner popped last */
    stress_random(&random, THIEVES);
    for (uint64_t i = 0; i < job_count;) {
        bool push = kith__random_below(&random, 3) != 0;
        if (push) {
            jobs[i].number = i;
            i += kith__runq_push(&queue, (struct kith_self *)(void *)&jobs[i]);
            continue;
        }
        struct kith_self *task = kith__runq_pop(&queue);
        if (task == NULL)
            continue;
        int64_t number = (int64_t)take(task);
        CHECK_GT(number, before);
        before = number;
        if (kith__random_below(&random, 1000) == 0)
            sched_yield();
    }
    struct kith_self *task;
    while ((task = kith__runq_pop(&queue)) != NULL)
        take(task);
    kith__store_rel(&done, 1);
}

static void thief_main(unsigned thief)
{
    struct kith__random random;
    struct kith_self *loot[CAPACITY];
    stress_random(&random, thief);
    while (kith__load_acq(&done) == 0) {
        uint32_t max = 1 + (uint32_t)kith__random_below(&random, CAPACITY);
        uint32_t n = kith__runq_steal(&queue, loot, max);
        CHECK_LE(n, max);
        CHECK_LE(n, CAPACITY / 2);
        for (uint32_t i = 0; i < n; i++) {
            uint64_t number = take(loot[i]);
            if (i > 0)
                CHECK_EQ(number, ((struct job *)(void *)loot[i - 1])->number + 1);
        }
        by_thief[thief] += n;
        if (n == 0)
            sched_yield();
    }
}

static void either(unsigned index, void *arg)
{
    (void)arg;
    if (index < THIEVES)
        thief_main(index);
    else
        owner_main();
}

static void round_of(uint64_t n)
{
    start(n);
    REQUIRE(jobs != NULL);
    stress_threads(THIEVES + 1, either, NULL);
    uint64_t stolen = 0;
    for (unsigned i = 0; i < THIEVES; i++)
        stolen += by_thief[i];
    for (uint64_t i = 0; i < job_count; i++)
        CHECK_EQ(kith__load_rlx(&jobs[i].taken), 1u);
    CHECK_EQ(kith__runq_count(&queue), (uint64_t)0);
    CHECK_GT(stolen, (uint64_t)0); /* else this was no test */
    printf("%" PRIu64 " of %" PRIu64 " stolen, ", stolen, job_count);
    free(jobs);
}

TEST(the_owner_against_thieves)
{
    stress_limit("the_owner_against_thieves");
    for (uint64_t i = stress_times(40); i-- > 0 && test_failures == 0;)
        round_of(300000);
    alarm(0);
}
