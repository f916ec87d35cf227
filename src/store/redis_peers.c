#include <stdio.h>
#include <stdlib.h>

#include "base/must.h"
#include "store/redis_internal.h"

static void write_peer_keys(struct redis_command *command,
			    enum redis_script script)
{
	redis_script(command, script, 4);
	redis_key_plain(command, "peers");
	redis_key_plain(command, "peerPings");
	redis_key_plain(command, "_peerNonces");
	redis_key_plain(command, "_peersGone");
}

/* Id, nonce, record and silence of each. */
static bool take_peers(struct store_call *call, redisReply *const *elements,
		       size_t count)
{
	if (count % 4 != 0)
		return false;
	count /= 4;
	struct store_peer_info *list =
		arena_take_zeroed(&call->arena, count, sizeof(*list));

	for (size_t i = 0; i < count; i++) {
		redisReply *const *at = elements + 4 * i;

		list[i].id = redis_reply_bytes(at[0]);
		list[i].nonce = redis_reply_bytes(at[1]);
		list[i].record = redis_reply_bytes(at[2]);
		list[i].silent_ms = (uint64_t)redis_reply_integer(at[3]);
	}
	call->answer.peers.list = list;
	call->answer.peers.count = count;
	return true;
}

static void on_ping(struct redis *redis, struct redis_command *command,
		    const redisReply *reply)
{
	struct store_call *call = command->call;
	size_t count = redis_reply_count(reply);

	(void)redis;
	if (count < 1 || !take_peers(call, reply->element + 1, count - 1)) {
		redis_reply_odd(command);
		return;
	}
	call->answer.result = redis_reply_integer(reply->element[0]) == 1
				      ? STORE_DONE
				      : STORE_STALE;
	redis_finish(command);
}

/* Nonce, and time|l|id or time|d|id, of each. */
static void take_gone(struct store_call *call, const redisReply *reply)
{
	size_t count = redis_reply_count(reply) / 2;
	struct store_peer_gone *list =
		arena_take_zeroed(&call->arena, count, sizeof(*list));
	size_t kept = 0;

	for (size_t i = 0; i < count; i++) {
		struct store_bytes how =
			redis_reply_bytes(reply->element[2 * i + 1]);
		const char *bar = how.length == 0
					  ? NULL
					  : memchr(how.data, '|', how.length);
		const char *end = how.data + how.length;

		if (bar == NULL || end - bar < 3)
			continue;
		list[kept].nonce = redis_reply_bytes(reply->element[2 * i]);
		list[kept].has_left = bar[1] == 'l';
		list[kept++].id = store_bytes(bar + 3, (size_t)(end - bar - 3));
	}
	call->answer.peers.gone = list;
	call->answer.peers.gone_count = kept;
}

static void on_list(struct redis *redis, struct redis_command *command,
		    const redisReply *reply)
{
	struct store_call *call = command->call;
	const redisReply *list =
		redis_reply_count(reply) == 3 ? reply->element[1] : NULL;

	(void)redis;
	if (list == NULL ||
	    !take_peers(call, list->element, redis_reply_count(list))) {
		redis_reply_odd(command);
		return;
	}
	take_gone(call, reply->element[2]);
	call->answer.result = STORE_DONE;
	redis_finish(command);
}

static void ping(struct redis *redis, struct store_call *call)
{
	const struct store_peer_ping *request = call->request;
	struct redis_command *command = redis_command_new(redis, call, on_ping);

	write_peer_keys(command, SCRIPT_peer_ping);
	redis_bytes(command, request->id);
	redis_bytes(command, request->nonce);
	redis_bytes(command, request->record);
	redis_number(command, request->is_joining);
	redis_number(command, request->dead_ms);
	redis_send(redis, command);
}

static void list(struct redis *redis, struct store_call *call)
{
	struct redis_command *command = redis_command_new(redis, call, on_list);

	write_peer_keys(command, SCRIPT_peer_list);
	redis_send(redis, command);
}

/* 1: done, 0: it was not so. */
static void on_done_or_stale(struct redis *redis, struct redis_command *command,
			     const redisReply *reply)
{
	(void)redis;
	command->call->answer.result =
		redis_reply_integer(reply) == 1 ? STORE_DONE : STORE_STALE;
	redis_finish(command);
}

static void remove_peer(struct redis *redis, struct store_call *call,
			struct store_bytes id, struct store_bytes nonce,
			bool has_left)
{
	struct redis_command *command =
		redis_command_new(redis, call, on_done_or_stale);

	write_peer_keys(command, SCRIPT_peer_remove);
	redis_bytes(command, id);
	redis_bytes(command, nonce);
	redis_number(command, has_left);
	redis_send(redis, command);
}

static void down(struct redis *redis, struct store_call *call)
{
	const struct store_peer_down *request = call->request;

	remove_peer(redis, call, request->id, request->nonce, false);
}

static void leave(struct redis *redis, struct store_call *call)
{
	const struct store_peer_leave *request = call->request;

	remove_peer(redis, call, request->id, request->nonce, true);
}

/* ---- names ---- */

static void on_taken(struct redis *redis, struct redis_command *command,
		     const redisReply *reply)
{
	struct store_call *call = command->call;
	const struct store_name_take *request = call->request;
	size_t room = request->prefix.length + 12;
	char *name = arena_take(&call->arena, room);
	int64_t number = redis_reply_integer(reply);

	(void)redis;
	memcpy(name, request->prefix.data, request->prefix.length);
	int digits = snprintf(name + request->prefix.length, 12, "-%u",
			      (unsigned)number);

	call->answer.result = STORE_DONE;
	call->answer.name.number = (uint32_t)number;
	call->answer.name.name =
		store_bytes(name, request->prefix.length + (size_t)digits);
	redis_finish(command);
}

static void take_name(struct redis *redis, struct store_call *call)
{
	const struct store_name_take *request = call->request;
	struct redis_command *command =
		redis_command_new(redis, call, on_taken);

	redis_script(command, SCRIPT_name_take, 3);
	redis_key_plain(command, "_names");
	redis_key_plain(command, "peerPings");
	redis_key_plain(command, "_peerNonces");
	redis_bytes(command, request->prefix);
	redis_bytes(command, request->nonce);
	redis_bytes(command, request->host);
	redis_number(command, request->wanted);
	redis_number(command, request->is_vouched);
	redis_number(command, request->dead_ms);
	redis_send(redis, command);
}

static void free_name(struct redis *redis, struct store_call *call)
{
	const struct store_name_free *request = call->request;
	struct redis_command *command =
		redis_command_new(redis, call, on_done_or_stale);

	redis_script(command, SCRIPT_name_free, 1);
	redis_key_plain(command, "_names");
	redis_bytes(command, request->name);
	redis_bytes(command, request->nonce);
	redis_send(redis, command);
}

/* ---- statistics ---- */

static void flush_stats(struct redis *redis, struct store_call *call)
{
	const struct store_stats_flush *request = call->request;
	struct redis_command *command =
		redis_command_new(redis, call, on_done_or_stale);

	redis_script(command, SCRIPT_stats_flush, 2);
	redis_key_plain(command, "stats");
	redis_key_plain(command, "_statsFlushed");
	redis_bytes(command, request->source);
	redis_number(command, request->sequence);
	redis_number(command, request->is_last);
	for (size_t i = 0; i < request->count; i++) {
		redis_bytes(command, request->stats[i].name);
		redis_integer(command, request->stats[i].value);
		redis_number(command, request->stats[i].is_removed ? 2
				      : request->stats[i].is_gauge ? 1
								   : 0);
	}
	redis_send(redis, command);
}

static void on_stats(struct redis *redis, struct redis_command *command,
		     const redisReply *reply)
{
	struct store_call *call = command->call;
	const struct store_stats_read *request = call->request;
	size_t count = redis_reply_count(reply) / 2;
	struct store_stat *stats =
		arena_take_zeroed(&call->arena, count, sizeof(*stats));
	size_t kept = 0;

	(void)redis;
	for (size_t i = 0; i < count; i++) {
		struct store_bytes name =
			redis_reply_bytes(reply->element[2 * i]);

		if (name.length < request->prefix.length ||
		    memcmp(name.data, request->prefix.data,
			   request->prefix.length) != 0)
			continue;
		stats[kept].name = name;
		stats[kept++].value =
			redis_reply_integer(reply->element[2 * i + 1]);
	}
	call->answer.result = STORE_DONE;
	call->answer.stats.list = stats;
	call->answer.stats.count = kept;
	redis_finish(command);
}

static void read_stats(struct redis *redis, struct store_call *call)
{
	struct redis_command *command =
		redis_command_new(redis, call, on_stats);

	redis_text(command, "HGETALL");
	redis_key_plain(command, "stats");
	redis_send(redis, command);
}

void redis_submit_peers(struct redis *redis, struct store_call *call)
{
	if (call->operation == STORE_PEER_PING_CALL)
		ping(redis, call);
	else if (call->operation == STORE_PEER_LIST_CALL)
		list(redis, call);
	else if (call->operation == STORE_PEER_DOWN_CALL)
		down(redis, call);
	else if (call->operation == STORE_PEER_LEAVE_CALL)
		leave(redis, call);
	else if (call->operation == STORE_NAME_TAKE_CALL)
		take_name(redis, call);
	else if (call->operation == STORE_NAME_FREE_CALL)
		free_name(redis, call);
	else if (call->operation == STORE_STATS_FLUSH_CALL)
		flush_stats(redis, call);
	else
		read_stats(redis, call);
}
