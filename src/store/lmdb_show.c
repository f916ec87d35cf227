#include "base/must.h"
#include "store/lmdb_tasks_internal.h"

#define LIST_MAX 1000

static const struct store_bytes nothing = { "", 0 };

static struct store_bytes keep(struct store_call *call, struct store_bytes from)
{
	return arena_copy(&call->arena, from.data, from.length);
}

static int64_t in_ms(const struct lmdb_batch *batch, const struct task *task)
{
	int64_t when = (int64_t)task->head.when;

	if (task->head.state == STORE_TASK_QUEUED)
		return 0;
	if (task->head.state == STORE_TASK_ACTIVE ||
	    task->head.state == STORE_TASK_CANCELLED)
		return when - (int64_t)batch->boot_ms;
	return when - (int64_t)batch->real_ms;
}

static void fill(struct lmdb_batch *batch, struct store_call *call,
		 const struct task *task, struct store_task_info *info)
{
	const struct lmdb_queue *queue =
		lmdb_queue_numbered(batch, task->head.queue);
	struct store_bytes progress;

	info->id = keep(call, task->id);
	info->queue = keep(call, queue == NULL ? nothing : queue->name);
	info->owner = keep(call, task->owner);
	info->unique = keep(call, task->unique);
	info->error = keep(call, task->error);
	info->result = nothing;
	info->state = (enum store_task_state)task->head.state;
	info->priority = task->head.priority;
	info->attempt = task->head.attempt;
	info->max_attempts = task->head.max_attempts;
	info->token = task->head.token;
	info->in_ms = in_ms(batch, task);
	info->envelope = keep(call, lmdb_task_envelope(batch, task));
	if (task->head.has_progress &&
	    lmdb_get(batch, TABLE_PROGRESS, task->id, &progress))
		info->progress = keep(call, progress);
}

static bool fill_done(struct lmdb_batch *batch, struct store_call *call,
		      struct store_bytes id, struct store_task_info *info)
{
	struct store_bytes value;
	uint64_t at_ms;

	if (!lmdb_get(batch, TABLE_DONE, id, &value) || value.length < 20)
		return false;
	*info = (struct store_task_info){ .state = STORE_TASK_DONE };
	memcpy(&info->token, value.data, 8);
	memcpy(&at_ms, value.data + 8, 8);
	memcpy(&info->attempt, value.data + 16, 4);
	info->in_ms = (int64_t)at_ms - (int64_t)batch->real_ms;
	info->id = keep(call, id);
	info->result =
		keep(call, store_bytes(value.data + 20, value.length - 20));
	return true;
}

void lmdb_show(struct lmdb_batch *batch, struct store_call *call)
{
	const struct store_show *request = call->request;
	struct store_task_info *info =
		arena_take_zeroed(&call->arena, 1, sizeof(*info));
	struct task task;

	call->answer.result = STORE_DONE;
	call->answer.list.tasks = info;
	call->answer.list.count = 1;
	if (lmdb_task_find(batch, request->id, &task)) {
		fill(batch, call, &task, info);
	} else if (!fill_done(batch, call, request->id, info)) {
		call->answer.result = STORE_NOT_FOUND;
		call->answer.list.count = 0;
	}
}

/* Which table a state is listed from, and where in it an id is. */
struct listing {
	enum lmdb_table table;
	bool is_queue;
	uint16_t queue;
};

static bool is_of(const struct listing *listing, struct store_bytes key)
{
	return !listing->is_queue || lmdb_number(key, 0, 2) == listing->queue;
}

static struct store_bytes id_of(const struct listing *listing,
				struct store_bytes key,
				struct store_bytes value)
{
	return listing->is_queue ? value
				 : store_bytes(key.data + 8, key.length - 8);
}

static bool pick(struct lmdb_batch *batch, const struct store_list *request,
		 struct listing *listing)
{
	static const enum lmdb_table tables[] = {
		[STORE_TASK_QUEUED] = TABLE_QUEUED,
		[STORE_TASK_DELAYED] = TABLE_DELAYED,
		[STORE_TASK_ACTIVE] = TABLE_LEASED,
		[STORE_TASK_CANCELLED] = TABLE_LEASED,
		[STORE_TASK_DEAD] = TABLE_DEAD,
		[STORE_TASK_DONE] = TABLE_DONE_AT,
	};

	listing->table = tables[request->state];
	listing->is_queue = request->state == STORE_TASK_QUEUED;
	if (!listing->is_queue)
		return true;
	struct lmdb_queue *queue =
		lmdb_queue_named(batch, request->queue, false);

	if (queue == NULL)
		return false;
	listing->queue = queue->record.number;
	return true;
}

static bool list_one(struct lmdb_batch *batch, struct store_call *call,
		     struct store_bytes id, struct store_task_info *info)
{
	const struct store_list *request = call->request;
	struct task task;

	if (request->state == STORE_TASK_DONE)
		return fill_done(batch, call, id, info);
	if (!lmdb_task_find(batch, id, &task) ||
	    (request->owner.length > 0 &&
	     !store_bytes_equal(task.owner, request->owner)))
		return false;
	fill(batch, call, &task, info);
	return true;
}

void lmdb_list(struct lmdb_batch *batch, struct store_call *call)
{
	const struct store_list *request = call->request;
	uint32_t limit = request->limit == 0 || request->limit > LIST_MAX
				 ? LIST_MAX
				 : request->limit;
	struct store_task_info *tasks =
		arena_take_zeroed(&call->arena, limit, sizeof(*tasks));
	struct listing listing = { .queue = 0 };
	struct store_bytes key;
	struct store_bytes value;
	uint64_t skip = request->offset;

	call->answer.result = STORE_DONE;
	call->answer.list.tasks = tasks;
	if (!pick(batch, request, &listing))
		return;
	struct lmdb_key from = lmdb_queued_key(listing.queue, 0, 0);
	bool has_more = lmdb_seek(
		batch, listing.table,
		listing.is_queue ? lmdb_key_all(&from) : nothing, &key, &value);

	while (has_more && call->answer.list.count < limit &&
	       is_of(&listing, key)) {
		struct store_task_info *info = &tasks[call->answer.list.count];

		if (skip > 0)
			skip--;
		else if (list_one(batch, call, id_of(&listing, key, value),
				  info))
			call->answer.list.count++;
		has_more = lmdb_next(batch, listing.table, &key, &value);
	}
}

void lmdb_counts(struct lmdb_batch *batch, struct store_call *call)
{
	size_t most = (size_t)lmdb_count(batch, TABLE_QUEUE);
	struct store_queue_info *queues =
		arena_take_zeroed(&call->arena, most, sizeof(*queues));
	struct store_bytes key;
	struct store_bytes value;
	size_t count = 0;
	bool has_more = lmdb_seek(batch, TABLE_QUEUE, nothing, &key, &value);

	for (; has_more && count < most;
	     has_more = lmdb_next(batch, TABLE_QUEUE, &key, &value)) {
		struct lmdb_queue_record record;

		if (value.length < sizeof(record))
			continue;
		memcpy(&record, value.data, sizeof(record));
		queues[count++] = (struct store_queue_info){
			.name = keep(
				call,
				store_bytes(value.data + sizeof(record),
					    value.length - sizeof(record))),
			.queued = record.queued,
			.running = record.running,
			.depth = record.depth,
			.running_max = record.running_max,
			.per_second = record.per_second,
			.is_paused = record.is_paused,
		};
		call->answer.counts.queued += record.queued;
	}
	call->answer.result = STORE_DONE;
	call->answer.counts.queues = queues;
	call->answer.counts.queue_count = count;
	call->answer.counts.delayed = lmdb_count(batch, TABLE_DELAYED);
	call->answer.counts.active = lmdb_count(batch, TABLE_LEASED);
	call->answer.counts.dead = lmdb_count(batch, TABLE_DEAD);
	call->answer.counts.done = lmdb_count(batch, TABLE_DONE);
	call->answer.counts.orphans = batch->tasks.orphans;
}
