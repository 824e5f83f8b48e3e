/* SPDX-License-Identifier: BSD-2-Clause
 *
 * The slow side of csp/lock.h: another thread holds the lock, for some tens of instructions, or has
 * been preempted while it does. So: look a few times, then give the core away.
 */
#include "csp/lock.h"
#include <sched.h>

#define SPINS 64

void kith__lock_slow(struct kith__lock *lock)
{
    for (;;) {
        for (int i = 0; i < SPINS; i++) {
            uint32_t seen = 0;
            /* relaxed: a look; acquire L1 in the swap, pairs with L2. */
            if (kith__load_rlx(&lock->word) == 0 && kith__cas_acq(&lock->word, &seen, 1))
                return;
        }
        sched_yield();
    }
}
