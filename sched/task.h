/* SPDX-License-Identifier: BSD-2-Clause
 *
 * A task is what the scheduler runs: a handle, an inbox, and a function that takes a turn. Actors,
 * fibers and attached threads are tasks; sched knows no more of them than this. The public kith_self
 * is a task.
 *
 * Invariants
 *  T1. A task is in at most one run queue, and only while its inbox is not IDLE and not CLOSED.
 *  T2. All fields but bits and inbox are touched only by the task's owner: the worker that runs it,
 *      or, between waking it and scheduling it, the one whose push woke it (I1 of inbox.h).
 *  T3. A task that is placed runs on the worker that `wheel` names, and on no other (sched/placed.c).
 */
#ifndef KITH__SCHED_TASK_H
#define KITH__SCHED_TASK_H

#include "base/handle.h"
#include "mailbox/inbox.h"
#include "mailbox/message.h"
#include <kith/err.h>

struct kith__ctx;
struct kith_self;

struct kith__task_ops {
    /* Handles messages until there are none or the turn is over. Afterwards the task is resting
     * (IDLE), dead, or has been submitted again. */
    void (*turn)(struct kith__ctx *ctx, struct kith_self *task);
    /* Of a task with a thread of its own (KITH__TASK_THREAD): called instead of queueing it. */
    void (*wake)(struct kith_self *task);
};

/* Something that ends with its task: a timer, a question, a socket. A circular list. */
struct kith__owned {
    struct kith__owned *next;
    struct kith__owned *prev;
    void (*release)(struct kith__ctx *ctx, struct kith_self *owner, struct kith__owned *owned);
};

enum {
    KITH__TASK_STOPPING = 1,   /* ends when its handler returns, for the reason `reason` */
    KITH__TASK_THREAD = 2,     /* an attached thread */
    KITH__TASK_CO = 4,         /* may wait: a fiber or an attached thread; its state is a kith_co */
    KITH__TASK_IDLE_TIMER = 8, /* has a receive timeout: stamps the end of its turns */
    KITH__TASK_SUBSCRIBED = 16, /* gets the dead letters */
    KITH__TASK_ACTIVE = 32,     /* has handled a message since its receive timeout was stamped */
    KITH__TASK_OVERLOADED = 64, /* had more to take than a turn handles */
    KITH__TASK_PLACED = 128     /* T3 */
};

struct kith_self {
    /* First line: what every message touches. */
    struct kith__slot slot; /* slot.next links run queues while the task lives */
    kith__inbox inbox;
    struct kith_msg *pending; /* taken and not handled: a queue (mailbox/inbox.h) */
    const struct kith__task_ops *ops;
    KITH__ATOMIC(const void *) behavior; /* the actor layer's; constant while the task lives */
    void *state;
    uint8_t flags;
    KITH__ATOMIC(uint8_t) cls; /* of its slot; a slot keeps it for ever, so senders may read it */
    uint8_t wheel;             /* the worker whose wheel holds its timers, while it has any; T3 */
    uint8_t busy_level;        /* the mailbox size that was logged last is 1 << this */
    int32_t reason;
    /* Second line: what its life touches. */
    struct kith__owned *owned;
    struct kith_msg *watchers;     /* a queue of the down messages that its death will send */
    KITH__ATOMIC(uint64_t) parent; /* bits of a kith_ref; constant while the task lives */
    uint32_t waiting;              /* messages in pending; the one that woke the actor may lack */
    uint32_t timers;               /* how many it has */
};

#define KITH__TASK_BYTES sizeof(struct kith_self)
_Static_assert(sizeof(struct kith_self) == 96, "the state follows, aligned to 16");

/* A task with a bounded mailbox is of the class KITH__CLASS_BOUNDED, and has this much room before its
 * state, for csp/bound.h. It is zero when the slot is used first, and then never cleared: senders with
 * a stale reference may look at it. */
#define KITH__BOUND_BYTES 96u

/* A new task in a slot of its own, with bytes of zeroed state behind it, its inbox closed and its
 * handle set. NULL if memory or slots are out. */
struct kith_self *kith__task_new(struct kith__ctx *ctx, const struct kith__task_ops *ops,
                                 const void *behavior, size_t state_bytes);
/* The same with room for a bound, which is still to be opened (csp/bound.h). */
struct kith_self *kith__task_new_bounded(struct kith__ctx *ctx, const struct kith__task_ops *ops,
                                         const void *behavior, size_t state_bytes);
/* Gives its slot and state back; the handle must be killed, or have been given to nobody. */
void kith__task_free(struct kith__ctx *ctx, struct kith_self *task, size_t state_bytes);
/* The parent of a new task: `asked`, or, if that is 0, who acts. */
kith_err kith__task_parent(struct kith__ctx *ctx, uint64_t asked, uint64_t *parent);

/* What a message of kith's own does: type.drop is not used. */
struct kith__internal {
    kith_type type;
    /* Handles it as `task`, whose turn it is; owns msg. */
    void (*run)(struct kith__ctx *ctx, struct kith_self *task, struct kith_msg *msg);
    /* Its receiver is dead (or it never got there): owns msg. */
    void (*dead)(struct kith__ctx *ctx, struct kith_msg *msg);
};

static inline const struct kith__internal *kith__internal_of(const struct kith_msg *msg)
{
    return (const struct kith__internal *)(const void *)msg->type;
}

/* T3, before anybody can wake it. */
static inline void kith__task_place(struct kith_self *task, uint32_t worker)
{
    task->flags |= KITH__TASK_PLACED;
    task->wheel = (uint8_t)worker;
}

static inline bool kith__task_is_bounded(const struct kith_self *task)
{
    return kith__load_rlx(&task->cls) == KITH__CLASS_BOUNDED;
}

static inline uint64_t kith__task_bits(const struct kith_self *task)
{
    return kith__load_rlx(&task->slot.bits); /* relaxed: constant while the task lives */
}

static inline void kith__own(struct kith_self *owner, struct kith__owned *owned)
{
    struct kith__owned *first = owner->owned;
    if (first == NULL) {
        owned->next = owned->prev = owned;
        owner->owned = owned;
        return;
    }
    owned->next = first;
    owned->prev = first->prev;
    first->prev->next = owned;
    first->prev = owned;
}

static inline void kith__disown(struct kith_self *owner, struct kith__owned *owned)
{
    if (owned->next == owned) {
        owner->owned = NULL;
        return;
    }
    owned->next->prev = owned->prev;
    owned->prev->next = owned->next;
    if (owner->owned == owned)
        owner->owned = owned->next;
}

/* Ends all that a task owns, in the order in which it came. */
static inline void kith__disown_all(struct kith__ctx *ctx, struct kith_self *owner)
{
    while (owner->owned != NULL) {
        struct kith__owned *first = owner->owned;
        kith__disown(owner, first);
        first->release(ctx, owner, first);
    }
}

#endif
