/* SPDX-License-Identifier: BSD-2-Clause
 *
 * The record of a socket: its life, and the way of an event from epoll to its owner's turn.
 *
 * Called by io/loop.c (events), by the turns of owners (the event and timer messages), and by the
 * other files of io. What an event means to an owner that may wait, a fiber or a thread, is in wait.c.
 *
 * An event is a bit in the socket's event word, and one message, embedded in the record, that tells
 * the owner to look at the word. Everything else in the record belongs to the owner's turn, so it
 * needs no lock, and whoever polled the event is where the owner runs next.
 *
 * Invariants
 *  S1. The event message is on its way exactly while the word is not 0. Whoever turns the word from
 *      0 (N1) has the message and must post it; the owner, in its turn, takes the word back to 0
 *      (N2), after which the message may be posted again: it is not touched after that.
 *  S2. The owner word says whose turn that is. It is changed by the owner only, when it hands the
 *      socket over (N4), to the new owner with KITH__SOCK_PENDING, and by the new owner when it
 *      adopts it; or at once to a fiber that cannot run yet (io/give.c). A message that arrives at one who is not the owner is sent on (N5).
 *  S3. Closing kills the handle, then sets KITH__SOCK_CLOSED (N6). If the word was 0, the message is
 *      at rest and the slot is free at once. Otherwise somebody holds the message: whoever that is,
 *      when it arrives anywhere, sees CLOSED and frees the slot. So a slot is never reused while
 *      its message is on its way.
 *  S4. The word of a free slot stays CLOSED until the next life is complete (N3). So a poller that
 *      looked the handle up just before it was killed finds a word that is not 0, and posts
 *      nothing; or it meets the next life, whose owner then looks at a socket for nothing: every
 *      event is a hint, the system call decides.
 *  S5. An event is never lost. If the one who was to get it is dead, the word goes back to 0 only
 *      if nothing was added to it meanwhile (N7); and whoever adopts a socket adds to the word first
 *      and looks at everything. So either the poller sees the adopter's addition and tries again
 *      with the owner of now, or the adopter finds the word 0 and posts the message itself. If
 *      nobody adopts it, its end (S3) needs no event. (What was dropped is not known: R3 in stream.c.)
 *  S6. The timer of a socket goes off no later than its earliest deadline. It is left alone when
 *      deadlines move away: when it goes off too early, it is set again.
 *  S7. The last words, kith_closed and the outcome of a connect, are made with the socket, so that
 *      they come even when memory is out. Everything else is made before the system is asked for
 *      what it is to carry: out of memory, input stays in the system, and a timer (or, if there is
 *      not even memory for that, the event message behind all others) tries again.
 *  S8. kith_given is heard where the message that carried it stood: an event, and what the giver
 *      sent afterwards, may wait behind it already. So nothing is read before it has been handled;
 *      nor before kith_accepted has, since events are registered in the turn that puts it in front
 *      of whatever comes later.
 *
 * Threads: kith__sock_event and kith__sock_poke: any of the runtime. The dead function of a message:
 * whoever ends it. All the rest: the owner's turn.
 *
 * Why one word and one message, and not a message for each event: no allocation where none may
 * fail, and a hundred edges while the owner is busy are one message. Seastar and the JVM's Loom
 * pollers wake a waiter in the same way; an actor is its own waiter.
 */
#include "io/socket.h"
#include "base/clock.h"
#include "io/io.h"
#include "io/loop.h"
#include "sched/post.h"
#include "sched/timer.h"
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

#define READ_BYTES_MAX ((size_t)16 * 1024)
#define WRITE_BYTES_MAX ((size_t)256 * 1024)
#define READ_FIRST 2048u /* memory of the first piece, its header included */
#define STARVED_NS (10 * KITH_MS)
#define SOCK_BYTES ((sizeof(struct kith__sock) + 63) / 64 * 64)

KITH_API const kith_type kith_type_kith_connected = {"kith_connected", sizeof(kith_connected),
                                                     NULL};
KITH_API const kith_type kith_type_kith_closed = {"kith_closed", sizeof(kith_closed), NULL};

struct timer_body {
    uint64_t sock;
};

static struct kith__sock *of_slot(struct kith__slot *slot)
{
    return (struct kith__sock *)(void *)slot;
}

static struct kith__sock *of_event(struct kith_msg *msg)
{
    return (struct kith__sock *)(void *)((char *)msg - offsetof(struct kith__sock, event));
}

static struct kith__sock *of_owned(struct kith__owned *owned)
{
    return (struct kith__sock *)(void *)((char *)owned - offsetof(struct kith__sock, owned));
}

static void slot_free(struct kith__ctx *ctx, struct kith__sock *sock)
{
    kith__slot_free(&ctx->rt->table, &ctx->slots, KITH__CLASS_SOCK, &sock->slot);
}

/* ---- the event message ---- */

/* The caller holds the event message: gives it to the owner, or frees what was closed. */
static void event_post(struct kith__ctx *ctx, struct kith__sock *sock)
{
    /* acquire N7; pairs with N6: the slot is killed; and with the adopter's N1: its owner word. */
    uint32_t seen = kith__load_acq(&sock->events);
    for (;;) {
        if ((seen & KITH__SOCK_CLOSED) != 0) {
            slot_free(ctx, sock); /* S3 */
            return;
        }
        /* acquire N5; pairs with N4 in give.c. */
        uint64_t owner = kith__load_acq(&sock->owner) & ~KITH__SOCK_PENDING;
        if (kith__post(ctx, owner, &sock->event) == KITH_OK)
            return;
        /* release N7; pairs with the next N1: the message is at rest. acquire as above. */
        if (kith__cas_ar(&sock->events, &seen, 0))
            return; /* S5 */
    }
}

void kith__sock_poke(struct kith__ctx *ctx, uint64_t sock_bits, uint32_t events)
{
    struct kith__slot *slot = kith__handle_find(&ctx->rt->table, sock_bits);
    /* relaxed: an early look; S4 says what happens if it dies right now. */
    if (slot == NULL || kith__load_rlx(&slot->bits) != sock_bits)
        return;
    struct kith__sock *sock = of_slot(slot);
    /* acquire N1; pairs with N2 and N7: the message is at rest; with N3: the record is complete.
     * release N1; pairs with N2: what the poker did before. */
    if (kith__or_ar(&sock->events, events | KITH__SOCK_POLLED) == 0)
        event_post(ctx, sock);
}

void kith__sock_event(struct kith__worker *on, uint64_t sock_bits, uint32_t epoll_events)
{
    kith__sock_poke(&on->ctx, sock_bits, epoll_events);
}

void kith__sock_again(struct kith__ctx *ctx, struct kith__sock *sock, uint32_t events)
{
    if (kith__or_ar(&sock->events, events | KITH__SOCK_AGAIN) == 0) /* N1 */
        kith__sock_push(ctx, &sock->event);
}

/* ---- what a turn does ---- */

static kith_time sooner(kith_time a, kith_time b)
{
    return a < b ? a : b;
}

/* Holds S6 at the end of each turn. Out of memory, the next turn tries again; but of a co's, which would
 * sift the event in one go with what waits, the next event or write (wait.c). */
static void settle(struct kith__ctx *ctx, struct kith__sock *sock)
{
    kith_time at = sooner(sock->read_by, sock->retry_at);
    if (sock->state == KITH__SOCK_CONNECTS)
        at = sooner(at, sock->connect_by);
    if (sock->first != NULL)
        at = sooner(at, sock->first->by);
    if (!kith__sock_timer(ctx, sock, at) && (ctx->running->flags & KITH__TASK_CO) == 0)
        kith__sock_again(ctx, sock, EPOLLOUT);
}

static bool handle(struct kith__ctx *ctx, struct kith__sock *sock, uint32_t events)
{
    sock->retry_at = KITH_FOREVER;
    if ((ctx->running->flags & KITH__TASK_CO) != 0) {
        kith__wait_event(ctx, sock, events);
        return true;
    }
    switch (sock->state) {
    case KITH__SOCK_LISTENS:
        return kith__listen_ready(ctx, sock);
    case KITH__SOCK_CONNECTS:
        return kith__connect_ready(ctx, sock, events);
    default:
        return kith__stream_ready(ctx, sock, events);
    }
}

static void event_run(struct kith__ctx *ctx, struct kith_self *task, struct kith_msg *msg)
{
    struct kith__sock *sock = of_event(msg);
    uint64_t owner = kith__load_acq(&sock->owner); /* acquire N5 */
    if ((owner & ~KITH__SOCK_PENDING) != kith__task_bits(task)) {
        event_post(ctx, sock); /* S2 */
        return;
    }
    /* relaxed: only the owner closes. */
    if ((kith__load_rlx(&sock->events) & KITH__SOCK_CLOSED) != 0) {
        slot_free(ctx, sock);
        return;
    }
    /* N2: acquire pairs with N1: what came with the event; release: the message is at rest. */
    uint32_t events = kith__xchg_ar(&sock->events, 0);
    if ((owner & KITH__SOCK_PENDING) != 0)
        return; /* adopting looks at everything */
    if (handle(ctx, sock, events))
        settle(ctx, sock);
}

static void event_dead(struct kith__ctx *ctx, struct kith_msg *msg)
{
    event_post(ctx, of_event(msg));
}

static const struct kith__internal event_type = {
    .type = {"socket event", 0, NULL},
    .run = event_run,
    .dead = event_dead,
};

/* ---- the timer ---- */

/* Of an owner that is told by messages. */
static bool told_expire(struct kith__ctx *ctx, struct kith__sock *sock, kith_time now)
{
    if (sock->state == KITH__SOCK_CONNECTS && sock->connect_by <= now) {
        if (!kith__connect_ready(ctx, sock, 0))
            return false;
        if (sock->state == KITH__SOCK_CONNECTS)
            return kith__sock_fail(ctx, sock, KITH_ETIMEOUT);
    }
    return sock->state != KITH__SOCK_OPEN || kith__stream_expire(ctx, sock, now);
}

static bool expire(struct kith__ctx *ctx, struct kith__sock *sock)
{
    kith_time now = ctx->rt->driver->now();
    bool again = sock->retry_at <= now;
    if ((ctx->running->flags & KITH__TASK_CO) != 0)
        kith__wait_expire(ctx, sock, now);
    else if (!told_expire(ctx, sock, now))
        return false;
    return !again || handle(ctx, sock, 0);
}

static void timer_run(struct kith__ctx *ctx, struct kith_self *task, struct kith_msg *msg)
{
    kith_sock handle_of = {((struct timer_body *)kith__msg_body(msg))->sock};
    kith__msg_free(ctx->cache, msg);
    kith_err err;
    struct kith__sock *sock = kith__sock_mine(ctx, task, handle_of, &err);
    if (sock == NULL)
        return;
    sock->timer = 0;
    if (expire(ctx, sock))
        settle(ctx, sock);
}

static void timer_dead(struct kith__ctx *ctx, struct kith_msg *msg)
{
    kith__msg_free(ctx->cache, msg);
}

static const struct kith__internal timer_type = {
    .type = {"socket timer", sizeof(struct timer_body), NULL},
    .run = timer_run,
    .dead = timer_dead,
};

void kith__sock_timer_end(struct kith__ctx *ctx, struct kith_self *owner, struct kith__sock *sock)
{
    struct kith__timer *timer = kith__timer_find(ctx, owner, sock->timer);
    if (timer != NULL)
        kith__timer_end(ctx, owner, timer);
    sock->timer = 0;
}

bool kith__sock_timer(struct kith__ctx *ctx, struct kith__sock *sock, kith_time at)
{
    if (at == KITH_FOREVER || (sock->timer != 0 && sock->timer_at <= at))
        return true;
    struct kith_msg *msg = kith__msg_make(ctx->cache, sizeof(struct timer_body));
    if (msg == NULL)
        return false;
    msg->type = &timer_type.type;
    msg->flags = KITH__MSG_INTERNAL;
    ((struct timer_body *)kith__msg_body(msg))->sock = kith__sock_handle(sock).bits;
    struct kith__timer *timer = kith__timer_set(ctx, ctx->running, at, 0, msg);
    if (timer == NULL) {
        kith__msg_free(ctx->cache, msg);
        return false;
    }
    if (sock->timer != 0)
        kith__sock_timer_end(ctx, ctx->running, sock);
    sock->timer = kith__load_rlx(&timer->slot.bits);
    sock->timer_at = at;
    return true;
}

void kith__sock_retry(struct kith__ctx *ctx, struct kith__sock *sock, kith_time delay_ns)
{
    sock->retry_at = kith__time_add(ctx->rt->driver->now(), delay_ns);
}

void kith__sock_starved(struct kith__ctx *ctx, struct kith__sock *sock)
{
    if ((sock->flags & KITH__SOCK_STARVED) == 0)
        kith__log(&ctx->rt->log, KITH_LOG_WARN, "a socket waits for memory");
    sock->flags |= KITH__SOCK_STARVED;
    kith__sock_retry(ctx, sock, STARVED_NS);
}

/* ---- life ---- */

static void set_options(struct kith__sock *sock, const kith_sock_options *options)
{
    static const kith_sock_options none;
    const kith_sock_options *o = options != NULL ? options : &none;
    sock->read_bytes_max = o->read_bytes_max != 0 ? o->read_bytes_max : READ_BYTES_MAX;
    sock->write_bytes_max = o->write_bytes_max != 0 ? o->write_bytes_max : WRITE_BYTES_MAX;
    sock->delay = o->delay;
}

/* All but the slot, the event word and the words that it will say. */
static void init(struct kith__sock *sock, enum kith__sock_state state,
                 const kith_sock_options *options)
{
    sock->fd = -1;
    sock->event = (struct kith_msg){.flags = KITH__MSG_INTERNAL | KITH__MSG_EMBEDDED};
    sock->flags = KITH__SOCK_READS;
    sock->state = (uint8_t)state;
    sock->wanted = 0;
    sock->broken = KITH_OK;
    sock->read_next = READ_FIRST;
    sock->waiting = 0;
    sock->first = sock->last = NULL;
    sock->read_by = sock->connect_by = sock->retry_at = KITH_FOREVER;
    sock->timer = 0;
    sock->paused = false;
    set_options(sock, options);
}

static void last_words_free(struct kith__ctx *ctx, struct kith__sock *sock)
{
    if (sock->closed != NULL)
        kith__msg_free(ctx->cache, sock->closed);
    if (sock->connected != NULL)
        kith__msg_free(ctx->cache, sock->connected);
    sock->closed = sock->connected = NULL;
}

struct kith__sock *kith__sock_new(struct kith__ctx *ctx, enum kith__sock_state state,
                                  const kith_sock_options *options)
{
    struct kith__slot *slot = kith__slot_alloc(&ctx->rt->table, &ctx->slots, KITH__CLASS_SOCK,
                                               KITH__KIND_SOCK, SOCK_BYTES);
    if (slot == NULL)
        return NULL;
    struct kith__sock *sock = of_slot(slot);
    kith__store_rlx(&sock->events, KITH__SOCK_CLOSED); /* S4, for a slot that is new */
    init(sock, state, options);
    bool connects = state == KITH__SOCK_CONNECTS;
    sock->closed = kith__sock_msg(ctx, &kith_type_kith_closed, sizeof(kith_closed));
    sock->connected =
        connects ? kith__sock_msg(ctx, &kith_type_kith_connected, sizeof(kith_connected)) : NULL;
    if (sock->closed != NULL && (sock->connected != NULL || !connects))
        return sock;
    kith__sock_discard(ctx, sock);
    return NULL;
}

void kith__sock_discard(struct kith__ctx *ctx, struct kith__sock *sock)
{
    last_words_free(ctx, sock);
    slot_free(ctx, sock);
}

static void owner_died(struct kith__ctx *ctx, struct kith_self *owner, struct kith__owned *owned)
{
    kith__sock_end(ctx, owner, of_owned(owned));
}

void kith__sock_open(struct kith__ctx *ctx, struct kith__sock *sock, int fd)
{
    uint64_t bits = kith__slot_bits(&ctx->rt->table, &sock->slot, KITH__KIND_SOCK);
    sock->fd = fd;
    sock->event.type = &event_type.type;
    sock->owned.release = owner_died;
    kith__own(ctx->running, &sock->owned);
    kith__store_rlx(&sock->owner, kith__task_bits(ctx->running)); /* published by N3 */
    /* release N3; pairs with N1: the record is complete. */
    kith__store_rel(&sock->events, 0);
    kith__store_rlx(&sock->slot.bits, bits); /* who finds it goes through N1 */
    kith__count(&ctx->counters.sockets_opened);
}

kith_err kith__sock_watch(struct kith__ctx *ctx, struct kith__sock *sock)
{
    if ((sock->flags & KITH__SOCK_WATCHED) != 0)
        return KITH_OK;
    struct kith__worker *of = kith__io_worker(ctx);
    int error = kith__loop_add(of, sock->fd, kith__sock_handle(sock).bits);
    if (error != 0)
        return kith__errno_err(-error);
    sock->flags |= KITH__SOCK_WATCHED;
    return KITH_OK;
}

kith_err kith__sock_register(struct kith__ctx *ctx, struct kith__sock *sock)
{
    kith_err err = kith__sock_watch(ctx, sock);
    if (err != KITH_OK)
        kith__sock_close(ctx, sock);
    return err;
}

void kith__sock_end(struct kith__ctx *ctx, struct kith_self *owner, struct kith__sock *sock)
{
    if (owner != NULL)
        kith__sock_timer_end(ctx, owner, sock);
    if (sock->state == KITH__SOCK_LISTENS)
        kith__io_unpause(ctx, sock);
    kith__stream_drop(ctx, sock);
    last_words_free(ctx, sock);
    kith__loop_remove(ctx->rt, sock->fd);
    close(sock->fd);
    kith__count(&ctx->counters.sockets_closed);
    kith__slot_kill(&sock->slot);
    /* N6: release pairs with N7 and N2: the slot is killed, nobody else touches the record. acquire
     * pairs with N2 and N7: the message is at rest. */
    if (kith__or_ar(&sock->events, KITH__SOCK_CLOSED) == 0)
        slot_free(ctx, sock);
    kith__io_freed(ctx);
}

void kith__sock_close(struct kith__ctx *ctx, struct kith__sock *sock)
{
    kith__disown(ctx->running, &sock->owned);
    kith__sock_end(ctx, ctx->running, sock);
}

bool kith__sock_fail(struct kith__ctx *ctx, struct kith__sock *sock, kith_err reason)
{
    kith_sock handle_of = kith__sock_handle(sock);
    struct kith_msg *msg = sock->closed;
    if (sock->state == KITH__SOCK_CONNECTS) {
        msg = sock->connected;
        sock->connected = NULL;
        *(kith_connected *)kith__msg_body(msg) = (kith_connected){handle_of, reason};
    } else {
        sock->closed = NULL;
        *(kith_closed *)kith__msg_body(msg) = (kith_closed){handle_of, reason};
    }
    kith__sock_close(ctx, sock);
    kith__sock_push(ctx, msg);
    return false;
}

/* ---- for the others ---- */

struct kith_msg *kith__sock_msg(struct kith__ctx *ctx, const kith_type *type, size_t body_bytes)
{
    struct kith_msg *msg = kith__msg_make(ctx->cache, body_bytes);
    if (msg == NULL)
        return NULL;
    msg->type = type;
    msg->sender = 0;
    msg->flags = 0;
    return msg;
}

void kith__sock_push(struct kith__ctx *ctx, struct kith_msg *msg)
{
    struct kith_msg **pending = &ctx->running->pending;
    struct kith_co *co = kith__co_of(ctx->running);
    msg->to_gen = kith__bits_gen(kith__task_bits(ctx->running));
    if (co != NULL && !co->owned) { /* O5: a fiber that has called */
        kith__co_push(ctx, co, msg);
        return;
    }
    struct kith_msg *last = *pending;
    kith__queue_push(pending, msg);
    /* S8. The queue is a ring: what stands behind the last one stands in front of the first. */
    if (msg->type == &kith_type_kith_given && last != NULL)
        *pending = last;
}

struct kith__sock *kith__sock_mine(struct kith__ctx *ctx, kith_self *self, kith_sock handle_of,
                                   kith_err *err)
{
    *err = KITH_EPERM;
    if (ctx == NULL)
        return NULL;
    *err = KITH_EBADREF;
    if (kith__bits_kind(handle_of.bits) != KITH__KIND_SOCK)
        return NULL;
    struct kith__slot *slot = kith__handle_find(&ctx->rt->table, handle_of.bits);
    /* relaxed: if it is self's, nobody else changes it. */
    if (slot == NULL || kith__load_rlx(&slot->bits) != handle_of.bits)
        return NULL;
    struct kith__sock *sock = of_slot(slot);
    *err = KITH_EPERM;
    /* acquire N5; pairs with N4: what the owner before did. */
    if (kith__load_acq(&sock->owner) != kith__task_bits(self))
        return NULL;
    *err = KITH_OK;
    return sock;
}

struct kith__sock *kith__sock_actors(struct kith__ctx *ctx, kith_self *self, kith_sock handle_of,
                                     kith_err *err)
{
    struct kith__sock *sock = kith__sock_mine(ctx, self, handle_of, err);
    if (sock == NULL || (self->flags & KITH__TASK_CO) == 0)
        return sock;
    *err = KITH_EPERM;
    return NULL;
}

bool kith__sock_options_ok(const kith_sock_options *options)
{
    return options == NULL ||
           (options->read_bytes_max <= KITH_MESSAGE_BYTES_MAX - sizeof(kith_data) &&
            options->write_bytes_max <= PTRDIFF_MAX && options->backlog <= INT32_MAX);
}

kith_err kith__sock_may_begin(const struct kith__ctx *ctx)
{
    if (ctx == NULL)
        return KITH_EPERM;
    /* relaxed: who begins a socket while the shutdown begins has it ended with its actor. */
    return kith__load_rlx(&ctx->rt->shutting_down) != 0 ? KITH_ESHUTDOWN : KITH_OK;
}

kith_err kith_close(kith_self *self, kith_sock handle_of)
{
    struct kith__ctx *ctx = kith__ctx_of(self);
    kith_err err;
    struct kith__sock *sock = kith__sock_mine(ctx, self, handle_of, &err);
    if (sock != NULL)
        kith__sock_close(ctx, sock);
    return err;
}
