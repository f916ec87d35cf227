#include "fiber_bench.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <string.h>

struct fiber_pool *pool;
struct fiber *fibers[FIBERS_MAX];
static char notes[512];
size_t notes_length;

void note(const char *text)
{
	size_t room = sizeof(notes) - notes_length;
	int length = snprintf(notes + notes_length, room, "%s ", text);

	if (length > 0 && (size_t)length < room)
		notes_length += (size_t)length;
}

void note_number(int number)
{
	char text[16];

	snprintf(text, sizeof(text), "%d", number);
	note(text);
}

void assert_notes(const char *expected)
{
	assert_string_equal(notes, expected);
	notes[0] = '\0';
	notes_length = 0;
}

int fiber_set_up(void **state)
{
	(void)state;
	pool = fiber_pool_new(NULL);
	memset(fibers, 0, sizeof(fibers));
	notes[0] = '\0';
	notes_length = 0;
	return 0;
}

int fiber_tear_down(void **state)
{
	(void)state;
	fiber_pool_free(pool);
	return 0;
}

void restart(const struct fiber_pool_options *options)
{
	fiber_pool_free(pool);
	pool = fiber_pool_new(options);
}

void start(const char *name, fiber_fn fn, void *arg)
{
	assert_int_equal(fiber_start(pool, name, fn, arg), 0);
}

size_t live(void)
{
	return fiber_pool_counts(pool).live;
}

void note_name(void *arg)
{
	(void)arg;
	note(fiber_name(fiber_current()));
}

void park_once(void *arg)
{
	*(struct fiber **)arg = fiber_current();
	note_number(fiber_park());
}

void note_depth(void *arg)
{
	int *left = arg;

	if (--*left > 0 && fiber_start(pool, "deeper", note_depth, left) < 0)
		note("failed");
}

__attribute__((noinline)) int use_kib(int kib)
{
	volatile char block[1024 - 128];

	block[0] = (char)kib;
	block[sizeof(block) - 1] = 1;
	if (kib > 1)
		block[0] = (char)use_kib(kib - 1);
	return block[0] + block[sizeof(block) - 1];
}
