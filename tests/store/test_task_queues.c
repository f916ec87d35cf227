/* What a queue of tasks lets through, on either back end. */
#include "task.h"

#include <stdio.h>
#include <string.h>

static void a_servers_queue_is_its_own(void **state)
{
	struct fixture *f = *state;

	PUT(.id = T("a"), .queue = T("api-worker-1"));
	PUT(.id = T("g"));
	assert_int_equal(task_take_from(f, f->store, "o", "api-worker-2", 10,
					TASK_LEASE_MS)
				 ->count,
			 1);
	struct reply *claim = task_take_from(f, f->store, "o", "api-worker-1",
					     10, TASK_LEASE_MS);

	assert_int_equal(claim->count, 1);
	assert_string_equal(claim->items[0].id, "a");
	assert_string_equal(claim->items[0].queue, "api-worker-1");
	/* It goes back to where it came from, whoever hands it back. */
	assert_int_equal(ASK(reap_owner, .owner = T("o"))->value, 2);
	assert_int_equal(TAKE("x", 10)->count, 1);
	for (int i = 0; i < 400; i++) {
		claim = task_take_from(f, f->store, "o", "api-worker-1", 10,
				       TASK_LEASE_MS);
		if (claim->count > 0)
			break;
		fixture_run_ms(f, 10);
	}
	assert_string_equal(claim->items[0].id, "a");
}

static void a_full_global_queue_starves_nobody(void **state)
{
	struct fixture *f = *state;
	bool was_served = false;

	for (int i = 0; i < 40; i++) {
		char id[8];

		snprintf(id, sizeof(id), "g%d", i);
		PUT(.id = T(id));
	}
	PUT(.id = T("own"), .queue = T("api-worker-1"));
	for (int i = 0; i < 16 && !was_served; i++)
		was_served =
			strcmp(task_take_from(f, f->store, "o", "api-worker-1",
					      1, TASK_LEASE_MS)
				       ->items[0]
				       .id,
			       "own") == 0;
	assert_true(was_served);
}

static void a_paused_queue_keeps_its_tasks(void **state)
{
	struct fixture *f = *state;

	PUT(.id = T("a"));
	assert_done(ASK(pause, .is_paused = true));
	assert_int_equal(TAKE("me", 1)->count, 0);
	PUT(.id = T("b"));
	assert_done(ASK(pause, .is_paused = false));
	assert_int_equal(TAKE("me", 10)->count, 2);
}

static void a_queue_has_a_depth(void **state)
{
	struct fixture *f = *state;
	const struct store_task three[] = {
		{ .id = T("a"), .envelope = T("1") },
		{ .id = T("b"), .envelope = T("1"), .priority = 1 },
		{ .id = T("c"), .envelope = T("1") },
	};

	assert_done(ASK(limits, .depth = 2));
	struct reply *reply = ASK(enqueue, .tasks = three, .count = 3);

	assert_int_equal(reply->results[0], STORE_DONE);
	assert_int_equal(reply->results[1], STORE_DONE);
	assert_int_equal(reply->results[2], STORE_QUEUE_FULL);
	assert_int_equal(TAKE("me", 1)->count, 1);
	assert_int_equal(PUT(.id = T("c"))->results[0], STORE_DONE);
	assert_done(ASK(limits, .depth = 0));
	assert_int_equal(PUT(.id = T("d"))->results[0], STORE_DONE);
}

static void a_queue_runs_so_many_at_once(void **state)
{
	struct fixture *f = *state;

	assert_done(ASK(limits, .running = 2));
	for (int i = 0; i < 5; i++) {
		char id[8];

		snprintf(id, sizeof(id), "t%d", i);
		PUT(.id = T(id));
	}
	struct reply *claim = TAKE("me", 10);

	assert_int_equal(claim->count, 2);
	assert_int_equal(TAKE("you", 10)->count, 0);
	task_finish(f, "t0", claim->items[0].token);
	assert_int_equal(TAKE("you", 10)->count, 1);
	assert_int_equal(ASK(reap_owner, .owner = T("you"))->value, 1);
	assert_int_equal(TAKE("you", 10)->count, 1);
	task_flunk(f, "t1", claim->items[1].token, 60000, false);
	assert_int_equal(TAKE("you", 10)->count, 1);
}

static void a_queue_starts_so_many_a_second(void **state)
{
	struct fixture *f = *state;

	assert_done(ASK(limits, .per_second = 5));
	for (int i = 0; i < 10; i++) {
		char id[8];

		snprintf(id, sizeof(id), "t%d", i);
		PUT(.id = T(id));
	}
	assert_int_equal(TAKE("me", 10)->count, 5);
	struct reply *none = TAKE("me", 10);

	assert_int_equal(none->count, 0);
	assert_true(none->next_ms > 0 && none->next_ms <= 201);
	assert_int_equal(task_take_in_time(f, TASK_LEASE_MS)->count, 1);
}

int main(int count, char **arguments)
{
#define TEST(name)                                                             \
	cmocka_unit_test_setup_teardown(name, fixture_set_up, fixture_tear_down)
	const struct CMUnitTest tests[] = {
		TEST(a_servers_queue_is_its_own),
		TEST(a_full_global_queue_starves_nobody),
		TEST(a_paused_queue_keeps_its_tasks),
		TEST(a_queue_has_a_depth),
		TEST(a_queue_runs_so_many_at_once),
		TEST(a_queue_starts_so_many_a_second),
	};

	if (count > 1)
		fixture_back_end = arguments[1];
	return cmocka_run_group_tests(tests, NULL, NULL);
}
