/* The switch where nobody wrote one in assembly: what it costs is the two
 * system calls for the signal mask. A context lies on the stack it is of. */
#include <stdint.h>
#include <ucontext.h>

#include "base/fiber_internal.h"
#include "base/must.h"

void fiber_switch(void **from, void *to)
{
	ucontext_t here;

	*from = &here;
	MUST(swapcontext(&here, to) == 0);
}

void *fiber_prepare(void *bottom, size_t bytes, void (*entry)(void))
{
	size_t usable = (bytes - sizeof(ucontext_t)) / 64 * 64;
	ucontext_t *context = (void *)((char *)bottom + usable);

	MUST(getcontext(context) == 0);
	context->uc_stack.ss_sp = bottom;
	context->uc_stack.ss_size = usable;
	context->uc_link = NULL;
	makecontext(context, entry, 0);
	return context;
}
