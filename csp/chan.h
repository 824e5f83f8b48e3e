/* SPDX-License-Identifier: BSD-2-Clause
 *
 * A channel's inside. Used by chan.c and select.c; what may be done by whom is at the head of
 * chan.c.
 */
#ifndef KITH__CSP_CHAN_H
#define KITH__CSP_CHAN_H

#include "csp/lock.h"
#include "csp/waiter.h"
#include <kith/chan.h>
#include <string.h>

/* chan->state: why the fast way is closed. */
enum { KITH__CHAN_CLOSED = 1, KITH__CHAN_RECEIVERS = 2, KITH__CHAN_SENDERS = 4 };

struct kith_chan {
    size_t item_bytes; /* this and the next: constant */
    size_t capacity;
    size_t ring_bytes;
    char *ring;
    struct kith_runtime *rt;
    KITH__ATOMIC(uint32_t) state; /* written under both locks */

    /* The senders' side. */
    _Alignas(KITH__CACHE_LINE) struct kith__lock tx;
    KITH__ATOMIC(uint64_t) tail; /* sent, ever */
    uint64_t head_seen;          /* head is at least that */
    size_t tail_at;              /* where in the ring the next goes */

    /* The receivers' side. */
    _Alignas(KITH__CACHE_LINE) struct kith__lock rx;
    KITH__ATOMIC(uint64_t) head; /* received, ever */
    uint64_t tail_seen;
    size_t head_at;

    /* Under both locks. */
    _Alignas(KITH__CACHE_LINE) struct kith__waiters senders;
    struct kith__waiters receivers;
    KITH__ATOMIC(uint32_t) refs;
    size_t bytes; /* of all of it */
    kith_allocator allocator;
};

static inline void kith__item_copy(void *to, const void *from, size_t bytes)
{
    if (KITH__LIKELY(bytes == 8))
        memcpy(to, from, 8);
    else if (bytes != 0)
        memcpy(to, from, bytes);
}

/* Both sides. A rendezvous has one lock only. */
static inline void kith__chan_enter(struct kith_chan *chan, struct kith__ctx *ctx)
{
    kith__lock_enter(&chan->tx, ctx);
    if (chan->capacity != 0)
        kith__lock_enter(&chan->rx, ctx);
}

static inline void kith__chan_leave(struct kith_chan *chan, struct kith__ctx *ctx)
{
    if (chan->capacity != 0)
        kith__lock_leave(&chan->rx, ctx);
    kith__lock_leave(&chan->tx, ctx);
}

/* Hints, without a lock: whether a receive or a send could go on. */
static inline bool kith__chan_may_recv(struct kith_chan *chan)
{
    return kith__load_rlx(&chan->head) != kith__load_rlx(&chan->tail) ||
           (kith__load_rlx(&chan->state) & (KITH__CHAN_SENDERS | KITH__CHAN_CLOSED)) != 0;
}

static inline bool kith__chan_may_send(struct kith_chan *chan)
{
    return kith__load_rlx(&chan->tail) - kith__load_rlx(&chan->head) < chan->capacity ||
           (kith__load_rlx(&chan->state) & (KITH__CHAN_RECEIVERS | KITH__CHAN_CLOSED)) != 0;
}

/* Without waiting: KITH_OK, KITH_ECLOSED, or KITH_EAGAIN. Of a co none of whose waiters is in a
 * list. */
kith_err kith__chan_send_now(struct kith__ctx *ctx, struct kith_chan *chan, const void *item);
kith_err kith__chan_recv_now(struct kith__ctx *ctx, struct kith_chan *chan, void *item);

/* For select: puts w, one of several, into the list of those who send or receive; false if there is
 * something to do at once (with another than w->co), and w is in no list. */
bool kith__chan_wait_to_send(struct kith__ctx *ctx, struct kith_chan *chan, struct kith__waiter *w);
bool kith__chan_wait_to_recv(struct kith__ctx *ctx, struct kith_chan *chan, struct kith__waiter *w);
/* Takes w out of the list again, if it is there. */
bool kith__chan_unwait_send(struct kith__ctx *ctx, struct kith_chan *chan, struct kith__waiter *w);
bool kith__chan_unwait_recv(struct kith__ctx *ctx, struct kith_chan *chan, struct kith__waiter *w);

#endif
