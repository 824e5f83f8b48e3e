/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Tests of base/assert.c: what holds costs nothing, what does not ends the process with a line.
 * Run by: the test driver. Threads: one; each failing assertion in a process of its own.
 */
#include "base/assert.h"

#include "tests/unit/test.h"

#include <signal.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

static unsigned evaluated;

static bool count(bool result)
{
    evaluated++;
    return result;
}

/* Runs fn in a child, returns its wait status and what it wrote to stderr. */
static int status_of(void (*fn)(void), char *out, size_t size)
{
    int ends[2];
    int status = 0;
    if (pipe(ends) != 0)
        return -1;
    fflush(stdout);
    pid_t child = fork();
    if (child == 0) {
        setrlimit(RLIMIT_CORE, &(struct rlimit){0, 0});
        dup2(ends[1], STDERR_FILENO);
        fn();
        _exit(0);
    }
    close(ends[1]);
    size_t used = 0;
    ssize_t n;
    while (used < size - 1 && (n = read(ends[0], out + used, size - 1 - used)) > 0)
        used += (size_t)n;
    out[used] = '\0';
    close(ends[0]);
    return waitpid(child, &status, 0) == child ? status : -1;
}

static bool aborted(int status)
{
    return status != -1 && WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT;
}

TEST(what_holds_goes_on_and_is_evaluated_once)
{
    evaluated = 0;
    kith__assert(count(true));
    CHECK_EQ(evaluated, 1u);
}

static int line_of_failure;

static void fails(void)
{
    kith__assert(count(false) || 1 + 1 == 3);
}
enum { FAILS_LINE = __LINE__ - 2 };

TEST(what_does_not_hold_is_named_and_aborts)
{
    char out[400];
    char expected[400];
    CHECK(aborted(status_of(fails, out, sizeof out)));
    snprintf(expected, sizeof expected,
             "kith: %s:%d: assertion failed: count(false) || 1 + 1 == 3\n", __FILE__, FAILS_LINE);
    CHECK_STR(out, expected);
}

static void fails_at_length(void)
{
    char expression[4000];
    memset(expression, 'x', sizeof expression);
    expression[sizeof expression - 1] = '\0';
    kith__assert_failed(expression, "file.c", line_of_failure);
}

TEST(a_long_expression_is_cut)
{
    char out[8000];
    line_of_failure = 0;
    CHECK(aborted(status_of(fails_at_length, out, sizeof out)));
    CHECK_EQ(strlen(out), 512u);
    CHECK(strncmp(out, "kith: file.c:0: assertion failed: xxx", 37) == 0);
    CHECK_EQ(out[511], '\n');
    line_of_failure = INT32_MAX;
    CHECK(aborted(status_of(fails_at_length, out, sizeof out)));
    CHECK(strncmp(out, "kith: file.c:2147483647: assertion", 34) == 0);
}

static void fails_without_stderr(void)
{
    close(STDERR_FILENO);
    kith__assert(false);
}

TEST(a_closed_stderr_aborts_all_the_same)
{
    char out[64];
    CHECK(aborted(status_of(fails_without_stderr, out, sizeof out)));
    CHECK_STR(out, "");
}

TEST(the_hints_are_the_truth_value)
{
    CHECK(KITH__LIKELY(2));
    CHECK(!KITH__LIKELY(0));
    CHECK(KITH__UNLIKELY(-1));
    CHECK(!KITH__UNLIKELY(0));
}
