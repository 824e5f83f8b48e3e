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
#define EACH 2000u

struct receiver {
    kith__inbox inbox;
    struct kith_msg *pending;       /* the owner's */
    uint64_t turns;                 /* the owner's */
    KITH__ATOMIC(uint32_t) woken;   /* how often somebody has scheduled it */
    KITH__ATOMIC(uint32_t) senders; /* that still send */
    uint64_t close_after;           /* messages; the taker closes then */
    uint64_t handled;               /* the taker's */
};

static struct receiver r;
static struct kith_msg msgs[SENDERS][EACH];
static unsigned char ended[SENDERS][EACH]; /* each written by whoever ended the message */
enum { HANDLED = 1, LEFT = 2, REFUSED = 3 };

/* Of one sender's kind of message: the number of the last one that was handled. */
static int64_t last_of[SENDERS][2];

static void send_all(unsigned sender, struct kith__random *random)
{
    for (unsigned i = 0; i < EACH; i++) {
        struct kith_msg *msg = &msgs[sender][i];
        bool signal = kith__random_below(random, 8) == 0;
        msg->flags = signal ? KITH__MSG_SIGNAL : 0;
        msg->sender = (uint64_t)sender << 32 | i;
        switch (kith__inbox_push(&r.inbox, msg)) {
        case KITH__PUSH_WOKE: /* I1: the receiver is this thread's until it is scheduled */
            kith__queue_push(&r.pending, msg);
            r.turns++;
            kith__add_rlx(&r.woken, 1);
            kith__store_rlx(&r.woken, kith__load_rlx(&r.woken));
            break;
        case KITH__PUSH_OK:
            break;
        default:
            ended[sender][i] = REFUSED;
        }
        if (kith__random_below(random, 64) == 0)
            sched_yield();
    }
}
