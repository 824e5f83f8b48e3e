/* SPDX-License-Identifier: BSD-2-Clause
 *
 * What a failed kith__assert does: one line to stderr, then abort.
 * Called by: kith__assert (assert.h).
 * Invariants: allocates nothing, takes no lock, uses no stdio.
 * Threads: any, also inside a signal handler.
 * Why one buffer and one write: lines of two threads that fail together must not mix; a buffer that
 *   is too small cuts the line, which beats losing it.
 */
#include "base/assert.h"

#include <stddef.h>
#include <stdlib.h>
#include <unistd.h>

enum { LINE_BYTES = 512 };

struct line {
    size_t used;
    char text[LINE_BYTES];
};

/* Keeps one byte free, for the newline. */
static void put(struct line *line, const char *text)
{
    while (*text != '\0' && line->used < LINE_BYTES - 1)
        line->text[line->used++] = *text++;
}

/* By hand, because snprintf is not promised to work in a signal handler. */
static void put_number(struct line *line, int number)
{
    char digits[12];
    size_t at = sizeof digits - 1;
    unsigned rest = number > 0 ? (unsigned)number : 0;
    digits[at] = '\0';
    do {
        digits[--at] = (char)('0' + rest % 10);
        rest /= 10;
    } while (rest > 0);
    put(line, digits + at);
}

void kith__assert_failed(const char *expression, const char *file, int line_number)
{
    struct line line = {.used = 0};
    put(&line, "kith: ");
    put(&line, file);
    put(&line, ":");
    put_number(&line, line_number);
    put(&line, ": assertion failed: ");
    put(&line, expression);
    line.text[line.used++] = '\n';
    ssize_t written = write(STDERR_FILENO, line.text, line.used);
    (void)written; /* stderr may be closed; the abort below still tells */
    abort();
}
