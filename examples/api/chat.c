#include "chat.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define DEFAULT_ROOM "defaultRoom"

const struct muster_room chat_rooms[] = {
	{ .name = DEFAULT_ROOM },
	{ 0 },
};

void chat_create_room(struct muster_call *call)
{
	struct muster *muster = muster_call_server(call);
	const char *name = muster_param_text(call, "name");
	int answer = muster_room_create(muster, name);

	if (answer < 0) {
		muster_fail(call, answer == -EINVAL ? 422 : 503, "%s",
			    muster_problem(muster));
		return;
	}
	muster_set_text(call, "name", name);
	muster_set_bool(call, "didCreate", answer == 0);
}

/* What muster/room.h answers, for a person. True: it is done. */
static bool is_done(struct muster_call *call, int answer, const char *room)
{
	if (answer == 0)
		return true;
	if (answer == MUSTER_NOT_FOUND)
		muster_fail(call, 404, "room does not exist");
	else if (answer == MUSTER_KNOWN)
		muster_fail(call, 409, "connection already in this room (%s)",
			    room);
	else if (answer == MUSTER_LOST)
		muster_fail(call, 409, "connection not in this room (%s)",
			    room);
	else if (answer == MUSTER_DROPPED)
		muster_fail(call, 403, "not allowed in this room (%s)", room);
	else
		muster_fail(call, answer == -EINVAL ? 422 : 503, "%s",
			    muster_problem(muster_call_server(call)));
	return false;
}

/* A JSON array of texts, each of which is JSON already or is made so. */
static const char *make_array(struct muster *muster,
			      const struct muster_texts *texts, bool are_json)
{
	char *json = NULL;
	size_t size = 0;
	FILE *out = open_memstream(&json, &size);

	if (out == NULL)
		return "[]";
	fputc('[', out);
	for (size_t i = 0; i < texts->count; i++) {
		const char *text = texts->texts[i];

		if (!are_json) /* ["text"] without its ends */
			text = muster_json(muster, "[s]", text);
		fprintf(out, "%s%.*s", i > 0 ? "," : "",
			(int)strlen(text) - (are_json ? 0 : 2),
			text + (are_json ? 0 : 1));
	}
	fputc(']', out);
	fclose(out);
	const char *kept = muster_text(muster, "%s", json);

	free(json);
	return kept;
}

/* Ids are letters, digits, '.' and '-'. */
static const char *make_members(struct muster *muster,
				const struct muster_member_list *list)
{
	char *json = NULL;
	size_t size = 0;
	FILE *out = open_memstream(&json, &size);

	if (out == NULL)
		return "{}";
	fputc('{', out);
	for (size_t i = 0; i < list->count; i++)
		fprintf(out, "%s\"%s\":{\"id\":\"%s\",\"joinedAt\":%llu}",
			i > 0 ? "," : "", list->members[i].id,
			list->members[i].id,
			(unsigned long long)list->members[i].joined_ms);
	fputc('}', out);
	fclose(out);
	const char *kept = muster_text(muster, "%s", json);

	free(json);
	return kept;
}

/* ---- methods ------------------------------------------------------------- */

static bool get_rooms(struct muster_call *call, const char *client,
		      struct muster_texts *rooms)
{
	struct muster *muster = muster_call_server(call);

	return is_done(call, muster_web_rooms(muster, client, rooms), "");
}

/* The room that is asked for; "": none is, and the call has failed. */
static const char *choose(struct muster_call *call, const char *client)
{
	struct muster *muster = muster_call_server(call);
	const char *room = muster_param_text(call, "room");
	struct muster_texts rooms;

	if (room[0] != '\0')
		return room;
	if (!get_rooms(call, client, &rooms))
		return "";
	if (rooms.count > 0)
		return rooms.texts[0];
	int answer = muster_web_join(muster, DEFAULT_ROOM, client, NULL);

	return answer == MUSTER_KNOWN || is_done(call, answer, DEFAULT_ROOM)
		       ? DEFAULT_ROOM
		       : "";
}

static void show_details(struct muster_call *call, const char *client)
{
	struct muster *muster = muster_call_server(call);
	struct muster_texts rooms;
	const char *room = choose(call, client);

	if (room[0] == '\0' || !get_rooms(call, client, &rooms))
		return;
	muster_set_json(call, "details",
			muster_text(muster, "{\"id\":\"%s\",\"rooms\":%s}",
				    muster_web_id(muster, client),
				    make_array(muster, &rooms, false)));
}

static void show_room(struct muster_call *call, const char *client)
{
	struct muster *muster = muster_call_server(call);
	const char *room = choose(call, client);
	const char *name = muster_json(muster, "{s:s}", "room", room);
	struct muster_texts rooms;
	struct muster_member_list members;
	bool is_member = false;

	if (room[0] == '\0' || !get_rooms(call, client, &rooms))
		return;
	for (size_t i = 0; i < rooms.count; i++)
		is_member = is_member || strcmp(rooms.texts[i], room) == 0;
	if (!is_done(call, is_member ? 0 : MUSTER_LOST, room) ||
	    !is_done(call, muster_room_members(muster, room, &members), room))
		return;
	muster_set_json(
		call, "roomStatus",
		muster_text(muster, "%.*s,\"members\":%s,\"membersCount\":%zu}",
			    (int)strlen(name) - 1, name,
			    make_members(muster, &members), members.count));
}

static void join_room(struct muster_call *call, const char *client)
{
	const char *room = muster_param_text(call, "room");

	if (is_done(call,
		    muster_web_join(muster_call_server(call), room, client,
				    NULL),
		    room))
		muster_set_text(call, "room", room);
}

static void leave_room(struct muster_call *call, const char *client)
{
	const char *room = muster_param_text(call, "room");
	int answer = muster_web_leave(muster_call_server(call), room, client);

	if (is_done(call, answer == MUSTER_NOT_FOUND ? MUSTER_LOST : answer,
		    room))
		muster_set_text(call, "room", room);
}

/* Into the room first, so that one that does not exist changes nothing. */
static void change_room(struct muster_call *call, const char *client)
{
	struct muster *muster = muster_call_server(call);
	const char *room = muster_param_text(call, "room");
	struct muster_texts rooms;
	int answer = muster_web_join(muster, room, client, NULL);

	if ((answer != MUSTER_KNOWN && !is_done(call, answer, room)) ||
	    !get_rooms(call, client, &rooms))
		return;
	for (size_t i = 0; i < rooms.count; i++) {
		if (strcmp(rooms.texts[i], room) == 0)
			continue;
		answer = muster_web_leave(muster, rooms.texts[i], client);
		if (answer != MUSTER_NOT_FOUND &&
		    !is_done(call, answer, rooms.texts[i]))
			return;
	}
	muster_set_text(call, "room", room);
}

static void say(struct muster_call *call, const char *client)
{
	struct muster *muster = muster_call_server(call);
	const char *room = choose(call, client);

	if (!muster_param_is_given(call, "message"))
		muster_fail(call, 422,
			    "message is a required parameter for this action");
	else if (room[0] != '\0')
		is_done(call,
			muster_web_say(muster, room, client,
				       muster_param_json(call, "message")),
			room);
}

static void take_messages(struct muster_call *call, const char *client)
{
	struct muster *muster = muster_call_server(call);
	struct muster_texts messages;

	if (is_done(call, muster_web_messages(muster, client, 0, &messages),
		    ""))
		muster_set_json(call, "messages",
				make_array(muster, &messages, true));
}

static const struct method {
	const char *name;
	void (*run)(struct muster_call *call, const char *client);
} methods[] = {
	{ "detailsView", show_details }, { "roomView", show_room },
	{ "roomAdd", join_room },        { "roomLeave", leave_room },
	{ "roomChange", change_room },   { "say", say },
	{ "messages", take_messages },
};

static const struct method *find(struct muster_call *call, const char *name)
{
	const char *method = muster_param_text(call, name);

	for (size_t i = 0; i < sizeof(methods) / sizeof(methods[0]); i++)
		if (strcmp(methods[i].name, method) == 0)
			return &methods[i];
	return NULL;
}

int chat_is_method(struct muster_call *call, const char *name)
{
	if (find(call, name) != NULL)
		return 0;
	return muster_refuse(call,
			     "%s is none of detailsView, roomView, "
			     "roomAdd, roomLeave, roomChange, say, "
			     "messages",
			     name);
}

void chat(struct muster_call *call)
{
	find(call, "method")->run(call, muster_call_fingerprint(call));
}
