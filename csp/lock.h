/* SPDX-License-Identifier: BSD-2-Clause
 *
 * The lock of what cos share: channels, futures, scopes. Held for some tens of instructions, never
 * while anything waits.
 *
 * Used by the files of csp.
 *
 * Why not a biased lock, whose first worker needs no locked instruction: it would save 5 ns of the 14
 * that a value takes through a buffered channel on one worker, and nothing measurable of a rendezvous
 * (60 ns, most of it the switch); but the first use from a second thread would cost a membarrier, and
 * a channel or a future that carries one answer between two workers has nothing else.
 */
#ifndef KITH__CSP_LOCK_H
#define KITH__CSP_LOCK_H

#include "base/atomic.h"
#include "sched/runtime.h"

struct kith__lock {
    KITH__ATOMIC(uint32_t) word; /* 0: free */
};

/* The lock is held by another thread: waits. */
void kith__lock_slow(struct kith__lock *lock);

static inline void kith__lock_enter(struct kith__lock *lock, struct kith__ctx *ctx)
{
    uint32_t seen = 0;
    (void)ctx;
    /* acquire L1; pairs with L2: what the last holder did. */
    if (KITH__UNLIKELY(!kith__cas_acq(&lock->word, &seen, 1)))
        kith__lock_slow(lock);
}

static inline void kith__lock_leave(struct kith__lock *lock, struct kith__ctx *ctx)
{
    (void)ctx;
    kith__store_rel(&lock->word, 0); /* release L2; pairs with L1 */
}

#endif
