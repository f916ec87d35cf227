/* What keeps a store's tasks in order, on either back end: queues whose server
 * is gone, and audits. */
#include "fixture.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

static const struct store_bytes global[] = { { "", 0 } };
static const struct store_bytes own[] = { { "api-1", 5 } };

static void add(struct fixture *f, const char *id, const char *queue,
		uint64_t delay_ms)
{
	const struct store_task task = { .id = T(id),
					 .envelope = T("{}"),
					 .queue = T(queue),
					 .delay_ms = delay_ms };

	assert_int_equal(ASK(enqueue, .tasks = &task, .count = 1)->results[0],
			 STORE_DONE);
}

static struct reply *claim_from(struct fixture *f,
				const struct store_bytes *queue, uint32_t want)
{
	return ASK(claim, .owner = T("worker"), .queues = queue,
		   .queue_count = 1, .want = want, .lease_ms = 60000);
}

static struct reply *adopt(struct fixture *f, uint64_t after_ms)
{
	return ASK(adopt_queue, .queue = own[0], .after_ms = after_ms);
}

/* ---- queues whose server is gone ---- */

static void what_waits_for_nobody_is_moved_in_order(void **state)
{
	struct fixture *f = *state;

	add(f, "first", "", 0);
	add(f, "a", "api-1", 0);
	add(f, "later", "api-1", 60000);
	add(f, "b", "api-1", 0);
	add(f, "other", "api-2", 0);
	add(f, "c", "api-1", 0);
	struct reply *adopted = adopt(f, 0);

	assert_done(adopted);
	assert_int_equal(adopted->value, 4);
	assert_int_equal(claim_from(f, own, 10)->count, 0);
	struct reply *claim = claim_from(f, global, 10);

	assert_int_equal(claim->count, 4);
	assert_string_equal(claim->items[0].id, "first");
	assert_string_equal(claim->items[1].id, "a");
	assert_string_equal(claim->items[2].id, "b");
	assert_string_equal(claim->items[3].id, "c");
	assert_string_equal(claim->items[1].queue, "");
	struct reply *show = ASK(show, .id = T("later"));

	assert_string_equal(show->items[0].queue, "");
	assert_int_equal(show->items[0].state, STORE_TASK_DELAYED);
	assert_string_equal(ASK(show, .id = T("other"))->items[0].queue,
			    "api-2");
	assert_int_equal(fixture_audit(f, false).total, 0);
}

static void a_delayed_task_that_was_adopted_runs(void **state)
{
	struct fixture *f = *state;
	struct reply *claim = NULL;

	add(f, "a", "api-1", 200);
	assert_int_equal(adopt(f, 0)->value, 1);
	for (int i = 0; i < 400; i++) {
		claim = claim_from(f, global, 1);
		if (claim->count > 0)
			break;
		fixture_run_ms(f, 10);
	}
	assert_int_equal(claim->count, 1);
	assert_string_equal(claim->items[0].queue, "");
}

static void adopting_is_told(void **state)
{
	struct fixture *f = *state;

	add(f, "a", "api-1", 0);
	adopt(f, 0);
	struct reply *events = ASK(events);

	assert_int_equal(events->count, 1);
	assert_int_equal(events->items[0].value, STORE_EVENT_ADOPTED);
	assert_string_equal(events->items[0].id, "api-1");
	assert_string_equal(events->items[0].text, "tasks=1");
}

static void a_server_gets_time_to_come_back(void **state)
{
	struct fixture *f = *state;

	add(f, "a", "api-1", 0);
	assert_int_equal(adopt(f, 100)->result, STORE_BUSY);
	struct reply *adopted = adopt(f, 60000);

	assert_int_equal(adopted->result, STORE_BUSY);
	assert_int_equal(adopted->value, 0);
	fixture_run_ms(f, 150);
	adopted = adopt(f, 100);
	assert_done(adopted);
	assert_int_equal(adopted->value, 1);
	/* What comes after it goes the same way. */
	add(f, "b", "api-1", 0);
	adopted = adopt(f, 100);
	assert_done(adopted);
	assert_int_equal(adopted->value, 1);
}

static void a_server_that_is_back_keeps_its_queue(void **state)
{
	struct fixture *f = *state;

	add(f, "a", "api-1", 0);
	add(f, "b", "api-1", 0);
	assert_int_equal(adopt(f, 40)->result, STORE_BUSY);
	fixture_run_ms(f, 60);
	assert_int_equal(claim_from(f, own, 1)->count, 1);
	/* It was marked again just now. */
	assert_int_equal(adopt(f, 60000)->result, STORE_BUSY);
	assert_string_equal(ASK(show, .id = T("b"))->items[0].queue, "api-1");
}

static void what_nobody_knows_is_adopted_easily(void **state)
{
	struct fixture *f = *state;
	struct reply *adopted = adopt(f, 0);

	assert_done(adopted);
	assert_int_equal(adopted->value, 0);
	assert_problem(ASK(adopt_queue, .queue = T("")), -EINVAL,
		       "STORE_NAME_INVALID");
}

static void who_waits_is_woken_by_what_is_adopted(void **state)
{
	struct fixture *f = *state;

	add(f, "a", "api-1", 0);
	struct reply *wait = START(wait, .queues = global, .queue_count = 1,
				   .timeout_ms = 15000);

	fixture_run_ms(f, 20);
	assert_int_equal(adopt(f, 0)->value, 1);
	assert_int_equal(reply_wait(wait)->result, STORE_WOKEN);
	assert_int_equal(claim_from(f, global, 1)->count, 1);
}

static void many_are_adopted_in_order(void **state)
{
	struct fixture *f = *state;
	struct store_task tasks[50];
	char ids[50][16];

	for (int i = 0; i < 1500; i += 50) {
		for (int j = 0; j < 50; j++) {
			snprintf(ids[j], sizeof(ids[j]), "t%d", i + j);
			tasks[j] = (struct store_task){
				.id = T(ids[j]),
				.envelope = T("{}"),
				.queue = own[0],
				.delay_ms = i >= 1000 ? 600000 : 0
			};
		}
		ASK(enqueue, .tasks = tasks, .count = 50);
	}
	assert_int_equal(adopt(f, 0)->value, 1500);
	assert_int_equal(fixture_audit(f, false).total, 0);
	for (int i = 0; i < 1000; i += 50) {
		struct reply *claim = claim_from(f, global, 50);

		assert_int_equal(claim->count, 50);
		for (int j = 0; j < 50; j++) {
			snprintf(ids[0], sizeof(ids[0]), "t%d", i + j);
			assert_string_equal(claim->items[j].id, ids[0]);
		}
	}
	struct reply *counts = ASK(counts);

	assert_int_equal(counts->queued, 0);
	assert_int_equal(counts->delayed, 500);
	assert_int_equal(counts->active, 1000);
}

/* ---- audits ---- */

static void what_was_never_damaged_fits_together(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(fixture_audit(f, false).total, 0);
	ASK(limits, .queue = T("mail"), .running = 5);
	for (int i = 0; i < 200; i++) {
		static const char *const names[] = { "", "mail", "api-1" };
		char id[16];
		char unique[16];

		snprintf(id, sizeof(id), "t%d", i);
		snprintf(unique, sizeof(unique), "u%d", i);
		const struct store_task task = {
			.id = T(id),
			.envelope = T("{}"),
			.queue = T(names[i % 3]),
			.unique = i % 5 == 0 ? T(unique) : T(""),
			.delay_ms = i % 7 == 0 ? 600000 : 0,
			.max_attempts = 1,
		};

		ASK(enqueue, .tasks = &task, .count = 1);
	}
	for (int i = 0; i < 3; i++) {
		static const struct store_bytes queues[] = { { "", 0 },
							     { "mail", 4 } };
		struct reply *claim =
			ASK(claim, .owner = T("w"), .queues = queues,
			    .queue_count = 2, .want = 20, .lease_ms = 60000);

		assert_true(claim->count >= 4);
		const struct store_completion done = {
			.id = T(claim->items[0].id),
			.token = claim->items[0].token
		};
		const struct store_failure failed = {
			.id = T(claim->items[1].id),
			.token = claim->items[1].token,
			.error = T("x")
		};
		const struct store_lease lease = { T(claim->items[2].id),
						   claim->items[2].token };
		const struct store_bytes ids[] = { T(claim->items[3].id) };

		ASK(complete, .items = &done, .count = 1);
		assert_int_equal(
			ASK(fail, .items = &failed, .count = 1)->results[0],
			STORE_DEAD);
		ASK(release, .leases = &lease, .count = 1);
		ASK(cancel, .ids = ids, .count = 1);
		ASK(progress, .id = ids[0], .token = claim->items[3].token,
		    .progress = T("1"));
	}
	struct fixture_audit audit = fixture_audit(f, false);

	for (size_t i = 0; i < STORE_DIFFERENCE_KINDS; i++)
		assert_int_equal(audit.found[i], 0);
	assert_true(audit.looked_at >= 200);
	ASK(reap_owner, .owner = T("w"));
	audit = fixture_audit(f, true);
	assert_int_equal(audit.total, 0);
	assert_int_equal(audit.repaired, 0);
}

static void an_audit_goes_piece_by_piece(void **state)
{
	struct fixture *f = *state;
	struct store_task tasks[50];
	char ids[50][16];

	for (int i = 0; i < 1500; i += 50) {
		for (int j = 0; j < 50; j++) {
			snprintf(ids[j], sizeof(ids[j]), "t%d", i + j);
			tasks[j] = (struct store_task){ .id = T(ids[j]),
							.envelope = T("{}") };
		}
		ASK(enqueue, .tasks = tasks, .count = 50);
	}
	struct reply *piece = ASK(audit);

	assert_done(piece);
	assert_true(piece->text_length > 0);
	assert_in_range(piece->count, 1, 1000);
	struct fixture_audit audit = fixture_audit(f, false);

	assert_int_equal(audit.total, 0);
	/* In its queue, and as a record. */
	assert_true(audit.looked_at >= 3000);
}

static void a_cursor_that_is_none_begins_anew(void **state)
{
	struct fixture *f = *state;

	add(f, "a", "", 0);
	assert_done(ASK(audit, .cursor = T("?")));
	assert_done(ASK(audit, .cursor = T("l|")));
	assert_done(ASK(audit, .cursor = T("zzzz")));
}

int main(int count, char **arguments)
{
#define TEST(name)                                                             \
	cmocka_unit_test_setup_teardown(name, fixture_set_up, fixture_tear_down)
	const struct CMUnitTest tests[] = {
		TEST(what_waits_for_nobody_is_moved_in_order),
		TEST(a_delayed_task_that_was_adopted_runs),
		TEST(adopting_is_told),
		TEST(a_server_gets_time_to_come_back),
		TEST(a_server_that_is_back_keeps_its_queue),
		TEST(what_nobody_knows_is_adopted_easily),
		TEST(who_waits_is_woken_by_what_is_adopted),
		TEST(many_are_adopted_in_order),
		TEST(what_was_never_damaged_fits_together),
		TEST(an_audit_goes_piece_by_piece),
		TEST(a_cursor_that_is_none_begins_anew),
	};

	if (count > 1)
		fixture_back_end = arguments[1];
	return cmocka_run_group_tests(tests, NULL, NULL);
}
