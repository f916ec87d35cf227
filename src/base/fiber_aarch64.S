/*
 * The switch of fiber_internal.h for aarch64, AAPCS64.
 *
 * A stack that waits, from where its context points to:
 *
 *	  0  x19 to x28
 *	 80  x29, x30 (where it goes on)
 *	 96  d8 to d15
 *	160  FPCR, and 8 bytes that keep the stack aligned
 *
 * Return addresses that are signed (PAC) stay valid, as a frame is always used
 * at the address it was made at. Guarded control stacks (GCS) are not
 * supported: they would have to be switched as well. This object carries no
 * .note.gnu.property, so the linker marks what contains it as not made for
 * GCS or BTI.
 */
	.text

/* void fiber_switch(void **from, void *to) */
	.globl	fiber_switch
	.hidden	fiber_switch
	.type	fiber_switch, %function
	.p2align 4
fiber_switch:
	.cfi_startproc
	sub	sp, sp, #176
	.cfi_adjust_cfa_offset 176
	stp	x19, x20, [sp, #0]
	.cfi_rel_offset x19, 0
	.cfi_rel_offset x20, 8
	stp	x21, x22, [sp, #16]
	.cfi_rel_offset x21, 16
	.cfi_rel_offset x22, 24
	stp	x23, x24, [sp, #32]
	.cfi_rel_offset x23, 32
	.cfi_rel_offset x24, 40
	stp	x25, x26, [sp, #48]
	.cfi_rel_offset x25, 48
	.cfi_rel_offset x26, 56
	stp	x27, x28, [sp, #64]
	.cfi_rel_offset x27, 64
	.cfi_rel_offset x28, 72
	stp	x29, x30, [sp, #80]
	.cfi_rel_offset x29, 80
	.cfi_rel_offset x30, 88
	stp	d8, d9, [sp, #96]
	stp	d10, d11, [sp, #112]
	stp	d12, d13, [sp, #128]
	stp	d14, d15, [sp, #144]
	mrs	x9, fpcr
	str	x9, [sp, #160]

	/* The other stack looks the same, so what .cfi says stays true. */
	mov	x10, sp
	str	x10, [x0]
	mov	sp, x1

	/* To write FPCR may cost more than all the rest. */
	ldr	x10, [sp, #160]
	cmp	x9, x10
	b.eq	1f
	msr	fpcr, x10
1:	ldp	d8, d9, [sp, #96]
	ldp	d10, d11, [sp, #112]
	ldp	d12, d13, [sp, #128]
	ldp	d14, d15, [sp, #144]
	ldp	x19, x20, [sp, #0]
	.cfi_restore x19
	.cfi_restore x20
	ldp	x21, x22, [sp, #16]
	.cfi_restore x21
	.cfi_restore x22
	ldp	x23, x24, [sp, #32]
	.cfi_restore x23
	.cfi_restore x24
	ldp	x25, x26, [sp, #48]
	.cfi_restore x25
	.cfi_restore x26
	ldp	x27, x28, [sp, #64]
	.cfi_restore x27
	.cfi_restore x28
	ldp	x29, x30, [sp, #80]
	.cfi_restore x29
	.cfi_restore x30
	add	sp, sp, #176
	.cfi_adjust_cfa_offset -176
	ret
	.cfi_endproc
	.size	fiber_switch, . - fiber_switch

/* void *fiber_prepare(void *bottom, size_t bytes, void (*entry)(void)) */
	.globl	fiber_prepare
	.hidden	fiber_prepare
	.type	fiber_prepare, %function
	.p2align 4
fiber_prepare:
	.cfi_startproc
	add	x0, x0, x1
	and	x0, x0, #-16
	sub	x0, x0, #176
	str	x2, [x0, #0]		/* x19 */
	adr	x9, begin
	stp	xzr, x9, [x0, #80]	/* x29, for who follows frames; x30 */
	mrs	x9, fpcr
	str	x9, [x0, #160]
	ret
	.cfi_endproc
	.size	fiber_prepare, . - fiber_prepare

/* Calls the function in x19. Nothing called this: backtraces end here. */
	.type	begin, %function
begin:
	.cfi_startproc
	.cfi_undefined x30
	blr	x19
	brk	#1
	.cfi_endproc
	.size	begin, . - begin

	.section .note.GNU-stack, "", %progbits
