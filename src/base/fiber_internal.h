/*
 * fiber_internal - what the files of fiber.h share.
 */
#pragma once
#include <stdint.h>

#include "base/fiber.h"
#include "base/fiber_tools.h"

/*
 * Meson names the file for this processor. It has
 *
 *	struct fiber_context: where a stack that does not run goes on;
 *	fiber_switch(from, to): leaves that of this stack in *from, and goes on
 *		where `to` says, with that one's floating-point controls;
 *	fiber_prepare(context, bottom, bytes, entry): a stack that goes on in
 *		entry(), which does not return, with the caller's controls;
 *	FIBER_IS_OUTERMOST(): tells debuggers so of the function it stands in.
 */
#include FIBER_SWITCH

/* A mapping: a guard that nothing may touch, and above it the stack. */
struct fiber_stack {
	char *bottom; /* above the guard; NULL: none */
	size_t bytes;
	unsigned tools_id;
};

/* A frame of code that does not probe each page (-fstack-clash-protection)
 * may step over a page; and there are kernels whose pages are this large. */
#define FIBER_GUARD_BYTES ((size_t)64 * 1024)

enum fiber_state {
	FIBER_IDLE, /* none: its record waits for one to come */
	FIBER_RUNNING,
	FIBER_RESUMING, /* waits until the one that it runs parks or ends */
	FIBER_PARKED,
	FIBER_STATES,
};

/* A record is freed with its pool alone, so that an old wait can be told. */
struct fiber {
	enum fiber_state state;
	bool is_woken; /* before it has parked, */
	int value;     /* with this; or what it was resumed with */
	int canceled;  /* what the next wait ends with; 0: nothing */
	uint64_t wait; /* the number of the wait that can be woken */
	struct fiber_context context;  /* while it does not run */
	struct fiber_context way_back; /* its resumer's, while it runs */
	struct fiber_pool *pool;
	fiber_fn fn;
	void *arg;
	const char *name; /* the starter's */
	void *owner;
	struct fiber *next; /* in the pool's list of idle or bare ones */
	struct fiber_stack stack;
	struct fiber_tools tools;
};

/* Fails with -ENOMEM, which includes too many mappings. */
__attribute__((warn_unused_result)) int
fiber_stack_map(struct fiber_stack *stack, size_t bytes);
void fiber_stack_unmap(struct fiber_stack *stack);

/* Counted; for this thread, which needs a stack for the handler. */
void fiber_overflow_watch(void);
void fiber_overflow_unwatch(void);
