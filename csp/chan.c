/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Channels: a ring of values, and those who wait to send or to receive. Called by programs, and by
 * select.c.
 *
 * Invariants
 *  X1. Senders touch tail and the ring's free part under tx, receivers head and the full part under
 *      rx. A value is complete before tail counts it (release X1a, acquire X1b), and has been
 *      copied out before head counts it (release X1c, acquire X1d). Each side remembers what it saw
 *      last of the other's counter, so as long as there is enough the two sides share no cache line
 *      that changes.
 *  X2. Lists and state are changed under both locks (tx first), so either lock is enough to read
 *      them: a send that finds state 0 under tx need not look for receivers, and whoever begins to
 *      wait looks once more at the ring under both. So no fence between the two sides is needed.
 *  X3. Somebody who could be won waits to receive only while the ring is empty, to send only while
 *      it is full; whoever makes room, or brings a value, serves the oldest that waits first. So no
 *      value overtakes another and nobody is overtaken. (A waiter whose claim is lost may stand in
 *      a list at any time: who finds it drops it.)
 *  X4. A value goes from a waiting sender, or to a waiting receiver, by the hand of the other one,
 *      under the locks, while its owner is suspended (O2 of sched/co.h).
 *  X5. The references: who drops the last one (X5, acquire and release) sees all that others did.
 *
 * Threads: each side's fields under its lock; the rest under both. item_bytes, capacity, ring and
 * rt are constant.
 *
 * Why two locks: with one, each value between two cores moves the line of the lock there and back.
 * The remembered counters are those of Lamport's ring as in FastForward and MCRingBuffer (Giacomoni
 * et al. 2008; Lee et al. 2010), with a lock on each side because a channel has many senders and
 * receivers.
 */
#include "csp/chan.h"
#include "base/alloc.h"

/* ---- the ring ---- */

static inline bool has_room(struct kith_chan *chan)
{
    uint64_t tail = kith__load_rlx(&chan->tail); /* relaxed: the senders' own */
    if (KITH__LIKELY(tail - chan->head_seen < chan->capacity))
        return true;
    /* acquire X1d; pairs with X1c: the free places. */
    chan->head_seen = kith__load_acq(&chan->head);
    return tail - chan->head_seen < chan->capacity;
}

static inline void ring_put(struct kith_chan *chan, const void *item)
{
    size_t at = chan->tail_at;
    kith__item_copy(chan->ring + at, item, chan->item_bytes);
    at += chan->item_bytes;
    chan->tail_at = at == chan->ring_bytes ? 0 : at;
    /* release X1a; pairs with X1b: the value. */
    kith__store_rel(&chan->tail, kith__load_rlx(&chan->tail) + 1);
}

static inline bool has_item(struct kith_chan *chan)
{
    uint64_t head = kith__load_rlx(&chan->head); /* relaxed: the receivers' own */
    if (KITH__LIKELY(head != chan->tail_seen))
        return true;
    chan->tail_seen = kith__load_acq(&chan->tail); /* acquire X1b; pairs with X1a: the values */
    return head != chan->tail_seen;
}

static inline void ring_take(struct kith_chan *chan, void *item)
{
    size_t at = chan->head_at;
    if (KITH__LIKELY(item != NULL))
        kith__item_copy(item, chan->ring + at, chan->item_bytes);
    at += chan->item_bytes;
    chan->head_at = at == chan->ring_bytes ? 0 : at;
    /* release X1c; pairs with X1d: that the place is free. */
    kith__store_rel(&chan->head, kith__load_rlx(&chan->head) + 1);
}

/* ---- under both locks ---- */

static bool is_closed(struct kith_chan *chan)
{
    return (kith__load_rlx(&chan->state) & KITH__CHAN_CLOSED) != 0;
}

static void state_set(struct kith_chan *chan)
{
    uint32_t state = kith__load_rlx(&chan->state) & KITH__CHAN_CLOSED;
    state |= chan->receivers.first != NULL ? KITH__CHAN_RECEIVERS : 0;
    state |= chan->senders.first != NULL ? KITH__CHAN_SENDERS : 0;
    kith__store_rlx(&chan->state, state);
}

/* X4. *fire is whom the caller must fire. */
static kith_err send_locked(struct kith_chan *chan, const void *item, struct kith_co **fire)
{
    if (is_closed(chan))
        return KITH_ECLOSED;
    if (chan->receivers.first != NULL) {
        struct kith__waiter *w = kith__waiter_take(&chan->receivers);
        state_set(chan);
        if (w != NULL) {
            if (w->item != NULL)
                kith__item_copy(w->item, item, chan->item_bytes);
            w->status = KITH_OK;
            *fire = w->co;
            return KITH_OK;
        }
    }
    if (!has_room(chan))
        return KITH_EAGAIN;
    ring_put(chan, item);
    return KITH_OK;
}

static struct kith__waiter *sender_take(struct kith_chan *chan, struct kith_co **fire)
{
    if (chan->senders.first == NULL)
        return NULL;
    struct kith__waiter *w = kith__waiter_take(&chan->senders);
    state_set(chan);
    if (w != NULL) {
        w->status = KITH_OK;
        *fire = w->co;
    }
    return w;
}

static kith_err recv_locked(struct kith_chan *chan, void *item, struct kith_co **fire)
{
    struct kith__waiter *w;
    if (has_item(chan)) {
        ring_take(chan, item);
        if ((w = sender_take(chan, fire)) != NULL)
            ring_put(chan, w->item); /* into the place that is free now */
        return KITH_OK;
    }
    if ((w = sender_take(chan, fire)) != NULL) {
        if (item != NULL)
            kith__item_copy(item, w->item, chan->item_bytes);
        return KITH_OK;
    }
    return is_closed(chan) ? KITH_ECLOSED : KITH_EAGAIN;
}

/* ---- waiting ---- */

/* Enters with both locks, leaves with none. */
static kith_err wait_in(struct kith_co *co, struct kith_chan *chan, struct kith__waiters *list,
                        struct kith__waiter *w, kith_time deadline, const char *where)
{
    struct kith__ctx *ctx = co->ctx;
    kith__waiter_add(list, w);
    state_set(chan);
    kith__chan_leave(chan, ctx);
    kith_err err = kith__co_wait(co, KITH__WOKE_FIRED, deadline, where, chan);
    if (KITH__LIKELY(err == KITH_OK))
        return w->status;
    kith__chan_enter(chan, ctx);
    bool mine = kith__waiter_remove(list, w);
    state_set(chan);
    kith__chan_leave(chan, ctx);
    if (mine)
        return err;
    kith__co_wait_fired(co); /* O2 */
    return w->status;
}

/* Waiting is not allowed: what there is to hear of is heard, though. */
static kith_err wait_not(struct kith_co *co, struct kith_chan *chan, const char *where)
{
    kith__chan_leave(chan, co->ctx);
    return kith__co_wait(co, 0, KITH_NOWAIT, where, chan);
}

static __attribute__((noinline)) kith_err send_slow(struct kith_co *co, struct kith_chan *chan,
                                                    const void *item, kith_time deadline)
{
    struct kith__ctx *ctx = co->ctx;
    struct kith_co *fire = NULL;
    kith__chan_enter(chan, ctx);
    kith_err err = send_locked(chan, item, &fire);
    if (err == KITH_EAGAIN) {
        if (deadline == KITH_NOWAIT)
            return wait_not(co, chan, "kith_chan_send");
        struct kith__waiter w = {.co = co, .item = (void *)(uintptr_t)item};
        return wait_in(co, chan, &chan->senders, &w, deadline, "kith_chan_send");
    }
    kith__chan_leave(chan, ctx);
    if (fire != NULL)
        kith__co_fire(ctx, fire);
    return err;
}

static __attribute__((noinline)) kith_err recv_slow(struct kith_co *co, struct kith_chan *chan,
                                                    void *item, kith_time deadline)
{
    struct kith__ctx *ctx = co->ctx;
    struct kith_co *fire = NULL;
    kith__chan_enter(chan, ctx);
    kith_err err = recv_locked(chan, item, &fire);
    if (err == KITH_EAGAIN) {
        if (deadline == KITH_NOWAIT)
            return wait_not(co, chan, "kith_chan_recv");
        struct kith__waiter w = {.co = co, .item = item};
        return wait_in(co, chan, &chan->receivers, &w, deadline, "kith_chan_recv");
    }
    kith__chan_leave(chan, ctx);
    if (fire != NULL)
        kith__co_fire(ctx, fire);
    return err;
}

/* ---- for select, and for those who never wait ---- */

kith_err kith__chan_send_now(struct kith__ctx *ctx, struct kith_chan *chan, const void *item)
{
    struct kith_co *fire = NULL;
    kith__chan_enter(chan, ctx);
    kith_err err = send_locked(chan, item, &fire);
    kith__chan_leave(chan, ctx);
    if (fire != NULL)
        kith__co_fire(ctx, fire);
    return err;
}

kith_err kith__chan_recv_now(struct kith__ctx *ctx, struct kith_chan *chan, void *item)
{
    struct kith_co *fire = NULL;
    kith__chan_enter(chan, ctx);
    kith_err err = recv_locked(chan, item, &fire);
    kith__chan_leave(chan, ctx);
    if (fire != NULL)
        kith__co_fire(ctx, fire);
    return err;
}

/* Whether another than co waits there. */
static bool waits_another(const struct kith__waiters *list, const struct kith_co *co)
{
    const struct kith__waiter *w = list->first;
    if (w == NULL)
        return false;
    do {
        if (w->co != co)
            return true;
        w = w->next;
    } while (w != list->first);
    return false;
}

bool kith__chan_wait_to_send(struct kith__ctx *ctx, struct kith_chan *chan, struct kith__waiter *w)
{
    kith__chan_enter(chan, ctx);
    bool waits = !is_closed(chan) && !has_room(chan) && !waits_another(&chan->receivers, w->co);
    if (waits) {
        kith__waiter_add(&chan->senders, w);
        state_set(chan);
    }
    kith__chan_leave(chan, ctx);
    return waits;
}

bool kith__chan_wait_to_recv(struct kith__ctx *ctx, struct kith_chan *chan, struct kith__waiter *w)
{
    kith__chan_enter(chan, ctx);
    bool waits = !has_item(chan) && !is_closed(chan) && !waits_another(&chan->senders, w->co);
    if (waits) {
        kith__waiter_add(&chan->receivers, w);
        state_set(chan);
    }
    kith__chan_leave(chan, ctx);
    return waits;
}

static bool unwait(struct kith__ctx *ctx, struct kith_chan *chan, struct kith__waiters *list,
                   struct kith__waiter *w)
{
    kith__chan_enter(chan, ctx);
    bool mine = kith__waiter_remove(list, w);
    state_set(chan);
    kith__chan_leave(chan, ctx);
    return mine;
}

bool kith__chan_unwait_send(struct kith__ctx *ctx, struct kith_chan *chan, struct kith__waiter *w)
{
    return unwait(ctx, chan, &chan->senders, w);
}

bool kith__chan_unwait_recv(struct kith__ctx *ctx, struct kith_chan *chan, struct kith__waiter *w)
{
    return unwait(ctx, chan, &chan->receivers, w);
}

/* ---- sending and receiving ---- */

static inline kith_err check(const struct kith__ctx *ctx, const struct kith_chan *chan)
{
    if (KITH__UNLIKELY(chan == NULL))
        return KITH_EINVAL;
    return KITH__LIKELY(chan->rt == ctx->rt) ? KITH_OK : KITH_EPERM;
}

static inline kith_err check_send(const struct kith__ctx *ctx, const struct kith_chan *chan,
                                  const void *item)
{
    kith_err err = check(ctx, chan);
    if (KITH__UNLIKELY(item == NULL) && err == KITH_OK && chan->item_bytes != 0)
        return KITH_EINVAL;
    return err;
}

kith_err kith_chan_send(kith_co *co, kith_chan *chan, const void *item, kith_time deadline)
{
    if (!kith__co_here(co))
        return KITH_EPERM;
    struct kith__ctx *ctx = co->ctx;
    kith_err err = check_send(ctx, chan, item);
    if (KITH__UNLIKELY(err != KITH_OK))
        return err;
    kith__co_spend(co);
    err = kith__co_may_wait(co);
    if (KITH__UNLIKELY(err != KITH_OK))
        return err;
    if (chan->capacity != 0) {
        kith__lock_enter(&chan->tx, ctx);
        bool sent = kith__load_rlx(&chan->state) == 0 && has_room(chan); /* X2 */
        if (KITH__LIKELY(sent))
            ring_put(chan, item);
        kith__lock_leave(&chan->tx, ctx);
        if (KITH__LIKELY(sent))
            return KITH_OK;
    }
    return send_slow(co, chan, item, deadline);
}

kith_err kith_chan_recv(kith_co *co, kith_chan *chan, void *item, kith_time deadline)
{
    if (!kith__co_here(co))
        return KITH_EPERM;
    struct kith__ctx *ctx = co->ctx;
    kith_err err = check(ctx, chan);
    if (KITH__UNLIKELY(err != KITH_OK))
        return err;
    kith__co_spend(co);
    err = kith__co_may_wait(co);
    if (KITH__UNLIKELY(err != KITH_OK))
        return err;
    if (chan->capacity != 0) {
        kith__lock_enter(&chan->rx, ctx);
        bool received = kith__load_rlx(&chan->state) == 0 && has_item(chan); /* X2 */
        if (KITH__LIKELY(received))
            ring_take(chan, item);
        kith__lock_leave(&chan->rx, ctx);
        if (KITH__LIKELY(received))
            return KITH_OK;
    }
    return recv_slow(co, chan, item, deadline);
}

kith_err kith_chan_try_send(kith_self *self, kith_chan *chan, const void *item)
{
    struct kith__ctx *ctx = kith__ctx_of(self);
    if (ctx == NULL)
        return KITH_EPERM;
    kith_err err = check_send(ctx, chan, item);
    return err != KITH_OK ? err : kith__chan_send_now(ctx, chan, item);
}

kith_err kith_chan_try_recv(kith_self *self, kith_chan *chan, void *item)
{
    struct kith__ctx *ctx = kith__ctx_of(self);
    if (ctx == NULL)
        return KITH_EPERM;
    kith_err err = check(ctx, chan);
    return err != KITH_OK ? err : kith__chan_recv_now(ctx, chan, item);
}

/* ---- closing ---- */

/* Appends all who can be won to a list of those to fire, linked by prev: next says that they stand
 * in no list of the channel's. */
static struct kith__waiter **take_all(struct kith__waiters *list, struct kith__waiter **end)
{
    struct kith__waiter *w;
    while ((w = kith__waiter_take(list)) != NULL) {
        w->status = KITH_ECLOSED;
        w->prev = NULL;
        *end = w;
        end = &w->prev;
    }
    return end;
}

kith_err kith_chan_close(kith_chan *chan)
{
    struct kith__ctx *ctx = kith__ctx_here;
    if (ctx == NULL)
        return KITH_EPERM;
    kith_err err = check(ctx, chan);
    if (err != KITH_OK)
        return err;
    struct kith__waiter *woken = NULL;
    kith__chan_enter(chan, ctx);
    bool before = is_closed(chan);
    kith__store_rlx(&chan->state, KITH__CHAN_CLOSED);
    take_all(&chan->senders, take_all(&chan->receivers, &woken));
    kith__chan_leave(chan, ctx);
    while (woken != NULL) {
        struct kith_co *co = woken->co;
        woken = woken->prev; /* before the fire, after which it may be gone */
        kith__co_fire(ctx, co);
    }
    return before ? KITH_ECLOSED : KITH_OK;
}

/* ---- its life ---- */

kith_chan *kith_chan_new(kith_self *self, size_t item_bytes, size_t capacity)
{
    struct kith__ctx *ctx = kith__ctx_of(self);
    if (ctx == NULL || (item_bytes != 0 && capacity > (SIZE_MAX / 2) / item_bytes))
        return NULL;
    size_t bytes = sizeof(struct kith_chan) + item_bytes * capacity;
    struct kith_chan *chan = kith__alloc(&ctx->rt->allocator, bytes, KITH__CACHE_LINE);
    if (chan == NULL)
        return NULL;
    memset(chan, 0, sizeof *chan);
    chan->item_bytes = item_bytes;
    chan->capacity = capacity;
    chan->ring_bytes = item_bytes * capacity;
    chan->ring = (char *)(chan + 1);
    chan->rt = ctx->rt;
    chan->bytes = bytes;
    chan->allocator = ctx->rt->allocator;
    kith__store_rlx(&chan->refs, 1);
    return chan;
}

kith_chan *kith_chan_keep(kith_chan *chan)
{
    if (chan != NULL)
        kith__add_rlx(&chan->refs, 1); /* relaxed: the caller has one, so it does not end */
    return chan;
}

void kith_chan_drop(kith_chan *chan)
{
    if (chan == NULL || kith__sub_ar(&chan->refs, 1) != 1) /* X5 */
        return;
    kith__assert(chan->senders.first == NULL && chan->receivers.first == NULL);
    kith_allocator allocator = chan->allocator;
    kith__free(&allocator, chan, chan->bytes);
}

size_t kith_chan_count(const kith_chan *chan)
{
    if (chan == NULL)
        return 0;
    uint64_t head = kith__load_rlx(&chan->head); /* first, so that it is not ahead of the tail */
    uint64_t tail = kith__load_rlx(&chan->tail);
    return tail - head < chan->capacity ? (size_t)(tail - head) : chan->capacity;
}

size_t kith_chan_capacity(const kith_chan *chan)
{
    return chan != NULL ? chan->capacity : 0;
}
