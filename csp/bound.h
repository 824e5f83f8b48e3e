/* SPDX-License-Identifier: BSD-2-Clause
 *
 * The bound of a mailbox: how much room is left in it, and who waits for room.
 *
 * Used by actors/send.c (taking room), and by whatever runs a task with a bounded mailbox: an
 * actor's turn, a fiber's receive (giving room back). What is counted is mail: what was sent,
 * posted, forwarded or asked; signals, timers, answers and kith's own messages are not.
 *
 * One word, `room`, holds the generation of the task, whether it lives, how many more messages
 * there is room for, and WAIT: that somebody waits.
 *
 * Invariants
 *  BD1. A message is pushed only after its sender has taken room for it, and gives that room back
 *       only when it has left the mailbox: so no more than mailbox_max counted messages are in the
 *       mailbox and on their way into it, whatever the number of senders. Room comes back late, in
 *       batches of up to half of the bound, so that sender and receiver do not pull the line to and
 *       fro for each message: a sender may hear "full" with that many places free.
 *  BD2. Room is taken only from the life of the slot that the reference names: the generation
 *       stands in the word that the compare-and-swap changes. A message that was counted for a life
 *       is given back by that life alone: a stray has another generation (kith__meant_for).
 *  BD3. WAIT is set if and only if somebody stands in `waiters`; both change under the lock. While
 *       it is set nobody else takes room: those who wait are served first, oldest first, and
 *       handlers hear KITH_EFULL. So nobody starves.
 *  BD4. No wake is lost. Whoever waits sets WAIT by a compare-and-swap that finds no room, and the
 *       receiver adds room to the same word: the addition comes before the swap, which then sees
 *       room, or after it, and then sees WAIT. The receiver that sees WAIT takes the lock, which
 *       the waiter has held since before it set WAIT until it stood in the list.
 *  BD5. Room is handed over when at least half of the mailbox is free: to each of the waiters in
 *       turn the room for one message. The receiver reaches that, for the latest when it has
 *       handled all.
 *  BD6. At death the word is closed and the waiters are told KITH_EDEAD, under the lock; whoever
 *       comes later finds it closed. A sender that had room then meets a closed inbox.
 *
 *              take    wait    give    open, close
 *   take       yes     yes     yes     yes
 *   wait               yes     yes     yes
 *   give                       the owner's turn alone
 *
 * The word publishes nothing, so relaxed is enough everywhere: messages are ordered by the inbox,
 * the waiters by the lock, and what BD4 needs is the one order of changes of one word.
 *
 * Why not a count in the inbox's word: it would make the push of all, unbounded too, dearer. Why
 * the generation and no look at the handle: the memory of a slot is a bound's for ever
 * (KITH__CLASS_BOUNDED), but the life that the sender has found may end at any moment.
 */
#ifndef KITH__CSP_BOUND_H
#define KITH__CSP_BOUND_H

#include "csp/lock.h"
#include "csp/waiter.h"

#define KITH__BOUND_MAX ((uint32_t)INT32_MAX) /* more is the same: memory is out before */
#define KITH__BOUND_WAIT (UINT64_C(1) << 31)
#define KITH__BOUND_OPEN (UINT64_C(1) << 32)
#define KITH__BOUND_GEN_SHIFT 33

struct kith__bound {
    /* The owner's, on the line with the task's other counts. */
    uint32_t done;  /* messages that have left the mailbox, and whose room was not given back yet */
    uint32_t batch; /* that many are given back at once, at the latest */
    uint32_t half;
    uint32_t unused[5];
    /* The senders', on a line of its own. */
    KITH__ATOMIC(uint64_t) room;
    struct kith__waiters waiters; /* under the lock */
    struct kith__lock lock;
};
_Static_assert(sizeof(struct kith__bound) <= KITH__BOUND_BYTES, "must fit between task and state");
_Static_assert((KITH__TASK_BYTES + offsetof(struct kith__bound, room)) % KITH__CACHE_LINE == 0,
               "what senders write must not share a line with what the owner writes");

static inline struct kith__bound *kith__bound_of(struct kith_self *task)
{
    return (struct kith__bound *)(void *)(task + 1);
}

/* Of a new task, whose handle nobody knows yet; max > 0. */
void kith__bound_open(struct kith_self *task, uint32_t max);
/* In the task's last turn, after its handle was killed and before its slot is freed. */
void kith__bound_close(struct kith__ctx *ctx, struct kith_self *task);

/* Takes room for one message to generation gen: KITH_OK, KITH_EFULL or KITH_EDEAD. */
static inline kith_err kith__bound_take(struct kith__bound *bound, uint32_t gen)
{
    const uint64_t life = (uint64_t)gen << KITH__BOUND_GEN_SHIFT | KITH__BOUND_OPEN;
    uint64_t seen = kith__load_rlx(&bound->room);
    do {
        if (KITH__UNLIKELY((seen & ~(KITH__BOUND_OPEN - 1)) != life)) /* BD2 */
            return KITH_EDEAD;
        /* No room, or WAIT (BD3): the rest lies between 1 and BOUND_MAX. */
        if (KITH__UNLIKELY((uint32_t)seen - 1 >= KITH__BOUND_MAX))
            return KITH_EFULL;
    } while (KITH__UNLIKELY(!kith__cas_rlx(&bound->room, &seen, seen - 1)));
    return KITH_OK;
}

/* The same for a co, which waits for room: also the errors of a wait. */
kith_err kith__bound_wait(struct kith_co *co, struct kith_self *to, uint32_t gen,
                          kith_time deadline);

/* Gives back what was not given back yet. */
void kith__bound_tell(struct kith__ctx *ctx, struct kith__bound *bound);

/* A counted message has left the mailbox of task, whose turn it is. */
static inline void kith__bound_done(struct kith__ctx *ctx, struct kith_self *task)
{
    struct kith__bound *bound = kith__bound_of(task);
    if (KITH__UNLIKELY(++bound->done >= bound->batch))
        kith__bound_tell(ctx, bound);
}

/* The same for a co, whose mail leaves the mailbox when it is received. */
static inline void kith__bound_received(struct kith_co *co, const struct kith_msg *msg)
{
    if (KITH__UNLIKELY((msg->flags & KITH__MSG_COUNTED) != 0))
        kith__bound_done(co->ctx, co->task);
}

/* A co has found no mail, and may wait now: it must not keep room back. */
static inline void kith__bound_no_mail(struct kith_co *co)
{
    if (KITH__UNLIKELY(kith__task_is_bounded(co->task)))
        kith__bound_tell(co->ctx, kith__bound_of(co->task));
}

#endif
