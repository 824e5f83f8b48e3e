/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Waiting for room in a bounded mailbox, and handing room over: the cold half of csp/bound.h, where
 * the invariants stand. Called by actors/send.c on the sender's thread, and in the receiver's turn.
 */
#include "csp/bound.h"

void kith__bound_open(struct kith_self *task, uint32_t max)
{
    struct kith__bound *bound = kith__bound_of(task);
    uint64_t gen = kith__bits_gen(kith__task_bits(task));
    if (max > KITH__BOUND_MAX)
        max = KITH__BOUND_MAX;
    bound->done = 0;
    bound->batch = max > 1 ? max / 2 : 1;
    bound->half = max / 2 + max % 2;
    /* relaxed: whoever learns the handle learns it after this. */
    kith__store_rlx(&bound->room, gen << KITH__BOUND_GEN_SHIFT | KITH__BOUND_OPEN | max);
}

/* ---- those who wait ---- */

/* The waiters that were taken out, oldest first, to be fired outside the lock: linked by their
 * items. */
struct chain {
    struct kith__waiter *first;
    struct kith__waiter *last;
};

static void chain_add(struct chain *chain, struct kith__waiter *w, kith_err status)
{
    w->status = status;
    w->item = NULL;
    if (chain->first == NULL)
        chain->first = w;
    else
        chain->last->item = w;
    chain->last = w;
}

static void chain_fire(struct kith__ctx *ctx, const struct chain *chain)
{
    for (struct kith__waiter *w = chain->first; w != NULL;) {
        struct kith__waiter *next = w->item;
        kith__co_fire(ctx, w->co); /* *w may be gone now */
        w = next;
    }
}

/* BD5: at least half is free, and somebody waited a moment ago. */
static __attribute__((noinline)) void hand_over(struct kith__ctx *ctx, struct kith__bound *bound)
{
    struct chain woken = {NULL, NULL};
    struct kith__waiter *w;
    kith__lock_enter(&bound->lock, ctx);
    /* relaxed: while WAIT is set the word is changed by the owner and under the lock only. */
    uint64_t room = kith__load_rlx(&bound->room);
    while ((room & KITH__BOUND_WAIT) != 0 && (room & KITH__BOUND_MAX) != 0 &&
           (w = kith__waiter_take(&bound->waiters)) != NULL) {
        chain_add(&woken, w, KITH_OK);
        room--;
    }
    if (woken.first != NULL) {
        if (bound->waiters.first == NULL)
            room &= ~KITH__BOUND_WAIT;
        kith__store_rlx(&bound->room, room);
    }
    kith__lock_leave(&bound->lock, ctx);
    chain_fire(ctx, &woken);
}

void kith__bound_tell(struct kith__ctx *ctx, struct kith__bound *bound)
{
    uint32_t n = bound->done;
    if (n == 0)
        return;
    bound->done = 0;
    uint64_t room = kith__add_rlx(&bound->room, n) + n; /* BD4 */
    if (KITH__UNLIKELY((room & KITH__BOUND_WAIT) != 0) &&
        (uint32_t)(room & KITH__BOUND_MAX) >= bound->half)
        hand_over(ctx, bound);
}

void kith__bound_close(struct kith__ctx *ctx, struct kith_self *task)
{
    struct kith__bound *bound = kith__bound_of(task);
    struct chain woken = {NULL, NULL};
    struct kith__waiter *w;
    kith__lock_enter(&bound->lock, ctx);
    kith__store_rlx(&bound->room, 0); /* BD6 */
    while ((w = kith__waiter_take(&bound->waiters)) != NULL)
        chain_add(&woken, w, KITH_EDEAD);
    kith__lock_leave(&bound->lock, ctx);
    chain_fire(ctx, &woken);
}

/* Under the lock: takes room, or sets WAIT if there is none (KITH_EFULL). */
static kith_err take_or_stand(struct kith__bound *bound, uint32_t gen)
{
    for (;;) {
        kith_err err = kith__bound_take(bound, gen);
        if (err != KITH_EFULL)
            return err;
        uint64_t seen = kith__load_rlx(&bound->room);
        if ((seen & KITH__BOUND_WAIT) != 0)
            return KITH_EFULL;
        bool none = (seen & KITH__BOUND_MAX) == 0;
        if (none && kith__cas_rlx(&bound->room, &seen, seen | KITH__BOUND_WAIT)) /* BD4 */
            return KITH_EFULL;
    }
}

static bool withdraw(struct kith__ctx *ctx, struct kith__bound *bound, struct kith__waiter *w)
{
    kith__lock_enter(&bound->lock, ctx);
    bool mine = kith__waiter_remove(&bound->waiters, w);
    if (mine && bound->waiters.first == NULL)
        kith__sub_rlx(&bound->room, KITH__BOUND_WAIT);
    kith__lock_leave(&bound->lock, ctx);
    return mine;
}

kith_err kith__bound_wait(struct kith_co *co, struct kith_self *to, uint32_t gen,
                          kith_time deadline)
{
    struct kith__bound *bound = kith__bound_of(to);
    kith_err err = kith__co_may_wait(co);
    if (err != KITH_OK)
        return err;
    struct kith__waiter waiter = {.co = co};
    kith__lock_enter(&bound->lock, co->ctx);
    err = take_or_stand(bound, gen);
    if (err == KITH_EFULL)
        kith__waiter_add(&bound->waiters, &waiter);
    kith__lock_leave(&bound->lock, co->ctx);
    if (err != KITH_EFULL)
        return err;
    err = kith__co_wait(co, KITH__WOKE_FIRED, deadline, "kith_send", to);
    if (err == KITH_OK)
        return waiter.status;
    if (withdraw(co->ctx, bound, &waiter))
        return err;
    kith__co_wait_fired(co); /* O2 */
    return waiter.status;
}
