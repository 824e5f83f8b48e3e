/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Sockets of those who may wait, fibers and attached threads: kith_read, kith_write, kith_accept,
 * kith_dial, and what kith_select asks (struct kith__readiness).
 *
 * Called by programs, by csp/select.c, and by io/socket.c in the owner's turn.
 *
 * Invariants
 *  W1. Nothing is read, accepted or told by itself. An event only marks what the socket may be
 *      ready for, and wakes the owner if it waits for that. The system call decides.
 *  W2. No wake is lost. A call tries, is told EAGAIN, says what it wants, and waits; events are
 *      handled when the co's messages are sifted, which happens in the wait and not between the try
 *      and the wait. So an edge after the try finds `wanted`. (A select does more between the two:
 *      there want() comes before the check.)
 *  W3. KITH__SOCK_READY (R3 in stream.c) is clear only if the input was drained and every edge
 *      since has yet to come: a read then waits without asking the system.
 *  W4. A socket is registered with a loop when its owner first waits for it: so a connection that
 *      one fiber accepts and another serves (options.sock) is polled where it is served.
 *  W5. When its deadline has passed a call tries once more: what came in time, but could not be
 *      told because the worker was busy, is not a timeout. So KITH_NOWAIT means what the system has
 *      now.
 *  W6. An error stays: every later write answers it, and every read when the input is drained,
 *      where the system would only say that it is over. A socket ends by kith_close or with its
 *      owner only.
 *  W7. The record is the co's while it waits: nobody else ends it or gives it away.
 *
 * Threads: the owner's turn only.
 *
 * Why no buffers: whoever has a stack has a buffer, and the bytes go there in one copy.
 */
#include "io/address.h"
#include "io/io.h"
#include "io/loop.h"
#include "io/socket.h"
#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define LOST_MAX 64 /* connections in a row that accept(2) lost: then it is no accident */

/* ---- events ---- */

static bool is_set(const struct kith__sock *sock, unsigned flag)
{
    return (sock->flags & flag) != 0;
}

static void clear(struct kith__sock *sock, unsigned flags)
{
    sock->flags &= (uint16_t)~flags;
}

static void wake(struct kith__ctx *ctx, const struct kith__sock *sock, unsigned ready)
{
    if ((sock->wanted & ready) != 0)
        kith__co_of(ctx->running)->woke |= KITH__WOKE_IO;
}

void kith__wait_event(struct kith__ctx *ctx, struct kith__sock *sock, uint32_t events)
{
    unsigned ready = 0;
    if ((events & KITH__SOCK_INPUT) != 0) {
        sock->flags |= KITH__SOCK_READY;
        ready |= KITH__READY_READ;
    }
    if ((events & (KITH__SOCK_INPUT & ~(uint32_t)EPOLLIN)) != 0)
        sock->flags |= KITH__SOCK_HUNG;
    if (events == 0 || (events & KITH__SOCK_OUTPUT) != 0) {
        ready |= KITH__READY_WRITE;
    }
    kith__stream_rest(ctx, sock, events);
    if (sock->broken != KITH_OK)
        ready = KITH__READY_READ | KITH__READY_WRITE;
    wake(ctx, sock, ready);
}

void kith__wait_expire(struct kith__ctx *ctx, struct kith__sock *sock, kith_time now)
{
    if (sock->state == KITH__SOCK_CONNECTS && sock->connect_by <= now &&
        kith__connect_outcome(sock->fd) == EINPROGRESS) {
        sock->broken = KITH_ETIMEOUT;
        sock->connect_by = KITH_FOREVER;
    }
    kith__stream_rest_expire(ctx, sock, now);
    if (sock->broken != KITH_OK)
        wake(ctx, sock, KITH__READY_READ | KITH__READY_WRITE);
}

/* ---- waiting ---- */

static kith_err co_begin(struct kith_co *co)
{
    if (!kith__co_here(co))
        return KITH_EPERM;
    kith__co_spend(co);
    return kith__co_may_wait(co);
}

/* A socket that was given may wait to be sifted. */
static struct kith__sock *find(struct kith_co *co, kith_sock handle, kith_err *err)
{
    struct kith__sock *sock = kith__sock_mine(co->ctx, co->task, handle, err);
    if (KITH__LIKELY(*err != KITH_EPERM))
        return sock;
    kith__co_sift(co);
    return kith__sock_mine(co->ctx, co->task, handle, err);
}

/* A call: tried again and again until it answers anything but KITH_EAGAIN. */
struct call {
    kith_err (*attempt)(struct kith_co *co, struct kith__sock *sock, struct call *call);
    const char *where;
    unsigned what;
    bool last; /* this is the last attempt: W5 */
    unsigned char *bytes;
    size_t left;
    size_t done;
    kith_sock conn;
};

static short poll_events(const struct kith__sock *sock, unsigned what)
{
    short events = 0;
    if ((what & KITH__READY_READ) != 0)
        events |= POLLIN;
    if ((what & KITH__READY_WRITE) != 0 && sock->waiting == 0)
        events |= POLLOUT;
    return events;
}

static kith_err ready_wait(struct kith_co *co, struct kith__sock *sock, const struct call *call,
                           kith_time deadline)
{
    kith_err err = kith__sock_watch(co->ctx, sock); /* W4 */
    if (err != KITH_OK)
        return err;
    co->woke &= ~(uint32_t)KITH__WOKE_IO;
    sock->wanted = (uint8_t)call->what;
    kith__loop_rearm(co->ctx->rt, sock->fd, (uint32_t)poll_events(sock, call->what));
    err = kith__co_wait(co, KITH__WOKE_IO, deadline, call->where, sock);
    sock->wanted = 0; /* W7 */
    return err;
}

static kith_err finish(struct kith_co *co, struct kith__sock *sock, struct call *call,
                       kith_time deadline)
{
    for (;;) {
        kith_err err = call->attempt(co, sock, call);
        if (err != KITH_EAGAIN)
            return err;
        if (call->last)
            return KITH_ETIMEOUT;
        err = ready_wait(co, sock, call, deadline);
        call->last = err == KITH_ETIMEOUT;
        if (err != KITH_OK && !call->last)
            return err;
    }
}

/* ---- connecting ---- */

static kith_err connect_attempt(struct kith_co *co, struct kith__sock *sock, struct call *call)
{
    (void)call;
    if (sock->broken != KITH_OK)
        return (kith_err)sock->broken;
    int error = kith__connect_outcome(sock->fd);
    if (error == EINPROGRESS)
        return KITH_EAGAIN;
    if (error != 0) {
        sock->broken = kith__errno_err(error);
        return (kith_err)sock->broken;
    }
    if (sock->connected != NULL) /* an actor began it */
        kith__msg_free(co->ctx->cache, sock->connected);
    sock->connected = NULL;
    sock->state = KITH__SOCK_OPEN;
    sock->flags |= KITH__SOCK_READY;
    return KITH_OK;
}

static kith_err connect_wait(struct kith_co *co, struct kith__sock *sock, const char *where,
                             kith_time deadline)
{
    if (KITH__LIKELY(sock->state == KITH__SOCK_OPEN))
        return KITH_OK;
    if (sock->state == KITH__SOCK_LISTENS)
        return KITH_ENOTCONN;
    struct call call = {.attempt = connect_attempt, .where = where, .what = KITH__READY_WRITE};
    return finish(co, sock, &call, deadline);
}

/* A socket that has begun to connect, or has failed to; or NULL and *err. */
static struct kith__sock *dial_begin(struct kith__ctx *ctx, const struct kith__address *to,
                                     const kith_sock_options *options, kith_err *err)
{
    *err = KITH_ENOMEM;
    struct kith__sock *sock = kith__sock_new(ctx, KITH__SOCK_OPEN, options);
    if (sock == NULL)
        return NULL;
    int fd = socket(to->storage.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0) {
        *err = kith__errno_err(errno);
        kith__sock_discard(ctx, sock);
        return NULL;
    }
    sock->state = KITH__SOCK_CONNECTS; /* not from the start: it needs no kith_connected */
    kith__sock_open(ctx, sock, fd);
    kith__sock_tune(fd, sock->delay);
    if (connect(fd, (const struct sockaddr *)&to->storage, to->bytes) != 0 &&
        errno != EINPROGRESS && errno != EINTR)
        sock->broken = kith__errno_err(errno);
    return sock;
}

static kith_err dial(struct kith_co *co, const struct kith__address *to, kith_time deadline,
                     const kith_sock_options *options, kith_sock *out)
{
    kith_err err;
    struct kith__sock *sock = dial_begin(co->ctx, to, options, &err);
    if (sock == NULL)
        return err;
    err = connect_wait(co, sock, "kith_dial", deadline);
    if (err == KITH_OK)
        *out = kith__sock_handle(sock);
    else
        kith__sock_close(co->ctx, sock);
    return err;
}

kith_err kith_dial(kith_co *co, const char *address, uint16_t port, kith_time deadline,
                   const kith_sock_options *options, kith_sock *sock)
{
    struct kith__address to;
    if (sock == NULL)
        return KITH_EINVAL;
    *sock = (kith_sock){0};
    if (address == NULL || port == 0 || !kith__sock_options_ok(options))
        return KITH_EINVAL;
    kith_err err = co_begin(co);
    if (err == KITH_OK)
        err = kith__sock_may_begin(co->ctx);
    if (err == KITH_OK)
        err = kith__address_read(address, port, &to);
    return err == KITH_OK ? dial(co, &to, deadline, options, sock) : err;
}

/* ---- accepting ---- */

/* A1 in listen.c: all that it needs is made beforehand. */
static kith_err accept_attempt(struct kith_co *co, struct kith__sock *listener, struct call *call)
{
    if (!is_set(listener, KITH__SOCK_READY) && !call->last)
        return KITH_EAGAIN;
    const kith_sock_options options = {.write_bytes_max = listener->write_bytes_max,
                                       .read_bytes_max = listener->read_bytes_max,
                                       .delay = listener->delay};
    struct kith__sock *conn = kith__sock_new(co->ctx, KITH__SOCK_OPEN, &options);
    if (conn == NULL)
        return KITH_ENOMEM;
    int fd;
    unsigned lost = 0;
    do
        fd = accept4(listener->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    while (fd < 0 && kith__accept_passing(errno) && lost++ < LOST_MAX);
    if (fd < 0) {
        int error = errno;
        kith__sock_discard(co->ctx, conn);
        if (error != EAGAIN)
            return kith__errno_err(error);
        clear(listener, KITH__SOCK_READY); /* W3 */
        return KITH_EAGAIN;
    }
    kith__sock_open(co->ctx, conn, fd);
    conn->flags |= KITH__SOCK_READY;
    call->conn = kith__sock_handle(conn);
    return KITH_OK;
}

kith_err kith_accept(kith_co *co, kith_sock listener, kith_time deadline, kith_sock *conn)
{
    if (conn == NULL)
        return KITH_EINVAL;
    *conn = (kith_sock){0};
    kith_err err = co_begin(co);
    if (err != KITH_OK)
        return err;
    struct kith__sock *sock = find(co, listener, &err);
    if (sock == NULL)
        return err;
    if (sock->state != KITH__SOCK_LISTENS)
        return KITH_EBADREF;
    struct call call = {
        .attempt = accept_attempt, .where = "kith_accept", .what = KITH__READY_READ};
    err = finish(co, sock, &call, deadline);
    *conn = call.conn;
    return err;
}

/* ---- reading ---- */

/* A read gave nothing: 0 or an errno. */
static kith_err read_nothing(struct kith__sock *sock, int error)
{
    if (error == EAGAIN)
        clear(sock, KITH__SOCK_READY | KITH__SOCK_HUNG); /* W3 */
    else if (error != 0 && sock->broken == KITH_OK)
        sock->broken = kith__errno_err(error);
    if (sock->broken != KITH_OK)
        return (kith_err)sock->broken; /* W6 */
    return error == 0 ? KITH_OK : KITH_EAGAIN;
}

static kith_err read_attempt(struct kith_co *co, struct kith__sock *sock, struct call *call)
{
    (void)co;
    if (!is_set(sock, KITH__SOCK_READY) && !call->last && sock->broken == KITH_OK)
        return KITH_EAGAIN;
    ssize_t n;
    do
        n = recv(sock->fd, call->bytes, call->left, MSG_DONTWAIT);
    while (n < 0 && errno == EINTR);
    if (n <= 0)
        return read_nothing(sock, n < 0 ? errno : 0);
    call->done = (size_t)n;
    if (call->done < call->left && !is_set(sock, KITH__SOCK_HUNG))
        clear(sock, KITH__SOCK_READY); /* W3 */
    return KITH_OK;
}

kith_err kith_read(kith_co *co, kith_sock handle, void *bytes, size_t room, size_t *n,
                   kith_time deadline)
{
    if (n == NULL)
        return KITH_EINVAL;
    *n = 0;
    if (bytes == NULL || room == 0)
        return KITH_EINVAL;
    kith_err err = co_begin(co);
    if (err != KITH_OK)
        return err;
    struct kith__sock *sock = find(co, handle, &err);
    if (sock == NULL)
        return err;
    err = connect_wait(co, sock, "kith_read", deadline);
    if (err != KITH_OK)
        return err;
    struct call call = {.attempt = read_attempt,
                        .where = "kith_read",
                        .what = KITH__READY_READ,
                        .bytes = bytes,
                        .left = room < PTRDIFF_MAX ? room : PTRDIFF_MAX};
    err = finish(co, sock, &call, deadline);
    *n = call.done;
    return err;
}

/* ---- writing ---- */

/* What an actor before has left goes first. Its deadline is kept, if there is memory for a timer.
 * */
static kith_err rest_first(struct kith_co *co, struct kith__sock *sock)
{
    return kith__sock_timer(co->ctx, sock, sock->first->by) ? KITH_EAGAIN : KITH_ENOMEM;
}

static kith_err write_failed(struct kith_co *co, struct kith__sock *sock, int error)
{
    if (error == EAGAIN)
        return KITH_EAGAIN;
    if (error == ENOBUFS || error == ENOMEM) { /* no edge will tell: a timer does */
        kith__sock_starved(co->ctx, sock);
        return kith__sock_timer(co->ctx, sock, sock->retry_at) ? KITH_EAGAIN : KITH_ENOMEM;
    }
    sock->broken = kith__errno_err(error);
    return (kith_err)sock->broken;
}

/* When the system takes a part only, it tells when there is room again, as after EAGAIN. */
static kith_err write_attempt(struct kith_co *co, struct kith__sock *sock, struct call *call)
{
    if (sock->broken != KITH_OK)
        return (kith_err)sock->broken; /* W6 */
    if (sock->waiting > 0)
        return rest_first(co, sock);
    ssize_t n;
    do
        n = send(sock->fd, call->bytes + call->done, call->left, MSG_NOSIGNAL | MSG_DONTWAIT);
    while (n < 0 && errno == EINTR);
    if (n < 0)
        return write_failed(co, sock, errno);
    call->done += (size_t)n;
    call->left -= (size_t)n;
    return call->left == 0 ? KITH_OK : KITH_EAGAIN;
}

kith_err kith_write(kith_co *co, kith_sock handle, const void *bytes, size_t n, kith_time deadline)
{
    if ((bytes == NULL && n > 0) || n > PTRDIFF_MAX)
        return KITH_EINVAL;
    kith_err err = co_begin(co);
    if (err != KITH_OK)
        return err;
    struct kith__sock *sock = find(co, handle, &err);
    if (sock == NULL)
        return err;
    err = connect_wait(co, sock, "kith_write", deadline);
    if (err != KITH_OK)
        return err;
    if (is_set(sock, KITH__SOCK_FINISHED))
        return KITH_ENOTCONN;
    if (n == 0)
        return KITH_OK;
    struct call call = {.attempt = write_attempt,
                        .where = "kith_write",
                        .what = KITH__READY_WRITE,
                        .bytes = (unsigned char *)(uintptr_t)bytes, /* which it only reads */
                        .left = n};
    return finish(co, sock, &call, deadline);
}

/* ---- for select ---- */

static kith_err ready_check(struct kith_co *co, uint64_t sock_bits, unsigned what)
{
    kith_err err;
    struct kith__sock *sock = find(co, (kith_sock){sock_bits}, &err);
    if (sock == NULL)
        return err;
    err = kith__sock_watch(co->ctx, sock); /* W4 */
    if (err != KITH_OK || sock->broken != KITH_OK)
        return err;
    struct pollfd one = {.fd = sock->fd, .events = poll_events(sock, what)};
    if (poll(&one, 1, 0) == 0) {
        kith__loop_rearm(co->ctx->rt, sock->fd, (uint32_t)one.events);
        return KITH_EAGAIN;
    }
    if ((one.revents & ~POLLOUT) != 0)
        sock->flags |= KITH__SOCK_READY; /* whose edge may be on its way yet */
    return KITH_OK;
}

static void ready_want(struct kith_co *co, uint64_t sock_bits, unsigned what, bool on)
{
    kith_err err;
    struct kith__sock *sock = kith__sock_mine(co->ctx, co->task, (kith_sock){sock_bits}, &err);
    if (sock == NULL)
        return;
    sock->wanted = (uint8_t)(on ? sock->wanted | what : sock->wanted & ~what);
}

static kith_err is_mine(struct kith__ctx *ctx, uint64_t sock_bits)
{
    kith_err err;
    struct kith_co *co = kith__co_of(ctx->running);
    if (co != NULL)
        (void)find(co, (kith_sock){sock_bits}, &err);
    else
        (void)kith__sock_mine(ctx, ctx->running, (kith_sock){sock_bits}, &err);
    return err == KITH_OK ? KITH_OK : KITH_EBADREF;
}

const struct kith__readiness kith__sock_readiness = {
    .check = ready_check,
    .want = ready_want,
    .mine = is_mine,
    .move = kith__sock_move,
};
