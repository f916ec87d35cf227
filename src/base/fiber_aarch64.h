/*
 * fiber_aarch64 - the switch of fiber_internal.h.
 *
 * Saved are where to go on and FPCR; that all other registers change is said
 * to the compiler, which keeps what it needs. Nothing is pushed, so what
 * debuggers know of the frame stays true. x18 is the platform's elsewhere, and
 * on Linux the compiler's.
 *
 * It is inlined and jumps, because processors foretell where a `ret` leads by
 * counting calls: a switch that is called and does not return that way makes
 * them wrong about each `ret` from there to the event loop.
 *
 * Signed return addresses (PAC) stay valid: a frame is always used at the
 * address it was made at. The landing pad is for BTI, whose jump goes through
 * x16 or x17. Guarded control stacks (GCS) would have to be switched as well,
 * and are not.
 */
#pragma once
#include <stddef.h>
#include <stdint.h>

struct fiber_context {
	void *stack_pointer;   /*  0 */
	void *frame_pointer;   /*  8 */
	void (*goes_on)(void); /* 16 */
	uint64_t fpcr;         /* 24 */
};

/* As the instructions have it. */
_Static_assert(offsetof(struct fiber_context, goes_on) == 16, "goes_on");
_Static_assert(offsetof(struct fiber_context, fpcr) == 24, "fpcr");

__attribute__((always_inline)) static inline void
fiber_switch(struct fiber_context *from, const struct fiber_context *to)
{
	register struct fiber_context *old __asm__("x0") = from;
	register const struct fiber_context *new __asm__("x1") = to;

	__asm__ volatile(
		"mov	x9, sp\n\t"
		"adr	x10, 1f\n\t"
		"mrs	x11, fpcr\n\t"
		"stp	x9, x29, [%0, #0]\n\t"
		"stp	x10, x11, [%0, #16]\n\t"
		"ldp	x16, x12, [%1, #16]\n\t"
		"ldp	x9, x29, [%1, #0]\n\t"
		"cmp	x11, x12\n\t"
		"b.eq	2f\n\t"
		"msr	fpcr, x12\n"
		"2:\n\t"
		"mov	sp, x9\n\t"
		"mov	x30, xzr\n\t" /* what entry() returns to */
		"br	x16\n"
		"1:\n\t"
		"hint	#36\n\t" /* bti j */
		: "+r"(old), "+r"(new)
		:
		: "x2", "x3", "x4", "x5", "x6", "x7", "x8", "x9", "x10", "x11",
		  "x12", "x13", "x14", "x15", "x16", "x17", "x18", "x19", "x20",
		  "x21", "x22", "x23", "x24", "x25", "x26", "x27", "x28", "x30",
		  "v0", "v1", "v2", "v3", "v4", "v5", "v6", "v7", "v8", "v9",
		  "v10", "v11", "v12", "v13", "v14", "v15", "v16", "v17", "v18",
		  "v19", "v20", "v21", "v22", "v23", "v24", "v25", "v26", "v27",
		  "v28", "v29", "v30", "v31", "memory", "cc");
}

/* Nobody called the function this stands in: backtraces end there. */
#ifdef __GCC_HAVE_DWARF2_CFI_ASM
#define FIBER_IS_OUTERMOST() __asm__ volatile(".cfi_undefined x30")
#else
#define FIBER_IS_OUTERMOST() (void)0
#endif

static inline void fiber_prepare(struct fiber_context *context, void *bottom,
				 size_t bytes, void (*entry)(void))
{
	uintptr_t top = ((uintptr_t)bottom + bytes) & ~(uintptr_t)15;

	context->stack_pointer = (void *)top;
	context->frame_pointer = NULL;
	context->goes_on = entry;
	__asm__ volatile("mrs %0, fpcr" : "=r"(context->fpcr));
}
