/* SPDX-License-Identifier: BSD-2-Clause
 *
 * A timer is a message in the future, from an actor (or an attached thread) to itself. It never
 * arrives early; messages with equal deadlines arrive in the order in which they were set. Once
 * kith_timer_cancel has returned KITH_OK, its message is not handled any more, even if it was
 * already on its way. An actor's timers end with it.
 */
#ifndef KITH_TIMER_H
#define KITH_TIMER_H

#include <kith/actor.h>
#include <kith/err.h>
#include <kith/msg.h>
#include <kith/time.h>

KITH_BEGIN_DECLS

/* kith_at(self, deadline, T, .field = value ...): sends a T to self at deadline, once. Returns its
 * handle. Use kith_in(duration) for a deadline from now; KITH_FOREVER is an error.
 * Owns: copies the body; the type's drop runs if the timer is canceled. Thread: self's. Blocks: no.
 * Errors (kith_timer_error): KITH_EPERM, KITH_EINVAL, KITH_ENOMEM, KITH_EAGAIN, KITH_ESHUTDOWN. */
#define kith_at(self, deadline, ...) kith_timer_at((self), (deadline), KITH_VALUE_(__VA_ARGS__))

/* kith_every(self, period_ns, T, .field = value ...): sends a T to self every period_ns, the first
 * after one period. Ticks that come due while the last one still waits to be handled are skipped,
 * not piled up. The type must have no drop, because the body is copied for each tick.
 * Owns: copies the body. Thread: self's. Blocks: no.
 * Errors: as kith_at; KITH_EINVAL for period_ns 0 and for a type with a drop. */
#define kith_every(self, period_ns, ...)                                                           \
    kith_timer_every((self), (period_ns), KITH_VALUE_(__VA_ARGS__))

/* What the two expand to: for a type and a body that exist already.
 * Owns: copies the body. Thread: self's. Blocks: no. Errors: as kith_at, as kith_every. */
KITH_API kith_timer kith_timer_at(kith_self *self, kith_time deadline, const kith_type *type,
                                  const void *body);
KITH_API kith_timer kith_timer_every(kith_self *self, kith_time period_ns, const kith_type *type,
                                     const void *body);

/* Ends a timer of self's, in constant time.
 * Thread: self's. Blocks: no. Errors: KITH_EPERM (not self's timer), KITH_EBADREF (made up, or
 * already over). */
KITH_API kith_err kith_timer_cancel(kith_self *self, kith_timer timer);

/* The message of kith_receive_timeout. */
KITH_SYSTEM_MESSAGE(kith_idle, { kith_time idle_ns; });

/* Sends a kith_idle to self whenever no message has been handled for idle_ns, again and again while
 * the silence lasts; 0 ends it. A kith_idle itself does not count as a message.
 * Thread: self's, an actor's. Blocks: no. Errors: KITH_EPERM, KITH_EINVAL, KITH_ENOMEM,
 * KITH_EAGAIN, KITH_ESHUTDOWN. */
KITH_API kith_err kith_receive_timeout(kith_self *self, kith_time idle_ns);

KITH_END_DECLS

#endif
