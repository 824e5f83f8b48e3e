/* SPDX-License-Identifier: BSD-2-Clause
 *
 * The lock-free inbox: one word that fuses a receiver's queue with its scheduling state.
 *
 *   CLOSED   nobody is there: a push is refused
 *   IDLE     nothing waits and the receiver is not scheduled
 *   EMPTY    nothing waits in the word, the receiver is scheduled or runs
 *   a list   of messages, newest first, ended by EMPTY; the receiver is scheduled or runs
 *
 * Used by sched/post.h (push) and by whatever runs tasks (take, rest, close).
 *
 * Invariants
 *  I1. Only the push that saw IDLE answers KITH__PUSH_WOKE: it alone must schedule the receiver, and
 *      until it has, it alone may touch the receiver (so it hands the message over in private, and
 *      saves the receiver's exchange).
 *  I2. kith__inbox_rest, the owner's swap from EMPTY to IDLE, is its last access to the receiver.
 *  I3. Every other reason to run is a message too: there is no second flag.
 *  I4. Messages of one sender to one receiver keep their order, among signals and among ordinary
 *      messages; signals are taken before ordinary messages of the same batch.
 *
 *              push    take    rest    close
 *   push       yes     yes     yes     yes
 *   take       yes     the owner alone takes, rests and closes
 *
 * Orders. A push releases (M1) what the sender wrote, and take and close acquire it (M2). rest
 * releases (M3) what the owner did, and the push that sees IDLE acquires it (M4), so that the next
 * owner sees it. A push onto CLOSED needs nothing: it reads no memory of the receiver's.
 *
 * Why a list and not an exchange-based queue (Vyukov's MPSC): push costs one compare-and-swap
 * instead of one exchange, the same time when nobody contends, and the state needs no second word,
 * so going idle costs one more instead of two. Measured in docs/performance.md.
 */
#ifndef KITH__MAILBOX_INBOX_H
#define KITH__MAILBOX_INBOX_H

#include "base/atomic.h"
#include "mailbox/message.h"

#define KITH__INBOX_CLOSED ((uintptr_t)0)
#define KITH__INBOX_IDLE ((uintptr_t)1)
#define KITH__INBOX_EMPTY ((uintptr_t)2)

typedef KITH__ATOMIC(uintptr_t) kith__inbox;

enum kith__push { KITH__PUSH_OK, KITH__PUSH_WOKE, KITH__PUSH_CLOSED };

static inline struct kith_msg *kith__inbox_end(void)
{
    return (struct kith_msg *)KITH__INBOX_EMPTY;
}

/* After WOKE the message is not in the inbox: the caller owns message and receiver (I1). */
static inline enum kith__push kith__inbox_push(kith__inbox *inbox, struct kith_msg *msg)
{
    uintptr_t seen = kith__load_rlx(inbox); /* relaxed: the compare-and-swap decides */
    for (;;) {
        if (seen == KITH__INBOX_IDLE) {
            /* acquire M4; pairs with M3 in inbox_rest: the owner's last turn. */
            if (kith__cas_acq(inbox, &seen, KITH__INBOX_EMPTY))
                return KITH__PUSH_WOKE;
        } else if (seen == KITH__INBOX_CLOSED) {
            return KITH__PUSH_CLOSED;
        } else {
            msg->next = (struct kith_msg *)seen;
            /* release M1; pairs with M2 in inbox_take and inbox_close: the message. */
            if (kith__cas_rel(inbox, &seen, (uintptr_t)msg))
                return KITH__PUSH_OK;
        }
    }
}

/* Whether a take would find something: a hint for the owner. */
static inline bool kith__inbox_has(kith__inbox *inbox)
{
    return kith__load_rlx(inbox) != KITH__INBOX_EMPTY;
}

/* The owner takes all, newest first, ended by kith__inbox_end(). */
static inline struct kith_msg *kith__inbox_take(kith__inbox *inbox)
{
    /* acquire M2; pairs with M1 in inbox_push: the messages. */
    return (struct kith_msg *)kith__xchg_acq(inbox, KITH__INBOX_EMPTY);
}

/* The owner, having handled everything, lets go: true if nothing had come. */
static inline bool kith__inbox_rest(kith__inbox *inbox)
{
    uintptr_t seen = KITH__INBOX_EMPTY;
    /* release M3; pairs with M4 in inbox_push: all that this turn did to the receiver. */
    return kith__cas_rel(inbox, &seen, KITH__INBOX_IDLE);
}

/* A receiver begins: CLOSED becomes IDLE, or EMPTY if it is owned from the start. Sequentially
 * consistent, for shutdown (S1 in actors/shutdown.c): either its sweep sees the receiver, or the
 * spawner, who looks next, sees the shutdown. */
static inline void kith__inbox_open(kith__inbox *inbox, uintptr_t state)
{
    kith__store_seq(inbox, state); /* seq S1; release M3 for the first push */
}

/* The owner ends the receiver and takes what is left, newest first. Sequentially consistent as
 * open is (S2), and acquire M2. */
static inline struct kith_msg *kith__inbox_close(kith__inbox *inbox)
{
    return (struct kith_msg *)kith__xchg_seq(inbox, KITH__INBOX_CLOSED); /* S2, M2, M5 */
}

/* A queue of messages in the owner's hands: circular, `tail` is the newest, tail->next the oldest. */
static inline void kith__queue_push(struct kith_msg **tail, struct kith_msg *msg)
{
    if (*tail == NULL) {
        msg->next = msg;
    } else {
        msg->next = (*tail)->next;
        (*tail)->next = msg;
    }
    *tail = msg;
}

static inline struct kith_msg *kith__queue_pop(struct kith_msg **tail)
{
    struct kith_msg *last = *tail;
    if (last == NULL)
        return NULL;
    struct kith_msg *first = last->next;
    if (first == last)
        *tail = NULL;
    else
        last->next = first->next;
    return first;
}

/* Appends a taken batch, oldest first, to the queue: ordinary messages at the end, signals before
 * all ordinary ones but behind the signals that wait already (I4). Returns how many were added. */
uint32_t kith__queue_sort(struct kith_msg **tail, struct kith_msg *newest);

#endif
