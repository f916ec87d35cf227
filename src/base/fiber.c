#include "base/fiber.h"

#include <errno.h>
#include <stdlib.h>

#include "base/fiber_internal.h"
#include "base/mem.h"
#include "base/must.h"

#define FIBERS_MAX    16384
#define IDLE_MAX      256
#define CHUNK_RECORDS 64

struct chunk {
	struct chunk *next;
	struct fiber fibers[CHUNK_RECORDS];
};

struct fiber_pool {
	void *thread; /* &current, as its thread sees it */
	struct fiber_pool_options options;
	struct fiber *idle; /* with a stack; the one used last comes first */
	struct fiber *bare; /* without */
	struct chunk *chunks;
	struct fiber_counts counts;
};

/* Read by each switch: not through a call, as a library's usually is. */
static _Thread_local struct fiber *current
	__attribute__((tls_model("initial-exec")));

#define TO(state) (1u << (state))

static const unsigned may_become[FIBER_STATES] = {
	[FIBER_IDLE] = TO(FIBER_RUNNING),
	[FIBER_RUNNING] =
		TO(FIBER_RESUMING) | TO(FIBER_PARKED) | TO(FIBER_IDLE),
	[FIBER_RESUMING] = TO(FIBER_RUNNING),
	[FIBER_PARKED] = TO(FIBER_RUNNING),
};

static void become(struct fiber *fiber, enum fiber_state state)
{
	MUST(may_become[fiber->state] & TO(state));
	fiber->state = state;
}

/* ---- Pool ---------------------------------------------------------------- */

static size_t or_default(size_t value, size_t otherwise)
{
	return value > 0 ? value : otherwise;
}

struct fiber_pool *fiber_pool_new(const struct fiber_pool_options *options)
{
	struct fiber_pool *pool = mem_zalloc(sizeof(*pool));

	if (options != NULL)
		pool->options = *options;
	pool->options.stack_bytes =
		or_default(pool->options.stack_bytes, FIBER_STACK_BYTES);
	pool->options.fibers_max =
		or_default(pool->options.fibers_max, FIBERS_MAX);
	pool->options.idle_max = or_default(pool->options.idle_max, IDLE_MAX);
	pool->thread = &current;
	fiber_overflow_watch();
	return pool;
}

void fiber_pool_free(struct fiber_pool *pool)
{
	if (pool == NULL)
		return;
	MUST(pool->thread == &current);
	MUST(pool->counts.live == 0);
	fiber_pool_trim(pool);
	for (struct chunk *chunk = pool->chunks, *next; chunk; chunk = next) {
		next = chunk->next;
		free(chunk);
	}
	fiber_overflow_unwatch();
	free(pool);
}

struct fiber_counts fiber_pool_counts(const struct fiber_pool *pool)
{
	return pool->counts;
}

static struct fiber *pop(struct fiber **list)
{
	struct fiber *fiber = *list;

	*list = fiber->next;
	return fiber;
}

static void push(struct fiber **list, struct fiber *fiber)
{
	fiber->next = *list;
	*list = fiber;
}

void fiber_pool_trim(struct fiber_pool *pool)
{
	while (pool->idle != NULL) {
		struct fiber *fiber = pop(&pool->idle);

		fiber_stack_unmap(&fiber->stack);
		push(&pool->bare, fiber);
	}
	pool->counts.idle = 0;
}

static void add_records(struct fiber_pool *pool)
{
	struct chunk *chunk = mem_zalloc(sizeof(*chunk));

	chunk->next = pool->chunks;
	pool->chunks = chunk;
	for (size_t i = CHUNK_RECORDS; i-- > 0;) {
		chunk->fibers[i].pool = pool;
		push(&pool->bare, &chunk->fibers[i]);
	}
}

/* A record with a stack, into `idle`. */
static int add_idle(struct fiber_pool *pool)
{
	if (pool->bare == NULL)
		add_records(pool);
	int error =
		fiber_stack_map(&pool->bare->stack, pool->options.stack_bytes);

	if (error < 0)
		return error;
	push(&pool->idle, pop(&pool->bare));
	pool->counts.idle++;
	return 0;
}

/* The fiber has ended, and we are on another stack. */
static void put_back(struct fiber *fiber)
{
	struct fiber_pool *pool = fiber->pool;

	fiber_tools_end(&fiber->tools);
	pool->counts.live--;
	if (pool->counts.idle < pool->options.idle_max) {
		push(&pool->idle, fiber);
		pool->counts.idle++;
	} else {
		fiber_stack_unmap(&fiber->stack);
		push(&pool->bare, fiber);
	}
}

/* ---- Switching ----------------------------------------------------------- */

/* Runs it until it parks or ends. */
static void enter(struct fiber *fiber)
{
	struct fiber *resumer = current;
	int error = errno;

	MUST(fiber->pool->thread == &current);
	if (resumer != NULL)
		become(resumer, FIBER_RESUMING);
	become(fiber, FIBER_RUNNING);
	fiber->pool->counts.switches += 2;
	current = fiber;
	fiber_tools_enter(&fiber->tools, fiber->stack.bottom,
			  fiber->stack.bytes);
	fiber_switch(&fiber->way_back, &fiber->context);
	fiber_tools_left(&fiber->tools);
	current = resumer;
	if (resumer != NULL)
		become(resumer, FIBER_RUNNING);
	if (fiber->state == FIBER_IDLE)
		put_back(fiber);
	errno = error;
}

/* The first function on its stack. */
__attribute__((noreturn)) static void run(void)
{
	struct fiber *fiber = current;

	FIBER_IS_OUTERMOST();
	fiber_tools_entered(&fiber->tools);
	errno = 0;
	fiber->fn(fiber->arg);
	fiber->wait++;
	become(fiber, FIBER_IDLE);
	fiber_tools_leave(&fiber->tools, true);
	fiber_switch(&fiber->context, &fiber->way_back);
	abort(); /* nobody comes back to where it has ended */
}

int fiber_start(struct fiber_pool *pool, const char *name, fiber_fn fn,
		void *arg)
{
	struct fiber_counts *counts = &pool->counts;

	MUST(pool->thread == &current);
	if (counts->live == pool->options.fibers_max)
		return -EAGAIN;
	if (pool->idle == NULL) {
		int error = add_idle(pool);

		if (error < 0)
			return error;
	}
	struct fiber *fiber = pop(&pool->idle);

	counts->idle--;
	counts->started++;
	counts->live++;
	if (counts->live > counts->peak)
		counts->peak = counts->live;
	fiber->fn = fn;
	fiber->arg = fiber->owner = arg;
	fiber->name = name;
	fiber->is_woken = false;
	fiber->canceled = 0;
	fiber_prepare(&fiber->context, fiber->stack.bottom, fiber->stack.bytes,
		      run);
	fiber_tools_start(&fiber->tools);
	enter(fiber);
	return 0;
}

int fiber_park(void)
{
	struct fiber *fiber = current;
	int error = errno;

	MUST(fiber != NULL);
	if (fiber->is_woken) {
		fiber->is_woken = false;
		return fiber->value;
	}
	if (fiber->canceled < 0) {
		int code = fiber->canceled;

		fiber->canceled = 0;
		fiber->wait++;
		return code;
	}
	become(fiber, FIBER_PARKED);
	fiber_tools_leave(&fiber->tools, false);
	fiber_switch(&fiber->context, &fiber->way_back);
	fiber_tools_entered(&fiber->tools);
	errno = error;
	return fiber->value;
}

void fiber_resume(struct fiber *fiber, int value)
{
	MUST(fiber->state == FIBER_PARKED);
	fiber->wait++;
	fiber->value = value;
	enter(fiber);
}

void fiber_cancel(struct fiber *fiber, int code)
{
	MUST(code < 0);
	MUST(fiber->state != FIBER_IDLE);
	if (fiber->state == FIBER_PARKED)
		fiber_resume(fiber, code);
	else
		fiber->canceled = code;
}

/* ---- Waits --------------------------------------------------------------- */

struct fiber_wait fiber_wait_begin(void)
{
	struct fiber *fiber = current;

	MUST(fiber != NULL);
	fiber->is_woken = false;
	return (struct fiber_wait){ fiber, ++fiber->wait };
}

bool fiber_wait_is_over(struct fiber_wait wait)
{
	return wait.fiber == NULL || wait.fiber->wait != wait.number;
}

bool fiber_wake(struct fiber_wait wait, int value)
{
	if (fiber_wait_is_over(wait))
		return false;
	if (wait.fiber->state == FIBER_PARKED) {
		fiber_resume(wait.fiber, value);
	} else {
		wait.fiber->wait++;
		wait.fiber->value = value;
		wait.fiber->is_woken = true;
	}
	return true;
}

/* ---- Looking at one ------------------------------------------------------ */

struct fiber *fiber_current(void)
{
	return current;
}

const char *fiber_name(const struct fiber *fiber)
{
	return fiber->name;
}

void *fiber_owner(const struct fiber *fiber)
{
	return fiber->owner;
}

void fiber_set_owner(struct fiber *fiber, void *owner)
{
	fiber->owner = owner;
}
