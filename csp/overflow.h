/* SPDX-License-Identifier: BSD-2-Clause
 *
 * What is said when a stack has overflowed. Used by csp/csp.c (open, close), and by the files that run
 * code on stacks: csp/fiber.c and csp/gen.c.
 *
 *   any thread of the runtime    kith__overflow_here, kith__overflow_die
 *   *                            open before the first and close after the last: the caller's duty
 */
#ifndef KITH__CSP_OVERFLOW_H
#define KITH__CSP_OVERFLOW_H

#include "csp/stack.h"
#include <kith/err.h>

struct kith_runtime;
struct kith__ctx;

/* Of a runtime with config.stack_report; all zero without. */
struct kith__overflow {
    char *stacks; /* for signal handlers: one a worker, one for kith_main's thread */
    size_t bytes; /* of all of them */
    size_t each;
};

/* Installs the handler, if the configuration asks for it. KITH_ENOMEM. */
kith_err kith__overflow_open(struct kith_runtime *rt);
/* Takes it back, and the caller's stack for signals, which is home's in a loop executor. The workers
 * have ended. */
void kith__overflow_close(struct kith_runtime *rt);

/* From here on the calling thread, whose context is ctx, can report. Without config.stack_report, and
 * after the first call, it does nothing. */
void kith__overflow_prepare(struct kith__ctx *ctx, const struct kith__overflow *overflow);
static inline void kith__overflow_here(struct kith__ctx *ctx, const struct kith__overflow *overflow)
{
    if (overflow->stacks != NULL)
        kith__overflow_prepare(ctx, overflow);
}

/* A stack without a guard has overflowed, and whatever lies below it is damaged: says so and aborts.
 * name: the fiber's; NULL: a generator. */
__attribute__((cold, noreturn)) void kith__overflow_die(const struct kith_runtime *rt,
                                                        const struct kith__stack *stack,
                                                        const char *name);

#endif
