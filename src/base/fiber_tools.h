/*
 * fiber_tools - tells sanitizers and valgrind which stack we are on.
 *
 * They follow the stack to find errors on it, and take a switch that nobody
 * told them of for one. Without them all of this is empty.
 *
 * Around each switch: enter, then on the other side entered; leave, then back
 * in the resumer left. All of it is inlined, as ThreadSanitizer counts calls
 * and returns on each stack. LeakSanitizer has to look for pointers on the
 * stacks of parked fibers.
 */
#pragma once
#include <stdbool.h>
#include <stddef.h>

#ifndef __has_feature
#define __has_feature(feature) 0
#endif

#define FIBER_TOOLS_INLINE __attribute__((always_inline)) static inline

#if defined(__SANITIZE_ADDRESS__) || __has_feature(address_sanitizer)
#include <sanitizer/common_interface_defs.h>
#include <sanitizer/lsan_interface.h>

struct fiber_tools {
	void *fake_stack; /* ASan's, of locals that may outlive their frame */
	void *resumer_fake_stack;
	const void *resumer_bottom;
	size_t resumer_bytes;
};

FIBER_TOOLS_INLINE void fiber_tools_start(struct fiber_tools *tools)
{
	*tools = (struct fiber_tools){ 0 };
}

FIBER_TOOLS_INLINE void fiber_tools_end(struct fiber_tools *tools)
{
	(void)tools;
}

FIBER_TOOLS_INLINE void fiber_tools_enter(struct fiber_tools *tools,
					  const void *bottom, size_t bytes)
{
	__sanitizer_start_switch_fiber(&tools->resumer_fake_stack, bottom,
				       bytes);
}

FIBER_TOOLS_INLINE void fiber_tools_entered(struct fiber_tools *tools)
{
	__sanitizer_finish_switch_fiber(tools->fake_stack,
					&tools->resumer_bottom,
					&tools->resumer_bytes);
}

FIBER_TOOLS_INLINE void fiber_tools_leave(struct fiber_tools *tools,
					  bool for_good)
{
	__sanitizer_start_switch_fiber(for_good ? NULL : &tools->fake_stack,
				       tools->resumer_bottom,
				       tools->resumer_bytes);
}

FIBER_TOOLS_INLINE void fiber_tools_left(struct fiber_tools *tools)
{
	__sanitizer_finish_switch_fiber(tools->resumer_fake_stack, NULL, NULL);
}

FIBER_TOOLS_INLINE void fiber_tools_map(void *bottom, size_t bytes)
{
	__lsan_register_root_region(bottom, bytes);
}

FIBER_TOOLS_INLINE void fiber_tools_unmap(void *bottom, size_t bytes)
{
	__lsan_unregister_root_region(bottom, bytes);
}

#else
#if defined(__SANITIZE_THREAD__) || __has_feature(thread_sanitizer)
#include <sanitizer/tsan_interface.h>

struct fiber_tools {
	void *fiber;
	void *resumer;
};

FIBER_TOOLS_INLINE void fiber_tools_start(struct fiber_tools *tools)
{
	tools->fiber = __tsan_create_fiber(0);
}

FIBER_TOOLS_INLINE void fiber_tools_end(struct fiber_tools *tools)
{
	__tsan_destroy_fiber(tools->fiber);
}

FIBER_TOOLS_INLINE void fiber_tools_enter(struct fiber_tools *tools,
					  const void *bottom, size_t bytes)
{
	(void)bottom;
	(void)bytes;
	tools->resumer = __tsan_get_current_fiber();
	__tsan_switch_to_fiber(tools->fiber, 0);
}

FIBER_TOOLS_INLINE void fiber_tools_leave(struct fiber_tools *tools,
					  bool for_good)
{
	(void)for_good;
	__tsan_switch_to_fiber(tools->resumer, 0);
}

#else

struct fiber_tools {
	char none[1];
};

FIBER_TOOLS_INLINE void fiber_tools_start(struct fiber_tools *tools)
{
	(void)tools;
}

FIBER_TOOLS_INLINE void fiber_tools_end(struct fiber_tools *tools)
{
	(void)tools;
}

FIBER_TOOLS_INLINE void fiber_tools_enter(struct fiber_tools *tools,
					  const void *bottom, size_t bytes)
{
	(void)tools;
	(void)bottom;
	(void)bytes;
}

FIBER_TOOLS_INLINE void fiber_tools_leave(struct fiber_tools *tools,
					  bool for_good)
{
	(void)tools;
	(void)for_good;
}
#endif

FIBER_TOOLS_INLINE void fiber_tools_entered(struct fiber_tools *tools)
{
	(void)tools;
}

FIBER_TOOLS_INLINE void fiber_tools_left(struct fiber_tools *tools)
{
	(void)tools;
}

FIBER_TOOLS_INLINE void fiber_tools_map(void *bottom, size_t bytes)
{
	(void)bottom;
	(void)bytes;
}

FIBER_TOOLS_INLINE void fiber_tools_unmap(void *bottom, size_t bytes)
{
	(void)bottom;
	(void)bytes;
}
#endif

/* Meson says whether there is a <valgrind/valgrind.h>. */
#ifdef FIBER_VALGRIND
#include <valgrind/valgrind.h>
#define FIBER_TOOLS_STACK_REGISTER(bottom, bytes)                              \
	VALGRIND_STACK_REGISTER(bottom, (bottom) + (bytes)-1)
#define FIBER_TOOLS_STACK_DEREGISTER(id) VALGRIND_STACK_DEREGISTER(id)
#else
#define FIBER_TOOLS_STACK_REGISTER(bottom, bytes) 0
#define FIBER_TOOLS_STACK_DEREGISTER(id)          (void)(id)
#endif
