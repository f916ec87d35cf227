/* Does what is kept of tasks fit together? */
#include <stdio.h>

#include "store/lmdb_tasks_internal.h"

#define PIECE      512
#define COUNTS_MAX 100000 /* entries that are counted in one transaction */

static const struct store_bytes nothing = { "", 0 };

struct audit {
	struct lmdb_batch *batch;
	struct store_call *call;
	bool is_repairing;
};

/* Looks at one entry of a table; both are copies. */
typedef void (*look_fn)(struct audit *audit, enum lmdb_table table,
			struct store_bytes key, struct store_bytes value);

static bool find(struct audit *audit, enum store_difference kind)
{
	audit->call->answer.audit.found[kind]++;
	audit->call->answer.audit.repaired += audit->is_repairing;
	return audit->is_repairing;
}

static void drop(struct audit *audit, enum store_difference kind,
		 enum lmdb_table table, struct store_bytes key)
{
	if (find(audit, kind))
		lmdb_delete(audit->batch, table, key);
}

/* ---- records ---- */

static struct lmdb_key place_of(const struct task *task)
{
	return task->head.state == STORE_TASK_QUEUED
		       ? lmdb_queued_key(task->head.queue, task->head.priority,
					 task->head.when)
		       : lmdb_key_at(task->head.when, task->id);
}

static enum lmdb_table table_of(const struct task *task)
{
	static const enum lmdb_table tables[] = {
		[STORE_TASK_QUEUED] = TABLE_QUEUED,
		[STORE_TASK_DELAYED] = TABLE_DELAYED,
		[STORE_TASK_ACTIVE] = TABLE_LEASED,
		[STORE_TASK_CANCELLED] = TABLE_LEASED,
		[STORE_TASK_DEAD] = TABLE_DEAD,
	};

	return task->head.state <= STORE_TASK_DEAD ? tables[task->head.state]
						   : TABLES;
}

/* Where its state says that it is. */
static void put_back(struct audit *audit, struct task *task)
{
	struct lmdb_batch *batch = audit->batch;
	struct lmdb_key place = place_of(task);

	lmdb_task_keep(batch, task);
	if (task->head.state == STORE_TASK_QUEUED)
		lmdb_task_queue(batch, task, false);
	else if (table_of(task) == TABLE_LEASED)
		lmdb_task_lease(batch, task, batch->boot_ms);
	else
		lmdb_put(batch, table_of(task), lmdb_key_all(&place), nothing);
}

static bool is_damaged(struct audit *audit, struct store_bytes id,
		       struct task *task)
{
	struct store_bytes value;

	return !lmdb_task_find(audit->batch, id, task) ||
	       table_of(task) == TABLES ||
	       lmdb_queue_numbered(audit->batch, task->head.queue) == NULL ||
	       (task->head.is_apart &&
		!lmdb_get(audit->batch, TABLE_PAYLOAD, id, &value));
}

static void look_at_record(struct audit *audit, enum lmdb_table table,
			   struct store_bytes id, struct store_bytes record)
{
	struct task task;
	struct store_bytes value;

	(void)record;
	if (is_damaged(audit, id, &task)) {
		drop(audit, STORE_DIFFERENCE_DAMAGED, table, id);
		return;
	}
	struct lmdb_key place = place_of(&task);

	if (lmdb_get(audit->batch, table_of(&task), lmdb_key_all(&place),
		     &value) &&
	    (task.head.state != STORE_TASK_QUEUED ||
	     store_bytes_equal(value, id)))
		return;
	if (find(audit, table_of(&task) == TABLE_LEASED
				? STORE_DIFFERENCE_UNLEASED
				: STORE_DIFFERENCE_LOST))
		put_back(audit, &task);
}

/* ---- places ---- */

static void look_at_place(struct audit *audit, enum lmdb_table table,
			  struct store_bytes key, struct store_bytes value)
{
	struct task task;
	struct store_bytes id = value;

	if (table != TABLE_QUEUED && key.length > 8)
		id = store_bytes(key.data + 8, key.length - 8);
	if (lmdb_task_find(audit->batch, id, &task) &&
	    table_of(&task) == table) {
		struct lmdb_key place = place_of(&task);

		if (store_bytes_equal(lmdb_key_all(&place), key))
			return;
	}
	drop(audit, STORE_DIFFERENCE_STRAY, table, key);
}

static void look_at_unique(struct audit *audit, enum lmdb_table table,
			   struct store_bytes key, struct store_bytes id)
{
	struct task task;

	if (!lmdb_task_find(audit->batch, id, &task) ||
	    task.head.state == STORE_TASK_DEAD ||
	    !store_bytes_equal(task.unique, key))
		drop(audit, STORE_DIFFERENCE_UNIQUE, table, key);
}

static void look_at_part(struct audit *audit, enum lmdb_table table,
			 struct store_bytes id, struct store_bytes value)
{
	struct task task;

	(void)value;
	if (!lmdb_task_find(audit->batch, id, &task))
		drop(audit, STORE_DIFFERENCE_LEFT, table, id);
}

static void look_at_done(struct audit *audit, enum lmdb_table table,
			 struct store_bytes key, struct store_bytes value)
{
	if (key.length <= 8 ||
	    !lmdb_get(audit->batch, TABLE_DONE,
		      store_bytes(key.data + 8, key.length - 8), &value))
		drop(audit, STORE_DIFFERENCE_LEFT, table, key);
}

static const struct {
	enum lmdb_table table;
	look_fn look;
} phases[] = {
	{ TABLE_TASK, look_at_record },   { TABLE_QUEUED, look_at_place },
	{ TABLE_DELAYED, look_at_place }, { TABLE_LEASED, look_at_place },
	{ TABLE_DEAD, look_at_place },    { TABLE_UNIQUE, look_at_unique },
	{ TABLE_PAYLOAD, look_at_part },  { TABLE_PROGRESS, look_at_part },
	{ TABLE_DONE_AT, look_at_done },
};

#define PHASES (sizeof(phases) / sizeof(phases[0]))

/* ---- counts: all in one transaction, or they would not be true ---- */

struct tally {
	uint64_t queued;
	uint64_t running;
};

static void count_queued(struct lmdb_batch *batch, struct tally *tallies,
			 uint64_t queues)
{
	struct store_bytes key;
	struct store_bytes value;
	bool has_more = lmdb_seek(batch, TABLE_QUEUED, nothing, &key, &value);

	for (; has_more;
	     has_more = lmdb_next(batch, TABLE_QUEUED, &key, &value)) {
		uint64_t number = lmdb_number(key, 0, 2);

		if (number < queues)
			tallies[number].queued++;
	}
}

static void count_running(struct lmdb_batch *batch, struct tally *tallies,
			  uint64_t queues)
{
	struct store_bytes key;
	struct store_bytes value;
	bool has_more = lmdb_seek(batch, TABLE_LEASED, nothing, &key, &value);

	for (; has_more;
	     has_more = lmdb_next(batch, TABLE_LEASED, &key, &value)) {
		struct task task;

		if (key.length > 8 &&
		    lmdb_task_find(batch,
				   store_bytes(key.data + 8, key.length - 8),
				   &task) &&
		    task.head.queue < queues)
			tallies[task.head.queue].running++;
	}
}

static void look_at_counts(struct audit *audit)
{
	struct lmdb_batch *batch = audit->batch;
	uint64_t queues = batch->tasks.queues;

	if (lmdb_count(batch, TABLE_QUEUED) + lmdb_count(batch, TABLE_LEASED) >
	    COUNTS_MAX)
		return;
	struct tally *tallies =
		arena_take_zeroed(&batch->arena, queues, sizeof(*tallies));

	count_queued(batch, tallies, queues);
	count_running(batch, tallies, queues);
	for (uint64_t i = 0; i < queues; i++) {
		struct lmdb_queue *queue =
			lmdb_queue_numbered(batch, (uint16_t)i);

		audit->call->answer.audit.looked_at++;
		if (queue == NULL ||
		    (queue->record.queued == tallies[i].queued &&
		     queue->record.running == tallies[i].running))
			continue;
		if (!find(audit, STORE_DIFFERENCE_COUNT))
			continue;
		queue->record.queued = tallies[i].queued;
		queue->record.running = tallies[i].running;
		queue->is_changed = true;
		lmdb_queue_wake(batch, queue->name);
	}
}

/* ---- a piece: the cursor is a phase, and the key to begin with ---- */

static void say_where(struct audit *audit, size_t phase, struct store_bytes key)
{
	char *cursor = arena_take(&audit->call->arena, key.length + 1);

	cursor[0] = (char)('a' + phase);
	if (key.length > 0)
		memcpy(cursor + 1, key.data, key.length);
	audit->call->answer.audit.cursor = store_bytes(cursor, key.length + 1);
}

static void look_at_table(struct audit *audit, size_t phase,
			  struct store_bytes from)
{
	struct lmdb_batch *batch = audit->batch;
	enum lmdb_table table = phases[phase].table;
	struct store_bytes key;
	struct store_bytes value;

	for (unsigned i = 0; i < PIECE; i++) {
		if (!lmdb_seek(batch, table, from, &key, &value)) {
			say_where(audit, phase + 1, nothing);
			return;
		}
		/* What is written meanwhile may move the page. */
		char *copy =
			arena_take_zeroed(&batch->arena, key.length + 1, 1);

		memcpy(copy, key.data, key.length);
		value = arena_copy(&batch->arena, value.data, value.length);
		audit->call->answer.audit.looked_at++;
		phases[phase].look(audit, table, store_bytes(copy, key.length),
				   value);
		from = store_bytes(copy, key.length + 1); /* the next one */
	}
	say_where(audit, phase, from);
}

static void tell(struct audit *audit)
{
	uint64_t repaired = audit->call->answer.audit.repaired;
	char detail[32];

	if (repaired == 0)
		return;
	int length = snprintf(detail, sizeof(detail), "things=%ju",
			      (uintmax_t)repaired);

	lmdb_tell(audit->batch, STORE_EVENT_REPAIRED, nothing, nothing,
		  store_bytes(detail, (size_t)length));
}

void lmdb_audit(struct lmdb_batch *batch, struct store_call *call)
{
	const struct store_audit *request = call->request;
	struct audit audit = { .batch = batch,
			       .call = call,
			       .is_repairing = request->is_repairing };
	struct store_bytes from = request->cursor;
	size_t phase = 0;

	call->answer.result = STORE_DONE;
	if (from.length > 0) {
		phase = (size_t)(uint8_t)(from.data[0] - 'a');
		from.data++;
		from.length--;
	}
	if (phase < PHASES)
		look_at_table(&audit, phase, from);
	else
		look_at_counts(&audit);
	tell(&audit);
}
