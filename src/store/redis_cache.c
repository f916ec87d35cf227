#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "base/must.h"
#include "store/redis_internal.h"

#define READ_RESOLUTION_MS 1000

/* ---- values ---- */

static void on_done_or(struct redis_command *command, bool is_done,
		       enum store_result otherwise)
{
	command->call->answer.result = is_done ? STORE_DONE : otherwise;
	redis_finish(command);
}

static void on_saved(struct redis *redis, struct redis_command *command,
		     const redisReply *reply)
{
	(void)redis;
	on_done_or(command, redis_reply_integer(reply) == 1, STORE_BUSY);
}

static void save(struct redis *redis, struct store_call *call)
{
	const struct store_cache_save *request = call->request;
	struct redis_command *command =
		redis_command_new(redis, call, on_saved);

	redis_script(command, SCRIPT_cache_save, 2);
	redis_key_cache(command, "cache", request->key);
	redis_key_cache(command, "lock", request->key);
	redis_bytes(command, request->value);
	redis_bytes(command, request->type);
	redis_number(command, request->ttl_ms);
	redis_bytes(command, request->owner);
	redis_send(redis, command);
}

static uint64_t now_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_REALTIME, &now);
	return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

/* At most once a second for each key, and nobody waits for it. */
static void touch(struct redis *redis, const struct store_cache_load *request,
		  uint64_t read_ms)
{
	uint64_t now = now_ms();

	if (now < read_ms + READ_RESOLUTION_MS &&
	    now + READ_RESOLUTION_MS > read_ms)
		return;
	struct redis_command *command = redis_command_new(redis, NULL, NULL);

	command->takes_errors = true;
	redis_script(command, SCRIPT_cache_touch, 1);
	redis_key_cache(command, "cache", request->key);
	redis_send(redis, command);
}

static void on_loaded(struct redis *redis, struct redis_command *command,
		      const redisReply *reply)
{
	struct store_call *call = command->call;

	if (redis_reply_count(reply) != 5) {
		redis_reply_odd(command);
		return;
	}
	if (reply->element[0]->type == REDIS_REPLY_NIL) {
		call->answer.result = STORE_NOT_FOUND;
		redis_finish(command);
		return;
	}
	call->answer.result = STORE_DONE;
	call->answer.cache.value = redis_reply_bytes(reply->element[0]);
	call->answer.cache.type = redis_reply_bytes(reply->element[1]);
	call->answer.cache.created_ms =
		(uint64_t)redis_reply_integer(reply->element[2]);
	call->answer.cache.expires_ms =
		(uint64_t)redis_reply_integer(reply->element[3]);
	call->answer.cache.read_ms =
		(uint64_t)redis_reply_integer(reply->element[4]);
	if (!call->is_answered)
		touch(redis, call->request, call->answer.cache.read_ms);
	redis_finish(command);
}

static void load(struct redis *redis, struct store_call *call)
{
	static const char *const fields[] = { "v", "t", "c", "x", "r" };
	const struct store_cache_load *request = call->request;
	struct redis_command *command =
		redis_command_new(redis, call, on_loaded);

	if (request->slide_ms != 0) {
		redis_script(command, SCRIPT_cache_slide, 1);
		redis_key_cache(command, "cache", request->key);
		redis_number(command, request->slide_ms);
	} else {
		redis_text(command, "HMGET");
		redis_key_cache(command, "cache", request->key);
		for (size_t i = 0; i < sizeof(fields) / sizeof(fields[0]); i++)
			redis_text(command, fields[i]);
	}
	redis_send(redis, command);
}

static void on_destroyed(struct redis *redis, struct redis_command *command,
			 const redisReply *reply)
{
	int64_t answer = redis_reply_integer(reply);

	(void)redis;
	on_done_or(command, answer == 1,
		   answer < 0 ? STORE_BUSY : STORE_NOT_FOUND);
}

static void destroy(struct redis *redis, struct store_call *call)
{
	const struct store_cache_destroy *request = call->request;
	struct redis_command *command =
		redis_command_new(redis, call, on_destroyed);

	redis_script(command, SCRIPT_cache_destroy, 2);
	redis_key_cache(command, "cache", request->key);
	redis_key_cache(command, "lock", request->key);
	redis_bytes(command, request->owner);
	redis_send(redis, command);
}

static void on_expiring(struct redis *redis, struct redis_command *command,
			const redisReply *reply)
{
	(void)redis;
	on_done_or(command, redis_reply_integer(reply) == 1, STORE_NOT_FOUND);
}

static void expire(struct redis *redis, struct store_call *call)
{
	const struct store_cache_expire *request = call->request;
	struct redis_command *command =
		redis_command_new(redis, call, on_expiring);

	redis_script(command, SCRIPT_cache_expire, 1);
	redis_key_cache(command, "cache", request->key);
	redis_number(command, request->ttl_ms);
	redis_send(redis, command);
}

/* ---- lists and counters: not to be done twice ---- */

static void on_number(struct redis *redis, struct redis_command *command,
		      const redisReply *reply)
{
	(void)redis;
	command->call->answer.number.value =
		(uint64_t)redis_reply_integer(reply);
	on_done_or(command, true, STORE_DONE);
}

static void push(struct redis *redis, struct store_call *call)
{
	const struct store_cache_push *request = call->request;
	struct redis_command *command =
		redis_command_new(redis, call, on_number);

	command->is_repeatable = false;
	redis_script(command, SCRIPT_cache_push, 1);
	redis_key_cache(command, "cache", request->key);
	redis_bytes(command, request->value);
	redis_number(command, request->ttl_ms);
	redis_send(redis, command);
}

static void on_popped(struct redis *redis, struct redis_command *command,
		      const redisReply *reply)
{
	(void)redis;
	command->call->answer.cache.value = redis_reply_bytes(reply);
	on_done_or(command, reply->type == REDIS_REPLY_STRING, STORE_NOT_FOUND);
}

static void pop(struct redis *redis, struct store_call *call)
{
	const struct store_cache_pop *request = call->request;
	struct redis_command *command =
		redis_command_new(redis, call, on_popped);

	command->is_repeatable = false;
	redis_text(command, "LPOP");
	redis_key_cache(command, "cache", request->key);
	redis_send(redis, command);
}

static void length(struct redis *redis, struct store_call *call)
{
	const struct store_cache_length *request = call->request;
	struct redis_command *command =
		redis_command_new(redis, call, on_number);

	redis_text(command, "LLEN");
	redis_key_cache(command, "cache", request->key);
	redis_send(redis, command);
}

static void on_added(struct redis *redis, struct redis_command *command,
		     const redisReply *reply)
{
	(void)redis;
	command->call->answer.counter.value = redis_reply_integer(reply);
	on_done_or(command, true, STORE_DONE);
}

static void add(struct redis *redis, struct store_call *call)
{
	const struct store_cache_add *request = call->request;
	struct redis_command *command =
		redis_command_new(redis, call, on_added);

	command->is_repeatable = false;
	redis_script(command, SCRIPT_cache_add, 1);
	redis_key_cache(command, "cache", request->key);
	redis_integer(command, request->delta);
	redis_number(command, request->ttl_ms);
	redis_send(redis, command);
}

typedef void (*submit_fn)(struct redis *redis, struct store_call *call);

void redis_submit_cache(struct redis *redis, struct store_call *call)
{
	static const submit_fn operations[STORE_READY_CALL] = {
		[STORE_CACHE_SAVE_CALL] = save,
		[STORE_CACHE_LOAD_CALL] = load,
		[STORE_CACHE_DESTROY_CALL] = destroy,
		[STORE_CACHE_KEYS_CALL] = redis_keys,
		[STORE_CACHE_SIZE_CALL] = redis_size,
		[STORE_CACHE_CLEAR_CALL] = redis_clear,
		[STORE_CACHE_PUSH_CALL] = push,
		[STORE_CACHE_POP_CALL] = pop,
		[STORE_CACHE_LENGTH_CALL] = length,
		[STORE_CACHE_ADD_CALL] = add,
		[STORE_CACHE_LOCK_CALL] = redis_lock,
		[STORE_CACHE_UNLOCK_CALL] = redis_unlock,
		[STORE_CACHE_EXPIRE_CALL] = expire,
		[STORE_CACHE_EXPORT_CALL] = redis_export,
		[STORE_CACHE_IMPORT_CALL] = redis_import,
		[STORE_LOG_READ_CALL] = redis_log_read,
	};

	operations[call->operation](redis, call);
}
