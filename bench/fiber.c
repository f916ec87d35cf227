/*
 * fiber - what straight-line code costs.
 *
 *     fiber MODE SECONDS [ucontext]
 *
 * bare: to another stack and back, time and again, and nothing else. switch: to
 * a fiber and back, with all that is kept in order about it. many: the same,
 * with 10,000 fibers in turn. start: a fiber that ends without having waited.
 * memory: 10,000 parked fibers; nothing is timed. With `ucontext` the same with
 * swapcontext() and makecontext() on a stack that is kept. Says "done COUNT
 * NUMBER": seconds of CPU time, as others use the machine too, or bytes
 * resident.
 */
#include <err.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <ucontext.h>
#include <unistd.h>

#include "base/fiber_internal.h"

#define MANY        10000
#define BATCH       100000
#define STACK_BYTES 65536

static volatile unsigned long work; /* what each turn does */

static double now(void)
{
	struct timespec time;

	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
	return (double)time.tv_sec + (double)time.tv_nsec / 1e9;
}

static void say(unsigned long count, double number)
{
	printf("done %lu %.9g\n", count, number);
}

/* One batch to warm up, then batches for so long. */
static void measure(void (*batch)(void), double seconds)
{
	unsigned long count = 0;

	batch();
	double begun = now(), elapsed;

	do {
		batch();
		count += BATCH;
		elapsed = now() - begun;
	} while (elapsed < seconds);
	say(count, elapsed);
}

/* ---- Ours ---------------------------------------------------------------- */

static struct fiber_pool *pool;
static struct fiber *fibers[MANY];
static size_t fiber_count;

static void turn(void *arg)
{
	*(struct fiber **)arg = fiber_current();
	while (fiber_park() == 0)
		work++;
}

static void touch(void *arg)
{
	(void)arg;
	work++;
}

static void start_fibers(size_t count)
{
	for (fiber_count = 0; fiber_count < count; fiber_count++)
		if (fiber_start(pool, "turn", turn, &fibers[fiber_count]) < 0)
			errx(1, "no more fibers");
}

static void end_fibers(void)
{
	while (fiber_count > 0)
		fiber_resume(fibers[--fiber_count], 1);
}

static void switch_fibers(void)
{
	for (size_t i = 0; i < BATCH; i += fiber_count)
		for (size_t n = 0; n < fiber_count; n++)
			fiber_resume(fibers[n], 0);
}

static void start_and_end_fibers(void)
{
	for (size_t i = 0; i < BATCH; i++)
		if (fiber_start(pool, "touch", touch, NULL) < 0)
			errx(1, "no fiber");
}

static struct fiber_context ours;
static struct fiber_context others;

static void turn_bare(void)
{
	for (;;) {
		work++;
		fiber_switch(&others, &ours);
	}
}

static void switch_bare(void)
{
	for (size_t i = 0; i < BATCH; i++)
		fiber_switch(&ours, &others);
}

static void measure_bare(double seconds)
{
	struct fiber_stack bare;

	if (fiber_stack_map(&bare, STACK_BYTES) < 0)
		errx(1, "no stack");
	fiber_prepare(&others, bare.bottom, bare.bytes, turn_bare);
	measure(switch_bare, seconds);
	fiber_stack_unmap(&bare);
}

/* ---- ucontext ------------------------------------------------------------ */

static char *stack;
static ucontext_t home;
static ucontext_t there;
static bool is_over;

static void turn_there(void)
{
	while (!is_over) {
		work++;
		swapcontext(&there, &home);
	}
}

static void touch_there(void)
{
	work++;
	swapcontext(&there, &home);
}

static void prepare(void (*fn)(void))
{
	getcontext(&there);
	there.uc_stack.ss_sp = stack;
	there.uc_stack.ss_size = STACK_BYTES;
	there.uc_link = &home;
	makecontext(&there, fn, 0);
}

static void switch_contexts(void)
{
	for (size_t i = 0; i < BATCH; i++)
		swapcontext(&home, &there);
}

static void start_and_end_contexts(void)
{
	for (size_t i = 0; i < BATCH; i++) {
		prepare(touch_there);
		swapcontext(&home, &there);
	}
}

/* -------------------------------------------------------------------------- */

static double resident_bytes(void)
{
	FILE *file = fopen("/proc/self/statm", "re");
	char text[128] = { 0 };

	if (file == NULL || fread(text, 1, sizeof(text) - 1, file) == 0)
		err(1, "/proc/self/statm");
	fclose(file);
	return strtod(strchr(text, ' '), NULL) * (double)sysconf(_SC_PAGESIZE);
}

static void measure_fibers(const char *mode, double seconds)
{
	pool = fiber_pool_new(NULL);
	double before = resident_bytes();

	if (strcmp(mode, "start") == 0)
		measure(start_and_end_fibers, seconds);
	else
		start_fibers(strcmp(mode, "switch") == 0 ? 1 : MANY);
	if (strcmp(mode, "memory") == 0)
		say(MANY, resident_bytes() - before);
	else if (fiber_count > 0)
		measure(switch_fibers, seconds);
	end_fibers();
	fiber_pool_free(pool);
}

static void measure_contexts(const char *mode, double seconds)
{
	stack = mmap(NULL, STACK_BYTES, PROT_READ | PROT_WRITE,
		     MAP_PRIVATE | MAP_ANONYMOUS | MAP_STACK, -1, 0);
	if (stack == MAP_FAILED)
		err(1, "mmap");
	if (strcmp(mode, "start") == 0) {
		measure(start_and_end_contexts, seconds);
	} else {
		prepare(turn_there);
		measure(switch_contexts, seconds);
		is_over = true;
		swapcontext(&home, &there);
	}
	munmap(stack, STACK_BYTES);
}

int main(int argc, char **argv)
{
	if (argc < 3 || argc > 4)
		errx(2, "usage: fiber bare|switch|many|start|memory SECONDS "
			"[ucontext]");
	double seconds = strtod(argv[2], NULL);

	if (strcmp(argv[1], "bare") == 0 && argc == 3)
		measure_bare(seconds);
	else if (argc == 4)
		measure_contexts(argv[1], seconds);
	else
		measure_fibers(argv[1], seconds);
	return 0;
}
