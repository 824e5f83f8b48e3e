/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Tests of sched/post.h and post.c: who is reached by a reference, and what is thrown out when it
 * is taken.
 * Run by: the test driver.
 * What it holds: A1 of actors/turn.c, for actors and for attached threads: a message that was meant
 *   for an earlier user of a slot is not handled, but is a dead letter. And what each reference that
 *   reaches nobody is told.
 * Threads: the test's, attached, and one worker.
 * Why the message is put into the inbox by hand: the race that would put it there (a sender that is
 *   held up between its look at the handle and its push, while the receiver dies and its slot is
 *   given away) is too rare to wait for; tests/stress/churn.c does wait for it.
 */
#include "sched/post.h"

#include "tests/unit/test.h"
#include <kith.h>
#include <sched.h>

KITH_MESSAGE_OWNING(parcel, { uint64_t number; });
KITH_MESSAGE(ask_sum, { char none; });
KITH_MESSAGE(sum, { uint64_t n; });

static KITH__ATOMIC(unsigned) drops;

KITH_DROP(parcel)
{
    kith__add_rlx(&drops, 1);
}

struct taker {
    uint64_t taken;
};

KITH_ON(taker, parcel)
{
    me->taken += msg->number;
    return KITH_OK;
}

KITH_ON(taker, ask_sum)
{
    return kith_reply(self, sum, .n = me->taken);
}

static const kith_behavior taker = {
    .name = "taker",
    .state_bytes = sizeof(struct taker),
    .handlers = KITH_HANDLERS(taker, parcel, ask_sum),
};

static kith_runtime *rt;
static kith_self *self;
static kith_co *co;

static bool start(void)
{
    kith_config config = {.workers = 1};
    kith__store_rlx(&drops, 0);
    if (kith_start(&config, &rt) != KITH_OK)
        return false;
    return kith_attach(rt, &self, &co) == KITH_OK;
}

static void finish(void)
{
    CHECK_EQ(kith_detach(self), KITH_OK);
    CHECK_EQ(kith_shutdown(rt, kith_in(60 * KITH_SECOND)), KITH_OK);
}

static struct kith_msg *parcel_new(uint64_t number)
{
    parcel *body = kith_new(self, parcel);
    if (body == NULL)
        return NULL;
    body->number = number;
    return kith__msg_of(body);
}

/* What kith__post does, without its early look at the handle. */
static void post_late(kith_ref to, struct kith_msg *msg, uint32_t gen)
{
    struct kith__ctx *ctx = kith__ctx_here;
    struct kith_self *task = (struct kith_self *)kith__handle_find(&rt->table, to.bits);
    REQUIRE(task != NULL);
    msg->to_gen = gen;
    enum kith__push pushed = kith__inbox_push(&task->inbox, msg);
    CHECK_NE(pushed, KITH__PUSH_CLOSED);
    if (pushed == KITH__PUSH_WOKE) {
        kith__queue_push(&task->pending, msg);
        kith__schedule(ctx, task);
    }
}

static uint64_t taken_by(kith_ref ref)
{
    kith_msg *reply;
    kith_err err = kith_ask(co, ref, kith_in(60 * KITH_SECOND), &reply, ask_sum);
    CHECK_EQ(err, KITH_OK);
    return err == KITH_OK ? kith_body(reply, sum)->n : UINT64_MAX;
}

static uint64_t dead_letters(void)
{
    kith_stats stats;
    CHECK_EQ(kith_stats_get(rt, &stats), KITH_OK);
    return stats.dead_letters;
}

TEST(an_actor_does_not_handle_what_was_meant_for_another)
{
    REQUIRE(start());
    kith_ref ref = kith_spawn(self, &taker, NULL);
    uint32_t gen = kith__bits_gen(ref.bits);
    struct kith_msg *right = parcel_new(1);
    struct kith_msg *before = parcel_new(10);
    struct kith_msg *after = parcel_new(100);
    REQUIRE(right != NULL && before != NULL && after != NULL);
    post_late(ref, right, gen);
    CHECK_EQ(taken_by(ref), (uint64_t)1);
    CHECK_EQ(kith__load_rlx(&drops), 1u);
    CHECK_EQ(dead_letters(), (uint64_t)0);
    post_late(ref, before, gen - 1);
    post_late(ref, after, gen + 1);
    CHECK_EQ(taken_by(ref), (uint64_t)1);
    CHECK_EQ(kith__load_rlx(&drops), 3u);
    CHECK_EQ(dead_letters(), (uint64_t)2);
    finish();
}

TEST(a_thread_does_not_receive_what_was_meant_for_another)
{
    REQUIRE(start());
    kith_ref here = kith_self_ref(self);
    uint32_t gen = kith__bits_gen(here.bits);
    struct kith_msg *wrong = parcel_new(1);
    struct kith_msg *right = parcel_new(2);
    REQUIRE(wrong != NULL && right != NULL);
    post_late(here, wrong, gen - 1);
    post_late(here, right, gen);
    kith_msg *msg;
    CHECK_EQ(kith_receive(co, kith_in(60 * KITH_SECOND), &msg), KITH_OK);
    CHECK(msg == right);
    CHECK_EQ(kith__load_rlx(&drops), 1u);
    CHECK_EQ(dead_letters(), (uint64_t)1);
    CHECK_EQ(kith_receive(co, KITH_NOWAIT, &msg), KITH_ETIMEOUT);
    CHECK_EQ(kith__load_rlx(&drops), 2u);
    finish();
}

/* Posts a message and ends it if it comes back. */
static kith_err try_post(uint64_t bits)
{
    struct kith_msg *msg = parcel_new(7);
    if (msg == NULL)
        return KITH_ENOMEM;
    kith_err err = kith__post(kith__ctx_here, bits, msg);
    if (err != KITH_OK)
        kith__msg_end(kith__ctx_here->cache, msg);
    return err;
}

static bool is_dead(uint64_t bits)
{
    kith_time limit = kith_in(60 * KITH_SECOND);
    struct kith__slot *slot = kith__handle_find(&rt->table, bits);
    while (kith__load_rlx(&slot->bits) == bits && kith_now() < limit)
        sched_yield();
    return kith__load_rlx(&slot->bits) != bits;
}

TEST(each_reference_that_reaches_nobody_says_why)
{
    REQUIRE(start());
    kith_ref ref = kith_spawn(self, &taker, NULL);
    CHECK_EQ(try_post(ref.bits), KITH_OK);
    CHECK_EQ(try_post(ref.bits + 1), KITH_EBADREF); /* a generation to come */
    CHECK_EQ(try_post(0), KITH_EBADREF);
    CHECK_EQ(try_post(UINT64_MAX), KITH_EBADREF);
    CHECK_EQ(try_post(kith__bits_error(KITH_ENOMEM)), KITH_EBADREF);
    const uint64_t other_runtime = ref.bits ^ (uint64_t)1 << (KITH__GEN_BITS + KITH__SLOT_BITS);
    CHECK_EQ(try_post(other_runtime), KITH_EBADREF);
    const uint64_t timer =
        kith__slot_bits(&rt->table, kith__handle_find(&rt->table, ref.bits), KITH__KIND_TIMER);
    CHECK_EQ(try_post(timer), KITH_EBADREF);
    CHECK_EQ(taken_by(ref), (uint64_t)7);
    CHECK_EQ(kith_stop(self, ref), KITH_OK);
    REQUIRE(is_dead(ref.bits));
    CHECK_EQ(try_post(ref.bits), KITH_EDEAD);
    CHECK_EQ(try_post(ref.bits + 1), KITH_EBADREF);
    finish();
}
