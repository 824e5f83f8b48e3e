/* SPDX-License-Identifier: BSD-2-Clause
 *
 * The log goes to a function of the program's. kith itself writes to no stream: kith_start without
 * a log function is silent; kith_main, being a program's own front door, logs warnings to stderr
 * unless told otherwise.
 */
#ifndef KITH_LOG_H
#define KITH_LOG_H

#include <kith/macros.h>

KITH_BEGIN_DECLS

typedef enum kith_log_level {
    KITH_LOG_DEFAULT = 0, /* in a config: KITH_LOG_WARN */
    KITH_LOG_DEBUG,
    KITH_LOG_INFO,
    KITH_LOG_WARN,
    KITH_LOG_ERROR,
    KITH_LOG_NONE
} kith_log_level;

/* Called with one line of text, without a newline; text lives until the call returns. It is called
 * from workers and attached threads, several at once: it must be thread-safe and must not call
 * kith. */
typedef void kith_log_fn(void *arg, kith_log_level level, const char *text);

/* A kith_log_fn that writes "kith: warning: text" and a newline to stderr; arg is not used.
 * Thread: any. Blocks: as stderr does. Errors: none. */
KITH_API void kith_log_stderr(void *arg, kith_log_level level, const char *text);

KITH_END_DECLS

#endif
