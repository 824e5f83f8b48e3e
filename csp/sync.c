/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Event, semaphore, mutex, barrier: what fibers and threads wait for besides messages. The queue,
 * which is one more, is in csp/queue.c.
 *
 * Called by programs. Each object is a lock, those who wait, and a word or two.
 *
 * Invariants
 *  SY1. What is handed over (a permit, the mutex) goes from the one to the other under the lock: it is
 *       free only if nobody waits. So those who wait are served in order, and nobody overtakes them.
 *  SY2. A waiter that gives up and finds itself no more in the list has been served: it takes what it
 *       got (O2 in sched/co.h). So nothing is lost, whatever a deadline or a cancellation does.
 *  SY3. After the lock is left and somebody is fired the object is not touched: whoever was woken may
 *       have freed it.
 *
 * Threads: any of the runtime; the lock orders them.
 *
 * Why hand over and not let those who were woken try again: with fibers a hand-over costs no more than
 * a wake, the order is the one in which they came, and there is no retry to get wrong.
 */
#include "csp/sync.h"
#include <kith/sync.h>

/* ---- what they share ---- */

kith_err kith__awaited_may_wait(kith_co *co, const void *object)
{
    if (!kith__co_here(co))
        return KITH_EPERM;
    if (object == NULL)
        return KITH_EINVAL;
    kith__co_spend(co);
    return kith__co_may_wait(co);
}

kith_err kith__awaited_may_act(kith_self *self, const void *object)
{
    if (kith__ctx_of(self) == NULL)
        return KITH_EPERM;
    return object == NULL ? KITH_EINVAL : KITH_OK;
}

void *kith__awaited_new(kith_self *self, size_t bytes)
{
    struct kith__ctx *ctx = kith__ctx_of(self);
    struct kith__awaited *sync = NULL;
    if (ctx != NULL)
        sync = kith__alloc_zero(&ctx->rt->allocator, bytes, 16);
    if (sync != NULL)
        sync->allocator = &ctx->rt->allocator;
    return sync;
}

void kith__awaited_free(struct kith__awaited *sync, size_t bytes)
{
    if (sync == NULL)
        return;
    kith__assert(sync->waiters.first == NULL); /* whoever waits would wait for freed memory */
    kith__free(sync->allocator, sync, bytes);
}

kith_err kith__awaited_wait(struct kith__awaited *sync, struct kith__waiters *list,
                            struct kith__waiter *w, kith_time deadline, const char *where)
{
    struct kith__ctx *ctx = w->co->ctx;
    kith__waiter_add(list, w);
    kith__lock_leave(&sync->lock, ctx);
    kith_err err = kith__co_wait(w->co, KITH__WOKE_FIRED, deadline, where, sync);
    if (err == KITH_OK)
        return w->status;
    kith__lock_enter(&sync->lock, ctx);
    bool mine = kith__waiter_remove(list, w);
    kith__lock_leave(&sync->lock, ctx);
    if (mine)
        return err;
    kith__co_wait_fired(w->co); /* SY2 */
    return w->status;
}

/* ---- event ---- */

struct kith_event {
    struct kith__awaited sync;
    bool set; /* under the lock */
};

kith_event *kith_event_new(kith_self *self)
{
    return kith__awaited_new(self, sizeof(struct kith_event));
}

void kith_event_free(kith_event *e)
{
    kith__awaited_free(e != NULL ? &e->sync : NULL, sizeof *e);
}

kith_err kith_event_set(kith_self *self, kith_event *e)
{
    kith_err err = kith__awaited_may_act(self, e);
    if (err != KITH_OK)
        return err;
    struct kith__ctx *ctx = kith__ctx_here;
    struct kith__wake wake = {NULL, NULL};
    kith__lock_enter(&e->sync.lock, ctx);
    e->set = true;
    kith__wake_take(&wake, &e->sync.waiters, KITH_OK);
    kith__lock_leave(&e->sync.lock, ctx);
    kith__wake_fire(ctx, &wake); /* SY3 */
    return KITH_OK;
}

kith_err kith_event_clear(kith_self *self, kith_event *e)
{
    kith_err err = kith__awaited_may_act(self, e);
    if (err != KITH_OK)
        return err;
    kith__lock_enter(&e->sync.lock, kith__ctx_here);
    e->set = false;
    kith__lock_leave(&e->sync.lock, kith__ctx_here);
    return KITH_OK;
}

bool kith_event_is_set(kith_self *self, kith_event *e)
{
    if (kith__awaited_may_act(self, e) != KITH_OK)
        return false;
    kith__lock_enter(&e->sync.lock, kith__ctx_here);
    bool set = e->set;
    kith__lock_leave(&e->sync.lock, kith__ctx_here);
    return set;
}

kith_err kith_event_wait(kith_co *co, kith_event *e, kith_time deadline)
{
    kith_err err = kith__awaited_may_wait(co, e);
    if (err != KITH_OK)
        return err;
    kith__lock_enter(&e->sync.lock, co->ctx);
    if (!e->set) {
        struct kith__waiter w = {.co = co};
        return kith__awaited_wait(&e->sync, &e->sync.waiters, &w, deadline, "kith_event_wait");
    }
    kith__lock_leave(&e->sync.lock, co->ctx);
    return KITH_OK;
}

/* ---- semaphore ---- */

struct kith_semaphore {
    struct kith__awaited sync;
    uint32_t permits; /* under the lock; 0 while anybody waits (SY1) */
};

kith_semaphore *kith_semaphore_new(kith_self *self, uint32_t permits)
{
    struct kith_semaphore *s = kith__awaited_new(self, sizeof *s);
    if (s != NULL)
        s->permits = permits;
    return s;
}

void kith_semaphore_free(kith_semaphore *s)
{
    kith__awaited_free(s != NULL ? &s->sync : NULL, sizeof *s);
}

kith_err kith_semaphore_acquire(kith_co *co, kith_semaphore *s, kith_time deadline)
{
    kith_err err = kith__awaited_may_wait(co, s);
    if (err != KITH_OK)
        return err;
    kith__lock_enter(&s->sync.lock, co->ctx);
    if (s->permits == 0) {
        struct kith__waiter w = {.co = co};
        return kith__awaited_wait(&s->sync, &s->sync.waiters, &w, deadline,
                                  "kith_semaphore_acquire");
    }
    s->permits--;
    kith__lock_leave(&s->sync.lock, co->ctx);
    return KITH_OK;
}

kith_err kith_semaphore_release(kith_self *self, kith_semaphore *s)
{
    kith_err err = kith__awaited_may_act(self, s);
    if (err != KITH_OK)
        return err;
    struct kith__ctx *ctx = kith__ctx_here;
    kith__lock_enter(&s->sync.lock, ctx);
    struct kith__waiter *w = kith__waiter_take(&s->sync.waiters);
    struct kith_co *co = w != NULL ? w->co : NULL;
    if (w != NULL)
        w->status = KITH_OK;
    else if (s->permits == UINT32_MAX)
        err = KITH_EFULL;
    else
        s->permits++;
    kith__lock_leave(&s->sync.lock, ctx);
    if (co != NULL)
        kith__co_fire(ctx, co);
    return err;
}

/* ---- mutex ---- */

struct kith_mutex {
    struct kith__awaited sync;
    uint64_t
        owner; /* under the lock: bits of a task's handle; 0: unlocked, and nobody waits (SY1) */
};

kith_mutex *kith_mutex_new(kith_self *self)
{
    return kith__awaited_new(self, sizeof(struct kith_mutex));
}

void kith_mutex_free(kith_mutex *m)
{
    kith__awaited_free(m != NULL ? &m->sync : NULL, sizeof *m);
}

kith_err kith_mutex_lock(kith_co *co, kith_mutex *m, kith_time deadline)
{
    kith_err err = kith__awaited_may_wait(co, m);
    if (err != KITH_OK)
        return err;
    uint64_t me = kith__task_bits(co->task);
    kith__lock_enter(&m->sync.lock, co->ctx);
    if (m->owner != 0 && m->owner != me) {
        struct kith__waiter w = {.co = co};
        return kith__awaited_wait(&m->sync, &m->sync.waiters, &w, deadline, "kith_mutex_lock");
    }
    err = m->owner == me ? KITH_EDEADLK : KITH_OK;
    m->owner = me;
    kith__lock_leave(&m->sync.lock, co->ctx);
    return err;
}

kith_err kith_mutex_unlock(kith_self *self, kith_mutex *m)
{
    kith_err err = kith__awaited_may_act(self, m);
    if (err != KITH_OK)
        return err;
    struct kith__ctx *ctx = kith__ctx_here;
    struct kith_co *co = NULL;
    kith__lock_enter(&m->sync.lock, ctx);
    if (m->owner == kith__task_bits(self)) {
        struct kith__waiter *w = kith__waiter_take(&m->sync.waiters);
        co = w != NULL ? w->co : NULL;
        m->owner = co != NULL ? kith__task_bits(co->task) : 0;
        if (w != NULL)
            w->status = KITH_OK;
    } else {
        err = KITH_EPERM;
    }
    kith__lock_leave(&m->sync.lock, ctx);
    if (co != NULL)
        kith__co_fire(ctx, co);
    return err;
}

/* ---- barrier ---- */

struct kith_barrier {
    struct kith__awaited sync;
    uint32_t parties; /* constant */
    uint32_t waiting; /* under the lock: how many are in the list */
    bool broken;      /* under the lock */
};

kith_barrier *kith_barrier_new(kith_self *self, uint32_t parties)
{
    struct kith_barrier *b = parties > 0 ? kith__awaited_new(self, sizeof *b) : NULL;
    if (b != NULL)
        b->parties = parties;
    return b;
}

void kith_barrier_free(kith_barrier *b)
{
    kith__awaited_free(b != NULL ? &b->sync : NULL, sizeof *b);
}

/* Leaves the lock: all who wait go on, with this status. */
static void barrier_open(struct kith__ctx *ctx, struct kith_barrier *b, kith_err status)
{
    struct kith__wake wake = {NULL, NULL};
    kith__wake_take(&wake, &b->sync.waiters, status);
    b->waiting = 0;
    kith__lock_leave(&b->sync.lock, ctx);
    kith__wake_fire(ctx, &wake); /* SY3 */
}

/* One has given up: the barrier is broken, unless all were there at that moment (SY2). */
static kith_err barrier_give_up(struct kith_barrier *b, struct kith__waiter *w, kith_err err)
{
    struct kith__ctx *ctx = w->co->ctx;
    kith__lock_enter(&b->sync.lock, ctx);
    if (kith__waiter_remove(&b->sync.waiters, w)) {
        b->broken = true;
        barrier_open(ctx, b, KITH_EBROKEN);
        return err;
    }
    kith__lock_leave(&b->sync.lock, ctx);
    kith__co_wait_fired(w->co);
    return w->status;
}

/* The lock is held; leaves it. */
static kith_err barrier_wait(kith_co *co, struct kith_barrier *b, kith_time deadline)
{
    struct kith__waiter w = {.co = co};
    kith__waiter_add(&b->sync.waiters, &w);
    b->waiting++;
    kith__lock_leave(&b->sync.lock, co->ctx);
    kith_err err = kith__co_wait(co, KITH__WOKE_FIRED, deadline, "kith_barrier_wait", b);
    return err == KITH_OK ? w.status : barrier_give_up(b, &w, err);
}

kith_err kith_barrier_wait(kith_co *co, kith_barrier *b, kith_time deadline, bool *leader)
{
    if (leader != NULL)
        *leader = false;
    kith_err err = kith__awaited_may_wait(co, b);
    if (err == KITH_EPERM || err == KITH_EINVAL)
        return err;
    kith__lock_enter(&b->sync.lock, co->ctx);
    if (err != KITH_OK && !b->broken) { /* canceled before it began to wait: it gives up, too */
        b->broken = true;
        barrier_open(co->ctx, b, KITH_EBROKEN);
        return err;
    }
    if (err == KITH_OK && !b->broken && b->waiting + 1 < b->parties)
        return barrier_wait(co, b, deadline);
    if (err != KITH_OK || b->broken) {
        kith__lock_leave(&b->sync.lock, co->ctx);
        return err != KITH_OK ? err : KITH_EBROKEN;
    }
    barrier_open(co->ctx, b, KITH_OK);
    if (leader != NULL)
        *leader = true;
    return KITH_OK;
}

static kith_err barrier_break(kith_self *self, struct kith_barrier *b, bool broken)
{
    kith_err err = kith__awaited_may_act(self, b);
    if (err != KITH_OK)
        return err;
    kith__lock_enter(&b->sync.lock, kith__ctx_here);
    b->broken = broken;
    barrier_open(kith__ctx_here, b, KITH_EBROKEN);
    return KITH_OK;
}

kith_err kith_barrier_abort(kith_self *self, kith_barrier *b)
{
    return barrier_break(self, b, true);
}

kith_err kith_barrier_reset(kith_self *self, kith_barrier *b)
{
    return barrier_break(self, b, false);
}
