/* SPDX-License-Identifier: BSD-2-Clause
 *
 * An actor is a state, a mailbox and a behaviour: a table of handlers, one for each type of message
 * that it takes. It handles one message at a time, so its state needs no lock; different actors run
 * on different cores at the same time.
 *
 *     KITH_ON(account, deposit)   -- in scope: self, me (struct account *), msg (const deposit *)
 *     {
 *         me->cents += msg->cents;
 *         return KITH_OK;
 *     }
 *
 * expands to two prototypes, a thunk of the handlers' common type, and the head of a definition:
 *
 *     struct account;
 *     static kith_err account_on_deposit(kith_self *self, struct account *me, const deposit *msg);
 *     static kith_err account_take_deposit(kith_self *self, void *me, const void *msg)
 *     { return account_on_deposit(self, (struct account *)me, (const deposit *)msg); }
 *     static kith_err account_on_deposit(kith_self *self, struct account *me, const deposit *msg)
 *
 * A handler that returns an error fails its actor: the actor dies with that reason. An actor also
 * dies by kith_stop (reason KITH_OK). Death runs the behaviour's stop hook, cancels the actor's
 * timers and questions, closes its sockets, tells those who monitor it, and sends what is left in
 * its mailbox to the dead letters. Its children live on, until they are stopped or the runtime
 * shuts down, leaves first.
 *
 * Order: messages from one sender to one receiver arrive in the order in which they were sent. A
 * signal (stop, down) overtakes ordinary messages that wait: at most 64 more of them, or those of
 * some 30 microseconds, are handled before it.
 *
 * Bounded mailboxes: a behaviour may say how many messages may wait in its actors' mailboxes
 * (mailbox_max). What is counted is what was sent, posted, forwarded or asked, until it is taken
 * out and handled; signals, timers, answers and kith's own messages are not counted, and always get
 * in. Never more than mailbox_max are in the mailbox and on their way into it. To a mailbox that is
 * full a handler's send answers KITH_EFULL, and the message stays the caller's; in a fiber and on
 * an attached thread kith_send, kith_post, kith_forward and kith_ask wait for room (KITH_EFULL only
 * if it is their own mailbox). Those who wait are served first, oldest first, room for one message
 * each, when half of the mailbox is free; until then it is full for all others. The room of what
 * was handled comes back in batches of up to half of the bound, and all of it when the actor's turn
 * ends, or the fiber waits for its next message.
 *
 * kith_self * is who is acting: the actor inside its handler, or an attached thread (runtime.h). It
 * is valid in that handler, on that thread; elsewhere every call answers KITH_EPERM.
 */
#ifndef KITH_ACTOR_H
#define KITH_ACTOR_H

#include <kith/err.h>
#include <kith/msg.h>
#include <kith/ref.h>
#include <kith/time.h>
#include <stdint.h>

KITH_BEGIN_DECLS

/* ---- behaviours ---- */

typedef kith_err kith_handler_fn(kith_self *self, void *me, const void *msg);

typedef struct kith_handler {
    const kith_type *type;
    kith_handler_fn *fn;
} kith_handler;

/* A behaviour is constant, and must live as long as the runtime (make it static). */
typedef struct kith_behavior {
    const char *name;             /* for logs; NULL is "?" */
    size_t state_bytes;           /* zeroed state, allocated with the actor; may be 0 */
    const kith_handler *handlers; /* KITH_HANDLERS; ends with a NULL type; NULL for none */
    /* Runs inside kith_spawn, on the spawner's thread, as the new actor; arg is kith_spawn's. An
     * error ends the actor at once (its stop hook does not run) and is what kith_spawn reports. */
    kith_err (*init)(kith_self *self, void *me, const void *arg);
    /* Runs once when the actor dies, as the actor, with the reason; it may still send. */
    void (*stop)(kith_self *self, void *me, kith_err reason);
    /* Takes the messages that no handler takes; NULL sends them to the dead letters. */
    kith_err (*other)(kith_self *self, void *me, const kith_msg *msg);
    /* How many messages may wait in the mailbox: see "Bounded mailboxes" above; 0: any number. */
    uint32_t mailbox_max;
} kith_behavior;

#define KITH_ON(B, T)                                                                              \
    struct B;                                                                                      \
    static kith_err B##_on_##T(kith_self *self, struct B *me, const T *msg);                       \
    static kith_err B##_take_##T(kith_self *self, void *me, const void *msg)                       \
    {                                                                                              \
        return B##_on_##T(self, (struct B *)me, (const T *)msg);                                   \
    }                                                                                              \
    static kith_err B##_on_##T(KITH_UNUSED kith_self *self, KITH_UNUSED struct B *me,              \
                               KITH_UNUSED const T *msg)

#define KITH_HANDLER(B, T) {&kith_type_##T, B##_take_##T},

/* The table of up to 32 handlers of B, each of them defined by KITH_ON above it. (C++ has no
 * literals of arrays: there, define a table {KITH_HANDLER(B, T) KITH_HANDLER(B, U) {NULL, NULL}}
 * and name it.) */
#define KITH_HANDLERS(B, ...)                                                                      \
    (const kith_handler[])                                                                         \
    {                                                                                              \
        KITH_EACH_(KITH_HANDLER, B, __VA_ARGS__)                                                   \
        {                                                                                          \
            NULL, NULL                                                                             \
        }                                                                                          \
    }

/* ---- life ---- */

typedef struct kith_spawn_options {
    kith_ref parent; /* zero: the caller */
    unsigned worker; /* 1 for the first worker: it runs there and is not stolen; 0: anywhere */
} kith_spawn_options;

/* Makes an actor and runs its init; returns the reference to it. kith_spawn_with takes options, too
 * (NULL: the defaults).
 * Owns: arg and options stay the caller's and are not used after the return. Thread: self's.
 * Blocks: no, but runs init.
 * Errors (kith_ref_error): KITH_EINVAL, KITH_EPERM, KITH_ENOMEM, KITH_EAGAIN (no free slot),
 * KITH_ESHUTDOWN, KITH_EBADREF or KITH_EDEAD (parent), or what init returned. */
KITH_API kith_ref kith_spawn(kith_self *self, const kith_behavior *behavior, const void *arg);
/* kith_spawn with options (NULL: the defaults). Owns, Blocks, Errors and Thread: as kith_spawn. */
KITH_API kith_ref kith_spawn_with(kith_self *self, const kith_behavior *behavior, const void *arg,
                                  const kith_spawn_options *options);

/* The reference to self; of the parent (zero if none); of the sender of the message being handled
 * (zero if none). Sending to the sender of a question, also later, answers it.
 * Thread: self's. Blocks: no. Errors: a zero reference. */
KITH_API kith_ref kith_self_ref(kith_self *self);
/* Its parent; zero if it has none. Thread: self's. Blocks: no. Errors: a zero reference. */
KITH_API kith_ref kith_parent(kith_self *self);
/* Who sent the message in hand. Thread: self's. Blocks: no. Errors: a zero reference. */
KITH_API kith_ref kith_sender(kith_self *self);

/* Tells an actor to stop, as a signal: after the message that it is handling, or very few more. Its
 * reason is KITH_OK. Stopping oneself ends the current handler normally and then the actor.
 * Thread: self's. Blocks: no. Errors: KITH_EPERM, KITH_EBADREF, KITH_EDEAD, KITH_ENOMEM. */
KITH_API kith_err kith_stop(kith_self *self, kith_ref actor);

/* Marks self as failed for this reason and returns it, so that a handler can say
 * `return kith_fail(self, reason)`. The actor dies when the handler returns, whatever it returns.
 * An attached thread does not die: kith_main then returns 1. KITH_OK stands for KITH_EFAILED.
 * Thread: self's. Blocks: no. Errors: KITH_EPERM; else reason. */
KITH_API kith_err kith_fail(kith_self *self, kith_err reason);

/* ---- messages ---- */

/* kith_send(self, to, T, .field = value ...): sends a T.
 * Owns: copies the body; if it fails, what the fields own stays the caller's, except after
 * KITH_EDEAD, when the dead letters have taken it. Thread: self's.
 * Blocks: no; but a fiber or an attached thread while a bounded mailbox is full (kith_send_by of
 * co.h has a deadline).
 * Errors: KITH_EPERM, KITH_EBADREF, KITH_EDEAD, KITH_ENOMEM, KITH_EINVAL, KITH_EMSGSIZE,
 * KITH_EFULL; while it waits also KITH_ECANCELED, KITH_ESHUTDOWN, KITH_EDEADLK. A canceled fiber
 * can still send where there is room. */
#define kith_send(self, to, ...) kith_send_copy((self), (to), KITH_VALUE_(__VA_ARGS__))
/* What kith_send expands to. Owns, Blocks, Errors and Thread: as kith_send. */
KITH_API kith_err kith_send_copy(kith_self *self, kith_ref to, const kith_type *type,
                                 const void *body);

/* Sends a message made by kith_new, or kept by kith_keep, without copying it.
 * Owns: takes body if it returns KITH_OK or KITH_EDEAD (the dead letters have it); after any other
 * error body stays the caller's. Thread: self's. Blocks: as kith_send.
 * Errors: KITH_EPERM, KITH_EBADREF, KITH_EDEAD, KITH_EINVAL; KITH_EFULL and the others of waiting
 * as kith_send. */
KITH_API KITH_MUST_CHECK kith_err kith_post(kith_self *self, kith_ref to, void *body);

/* Sends the message being handled on to another actor, with its sender, without copying it. The
 * handler's msg is gone after KITH_OK and KITH_EDEAD.
 * Thread: self's, inside a handler. Blocks: as kith_send.
 * Errors: KITH_EPERM (no message in hand), KITH_EBADREF, KITH_EDEAD; KITH_EFULL and the others of
 * waiting as kith_send. */
KITH_API kith_err kith_forward(kith_self *self, kith_ref to);

/* kith_reply(self, T, .field = value ...): answers the message being handled, in its memory if it
 * fits there: after KITH_OK the handler's msg is gone, and its drop has run. If whoever asked is
 * dead or does not wait any more, the answer is a dead letter or a late reply (kith_stats), and
 * this is KITH_OK all the same: so `return kith_reply(...)` does not make an actor die of its
 * clients.
 * Owns: as kith_send. Thread: self's, inside a handler. Blocks: no.
 * Errors: KITH_EPERM (no message in hand), KITH_EBADREF (it has no sender), KITH_EINVAL,
 * KITH_ENOMEM, KITH_EMSGSIZE. */
#define kith_reply(self, ...) kith_reply_copy((self), KITH_VALUE_(__VA_ARGS__))
/* What kith_reply expands to. Owns, Blocks, Errors and Thread: as kith_reply. */
KITH_API kith_err kith_reply_copy(kith_self *self, const kith_type *type, const void *body);

/* Takes the message being handled out of the runtime's hands; returns its body.
 * Owns: the caller owns the body, to kith_post or kith_discard it later.
 * Thread: self's, inside a handler. Blocks: no. Errors: NULL. */
KITH_API void *kith_keep(kith_self *self);

/* ---- questions ---- */

/* What runs when a question is answered or will not be: status is KITH_OK and reply the answer, or
 * KITH_ETIMEOUT, KITH_EDEAD, KITH_EUNHANDLED, KITH_ESHUTDOWN and reply is NULL. It runs as a
 * handler of the asker; an error fails the asker. */
typedef kith_err kith_then_fn(kith_self *self, void *me, void *ctx, kith_err status,
                              const kith_msg *reply);

/* KITH_THEN(B, name) { ... } defines B_then_name, to be given to kith_ask_then; in scope: self,
 * me (struct B *), ctx, status, reply. */
#define KITH_THEN(B, name)                                                                         \
    struct B;                                                                                      \
    static kith_err B##_then_##name##_typed(kith_self *self, struct B *me, void *ctx,              \
                                            kith_err status, const kith_msg *reply);               \
    static kith_err B##_then_##name(kith_self *self, void *me, void *ctx, kith_err status,         \
                                    const kith_msg *reply)                                         \
    {                                                                                              \
        return B##_then_##name##_typed(self, (struct B *)me, ctx, status, reply);                  \
    }                                                                                              \
    static kith_err B##_then_##name##_typed(KITH_UNUSED kith_self *self, KITH_UNUSED struct B *me, \
                                            KITH_UNUSED void *ctx, KITH_UNUSED kith_err status,    \
                                            KITH_UNUSED const kith_msg *reply)

/* kith_ask_then(self, to, deadline, then, ctx, T, .field = value ...): sends a T and runs then,
 * once, when the answer comes, the deadline passes or the target is dead. An answer after that is
 * dropped and counted (kith_stats.late_replies).
 * Owns: ctx is handed to then, and is the caller's if this fails; if self dies first, then does not
 * run. Thread: self's; an actor's, no fiber's or attached thread's (there: kith_ask). Blocks: no.
 * Errors: as kith_send, but a dead target is told to then; KITH_EINVAL. */
#define kith_ask_then(self, to, deadline, then, ctx, ...)                                          \
    kith_ask_then_copy((self), (to), (deadline), (then), (ctx), KITH_VALUE_(__VA_ARGS__))
KITH_API KITH_MUST_CHECK kith_err kith_ask_then_copy(kith_self *self, kith_ref to,
                                                     kith_time deadline, kith_then_fn *then,
                                                     void *ctx, const kith_type *type,
                                                     const void *body);

/* ---- watching ---- */

/* What a monitor sends: who is dead, and of what. KITH_OK: it was stopped. KITH_EDEAD: it was dead
 * already when kith_monitor was called, and the reason is lost. */
KITH_SYSTEM_MESSAGE(kith_down, {
    kith_ref ref;
    kith_err reason;
});

/* Asks for one kith_down message when actor dies; at once if it is dead. Monitors add up: two
 * calls, two messages.
 * Thread: self's. Blocks: no. Errors: KITH_EPERM, KITH_EBADREF, KITH_ENOMEM. */
KITH_API kith_err kith_monitor(kith_self *self, kith_ref actor);

/* Ends all monitors that self has on actor; a kith_down that is on its way still arrives.
 * Thread: self's. Blocks: no. Errors: KITH_EPERM, KITH_EBADREF, KITH_EDEAD, KITH_ENOMEM. */
KITH_API kith_err kith_demonitor(kith_self *self, kith_ref actor);

/* What a subscriber to the dead letters gets for each message that nobody took. */
KITH_SYSTEM_MESSAGE(kith_dead_letter, {
    kith_ref to;
    kith_ref from;
    const kith_type *type;
    kith_err reason; /* KITH_EDEAD or KITH_EUNHANDLED */
});

/* From now on, sends a kith_dead_letter to self for each message that nobody takes, until self
 * dies or unsubscribes. A kith_dead_letter that nobody takes is not reported again. Subscribing
 * twice is subscribing once.
 * Thread: self's. Blocks: no. Errors: KITH_EPERM, KITH_ENOMEM. */
KITH_API kith_err kith_dead_letters_subscribe(kith_self *self);

/* Ends that; a kith_dead_letter that is on its way still arrives. Without a subscription it does
 * nothing.
 * Thread: self's. Blocks: no. Errors: KITH_EPERM. */
KITH_API kith_err kith_dead_letters_unsubscribe(kith_self *self);

KITH_END_DECLS

#endif
