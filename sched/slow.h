/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Debug mode (config.debug): what lasts longer than config.slow_ns without letting others run is
 * logged when it is over. Called by the turns of actors and fibers.
 *
 * Threads: the worker's that ran it. (Who is held up now is the watch's: sched/watch.c.)
 */
#ifndef KITH__SCHED_SLOW_H
#define KITH__SCHED_SLOW_H

#include "sched/runtime.h"

/* 0: nothing is measured. */
static inline kith_time kith__slow_begin(const struct kith__ctx *ctx)
{
    return KITH__UNLIKELY(ctx->rt->config.debug) ? ctx->rt->driver->now() : 0;
}

/* It is over. name: whose it was; on: the message that it handled, or NULL; at: the function's
 * address, or NULL. */
void kith__slow_end(struct kith__ctx *ctx, kith_time began, const char *name, const char *on,
                    void *at);

#endif
