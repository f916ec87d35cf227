/*
 * fiber_ucontext - the switch of fiber_internal.h where nobody wrote one in
 * assembly. What it costs is the system call for the signal mask, which is
 * kept for each fiber here.
 */
#pragma once
#include <stddef.h>
#include <ucontext.h>

#include "base/must.h"

struct fiber_context {
	ucontext_t saved;
};

static inline void fiber_switch(struct fiber_context *from,
				const struct fiber_context *to)
{
	MUST(swapcontext(&from->saved, &to->saved) == 0);
}

/* The C library has seen to it. */
#define FIBER_IS_OUTERMOST() (void)0

static inline void fiber_prepare(struct fiber_context *context, void *bottom,
				 size_t bytes, void (*entry)(void))
{
	MUST(getcontext(&context->saved) == 0);
	context->saved.uc_stack.ss_sp = bottom;
	context->saved.uc_stack.ss_size = bytes;
	context->saved.uc_link = NULL;
	makecontext(&context->saved, entry, 0);
}
