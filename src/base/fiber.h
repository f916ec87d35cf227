/*
 * fiber - straight-line code that waits without blocking its thread.
 *
 * A fiber is a function on a stack of its own. Started, it runs at once until
 * it parks or ends; then whoever started it goes on. Parked, it costs the
 * pages it has touched, and runs again, until it parks or ends, when somebody
 * resumes it with a value, which its fiber_park() returns. Nothing here knows
 * of time or I/O: who parks has arranged for somebody to come back.
 *
 * Rules, which are asserted:
 * - A pool and its fibers belong to the thread that made the pool.
 * - Starting and resuming are allowed from the thread's own stack and from
 *   any fiber, which then waits, neither parked nor current, until the other
 *   one parks or ends. So a fiber that waits like this cannot be resumed, and
 *   one that has resumed others gets control back in reverse order.
 * - Only a parked fiber is resumed; only code on a fiber parks.
 *
 * Rules, which are not: a fiber ends by returning. longjmp() and C++
 * exceptions may not leave a fiber's function, nor may longjmp() go from one
 * stack to another; within one fiber both are fine. pthread_exit() on a fiber
 * is not allowed. exit() is, and leaves what is on the stacks as it is.
 *
 * errno, the rounding mode and the other floating-point controls belong to
 * the fiber, which starts with errno 0 and its starter's controls. Exception
 * flags, the signal mask and all other thread-local state belong to the
 * thread.
 */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define FIBER_STACK_BYTES ((size_t)64 * 1024)

struct fiber;
struct fiber_pool;

typedef void (*fiber_fn)(void *arg);

struct fiber_pool_options {
	size_t stack_bytes; /* rounded up to pages; 0: FIBER_STACK_BYTES */
	size_t fibers_max;  /* at once; 0: 16384, as each costs two of the
			     * 65530 mappings that Linux allows a process */
	size_t idle_max;    /* stacks kept for fibers to come; 0: 256 */
};

struct fiber_counts {
	size_t live; /* started and not ended */
	size_t peak; /* the most that were ever live */
	size_t idle; /* stacks that wait for a fiber */
	uint64_t started;
	uint64_t switches; /* to a fiber and back are two */
};

/* NULL: defaults. While there is a pool, an overflowing stack is named on
 * stderr before SIGSEGV ends the process; any other SIGSEGV goes where it went
 * before. A handler that the program sets later has to pass on what is not
 * its own, or overflows go unnamed. */
struct fiber_pool *fiber_pool_new(const struct fiber_pool_options *options);
void fiber_pool_free(
	struct fiber_pool *pool); /* no fiber lives; NULL is fine */

struct fiber_counts fiber_pool_counts(const struct fiber_pool *pool);
/* Gives idle stacks back to the system, and what they have touched. */
void fiber_pool_trim(struct fiber_pool *pool);

/* `name`, for people, stays valid until the fiber has ended, which it may have
 * when this returns: who needs the fiber takes fiber_current() in `fn`. Fails,
 * without a call of `fn`, with -EAGAIN (fibers_max) or -ENOMEM. */
__attribute__((warn_unused_result)) int
fiber_start(struct fiber_pool *pool, const char *name, fiber_fn fn, void *arg);

/* NULL on the thread's own stack. */
struct fiber *fiber_current(void);
const char *fiber_name(const struct fiber *fiber);

/* One pointer for whoever is responsible for the fiber; `arg` at first. */
void *fiber_owner(const struct fiber *fiber);
void fiber_set_owner(struct fiber *fiber, void *owner);

/* Until resumed, with what it was resumed with. */
__attribute__((warn_unused_result)) int fiber_park(void);
void fiber_resume(struct fiber *fiber, int value);

/* Ends the wait of a parked fiber with `code`, which is negative. Of any other
 * the next wait that would park ends with it instead: once, so that it can
 * still wait while it cleans up. The fiber has not ended. */
void fiber_cancel(struct fiber *fiber, int code);

/*
 * One wait of one fiber, for whoever is to end it. It is a value: copied
 * freely, kept for as long as the pool lives, whatever became of the fiber. A
 * zeroed one is over.
 *
 *	struct fiber_wait wait = fiber_wait_begin();
 *	ask(question, wait);
 *	int result = fiber_park();
 *
 * A wait is over as soon as it was woken, canceled or resumed, or the fiber
 * has begun another one or ended; to wake it then does nothing. Woken before
 * the fiber parks, the wait does not park.
 */
struct fiber_wait {
	struct fiber *fiber;
	uint64_t number;
};

struct fiber_wait fiber_wait_begin(void); /* the current fiber's */
bool fiber_wait_is_over(struct fiber_wait wait);
/* Was it this call that ended the wait? */
bool fiber_wake(struct fiber_wait wait, int value);
