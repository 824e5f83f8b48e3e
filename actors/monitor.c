/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Monitors: hearing of another actor's death.
 *
 * A monitor is one message that travels: made by the watcher, sent as a signal to the watched, kept
 * there in its list of watchers, and at its death sent back as the kith_down. So a death needs no
 * memory, and cannot fail to be told. Two monitors are two messages. If the watched is dead, the
 * message turns back where it meets that.
 */
#include "actors/actor.h"
#include <string.h>

KITH_API const kith_type kith_type_kith_down = {"kith_down", sizeof(kith_down), NULL};

/* The travelling message goes home; a watcher that is dead itself does not need it. */
static void turn_back(struct kith__ctx *ctx, struct kith_msg *msg, kith_err reason)
{
    uint64_t watcher = msg->sender;
    ((kith_down *)kith__msg_body(msg))->reason = reason;
    msg->type = &kith_type_kith_down;
    msg->flags = KITH__MSG_SIGNAL;
    msg->sender = 0;
    if (kith__post(ctx, watcher, msg) != KITH_OK)
        kith__msg_free(ctx->cache, msg);
}

static void monitor_run(struct kith__ctx *ctx, struct kith_self *task, struct kith_msg *msg)
{
    (void)ctx;
    kith__queue_push(&task->watchers, msg);
}

static void monitor_dead(struct kith__ctx *ctx, struct kith_msg *msg)
{
    turn_back(ctx, msg, KITH_EDEAD);
}

const struct kith__internal kith__monitor_type = {
    .type = {"monitor", sizeof(kith_down), NULL},
    .run = monitor_run,
    .dead = monitor_dead,
};

void kith__watchers_tell(struct kith__ctx *ctx, struct kith_self *task)
{
    struct kith_msg *msg;
    while ((msg = kith__queue_pop(&task->watchers)) != NULL)
        turn_back(ctx, msg, (kith_err)task->reason);
}

static void demonitor_run(struct kith__ctx *ctx, struct kith_self *task, struct kith_msg *msg)
{
    struct kith_msg *kept = NULL;
    struct kith_msg *watcher;
    while ((watcher = kith__queue_pop(&task->watchers)) != NULL) {
        if (watcher->sender == msg->sender)
            kith__msg_free(ctx->cache, watcher);
        else
            kith__queue_push(&kept, watcher);
    }
    task->watchers = kept;
    kith__msg_free(ctx->cache, msg);
}

static void demonitor_dead(struct kith__ctx *ctx, struct kith_msg *msg)
{
    kith__msg_free(ctx->cache, msg);
}

static const struct kith__internal demonitor_type = {
    .type = {"demonitor", 0, NULL},
    .run = demonitor_run,
    .dead = demonitor_dead,
};

static struct kith_msg *signal_make(struct kith__ctx *ctx, const struct kith__internal *type)
{
    struct kith_msg *msg = kith__msg_make(ctx->cache, type->type.body_bytes);
    if (msg == NULL)
        return NULL;
    msg->type = &type->type;
    msg->flags = KITH__MSG_SIGNAL | KITH__MSG_INTERNAL;
    msg->sender = kith__task_bits(ctx->running);
    return msg;
}

kith_err kith_monitor(kith_self *self, kith_ref actor)
{
    struct kith__ctx *ctx = kith__ctx_of(self);
    if (ctx == NULL)
        return KITH_EPERM;
    struct kith_msg *msg = signal_make(ctx, &kith__monitor_type);
    if (msg == NULL)
        return KITH_ENOMEM;
    memset(kith__msg_body(msg), 0, sizeof(kith_down));
    ((kith_down *)kith__msg_body(msg))->ref = actor;
    kith_err err = kith__post(ctx, actor.bits, msg);
    if (err == KITH_EDEAD) {
        kith__post_ended(ctx->rt, actor.bits); /* as if it had told it itself */
        turn_back(ctx, msg, KITH_EDEAD);
        return KITH_OK;
    }
    if (err != KITH_OK)
        kith__msg_free(ctx->cache, msg);
    return err;
}

kith_err kith_demonitor(kith_self *self, kith_ref actor)
{
    struct kith__ctx *ctx = kith__ctx_of(self);
    if (ctx == NULL)
        return KITH_EPERM;
    struct kith_msg *msg = signal_make(ctx, &demonitor_type);
    if (msg == NULL)
        return KITH_ENOMEM;
    kith_err err = kith__post(ctx, actor.bits, msg);
    if (err != KITH_OK)
        kith__msg_free(ctx->cache, msg);
    return err;
}
