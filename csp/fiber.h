/* SPDX-License-Identifier: BSD-2-Clause
 *
 * A fiber: a task that has a stack of its own, so its code can wait in the middle. Used by the files
 * of csp that start fibers (future.c, scope.c) and by the actor layer.
 */
#ifndef KITH__CSP_FIBER_H
#define KITH__CSP_FIBER_H

#include "csp/context.h"
#include "csp/csp.h"
#include "sched/co.h"

struct kith__fiber;

/* Runs once, in the fiber's last turn, when everything of the fiber is gone: failed is KITH_OK or
 * what it called kith_fail with. */
typedef void kith__fiber_end_fn(struct kith__ctx *ctx, void *arg, kith_err failed);

/* Runs in its last turn before that, while its co can still be told something: whoever knows the co
 * forgets it now. */
typedef void kith__fiber_before_end_fn(struct kith__ctx *ctx, struct kith__fiber *fiber);

/* In a scope's list: csp/scope.c. */
struct kith__sibling {
    struct kith__sibling *next;
    struct kith__sibling *prev;
};

/* It stands at the high end of its stack, so that an idle fiber costs one page and its task. */
struct kith__fiber {
    struct kith_co co; /* first: a task's state is its co */
    struct kith__context context;
    struct kith__context *back; /* the worker's, while the fiber runs */
    struct kith__stack *stack;
    struct kith__fiber_kind *kind;
    kith_fiber_fn *fn;
    void *arg;
    char *lowest; /* the deepest that it was seen suspended at */
    kith__fiber_before_end_fn *before_end;
    kith__fiber_end_fn *on_end;
    void *on_end_arg;
    struct kith__sibling sibling;
    uint64_t sock;             /* of its spawner's, which becomes its own when it starts; 0: none */
    struct kith__fibers *home; /* of its worker, from its first turn on */
    struct kith__fiber *next;  /* of those who may go on */
    bool queued;               /* among them */
    bool begins;               /* it has not had its first turn */
    bool ended;                /* its function has returned */
};

/* Of one worker: the fibers that may go on. */
struct kith__fibers {
    struct kith_self task; /* stands in the worker's list of placed tasks while there are any */
    struct kith__fiber *first;
    struct kith__fiber *last;
    uint32_t count;
    bool placed;               /* the task is in that list */
    bool turning;              /* it is its turn */
    bool timed;                /* constant: its turn ends when the clock is due */
    bool direct;               /* constant: one may switch to the next by itself */
    struct kith__fiber *ended; /* has just switched away for the last time */
};

/* ---- run.c ---- */

extern const struct kith__task_ops kith__fiber_ops;
extern const struct kith__co_ops kith__fiber_co_ops;

/* Before any fiber runs on worker `index` of rt. */
void kith__fibers_init(struct kith_runtime *rt, uint32_t index, struct kith__fibers *home);
/* A fiber's function has returned: its last switch. */
void kith__fiber_leave(struct kith__fiber *fiber);

/* ---- fiber.c ---- */

/* On the worker's stack, which owns the fiber's inbox: everything of it is given back. */
void kith__fiber_end(struct kith__ctx *ctx, struct kith__fiber *fiber);
void kith__fiber_overflowed(const struct kith__fiber *fiber);

/* Makes a fiber, and does not start it yet: on_end may be set, and its task be remembered. NULL and
 * *err: KITH_EINVAL, KITH_ENOMEM, KITH_ESHUTDOWN, KITH_EBADREF or KITH_EDEAD (parent). */
struct kith__fiber *kith__fiber_new(struct kith__ctx *ctx, kith_fiber_fn *fn, void *arg,
                                    const char *name, const kith_fiber_options *options,
                                    kith_err *err);
/* It may run from now on, and so may be gone when this returns. */
kith_ref kith__fiber_start(struct kith__ctx *ctx, struct kith__fiber *fiber);

#endif
