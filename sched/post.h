/* SPDX-License-Identifier: BSD-2-Clause
 *
 * The way of a message from a reference to an inbox: the one place where a task is looked up by its
 * handle and pushed to. Used by actors (send) and io (events), and by timers.
 *
 * No count of references and no epoch protects the receiver: its memory is never anything but a
 * task (H1 of handle.h). If it dies between the look-up and the push, the push meets CLOSED; if its
 * slot has been given to a new task by then, the message is in the wrong inbox, and is thrown out
 * when it is taken, because it carries the generation it was meant for.
 */
#ifndef KITH__SCHED_POST_H
#define KITH__SCHED_POST_H

#include "sched/worker.h"

/* Why a reference that names no living task names none: KITH_EDEAD or KITH_EBADREF. */
kith_err kith__post_refused(const struct kith_runtime *rt, uint64_t to);

/* After it was found that `to` names a dead task: from here on all that it did is seen. */
void kith__post_ended(const struct kith_runtime *rt, uint64_t to);

/* The task that `to` names, perhaps; NULL: kith__post_refused says why not. */
static inline struct kith_self *kith__post_find(const struct kith_runtime *rt, uint64_t to)
{
    struct kith__slot *slot = kith__handle_find(&rt->table, to);
    /* relaxed: an early look; the generation in the message is what counts. */
    if (KITH__UNLIKELY(slot == NULL || kith__load_rlx(&slot->bits) != to ||
                       kith__bits_tag(to) != rt->actor_tag))
        return NULL;
    return (struct kith_self *)slot;
}

/* Pushes msg to task, which was found by `to`. KITH_EDEAD: the task is dead, and msg is still the
 * caller's. */
static inline kith_err kith__post_at(struct kith__ctx *ctx, struct kith_self *task, uint64_t to,
                                     struct kith_msg *msg)
{
    msg->to_gen = kith__bits_gen(to);
    enum kith__push pushed = kith__inbox_push(&task->inbox, msg);
    if (pushed == KITH__PUSH_WOKE) {
        kith__queue_push(&task->pending, msg);
        kith__schedule(ctx, task);
    }
    return KITH__LIKELY(pushed != KITH__PUSH_CLOSED) ? KITH_OK : KITH_EDEAD;
}

/* Delivers msg to the task that `to` names. KITH_OK: the message is gone. KITH_EDEAD: it was a task
 * and is dead. KITH_EBADREF: it never was one of this runtime's. In both cases msg is still the
 * caller's. */
static inline kith_err kith__post(struct kith__ctx *ctx, uint64_t to, struct kith_msg *msg)
{
    struct kith_self *task = kith__post_find(ctx->rt, to);
    return KITH__LIKELY(task != NULL) ? kith__post_at(ctx, task, to, msg)
                                      : kith__post_refused(ctx->rt, to);
}

/* Whether a message that was taken out of task's inbox was meant for it. */
static inline bool kith__meant_for(const struct kith_self *task, const struct kith_msg *msg)
{
    return KITH__LIKELY(msg->to_gen == kith__bits_gen(kith__task_bits(task)));
}

#endif
