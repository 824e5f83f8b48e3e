/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Many futures at once: gather, wait for the first or for all, and one after the other as they end.
 *
 * Called by programs. A group is one co that stands in the lines of n futures.
 *
 * Invariants
 *  GA1. Each member stands in its future's line, or has been delivered: under that future's lock, into
 *       the group, under the group's lock. So whoever takes a member back under its future's lock knows
 *       which it is, and when none stands in line any more nobody else knows the group.
 *  GA2. The group's co is fired by the delivery with which that holds what it waits for, once a wait:
 *       `waits` is taken back with it (O1 in sched/co.h).
 *  GA3. When a gather returns, all its futures have ended.
 *
 * Threads: the co's; deliveries: whoever completes a future. Locks: a future's, then the group's.
 *
 * Why: each future is touched twice and the group once for each, so n futures cost O(n), in memory of
 * the group (a waiter of 56 bytes for each), and no wait of one future after the other, which would
 * learn of a failure late.
 */
#include "base/alloc.h"
#include "csp/future.h"

#define FEW 8u /* waiters in the group itself */

enum until { UNTIL_ALL, UNTIL_FAILURE, UNTIL_ANY };

struct group {
    struct kith__lock lock;
    struct kith_co *co;
    kith_future *const *futures;
    size_t n;
    struct kith__waiter *members; /* of each future, in order */
    size_t left;                  /* under lock, as all that follows: not delivered */
    kith_err failed;              /* the first that did */
    enum until until;             /* what its co waits for */
    bool waits;                   /* it is to be fired */
    struct kith__waiter *ended;   /* delivered and not given out, in order, linked by `item` */
    struct kith__waiter *ended_last;
    struct kith__waiter few[FEW];
};

/* ---- delivering ---- */

static bool holds(const struct group *g, enum until until)
{
    if (until == UNTIL_ANY)
        return g->ended != NULL;
    return g->left == 0 || (until == UNTIL_FAILURE && g->failed != KITH_OK);
}

/* Under the lock, or before anybody else knows the group. */
static void count_in(struct group *g, struct kith__waiter *w, kith_err status)
{
    w->item = NULL;
    if (g->ended == NULL)
        g->ended = w;
    else
        g->ended_last->item = w;
    g->ended_last = w;
    g->left--;
    if (g->failed == KITH_OK)
        g->failed = status;
}

bool kith__group_deliver(struct kith__ctx *ctx, struct kith__waiter *w, kith_err status)
{
    struct group *g = w->item;
    kith__lock_enter(&g->lock, ctx);
    count_in(g, w, status);
    bool fire = g->waits && holds(g, g->until);
    if (fire)
        g->waits = false; /* GA2 */
    kith__lock_leave(&g->lock, ctx);
    return fire;
}

/* ---- the group ---- */

static struct kith__waiter *members_new(struct group *g, struct kith_runtime *rt)
{
    return g->n <= FEW ? g->few : kith__alloc(&rt->allocator, g->n * sizeof *g->members, 16);
}

static void members_free(struct group *g)
{
    if (g->members != g->few)
        kith__free(&g->co->ctx->rt->allocator, g->members, g->n * sizeof *g->members);
}

/* Stands in the line of a future, or counts it in if it has ended. */
static void member_join(struct group *g, size_t i)
{
    struct kith__ctx *ctx = g->co->ctx;
    struct kith_future *f = g->futures[i];
    struct kith__waiter *w = &g->members[i];
    *w = (struct kith__waiter){.co = g->co, .item = g, .index = (uint32_t)i};
    bool done = false;
    kith_err status = f != NULL ? kith__future_join(ctx, f, w, &done) : KITH_ENOMEM;
    if (status == KITH_OK && !done)
        return;
    if (done)
        status = f->status;
    kith__lock_enter(&g->lock, ctx);
    count_in(g, w, status);
    kith__lock_leave(&g->lock, ctx);
}

/* False: out of memory. */
static bool group_open(struct group *g, kith_co *co, kith_future *const *futures, size_t n)
{
    *g = (struct group){.co = co, .futures = futures, .n = n, .left = n};
    g->members = n <= UINT32_MAX ? members_new(g, co->ctx->rt) : NULL;
    for (size_t i = 0; i < n && g->members != NULL; i++)
        member_join(g, i);
    return g->members != NULL;
}

/* Leaves all lines (GA1); it does not wait. */
static void group_close(struct group *g)
{
    struct kith__ctx *ctx = g->co->ctx;
    kith__lock_enter(&g->lock, ctx);
    bool rest = g->left > 0;
    kith__lock_leave(&g->lock, ctx);
    for (size_t i = 0; i < g->n && rest; i++)
        if (g->futures[i] != NULL)
            kith__future_leave(ctx, g->futures[i], &g->members[i]);
    members_free(g);
}

/* Whether there is nothing to wait for; if there is, the co is to be fired for it. */
static bool there_or_waits(struct group *g, enum until until)
{
    struct kith__ctx *ctx = g->co->ctx;
    kith__lock_enter(&g->lock, ctx);
    bool there = holds(g, until);
    g->until = until;
    g->waits = !there;
    kith__lock_leave(&g->lock, ctx);
    return there;
}

/* KITH_OK: it holds. */
static kith_err group_wait(struct group *g, enum until until, kith_time deadline, const char *where)
{
    if (there_or_waits(g, until))
        return KITH_OK;
    kith_err err = kith__co_wait(g->co, KITH__WOKE_FIRED, deadline, where, g);
    if (err == KITH_OK)
        return KITH_OK;
    struct kith__ctx *ctx = g->co->ctx;
    kith__lock_enter(&g->lock, ctx);
    bool mine = g->waits;
    g->waits = false;
    kith__lock_leave(&g->lock, ctx);
    if (mine)
        return err;
    kith__co_wait_fired(g->co); /* O2 */
    return KITH_OK;
}

static kith_err check(const kith_co *co, kith_future *const *futures, size_t n)
{
    if (!kith__co_here(co))
        return KITH_EPERM;
    return futures == NULL && n > 0 ? KITH_EINVAL : KITH_OK;
}

/* ---- gathering ---- */

static void cancel_all(kith_future *const *futures, size_t n)
{
    for (size_t i = 0; i < n; i++)
        kith_future_cancel(futures[i]);
}

/* Without memory for a group: cancels all, and waits for one after the other (GA3). */
static void cancel_one_by_one(kith_co *co, kith_future *const *futures, size_t n)
{
    cancel_all(futures, n);
    for (size_t i = 0; i < n; i++) {
        struct kith__waiter w = {.co = co};
        bool done = true;
        if (futures[i] != NULL && kith__future_join(co->ctx, futures[i], &w, &done) == KITH_OK &&
            !done)
            kith__co_wait_fired(co);
    }
}

/* Not interrupted: they have been canceled. */
static void wait_for_rest(struct group *g)
{
    if (!there_or_waits(g, UNTIL_ALL))
        kith__co_wait_fired(g->co);
}

static kith_err gather(kith_co *co, kith_future *const *futures, size_t n, kith_time deadline,
                       const char *where, enum until until)
{
    kith__co_spend(co);
    kith_err err = kith__co_may_wait(co);
    struct group g;
    if (!group_open(&g, co, futures, n)) {
        cancel_one_by_one(co, futures, n);
        return err != KITH_OK ? err : KITH_ENOMEM;
    }
    if (err == KITH_OK)
        err = group_wait(&g, until, deadline, where);
    kith__lock_enter(&g.lock, co->ctx);
    kith_err failed = until == UNTIL_FAILURE ? g.failed : KITH_OK;
    kith__lock_leave(&g.lock, co->ctx);
    if (err == KITH_OK)
        err = failed;
    if (err != KITH_OK) {
        cancel_all(futures, n);
        wait_for_rest(&g);
    }
    group_close(&g);
    return err;
}

kith_err kith_gather(kith_co *co, kith_future *const *futures, size_t n, kith_time deadline)
{
    kith_err err = check(co, futures, n);
    if (err != KITH_OK)
        return err;
    err = gather(co, futures, n, deadline, "kith_gather", UNTIL_FAILURE);
    for (size_t i = 0; i < n; i++)
        kith_future_result(futures[i], NULL); /* the others' failures are of no interest */
    return err;
}

kith_err kith_gather_all(kith_co *co, kith_future *const *futures, size_t n, kith_time deadline)
{
    kith_err err = check(co, futures, n);
    return err != KITH_OK ? err : gather(co, futures, n, deadline, "kith_gather_all", UNTIL_ALL);
}

/* ---- waiting ---- */

/* Waits, cancels none. *first: the first that ended. */
static kith_err wait_until(kith_co *co, kith_future *const *futures, size_t n, kith_time deadline,
                           const char *where, enum until until, size_t *first)
{
    kith__co_spend(co);
    kith_err err = kith__co_may_wait(co);
    if (err != KITH_OK)
        return err;
    struct group g;
    if (!group_open(&g, co, futures, n))
        return KITH_ENOMEM;
    err = group_wait(&g, until, deadline, where);
    if (err == KITH_OK && first != NULL)
        *first = g.ended->index; /* without the lock: once there is a first it stays the first */
    group_close(&g);
    return err;
}

kith_err kith_wait_all(kith_co *co, kith_future *const *futures, size_t n, kith_time deadline)
{
    kith_err err = check(co, futures, n);
    if (err != KITH_OK)
        return err;
    return wait_until(co, futures, n, deadline, "kith_wait_all", UNTIL_ALL, NULL);
}

kith_err kith_wait_first(kith_co *co, kith_future *const *futures, size_t n, kith_time deadline,
                         size_t *index)
{
    kith_err err = check(co, futures, n);
    if (err != KITH_OK)
        return err;
    if (n == 0 || index == NULL)
        return KITH_EINVAL;
    return wait_until(co, futures, n, deadline, "kith_wait_first", UNTIL_ANY, index);
}

/* ---- one after the other ---- */

struct kith_completed {
    struct group group;
    size_t given_out;
};

kith_completed *kith_as_completed(kith_co *co, kith_future *const *futures, size_t n)
{
    if (check(co, futures, n) != KITH_OK)
        return NULL;
    const kith_allocator *allocator = &co->ctx->rt->allocator;
    struct kith_completed *c = kith__alloc_zero(allocator, sizeof *c, 16);
    if (c == NULL)
        return NULL;
    if (!group_open(&c->group, co, futures, n)) {
        kith__free(allocator, c, sizeof *c);
        return NULL;
    }
    return c;
}

kith_err kith_completed_next(kith_co *co, kith_completed *c, kith_time deadline, size_t *index)
{
    if (!kith__co_here(co))
        return KITH_EPERM;
    if (c == NULL || index == NULL)
        return KITH_EINVAL;
    if (c->group.co != co)
        return KITH_EPERM;
    kith__co_spend(co);
    kith_err err = kith__co_may_wait(co);
    if (err == KITH_OK && c->given_out == c->group.n)
        err = KITH_ECLOSED;
    if (err == KITH_OK)
        err = group_wait(&c->group, UNTIL_ANY, deadline, "kith_completed_next");
    if (err != KITH_OK)
        return err;
    kith__lock_enter(&c->group.lock, co->ctx);
    struct kith__waiter *w = c->group.ended;
    c->group.ended = w->item;
    kith__lock_leave(&c->group.lock, co->ctx);
    c->given_out++;
    *index = w->index;
    return KITH_OK;
}

kith_err kith_completed_free(kith_co *co, kith_completed *c)
{
    if (!kith__co_here(co))
        return KITH_EPERM;
    if (c == NULL)
        return KITH_OK;
    if (c->group.co != co)
        return KITH_EPERM;
    group_close(&c->group);
    kith__free(&co->ctx->rt->allocator, c, sizeof *c);
    return KITH_OK;
}
