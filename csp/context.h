/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Contexts: what a suspended execution is, and the switch from one to another.
 *
 * Called by: fibers and generators (csp/). Nobody else switches stacks.
 *
 * Invariants
 *  X1. A context is resumed at most once for each time that it was left: its sp names one frame.
 *  X2. What the ABI says that a called function keeps is kept over a switch, the floating-point
 *      control words among it: a rounding mode belongs to the context that set it.
 *  X3. A context is left and resumed on the same thread. Nothing here checks it: glibc's errno and
 *      compilers' caching of thread-local addresses are the reason.
 *  X4. The function of a context never returns; it leaves by kith__context_switch_last.
 *  X5. Sanitizers are told of each switch, inside the one function that switches.
 * Signal masks are not part of a context, but with ucontext, where they cannot be left out.
 *
 * | meets            | make | switch | end | here |
 * |------------------|------|--------|-----|------|
 * | anything, on the same context | X | X | X | X |   X: exclusion is the caller's duty
 * Contexts share nothing with each other: on different ones all operations may meet.
 *
 * Why assembly: ucontext makes a system call for the signal mask at each switch (160 ns against 6);
 *   setjmp is mangled by glibc and checked by fortified builds. Why a called function and no inline
 *   assembly: one place for unwinders to know, and the compiler spills no more than the ABI says.
 */
#ifndef KITH__CSP_CONTEXT_H
#define KITH__CSP_CONTEXT_H

#include <stddef.h>

#if defined(__SANITIZE_ADDRESS__)
#define KITH__ASAN 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define KITH__ASAN 1
#endif
#endif
#if defined(__SANITIZE_THREAD__)
#define KITH__TSAN 1
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define KITH__TSAN 1
#endif
#endif
#ifndef KITH__ASAN
#define KITH__ASAN 0
#endif
#ifndef KITH__TSAN
#define KITH__TSAN 0
#endif

/* Never returns. */
typedef void kith__context_fn(void *arg);

struct kith__context {
    void *sp; /* first: the assembly stores and loads it. Means something only while suspended. */
#if KITH__ASAN || KITH__TSAN
    kith__context_fn *fn; /* what the first switch calls, behind the sanitizers' back */
    void *arg;
    const void *bottom; /* of the stack; NULL until known */
    size_t bytes;
    void *fake_stack; /* ASan's, while suspended */
    void *fiber;      /* TSan's */
#endif
};

/* Prepares ctx so that the first switch to it calls fn(arg) on the stack [low, high). The stack's
 * memory is touched at its high end only (one page, if high is a multiple of the page's size). */
void kith__context_make(struct kith__context *ctx, void *low, void *high, kith__context_fn *fn,
                        void *arg);

/* Makes ctx the context of what runs now: for the own stack of a thread. */
void kith__context_here(struct kith__context *ctx);

/* Ends a context that was made, after its last switch away, from another context. Without
 * sanitizers there is nothing to do. */
void kith__context_end(struct kith__context *ctx);

#if KITH__ASAN || KITH__TSAN
void kith__context_switch(struct kith__context *from, struct kith__context *to);
#define kith__context_switch_alike(from, to) kith__context_switch((from), (to))
__attribute__((noreturn)) void kith__context_switch_last(struct kith__context *from,
                                                         struct kith__context *to);
#else
/* The switch itself, in assembly or by ucontext. */
__attribute__((visibility("hidden"))) void kith__context_swap(struct kith__context *from,
                                                              struct kith__context *to);
__attribute__((visibility("hidden"))) void kith__context_swap_alike(struct kith__context *from,
                                                                    struct kith__context *to);

/* Saves where we are in *from and goes on in *to; returns when somebody switches to *from. */
static inline void kith__context_switch(struct kith__context *from, struct kith__context *to)
{
    kith__context_swap(from, to);
}

/* The same, faster where *to was left by the very same call, and slower where not. */
static inline void kith__context_switch_alike(struct kith__context *from, struct kith__context *to)
{
#if defined(__x86_64__) && !defined(__ILP32__) && !defined(KITH__UCONTEXT)
    kith__context_swap_alike(from, to);
#else
    kith__context_swap(from, to);
#endif
}

/* The same for a context that will never be resumed. */
__attribute__((noreturn)) static inline void kith__context_switch_last(struct kith__context *from,
                                                                       struct kith__context *to)
{
    kith__context_swap(from, to);
    __builtin_unreachable();
}
#endif

#endif
