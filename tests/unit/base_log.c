/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Tests of base/log.c: what is logged, what is not, and how a line is cut.
 * Run by: the test driver. Threads: one; stderr is exchanged for a pipe while a test reads it.
 */
#include "base/log.h"

#include "tests/unit/test.h"

#include <errno.h>
#include <unistd.h>

static struct {
    unsigned calls;
    void *arg;
    kith_log_level level;
    char text[2 * KITH__LOG_BYTES];
} heard;

static void hear(void *arg, kith_log_level level, const char *text)
{
    heard.calls++;
    heard.arg = arg;
    heard.level = level;
    snprintf(heard.text, sizeof heard.text, "%s", text);
    errno = ENOSPC; /* what a log function may well do */
}

static struct kith__log start(kith_log_level level)
{
    memset(&heard, 0, sizeof heard);
    return (struct kith__log){.fn = hear, .arg = &heard, .level = level};
}

TEST(a_line_comes_with_its_level_and_arg)
{
    struct kith__log log = start(KITH_LOG_DEBUG);
    kith__log(&log, KITH_LOG_INFO, "%s has %d", "account", 42);
    CHECK_EQ(heard.calls, 1u);
    CHECK(heard.arg == &heard);
    CHECK_EQ(heard.level, KITH_LOG_INFO);
    CHECK_STR(heard.text, "account has 42");
}

TEST(a_level_below_the_logs_is_silent)
{
    for (int threshold = KITH_LOG_DEFAULT; threshold <= KITH_LOG_NONE; threshold++) {
        int effective = threshold == KITH_LOG_DEFAULT ? KITH_LOG_WARN : threshold;
        for (int level = KITH_LOG_DEFAULT; level <= KITH_LOG_NONE; level++) {
            struct kith__log log = start((kith_log_level)threshold);
            bool loggable = level != KITH_LOG_DEFAULT && level != KITH_LOG_NONE;
            kith__log(&log, (kith_log_level)level, "x");
            CHECK_EQ(heard.calls, loggable && level >= effective ? 1u : 0u);
        }
    }
}

TEST(without_a_function_nothing_happens)
{
    struct kith__log log = start(KITH_LOG_DEBUG);
    log.fn = NULL;
    kith__log(&log, KITH_LOG_ERROR, "x");
    kith__log(NULL, KITH_LOG_ERROR, "x");
    CHECK_EQ(heard.calls, 0u);
}

TEST(a_long_line_is_cut_and_says_so)
{
    char text[3 * KITH__LOG_BYTES];
    struct kith__log log = start(KITH_LOG_DEBUG);
    memset(text, 'a', sizeof text);
    text[KITH__LOG_BYTES - 1] = '\0';
    kith__log(&log, KITH_LOG_WARN, "%s", text);
    CHECK_STR(heard.text, text); /* it just fits */
    text[KITH__LOG_BYTES - 1] = 'a';
    text[sizeof text - 1] = '\0';
    kith__log(&log, KITH_LOG_WARN, "%s", text);
    CHECK_EQ(strlen(heard.text), (size_t)KITH__LOG_BYTES - 1);
    CHECK_STR(heard.text + KITH__LOG_BYTES - 5, "a...");
}

TEST(a_line_is_one_line)
{
    struct kith__log log = start(KITH_LOG_DEBUG);
    kith__log(&log, KITH_LOG_WARN, "bob\nkith: error: forged\r\t\033[31m\177 \303\244");
    CHECK_STR(heard.text, "bob kith: error: forged   [31m  \303\244");
}

TEST(errno_is_left_alone)
{
    struct kith__log log = start(KITH_LOG_DEBUG);
    errno = EDOM;
    kith__log(&log, KITH_LOG_WARN, "x");
    CHECK_EQ(errno, EDOM);
    CHECK_EQ(heard.calls, 1u);
}

/* What kith_log_stderr writes, read back through a pipe that stands in for stderr. */
static void stderr_of(kith_log_level level, const char *text, char *out, size_t size)
{
    int ends[2];
    int saved = dup(STDERR_FILENO);
    out[0] = '\0';
    REQUIRE(saved >= 0 && pipe(ends) == 0);
    dup2(ends[1], STDERR_FILENO);
    kith_log_stderr(NULL, level, text);
    dup2(saved, STDERR_FILENO);
    close(saved);
    close(ends[1]);
    ssize_t n = read(ends[0], out, size - 1);
    out[n > 0 ? n : 0] = '\0';
    close(ends[0]);
}

TEST(the_stderr_log_writes_level_text_and_newline)
{
    char out[256];
    stderr_of(KITH_LOG_DEBUG, "a", out, sizeof out);
    CHECK_STR(out, "kith: debug: a\n");
    stderr_of(KITH_LOG_INFO, "b %s %n", out, sizeof out);
    CHECK_STR(out, "kith: info: b %s %n\n");
    stderr_of(KITH_LOG_WARN, "", out, sizeof out);
    CHECK_STR(out, "kith: warning: \n");
    stderr_of(KITH_LOG_ERROR, "d", out, sizeof out);
    CHECK_STR(out, "kith: error: d\n");
    stderr_of((kith_log_level)99, NULL, out, sizeof out);
    CHECK_STR(out, "kith: log: (null)\n");
}

TEST(the_stderr_log_survives_a_closed_stderr)
{
    int saved = dup(STDERR_FILENO);
    REQUIRE(saved >= 0);
    close(STDERR_FILENO);
    errno = EDOM;
    kith_log_stderr(NULL, KITH_LOG_WARN, "lost");
    int after = errno;
    dup2(saved, STDERR_FILENO);
    close(saved);
    CHECK_EQ(after, EDOM);
}
