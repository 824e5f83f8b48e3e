/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Random numbers: xoshiro256**, seeded by splitmix64. Not for secrets.
 * Called by: the workers (which victim to steal from), kith_random, the tests.
 * Invariants: the same seed gives the same numbers on every machine. The state is never all zero.
 * Threads: the owner of the struct only; one per worker, so no number costs a shared cache line.
 * Why these: Blackman and Vigna, "Scrambled Linear Pseudorandom Number Generators" (2021): 32 bytes
 *   of state, a period of 2^256 - 1, under a nanosecond. Steele, Lea and Flood, "Fast Splittable
 *   Pseudorandom Number Generators" (2014) turns seeds that differ in one bit into states that have
 *   nothing in common, so worker i may simply use seed + i.
 */
#ifndef KITH_BASE_RANDOM_H
#define KITH_BASE_RANDOM_H

#include <stdint.h>

struct kith__random {
    uint64_t s[4];
};

/* The next number of splitmix64, whose whole state is *state. */
uint64_t kith__random_splitmix(uint64_t *state);

void kith__random_seed(struct kith__random *r, uint64_t seed);

/* A uniform 64-bit number. */
uint64_t kith__random_next(struct kith__random *r);

/* A uniform number below n, without bias; 0 for n = 0. */
uint64_t kith__random_below(struct kith__random *r, uint64_t n);

/* A seed from the system's entropy; from the clock and an address if the system refuses. */
uint64_t kith__random_system_seed(void);

#endif
