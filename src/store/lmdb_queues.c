#include <errno.h>

#include "base/must.h"
#include "store/lmdb_tasks_internal.h"

#define SECOND_US 1000000

static struct store_bytes number_key(const uint16_t *number)
{
	return store_bytes(number, sizeof(*number));
}

static struct lmdb_queue *remember(struct lmdb_batch *batch,
				   struct store_bytes name)
{
	struct lmdb_queue *queue =
		arena_take_zeroed(&batch->arena, 1, sizeof(*queue));

	queue->name = arena_copy(&batch->arena, name.data, name.length);
	queue->next = batch->queues;
	batch->queues = queue;
	return queue;
}

struct lmdb_queue *lmdb_queue_numbered(struct lmdb_batch *batch,
				       uint16_t number)
{
	struct store_bytes value;
	struct lmdb_queue_record record;

	for (struct lmdb_queue *queue = batch->queues; queue != NULL;
	     queue = queue->next)
		if (queue->record.number == number)
			return queue;
	if (!lmdb_get(batch, TABLE_QUEUE, number_key(&number), &value) ||
	    value.length < sizeof(record))
		return NULL;
	memcpy(&record, value.data, sizeof(record));
	struct lmdb_queue *queue =
		remember(batch, store_bytes(value.data + sizeof(record),
					    value.length - sizeof(record)));

	queue->record = record;
	return queue;
}

/* The global queue has no name of its own, but a key must not be empty. */
static struct store_bytes name_key(struct store_bytes name)
{
	return name.length == 0 ? store_text("global") : name;
}

struct lmdb_queue *lmdb_queue_named(struct lmdb_batch *batch,
				    struct store_bytes name, bool is_made)
{
	struct store_bytes value;
	uint16_t number;

	for (struct lmdb_queue *queue = batch->queues; queue != NULL;
	     queue = queue->next)
		if (store_bytes_equal(queue->name, name))
			return queue;
	if (lmdb_get(batch, TABLE_QUEUE_NAME, name_key(name), &value) &&
	    value.length == sizeof(number)) {
		memcpy(&number, value.data, sizeof(number));
		return lmdb_queue_numbered(batch, number);
	}
	if (!is_made || batch->error != 0)
		return NULL;
	if (batch->tasks.queues == UINT16_MAX) {
		batch->error = ENOSPC;
		return NULL;
	}
	number = (uint16_t)batch->tasks.queues++;
	lmdb_put(batch, TABLE_QUEUE_NAME, name_key(name), number_key(&number));
	struct lmdb_queue *queue = remember(batch, name);

	queue->record.number = number;
	queue->is_changed = true;
	return queue;
}

void lmdb_queues_write(struct lmdb_batch *batch)
{
	for (struct lmdb_queue *queue = batch->queues; queue != NULL;
	     queue = queue->next) {
		if (!queue->is_changed)
			continue;
		size_t length = sizeof(queue->record) + queue->name.length;
		char *room =
			lmdb_reserve(batch, TABLE_QUEUE,
				     number_key(&queue->record.number), length);

		if (room == NULL)
			return;
		memcpy(room, &queue->record, sizeof(queue->record));
		memcpy(room + sizeof(queue->record), queue->name.data,
		       queue->name.length);
	}
}

void lmdb_queue_wake(struct lmdb_batch *batch, struct store_bytes name)
{
	batch->wakes |= lmdb_board_bit(name);
	batch->wake_count++;
}

/* The rate is kept as the time at which all that was let through would have
 * been due at an even pace; it may run ahead by the one second's worth that may
 * start at once. */
uint32_t lmdb_queue_allowance(const struct lmdb_batch *batch,
			      const struct lmdb_queue *queue, int64_t *wait_ms)
{
	const struct lmdb_queue_record *record = &queue->record;
	uint32_t allowance = UINT32_MAX;

	*wait_ms = -1;
	if (record->is_paused)
		return 0;
	if (record->running_max != 0) {
		if (record->running >= record->running_max)
			return 0;
		allowance = record->running_max - (uint32_t)record->running;
	}
	if (record->per_second == 0)
		return allowance;
	uint64_t pace_us = SECOND_US / record->per_second;
	uint64_t end_us = batch->real_us + SECOND_US;
	uint64_t used_us = record->rate_us > batch->real_us ? record->rate_us
							    : batch->real_us;

	pace_us += pace_us == 0;
	if (used_us + pace_us > end_us) {
		*wait_ms = (int64_t)((used_us + pace_us - end_us) / 1000) + 1;
		return 0;
	}
	uint64_t left = (end_us - used_us) / pace_us;

	return left < allowance ? (uint32_t)left : allowance;
}

void lmdb_queue_started(struct lmdb_batch *batch, struct lmdb_queue *queue,
			uint32_t count)
{
	struct lmdb_queue_record *record = &queue->record;

	queue->is_changed = true;
	record->running += count;
	if (record->per_second == 0)
		return;
	uint64_t pace_us = SECOND_US / record->per_second;

	if (record->rate_us < batch->real_us)
		record->rate_us = batch->real_us;
	record->rate_us += (pace_us + (pace_us == 0)) * count;
}

void lmdb_pause(struct lmdb_batch *batch, struct store_call *call)
{
	const struct store_pause *request = call->request;
	struct lmdb_queue *queue =
		lmdb_queue_named(batch, request->queue, true);

	call->answer.result = STORE_DONE;
	if (queue == NULL)
		return;
	if (queue->record.is_paused != request->is_paused)
		lmdb_tell(batch,
			  request->is_paused ? STORE_EVENT_PAUSED
					     : STORE_EVENT_RESUMED,
			  request->queue, (struct store_bytes){ "", 0 },
			  (struct store_bytes){ "", 0 });
	queue->record.is_paused = request->is_paused;
	queue->is_changed = true;
	if (!request->is_paused && queue->record.queued > 0)
		lmdb_queue_wake(batch, request->queue);
}

void lmdb_limits(struct lmdb_batch *batch, struct store_call *call)
{
	const struct store_limits *request = call->request;
	struct lmdb_queue *queue =
		lmdb_queue_named(batch, request->queue, true);

	call->answer.result = STORE_DONE;
	if (queue == NULL)
		return;
	queue->record.depth = request->depth;
	queue->record.running_max = request->running;
	queue->record.per_second = request->per_second;
	queue->is_changed = true;
	if (queue->record.queued > 0)
		lmdb_queue_wake(batch, request->queue);
}
