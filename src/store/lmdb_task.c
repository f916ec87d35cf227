#include "base/must.h"
#include "store/lmdb_tasks_internal.h"

#define ATTEMPTS 25

static const struct store_bytes nothing = { "", 0 };

bool lmdb_task_find(struct lmdb_batch *batch, struct store_bytes id,
		    struct task *task)
{
	struct store_bytes bytes;

	if (!lmdb_get(batch, TABLE_TASK, id, &bytes) ||
	    bytes.length < sizeof(task->head))
		return false;
	memcpy(&task->head, bytes.data, sizeof(task->head));
	const struct task_head *head = &task->head;
	const char *at = bytes.data + sizeof(*head);
	size_t inside = head->is_apart ? 0 : head->envelope_length;

	if (bytes.length != sizeof(*head) + head->unique_length +
				    head->owner_length + head->error_length +
				    inside)
		return false;
	task->id = id;
	task->unique = store_bytes(at, head->unique_length);
	at += head->unique_length;
	task->owner = store_bytes(at, head->owner_length);
	at += head->owner_length;
	task->error = store_bytes(at, head->error_length);
	task->envelope = store_bytes(at + head->error_length, inside);
	return true;
}

void lmdb_task_keep(struct lmdb_batch *batch, struct task *task)
{
	struct store_bytes *const parts[] = { &task->id, &task->unique,
					      &task->owner, &task->error,
					      &task->envelope };

	for (size_t i = 0; i < sizeof(parts) / sizeof(parts[0]); i++)
		*parts[i] = arena_copy(&batch->arena, parts[i]->data,
				       parts[i]->length);
}

void lmdb_task_put(struct lmdb_batch *batch, const struct task *task)
{
	struct task_head head = task->head;
	const struct store_bytes *const parts[] = { &task->unique, &task->owner,
						    &task->error,
						    &task->envelope };
	size_t length = sizeof(head);

	head.unique_length = (uint8_t)task->unique.length;
	head.owner_length = (uint8_t)task->owner.length;
	head.error_length = (uint16_t)task->error.length;
	for (size_t i = 0; i < sizeof(parts) / sizeof(parts[0]); i++)
		length += parts[i]->length;
	char *room = lmdb_reserve(batch, TABLE_TASK, task->id, length);

	if (room == NULL)
		return;
	room = (char *)memcpy(room, &head, sizeof(head)) + sizeof(head);
	for (size_t i = 0; i < sizeof(parts) / sizeof(parts[0]); i++) {
		if (parts[i]->length > 0)
			memcpy(room, parts[i]->data, parts[i]->length);
		room += parts[i]->length;
	}
}

struct store_bytes lmdb_task_envelope(struct lmdb_batch *batch,
				      const struct task *task)
{
	struct store_bytes envelope = task->envelope;

	if (task->head.is_apart &&
	    !lmdb_get(batch, TABLE_PAYLOAD, task->id, &envelope))
		return nothing;
	return envelope;
}

struct lmdb_key lmdb_queued_key(uint16_t queue, unsigned priority,
				uint64_t place)
{
	struct lmdb_key key;

	lmdb_key_start(&key);
	lmdb_key_number(&key, queue, 2);
	lmdb_key_number(&key, priority, 1);
	lmdb_key_number(&key, place, 8);
	return key;
}

static bool is_held(const struct task *task)
{
	return task->head.state == STORE_TASK_ACTIVE ||
	       task->head.state == STORE_TASK_CANCELLED;
}

void lmdb_task_leave(struct lmdb_batch *batch, const struct task *task)
{
	const struct task_head *head = &task->head;
	struct lmdb_queue *queue = lmdb_queue_numbered(batch, head->queue);
	struct lmdb_key key = lmdb_key_at(head->when, task->id);

	if (queue == NULL)
		return;
	if (head->state == STORE_TASK_QUEUED) {
		key = lmdb_queued_key(head->queue, head->priority, head->when);
		lmdb_delete(batch, TABLE_QUEUED, lmdb_key_all(&key));
		queue->record.queued -= queue->record.queued > 0;
		queue->is_changed = true;
	} else if (is_held(task)) {
		lmdb_delete(batch, TABLE_LEASED, lmdb_key_all(&key));
		queue->is_changed = true;
		/* A full queue has a place again. */
		if (queue->record.running_max != 0 &&
		    queue->record.running == queue->record.running_max &&
		    queue->record.queued > 0)
			lmdb_queue_wake(batch, queue->name);
		queue->record.running -= queue->record.running > 0;
	} else {
		lmdb_delete(batch,
			    head->state == STORE_TASK_DELAYED ? TABLE_DELAYED
							      : TABLE_DEAD,
			    lmdb_key_all(&key));
	}
}

void lmdb_task_queue(struct lmdb_batch *batch, struct task *task, bool is_front)
{
	struct lmdb_queue *queue = lmdb_queue_numbered(batch, task->head.queue);

	if (queue == NULL)
		return;
	task->head.state = STORE_TASK_QUEUED;
	task->head.when = is_front ? --batch->tasks.front : batch->tasks.back++;
	task->owner = nothing;
	lmdb_task_put(batch, task);
	struct lmdb_key key = lmdb_queued_key(
		task->head.queue, task->head.priority, task->head.when);

	lmdb_put(batch, TABLE_QUEUED, lmdb_key_all(&key), task->id);
	queue->record.queued++;
	queue->is_changed = true;
	lmdb_queue_wake(batch, queue->name);
}

void lmdb_task_delay(struct lmdb_batch *batch, struct task *task,
		     uint64_t due_ms)
{
	struct lmdb_queue *queue = lmdb_queue_numbered(batch, task->head.queue);
	struct lmdb_key key = lmdb_key_at(due_ms, task->id);
	struct store_bytes first;
	struct store_bytes value;

	task->head.state = STORE_TASK_DELAYED;
	task->head.when = due_ms;
	task->owner = nothing;
	lmdb_task_put(batch, task);
	/* Whoever waits does so until the first one is due. */
	if (queue != NULL &&
	    (!lmdb_seek(batch, TABLE_DELAYED, nothing, &first, &value) ||
	     lmdb_number(first, 0, 8) > due_ms))
		lmdb_queue_wake(batch, queue->name);
	lmdb_put(batch, TABLE_DELAYED, lmdb_key_all(&key), nothing);
}

void lmdb_task_lease(struct lmdb_batch *batch, struct task *task,
		     uint64_t end_ms)
{
	struct lmdb_key key = lmdb_key_at(end_ms, task->id);

	task->head.when = end_ms;
	lmdb_task_put(batch, task);
	lmdb_put(batch, TABLE_LEASED, lmdb_key_all(&key), nothing);
}

void lmdb_task_bury(struct lmdb_batch *batch, struct task *task)
{
	struct lmdb_key key = lmdb_key_at(batch->real_ms, task->id);

	task->head.state = STORE_TASK_DEAD;
	task->head.when = batch->real_ms;
	task->owner = nothing;
	lmdb_task_put(batch, task);
	lmdb_put(batch, TABLE_DEAD, lmdb_key_all(&key), nothing);
	lmdb_task_free_unique(batch, task);
}

void lmdb_task_free_unique(struct lmdb_batch *batch, const struct task *task)
{
	struct store_bytes id;

	if (task->unique.length > 0 &&
	    lmdb_get(batch, TABLE_UNIQUE, task->unique, &id) &&
	    store_bytes_equal(id, task->id))
		lmdb_delete(batch, TABLE_UNIQUE, task->unique);
}

void lmdb_task_forget(struct lmdb_batch *batch, const struct task *task)
{
	/* Before the page that `task` may point into is written. */
	lmdb_task_free_unique(batch, task);
	if (task->head.is_apart)
		lmdb_delete(batch, TABLE_PAYLOAD, task->id);
	lmdb_delete(batch, TABLE_TASK, task->id);
}

void lmdb_task_hand_back(struct lmdb_batch *batch, struct task *task)
{
	lmdb_task_keep(batch, task);
	lmdb_task_leave(batch, task);
	if (task->head.state == STORE_TASK_CANCELLED) {
		lmdb_task_forget(batch, task);
	} else if (task->head.attempt >= task->head.max_attempts) {
		if (task->error.length == 0)
			task->error = store_text("its worker died, or lost its "
						 "lease, in the last attempt");
		lmdb_task_bury(batch, task);
	} else {
		lmdb_task_queue(batch, task, true);
	}
}

/* Is the unique key in use? */
static bool is_taken(struct lmdb_batch *batch, struct store_bytes unique,
		     struct store_bytes *whose)
{
	struct task other;

	return unique.length > 0 &&
	       lmdb_get(batch, TABLE_UNIQUE, unique, whose) &&
	       lmdb_task_find(batch, *whose, &other) &&
	       other.head.state != STORE_TASK_DEAD;
}

enum store_result lmdb_task_add(struct lmdb_batch *batch,
				const struct store_task *request,
				bool has_limits, struct store_bytes *whose)
{
	struct task task = { .id = request->id,
			     .unique = request->unique,
			     .owner = nothing,
			     .error = nothing,
			     .envelope = request->envelope };
	struct store_bytes value;
	uint64_t due_ms = request->at_ms != 0
				  ? request->at_ms
				  : batch->real_ms + request->delay_ms;

	if (lmdb_get(batch, TABLE_TASK, request->id, &value) ||
	    lmdb_get(batch, TABLE_DONE, request->id, &value))
		return STORE_KNOWN;
	if (is_taken(batch, request->unique, whose))
		return STORE_DUPLICATE;
	struct lmdb_queue *queue =
		lmdb_queue_named(batch, request->queue, true);

	if (queue == NULL)
		return STORE_QUEUE_FULL; /* batch->error says why */
	if (has_limits && queue->record.depth != 0 &&
	    queue->record.queued >= queue->record.depth)
		return STORE_QUEUE_FULL;
	task.head.queue = queue->record.number;
	task.head.max_attempts =
		(uint16_t)(request->max_attempts == 0 ? ATTEMPTS
						      : request->max_attempts);
	task.head.priority =
		(uint8_t)(request->queue.length == 0 ? request->priority : 0);
	task.head.unique_scope = (uint8_t)request->unique_scope;
	task.head.envelope_length = (uint32_t)request->envelope.length;
	if (request->envelope.length > ENVELOPE_INLINE) {
		task.head.is_apart = 1;
		task.envelope = nothing;
		lmdb_put(batch, TABLE_PAYLOAD, request->id, request->envelope);
	}
	if (request->unique.length > 0)
		lmdb_put(batch, TABLE_UNIQUE, request->unique, request->id);
	if (due_ms > batch->real_ms)
		lmdb_task_delay(batch, &task, due_ms);
	else
		lmdb_task_queue(batch, &task, false);
	return STORE_DONE;
}
