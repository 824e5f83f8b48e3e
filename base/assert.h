/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Assertions that stay on in every build, branch hints, and the size of a cache line.
 * Called by: every file of the library.
 * Invariants: kith__assert evaluates its condition once, in all builds; it is for what kith itself
 *   promises, never for what a caller may do wrong (that is an error value).
 * Threads: any; the failing path takes no lock and allocates nothing, so it may run anywhere, also
 *   with locks held and in a signal handler.
 * Why not <assert.h>: it vanishes under NDEBUG, and a broken lock-free structure that goes on
 *   running destroys the evidence. The cost is one predicted branch.
 */
#ifndef KITH_BASE_ASSERT_H
#define KITH_BASE_ASSERT_H

#define KITH__LIKELY(cond) __builtin_expect(!!(cond), 1)
/* For what is off the hot path: keeps its registers and its code out of the caller. */
#define KITH__COLD __attribute__((noinline, cold))
#define KITH__UNLIKELY(cond) __builtin_expect(!!(cond), 0)

/* What two cores must not share if both write to it. x86-64 and most of ARM; where lines are longer
 * this costs speed, not correctness. */
#define KITH__CACHE_LINE 64

#define kith__assert(cond)                                                                         \
    (KITH__LIKELY(cond) ? (void)0 : kith__assert_failed(#cond, __FILE__, __LINE__))

/* Writes "kith: file:line: assertion failed: expression" to stderr and aborts. */
__attribute__((cold, noreturn)) void kith__assert_failed(const char *expression, const char *file,
                                                         int line);

#endif
