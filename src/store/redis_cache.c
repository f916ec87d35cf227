#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "base/must.h"
#include "store/redis_internal.h"

#define KEYS_MAX           1000
#define SCAN_COUNT         500
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

/* ---- locks ---- */

static void on_locked(struct redis *redis, struct redis_command *command,
		      const redisReply *reply)
{
	struct store_call *call = command->call;

	(void)redis;
	if (redis_reply_count(reply) != 3) {
		redis_reply_odd(command);
		return;
	}
	int64_t left_ms = redis_reply_integer(reply->element[2]);
	bool is_ours = redis_reply_integer(reply->element[0]) == 1;

	if (is_ours)
		call->answer.lock.token =
			(uint64_t)redis_reply_integer(reply->element[1]);
	call->answer.lock.left_ms = left_ms > 0 ? (uint64_t)left_ms : 0;
	on_done_or(command, is_ours, STORE_BUSY);
}

static void lock(struct redis *redis, struct store_call *call)
{
	const struct store_cache_lock *request = call->request;
	struct redis_command *command =
		redis_command_new(redis, call, on_locked);

	redis_script(command, SCRIPT_cache_lock, 2);
	redis_key_cache(command, "lock", request->key);
	redis_key_fence(command, request->key);
	redis_bytes(command, request->owner);
	redis_number(command, request->ttl_ms);
	redis_send(redis, command);
}

static void on_unlocked(struct redis *redis, struct redis_command *command,
			const redisReply *reply)
{
	(void)redis;
	on_done_or(command, redis_reply_integer(reply) == 1, STORE_LOST);
}

static void unlock(struct redis *redis, struct store_call *call)
{
	const struct store_cache_unlock *request = call->request;
	struct redis_command *command =
		redis_command_new(redis, call, on_unlocked);

	command->is_repeatable = false;
	redis_script(command, SCRIPT_cache_unlock, 1);
	redis_key_cache(command, "lock", request->key);
	redis_bytes(command, request->owner);
	redis_number(command, request->token);
	redis_send(redis, command);
}

/* ---- all keys: a walk with SCAN, over each node in turn ---- */

struct walk {
	struct store_bytes prefix;
	const char *table; /* "cache"; clearing goes over "lock" after it */
	int node;
	char cursor[24];
	uint64_t count;
};

static void scan(struct redis *redis, struct store_call *call,
		 struct walk *walk);

/* The next place; false: there is none. */
static bool move_on(struct redis *redis, const struct store_call *call,
		    struct walk *walk, struct store_bytes cursor)
{
	snprintf(walk->cursor, sizeof(walk->cursor), "%.*s", (int)cursor.length,
		 cursor.data);
	if (strcmp(walk->cursor, "0") != 0)
		return true;
	if (redis->is_cluster && redis_cluster_next(redis, &walk->node))
		return true;
	if (call->operation == STORE_CACHE_CLEAR_CALL &&
	    strcmp(walk->table, "cache") == 0 && walk->prefix.length == 0) {
		walk->table = "lock";
		walk->node = redis->is_cluster ? 0 : -1;
		return true;
	}
	return false;
}

static void give_keys(struct redis *redis, struct redis_command *command,
		      const redisReply *names, struct walk *walk, bool has_more)
{
	struct store_call *call = command->call;
	struct store_bytes *keys = arena_take_zeroed(
		&call->arena, redis_reply_count(names), sizeof(*keys));
	size_t count = 0;

	for (size_t i = 0; i < redis_reply_count(names); i++)
		count += redis_cache_unname(
			redis, &call->arena,
			redis_reply_bytes(names->element[i]), &keys[count]);
	call->answer.keys.keys = keys;
	call->answer.keys.count = count;
	if (has_more) {
		char *cursor = arena_take(&call->arena, 40);
		int used =
			snprintf(cursor, 40, "%d:%s", walk->node, walk->cursor);

		call->answer.keys.cursor = store_bytes(cursor, (size_t)used);
	}
	on_done_or(command, true, STORE_DONE);
}

static void unlink_all(struct redis *redis, const redisReply *names, int node)
{
	size_t count = redis_reply_count(names);

	/* One by one where they are in different slots. */
	for (size_t first = 0; first < count;) {
		size_t some = redis->is_cluster ? 1 : count;
		struct redis_command *command =
			redis_command_new(redis, NULL, NULL);

		(void)node;
		command->takes_errors = true;
		redis_text(command, "UNLINK");
		for (size_t i = first; i < first + some; i++)
			redis_key(command,
				  redis_reply_bytes(names->element[i]));
		redis_send(redis, command);
		first += some;
	}
}

static void on_scanned(struct redis *redis, struct redis_command *command,
		       const redisReply *reply)
{
	struct store_call *call = command->call;
	struct walk *walk = (struct walk *)(uintptr_t)command->detail;

	if (redis_reply_count(reply) != 2) {
		redis_reply_odd(command);
		return;
	}
	const redisReply *names = reply->element[1];
	int node = walk->node;
	bool is_entries = strcmp(walk->table, "cache") == 0;
	bool has_more = move_on(redis, call, walk,
				redis_reply_bytes(reply->element[0]));

	if (call->operation == STORE_CACHE_KEYS_CALL) {
		give_keys(redis, command, names, walk, has_more);
		return;
	}
	if (is_entries)
		walk->count += redis_reply_count(names);
	if (call->operation == STORE_CACHE_CLEAR_CALL)
		unlink_all(redis, names, node);
	if (has_more && !call->is_answered) {
		redis_command_free(command);
		scan(redis, call, walk);
		return;
	}
	call->answer.number.value = walk->count;
	on_done_or(command, true, STORE_DONE);
}

static void scan(struct redis *redis, struct store_call *call,
		 struct walk *walk)
{
	struct redis_command *command =
		redis_command_new(redis, call, on_scanned);
	struct buffer pattern = { 0 };
	uint64_t count = SCAN_COUNT;

	if (call->operation == STORE_CACHE_KEYS_CALL) {
		const struct store_cache_keys *request = call->request;

		if (request->limit != 0 && request->limit < KEYS_MAX)
			count = request->limit;
	}
	command->detail = (uint64_t)(uintptr_t)walk;
	command->node = walk->node;
	redis_cache_pattern(redis, walk->table, walk->prefix, &pattern);
	redis_text(command, "SCAN");
	redis_text(command, walk->cursor);
	redis_text(command, "MATCH");
	redis_argument(command, buffer_bytes(&pattern),
		       buffer_length(&pattern));
	redis_text(command, "COUNT");
	redis_number(command, count);
	buffer_fini(&pattern);
	redis_send(redis, command);
}

static struct walk *walk_new(struct redis *redis, struct store_call *call,
			     struct store_bytes prefix)
{
	struct walk *walk = arena_take_zeroed(&call->arena, 1, sizeof(*walk));

	walk->prefix = prefix;
	walk->table = "cache";
	walk->cursor[0] = '0';
	walk->node = redis->is_cluster ? 0 : -1;
	return walk;
}

static void keys(struct redis *redis, struct store_call *call)
{
	const struct store_cache_keys *request = call->request;
	struct walk *walk = walk_new(redis, call, request->prefix);
	char text[40];
	char *end;

	if (request->cursor.length > 0 &&
	    request->cursor.length < sizeof(text)) {
		memcpy(text, request->cursor.data, request->cursor.length);
		text[request->cursor.length] = '\0';
		/* One that is none begins anew. */
		walk->node = (int)strtol(text, &end, 10);
		snprintf(walk->cursor, sizeof(walk->cursor), "%llu",
			 *end == ':' ? strtoull(end + 1, NULL, 10) : 0);
	}
	scan(redis, call, walk);
}

static void size(struct redis *redis, struct store_call *call)
{
	scan(redis, call, walk_new(redis, call, (struct store_bytes){ "", 0 }));
}

static void clear(struct redis *redis, struct store_call *call)
{
	const struct store_cache_clear *request = call->request;

	scan(redis, call, walk_new(redis, call, request->prefix));
}

typedef void (*submit_fn)(struct redis *redis, struct store_call *call);

void redis_submit_cache(struct redis *redis, struct store_call *call)
{
	static const submit_fn operations[STORE_READY_CALL] = {
		[STORE_CACHE_SAVE_CALL] = save,
		[STORE_CACHE_LOAD_CALL] = load,
		[STORE_CACHE_DESTROY_CALL] = destroy,
		[STORE_CACHE_KEYS_CALL] = keys,
		[STORE_CACHE_SIZE_CALL] = size,
		[STORE_CACHE_CLEAR_CALL] = clear,
		[STORE_CACHE_PUSH_CALL] = push,
		[STORE_CACHE_POP_CALL] = pop,
		[STORE_CACHE_LENGTH_CALL] = length,
		[STORE_CACHE_ADD_CALL] = add,
		[STORE_CACHE_LOCK_CALL] = lock,
		[STORE_CACHE_UNLOCK_CALL] = unlock,
	};

	operations[call->operation](redis, call);
}
