#include "task.h"

struct reply *task_put(struct fixture *f, struct store_task task)
{
	if (task.envelope.length == 0)
		task.envelope = T("{\"method\":\"x\"}");
	struct reply *reply = ASK(enqueue, .tasks = &task, .count = 1);

	assert_string_equal(reply->problem, "");
	assert_int_equal(reply->count, 1);
	return reply;
}

struct reply *task_take_from(struct fixture *f, struct store *store,
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

struct reply *task_take_in_time(struct fixture *f, uint32_t lease_ms)
{
	for (int i = 0; i < 400; i++) {
		struct reply *reply =
			task_take_from(f, f->store, "late", "", 1, lease_ms);

		if (reply->count > 0)
			return reply;
		fixture_run_ms(f, 10);
	}
	fail_msg("nothing came");
	return NULL;
}

enum store_result task_finish(struct fixture *f, const char *id, uint64_t token)
{
	const struct store_completion item = { .id = T(id),
					       .token = token,
					       .result = T("\"ok\"") };

	return ASK(complete, .items = &item, .count = 1)->results[0];
}

enum store_result task_flunk(struct fixture *f, const char *id, uint64_t token,
			     uint64_t delay_ms, bool is_final)
{
	const struct store_failure item = { .id = T(id),
					    .token = token,
					    .error = T("it broke"),
					    .delay_ms = delay_ms,
					    .is_final = is_final };

	return ASK(fail, .items = &item, .count = 1)->results[0];
}

enum store_result task_give_back(struct fixture *f, const char *id,
				 uint64_t token)
{
	const struct store_lease lease = { T(id), token };

	return ASK(release, .leases = &lease, .count = 1)->results[0];
}

enum store_result task_prolong(struct fixture *f, const char *id,
			       uint64_t token)
{
	const struct store_lease lease = { T(id), token };

	return ASK(heartbeat, .leases = &lease, .count = 1,
		   .lease_ms = TASK_LEASE_MS)
		->results[0];
}

enum store_result task_cancel(struct fixture *f, const char *id)
{
	const struct store_bytes ids[] = { T(id) };

	return ASK(cancel, .ids = ids, .count = 1)->results[0];
}

struct reply *task_look_at(struct fixture *f, const char *id)
{
	return ASK(show, .id = T(id));
}

void task_assert_at_rest(struct fixture *f)
{
	struct reply *counts = ASK(counts);

	assert_int_equal(counts->queued, 0);
	assert_int_equal(counts->delayed, 0);
	assert_int_equal(counts->active, 0);
	assert_int_equal(counts->orphans, 0);
}
