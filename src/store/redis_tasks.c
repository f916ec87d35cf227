#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/must.h"
#include "store/redis_internal.h"

#define ATTEMPTS     25
#define SWEEP_MAX    64
#define REAP_MAX     500
#define OTHERS_FIRST 8

static const struct store_bytes nothing = { "", 0 };

/* ---- queues ---- */

unsigned redis_lists_of(struct store_bytes queue)
{
	return queue.length == 0 ? STORE_PRIORITIES : 1;
}

size_t redis_queue_index(struct redis_queues *queues, struct store_bytes name)
{
	for (size_t i = 0; i < queues->count; i++)
		if (store_bytes_equal(queues->names[i], name))
			return i;
	MUST(queues->count < sizeof(queues->names) / sizeof(queues->names[0]));
	queues->names[queues->count] = name;
	return queues->count++;
}

size_t redis_queue_keys(const struct redis_queues *queues)
{
	size_t count = 0;

	for (size_t i = 0; i < queues->count; i++)
		count += redis_lists_of(queues->names[i]) + 1;
	return count;
}

void redis_write_queue_keys(struct redis_command *command,
			    const struct redis_queues *queues)
{
	for (size_t i = 0; i < queues->count; i++) {
		struct store_bytes name = queues->names[i];

		for (unsigned j = 0; j < redis_lists_of(name); j++)
			redis_key_queue(command, name, j);
		redis_key_wake(command, name);
	}
}

void redis_write_queues(struct redis_command *command,
			const struct redis_queues *queues)
{
	redis_number(command, queues->count);
	for (size_t i = 0; i < queues->count; i++) {
		redis_bytes(command, queues->names[i]);
		redis_number(command, redis_lists_of(queues->names[i]));
	}
}

static void write_keys(struct redis_command *command, const char *const *names,
		       size_t count)
{
	for (size_t i = 0; i < count; i++)
		redis_key_tasks(command, names[i]);
}

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

/* ---- enqueue ---- */

/* id, envelope, queue, priority, tail of the record, delay, at, unique key */
void redis_write_task(struct redis_command *command,
		      const struct store_task *task, size_t queue)
{
	char tail[64 + STORE_NAME_MAX + STORE_UNIQUE_MAX];
	unsigned priority = task->queue.length == 0 ? task->priority : 0;
	size_t length = (size_t)snprintf(
		tail, sizeof(tail), "%u|%u|%.*s||%s",
		task->max_attempts == 0 ? ATTEMPTS : task->max_attempts,
		priority, (int)task->queue.length, task->queue.data,
		task->unique.length == 0                         ? ""
		: task->unique_scope == STORE_UNIQUE_UNTIL_START ? "s"
								 : "d");

	if (task->unique.length > 0)
		memcpy(tail + length, task->unique.data, task->unique.length);
	redis_bytes(command, task->id);
	redis_bytes(command, task->envelope);
	redis_number(command, queue);
	redis_number(command, priority);
	redis_argument(command, tail, length + task->unique.length);
	redis_number(command, task->delay_ms);
	redis_number(command, task->at_ms);
	redis_bytes(command, task->unique);
}

static void on_enqueued(struct redis *redis, struct redis_command *command,
			const redisReply *reply)
{
	struct store_call *call = command->call;
	const struct store_enqueue *request = call->request;

	(void)redis;
	if (redis_reply_count(reply) != request->count * 2) {
		redis_reply_odd(command);
		return;
	}
	enum store_result *results = store_call_results(call, request->count);
	struct store_bytes *ids =
		arena_take_zeroed(&call->arena, request->count, sizeof(*ids));

	for (size_t i = 0; i < request->count; i++) {
		results[i] = (enum store_result)redis_reply_integer(
			reply->element[2 * i]);
		ids[i] = redis_reply_bytes(reply->element[2 * i + 1]);
	}
	call->answer.enqueue.ids = ids;
	redis_finish(command);
}

static void enqueue(struct redis *redis, struct store_call *call)
{
	static const char *const keys[] = { "data",   "_meta", "delayed",
					    "_done",  "_uniq", "_ctl",
					    "_queues" };
	const struct store_enqueue *request = call->request;
	struct redis_command *command =
		redis_command_new(redis, call, on_enqueued);
	struct redis_queues queues = { .count = 0 };

	for (size_t i = 0; i < request->count; i++)
		redis_queue_index(&queues, request->tasks[i].queue);
	redis_script(command, SCRIPT_enqueue,
		     COUNT(keys) + redis_queue_keys(&queues));
	write_keys(command, keys, COUNT(keys));
	redis_write_queue_keys(command, &queues);
	redis_write_queues(command, &queues);
	for (size_t i = 0; i < request->count; i++)
		redis_write_task(
			command, &request->tasks[i],
			redis_queue_index(&queues, request->tasks[i].queue));
	command->must_replicate = redis->wait_replicas > 0;
	if (redis_memory_takes(redis, command))
		redis_send(redis, command);
}

/* ---- claim ---- */

void redis_promote(struct redis *redis, const redisReply *strays)
{
	size_t count = redis_reply_count(strays) / 3;
	struct redis_queues queues = { .count = 0 };

	if (count == 0)
		return;
	struct redis_command *command = redis_command_new(redis, NULL, NULL);

	for (size_t i = 0; i < count; i++)
		redis_queue_index(
			&queues, redis_reply_bytes(strays->element[3 * i + 1]));
	command->takes_errors = true;
	redis_script(command, SCRIPT_promote, 2 + redis_queue_keys(&queues));
	redis_key_tasks(command, "_meta");
	redis_key_tasks(command, "delayed");
	redis_write_queue_keys(command, &queues);
	redis_write_queues(command, &queues);
	for (size_t i = 0; i < count; i++)
		redis_bytes(command, redis_reply_bytes(strays->element[3 * i]));
	redis_send(redis, command);
}

static void on_claimed(struct redis *redis, struct redis_command *command,
		       const redisReply *reply)
{
	struct store_call *call = command->call;
	size_t count = redis_reply_count(reply);

	if (count < 3 || (count - 3) % 6 != 0) {
		redis_reply_odd(command);
		return;
	}
	count = (count - 3) / 6;
	struct store_claimed *tasks =
		arena_take_zeroed(&call->arena, count, sizeof(*tasks));

	for (size_t i = 0; i < count; i++) {
		redisReply **at = &reply->element[3 + 6 * i];

		tasks[i].id = redis_reply_bytes(at[0]);
		tasks[i].token = (uint64_t)redis_reply_integer(at[1]);
		tasks[i].attempt = (uint32_t)redis_reply_integer(at[2]);
		tasks[i].max_attempts = (uint32_t)redis_reply_integer(at[3]);
		tasks[i].queue = redis_reply_bytes(at[4]);
		tasks[i].envelope = redis_reply_bytes(at[5]);
	}
	redis_promote(redis, reply->element[1]);
	redis_outbox_take(redis, reply->element[2]);
	call->answer.result = STORE_DONE;
	call->answer.claim.tasks = tasks;
	call->answer.claim.count = count;
	call->answer.claim.next_ms = redis_reply_integer(reply->element[0]);
	redis_finish(command);
}

static void claim(struct redis *redis, struct store_call *call)
{
	static const char *const keys[] = {
		"data",    "_meta",     "processing", "delayed",
		"_dead",   "_uniq",     "_fence",     "_ctl",
		"_errors", "_progress", "_events",
	};
	const struct store_options *options = &redis->store->options;
	const struct store_claim *request = call->request;
	struct redis_command *command =
		redis_command_new(redis, call, on_claimed);
	struct redis_queues queues = { .count = 0 };

	for (size_t i = 0; i < request->queue_count; i++)
		redis_queue_index(&queues, request->queues[i]);
	redis_script(command, SCRIPT_claim,
		     COUNT(keys) + 1 + redis_queue_keys(&queues) +
			     (redis->is_cluster ? 2 : 0));
	write_keys(command, keys, COUNT(keys));
	redis_key_owned(command, request->owner);
	redis_write_queue_keys(command, &queues);
	if (redis->is_cluster) {
		redis_key_tasks(command, "_outbox");
		redis_key_tasks(command, "_outbox_at");
	}
	redis_bytes(command, request->owner);
	redis_number(command, request->want);
	redis_number(command, request->lease_ms);
	redis_number(command, SWEEP_MAX);
	redis_number(command, ++redis->claims % OTHERS_FIRST == 0 ? 1 : 0);
	redis_number(command, options->dead_count);
	redis_number(command, options->dead_ms);
	redis_write_queues(command, &queues);
	redis_send(redis, command);
}

/* ---- batches whose answer is a result an item ---- */

static void on_results(struct redis *redis, struct redis_command *command,
		       const redisReply *reply)
{
	struct store_call *call = command->call;
	size_t count = redis_reply_count(reply);

	(void)redis;
	if (reply->type != REDIS_REPLY_ARRAY || count != command->detail) {
		redis_reply_odd(command);
		return;
	}
	enum store_result *results = store_call_results(call, count);

	for (size_t i = 0; i < count; i++)
		results[i] = (enum store_result)redis_reply_integer(
			reply->element[i]);
	redis_finish(command);
}

static struct redis_command *batch(struct redis *redis, struct store_call *call,
				   enum redis_script script,
				   const char *const *keys, size_t key_count,
				   size_t items)
{
	struct redis_command *command =
		redis_command_new(redis, call, on_results);

	command->detail = items;
	redis_script(command, script, key_count);
	write_keys(command, keys, key_count);
	return command;
}

static void write_ids(struct redis_command *command,
		      const struct store_bytes *ids, size_t count)
{
	for (size_t i = 0; i < count; i++)
		redis_bytes(command, ids[i]);
	redis_send(command->redis, command);
}

static void write_leases(struct redis_command *command,
			 const struct store_lease *leases, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		redis_bytes(command, leases[i].id);
		redis_number(command, leases[i].token);
	}
	redis_send(command->redis, command);
}

static void heartbeat(struct redis *redis, struct store_call *call)
{
	static const char *const keys[] = { "_meta", "processing" };
	const struct store_heartbeat *request = call->request;
	struct redis_command *command =
		batch(redis, call, SCRIPT_heartbeat, keys, COUNT(keys),
		      request->count);

	redis_number(command, request->lease_ms);
	write_leases(command, request->leases, request->count);
}

static void fail(struct redis *redis, struct store_call *call)
{
	static const char *const keys[] = {
		"data",  "_meta",     "processing", "delayed",
		"_dead", "_uniq",     "_errors",    "_ctl",
		"_wake", "_progress", "_events",
	};
	const struct store_fail *request = call->request;
	struct redis_command *command = batch(redis, call, SCRIPT_fail, keys,
					      COUNT(keys), request->count);

	redis_number(command, redis->store->options.dead_count);
	redis_number(command, redis->store->options.dead_ms);
	for (size_t i = 0; i < request->count; i++) {
		const struct store_failure *item = &request->items[i];

		redis_bytes(command, item->id);
		redis_number(command, item->token);
		redis_bytes(command, item->error);
		redis_number(command, item->delay_ms);
		redis_number(command, item->is_final);
	}
	redis_send(redis, command);
}

static void release(struct redis *redis, struct store_call *call)
{
	static const char *const keys[] = {
		"data",    "_meta", "processing", "delayed",   "_uniq",
		"_errors", "_ctl",  "_wake",      "_progress", "_events",
	};
	const struct store_release *request = call->request;

	write_leases(batch(redis, call, SCRIPT_release, keys, COUNT(keys),
			   request->count),
		     request->leases, request->count);
}

static void cancel(struct redis *redis, struct store_call *call)
{
	static const char *const keys[] = { "data",   "_meta",   "delayed",
					    "_uniq",  "_errors", "_progress",
					    "_events" };
	const struct store_cancel *request = call->request;

	write_ids(batch(redis, call, SCRIPT_cancel, keys, COUNT(keys),
			request->count),
		  request->ids, request->count);
}

static void retry_dead(struct redis *redis, struct store_call *call)
{
	static const char *const keys[] = { "_meta", "delayed", "_dead",
					    "_wake", "_events" };
	const struct store_retry_dead *request = call->request;

	write_ids(batch(redis, call, SCRIPT_retry_dead, keys, COUNT(keys),
			request->count),
		  request->ids, request->count);
}

static void remove_tasks(struct redis *redis, struct store_call *call)
{
	static const char *const keys[] = { "data",  "_meta",    "delayed",
					    "_dead", "_uniq",    "_errors",
					    "_done", "_done_at", "_progress" };
	const struct store_remove *request = call->request;

	write_ids(batch(redis, call, SCRIPT_remove, keys, COUNT(keys),
			request->count),
		  request->ids, request->count);
}

/* ---- complete ---- */

static void write_effect(struct redis_command *command,
			 const struct store_effect *effect,
			 struct redis_queues *queues, size_t *cache_key)
{
	if (effect->kind == STORE_EFFECT_ENQUEUE) {
		redis_text(command, "q");
		redis_write_task(command, &effect->task,
				 redis_queue_index(queues, effect->task.queue));
		return;
	}
	redis_text(command, redis_effect_kinds[effect->kind]);
	redis_number(command, (*cache_key)++);
	if (effect->kind == STORE_EFFECT_CACHE_ADD)
		redis_integer(command, effect->delta);
	else
		redis_bytes(command, effect->value);
	redis_bytes(command, effect->type);
	redis_number(command, effect->ttl_ms);
	for (int i = 0; i < 4; i++)
		redis_bytes(command, nothing);
}

static size_t scan_effects(const struct store_complete *request,
			   struct redis_queues *queues)
{
	size_t cache_keys = 0;

	for (size_t i = 0; i < request->count; i++) {
		const struct store_completion *item = &request->items[i];

		for (size_t j = 0; j < item->effect_count; j++) {
			const struct store_effect *effect = &item->effects[j];

			if (effect->kind == STORE_EFFECT_ENQUEUE)
				redis_queue_index(queues, effect->task.queue);
			else
				cache_keys++;
		}
	}
	return cache_keys;
}

static void write_cache_keys(struct redis_command *command,
			     const struct store_complete *request)
{
	for (size_t i = 0; i < request->count; i++) {
		const struct store_completion *item = &request->items[i];

		for (size_t j = 0; j < item->effect_count; j++)
			if (item->effects[j].kind != STORE_EFFECT_ENQUEUE)
				redis_key_cache(command, "cache",
						item->effects[j].key);
	}
}

static void write_effects(struct redis_command *command,
			  const struct store_completion *item,
			  struct redis_queues *queues, size_t *key)
{
	redis_number(command, item->effect_count);
	for (size_t i = 0; i < item->effect_count; i++)
		write_effect(command, &item->effects[i], queues, key);
}

/* Tasks are made in the same step; the rest stands in the outbox. */
static void write_staged(struct redis_command *command,
			 const struct store_completion *item,
			 struct redis_queues *queues, struct store_bytes entry)
{
	size_t count = entry.length > 0;

	for (size_t i = 0; i < item->effect_count; i++)
		count += item->effects[i].kind == STORE_EFFECT_ENQUEUE;
	redis_number(command, count);
	for (size_t i = 0; i < item->effect_count; i++)
		if (item->effects[i].kind == STORE_EFFECT_ENQUEUE)
			write_effect(command, &item->effects[i], queues, NULL);
	if (entry.length == 0)
		return;
	redis_text(command, "o");
	redis_bytes(command, entry);
	for (int i = 0; i < 7; i++)
		redis_bytes(command, nothing);
}

void redis_complete(struct redis *redis, struct store_call *call,
		    struct redis_outbox *outbox, redis_reply_fn on_reply)
{
	static const char *const keys[] = {
		"data",    "_meta",     "processing", "_done", "_done_at",
		"_uniq",   "_errors",   "_ctl",       "_wake", "delayed",
		"_queues", "_progress", "_events",
	};
	const struct store_complete *request = call->request;
	const struct store_options *options = &redis->store->options;
	struct redis_queues queues = { .count = 0 };
	size_t cache_keys = scan_effects(request, &queues);
	struct redis_command *command =
		redis_command_new(redis, call, on_reply);
	size_t key = COUNT(keys) + redis_queue_keys(&queues) + 1;

	command->detail =
		outbox != NULL ? (uint64_t)(uintptr_t)outbox : request->count;
	redis_script(command, SCRIPT_complete,
		     key - 1 + (outbox != NULL ? 2 : cache_keys));
	write_keys(command, keys, COUNT(keys));
	redis_write_queue_keys(command, &queues);
	if (outbox != NULL) {
		redis_key_tasks(command, "_outbox");
		redis_key_tasks(command, "_outbox_at");
	} else {
		write_cache_keys(command, request);
	}
	redis_number(command, options->done_count);
	redis_number(command, options->done_ms);
	redis_number(command, outbox != NULL);
	redis_write_queues(command, &queues);
	redis_number(command, request->count);
	for (size_t i = 0; i < request->count; i++) {
		const struct store_completion *item = &request->items[i];

		redis_bytes(command, item->id);
		redis_number(command, item->token);
		redis_bytes(command, item->result);
		if (outbox == NULL)
			write_effects(command, item, &queues, &key);
		else
			write_staged(command, item, &queues,
				     redis_outbox_entry(outbox, i));
	}
	command->must_replicate = redis->wait_replicas > 0;
	redis_send(redis, command);
}

static void complete(struct redis *redis, struct store_call *call)
{
	struct redis_queues queues = { .count = 0 };

	if (redis->is_cluster && scan_effects(call->request, &queues) > 0)
		redis_outbox_complete(redis, call);
	else
		redis_complete(redis, call, NULL, on_results);
}

/* ---- reap_owner: a bounded number at a time ---- */

#define REAP_BEGIN (-1) /* what the owner has claimed; then where to go on */
#define REAP_END   (-3)

static void reap_some(struct redis *redis, struct store_call *call,
		      int64_t first);

static void on_reaped(struct redis *redis, struct redis_command *command,
		      const redisReply *reply)
{
	struct store_call *call = command->call;

	if (redis_reply_count(reply) != 2) {
		redis_reply_odd(command);
		return;
	}
	int64_t next = redis_reply_integer(reply->element[1]);

	call->answer.result = STORE_DONE;
	call->answer.number.value +=
		(uint64_t)redis_reply_integer(reply->element[0]);
	if (next == REAP_END || call->is_answered) {
		redis_finish(command);
		return;
	}
	redis_command_free(command);
	reap_some(redis, call, next);
}

static void reap_some(struct redis *redis, struct store_call *call,
		      int64_t first)
{
	static const char *const keys[] = {
		"data",  "_meta",     "processing", "delayed",
		"_dead", "_uniq",     "_errors",    "_ctl",
		"_wake", "_progress", "_events",
	};
	const struct store_reap_owner *request = call->request;
	struct redis_command *command =
		redis_command_new(redis, call, on_reaped);

	redis_script(command, SCRIPT_reap_owner, COUNT(keys) + 1);
	write_keys(command, keys, COUNT(keys));
	redis_key_owned(command, request->owner);
	redis_bytes(command, request->owner);
	redis_integer(command, first);
	redis_number(command, REAP_MAX);
	redis_number(command, redis->store->options.dead_count);
	redis_number(command, redis->store->options.dead_ms);
	redis_send(redis, command);
}

static void reap_owner(struct redis *redis, struct store_call *call)
{
	reap_some(redis, call, REAP_BEGIN);
}

/* ---- progress ---- */

static void on_result(struct redis *redis, struct redis_command *command,
		      const redisReply *reply)
{
	(void)redis;
	command->call->answer.result =
		(enum store_result)redis_reply_integer(reply);
	redis_finish(command);
}

static void progress(struct redis *redis, struct store_call *call)
{
	const struct store_progress *request = call->request;
	struct redis_command *command =
		redis_command_new(redis, call, on_result);

	redis_script(command, SCRIPT_progress, 2);
	redis_key_tasks(command, "_meta");
	redis_key_tasks(command, "_progress");
	redis_bytes(command, request->id);
	redis_number(command, request->token);
	redis_bytes(command, request->progress);
	redis_send(redis, command);
}

typedef void (*submit_fn)(struct redis *redis, struct store_call *call);

void redis_submit_tasks(struct redis *redis, struct store_call *call)
{
	static const submit_fn operations[] = {
		[STORE_ENQUEUE_CALL] = enqueue,
		[STORE_CLAIM_CALL] = claim,
		[STORE_HEARTBEAT_CALL] = heartbeat,
		[STORE_COMPLETE_CALL] = complete,
		[STORE_FAIL_CALL] = fail,
		[STORE_RELEASE_CALL] = release,
		[STORE_CANCEL_CALL] = cancel,
		[STORE_REAP_OWNER_CALL] = reap_owner,
		[STORE_RETRY_DEAD_CALL] = retry_dead,
		[STORE_REMOVE_CALL] = remove_tasks,
		[STORE_PROGRESS_CALL] = progress,
		[STORE_ADOPT_QUEUE_CALL] = redis_adopt_queue,
		[STORE_AUDIT_CALL] = redis_audit,
	};

	operations[call->operation](redis, call);
}
