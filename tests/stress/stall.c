/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Stress of sched/watch.c: a handler that does not end, and those who share its worker.
 * Run by: the test driver; KITH_STRESS=N does more rounds.
 * What it holds: G1 of sched/watch.c as programs see it: timers, messages and new actors of a
 *   worker that stands still are served by another before the hog ends, and the stall is logged.
 *   (Its sockets: tests/stress/io_stall.c.)
 * Threads: two workers. The hog runs on one; what it leaves there before it begins to spin, in its
 *   slot, its queue and its wheel, only a rescue can reach.
 * Why the hog ends when the others are done: "before the hog ends" is then the test, and no time.
 *   How late they were is printed, not judged.
 */
#include "tests/stress/stress.h"

#include "base/atomic.h"

#define SLEEPERS 20u
#define TICKS 40u
#define WORKERS_OWN 300u /* more than a ring holds */
#define LATE_MAX ((size_t)SLEEPERS * TICKS)
#define HOG_NS (20 * KITH_SECOND) /* then it gives up: nobody was served */

KITH_MESSAGE(begin, { uint64_t limit_ns; });
KITH_MESSAGE(tick, { kith_time due; });
KITH_MESSAGE(work, { char none; });

static KITH__ATOMIC(uint32_t) waiting;     /* who is not served yet */
static KITH__ATOMIC(uint32_t) served_late; /* after the hog had given up */
static KITH__ATOMIC(uint32_t) given_up;
static KITH__ATOMIC(uint32_t) stall_logs;
static KITH__ATOMIC(uint32_t) lates;
static kith_time late[LATE_MAX];

static void served(void)
{
    if (kith__load_acq(&given_up) != 0)
        kith__add_rlx(&served_late, 1);
    kith__sub_ar(&waiting, 1);
}

/* ---- those who share its worker ---- */

struct sleeper {
    uint32_t left;
};

static kith_err next_tick(kith_self *self)
{
    kith_time due = kith_in(5 * KITH_MS);
    return kith_timer_error(kith_at(self, due, tick, .due = due));
}

/* Runs on the hog's worker: the timer stands in its wheel. */
static kith_err sleeper_init(kith_self *self, void *me, const void *arg)
{
    (void)arg;
    ((struct sleeper *)me)->left = TICKS;
    return next_tick(self);
}

KITH_ON(sleeper, tick)
{
    uint32_t i = kith__add_rlx(&lates, 1);
    CHECK_GE(kith_now(), msg->due);
    if (i < LATE_MAX)
        late[i] = kith_now() - msg->due;
    if (--me->left > 0)
        return next_tick(self);
    served();
    return kith_stop(self, kith_self_ref(self));
}

static const kith_behavior sleeper = {
    .name = "sleeper",
    .state_bytes = sizeof(struct sleeper),
    .handlers = KITH_HANDLERS(sleeper, tick),
    .init = sleeper_init,
};

struct own {
    char none;
};

KITH_ON(own, work)
{
    served();
    return kith_stop(self, kith_self_ref(self));
}

static const kith_behavior own = {
    .name = "own",
    .state_bytes = sizeof(struct own),
    .handlers = KITH_HANDLERS(own, work),
};

/* ---- the hog ---- */

struct hog {
    char none;
};

static void leave_behind(kith_self *self)
{
    for (uint32_t i = 0; i < SLEEPERS; i++)
        CHECK_EQ(kith_ref_error(kith_spawn(self, &sleeper, NULL)), KITH_OK);
    for (uint32_t i = 0; i < WORKERS_OWN; i++)
        CHECK_EQ(kith_send(self, kith_spawn(self, &own, NULL), work), KITH_OK);
}

KITH_ON(hog, begin)
{
    kith_time limit = kith_in(msg->limit_ns);
    leave_behind(self);
    while (kith__load_acq(&waiting) > 0 && kith_now() < limit)
        continue;
    kith__store_rel(&given_up, 1);
    return kith_stop(self, kith_self_ref(self));
}

static const kith_behavior hog = {
    .name = "hog",
    .state_bytes = sizeof(struct hog),
    .handlers = KITH_HANDLERS(hog, begin),
};

/* ---- the test ---- */

static void on_log(void *arg, kith_log_level level, const char *text)
{
    (void)arg;
    if (level >= KITH_LOG_ERROR)
        FAIL("logged: %s", text);
    if (strstr(text, "a turn of hog has lasted") != NULL)
        kith__add_rlx(&stall_logs, 1);
}

static int by_time(const void *a, const void *b)
{
    kith_time x = *(const kith_time *)a;
    kith_time y = *(const kith_time *)b;
    return (x > y) - (x < y);
}

static void print_lates(void)
{
    uint32_t n = kith__load_rlx(&lates);
    CHECK_EQ(n, LATE_MAX);
    qsort(late, LATE_MAX, sizeof late[0], by_time);
    printf("timers late by p50 %" PRIu64 " us, p99 %" PRIu64 " us, ", late[n / 2] / KITH_US,
           late[n * 99 / 100] / KITH_US);
}

static void one_round(unsigned workers, bool from_outside)
{
    kith_runtime *rt;
    kith_self *self;
    kith_stats stats;
    kith_config config = {.workers = workers, .log = on_log, .stall_ns = 25 * KITH_MS};
    REQUIRE(kith_start(&config, &rt) == KITH_OK);
    REQUIRE(kith_attach(rt, &self, NULL) == KITH_OK);
    kith__store_rlx(&given_up, 0);
    kith__store_rlx(&lates, 0);
    kith__store_rlx(&waiting, SLEEPERS + WORKERS_OWN + from_outside);
    CHECK_EQ(kith_send(self, kith_spawn(self, &hog, NULL), begin, .limit_ns = HOG_NS), KITH_OK);
    if (from_outside)
        CHECK_EQ(kith_send(self, kith_spawn(self, &own, NULL), work), KITH_OK);
    CHECK_EQ(kith_join(rt, kith_in(3 * HOG_NS)), KITH_OK);
    CHECK_EQ(kith__load_rlx(&waiting), 0u);
    CHECK_EQ(kith__load_rlx(&served_late), 0u);
    CHECK_EQ(kith_stats_get(rt, &stats), KITH_OK);
    CHECK_GE(stats.rescues, (uint64_t)1);
    CHECK_GE(stats.stalls, (uint64_t)1);
    CHECK_GE(kith__load_rlx(&stall_logs), 1u);
    CHECK_EQ(kith_detach(self), KITH_OK);
    stress_end(rt);
    print_lates();
}

TEST(those_behind_a_hog_are_served_before_it_ends)
{
    stress_limit("those_behind_a_hog_are_served_before_it_ends");
    for (uint64_t i = test_env("KITH_STRESS", 1) * 2; i > 0 && test_failures == 0; i--)
        one_round(2, i % 2 != 0);
}

TEST(of_several_workers_one_is_enough_to_help)
{
    stress_limit("of_several_workers_one_is_enough_to_help");
    for (uint64_t i = test_env("KITH_STRESS", 1) * 2; i > 0 && test_failures == 0; i--)
        one_round(4, i % 2 != 0);
}
