/* What the task queue promises, on either back end. */
#include "fixture.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#define LEASE_MS 60000

static struct reply *put(struct fixture *f, struct store_task task)
{
	if (task.envelope.length == 0)
		task.envelope = T("{\"method\":\"x\"}");
	struct reply *reply = ASK(enqueue, .tasks = &task, .count = 1);

	assert_string_equal(reply->problem, "");
	assert_int_equal(reply->count, 1);
	return reply;
}

#define PUT(...) put(f, (struct store_task){ __VA_ARGS__ })

static struct reply *take_from(struct fixture *f, struct store *store,
			       const char *owner, const char *second,
			       uint32_t want, uint32_t lease_ms)
{
	const struct store_bytes queues[] = { T(""), T(second) };
	struct reply *reply =
		ASK_AT(store, claim, .owner = T(owner), .queues = queues,
		       .queue_count = second[0] == '\0' ? 1 : 2, .want = want,
		       .lease_ms = lease_ms);

	assert_string_equal(reply->problem, "");
	return reply;
}

#define TAKE(owner, want) take_from(f, f->store, owner, "", want, LEASE_MS)

/* Again and again, as a worker would, until there is something. */
static struct reply *take_in_time(struct fixture *f, uint32_t lease_ms)
{
	for (int i = 0; i < 400; i++) {
		struct reply *reply =
			take_from(f, f->store, "late", "", 1, lease_ms);

		if (reply->count > 0)
			return reply;
		fixture_run_ms(f, 10);
	}
	fail_msg("nothing came");
	return NULL;
}

static enum store_result finish(struct fixture *f, const char *id,
				uint64_t token)
{
	const struct store_completion item = { .id = T(id),
					       .token = token,
					       .result = T("\"ok\"") };

	return ASK(complete, .items = &item, .count = 1)->results[0];
}

static enum store_result flunk(struct fixture *f, const char *id,
			       uint64_t token, uint64_t delay_ms, bool is_final)
{
	const struct store_failure item = { .id = T(id),
					    .token = token,
					    .error = T("it broke"),
					    .delay_ms = delay_ms,
					    .is_final = is_final };

	return ASK(fail, .items = &item, .count = 1)->results[0];
}

static enum store_result give_back(struct fixture *f, const char *id,
				   uint64_t token)
{
	const struct store_lease lease = { T(id), token };

	return ASK(release, .leases = &lease, .count = 1)->results[0];
}

static enum store_result prolong(struct fixture *f, const char *id,
				 uint64_t token)
{
	const struct store_lease lease = { T(id), token };

	return ASK(heartbeat, .leases = &lease, .count = 1,
		   .lease_ms = LEASE_MS)
		->results[0];
}

static enum store_result cancel_task(struct fixture *f, const char *id)
{
	const struct store_bytes ids[] = { T(id) };

	return ASK(cancel, .ids = ids, .count = 1)->results[0];
}

static struct reply *look_at(struct fixture *f, const char *id)
{
	return ASK(show, .id = T(id));
}

static void assert_at_rest(struct fixture *f)
{
	struct reply *counts = ASK(counts);

	assert_int_equal(counts->queued, 0);
	assert_int_equal(counts->delayed, 0);
	assert_int_equal(counts->active, 0);
	assert_int_equal(counts->orphans, 0);
}

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
	assert_int_equal(finish(f, "a", claim->items[0].token), STORE_DONE);
	assert_int_equal(ASK(counts)->done, 1);
	assert_at_rest(f);
}

static void completing_twice_is_known(void **state)
{
	struct fixture *f = *state;

	PUT(.id = T("a"));
	uint64_t token = TAKE("me", 1)->items[0].token;

	assert_int_equal(finish(f, "a", token), STORE_DONE);
	assert_int_equal(finish(f, "a", token), STORE_KNOWN);
	assert_int_equal(finish(f, "a", token + 1), STORE_LOST);
	assert_int_equal(finish(f, "b", token), STORE_LOST);
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
	assert_int_equal(finish(f, "a", claim->items[0].token), STORE_DONE);
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
	assert_int_equal(look_at(f, "a")->items[0].state, STORE_TASK_DELAYED);
	claim = take_in_time(f, LEASE_MS);
	assert_string_equal(claim->items[0].id, "a");
}

static void a_time_that_has_passed_is_now(void **state)
{
	struct fixture *f = *state;

	PUT(.id = T("a"), .at_ms = 1000);
	assert_int_equal(TAKE("me", 1)->count, 1);
}

static void a_failure_is_retried_later(void **state)
{
	struct fixture *f = *state;

	PUT(.id = T("a"));
	struct reply *claim = TAKE("me", 1);

	assert_int_equal(flunk(f, "a", claim->items[0].token, 50, false),
			 STORE_RETRYING);
	assert_int_equal(TAKE("me", 1)->count, 0);
	struct reply *info = look_at(f, "a");

	assert_string_equal(info->items[0].error, "it broke");
	assert_int_equal(info->items[0].attempt, 1);
	struct reply *again = take_in_time(f, LEASE_MS);

	assert_int_equal(again->items[0].attempt, 2);
	assert_true(again->items[0].token > claim->items[0].token);
	assert_int_equal(flunk(f, "a", claim->items[0].token, 0, false),
			 STORE_LOST);
	assert_int_equal(finish(f, "a", again->items[0].token), STORE_DONE);
	assert_at_rest(f);
}

static void after_the_last_attempt_it_is_dead(void **state)
{
	struct fixture *f = *state;

	PUT(.id = T("a"), .max_attempts = 2);
	assert_int_equal(flunk(f, "a", TAKE("me", 1)->items[0].token, 0, false),
			 STORE_RETRYING);
	assert_int_equal(flunk(f, "a", TAKE("me", 1)->items[0].token, 0, false),
			 STORE_DEAD);
	assert_int_equal(TAKE("me", 1)->count, 0);
	struct reply *dead = ASK(list, .state = STORE_TASK_DEAD);

	assert_int_equal(dead->count, 1);
	assert_string_equal(dead->items[0].id, "a");
	assert_string_equal(dead->items[0].error, "it broke");
	assert_int_equal(dead->items[0].state, STORE_TASK_DEAD);
	assert_int_equal(ASK(counts)->dead, 1);
	assert_at_rest(f);
}

static void a_final_failure_is_dead_at_once(void **state)
{
	struct fixture *f = *state;

	PUT(.id = T("a"));
	assert_int_equal(flunk(f, "a", TAKE("me", 1)->items[0].token, 0, true),
			 STORE_DEAD);
}

static void the_dead_can_be_retried_and_removed(void **state)
{
	struct fixture *f = *state;
	const struct store_bytes ids[] = { T("a"), T("b") };

	PUT(.id = T("a"));
	flunk(f, "a", TAKE("me", 1)->items[0].token, 0, true);
	struct reply *retry = ASK(retry_dead, .ids = ids, .count = 2);

	assert_int_equal(retry->results[0], STORE_DONE);
	assert_int_equal(retry->results[1], STORE_NOT_FOUND);
	struct reply *claim = TAKE("me", 1);

	assert_int_equal(claim->items[0].attempt, 1);
	struct reply *removed = ASK(remove, .ids = ids, .count = 2);

	assert_int_equal(removed->results[0], STORE_BUSY);
	assert_int_equal(removed->results[1], STORE_NOT_FOUND);
	flunk(f, "a", claim->items[0].token, 0, true);
	assert_int_equal(ASK(remove, .ids = ids, .count = 1)->results[0],
			 STORE_DONE);
	assert_int_equal(look_at(f, "a")->result, STORE_NOT_FOUND);
	assert_int_equal(ASK(counts)->dead, 0);
	assert_at_rest(f);
}

static void releasing_does_not_count_and_goes_first(void **state)
{
	struct fixture *f = *state;

	PUT(.id = T("a"));
	PUT(.id = T("b"));
	struct reply *claim = TAKE("me", 1);

	assert_int_equal(give_back(f, "a", claim->items[0].token), STORE_DONE);
	assert_int_equal(give_back(f, "a", claim->items[0].token), STORE_LOST);
	struct reply *again = TAKE("you", 2);

	assert_int_equal(again->count, 2);
	assert_string_equal(again->items[0].id, "a");
	assert_int_equal(again->items[0].attempt, 1);
	assert_int_equal(finish(f, "a", claim->items[0].token), STORE_LOST);
}

static void heartbeats_keep_a_lease(void **state)
{
	struct fixture *f = *state;

	PUT(.id = T("a"));
	struct reply *claim = take_from(f, f->store, "me", "", 1, 5000);

	assert_int_equal(prolong(f, "a", claim->items[0].token), STORE_DONE);
	struct reply *info = look_at(f, "a");

	assert_int_equal(info->items[0].state, STORE_TASK_ACTIVE);
	assert_string_equal(info->items[0].owner, "me");
	assert_true(info->items[0].in_ms > 50000);
	assert_int_equal(prolong(f, "a", claim->items[0].token + 1),
			 STORE_LOST);
	assert_int_equal(prolong(f, "z", claim->items[0].token), STORE_LOST);
}

static void a_lease_that_ran_out_is_somebody_elses(void **state)
{
	struct fixture *f = *state;

	PUT(.id = T("a"));
	struct reply *claim = take_from(f, f->store, "me", "", 1, 100);
	struct reply *again = take_in_time(f, 100);

	assert_string_equal(again->items[0].id, "a");
	assert_int_equal(again->items[0].attempt, 2);
	assert_int_equal(finish(f, "a", claim->items[0].token), STORE_LOST);
	assert_int_equal(prolong(f, "a", claim->items[0].token), STORE_LOST);
	assert_int_equal(finish(f, "a", again->items[0].token), STORE_DONE);
	assert_at_rest(f);
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
	struct reply *info = look_at(f, "a");

	assert_int_equal(info->items[0].state, STORE_TASK_DEAD);
	assert_true(strlen(info->items[0].error) > 0);
	assert_at_rest(f);
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

static void what_waits_is_cancelled_at_once(void **state)
{
	struct fixture *f = *state;

	PUT(.id = T("a"));
	PUT(.id = T("b"), .delay_ms = 60000);
	PUT(.id = T("c"));
	assert_int_equal(cancel_task(f, "a"), STORE_DONE);
	assert_int_equal(cancel_task(f, "b"), STORE_DONE);
	assert_int_equal(cancel_task(f, "z"), STORE_NOT_FOUND);
	struct reply *claim = TAKE("me", 10);

	assert_int_equal(claim->count, 1);
	assert_string_equal(claim->items[0].id, "c");
	finish(f, "c", claim->items[0].token);
	assert_at_rest(f);
}

static void what_runs_is_told_that_it_is_cancelled(void **state)
{
	struct fixture *f = *state;

	PUT(.id = T("a"));
	uint64_t token = TAKE("me", 1)->items[0].token;

	assert_int_equal(cancel_task(f, "a"), STORE_CANCELLED);
	assert_int_equal(prolong(f, "a", token), STORE_CANCELLED);
	assert_int_equal(finish(f, "a", token), STORE_CANCELLED);
	assert_int_equal(look_at(f, "a")->result, STORE_NOT_FOUND);
	PUT(.id = T("b"));
	TAKE("me", 1);
	assert_int_equal(cancel_task(f, "b"), STORE_CANCELLED);
	assert_int_equal(ASK(reap_owner, .owner = T("me"))->value, 1);
	assert_int_equal(TAKE("me", 1)->count, 0);
	assert_at_rest(f);
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
	finish(f, "a", token);
	assert_int_equal(PUT(.id = T("b"), .unique = T("u|1"))->results[0],
			 STORE_DONE);
	assert_int_equal(cancel_task(f, "b"), STORE_DONE);
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

static void a_servers_queue_is_its_own(void **state)
{
	struct fixture *f = *state;

	PUT(.id = T("a"), .queue = T("api-worker-1"));
	PUT(.id = T("g"));
	assert_int_equal(
		take_from(f, f->store, "o", "api-worker-2", 10, LEASE_MS)
			->count,
		1);
	struct reply *claim =
		take_from(f, f->store, "o", "api-worker-1", 10, LEASE_MS);

	assert_int_equal(claim->count, 1);
	assert_string_equal(claim->items[0].id, "a");
	assert_string_equal(claim->items[0].queue, "api-worker-1");
	/* It goes back to where it came from, whoever hands it back. */
	assert_int_equal(ASK(reap_owner, .owner = T("o"))->value, 2);
	assert_int_equal(TAKE("x", 10)->count, 1);
	for (int i = 0; i < 400; i++) {
		claim = take_from(f, f->store, "o", "api-worker-1", 10,
				  LEASE_MS);
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
		was_served = strcmp(take_from(f, f->store, "o", "api-worker-1",
					      1, LEASE_MS)
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
	finish(f, "t0", claim->items[0].token);
	assert_int_equal(TAKE("you", 10)->count, 1);
	assert_int_equal(ASK(reap_owner, .owner = T("you"))->value, 1);
	assert_int_equal(TAKE("you", 10)->count, 1);
	flunk(f, "t1", claim->items[1].token, 60000, false);
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
	assert_int_equal(take_in_time(f, LEASE_MS)->count, 1);
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
		finish(f, id, TAKE("me", 1)->items[0].token);
	}
	assert_int_equal(ASK(counts)->done, 5);
	struct reply *last = look_at(f, "t11");

	assert_done(last);
	assert_int_equal(last->items[0].state, STORE_TASK_DONE);
	assert_string_equal(last->items[0].result, "\"ok\"");
	assert_int_equal(look_at(f, "t1")->result, STORE_NOT_FOUND);
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
	finish(f, "a", claim->items[0].token);
	assert_at_rest(f);
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

static struct reply *start_wait(struct fixture *f, const char *second,
				uint32_t timeout_ms)
{
	const struct store_bytes queues[] = { T(""), T(second) };

	return START(wait, .queues = queues, .queue_count = 2,
		     .timeout_ms = timeout_ms);
}

static void who_waits_is_woken(void **state)
{
	struct fixture *f = *state;
	struct reply *wait = start_wait(f, "api-worker-1", 30000);

	fixture_run_ms(f, 30);
	assert_int_equal(wait->times, 0);
	PUT(.id = T("a"));
	assert_int_equal(reply_wait(wait)->result, STORE_WOKEN);
	assert_int_equal(TAKE("me", 1)->count, 1);
	wait = start_wait(f, "api-worker-1", 30000);
	fixture_run_ms(f, 30);
	PUT(.id = T("b"), .queue = T("api-worker-1"));
	assert_int_equal(reply_wait(wait)->result, STORE_WOKEN);
	assert_int_equal(
		take_from(f, f->store, "me", "api-worker-1", 1, LEASE_MS)
			->count,
		1);
}

static void what_is_there_already_wakes(void **state)
{
	struct fixture *f = *state;

	PUT(.id = T("a"));
	assert_int_equal(reply_wait(start_wait(f, "x-1", 30000))->result,
			 STORE_WOKEN);
}

static void waiting_ends_in_time(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(reply_wait(start_wait(f, "x-1", 50))->result,
			 STORE_TIMED_OUT);
}

static void a_delayed_task_shortens_the_wait(void **state)
{
	struct fixture *f = *state;
	struct reply *wait = start_wait(f, "x-1", 30000);

	fixture_run_ms(f, 30);
	PUT(.id = T("a"), .delay_ms = 5000);
	assert_int_equal(reply_wait(wait)->result, STORE_WOKEN);
	struct reply *claim = TAKE("me", 1);

	assert_int_equal(claim->count, 0);
	assert_true(claim->next_ms > 3000 && claim->next_ms <= 5000);
}

static void what_is_handed_back_wakes(void **state)
{
	struct fixture *f = *state;

	PUT(.id = T("a"));
	TAKE("dead", 1);
	/* A mark may be left over from before. */
	reply_wait(start_wait(f, "x-1", 20));
	struct reply *wait = start_wait(f, "x-1", 30000);

	fixture_run_ms(f, 30);
	assert_int_equal(wait->times, 0);
	assert_int_equal(ASK(reap_owner, .owner = T("dead"))->value, 1);
	assert_int_equal(reply_wait(wait)->result, STORE_WOKEN);
}

static void several_can_wait(void **state)
{
	struct fixture *f = *state;
	struct reply *waits[3];
	unsigned woken = 0;

	for (size_t i = 0; i < 3; i++)
		waits[i] = start_wait(f, i == 2 ? "y-1" : "x-1", 30000);
	fixture_run_ms(f, 30);
	PUT(.id = T("a"), .queue = T("y-1"));
	assert_int_equal(reply_wait(waits[2])->result, STORE_WOKEN);
	store_forget(f->store, waits[0]);
	PUT(.id = T("b"));
	assert_int_equal(reply_wait(waits[1])->result, STORE_WOKEN);
	for (size_t i = 0; i < 3; i++)
		woken += waits[i]->times;
	assert_int_equal(woken, 2);
}

static void who_leaves_a_claim_gives_it_back(void **state)
{
	struct fixture *f = *state;
	const struct store_bytes queues[] = { T("") };
	struct reply *claim = NULL;

	PUT(.id = T("a"));
	/* Under way, that is: an answer may be faster than we are. */
	for (int i = 0; i < 100; i++) {
		claim = START(claim, .owner = T("gone"), .queues = queues,
			      .queue_count = 1, .want = 1,
			      .lease_ms = LEASE_MS);
		loop_turn(f->loop);
		if (claim->times == 0)
			break;
		give_back(f, "a", claim->items[0].token);
	}
	assert_int_equal(claim->times, 0);
	store_forget(f->store, claim);
	struct reply *again = take_in_time(f, LEASE_MS);

	assert_int_equal(claim->times, 0);
	assert_int_equal(again->items[0].attempt, 1);
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
		TEST(a_failure_is_retried_later),
		TEST(after_the_last_attempt_it_is_dead),
		TEST(a_final_failure_is_dead_at_once),
		TEST(the_dead_can_be_retried_and_removed),
		TEST(releasing_does_not_count_and_goes_first),
		TEST(heartbeats_keep_a_lease),
		TEST(a_lease_that_ran_out_is_somebody_elses),
		TEST(a_task_that_kills_its_workers_ends_up_dead),
		TEST(what_a_dead_owner_had_is_handed_back),
		TEST(what_waits_is_cancelled_at_once),
		TEST(what_runs_is_told_that_it_is_cancelled),
		TEST(a_unique_key_has_one_open_task),
		TEST(a_unique_key_may_end_with_the_start),
		TEST(a_servers_queue_is_its_own),
		TEST(a_full_global_queue_starves_nobody),
		TEST(a_paused_queue_keeps_its_tasks),
		TEST(a_queue_has_a_depth),
		TEST(a_queue_runs_so_many_at_once),
		TEST(a_queue_starts_so_many_a_second),
		TEST(a_recurring_task_is_fired_once),
		TEST(effects_are_made_with_the_completion),
		TEST(what_is_done_is_remembered_for_a_while),
		TEST(lists_have_pages),
		TEST(large_envelopes_come_back_whole),
		TEST(bad_names_are_refused),
		TEST(who_waits_is_woken),
		TEST(what_is_there_already_wakes),
		TEST(waiting_ends_in_time),
		TEST(a_delayed_task_shortens_the_wait),
		TEST(what_is_handed_back_wakes),
		TEST(several_can_wait),
		TEST(who_leaves_a_claim_gives_it_back),
		TEST(a_batch_is_answered_item_by_item),
	};

	if (count > 1)
		fixture_back_end = arguments[1];
	return cmocka_run_group_tests(tests, NULL, NULL);
}
