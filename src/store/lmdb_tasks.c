#include <stdio.h>

#include "base/must.h"
#include "store/lmdb_tasks_internal.h"

#define TRIM_MORE  4 /* old completions go faster than new ones come */
#define OUTBOX_MAX 64

static const struct store_bytes nothing = { "", 0 };

void lmdb_enqueue(struct lmdb_batch *batch, struct store_call *call)
{
	const struct store_enqueue *request = call->request;
	enum store_result *results = store_call_results(call, request->count);
	struct store_bytes *ids =
		arena_take_zeroed(&call->arena, request->count, sizeof(*ids));

	for (size_t i = 0; i < request->count; i++) {
		struct store_bytes whose = nothing;

		results[i] =
			lmdb_task_add(batch, &request->tasks[i], true, &whose);
		if (results[i] == STORE_DUPLICATE)
			ids[i] = arena_copy(&call->arena, whose.data,
					    whose.length);
	}
	call->answer.enqueue.ids = ids;
}

/* The lease must be the very one that the token was given with. */
static bool is_held_with(struct lmdb_batch *batch, struct store_bytes id,
			 uint64_t token, struct task *task)
{
	return lmdb_task_find(batch, id, task) &&
	       (task->head.state == STORE_TASK_ACTIVE ||
		task->head.state == STORE_TASK_CANCELLED) &&
	       task->head.token == token;
}

/* What an answer about a lease says, first of all; false: it is lost. */
static bool answer_lease(struct lmdb_batch *batch,
			 const struct store_lease *lease, struct task *task,
			 enum store_result *result)
{
	*result = STORE_LOST;
	if (!is_held_with(batch, lease->id, lease->token, task))
		return false;
	*result = task->head.state == STORE_TASK_CANCELLED ? STORE_CANCELLED
							   : STORE_DONE;
	return true;
}

void lmdb_heartbeat(struct lmdb_batch *batch, struct store_call *call)
{
	const struct store_heartbeat *request = call->request;
	enum store_result *results = store_call_results(call, request->count);

	for (size_t i = 0; i < request->count; i++) {
		struct task task;

		if (!answer_lease(batch, &request->leases[i], &task,
				  &results[i]))
			continue;
		lmdb_task_keep(batch, &task);
		struct lmdb_key key = lmdb_key_at(task.head.when, task.id);

		lmdb_delete(batch, TABLE_LEASED, lmdb_key_all(&key));
		lmdb_task_lease(batch, &task,
				batch->boot_ms + request->lease_ms);
	}
}

void lmdb_progress(struct lmdb_batch *batch, struct store_call *call)
{
	const struct store_progress *request = call->request;
	struct task task;

	call->answer.result = STORE_LOST;
	if (!is_held_with(batch, request->id, request->token, &task))
		return;
	call->answer.result = task.head.state == STORE_TASK_CANCELLED
				      ? STORE_CANCELLED
				      : STORE_DONE;
	if (!task.head.has_progress) {
		lmdb_task_keep(batch, &task);
		task.head.has_progress = 1;
		lmdb_task_put(batch, &task);
	}
	lmdb_put(batch, TABLE_PROGRESS, request->id, request->progress);
}

/* ---- completing ---- */

static void trim_done(struct lmdb_batch *batch, size_t most)
{
	const struct store_options *options = &batch->lmdb->options;
	struct store_bytes key;
	struct store_bytes value;

	for (size_t i = 0; i < most; i++) {
		if (!lmdb_seek(batch, TABLE_DONE_AT, nothing, &key, &value))
			return;
		struct lmdb_key copy;

		if (lmdb_number(key, 0, 8) + options->done_ms >
			    batch->real_ms &&
		    lmdb_count(batch, TABLE_DONE_AT) <= options->done_count)
			return;
		lmdb_key_start(&copy);
		lmdb_key_bytes(&copy, key.data, key.length);
		lmdb_delete(batch, TABLE_DONE_AT, lmdb_key_all(&copy));
		lmdb_delete(batch, TABLE_DONE,
			    store_bytes(copy.bytes + 8, copy.length - 8));
	}
}

static void put_done(struct lmdb_batch *batch,
		     const struct store_completion *item, uint32_t attempt)
{
	struct lmdb_key key = lmdb_key_at(batch->real_ms, item->id);
	char *room = lmdb_reserve(batch, TABLE_DONE, item->id,
				  20 + item->result.length);

	if (room == NULL)
		return;
	memcpy(room, &item->token, 8);
	memcpy(room + 8, &batch->real_ms, 8);
	memcpy(room + 16, &attempt, 4);
	if (item->result.length > 0)
		memcpy(room + 20, item->result.data, item->result.length);
	lmdb_put(batch, TABLE_DONE_AT, lmdb_key_all(&key), nothing);
}

static bool was_done_with(struct lmdb_batch *batch,
			  const struct store_completion *item)
{
	struct store_bytes value;

	return lmdb_get(batch, TABLE_DONE, item->id, &value) &&
	       value.length >= 8 && memcmp(value.data, &item->token, 8) == 0;
}

static void make_effects(struct lmdb_batch *batch,
			 const struct store_completion *item)
{
	struct store_bytes whose;

	for (size_t i = 0; i < item->effect_count; i++) {
		const struct store_effect *effect = &item->effects[i];

		if (effect->kind == STORE_EFFECT_ENQUEUE)
			/* One that is known already is as it should be. */
			DISCARD(lmdb_task_add(batch, &effect->task, false,
					      &whose));
		else
			lmdb_cache_effect(batch, effect);
	}
}

static void tell_stale(struct lmdb_batch *batch,
		       const struct store_completion *item)
{
	char detail[32];
	int length = snprintf(detail, sizeof(detail), "token=%ju",
			      (uintmax_t)item->token);

	lmdb_tell(batch, STORE_EVENT_STALE, item->id, nothing,
		  store_bytes(detail, (size_t)length));
}

static enum store_result complete(struct lmdb_batch *batch,
				  const struct store_completion *item)
{
	struct task task;

	if (!is_held_with(batch, item->id, item->token, &task)) {
		if (was_done_with(batch, item))
			return STORE_KNOWN;
		tell_stale(batch, item);
		return STORE_LOST;
	}
	if (task.unique.length > 0)
		lmdb_task_keep(batch, &task);
	task.id = item->id;
	bool is_cancelled = task.head.state == STORE_TASK_CANCELLED;

	lmdb_task_leave(batch, &task);
	lmdb_task_forget(batch, &task);
	if (is_cancelled)
		return STORE_CANCELLED;
	put_done(batch, item, task.head.attempt);
	make_effects(batch, item);
	return STORE_DONE;
}

/* What has been made of the outbox is dropped with the next completions. */
static void trim_outbox(struct lmdb_batch *batch)
{
	struct store_bytes key;
	struct store_bytes value;

	for (unsigned i = 0; i < OUTBOX_MAX; i++) {
		struct lmdb_key copy;

		if (!lmdb_seek(batch, TABLE_OUTBOX, nothing, &key, &value) ||
		    lmdb_number(key, 0, 8) > batch->lmdb->outbox_done)
			return;
		lmdb_key_start(&copy);
		lmdb_key_bytes(&copy, key.data, key.length);
		lmdb_delete(batch, TABLE_OUTBOX, lmdb_key_all(&copy));
	}
}

void lmdb_complete(struct lmdb_batch *batch, struct store_call *call)
{
	const struct store_complete *request = call->request;
	enum store_result *results = store_call_results(call, request->count);

	if (batch->lmdb->outbox_done != 0)
		trim_outbox(batch);
	for (size_t i = 0; i < request->count; i++)
		results[i] = complete(batch, &request->items[i]);
	trim_done(batch, request->count + TRIM_MORE);
}

/* ---- failing, giving back, taking back ---- */

static enum store_result fail(struct lmdb_batch *batch,
			      const struct store_failure *item)
{
	struct task task;

	if (!is_held_with(batch, item->id, item->token, &task))
		return STORE_LOST;
	lmdb_task_keep(batch, &task);
	lmdb_task_leave(batch, &task);
	task.error = item->error;
	if (task.head.state == STORE_TASK_CANCELLED) {
		lmdb_task_forget(batch, &task);
		return STORE_CANCELLED;
	}
	if (item->is_final || task.head.attempt >= task.head.max_attempts) {
		lmdb_task_bury(batch, &task);
		return STORE_DEAD;
	}
	lmdb_task_tell(batch, STORE_EVENT_FAILED, &task, task.error);
	if (item->delay_ms > 0)
		lmdb_task_delay(batch, &task, batch->real_ms + item->delay_ms);
	else
		lmdb_task_queue(batch, &task, false);
	return STORE_RETRYING;
}

void lmdb_fail_tasks(struct lmdb_batch *batch, struct store_call *call)
{
	const struct store_fail *request = call->request;
	enum store_result *results = store_call_results(call, request->count);

	for (size_t i = 0; i < request->count; i++)
		results[i] = fail(batch, &request->items[i]);
}

void lmdb_release(struct lmdb_batch *batch, struct store_call *call)
{
	const struct store_release *request = call->request;
	enum store_result *results = store_call_results(call, request->count);

	for (size_t i = 0; i < request->count; i++) {
		struct task task;

		if (!answer_lease(batch, &request->leases[i], &task,
				  &results[i]))
			continue;
		if (task.head.attempt > 0)
			task.head.attempt--;
		lmdb_task_lost(batch, &task, STORE_EVENT_RELEASED);
	}
}

/* All leases, or one owner's. Answers how many there were. */
static uint64_t take_back(struct lmdb_batch *batch,
			  const struct store_bytes *owner)
{
	struct lmdb_key from = { 0 };
	struct store_bytes key;
	struct store_bytes value;
	uint64_t count = 0;

	while (lmdb_seek(batch, TABLE_LEASED, lmdb_key_all(&from), &key,
			 &value)) {
		struct task task;
		struct store_bytes id =
			arena_copy(&batch->arena, key.data + 8, key.length - 8);

		lmdb_key_start(&from);
		lmdb_key_bytes(&from, key.data, key.length);
		if (!lmdb_task_find(batch, id, &task)) {
			lmdb_delete(batch, TABLE_LEASED, lmdb_key_all(&from));
			lmdb_tell_orphan(batch, id);
			continue;
		}
		if (owner == NULL || store_bytes_equal(task.owner, *owner)) {
			lmdb_task_lost(batch, &task, STORE_EVENT_REAPED);
			count++;
		}
		lmdb_key_number(&from, 0, 1); /* the one after it */
	}
	return count;
}

void lmdb_reap_owner(struct lmdb_batch *batch, struct store_call *call)
{
	const struct store_reap_owner *request = call->request;

	call->answer.result = STORE_DONE;
	call->answer.number.value = take_back(batch, &request->owner);
}

void lmdb_tasks_take_back(struct lmdb_batch *batch)
{
	take_back(batch, NULL);
	batch->tasks.clock_ms = batch->tasks.grace_ms = 0;
}

/* ---- by hand ---- */

static enum store_result cancel(struct lmdb_batch *batch, struct store_bytes id)
{
	struct task task;

	if (!lmdb_task_find(batch, id, &task) ||
	    task.head.state == STORE_TASK_DEAD)
		return STORE_NOT_FOUND;
	lmdb_task_keep(batch, &task);
	if (task.head.state != STORE_TASK_CANCELLED)
		lmdb_task_tell(batch, STORE_EVENT_CANCELLED, &task,
			       store_text(task.head.state == STORE_TASK_ACTIVE
						  ? "running"
						  : "waiting"));
	if (task.head.state == STORE_TASK_ACTIVE ||
	    task.head.state == STORE_TASK_CANCELLED) {
		task.head.state = STORE_TASK_CANCELLED;
		lmdb_task_put(batch, &task);
		return STORE_CANCELLED;
	}
	lmdb_task_leave(batch, &task);
	lmdb_task_forget(batch, &task);
	return STORE_DONE;
}

void lmdb_cancel(struct lmdb_batch *batch, struct store_call *call)
{
	const struct store_cancel *request = call->request;
	enum store_result *results = store_call_results(call, request->count);

	for (size_t i = 0; i < request->count; i++)
		results[i] = cancel(batch, request->ids[i]);
}

void lmdb_retry_dead(struct lmdb_batch *batch, struct store_call *call)
{
	const struct store_retry_dead *request = call->request;
	enum store_result *results = store_call_results(call, request->count);

	for (size_t i = 0; i < request->count; i++) {
		struct task task;

		results[i] = STORE_NOT_FOUND;
		if (!lmdb_task_find(batch, request->ids[i], &task) ||
		    task.head.state != STORE_TASK_DEAD)
			continue;
		lmdb_task_keep(batch, &task);
		lmdb_task_leave(batch, &task);
		task.head.attempt = 0;
		lmdb_task_tell(batch, STORE_EVENT_RETRIED, &task, nothing);
		lmdb_task_queue(batch, &task, false);
		results[i] = STORE_DONE;
	}
}

static enum store_result remove_task(struct lmdb_batch *batch,
				     struct store_bytes id)
{
	struct task task;
	struct store_bytes value;
	uint64_t at_ms;

	if (lmdb_task_find(batch, id, &task)) {
		if (task.head.state == STORE_TASK_ACTIVE ||
		    task.head.state == STORE_TASK_CANCELLED)
			return STORE_BUSY;
		lmdb_task_keep(batch, &task);
		lmdb_task_leave(batch, &task);
		lmdb_task_forget(batch, &task);
		return STORE_DONE;
	}
	if (!lmdb_get(batch, TABLE_DONE, id, &value) || value.length < 20)
		return STORE_NOT_FOUND;
	memcpy(&at_ms, value.data + 8, 8);
	struct lmdb_key key = lmdb_key_at(at_ms, id);

	lmdb_delete(batch, TABLE_DONE, id);
	lmdb_delete(batch, TABLE_DONE_AT, lmdb_key_all(&key));
	return STORE_DONE;
}

void lmdb_remove(struct lmdb_batch *batch, struct store_call *call)
{
	const struct store_remove *request = call->request;
	enum store_result *results = store_call_results(call, request->count);

	for (size_t i = 0; i < request->count; i++)
		results[i] = remove_task(batch, request->ids[i]);
}

void lmdb_cron_fire(struct lmdb_batch *batch, struct store_call *call)
{
	const struct store_cron_fire *request = call->request;
	struct store_bytes value;
	struct store_bytes whose;
	uint64_t at_ms = 0;

	if (lmdb_get(batch, TABLE_CRON, request->name, &value) &&
	    value.length >= 8)
		memcpy(&at_ms, value.data, 8);
	call->answer.cron.at_ms = at_ms;
	call->answer.result = STORE_STALE;
	if (at_ms != request->expected_ms)
		return;
	call->answer.cron.at_ms = request->next_ms;
	call->answer.result = STORE_DONE;
	char *room = lmdb_reserve(batch, TABLE_CRON, request->name,
				  8 + request->spec.length);

	if (room == NULL)
		return;
	memcpy(room, &request->next_ms, 8);
	memcpy(room + 8, request->spec.data, request->spec.length);
	if (request->task != NULL)
		/* Known: it was enqueued for this time before. */
		DISCARD(lmdb_task_add(batch, request->task, false, &whose));
}
