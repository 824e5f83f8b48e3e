/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Handing a socket to another owner: an actor, a fiber, a thread.
 *
 * Called by programs, by the turns of receivers (the message that carries it), by the dead letters,
 * and by csp/fiber.c for a fiber that is made with a socket.
 *
 * Invariants
 *  V1. A socket that is given is in the hands of its kith_given: nobody may use it, and no list of
 *      owned things holds it, until the receiver has taken that message (it then adopts the socket)
 *      or the message has died (it then ends the socket). So it is never lost and never two's.
 *  V2. The receiver hears kith_given before anything else of the socket: events that reach it
 *      earlier are left alone, since adopting looks at everything (S5 in socket.c).
 *  V3. Once the message is posted the giver does not touch the record. If it could not be posted,
 *      nobody else has, and the giver takes it back and looks at everything, because an event may
 *      have been dropped on its way to the one who was dead.
 *  V4. Deadlines stay in the record; the giver's timer ends, the receiver's turn sets its own. A co
 *      has no deadline of reading but those of its calls.
 *  V5. A fiber that is made with a socket (kith__sock_move) has it before it can run: nothing is on
 *      its way, and nothing can fail. The spawner's turn does all of it, while the task is its own.
 *      The poke makes the fiber look at everything in its first turn.
 *  V6. A stream of a co's that never waited is not registered with any loop yet (wait.c). Its
 *      adopter does it, if it is an actor; where that fails, the connection is broken, and says so.
 *
 * Threads: give: the owner's turn; adopt: the new owner's; given_dead: whoever ends the message.
 *
 * Why one message for both, the transfer and the news: it is internal until the receiver has
 * adopted the socket, and then becomes the kith_given that the handlers see. One allocation, made
 * before anything is changed.
 */
#include "io/io.h"
#include "io/socket.h"
#include "sched/post.h"
#include "sched/timer.h"
#include <sys/epoll.h>

/* Also that the peer may have hung up: that edge may be among those that were dropped (R3). */
#define EVERYTHING ((uint32_t)EPOLLIN | EPOLLRDHUP | EPOLLOUT)

KITH_API const kith_type kith_type_kith_given = {"kith_given", sizeof(kith_given), NULL};

static struct kith__sock *sock_of(struct kith__ctx *ctx, struct kith_msg *msg)
{
    const kith_given *given = kith__msg_body(msg);
    /* The handle lives: nobody but this message's holder may end the socket (V1). */
    return (struct kith__sock *)(void *)kith__handle_find(&ctx->rt->table, given->sock.bits);
}

static void given_dead(struct kith__ctx *ctx, struct kith_msg *msg)
{
    kith__sock_end(ctx, NULL, sock_of(ctx, msg));
    kith__msg_free(ctx->cache, msg);
}

/* V4, V6 */
static void fit(struct kith__ctx *ctx, struct kith__sock *sock)
{
    if ((ctx->running->flags & KITH__TASK_CO) != 0)
        sock->read_by = KITH_FOREVER;
    else if (sock->broken == KITH_OK)
        sock->broken = kith__sock_watch(ctx, sock);
}

static void given_run(struct kith__ctx *ctx, struct kith_self *task, struct kith_msg *msg)
{
    struct kith__sock *sock = sock_of(ctx, msg);
    fit(ctx, sock);
    kith__own(task, &sock->owned);
    /* release N4; pairs with N5: that it is owned. */
    kith__store_rel(&sock->owner, kith__task_bits(task));
    msg->type = &kith_type_kith_given;
    msg->flags = 0;
    kith__sock_push(ctx, msg);
    kith__sock_again(ctx, sock, EVERYTHING); /* V2 */
}

static const struct kith__internal given_type = {
    .type = {"kith_given", sizeof(kith_given), NULL},
    .run = given_run,
    .dead = given_dead,
};

static struct kith_msg *given_make(struct kith__ctx *ctx, kith_sock handle)
{
    struct kith_msg *msg = kith__sock_msg(ctx, &given_type.type, sizeof(kith_given));
    if (msg == NULL)
        return NULL;
    kith_ref from = {kith__task_bits(ctx->running)};
    msg->flags = KITH__MSG_INTERNAL;
    msg->sender = from.bits;
    *(kith_given *)kith__msg_body(msg) = (kith_given){handle, from};
    return msg;
}

/* The record is as the next owner needs it, and in nobody's list. */
static void let_go(struct kith__ctx *ctx, struct kith__sock *sock)
{
    if (sock->state == KITH__SOCK_LISTENS)
        kith__io_unpause(ctx, sock);
    kith__disown(ctx->running, &sock->owned);
}

/* V3: it was not posted. */
static void take_back(struct kith__ctx *ctx, struct kith__sock *sock, uint64_t timer)
{
    sock->timer = timer;
    kith__own(ctx->running, &sock->owned);
    kith__store_rel(&sock->owner, kith__task_bits(ctx->running)); /* N4 */
    kith__sock_poke(ctx, kith__sock_handle(sock).bits, EVERYTHING);
}

static kith_err hand_over(struct kith__ctx *ctx, struct kith__sock *sock, struct kith_msg *msg,
                          uint64_t to)
{
    uint64_t timer = sock->timer;
    sock->timer = 0;
    let_go(ctx, sock);
    /* release N4; pairs with N5: all that this owner did. */
    kith__store_rel(&sock->owner, to | KITH__SOCK_PENDING);
    kith_err err = kith__post(ctx, to, msg);
    if (err != KITH_OK) {
        take_back(ctx, sock, timer);
        return err;
    }
    struct kith__timer *mine = kith__timer_find(ctx, ctx->running, timer);
    if (mine != NULL)
        kith__timer_end(ctx, ctx->running, mine);
    return KITH_OK;
}

kith_err kith_sock_give(kith_self *self, kith_sock handle, kith_ref to)
{
    struct kith__ctx *ctx = kith__ctx_of(self);
    kith_err err;
    struct kith__sock *sock = kith__sock_mine(ctx, self, handle, &err);
    if (sock == NULL)
        return err;
    /* Before anybody is posted to: an event would go to a handle that is none. */
    if (kith__bits_tag(to.bits) != ctx->rt->actor_tag)
        return KITH_EBADREF;
    struct kith_msg *msg = given_make(ctx, handle);
    if (msg == NULL)
        return KITH_ENOMEM;
    err = hand_over(ctx, sock, msg, to.bits);
    if (err != KITH_OK)
        kith__msg_free(ctx->cache, msg);
    return err;
}

void kith__sock_move(struct kith__ctx *ctx, uint64_t sock_bits, struct kith_self *to)
{
    kith_err err;
    struct kith__sock *sock = kith__sock_mine(ctx, ctx->running, (kith_sock){sock_bits}, &err);
    kith__assert(sock != NULL); /* it was asked in the same turn: mine */
    kith__sock_timer_end(ctx, ctx->running, sock);
    let_go(ctx, sock);
    sock->read_by = KITH_FOREVER;
    sock->flags |= KITH__SOCK_READY | KITH__SOCK_HUNG;
    kith__own(to, &sock->owned);
    /* release N4; pairs with N5: all that this owner did. */
    kith__store_rel(&sock->owner, kith__task_bits(to));
    kith__sock_poke(ctx, sock_bits, EVERYTHING); /* V5 */
}

void kith__sock_untaken(struct kith__ctx *ctx, const struct kith_msg *msg)
{
    const void *body = msg + 1;
    bool given = msg->type == &kith_type_kith_given;
    if (ctx->running == NULL || (!given && msg->type != &kith_type_kith_accepted))
        return;
    kith_sock handle =
        given ? ((const kith_given *)body)->sock : ((const kith_accepted *)body)->conn;
    kith_err err;
    struct kith__sock *sock = kith__sock_mine(ctx, ctx->running, handle, &err);
    if (sock != NULL && given)
        kith__sock_close(ctx, sock);
    else if (sock != NULL)
        sock->flags &= (uint16_t)~KITH__SOCK_READS;
}
