/* SPDX-License-Identifier: BSD-2-Clause
 *
 * A test harness in one header: TEST(name) { CHECK(...); } and nothing else.
 *
 * Used by the files under tests/unit and tests/stress. Each of them includes this header once and
 * is one program; the header brings main with it:
 *
 *     #include "tests/unit/test.h"
 *
 *     TEST(a_sum_is_right)
 *     {
 *         CHECK_EQ(1 + 1, 2);
 *     }
 *
 * The tests run in the order of the file. An argument runs only those whose name contains it;
 * --seed N (or KITH_SEED=N in the environment) repeats a run that test_seed began; --list lists.
 *
 * Invariants: a failed check is counted, never thrown away: the exit status is 1 if any check
 * failed, if the filter matches no test, or if there is no test at all.
 * Threads: CHECK and its kin may fail on any thread; REQUIRE returns from the function that it
 * stands in, so it serves in functions that return nothing. TEST bodies run on the main thread.
 * Why not a test library: nothing to install, and sanitizers see only our own code.
 */
#ifndef KITH_TESTS_UNIT_TEST_H
#define KITH_TESTS_UNIT_TEST_H

#include <inttypes.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define TEST_UNUSED __attribute__((unused))

/* ---- tests ---- */

struct test_case {
    const char *name;
    void (*run)(void);
    struct test_case *next;
};

static struct test_case *test_first;
static struct test_case **test_end = &test_first;

/* What the command line said, for tests that have more to be told. */
static int test_argc TEST_UNUSED;
static char **test_argv TEST_UNUSED;

/* Defines a test; constructors of one file run in the order in which they stand. */
#define TEST(test_name)                                                                            \
    static void test_body_##test_name(void);                                                       \
    static struct test_case test_case_##test_name = {#test_name, test_body_##test_name, NULL};     \
    __attribute__((constructor)) static void test_register_##test_name(void)                       \
    {                                                                                              \
        *test_end = &test_case_##test_name;                                                        \
        test_end = &test_case_##test_name.next;                                                    \
    }                                                                                              \
    static void test_body_##test_name(void)

/* ---- checks ---- */

#define TEST_FAILURES_SHOWN 20 /* of one test; the rest are only counted */

static pthread_mutex_t test_lock = PTHREAD_MUTEX_INITIALIZER;
static unsigned long test_failures; /* of the running test; under test_lock */

static void test_fail(const char *file, int line, const char *format, ...)
    __attribute__((format(printf, 3, 4), unused));

static void test_fail(const char *file, int line, const char *format, ...)
{
    pthread_mutex_lock(&test_lock);
    if (test_failures++ < TEST_FAILURES_SHOWN) {
        va_list args;
        va_start(args, format);
        printf("\n    %s:%d: ", file, line);
        vprintf(format, args);
        va_end(args);
    }
    pthread_mutex_unlock(&test_lock);
}

static inline TEST_UNUSED bool test_check(bool ok, const char *file, int line, const char *text)
{
    if (!ok)
        test_fail(file, line, "%s", text);
    return ok;
}

/* The condition must hold; the test goes on if it does not. */
#define CHECK(cond) ((void)test_check((cond), __FILE__, __LINE__, "failed: " #cond))

/* The condition must hold; the function that this stands in returns if it does not. */
#define REQUIRE(cond)                                                                              \
    do {                                                                                           \
        if (!test_check((cond), __FILE__, __LINE__, "failed: " #cond))                             \
            return;                                                                                \
    } while (0)

/* The test fails here, with a reason: a printf format and its arguments. */
#define FAIL(...) test_fail(__FILE__, __LINE__, __VA_ARGS__)

/* ---- values: any integer, floating or pointer type, compared without conversion ---- */

enum test_kind { TEST_SIGNED, TEST_UNSIGNED, TEST_REAL, TEST_POINTER };

struct test_value {
    enum test_kind kind;
    intmax_t i;
    uintmax_t u;
    double d;
    const volatile void *p;
};

static TEST_UNUSED struct test_value test_of_i(intmax_t i)
{
    return (struct test_value){.kind = TEST_SIGNED, .i = i};
}

/* A value below INTMAX_MAX is kept as a signed one, so that 3 and 3u are equal. */
static TEST_UNUSED struct test_value test_of_u(uintmax_t u)
{
    if (u <= (uintmax_t)INTMAX_MAX)
        return test_of_i((intmax_t)u);
    return (struct test_value){.kind = TEST_UNSIGNED, .u = u};
}

static TEST_UNUSED struct test_value test_of_d(double d)
{
    return (struct test_value){.kind = TEST_REAL, .d = d};
}

static TEST_UNUSED struct test_value test_of_p(const volatile void *p)
{
    return (struct test_value){.kind = TEST_POINTER, .p = p};
}

/* clang-format off */
#define TEST_VALUE(x)                                                                              \
    _Generic((x),                                                                                  \
        bool: test_of_u, unsigned char: test_of_u, unsigned short: test_of_u,                      \
        unsigned: test_of_u, unsigned long: test_of_u, unsigned long long: test_of_u,              \
        char: test_of_i, signed char: test_of_i, short: test_of_i, int: test_of_i,                 \
        long: test_of_i, long long: test_of_i, float: test_of_d, double: test_of_d,                \
        default: test_of_p)(x)
/* clang-format on */

static TEST_UNUSED int test_compare(struct test_value a, struct test_value b)
{
    if (a.kind != b.kind)
        return a.kind < b.kind ? -1 : 1;
    switch (a.kind) {
    case TEST_SIGNED:
        return (a.i > b.i) - (a.i < b.i);
    case TEST_UNSIGNED:
        return (a.u > b.u) - (a.u < b.u);
    case TEST_REAL:
        return (a.d > b.d) - (a.d < b.d);
    default:
        return ((uintptr_t)a.p > (uintptr_t)b.p) - ((uintptr_t)a.p < (uintptr_t)b.p);
    }
}

static TEST_UNUSED void test_show(char *text, size_t bytes, struct test_value v)
{
    switch (v.kind) {
    case TEST_SIGNED:
        snprintf(text, bytes, "%jd", v.i);
        break;
    case TEST_UNSIGNED:
        snprintf(text, bytes, "%ju", v.u);
        break;
    case TEST_REAL:
        snprintf(text, bytes, "%.17g", v.d);
        break;
    default:
        snprintf(text, bytes, "0x%jx", (uintmax_t)(uintptr_t)v.p);
        break;
    }
}

static TEST_UNUSED void test_fail_values(const char *file, int line, const char *expression,
                                         struct test_value a, struct test_value b)
{
    char left[64];
    char right[64];
    test_show(left, sizeof left, a);
    test_show(right, sizeof right, b);
    test_fail(file, line, "failed: %s: left is %s, right is %s", expression, left, right);
}

#define TEST_COMPARE(a, op, b)                                                                     \
    do {                                                                                           \
        struct test_value test_a_ = TEST_VALUE(a);                                                 \
        struct test_value test_b_ = TEST_VALUE(b);                                                 \
        if (!(test_compare(test_a_, test_b_) op 0))                                                \
            test_fail_values(__FILE__, __LINE__, #a " " #op " " #b, test_a_, test_b_);             \
    } while (0)

/* Two integers, two floating numbers, or two pointers; each is evaluated once. */
#define CHECK_EQ(a, b) TEST_COMPARE(a, ==, b)
#define CHECK_NE(a, b) TEST_COMPARE(a, !=, b)
#define CHECK_LT(a, b) TEST_COMPARE(a, <, b)
#define CHECK_LE(a, b) TEST_COMPARE(a, <=, b)
#define CHECK_GT(a, b) TEST_COMPARE(a, >, b)
#define CHECK_GE(a, b) TEST_COMPARE(a, >=, b)

static TEST_UNUSED void test_check_str(const char *file, int line, const char *expression,
                                       const char *a, const char *b)
{
    if (a != NULL && b != NULL && strcmp(a, b) == 0)
        return;
    test_fail(file, line, "failed: %s: left is \"%s\", right is \"%s\"", expression,
              a != NULL ? a : "(null)", b != NULL ? b : "(null)");
}

/* Two strings with the same characters. */
#define CHECK_STR(a, b) test_check_str(__FILE__, __LINE__, #a " is " #b, (a), (b))

/* ---- seeds and sizes ---- */

/* A number from the environment, or what it is by default. */
static TEST_UNUSED uint64_t test_env(const char *name, uint64_t by_default)
{
    const char *text = getenv(name);
    return text != NULL && *text != '\0' ? strtoull(text, NULL, 0) : by_default;
}

static bool test_seed_given;
static uint64_t test_seed_value;

/* The seed of this run, the same at each call: --seed N, KITH_SEED=N, or a new one from the clock.
 * It is printed when it is first asked for, so that a failure can be repeated. */
static TEST_UNUSED uint64_t test_seed(void)
{
    static bool printed;
    pthread_mutex_lock(&test_lock);
    if (!test_seed_given) {
        struct timespec now;
        clock_gettime(CLOCK_REALTIME, &now);
        test_seed_value = test_env("KITH_SEED", (uint64_t)now.tv_nsec ^ (uint64_t)now.tv_sec << 20);
        test_seed_given = true;
    }
    if (!printed)
        printf("[--seed %" PRIu64 "] ", test_seed_value);
    printed = true;
    pthread_mutex_unlock(&test_lock);
    return test_seed_value;
}

/* ---- main ---- */

static bool test_run(const struct test_case *test)
{
    printf("%s ... ", test->name);
    fflush(stdout);
    test_failures = 0;
    test->run();
    pthread_mutex_lock(&test_lock);
    unsigned long failures = test_failures;
    pthread_mutex_unlock(&test_lock);
    if (failures == 0)
        printf("ok\n");
    else
        printf("\nFAIL %s: %lu failed checks\n", test->name, failures);
    fflush(stdout);
    return failures == 0;
}

/* Reads the options; returns the filter, "" for all. */
static const char *test_options(int argc, char **argv)
{
    const char *filter = "";
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--list") == 0) {
            for (const struct test_case *test = test_first; test != NULL; test = test->next)
                puts(test->name);
            exit(0);
        }
        if (strcmp(argv[i], "--seed") == 0 && i + 1 < argc) {
            test_seed_value = strtoull(argv[++i], NULL, 0);
            test_seed_given = true;
        } else {
            filter = argv[i];
        }
    }
    return filter;
}

int main(int argc, char **argv)
{
    test_argc = argc;
    test_argv = argv;
    const char *filter = test_options(argc, argv);
    unsigned passed = 0;
    unsigned failed = 0;
    for (const struct test_case *test = test_first; test != NULL; test = test->next) {
        if (strstr(test->name, filter) == NULL)
            continue;
        if (test_run(test))
            passed++;
        else
            failed++;
    }
    printf("# %u passed, %u failed\n", passed, failed);
    return failed != 0 || passed == 0;
}

#endif
