/* SPDX-License-Identifier: BSD-2-Clause
 *
 * The one suspend primitive: a kith_co is whoever may wait, a fiber or an attached thread, and
 * kith__co_wait is the one place where it does. Mailboxes, questions, timers, sockets, channels,
 * futures and scopes all wake a co; csp and io meet here and nowhere else.
 *
 * A co has a task, and the task's inbox is the one way to wake it: whatever ends a wait is, or comes
 * with, a message. The messages that arrive are sifted in the co's own turn (kith__co_sift): kith's
 * own are run, and set bits in `woke`; the program's are put into `mail`. A wait names the bits that
 * it wants.
 *
 *   FIRED    somebody else has ended the wait by kith__co_fire: a channel's partner, a future
 *   MAIL     mail has come since the wait began
 *   IO       a socket that is waited for has become ready (io/wait.c)
 *   TIME     the deadline has passed
 *   CANCEL   the fiber is to end (sticky)
 *   SHUTDOWN the runtime ends (an attached thread hears it; sticky)
 *   DEADLOCK nobody can ever wake it (sticky)
 *
 * The contract of a wait
 *  O1. kith__co_fire is called at most once a wait, by whoever has taken the waiter out of what it
 *      waited for, under that thing's lock (or, for a waiter of several things, by whoever has won
 *      its claim). From then until the message has been sifted the co stays: it may not end, nor
 *      wait for anything else.
 *  O2. After kith__co_wait has answered anything but KITH_OK, the caller takes its waiter back, under
 *      that same lock. If it is not there any more, it has been fired: the message is on its way,
 *      and the caller calls kith__co_wait_fired, which nothing interrupts, and then has the result.
 *      So a transfer happens wholly or not at all, whatever a deadline or a cancellation does.
 *  O3. A suspended co is touched by its own turn only, but for `wake` and `stop` (by those who may
 *      fire and cancel) and for what the waiter's lock covers.
 *  O4. A co that is to be canceled by someone who knows it is so without memory: the message is
 *      part of it.
 *
 *  O5. `owned`: the co may look into its inbox and into its task's pending messages. An attached thread
 *      owns them whenever it runs. A fiber may run without: then its inbox rests, or somebody has
 *      woken it and its task waits for a turn. It takes its inbox (kith__co_own) when it wants to
 *      look; in the second case it waits for that turn, which sifts for it: what was sent to it before
 *      it was fired must be there. So a fiber that is fired by another one of its worker, waits and is
 *      fired again touches no atomic word.
 *
 *              fire    cancel    wait    end
 *   fire       O1      yes       yes     the caller's duty: O1
 *   cancel             yes       yes     the caller's duty: under the lock of who knows it
 *
 * Threads: kith__co_fire and kith__co_cancel: any of the runtime. All the rest: the co's turn.
 */
#ifndef KITH__SCHED_CO_H
#define KITH__SCHED_CO_H

#include "sched/post.h"
#include "sched/runtime.h"
#include <kith/co.h>

enum {
    KITH__WOKE_FIRED = 1,
    KITH__WOKE_MAIL = 2,
    KITH__WOKE_IO = 4,
    KITH__WOKE_TIME = 8,
    KITH__WOKE_CANCEL = 16,
    KITH__WOKE_SHUTDOWN = 32,
    KITH__WOKE_DEADLOCK = 64,
    KITH__WOKE_NOMEM = 128, /* its deadline could not be set again */
    KITH__WOKE_TURN = 256,  /* its task has had a turn, and has sifted: O5 */
    /* What ends any wait that may be interrupted. */
    KITH__WOKE_ALWAYS =
        KITH__WOKE_CANCEL | KITH__WOKE_SHUTDOWN | KITH__WOKE_DEADLOCK | KITH__WOKE_NOMEM
};

struct kith__co_ops {
    /* Lets others run until the co has a bit in co->wants; co->deadline is KITH_FOREVER or when TIME
     * is to be set. May return early. */
    void (*suspend)(struct kith_co *co);
    /* Lets the others that wait have their turn first. */
    void (*yield)(struct kith_co *co);
    /* A wait with KITH_NOWAIT begins. NULL: nothing. */
    void (*glance)(struct kith_co *co);
    /* It has been fired by another one of its own worker: it will go on. NULL: a message tells it. */
    void (*ready)(struct kith_co *co);
};

struct kith_co {
    struct kith_self *task;
    struct kith__ctx *ctx; /* of its thread: a fiber's worker, which never changes */
    const struct kith__co_ops *ops;
    struct kith_msg *mail;    /* a queue: what came for the program and was not received yet */
    struct kith_msg *current; /* the message in its hands, while others run */
    bool owned;               /* its inbox is its own: O5 */
    bool barred;              /* in code that must not wait: a generator, a callback */
    uint32_t wants;           /* while it waits */
    uint32_t woke;
    kith_time deadline; /* while it waits */
    const char *where;  /* what it waits in, for reports; NULL: it does not wait */
    const void *what;   /* and for what: an address, for reports only */

    uint32_t shield; /* > 0: cancellation is held back */
    kith_err failed; /* by kith_fail */

    uint64_t asked;          /* the question it waits for, bits of KITH__KIND_ASK */
    kith_err answer_status;  /* of that question, once asked is 0 */
    struct kith_msg *answer; /* NULL unless answer_status is KITH_OK */

    kith_time alarm_at; /* a fiber's one timer goes off then, no later than its deadline */
    uint64_t alarm;     /* its handle; 0: none */

    struct kith_scope *scopes; /* csp/scope.c: those that it has made and not left */

    uint32_t select_base; /* csp/select.c: fairness */
    uint32_t select_turn;

    struct kith_msg wake; /* what fires it; at rest unless O1 */
    struct kith_msg stop; /* what cancels it; at rest unless `stopped` */
    KITH__ATOMIC(uint32_t) stopped;
    KITH__ATOMIC(uint32_t) claim; /* of a waiter for several things: csp/waiter.h */
};

/* A new co, all zero before, around a task that is made. */
void kith__co_init(struct kith_co *co, struct kith_self *task, const struct kith__co_ops *ops);
/* The co ends: its mail goes back to where its death looks for it, its alarm ends. */
void kith__co_end(struct kith_co *co);

static inline struct kith_co *kith__co_of(const struct kith_self *task)
{
    return (task->flags & KITH__TASK_CO) != 0 ? task->state : NULL;
}

/* Whether co acts on this thread; if not, the caller answers KITH_EPERM. */
static inline bool kith__co_here(const struct kith_co *co)
{
    struct kith__ctx *ctx = kith__ctx_here;
    return KITH__LIKELY(co != NULL && ctx != NULL && ctx == co->ctx && ctx->running == co->task &&
                        !co->barred);
}

/* Why a co may not begin to wait: KITH_ECANCELED or KITH_EDEADLK; else KITH_OK. What
 * may wait asks this first, so that a canceled fiber does nothing more, whether it would have to
 * wait or not. */
kith_err kith__co_interrupted(const struct kith_co *co);
static inline kith_err kith__co_may_wait(const struct kith_co *co)
{
    const uint32_t refuse = KITH__WOKE_CANCEL | KITH__WOKE_DEADLOCK;
    return KITH__LIKELY((co->woke & refuse) == 0) ? KITH_OK : kith__co_interrupted(co);
}

/* What may wait but did not have to counts as a message handled, so that a fiber that always finds
 * what it looks for gives way when its turn is over. */
void kith__co_spent(struct kith_co *co);
static inline void kith__co_spend(struct kith_co *co)
{
    struct kith__worker *w = co->ctx->worker;
    if (w != NULL && KITH__UNLIKELY(--w->until_clock == 0))
        kith__co_spent(co);
}

/* Waits for one of the bits `wants` (FIRED, MAIL, IO; 0: for the deadline only), which it leaves set.
 * where and what are for reports. KITH_OK: one is set. KITH_ETIMEOUT, KITH_ECANCELED, KITH_ESHUTDOWN,
 * KITH_EDEADLK, KITH_ENOMEM: none is. FIRED is cleared when it is found, if it is all that was wanted;
 * otherwise it stays for kith__co_wait_fired. */
kith_err kith__co_wait(struct kith_co *co, uint32_t wants, kith_time deadline, const char *where,
                       const void *what);
/* O2: waits for FIRED, uninterrupted, and clears it. */
void kith__co_wait_fired(struct kith_co *co);

/* A message for co, who runs, from itself: into its own inbox, owned or not. */
void kith__co_push(struct kith__ctx *ctx, struct kith_co *co, struct kith_msg *msg);
/* Ends the wait of a co (O1). Thread: any of the runtime. */
void kith__co_fire(struct kith__ctx *ctx, struct kith_co *co);
/* Cancels a co that the caller knows to live (O4). Thread: any of the runtime. */
void kith__co_cancel(struct kith__ctx *ctx, struct kith_co *co);

/* O5: whether co owns its inbox now. In its turn, or while it runs. */
static inline bool kith__co_own(struct kith_co *co)
{
    uintptr_t seen = KITH__INBOX_IDLE;
    if (KITH__UNLIKELY(!co->owned))
        co->owned = kith__cas_acq(&co->task->inbox, &seen, KITH__INBOX_EMPTY); /* acquire M4 */
    return co->owned;
}

/* In the co's turn, or while it runs: handles what has come. May suspend a fiber for a turn (O5). */
void kith__co_sift(struct kith_co *co);

/* ---- sockets, for the csp layer, which does not see the io layer (io/wait.c) ---- */

enum { KITH__READY_READ = 1, KITH__READY_WRITE = 2 }; /* a listener: READ */

/* The io layer's, in rt->readiness. Thread: the turn of co, or of ctx->running, whose socket it is. */
struct kith__readiness {
    /* Whether a socket of co's is ready for one of `what`, as the system says now: KITH_OK; KITH_EAGAIN
     * if not; else why it never will be (KITH_EBADREF, KITH_EPERM, KITH_ENOMEM). */
    kith_err (*check)(struct kith_co *co, uint64_t sock_bits, unsigned what);
    /* on: when that changes, the socket sets KITH__WOKE_IO of its owner, until it is off. To be called
     * before the check, so that nothing is missed between them. */
    void (*want)(struct kith_co *co, uint64_t sock_bits, unsigned what, bool on);
    /* Whether the socket is ctx->running's: KITH_OK or KITH_EBADREF. */
    kith_err (*mine)(struct kith__ctx *ctx, uint64_t sock_bits);
    /* A socket of ctx->running's becomes the task's, which was made and is not scheduled yet, but has
     * its inbox open. */
    void (*move)(struct kith__ctx *ctx, uint64_t sock_bits, struct kith_self *to);
};

#endif
