/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Asymmetric fences: a StoreLoad order between two threads of which one pays nothing.
 *
 * The frequent side stores, calls kith__fence_light and loads; the rare side stores, calls
 * kith__fence_heavy and loads. Then at least one of the two sees the other's store. The light fence
 * only holds the compiler back; the heavy one makes the kernel run a full barrier on every running
 * thread of the process (membarrier(2), MEMBARRIER_CMD_PRIVATE_EXPEDITED), and whatever is not
 * running has passed one in its switch. The idea is that of asymmetric Dekker locks ("biased
 * locking") and of userspace RCU's sys_membarrier flavour.
 *
 * Where the kernel or a sandbox refuses membarrier, kith__fence_light must be a full fence:
 * kith__asymmetric_open tells, once, before any thread uses either.
 */
#ifndef KITH__BASE_ASYMMETRIC_H
#define KITH__BASE_ASYMMETRIC_H

#include "base/atomic.h"
#include <stdbool.h>

/* Whether heavy fences work in this process; registers it. Thread: any, again and again. */
bool kith__asymmetric_open(void);

static inline void kith__fence_light(bool asymmetric)
{
    if (asymmetric)
        kith__fence_compiler();
    else
        kith__fence_seq();
}

void kith__fence_heavy(void);

#endif
