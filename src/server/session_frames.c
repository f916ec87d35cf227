/* session_frames - what a WebSocket client says: a JSON object a message. */
#include <string.h>

#include "base/json.h"
#include "base/json_walk.h"
#include "base/must.h"
#include "base/uuid.h"
#include "server/session_internal.h"

#define DEPTH_MAX 64

/* A message that is an object, taken apart. */
struct frame {
	struct session *session;
	struct json_value whole;
	struct json_value event; /* NULL: none */
	struct json_value message;
	char made[UUID_BYTES + 2]; /* in quotes, where it has no messageId */
};

static bool is_false(struct json_value value)
{
	switch (json_kind_of(value)) {
	case JSON_NULL:
		return true;
	case JSON_BOOLEAN:
		return !json_boolean_of(value);
	case JSON_NUMBER:
		return !(json_number_of(value) < 0) &&
		       !(json_number_of(value) > 0);
	case JSON_STRING:
		return value.length == 2;
	case JSON_ARRAY:
	case JSON_OBJECT:
		return false;
	}
	return false;
}

static void make_message(struct frame *frame)
{
	frame->made[0] = '"';
	uuid_make(frame->made + 1);
	frame->made[UUID_BYTES] = '"';
	frame->message = (struct json_value){ frame->made, UUID_BYTES + 1 };
}

/* What is there twice counts the last time, as to clients in JavaScript. */
static void find_parts(struct frame *frame)
{
	struct json_walk walk = json_walk(frame->whole);
	struct json_value key, value;

	while (json_walk_next(&walk, &key, &value))
		if (json_string_is(key, "event", 5))
			frame->event = value;
		else if (json_string_is(key, "messageId", 9))
			frame->message = value;
	if (frame->message.text == NULL || is_false(frame->message))
		make_message(frame);
}

static bool is_event(const struct frame *frame, const char *name)
{
	return frame->event.text != NULL &&
	       json_kind_of(frame->event) == JSON_STRING &&
	       json_string_is(frame->event, name, strlen(name));
}

/* ---- Answers ---- */

static void write_pair(struct json_writer *writer, const char *name,
		       const char *text)
{
	json_write_name(writer, name);
	json_write_text(writer, text);
}

static void end_answer(const struct frame *frame, struct json_writer *writer)
{
	json_write_name(writer, "messageId");
	json_write_raw(writer, frame->message.text, frame->message.length);
	json_write_object_end(writer);
	session_send_answer(frame->session);
}

static struct json_writer begin_answer(const struct frame *frame)
{
	struct json_writer writer = session_answer(frame->session);

	json_write_object(&writer);
	write_pair(&writer, "status", "OK");
	write_pair(&writer, "context", "response");
	json_write_name(&writer, "data");
	return writer;
}

/* What is no part of how something is asked. */
static bool is_word(struct json_value key)
{
	return !json_string_is(key, "event", 5) &&
	       !json_string_is(key, "messageId", 9) &&
	       !json_string_is(key, "room", 4);
}

/* What was asked, without what says how: as clients know it. */
static void write_rest(const struct frame *frame, struct json_writer *writer)
{
	struct json_walk walk = json_walk(frame->whole);
	struct json_value key, value;

	if (json_kind_of(frame->whole) != JSON_OBJECT) {
		json_write_raw(writer, frame->whole.text, frame->whole.length);
		return;
	}
	json_write_object(writer);
	while (json_walk_next(&walk, &key, &value)) {
		if (!is_word(key))
			continue;
		json_write_raw(writer, key.text, key.length);
		buffer_append(writer->buffer, ":", 1);
		writer->follows = false;
		json_write_raw(writer, value.text, value.length);
	}
	json_write_object_end(writer);
}

static void refuse(const struct frame *frame, const char *text)
{
	struct json_writer writer = session_answer(frame->session);

	json_write_object(&writer);
	write_pair(&writer, "status", text);
	write_pair(&writer, "error", text);
	write_pair(&writer, "context", "response");
	json_write_name(&writer, "data");
	write_rest(frame, &writer);
	end_answer(frame, &writer);
}

static void refuse_verb(const struct frame *frame, const char *verb,
			size_t length)
{
	struct buffer text = { 0 };

	buffer_append_text(&text, "Error: verb not found or not allowed (");
	buffer_append(&text, verb, length < 100 ? length : 100);
	buffer_append(&text, ")", 2); /* and a NUL */
	refuse(frame, (const char *)buffer_bytes(&text));
	buffer_fini(&text);
}

void session_finish_frame(struct session_request *request,
			  struct json_writer *writer)
{
	struct session *session = request->session;

	write_pair(writer, "context", "response");
	json_write_name(writer, "messageId");
	json_write_raw(writer, request->message, request->message_length);
	json_write_object_end(writer);
	session->kind->send(session->connection, buffer_bytes(&request->output),
			    buffer_length(&request->output));
	session_request_done(request);
}

/* ---- Verbs ---- */

static void fail_action(struct session_request *request, const char *text)
{
	struct json_writer writer = json_writer(&request->output);

	json_write_object(&writer);
	write_pair(&writer, "error", text);
	session_finish_frame(request, &writer);
}

/* The message is gone before the action is done: its copy is not. */
static void run_action(const struct frame *frame)
{
	struct session_request *request = session_request_take(frame->session);
	struct arena *arena = &request->request.arena;
	struct json_value params = { "{}", 2 };
	size_t length = 0;

	request->message =
		arena_text(arena, frame->message.text, frame->message.length);
	request->message_length = frame->message.length;
	request->request.message = request->message;
	if (json_kind_of(frame->message) == JSON_STRING) {
		const char *text = json_string_of(
			frame->message,
			arena_take(arena, frame->message.length), &length);

		request->request.message = arena_text(arena, text, length);
	}
	if (json_find(frame->whole, "params", &params) &&
	    json_kind_of(params) != JSON_OBJECT)
		params = (struct json_value){ "{}", 2 };
	params.text = arena_text(arena, params.text, params.length);
	const char *problem = session_read_params(request, params);

	if (problem != NULL)
		fail_action(request, problem);
	else
		session_run(request);
}

static void on_action(const struct frame *frame)
{
	run_action(frame);
}

static void on_file(const struct frame *frame)
{
	session_file_frame(frame->session, frame->whole, frame->message);
}

static void on_details(const struct frame *frame)
{
	struct json_writer writer = begin_answer(frame);

	session_write_details(frame->session, &writer);
	end_answer(frame, &writer);
}

static void on_documentation(const struct frame *frame)
{
	struct json_writer writer = begin_answer(frame);

	session_write_documentation(frame->session, &writer);
	end_answer(frame, &writer);
}

/* ---- Rooms ---- */

static const char *text_of(struct arena *arena, struct json_value value,
			   size_t *length)
{
	*length = value.length;
	if (json_kind_of(value) != JSON_STRING)
		return value.text;
	return json_string_of(value, arena_take(arena, value.length), length);
}

/* What is said is all that is no part of how: one value as it is, more as words
 * in their order. NULL: nothing. */
static const char *read_message(struct arena *arena, struct json_value whole)
{
	struct json_walk walk = json_walk(whole);
	struct json_value key, value, first = { NULL, 0 };
	struct buffer words = { 0 };
	struct buffer text = { 0 };
	size_t count = 0;
	size_t length;

	while (json_walk_next(&walk, &key, &value)) {
		if (!is_word(key))
			continue;
		if (count++ == 0)
			first = value;
		else
			buffer_append(&words, " ", 1);
		const char *word = text_of(arena, value, &length);

		buffer_append(&words, word, length);
	}
	struct json_writer writer = json_writer(&text);

	if (count > 1)
		json_write_string(&writer, (const char *)buffer_bytes(&words),
				  buffer_length(&words));
	else if (count == 1)
		json_write_raw(&writer, first.text, first.length);
	const char *message = count == 0
				      ? NULL
				      : arena_text(arena, buffer_bytes(&text),
						   buffer_length(&text));

	buffer_fini(&words);
	buffer_fini(&text);
	return message;
}

/* The message is gone before it is answered: its copy is not. */
static struct json_value keep_value(struct arena *arena,
				    struct json_value value)
{
	return (struct json_value){ arena_text(arena, value.text, value.length),
				    value.length };
}

static void ask(const struct frame *frame, enum session_room_verb verb)
{
	struct session_ask *ask = session_ask_new(frame->session, verb);
	struct json_value room;
	size_t length;
	bool has_room = json_find(frame->whole, "room", &room);

	ask->whole = keep_value(&ask->arena, frame->whole);
	ask->id = keep_value(&ask->arena, frame->message);
	ask->room = "";
	if (has_room) {
		const char *name = text_of(&ask->arena, room, &length);

		ask->room = session_room_name(&ask->arena, name, length);
	}
	if (verb == SESSION_ROOM_SAY && has_room)
		ask->message = read_message(&ask->arena, frame->whole);
	session_ask_run(ask);
}

static void on_room_add(const struct frame *frame)
{
	ask(frame, SESSION_ROOM_ADD);
}

static void on_room_leave(const struct frame *frame)
{
	ask(frame, SESSION_ROOM_LEAVE);
}

static void on_room_view(const struct frame *frame)
{
	ask(frame, SESSION_ROOM_VIEW);
}

static void on_say(const struct frame *frame)
{
	ask(frame, SESSION_ROOM_SAY);
}

static const char *problem_of(const struct session_ask *ask)
{
	bool is_add = ask->verb == SESSION_ROOM_ADD;

	if (ask->result < 0)
		return ask->problem;
	if (ask->result == MUSTER_KNOWN)
		return "connection already in this room";
	if (ask->result == MUSTER_DROPPED)
		return "not allowed in this room";
	if (ask->result == MUSTER_NOT_FOUND && is_add)
		return "room does not exist";
	return "connection not in this room";
}

static void refuse_ask(const struct session_ask *ask, const struct frame *frame)
{
	const char *problem = problem_of(ask);
	struct buffer text = { 0 };

	buffer_append_format(&text, "Error: %s", problem);
	if (ask->result > 0 &&
	    (ask->result != MUSTER_NOT_FOUND || ask->verb != SESSION_ROOM_ADD))
		buffer_append_format(&text, " (%s)", ask->room);
	buffer_append(&text, "", 1);
	refuse(frame, (const char *)buffer_bytes(&text));
	buffer_fini(&text);
}

void session_finish_room_frame(const struct session_ask *ask)
{
	struct frame frame = { .session = ask->session,
			       .whole = ask->whole,
			       .message = ask->id };

	if (ask->result != 0) {
		refuse_ask(ask, &frame);
		return;
	}
	struct json_writer writer = session_answer(ask->session);

	json_write_object(&writer);
	write_pair(&writer, "status", "OK");
	write_pair(&writer, "context", "response");
	if (ask->verb != SESSION_ROOM_SAY)
		json_write_name(&writer, "data");
	if (ask->verb == SESSION_ROOM_VIEW)
		session_write_view(ask, &writer);
	else if (ask->verb != SESSION_ROOM_SAY)
		json_write_boolean(&writer, true);
	end_answer(&frame, &writer);
}

static void on_quit(const struct frame *frame)
{
	frame->session->kind->quit(frame->session->connection, true);
}

static const struct verb {
	const char *name;
	void (*run)(const struct frame *frame);
} verbs[] = {
	/* of rooms */
	{ "roomAdd", on_room_add },
	{ "roomLeave", on_room_leave },
	{ "roomView", on_room_view },
	{ "say", on_say },
	/* others */
	{ "action", on_action },
	{ "file", on_file },
	{ "detailsView", on_details },
	{ "documentation", on_documentation },
	{ "quit", on_quit },
	{ "exit", on_quit },
};

#define ROOM_VERBS 4 /* which are the first ones */

static const struct verb *find_verb(const struct frame *frame)
{
	for (size_t i = 0; i < sizeof(verbs) / sizeof(verbs[0]); i++)
		if (is_event(frame, verbs[i].name))
			return &verbs[i];
	return NULL;
}

static void run_verb(const struct frame *frame, const struct verb *verb)
{
	char unescaped[256];
	size_t length = 0;
	const char *name = "undefined";

	if (verb != NULL) {
		verb->run(frame);
		return;
	}
	if (frame->event.text == NULL)
		length = strlen(name);
	else if (json_kind_of(frame->event) != JSON_STRING ||
		 frame->event.length > sizeof(unescaped)) {
		name = frame->event.text;
		length = frame->event.length;
	} else {
		name = json_string_of(frame->event, unescaped, &length);
	}
	refuse_verb(frame, name, length);
}

static void take_object(struct frame *frame, const void *text, size_t length)
{
	find_parts(frame);
	const struct verb *verb = find_verb(frame);

	if ((verb == NULL || verb >= &verbs[ROOM_VERBS]) &&
	    session_defer(frame->session, text, length))
		return;
	run_verb(frame, verb);
}

void session_take_frame(struct session *session, const void *text,
			size_t length)
{
	struct frame frame = { .session = session };

	session->messages++;
	enum json_answer answer = json_check(text, length, DEPTH_MAX);

	if (answer == JSON_VALUE)
		frame.whole = json_value_of(text, length);
	if (answer == JSON_VALUE && json_kind_of(frame.whole) == JSON_OBJECT) {
		take_object(&frame, text, length);
		return;
	}
	if (session_defer(session, text, length))
		return;
	make_message(&frame);
	if (answer == JSON_VALUE) {
		run_verb(&frame, NULL);
		return;
	}
	frame.whole = (struct json_value){ "{}", 2 };
	refuse(&frame, answer == JSON_TOO_DEEP
			       ? "Error: the message is nested too deep"
			       : "Error: the message is not JSON");
}
