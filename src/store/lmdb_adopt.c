/* A queue whose server is gone, moved to the global one, a piece with each
 * transaction: a long one would keep others out. */
#include <stdio.h>

#include "store/lmdb_tasks_internal.h"

#define PIECE 256

static const struct store_bytes nothing = { "", 0 };

struct step {
	uint64_t mark_ms;     /* that was found; 0: not begun */
	struct lmdb_key from; /* in DELAYED; empty: the queue first */
	bool is_over;
	uint64_t moved;
};

/* A transaction may be made again: it begins from what is certain. */
struct adoption {
	struct step last;
	struct step next;
};

static struct lmdb_key mark_key(struct store_bytes queue)
{
	struct lmdb_key key;

	lmdb_key_start(&key);
	lmdb_key_bytes(&key, "adopt:", 6);
	lmdb_key_bytes(&key, queue.data, queue.length);
	return key;
}

void lmdb_queue_is_served(struct lmdb_batch *batch, struct lmdb_queue *queue)
{
	struct lmdb_key key = mark_key(queue->name);

	if (!queue->record.is_marked)
		return;
	queue->record.is_marked = 0;
	queue->is_changed = true;
	lmdb_delete(batch, TABLE_CONTROL, lmdb_key_all(&key));
}

/* Since when nobody has claimed from it: of the boot's clock. */
static uint64_t find_mark(struct lmdb_batch *batch, struct lmdb_queue *queue)
{
	struct lmdb_key key = mark_key(queue->name);
	struct store_bytes value;
	uint64_t mark_ms = UINT64_MAX;

	if (queue->record.is_marked &&
	    lmdb_get(batch, TABLE_CONTROL, lmdb_key_all(&key), &value) &&
	    value.length == sizeof(mark_ms))
		memcpy(&mark_ms, value.data, sizeof(mark_ms));
	if (mark_ms <= batch->boot_ms)
		return mark_ms;
	/* There is none, or it is of another boot. */
	lmdb_put(batch, TABLE_CONTROL, lmdb_key_all(&key),
		 store_bytes(&batch->boot_ms, sizeof(batch->boot_ms)));
	queue->record.is_marked = 1;
	queue->is_changed = true;
	return batch->boot_ms;
}

static uint64_t move_queued(struct lmdb_batch *batch, struct lmdb_queue *queue,
			    uint16_t to)
{
	struct lmdb_key from = lmdb_queued_key(queue->record.number, 0, 0);
	struct store_bytes key;
	struct store_bytes value;
	uint64_t moved = 0;

	while (moved < PIECE &&
	       lmdb_seek(batch, TABLE_QUEUED, lmdb_key_all(&from), &key,
			 &value) &&
	       key.length == from.length &&
	       lmdb_number(key, 0, 2) == queue->record.number) {
		struct task task;
		struct store_bytes id =
			arena_copy(&batch->arena, value.data, value.length);

		lmdb_delete_here(batch, TABLE_QUEUED);
		queue->record.queued -= queue->record.queued > 0;
		queue->is_changed = true;
		moved++;
		if (!lmdb_task_find(batch, id, &task) ||
		    task.head.state != STORE_TASK_QUEUED) {
			lmdb_tell_orphan(batch, id);
			continue;
		}
		lmdb_task_keep(batch, &task);
		task.head.queue = to;
		lmdb_task_queue(batch, &task, false);
	}
	return moved;
}

/* Only whose they are changes. False: that was all. */
static bool move_delayed(struct lmdb_batch *batch, struct step *step,
			 uint16_t number, uint16_t to, uint64_t *moved)
{
	struct store_bytes key;
	struct store_bytes value;

	for (unsigned i = 0; i < PIECE; i++) {
		struct task task;

		if (!lmdb_seek(batch, TABLE_DELAYED, lmdb_key_all(&step->from),
			       &key, &value) ||
		    key.length <= 8)
			return false;
		struct store_bytes id =
			arena_copy(&batch->arena, key.data + 8, key.length - 8);

		lmdb_key_start(&step->from);
		lmdb_key_bytes(&step->from, key.data, key.length);
		lmdb_key_number(&step->from, 0, 1); /* the one after it */
		if (!lmdb_task_find(batch, id, &task) ||
		    task.head.state != STORE_TASK_DELAYED ||
		    task.head.queue != number)
			continue;
		lmdb_task_keep(batch, &task);
		task.head.queue = to;
		lmdb_task_put(batch, &task);
		(*moved)++;
	}
	return true;
}

static void tell(struct lmdb_batch *batch, struct store_bytes queue,
		 uint64_t moved)
{
	char detail[32];
	int length =
		snprintf(detail, sizeof(detail), "tasks=%ju", (uintmax_t)moved);

	if (moved > 0)
		lmdb_tell(batch, STORE_EVENT_ADOPTED, queue, nothing,
			  store_bytes(detail, (size_t)length));
}

static void move_some(struct lmdb_batch *batch, struct lmdb_queue *queue,
		      struct step *step)
{
	struct lmdb_queue *global = lmdb_queue_named(batch, nothing, true);
	uint64_t moved = 0;

	if (global == NULL)
		return;
	uint16_t to = global->record.number;

	if (step->from.length == 0) {
		moved = move_queued(batch, queue, to);
		if (moved < PIECE)
			lmdb_key_number(&step->from, 0, 8);
	} else {
		step->is_over = !move_delayed(batch, step, queue->record.number,
					      to, &moved);
	}
	tell(batch, queue->name, moved);
	step->moved += moved;
}

void lmdb_adopt_queue(struct lmdb_batch *batch, struct store_call *call)
{
	const struct store_adopt_queue *request = call->request;
	struct lmdb_queue *queue =
		lmdb_queue_named(batch, request->queue, false);
	struct adoption *adoption = call->back_data;

	if (adoption == NULL) {
		adoption =
			arena_take_zeroed(&call->arena, 1, sizeof(*adoption));
		call->back_data = adoption;
	}
	struct step *step = &adoption->next;

	*step = adoption->last;
	call->answer.result = STORE_DONE;
	call->answer.number.value = step->moved;
	step->is_over = true;
	if (queue == NULL)
		return;
	uint64_t mark_ms = find_mark(batch, queue);

	/* Another mark than before: somebody claims from it again. */
	if (step->mark_ms != 0 && step->mark_ms != mark_ms) {
		lmdb_queue_is_served(batch, queue);
		return;
	}
	if (batch->boot_ms - mark_ms < request->after_ms) {
		call->answer.result = STORE_BUSY;
		return;
	}
	step->mark_ms = mark_ms;
	step->is_over = false;
	move_some(batch, queue, step);
	call->answer.number.value = step->moved;
}

bool lmdb_adoption_goes_on(struct store_call *call)
{
	struct adoption *adoption = call->back_data;

	if (adoption == NULL || call->answer.error != 0)
		return false;
	adoption->last = adoption->next;
	return !adoption->last.is_over;
}
