/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Tests of base/clock.c: the clock does not go back, sums of times do not wrap.
 * Run by: the test driver. Threads: one.
 */
#include "base/clock.h"

#include "tests/unit/test.h"

TEST(the_clock_is_the_monotonic_one)
{
    struct timespec before;
    struct timespec after;
    clock_gettime(CLOCK_MONOTONIC, &before);
    kith_time now = kith__clock_now();
    kith_time public_now = kith_now();
    clock_gettime(CLOCK_MONOTONIC, &after);
    CHECK_LE((kith_time)before.tv_sec * KITH_SECOND + (kith_time)before.tv_nsec, now);
    CHECK_LE(now, public_now);
    CHECK_LE(public_now, (kith_time)after.tv_sec * KITH_SECOND + (kith_time)after.tv_nsec);
}

TEST(the_clock_does_not_go_back)
{
    kith_time last = kith__clock_now();
    for (int i = 0; i < 100000; i++) {
        kith_time now = kith__clock_now();
        if (now < last)
            FAIL("went back");
        last = now;
    }
}

TEST(sums_of_times_stop_at_for_ever)
{
    CHECK_EQ(kith__time_add(3, 4), 7u);
    CHECK_EQ(kith__time_add(0, 0), 0u);
    CHECK_EQ(kith__time_add(KITH_FOREVER - 5, 4), KITH_FOREVER - 1);
    CHECK_EQ(kith__time_add(KITH_FOREVER - 5, 5), KITH_FOREVER);
    CHECK_EQ(kith__time_add(KITH_FOREVER - 5, 6), KITH_FOREVER);
    CHECK_EQ(kith__time_add(KITH_FOREVER, KITH_FOREVER), KITH_FOREVER);
    CHECK_EQ(kith__time_add(1, KITH_FOREVER), KITH_FOREVER);
}

TEST(a_deadline_lies_its_duration_ahead)
{
    kith_time before = kith_now();
    kith_time deadline = kith_in(KITH_HOUR);
    kith_time after = kith_now();
    CHECK_LE(before + KITH_HOUR, deadline);
    CHECK_LE(deadline, after + KITH_HOUR);
    CHECK_EQ(kith_in(KITH_FOREVER), KITH_FOREVER);
    CHECK_EQ(kith_in(KITH_FOREVER - 1), KITH_FOREVER);
    CHECK_LT(kith_in(0), KITH_FOREVER);
}
