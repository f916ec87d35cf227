/*
 * fiber_internal - what the files of fiber.h share.
 */
#pragma once
#include <stdint.h>

#include "base/fiber.h"
#include "base/fiber_tools.h"

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
	bool is_woken;  /* before it has parked, */
	int value;      /* with this; or what it was resumed with */
	int canceled;   /* what the next wait ends with; 0: nothing */
	uint64_t wait;  /* the number of the wait that can be woken */
	void *context;  /* where it goes on while it does not run */
	void *way_back; /* where its resumer goes on while it runs */
	struct fiber_pool *pool;
	fiber_fn fn;
	void *arg;
	const char *name; /* the starter's */
	void *owner;
	struct fiber *next; /* in the pool's list of idle or bare ones */
	struct fiber_stack stack;
	struct fiber_tools tools;
};

/*
 * The switch, one file a processor. Saves what a called function must keep and
 * the floating-point controls, leaves where to go on in *from, and goes on
 * where `to` says. No system call, except in fiber_ucontext.c.
 */
void fiber_switch(void **from, void *to);
/* Where a stack goes on that has not been used: in entry(), which does not
 * return, with the caller's floating-point controls. */
void *fiber_prepare(void *bottom, size_t bytes, void (*entry)(void));

/* The negative errno of what could not be mapped. */
int fiber_stack_map(struct fiber_stack *stack, size_t bytes);
void fiber_stack_unmap(struct fiber_stack *stack);

/* Counted; for this thread, which needs a stack for the handler. */
void fiber_overflow_watch(void);
void fiber_overflow_unwatch(void);
