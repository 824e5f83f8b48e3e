/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Tests of mailbox/inbox.h and inbox.c: each state against each operation, and the sorting of
 * batches against a model, over all short cases.
 * Run by: the test driver.
 * What it holds: I1, I2 and I4 of mailbox/inbox.h as far as one thread shows them; the rest is
 *   tests/stress/inbox.c.
 * Threads: one.
 * Why all cases and not random ones: up to seven messages, each a signal or not, cut into batches
 *   everywhere, are few enough to try them all.
 */
#include "mailbox/inbox.h"

#include "tests/unit/test.h"

#define MANY 7

static struct kith_msg msgs[MANY];

static struct kith_msg *msg_at(unsigned i)
{
    return &msgs[i];
}

static void msgs_reset(void)
{
    memset(msgs, 0, sizeof msgs);
}

/* ---- the word ---- */

TEST(a_closed_inbox_refuses)
{
    kith__inbox inbox = KITH__INBOX_CLOSED;
    CHECK_EQ(kith__inbox_push(&inbox, msg_at(0)), KITH__PUSH_CLOSED);
    CHECK_EQ(kith__load_rlx(&inbox), KITH__INBOX_CLOSED);
}

/* I1: the message is the pusher's to hand over, and the inbox does not have it. */
TEST(the_push_that_finds_it_idle_wakes)
{
    kith__inbox inbox;
    kith__inbox_open(&inbox, KITH__INBOX_IDLE);
    CHECK_EQ(kith__inbox_push(&inbox, msg_at(0)), KITH__PUSH_WOKE);
    CHECK_EQ(kith__load_rlx(&inbox), KITH__INBOX_EMPTY);
    CHECK(!kith__inbox_has(&inbox));
    CHECK_EQ(kith__inbox_push(&inbox, msg_at(1)), KITH__PUSH_OK);
    CHECK(kith__inbox_has(&inbox));
}

TEST(take_gives_all_newest_first)
{
    kith__inbox inbox;
    kith__inbox_open(&inbox, KITH__INBOX_EMPTY);
    for (unsigned i = 0; i < MANY; i++)
        CHECK_EQ(kith__inbox_push(&inbox, msg_at(i)), KITH__PUSH_OK);
    struct kith_msg *msg = kith__inbox_take(&inbox);
    for (unsigned i = MANY; i-- > 0; msg = msg->next)
        REQUIRE(msg == msg_at(i));
    CHECK(msg == kith__inbox_end());
    CHECK(!kith__inbox_has(&inbox));
    CHECK(kith__inbox_take(&inbox) == kith__inbox_end());
}

/* I2: resting succeeds only when nothing has come, and what came is not lost by trying. */
TEST(rest_fails_when_something_has_come)
{
    kith__inbox inbox;
    kith__inbox_open(&inbox, KITH__INBOX_EMPTY);
    CHECK_EQ(kith__inbox_push(&inbox, msg_at(0)), KITH__PUSH_OK);
    CHECK(!kith__inbox_rest(&inbox));
    CHECK(kith__inbox_take(&inbox) == msg_at(0));
    CHECK(kith__inbox_rest(&inbox));
    CHECK_EQ(kith__load_rlx(&inbox), KITH__INBOX_IDLE);
    CHECK_EQ(kith__inbox_push(&inbox, msg_at(0)), KITH__PUSH_WOKE);
}

TEST(close_gives_what_is_left_and_refuses_from_then_on)
{
    kith__inbox inbox;
    kith__inbox_open(&inbox, KITH__INBOX_EMPTY);
    kith__inbox_push(&inbox, msg_at(0));
    kith__inbox_push(&inbox, msg_at(1));
    CHECK(kith__inbox_close(&inbox) == msg_at(1));
    CHECK(msg_at(1)->next == msg_at(0));
    CHECK(msg_at(0)->next == kith__inbox_end());
    CHECK_EQ(kith__inbox_push(&inbox, msg_at(2)), KITH__PUSH_CLOSED);
}

/* ---- the queue in the owner's hands ---- */

TEST(a_queue_gives_what_it_got_in_order)
{
    struct kith_msg *tail = NULL;
    CHECK(kith__queue_pop(&tail) == NULL);
    unsigned in = 0;
    unsigned out = 0;
    /* Two in, one out, so that it is emptied from every length. */
    for (int step = 0; step < 100; step++) {
        for (int i = 0; i < 2 && in - out < MANY; i++)
            kith__queue_push(&tail, msg_at(in++ % MANY));
        CHECK(kith__queue_pop(&tail) == msg_at(out++ % MANY));
    }
    while (out < in)
        CHECK(kith__queue_pop(&tail) == msg_at(out++ % MANY));
    CHECK(tail == NULL);
    CHECK(kith__queue_pop(&tail) == NULL);
}

/* ---- sorting ---- */

struct model {
    unsigned at[MANY];
    unsigned n;
};

static bool is_signal(unsigned i)
{
    return (msgs[i].flags & KITH__MSG_SIGNAL) != 0;
}

/* I4, said another way: a signal goes behind the signals at the front, all else to the end. */
static void model_add(struct model *model, unsigned i)
{
    unsigned to = model->n;
    if (is_signal(i))
        for (to = 0; to < model->n && is_signal(model->at[to]);)
            to++;
    memmove(&model->at[to + 1], &model->at[to], (model->n - to) * sizeof model->at[0]);
    model->at[to] = i;
    model->n++;
}

static unsigned model_pop(struct model *model)
{
    unsigned i = model->at[0];
    model->n--;
    memmove(&model->at[0], &model->at[1], model->n * sizeof model->at[0]);
    return i;
}

static bool pop_both(struct kith_msg **tail, struct model *model)
{
    struct kith_msg *msg = kith__queue_pop(tail);
    if (model->n == 0)
        return msg == NULL;
    return msg == msg_at(model_pop(model));
}

/* n messages; bit i of signals: message i is one; bit i of cuts: a batch ends after it; bit i of
 * pops: one is handled before the next batch comes. */
static bool sorts(unsigned n, unsigned signals, unsigned cuts, unsigned pops)
{
    struct kith_msg *tail = NULL;
    struct model model = {.n = 0};
    struct kith_msg *batch = kith__inbox_end();
    unsigned in_batch = 0;
    msgs_reset();
    for (unsigned i = 0; i < n; i++) {
        msgs[i].flags = (signals >> i & 1) != 0 ? KITH__MSG_SIGNAL | KITH__MSG_INTERNAL : 0;
        msgs[i].next = batch;
        batch = msg_at(i);
        model_add(&model, i);
        in_batch++;
        if ((cuts >> i & 1) == 0 && i + 1 < n)
            continue;
        if (kith__queue_sort(&tail, batch) != in_batch)
            return false;
        batch = kith__inbox_end();
        in_batch = 0;
        if ((pops >> i & 1) != 0 && !pop_both(&tail, &model))
            return false;
    }
    while (model.n > 0)
        if (!pop_both(&tail, &model))
            return false;
    return tail == NULL;
}

TEST(batches_are_sorted_signals_first_and_each_kind_in_order)
{
    for (unsigned n = 1; n <= MANY; n++)
        for (unsigned signals = 0; signals < 1u << n; signals++)
            for (unsigned cuts = 0; cuts < 1u << (n - 1); cuts++)
                for (unsigned pops = cuts;; pops = (pops - 1) & cuts) {
                    if (!sorts(n, signals, cuts, pops))
                        FAIL("%u messages, signals %#x, cuts %#x, pops %#x", n, signals, cuts,
                             pops);
                    if (pops == 0)
                        break;
                }
}

TEST(an_empty_batch_changes_nothing)
{
    struct kith_msg *tail = NULL;
    CHECK_EQ(kith__queue_sort(&tail, kith__inbox_end()), 0u);
    CHECK(tail == NULL);
    msgs_reset();
    kith__queue_push(&tail, msg_at(0));
    CHECK_EQ(kith__queue_sort(&tail, kith__inbox_end()), 0u);
    CHECK(kith__queue_pop(&tail) == msg_at(0));
    CHECK(tail == NULL);
}
