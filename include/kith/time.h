/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Time is monotonic nanoseconds since an arbitrary start (CLOCK_MONOTONIC), and every deadline is
 * absolute: it can be handed from call to call and still means the same moment. kith_in turns a
 * duration into a deadline. KITH_NOWAIT has always passed, KITH_FOREVER never does.
 */
#ifndef KITH_TIME_H
#define KITH_TIME_H

#include <kith/macros.h>
#include <stdint.h>

KITH_BEGIN_DECLS

typedef uint64_t kith_time;

#define KITH_NOWAIT ((kith_time)0)
#define KITH_FOREVER UINT64_MAX

#define KITH_NS ((kith_time)1)
#define KITH_US ((kith_time)1000)
#define KITH_MS ((kith_time)1000000)
#define KITH_SECOND ((kith_time)1000000000)
#define KITH_MINUTE (60 * KITH_SECOND)
#define KITH_HOUR (60 * KITH_MINUTE)

/* The time now, in nanoseconds.
 * Thread: any. Blocks: no. Errors: none. */
KITH_API kith_time kith_now(void);

/* The deadline duration_ns from now; KITH_FOREVER if that lies beyond the end of time.
 * Thread: any. Blocks: no. Errors: none. */
KITH_API kith_time kith_in(kith_time duration_ns);

KITH_END_DECLS

#endif
