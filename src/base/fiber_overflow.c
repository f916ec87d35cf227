/* Names the fiber whose stack overflowed, then lets SIGSEGV do its work. */
#include "base/fiber_internal.h"

#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/uio.h>
#include <unistd.h>

#include "base/must.h"

/* Touched by a handler alone: large enough for whoever was there before us. */
#define HANDLER_STACK_BYTES ((size_t)128 * 1024)

/* The process's: a handler is. */
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static unsigned pools;
static struct sigaction previous;

/* The thread's. */
static _Thread_local unsigned thread_pools;
static _Thread_local void *handler_stack; /* NULL: it has another's */

static bool is_in_guard(const struct fiber *fiber, const char *address)
{
	return address < fiber->stack.bottom &&
	       address >= fiber->stack.bottom - FIBER_GUARD_BYTES;
}

/* The digits' first; they end where `end` points to. */
static char *digits(size_t number, char *end)
{
	do
		*--end = (char)('0' + number % 10);
	while ((number /= 10) > 0);
	return end;
}

static struct iovec piece(const char *text)
{
	return (struct iovec){ (char *)(uintptr_t)text, strlen(text) };
}

/* In a signal handler: no stdio. One write, which other output cannot cut. */
static void say(const struct fiber *fiber)
{
	char number[24] = { 0 };
	struct iovec pieces[] = {
		piece("muster: the stack of '"),
		piece(fiber->name),
		piece("' overflowed ("),
		piece(digits(fiber->stack.bytes / 1024,
			     number + sizeof(number) - 1)),
		piece(" KiB; raise stack_bytes)\n"),
	};

	/* Nothing can be done about a failure; the signal says enough. */
	DISCARD(writev(STDERR_FILENO, pieces,
		       sizeof(pieces) / sizeof(pieces[0])));
}

/* Ends the process, with a core that shows where it happened: what has
 * faulted faults again when the handler returns. */
static void end_by_default(const siginfo_t *info)
{
	signal(SIGSEGV, SIG_DFL);
	if (info->si_code <= 0) /* sent by kill() or its like */
		raise(SIGSEGV);
}

static void on_segv(int number, siginfo_t *info, void *context)
{
	const struct fiber *fiber = fiber_current();

	if (info->si_code > 0 && fiber != NULL &&
	    is_in_guard(fiber, info->si_addr)) {
		say(fiber);
		end_by_default(info);
	} else if (previous.sa_flags & SA_SIGINFO) {
		previous.sa_sigaction(number, info, context);
	} else if (previous.sa_handler == SIG_DFL ||
		   (previous.sa_handler == SIG_IGN && info->si_code > 0)) {
		end_by_default(info);
	} else if (previous.sa_handler != SIG_IGN) {
		previous.sa_handler(number);
	}
}

static void take_signal(void)
{
	struct sigaction action = {
		.sa_sigaction = on_segv,
		.sa_flags = SA_SIGINFO | SA_ONSTACK,
	};

	MUST(sigaction(SIGSEGV, NULL, &previous) == 0);
	action.sa_mask = previous.sa_mask;
	action.sa_flags |= previous.sa_flags & SA_NODEFER;
	MUST(sigaction(SIGSEGV, &action, NULL) == 0);
}

static void return_signal(void)
{
	struct sigaction now;

	MUST(sigaction(SIGSEGV, NULL, &now) == 0);
	/* Another's, set since, may call ours, which passes on. */
	if ((now.sa_flags & SA_SIGINFO) && now.sa_sigaction == on_segv)
		MUST(sigaction(SIGSEGV, &previous, NULL) == 0);
}

static void give_stack(void)
{
	stack_t stack;

	MUST(sigaltstack(NULL, &stack) == 0);
	if (!(stack.ss_flags & SS_DISABLE))
		return;
	handler_stack = mmap(NULL, HANDLER_STACK_BYTES, PROT_READ | PROT_WRITE,
			     MAP_PRIVATE | MAP_ANONYMOUS | MAP_STACK, -1, 0);
	MUST(handler_stack != MAP_FAILED);
	stack = (stack_t){ .ss_sp = handler_stack,
			   .ss_size = HANDLER_STACK_BYTES };
	MUST(sigaltstack(&stack, NULL) == 0);
}

static void take_stack_back(void)
{
	stack_t stack;

	if (handler_stack == NULL)
		return;
	MUST(sigaltstack(NULL, &stack) == 0);
	if (stack.ss_sp == handler_stack) {
		stack.ss_flags = SS_DISABLE;
		MUST(sigaltstack(&stack, NULL) == 0);
	}
	munmap(handler_stack, HANDLER_STACK_BYTES);
	handler_stack = NULL;
}

void fiber_overflow_watch(void)
{
	if (thread_pools++ == 0)
		give_stack();
	pthread_mutex_lock(&lock);
	if (pools++ == 0)
		take_signal();
	pthread_mutex_unlock(&lock);
}

void fiber_overflow_unwatch(void)
{
	pthread_mutex_lock(&lock);
	if (--pools == 0)
		return_signal();
	pthread_mutex_unlock(&lock);
	if (--thread_pools == 0)
		take_stack_back();
}
