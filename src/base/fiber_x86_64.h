/*
 * fiber_x86_64 - the switch of fiber_internal.h.
 *
 * Saved are where to go on and the controls of MXCSR and the x87; that all
 * other registers change is said to the compiler, which keeps what it needs.
 * Nothing is pushed, so what debuggers know of the frame stays true.
 *
 * It is inlined and jumps, because processors foretell where a `ret` leads by
 * counting calls: a switch that is called and does not return that way makes
 * them wrong about each `ret` from there to the event loop.
 *
 * To load MXCSR may take longer than all the rest, so it is compared first,
 * without the exception flags, which belong to nobody.
 *
 * Shadow stacks (CET) would have to be switched as well, and are not. Meson
 * compiles what includes this with -fcf-protection=none: the linker marks what
 * contains it as not made for them, and they stay off.
 */
#pragma once
#include <stddef.h>
#include <stdint.h>

struct fiber_context {
	void *stack_pointer;   /*  0 */
	void *frame_pointer;   /*  8 */
	void (*goes_on)(void); /* 16 */
	uint32_t mxcsr;        /* 24 */
	uint16_t x87_control;  /* 28 */
};

/* As the instructions have it. */
_Static_assert(offsetof(struct fiber_context, goes_on) == 16, "goes_on");
_Static_assert(offsetof(struct fiber_context, mxcsr) == 24, "mxcsr");
_Static_assert(offsetof(struct fiber_context, x87_control) == 28, "x87");

#define FIBER_MXCSR_CONTROLS "$0xffc0"

__attribute__((always_inline)) static inline void
fiber_switch(struct fiber_context *from, const struct fiber_context *to)
{
	__asm__ volatile("movq	%%rsp, 0(%0)\n\t"
			 "movq	%%rbp, 8(%0)\n\t"
			 "leaq	1f(%%rip), %%rax\n\t"
			 "movq	%%rax, 16(%0)\n\t"
			 "stmxcsr	24(%0)\n\t"
			 "fnstcw	28(%0)\n\t"
			 "movl	24(%0), %%eax\n\t"
			 "xorl	24(%1), %%eax\n\t"
			 "testl	" FIBER_MXCSR_CONTROLS ", %%eax\n\t"
			 "je	2f\n\t"
			 "ldmxcsr	24(%1)\n"
			 "2:\n\t"
			 "movzwl	28(%0), %%eax\n\t"
			 "cmpw	28(%1), %%ax\n\t"
			 "je	3f\n\t"
			 "fldcw	28(%1)\n"
			 "3:\n\t"
			 "movq	0(%1), %%rsp\n\t"
			 "movq	8(%1), %%rbp\n\t"
			 "jmpq	*16(%1)\n"
			 "1:\n\t"
			 : "+D"(from), "+S"(to)
			 :
			 : "rax", "rbx", "rcx", "rdx", "r8", "r9", "r10", "r11",
			   "r12", "r13", "r14", "r15", "xmm0", "xmm1", "xmm2",
			   "xmm3", "xmm4", "xmm5", "xmm6", "xmm7", "xmm8",
			   "xmm9", "xmm10", "xmm11", "xmm12", "xmm13", "xmm14",
			   "xmm15", "memory", "cc");
}

/* Nobody called the function this stands in: backtraces end there. */
#ifdef __GCC_HAVE_DWARF2_CFI_ASM
#define FIBER_IS_OUTERMOST() __asm__ volatile(".cfi_undefined rip")
#else
#define FIBER_IS_OUTERMOST() (void)0
#endif

static inline void fiber_prepare(struct fiber_context *context, void *bottom,
				 size_t bytes, void (*entry)(void))
{
	uintptr_t top = ((uintptr_t)bottom + bytes) & ~(uintptr_t)15;
	void **return_address = (void **)(top - sizeof(void *));

	/* For who follows frame pointers. */
	*return_address = NULL;
	context->stack_pointer = return_address;
	context->frame_pointer = NULL;
	context->goes_on = entry;
	__asm__("stmxcsr %0" : "=m"(context->mxcsr));
	__asm__("fnstcw %0" : "=m"(context->x87_control));
}
