/* SPDX-License-Identifier: BSD-2-Clause
 *
 * The switch of contexts for x86-64, System V ABI: kith__context_swap and the first frame.
 *
 * Called by: csp/context.h, csp/context.c.
 * Invariants: the frame of a suspended context, from its sp upwards, is what frame_make in
 *   context.c lays out for a new one:
 *
 *      0  mxcsr (4 bytes), x87 control word (2)
 *      8  r15, r14, r13, r12, rbx, rbp
 *     56  where it goes on
 *
 * Threads: a context goes on where it was left (X3).
 * Why the control words are compared: they are nearly always the same, and to load them anyway
 *   costs half a nanosecond of 5.6 (EPYC), more where loading them drains the pipeline. mxcsr has
 *   the sticky exception flags too, which nobody needs to keep; keeping them costs less than to
 *   tell them apart.
 * Why a jump and not ret: the processor predicts a ret by its own stack of calls, which a switch
 *   makes wrong each time (9.9 ns); an indirect jump is predicted by what it did before. notrack,
 *   because the place behind a call has no endbr64. Shadow stacks are not supported, and the note
 *   says so.
 * Why there are two: where both contexts were left by the same call, the processor's stack of calls
 *   is right by chance, but only if what was called returns: after a jump it has one entry too many,
 *   and all returns of the functions around are mispredicted, too. So kith__context_swap_alike
 *   returns. A rendezvous of two fibers, which suspend in the same place, went from 46 to 38 ns by
 *   it, a yield from 24 to 11.
 */
#if defined(__x86_64__) && !defined(__ILP32__) && !defined(KITH__UCONTEXT)

    .text

/* rdi: struct kith__context *from, rsi: *to; each begins with the sp. returns: by ret, or a jump */
.macro define_swap name, returns
    .p2align 4
    .globl \name
    .hidden \name
    .type \name, @function
\name:
    .cfi_startproc
    endbr64
    pushq %rbp
    .cfi_adjust_cfa_offset 8
    .cfi_rel_offset %rbp, 0
    pushq %rbx
    .cfi_adjust_cfa_offset 8
    .cfi_rel_offset %rbx, 0
    pushq %r12
    .cfi_adjust_cfa_offset 8
    .cfi_rel_offset %r12, 0
    pushq %r13
    .cfi_adjust_cfa_offset 8
    .cfi_rel_offset %r13, 0
    pushq %r14
    .cfi_adjust_cfa_offset 8
    .cfi_rel_offset %r14, 0
    pushq %r15
    .cfi_adjust_cfa_offset 8
    .cfi_rel_offset %r15, 0
    subq $8, %rsp
    .cfi_adjust_cfa_offset 8
    stmxcsr (%rsp)
    fnstcw 4(%rsp)
    movl (%rsp), %eax
    movzwl 4(%rsp), %ecx
    movq %rsp, (%rdi)
    movq (%rsi), %rsp /* the layout is the same from here, so is what was said of it above */
    cmpl (%rsp), %eax
    jne 1f
2:  cmpw 4(%rsp), %cx
    jne 3f
4:  addq $8, %rsp
    .cfi_adjust_cfa_offset -8
    popq %r15
    .cfi_adjust_cfa_offset -8
    .cfi_restore %r15
    popq %r14
    .cfi_adjust_cfa_offset -8
    .cfi_restore %r14
    popq %r13
    .cfi_adjust_cfa_offset -8
    .cfi_restore %r13
    popq %r12
    .cfi_adjust_cfa_offset -8
    .cfi_restore %r12
    popq %rbx
    .cfi_adjust_cfa_offset -8
    .cfi_restore %rbx
    popq %rbp
    .cfi_adjust_cfa_offset -8
    .cfi_restore %rbp
.if \returns
    ret
.else
    popq %rcx
    .cfi_adjust_cfa_offset -8
    .cfi_register %rip, %rcx
    notrack jmp *%rcx
.endif
    .cfi_endproc
    .size \name, . - \name

    /* Out of the way of what is nearly always so. In the frame as it is behind subq. */
    .cfi_startproc
    .cfi_def_cfa %rsp, 64
    .cfi_offset %rbp, -16
    .cfi_offset %rbx, -24
    .cfi_offset %r12, -32
    .cfi_offset %r13, -40
    .cfi_offset %r14, -48
    .cfi_offset %r15, -56
1:  ldmxcsr (%rsp)
    jmp 2b
3:  fldcw 4(%rsp)
    jmp 4b
    .cfi_endproc
.endm

define_swap kith__context_swap, 0
define_swap kith__context_swap_alike, 1

/* The first frame: r12 is the function, r13 its argument. An unwinder ends here: nobody called. */
    .p2align 4
    .globl kith__context_start
    .hidden kith__context_start
    .type kith__context_start, @function
    .type kith__context_first, @function
kith__context_first:
    .cfi_startproc
    .cfi_undefined %rip
    nop /* an unwinder looks for a caller one before where it goes on */
kith__context_start:
    endbr64
    movq %r13, %rdi
    call *%r12
    ud2 /* the function returned (X4) */
    .cfi_endproc
    .size kith__context_start, . - kith__context_start
    .size kith__context_first, . - kith__context_first

    /* Indirect branch tracking: yes. Shadow stack: no. */
    .section .note.gnu.property, "a", @note
    .p2align 3
    .long 4, 16, 5
    .asciz "GNU"
    .long 0xc0000002, 4, 1, 0 /* X86_FEATURE_1_AND: IBT */

#endif
    .section .note.GNU-stack, "", %progbits
