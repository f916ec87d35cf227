#include <stdio.h>
#include <stdlib.h>

#include "base/must.h"
#include "store/redis_internal.h"

#define LIST_MAX 1000
#define FIELDS   7 /* of a task, in the reply */

static const struct store_bytes nothing = { "", 0 };

/* ---- records ---- */

static struct store_bytes next_field(struct store_bytes *rest)
{
	const char *end = rest->length == 0
				  ? NULL
				  : memchr(rest->data, '|', rest->length);
	struct store_bytes field = *rest;

	if (end == NULL) {
		*rest = nothing;
		return field;
	}
	field.length = (size_t)(end - rest->data);
	rest->data = end + 1;
	rest->length -= field.length + 1;
	return field;
}

static uint64_t number_of(struct store_bytes text)
{
	uint64_t number = 0;

	for (size_t i = 0; i < text.length; i++)
		if (text.data[i] >= '0' && text.data[i] <= '9')
			number = number * 10 + (uint64_t)(text.data[i] - '0');
	return number;
}

/* state|token|attempt|attempts at most|priority|queue|owner|scope and unique
 * key, as common.lua has it */
static void read_record(struct store_bytes record, struct store_task_info *info)
{
	struct store_bytes state = next_field(&record);

	info->token = number_of(next_field(&record));
	info->attempt = (uint32_t)number_of(next_field(&record));
	info->max_attempts = (uint32_t)number_of(next_field(&record));
	info->priority = (uint32_t)number_of(next_field(&record));
	info->queue = next_field(&record);
	info->owner = next_field(&record);
	info->unique = record.length > 0
			       ? store_bytes(record.data + 1, record.length - 1)
			       : nothing;
	info->state = STORE_TASK_QUEUED;
	if (state.length == 1 && *state.data == 'a')
		info->state = STORE_TASK_ACTIVE;
	else if (state.length == 1 && *state.data == 'x')
		info->state = STORE_TASK_CANCELLED;
	else if (state.length == 1 && *state.data == 'd')
		info->state = STORE_TASK_DEAD;
}

static void read_task(redisReply *const *at, int64_t now_ms,
		      struct store_task_info *info)
{
	struct store_bytes record = redis_reply_bytes(at[1]);
	struct store_bytes done = redis_reply_bytes(at[4]);
	struct store_bytes time = redis_reply_bytes(at[5]);

	if (record.length > 0) {
		read_record(record, info);
	} else {
		info->state = STORE_TASK_DONE;
		info->token = number_of(next_field(&done));
		info->attempt = (uint32_t)number_of(next_field(&done));
		info->result = done;
	}
	info->id = redis_reply_bytes(at[0]);
	info->envelope = redis_reply_bytes(at[2]);
	info->error = redis_reply_bytes(at[3]);
	info->progress = redis_reply_bytes(at[6]);
	if (time.length > 0) {
		info->in_ms = (int64_t)number_of(time) - now_ms;
		if (info->state == STORE_TASK_QUEUED && info->in_ms > 0)
			info->state = STORE_TASK_DELAYED;
	}
}

static void on_listed(struct redis *redis, struct redis_command *command,
		      const redisReply *reply)
{
	struct store_call *call = command->call;
	size_t count = redis_reply_count(reply);

	(void)redis;
	if (count < 1 || (count - 1) % FIELDS != 0) {
		redis_reply_odd(command);
		return;
	}
	count = (count - 1) / FIELDS;
	struct store_task_info *tasks =
		arena_take_zeroed(&call->arena, count, sizeof(*tasks));
	int64_t now_ms = redis_reply_integer(reply->element[0]);

	for (size_t i = 0; i < count; i++)
		read_task(reply->element + 1 + i * FIELDS, now_ms, &tasks[i]);
	call->answer.result = STORE_DONE;
	if (call->operation == STORE_SHOW_CALL && count == 0)
		call->answer.result = STORE_NOT_FOUND;
	call->answer.list.tasks = tasks;
	call->answer.list.count = count;
	redis_finish(command);
}

static void write_list_keys(struct redis_command *command, unsigned lists)
{
	static const char *const keys[] = {
		"data",    "_meta",      "_errors", "_done",     "_done_at",
		"delayed", "processing", "_dead",   "_progress",
	};

	redis_script(command, SCRIPT_list,
		     sizeof(keys) / sizeof(keys[0]) + lists);
	for (size_t i = 0; i < sizeof(keys) / sizeof(keys[0]); i++)
		redis_key_tasks(command, keys[i]);
}

static void show(struct redis *redis, struct store_call *call)
{
	const struct store_show *request = call->request;
	struct redis_command *command =
		redis_command_new(redis, call, on_listed);

	write_list_keys(command, 0);
	redis_text(command, "id");
	redis_number(command, 0);
	redis_number(command, 1);
	redis_bytes(command, request->id);
	redis_send(redis, command);
}

static void list(struct redis *redis, struct store_call *call)
{
	static const char *const states[] = {
		[STORE_TASK_QUEUED] = "queued",
		[STORE_TASK_DELAYED] = "delayed",
		[STORE_TASK_ACTIVE] = "active",
		[STORE_TASK_CANCELLED] = "active",
		[STORE_TASK_DEAD] = "dead",
		[STORE_TASK_DONE] = "done",
	};
	const struct store_list *request = call->request;
	struct redis_command *command =
		redis_command_new(redis, call, on_listed);
	unsigned lists = request->state == STORE_TASK_QUEUED
				 ? redis_lists_of(request->queue)
				 : 0;

	write_list_keys(command, lists);
	for (unsigned i = 0; i < lists; i++)
		redis_key_queue(command, request->queue, i);
	redis_text(command, states[request->state]);
	redis_number(command, request->offset);
	redis_number(command, request->limit == 0 || request->limit > LIST_MAX
				      ? LIST_MAX
				      : request->limit);
	redis_bytes(command, request->owner);
	redis_send(redis, command);
}

/* ---- counts: first which queues there are, then all about them ---- */

#define COUNTS_FIRST  7
#define COUNTS_QUEUES 6

static void ask_counts(struct redis *redis, struct store_call *call,
		       const redisReply *found);

static void on_counted(struct redis *redis, struct redis_command *command,
		       const redisReply *reply)
{
	struct store_call *call = command->call;
	size_t count = redis_reply_count(reply);

	if (count < COUNTS_FIRST) {
		redis_reply_odd(command);
		return;
	}
	if (command->detail == 0) { /* the first time: only names */
		redis_command_free(command);
		ask_counts(redis, call, reply->element[6]);
		return;
	}
	struct store_bytes *names =
		(struct store_bytes *)(uintptr_t)command->detail;
	size_t queue_count = (count - COUNTS_FIRST) / COUNTS_QUEUES;
	struct store_queue_info *queues =
		arena_take_zeroed(&call->arena, queue_count, sizeof(*queues));

	for (size_t i = 0; i < queue_count; i++) {
		redisReply **at =
			reply->element + COUNTS_FIRST + i * COUNTS_QUEUES;

		queues[i] = (struct store_queue_info){
			.name = names[i],
			.queued = (uint64_t)redis_reply_integer(at[0]),
			.running = (uint64_t)redis_reply_integer(at[1]),
			.depth = (uint64_t)redis_reply_integer(at[2]),
			.running_max = (uint32_t)redis_reply_integer(at[3]),
			.per_second = (uint32_t)redis_reply_integer(at[4]),
			.is_paused = redis_reply_integer(at[5]) != 0,
		};
		call->answer.counts.queued += queues[i].queued;
	}
	uint64_t totals[6];

	for (size_t i = 0; i < 6; i++)
		totals[i] = (uint64_t)redis_reply_integer(reply->element[i]);
	call->answer.result = STORE_DONE;
	call->answer.counts.queues = queues;
	call->answer.counts.queue_count = queue_count;
	call->answer.counts.queued += totals[0];
	call->answer.counts.delayed = totals[1];
	call->answer.counts.active = totals[2];
	call->answer.counts.dead = totals[3];
	call->answer.counts.done = totals[4];
	call->answer.counts.orphans = totals[5];
	redis_finish(command);
}

static void write_counts(struct redis_command *command,
			 const struct store_bytes *names, size_t count)
{
	static const char *const keys[] = {
		"delayed", "processing", "_dead", "_done", "_ctl", "_queues"
	};
	size_t lists = 0;

	for (size_t i = 0; i < count; i++)
		lists += redis_lists_of(names[i]);
	redis_script(command, SCRIPT_counts,
		     sizeof(keys) / sizeof(keys[0]) + lists);
	for (size_t i = 0; i < sizeof(keys) / sizeof(keys[0]); i++)
		redis_key_tasks(command, keys[i]);
	for (size_t i = 0; i < count; i++)
		for (unsigned j = 0; j < redis_lists_of(names[i]); j++)
			redis_key_queue(command, names[i], j);
	for (size_t i = 0; i < count; i++) {
		redis_bytes(command, names[i]);
		redis_number(command, redis_lists_of(names[i]));
	}
	redis_send(command->redis, command);
}

static void ask_counts(struct redis *redis, struct store_call *call,
		       const redisReply *found)
{
	size_t count = redis_reply_count(found);
	struct store_bytes *names =
		arena_take_zeroed(&call->arena, count + 1, sizeof(*names));
	struct redis_command *command =
		redis_command_new(redis, call, on_counted);

	names[0] = nothing; /* the global one is always there */
	for (size_t i = 0; i < count; i++) {
		struct store_bytes name = redis_reply_bytes(found->element[i]);

		names[i + 1] = arena_copy(&call->arena, name.data, name.length);
	}
	command->detail = (uint64_t)(uintptr_t)names;
	write_counts(command, names, count + 1);
}

static void counts(struct redis *redis, struct store_call *call)
{
	write_counts(redis_command_new(redis, call, on_counted), NULL, 0);
}

/* ---- pause, limits ---- */

static void on_done(struct redis *redis, struct redis_command *command,
		    const redisReply *reply)
{
	(void)redis;
	(void)reply;
	command->call->answer.result = STORE_DONE;
	redis_finish(command);
}

static struct redis_command *
control(struct redis *redis, struct store_call *call, struct store_bytes queue)
{
	struct redis_command *command = redis_command_new(redis, call, on_done);

	redis_script(command, SCRIPT_control, 4);
	redis_key_tasks(command, "_ctl");
	redis_key_tasks(command, "_queues");
	redis_key_wake(command, queue);
	redis_key_tasks(command, "_events");
	redis_bytes(command, queue);
	return command;
}

static void pause_queue(struct redis *redis, struct store_call *call)
{
	const struct store_pause *request = call->request;
	struct redis_command *command = control(redis, call, request->queue);

	redis_text(command, "p:");
	redis_number(command, request->is_paused);
	redis_send(redis, command);
}

static void limits(struct redis *redis, struct store_call *call)
{
	const struct store_limits *request = call->request;
	struct redis_command *command = control(redis, call, request->queue);

	redis_text(command, "d:");
	redis_number(command, request->depth);
	redis_text(command, "m:");
	redis_number(command, request->running);
	redis_text(command, "s:");
	redis_number(command, request->per_second);
	redis_send(redis, command);
}

/* ---- cron ---- */

static void on_fired(struct redis *redis, struct redis_command *command,
		     const redisReply *reply)
{
	struct store_call *call = command->call;

	(void)redis;
	if (redis_reply_count(reply) != 2) {
		redis_reply_odd(command);
		return;
	}
	call->answer.result = redis_reply_integer(reply->element[0]) == 1
				      ? STORE_DONE
				      : STORE_STALE;
	call->answer.cron.at_ms =
		number_of(redis_reply_bytes(reply->element[1]));
	redis_finish(command);
}

static void cron_fire(struct redis *redis, struct store_call *call)
{
	static const char *const keys[] = { "data",    "_meta", "delayed",
					    "_done",   "_uniq", "_ctl",
					    "_queues", "_cron", "_cron_at" };
	const struct store_cron_fire *request = call->request;
	struct redis_command *command =
		redis_command_new(redis, call, on_fired);
	struct redis_queues queues = { .count = 0 };

	if (request->task != NULL)
		redis_queue_index(&queues, request->task->queue);
	redis_script(command, SCRIPT_cron_fire,
		     sizeof(keys) / sizeof(keys[0]) +
			     redis_queue_keys(&queues));
	for (size_t i = 0; i < sizeof(keys) / sizeof(keys[0]); i++)
		redis_key_tasks(command, keys[i]);
	redis_write_queue_keys(command, &queues);
	redis_bytes(command, request->name);
	redis_bytes(command, request->spec);
	redis_number(command, request->expected_ms);
	redis_number(command, request->next_ms);
	redis_write_queues(command, &queues);
	if (request->task != NULL)
		redis_write_task(command, request->task, 0);
	command->must_replicate = redis->wait_replicas > 0;
	if (request->task == NULL || redis_memory_takes(redis, command))
		redis_send(redis, command);
}

/* ---- events: a number is a time in ms, and which one of that time ---- */

#define EVENT_FIELDS 5
#define SAME_TIME    20 /* bits */

static uint64_t sequence_of(struct store_bytes text)
{
	const char *dash =
		text.length == 0 ? NULL : memchr(text.data, '-', text.length);

	if (dash == NULL)
		return 0;
	size_t length = (size_t)(dash - text.data);

	return number_of(store_bytes(text.data, length)) << SAME_TIME |
	       number_of(store_bytes(dash + 1, text.length - length - 1));
}

static void on_events(struct redis *redis, struct redis_command *command,
		      const redisReply *reply)
{
	struct store_call *call = command->call;
	size_t count = redis_reply_count(reply);

	(void)redis;
	if (count < 1 || (count - 1) % EVENT_FIELDS != 0) {
		redis_reply_odd(command);
		return;
	}
	count = (count - 1) / EVENT_FIELDS;
	struct store_event *list =
		arena_take_zeroed(&call->arena, count, sizeof(*list));

	for (size_t i = 0; i < count; i++) {
		redisReply **at = &reply->element[1 + i * EVENT_FIELDS];

		list[i].sequence = sequence_of(redis_reply_bytes(at[0]));
		list[i].time_ms = list[i].sequence >> SAME_TIME;
		list[i].kind = store_event_kind(redis_reply_bytes(at[1]));
		list[i].id = redis_reply_bytes(at[2]);
		list[i].owner = redis_reply_bytes(at[3]);
		list[i].detail = redis_reply_bytes(at[4]);
	}
	call->answer.result = STORE_DONE;
	call->answer.events.list = list;
	call->answer.events.count = count;
	call->answer.events.last =
		sequence_of(redis_reply_bytes(reply->element[0]));
	redis_finish(command);
}

static void events(struct redis *redis, struct store_call *call)
{
	const struct store_events *request = call->request;
	struct redis_command *command =
		redis_command_new(redis, call, on_events);
	char after[48];

	snprintf(after, sizeof(after), "%llu-%llu",
		 (unsigned long long)(request->after >> SAME_TIME),
		 (unsigned long long)(request->after & ((1 << SAME_TIME) - 1)));
	redis_script(command, SCRIPT_events, 1);
	redis_key_tasks(command, "_events");
	redis_text(command, after);
	redis_number(command, request->limit == 0 || request->limit > LIST_MAX
				      ? LIST_MAX
				      : request->limit);
	redis_send(redis, command);
}

void redis_submit_show(struct redis *redis, struct store_call *call)
{
	if (call->operation == STORE_SHOW_CALL)
		show(redis, call);
	else if (call->operation == STORE_LIST_CALL)
		list(redis, call);
	else if (call->operation == STORE_COUNTS_CALL)
		counts(redis, call);
	else if (call->operation == STORE_PAUSE_CALL)
		pause_queue(redis, call);
	else if (call->operation == STORE_LIMITS_CALL)
		limits(redis, call);
	else if (call->operation == STORE_EVENTS_CALL)
		events(redis, call);
	else
		cron_fire(redis, call);
}
