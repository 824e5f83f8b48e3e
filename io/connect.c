/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Connecting, and the addresses of both ends.
 *
 * Called by programs and by io/socket.c in the owner's turn.
 *
 * Invariants
 *  C1. A kith_connect that returned a handle without an error sends one kith_connected, unless the
 *      owner closes the socket first: also if the system refuses at once, also at the deadline, also
 *      out of memory (S7 in socket.c).
 *  C2. Whether there is a connection is what the system says when asked, never an event alone: an
 *      event may be a hint from an earlier life of the slot (S4 in socket.c).
 *
 * Threads: the owner's turn only.
 */
#include "io/address.h"
#include "io/io.h"
#include "io/loop.h"
#include "io/socket.h"
#include <errno.h>
#include <sys/epoll.h>
#include <unistd.h>

int kith__connect_outcome(int fd)
{
    int error = 0;
    socklen_t bytes = sizeof error;
    if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &bytes) != 0)
        return errno;
    if (error != 0)
        return error;
    struct sockaddr_storage peer;
    bytes = sizeof peer;
    if (getpeername(fd, (struct sockaddr *)&peer, &bytes) == 0)
        return 0;
    return errno == ENOTCONN ? EINPROGRESS : errno;
}

bool kith__connect_ready(struct kith__ctx *ctx, struct kith__sock *sock, uint32_t events)
{
    if (sock->broken != KITH_OK)
        return kith__sock_fail(ctx, sock, (kith_err)sock->broken);
    int error = kith__connect_outcome(sock->fd);
    if (error == EINPROGRESS) {
        kith__loop_rearm(ctx->rt, sock->fd, EPOLLOUT);
        return true;
    }
    if (error != 0)
        return kith__sock_fail(ctx, sock, kith__errno_err(error));
    struct kith_msg *msg = sock->connected;
    sock->connected = NULL;
    sock->state = KITH__SOCK_OPEN;
    *(kith_connected *)kith__msg_body(msg) = (kith_connected){kith__sock_handle(sock), KITH_OK};
    kith__sock_push(ctx, msg);
    kith__sock_again(ctx, sock, events); /* what came with it, behind it */
    return true;
}

/* ---- kith_connect ---- */

/* Everything that may fail for want of memory comes first: a connection that the caller is told does
 * not exist is not begun. It is registered after it has begun, because a socket that does neither
 * connect nor listen has hung up, as epoll sees it. */
static kith_err go(struct kith__ctx *ctx, struct kith__sock *sock, const struct kith__address *to,
                   kith_time deadline)
{
    sock->connect_by = deadline;
    if (!kith__sock_timer(ctx, sock, deadline)) {
        kith__sock_close(ctx, sock);
        return KITH_ENOMEM;
    }
    kith__sock_tune(sock->fd, sock->delay);
    if (connect(sock->fd, (const struct sockaddr *)&to->storage, to->bytes) != 0 &&
        errno != EINPROGRESS && errno != EINTR) {
        sock->broken = kith__errno_err(errno);
        kith__sock_poke(ctx, kith__sock_handle(sock).bits, KITH__SOCK_AGAIN);
        return KITH_OK;
    }
    return kith__sock_register(ctx, sock);
}

static kith_err begin(struct kith__ctx *ctx, const struct kith__address *to, kith_time deadline,
                      const kith_sock_options *options, kith_sock *out)
{
    struct kith__sock *sock = kith__sock_new(ctx, KITH__SOCK_CONNECTS, options);
    if (sock == NULL)
        return KITH_ENOMEM;
    int fd = socket(to->storage.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0) {
        int error = errno;
        kith__sock_discard(ctx, sock);
        return kith__errno_err(error);
    }
    kith__sock_open(ctx, sock, fd);
    *out = kith__sock_handle(sock);
    return go(ctx, sock, to, deadline);
}

kith_sock kith_connect(kith_self *self, const char *address, uint16_t port, kith_time deadline,
                       const kith_sock_options *options)
{
    struct kith__ctx *ctx = kith__ctx_of(self);
    struct kith__address to;
    kith_sock sock = {0};
    kith_err err = kith__sock_may_begin(ctx);
    if (err == KITH_OK && (self->flags & KITH__TASK_CO) != 0)
        err = KITH_EPERM; /* kith_dial is for them */
    if (err == KITH_OK && (address == NULL || port == 0 || !kith__sock_options_ok(options)))
        err = KITH_EINVAL;
    if (err == KITH_OK)
        err = kith__address_read(address, port, &to);
    if (err == KITH_OK)
        err = begin(ctx, &to, deadline, options, &sock);
    return err == KITH_OK ? sock : (kith_sock){kith__bits_error((int)err)};
}

/* ---- addresses ---- */

typedef int name_fn(int fd, struct sockaddr *restrict address, socklen_t *restrict bytes);

static kith_err name_of(kith_self *self, kith_sock handle, name_fn *ask, char *text, uint16_t *port)
{
    kith_err err;
    struct kith__sock *sock = kith__sock_mine(kith__ctx_of(self), self, handle, &err);
    if (sock == NULL)
        return err;
    struct kith__address name = {.bytes = sizeof name.storage};
    if (ask(sock->fd, (struct sockaddr *)&name.storage, &name.bytes) != 0)
        return errno == EINVAL ? KITH_ENOTCONN : kith__errno_err(errno);
    kith__address_write(&name, text, port);
    return KITH_OK;
}

static int local_name(int fd, struct sockaddr *restrict address, socklen_t *restrict bytes)
{
    return getsockname(fd, address, bytes);
}

static int peer_name(int fd, struct sockaddr *restrict address, socklen_t *restrict bytes)
{
    return getpeername(fd, address, bytes);
}

kith_err kith_sock_local(kith_self *self, kith_sock handle, char *text, uint16_t *port)
{
    return name_of(self, handle, local_name, text, port);
}

kith_err kith_sock_peer(kith_self *self, kith_sock handle, char *text, uint16_t *port)
{
    return name_of(self, handle, peer_name, text, port);
}
