/* What a store tells of its tasks, and for how long, on either back end. */
#include "fixture.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

static const struct store_bytes queues[] = { { "", 0 } };

static void add(struct fixture *f, const char *id, uint32_t max_attempts)
{
	const struct store_task task = { .id = T(id),
					 .envelope = T("{}"),
					 .max_attempts = max_attempts };

	assert_int_equal(ASK(enqueue, .tasks = &task, .count = 1)->results[0],
			 STORE_DONE);
}

static struct reply *claim_for(struct fixture *f, const char *owner,
			       uint32_t want, uint32_t lease_ms)
{
	return ASK(claim, .owner = T(owner), .queues = queues, .queue_count = 1,
		   .want = want, .lease_ms = lease_ms);
}

static uint64_t claim_one(struct fixture *f, const char *owner)
{
	struct reply *claim = claim_for(f, owner, 1, 60000);

	assert_int_equal(claim->count, 1);
	return claim->items[0].token;
}

static enum store_result complete(struct fixture *f, const char *id,
				  uint64_t token, const char *result)
{
	const struct store_completion item = { .id = T(id),
					       .token = token,
					       .result = T(result) };

	return ASK(complete, .items = &item, .count = 1)->results[0];
}

static enum store_result fail_one(struct fixture *f, const char *id,
				  uint64_t token, bool is_final)
{
	const struct store_failure item = { .id = T(id),
					    .token = token,
					    .error = T("broken"),
					    .is_final = is_final };

	return ASK(fail, .items = &item, .count = 1)->results[0];
}

static void release(struct fixture *f, const char *id, uint64_t token)
{
	const struct store_lease lease = { T(id), token };

	assert_int_equal(ASK(release, .leases = &lease, .count = 1)->results[0],
			 STORE_DONE);
}

static enum store_result cancel(struct fixture *f, const char *id)
{
	const struct store_bytes ids[] = { T(id) };

	return ASK(cancel, .ids = ids, .count = 1)->results[0];
}

/* ---- progress ---- */

static void a_task_tells_how_far_it_is(void **state)
{
	struct fixture *f = *state;

	add(f, "a", 0);
	assert_int_equal(ASK(progress, .id = T("a"), .token = 1)->result,
			 STORE_LOST);
	uint64_t token = claim_one(f, "worker");

	assert_string_equal(ASK(show, .id = T("a"))->items[0].progress, "");
	assert_done(ASK(progress, .id = T("a"), .token = token,
			.progress = T("{\"done\":1}")));
	assert_done(ASK(progress, .id = T("a"), .token = token,
			.progress = T("{\"done\":2}")));
	struct reply *show = ASK(show, .id = T("a"));

	assert_string_equal(show->items[0].progress, "{\"done\":2}");
	assert_int_equal(show->items[0].state, STORE_TASK_ACTIVE);
	assert_int_equal(ASK(progress, .id = T("a"), .token = token + 1,
			     .progress = T("3"))
				 ->result,
			 STORE_LOST);
	assert_int_equal(ASK(progress, .id = T("none"), .token = token)->result,
			 STORE_LOST);
	cancel(f, "a");
	assert_int_equal(
		ASK(progress, .id = T("a"), .token = token, .progress = T("4"))
			->result,
		STORE_CANCELLED);
}

static void progress_outlives_an_attempt_and_ends_with_the_task(void **state)
{
	struct fixture *f = *state;
	static char large[5000];

	add(f, "a", 0);
	uint64_t token = claim_one(f, "worker");

	assert_done(ASK(progress, .id = T("a"), .token = token,
			.progress = T("{\"done\":1}")));
	release(f, "a", token);
	assert_string_equal(ASK(show, .id = T("a"))->items[0].progress,
			    "{\"done\":1}");
	token = claim_one(f, "worker");
	assert_int_equal(complete(f, "a", token, "r"), STORE_DONE);
	assert_string_equal(ASK(show, .id = T("a"))->items[0].progress, "");
	memset(large, 'x', sizeof(large));
	assert_problem(ASK(progress, .id = T("a"), .token = 1,
			   .progress = store_bytes(large, sizeof(large))),
		       -EMSGSIZE, "STORE_TOO_LONG");
}

static void what_is_done_shows_its_result_and_attempt(void **state)
{
	struct fixture *f = *state;

	add(f, "a", 0);
	assert_int_equal(fail_one(f, "a", claim_one(f, "worker"), false),
			 STORE_RETRYING);
	uint64_t token = claim_one(f, "worker");

	assert_int_equal(complete(f, "a", token, "{\"sum\":\"1|2\"}"),
			 STORE_DONE);
	struct reply *show = ASK(show, .id = T("a"));

	assert_int_equal(show->items[0].state, STORE_TASK_DONE);
	assert_string_equal(show->items[0].result, "{\"sum\":\"1|2\"}");
	assert_int_equal(show->items[0].attempt, 2);
	assert_true(show->items[0].token == token);
	struct reply *list = ASK(list, .state = STORE_TASK_DONE);

	assert_int_equal(list->count, 1);
	assert_string_equal(list->items[0].result, "{\"sum\":\"1|2\"}");
	/* A late answer is known by its token. */
	assert_int_equal(complete(f, "a", token, "x"), STORE_KNOWN);
}

/* ---- events ---- */

static void assert_event(const struct reply *events, size_t i,
			 enum store_event_kind kind, const char *id,
			 const char *owner)
{
	assert_true(i < events->count);
	assert_string_equal(
		store_event_name((enum store_event_kind)events->items[i].value),
		store_event_name(kind));
	assert_string_equal(events->items[i].id, id);
	assert_string_equal(events->items[i].owner, owner);
	assert_true(events->items[i].in_ms > 1600000000000);
	if (i > 0)
		assert_true(events->items[i].token >
			    events->items[i - 1].token);
}

static void the_ordinary_is_no_event(void **state)
{
	struct fixture *f = *state;

	add(f, "a", 0);
	uint64_t token = claim_one(f, "worker");
	const struct store_lease lease = { T("a"), token };

	ASK(heartbeat, .leases = &lease, .count = 1, .lease_ms = 60000);
	assert_int_equal(complete(f, "a", token, ""), STORE_DONE);
	struct reply *events = ASK(events);

	assert_done(events);
	assert_int_equal(events->count, 0);
	assert_int_equal(events->value, 0);
}

static void what_goes_wrong_is_told(void **state)
{
	struct fixture *f = *state;

	add(f, "a", 2);
	assert_int_equal(fail_one(f, "a", claim_one(f, "w1"), false),
			 STORE_RETRYING);
	uint64_t token = claim_one(f, "w2");

	assert_int_equal(fail_one(f, "a", token, false), STORE_DEAD);
	const struct store_bytes ids[] = { T("a") };

	ASK(retry_dead, .ids = ids, .count = 1);
	token = claim_one(f, "w3");
	release(f, "a", token);
	assert_int_equal(complete(f, "a", token, ""), STORE_LOST);
	struct reply *events = ASK(events);

	assert_int_equal(events->count, 5);
	assert_event(events, 0, STORE_EVENT_FAILED, "a", "w1");
	assert_string_equal(events->items[0].text, "broken");
	assert_event(events, 1, STORE_EVENT_DEAD, "a", "w2");
	assert_string_equal(events->items[1].text, "broken");
	assert_event(events, 2, STORE_EVENT_RETRIED, "a", "");
	assert_event(events, 3, STORE_EVENT_RELEASED, "a", "w3");
	assert_event(events, 4, STORE_EVENT_STALE, "a", "");
	assert_non_null(strstr(events->items[4].text, "token="));
	assert_true(events->value == events->items[4].token);
}

static void leases_that_end_are_told(void **state)
{
	struct fixture *f = *state;

	add(f, "a", 0);
	assert_int_equal(claim_for(f, "w1", 1, 40)->count, 1);
	fixture_run_ms(f, 60);
	/* The first claim after a pause may give grace. */
	for (int i = 0; i < 200 && ASK(events)->count == 0; i++) {
		claim_for(f, "w2", 1, 40);
		fixture_run_ms(f, 10);
	}
	struct reply *events = ASK(events, .limit = 1);

	assert_int_equal(events->count, 1);
	assert_event(events, 0, STORE_EVENT_EXPIRED, "a", "w1");
	assert_non_null(strstr(events->items[0].text, "attempt=1"));
}

static void the_dead_are_told(void **state)
{
	struct fixture *f = *state;

	add(f, "a", 1);
	add(f, "b", 0);
	assert_int_equal(claim_for(f, "w1", 2, 60000)->count, 2);
	assert_int_equal(ASK(reap_owner, .owner = T("w1"))->value, 2);
	struct reply *events = ASK(events);

	assert_int_equal(events->count, 3);
	size_t reaped = 0;
	size_t dead = 0;

	for (size_t i = 0; i < 3; i++) {
		assert_string_equal(events->items[i].owner, "w1");
		reaped += events->items[i].value == STORE_EVENT_REAPED;
		dead += events->items[i].value == STORE_EVENT_DEAD;
	}
	assert_int_equal(reaped, 2);
	assert_int_equal(dead, 1);
}

static void what_people_do_is_told(void **state)
{
	struct fixture *f = *state;

	add(f, "a", 0);
	add(f, "b", 0);
	assert_int_equal(cancel(f, "a"), STORE_DONE);
	claim_one(f, "w1");
	assert_int_equal(cancel(f, "b"), STORE_CANCELLED);
	assert_int_equal(cancel(f, "b"), STORE_CANCELLED);
	assert_done(ASK(pause, .queue = T("mail"), .is_paused = true));
	assert_done(ASK(pause, .queue = T("mail"), .is_paused = true));
	assert_done(ASK(pause, .queue = T("mail")));
	struct reply *events = ASK(events);

	assert_int_equal(events->count, 4);
	assert_event(events, 0, STORE_EVENT_CANCELLED, "a", "");
	assert_string_equal(events->items[0].text, "waiting");
	assert_event(events, 1, STORE_EVENT_CANCELLED, "b", "w1");
	assert_string_equal(events->items[1].text, "running");
	assert_event(events, 2, STORE_EVENT_PAUSED, "mail", "");
	assert_event(events, 3, STORE_EVENT_RESUMED, "mail", "");
}

static void events_come_in_pages(void **state)
{
	struct fixture *f = *state;
	uint64_t after = 0;

	for (int i = 0; i < 30; i++)
		ASK(pause, .queue = T("q"), .is_paused = i % 2 == 0);
	uint64_t last = ASK(events, .limit = 1)->value;

	for (int i = 0; i < 30; i += 10) {
		struct reply *page = ASK(events, .after = after, .limit = 10);

		assert_int_equal(page->count, 10);
		assert_int_equal(page->items[0].value, STORE_EVENT_PAUSED);
		assert_true(page->items[0].token > after);
		assert_true(page->value == last);
		after = page->items[9].token;
	}
	assert_true(after == last);
	assert_int_equal(ASK(events, .after = after)->count, 0);
}

static void events_are_bounded(void **state)
{
	struct fixture *f = *state;
	struct reply *reply = NULL;
	uint64_t after = 0;
	size_t count = 0;

	for (int i = 0; i < 10600; i++) {
		reply = START(pause, .queue = T("q"), .is_paused = i % 2 == 0);
		if (i % 500 == 0)
			reply_wait(reply);
	}
	assert_done(reply_wait(reply));
	for (reply = ASK(events, .limit = 64); reply->count > 0;
	     reply = ASK(events, .after = after, .limit = 64)) {
		count += reply->count;
		after = reply->items[reply->count - 1].token;
	}
	/* Redis drops them by the hundred. */
	assert_in_range(count, 10000, 10200);
	assert_true(reply->value == after);
}

/* ---- the dead ---- */

static void the_dead_are_kept_up_to_a_number(void **state)
{
	struct fixture *f = *state;
	char id[16];

	f->options.dead_count = 20;
	fixture_reopen(f);
	for (int i = 0; i < 50; i++) {
		snprintf(id, sizeof(id), "t%d", i);
		add(f, id, 0);
		assert_int_equal(fail_one(f, id, claim_one(f, "w"), true),
				 STORE_DEAD);
	}
	assert_int_equal(ASK(counts)->dead, 20);
	/* The oldest went, with all that belongs to them. */
	assert_int_equal(ASK(show, .id = T("t0"))->result, STORE_NOT_FOUND);
	assert_int_equal(ASK(show, .id = T("t29"))->result, STORE_NOT_FOUND);
	assert_int_equal(ASK(show, .id = T("t30"))->items[0].state,
			 STORE_TASK_DEAD);
	add(f, "t0", 0);
}

static void the_dead_are_kept_for_a_time(void **state)
{
	struct fixture *f = *state;

	f->options.dead_ms = 30;
	fixture_reopen(f);
	add(f, "a", 0);
	assert_int_equal(fail_one(f, "a", claim_one(f, "w"), true), STORE_DEAD);
	fixture_run_ms(f, 60);
	add(f, "b", 0);
	assert_int_equal(fail_one(f, "b", claim_one(f, "w"), true), STORE_DEAD);
	assert_int_equal(ASK(show, .id = T("a"))->result, STORE_NOT_FOUND);
	assert_int_equal(ASK(counts)->dead, 1);
}

static void completions_are_remembered_for_a_time(void **state)
{
	struct fixture *f = *state;

	f->options.done_ms = 30;
	fixture_reopen(f);
	add(f, "a", 0);
	assert_int_equal(complete(f, "a", claim_one(f, "w"), "r"), STORE_DONE);
	fixture_run_ms(f, 60);
	add(f, "b", 0);
	assert_int_equal(complete(f, "b", claim_one(f, "w"), "r"), STORE_DONE);
	assert_int_equal(ASK(show, .id = T("a"))->result, STORE_NOT_FOUND);
	assert_int_equal(ASK(counts)->done, 1);
}

/* ---- an owner's leases ---- */

static void all_of_an_owner_is_handed_back_among_many(void **state)
{
	struct fixture *f = *state;
	char ids[50][16];
	struct store_task tasks[50];
	struct store_completion items[64];

	for (int i = 0; i < 2000; i += 50) {
		for (int j = 0; j < 50; j++) {
			snprintf(ids[j], sizeof(ids[j]), "t%d", i + j);
			tasks[j] = (struct store_task){ .id = T(ids[j]),
							.envelope = T("{}") };
		}
		ASK(enqueue, .tasks = tasks, .count = 50);
	}
	/* One does a lot and holds little, the other the reverse. */
	for (int i = 0; i < 30; i++) {
		struct reply *claim = claim_for(f, "busy", 50, 60000);

		assert_int_equal(claim->count, 50);
		for (size_t j = 0; j < 49; j++)
			items[j] = (struct store_completion){
				.id = T(claim->items[j].id),
				.token = claim->items[j].token
			};
		assert_int_equal(
			ASK(complete, .items = items, .count = 49)->results[48],
			STORE_DONE);
	}
	for (int i = 0; i < 10; i++)
		assert_int_equal(claim_for(f, "other", 50, 60000)->count, 50);
	assert_int_equal(ASK(counts)->active, 530);
	assert_int_equal(ASK(reap_owner, .owner = T("busy"))->value, 30);
	assert_int_equal(ASK(reap_owner, .owner = T("busy"))->value, 0);
	assert_int_equal(ASK(counts)->active, 500);
	assert_int_equal(ASK(reap_owner, .owner = T("other"))->value, 500);
	assert_int_equal(ASK(reap_owner, .owner = T("nobody"))->value, 0);
	struct reply *counts = ASK(counts);

	assert_int_equal(counts->active, 0);
	assert_int_equal(counts->queued, 530);
	assert_int_equal(counts->done, 1470);
}

int main(int count, char **arguments)
{
#define TEST(name)                                                             \
	cmocka_unit_test_setup_teardown(name, fixture_set_up, fixture_tear_down)
	const struct CMUnitTest tests[] = {
		TEST(a_task_tells_how_far_it_is),
		TEST(progress_outlives_an_attempt_and_ends_with_the_task),
		TEST(what_is_done_shows_its_result_and_attempt),
		TEST(the_ordinary_is_no_event),
		TEST(what_goes_wrong_is_told),
		TEST(leases_that_end_are_told),
		TEST(the_dead_are_told),
		TEST(what_people_do_is_told),
		TEST(events_come_in_pages),
		TEST(events_are_bounded),
		TEST(the_dead_are_kept_up_to_a_number),
		TEST(the_dead_are_kept_for_a_time),
		TEST(completions_are_remembered_for_a_time),
		TEST(all_of_an_owner_is_handed_back_among_many),
	};

	if (count > 1)
		fixture_back_end = arguments[1];
	return cmocka_run_group_tests(tests, NULL, NULL);
}
