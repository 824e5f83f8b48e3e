/* SPDX-License-Identifier: BSD-2-Clause
 *
 * A future as the files of csp see it: future.c (one) and gather.c (many).
 *
 *                complete   cancel   wait in line   leave the line   drop
 *   complete       lock      lock       lock            lock         the caller's duty: a reference
 *   all others     lock      lock       lock            lock         the same
 */
#ifndef KITH__CSP_FUTURE_H
#define KITH__CSP_FUTURE_H

#include "base/log.h"
#include "csp/lock.h"
#include "csp/waiter.h"
#include <kith/future.h>

struct kith__then;

struct kith_future {
    struct kith__lock lock;
    KITH__ATOMIC(uint32_t) refs;
    KITH__ATOMIC(uint32_t) done;  /* U1; never taken back */
    KITH__ATOMIC(uint8_t) looked; /* somebody knows the status */
    KITH__ATOMIC(uint8_t) taken;  /* somebody has the result */
    bool promise;                 /* constant */
    bool canceled;                /* under lock */
    struct kith__waiters waiters; /* under lock; empty for ever once it is done */
    struct kith__then *thens;     /* under lock, newest first; the same */
    struct kith_co *co;           /* under lock: of its task, while that may be canceled */
    kith_err status;              /* these two are constant once it is done */
    void *result;
    void (*drop)(void *result);
    kith_async_fn *fn;
    const char *name;
    struct kith_runtime *rt;  /* not to be looked into once it is done: it may outlive that */
    kith_allocator allocator; /* the runtime's */
    struct kith__log log;     /* the runtime's, or silent */
};

static inline bool kith__future_is_done(const struct kith_future *f)
{
    return kith__load_acq(&f->done) != 0; /* acquire U2; pairs with U1: status and result */
}

/* Stands in line until the future ends (KITH_OK, and w is fired or delivered then), or not: *done says
 * that it has ended, else the error why. */
kith_err kith__future_join(struct kith__ctx *ctx, struct kith_future *f, struct kith__waiter *w,
                           bool *done);
/* Whether w still stood in line; if not, it was fired or delivered. */
bool kith__future_leave(struct kith__ctx *ctx, struct kith_future *f, struct kith__waiter *w);

/* gather.c: w, whose item is its group, has been taken out of its future's line, under that future's
 * lock. True: its co is to be fired when the lock has been left. */
bool kith__group_deliver(struct kith__ctx *ctx, struct kith__waiter *w, kith_err status);

#endif
