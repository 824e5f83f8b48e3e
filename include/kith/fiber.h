/* SPDX-License-Identifier: BSD-2-Clause
 *
 * A fiber is an actor that is written as one function: it has a reference and a mailbox as every
 * actor has, and a stack of its own, so it can wait in the middle of its code. Whatever takes a
 * kith_co may wait: the fiber is suspended then, and its worker runs others.
 *
 *     static void producer(kith_self *self, kith_co *co, void *arg)
 *     {
 *         kith_chan *out = arg;
 *         for (int i = 0; i < 10; i++)
 *             if (kith_chan_send(co, out, &i, KITH_FOREVER) != KITH_OK)
 *                 return;
 *         kith_chan_close(out);
 *     }
 *     ...
 *     kith_go(self, producer, chan);
 *
 * A fiber ends when its function returns; kith_fail before that makes it end with a reason. It
 * stays on the worker on which it first ran, so addresses of thread-local variables stay good in
 * it; what is in them (errno, too) may be another's after a wait. A fiber that computes for long
 * without waiting keeps its worker: kith_yield lets others run. What seems to wait but does not
 * have to gives way by itself every 200 us.
 *
 * kith_stop on a fiber, a scope (scope.h), a future (future.h) and the shutdown cancel it: from
 * then on whatever may wait answers KITH_ECANCELED, at once, and the fiber is expected to clean up
 * and return. kith_shield holds that back for a while, for a clean-up that has to wait.
 */
#ifndef KITH_FIBER_H
#define KITH_FIBER_H

#include <kith/actor.h>
#include <kith/co.h>
#include <kith/err.h>
#include <kith/net.h>
#include <kith/ref.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

KITH_BEGIN_DECLS

typedef void kith_fiber_fn(kith_self *self, kith_co *co, void *arg);

/* Zero in any field means its default. */
typedef struct kith_fiber_options {
    size_t stack_bytes; /* rounded up to a power of two, 16 KiB to 8 MiB; default 64 KiB */
    size_t arg_bytes;   /* > 0: the fiber gets a copy of that many bytes of arg; at most 4096 */
    kith_ref parent;    /* default: the caller */
    unsigned worker;    /* 1 for the first worker: where it runs; default: where it is first run */
    kith_sock sock;     /* a socket of the caller's that becomes the fiber's; default: none */
    uint32_t mailbox_max; /* messages that may wait to be received (actor.h); default: any number */
} kith_fiber_options;

/* kith_go(self, fn, arg): makes a fiber that runs fn(self, co, arg); its name in logs is fn's.
 * kith_go_with takes options, too.
 * Owns: arg is handed on as it is, and must live as long as the fiber uses it, unless
 * options.arg_bytes says that it is copied. Thread: self's. Blocks: no.
 * Errors (kith_ref_error): KITH_EINVAL, KITH_EPERM, KITH_ENOMEM (no memory, slot or stack),
 * KITH_ESHUTDOWN, KITH_EBADREF or KITH_EDEAD (parent), KITH_EBADREF (sock, not the caller's: it
 * then stays whose it is). */
#define kith_go(self, fn, arg) kith_go_named((self), (fn), (arg), #fn, NULL)
/* options is ... so that &(kith_fiber_options){.a = 1, .b = 2} needs no parentheses around it. */
#define kith_go_with(self, fn, arg, ...) kith_go_named((self), (fn), (arg), #fn, __VA_ARGS__)
/* What both expand to; name must live as long as the runtime. Owns, Blocks, Errors and Thread: as
 * kith_go. */
KITH_API kith_ref kith_go_named(kith_self *self, kith_fiber_fn *fn, void *arg, const char *name,
                                const kith_fiber_options *options);

/* Goes behind the fibers of this worker that may go on; they, and all else that is ready, then get
 * their turns in rounds, so some may still wait when this one goes on. On an attached thread:
 * sched_yield.
 * Thread: co's. Blocks: no longer than the others run. Errors: KITH_ECANCELED, KITH_EPERM. */
KITH_API kith_err kith_yield(kith_co *co);

/* Whether this fiber is canceled (and not shielded).
 * Thread: co's. Blocks: no. Errors: false. */
KITH_API bool kith_canceled(const kith_co *co);

/* on: cancellation is held back from now on, so that a clean-up may wait; off: it counts again.
 * Calls nest. Thread: co's. Blocks: no. Errors: KITH_EPERM, KITH_EINVAL (off without on). */
KITH_API kith_err kith_shield(kith_co *co, bool on);

/* Of all fibers that ran one function. */
typedef struct kith_fiber_stats {
    const char *name;
    uint64_t spawned;        /* ever */
    uint64_t alive;          /* now */
    size_t stack_bytes;      /* the largest stack that was asked for */
    size_t stack_used_bytes; /* the high-water mark, in whole pages: measured when one is suspended
                                (the depth there), and when one ends (the first 16, then one in
                                64) */
} kith_fiber_stats;

/* Fills up to max entries, one for each function that was spawned as a fiber so far, in no order;
 * returns how many there are.
 * Thread: self's. Blocks: no. Errors: 0. */
KITH_API size_t kith_fiber_stats_get(kith_self *self, kith_fiber_stats *stats, size_t max);

KITH_END_DECLS

#endif
