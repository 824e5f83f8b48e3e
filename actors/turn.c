/* SPDX-License-Identifier: BSD-2-Clause
 *
 * An actor's turn: takes messages out of the inbox and runs their handlers.
 *
 * Called by the worker's loop. A turn ends when nothing waits (the actor rests), when it has lasted
 * long enough (kith__turn_over; the actor goes behind all others), or when the actor dies.
 *
 * Invariants
 *  A1. A message meant for an earlier user of the slot is not handled: its generation differs.
 *  A2. A message taken out is ended exactly once: by its handler (reply, forward, keep: then
 *      ctx->current is NULL), or here.
 *  A3. After kith__inbox_rest succeeds, or kith__die returns, the actor is not touched any more.
 *  A4. A turn takes messages at its begin and when it has handled all it has; after the second time
 *      it goes behind the others, so that two actors that keep each other busy cannot keep a
 *      worker. (While messages are pending it looks into the inbox whenever the clock is read,
 *      every 64 messages or some 30 us, so that a signal overtakes them. To look before each
 *      message would pull the line from whoever sends: `counting` in one go on two workers lost
 *      half its rate.)
 *  A5. An actor that had OVERLOAD messages to take and has not handled them all stands in the slot
 *      for its next turns, every other one of this worker, and not behind all others. Whoever feeds
 *      it would else fill memory with its mailbox, and memory that is cold is slow to handle.
 *  A6. An actor with a bounded mailbox gives room back in batches while it handles, and has given
 *      all of it back when its turn ends. It has a turn of its own, compiled from the same lines,
 *      so that others do not pay for that.
 */
#include "actors/actor.h"
#include "csp/bound.h"
#include "sched/slow.h"
#include "sched/timer.h"
#include "sched/worker.h"
#include <string.h>

void kith__task_fail(struct kith_self *task, kith_err reason)
{
    if ((task->flags & KITH__TASK_STOPPING) != 0 && task->reason != KITH_OK)
        return; /* kith_fail has said why */
    task->flags |= KITH__TASK_STOPPING;
    task->reason = reason;
}

bool kith__same_type(const kith_type *a, const kith_type *b)
{
    return a == b || (a->body_bytes == b->body_bytes && strcmp(a->name, b->name) == 0);
}

static kith_handler_fn *handler_by_name(const kith_handler *handlers, const kith_type *type)
{
    for (const kith_handler *h = handlers; h != NULL && h->type != NULL; h++)
        if (kith__same_type(h->type, type))
            return h->fn;
    return NULL;
}

static __attribute__((noinline)) kith_err unhandled(struct kith__ctx *ctx, struct kith_self *task,
                                                    struct kith_msg *msg)
{
    const kith_behavior *behavior = kith__behavior_of(task);
    kith_handler_fn *fn = handler_by_name(behavior->handlers, msg->type);
    if (fn != NULL)
        return fn(task, task->state, kith__msg_body(msg));
    if (behavior->other != NULL)
        return behavior->other(task, task->state, msg);
    ctx->current = NULL;
    kith__dead_letter(ctx, kith__task_bits(task), msg, KITH_EUNHANDLED);
    return KITH_OK;
}

static kith_err dispatch(struct kith__ctx *ctx, struct kith_self *task, struct kith_msg *msg)
{
    const kith_handler *h = kith__behavior_of(task)->handlers;
    for (; KITH__LIKELY(h != NULL && h->type != NULL); h++)
        if (h->type == msg->type)
            return h->fn(task, task->state, kith__msg_body(msg));
    return unhandled(ctx, task, msg);
}

static inline void handle_ordinary(struct kith__ctx *ctx, struct kith_self *task,
                                   struct kith_msg *msg)
{
    ctx->current = msg;
    if (KITH__UNLIKELY((task->flags & KITH__TASK_IDLE_TIMER) != 0))
        task->flags |= KITH__TASK_ACTIVE;
    kith_err err = dispatch(ctx, task, msg);
    if (KITH__UNLIKELY(err != KITH_OK))
        kith__task_fail(task, err);
    kith__current_end(ctx);
}

void kith__handle_ordinary(struct kith__ctx *ctx, struct kith_self *task, struct kith_msg *msg)
{
    handle_ordinary(ctx, task, msg);
}

/* Timers, answers and messages of kith's own, and strays (A1). */
static __attribute__((noinline)) void handle_special(struct kith__ctx *ctx, struct kith_self *task,
                                                     struct kith_msg *msg)
{
    if (!kith__meant_for(task, msg)) {
        kith__dead_letter(ctx, 0, msg, KITH_EDEAD); /* A1 */
        return;
    }
    if ((msg->flags & KITH__MSG_TIMER) != 0) {
        msg = kith__timer_arrived(ctx, task, msg);
        if (msg == NULL)
            return;
    }
    if ((msg->flags & KITH__MSG_REPLY) != 0)
        kith__answer_arrived(ctx, task, msg);
    else if ((msg->flags & KITH__MSG_INTERNAL) != 0)
        kith__internal_of(msg)->run(ctx, task, msg);
    else
        kith__handle_ordinary(ctx, task, msg);
}

#define INLINE inline __attribute__((always_inline))

/* Returns whether it was mail that takes room. */
static INLINE bool handle(struct kith__ctx *ctx, struct kith_self *task, struct kith_msg *msg,
                          bool bounded)
{
    const uint8_t counted = bounded ? KITH__MSG_COUNTED : 0;
    const uint8_t flags = msg->flags;
    if (KITH__LIKELY(kith__meant_for(task, msg) && (flags & (uint8_t)~counted) == 0)) {
        handle_ordinary(ctx, task, msg);
        return (flags & counted) != 0;
    }
    handle_special(ctx, task, msg);
    return false; /* not even if it was counted: then it is a stray, and counted elsewhere */
}

#define OVERLOAD_LEVEL 10u
#define OVERLOAD (1u << OVERLOAD_LEVEL)

/* Logged at 1024, 2048, 4096 and so on, each once. */
static __attribute__((noinline)) void overloaded(struct kith__ctx *ctx, struct kith_self *task)
{
    task->flags |= KITH__TASK_OVERLOADED;
    unsigned level = task->busy_level == 0 ? OVERLOAD_LEVEL : task->busy_level + 1u;
    if (level >= 32 || task->waiting < 1u << level)
        return;
    while (level < 31 && task->waiting >= 2u << level)
        level++;
    task->busy_level = (uint8_t)level;
    kith__log(&ctx->rt->log, KITH_LOG_INFO, "%s: %u messages wait in its mailbox",
              kith__name_of(kith__behavior_of(task)), task->waiting);
}

static void take(struct kith__ctx *ctx, struct kith_self *task)
{
    task->waiting += kith__queue_sort(&task->pending, kith__inbox_take(&task->inbox));
    if (KITH__UNLIKELY(task->waiting >= OVERLOAD))
        overloaded(ctx, task);
}

/* The message with which the actor was woken came in private (I1) and was not counted. */
static inline struct kith_msg *next_message(struct kith_self *task)
{
    task->waiting -= task->waiting > 0;
    return kith__queue_pop(&task->pending);
}

/* The turn is over, and messages wait (A5). */
static void next_turn(struct kith__ctx *ctx, struct kith_self *task)
{
    if (KITH__UNLIKELY((task->flags & KITH__TASK_OVERLOADED) != 0))
        kith__schedule_overloaded(ctx, task);
    else
        kith__schedule_last(ctx, task);
}

/* Nothing is pending: true if the actor rests now, or must wait for its next turn. */
static INLINE bool turn_ends(struct kith__ctx *ctx, struct kith_self *task, bool *again,
                             bool bounded)
{
    if (bounded)
        kith__bound_tell(ctx, kith__bound_of(task)); /* A6 */
    if (KITH__UNLIKELY((task->flags & KITH__TASK_ACTIVE) != 0))
        kith__idle_stamp(ctx, task);
    if (KITH__UNLIKELY((task->flags & KITH__TASK_OVERLOADED) != 0)) {
        task->flags &= (uint8_t)~KITH__TASK_OVERLOADED;
        ctx->worker->overloaded = NULL;
    }
    if (KITH__LIKELY(kith__inbox_rest(&task->inbox)))
        return true;
    if (*again) {
        kith__schedule_last(ctx, task); /* A4 */
        return true;
    }
    *again = true;
    take(ctx, task);
    return false;
}

/* In debug mode. The message may be gone afterwards, its type and the behaviour are not. */
static bool handle_timed(struct kith__ctx *ctx, struct kith_self *task, struct kith_msg *msg,
                         bool bounded)
{
    kith_time began = kith__slow_begin(ctx);
    const kith_behavior *behavior = kith__behavior_of(task);
    const kith_type *type = msg->type;
    kith_handler_fn *fn = handler_by_name(behavior->handlers, type);
    void *at = NULL;
    memcpy(&at, &fn, sizeof at); /* a function's address */
    bool counted = handle(ctx, task, msg, bounded);
    kith__slow_end(ctx, began, kith__name_of(behavior), type->name, at);
    return counted;
}

static INLINE void turn(struct kith__ctx *ctx, struct kith_self *task, bool bounded, bool timed)
{
    bool again = false;
    ctx->running = task;
    kith__store_rlx(&ctx->worker->turn_of, kith__load_rlx(&task->behavior));
    if (kith__inbox_has(&task->inbox))
        take(ctx, task);
    for (;;) {
        struct kith_msg *msg = next_message(task);
        if (msg == NULL) {
            if (turn_ends(ctx, task, &again, bounded))
                break;
            continue;
        }
        bool counted =
            timed ? handle_timed(ctx, task, msg, bounded) : handle(ctx, task, msg, bounded);
        if (KITH__UNLIKELY((task->flags & KITH__TASK_STOPPING) != 0)) {
            if (ctx->worker->overloaded == task)
                ctx->worker->overloaded = NULL;
            kith__die(ctx, task);
            break;
        }
        if (bounded && counted)
            kith__bound_done(ctx, task);
        if (KITH__LIKELY(!kith__clock_due(ctx->worker)))
            continue;
        bool over = kith__turn_over(ctx->worker);
        if (task->pending == NULL)
            continue;
        if (over) {
            if (bounded)
                kith__bound_tell(ctx, kith__bound_of(task)); /* A6 */
            next_turn(ctx, task);
            break;
        }
        if (kith__inbox_has(&task->inbox))
            take(ctx, task); /* A4 */
    }
    ctx->running = NULL;
}

static void actor_turn(struct kith__ctx *ctx, struct kith_self *task)
{
    turn(ctx, task, false, false);
}

static void bounded_turn(struct kith__ctx *ctx, struct kith_self *task)
{
    turn(ctx, task, true, false);
}

static void timed_turn(struct kith__ctx *ctx, struct kith_self *task)
{
    turn(ctx, task, kith__behavior_of(task)->mailbox_max != 0, true);
}

const struct kith__task_ops kith__actor_ops = {.turn = actor_turn};
const struct kith__task_ops kith__bounded_ops = {.turn = bounded_turn};
const struct kith__task_ops kith__timed_ops = {.turn = timed_turn};
