#include "base/fiber_internal.h"

#include <errno.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/must.h"

int fiber_stack_map(struct fiber_stack *stack, size_t bytes)
{
	size_t page = (size_t)sysconf(_SC_PAGESIZE);
	size_t rounded = (bytes + page - 1) / page * page;
	char *mapping = mmap(
		NULL, FIBER_GUARD_BYTES + rounded, PROT_READ | PROT_WRITE,
		MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_STACK, -1, 0);

	if (mapping == MAP_FAILED)
		return -ENOMEM;
	/* This splits the mapping, and so fails where there are too many. */
	if (mprotect(mapping, FIBER_GUARD_BYTES, PROT_NONE) < 0) {
		munmap(mapping, FIBER_GUARD_BYTES + rounded);
		return -ENOMEM;
	}
	stack->bottom = mapping + FIBER_GUARD_BYTES;
	stack->bytes = rounded;
	stack->tools_id = FIBER_TOOLS_STACK_REGISTER(stack->bottom, rounded);
	fiber_tools_map(stack->bottom, rounded);
	return 0;
}

void fiber_stack_unmap(struct fiber_stack *stack)
{
	fiber_tools_unmap(stack->bottom, stack->bytes);
	FIBER_TOOLS_STACK_DEREGISTER(stack->tools_id);
	MUST(munmap(stack->bottom - FIBER_GUARD_BYTES,
		    FIBER_GUARD_BYTES + stack->bytes) == 0);
	*stack = (struct fiber_stack){ 0 };
}
