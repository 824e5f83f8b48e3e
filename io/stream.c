/* SPDX-License-Identifier: BSD-2-Clause
 *
 * A connection's bytes: input as kith_data, output with its bound, deadlines, half-close.
 *
 * Called by io/socket.c in the owner's turn, and by programs.
 *
 * Invariants
 *  R1. One piece of input at a time: the next is read when the event message, queued behind the
 *      piece, comes round. So a slow actor holds its peer back by TCP.
 *  R2. Memory for a piece is made before it is read: out of memory, nothing is lost.
 *  R3. KITH__SOCK_READY is set while an edge has come and its input was not drained. Drained is:
 *      EAGAIN, or fewer bytes than asked for, unless the peer has hung up (KITH__SOCK_HUNG), since
 *      then no further edge will come. Whoever cannot know that (an event may have been dropped on
 *      its way to an adopter) takes it for granted; EAGAIN shows that it is not so.
 *  R4. kith_sock_write takes everything or nothing. Where that cannot be kept (the system has taken
 *      a part and there is no memory for the rest) the connection breaks.
 *  R5. A broken connection is read until its end before kith_closed: an answer that the peer sent
 *      before it went away is not lost.
 *  R6. waiting is the sum over the list. Deadlines do not decrease along it, because what must leave
 *      early must leave after all that is before it: so the first chunk's is the earliest.
 *  R7. A connection is over when its input has ended, kith_sock_finish was called and nothing waits
 *      to be written: it ends with KITH_OK, or with the error that the system has for it by then.
 *      Whichever of the three comes last sees to it that the event comes behind what the owner has
 *      been told: the owner hears kith_eof while the handle still lives.
 *
 * Threads: the owner's turn only.
 *
 * Why a list of chunks: nothing is copied when more comes, and a write of any size is one chunk.
 * Writes whose deadlines are less than SLACK_NS apart share one; their deadline is the
 * latest of them, so none is late by more than that and none is early.
 */
#include "base/clock.h"
#include "io/io.h"
#include "io/loop.h"
#include "io/socket.h"
#include <errno.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/uio.h>

#define SLACK_NS KITH_MS
#define CHUNK_BYTES ((size_t)2048) /* the smallest chunk, its head included */
#define IOV_MAX_HERE 16
#define FLUSHES_MAX 4 /* a turn, so that a fast reader of much does not hold the worker */
#define READ_LEAST 512u
#define READ_MOST (UINT32_C(1) << 31)

/* What stands before the bytes of a kith_data in memory. */
#define DATA_HEAD (sizeof(struct kith_msg) + sizeof(kith_data))

KITH_API const kith_type kith_type_kith_data = {"kith_data", sizeof(kith_data), NULL};
KITH_API const kith_type kith_type_kith_eof = {"kith_eof", sizeof(kith_eof), NULL};
KITH_API const kith_type kith_type_kith_drained = {"kith_drained", sizeof(kith_drained), NULL};

/* ---- breaking ---- */

static bool wants_input(const struct kith__sock *sock)
{
    const uint16_t all = KITH__SOCK_READS | KITH__SOCK_READY | KITH__SOCK_ENDED;
    return (sock->flags & all) == (KITH__SOCK_READS | KITH__SOCK_READY);
}

/* Nothing can be written any more; R5. The caller sees to it that the event comes again. */
static void break_off(struct kith__ctx *ctx, struct kith__sock *sock, kith_err reason)
{
    if (sock->broken == KITH_OK)
        sock->broken = reason;
    sock->flags |= KITH__SOCK_READY | KITH__SOCK_HUNG;
    sock->flags &= (uint16_t)~KITH__SOCK_DRAIN_DUE;
    kith__stream_drop(ctx, sock);
}

/* R7 */
static bool is_over(const struct kith__sock *sock)
{
    const uint16_t both = KITH__SOCK_ENDED | KITH__SOCK_FINISHED;
    return (sock->flags & both) == both && sock->waiting == 0;
}

/* ---- input ---- */

static size_t piece_bytes(const struct kith__sock *sock)
{
    size_t n = sock->read_next - DATA_HEAD;
    return n < sock->read_bytes_max ? n : sock->read_bytes_max;
}

/* A full piece makes the next one larger, a nearly empty one smaller: memory fits what comes. */
static void piece_adapt(struct kith__sock *sock, size_t asked, size_t n)
{
    if (n == asked && asked < sock->read_bytes_max && sock->read_next < READ_MOST)
        sock->read_next *= 2;
    else if (n < asked / 8 && sock->read_next > READ_LEAST)
        sock->read_next /= 2;
}

static bool read_ended(struct kith__ctx *ctx, struct kith__sock *sock)
{
    if (sock->broken != KITH_OK)
        return kith__sock_fail(ctx, sock, (kith_err)sock->broken);
    struct kith_msg *msg = kith__sock_msg(ctx, &kith_type_kith_eof, sizeof(kith_eof));
    if (msg == NULL) {
        kith__sock_starved(ctx, sock); /* the next read says 0 again */
        return true;
    }
    *(kith_eof *)kith__msg_body(msg) = (kith_eof){kith__sock_handle(sock)};
    kith__sock_push(ctx, msg);
    sock->flags |= KITH__SOCK_ENDED;
    sock->read_by = KITH_FOREVER;
    if (is_over(sock))
        kith__sock_again(ctx, sock, 0);
    return true;
}

/* A read gave nothing: 0 or an errno. */
static bool read_nothing(struct kith__ctx *ctx, struct kith__sock *sock, int error)
{
    if (error == 0)
        return read_ended(ctx, sock);
    if (error == EINTR) {
        kith__sock_again(ctx, sock, 0);
        return true;
    }
    if (error != EAGAIN)
        return kith__sock_fail(
            ctx, sock, sock->broken != KITH_OK ? (kith_err)sock->broken : kith__errno_err(error));
    sock->flags &= (uint16_t) ~(KITH__SOCK_READY | KITH__SOCK_HUNG); /* R3 */
    kith__loop_rearm(ctx->rt, sock->fd, EPOLLIN);
    if (sock->broken != KITH_OK)
        return kith__sock_fail(ctx, sock, (kith_err)sock->broken);
    return true;
}

/* R3: on with the next piece (R1), or until the next edge. */
static void read_on(struct kith__ctx *ctx, struct kith__sock *sock, size_t asked, size_t n)
{
    sock->flags &= (uint16_t)~KITH__SOCK_STARVED;
    sock->read_by = KITH_FOREVER;
    piece_adapt(sock, asked, n);
    if (n == asked || (sock->flags & KITH__SOCK_HUNG) != 0) {
        kith__sock_again(ctx, sock, 0);
    } else {
        sock->flags &= (uint16_t)~KITH__SOCK_READY;
        kith__loop_rearm(ctx->rt, sock->fd, EPOLLIN);
    }
}

static bool read_piece(struct kith__ctx *ctx, struct kith__sock *sock)
{
    size_t asked = piece_bytes(sock);
    struct kith_msg *msg = kith__sock_msg(ctx, &kith_type_kith_data, sizeof(kith_data) + asked);
    if (msg == NULL) {
        sock->read_next = READ_LEAST;
        kith__sock_starved(ctx, sock); /* R2 */
        return true;
    }
    kith_data *data = kith__msg_body(msg);
    unsigned char *bytes = (unsigned char *)(data + 1);
    ssize_t n = recv(sock->fd, bytes, asked, MSG_DONTWAIT);
    if (n <= 0) {
        int error = n < 0 ? errno : 0;
        kith__msg_free(ctx->cache, msg);
        return read_nothing(ctx, sock, error);
    }
    *data = (kith_data){kith__sock_handle(sock), (size_t)n, bytes};
    kith__sock_push(ctx, msg);
    read_on(ctx, sock, asked, (size_t)n);
    return true;
}

/* ---- output ---- */

static void chunk_free(struct kith__ctx *ctx, struct kith__outgoing_bytes *chunk)
{
    kith__free(&ctx->rt->allocator, chunk, sizeof *chunk + chunk->room);
}

void kith__stream_drop(struct kith__ctx *ctx, struct kith__sock *sock)
{
    while (sock->first != NULL) {
        struct kith__outgoing_bytes *chunk = sock->first;
        sock->first = chunk->next;
        chunk_free(ctx, chunk);
    }
    sock->last = NULL;
    sock->waiting = 0;
}

static struct kith__outgoing_bytes *chunk_make(struct kith__ctx *ctx, size_t n)
{
    size_t bytes = n < CHUNK_BYTES - sizeof(struct kith__outgoing_bytes)
                       ? CHUNK_BYTES
                       : n + sizeof(struct kith__outgoing_bytes);
    struct kith__outgoing_bytes *chunk = kith__alloc(&ctx->rt->allocator, bytes, 16);
    if (chunk == NULL)
        return NULL;
    *chunk = (struct kith__outgoing_bytes){.room = bytes - sizeof *chunk};
    return chunk;
}

static void chunk_append(struct kith__sock *sock, struct kith__outgoing_bytes *chunk,
                         kith_time deadline)
{
    chunk->by_first = deadline;
    if (sock->last == NULL)
        sock->first = chunk;
    else
        sock->last->next = chunk;
    sock->last = chunk;
}

static void chunk_fill(struct kith__sock *sock, const unsigned char *bytes, size_t n,
                       kith_time deadline)
{
    struct kith__outgoing_bytes *chunk = sock->last;
    memcpy(chunk->bytes + chunk->end, bytes, n);
    chunk->end += n;
    chunk->by = deadline;
    sock->waiting += n;
}

/* R6: what comes now must leave by deadline, so all before it must too. */
static void deadlines_lower(struct kith__sock *sock, kith_time deadline)
{
    if (sock->last == NULL || sock->last->by <= deadline)
        return;
    for (struct kith__outgoing_bytes *chunk = sock->first; chunk != NULL; chunk = chunk->next) {
        if (chunk->by > deadline)
            chunk->by = deadline;
        if (chunk->by_first > deadline)
            chunk->by_first = deadline;
    }
}

/* How much of a write with this deadline the last chunk takes. */
static size_t room_in_last(const struct kith__sock *sock, kith_time deadline)
{
    const struct kith__outgoing_bytes *last = sock->last;
    if (last == NULL || deadline > kith__time_add(last->by_first, SLACK_NS))
        return 0;
    return last->room - last->end;
}

/* Keeps what the system did not take. KITH_ENOMEM: keeps nothing. */
static kith_err keep(struct kith__ctx *ctx, struct kith__sock *sock, const unsigned char *bytes,
                     size_t n, kith_time deadline)
{
    size_t room = room_in_last(sock, deadline);
    size_t old = room < n ? room : n;
    struct kith__outgoing_bytes *chunk = NULL;
    if (old < n && (chunk = chunk_make(ctx, n - old)) == NULL)
        return KITH_ENOMEM;
    if (!kith__sock_timer(ctx, sock, deadline)) {
        if (chunk != NULL)
            chunk_free(ctx, chunk);
        return KITH_ENOMEM;
    }
    deadlines_lower(sock, deadline);
    if (old > 0)
        chunk_fill(sock, bytes, old, deadline);
    if (chunk != NULL) {
        chunk_append(sock, chunk, deadline);
        chunk_fill(sock, bytes + old, n - old, deadline);
    }
    return KITH_OK;
}

static int gather(const struct kith__sock *sock, struct iovec *iov, size_t *total)
{
    int n = 0;
    *total = 0;
    for (struct kith__outgoing_bytes *chunk = sock->first; chunk != NULL && n < IOV_MAX_HERE;
         chunk = chunk->next) {
        iov[n].iov_base = chunk->bytes + chunk->start;
        iov[n].iov_len = chunk->end - chunk->start;
        *total += iov[n++].iov_len;
    }
    return n;
}

static void sent(struct kith__ctx *ctx, struct kith__sock *sock, size_t n)
{
    sock->waiting -= n;
    while (n > 0) {
        struct kith__outgoing_bytes *chunk = sock->first;
        kith__assert(chunk != NULL); /* R6 */
        size_t here = chunk->end - chunk->start;
        if (n < here) {
            chunk->start += n;
            return;
        }
        n -= here;
        sock->first = chunk->next;
        if (sock->first == NULL)
            sock->last = NULL;
        chunk_free(ctx, chunk);
    }
}

/* One send of what waits: 1 if all that was offered has left, 0 if not, -1 if it broke. */
static int flush_once(struct kith__ctx *ctx, struct kith__sock *sock)
{
    struct iovec iov[IOV_MAX_HERE];
    size_t offered;
    struct msghdr head = {.msg_iov = iov};
    head.msg_iovlen = (size_t)gather(sock, iov, &offered);
    ssize_t n = sendmsg(sock->fd, &head, MSG_NOSIGNAL | MSG_DONTWAIT);
    if (n < 0 && errno == EINTR)
        return 1;
    if (n < 0 && (errno == EAGAIN || errno == ENOBUFS || errno == ENOMEM)) {
        if (errno != EAGAIN)
            kith__sock_starved(ctx, sock); /* no edge will tell */
        else
            kith__loop_rearm(ctx->rt, sock->fd, EPOLLOUT);
        return 0;
    }
    if (n < 0) {
        break_off(ctx, sock, kith__errno_err(errno));
        return -1;
    }
    sent(ctx, sock, (size_t)n);
    if ((size_t)n == offered)
        return 1;
    kith__loop_rearm(ctx->rt, sock->fd, EPOLLOUT);
    return 0;
}

static void flush(struct kith__ctx *ctx, struct kith__sock *sock)
{
    int more = 1;
    for (int i = 0; i < FLUSHES_MAX && more > 0 && sock->waiting > 0; i++)
        more = flush_once(ctx, sock);
    if (more > 0 && sock->waiting > 0)
        kith__sock_again(ctx, sock, EPOLLOUT);
    if (sock->waiting == 0 && sock->broken == KITH_OK && (sock->flags & KITH__SOCK_FINISHED) != 0)
        shutdown(sock->fd, SHUT_WR); /* an error shows as an event too */
}

static void tell_drained(struct kith__ctx *ctx, struct kith__sock *sock)
{
    if ((sock->flags & KITH__SOCK_DRAIN_DUE) == 0 || sock->waiting > sock->write_bytes_max / 2)
        return;
    struct kith_msg *msg = kith__sock_msg(ctx, &kith_type_kith_drained, sizeof(kith_drained));
    if (msg == NULL) {
        kith__sock_starved(ctx, sock);
        return;
    }
    *(kith_drained *)kith__msg_body(msg) = (kith_drained){kith__sock_handle(sock)};
    sock->flags &= (uint16_t)~KITH__SOCK_DRAIN_DUE;
    kith__sock_push(ctx, msg);
}

/* ---- events and deadlines ---- */

/* The system may have an error for a socket that is not read. */
static void look_for_error(struct kith__ctx *ctx, struct kith__sock *sock)
{
    int error = 0;
    socklen_t bytes = sizeof error;
    if (getsockopt(sock->fd, SOL_SOCKET, SO_ERROR, &error, &bytes) == 0 && error != 0)
        break_off(ctx, sock, kith__errno_err(error));
}

bool kith__stream_ready(struct kith__ctx *ctx, struct kith__sock *sock, uint32_t events)
{
    if ((events & KITH__SOCK_INPUT) != 0)
        sock->flags |= KITH__SOCK_READY;
    if ((events & (KITH__SOCK_INPUT & ~(uint32_t)EPOLLIN)) != 0)
        sock->flags |= KITH__SOCK_HUNG;
    /* 0: a timer, because there was no memory. */
    if (sock->waiting > 0 && (events == 0 || (events & KITH__SOCK_OUTPUT) != 0))
        flush(ctx, sock);
    tell_drained(ctx, sock);
    if (((events & EPOLLERR) != 0 && !wants_input(sock)) || is_over(sock))
        look_for_error(ctx, sock);
    if (wants_input(sock))
        return read_piece(ctx, sock);
    if (sock->broken != KITH_OK || is_over(sock))
        return kith__sock_fail(ctx, sock, (kith_err)sock->broken);
    return true;
}

/* Whether input, or its end, has come in time and only waits to be read. An error counts: its event
 * tells more than a timeout does. */
static bool input_waits(const struct kith__sock *sock)
{
    char byte;
    return recv(sock->fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT) >= 0 || errno != EAGAIN;
}

bool kith__stream_expire(struct kith__ctx *ctx, struct kith__sock *sock, kith_time now)
{
    if (sock->first != NULL && sock->first->by <= now) {
        flush(ctx, sock);
        if (sock->first != NULL && sock->first->by <= now)
            return kith__sock_fail(ctx, sock, KITH_ETIMEOUT);
        kith__sock_again(ctx, sock, 0); /* for kith_drained, and if it broke or is over */
    }
    if (sock->read_by > now)
        return true;
    if (!input_waits(sock))
        return kith__sock_fail(ctx, sock, KITH_ETIMEOUT);
    sock->read_by = KITH_FOREVER;
    return true;
}

/* ---- for an owner that waits (wait.c) ---- */

void kith__stream_rest(struct kith__ctx *ctx, struct kith__sock *sock, uint32_t events)
{
    if (sock->waiting > 0 && (events == 0 || (events & KITH__SOCK_OUTPUT) != 0))
        flush(ctx, sock);
}

void kith__stream_rest_expire(struct kith__ctx *ctx, struct kith__sock *sock, kith_time now)
{
    if (sock->first == NULL || sock->first->by > now)
        return;
    flush(ctx, sock);
    if (sock->first != NULL && sock->first->by <= now)
        break_off(ctx, sock, KITH_ETIMEOUT);
}

/* ---- calls ---- */

/* The first bytes of a write, when nothing waits: how many have left; all of them if the connection
 * turned out to be broken. */
static size_t send_now(struct kith__ctx *ctx, struct kith__sock *sock, const void *bytes, size_t n)
{
    ssize_t out;
    do
        out = send(sock->fd, bytes, n, MSG_NOSIGNAL | MSG_DONTWAIT);
    while (out < 0 && errno == EINTR);
    if (out >= 0)
        return (size_t)out;
    if (errno == EAGAIN)
        return 0;
    if (errno == ENOBUFS || errno == ENOMEM) { /* no edge will tell */
        kith__sock_poke(ctx, kith__sock_handle(sock).bits, EPOLLOUT);
        return 0;
    }
    break_off(ctx, sock, kith__errno_err(errno));
    kith__sock_poke(ctx, kith__sock_handle(sock).bits, KITH__SOCK_AGAIN);
    return n;
}

static bool can_write(const struct kith__sock *sock)
{
    return sock->state == KITH__SOCK_OPEN && (sock->flags & KITH__SOCK_FINISHED) == 0 &&
           sock->broken == KITH_OK;
}

kith_err kith_sock_write(kith_self *self, kith_sock handle, const void *bytes, size_t n,
                         kith_time deadline)
{
    struct kith__ctx *ctx = kith__ctx_of(self);
    kith_err err;
    struct kith__sock *sock = kith__sock_actors(ctx, self, handle, &err);
    if (sock == NULL)
        return err;
    if ((bytes == NULL && n > 0) || n > PTRDIFF_MAX)
        return KITH_EINVAL;
    if (!can_write(sock))
        return KITH_ENOTCONN;
    if (n == 0)
        return KITH_OK;
    if (sock->waiting >= sock->write_bytes_max) {
        sock->flags |= KITH__SOCK_DRAIN_DUE;
        return KITH_EFULL;
    }
    size_t out = sock->waiting == 0 ? send_now(ctx, sock, bytes, n) : 0;
    if (out == n)
        return KITH_OK;
    kith__loop_rearm(ctx->rt, sock->fd, EPOLLOUT);
    err = keep(ctx, sock, (const unsigned char *)bytes + out, n - out, deadline);
    if (err == KITH_OK || out == 0)
        return err;
    break_off(ctx, sock, err); /* R4 */
    kith__sock_poke(ctx, handle.bits, KITH__SOCK_AGAIN);
    return KITH_OK;
}

kith_err kith_sock_read_by(kith_self *self, kith_sock handle, kith_time deadline)
{
    struct kith__ctx *ctx = kith__ctx_of(self);
    kith_err err;
    struct kith__sock *sock = kith__sock_actors(ctx, self, handle, &err);
    if (sock == NULL)
        return err;
    if (sock->state == KITH__SOCK_LISTENS)
        return KITH_EBADREF;
    if ((sock->flags & KITH__SOCK_ENDED) != 0)
        return KITH_OK;
    if (!kith__sock_timer(ctx, sock, deadline))
        return KITH_ENOMEM;
    sock->read_by = deadline;
    return KITH_OK;
}

kith_err kith_sock_reading(kith_self *self, kith_sock handle, bool on)
{
    struct kith__ctx *ctx = kith__ctx_of(self);
    kith_err err;
    struct kith__sock *sock = kith__sock_actors(ctx, self, handle, &err);
    if (sock == NULL)
        return err;
    bool was = (sock->flags & KITH__SOCK_READS) != 0;
    if (on && !was) {
        sock->flags |= KITH__SOCK_READS;
        kith__sock_poke(ctx, handle.bits, KITH__SOCK_AGAIN);
    } else if (!on) {
        sock->flags &= (uint16_t)~KITH__SOCK_READS;
    }
    return KITH_OK;
}

kith_err kith_sock_finish(kith_self *self, kith_sock handle)
{
    struct kith__ctx *ctx = kith__ctx_of(self);
    kith_err err;
    struct kith__sock *sock = kith__sock_mine(ctx, self, handle, &err);
    if (sock == NULL)
        return err;
    if (!can_write(sock))
        return KITH_ENOTCONN;
    sock->flags |= KITH__SOCK_FINISHED;
    if (sock->waiting == 0)
        shutdown(sock->fd, SHUT_WR);
    if (is_over(sock))
        kith__sock_poke(ctx, handle.bits, KITH__SOCK_AGAIN);
    return KITH_OK;
}

size_t kith_sock_waiting(kith_self *self, kith_sock handle)
{
    kith_err err;
    struct kith__sock *sock = kith__sock_mine(kith__ctx_of(self), self, handle, &err);
    return sock != NULL ? sock->waiting : 0;
}
