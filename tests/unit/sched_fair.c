/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Tests of turns: nobody keeps a worker for himself.
 * Run by: the test driver.
 * What it holds: A4 of actors/turn.c, and what sched/worker.c says of the order of tasks: on one
 *   worker, beside actors that keep themselves or each other busy for ever, everybody else is served:
 *   another actor, a thread's message, a timer, a new actor.
 * Threads: the test's, attached, and one worker.
 * Why no counting of turns: how often each gets its turn may change; that it gets one may not.
 */
#include "tests/unit/test.h"

#include "base/atomic.h"
#include <kith.h>

#define PATIENCE kith_in(20 * KITH_SECOND)

KITH_MESSAGE(again, { kith_ref to; });
KITH_MESSAGE(ping, { uint64_t n; });
KITH_MESSAGE(tell_when, { kith_ref to; });
KITH_MESSAGE(due, { char none; });

static KITH__ATOMIC(uint32_t) over; /* the busy ones may end */

/* ---- the busy ---- */

struct busy {
    char none;
};

/* Sends what it gets to whom it names: to itself, or to one that sends it back. */
KITH_ON(busy, again)
{
    if (kith__load_rlx(&over) != 0)
        return KITH_OK;
    return kith_send(self, msg->to, again, .to = kith_self_ref(self));
}

static const kith_behavior busy = {
    .name = "busy",
    .state_bytes = sizeof(struct busy),
    .handlers = KITH_HANDLERS(busy, again),
};

/* ---- the others ---- */

struct other {
    kith_ref to;
};

KITH_ON(other, ping)
{
    return kith_reply(self, ping, .n = msg->n + 1);
}

KITH_ON(other, tell_when)
{
    me->to = msg->to;
    return kith_timer_error(kith_at(self, kith_in(KITH_MS), due));
}

KITH_ON(other, due)
{
    return kith_send(self, me->to, ping, .n = 77);
}

static const kith_behavior other = {
    .name = "other",
    .state_bytes = sizeof(struct other),
    .handlers = KITH_HANDLERS(other, ping, tell_when, due),
};

/* ---- beside each other ---- */

static kith_runtime *rt;
static kith_self *self;
static kith_co *co;

static bool start(void)
{
    kith_config config = {.workers = 1};
    kith__store_rlx(&over, 0);
    if (kith_start(&config, &rt) != KITH_OK)
        return false;
    return kith_attach(rt, &self, &co) == KITH_OK;
}

static void others_are_served(void)
{
    kith_msg *msg;
    kith_ref ref = kith_spawn(self, &other, NULL);
    for (uint64_t i = 0; i < 20; i++) {
        kith_err err = kith_ask(co, ref, PATIENCE, &msg, ping, .n = i);
        CHECK_EQ(err, KITH_OK);
        if (err != KITH_OK)
            return;
        CHECK_EQ(kith_body(msg, ping)->n, i + 1);
    }
    CHECK_EQ(kith_send(self, ref, tell_when, .to = kith_self_ref(self)), KITH_OK);
    kith_err err = kith_receive(co, PATIENCE, &msg);
    CHECK_EQ(err, KITH_OK);
    if (err == KITH_OK)
        CHECK_EQ(kith_body(msg, ping)->n, (uint64_t)77);
}

static void finish(void)
{
    kith__store_rlx(&over, 1);
    CHECK_EQ(kith_detach(self), KITH_OK);
    CHECK_EQ(kith_shutdown(rt, kith_in(60 * KITH_SECOND)), KITH_OK);
}

TEST(beside_an_actor_that_writes_to_itself)
{
    REQUIRE(start());
    kith_ref ref = kith_spawn(self, &busy, NULL);
    CHECK_EQ(kith_send(self, ref, again, .to = ref), KITH_OK);
    others_are_served();
    finish();
}

TEST(beside_two_that_write_to_each_other)
{
    REQUIRE(start());
    kith_ref a = kith_spawn(self, &busy, NULL);
    kith_ref b = kith_spawn(self, &busy, NULL);
    CHECK_EQ(kith_send(self, a, again, .to = b), KITH_OK);
    others_are_served();
    finish();
}

TEST(beside_pairs_with_many_messages)
{
    REQUIRE(start());
    for (int pair = 0; pair < 20; pair++) {
        kith_ref a = kith_spawn(self, &busy, NULL);
        kith_ref b = kith_spawn(self, &busy, NULL);
        for (int i = 0; i < 10; i++)
            CHECK_EQ(kith_send(self, a, again, .to = b), KITH_OK);
    }
    others_are_served();
    finish();
}

TEST(beside_one_with_a_full_mailbox)
{
    REQUIRE(start());
    kith_ref ref = kith_spawn(self, &busy, NULL);
    for (int i = 0; i < 5000; i++)
        CHECK_EQ(kith_send(self, ref, again, .to = ref), KITH_OK);
    others_are_served();
    finish();
}
