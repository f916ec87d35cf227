/* rooms_members - rooms and their members, as the store has them. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/json.h"
#include "base/json_walk.h"
#include "base/mem.h"
#include "base/must.h"
#include "service/ask.h"
#include "service/node_bus.h"
#include "service/rooms_internal.h"
#include "service/rpc_internal.h"

#define RECORD_MAX 4000

/* ---- rooms ---- */

int muster_room_create(struct muster *muster, const char *room)
{
	struct ask ask;
	int error = rooms_check(muster, room);

	if (error == 0)
		error = ask_begin(&ask, muster);
	if (error < 0)
		return error;
	store_room_create(muster->store,
			  &(struct store_room_create){ store_text(room) },
			  ask_on_answer, &ask);
	error = ask_end(&ask);
	if (error < 0)
		return error;
	return ask.answer->result == STORE_KNOWN ? MUSTER_KNOWN : 0;
}

static int ask_destroy(struct muster *muster, const char *room,
		       const struct buffer *text, uint64_t *number)
{
	const struct muster_node_options *options = &muster->settings.options;
	struct ask ask;
	int error = ask_begin(&ask, muster);

	if (error < 0)
		return error;
	store_room_destroy(muster->store,
			   &(struct store_room_destroy){
				   .room = store_text(room),
				   .message = store_bytes(buffer_bytes(text),
							  buffer_length(text)),
				   .messages_max = options->web_messages,
			   },
			   ask_on_answer, &ask);
	error = ask_end(&ask);
	if (error < 0)
		return error;
	*number = ask.answer->number.value;
	return ask.answer->result == STORE_NOT_FOUND ? MUSTER_NOT_FOUND : 0;
}

/* Members hear it from their own servers, which let go of them. */
static int tell_gone(struct muster *muster, const char *room,
		     const struct buffer *text, uint64_t number)
{
	char type[sizeof(ROOMS_GONE) + 20];
	struct buffer channel = { 0 };
	struct bus *bus = node_bus(muster);

	if (bus == NULL)
		return routine_problem(muster)->code;
	snprintf(type, sizeof(type), ROOMS_GONE "%llu",
		 (unsigned long long)number);
	int error =
		bus_publish(bus,
			    &(struct bus_outgoing){
				    .type = { type, strlen(type) },
				    .channel = rooms_channel(room, &channel),
				    .body = { (const char *)buffer_bytes(text),
					      buffer_length(text) },
			    },
			    NULL, NULL);

	buffer_fini(&channel);
	if (error < 0)
		bus_problem(error, routine_problem(muster));
	return error;
}

int muster_room_destroy(struct muster *muster, const char *room)
{
	struct buffer text = { 0 };
	uint64_t number = 0;
	int error = routine_check(muster);

	if (error == 0)
		error = rooms_check(muster, room);
	if (error < 0)
		return error;
	rooms_write(muster, &text, ROOMS_DELETED, room, ROOMS_NOBODY);
	error = ask_destroy(muster, room, &text, &number);
	if (error == 0)
		error = tell_gone(muster, room, &text, number);
	buffer_fini(&text);
	return error;
}

static int ask_list(struct muster *muster, const char *room, struct ask *ask)
{
	int error = ask_begin(ask, muster);

	if (error < 0)
		return error;
	store_room_list(muster->store,
			&(struct store_room_list){ store_text(room) },
			ask_on_answer, ask);
	return ask_end(ask);
}

int muster_room_exists(struct muster *muster, const char *room)
{
	struct ask ask;
	int error = rooms_check(muster, room);

	if (error == 0)
		error = ask_list(muster, room, &ask);
	if (error != 0)
		return error;
	return ask.answer->rooms.count == 0 ? MUSTER_NOT_FOUND : 0;
}

static int by_name(const void *first, const void *second)
{
	const struct muster_room_info *a = first;
	const struct muster_room_info *b = second;

	return strcmp(a->name, b->name);
}

int muster_room_list(struct muster *muster, struct muster_room_list *list)
{
	struct ask ask;
	int error = ask_list(muster, "", &ask);

	if (error < 0)
		return error;
	size_t count = ask.answer->rooms.count;
	struct muster_room_info *rooms = arena_take_zeroed(
		routine_answers(muster), count, sizeof(*rooms));

	for (size_t i = 0; i < count; i++) {
		const struct store_room_info *info = &ask.answer->rooms.list[i];

		rooms[i].name = routine_keep(muster, info->name).data;
		rooms[i].created_ms = info->created_ms;
		rooms[i].members = info->members;
	}
	qsort(rooms, count, sizeof(*rooms), by_name);
	*list = (struct muster_room_list){ rooms, count };
	return 0;
}

/* ---- rows ---- */

const char *rooms_record(struct muster *muster, const char *member,
			 const char *data, bool is_web)
{
	struct buffer buffer = { 0 };
	struct json_writer writer = json_writer(&buffer);
	char host[256] = "";

	if (data == NULL)
		data = "null";
	if (!json_is_value(data, strlen(data))) {
		problem_set(routine_problem(muster), -EINVAL,
			    "ROOM_DATA_INVALID", "a member's data is no JSON");
		return NULL;
	}
	if (gethostname(host, sizeof(host) - 1) < 0)
		host[0] = '\0';
	json_write_object(&writer);
	rooms_write_text(&writer, "id", member);
	json_write_name(&writer, "joinedAt");
	json_write_integer(&writer, (int64_t)rooms_now_ms(muster));
	rooms_write_text(&writer, "server", muster->id);
	rooms_write_text(&writer, "host", host);
	json_write_name(&writer, "web");
	json_write_boolean(&writer, is_web);
	json_write_name(&writer, "data");
	json_write_raw(&writer, data, strlen(data));
	json_write_object_end(&writer);
	const char *record =
		arena_text(routine_answers(muster), buffer_bytes(&buffer),
			   buffer_length(&buffer));
	size_t length = buffer_length(&buffer);

	buffer_fini(&buffer);
	if (length <= RECORD_MAX)
		return record;
	problem_set(routine_problem(muster), -EMSGSIZE, "ROOM_DATA_TOO_LONG",
		    "a member's data is longer than 3 KiB");
	return NULL;
}

int rooms_put_row(struct muster *muster, struct rooms_row *row)
{
	struct ask ask;
	int error = ask_begin(&ask, muster);

	if (error < 0)
		return error;
	store_room_join(muster->store,
			&(struct store_room_join){
				.room = store_text(row->room),
				.member = store_text(row->member),
				.owner = store_text(row->owner),
				.record = store_text(row->record),
				.number = row->number,
				.web_ms = muster->settings.options.web_ms,
			},
			ask_on_answer, &ask);
	error = ask_end(&ask);
	if (error < 0)
		return error;
	row->number = ask.answer->number.value;
	if (ask.answer->result == STORE_NOT_FOUND)
		return MUSTER_NOT_FOUND;
	return ask.answer->result == STORE_KNOWN ? MUSTER_KNOWN : 0;
}

/* ---- joining, on the node that holds the connection ---- */

struct waiting {
	struct list link;
	struct fiber_wait wait;
};

static void on_ready(void *owner)
{
	struct rooms_here *here = owner;
	struct list woken;

	here->is_ready = true;
	list_init(&woken);
	while (!list_is_empty(&here->waiting))
		list_add_last(&woken, list_take_first(&here->waiting));
	while (!list_is_empty(&woken))
		fiber_wake(LIST_ENTRY(list_take_first(&woken), struct waiting,
				      link)
				   ->wait,
			   0);
}

/* Until what is said reaches this node. */
static int await_ready(struct rooms_here *here)
{
	struct muster *muster = here->rooms->muster;
	struct waiting waiting = { .link = { NULL, NULL } };

	if (here->is_ready)
		return 0;
	waiting.wait = fiber_wait_begin();
	list_add_last(&here->waiting, &waiting.link);
	if (!here->is_awaited) {
		here->is_awaited = true;
		bus_handler_ready(here->handler, on_ready, here);
	}
	int error = routine_park(muster, waiting.wait,
				 muster->settings.options.store_ms);

	if (list_is_linked(&waiting.link))
		list_remove(&waiting.link);
	if (error == -ETIMEDOUT)
		return problem_set(routine_problem(muster), -ETIMEDOUT,
				   "STORE_TIMEOUT",
				   "the store has not answered in time; what "
				   "is said in the room does not reach this "
				   "server yet");
	return error;
}

static int refuse_connection(struct muster *muster)
{
	return problem_set(routine_problem(muster), -ENOTCONN,
			   "CONNECTION_GONE",
			   "there is no such connection any more");
}

/* What came of it, now that the store has answered. */
static int settle(struct rooms_member *member, int answer, const char *id)
{
	struct rooms_here *here = member->here;
	struct muster *muster = here->rooms->muster;
	bool has_left = member->client == NULL;
	bool is_gone = answer >= 0 && member->gone_number != 0 &&
		       member->gone_number >= member->number;

	if (answer != MUSTER_NOT_FOUND && !has_left && !is_gone &&
	    answer >= 0) {
		member->is_joined = true;
		return 0;
	}
	here->users++;
	rooms_member_free(member);
	/* After a failure it may be there. */
	if (answer < 0 || (has_left && answer != MUSTER_NOT_FOUND))
		rooms_owe(here->rooms, here->name, id);
	rooms_release(here);
	if (answer < 0)
		return answer;
	return has_left ? refuse_connection(muster) : MUSTER_NOT_FOUND;
}

static int join(struct muster *muster, struct rooms_client *client,
		const char *room, const char *data)
{
	const char *id = routine_keep(muster, store_text(client->id)).data;
	const char *record = rooms_record(muster, id, data, false);
	struct rooms_here *here = NULL;

	if (record == NULL)
		return routine_problem(muster)->code;
	here = rooms_hold(muster->rooms, room);
	if (here == NULL)
		return routine_problem(muster)->code;
	struct rooms_member *member = rooms_member_new(here, client);

	member->record = mem_text(record);
	rooms_release(here);
	struct rooms_row row = { .room = room,
				 .member = id,
				 .owner = muster->nonce,
				 .record = record };
	int answer = await_ready(here);
	char nonce[NODE_NONCE_BYTES];

	muster->rooms->has_rows = true;
	memcpy(nonce, muster->nonce, sizeof(nonce));
	if (answer == 0)
		answer = rooms_put_row(muster, &row);
	/* This node was taken for dead meanwhile: the row goes with that life.
	 */
	if (strcmp(nonce, muster->nonce) != 0)
		rooms_sync(muster->rooms, true);
	member->number = row.number;
	return settle(member, answer, id);
}

static int ask_to_join(struct muster *muster, const char *room, const char *id,
		       bool is_web, const char **data)
{
	const struct muster_room *given = rooms_given(muster->rooms, room);
	struct muster_room_event event = { .room = room,
					   .member = id,
					   .from = id,
					   .json = *data,
					   .is_web = is_web };

	if (given == NULL || given->on_join == NULL)
		return 0;
	int answer = rooms_ask(muster, given->on_join, given, &event);

	*data = event.json;
	return answer;
}

/* -ENOTCONN where this node does not hold it. */
static int join_here(struct muster *muster, const char *room,
		     const char *connection, const char *data)
{
	struct rooms_client *client = rpc_connection_client(muster, connection);

	if (client == NULL)
		return refuse_connection(muster);
	if (rooms_member_of(client, room) != NULL)
		return MUSTER_KNOWN;
	int answer = ask_to_join(muster, room, connection, false, &data);

	if (answer != 0)
		return answer;
	/* It may have left, or joined, while that was asked. */
	client = rpc_connection_client(muster, connection);
	if (client == NULL)
		return refuse_connection(muster);
	if (rooms_member_of(client, room) != NULL)
		return MUSTER_KNOWN;
	return join(muster, client, room, data);
}

/* ---- leaving ---- */

int rooms_row_gone(struct muster *muster, const char *room, const char *member,
		   const char *owner)
{
	struct ask ask;
	int error = ask_begin(&ask, muster);

	if (error < 0)
		return error;
	store_room_leave(muster->store,
			 &(struct store_room_leave){
				 .room = store_text(room),
				 .member = store_text(member),
				 .owner = store_text(owner),
			 },
			 ask_on_answer, &ask);
	error = ask_end(&ask);
	if (error < 0)
		return error;
	return ask.answer->result == STORE_NOT_FOUND ? MUSTER_NOT_FOUND : 0;
}

static int ask_to_leave(struct muster *muster, const char *room, const char *id,
			bool is_web)
{
	const struct muster_room *given = rooms_given(muster->rooms, room);
	struct muster_room_event event = { .room = room,
					   .member = id,
					   .from = id,
					   .json = "null",
					   .is_web = is_web };

	if (given == NULL || given->on_leave == NULL)
		return 0;
	return rooms_ask(muster, given->on_leave, given, &event);
}

static struct rooms_member *find_joined(struct muster *muster, const char *room,
					const char *connection)
{
	struct rooms_client *client = rpc_connection_client(muster, connection);
	struct rooms_member *member =
		client == NULL ? NULL : rooms_member_of(client, room);

	return member != NULL && member->is_joined ? member : NULL;
}

/* It hears nothing from here on; the store is told now, or later. */
static int leave_here(struct muster *muster, const char *room,
		      const char *connection)
{
	if (find_joined(muster, room, connection) == NULL)
		return MUSTER_NOT_FOUND;
	int answer = ask_to_leave(muster, room, connection, false);

	if (answer != 0)
		return answer;
	struct rooms_member *member = find_joined(muster, room, connection);

	if (member == NULL)
		return MUSTER_NOT_FOUND;
	rooms_member_free(member);
	answer = rooms_row_gone(muster, room, connection, muster->nonce);
	if (answer < 0)
		rooms_owe(muster->rooms, room, connection);
	return answer == -ECANCELED ? answer : 0;
}

/* ---- wherever the connection is ---- */

static const char *args_of(struct muster *muster, const char *room,
			   const char *data)
{
	struct buffer buffer = { 0 };
	struct json_writer writer = json_writer(&buffer);

	json_write_object(&writer);
	rooms_write_text(&writer, "room", room);
	json_write_name(&writer, "data");
	json_write_raw(&writer, data, strlen(data));
	json_write_object_end(&writer);
	const char *args =
		arena_text(routine_answers(muster), buffer_bytes(&buffer),
			   buffer_length(&buffer));

	buffer_fini(&buffer);
	return args;
}

static int ask_other(struct muster *muster, const char *method,
		     const char *connection, const char *args)
{
	struct muster_reply reply;
	int64_t answer;
	int error = muster_do_cluster(
		muster, method, args,
		&(struct muster_do){ .connection = connection }, &reply);

	if (error < 0)
		return error;
	struct json_value value =
		json_value_of(reply.value, strlen(reply.value));

	if (json_kind_of(value) != JSON_NUMBER ||
	    !json_integer_of(value, &answer) || answer < 0 || answer > 100)
		return -EPROTO;
	return (int)answer;
}

/* The server is this one: what it does not hold is nowhere. */
static bool is_ours(const struct muster *muster, const char *connection)
{
	const char *server = rpc_server_of(connection);

	return rpc_connection_id(muster, connection) != NULL ||
	       server == NULL || strcmp(server, muster->id) == 0;
}

static int check_call(struct muster *muster, const char *room)
{
	int error = routine_check(muster);

	if (error == 0)
		error = rooms_check(muster, room);
	if (error == 0 && muster->rooms == NULL)
		error = problem_set(routine_problem(muster), -ENOTCONN,
				    "NODE_CLOSED", "this node has ended");
	/* A guest's opens here, which may wait: not where pointers are held. */
	if (error == 0 && node_bus(muster) == NULL)
		error = routine_problem(muster)->code;
	return error;
}

int muster_room_join(struct muster *muster, const char *room,
		     const char *connection, const char *data)
{
	int error = check_call(muster, room);

	if (data == NULL)
		data = "null";
	if (error == 0 && rooms_record(muster, "", data, false) == NULL)
		error = routine_problem(muster)->code;
	if (error < 0)
		return error;
	if (is_ours(muster, connection))
		return join_here(muster, room, connection, data);
	return ask_other(muster, "_room:join", connection,
			 args_of(muster, room, data));
}

int muster_room_leave(struct muster *muster, const char *room,
		      const char *connection)
{
	int error = check_call(muster, room);

	if (error < 0)
		return error;
	if (is_ours(muster, connection))
		return leave_here(muster, room, connection);
	return ask_other(muster, "_room:leave", connection,
			 args_of(muster, room, "null"));
}

static void reply(struct muster_request *request, int answer)
{
	struct muster *muster = muster_request_server(request);

	if (answer < 0)
		muster_request_fail(request, "%s", muster_problem(muster));
	else
		muster_request_reply(request,
				     muster_text(muster, "%d", answer));
}

static void run_join(struct muster_request *request)
{
	struct muster *muster = muster_request_server(request);
	const char *args = muster_request_args(request);
	const char *room = muster_request_text(request, "room");
	struct json_value whole = json_value_of(args, strlen(args));
	struct json_value data = { "null", 4 };
	int error = check_call(muster, room);

	if (json_kind_of(whole) == JSON_OBJECT)
		json_find(whole, "data", &data);
	if (error == 0)
		error = join_here(muster, room,
				  muster_request_connection(request),
				  arena_text(routine_answers(muster), data.text,
					     data.length));
	reply(request, error);
}

static void run_leave(struct muster_request *request)
{
	struct muster *muster = muster_request_server(request);
	const char *room = muster_request_text(request, "room");
	int error = check_call(muster, room);

	if (error == 0)
		error = leave_here(muster, room,
				   muster_request_connection(request));
	reply(request, error);
}

const struct muster_method rooms_methods[] = {
	{ .name = "_room:join", .run = run_join },
	{ .name = "_room:leave", .run = run_leave },
	{ .name = NULL },
};

/* ---- who is there ---- */

static const char *text_in(struct muster *muster, struct json_value record,
			   const char *name)
{
	struct json_value value;
	size_t length;

	if (json_kind_of(record) != JSON_OBJECT ||
	    !json_find(record, name, &value) ||
	    json_kind_of(value) != JSON_STRING)
		return "";
	struct arena *arena = routine_answers(muster);
	const char *text =
		json_string_of(value, arena_take(arena, value.length), &length);

	return arena_text(arena, text, length);
}

/* What is not as it should be is as if it were not there. */
static void read_member(struct muster *muster,
			const struct store_member_info *info,
			struct muster_member *member)
{
	struct json_value value;
	struct json_value record = { "{}", 2 };
	int64_t joined_ms = 0;

	if (json_is_value(info->record.data, info->record.length))
		record = json_value_of(info->record.data, info->record.length);
	*member = (struct muster_member){
		.id = routine_keep(muster, info->id).data,
		.server = text_in(muster, record, "server"),
		.host = text_in(muster, record, "host"),
		.data = "null",
	};
	if (json_kind_of(record) != JSON_OBJECT)
		return;
	if (json_find(record, "joinedAt", &value) &&
	    json_kind_of(value) == JSON_NUMBER &&
	    json_integer_of(value, &joined_ms) && joined_ms > 0)
		member->joined_ms = (uint64_t)joined_ms;
	if (json_find(record, "data", &value))
		member->data = arena_text(routine_answers(muster), value.text,
					  value.length);
	if (json_find(record, "web", &value) &&
	    json_kind_of(value) == JSON_BOOLEAN)
		member->is_web = json_boolean_of(value);
}

static int by_time(const void *first, const void *second)
{
	const struct muster_member *a = first;
	const struct muster_member *b = second;

	if (a->joined_ms != b->joined_ms)
		return a->joined_ms < b->joined_ms ? -1 : 1;
	return strcmp(a->id, b->id);
}

int muster_room_members(struct muster *muster, const char *room,
			struct muster_member_list *list)
{
	struct ask ask;
	int error = rooms_check(muster, room);

	if (error == 0)
		error = ask_begin(&ask, muster);
	if (error < 0)
		return error;
	store_room_members(muster->store,
			   &(struct store_room_members){ store_text(room) },
			   ask_on_answer, &ask);
	error = ask_end(&ask);
	if (error < 0)
		return error;
	if (ask.answer->result == STORE_NOT_FOUND)
		return MUSTER_NOT_FOUND;
	size_t count = ask.answer->members.count;
	struct muster_member *members = arena_take_zeroed(
		routine_answers(muster), count, sizeof(*members));

	for (size_t i = 0; i < count; i++)
		read_member(muster, &ask.answer->members.list[i], &members[i]);
	qsort(members, count, sizeof(*members), by_time);
	*list = (struct muster_member_list){ members, count };
	return 0;
}
