/* SPDX-License-Identifier: BSD-2-Clause
 *
 * An actor's life: spawn, stop, fail, death.
 *
 * Invariants
 *  D1. A new actor can be found only when it is complete: its handle gets out by its own init or by
 *      kith_spawn's return, and its inbox opens before either.
 *  D2. Death closes the inbox once; whatever was in it, and whatever meets CLOSED afterwards, goes
 *      to the dead letters. So each message's drop runs exactly once.
 *  D3. The order of death: stop hook, what it owns, handle, bound, inbox, mailbox, watchers, slot.
 *      A watcher that hears of a death and sends again meets a stale handle.
 */
#include "actors/actor.h"
#include "csp/bound.h"
#include <string.h>

#define STATE_BYTES_MAX ((size_t)1 << 30)

static kith_ref error_ref(kith_err err)
{
    return (kith_ref){kith__bits_error((int)err)};
}

/* ---- making ---- */

static struct kith_self *actor_new(struct kith__ctx *ctx, const kith_behavior *behavior)
{
    size_t bytes = behavior->state_bytes;
    bool bounded = behavior->mailbox_max != 0;
    const struct kith__task_ops *ops = bounded ? &kith__bounded_ops : &kith__actor_ops;
    if (KITH__UNLIKELY(ctx->rt->config.debug))
        ops = &kith__timed_ops;
    if (KITH__LIKELY(!bounded))
        return kith__task_new(ctx, ops, behavior, bytes);
    struct kith_self *task = kith__task_new_bounded(ctx, ops, behavior, bytes);
    if (task != NULL)
        kith__bound_open(task, behavior->mailbox_max);
    return task;
}

/* Runs init as the new actor. */
static kith_err run_init(struct kith__ctx *ctx, struct kith_self *task, const void *arg)
{
    const kith_behavior *behavior = kith__behavior_of(task);
    if (behavior->init == NULL)
        return KITH_OK;
    struct kith_self *running = ctx->running;
    struct kith_msg *current = ctx->current;
    ctx->running = task;
    ctx->current = NULL;
    kith_err err = behavior->init(task, task->state, arg);
    if (err == KITH_OK && (task->flags & KITH__TASK_STOPPING) != 0)
        err = task->reason;
    ctx->running = running;
    ctx->current = current;
    return err;
}

/* The new actor goes from its spawner's hands to the scheduler's. */
static void let_go(struct kith__ctx *ctx, struct kith_self *task)
{
    if ((task->flags & KITH__TASK_STOPPING) != 0) { /* it has stopped itself in its init */
        struct kith_self *running = ctx->running;
        struct kith_msg *current = ctx->current;
        ctx->running = task;
        ctx->current = NULL;
        kith__die(ctx, task);
        ctx->running = running;
        ctx->current = current;
    } else if (kith__behavior_of(task)->init != NULL && !kith__inbox_rest(&task->inbox)) {
        kith__schedule(ctx, task);
    }
}

kith_ref kith_spawn_with(kith_self *self, const kith_behavior *behavior, const void *arg,
                         const kith_spawn_options *options)
{
    struct kith__ctx *ctx = kith__ctx_of(self);
    if (ctx == NULL)
        return error_ref(KITH_EPERM);
    if (behavior == NULL || behavior->state_bytes > STATE_BYTES_MAX ||
        (options != NULL && options->worker > ctx->rt->worker_count))
        return error_ref(KITH_EINVAL);
    if (kith__load_rlx(&ctx->rt->shutting_down) != 0)
        return error_ref(KITH_ESHUTDOWN);
    uint64_t parent;
    kith_err err = kith__task_parent(ctx, options != NULL ? options->parent.bits : 0, &parent);
    if (err != KITH_OK)
        return error_ref(err);
    struct kith_self *task = actor_new(ctx, behavior);
    if (task == NULL)
        return error_ref(KITH_ENOMEM);
    if (options != NULL && options->worker != 0)
        kith__task_place(task, options->worker - 1);
    kith_ref ref = {kith__task_bits(task)};
    kith__store_rlx(&task->parent, parent);
    kith__count(&ctx->counters.spawned);
    bool owned = behavior->init != NULL;
    kith__inbox_open(&task->inbox, owned ? KITH__INBOX_EMPTY : KITH__INBOX_IDLE);
    err = run_init(ctx, task, arg);
    if (err != KITH_OK) {
        task->reason = err;
        kith__task_end(ctx, task);
        return error_ref(err);
    }
    let_go(ctx, task);
    if (KITH__UNLIKELY(kith__load_seq(&ctx->rt->shutting_down) != 0)) /* S1 */
        kith__stop_for_shutdown(ctx, ref.bits);
    return ref;
}

kith_ref kith_spawn(kith_self *self, const kith_behavior *behavior, const void *arg)
{
    return kith_spawn_with(self, behavior, arg, NULL);
}

/* ---- who am I ---- */

kith_ref kith_self_ref(kith_self *self)
{
    return (kith_ref){kith__ctx_of(self) != NULL ? kith__task_bits(self) : 0};
}

kith_ref kith_parent(kith_self *self)
{
    return (kith_ref){kith__ctx_of(self) != NULL ? kith__load_rlx(&self->parent) : 0};
}

kith_ref kith_sender(kith_self *self)
{
    struct kith__ctx *ctx = kith__ctx_of(self);
    return (kith_ref){ctx != NULL && ctx->current != NULL ? ctx->current->sender : 0};
}

/* ---- stopping ---- */

static void stop_run(struct kith__ctx *ctx, struct kith_self *task, struct kith_msg *msg)
{
    kith__msg_free(ctx->cache, msg);
    struct kith_co *co = kith__co_of(task);
    if (co == NULL)
        task->flags |= KITH__TASK_STOPPING;
    else if ((task->flags & KITH__TASK_THREAD) == 0) /* a thread is only woken by it */
        co->woke |= KITH__WOKE_CANCEL;
}

static void stop_dead(struct kith__ctx *ctx, struct kith_msg *msg)
{
    kith__msg_free(ctx->cache, msg);
}

static const struct kith__internal stop_type = {
    .type = {"stop", 0, NULL},
    .run = stop_run,
    .dead = stop_dead,
};

kith_err kith__stop_send(struct kith__ctx *ctx, uint64_t to)
{
    struct kith_msg *msg = kith__msg_make(ctx->cache, 0);
    if (msg == NULL)
        return KITH_ENOMEM;
    msg->type = &stop_type.type;
    msg->flags = KITH__MSG_SIGNAL | KITH__MSG_INTERNAL;
    msg->sender = 0;
    kith_err err = kith__post(ctx, to, msg);
    if (err != KITH_OK)
        kith__msg_free(ctx->cache, msg);
    return err;
}

kith_err kith_stop(kith_self *self, kith_ref actor)
{
    struct kith__ctx *ctx = kith__ctx_of(self);
    if (ctx == NULL)
        return KITH_EPERM;
    if (actor.bits == kith__task_bits(self) && (self->flags & KITH__TASK_CO) == 0) {
        self->flags |= KITH__TASK_STOPPING;
        return KITH_OK;
    }
    return kith__stop_send(ctx, actor.bits);
}

kith_err kith_fail(kith_self *self, kith_err reason)
{
    if (kith__ctx_of(self) == NULL)
        return KITH_EPERM;
    if (reason == KITH_OK)
        reason = KITH_EFAILED;
    struct kith_co *co = kith__co_of(self);
    if (co != NULL)
        co->failed = reason;
    else
        kith__task_fail(self, reason);
    return reason;
}

/* ---- death ---- */

/* The rest of the mailbox, in order. Monitors that were on their way still hear the reason. */
static void mailbox_drain(struct kith__ctx *ctx, struct kith_self *task, uint64_t bits)
{
    kith__queue_sort(&task->pending, kith__inbox_close(&task->inbox)); /* S2 */
    struct kith_msg *msg;
    while ((msg = kith__queue_pop(&task->pending)) != NULL) {
        if (msg->type == &kith__monitor_type.type && msg->to_gen == kith__bits_gen(bits))
            kith__queue_push(&task->watchers, msg);
        else
            kith__dead_letter(ctx, bits, msg, KITH_EDEAD);
    }
}

void kith__task_end(struct kith__ctx *ctx, struct kith_self *task)
{
    uint64_t bits = kith__task_bits(task);
    const kith_behavior *behavior = kith__behavior_of(task);
    kith__disown_all(ctx, task);
    if ((task->flags & KITH__TASK_SUBSCRIBED) != 0)
        kith__dead_unsubscribe(ctx, task);
    kith__slot_kill(&task->slot);
    if (KITH__UNLIKELY(kith__task_is_bounded(task)))
        kith__bound_close(ctx, task);
    mailbox_drain(ctx, task, bits);
    kith__watchers_tell(ctx, task);
    kith__death_counts(ctx, task);
    kith__task_free(ctx, task, behavior != NULL ? behavior->state_bytes : 0);
}

void kith__die(struct kith__ctx *ctx, struct kith_self *task)
{
    const kith_behavior *behavior = kith__behavior_of(task);
    if (task->reason != KITH_OK)
        kith__log(&ctx->rt->log, KITH_LOG_INFO, "%s failed: %s", kith__name_of(behavior),
                  kith_strerror((kith_err)task->reason));
    if (behavior->stop != NULL)
        behavior->stop(task, task->state, (kith_err)task->reason);
    kith__task_end(ctx, task);
}
