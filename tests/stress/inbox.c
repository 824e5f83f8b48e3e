/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Stress of mailbox/inbox.h: many senders, one taker, and a close in between.
 * Run by: the test driver; --seed N repeats the random choices, KITH_STRESS=N does more.
 * What it holds: I1, I2 and I4 of mailbox/inbox.h: every message is handled, left over at the close,
 *   or refused, exactly once and in that order; the order of each sender, among signals and among
 *   ordinary messages; signals first in each batch; one wake for each rest.
 * Threads: the senders and a taker. What the taker owns is plain memory: it is handed on by the
 *   inbox alone, so that a race detector sees a missing order.
 */
#include "tests/stress/stress.h"

#include "mailbox/inbox.h"

#define SENDERS 3u
#define EACH UINT64_C(2000)

struct receiver {
    kith__inbox inbox;
    struct kith_msg *pending;         /* the owner's */
    uint64_t turns;                   /* the owner's */
    KITH__ATOMIC(uint32_t) scheduled; /* what a run queue would be */
    KITH__ATOMIC(uint32_t) sending;   /* senders that have not ended */
    uint64_t close_after;             /* messages; the taker closes then */
    uint64_t handled;                 /* the taker's */
};

static struct receiver r;
static struct kith_msg msgs[SENDERS][EACH];

/* How each message ended; written by whoever ended it, 0 before. */
enum end { HANDLED = 1, LEFT = 2, REFUSED = 3 };
static unsigned char ends[SENDERS][EACH];

/* The latest message of a sender's, ordinary or signal, that the taker has had. */
static int64_t latest[SENDERS][2];

/* ---- senders ---- */

/* I1: the receiver is this thread's, as it was left by its last turn. */
static void wake(struct kith_msg *msg)
{
    CHECK(r.pending == NULL);
    kith__queue_push(&r.pending, msg);
    r.turns++;
    CHECK_EQ(kith__load_rlx(&r.scheduled), 0u);
    kith__store_rel(&r.scheduled, 1); /* release; pairs with the load in taker_main */
}

static void sender_main(unsigned sender)
{
    struct kith__random random;
    stress_random(&random, sender);
    for (unsigned i = 0; i < EACH; i++) {
        struct kith_msg *msg = &msgs[sender][i];
        bool signal = kith__random_below(&random, 8) == 0;
        msg->flags = signal ? KITH__MSG_SIGNAL : 0;
        msg->sender = (uint64_t)sender << 32 | i;
        enum kith__push done = kith__inbox_push(&r.inbox, msg);
        if (done == KITH__PUSH_WOKE)
            wake(msg);
        else if (done == KITH__PUSH_CLOSED)
            ends[sender][i] = REFUSED;
        if (kith__random_below(&random, 50) == 0)
            sched_yield(); /* the taker runs dry now and then */
    }
    kith__sub_ar(&r.sending, 1);
}

/* ---- the taker ---- */

static void message_ends(const struct kith_msg *msg, enum end how)
{
    unsigned sender = (unsigned)(msg->sender >> 32);
    unsigned i = (unsigned)msg->sender;
    unsigned kind = (msg->flags & KITH__MSG_SIGNAL) != 0;
    CHECK_EQ(ends[sender][i], (unsigned char)0);
    CHECK_GT((int64_t)i, latest[sender][kind]);
    latest[sender][kind] = i;
    ends[sender][i] = (unsigned char)how;
}

/* I4: no signal waits behind an ordinary message. */
static void signals_stand_first(void)
{
    bool ordinary = false;
    struct kith_msg *msg = r.pending;
    if (msg == NULL)
        return;
    do {
        msg = msg->next;
        bool signal = (msg->flags & KITH__MSG_SIGNAL) != 0;
        CHECK(!(signal && ordinary));
        ordinary = ordinary || !signal;
    } while (msg != r.pending);
}

static void close_inbox(void)
{
    struct kith_msg *msg;
    kith__queue_sort(&r.pending, kith__inbox_close(&r.inbox));
    while ((msg = kith__queue_pop(&r.pending)) != NULL)
        message_ends(msg, LEFT);
}

/* True if the receiver is closed after it. */
static bool take_turn(void)
{
    r.turns++;
    do {
        if (kith__inbox_has(&r.inbox))
            kith__queue_sort(&r.pending, kith__inbox_take(&r.inbox));
        signals_stand_first();
        struct kith_msg *msg;
        while ((msg = kith__queue_pop(&r.pending)) != NULL) {
            message_ends(msg, HANDLED);
            if (++r.handled == r.close_after) {
                close_inbox();
                return true;
            }
        }
    } while (!kith__inbox_rest(&r.inbox));
    return false;
}

static void taker_main(void)
{
    bool closed = r.close_after == 0;
    if (closed)
        close_inbox();
    while (!closed) {
        if (kith__load_acq(&r.scheduled) != 0) {
            kith__store_rlx(&r.scheduled, 0);
            closed = take_turn();
        } else if (kith__load_acq(&r.sending) == 0 && kith__load_acq(&r.scheduled) == 0) {
            break; /* all are sent, and all were handled: it rests */
        } else {
            sched_yield();
        }
    }
}

static void either(unsigned index, void *arg)
{
    (void)arg;
    if (index < SENDERS)
        sender_main(index);
    else
        taker_main();
}

/* ---- rounds ---- */

/* One message of each sender decides nothing twice: first handled, then left over, then refused,
 * and nothing without an end. */
static void all_have_ended(void)
{
    for (unsigned sender = 0; sender < SENDERS; sender++) {
        unsigned char before = HANDLED;
        for (unsigned i = 0; i < EACH; i++) {
            unsigned char how = ends[sender][i];
            CHECK_NE(how, (unsigned char)0);
            if (how == REFUSED)
                before = REFUSED;
            CHECK(before != REFUSED || how == REFUSED);
        }
    }
}

static void round_of(uint64_t close_after)
{
    memset(&r, 0, sizeof r);
    memset(ends, 0, sizeof ends);
    memset(latest, 0xff, sizeof latest); /* -1 */
    r.close_after = close_after;
    kith__store_rlx(&r.sending, SENDERS);
    kith__inbox_open(&r.inbox, close_after == 0 ? KITH__INBOX_EMPTY : KITH__INBOX_IDLE);
    stress_threads(SENDERS + 1, either, NULL);
    all_have_ended();
}

TEST(many_senders_and_one_taker)
{
    stress_limit("many_senders_and_one_taker");
    for (uint64_t i = stress_times(1500); i-- > 0 && test_failures == 0;) {
        round_of(UINT64_MAX);
        CHECK_EQ(r.handled, (uint64_t)SENDERS * EACH);
        CHECK_EQ(kith__load_rlx(&r.inbox), KITH__INBOX_IDLE);
    }
}

TEST(a_close_in_between)
{
    struct kith__random random;
    stress_limit("a_close_in_between");
    stress_random(&random, SENDERS);
    for (uint64_t i = stress_times(1500); i-- > 0 && test_failures == 0;) {
        uint64_t close_after = kith__random_below(&random, SENDERS * EACH);
        round_of(close_after);
        CHECK_EQ(r.handled, close_after);
        CHECK_EQ(kith__load_rlx(&r.inbox), KITH__INBOX_CLOSED);
    }
    alarm(0);
}
