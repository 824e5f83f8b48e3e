/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Listeners: kith_listen, and accepting.
 *
 * Called by programs and by io/socket.c in the owner's turn.
 *
 * Invariants
 *  A1. Everything that a connection needs of kith is made before the connection is taken from the
 *      system: out of memory, it waits there.
 *  A2. A listener that could not accept for want of descriptors or memory has a timer and stands in
 *      the list of paused ones (io/io.c). Either makes it try again, so it is never lost; and it
 *      does nothing in between, so it is never busy. (If there is no memory for the timer either,
 *      its event goes behind all other messages of its owner: see S7 in socket.c.)
 *  A3. It logs that it pauses once, until it has taken all that waited.
 *  A4. An error of a single connection takes that connection from the system, so the next may be
 *      better. The same numbers can also stand for what does not pass (a firewall's EPERM): a turn
 *      full of them, and nothing else, is a pause as in A2.
 *
 * Threads: the owner's turn only.
 *
 * Why not a reserved descriptor, closed to accept and refuse: that loses connections which would
 * only have had to wait.
 */
#include "io/address.h"
#include "io/io.h"
#include "io/loop.h"
#include "io/socket.h"
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/epoll.h>
#include <unistd.h>

#define ACCEPTS_MAX 64 /* a turn */
#define PAUSE_NS (100 * KITH_MS)

KITH_API const kith_type kith_type_kith_accepted = {"kith_accepted", sizeof(kith_accepted), NULL};

void kith__sock_tune(int fd, bool delay)
{
    int on = 1;
    if (!delay) /* for speed only: not worth an error */
        (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
}

/* ---- accepting ---- */

static bool shortage(int error)
{
    return error == EMFILE || error == ENFILE || error == ENOBUFS || error == ENOMEM;
}

bool kith__accept_passing(int error)
{
    switch (error) {
    case ECONNABORTED:
    case EINTR:
    case EPROTO:
    case EPERM:
    case ENETDOWN:
    case ENETUNREACH:
    case EHOSTDOWN:
    case EHOSTUNREACH:
    case ENONET:
    case ENOPROTOOPT:
    case EOPNOTSUPP:
    case ETIMEDOUT:
        return true;
    default:
        return false;
    }
}

static void pause_for(struct kith__ctx *ctx, struct kith__sock *sock, kith_err why)
{
    if ((sock->flags & KITH__SOCK_PAUSE_LOGGED) == 0)
        kith__log(&ctx->rt->log, KITH_LOG_WARN, "a listener pauses: %s", kith_strerror(why));
    sock->flags |= KITH__SOCK_PAUSE_LOGGED;
    kith__sock_retry(ctx, sock, PAUSE_NS);
    kith__io_pause(ctx, sock); /* A2 */
}

/* What is made beforehand (A1). */
struct arrival {
    struct kith__sock *conn;
    struct kith_msg *msg;
};

static void arrival_discard(struct kith__ctx *ctx, struct arrival *a)
{
    if (a->conn != NULL)
        kith__sock_discard(ctx, a->conn);
    if (a->msg != NULL)
        kith__msg_free(ctx->cache, a->msg);
}

static bool arrival_make(struct kith__ctx *ctx, const struct kith__sock *listener,
                         struct arrival *a)
{
    const kith_sock_options options = {.write_bytes_max = listener->write_bytes_max,
                                       .read_bytes_max = listener->read_bytes_max,
                                       .delay = listener->delay};
    a->conn = kith__sock_new(ctx, KITH__SOCK_OPEN, &options);
    a->msg = kith__sock_msg(ctx, &kith_type_kith_accepted, sizeof(kith_accepted));
    if (a->conn != NULL && a->msg != NULL)
        return true;
    arrival_discard(ctx, a);
    return false;
}

/* The connection is there: KITH_OK, or what it could not be registered for; it is lost then. */
static kith_err arrive(struct kith__ctx *ctx, struct kith__sock *listener, struct arrival *a,
                       int fd)
{
    kith__sock_open(ctx, a->conn, fd);
    kith_err err = kith__sock_register(ctx, a->conn);
    if (err != KITH_OK) {
        kith__msg_free(ctx->cache, a->msg);
        return err;
    }
    *(kith_accepted *)kith__msg_body(a->msg) =
        (kith_accepted){kith__sock_handle(listener), kith__sock_handle(a->conn)};
    kith__sock_push(ctx, a->msg);
    return KITH_OK;
}

/* Taken, or lost to a passing error: there may be more. */
enum outcome { TAKEN, LOST, NO_MORE, GONE };

static enum outcome accept_failed(struct kith__ctx *ctx, struct kith__sock *listener, int error)
{
    if (kith__accept_passing(error))
        return LOST;
    if (error == EAGAIN) {
        listener->flags &= (uint16_t)~KITH__SOCK_PAUSE_LOGGED; /* A3 */
        kith__loop_rearm(ctx->rt, listener->fd, EPOLLIN);
        return NO_MORE;
    }
    if (shortage(error)) {
        pause_for(ctx, listener, kith__errno_err(error));
        return NO_MORE;
    }
    kith__sock_fail(ctx, listener, kith__errno_err(error));
    return GONE;
}

/* *error is set if the connection is LOST. */
static enum outcome accept_one(struct kith__ctx *ctx, struct kith__sock *listener, int *error)
{
    struct arrival a;
    if (!arrival_make(ctx, listener, &a)) {
        pause_for(ctx, listener, KITH_ENOMEM);
        return NO_MORE;
    }
    int fd = accept4(listener->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (fd < 0) {
        *error = errno;
        arrival_discard(ctx, &a);
        return accept_failed(ctx, listener, *error);
    }
    kith_err err = arrive(ctx, listener, &a, fd);
    if (err == KITH_OK)
        return TAKEN;
    pause_for(ctx, listener, err);
    return NO_MORE;
}

/* A whole turn's worth: there may be more. */
static void accept_on(struct kith__ctx *ctx, struct kith__sock *listener, bool any_taken, int error)
{
    if (any_taken)
        kith__sock_again(ctx, listener, 0);
    else
        pause_for(ctx, listener, kith__errno_err(error)); /* A4 */
}

bool kith__listen_ready(struct kith__ctx *ctx, struct kith__sock *sock)
{
    kith__io_unpause(ctx, sock);
    if ((sock->flags & KITH__SOCK_READS) == 0)
        return true; /* kith_sock_reading(on) makes an event */
    enum outcome outcome = TAKEN;
    bool any_taken = false;
    int error = 0;
    for (int i = 0; i < ACCEPTS_MAX && outcome <= LOST; i++) {
        outcome = accept_one(ctx, sock, &error);
        any_taken |= outcome == TAKEN;
    }
    if (outcome <= LOST)
        accept_on(ctx, sock, any_taken, error);
    return outcome != GONE;
}

/* ---- kith_listen ---- */

static int prepare(int fd, const struct kith__address *at, const kith_sock_options *options)
{
    int on = 1;
    int v6_only = options->ipv6_only ? 1 : 0;
    if (setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on) != 0)
        return -1;
    if (options->reuse_port && setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &on, sizeof on) != 0)
        return -1;
    if (at->storage.ss_family == AF_INET6 &&
        setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &v6_only, sizeof v6_only) != 0)
        return -1;
    kith__sock_tune(fd, options->delay); /* what it accepts inherits this */
    if (bind(fd, (const struct sockaddr *)&at->storage, at->bytes) != 0)
        return -1;
    return listen(fd, options->backlog != 0 ? (int)options->backlog : SOMAXCONN);
}

/* A listening descriptor, or -errno. */
static int listen_at(const struct kith__address *at, const kith_sock_options *options)
{
    int fd = socket(at->storage.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return -errno;
    if (prepare(fd, at, options) == 0)
        return fd;
    int error = errno;
    close(fd);
    return -error;
}

/* The same at every address: IPv6 with IPv4 in it, or IPv4 where the system has no IPv6. */
static int listen_anywhere(const struct kith__address *at, uint16_t port,
                           const kith_sock_options *options)
{
    int fd = listen_at(at, options);
    if ((fd != -EAFNOSUPPORT && fd != -EADDRNOTAVAIL) || options->ipv6_only)
        return fd;
    struct kith__address ipv4;
    kith__address_any_ipv4(port, &ipv4);
    return listen_at(&ipv4, options);
}

static kith_err begin(struct kith__ctx *ctx, const char *address, uint16_t port,
                      const kith_sock_options *options, kith_sock *out)
{
    struct kith__address at;
    kith_err err = kith__address_read(address, port, &at);
    if (err != KITH_OK)
        return err;
    struct kith__sock *sock = kith__sock_new(ctx, KITH__SOCK_LISTENS, options);
    if (sock == NULL)
        return KITH_ENOMEM;
    int fd = address != NULL ? listen_at(&at, options) : listen_anywhere(&at, port, options);
    if (fd < 0) {
        kith__sock_discard(ctx, sock);
        return kith__errno_err(-fd);
    }
    kith__sock_open(ctx, sock, fd);
    err = kith__sock_register(ctx, sock);
    if (err == KITH_OK)
        *out = kith__sock_handle(sock);
    return err;
}

kith_sock kith_listen(kith_self *self, const char *address, uint16_t port,
                      const kith_sock_options *options)
{
    static const kith_sock_options none;
    struct kith__ctx *ctx = kith__ctx_of(self);
    kith_sock sock = {0};
    kith_err err = kith__sock_may_begin(ctx);
    if (err == KITH_OK && !kith__sock_options_ok(options))
        err = KITH_EINVAL;
    if (err == KITH_OK)
        err = begin(ctx, address, port, options != NULL ? options : &none, &sock);
    return err == KITH_OK ? sock : (kith_sock){kith__bits_error((int)err)};
}
