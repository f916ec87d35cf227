#include <stdio.h>
#include <stdlib.h>

#include "store/redis_internal.h"

#define KEYS_MAX   1000
#define SCAN_COUNT 500

/* ---- a walk with SCAN, over each node in turn ---- */

struct redis_walk *redis_walk_new(struct redis *redis, struct store_call *call,
				  struct store_bytes prefix)
{
	struct redis_walk *walk =
		arena_take_zeroed(&call->arena, 1, sizeof(*walk));

	walk->prefix = prefix;
	walk->table = "cache";
	walk->cursor[0] = '0';
	walk->node = redis->is_cluster ? 0 : -1;
	return walk;
}

void redis_walk_go(struct redis_walk *walk, struct store_bytes cursor)
{
	char text[40];
	char *end;

	if (cursor.length == 0 || cursor.length >= sizeof(text))
		return;
	memcpy(text, cursor.data, cursor.length);
	text[cursor.length] = '\0';
	/* One that is none begins anew. */
	walk->node = (int)strtol(text, &end, 10);
	snprintf(walk->cursor, sizeof(walk->cursor), "%llu",
		 *end == ':' ? strtoull(end + 1, NULL, 10) : 0);
}

struct store_bytes redis_walk_cursor(const struct redis_walk *walk,
				     struct arena *arena)
{
	char *cursor = arena_take(arena, 40);
	int used = snprintf(cursor, 40, "%d:%s", walk->node, walk->cursor);

	return store_bytes(cursor, (size_t)used);
}

bool redis_walk_on(struct redis *redis, const struct store_call *call,
		   struct redis_walk *walk, const redisReply *reply)
{
	struct store_bytes cursor = redis_reply_bytes(reply->element[0]);

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

void redis_scan(struct redis *redis, struct store_call *call,
		struct redis_walk *walk, uint64_t count,
		redis_reply_fn on_reply)
{
	struct redis_command *command =
		redis_command_new(redis, call, on_reply);
	struct buffer pattern = { 0 };

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

/* ---- keys ---- */

static void give_keys(struct redis *redis, struct redis_command *command,
		      const redisReply *names, struct redis_walk *walk,
		      bool has_more)
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
	if (has_more)
		call->answer.keys.cursor =
			redis_walk_cursor(walk, &call->arena);
	call->answer.result = STORE_DONE;
	redis_finish(command);
}

static void on_keys(struct redis *redis, struct redis_command *command,
		    const redisReply *reply)
{
	struct redis_walk *walk =
		(struct redis_walk *)(uintptr_t)command->detail;

	if (redis_reply_count(reply) != 2) {
		redis_reply_odd(command);
		return;
	}
	bool has_more = redis_walk_on(redis, command->call, walk, reply);

	give_keys(redis, command, reply->element[1], walk, has_more);
}

void redis_keys(struct redis *redis, struct store_call *call)
{
	const struct store_cache_keys *request = call->request;
	struct redis_walk *walk = redis_walk_new(redis, call, request->prefix);
	uint64_t count = SCAN_COUNT;

	if (request->limit != 0 && request->limit < KEYS_MAX)
		count = request->limit;
	redis_walk_go(walk, request->cursor);
	redis_scan(redis, call, walk, count, on_keys);
}

/* ---- all of them: counted, or cleared ---- */

static void unlink_all(struct redis *redis, const redisReply *names)
{
	size_t count = redis_reply_count(names);

	/* One by one where they are in different slots. */
	for (size_t first = 0; first < count;) {
		size_t some = redis->is_cluster ? 1 : count;
		struct redis_command *command =
			redis_command_new(redis, NULL, NULL);

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
	struct redis_walk *walk =
		(struct redis_walk *)(uintptr_t)command->detail;

	if (redis_reply_count(reply) != 2) {
		redis_reply_odd(command);
		return;
	}
	const redisReply *names = reply->element[1];
	bool is_entries = strcmp(walk->table, "cache") == 0;
	bool has_more = redis_walk_on(redis, call, walk, reply);

	if (is_entries)
		walk->count += redis_reply_count(names);
	if (call->operation == STORE_CACHE_CLEAR_CALL)
		unlink_all(redis, names);
	if (has_more && !call->is_answered) {
		redis_command_free(command);
		redis_scan(redis, call, walk, SCAN_COUNT, on_scanned);
		return;
	}
	call->answer.number.value = walk->count;
	call->answer.result = STORE_DONE;
	redis_finish(command);
}

void redis_size(struct redis *redis, struct store_call *call)
{
	redis_scan(redis, call,
		   redis_walk_new(redis, call, (struct store_bytes){ "", 0 }),
		   SCAN_COUNT, on_scanned);
}

void redis_clear(struct redis *redis, struct store_call *call)
{
	const struct store_cache_clear *request = call->request;

	redis_scan(redis, call, redis_walk_new(redis, call, request->prefix),
		   SCAN_COUNT, on_scanned);
}
