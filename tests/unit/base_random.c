/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Tests of base/random.c: the authors' reference outputs, and numbers below n.
 * Run by: the test driver. Threads: one.
 * Where the answers come from: splitmix64.c with seed 1234567, and xoshiro256starstar.c with the
 *   state 1, 2, 3, 4, both by Vigna, public domain.
 */
#include "base/random.h"

#include "tests/unit/test.h"

TEST(splitmix64_gives_the_reference_outputs)
{
    static const uint64_t answers[] = {6457827717110365317u, 3203168211198807973u,
                                       9817491932198370423u, 4593380528125082431u,
                                       16408922859458223821u};
    uint64_t state = 1234567;
    for (size_t i = 0; i < sizeof answers / sizeof answers[0]; i++)
        CHECK_EQ(kith__random_splitmix(&state), answers[i]);
}

TEST(xoshiro256_gives_the_reference_outputs)
{
    static const uint64_t answers[] = {11520u,
                                       0u,
                                       1509978240u,
                                       1215971899390074240u,
                                       1216172134540287360u,
                                       607988272756665600u,
                                       16172922978634559625u,
                                       8476171486693032832u,
                                       10595114339597558777u,
                                       2904607092377533576u};
    struct kith__random r = {{1, 2, 3, 4}};
    for (size_t i = 0; i < sizeof answers / sizeof answers[0]; i++)
        CHECK_EQ(kith__random_next(&r), answers[i]);
}

TEST(a_seed_fills_the_state_by_splitmix64)
{
    struct kith__random r;
    uint64_t state = 42;
    kith__random_seed(&r, 42);
    for (int i = 0; i < 4; i++)
        CHECK_EQ(r.s[i], kith__random_splitmix(&state));
    kith__random_seed(&r, 0);
    CHECK((r.s[0] | r.s[1] | r.s[2] | r.s[3]) != 0);
}

TEST(the_same_seed_gives_the_same_numbers_and_another_gives_others)
{
    struct kith__random a;
    struct kith__random b;
    struct kith__random c;
    unsigned same = 0;
    kith__random_seed(&a, 7);
    kith__random_seed(&b, 7);
    kith__random_seed(&c, 8);
    for (int i = 0; i < 1000; i++) {
        uint64_t number = kith__random_next(&a);
        CHECK_EQ(number, kith__random_next(&b));
        same += number == kith__random_next(&c);
    }
    CHECK_EQ(same, 0u);
}

TEST(numbers_below_n_are_below_n)
{
    struct kith__random r;
    kith__random_seed(&r, 1);
    CHECK_EQ(kith__random_below(&r, 0), 0u);
    for (int i = 0; i < 100; i++)
        CHECK_EQ(kith__random_below(&r, 1), 0u);
    for (unsigned shift = 1; shift < 64; shift++)
        for (uint64_t n = ((uint64_t)1 << shift) - 1; n <= ((uint64_t)1 << shift) + 1; n++)
            for (int i = 0; i < 100; i++)
                CHECK_LT(kith__random_below(&r, n), n);
    CHECK_LT(kith__random_below(&r, UINT64_MAX), UINT64_MAX);
}

/* The number of draws below n = 3 * 2^62 tells Lemire's method from a plain multiplication: by the
 * latter, every third value would come from two draws, and be twice as likely as the others. The
 * seed is fixed, so this cannot fail by chance: with 30,000 numbers, 10,000 are expected, and
 * 15,000 without the rejection. */
TEST(numbers_below_n_have_no_bias)
{
    struct kith__random r;
    unsigned multiples[3] = {0};
    kith__random_seed(&r, 1);
    for (int i = 0; i < 30000; i++)
        multiples[kith__random_below(&r, (uint64_t)3 << 62) % 3]++;
    for (int i = 0; i < 3; i++) {
        CHECK_GT(multiples[i], 9700u);
        CHECK_LT(multiples[i], 10300u);
    }
}

TEST(every_number_below_a_small_n_comes)
{
    struct kith__random r;
    unsigned seen[10] = {0};
    kith__random_seed(&r, 5);
    for (int i = 0; i < 10000; i++)
        seen[kith__random_below(&r, 10)]++;
    for (int i = 0; i < 10; i++) {
        CHECK_GT(seen[i], 850u);
        CHECK_LT(seen[i], 1150u);
    }
}

TEST(system_seeds_differ)
{
    uint64_t seeds[4];
    for (int i = 0; i < 4; i++)
        seeds[i] = kith__random_system_seed();
    for (int i = 0; i < 4; i++)
        for (int j = 0; j < i; j++)
            CHECK_NE(seeds[i], seeds[j]);
}
