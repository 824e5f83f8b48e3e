/* SPDX-License-Identifier: BSD-2-Clause
 *
 * The real clock: CLOCK_MONOTONIC in nanoseconds.
 * Called by: see clock.h; kith_now and kith_in are public.
 * Invariants: never goes back, never fails.
 * Threads: any; no state.
 * Why 64 bits of nanoseconds: 584 years; a plain integer compares and subtracts in one instruction.
 */
#include "base/clock.h"

#include "base/assert.h"

#include <time.h>

kith_time kith__clock_now(void)
{
    struct timespec ts;
    int rc = clock_gettime(CLOCK_MONOTONIC, &ts);
    kith__assert(rc == 0); /* every Linux has this clock */
    return (kith_time)ts.tv_sec * KITH_SECOND + (kith_time)ts.tv_nsec;
}

kith_time kith_now(void)
{
    return kith__clock_now();
}

kith_time kith_in(kith_time duration_ns)
{
    return kith__time_add(kith__clock_now(), duration_ns);
}
