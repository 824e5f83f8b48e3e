/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Debug mode's log of handlers and fibers that last too long: whose, on which message, how long,
 * and where: the function, by its symbol if the program exports it (-rdynamic), else by file and
 * offset, which addr2line understands.
 *
 * Called through slow.h. Only in debug mode: two readings of the clock a message.
 */
#include "sched/slow.h"
#include <execinfo.h>
#include <stdlib.h>

void kith__slow_end(struct kith__ctx *ctx, kith_time began, const char *name, const char *on,
                    void *at)
{
    struct kith_runtime *rt = ctx->rt;
    kith_time ns = rt->driver->now() - began;
    if (ns < rt->config.slow_ns)
        return;
    char **symbol = at != NULL ? backtrace_symbols(&at, 1) : NULL;
    kith__log(&rt->log, KITH_LOG_WARN, "slow: %s ran for %llu ms%s%s%s%s", name,
              (unsigned long long)(ns / KITH_MS), on != NULL ? " on a " : "", on != NULL ? on : "",
              symbol != NULL ? ", in " : "", symbol != NULL ? symbol[0] : "");
    free(symbol);
}
