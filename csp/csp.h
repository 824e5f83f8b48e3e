/* SPDX-License-Identifier: BSD-2-Clause
 *
 * What csp keeps for a runtime. Opened and closed by the actor layer.
 *
 *   any thread of the runtime    kith__csp_stack_take, kith__csp_stack_give, kith__csp_kind
 *   *                            open before the first and close after the last: the caller's duty
 */
#ifndef KITH__CSP_CSP_H
#define KITH__CSP_CSP_H

#include "csp/overflow.h"
#include "csp/stack.h"
#include "sched/runtime.h"
#include <kith/fiber.h>

/* All fibers that run one function under one name: what stands where an actor has its behaviour. */
struct kith__fiber_kind {
    kith_behavior behavior; /* its name; first, because a task's behaviour is read as one */
    kith_fiber_fn *fn;
    struct kith__fiber_kind *next;
    KITH__ATOMIC(uint64_t) begun;
    KITH__ATOMIC(uint64_t) ended;
    KITH__ATOMIC(size_t) stack_bytes; /* the largest that was asked for */
    KITH__ATOMIC(size_t) stack_used;  /* the high-water mark */
};

struct kith__fibers;

#define KITH__KIND_BUCKETS 64u

struct kith__csp {
    struct kith__stacks stacks;
    struct kith__stack_cache *caches; /* one a worker */
    struct kith__fibers *fibers;      /* one a worker: csp/run.c */
    struct kith__stack_cache outside; /* of attached threads; under lock */
    pthread_mutex_t lock;             /* of outside, and for adding to kinds */
    KITH__ATOMIC(struct kith__fiber_kind *) kinds[KITH__KIND_BUCKETS]; /* never removed */
    KITH__ATOMIC(uint32_t) unguarded_logged;
    struct kith__overflow overflow;
};

kith_err kith__csp_open(struct kith_runtime *rt);
void kith__csp_close(struct kith_runtime *rt);

struct kith__stack *kith__csp_stack_take(struct kith__ctx *ctx, size_t bytes);
void kith__csp_stack_give(struct kith__ctx *ctx, struct kith__stack *stack);

/* The kind of fn under this name; NULL: out of memory. */
struct kith__fiber_kind *kith__csp_kind(struct kith__ctx *ctx, kith_fiber_fn *fn, const char *name);

#endif
