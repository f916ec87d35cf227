/* Fibers: their order, their values, their waits and how they are canceled. */
#include "fiber_bench.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <stdio.h>

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

#define TEST(name)                                                             \
	cmocka_unit_test_setup_teardown(name, fiber_set_up, fiber_tear_down)

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
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
