/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Dead letters: what becomes of a message that nobody takes. Called wherever a message dies unread:
 * a send to a dead actor, a dead actor's mailbox, a type that no handler takes.
 *
 * Whoever asked hears at once, subscribers are told, the log is told whenever the count of dead
 * letters doubles, and the message is ended: its drop runs here and nowhere else.
 */
#include "actors/actor.h"
#include "io/io.h"
#include <string.h>

KITH_API const kith_type kith_type_kith_dead_letter = {"kith_dead_letter", sizeof(kith_dead_letter),
                                                       NULL};

static void log_letter(struct kith__ctx *ctx, const struct kith_msg *msg, kith_err reason)
{
    uint64_t n = kith__load_rlx(&ctx->counters.dead_letters);
    if ((n & (n - 1)) == 0)
        kith__log(&ctx->rt->log, KITH_LOG_WARN, "dead letter %llu of this thread: %s: %s",
                  (unsigned long long)n, msg->type->name, kith_strerror(reason));
}

static void tell(struct kith__ctx *ctx, uint64_t subscriber, const kith_dead_letter *letter)
{
    struct kith_msg *copy = kith__msg_make(ctx->cache, sizeof *letter);
    if (copy == NULL)
        return;
    copy->type = &kith_type_kith_dead_letter;
    copy->sender = 0;
    memcpy(kith__msg_body(copy), letter, sizeof *letter);
    if (kith__post(ctx, subscriber, copy) != KITH_OK)
        kith__msg_free(ctx->cache, copy);
}

static void tell_subscribers(struct kith__ctx *ctx, const kith_dead_letter *letter)
{
    struct kith__actors *actors = kith__actors_of(ctx->rt);
    pthread_mutex_lock(&actors->dead_lock);
    uint32_t n = kith__load_rlx(&actors->subscribers);
    for (uint32_t i = 0; i < n; i++)
        tell(ctx, actors->subscribed[i], letter);
    pthread_mutex_unlock(&actors->dead_lock);
}

/* A message of kith's own, a timer's, or an answer that comes late: no letters. */
static bool not_a_letter(struct kith__ctx *ctx, uint64_t to, struct kith_msg *msg)
{
    if ((msg->flags & KITH__MSG_INTERNAL) != 0) {
        kith__internal_of(msg)->dead(ctx, msg);
        return true;
    }
    bool late = kith__bits_kind(to) == KITH__KIND_ASK || (msg->flags & KITH__MSG_REPLY) != 0;
    if (late)
        kith__count(&ctx->counters.late_replies);
    if (late || (msg->flags & (KITH__MSG_TIMER | KITH__MSG_SIGNAL)) != 0) {
        kith__msg_end(ctx->cache, msg);
        return true;
    }
    return false;
}

void kith__dead_letter(struct kith__ctx *ctx, uint64_t to, struct kith_msg *msg, kith_err reason)
{
    if (not_a_letter(ctx, to, msg))
        return;
    if (reason == KITH_EUNHANDLED)
        kith__sock_untaken(ctx, msg);
    kith__count(&ctx->counters.dead_letters);
    log_letter(ctx, msg, reason);
    struct kith__actors *actors = kith__actors_of(ctx->rt);
    if (kith__load_rlx(&actors->subscribers) > 0 && msg->type != &kith_type_kith_dead_letter)
        tell_subscribers(ctx, &(kith_dead_letter){{to}, {msg->sender}, msg->type, reason});
    if (kith__bits_kind(msg->sender) == KITH__KIND_ASK)
        kith__ask_refuse(ctx, msg, reason);
    else
        kith__msg_end(ctx->cache, msg);
}

/* ---- subscribing ---- */

/* Under dead_lock. */
static bool room_for_one(struct kith_runtime *rt, struct kith__actors *actors)
{
    uint32_t n = kith__load_rlx(&actors->subscribers);
    if (n < actors->subscribed_room)
        return true;
    uint32_t room = actors->subscribed_room * 2 + 4;
    uint64_t *list = kith__alloc(&rt->allocator, room * sizeof *list, 16);
    if (list == NULL)
        return false;
    if (n > 0)
        memcpy(list, actors->subscribed, n * sizeof *list);
    kith__free(&rt->allocator, actors->subscribed, actors->subscribed_room * sizeof *list);
    actors->subscribed = list;
    actors->subscribed_room = room;
    return true;
}

kith_err kith_dead_letters_subscribe(kith_self *self)
{
    struct kith__ctx *ctx = kith__ctx_of(self);
    if (ctx == NULL)
        return KITH_EPERM;
    if ((self->flags & KITH__TASK_SUBSCRIBED) != 0)
        return KITH_OK;
    struct kith__actors *actors = kith__actors_of(ctx->rt);
    pthread_mutex_lock(&actors->dead_lock);
    bool ok = room_for_one(ctx->rt, actors);
    if (ok) {
        uint32_t n = kith__load_rlx(&actors->subscribers);
        actors->subscribed[n] = kith__task_bits(self);
        kith__store_rlx(&actors->subscribers, n + 1);
        self->flags |= KITH__TASK_SUBSCRIBED;
    }
    pthread_mutex_unlock(&actors->dead_lock);
    return ok ? KITH_OK : KITH_ENOMEM;
}

void kith__dead_unsubscribe(struct kith__ctx *ctx, struct kith_self *task)
{
    struct kith__actors *actors = kith__actors_of(ctx->rt);
    pthread_mutex_lock(&actors->dead_lock);
    uint32_t n = kith__load_rlx(&actors->subscribers);
    for (uint32_t i = 0; i < n; i++) {
        if (actors->subscribed[i] != kith__task_bits(task))
            continue;
        actors->subscribed[i] = actors->subscribed[n - 1];
        kith__store_rlx(&actors->subscribers, n - 1);
        break;
    }
    pthread_mutex_unlock(&actors->dead_lock);
    task->flags &= (uint8_t)~KITH__TASK_SUBSCRIBED;
}

kith_err kith_dead_letters_unsubscribe(kith_self *self)
{
    struct kith__ctx *ctx = kith__ctx_of(self);
    if (ctx == NULL)
        return KITH_EPERM;
    if ((self->flags & KITH__TASK_SUBSCRIBED) != 0)
        kith__dead_unsubscribe(ctx, self);
    return KITH_OK;
}
