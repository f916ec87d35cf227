/*
 * The switch of fiber_internal.h for x86-64, System V calling convention.
 *
 * A stack that waits, from where its context points to:
 *
 *	 0  MXCSR, x87 control word (4 bytes each)
 *	 8  r15, r14, r13, r12, rbx, rbp
 *	56  where it goes on
 *
 * Shadow stacks (CET) are not supported: they would have to be switched as
 * well. This object carries no .note.gnu.property, so the linker marks what
 * contains it as not made for them, and the kernel leaves them off.
 */
	.text

/* void fiber_switch(void **from, void *to) */
	.globl	fiber_switch
	.hidden	fiber_switch
	.type	fiber_switch, @function
	.p2align 4
fiber_switch:
	.cfi_startproc
	pushq	%rbp
	.cfi_adjust_cfa_offset 8
	.cfi_rel_offset %rbp, 0
	pushq	%rbx
	.cfi_adjust_cfa_offset 8
	.cfi_rel_offset %rbx, 0
	pushq	%r12
	.cfi_adjust_cfa_offset 8
	.cfi_rel_offset %r12, 0
	pushq	%r13
	.cfi_adjust_cfa_offset 8
	.cfi_rel_offset %r13, 0
	pushq	%r14
	.cfi_adjust_cfa_offset 8
	.cfi_rel_offset %r14, 0
	pushq	%r15
	.cfi_adjust_cfa_offset 8
	.cfi_rel_offset %r15, 0
	subq	$8, %rsp
	.cfi_adjust_cfa_offset 8
	stmxcsr	(%rsp)
	fnstcw	4(%rsp)

	/* The other stack looks the same, so what .cfi says stays true. */
	movq	%rsp, (%rdi)
	movq	%rsi, %rsp

	ldmxcsr	(%rsp)
	fldcw	4(%rsp)
	addq	$8, %rsp
	.cfi_adjust_cfa_offset -8
	popq	%r15
	.cfi_adjust_cfa_offset -8
	.cfi_restore %r15
	popq	%r14
	.cfi_adjust_cfa_offset -8
	.cfi_restore %r14
	popq	%r13
	.cfi_adjust_cfa_offset -8
	.cfi_restore %r13
	popq	%r12
	.cfi_adjust_cfa_offset -8
	.cfi_restore %r12
	popq	%rbx
	.cfi_adjust_cfa_offset -8
	.cfi_restore %rbx
	popq	%rbp
	.cfi_adjust_cfa_offset -8
	.cfi_restore %rbp
	/* Not `ret`: the processor would expect to return to our caller. */
	popq	%rcx
	.cfi_adjust_cfa_offset -8
	.cfi_register %rip, %rcx
	jmpq	*%rcx
	.cfi_endproc
	.size	fiber_switch, . - fiber_switch

/* void *fiber_prepare(void *bottom, size_t bytes, void (*entry)(void)) */
	.globl	fiber_prepare
	.hidden	fiber_prepare
	.type	fiber_prepare, @function
	.p2align 4
fiber_prepare:
	.cfi_startproc
	leaq	(%rdi, %rsi), %rax
	andq	$-16, %rax
	subq	$64, %rax
	stmxcsr	(%rax)
	fnstcw	4(%rax)
	movq	%rdx, 40(%rax)		/* rbx */
	leaq	begin(%rip), %rcx
	movq	%rcx, 56(%rax)
	ret
	.cfi_endproc
	.size	fiber_prepare, . - fiber_prepare

/* Calls the function in rbx. Nothing called this: backtraces end here. */
	.type	begin, @function
begin:
	.cfi_startproc
	.cfi_undefined %rip
	xorl	%ebp, %ebp		/* for who follows frame pointers */
	callq	*%rbx
	ud2
	.cfi_endproc
	.size	begin, . - begin

	.section .note.GNU-stack, "", @progbits
