/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Formats a log line and hands it to the program's function; kith_log_stderr is one such function.
 * Called by: see log.h; kith_log_stderr is public and the default of kith_main.
 * Invariants: see log.h. kith_log_stderr issues one system call a line, so lines of several threads
 *   do not mix.
 * Threads: any; no state.
 * Why the stack and not a buffer per thread: a log line is rare, and threads that are not kith's may
 *   log too. Why control characters become spaces: actor names and peers' texts come from outside,
 *   and a newline in them would forge a line.
 */
#include "base/log.h"

#include <errno.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/uio.h>
#include <unistd.h>

static bool wanted(const struct kith__log *log, kith_log_level level)
{
    if (log == NULL || log->fn == NULL || level > KITH_LOG_ERROR)
        return false;
    /* KITH_LOG_DEFAULT as a level is below every threshold. */
    return level >= (log->level == KITH_LOG_DEFAULT ? KITH_LOG_WARN : log->level);
}

static void make_one_line(char *text)
{
    for (; *text != '\0'; text++)
        if ((unsigned char)*text < 0x20 || *text == 0x7f)
            *text = ' ';
}

void kith__log(const struct kith__log *log, kith_log_level level, const char *format, ...)
{
    if (!wanted(log, level))
        return;
    int saved = errno;
    char text[KITH__LOG_BYTES];
    va_list args;
    va_start(args, format);
    int length = vsnprintf(text, sizeof text, format, args);
    va_end(args);
    if (length >= (int)sizeof text)
        memcpy(text + sizeof text - 4, "...", 4);
    if (length >= 0) {
        make_one_line(text);
        log->fn(log->arg, level, text);
    }
    errno = saved;
}

static const char *level_name(kith_log_level level)
{
    switch (level) {
    case KITH_LOG_DEBUG:
        return "debug";
    case KITH_LOG_INFO:
        return "info";
    case KITH_LOG_WARN:
        return "warning";
    case KITH_LOG_ERROR:
        return "error";
    case KITH_LOG_DEFAULT:
    case KITH_LOG_NONE:
        break;
    }
    return "log";
}

/* iovec has no const, although writev only reads: this is the one place that takes it away. */
static struct iovec piece(const char *text)
{
    union {
        const char *in;
        void *out;
    } base = {.in = text};
    return (struct iovec){.iov_base = base.out, .iov_len = strlen(text)};
}

void kith_log_stderr(KITH_UNUSED void *arg, kith_log_level level, const char *text)
{
    int saved = errno;
    struct iovec pieces[] = {
        piece("kith: "), piece(level_name(level)),
        piece(": "),     piece(text != NULL ? text : "(null)"),
        piece("\n"),
    };
    ssize_t written;
    do
        written = writev(STDERR_FILENO, pieces, (int)(sizeof pieces / sizeof pieces[0]));
    while (written < 0 && errno == EINTR);
    errno = saved; /* and a stderr that takes nothing is not the caller's error */
}
