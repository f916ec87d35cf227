#include "base/must.h"
#include "store/lmdb_tasks_internal.h"

#define SWEEP_MAX    64 /* of each kind with a claim */
#define OTHERS_FIRST 8  /* every so many calls the first queue comes last */

static const struct store_bytes nothing = { "", 0 };

/* Nobody could prolong a lease while the host slept, or while every process
 * was frozen: they get the time of one more. */
static void guard_outage(struct lmdb_batch *batch, uint32_t lease_ms)
{
	struct lmdb_task_counters *counters = &batch->tasks;

	if (counters->clock_ms != 0 &&
	    batch->boot_ms > counters->clock_ms + lease_ms / 2)
		counters->grace_ms = batch->boot_ms + lease_ms;
	counters->clock_ms = batch->boot_ms;
}

/* The next one of a table by time; *id is a copy. */
static bool next_at(struct lmdb_batch *batch, enum lmdb_table table,
		    uint64_t *at, struct store_bytes *id)
{
	struct store_bytes key;
	struct store_bytes value;

	if (!lmdb_seek(batch, table, nothing, &key, &value) || key.length < 8)
		return false;
	*at = lmdb_number(key, 0, 8);
	*id = arena_copy(&batch->arena, key.data + 8, key.length - 8);
	return true;
}

static void drop_orphan(struct lmdb_batch *batch, enum lmdb_table table,
			uint64_t at, struct store_bytes id)
{
	struct lmdb_key key = lmdb_key_at(at, id);

	lmdb_delete(batch, table, lmdb_key_all(&key));
	lmdb_tell_orphan(batch, id);
}

static void reap(struct lmdb_batch *batch)
{
	uint64_t end_ms;
	struct store_bytes id;
	struct task task;

	if (batch->boot_ms < batch->tasks.grace_ms)
		return;
	for (unsigned i = 0; i < SWEEP_MAX; i++) {
		if (!next_at(batch, TABLE_LEASED, &end_ms, &id) ||
		    end_ms > batch->boot_ms)
			return;
		if (lmdb_task_find(batch, id, &task) &&
		    task.head.when == end_ms)
			lmdb_task_lost(batch, &task, STORE_EVENT_EXPIRED);
		else
			drop_orphan(batch, TABLE_LEASED, end_ms, id);
	}
}

static void promote(struct lmdb_batch *batch)
{
	uint64_t due_ms;
	struct store_bytes id;
	struct task task;

	for (unsigned i = 0; i < SWEEP_MAX; i++) {
		if (!next_at(batch, TABLE_DELAYED, &due_ms, &id) ||
		    due_ms > batch->real_ms)
			return;
		if (lmdb_task_find(batch, id, &task) &&
		    task.head.state == STORE_TASK_DELAYED) {
			lmdb_task_keep(batch, &task);
			lmdb_task_leave(batch, &task);
			lmdb_task_queue(batch, &task, false);
		} else {
			drop_orphan(batch, TABLE_DELAYED, due_ms, id);
		}
	}
}

/* Takes the first one off a queue: its id, copied for the answer. */
static bool take_queued(struct lmdb_batch *batch, struct arena *arena,
			uint16_t queue, struct store_bytes *id)
{
	struct lmdb_key from = lmdb_queued_key(queue, 0, 0);
	struct store_bytes key;
	struct store_bytes value;

	if (!lmdb_seek(batch, TABLE_QUEUED, lmdb_key_all(&from), &key,
		       &value) ||
	    key.length != from.length || lmdb_number(key, 0, 2) != queue)
		return false;
	*id = arena_copy(arena, value.data, value.length);
	lmdb_delete_here(batch, TABLE_QUEUED);
	return true;
}

static uint64_t next_token(struct lmdb_batch *batch)
{
	uint64_t token = batch->tasks.token + 1;

	/* Microseconds, so that tokens grow over stores that are made anew. */
	if (token < batch->real_us)
		token = batch->real_us;
	batch->tasks.token = token;
	return token;
}

static void hand_out(struct lmdb_batch *batch, struct store_call *call,
		     struct task *task, struct store_claimed *claimed)
{
	const struct store_claim *request = call->request;
	struct store_bytes envelope = lmdb_task_envelope(batch, task);

	claimed->id = task->id;
	claimed->envelope =
		arena_copy(&call->arena, envelope.data, envelope.length);
	if (!task->head.is_apart)
		task->envelope = claimed->envelope;
	claimed->token = next_token(batch);
	claimed->attempt = ++task->head.attempt;
	claimed->max_attempts = task->head.max_attempts;
	task->unique = arena_copy(&batch->arena, task->unique.data,
				  task->unique.length);
	task->error =
		arena_copy(&batch->arena, task->error.data, task->error.length);
	task->owner = request->owner;
	task->head.token = claimed->token;
	task->head.state = STORE_TASK_ACTIVE;
	lmdb_task_lease(batch, task, batch->boot_ms + request->lease_ms);
	if (task->unique.length > 0 &&
	    task->head.unique_scope == STORE_UNIQUE_UNTIL_START)
		lmdb_task_free_unique(batch, task);
}

struct taking {
	struct store_claimed *tasks;
	uint32_t count;
	int64_t next_ms;
};

static void sooner(struct taking *taking, int64_t wait_ms)
{
	if (wait_ms >= 0 && (taking->next_ms < 0 || wait_ms < taking->next_ms))
		taking->next_ms = wait_ms;
}

static void take(struct lmdb_batch *batch, struct store_call *call,
		 struct store_bytes name, struct taking *taking)
{
	const struct store_claim *request = call->request;
	struct lmdb_queue *queue = lmdb_queue_named(batch, name, false);
	struct store_bytes id;
	struct task task;
	uint32_t taken = 0;
	int64_t wait_ms;

	if (queue == NULL)
		return;
	lmdb_queue_is_served(batch, queue);
	uint32_t allowance = lmdb_queue_allowance(batch, queue, &wait_ms);

	if (queue->record.queued > 0)
		sooner(taking, wait_ms);
	while (taking->count < request->want && taken < allowance &&
	       take_queued(batch, &call->arena, queue->record.number, &id)) {
		queue->record.queued -= queue->record.queued > 0;
		queue->is_changed = true;
		if (!lmdb_task_find(batch, id, &task) ||
		    task.head.state != STORE_TASK_QUEUED) {
			lmdb_tell_orphan(batch, id);
			continue;
		}
		taking->tasks[taking->count].queue = name;
		hand_out(batch, call, &task, &taking->tasks[taking->count++]);
		taken++;
	}
	lmdb_queue_started(batch, queue, taken);
	/* Whoever is next is woken only now: a chain instead of a stampede. */
	if (queue->record.queued > 0 && taken < allowance)
		lmdb_queue_wake(batch, name);
}

void lmdb_claim(struct lmdb_batch *batch, struct store_call *call)
{
	const struct store_claim *request = call->request;
	struct taking taking = { .next_ms = -1 };
	size_t first = ++batch->lane->claims % OTHERS_FIRST == 0 ? 1 : 0;
	uint64_t due_ms;
	struct store_bytes id;

	taking.tasks = arena_take_zeroed(&call->arena, request->want,
					 sizeof(*taking.tasks));
	guard_outage(batch, request->lease_ms);
	reap(batch);
	promote(batch);
	for (size_t i = 0; i < request->queue_count; i++)
		take(batch, call,
		     request->queues[(first + i) % request->queue_count],
		     &taking);
	if (next_at(batch, TABLE_DELAYED, &due_ms, &id))
		sooner(&taking, due_ms > batch->real_ms
					? (int64_t)(due_ms - batch->real_ms)
					: 0);
	if (next_at(batch, TABLE_LEASED, &due_ms, &id))
		sooner(&taking, due_ms > batch->boot_ms
					? (int64_t)(due_ms - batch->boot_ms)
					: 0);
	call->answer.result = STORE_DONE;
	call->answer.claim.tasks = taking.tasks;
	call->answer.claim.count = taking.count;
	call->answer.claim.next_ms = taking.next_ms;
}

bool lmdb_tasks_wait_for(struct lmdb_batch *batch, uint64_t queues)
{
	struct store_bytes key;
	struct store_bytes value;
	int64_t wait_ms;

	if (lmdb_seek(batch, TABLE_DELAYED, nothing, &key, &value) &&
	    lmdb_number(key, 0, 8) <= batch->real_ms)
		return true;
	bool has_more = lmdb_seek(batch, TABLE_QUEUE, nothing, &key, &value);

	while (has_more) {
		struct lmdb_queue_record record;
		struct lmdb_queue queue = { 0 };

		if (value.length >= sizeof(record)) {
			memcpy(&queue.record, value.data, sizeof(record));
			queue.name = store_bytes(value.data + sizeof(record),
						 value.length - sizeof(record));
			if ((lmdb_board_bit(queue.name) & queues) != 0 &&
			    queue.record.queued > 0 &&
			    lmdb_queue_allowance(batch, &queue, &wait_ms) > 0)
				return true;
		}
		has_more = lmdb_next(batch, TABLE_QUEUE, &key, &value);
	}
	return false;
}
