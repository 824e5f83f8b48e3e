/* SPDX-License-Identifier: BSD-2-Clause
 *
 * A bounded queue of work: put, get, and a join that waits until all of it is done.
 *
 * Called by programs. The pattern is that of csp/sync.c, and SY2 and SY3 there hold here, too.
 *
 * Invariants
 *  QU1. Who waits to get does so only while the ring is empty, who waits to put only while it is full.
 *       So an item goes to a waiting getter past an empty ring, and a place that is freed is filled by
 *       the putter that has waited longest: the order is that of the puts.
 *  QU2. `open` counts what was put and is not done. An item that a putter still waits with is not
 *       counted.
 *  QU3. Of a queue that is closed nobody waits to put; nobody waits to get, either.
 *
 * Threads: any of the runtime; the lock orders them.
 *
 * Why not on top of a channel: a count of what is not done must change together with the put.
 */
#include "csp/sync.h"
#include <kith/sync.h>

#define ROOM_MAX ((size_t)1 << 40)

struct kith_queue {
    struct kith__awaited sync;    /* its waiters wait to get */
    struct kith__waiters putters; /* under the lock, as all but room and ring */
    struct kith__waiters joiners;
    size_t room;  /* constant */
    void **ring;  /* constant */
    size_t first; /* index of the oldest */
    size_t count;
    uint64_t open; /* QU2 */
    bool closed;
};

kith_queue *kith_queue_new(kith_self *self, size_t room)
{
    if (room == 0 || room > ROOM_MAX)
        return NULL;
    struct kith_queue *q = kith__awaited_new(self, sizeof *q);
    if (q == NULL)
        return NULL;
    q->room = room;
    q->ring = kith__alloc(q->sync.allocator, room * sizeof *q->ring, 16);
    if (q->ring == NULL) {
        kith__awaited_free(&q->sync, sizeof *q);
        return NULL;
    }
    return q;
}

void kith_queue_free(kith_queue *q)
{
    if (q == NULL)
        return;
    kith__assert(q->putters.first == NULL && q->joiners.first == NULL);
    kith__free(q->sync.allocator, q->ring, q->room * sizeof *q->ring);
    kith__awaited_free(&q->sync, sizeof *q);
}

/* ---- under the lock ---- */

static void ring_add(struct kith_queue *q, void *item)
{
    size_t at = q->first + q->count++;
    q->ring[at < q->room ? at : at - q->room] = item;
}

static void *ring_take(struct kith_queue *q)
{
    void *item = q->ring[q->first++];
    if (q->first == q->room)
        q->first = 0;
    q->count--;
    return item;
}

/* KITH_OK: the item is in, and *wakes is who is to be fired, or NULL. KITH_EFULL, KITH_ECLOSED. */
static kith_err put_locked(struct kith_queue *q, void *item, struct kith_co **wakes)
{
    *wakes = NULL;
    if (q->closed)
        return KITH_ECLOSED;
    struct kith__waiter *getter = kith__waiter_take(&q->sync.waiters);
    if (getter == NULL && q->count == q->room)
        return KITH_EFULL;
    q->open++;
    if (getter == NULL) {
        ring_add(q, item);
        return KITH_OK;
    }
    *(void **)getter->item = item; /* QU1 */
    getter->status = KITH_OK;
    *wakes = getter->co;
    return KITH_OK;
}

/* Whether there was an item; *wakes as above. */
static bool get_locked(struct kith_queue *q, void **item, struct kith_co **wakes)
{
    *wakes = NULL;
    if (q->count == 0)
        return false;
    *item = ring_take(q);
    struct kith__waiter *putter = kith__waiter_take(&q->putters);
    if (putter == NULL)
        return true;
    ring_add(q, *(void **)putter->item); /* QU1 */
    q->open++;
    putter->status = KITH_OK;
    *wakes = putter->co;
    return true;
}

/* ---- the calls ---- */

static void leave_and_fire(struct kith_queue *q, struct kith__ctx *ctx, struct kith_co *wakes)
{
    kith__lock_leave(&q->sync.lock, ctx);
    if (wakes != NULL)
        kith__co_fire(ctx, wakes);
}

kith_err kith_queue_put(kith_co *co, kith_queue *q, void *item, kith_time deadline)
{
    kith_err err = kith__awaited_may_wait(co, q);
    if (err != KITH_OK)
        return err;
    struct kith_co *wakes;
    kith__lock_enter(&q->sync.lock, co->ctx);
    err = put_locked(q, item, &wakes);
    if (err == KITH_EFULL) {
        struct kith__waiter w = {.co = co, .item = &item};
        return kith__awaited_wait(&q->sync, &q->putters, &w, deadline, "kith_queue_put");
    }
    leave_and_fire(q, co->ctx, wakes);
    return err;
}

kith_err kith_queue_try_put(kith_self *self, kith_queue *q, void *item)
{
    kith_err err = kith__awaited_may_act(self, q);
    if (err != KITH_OK)
        return err;
    struct kith_co *wakes;
    kith__lock_enter(&q->sync.lock, kith__ctx_here);
    err = put_locked(q, item, &wakes);
    leave_and_fire(q, kith__ctx_here, wakes);
    return err;
}

kith_err kith_queue_get(kith_co *co, kith_queue *q, void **item, kith_time deadline)
{
    if (item == NULL)
        return KITH_EINVAL;
    *item = NULL;
    kith_err err = kith__awaited_may_wait(co, q);
    if (err != KITH_OK)
        return err;
    struct kith_co *wakes;
    kith__lock_enter(&q->sync.lock, co->ctx);
    bool got = get_locked(q, item, &wakes);
    if (!got && !q->closed) {
        struct kith__waiter w = {.co = co, .item = item};
        return kith__awaited_wait(&q->sync, &q->sync.waiters, &w, deadline, "kith_queue_get");
    }
    leave_and_fire(q, co->ctx, wakes);
    return got ? KITH_OK : KITH_ECLOSED;
}

kith_err kith_queue_task_done(kith_self *self, kith_queue *q)
{
    kith_err err = kith__awaited_may_act(self, q);
    if (err != KITH_OK)
        return err;
    struct kith__ctx *ctx = kith__ctx_here;
    struct kith__wake wake = {NULL, NULL};
    kith__lock_enter(&q->sync.lock, ctx);
    if (q->open == q->count) /* what is in the ring cannot be done */
        err = KITH_EINVAL;
    else if (--q->open == 0)
        kith__wake_take(&wake, &q->joiners, KITH_OK);
    kith__lock_leave(&q->sync.lock, ctx);
    kith__wake_fire(ctx, &wake);
    return err;
}

kith_err kith_queue_join(kith_co *co, kith_queue *q, kith_time deadline)
{
    kith_err err = kith__awaited_may_wait(co, q);
    if (err != KITH_OK)
        return err;
    kith__lock_enter(&q->sync.lock, co->ctx);
    if (q->open > 0) {
        struct kith__waiter w = {.co = co};
        return kith__awaited_wait(&q->sync, &q->joiners, &w, deadline, "kith_queue_join");
    }
    kith__lock_leave(&q->sync.lock, co->ctx);
    return KITH_OK;
}

kith_err kith_queue_close(kith_self *self, kith_queue *q)
{
    kith_err err = kith__awaited_may_act(self, q);
    if (err != KITH_OK)
        return err;
    struct kith__ctx *ctx = kith__ctx_here;
    struct kith__wake wake = {NULL, NULL};
    kith__lock_enter(&q->sync.lock, ctx);
    q->closed = true;
    kith__wake_take(&wake, &q->putters, KITH_ECLOSED); /* QU3 */
    kith__wake_take(&wake, &q->sync.waiters, KITH_ECLOSED);
    kith__lock_leave(&q->sync.lock, ctx);
    kith__wake_fire(ctx, &wake);
    return KITH_OK;
}

size_t kith_queue_count(kith_self *self, kith_queue *q)
{
    if (kith__awaited_may_act(self, q) != KITH_OK)
        return 0;
    kith__lock_enter(&q->sync.lock, kith__ctx_here);
    size_t count = q->count;
    kith__lock_leave(&q->sync.lock, kith__ctx_here);
    return count;
}
