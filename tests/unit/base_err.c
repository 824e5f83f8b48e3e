/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Tests of base/err.c: every code has its name and sentence, other values have a text too.
 * Run by: the test driver. Threads: one.
 */
#include <kith/err.h>
#include <kith/runtime.h>

#include "tests/unit/test.h"

#include <ctype.h>

TEST(every_code_has_its_name_and_sentence)
{
#define CHECK_CODE(code, value, sentence)                                                          \
    CHECK_EQ((int)code, value);                                                                    \
    CHECK_STR(kith_errname(code), #code);                                                          \
    CHECK_STR(kith_strerror(code), sentence);
    KITH_ERRORS(CHECK_CODE)
}

TEST(success_is_zero_and_errors_are_below_it)
{
    unsigned codes = 0;
    CHECK_EQ((int)KITH_OK, 0);
#define COUNT(code, value, sentence)                                                               \
    CHECK_LE((int)code, 0);                                                                        \
    codes += code < 0;
    KITH_ERRORS(COUNT)
    CHECK_GT(codes, 20u);
    CHECK_EQ((int)KITH_EINVAL, -EINVAL);
    CHECK_EQ((int)KITH_ETIMEOUT, -ETIMEDOUT);
}

TEST(an_unknown_value_has_a_text)
{
    static const int unknown[] = {1, -1, -4095, -5000, -5999, INT32_MIN, INT32_MAX};
    for (size_t i = 0; i < sizeof unknown / sizeof unknown[0]; i++) {
        if (unknown[i] == KITH_EPERM)
            continue;
        CHECK_STR(kith_errname((kith_err)unknown[i]), "KITH_E?");
        CHECK_STR(kith_strerror((kith_err)unknown[i]), "not an error code of kith");
    }
}

TEST(the_version_is_three_numbers)
{
    int major = -1;
    int minor = -1;
    int patch = -1;
    int used = 0;
    const char *version = kith_version();
    CHECK_EQ(sscanf(version, "%d.%d.%d%n", &major, &minor, &patch, &used), 3);
    CHECK_EQ((size_t)used, strlen(version));
    CHECK(isdigit((unsigned char)version[0]));
    CHECK(major >= 0 && minor >= 0 && patch >= 0);
}
