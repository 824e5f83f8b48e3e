/* SPDX-License-Identifier: BSD-2-Clause
 *
 * What the synchronization objects share: sync.c and queue.c.
 */
#ifndef KITH__CSP_SYNC_H
#define KITH__CSP_SYNC_H

#include "base/alloc.h"
#include "csp/lock.h"
#include "csp/wake.h"

/* What each begins with. */
struct kith__awaited {
    struct kith__lock lock;
    struct kith__waiters waiters; /* under the lock */
    const kith_allocator *allocator;
};

/* Of what may wait: KITH_OK, or why it may not. */
kith_err kith__awaited_may_wait(kith_co *co, const void *object);
/* Of what needs no waiting. The context is kith__ctx_here then. */
kith_err kith__awaited_may_act(kith_self *self, const void *object);

/* An object of so many zeroed bytes that begins with a kith__awaited; NULL: out of memory, or self does
 * not act here. */
void *kith__awaited_new(kith_self *self, size_t bytes);
void kith__awaited_free(struct kith__awaited *sync, size_t bytes);

/* The lock is held: leaves it, and waits in list until it is fired; else takes w back. The answer is
 * w->status, or why it gave up. */
kith_err kith__awaited_wait(struct kith__awaited *sync, struct kith__waiters *list,
                            struct kith__waiter *w, kith_time deadline, const char *where);

#endif
