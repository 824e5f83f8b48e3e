/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Stress of sched/park.c: no wake is lost between idle and busy.
 * Run by: the test driver; --seed N repeats the random choices, KITH_STRESS=N does more.
 * What it holds: B1 to B3 of sched/park.c, over a million transitions from idle to busy (fewer
 *   under a sanitizer): whatever is sent, set or spawned at any moment is handled, also when all
 *   workers are just going to sleep. Nothing else happens meanwhile that could wake them by chance.
 * Threads: the test's, attached, and the workers. The test's thread waits by looking, not by
 *   sleeping, so that its next message can meet the worker anywhere between its turn and its sleep.
 * Why a limit of seconds for microseconds' work: a lost wake is one that never comes.
 */
#include "tests/stress/stress.h"

#include "base/atomic.h"

/* From idle to busy, in all, under every sanitizer too. */
#define TRANSITIONS UINT64_C(1000000)

#define LOST_NS (10 * KITH_SECOND)

KITH_MESSAGE(poke, { uint64_t number; });
KITH_MESSAGE(relay, {
    kith_ref to;
    uint64_t number;
});
KITH_MESSAGE(begin, {
    uint64_t seed;
    uint64_t times;
});
KITH_MESSAGE(due, { char none; });

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

/* Looks until *word is value; false if it does not become so. */
static bool comes(KITH__ATOMIC(uint64_t) * word, uint64_t value)
{
    kith_time limit = kith_in(LOST_NS);
    for (uint32_t looks = 1; kith__load_acq(word) != value; looks++) {
        if (looks % 256 == 0)
            sched_yield();
        if (looks % 4096 == 0 && kith_now() > limit)
            return false;
    }
    return true;
}

static uint64_t parks_of(kith_runtime *rt)
{
    kith_stats stats;
    CHECK_EQ(kith_stats_get(rt, &stats), KITH_OK);
    return stats.parks;
}

/* A pause of no time that anybody knows: up to some thousand steps. */
static void pause_a_bit(struct kith__random *random)
{
    uint64_t longest = (uint64_t)1 << kith__random_below(random, 13);
    for (uint64_t i = kith__random_below(random, longest); i > 0; i--)
        __asm__ volatile("");
}

/* Pokes a or, by way of a, b, until the workers have been idle and busy so many times. */
static void poke_from_outside(kith_runtime *rt, kith_self *self, uint64_t transitions)
{
    struct kith__random random;
    stress_random(&random, 0);
    kith_ref a = kith_spawn(self, &target, NULL);
    kith_ref b = kith_spawn(self, &target, NULL);
    uint64_t from = parks_of(rt);
    uint64_t number = 0;
    kith__store_rel(&seen, 0);
    for (uint64_t parks = 0; parks < transitions;) {
        for (unsigned i = 0; i < 100; i++) {
            number++;
            if (number % 4 == 0)
                CHECK_EQ(kith_send(self, a, relay, .to = b, .number = number), KITH_OK);
            else
                CHECK_EQ(kith_send(self, a, poke, .number = number), KITH_OK);
            if (!comes(&seen, number)) {
                FAIL("message %" PRIu64 " was not handled: a wake is lost", number);
                return;
            }
            pause_a_bit(&random);
        }
        parks = parks_of(rt) - from;
    }
    printf("%" PRIu64 " messages, ", number);
    kith_stop(self, a);
    kith_stop(self, b);
}

static void outside(unsigned workers, uint64_t transitions)
{
    kith_self *self;
    kith_runtime *rt = stress_start(workers);
    REQUIRE(rt != NULL);
    REQUIRE(kith_attach(rt, &self, NULL) == KITH_OK);
    poke_from_outside(rt, self, transitions);
    CHECK_EQ(kith_detach(self), KITH_OK);
    if (test_failures == 0) /* else it would hang as well */
        stress_end(rt);
}

TEST(no_wake_is_lost_from_outside_to_one_worker)
{
    stress_limit("no_wake_is_lost_from_outside_to_one_worker");
    outside(1, TRANSITIONS / 2 * test_env("KITH_STRESS", 1));
}

TEST(no_wake_is_lost_from_outside_to_several_workers)
{
    stress_limit("no_wake_is_lost_from_outside_to_several_workers");
    outside(3, TRANSITIONS / 2 * test_env("KITH_STRESS", 1));
}

/* ---- a thread that sleeps too ---- */

struct echo {
    char none;
};

KITH_ON(echo, poke)
{
    return kith_reply(self, poke, .number = msg->number);
}

static const kith_behavior echo = {
    .name = "echo",
    .state_bytes = sizeof(struct echo),
    .handlers = KITH_HANDLERS(echo, poke),
};

TEST(no_wake_is_lost_on_the_way_there_and_back)
{
    stress_limit("no_wake_is_lost_on_the_way_there_and_back");
    kith_self *self;
    kith_co *co;
    kith_runtime *rt = stress_start(2);
    REQUIRE(rt != NULL);
    REQUIRE(kith_attach(rt, &self, &co) == KITH_OK);
    kith_ref ref = kith_spawn(self, &echo, NULL);
    for (uint64_t i = stress_times(50000); i > 0 && test_failures == 0; i--) {
        kith_msg *reply;
        CHECK_EQ(kith_ask(co, ref, kith_in(LOST_NS), &reply, poke, .number = i), KITH_OK);
        CHECK(reply != NULL && kith_body(reply, poke)->number == i);
    }
    CHECK_EQ(kith_detach(self), KITH_OK);
    if (test_failures == 0)
        stress_end(rt);
}

/* ---- timers: the sleep must end when the first is due ---- */

struct sleeper {
    struct kith__random random;
    uint64_t left;
    kith_time deadline;
};

static KITH__ATOMIC(uint64_t) sleepers_done;
static KITH__ATOMIC(uint64_t) early;

static kith_err sleep_on(kith_self *self, struct sleeper *me)
{
    if (me->left-- == 0) {
        kith__add_rlx(&sleepers_done, 1);
        kith_stop(self, kith_self_ref(self));
        return KITH_OK;
    }
    /* Mostly so near that it is due while the worker goes to sleep. */
    me->deadline = kith_in(kith__random_below(&me->random, (uint64_t)1 << (me->left % 17)));
    return kith_timer_error(kith_at(self, me->deadline, due));
}

KITH_ON(sleeper, begin)
{
    kith__random_seed(&me->random, msg->seed);
    me->left = msg->times;
    return sleep_on(self, me);
}

KITH_ON(sleeper, due)
{
    if (kith_now() < me->deadline)
        kith__add_rlx(&early, 1);
    return sleep_on(self, me);
}

static const kith_behavior sleeper = {
    .name = "sleeper",
    .state_bytes = sizeof(struct sleeper),
    .handlers = KITH_HANDLERS(sleeper, begin, due),
};

static void sleep_alone(unsigned workers, uint64_t sleepers)
{
    if (test_failures > 0)
        return;
    kith_self *self;
    kith_runtime *rt = stress_start(workers);
    REQUIRE(rt != NULL);
    REQUIRE(kith_attach(rt, &self, NULL) == KITH_OK);
    kith__store_rlx(&sleepers_done, 0);
    for (uint64_t i = 0; i < sleepers; i++)
        kith_send(self, kith_spawn(self, &sleeper, NULL), begin, .seed = test_seed() + i,
                  .times = stress_times(20000) / sleepers);
    CHECK_EQ(kith_detach(self), KITH_OK);
    CHECK_EQ(kith_join(rt, KITH_FOREVER), KITH_OK); /* the limit ends it, if nobody is told */
    CHECK_EQ(kith__load_rlx(&sleepers_done), sleepers);
    CHECK_EQ(kith__load_rlx(&early), (uint64_t)0);
    if (test_failures == 0)
        stress_end(rt);
}

TEST(no_timer_is_slept_through)
{
    stress_limit("no_timer_is_slept_through");
    sleep_alone(1, 1);
    sleep_alone(2, 1);
    sleep_alone(2, 5);
}
