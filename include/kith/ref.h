/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Handles are values: copy them, store them, send them in messages. Each is one 64-bit word of
 * kind, runtime, slot and generation. A handle to something that has ended is stale for ever: it
 * reaches nothing, and never something new. A generation is never used twice in a slot.
 *
 * A call that makes a handle and fails returns one that carries the reason: kith_ref_error gives
 * it. Such a handle may be used like any other; the calls that get it answer KITH_EBADREF.
 */
#ifndef KITH_REF_H
#define KITH_REF_H

#include <kith/err.h>
#include <stdbool.h>
#include <stdint.h>

KITH_BEGIN_DECLS

typedef struct kith_ref {
    uint64_t bits;
} kith_ref; /* an actor, or the asker of a question */

typedef struct kith_timer {
    uint64_t bits;
} kith_timer;

typedef struct kith_sock {
    uint64_t bits;
} kith_sock;

/* KITH_OK for a handle that some call made, else the reason why it made none.
 * It does not tell whether the thing still lives: nothing can, without a race; kith_monitor tells
 * when it ends. Thread: any. Blocks: no. Errors: the reason; KITH_EBADREF for all zero. */
KITH_API kith_err kith_ref_error(kith_ref ref);
/* As kith_ref_error. Thread: any. Blocks: no. */
KITH_API kith_err kith_timer_error(kith_timer timer);
/* As kith_ref_error. Thread: any. Blocks: no. */
KITH_API kith_err kith_sock_error(kith_sock sock);

static inline bool kith_ref_same(kith_ref a, kith_ref b)
{
    return a.bits == b.bits;
}

static inline bool kith_sock_same(kith_sock a, kith_sock b)
{
    return a.bits == b.bits;
}

static inline bool kith_timer_same(kith_timer a, kith_timer b)
{
    return a.bits == b.bits;
}

KITH_END_DECLS

#endif
