/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Atomic operations that carry their memory order in their name.
 *
 * Everything in kith that touches shared words goes through these; raw C11 atomics stand nowhere
 * else (a check holds that). So a reader sees the order where the operation stands, race detectors
 * see through it, and another backend (a model explorer's, say) can be put in front in one place:
 * define KITH__ATOMIC_BACKEND as the name of a header that defines the same macros.
 *
 *   rlx relaxed   acq acquire   rel release   ar acquire and release   seq sequentially consistent
 */
#ifndef KITH__BASE_ATOMIC_H
#define KITH__BASE_ATOMIC_H

#ifdef KITH__ATOMIC_BACKEND
#include KITH__ATOMIC_BACKEND
#else

#include <stdatomic.h>

#define KITH__ATOMIC(T) _Atomic(T)

#define kith__load_rlx(p) atomic_load_explicit((p), memory_order_relaxed)
#define kith__load_acq(p) atomic_load_explicit((p), memory_order_acquire)
#define kith__load_seq(p) atomic_load_explicit((p), memory_order_seq_cst)

#define kith__store_rlx(p, v) atomic_store_explicit((p), (v), memory_order_relaxed)
#define kith__store_rel(p, v) atomic_store_explicit((p), (v), memory_order_release)
#define kith__store_seq(p, v) atomic_store_explicit((p), (v), memory_order_seq_cst)

#define kith__xchg_rlx(p, v) atomic_exchange_explicit((p), (v), memory_order_relaxed)
#define kith__xchg_acq(p, v) atomic_exchange_explicit((p), (v), memory_order_acquire)
#define kith__xchg_rel(p, v) atomic_exchange_explicit((p), (v), memory_order_release)
#define kith__xchg_ar(p, v) atomic_exchange_explicit((p), (v), memory_order_acq_rel)
#define kith__xchg_seq(p, v) atomic_exchange_explicit((p), (v), memory_order_seq_cst)

/* Compare and swap, strong: true if *p was *expected and is now desired; else *expected is what was
 * seen, by a relaxed load unless the name's order is acq, ar or seq (then by an acquiring one). */
#define kith__cas_rlx(p, expected, desired)                                                        \
    atomic_compare_exchange_strong_explicit((p), (expected), (desired), memory_order_relaxed,      \
                                            memory_order_relaxed)
#define kith__cas_acq(p, expected, desired)                                                        \
    atomic_compare_exchange_strong_explicit((p), (expected), (desired), memory_order_acquire,      \
                                            memory_order_acquire)
#define kith__cas_rel(p, expected, desired)                                                        \
    atomic_compare_exchange_strong_explicit((p), (expected), (desired), memory_order_release,      \
                                            memory_order_relaxed)
#define kith__cas_ar(p, expected, desired)                                                         \
    atomic_compare_exchange_strong_explicit((p), (expected), (desired), memory_order_acq_rel,      \
                                            memory_order_acquire)
#define kith__cas_seq(p, expected, desired)                                                        \
    atomic_compare_exchange_strong_explicit((p), (expected), (desired), memory_order_seq_cst,      \
                                            memory_order_seq_cst)

#define kith__add_rlx(p, v) atomic_fetch_add_explicit((p), (v), memory_order_relaxed)
#define kith__add_seq(p, v) atomic_fetch_add_explicit((p), (v), memory_order_seq_cst)
#define kith__sub_rlx(p, v) atomic_fetch_sub_explicit((p), (v), memory_order_relaxed)
#define kith__sub_ar(p, v) atomic_fetch_sub_explicit((p), (v), memory_order_acq_rel)
#define kith__sub_seq(p, v) atomic_fetch_sub_explicit((p), (v), memory_order_seq_cst)
#define kith__or_ar(p, v) atomic_fetch_or_explicit((p), (v), memory_order_acq_rel)

/* Fences stand only in base/asymmetric.h. ThreadSanitizer does not see through a fence, so under it
 * the full one is an exchange on a word that nobody else reads: as strong on the machine. */
#define kith__fence_compiler() atomic_signal_fence(memory_order_seq_cst)
static inline void kith__fence_seq(void)
{
#ifdef __SANITIZE_THREAD__
    _Atomic(int) word = 0;
    atomic_exchange(&word, 1);
#else
    atomic_thread_fence(memory_order_seq_cst);
#endif
}

#endif

/* A counter that one thread writes and any may read: a relaxed load and store, no locked
 * instruction, because nobody else writes and readers only want some recent value. */
#define kith__count(p) kith__store_rlx((p), kith__load_rlx(p) + 1)
#define kith__count_by(p, n) kith__store_rlx((p), kith__load_rlx(p) + (n))

#endif
