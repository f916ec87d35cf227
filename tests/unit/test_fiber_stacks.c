/* The stacks of fibers, and what belongs to each. */
#include "fiber_bench.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <fenv.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Of a parked fiber. Elsewhere than on x86-64 a ucontext_t is that large. */
#ifndef RESIDENT_BYTES_MAX
#define RESIDENT_BYTES_MAX 8191
#endif

/* ---- Stacks -------------------------------------------------------------- */

static void note_place(void *arg)
{
	*(uintptr_t *)arg = (uintptr_t)__builtin_frame_address(0);
}

static void stacks_are_reused(void **state)
{
	(void)state;
	uintptr_t places[2];

	start("first", note_place, &places[0]);
	assert_int_equal(fiber_pool_counts(pool).idle, 1);
	start("second", note_place, &places[1]);
	assert_int_equal(places[0], places[1]);
	assert_int_equal(fiber_pool_counts(pool).idle, 1);
	assert_int_equal(fiber_pool_counts(pool).started, 2);
	assert_int_equal(fiber_pool_counts(pool).peak, 1);
}

static void as_many_stacks_are_kept_as_was_said(void **state)
{
	(void)state;
	restart(&(struct fiber_pool_options){ .idle_max = 3 });
	for (int i = 0; i < 10; i++)
		start("many", park_once, &fibers[i]);
	for (int i = 0; i < 10; i++)
		fiber_resume(fibers[i], 0);
	assert_int_equal(fiber_pool_counts(pool).idle, 3);
	fiber_pool_trim(pool);
	assert_int_equal(fiber_pool_counts(pool).idle, 0);
	start("again", park_once, &fibers[0]);
	fiber_resume(fibers[0], 0);
	assert_int_equal(fiber_pool_counts(pool).idle, 1);
}

static void more_fibers_than_the_limit_are_refused(void **state)
{
	(void)state;
	restart(&(struct fiber_pool_options){ .fibers_max = 2 });
	start("one", park_once, &fibers[0]);
	start("two", park_once, &fibers[1]);
	assert_int_equal(fiber_start(pool, "three", note_name, NULL), -EAGAIN);
	assert_notes("");
	fiber_resume(fibers[0], 0);
	start("three", note_name, NULL);
	assert_notes("0 three ");
	fiber_resume(fibers[1], 0);
}

static void a_stack_that_cannot_be_had_is_a_failure(void **state)
{
	(void)state;
	restart(&(struct fiber_pool_options){ .stack_bytes = (size_t)1 << 60 });
	assert_int_equal(fiber_start(pool, "huge", note_name, NULL), -ENOMEM);
	assert_int_equal(fiber_start(pool, "huge", note_name, NULL), -ENOMEM);
	assert_int_equal(live(), 0);
	assert_notes("");
}

static long resident_bytes(void)
{
	char text[128] = { 0 };
	FILE *file = fopen("/proc/self/statm", "re");

	assert_non_null(file);
	assert_true(fread(text, 1, sizeof(text) - 1, file) > 0);
	fclose(file);
	return strtol(strchr(text, ' '), NULL, 10) * sysconf(_SC_PAGESIZE);
}

static bool is_under_valgrind(void)
{
	const char *preloaded = getenv("LD_PRELOAD");

	return preloaded != NULL && strstr(preloaded, "vgpreload") != NULL;
}

static void count_value(void *arg)
{
	*(struct fiber **)arg = fiber_current();
	if (fiber_park() == 1)
		notes_length++;
}

static void thousands_park_at_once_for_what_they_touch(void **state)
{
	(void)state;
	long before = resident_bytes();

	for (int i = 0; i < FIBERS_MAX; i++)
		start("parked", count_value, &fibers[i]);
	long each = (resident_bytes() - before) / FIBERS_MAX;

	print_message("# %d parked, %ld bytes resident each\n", FIBERS_MAX,
		      each);
	assert_int_equal(live(), FIBERS_MAX);
	for (int i = 0; i < FIBERS_MAX; i++)
		fiber_resume(fibers[i], 1);
	assert_int_equal(notes_length, FIBERS_MAX);
	notes_length = 0;
	assert_int_equal(live(), 0);
	if (!HAS_OWN_COST && !is_under_valgrind())
		assert_in_range(each, 1, RESIDENT_BYTES_MAX);
}

static void recurse(void *arg)
{
	int kib = *(int *)arg;

	note_number(use_kib(kib) != 0);
	fibers[0] = fiber_current();
	note_number(fiber_park());
	note_number(use_kib(kib) != 0);
}

static void deep_but_legal_recursion_works(void **state)
{
	(void)state;
	/* Instrumented frames are several times as large. */
	int kib = HAS_OWN_COST ? 8 : 56;

	start("deep", recurse, &kib);
	fiber_resume(fibers[0], 7);
	assert_notes("1 7 1 ");
}

static void a_stack_is_as_large_as_was_asked_for(void **state)
{
	(void)state;
	int kib = HAS_OWN_COST ? 200 : 1000;

	restart(&(struct fiber_pool_options){ .stack_bytes = 1 << 20 });
	start("deeper", recurse, &kib);
	fiber_resume(fibers[0], 7);
	assert_notes("1 7 1 ");
}

/* ---- What belongs to each ------------------------------------------------ */

static void keep_errno(void *arg)
{
	*(struct fiber **)arg = fiber_current();
	note_number(errno);
	errno = ENOENT;
	(void)!fiber_park();
	note_number(errno == ENOENT);
	errno = EIO;
}

static void errno_is_kept(void **state)
{
	(void)state;
	errno = EPIPE;
	start("errno", keep_errno, &fibers[0]);
	assert_int_equal(errno, EPIPE);
	errno = EBADF;
	fiber_resume(fibers[0], 0);
	assert_int_equal(errno, EBADF);
	assert_notes("0 1 ");
}

static void keep_rounding(void *arg)
{
	*(struct fiber **)arg = fiber_current();
	note(fegetround() == FE_UPWARD ? "up" : "other");
	fesetround(FE_TOWARDZERO);
	(void)!fiber_park();
	note(fegetround() == FE_TOWARDZERO ? "zero" : "other");
	fesetround(FE_DOWNWARD);
}

static void the_floating_point_mode_is_kept(void **state)
{
	(void)state;
	fesetround(FE_UPWARD);
	start("rounds", keep_rounding, &fibers[0]);
	assert_int_equal(fegetround(), FE_UPWARD);
	fesetround(FE_TONEAREST);
	fiber_resume(fibers[0], 0);
	assert_int_equal(fegetround(), FE_TONEAREST);
	assert_notes("up zero ");
}

/* Enough values that some are in every register that a call keeps. */
static void keep_values(void *arg)
{
	const volatile int *seed = arg;
	int a = seed[0], b = a + 1, c = a * 3, d = a * 5, e = a * 7, f = a * 11;
	int g = a * 13, h = a * 17, i = a * 19, j = a * 23, k = a * 29;
	double x = a / 3.0, y = a / 7.0, z = a / 11.0;

	fibers[a] = fiber_current();
	for (int n = 0; n < 3; n++)
		a += fiber_park();
	note_number(a + b + c + d + e + f + g + h + i + j + k -
		    (int)(231 * (x + y + z) + 0.5));
}

static void values_survive_a_switch(void **state)
{
	(void)state;
	int seeds[] = { 1, 2, 3 };

	for (int i = 0; i < 3; i++)
		start("values", keep_values, &seeds[i]);
	for (int n = 0; n < 3; n++)
		for (int i = 3; i > 0; i--)
			fiber_resume(fibers[i], 10 * i);
	/* 30 * seed that it was given, and 129 * seed + 1 - 131 * seed. */
	assert_notes("85 57 29 ");
}

static void print_double(void *arg)
{
	char text[64];

	snprintf(text, sizeof(text), "%.3f %Lg", 1.5, 2.5L);
	note(text);
	(void)arg;
}

static void the_stack_is_aligned(void **state)
{
	(void)state;
	start("prints", print_double, NULL);
	assert_notes("1.500 2.5 ");
}

static void switches_are_counted(void **state)
{
	(void)state;
	assert_int_equal(fiber_pool_counts(pool).switches, 0);
	start("ends", note_name, NULL);
	assert_int_equal(fiber_pool_counts(pool).switches, 2);
	start("parks", park_once, &fibers[0]);
	fiber_resume(fibers[0], 0);
	assert_int_equal(fiber_pool_counts(pool).switches, 6);
}

#define TEST(name)                                                             \
	cmocka_unit_test_setup_teardown(name, fiber_set_up, fiber_tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(stacks_are_reused),
		TEST(as_many_stacks_are_kept_as_was_said),
		TEST(more_fibers_than_the_limit_are_refused),
		TEST(a_stack_that_cannot_be_had_is_a_failure),
		TEST(thousands_park_at_once_for_what_they_touch),
		TEST(deep_but_legal_recursion_works),
		TEST(a_stack_is_as_large_as_was_asked_for),
		TEST(errno_is_kept),
		TEST(the_floating_point_mode_is_kept),
		TEST(values_survive_a_switch),
		TEST(the_stack_is_aligned),
		TEST(switches_are_counted),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
