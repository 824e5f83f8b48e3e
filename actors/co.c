/* SPDX-License-Identifier: BSD-2-Clause
 *
 * What a co waits for that is the actor layer's: mail, answers, and time. A co is a fiber or an
 * attached thread; how it waits is sched/co.h.
 *
 * Invariants
 *  C4. A message given out is ctx->current until the next receive or ask, or until it is kept, answered
 *      or forwarded: as in a handler.
 *  C5. Mail that a selective receive has refused keeps its order, and is not shown to the same receive
 *      again.
 */
#include "actors/actor.h"
#include "csp/bound.h"
#include <kith/co.h>
#include <string.h>

kith_self *kith_co_self(kith_co *co)
{
    return kith__co_here(co) ? co->task : NULL;
}

/* ---- receiving ---- */

static kith_msg *give_out(struct kith_co *co, struct kith_msg *msg)
{
    kith__bound_received(co, msg);
    msg->flags = 0;
    co->ctx->current = msg;
    return msg;
}

/* Waits until there is mail that came after the last sifting. */
static kith_err mail_wait(struct kith_co *co, kith_time deadline)
{
    co->woke &= ~(uint32_t)KITH__WOKE_MAIL;
    kith__co_sift(co);
    if ((co->woke & KITH__WOKE_MAIL) != 0)
        return KITH_OK;
    kith__bound_no_mail(co);
    return kith__co_wait(co, KITH__WOKE_MAIL, deadline, "kith_receive", NULL);
}

kith_err kith_receive(kith_co *co, kith_time deadline, kith_msg **msg)
{
    if (msg == NULL)
        return KITH_EINVAL;
    *msg = NULL;
    if (!kith__co_here(co))
        return KITH_EPERM;
    kith__current_end(co->ctx);
    kith__co_spend(co);
    kith_err err = kith__co_may_wait(co);
    if (err == KITH_OK && co->mail == NULL)
        err = mail_wait(co, deadline);
    if (err == KITH_OK)
        *msg = give_out(co, kith__queue_pop(&co->mail));
    return err;
}

/* The first message behind `*before` (NULL: from the front) that matches; taken out of the mail. Moves
 * *before to the last that was refused (C5). */
static struct kith_msg *mail_match(struct kith_co *co, struct kith_msg **before,
                                   kith_match_fn *match, void *arg)
{
    struct kith_msg *tail = co->mail;
    struct kith_msg *last = *before != NULL ? *before : tail;
    while (tail != NULL && *before != tail) {
        struct kith_msg *msg = last->next;
        if (match(msg, arg)) {
            if (msg == last)
                co->mail = NULL;
            else
                last->next = msg->next;
            if (msg == tail && msg != last)
                co->mail = last;
            return msg;
        }
        *before = last = msg;
    }
    return NULL;
}

kith_err kith_receive_if(kith_co *co, kith_time deadline, kith_match_fn *match, void *arg,
                         kith_msg **msg)
{
    if (msg == NULL || match == NULL)
        return KITH_EINVAL;
    *msg = NULL;
    if (!kith__co_here(co))
        return KITH_EPERM;
    kith__current_end(co->ctx);
    kith__co_spend(co);
    kith_err err = kith__co_may_wait(co);
    struct kith_msg *refused = NULL;
    struct kith_msg *found = NULL;
    while (err == KITH_OK && (found = mail_match(co, &refused, match, arg)) == NULL)
        err = mail_wait(co, deadline);
    if (found != NULL)
        *msg = give_out(co, found);
    return err;
}

static bool is_of_type(const kith_msg *msg, void *type)
{
    return kith__same_type(msg->type, type);
}

kith_err kith_receive_type(kith_co *co, kith_time deadline, const kith_type *type, kith_msg **msg)
{
    if (!kith__type_ok(type))
        return KITH_EINVAL;
    return kith_receive_if(co, deadline, is_of_type, (void *)(uintptr_t)type, msg);
}

/* ---- asking ---- */

static kith_err answer_wait(struct kith_co *co, kith_time deadline, kith_msg **reply)
{
    if (co->asked != 0) {
        kith_err err = kith__co_wait(co, KITH__WOKE_FIRED, deadline, "kith_ask", NULL);
        if (err != KITH_OK) {
            kith__ask_give_up(co);
            return err;
        }
    }
    co->woke &= ~(uint32_t)KITH__WOKE_FIRED;
    *reply = co->answer;
    co->ctx->current = co->answer;
    co->answer = NULL;
    return co->answer_status;
}

kith_err kith_ask_copy(kith_co *co, kith_ref to, kith_time deadline, kith_msg **reply,
                       const kith_type *type, const void *body)
{
    if (reply != NULL)
        *reply = NULL;
    if (reply == NULL || !kith__type_ok(type) || body == NULL)
        return KITH_EINVAL;
    if (!kith__co_here(co))
        return KITH_EPERM;
    if (kith__bits_kind(to.bits) != KITH__KIND_ACTOR)
        return KITH_EBADREF; /* a question cannot be asked */
    if (type->body_bytes > KITH_MESSAGE_BYTES_MAX)
        return KITH_EMSGSIZE;
    kith_err err = kith__co_may_wait(co);
    if (err != KITH_OK)
        return err;
    struct kith_msg *msg = kith__msg_make(co->ctx->cache, type->body_bytes);
    if (msg == NULL)
        return KITH_ENOMEM;
    msg->type = type;
    memcpy(kith__msg_body(msg), body, type->body_bytes); /* body may lie in the message in hand */
    kith__current_end(co->ctx);
    err = kith__ask_block(co, to.bits, msg, deadline);
    return err != KITH_OK ? err : answer_wait(co, deadline, reply);
}

/* ---- time ---- */

kith_err kith_sleep(kith_co *co, kith_time deadline)
{
    if (!kith__co_here(co))
        return KITH_EPERM;
    if (deadline == KITH_FOREVER)
        return KITH_EINVAL;
    kith_err err = kith__co_may_wait(co);
    if (err == KITH_OK)
        err = kith__co_wait(co, 0, deadline, "kith_sleep", NULL);
    return err == KITH_ETIMEOUT ? KITH_OK : err;
}
