/* What the task queue promises, on either back end. */
#include "task.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

static void a_task_is_claimed_and_completed(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(
		PUT(.id = T("a"), .envelope = T("{\"n\":1}"))->results[0],
		STORE_DONE);
	struct reply *claim = TAKE("me", 10);

	assert_int_equal(claim->count, 1);
	assert_string_equal(claim->items[0].id, "a");
	assert_string_equal(claim->items[0].text, "{\"n\":1}");
	assert_string_equal(claim->items[0].queue, "");
	assert_int_equal(claim->items[0].attempt, 1);
	assert_true(claim->items[0].token > 0);
	assert_int_equal(TAKE("you", 10)->count, 0);
	assert_int_equal(task_finish(f, "a", claim->items[0].token),
			 STORE_DONE);
	assert_int_equal(ASK(counts)->done, 1);
	task_assert_at_rest(f);
}

static void completing_twice_is_known(void **state)
{
	struct fixture *f = *state;

	PUT(.id = T("a"));
	uint64_t token = TAKE("me", 1)->items[0].token;

	assert_int_equal(task_finish(f, "a", token), STORE_DONE);
	assert_int_equal(task_finish(f, "a", token), STORE_KNOWN);
	assert_int_equal(task_finish(f, "a", token + 1), STORE_LOST);
	assert_int_equal(task_finish(f, "b", token), STORE_LOST);
}

static void an_id_is_enqueued_once(void **state)
{
	struct fixture *f = *state;
	const struct store_task twice[] = {
		{ .id = T("a"), .envelope = T("1") },
		{ .id = T("a"), .envelope = T("2") },
		{ .id = T("b"), .envelope = T("3") },
	};
	struct reply *reply = ASK(enqueue, .tasks = twice, .count = 3);

	assert_int_equal(reply->results[0], STORE_DONE);
	assert_int_equal(reply->results[1], STORE_KNOWN);
	assert_int_equal(reply->results[2], STORE_DONE);
	assert_int_equal(PUT(.id = T("a"))->results[0], STORE_KNOWN);
	struct reply *claim = TAKE("me", 10);

	assert_int_equal(claim->count, 2);
	assert_string_equal(claim->items[0].text, "1");
	assert_int_equal(PUT(.id = T("a"))->results[0], STORE_KNOWN);
	assert_int_equal(task_finish(f, "a", claim->items[0].token),
			 STORE_DONE);
	assert_int_equal(PUT(.id = T("a"))->results[0], STORE_KNOWN);
}

static void tasks_come_in_order_and_by_priority(void **state)
{
	struct fixture *f = *state;

	PUT(.id = T("late"), .priority = 3);
	PUT(.id = T("a"));
	PUT(.id = T("mid"), .priority = 1);
	PUT(.id = T("b"));
	struct reply *claim = TAKE("me", 10);

	assert_int_equal(claim->count, 4);
	assert_string_equal(claim->items[0].id, "a");
	assert_string_equal(claim->items[1].id, "b");
	assert_string_equal(claim->items[2].id, "mid");
	assert_string_equal(claim->items[3].id, "late");
}

static void tokens_grow(void **state)
{
	struct fixture *f = *state;
	uint64_t last = 0;

	for (int i = 0; i < 20; i++) {
		char id[8];

		snprintf(id, sizeof(id), "t%d", i);
		PUT(.id = T(id));
		uint64_t token = TAKE("me", 1)->items[0].token;

		assert_true(token > last);
		last = token;
	}
}

static void a_delayed_task_waits(void **state)
{
	struct fixture *f = *state;

	PUT(.id = T("a"), .delay_ms = 80);
	struct reply *claim = TAKE("me", 1);

	assert_int_equal(claim->count, 0);
	assert_true(claim->next_ms > 0 && claim->next_ms <= 80);
	assert_int_equal(ASK(counts)->delayed, 1);
	assert_int_equal(task_look_at(f, "a")->items[0].state,
			 STORE_TASK_DELAYED);
	claim = task_take_in_time(f, TASK_LEASE_MS);
	assert_string_equal(claim->items[0].id, "a");
}

static void a_time_that_has_passed_is_now(void **state)
{
	struct fixture *f = *state;

	PUT(.id = T("a"), .at_ms = 1000);
	assert_int_equal(TAKE("me", 1)->count, 1);
}

static void what_waits_is_cancelled_at_once(void **state)
{
	struct fixture *f = *state;

	PUT(.id = T("a"));
	PUT(.id = T("b"), .delay_ms = 60000);
	PUT(.id = T("c"));
	assert_int_equal(task_cancel(f, "a"), STORE_DONE);
	assert_int_equal(task_cancel(f, "b"), STORE_DONE);
	assert_int_equal(task_cancel(f, "z"), STORE_NOT_FOUND);
	struct reply *claim = TAKE("me", 10);

	assert_int_equal(claim->count, 1);
	assert_string_equal(claim->items[0].id, "c");
	task_finish(f, "c", claim->items[0].token);
	task_assert_at_rest(f);
}

static void what_runs_is_told_that_it_is_cancelled(void **state)
{
	struct fixture *f = *state;

	PUT(.id = T("a"));
	uint64_t token = TAKE("me", 1)->items[0].token;

	assert_int_equal(task_cancel(f, "a"), STORE_CANCELLED);
	assert_int_equal(task_prolong(f, "a", token), STORE_CANCELLED);
	assert_int_equal(task_finish(f, "a", token), STORE_CANCELLED);
	assert_int_equal(task_look_at(f, "a")->result, STORE_NOT_FOUND);
	PUT(.id = T("b"));
	TAKE("me", 1);
	assert_int_equal(task_cancel(f, "b"), STORE_CANCELLED);
	assert_int_equal(ASK(reap_owner, .owner = T("me"))->value, 1);
	assert_int_equal(TAKE("me", 1)->count, 0);
	task_assert_at_rest(f);
}

static void a_unique_key_has_one_open_task(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(PUT(.id = T("a"), .unique = T("u|1"))->results[0],
			 STORE_DONE);
	struct reply *twin = PUT(.id = T("b"), .unique = T("u|1"));

	assert_int_equal(twin->results[0], STORE_DUPLICATE);
	assert_string_equal(twin->items[0].id, "a");
	uint64_t token = TAKE("me", 1)->items[0].token;

	assert_int_equal(PUT(.id = T("b"), .unique = T("u|1"))->results[0],
			 STORE_DUPLICATE);
	task_finish(f, "a", token);
	assert_int_equal(PUT(.id = T("b"), .unique = T("u|1"))->results[0],
			 STORE_DONE);
	assert_int_equal(task_cancel(f, "b"), STORE_DONE);
	assert_int_equal(PUT(.id = T("c"), .unique = T("u|1"))->results[0],
			 STORE_DONE);
}

static void a_unique_key_may_end_with_the_start(void **state)
{
	struct fixture *f = *state;

	PUT(.id = T("a"), .unique = T("u"),
	    .unique_scope = STORE_UNIQUE_UNTIL_START);
	assert_int_equal(PUT(.id = T("b"), .unique = T("u"))->results[0],
			 STORE_DUPLICATE);
	TAKE("me", 1);
	assert_int_equal(PUT(.id = T("b"), .unique = T("u"))->results[0],
			 STORE_DONE);
}

static void a_recurring_task_is_fired_once(void **state)
{
	struct fixture *f = *state;
	const struct store_task task = { .id = T("cron:n:0"),
					 .envelope = T("{}") };
	struct reply *first = ASK(cron_fire, .name = T("n"), .spec = T("@1m"),
				  .next_ms = 1000, .task = &task);

	assert_done(first);
	struct reply *late = ASK(cron_fire, .name = T("n"), .spec = T("@1m"),
				 .next_ms = 1000, .task = &task);

	assert_int_equal(late->result, STORE_STALE);
	assert_int_equal(late->value, 1000);
	assert_done(ASK(cron_fire, .name = T("n"), .expected_ms = 1000,
			.next_ms = 1700000000123, .task = NULL));
	assert_int_equal(
		ASK(cron_fire, .name = T("n"), .expected_ms = 1)->value,
		1700000000123);
	assert_int_equal(TAKE("me", 10)->count, 1);
}

static void effects_are_made_with_the_completion(void **state)
{
	struct fixture *f = *state;
	const struct store_effect effects[] = {
		{ .kind = STORE_EFFECT_ENQUEUE,
		  .task = { .id = T("child"), .envelope = T("{}") } },
		{ .kind = STORE_EFFECT_CACHE_SAVE,
		  .key = T("k"),
		  .value = T("v"),
		  .type = T("t"),
		  .ttl_ms = 60000 },
		{ .kind = STORE_EFFECT_CACHE_ADD, .key = T("n"), .delta = 3 },
		{ .kind = STORE_EFFECT_CACHE_ADD, .key = T("n"), .delta = 4 },
		{ .kind = STORE_EFFECT_CACHE_DESTROY, .key = T("old") },
	};
	struct store_completion item = { .id = T("a"),
					 .effects = effects,
					 .effect_count = 5 };

	assert_done(ASK(cache_save, .key = T("old"), .value = T("v")));
	PUT(.id = T("a"));
	item.token = TAKE("me", 1)->items[0].token;
	assert_int_equal(ASK(complete, .items = &item, .count = 1)->results[0],
			 STORE_DONE);
	struct reply *load = ASK(cache_load, .key = T("k"));

	assert_string_equal(load->text, "v");
	assert_string_equal(load->type, "t");
	assert_true(load->expires_ms > 0);
	assert_string_equal(ASK(cache_load, .key = T("n"))->text, "7");
	assert_int_equal(ASK(cache_load, .key = T("old"))->result,
			 STORE_NOT_FOUND);
	/* And never with one that is not recorded. */
	assert_int_equal(ASK(complete, .items = &item, .count = 1)->results[0],
			 STORE_KNOWN);
	item.token++;
	assert_int_equal(ASK(complete, .items = &item, .count = 1)->results[0],
			 STORE_LOST);
	assert_string_equal(ASK(cache_load, .key = T("n"))->text, "7");
	assert_string_equal(TAKE("me", 5)->items[0].id, "child");
}

static void what_is_done_is_remembered_for_a_while(void **state)
{
	struct fixture *f = *state;

	fixture_close(f, f->store);
	f->options.done_count = 5;
	f->store = fixture_open(f, f->url);
	for (int i = 0; i < 12; i++) {
		char id[8];

		snprintf(id, sizeof(id), "t%d", i);
		PUT(.id = T(id));
		task_finish(f, id, TAKE("me", 1)->items[0].token);
	}
	assert_int_equal(ASK(counts)->done, 5);
	struct reply *last = task_look_at(f, "t11");

	assert_done(last);
	assert_int_equal(last->items[0].state, STORE_TASK_DONE);
	assert_string_equal(last->items[0].result, "\"ok\"");
	assert_int_equal(task_look_at(f, "t1")->result, STORE_NOT_FOUND);
	assert_int_equal(ASK(list, .state = STORE_TASK_DONE)->count, 5);
}

static void lists_have_pages(void **state)
{
	struct fixture *f = *state;

	for (int i = 0; i < 10; i++) {
		char id[8];

		snprintf(id, sizeof(id), "t%d", i);
		PUT(.id = T(id), .priority = (uint32_t)(i / 5));
	}
	struct reply *page =
		ASK(list, .state = STORE_TASK_QUEUED, .offset = 3, .limit = 4);

	assert_int_equal(page->count, 4);
	assert_string_equal(page->items[0].id, "t3");
	assert_string_equal(page->items[3].id, "t6");
	assert_string_equal(page->items[3].text, "{\"method\":\"x\"}");
	assert_int_equal(ASK(counts)->queued, 10);
	assert_int_equal(
		ASK(list, .state = STORE_TASK_QUEUED, .queue = T("other"))
			->count,
		0);
}

static void large_envelopes_come_back_whole(void **state)
{
	struct fixture *f = *state;
	static char large[(1 << 20) + 1];
	const struct store_task task = { .id = T("a"),
					 .envelope =
						 store_bytes(large, 1 << 20) };
	const struct store_task larger = {
		.id = T("b"), .envelope = store_bytes(large, sizeof(large))
	};

	memset(large, 'x', sizeof(large));
	assert_int_equal(ASK(enqueue, .tasks = &task, .count = 1)->results[0],
			 STORE_DONE);
	assert_problem(ASK(enqueue, .tasks = &larger, .count = 1), -EMSGSIZE,
		       "STORE_TOO_LONG");
	struct reply *claim = TAKE("me", 1);

	assert_int_equal(strlen(claim->items[0].text),
			 sizeof(claim->items[0].text) - 1);
	task_finish(f, "a", claim->items[0].token);
	task_assert_at_rest(f);
}

static void bad_names_are_refused(void **state)
{
	struct fixture *f = *state;
	static const char *const queues[] = { "global",     "delayed", "data",
					      "processing", "_wake",   "a:b",
					      "a|b",        "a\nb" };

	for (size_t i = 0; i < sizeof(queues) / sizeof(queues[0]); i++) {
		const struct store_task task = { .id = T("a"),
						 .queue = T(queues[i]) };

		assert_problem(ASK(enqueue, .tasks = &task, .count = 1),
			       -EINVAL, "STORE_NAME_INVALID");
	}
	const struct store_task bad[] = { { .id = T("a|b") },
					  { .id = T("") },
					  { .id = T("a"), .priority = 4 } };

	assert_problem(ASK(enqueue, .tasks = &bad[0], .count = 1), -EINVAL,
		       "STORE_NAME_INVALID");
	assert_problem(ASK(enqueue, .tasks = &bad[1], .count = 1), -EINVAL,
		       "STORE_NAME_INVALID");
	assert_problem(ASK(enqueue, .tasks = &bad[2], .count = 1), -EINVAL,
		       "STORE_NUMBER_INVALID");
}

static void a_batch_is_answered_item_by_item(void **state)
{
	struct fixture *f = *state;
	struct store_task tasks[60];
	struct store_completion items[60];
	char ids[60][8];

	for (size_t i = 0; i < 60; i++) {
		snprintf(ids[i], sizeof(ids[i]), "t%zu", i);
		tasks[i] = (struct store_task){ .id = T(ids[i]),
						.envelope = T("{}") };
	}
	struct reply *reply = ASK(enqueue, .tasks = tasks, .count = 60);

	for (size_t i = 0; i < 60; i++)
		assert_int_equal(reply->results[i], STORE_DONE);
	struct reply *claim = TAKE("me", 60);

	assert_int_equal(claim->count, 60);
	for (size_t i = 0; i < 60; i++)
		items[i] = (struct store_completion){
			.id = T(ids[i]), .token = claim->items[i].token + i % 2
		};
	reply = ASK(complete, .items = items, .count = 60);
	for (size_t i = 0; i < 60; i++)
		assert_int_equal(reply->results[i],
				 i % 2 == 0 ? STORE_DONE : STORE_LOST);
	assert_int_equal(ASK(counts)->active, 30);
}

int main(int count, char **arguments)
{
#define TEST(name)                                                             \
	cmocka_unit_test_setup_teardown(name, fixture_set_up, fixture_tear_down)
	const struct CMUnitTest tests[] = {
		TEST(a_task_is_claimed_and_completed),
		TEST(completing_twice_is_known),
		TEST(an_id_is_enqueued_once),
		TEST(tasks_come_in_order_and_by_priority),
		TEST(tokens_grow),
		TEST(a_delayed_task_waits),
		TEST(a_time_that_has_passed_is_now),
		TEST(what_waits_is_cancelled_at_once),
		TEST(what_runs_is_told_that_it_is_cancelled),
		TEST(a_unique_key_has_one_open_task),
		TEST(a_unique_key_may_end_with_the_start),
		TEST(a_recurring_task_is_fired_once),
		TEST(effects_are_made_with_the_completion),
		TEST(what_is_done_is_remembered_for_a_while),
		TEST(lists_have_pages),
		TEST(large_envelopes_come_back_whole),
		TEST(bad_names_are_refused),
		TEST(a_batch_is_answered_item_by_item),
	};

	if (count > 1)
		fixture_back_end = arguments[1];
	return cmocka_run_group_tests(tests, NULL, NULL);
}
