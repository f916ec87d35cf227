#include <stddef.h>
#include <stdio.h>

#include "base/must.h"
#include "store/lmdb_tasks_internal.h"

#define ATTEMPTS  25
#define TRIM_DEAD 8

static const struct store_bytes nothing = { "", 0 };

/* How a record begins: most tasks that wait have no token, and an envelope that
 * is there is as long as what is left. These follow where they are said to. */
struct record_head {
	uint64_t when;
	uint16_t queue;
	uint16_t attempt;
	uint16_t max_attempts;
	uint16_t error_length;
	uint8_t flags; /* the state, and those below */
	uint8_t priority;
	uint8_t unique_length;
	uint8_t owner_length;
};

#define RECORD_BYTES  (offsetof(struct record_head, owner_length) + 1)
#define STATE_MASK    7u
#define UNTIL_START   8u
#define IS_APART      16u
#define HAS_PROGRESS  32u
#define HAS_TOKEN     64u
#define IS_UNTIL(how) ((how) == STORE_UNIQUE_UNTIL_START ? UNTIL_START : 0u)

/* False: it is none. */
static bool read_head(struct task_head *head, struct store_bytes *rest)
{
	struct record_head record;

	if (rest->length < RECORD_BYTES)
		return false;
	memcpy(&record, rest->data, RECORD_BYTES);
	*rest = store_bytes(rest->data + RECORD_BYTES,
			    rest->length - RECORD_BYTES);
	*head = (struct task_head){
		.when = record.when,
		.queue = record.queue,
		.attempt = record.attempt,
		.max_attempts = record.max_attempts,
		.error_length = record.error_length,
		.state = record.flags & STATE_MASK,
		.priority = record.priority,
		.unique_length = record.unique_length,
		.owner_length = record.owner_length,
		.unique_scope = (record.flags & UNTIL_START) != 0
					? STORE_UNIQUE_UNTIL_START
					: STORE_UNIQUE_UNTIL_DONE,
		.is_apart = (record.flags & IS_APART) != 0,
		.has_progress = (record.flags & HAS_PROGRESS) != 0,
	};
	size_t more = (record.flags & HAS_TOKEN ? sizeof(head->token) : 0) +
		      (head->is_apart ? sizeof(head->envelope_length) : 0);

	if (rest->length < more)
		return false;
	if ((record.flags & HAS_TOKEN) != 0)
		memcpy(&head->token, rest->data, sizeof(head->token));
	*rest = store_bytes(rest->data + more, rest->length - more);
	if (head->is_apart)
		memcpy(&head->envelope_length,
		       rest->data - sizeof(head->envelope_length),
		       sizeof(head->envelope_length));
	return true;
}

/* Answers how many bytes that are: RECORD_MOST at most. */
#define RECORD_MOST (RECORD_BYTES + 12)

static size_t write_head(char *to, const struct task *task)
{
	const struct task_head *head = &task->head;
	const struct record_head record = {
		.when = head->when,
		.queue = head->queue,
		.attempt = head->attempt,
		.max_attempts = head->max_attempts,
		.error_length = (uint16_t)task->error.length,
		.flags = (uint8_t)(head->state | IS_UNTIL(head->unique_scope) |
				   (head->is_apart ? IS_APART : 0) |
				   (head->has_progress ? HAS_PROGRESS : 0) |
				   (head->token != 0 ? HAS_TOKEN : 0)),
		.priority = head->priority,
		.unique_length = (uint8_t)task->unique.length,
		.owner_length = (uint8_t)task->owner.length,
	};
	size_t length = RECORD_BYTES;

	memcpy(to, &record, RECORD_BYTES);
	if (head->token != 0) {
		memcpy(to + length, &head->token, sizeof(head->token));
		length += sizeof(head->token);
	}
	if (head->is_apart) {
		memcpy(to + length, &head->envelope_length,
		       sizeof(head->envelope_length));
		length += sizeof(head->envelope_length);
	}
	return length;
}

bool lmdb_task_find(struct lmdb_batch *batch, struct store_bytes id,
		    struct task *task)
{
	struct task_head *head = &task->head;
	struct store_bytes rest;

	if (!lmdb_get(batch, TABLE_TASK, id, &rest) || !read_head(head, &rest))
		return false;
	size_t named = (size_t)head->unique_length + head->owner_length +
		       head->error_length;

	if (rest.length < named || (head->is_apart && rest.length != named))
		return false;
	const char *at = rest.data;

	task->id = id;
	task->unique = store_bytes(at, head->unique_length);
	at += head->unique_length;
	task->owner = store_bytes(at, head->owner_length);
	at += head->owner_length;
	task->error = store_bytes(at, head->error_length);
	task->envelope =
		store_bytes(at + head->error_length, rest.length - named);
	if (!head->is_apart)
		head->envelope_length = (uint32_t)task->envelope.length;
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
	const struct store_bytes *const parts[] = { &task->unique, &task->owner,
						    &task->error,
						    &task->envelope };
	char head[RECORD_MOST];
	size_t head_length = write_head(head, task);
	size_t length = head_length;

	for (size_t i = 0; i < sizeof(parts) / sizeof(parts[0]); i++)
		length += parts[i]->length;
	char *room = lmdb_reserve(batch, TABLE_TASK, task->id, length);

	if (room == NULL)
		return;
	room = (char *)memcpy(room, head, head_length) + head_length;
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

/* Some old ones go with each new one. */
static void trim_dead(struct lmdb_batch *batch)
{
	const struct store_options *options = &batch->lmdb->options;
	struct store_bytes key;
	struct store_bytes value;

	for (unsigned i = 0; i < TRIM_DEAD; i++) {
		struct task task;

		if (!lmdb_seek(batch, TABLE_DEAD, nothing, &key, &value) ||
		    (lmdb_number(key, 0, 8) + options->dead_ms >
			     batch->real_ms &&
		     lmdb_count(batch, TABLE_DEAD) <= options->dead_count))
			return;
		struct lmdb_key copy;

		lmdb_key_start(&copy);
		lmdb_key_bytes(&copy, key.data, key.length);
		lmdb_delete(batch, TABLE_DEAD, lmdb_key_all(&copy));
		if (!lmdb_task_find(
			    batch, store_bytes(copy.bytes + 8, copy.length - 8),
			    &task) ||
		    task.head.state != STORE_TASK_DEAD)
			continue;
		lmdb_task_keep(batch, &task);
		lmdb_task_forget(batch, &task);
	}
}

void lmdb_task_bury(struct lmdb_batch *batch, struct task *task)
{
	struct lmdb_key key = lmdb_key_at(batch->real_ms, task->id);

	lmdb_task_tell(batch, STORE_EVENT_DEAD, task, task->error);
	task->head.state = STORE_TASK_DEAD;
	task->head.when = batch->real_ms;
	task->owner = nothing;
	lmdb_task_put(batch, task);
	lmdb_put(batch, TABLE_DEAD, lmdb_key_all(&key), nothing);
	lmdb_task_free_unique(batch, task);
	trim_dead(batch);
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
	if (task->head.has_progress)
		lmdb_delete(batch, TABLE_PROGRESS, task->id);
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

void lmdb_task_lost(struct lmdb_batch *batch, struct task *task,
		    enum store_event_kind why)
{
	char detail[64];
	int length = snprintf(detail, sizeof(detail), "token=%ju attempt=%u",
			      (uintmax_t)task->head.token, task->head.attempt);

	lmdb_task_keep(batch, task);
	lmdb_task_tell(batch, why, task, store_bytes(detail, (size_t)length));
	lmdb_task_hand_back(batch, task);
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
