/* redis_rooms - rooms, their members, and the messages of web clients. */
#include <stdlib.h>

#include "store/redis_internal.h"

static struct redis_command *begin(struct redis *redis, struct store_call *call,
				   enum redis_script script,
				   redis_reply_fn on_reply)
{
	struct redis_command *command =
		redis_command_new(redis, call, on_reply);

	redis_script(command, script, 1);
	redis_key_plain(command, "_rooms");
	return command;
}

/* Too long for a number of Lua's: it comes as text. */
static uint64_t number_of(const redisReply *reply)
{
	struct store_bytes text = redis_reply_bytes(reply);
	uint64_t number = 0;

	for (size_t i = 0; i < text.length; i++)
		number = number * 10 + (uint64_t)(text.data[i] - '0');
	return number;
}

/* Its result by what the first element says, and the room's number. */
static void take_number(struct redis_command *command, const redisReply *reply,
			const enum store_result *results)
{
	struct store_call *call = command->call;

	if (redis_reply_count(reply) != 2) {
		redis_reply_odd(command);
		return;
	}
	int64_t result = redis_reply_integer(reply->element[0]);

	call->answer.result = results[result >= 0 && result <= 2 ? result : 0];
	call->answer.number.value = number_of(reply->element[1]);
	redis_finish(command);
}

static void on_created(struct redis *redis, struct redis_command *command,
		       const redisReply *reply)
{
	static const enum store_result results[3] = { STORE_KNOWN, STORE_DONE };

	(void)redis;
	take_number(command, reply, results);
}

static void on_joined(struct redis *redis, struct redis_command *command,
		      const redisReply *reply)
{
	static const enum store_result results[3] = { STORE_NOT_FOUND,
						      STORE_DONE, STORE_KNOWN };

	(void)redis;
	take_number(command, reply, results);
}

static void create(struct redis *redis, struct store_call *call)
{
	const struct store_room_create *request = call->request;
	struct redis_command *command =
		begin(redis, call, SCRIPT_room_create, on_created);

	redis_bytes(command, request->room);
	redis_send(redis, command);
}

static void destroy(struct redis *redis, struct store_call *call)
{
	const struct store_room_destroy *request = call->request;
	struct redis_command *command =
		begin(redis, call, SCRIPT_room_destroy, on_joined);

	redis_bytes(command, request->room);
	redis_bytes(command, request->message);
	redis_number(command, request->messages_max);
	redis_send(redis, command);
}

static void on_listed(struct redis *redis, struct redis_command *command,
		      const redisReply *reply)
{
	struct store_call *call = command->call;
	size_t count = redis_reply_count(reply) / 3;
	struct store_room_info *list =
		arena_take_zeroed(&call->arena, count, sizeof(*list));

	(void)redis;
	for (size_t i = 0; i < count; i++) {
		redisReply *const *at = reply->element + 3 * i;

		list[i].name = redis_reply_bytes(at[0]);
		list[i].created_ms = (uint64_t)redis_reply_integer(at[1]);
		list[i].members = (uint64_t)redis_reply_integer(at[2]);
	}
	call->answer.result = STORE_DONE;
	call->answer.rooms.list = list;
	call->answer.rooms.count = count;
	redis_finish(command);
}

static void list(struct redis *redis, struct store_call *call)
{
	const struct store_room_list *request = call->request;
	struct redis_command *command =
		begin(redis, call, SCRIPT_room_list, on_listed);

	redis_bytes(command, request->room);
	redis_send(redis, command);
}

static void join(struct redis *redis, struct store_call *call)
{
	const struct store_room_join *request = call->request;
	struct redis_command *command =
		begin(redis, call, SCRIPT_room_join, on_joined);

	/* One that was made and not answered would find itself. */
	command->is_repeatable = request->number != 0;
	redis_bytes(command, request->room);
	redis_bytes(command, request->member);
	redis_bytes(command, request->owner);
	redis_bytes(command, request->record);
	redis_number(command, request->number);
	redis_number(command, request->web_ms);
	redis_send(redis, command);
}

static void on_left(struct redis *redis, struct redis_command *command,
		    const redisReply *reply)
{
	(void)redis;
	command->call->answer.result =
		redis_reply_integer(reply) == 1 ? STORE_DONE : STORE_NOT_FOUND;
	redis_finish(command);
}

static void leave(struct redis *redis, struct store_call *call)
{
	const struct store_room_leave *request = call->request;
	struct redis_command *command =
		begin(redis, call, SCRIPT_room_leave, on_left);

	redis_bytes(command, request->room);
	redis_bytes(command, request->member);
	redis_bytes(command, request->owner);
	redis_send(redis, command);
}

/* {"owner":"OWNER",... without that. */
static struct store_bytes record_of(struct store_call *call,
				    struct store_bytes member)
{
	static const char start[] = "{\"owner\":\"";
	size_t length = sizeof(start) - 1;

	if (member.length <= length || memcmp(member.data, start, length) != 0)
		return member;
	const char *end = member.data + member.length;
	const char *rest =
		memchr(member.data + length, '"', member.length - length);

	if (rest == NULL || end - rest < 3)
		return member;
	struct store_bytes record =
		arena_copy(&call->arena, rest + 1, (size_t)(end - rest) - 1);

	((char *)(uintptr_t)record.data)[0] = '{';
	return record;
}

static void on_members(struct redis *redis, struct redis_command *command,
		       const redisReply *reply)
{
	struct store_call *call = command->call;
	const redisReply *all = redis_reply_at(reply, 1);

	(void)redis;
	if (redis_reply_count(reply) != 2) {
		redis_reply_odd(command);
		return;
	}
	size_t count = redis_reply_count(all) / 2;
	struct store_member_info *members =
		arena_take_zeroed(&call->arena, count, sizeof(*members));

	for (size_t i = 0; i < count; i++) {
		members[i].id = redis_reply_bytes(all->element[2 * i]);
		members[i].record = record_of(
			call, redis_reply_bytes(all->element[2 * i + 1]));
	}
	call->answer.result = redis_reply_integer(reply->element[0]) == 1
				      ? STORE_DONE
				      : STORE_NOT_FOUND;
	call->answer.members.list = members;
	call->answer.members.count = count;
	redis_finish(command);
}

static void members(struct redis *redis, struct store_call *call)
{
	const struct store_room_members *request = call->request;
	struct redis_command *command =
		begin(redis, call, SCRIPT_room_members, on_members);

	redis_bytes(command, request->room);
	redis_send(redis, command);
}

static void on_said(struct redis *redis, struct redis_command *command,
		    const redisReply *reply)
{
	struct store_answer *answer = &command->call->answer;
	int64_t told = redis_reply_integer(reply);

	(void)redis;
	answer->result = told == -1   ? STORE_NOT_FOUND
			 : told == -2 ? STORE_LOST
				      : STORE_DONE;
	answer->number.value = told < 0 ? 0 : (uint64_t)told;
	redis_finish(command);
}

/* Said twice is worse than not said, and told so. */
static void say(struct redis *redis, struct store_call *call)
{
	const struct store_room_say *request = call->request;
	struct redis_command *command =
		begin(redis, call, SCRIPT_room_say, on_said);

	command->is_repeatable = false;
	redis_bytes(command, request->room);
	redis_bytes(command, request->message);
	redis_number(command, request->messages_max);
	redis_bytes(command, request->but);
	redis_bytes(command, request->speaker);
	redis_number(command, request->web_ms);
	redis_send(redis, command);
}

static void on_reaped(struct redis *redis, struct redis_command *command,
		      const redisReply *reply)
{
	(void)redis;
	command->call->answer.result = STORE_DONE;
	command->call->answer.number.value =
		(uint64_t)redis_reply_integer(reply);
	redis_finish(command);
}

static void reap(struct redis *redis, struct store_call *call)
{
	const struct store_room_reap *request = call->request;
	struct redis_command *command =
		begin(redis, call, SCRIPT_room_reap, on_reaped);

	redis_bytes(command, request->owner);
	redis_send(redis, command);
}

static void push(struct redis *redis, struct store_call *call)
{
	const struct store_web_push *request = call->request;
	struct redis_command *command =
		begin(redis, call, SCRIPT_web_push, on_left);

	command->is_repeatable = false;
	redis_bytes(command, request->client);
	redis_bytes(command, request->message);
	redis_number(command, request->messages_max);
	redis_number(command, request->web_ms);
	redis_send(redis, command);
}

static struct store_bytes *texts_of(struct store_call *call,
				    const redisReply *reply)
{
	size_t count = redis_reply_count(reply);
	struct store_bytes *texts =
		arena_take_zeroed(&call->arena, count, sizeof(*texts));

	for (size_t i = 0; i < count; i++)
		texts[i] = redis_reply_bytes(reply->element[i]);
	return texts;
}

static void on_visited(struct redis *redis, struct redis_command *command,
		       const redisReply *reply)
{
	struct store_call *call = command->call;

	(void)redis;
	if (redis_reply_count(reply) != 2) {
		redis_reply_odd(command);
		return;
	}
	struct store_bytes *rooms = texts_of(call, reply->element[1]);
	size_t count = redis_reply_count(reply->element[1]);

	for (size_t i = 0; i < count; i++) {
		const char *bar = memchr(rooms[i].data, '|', rooms[i].length);

		if (bar != NULL)
			rooms[i].length = (size_t)(bar - rooms[i].data);
	}
	call->answer.result = STORE_DONE;
	call->answer.web.messages = texts_of(call, reply->element[0]);
	call->answer.web.count = redis_reply_count(reply->element[0]);
	call->answer.web.rooms = rooms;
	call->answer.web.room_count = count;
	redis_finish(command);
}

/* What it takes is gone from there: once. */
static void visit(struct redis *redis, struct store_call *call)
{
	const struct store_web_visit *request = call->request;
	struct redis_command *command =
		begin(redis, call, SCRIPT_web_visit, on_visited);

	command->is_repeatable = request->take == 0;
	redis_bytes(command, request->client);
	redis_number(command, request->take);
	redis_number(command, request->web_ms);
	redis_send(redis, command);
}

void redis_submit_rooms(struct redis *redis, struct store_call *call)
{
	typedef void (*submit_fn)(struct redis *, struct store_call *);
	static const submit_fn operations[STORE_READY_CALL] = {
		[STORE_ROOM_CREATE_CALL] = create,
		[STORE_ROOM_DESTROY_CALL] = destroy,
		[STORE_ROOM_LIST_CALL] = list,
		[STORE_ROOM_JOIN_CALL] = join,
		[STORE_ROOM_LEAVE_CALL] = leave,
		[STORE_ROOM_MEMBERS_CALL] = members,
		[STORE_ROOM_SAY_CALL] = say,
		[STORE_ROOM_REAP_CALL] = reap,
		[STORE_WEB_PUSH_CALL] = push,
		[STORE_WEB_VISIT_CALL] = visit,
	};

	operations[call->operation](redis, call);
}
