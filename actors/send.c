/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Sending: copy, post, forward, reply, keep. The way of a message from here on is sched/post.h.
 *
 * Cost of a send to an idle actor: one message from the cache, one compare-and-swap on its inbox,
 * one store to this worker's slot. If the mailbox is bounded, one compare-and-swap more, on its
 * room (csp/bound.h).
 */
#include "actors/actor.h"
#include "csp/bound.h"
#include <string.h>

/* Most bodies are a word: a call of memcpy would cost more than the copy. */
static inline void body_copy(void *to, const void *from, size_t bytes)
{
    if (KITH__LIKELY(bytes == 8))
        memcpy(to, from, 8);
    else
        memcpy(to, from, bytes);
}

/* A message that could not be made. */
static kith_err none_made(const kith_type *type)
{
    return type->body_bytes > KITH_MESSAGE_BYTES_MAX ? KITH_EMSGSIZE : KITH_ENOMEM;
}

/* The receiver is dead: the dead letters take the message. */
static kith_err to_the_dead(struct kith__ctx *ctx, uint64_t to, struct kith_msg *msg)
{
    kith__dead_letter(ctx, to, msg, KITH_EDEAD);
    return KITH_EDEAD;
}

/* Not inlined: who sends to unbounded mailboxes only pays for one comparison. */
__attribute__((noinline)) kith_err kith__mail_bounded(struct kith__ctx *ctx, struct kith_self *task,
                                                      uint64_t to, struct kith_msg *msg,
                                                      kith_time deadline)
{
    uint32_t gen = kith__bits_gen(to);
    struct kith_co *co = kith__co_of(ctx->running);
    bool waits = kith__co_here(co); /* not in a generator: that has no co */
    if (waits)
        kith__co_spend(co);
    kith_err err = kith__bound_take(kith__bound_of(task), gen);
    /* Nobody else would make room for one that fills its own mailbox. */
    if (err == KITH_EFULL && waits && to != kith__task_bits(co->task))
        err = kith__bound_wait(co, task, gen, deadline);
    if (KITH__UNLIKELY(err != KITH_OK))
        return err;
    msg->flags |= KITH__MSG_COUNTED;
    err = kith__post_at(ctx, task, to, msg);
    if (KITH__UNLIKELY(err != KITH_OK))
        msg->flags &= (uint8_t)~KITH__MSG_COUNTED;
    return err;
}

static inline kith_err send(struct kith__ctx *ctx, uint64_t to, kith_time deadline,
                            const kith_type *type, const void *body)
{
    if (KITH__UNLIKELY(!kith__type_ok(type) || body == NULL))
        return KITH_EINVAL;
    struct kith_msg *msg = kith__msg_make(ctx->cache, type->body_bytes);
    if (KITH__UNLIKELY(msg == NULL))
        return none_made(type);
    msg->type = type;
    msg->sender = kith__task_bits(ctx->running);
    body_copy(kith__msg_body(msg), body, type->body_bytes);
    kith_err err = kith__mail(ctx, to, msg, deadline);
    if (KITH__LIKELY(err == KITH_OK))
        return KITH_OK;
    if (err == KITH_EDEAD)
        return to_the_dead(ctx, to, msg);
    kith__msg_free(ctx->cache, msg); /* and no drop: what it owns is the caller's */
    return err;
}

kith_err kith_send_copy(kith_self *self, kith_ref to, const kith_type *type, const void *body)
{
    struct kith__ctx *ctx = kith__ctx_of(self);
    if (KITH__UNLIKELY(ctx == NULL))
        return KITH_EPERM;
    return send(ctx, to.bits, KITH_FOREVER, type, body);
}

kith_err kith_send_by_copy(kith_co *co, kith_ref to, kith_time deadline, const kith_type *type,
                           const void *body)
{
    if (!kith__co_here(co))
        return KITH_EPERM;
    return send(co->ctx, to.bits, deadline, type, body);
}

void *kith_new_bytes(kith_self *self, const kith_type *type, size_t extra_bytes)
{
    struct kith__ctx *ctx = kith__ctx_of(self);
    if (ctx == NULL || !kith__type_ok(type) || extra_bytes > KITH_MESSAGE_BYTES_MAX ||
        type->body_bytes > KITH_MESSAGE_BYTES_MAX - extra_bytes)
        return NULL;
    size_t bytes = type->body_bytes + extra_bytes;
    struct kith_msg *msg = kith__msg_make(ctx->cache, bytes);
    if (msg == NULL)
        return NULL;
    msg->type = type;
    return memset(kith__msg_body(msg), 0, bytes);
}

kith_err kith_discard(kith_self *self, void *body)
{
    struct kith__ctx *ctx = kith__ctx_of(self);
    if (ctx == NULL)
        return KITH_EPERM;
    if (body != NULL)
        kith__msg_end(ctx->cache, kith__msg_of(body));
    return KITH_OK;
}

kith_err kith_post(kith_self *self, kith_ref to, void *body)
{
    struct kith__ctx *ctx = kith__ctx_of(self);
    if (KITH__UNLIKELY(ctx == NULL))
        return KITH_EPERM;
    if (KITH__UNLIKELY(body == NULL))
        return KITH_EINVAL;
    struct kith_msg *msg = kith__msg_of(body);
    msg->sender = kith__task_bits(self);
    msg->flags = 0;
    kith_err err = kith__mail(ctx, to.bits, msg, KITH_FOREVER);
    return KITH__UNLIKELY(err == KITH_EDEAD) ? to_the_dead(ctx, to.bits, msg) : err;
}

void *kith_keep(kith_self *self)
{
    struct kith__ctx *ctx = kith__ctx_of(self);
    if (ctx == NULL || ctx->current == NULL)
        return NULL;
    struct kith_msg *msg = ctx->current;
    ctx->current = NULL;
    return kith__msg_body(msg);
}

kith_err kith_forward(kith_self *self, kith_ref to)
{
    struct kith__ctx *ctx = kith__ctx_of(self);
    if (ctx == NULL || ctx->current == NULL)
        return KITH_EPERM;
    struct kith_msg *msg = ctx->current;
    uint64_t sender = msg->sender;
    uint8_t flags = msg->flags;
    ctx->current = NULL;
    msg->flags = 0;
    kith_err err = kith__mail(ctx, to.bits, msg, KITH_FOREVER);
    if (KITH__LIKELY(err == KITH_OK))
        return KITH_OK;
    if (err == KITH_EDEAD)
        return to_the_dead(ctx, to.bits, msg);
    msg->sender = sender;
    msg->flags = flags;
    ctx->current = msg;
    return err;
}

/* Whether the answer is to be written into the message in hand. With an allocation for each message
 * it is not, so that a sanitizer sees a use of the old one; nor if the old one has a drop to run,
 * for the answer may be made of what that ends. */
static bool reuses(const struct kith_msg *msg, size_t bytes)
{
    return !KITH_MALLOC && msg->type->drop == NULL && kith__msg_room(msg) >= bytes;
}

/* The answer, which takes the place of the message in hand. */
static struct kith_msg *reply_msg(struct kith__ctx *ctx, const kith_type *type, const void *body)
{
    struct kith_msg *msg = ctx->current;
    if (KITH__LIKELY(reuses(msg, type->body_bytes))) {
        memmove(kith__msg_body(msg), body, type->body_bytes);
    } else {
        msg = kith__msg_make(ctx->cache, type->body_bytes);
        if (msg == NULL)
            return NULL;
        body_copy(kith__msg_body(msg), body, type->body_bytes);
        kith__msg_end(ctx->cache, ctx->current);
    }
    ctx->current = NULL;
    msg->type = type;
    msg->sender = kith__task_bits(ctx->running);
    msg->flags = 0;
    return msg;
}

kith_err kith_reply_copy(kith_self *self, const kith_type *type, const void *body)
{
    struct kith__ctx *ctx = kith__ctx_of(self);
    if (KITH__UNLIKELY(ctx == NULL || ctx->current == NULL))
        return KITH_EPERM;
    if (KITH__UNLIKELY(!kith__type_ok(type) || body == NULL))
        return KITH_EINVAL;
    uint64_t to = ctx->current->sender;
    if (KITH__UNLIKELY(to == 0))
        return KITH_EBADREF;
    struct kith_msg *msg = reply_msg(ctx, type, body);
    if (KITH__UNLIKELY(msg == NULL))
        return none_made(type);
    kith_err err = kith__deliver(ctx, to, msg);
    if (KITH__LIKELY(err == KITH_OK))
        return KITH_OK;
    if (err == KITH_EDEAD) { /* nobody waits for it any more: no failure of whoever answers */
        kith__dead_letter(ctx, to, msg, KITH_EDEAD);
        return KITH_OK;
    }
    kith__msg_free(ctx->cache, msg);
    return err;
}

/* ---- looking at a message ---- */

const void *kith_body_of(const kith_msg *msg, const kith_type *type)
{
    if (msg == NULL || !kith__type_ok(type))
        return NULL;
    if (msg->type == type ||
        (msg->type->body_bytes == type->body_bytes && strcmp(msg->type->name, type->name) == 0))
        return msg + 1;
    return NULL;
}

const kith_type *kith_msg_type(const kith_msg *msg)
{
    return msg != NULL ? msg->type : NULL;
}

const char *kith_msg_name(const kith_msg *msg)
{
    return msg != NULL ? msg->type->name : "?";
}

kith_ref kith_msg_sender(const kith_msg *msg)
{
    return (kith_ref){msg != NULL ? msg->sender : 0};
}
