/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Stress of sched/placed.c: tasks that run on one worker, woken from everywhere.
 * Run by: the test driver; --seed N repeats the random choices, KITH_STRESS=N does more.
 * What it holds: PL2 and PL3 of sched/placed.c: each task that is sent to a worker is taken there
 *   once, those of one sender in order; who has taken a task owns all of it, its link too; no wake
 *   is lost, also when the worker is just going to sleep.
 * Threads: the first test has senders, and an owner without a loop; the second the test's,
 *   attached, and workers. The test's thread waits by looking, so that its next message can meet
 *   the worker anywhere between its turn and its sleep.
 */
#include "tests/stress/stress.h"

#include "sched/worker.h"

/* ---- taken once, in order ---- */

#define SENDERS 3u
#define TASKS 50u /* of each sender */

struct job {
    struct kith_self task; /* first: a task is its job */
    uint64_t sent;         /* a number of its sender's, counted up */
    uint32_t sender;
    KITH__ATOMIC(uint32_t) out; /* sent and not taken */
};

static struct kith_runtime rt;
static struct kith__worker home;
static struct job jobs[SENDERS][TASKS];
static struct kith__slot nowhere;
static KITH__ATOMIC(uint32_t) sending;
static uint64_t rounds;

static void sender_main(unsigned index)
{
    struct kith__ctx ctx = {.rt = &rt};
    for (uint64_t i = 0; i < rounds * TASKS; i++) {
        struct job *job = &jobs[index][i % TASKS];
        while (kith__load_acq(&job->out) != 0) /* pairs with the store in owner_main */
            sched_yield();
        job->sent = i;
        kith__store_rlx(&job->out, 1);
        kith__place(&ctx, &job->task);
    }
    kith__sub_ar(&sending, 1);
}

static void take(struct kith_self *task, uint64_t *next)
{
    struct job *job = (struct job *)task;
    CHECK_EQ(kith__load_rlx(&job->out), 1u);
    CHECK_EQ(job->sent, next[job->sender]++);
    task->slot.next = &nowhere; /* its own now: it might be freed, and stand in a free list */
    kith__store_rel(&job->out, 0);
}

static void owner_main(void)
{
    uint64_t next[SENDERS] = {0};
    for (bool last = false;;) {
        bool done = last;
        last = kith__load_acq(&sending) == 0;
        kith__placed_fetch(&home);
        while (home.placed_first != NULL) {
            struct kith_self *task = home.placed_first;
            home.placed_first = (struct kith_self *)(void *)task->slot.next;
            home.placed_count--;
            take(task, next);
        }
        CHECK_EQ(home.placed_count, 0u);
        if (done)
            break;
        sched_yield();
    }
    for (unsigned i = 0; i < SENDERS; i++)
        CHECK_EQ(next[i], rounds * TASKS);
}

static void either(unsigned index, void *arg)
{
    (void)arg;
    if (index < SENDERS)
        sender_main(index);
    else
        owner_main();
}

TEST(each_task_is_taken_once_and_in_order)
{
    stress_limit("each_task_is_taken_once_and_in_order");
    rounds = stress_times(50000);
    rt.workers = &home;
    rt.worker_count = 1;
    home.ctx.rt = &rt;
    home.ctx.worker = &home;
    for (uint32_t i = 0; i < SENDERS * TASKS; i++) {
        jobs[i / TASKS][i % TASKS].sender = i / TASKS;
        kith__task_place(&jobs[i / TASKS][i % TASKS].task, 0);
    }
    kith__store_rlx(&sending, SENDERS);
    stress_threads(SENDERS + 1, either, NULL);
    alarm(0);
}

/* ---- no wake is lost ---- */

/* From idle to busy, in all, under every sanitizer too. */
#define TRANSITIONS UINT64_C(300000)
#define WORKERS 3u

KITH_MESSAGE(poke, { uint64_t number; });
KITH_MESSAGE(relay, {
    kith_ref to;
    uint64_t number;
});

static KITH__ATOMIC(uint64_t) seen; /* the number of the latest poke */

struct target {
    char none;
};

KITH_ON(target, poke)
{
    kith__store_rel(&seen, msg->number);
    return KITH_OK;
}

KITH_ON(target, relay)
{
    return kith_send(self, msg->to, poke, .number = msg->number);
}

static const kith_behavior target = {
    .name = "target",
    .state_bytes = sizeof(struct target),
    .handlers = KITH_HANDLERS(target, poke, relay),
};

static bool comes(uint64_t number)
{
    kith_time limit = kith_in(10 * KITH_SECOND);
    for (uint32_t looks = 1; kith__load_acq(&seen) != number; looks++) {
        if (looks % 256 == 0)
            sched_yield();
        if (looks % 4096 == 0 && kith_now() > limit)
            return false;
    }
    return true;
}

static uint64_t parks_of(kith_runtime *runtime)
{
    kith_stats stats;
    CHECK_EQ(kith_stats_get(runtime, &stats), KITH_OK);
    return stats.parks;
}

/* A pause of no time that anybody knows: up to some thousand steps. */
static void pause_a_bit(struct kith__random *random)
{
    uint64_t longest = (uint64_t)1 << kith__random_below(random, 13);
    for (uint64_t i = kith__random_below(random, longest); i > 0; i--)
        __asm__ volatile("");
}

/* Number i goes to one of the targets, by way of another one on another worker or not. */
static void poke_one(kith_self *self, const kith_ref *targets, uint64_t i,
                     struct kith__random *random)
{
    uint64_t to = kith__random_below(random, WORKERS);
    uint64_t by = kith__random_below(random, (uint64_t)2 * WORKERS);
    kith_err err = by >= WORKERS
                       ? kith_send(self, targets[to], poke, .number = i)
                       : kith_send(self, targets[by], relay, .to = targets[to], .number = i);
    CHECK_EQ(err, KITH_OK);
}

TEST(no_wake_of_a_placed_task_is_lost)
{
    stress_limit("no_wake_of_a_placed_task_is_lost");
    kith_self *self;
    kith_ref targets[WORKERS];
    struct kith__random random;
    uint64_t number = 0;
    uint64_t transitions = TRANSITIONS * test_env("KITH_STRESS", 1);
    kith_runtime *runtime = stress_start(WORKERS);
    REQUIRE(runtime != NULL);
    REQUIRE(kith_attach(runtime, &self, NULL) == KITH_OK);
    stress_random(&random, 0);
    for (unsigned i = 0; i < WORKERS; i++) {
        kith_spawn_options options = {.worker = i + 1};
        targets[i] = kith_spawn_with(self, &target, NULL, &options);
    }
    uint64_t from = parks_of(runtime);
    for (uint64_t parks = 0; parks < transitions; parks = parks_of(runtime) - from) {
        for (unsigned i = 0; i < 100; i++) {
            poke_one(self, targets, ++number, &random);
            if (!comes(number)) {
                FAIL("message %" PRIu64 " was not handled: a wake is lost", number);
                return;
            }
            pause_a_bit(&random);
        }
    }
    printf("%" PRIu64 " messages, ", number);
    CHECK_EQ(kith_detach(self), KITH_OK);
    stress_end(runtime);
}
