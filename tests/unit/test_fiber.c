/*
 * Fibers. What runs on one only takes notes: an assertion that fails jumps out
 * of the test, which must not happen from another stack.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <fenv.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/fiber.h"

#ifndef __has_feature
#define __has_feature(feature) 0
#endif
/* What a sanitizer keeps beside each stack is not ours to measure, and
 * ThreadSanitizer has room for 8,000. */
#if defined(__SANITIZE_ADDRESS__) || __has_feature(address_sanitizer)
#define MANY         10000
#define HAS_OWN_COST true
#elif defined(__SANITIZE_THREAD__) || __has_feature(thread_sanitizer)
#define MANY         1000
#define HAS_OWN_COST true
#else
#define MANY         10000
#define HAS_OWN_COST false
#endif

/* Of a parked fiber. Elsewhere than on x86-64 a ucontext_t is that large. */
#ifndef RESIDENT_BYTES_MAX
#define RESIDENT_BYTES_MAX 8191
#endif

static struct fiber_pool *pool;
static struct fiber *fibers[MANY];
static char notes[512];
static size_t notes_length;

static void note(const char *text)
{
	size_t room = sizeof(notes) - notes_length;
	int length = snprintf(notes + notes_length, room, "%s ", text);

	if (length > 0 && (size_t)length < room)
		notes_length += (size_t)length;
}

static void note_number(int number)
{
	char text[16];

	snprintf(text, sizeof(text), "%d", number);
	note(text);
}

/* What was noted since, each with a blank behind it. */
static void assert_notes(const char *expected)
{
	assert_string_equal(notes, expected);
	notes[0] = '\0';
	notes_length = 0;
}

static int set_up(void **state)
{
	(void)state;
	pool = fiber_pool_new(NULL);
	memset(fibers, 0, sizeof(fibers));
	notes[0] = '\0';
	notes_length = 0;
	return 0;
}

static int tear_down(void **state)
{
	(void)state;
	fiber_pool_free(pool);
	return 0;
}

static void restart(const struct fiber_pool_options *options)
{
	fiber_pool_free(pool);
	pool = fiber_pool_new(options);
}

static void start(const char *name, fiber_fn fn, void *arg)
{
	assert_int_equal(fiber_start(pool, name, fn, arg), 0);
}

static size_t live(void)
{
	return fiber_pool_counts(pool).live;
}

/* ---- What most of them run ----------------------------------------------- */

static void note_name(void *arg)
{
	(void)arg;
	note(fiber_name(fiber_current()));
}

/* Says who it is, parks once, and takes note of the value. */
static void park_once(void *arg)
{
	*(struct fiber **)arg = fiber_current();
	note_number(fiber_park());
}

static struct fiber_wait wait_begun;

static void wait_once(void *arg)
{
	*(struct fiber **)arg = fiber_current();
	wait_begun = fiber_wait_begin();
	note_number(fiber_park());
}

/* ---- Order and values ---------------------------------------------------- */

static void a_fiber_runs_at_once(void **state)
{
	(void)state;
	note("before");
	start("inside", note_name, NULL);
	note("after");
	assert_notes("before inside after ");
	assert_int_equal(live(), 0);
}

static void keep_current(void *arg)
{
	*(struct fiber **)arg = fiber_current();
	(void)!fiber_park();
	note(fiber_current() == *(struct fiber **)arg ? "same" : "other");
}

static void who_is_current_is_known(void **state)
{
	(void)state;
	assert_null(fiber_current());
	start("greet", keep_current, &fibers[0]);
	assert_non_null(fibers[0]);
	assert_null(fiber_current());
	assert_string_equal(fiber_name(fibers[0]), "greet");
	fiber_resume(fibers[0], 0);
	assert_notes("same ");
	assert_null(fiber_current());
}

static void park_returns_what_resume_was_given(void **state)
{
	(void)state;
	static const int values[] = { 7, 0, -ETIMEDOUT, INT32_MAX, INT32_MIN };

	for (size_t i = 0; i < sizeof(values) / sizeof(values[0]); i++) {
		char expected[32];

		start("one", park_once, &fibers[0]);
		fiber_resume(fibers[0], values[i]);
		snprintf(expected, sizeof(expected), "%d ", values[i]);
		assert_notes(expected);
	}
}

static void park_two(void *arg)
{
	struct fiber **self = arg;

	*self = fiber_current();
	note_number(fiber_park());
	note("between");
	note_number(fiber_park());
}

static void a_fiber_goes_on_where_it_parked(void **state)
{
	(void)state;
	start("two", park_two, &fibers[0]);
	note("main");
	fiber_resume(fibers[0], 1);
	note("main");
	fiber_resume(fibers[0], 2);
	assert_notes("main 1 between main 2 ");
	assert_int_equal(live(), 0);
}

static void fibers_end_in_any_order(void **state)
{
	(void)state;
	static const int order[] = { 3, 0, 4, 1, 2 };

	for (int i = 0; i < 5; i++)
		start("any", park_once, &fibers[i]);
	assert_int_equal(live(), 5);
	for (size_t i = 0; i < 5; i++)
		fiber_resume(fibers[order[i]], order[i]);
	assert_notes("3 0 4 1 2 ");
	assert_int_equal(live(), 0);
}

static void the_owner_has_a_place_in_it(void **state)
{
	(void)state;
	int call = 0;

	start("owned", park_once, &fibers[0]);
	assert_ptr_equal(fiber_owner(fibers[0]), &fibers[0]);
	fiber_set_owner(fibers[0], &call);
	assert_ptr_equal(fiber_owner(fibers[0]), &call);
	fiber_resume(fibers[0], 0);
}

/* ---- Nesting ------------------------------------------------------------- */

static void start_another(void *arg)
{
	note("outer");
	if (fiber_start(pool, "inner", park_once, arg) < 0)
		note("failed");
	note("outer");
	note_number(fiber_park());
}

static void start_outer(void *arg)
{
	fibers[1] = fiber_current();
	start_another(arg);
}

static void a_fiber_started_by_a_fiber_comes_back_to_it(void **state)
{
	(void)state;
	start("outer", start_outer, &fibers[0]);
	assert_notes("outer outer ");
	fiber_resume(fibers[1], 1);
	fiber_resume(fibers[0], 2);
	assert_notes("1 2 ");
}

static void pass_on(void *arg)
{
	int place = *(int *)arg;

	fibers[place] = fiber_current();
	int value = fiber_park();

	note_number(place);
	if (place > 0)
		fiber_resume(fibers[place - 1], value);
	note_number(place);
}

static void resumers_go_on_in_reverse_order(void **state)
{
	(void)state;
	int places[] = { 0, 1, 2, 3 };

	for (int i = 0; i < 4; i++)
		start("pass", pass_on, &places[i]);
	fiber_resume(fibers[3], 5);
	assert_notes("3 2 1 0 0 1 2 3 ");
	assert_int_equal(live(), 0);
}

#define ITEMS 6

static int queue[ITEMS];
static size_t queued;
static size_t taken;

static void consume(void *arg)
{
	*(struct fiber **)arg = fiber_current();
	while (taken < ITEMS) {
		if (taken == queued && fiber_park() < 0)
			break;
		if (taken < queued)
			note_number(queue[taken++]);
	}
}

static void produce(void *arg)
{
	struct fiber *consumer = arg;

	for (int i = 0; i < ITEMS; i++) {
		queue[queued++] = i * i;
		fiber_resume(consumer, 0);
	}
	note("produced");
}

static void a_fiber_throws_work_to_another(void **state)
{
	(void)state;
	queued = taken = 0;
	start("consumer", consume, &fibers[0]);
	start("producer", produce, fibers[0]);
	assert_notes("0 1 4 9 16 25 produced ");
	assert_int_equal(live(), 0);
}

static void note_depth(void *arg)
{
	int *left = arg;

	if (--*left > 0 && fiber_start(pool, "deeper", note_depth, left) < 0)
		note("failed");
}

static void nesting_has_no_depth_of_its_own(void **state)
{
	(void)state;
	int left = 500;

	start("deeper", note_depth, &left);
	assert_int_equal(left, 0);
	assert_int_equal(fiber_pool_counts(pool).peak, 500);
	assert_notes("");
}

/* ---- Waits --------------------------------------------------------------- */

static void a_wait_is_woken_with_a_value(void **state)
{
	(void)state;
	start("waits", wait_once, &fibers[0]);
	assert_false(fiber_wait_is_over(wait_begun));
	assert_true(fiber_wake(wait_begun, 12));
	assert_notes("12 ");
	assert_true(fiber_wait_is_over(wait_begun));
}

static void wait_twice(void *arg)
{
	struct fiber_wait *waits = arg;

	waits[0] = fiber_wait_begin();
	note_number(fiber_park());
	waits[1] = fiber_wait_begin();
	note_number(fiber_park());
}

static void a_late_wake_of_an_older_wait_is_harmless(void **state)
{
	(void)state;
	struct fiber_wait waits[2] = { 0 };

	start("waits", wait_twice, waits);
	assert_true(fiber_wake(waits[0], 1));
	assert_false(fiber_wake(waits[0], 100));
	assert_notes("1 ");
	assert_true(fiber_wake(waits[1], 2));
	assert_false(fiber_wake(waits[0], 100));
	assert_false(fiber_wake(waits[1], 100));
	assert_notes("2 ");
}

static void a_wait_of_a_fiber_that_is_gone_is_harmless(void **state)
{
	(void)state;
	start("gone", wait_once, &fibers[0]);
	struct fiber_wait old = wait_begun;

	assert_true(fiber_wake(old, 1));
	fiber_pool_trim(pool);
	assert_false(fiber_wake(old, 2));
	/* The next one is in the same place. */
	start("next", wait_once, &fibers[1]);
	assert_ptr_equal(fibers[0], fibers[1]);
	assert_false(fiber_wake(old, 3));
	assert_true(fiber_wake(wait_begun, 4));
	assert_notes("1 4 ");
}

static void no_wait_at_all_is_over(void **state)
{
	(void)state;
	assert_true(fiber_wait_is_over((struct fiber_wait){ 0 }));
	assert_false(fiber_wake((struct fiber_wait){ 0 }, 1));
}

static void wake_self(void *arg)
{
	(void)arg;
	struct fiber_wait wait = fiber_wait_begin();

	note(fiber_wake(wait, 9) ? "woken" : "over");
	note(fiber_wake(wait, 10) ? "woken" : "over");
	note_number(fiber_park());
}

static void a_wait_that_was_woken_early_does_not_park(void **state)
{
	(void)state;
	start("early", wake_self, NULL);
	assert_notes("woken over 9 ");
	assert_int_equal(live(), 0);
}

static void give_up_a_wait(void *arg)
{
	*(struct fiber **)arg = fiber_current();
	fiber_wake(fiber_wait_begin(), 100);
	wait_begun = fiber_wait_begin();
	note_number(fiber_park());
}

static void an_early_wake_is_not_the_next_waits(void **state)
{
	(void)state;
	start("gives up", give_up_a_wait, &fibers[0]);
	assert_notes("");
	assert_true(fiber_wake(wait_begun, 3));
	assert_notes("3 ");
}

static void end_with_a_wait(void *arg)
{
	*(struct fiber_wait *)arg = fiber_wait_begin();
}

static void a_wait_ends_with_its_fiber(void **state)
{
	(void)state;
	struct fiber_wait wait = { 0 };

	start("ends", end_with_a_wait, &wait);
	assert_true(fiber_wait_is_over(wait));
	assert_false(fiber_wake(wait, 1));
}

/* ---- Cancellation -------------------------------------------------------- */

static void a_parked_fiber_is_canceled(void **state)
{
	(void)state;
	start("waits", wait_once, &fibers[0]);
	fiber_cancel(fibers[0], -ECANCELED);
	assert_int_equal(live(), 0);
	assert_false(fiber_wake(wait_begun, 1));
	char expected[16];

	snprintf(expected, sizeof(expected), "%d ", -ECANCELED);
	assert_notes(expected);
}

static void cancel_self(void *arg)
{
	*(struct fiber **)arg = fiber_current();
	fiber_cancel(fiber_current(), -1);
	wait_begun = fiber_wait_begin();
	note_number(fiber_park());
	note(fiber_wake(wait_begun, 100) ? "woken" : "over");
	note_number(fiber_park());
}

static void a_running_fiber_is_canceled_in_its_next_wait_once(void **state)
{
	(void)state;
	start("cancels itself", cancel_self, &fibers[0]);
	assert_notes("-1 over ");
	fiber_resume(fibers[0], 5);
	assert_notes("5 ");
}

static void cancel_parent(void *arg)
{
	fiber_cancel(*(struct fiber **)arg, -2);
}

static void be_canceled_by_a_child(void *arg)
{
	*(struct fiber **)arg = fiber_current();
	if (fiber_start(pool, "child", cancel_parent, arg) < 0)
		note("failed");
	note("on");
	note_number(fiber_park());
}

static void a_fiber_that_waits_for_another_is_canceled_later(void **state)
{
	(void)state;
	start("parent", be_canceled_by_a_child, &fibers[0]);
	assert_notes("on -2 ");
}

static void cancel_self_and_end(void *arg)
{
	*(struct fiber **)arg = fiber_current();
	fiber_cancel(fiber_current(), -1);
}

static void a_cancellation_does_not_outlive_its_fiber(void **state)
{
	(void)state;
	start("canceled", cancel_self_and_end, &fibers[0]);
	start("next", park_once, &fibers[1]);
	assert_ptr_equal(fibers[0], fibers[1]);
	assert_notes("");
	fiber_resume(fibers[1], 6);
	assert_notes("6 ");
}

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

	for (int i = 0; i < MANY; i++)
		start("parked", count_value, &fibers[i]);
	long each = (resident_bytes() - before) / MANY;

	print_message("# %d parked, %ld bytes resident each\n", MANY, each);
	assert_int_equal(live(), MANY);
	for (int i = 0; i < MANY; i++)
		fiber_resume(fibers[i], 1);
	assert_int_equal(notes_length, MANY);
	notes_length = 0;
	assert_int_equal(live(), 0);
	if (!HAS_OWN_COST && !is_under_valgrind())
		assert_in_range(each, 1, RESIDENT_BYTES_MAX);
}

/* As many KiB of stack as are asked for, each of them written to. */
__attribute__((noinline)) static int use_kib(int kib)
{
	volatile char block[1024 - 128];

	block[0] = (char)kib;
	block[sizeof(block) - 1] = 1;
	if (kib > 1)
		block[0] = (char)use_kib(kib - 1);
	return block[0] + block[sizeof(block) - 1];
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

/* ---- What ends the process ----------------------------------------------- */

/* The handler of a program that had one before us. */
static void restart_after(void (*handler)(int))
{
	fiber_pool_free(pool);
	signal(SIGSEGV, handler);
	pool = fiber_pool_new(NULL);
}

/* cmocka has its own handler, and sets it after set_up(). */
static void become_free_of_the_test(void)
{
	restart_after(SIG_DFL);
}

/* What fn() in a process of its own says on stderr, and how that ends. */
static int in_child(void (*fn)(void), char *said, size_t size)
{
	int ends[2], status = 0;
	size_t length = 0;
	ssize_t got;

	assert_int_equal(pipe(ends), 0);
	fflush(NULL);
	pid_t pid = fork();

	assert_true(pid >= 0);
	if (pid == 0) {
		setrlimit(RLIMIT_CORE, &(struct rlimit){ 0, 0 });
		dup2(ends[1], STDERR_FILENO);
		become_free_of_the_test();
		fn();
		_exit(0);
	}
	close(ends[1]);
	while ((got = read(ends[0], said + length, size - 1 - length)) > 0)
		length += (size_t)got;
	said[length] = '\0';
	close(ends[0]);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	return status;
}

static void assert_ends(void (*fn)(void), int signal, const char *expected)
{
	char said[4096];
	int status = in_child(fn, said, sizeof(said));

	if (strstr(said, expected) == NULL)
		fail_msg("'%s' is not in: %s", expected, said);
	assert_true(WIFSIGNALED(status));
	assert_int_equal(WTERMSIG(status), signal);
}

static void recurse_for_ever(void *arg)
{
	*(int *)arg = use_kib(1 << 20);
}

static void overflow(void)
{
	int result = 0;

	/* Someone else's pool, and someone else's fiber, are not confused. */
	struct fiber_pool *other = fiber_pool_new(NULL);

	(void)!fiber_start(other, "bystander", park_once, &fibers[0]);
	(void)!fiber_start(other, "greet", recurse_for_ever, &result);
}

static void an_overflow_is_named_and_ends_the_process(void **state)
{
	(void)state;
	assert_ends(overflow, SIGSEGV,
		    "muster: the stack of 'greet' overflowed (64 KiB; raise "
		    "stack_bytes)\n");
}

static void overflow_nested(void)
{
	int left = 3;

	(void)!fiber_start(pool, "deeper", note_depth, &left);
	struct fiber_pool *large = fiber_pool_new(
		&(struct fiber_pool_options){ .stack_bytes = 100 * 1024 });

	(void)!fiber_start(large, "load", recurse_for_ever, &left);
}

static void an_overflow_tells_the_size_that_there_was(void **state)
{
	(void)state;
	assert_ends(overflow_nested, SIGSEGV, "'load' overflowed (100 KiB;");
}

static void *forbidden;

static void touch(void *arg)
{
	*(volatile char *)arg = 1;
}

static void fault_on_a_fiber(void)
{
	(void)!fiber_start(pool, "faults", touch, forbidden);
}

static void on_segv(int number)
{
	static const char text[] = "the program's own handler\n";

	(void)!write(STDERR_FILENO, text, sizeof(text) - 1);
	signal(number, SIG_DFL);
}

static void fault_with_a_handler(void)
{
	restart_after(on_segv);
	fault_on_a_fiber();
}

static void be_sent_the_signal(void)
{
	kill(getpid(), SIGSEGV);
}

static void other_faults_go_where_they_went(void **state)
{
	(void)state;
	char said[4096];
	int status;

	forbidden =
		mmap(NULL, 4096, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	assert_ptr_not_equal(forbidden, MAP_FAILED);
	assert_ends(fault_with_a_handler, SIGSEGV, "own handler");
	status = in_child(fault_on_a_fiber, said, sizeof(said));
	assert_int_equal(WTERMSIG(status), SIGSEGV);
	assert_null(strstr(said, "muster:"));
	status = in_child(be_sent_the_signal, said, sizeof(said));
	assert_int_equal(WTERMSIG(status), SIGSEGV);
	munmap(forbidden, 4096);
}

static void free_all_pools(void)
{
	struct fiber_pool *other = fiber_pool_new(NULL);
	struct sigaction one, none;

	fiber_pool_free(pool);
	sigaction(SIGSEGV, NULL, &one);
	fiber_pool_free(other);
	sigaction(SIGSEGV, NULL, &none);
	if (one.sa_handler != SIG_DFL && none.sa_handler == SIG_DFL)
		fputs("given back", stderr);
	abort();
}

static void the_signal_is_given_back_with_the_last_pool(void **state)
{
	(void)state;
	assert_ends(free_all_pools, SIGABRT, "given back");
}

static void park_nowhere(void)
{
	(void)!fiber_park();
}

static void resume_self(void *arg)
{
	(void)arg;
	fiber_resume(fiber_current(), 0);
}

static void resume_the_current_one(void)
{
	(void)!fiber_start(pool, "self", resume_self, NULL);
}

static void resume_one_that_has_ended(void)
{
	(void)!fiber_start(pool, "ended", park_once, &fibers[0]);
	fiber_resume(fibers[0], 0);
	fiber_resume(fibers[0], 0);
}

static void resume_parent(void *arg)
{
	fiber_resume(*(struct fiber **)arg, 0);
}

static void be_resumed_by_a_child(void *arg)
{
	*(struct fiber **)arg = fiber_current();
	(void)!fiber_start(pool, "child", resume_parent, arg);
}

static void resume_one_that_waits_for_another(void)
{
	(void)!fiber_start(pool, "parent", be_resumed_by_a_child, &fibers[0]);
}

static void free_with_a_fiber(void)
{
	(void)!fiber_start(pool, "lives", park_once, &fibers[0]);
	fiber_pool_free(pool);
}

static void wrong_use_is_told(void **state)
{
	(void)state;
	static const struct {
		void (*fn)(void);
		const char *condition;
	} wrong[] = {
		{ park_nowhere, "fiber != NULL" },
		{ resume_the_current_one, "fiber->state == FIBER_PARKED" },
		{ resume_one_that_has_ended, "fiber->state == FIBER_PARKED" },
		{ resume_one_that_waits_for_another,
		  "fiber->state == FIBER_PARKED" },
		{ free_with_a_fiber, "counts.live == 0" },
	};

	for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++)
		assert_ends(wrong[i].fn, SIGABRT, wrong[i].condition);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(a_fiber_runs_at_once),
		TEST(who_is_current_is_known),
		TEST(park_returns_what_resume_was_given),
		TEST(a_fiber_goes_on_where_it_parked),
		TEST(fibers_end_in_any_order),
		TEST(the_owner_has_a_place_in_it),
		TEST(a_fiber_started_by_a_fiber_comes_back_to_it),
		TEST(resumers_go_on_in_reverse_order),
		TEST(a_fiber_throws_work_to_another),
		TEST(nesting_has_no_depth_of_its_own),
		TEST(a_wait_is_woken_with_a_value),
		TEST(a_late_wake_of_an_older_wait_is_harmless),
		TEST(a_wait_of_a_fiber_that_is_gone_is_harmless),
		TEST(no_wait_at_all_is_over),
		TEST(a_wait_that_was_woken_early_does_not_park),
		TEST(an_early_wake_is_not_the_next_waits),
		TEST(a_wait_ends_with_its_fiber),
		TEST(a_parked_fiber_is_canceled),
		TEST(a_running_fiber_is_canceled_in_its_next_wait_once),
		TEST(a_fiber_that_waits_for_another_is_canceled_later),
		TEST(a_cancellation_does_not_outlive_its_fiber),
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
		TEST(an_overflow_is_named_and_ends_the_process),
		TEST(an_overflow_tells_the_size_that_there_was),
		TEST(other_faults_go_where_they_went),
		TEST(the_signal_is_given_back_with_the_last_pool),
		TEST(wrong_use_is_told),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
