/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Concurrency Kit, as kith uses it: ck_stack, for lists that are pushed by many and taken whole.
 *
 * Race detectors cannot see into Concurrency Kit's inline assembly. Under ThreadSanitizer the few
 * ck_pr operations that ck_stack needs are therefore given here in terms of base/atomic.h, in
 * front of CK's own header, so that its structure is checked too and nothing is suppressed.
 */
#ifndef KITH__BASE_CK_H
#define KITH__BASE_CK_H

#if defined(__SANITIZE_THREAD__)
#define KITH__CK_SUBSTITUTE 1
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define KITH__CK_SUBSTITUTE 1
#endif
#endif

#ifdef KITH__CK_SUBSTITUTE
#include "base/atomic.h"
#include <ck_cc.h>
#include <stdbool.h>
#include <stddef.h>
#define CK_PR_H /* ck_pr.h's own guard: what follows stands for it */

typedef KITH__ATOMIC(void *) kith__ck_word;

static inline void *kith__ck_load(const void *target)
{
    return kith__load_acq((const kith__ck_word *)target);
}

static inline void kith__ck_store(void *target, const void *value)
{
    kith__store_rel((kith__ck_word *)target, (void *)(uintptr_t)value);
}

static inline void *ck_pr_fas_ptr(void *target, void *value)
{
    return kith__xchg_ar((kith__ck_word *)target, value);
}

static inline bool ck_pr_cas_ptr_value(void *target, void *compare, void *set, void *seen)
{
    void *expected = compare;
    bool done = kith__cas_ar((kith__ck_word *)target, &expected, set);
    *(void **)seen = expected;
    return done;
}

static inline bool ck_pr_cas_ptr(void *target, void *compare, void *set)
{
    void *expected = compare;
    return kith__cas_ar((kith__ck_word *)target, &expected, set);
}

#define ck_pr_load_ptr(target) kith__ck_load(target)
#define ck_pr_store_ptr(target, value) kith__ck_store((target), (value))
#define ck_pr_fence_store() ((void)0)
#define ck_pr_fence_load() ((void)0)
#define ck_pr_stall() ((void)0)
#endif

#include <ck_stack.h>

#endif
