/* SPDX-License-Identifier: BSD-2-Clause
 *
 * xoshiro256**, splitmix64 and Lemire's bounded numbers.
 * Called by: see random.h.
 * Invariants: the outputs equal those of the authors' reference code, which the tests hold.
 * Threads: no shared state.
 * Why Lemire, "Fast Random Integer Generation in an Interval" (2019), and not `% n`: unbiased, and a
 *   multiplication in place of a division; the division is only reached with probability n / 2^64.
 */
#include "base/random.h"

#include "base/clock.h"

#include <sys/random.h>

__extension__ typedef unsigned __int128 wide;

static uint64_t rotl(uint64_t x, unsigned k)
{
    return (x << k) | (x >> (64 - k));
}

uint64_t kith__random_splitmix(uint64_t *state)
{
    uint64_t z = (*state += 0x9e3779b97f4a7c15u);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

void kith__random_seed(struct kith__random *r, uint64_t seed)
{
    /* splitmix64 is a bijection of its counter, so at most one of the four can be zero: the one
     * state that xoshiro cannot leave is never made. */
    for (int i = 0; i < 4; i++)
        r->s[i] = kith__random_splitmix(&seed);
}

uint64_t kith__random_next(struct kith__random *r)
{
    uint64_t *s = r->s;
    uint64_t result = rotl(s[1] * 5, 7) * 9;
    uint64_t t = s[1] << 17;
    s[2] ^= s[0];
    s[3] ^= s[1];
    s[1] ^= s[2];
    s[0] ^= s[3];
    s[2] ^= t;
    s[3] = rotl(s[3], 45);
    return result;
}

uint64_t kith__random_below(struct kith__random *r, uint64_t n)
{
    wide product = (wide)kith__random_next(r) * n;
    if ((uint64_t)product < n) {
        uint64_t reject_below = (0 - n) % n; /* 2^64 mod n; n > 0 here, nothing is below 0 */
        while ((uint64_t)product < reject_below)
            product = (wide)kith__random_next(r) * n;
    }
    return (uint64_t)(product >> 64);
}

uint64_t kith__random_system_seed(void)
{
    uint64_t seed = 0;
    if (getrandom(&seed, sizeof seed, 0) == (ssize_t)sizeof seed)
        return seed;
    /* Old kernel or a filter: no secret depends on this, it must only differ from run to run. */
    seed = kith__clock_now() ^ (uint64_t)(uintptr_t)&seed;
    return kith__random_splitmix(&seed);
}
