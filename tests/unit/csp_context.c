/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Contexts: what a switch keeps and where it ends up; csp/context.c and the assembly beside it.
 * tests/unit/aarch64.sh builds this file for the other processor, too, so it needs nothing of kith
 * but contexts.
 */
#include "csp/context.h"
#include "tests/unit/test.h"

#include <unwind.h>

enum { STACK_BYTES = 64 << 10 };

/* A context, its stack, and who resumes it. */
struct side {
    struct kith__context self;
    struct kith__context *back;
    char *stack;
    uint64_t number;
    uint64_t rounds;
};

static void side_open(struct side *side, struct kith__context *back, kith__context_fn *fn)
{
    memset(side, 0, sizeof *side);
    side->back = back;
    side->stack = aligned_alloc(4096, STACK_BYTES);
    if (side->stack == NULL)
        abort();
    kith__context_make(&side->self, side->stack, side->stack + STACK_BYTES, fn, side);
}

static void side_close(struct side *side)
{
    kith__context_end(&side->self);
    free(side->stack);
}

static void side_back(struct side *side)
{
    kith__context_switch(&side->self, side->back);
}

static void side_end(struct side *side)
{
    kith__context_switch_last(&side->self, side->back);
}

/* ---- where it runs ---- */

static const char *seen_frame;

static void note_frame(void *arg)
{
    struct side *side = arg;
    seen_frame = __builtin_frame_address(0);
    side->number = 42;
    side_end(side);
}

#if KITH__ASAN
#include <sanitizer/lsan_interface.h>

/* It knows the bounds of the thread's stack again: what only a frame points to there is no leak.
 * The first test, before others leave such pointers elsewhere. */
TEST(the_leak_checker_finds_its_way_back)
{
    struct kith__context here;
    struct side side;
    kith__context_here(&here);
    side_open(&side, &here, note_frame);
    char *volatile held[100]; /* more than registers have room for */
    for (unsigned i = 0; i < 100; i++)
        held[i] = malloc(100);
    kith__context_switch(&here, &side.self);
    CHECK_EQ(__lsan_do_recoverable_leak_check(), 0);
    for (unsigned i = 0; i < 100; i++)
        free(held[i]);
    side_close(&side);
}
#endif

TEST(the_function_gets_its_argument_and_runs_on_its_stack)
{
    struct kith__context here;
    struct side side;
    kith__context_here(&here);
    side_open(&side, &here, note_frame);
    kith__context_switch(&here, &side.self);
    CHECK_EQ(side.number, 42);
    CHECK(seen_frame > side.stack && seen_frame < side.stack + STACK_BYTES);
    CHECK_EQ((uintptr_t)seen_frame % 16, 0);
    side_close(&side);
}

static char printed[64];

/* glibc's printf of a double saves vector registers with instructions that fault when the stack is
 * not aligned as the ABI says. */
static void print_double(void *arg)
{
    struct side *side = arg;
    volatile double third = 1.0 / 3.0;
    snprintf(printed, sizeof printed, "%.4f %d", third, 7);
    side_end(side);
}

TEST(the_stack_is_aligned_whatever_its_end_is)
{
    struct kith__context here;
    kith__context_here(&here);
    for (size_t less = 0; less < 64; less += 8) {
        struct side side;
        side_open(&side, &here, print_double);
        kith__context_end(&side.self);
        kith__context_make(&side.self, side.stack, side.stack + STACK_BYTES - less, print_double,
                           &side);
        printed[0] = '\0';
        kith__context_switch(&here, &side.self);
        CHECK_STR(printed, "0.3333 7");
        side_close(&side);
    }
}

/* ---- what is kept: registers ---- */

/* Each fills all registers that a called function must keep, switches, and writes back what it
 * finds. */
#if !KITH__ASAN && !KITH__TSAN && defined(__x86_64__)
enum { REGISTERS = 6 };
__asm__(".text\n"
        "swap_with_registers:\n"
        "    pushq %rbp\n    pushq %rbx\n    pushq %r12\n    pushq %r13\n    pushq %r14\n"
        "    pushq %r15\n    pushq %rdx\n"
        "    movq (%rdx), %rbp\n    movq 8(%rdx), %rbx\n    movq 16(%rdx), %r12\n"
        "    movq 24(%rdx), %r13\n    movq 32(%rdx), %r14\n    movq 40(%rdx), %r15\n"
        "    call kith__context_swap\n"
        "    popq %rdx\n"
        "    movq %rbp, (%rdx)\n    movq %rbx, 8(%rdx)\n    movq %r12, 16(%rdx)\n"
        "    movq %r13, 24(%rdx)\n    movq %r14, 32(%rdx)\n    movq %r15, 40(%rdx)\n"
        "    popq %r15\n    popq %r14\n    popq %r13\n    popq %r12\n    popq %rbx\n    popq %rbp\n"
        "    ret\n");
#elif !KITH__ASAN && !KITH__TSAN && defined(__aarch64__)
enum { REGISTERS = 19 }; /* x19 to x29, d8 to d15; x30 is what brings us back */
__asm__(".text\n"
        "swap_with_registers:\n"
        "    stp x29, x30, [sp, -176]!\n"
        "    stp x19, x20, [sp, 16]\n    stp x21, x22, [sp, 32]\n    stp x23, x24, [sp, 48]\n"
        "    stp x25, x26, [sp, 64]\n    stp x27, x28, [sp, 80]\n"
        "    stp d8, d9, [sp, 96]\n    stp d10, d11, [sp, 112]\n    stp d12, d13, [sp, 128]\n"
        "    stp d14, d15, [sp, 144]\n    str x2, [sp, 160]\n"
        "    ldp x19, x20, [x2]\n    ldp x21, x22, [x2, 16]\n    ldp x23, x24, [x2, 32]\n"
        "    ldp x25, x26, [x2, 48]\n    ldp x27, x28, [x2, 64]\n    ldr x29, [x2, 80]\n"
        "    ldp d8, d9, [x2, 88]\n    ldp d10, d11, [x2, 104]\n    ldp d12, d13, [x2, 120]\n"
        "    ldp d14, d15, [x2, 136]\n"
        "    bl kith__context_swap\n"
        "    ldr x2, [sp, 160]\n"
        "    stp x19, x20, [x2]\n    stp x21, x22, [x2, 16]\n    stp x23, x24, [x2, 32]\n"
        "    stp x25, x26, [x2, 48]\n    stp x27, x28, [x2, 64]\n    str x29, [x2, 80]\n"
        "    stp d8, d9, [x2, 88]\n    stp d10, d11, [x2, 104]\n    stp d12, d13, [x2, 120]\n"
        "    stp d14, d15, [x2, 136]\n"
        "    ldp x19, x20, [sp, 16]\n    ldp x21, x22, [sp, 32]\n    ldp x23, x24, [sp, 48]\n"
        "    ldp x25, x26, [sp, 64]\n    ldp x27, x28, [sp, 80]\n"
        "    ldp d8, d9, [sp, 96]\n    ldp d10, d11, [sp, 112]\n    ldp d12, d13, [sp, 128]\n"
        "    ldp d14, d15, [sp, 144]\n"
        "    ldp x29, x30, [sp], 176\n"
        "    ret\n");
#else
enum { REGISTERS = 0 };
#endif

#if !KITH__ASAN && !KITH__TSAN && (defined(__x86_64__) || defined(__aarch64__))
void swap_with_registers(struct kith__context *from, struct kith__context *to,
                         uint64_t *values) __asm__("swap_with_registers");

/* Values that differ in each register and for each number; returns how many came back wrong. */
static unsigned swap_wrong(struct kith__context *from, struct kith__context *to, uint64_t number)
{
    uint64_t values[REGISTERS];
    for (unsigned i = 0; i < REGISTERS; i++)
        values[i] = number << 32 | (i + 1) * (uint64_t)0x01010101;
    swap_with_registers(from, to, values);
    unsigned wrong = 0;
    for (unsigned i = 0; i < REGISTERS; i++)
        wrong += values[i] != (number << 32 | (i + 1) * (uint64_t)0x01010101);
    return wrong;
}

static void swap_for_ever(void *arg)
{
    struct side *side = arg;
    for (;;)
        side->rounds += swap_wrong(&side->self, side->back, side->number);
}

TEST(registers_that_a_call_keeps_are_kept)
{
    struct kith__context here;
    struct side a;
    struct side b;
    kith__context_here(&here);
    side_open(&a, &here, swap_for_ever);
    side_open(&b, &here, swap_for_ever);
    a.number = 0x1234;
    b.number = 0xabcd;
    for (unsigned i = 0; i < 1000; i++) {
        CHECK_EQ(swap_wrong(&here, &a.self, i), 0);
        CHECK_EQ(swap_wrong(&here, &b.self, i), 0);
    }
    CHECK_EQ(a.rounds, 0);
    CHECK_EQ(b.rounds, 0);
    side_close(&a);
    side_close(&b);
}
#endif

/* ---- what is kept: the floating-point control words ---- */

struct control {
    uint32_t vector; /* mxcsr; fpcr */
    uint16_t x87;
};

#if defined(__x86_64__)
enum { ROUND_UP = 0x4000, X87_ROUND_UP = 0x0800, VECTOR_BITS = 0xffc0 }; /* without sticky flags */
static struct control control_get(void)
{
    struct control c;
    __asm__ volatile("stmxcsr %0" : "=m"(c.vector));
    __asm__ volatile("fnstcw %0" : "=m"(c.x87));
    c.vector &= VECTOR_BITS;
    return c;
}

static void control_set(struct control c)
{
    __asm__ volatile("ldmxcsr %0" : : "m"(c.vector));
    __asm__ volatile("fldcw %0" : : "m"(c.x87));
}
#elif defined(__aarch64__)
enum { ROUND_UP = 1 << 22, X87_ROUND_UP = 0 };
static struct control control_get(void)
{
    uint64_t fpcr;
    __asm__ volatile("mrs %0, fpcr" : "=r"(fpcr));
    return (struct control){.vector = (uint32_t)fpcr};
}

static void control_set(struct control c)
{
    uint64_t fpcr = c.vector;
    __asm__ volatile("msr fpcr, %0" : : "r"(fpcr));
}
#else
enum { ROUND_UP = 0, X87_ROUND_UP = 0 };
static struct control control_get(void)
{
    return (struct control){0};
}

static void control_set(struct control c)
{
    (void)c;
}
#endif

static bool control_is(struct control c)
{
    struct control now = control_get();
    return now.vector == c.vector && now.x87 == c.x87;
}

static struct control side_control[2];

static void keep_control(void *arg)
{
    struct side *side = arg;
    struct control mine = side_control[side->number];
    control_set(mine);
    for (;;) {
        side_back(side);
        side->rounds += !control_is(mine);
    }
}

/* Two contexts and the thread, of which a has the given control words and b the usual ones. */
static void check_controls(struct control usual, struct control given)
{
    struct kith__context here;
    struct side a;
    struct side b;
    kith__context_here(&here);
    side_control[0] = given;
    side_control[1] = usual;
    side_open(&a, &here, keep_control);
    side_open(&b, &here, keep_control);
    b.number = 1;
    for (unsigned i = 0; i < 10; i++) {
        kith__context_switch(&here, &a.self);
        CHECK(control_is(usual));
        kith__context_switch(&here, &b.self);
        CHECK(control_is(usual));
    }
    CHECK_EQ(a.rounds, 0);
    CHECK_EQ(b.rounds, 0);
    side_close(&a);
    side_close(&b);
}

TEST(each_context_has_its_own_rounding)
{
    struct control usual = control_get();
    struct control vector = usual;
    struct control x87 = usual;
    vector.vector |= ROUND_UP;
    x87.x87 |= X87_ROUND_UP;
    struct control both = {.vector = vector.vector, .x87 = x87.x87};
    check_controls(usual, vector);
    check_controls(usual, x87);
    check_controls(usual, both);
    CHECK(control_is(usual));
}

static struct control first_control;

static void note_control(void *arg)
{
    first_control = control_get();
    side_end(arg);
}

TEST(a_new_context_has_the_rounding_of_its_maker)
{
    struct control usual = control_get();
    struct control up = {.vector = usual.vector | ROUND_UP,
                         .x87 = (uint16_t)(usual.x87 | X87_ROUND_UP)};
    struct kith__context here;
    struct side side;
    kith__context_here(&here);
    control_set(up);
    side_open(&side, &here, note_control);
    control_set(usual);
    kith__context_switch(&here, &side.self);
    CHECK_EQ(first_control.vector, up.vector);
    CHECK_EQ(first_control.x87, up.x87);
    CHECK(control_is(usual));
    side_close(&side);
}

/* ---- many and deep ---- */

enum { SIDES = 64, SWITCHES = 1000000 };

static void count_for_ever(void *arg)
{
    struct side *side = arg;
    for (;;) {
        side->rounds++;
        side_back(side);
    }
}

TEST(a_million_switches)
{
    struct kith__context here;
    static struct side sides[SIDES];
    kith__context_here(&here);
    for (unsigned i = 0; i < SIDES; i++)
        side_open(&sides[i], &here, count_for_ever);
    for (unsigned i = 0; i < SWITCHES / 2; i++)
        kith__context_switch(&here, &sides[i * 7 % SIDES].self);
    uint64_t rounds = 0;
    for (unsigned i = 0; i < SIDES; i++) {
        rounds += sides[i].rounds;
        CHECK_GE(sides[i].rounds, SWITCHES / 2 / SIDES);
        side_close(&sides[i]);
    }
    CHECK_EQ(rounds, SWITCHES / 2);
}

static unsigned deepest;

/* Goes on in a context of its own, which goes on in one of its own. */
static void nest(void *arg)
{
    struct side *side = arg;
    deepest = side->number > deepest ? (unsigned)side->number : deepest;
    if (side->number < 500) {
        struct side inner;
        side_open(&inner, &side->self, nest);
        inner.number = side->number + 1;
        kith__context_switch(&side->self, &inner.self);
        CHECK_EQ(inner.rounds, 1);
        kith__context_switch(&side->self, &inner.self);
        CHECK_EQ(inner.rounds, 2);
        side_close(&inner);
    }
    side->rounds++;
    side_back(side);
    side->rounds++;
    side_end(side);
}

TEST(contexts_within_contexts)
{
    struct kith__context here;
    struct side side;
    kith__context_here(&here);
    side_open(&side, &here, nest);
    kith__context_switch(&here, &side.self);
    kith__context_switch(&here, &side.self);
    CHECK_EQ(side.rounds, 2);
    CHECK_EQ(deepest, 500);
    side_close(&side);
}

static unsigned recurse(struct side *side, unsigned depth) // NOLINT(misc-no-recursion)
{
    volatile char filler[200];
    filler[depth % sizeof filler] = (char)depth;
    if (depth == 0)
        side_back(side);
    unsigned below = depth == 0 ? 0 : recurse(side, depth - 1);
    return below + (filler[depth % sizeof filler] == (char)depth);
}

static void recurse_first(void *arg)
{
    struct side *side = arg;
    side->rounds = recurse(side, 99);
    side_end(side);
}

TEST(frames_are_there_after_a_switch)
{
    struct kith__context here;
    struct side sides[2];
    kith__context_here(&here);
    side_open(&sides[0], &here, recurse_first);
    side_open(&sides[1], &here, recurse_first);
    for (unsigned i = 0; i < 4; i++)
        kith__context_switch(&here, &sides[i % 2].self);
    CHECK_EQ(sides[0].rounds, 100);
    CHECK_EQ(sides[1].rounds, 100);
    side_close(&sides[0]);
    side_close(&sides[1]);
}

/* More than ThreadSanitizer has room for at once: an end gives back what make took. */
TEST(contexts_end)
{
    struct kith__context here;
    struct side side;
    kith__context_here(&here);
    side_open(&side, &here, note_frame);
    kith__context_switch(&here, &side.self);
    for (unsigned i = 0; i < 10000; i++) {
        kith__context_end(&side.self);
        kith__context_make(&side.self, side.stack, side.stack + STACK_BYTES, note_frame, &side);
        side.number = 0;
        kith__context_switch(&here, &side.self);
        CHECK_EQ(side.number, 42);
    }
    side_close(&side);
}

static void *switch_on_thread(void *arg)
{
    struct kith__context here;
    struct side sides[2];
    kith__context_here(&here);
    for (unsigned i = 0; i < 2; i++)
        side_open(&sides[i], &here, count_for_ever);
    for (unsigned i = 0; i < 20000; i++)
        kith__context_switch(&here, &sides[i % 2].self);
    *(uint64_t *)arg = sides[0].rounds + sides[1].rounds;
    for (unsigned i = 0; i < 2; i++)
        side_close(&sides[i]);
    return NULL;
}

TEST(threads_switch_for_themselves)
{
    pthread_t threads[4];
    uint64_t rounds[4] = {0};
    for (unsigned i = 0; i < 4; i++)
        REQUIRE(pthread_create(&threads[i], NULL, switch_on_thread, &rounds[i]) == 0);
    for (unsigned i = 0; i < 4; i++) {
        pthread_join(threads[i], NULL);
        CHECK_EQ(rounds[i], 20000);
    }
}

/* ---- unwinding ---- */

static unsigned frames;
static bool unwound; /* to an end, and not into what lies above the stack */

static _Unwind_Reason_Code count_frame(struct _Unwind_Context *context, void *arg)
{
    (void)context;
    (void)arg;
    return ++frames < 100 ? _URC_NO_REASON : _URC_NORMAL_STOP;
}

static void unwind(void *arg)
{
    frames = 0;
    _Unwind_Reason_Code end = _Unwind_Backtrace(count_frame, NULL);
    unwound = end == _URC_END_OF_STACK;
    side_end(arg);
}

/* Above the stack lies what looks like more callers. */
TEST(an_unwinder_ends_at_the_first_frame)
{
    struct kith__context here;
    struct side side;
    kith__context_here(&here);
    side_open(&side, &here, unwind);
    kith__context_end(&side.self);
    uintptr_t *high = (uintptr_t *)(void *)(side.stack + STACK_BYTES) - 64;
    for (unsigned i = 0; i < 64; i++)
        high[i] = (uintptr_t)unwind + 1;
    kith__context_make(&side.self, side.stack, high, unwind, &side);
    kith__context_switch(&here, &side.self);
    CHECK(unwound);
    CHECK_GE(frames, 1);
    CHECK_LE(frames, 4);
    side_close(&side);
}

/* ---- what the sanitizers know ---- */

#if KITH__TSAN
#include <sanitizer/tsan_interface.h>

static void *seen_fiber;

static void note_fiber(void *arg)
{
    seen_fiber = __tsan_get_current_fiber();
    side_end(arg);
}

TEST(thread_sanitizer_knows_who_runs)
{
    struct kith__context here;
    struct side side;
    kith__context_here(&here);
    side_open(&side, &here, note_fiber);
    kith__context_switch(&here, &side.self);
    CHECK(seen_fiber == side.self.fiber);
    CHECK(__tsan_get_current_fiber() == here.fiber);
    CHECK(here.fiber != side.self.fiber);
    side_close(&side);
}
#endif
