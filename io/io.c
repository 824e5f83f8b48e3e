/* SPDX-License-Identifier: BSD-2-Clause
 *
 * The io layer's part of a runtime, the list of paused listeners, and errno as kith_err.
 *
 * Called by the actor layer (open, close) and by the other files of io.
 *
 * Invariants
 *  - paused, and a socket's paused_next and paused, are touched under the lock only.
 *  - A listener that ends or is handed over leaves the list first, so every pointer in it is to a
 *    living listener.
 *  - Nothing but the list is done under the lock: who is to be woken is copied out by handle, and a
 *    handle that has become stale meanwhile reaches nobody.
 *
 * Threads: any.
 *
 * Why a list beside the timer that every paused listener has: the timer alone would let a client
 * wait for 100 ms though a descriptor is free; the list alone would never hear of descriptors that
 * the program closes by itself.
 */
#include "io/io.h"
#include "io/socket.h"

#define WOKEN_MAX 16

kith_err kith__io_open(struct kith_runtime *rt)
{
    struct kith__io *io = kith__alloc_zero(&rt->allocator, sizeof *io, 16);
    if (io == NULL)
        return KITH_ENOMEM;
    pthread_mutex_init(&io->lock, NULL);
    rt->io = io;
    rt->readiness = &kith__sock_readiness;
    return KITH_OK;
}

void kith__io_close(struct kith_runtime *rt)
{
    struct kith__io *io = rt->io;
    if (io == NULL)
        return;
    pthread_mutex_destroy(&io->lock);
    kith__free(&rt->allocator, io, sizeof *io);
    rt->io = NULL;
}

struct kith__worker *kith__io_worker(struct kith__ctx *ctx)
{
    struct kith_runtime *rt = ctx->rt;
    struct kith__io *io = rt->io;
    if ((ctx->running->flags & KITH__TASK_PLACED) != 0)
        return &rt->workers[ctx->running->wheel]; /* T3: what it polls runs there */
    return &rt->workers[kith__add_rlx(&io->turn, 1) % rt->worker_count];
}

void kith__io_pause(struct kith__ctx *ctx, struct kith__sock *listener)
{
    struct kith__io *io = ctx->rt->io;
    pthread_mutex_lock(&io->lock);
    if (!listener->paused) {
        listener->paused = true;
        listener->paused_next = io->paused;
        io->paused = listener;
        kith__add_rlx(&io->paused_count, 1);
    }
    pthread_mutex_unlock(&io->lock);
}

void kith__io_unpause(struct kith__ctx *ctx, struct kith__sock *listener)
{
    struct kith__io *io = ctx->rt->io;
    pthread_mutex_lock(&io->lock);
    if (listener->paused) {
        struct kith__sock **at = &io->paused;
        while (*at != listener)
            at = &(*at)->paused_next;
        *at = listener->paused_next;
        listener->paused = false;
        kith__sub_rlx(&io->paused_count, 1);
    }
    pthread_mutex_unlock(&io->lock);
}

/* Takes up to WOKEN_MAX listeners off the list. */
static uint32_t paused_take(struct kith__io *io, uint64_t *bits)
{
    uint32_t n = 0;
    pthread_mutex_lock(&io->lock);
    while (n < WOKEN_MAX && io->paused != NULL) {
        struct kith__sock *listener = io->paused;
        io->paused = listener->paused_next;
        listener->paused = false;
        kith__sub_rlx(&io->paused_count, 1);
        bits[n] = kith__load_rlx(&listener->slot.bits); /* relaxed: constant while it lives */
        kith__assert(kith__bits_kind(bits[n++]) == KITH__KIND_SOCK);
    }
    pthread_mutex_unlock(&io->lock);
    return n;
}

void kith__io_freed(struct kith__ctx *ctx)
{
    struct kith__io *io = ctx->rt->io;
    uint64_t bits[WOKEN_MAX];
    /* relaxed: a listener that pauses at this very moment is woken by its timer. */
    while (kith__load_rlx(&io->paused_count) > 0) {
        uint32_t n = paused_take(io, bits);
        for (uint32_t i = 0; i < n; i++)
            kith__sock_poke(ctx, bits[i], KITH__SOCK_AGAIN);
        if (n < WOKEN_MAX)
            break;
    }
}

kith_err kith__errno_err(int error)
{
    switch (error) {
    case ENFILE:
        return KITH_EMFILE;
    case ENOBUFS:
    case ENOSPC: /* epoll's limit of watches */
        return KITH_ENOMEM;
    case ECONNABORTED:
        return KITH_ECONNRESET;
    case ENETDOWN:
        return KITH_ENETUNREACH;
    case EHOSTDOWN:
        return KITH_EHOSTUNREACH;
    case EPROTONOSUPPORT:
        return KITH_EAFNOSUPPORT;
    case EPERM: /* a firewall; KITH_EPERM would blame the caller */
        return KITH_EACCES;
    case EINVAL:
    case ENOMEM:
    case EMFILE:
    case ETIMEDOUT:
    case ENOTCONN:
    case ECONNREFUSED:
    case ECONNRESET:
    case EPIPE:
    case EADDRINUSE:
    case EADDRNOTAVAIL:
    case EACCES:
    case ENETUNREACH:
    case EHOSTUNREACH:
    case EAFNOSUPPORT:
        return (kith_err)-error;
    default:
        return KITH_EIO;
    }
}
