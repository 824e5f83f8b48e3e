/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Those who wait for one thing (a channel's senders, a future's readers, a mutex), oldest first.
 * A waiter lies on the stack of the co that waits; the list and the waiter's fields are under the
 * lock of the thing. The contract of a wait is in sched/co.h:
 *
 *     kith__lock_enter(lock, ctx);
 *     if (it is there already) { take it; leave; return KITH_OK; }
 *     struct kith__waiter waiter = {.co = co, .item = where};
 *     kith__waiter_add(&list, &waiter);
 *     kith__lock_leave(lock, ctx);
 *     kith_err err = kith__co_wait(co, KITH__WOKE_FIRED, deadline, "what", object);
 *     if (err == KITH_OK) return waiter.status;
 *     kith__lock_enter(lock, ctx);
 *     bool mine = kith__waiter_remove(&list, &waiter);
 *     kith__lock_leave(lock, ctx);
 *     if (mine) return err;
 *     kith__co_wait_fired(co);                      -- O2: it was fired just now
 *     return waiter.status;
 *
 * and the partner, under the same lock:
 *
 *     struct kith__waiter *w = kith__waiter_take(&list);
 *     if (w != NULL) { copy; w->status = KITH_OK; co = w->co; }
 *     leave the lock; kith__co_fire(ctx, co);       -- *w may be gone as soon as it is fired
 *
 * A waiter for several things (`several`) stands in several lists with one co: who takes it out of one
 * must first win the co's claim (WA1), so that it is fired once. Such a waiter that was not won is
 * dropped from the list by who found it; its co removes the others after it has woken.
 */
#ifndef KITH__CSP_WAITER_H
#define KITH__CSP_WAITER_H

#include "sched/co.h"

#define KITH__CLAIM_OPEN UINT32_MAX /* co->claim while nobody has won; else the winner's index */

struct kith__waiter {
    struct kith__waiter *next; /* in a circular list; NULL: in none */
    struct kith__waiter *prev;
    struct kith_co *co;
    void *item;      /* where the partner copies to, or from */
    kith_err status; /* by whoever fires it */
    uint32_t index;  /* of several: which one it is */
    bool several;
};

struct kith__waiters {
    struct kith__waiter *first;
};

static inline void kith__waiter_add(struct kith__waiters *list, struct kith__waiter *w)
{
    struct kith__waiter *first = list->first;
    if (first == NULL) {
        w->next = w->prev = w;
        list->first = w;
        return;
    }
    w->next = first;
    w->prev = first->prev;
    first->prev->next = w;
    first->prev = w;
}

/* Whether it was in the list. */
static inline bool kith__waiter_remove(struct kith__waiters *list, struct kith__waiter *w)
{
    if (w->next == NULL)
        return false;
    if (w->next == w) {
        list->first = NULL;
    } else {
        w->prev->next = w->next;
        w->next->prev = w->prev;
        if (list->first == w)
            list->first = w->next;
    }
    w->next = NULL;
    return true;
}

/* WA1: relaxed: the transfer is ordered by the thing's lock and by the message that fires the co. */
static inline bool kith__waiter_claim(struct kith__waiter *w)
{
    uint32_t seen = KITH__CLAIM_OPEN;
    return !w->several || kith__cas_rlx(&w->co->claim, &seen, w->index);
}

/* The oldest that could be won, out of the list; NULL if there is none. The caller must fire it. */
static inline struct kith__waiter *kith__waiter_take(struct kith__waiters *list)
{
    struct kith__waiter *w;
    while ((w = list->first) != NULL) {
        kith__waiter_remove(list, w);
        if (KITH__LIKELY(kith__waiter_claim(w)))
            return w;
    }
    return NULL;
}

#endif
