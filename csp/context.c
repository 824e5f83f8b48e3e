/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Making contexts, telling the sanitizers, and the switch by ucontext where there is no assembly.
 *
 * Called by: see context.h.
 * Invariants: see context.h. frame_make lays out what kith__context_swap of switch_*.S finds in a
 *   context that it left.
 * Threads: a context is one thread's (X3); what the sanitizers need is kept for each thread.
 * Why ucontext keeps its buffer on the suspended stack: struct kith__context then is the same for
 *   all variants, and a buffer of a kilobyte is needed only while the context is suspended.
 */
#include "csp/context.h"

#include "base/assert.h"

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#if !defined(KITH__UCONTEXT) && !defined(__ILP32__)
#if defined(__x86_64__)
#define SWITCH_X86_64 1
#elif defined(__aarch64__)
#define SWITCH_AARCH64 1
#endif
#endif

#if KITH__ASAN || KITH__TSAN
void kith__context_swap(struct kith__context *from, struct kith__context *to);
#endif

/* ---- a new context's frame ---- */

#if defined(SWITCH_X86_64) || defined(SWITCH_AARCH64)

void kith__context_start(void); /* switch_*.S: calls the function that the frame names */

#if defined(SWITCH_X86_64)
enum { WORDS = 8, FN = 4, ARG = 3, START = 7 }; /* r12, r13, and the return address */

/* Word 0: the control words as they are now. */
static uint64_t control_words(void)
{
    uint32_t mxcsr;
    uint16_t x87;
    __asm__ volatile("stmxcsr %0" : "=m"(mxcsr));
    __asm__ volatile("fnstcw %0" : "=m"(x87));
    return (uint64_t)x87 << 32 | mxcsr;
}
#define CONTROL 0
#else
enum { WORDS = 22, FN = 2, ARG = 3, START = 1 }; /* x19, x20, x30 */

static uint64_t control_words(void)
{
    uint64_t fpcr;
    __asm__ volatile("mrs %0, fpcr" : "=r"(fpcr));
    return fpcr;
}
#define CONTROL 20
#endif

/* A frame as if kith__context_start had called kith__context_swap before its first instruction,
 * with an sp that is a multiple of 16 there. The frame pointer is 0: debuggers that
 * go by it end here. */
static void frame_make(struct kith__context *ctx, void *low, void *high, kith__context_fn *fn,
                       void *arg)
{
    (void)low;
    uint64_t *top = (uint64_t *)((uintptr_t)high & ~(uintptr_t)15);
    uint64_t *frame = top - WORDS;
    memset(frame, 0, WORDS * sizeof *frame);
    frame[CONTROL] = control_words();
    frame[FN] = (uint64_t)(uintptr_t)fn;
    frame[ARG] = (uint64_t)(uintptr_t)arg;
    frame[START] = (uint64_t)(uintptr_t)kith__context_start;
    ctx->sp = frame;
}

#else /* ucontext */

#include <ucontext.h>

struct start {
    ucontext_t buffer; /* first: what sp points to */
    kith__context_fn *fn;
    void *arg;
};

/* makecontext passes ints only. */
static void start(unsigned high, unsigned low)
{
    struct start *s = (struct start *)((uintptr_t)high << 16 << 16 | low);
    s->fn(s->arg);
    const bool returned = true;
    kith__assert(!returned); /* X4 */
}

static void frame_make(struct kith__context *ctx, void *low, void *high, kith__context_fn *fn,
                       void *arg)
{
    char *top = (char *)(((uintptr_t)high - sizeof(struct start)) & ~(uintptr_t)63);
    struct start *s = (struct start *)(void *)top;
    getcontext(&s->buffer);
    s->fn = fn;
    s->arg = arg;
    s->buffer.uc_stack.ss_sp = low;
    s->buffer.uc_stack.ss_size = (size_t)(top - (char *)low);
    s->buffer.uc_link = NULL;
    uintptr_t word = (uintptr_t)s;
    makecontext(&s->buffer, (void (*)(void))start, 2, (unsigned)(word >> 16 >> 16), (unsigned)word);
    ctx->sp = s;
}

void kith__context_swap(struct kith__context *from, struct kith__context *to)
{
    ucontext_t here;
    from->sp = &here;
    swapcontext(&here, to->sp);
}

#endif

/* ---- with the sanitizers, which have to be told ---- */

#if KITH__ASAN || KITH__TSAN

#if KITH__ASAN
#include <sanitizer/common_interface_defs.h>
#else
#include <sanitizer/tsan_interface.h>
#endif

/* These stand on one stack when they begin and on another when they end, so nothing may be noted at
 * their beginning that is taken back at their end. */
#define SWITCHES __attribute__((noinline, no_sanitize("address", "thread")))

#if KITH__ASAN
/* Who switched to what runs now. */
static _Thread_local struct kith__context *left;
#endif

SWITCHES static void announce(struct kith__context *from, struct kith__context *to, void **fake)
{
#if KITH__ASAN
    left = from;
    __sanitizer_start_switch_fiber(fake, to->bottom, to->bytes);
#else
    (void)from, (void)to, (void)fake;
#endif
}

/* We are in a context again, or for the first time; ASan knows the bounds of the stack that was
 * left, which for a thread's own nobody has told. */
SWITCHES static void arrive(void *fake)
{
#if KITH__ASAN
    const void *bottom;
    size_t bytes;
    __sanitizer_finish_switch_fiber(fake, &bottom, &bytes);
    if (left->bottom == NULL) {
        left->bottom = bottom;
        left->bytes = bytes;
    }
#else
    (void)fake;
#endif
}

SWITCHES static void started(void *arg)
{
    struct kith__context *ctx = arg;
    arrive(NULL);
    ctx->fn(ctx->arg);
}

SWITCHES void kith__context_switch(struct kith__context *from, struct kith__context *to)
{
    announce(from, to, &from->fake_stack);
#if KITH__TSAN
    __tsan_switch_to_fiber(to->fiber, 0);
#endif
    kith__context_swap(from, to);
    arrive(from->fake_stack);
}

SWITCHES void kith__context_switch_last(struct kith__context *from, struct kith__context *to)
{
    announce(from, to, NULL); /* no place to save the fake stack: it ends */
#if KITH__TSAN
    __tsan_switch_to_fiber(to->fiber, 0);
#endif
    kith__context_swap(from, to);
    __builtin_unreachable();
}

void kith__context_make(struct kith__context *ctx, void *low, void *high, kith__context_fn *fn,
                        void *arg)
{
    *ctx = (struct kith__context){
        .fn = fn, .arg = arg, .bottom = low, .bytes = (size_t)((char *)high - (char *)low)};
#if KITH__TSAN
    ctx->fiber = __tsan_create_fiber(0);
#endif
    frame_make(ctx, low, high, started, ctx);
}

void kith__context_here(struct kith__context *ctx)
{
    *ctx = (struct kith__context){0};
#if KITH__TSAN
    ctx->fiber = __tsan_get_current_fiber();
#endif
}

void kith__context_end(struct kith__context *ctx)
{
#if KITH__TSAN
    __tsan_destroy_fiber(ctx->fiber);
#endif
    *ctx = (struct kith__context){0};
}

#else

void kith__context_make(struct kith__context *ctx, void *low, void *high, kith__context_fn *fn,
                        void *arg)
{
    frame_make(ctx, low, high, fn, arg);
}

void kith__context_here(struct kith__context *ctx)
{
    ctx->sp = NULL; /* set by the first switch away */
}

void kith__context_end(struct kith__context *ctx)
{
    ctx->sp = NULL;
}

#endif
