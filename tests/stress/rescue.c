/* SPDX-License-Identifier: BSD-2-Clause
 *
 * A worker that has worked for a while and then stands still: the task that it has woken last is run
 * by the other worker, round after round (G1 in sched/watch.c: the watch is armed as long as anybody
 * runs, also when it is the busy worker that gets its event).
 *
 * A round that is not rescued is noticed by the hog, who gives up after STRESS_PATIENCE_NS; nothing
 * else here depends on time.
 */
#include "base/atomic.h"
#include "tests/stress/stress.h"
#include "tests/unit/test.h"
#include <kith.h>

KITH_MESSAGE(work, {
    kith_time until;
    kith_ref helper;
});
KITH_MESSAGE(help, { char none; });

static KITH__ATOMIC(uint32_t) helped;
static KITH__ATOMIC(uint32_t) rounds_done;
static KITH__ATOMIC(uint32_t) given_up;

struct hog {
    char none;
};

/* Works in short turns, so that the worker polls its loop, until the time comes to stand still. */
KITH_ON(hog, work)
{
    if (kith_now() < msg->until)
        return kith_send(self, kith_self_ref(self), work, .until = msg->until,
                         .helper = msg->helper);
    uint32_t before = kith__load_seq(&helped);
    kith_time patience = kith_in(STRESS_PATIENCE_NS);
    kith_send(self, msg->helper, help);
    while (kith__load_seq(&helped) == before && kith__load_seq(&given_up) == 0)
        if (kith_now() > patience)
            kith__store_seq(&given_up, 1);
    kith__add_seq(&rounds_done, 1);
    return KITH_OK;
}

static const kith_behavior hog = {
    .name = "hog",
    .state_bytes = sizeof(struct hog),
    .handlers = KITH_HANDLERS(hog, work),
};

struct helper {
    char none;
};

KITH_ON(helper, help)
{
    kith__add_seq(&helped, 1);
    return KITH_OK;
}

static const kith_behavior helper = {
    .name = "helper",
    .state_bytes = sizeof(struct helper),
    .handlers = KITH_HANDLERS(helper, help),
};

TEST(a_worker_that_stands_still_after_work_is_rescued)
{
    kith_runtime *rt = NULL;
    kith_self *self = NULL;
    const kith_config config = {.workers = 2, .stall_ns = KITH_HOUR};
    REQUIRE(kith_start(&config, &rt) == KITH_OK);
    REQUIRE(kith_attach(rt, &self, NULL) == KITH_OK);
    kith_ref to_help = kith_spawn(self, &helper, NULL);
    kith_ref to_work = kith_spawn(self, &hog, NULL);
    uint32_t rounds = (uint32_t)(20 * test_env("KITH_STRESS", 1));
    for (uint32_t i = 0; i < rounds && kith__load_seq(&given_up) == 0; i++) {
        kith_time until = kith_in((10 + i % 7 * 7) * KITH_MS);
        CHECK_EQ(kith_send(self, to_work, work, .until = until, .helper = to_help), KITH_OK);
        while (kith__load_seq(&rounds_done) == i)
            sched_yield();
    }
    CHECK_EQ(kith__load_seq(&given_up), 0u);
    CHECK_EQ(kith_detach(self), KITH_OK);
    CHECK_EQ(kith_shutdown(rt, kith_in(STRESS_PATIENCE_NS)), KITH_OK);
}
