/* SPDX-License-Identifier: BSD-2-Clause
 *
 * How the library says something: one line to the function that the program gave.
 * Called by: every layer, through the runtime's struct kith__log.
 * Invariants: nothing is formatted unless it will be handed out; what is handed out is one line,
 *   without control characters, of at most KITH__LOG_BYTES - 1 bytes; a longer one ends in "...".
 *   Allocates nothing. errno is left as it was, so a log line may stand before the errno is read.
 * Threads: any; the struct is constant after the start.
 * Why a struct and not a global: several runtimes may live in one process.
 */
#ifndef KITH_BASE_LOG_H
#define KITH_BASE_LOG_H

#include <kith/log.h>

enum { KITH__LOG_BYTES = 1024 };

struct kith__log {
    kith_log_fn *fn; /* NULL: silent */
    void *arg;
    kith_log_level level; /* KITH_LOG_DEFAULT: KITH_LOG_WARN */
};

/* Logs a line if log (may be NULL) wants this level. */
__attribute__((format(printf, 3, 4))) void kith__log(const struct kith__log *log,
                                                     kith_log_level level, const char *format, ...);

#endif
