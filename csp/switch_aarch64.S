/* SPDX-License-Identifier: BSD-2-Clause
 *
 * The switch of contexts for aarch64, AAPCS64: kith__context_swap and the first frame.
 *
 * Called by: csp/context.h, csp/context.c.
 * Invariants: the frame of a suspended context, from its sp upwards, is what frame_make in
 *   context.c lays out for a new one:
 *
 *       0  x29, x30          so that the frame is one that debuggers walk
 *      16  x19 ... x28
 *      96  d8 ... d15
 *     160  fpcr, and 8 bytes that only keep sp a multiple of 16
 *
 * Threads: a context goes on where it was left (X3). x18 is the platform's; Linux does not use it.
 * Why fpcr is compared: writing it may drain the pipeline, and it is nearly always the same.
 * Why ret: it is predicted by the stack of calls, wrongly, but br to the middle of a function
 *   would need a landing pad where branch targets are checked, and there is none behind a call.
 */
#if defined(__aarch64__) && !defined(__ILP32__) && !defined(KITH__UCONTEXT)

#define FRAME 176

    .text
    .p2align 4
    .globl kith__context_swap
    .hidden kith__context_swap
    .type kith__context_swap, %function
/* x0: struct kith__context *from, x1: *to; each begins with the sp */
kith__context_swap:
    .cfi_startproc
    hint 34 /* bti c */
    stp x29, x30, [sp, -FRAME]!
    .cfi_def_cfa_offset FRAME
    .cfi_offset x29, -FRAME
    .cfi_offset x30, -FRAME + 8
    stp x19, x20, [sp, 16]
    .cfi_offset x19, -FRAME + 16
    .cfi_offset x20, -FRAME + 24
    stp x21, x22, [sp, 32]
    .cfi_offset x21, -FRAME + 32
    .cfi_offset x22, -FRAME + 40
    stp x23, x24, [sp, 48]
    .cfi_offset x23, -FRAME + 48
    .cfi_offset x24, -FRAME + 56
    stp x25, x26, [sp, 64]
    .cfi_offset x25, -FRAME + 64
    .cfi_offset x26, -FRAME + 72
    stp x27, x28, [sp, 80]
    .cfi_offset x27, -FRAME + 80
    .cfi_offset x28, -FRAME + 88
    stp d8, d9, [sp, 96] /* assemblers know these by their DWARF numbers only: d8 is 72 */
    .cfi_offset 72, -FRAME + 96
    .cfi_offset 73, -FRAME + 104
    stp d10, d11, [sp, 112]
    .cfi_offset 74, -FRAME + 112
    .cfi_offset 75, -FRAME + 120
    stp d12, d13, [sp, 128]
    .cfi_offset 76, -FRAME + 128
    .cfi_offset 77, -FRAME + 136
    stp d14, d15, [sp, 144]
    .cfi_offset 78, -FRAME + 144
    .cfi_offset 79, -FRAME + 152
    mrs x2, fpcr
    str x2, [sp, 160]
    mov x3, sp
    str x3, [x0]
    ldr x3, [x1]
    mov sp, x3 /* the layout is the same from here, so is what was said of it above */
    ldr x3, [sp, 160]
    cmp x2, x3
    b.eq 1f
    msr fpcr, x3
1:  ldp x19, x20, [sp, 16]
    ldp x21, x22, [sp, 32]
    ldp x23, x24, [sp, 48]
    ldp x25, x26, [sp, 64]
    ldp x27, x28, [sp, 80]
    ldp d8, d9, [sp, 96]
    ldp d10, d11, [sp, 112]
    ldp d12, d13, [sp, 128]
    ldp d14, d15, [sp, 144]
    ldp x29, x30, [sp], FRAME
    .cfi_def_cfa_offset 0
    .cfi_restore x29
    .cfi_restore x30
    .cfi_restore x19
    .cfi_restore x20
    .cfi_restore x21
    .cfi_restore x22
    .cfi_restore x23
    .cfi_restore x24
    .cfi_restore x25
    .cfi_restore x26
    .cfi_restore x27
    .cfi_restore x28
    .cfi_restore 72
    .cfi_restore 73
    .cfi_restore 74
    .cfi_restore 75
    .cfi_restore 76
    .cfi_restore 77
    .cfi_restore 78
    .cfi_restore 79
    ret
    .cfi_endproc
    .size kith__context_swap, . - kith__context_swap

/* The first frame: x19 is the function, x20 its argument. An unwinder ends here: nobody called. */
    .p2align 4
    .globl kith__context_start
    .hidden kith__context_start
    .type kith__context_start, %function
    .type kith__context_first, %function
kith__context_first:
    .cfi_startproc
    .cfi_undefined x30
    nop /* an unwinder looks for a caller one before where it goes on */
kith__context_start:
    hint 34 /* bti c */
    mov x0, x20
    blr x19
    brk 1 /* the function returned (X4) */
    .cfi_endproc
    .size kith__context_start, . - kith__context_start
    .size kith__context_first, . - kith__context_first

    /* Branch target identification: yes. Guarded control stacks: no. */
    .section .note.gnu.property, "a", %note
    .p2align 3
    .long 4, 16, 5
    .asciz "GNU"
    .long 0xc0000000, 4, 1, 0 /* FEATURE_1_AND: BTI */

#endif
    .section .note.GNU-stack, "", %progbits
