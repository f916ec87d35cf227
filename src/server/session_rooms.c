/* session_rooms - what a client asks of rooms: one after the other, on a fiber
 * of the session's, as each may wait for the store. What comes behind, and is
 * about no room, waits for them, so that answers are in the order of what was
 * asked. What a client has asked of rooms before it leaves is done, and
 * answered to nobody. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/must.h"
#include "server/session_internal.h"
#include "service/routine.h"

#define ASKS_MAX      1000
#define ASK_BYTES_MAX (4 << 20)

struct session_ask *session_ask_new(struct session *session,
				    enum session_room_verb verb)
{
	struct session_ask *ask = mem_zalloc(sizeof(*ask));

	ask->session = session;
	ask->verb = verb;
	ask->count = session->messages;
	return ask;
}

const char *session_room_name(struct arena *arena, const char *name,
			      size_t length)
{
	if (length > 0 && memchr(name, '\0', length) != NULL)
		return "\x01"; /* which no room can be called either */
	return arena_text(arena, name, length);
}

/* ---- those that wait ---- */

static size_t size_of(const struct session_ask *ask)
{
	size_t message = ask->message != NULL ? strlen(ask->message) : 0;

	return ask->length + ask->whole.length + message;
}

/* One waits, however large it is. */
static bool has_room(const struct session *session, size_t bytes)
{
	return session->ask_count == 0 ||
	       (session->ask_count < ASKS_MAX &&
		session->ask_bytes + bytes <= ASK_BYTES_MAX);
}

static void put(struct session *session, struct session_ask *ask)
{
	list_add_last(&session->asks, &ask->link);
	session->ask_count++;
	session->ask_bytes += size_of(ask);
}

/* NULL: there is none. */
static struct session_ask *take_first(struct session *session)
{
	struct list *link = list_take_first(&session->asks);

	if (link == NULL)
		return NULL;
	struct session_ask *ask = LIST_ENTRY(link, struct session_ask, link);

	session->ask_count--;
	session->ask_bytes -= size_of(ask);
	return ask;
}

static void free_ask(struct session_ask *ask)
{
	arena_fini(&ask->arena);
	free(ask);
}

static void answer(struct session_ask *ask, int result, const char *problem)
{
	ask->result = result;
	ask->problem = problem;
	if (ask->session->connection == NULL)
		; /* it has left */
	else if (ask->session->kind->transport == MUSTER_TCP)
		session_finish_room_line(ask);
	else
		session_finish_room_frame(ask);
}

/* ---- what is asked ---- */

static int view(struct muster *muster, struct session_ask *ask)
{
	if (!rooms_is_member(&ask->session->rooms, ask->room))
		return MUSTER_LOST;
	return muster_room_members(muster, ask->room, &ask->members);
}

static int say(struct muster *muster, struct session_ask *ask)
{
	struct session *session = ask->session;

	session->has_spoken = true;
	return muster_room_say(muster, ask->room, session->client.id,
			       ask->message);
}

static int run(struct muster *muster, struct session_ask *ask)
{
	const char *id = ask->session->client.id;

	if (ask->room[0] == '\0') /* none was named */
		return MUSTER_NOT_FOUND;
	switch (ask->verb) {
	case SESSION_ROOM_ADD:
		return muster_room_join(muster, ask->room, id, NULL);
	case SESSION_ROOM_LEAVE:
		return muster_room_leave(muster, ask->room, id);
	case SESSION_ROOM_VIEW:
		return view(muster, ask);
	case SESSION_ROOM_SAY:
		return say(muster, ask);
	case SESSION_OTHER:
		break;
	}
	return -EINVAL;
}

/* As if it came now, but for its number. */
static void take_again(const struct session_ask *ask)
{
	struct session *session = ask->session;
	uint64_t messages = session->messages;

	if (session->connection == NULL)
		return; /* there is nobody to do it for */
	session->is_behind = true;
	session->messages = ask->count - 1;
	if (session->kind->transport == MUSTER_TCP)
		session_take_line(session, ask->text, ask->length);
	else
		session_take_frame(session, ask->text, ask->length);
	session->messages = messages;
	session->is_behind = false;
}

bool session_defer(struct session *session, const void *text, size_t length)
{
	if (!session->is_asking || session->is_behind ||
	    !has_room(session, length))
		return false;
	struct session_ask *ask = session_ask_new(session, SESSION_OTHER);

	ask->text = arena_text(&ask->arena, text, length);
	ask->length = length;
	put(session, ask);
	return true;
}

static void run_one(struct muster *muster, struct session_ask *ask)
{
	if (ask->verb == SESSION_OTHER) {
		take_again(ask);
		return;
	}
	if (ask->verb == SESSION_ROOM_SAY && ask->message == NULL) {
		answer(ask, -EINVAL, "both room and message are required");
		return;
	}
	int result = run(muster, ask);

	answer(ask, result, result < 0 ? muster_problem(muster) : "");
}

/* An answer is written before the next one is asked for: they come in order. */
static void run_asks(struct muster *muster, void *arg)
{
	struct session *session = arg;
	struct session_ask *ask;

	while ((ask = take_first(session)) != NULL) {
		run_one(muster, ask);
		free_ask(ask);
		muster_clear_answers(muster);
	}
	session->is_asking = false;
	session_settle(session);
}

static void fail_all(struct session *session)
{
	struct session_ask *ask;

	while ((ask = take_first(session)) != NULL) {
		answer(ask, -EAGAIN, "the server is too busy");
		free_ask(ask);
	}
}

void session_ask_run(struct session_ask *ask)
{
	struct session *session = ask->session;
	struct muster *muster = session->sessions->api->muster;

	if (!has_room(session, size_of(ask))) {
		answer(ask, -EBUSY, "you have too many pending requests");
		free_ask(ask);
		return;
	}
	put(session, ask);
	if (session->is_asking)
		return;
	session->is_asking = true;
	if (routine_start(muster, "session", run_asks, session, NULL) == 0)
		return;
	session->is_asking = false;
	fail_all(session);
}

/* ---- what is heard ---- */

/* On a connection of lines nobody hears itself, as its clients know it. */
static bool is_own(const struct session *session, const char *text,
		   size_t length)
{
	struct json_value whole = json_value_of(text, length);
	struct json_value from;
	const char *id = session->client.id;

	return session->kind->transport == MUSTER_TCP && session->has_spoken &&
	       json_kind_of(whole) == JSON_OBJECT &&
	       json_find(whole, "from", &from) &&
	       json_kind_of(from) == JSON_STRING &&
	       json_string_is(from, id, strlen(id));
}

void session_hear(struct rooms_client *client, const char *text, size_t length)
{
	struct session *session = LIST_ENTRY(client, struct session, rooms);

	if (session->connection != NULL && !is_own(session, text, length))
		session->kind->send(session->connection, text, length);
}

/* ---- parts of answers ---- */

static void write_room(void *owner, const char *room)
{
	json_write_text(owner, room);
}

void session_write_rooms(struct session *session, struct json_writer *writer)
{
	json_write_array(writer);
	rooms_each(&session->rooms, write_room, writer);
	json_write_array_end(writer);
}

static void write_member(struct json_writer *writer,
			 const struct muster_member *member)
{
	json_write_name(writer, member->id);
	json_write_object(writer);
	json_write_name(writer, "id");
	json_write_text(writer, member->id);
	json_write_name(writer, "joinedAt");
	json_write_integer(writer, (int64_t)member->joined_ms);
	if (strcmp(member->data, "null") != 0) {
		json_write_name(writer, "data");
		json_write_raw(writer, member->data, strlen(member->data));
	}
	json_write_object_end(writer);
}

void session_write_view(const struct session_ask *ask,
			struct json_writer *writer)
{
	const struct muster_member_list *members = &ask->members;

	json_write_object(writer);
	json_write_name(writer, "room");
	json_write_text(writer, ask->room);
	json_write_name(writer, "members");
	json_write_object(writer);
	for (size_t i = 0; i < members->count; i++)
		write_member(writer, &members->members[i]);
	json_write_object_end(writer);
	json_write_name(writer, "membersCount");
	json_write_integer(writer, (int64_t)members->count);
	json_write_object_end(writer);
}
