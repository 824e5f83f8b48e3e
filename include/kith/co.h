/* SPDX-License-Identifier: BSD-2-Clause
 *
 * kith_co * in a signature means: this may wait. A fiber has one (fiber.h), and waiting suspends
 * it; an attached thread has one (runtime.h), and waiting blocks that thread. A handler has none,
 * so it cannot wait by accident.
 *
 * In a fiber that is canceled everything that may wait answers KITH_ECANCELED, also where it would
 * not have to wait. KITH_EDEADLK is what the function of kith_main hears, from then on, when all
 * wait without a deadline and nobody can wake anybody; the log says who waits in what.
 * An attached thread hears KITH_ESHUTDOWN when the runtime ends.
 *
 * A message that kith_receive or kith_ask gives out belongs to the co and lives until the next
 * kith_receive, kith_ask or detach on it; kith_keep (actor.h) takes the last one given out away
 * from it.
 */
#ifndef KITH_CO_H
#define KITH_CO_H

#include <kith/actor.h>
#include <kith/err.h>
#include <kith/msg.h>
#include <kith/time.h>
#include <stdbool.h>

KITH_BEGIN_DECLS

typedef struct kith_co kith_co;

/* Waits for the next message to this co and gives it out.
 * Owns: *msg is the co's, until the next receive or ask. Thread: co's. Blocks: until deadline.
 * Errors: KITH_ETIMEOUT, KITH_ECANCELED, KITH_ESHUTDOWN, KITH_EDEADLK, KITH_ENOMEM (for the
 * deadline), KITH_EPERM, KITH_EINVAL; *msg is then NULL. */
KITH_API kith_err kith_receive(kith_co *co, kith_time deadline, kith_msg **msg);

/* Whether a message is the one that is waited for. */
typedef bool kith_match_fn(const kith_msg *msg, void *arg);

/* Selective receive: the first message for which match answers true; the others wait, in order. No
 * message is shown to match twice in one call. Owns, Blocks, Errors and Thread: as kith_receive. */
KITH_API kith_err kith_receive_if(kith_co *co, kith_time deadline, kith_match_fn *match, void *arg,
                                  kith_msg **msg);

/* kith_receive_only(co, T, deadline, &msg): the first message of type T.
 * Owns, Thread, Blocks, Errors: as kith_receive. */
#define kith_receive_only(co, T, deadline, msg)                                                    \
    kith_receive_type((co), (deadline), &kith_type_##T, (msg))
/* What kith_receive_only expands to. Owns, Blocks, Errors and Thread: as kith_receive. */
KITH_API kith_err kith_receive_type(kith_co *co, kith_time deadline, const kith_type *type,
                                    kith_msg **msg);

/* kith_ask(co, to, deadline, &reply, T, .field = value ...): sends a T and waits for the answer.
 * Messages that come meanwhile wait for kith_receive, in order. An answer after the deadline is
 * dropped and counted.
 * Owns: as kith_receive. Thread: co's. Blocks: until deadline.
 * Errors: KITH_ETIMEOUT, KITH_ECANCELED (the question may have been handled, as after a timeout),
 * KITH_EDEAD (at once), KITH_EUNHANDLED (at once), KITH_ESHUTDOWN, KITH_EDEADLK, and those of
 * kith_send; *reply is then NULL. */
#define kith_ask(co, to, deadline, reply, ...)                                                     \
    kith_ask_copy((co), (to), (deadline), (reply), KITH_VALUE_(__VA_ARGS__))
/* What kith_ask expands to. Owns, Blocks, Errors and Thread: as kith_ask. */
KITH_API kith_err kith_ask_copy(kith_co *co, kith_ref to, kith_time deadline, kith_msg **reply,
                                const kith_type *type, const void *body);

/* kith_send_by(co, to, deadline, T, .field = value ...): kith_send with a deadline, for a mailbox
 * that is bounded and full. Where there is room it does not wait, and so cannot be canceled.
 * Owns: as kith_send. Thread: co's. Blocks: until deadline.
 * Errors: KITH_ETIMEOUT, and those of kith_send. */
#define kith_send_by(co, to, deadline, ...)                                                        \
    kith_send_by_copy((co), (to), (deadline), KITH_VALUE_(__VA_ARGS__))
/* What kith_send_by expands to. Owns, Blocks, Errors and Thread: as kith_send_by. */
KITH_API kith_err kith_send_by_copy(kith_co *co, kith_ref to, kith_time deadline,
                                    const kith_type *type, const void *body);

/* Waits until deadline; KITH_OK when it has come. Thread: co's. Blocks: until deadline.
 * Errors: KITH_ECANCELED, KITH_ESHUTDOWN, KITH_EDEADLK (that stands already), KITH_ENOMEM,
 * KITH_EPERM, KITH_EINVAL (KITH_FOREVER). */
KITH_API kith_err kith_sleep(kith_co *co, kith_time deadline);

/* The self of a co, for the calls that need one.
 * Thread: co's. Blocks: no. Errors: NULL on another thread, after kith_detach, and for NULL. */
KITH_API kith_self *kith_co_self(kith_co *co);

KITH_END_DECLS

#endif
