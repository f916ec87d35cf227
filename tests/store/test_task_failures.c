/* What the task queue promises of tasks that fail, and of workers that die, on
 * either back end. */
#include "task.h"

#include <string.h>

static void a_failure_is_retried_later(void **state)
{
	struct fixture *f = *state;

	PUT(.id = T("a"));
	struct reply *claim = TAKE("me", 1);

	assert_int_equal(task_flunk(f, "a", claim->items[0].token, 50, false),
			 STORE_RETRYING);
	assert_int_equal(TAKE("me", 1)->count, 0);
	struct reply *info = task_look_at(f, "a");

	assert_string_equal(info->items[0].error, "it broke");
	assert_int_equal(info->items[0].attempt, 1);
	struct reply *again = task_take_in_time(f, TASK_LEASE_MS);

	assert_int_equal(again->items[0].attempt, 2);
	assert_true(again->items[0].token > claim->items[0].token);
	assert_int_equal(task_flunk(f, "a", claim->items[0].token, 0, false),
			 STORE_LOST);
	assert_int_equal(task_finish(f, "a", again->items[0].token),
			 STORE_DONE);
	task_assert_at_rest(f);
}

static void after_the_last_attempt_it_is_dead(void **state)
{
	struct fixture *f = *state;

	PUT(.id = T("a"), .max_attempts = 2);
	assert_int_equal(
		task_flunk(f, "a", TAKE("me", 1)->items[0].token, 0, false),
		STORE_RETRYING);
	assert_int_equal(
		task_flunk(f, "a", TAKE("me", 1)->items[0].token, 0, false),
		STORE_DEAD);
	assert_int_equal(TAKE("me", 1)->count, 0);
	struct reply *dead = ASK(list, .state = STORE_TASK_DEAD);

	assert_int_equal(dead->count, 1);
	assert_string_equal(dead->items[0].id, "a");
	assert_string_equal(dead->items[0].error, "it broke");
	assert_int_equal(dead->items[0].state, STORE_TASK_DEAD);
	assert_int_equal(ASK(counts)->dead, 1);
	task_assert_at_rest(f);
}

static void a_final_failure_is_dead_at_once(void **state)
{
	struct fixture *f = *state;

	PUT(.id = T("a"));
	assert_int_equal(
		task_flunk(f, "a", TAKE("me", 1)->items[0].token, 0, true),
		STORE_DEAD);
}

static void the_dead_can_be_retried_and_removed(void **state)
{
	struct fixture *f = *state;
	const struct store_bytes ids[] = { T("a"), T("b") };

	PUT(.id = T("a"));
	task_flunk(f, "a", TAKE("me", 1)->items[0].token, 0, true);
	struct reply *retry = ASK(retry_dead, .ids = ids, .count = 2);

	assert_int_equal(retry->results[0], STORE_DONE);
	assert_int_equal(retry->results[1], STORE_NOT_FOUND);
	struct reply *claim = TAKE("me", 1);

	assert_int_equal(claim->items[0].attempt, 1);
	struct reply *removed = ASK(remove, .ids = ids, .count = 2);

	assert_int_equal(removed->results[0], STORE_BUSY);
	assert_int_equal(removed->results[1], STORE_NOT_FOUND);
	task_flunk(f, "a", claim->items[0].token, 0, true);
	assert_int_equal(ASK(remove, .ids = ids, .count = 1)->results[0],
			 STORE_DONE);
	assert_int_equal(task_look_at(f, "a")->result, STORE_NOT_FOUND);
	assert_int_equal(ASK(counts)->dead, 0);
	task_assert_at_rest(f);
}

static void releasing_does_not_count_and_goes_first(void **state)
{
	struct fixture *f = *state;

	PUT(.id = T("a"));
	PUT(.id = T("b"));
	struct reply *claim = TAKE("me", 1);

	assert_int_equal(task_give_back(f, "a", claim->items[0].token),
			 STORE_DONE);
	assert_int_equal(task_give_back(f, "a", claim->items[0].token),
			 STORE_LOST);
	struct reply *again = TAKE("you", 2);

	assert_int_equal(again->count, 2);
	assert_string_equal(again->items[0].id, "a");
	assert_int_equal(again->items[0].attempt, 1);
	assert_int_equal(task_finish(f, "a", claim->items[0].token),
			 STORE_LOST);
}

static void heartbeats_keep_a_lease(void **state)
{
	struct fixture *f = *state;

	PUT(.id = T("a"));
	struct reply *claim = task_take_from(f, f->store, "me", "", 1, 5000);

	assert_int_equal(task_prolong(f, "a", claim->items[0].token),
			 STORE_DONE);
	struct reply *info = task_look_at(f, "a");

	assert_int_equal(info->items[0].state, STORE_TASK_ACTIVE);
	assert_string_equal(info->items[0].owner, "me");
	assert_true(info->items[0].in_ms > 50000);
	assert_int_equal(task_prolong(f, "a", claim->items[0].token + 1),
			 STORE_LOST);
	assert_int_equal(task_prolong(f, "z", claim->items[0].token),
			 STORE_LOST);
}

static void a_lease_that_ran_out_is_somebody_elses(void **state)
{
	struct fixture *f = *state;

	PUT(.id = T("a"));
	struct reply *claim = task_take_from(f, f->store, "me", "", 1, 100);
	struct reply *again = task_take_in_time(f, 100);

	assert_string_equal(again->items[0].id, "a");
	assert_int_equal(again->items[0].attempt, 2);
	assert_int_equal(task_finish(f, "a", claim->items[0].token),
			 STORE_LOST);
	assert_int_equal(task_prolong(f, "a", claim->items[0].token),
			 STORE_LOST);
	assert_int_equal(task_finish(f, "a", again->items[0].token),
			 STORE_DONE);
	task_assert_at_rest(f);
}

static void a_task_that_kills_its_workers_ends_up_dead(void **state)
{
	struct fixture *f = *state;

	PUT(.id = T("a"), .max_attempts = 2);
	for (int i = 0; i < 2; i++) {
		assert_int_equal(TAKE("me", 1)->count, 1);
		assert_int_equal(ASK(reap_owner, .owner = T("me"))->value, 1);
	}
	assert_int_equal(TAKE("me", 1)->count, 0);
	struct reply *info = task_look_at(f, "a");

	assert_int_equal(info->items[0].state, STORE_TASK_DEAD);
	assert_true(strlen(info->items[0].error) > 0);
	task_assert_at_rest(f);
}

static void what_a_dead_owner_had_is_handed_back(void **state)
{
	struct fixture *f = *state;

	PUT(.id = T("a"));
	PUT(.id = T("b"));
	PUT(.id = T("c"));
	TAKE("dead", 2);
	TAKE("deader", 1);
	assert_int_equal(ASK(reap_owner, .owner = T("dead"))->value, 2);
	assert_int_equal(ASK(reap_owner, .owner = T("dead"))->value, 0);
	struct reply *claim = TAKE("me", 10);

	assert_int_equal(claim->count, 2);
	assert_int_equal(claim->items[0].attempt, 2);
	struct reply *active =
		ASK(list, .state = STORE_TASK_ACTIVE, .owner = T("deader"));

	assert_int_equal(active->count, 1);
	assert_string_equal(active->items[0].id, "c");
	assert_int_equal(ASK(list, .state = STORE_TASK_ACTIVE)->count, 3);
}

int main(int count, char **arguments)
{
#define TEST(name)                                                             \
	cmocka_unit_test_setup_teardown(name, fixture_set_up, fixture_tear_down)
	const struct CMUnitTest tests[] = {
		TEST(a_failure_is_retried_later),
		TEST(after_the_last_attempt_it_is_dead),
		TEST(a_final_failure_is_dead_at_once),
		TEST(the_dead_can_be_retried_and_removed),
		TEST(releasing_does_not_count_and_goes_first),
		TEST(heartbeats_keep_a_lease),
		TEST(a_lease_that_ran_out_is_somebody_elses),
		TEST(a_task_that_kills_its_workers_ends_up_dead),
		TEST(what_a_dead_owner_had_is_handed_back),
	};

	if (count > 1)
		fixture_back_end = arguments[1];
	return cmocka_run_group_tests(tests, NULL, NULL);
}
