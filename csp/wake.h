/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Waking all that wait for one thing at once: the end of a future, an event, a barrier, a queue that
 * is closed. Used by future.c and sync.c.
 *
 * Those taken out under the thing's lock are chained by `prev`, which is free once a waiter is out
 * of the list, and fired after the lock has been left: the thing may be gone by then, because the
 * first that is woken may end it.
 */
#ifndef KITH__CSP_WAKE_H
#define KITH__CSP_WAKE_H

#include "csp/waiter.h"

struct kith__wake {
    struct kith__waiter *first;
    struct kith__waiter *last;
};

static inline void kith__wake_add(struct kith__wake *wake, struct kith__waiter *w)
{
    w->prev = NULL;
    if (wake->first == NULL)
        wake->first = w;
    else
        wake->last->prev = w;
    wake->last = w;
}

/* Under the lock: all of the list, oldest first, with this status. */
static inline void kith__wake_take(struct kith__wake *wake, struct kith__waiters *list,
                                   kith_err status)
{
    struct kith__waiter *w;
    while ((w = kith__waiter_take(list)) != NULL) {
        w->status = status;
        kith__wake_add(wake, w);
    }
}

/* Without the lock. A waiter is gone as soon as it is fired. */
static inline void kith__wake_fire(struct kith__ctx *ctx, struct kith__wake *wake)
{
    struct kith__waiter *w = wake->first;
    while (w != NULL) {
        struct kith__waiter *next = w->prev;
        kith__co_fire(ctx, w->co);
        w = next;
    }
}

#endif
