/* SPDX-License-Identifier: BSD-2-Clause
 *
 * The real clock, and sums of times that do not wrap.
 * Called by: the pool's driver (which is where the rest of the library gets its time), kith_now.
 * Invariants: kith__clock_now never goes back. A sum of times is never less than either: it stops at
 *   KITH_FOREVER, so a far deadline is far and not in the past.
 * Threads: any.
 * Why CLOCK_MONOTONIC and not CLOCK_BOOTTIME or _RAW: it is what epoll and condition variables sleep
 *   by, and it costs no system call.
 */
#ifndef KITH_BASE_CLOCK_H
#define KITH_BASE_CLOCK_H

#include <kith/time.h>
#include <time.h>

/* Nanoseconds of CLOCK_MONOTONIC. */
kith_time kith__clock_now(void);

static inline struct timespec kith__timespec_of(kith_time t)
{
    return (struct timespec){.tv_sec = (time_t)(t / KITH_SECOND),
                             .tv_nsec = (long)(t % KITH_SECOND)};
}

/* now + duration, or KITH_FOREVER if that is beyond the end of time. */
static inline kith_time kith__time_add(kith_time now, kith_time duration)
{
    return duration > KITH_FOREVER - now ? KITH_FOREVER : now + duration;
}

#endif
