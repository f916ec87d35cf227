/* session_lines - what a TCP client says: a verb, an action or JSON a line. */
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "base/json_walk.h"
#include "base/mem.h"
#include "server/session_internal.h"

#define DEPTH_MAX    64
#define PARAMS_BYTES (1U << 20) /* of what a connection may keep */

/* A line taken apart: a word, and what is behind it. */
struct words {
	struct session *session;
	const char *verb;
	size_t verb_length;
	const char *rest;
	size_t rest_length;
};

/* ---- Answers ---- */

static void write_pair(struct json_writer *writer, const char *name,
		       const char *text)
{
	json_write_name(writer, name);
	json_write_text(writer, text);
}

static void write_count(struct json_writer *writer, uint64_t count)
{
	json_write_name(writer, "messageCount");
	json_write_integer(writer, (int64_t)count);
	json_write_object_end(writer);
}

static struct json_writer begin_answer(struct session *session,
				       const char *status)
{
	struct json_writer writer = session_answer(session);

	json_write_object(&writer);
	write_pair(&writer, "status", status);
	write_pair(&writer, "context", "response");
	return writer;
}

static struct json_writer begin_data(struct session *session,
				     const char *status)
{
	struct json_writer writer = begin_answer(session, status);

	json_write_name(&writer, "data");
	return writer;
}

static void end_answer(struct session *session, struct json_writer *writer)
{
	write_count(writer, session->messages);
	session_send_answer(session);
}

static void answer_null(struct session *session, const char *status)
{
	struct json_writer writer = begin_data(session, status);

	json_write_null(&writer);
	end_answer(session, &writer);
}

static void answer_error(struct session *session, const char *text)
{
	struct json_writer writer = session_answer(session);

	json_write_object(&writer);
	write_pair(&writer, "error", text);
	write_pair(&writer, "context", "response");
	end_answer(session, &writer);
}

/* Errors are known by what stands before them here. The answer's own `error`
 * is its last member. */
static void mark_error(struct session_request *request,
		       struct json_writer *writer)
{
	struct buffer *output = &request->output;
	struct buffer marked = { 0 };
	struct json_writer to = json_writer(&marked);
	struct json_value key, value;

	json_write_object_end(writer);
	struct json_walk walk = json_walk(json_value_of(
		(const char *)buffer_bytes(output), buffer_length(output)));

	json_write_object(&to);
	while (json_walk_next(&walk, &key, &value)) {
		bool is_error = json_string_is(key, "error", 5) &&
				json_kind_of(value) == JSON_STRING;

		json_write_raw(&to, key.text, key.length);
		buffer_append_text(&marked, is_error ? ":\"Error: " : ":");
		buffer_append(&marked, value.text + is_error,
			      value.length - is_error);
	}
	buffer_fini(output);
	*output = marked;
	*writer = json_writer(output);
	writer->follows = true;
}

void session_finish_line(struct session_request *request, int status,
			 struct json_writer *writer)
{
	struct session *session = request->session;

	if (status >= 400)
		mark_error(request, writer);
	write_pair(writer, "context", "response");
	write_count(writer, request->count);
	session->kind->send(session->connection, buffer_bytes(&request->output),
			    buffer_length(&request->output));
	session_request_done(request);
}

/* ---- Parameters that stay ---- */

static struct json_value params_of(const struct session *session)
{
	const struct buffer *params = &session->params;

	if (buffer_length(params) == 0)
		return (struct json_value){ "{}", 2 };
	return (struct json_value){ (const char *)buffer_bytes(params),
				    buffer_length(params) };
}

static void keep_params(struct session *session, struct buffer *params)
{
	buffer_fini(&session->params);
	session->params = *params;
}

/* All but that one, which comes last where `value` says so. */
static void change_param(struct session *session, const char *name,
			 size_t length, struct json_value value)
{
	struct buffer params = { 0 };
	struct json_writer writer = json_writer(&params);
	struct json_walk walk = json_walk(params_of(session));
	struct json_value key, old;

	json_write_object(&writer);
	while (json_walk_next(&walk, &key, &old)) {
		if (json_string_is(key, name, length))
			continue;
		json_write_raw(&writer, key.text, key.length);
		buffer_append(&params, ":", 1);
		writer.follows = false;
		json_write_raw(&writer, old.text, old.length);
	}
	if (value.text != NULL) {
		json_write_key(&writer, name, length);
		json_write_raw(&writer, value.text, value.length);
	}
	json_write_object_end(&writer);
	keep_params(session, &params);
}

static void set_text(struct session *session, const char *name,
		     size_t name_length, const char *text, size_t length)
{
	struct buffer json = { 0 };
	struct json_writer writer = json_writer(&json);

	json_write_string(&writer, text, length);
	change_param(session, name, name_length,
		     (struct json_value){ (const char *)buffer_bytes(&json),
					  buffer_length(&json) });
	buffer_fini(&json);
}

static bool is_word(const char *text, size_t length, const char *word)
{
	return strlen(word) == length && memcmp(text, word, length) == 0;
}

/* What no action asks for is not kept, so that it cannot pile up. */
static bool is_known(const struct session *session, const char *name,
		     size_t length)
{
	const struct actions *actions = session->sessions->api->actions;

	if (is_word(name, length, "action") ||
	    is_word(name, length, "apiVersion") ||
	    is_word(name, length, "callback") || is_word(name, length, "file"))
		return true;
	for (size_t i = 0; i < actions_count(actions); i++) {
		const struct action *action = actions_at(actions, i);

		for (size_t j = 0; j < action->input_count; j++)
			if (is_word(name, length,
				    action->given->inputs[j]->name))
				return true;
	}
	return false;
}

/* ---- Verbs ---- */

static void on_param_add(const struct words *words)
{
	struct session *session = words->session;
	const char *equals = memchr(words->rest, '=', words->rest_length);

	if (equals == NULL) {
		answer_null(session, "a parameter is NAME=VALUE");
		return;
	}
	size_t length = (size_t)(equals - words->rest);

	if (!is_known(session, words->rest, length)) {
		answer_null(session, "OK");
		return;
	}
	if (buffer_length(&session->params) + words->rest_length >
	    PARAMS_BYTES) {
		answer_null(session, "there are too many parameters");
		return;
	}
	set_text(session, words->rest, length, equals + 1,
		 words->rest_length - length - 1);
	answer_null(session, "OK");
}

static void on_param_delete(const struct words *words)
{
	change_param(words->session, words->rest, words->rest_length,
		     (struct json_value){ NULL, 0 });
	answer_null(words->session, "OK");
}

static void on_param_view(const struct words *words)
{
	struct json_writer writer = begin_data(words->session, "OK");
	struct json_walk walk = json_walk(params_of(words->session));
	struct json_value key, value;

	while (json_walk_next(&walk, &key, &value))
		if (json_string_is(key, words->rest, words->rest_length)) {
			json_write_raw(&writer, value.text, value.length);
			end_answer(words->session, &writer);
			return;
		}
	json_write_null(&writer);
	end_answer(words->session, &writer);
}

static void on_params_view(const struct words *words)
{
	struct json_writer writer = begin_data(words->session, "OK");
	struct json_value params = params_of(words->session);

	json_write_raw(&writer, params.text, params.length);
	end_answer(words->session, &writer);
}

static void on_params_delete(const struct words *words)
{
	buffer_fini(&words->session->params);
	answer_null(words->session, "OK");
}

/* ---- Rooms ---- */

static void ask(const struct words *words, enum session_room_verb verb,
		size_t room_length, const char *message)
{
	struct session_ask *ask = session_ask_new(words->session, verb);

	ask->room = session_room_name(&ask->arena, words->rest, room_length);
	if (message != NULL)
		ask->message =
			arena_text(&ask->arena, message, strlen(message));
	session_ask_run(ask);
}

static void on_room_add(const struct words *words)
{
	ask(words, SESSION_ROOM_ADD, words->rest_length, NULL);
}

static void on_room_leave(const struct words *words)
{
	ask(words, SESSION_ROOM_LEAVE, words->rest_length, NULL);
}

static void on_room_view(const struct words *words)
{
	ask(words, SESSION_ROOM_VIEW, words->rest_length, NULL);
}

/* say ROOM WORDS... */
static void on_say(const struct words *words)
{
	const char *space = memchr(words->rest, ' ', words->rest_length);
	struct buffer text = { 0 };
	struct json_writer writer = json_writer(&text);

	if (space == NULL) {
		ask(words, SESSION_ROOM_SAY, words->rest_length, NULL);
		return;
	}
	size_t length = (size_t)(space - words->rest);

	json_write_string(&writer, space + 1, words->rest_length - length - 1);
	buffer_append(&text, "", 1);
	ask(words, SESSION_ROOM_SAY, length, (const char *)buffer_bytes(&text));
	buffer_fini(&text);
}

static void write_status(struct json_writer *writer,
			 const struct session_ask *ask)
{
	bool is_add = ask->verb == SESSION_ROOM_ADD;

	json_write_name(writer, "status");
	if (ask->result < 0) {
		json_write_text(writer, ask->problem);
	} else if (ask->result == 0) {
		json_write_text(writer, "OK");
	} else if (ask->result == MUSTER_KNOWN) {
		json_write_text(writer, "connection already in this room");
	} else if (ask->result == MUSTER_DROPPED) {
		json_write_text(writer, "not allowed in this room");
	} else if (ask->result == MUSTER_NOT_FOUND && is_add) {
		json_write_text(writer, "room does not exist");
	} else if (ask->verb == SESSION_ROOM_VIEW) {
		char *status = mem_format("not member of room %s", ask->room);

		json_write_text(writer, status);
		free(status);
	} else {
		json_write_text(writer, "connection not in this room");
	}
}

void session_finish_room_line(const struct session_ask *ask)
{
	struct json_writer writer = session_answer(ask->session);
	bool is_done = ask->result == 0;

	json_write_object(&writer);
	write_status(&writer, ask);
	write_pair(&writer, "context", "response");
	if (ask->verb == SESSION_ROOM_VIEW && is_done) {
		json_write_name(&writer, "data");
		session_write_view(ask, &writer);
	} else if (ask->verb == SESSION_ROOM_ADD ||
		   ask->verb == SESSION_ROOM_LEAVE) {
		json_write_name(&writer, "data");
		json_write_boolean(&writer, is_done);
	}
	write_count(&writer, ask->count);
	session_send_answer(ask->session);
}

static void on_details(const struct words *words)
{
	struct json_writer writer = begin_data(words->session, "OK");

	session_write_details(words->session, &writer);
	end_answer(words->session, &writer);
}

static void on_documentation(const struct words *words)
{
	struct json_writer writer = begin_data(words->session, "OK");

	session_write_documentation(words->session, &writer);
	end_answer(words->session, &writer);
}

static void on_file(const struct words *words)
{
	session_file_line(words->session, words->rest, words->rest_length);
}

static void on_quit(const struct words *words)
{
	words->session->kind->quit(words->session->connection, true);
}

static const struct verb {
	const char *name;
	void (*run)(const struct words *words);
} verbs[] = {
	/* of rooms */
	{ "roomAdd", on_room_add },
	{ "roomLeave", on_room_leave },
	{ "roomView", on_room_view },
	{ "say", on_say },
	/* others */
	{ "paramAdd", on_param_add },
	{ "paramDelete", on_param_delete },
	{ "paramView", on_param_view },
	{ "paramsView", on_params_view },
	{ "paramsDelete", on_params_delete },
	{ "detailsView", on_details },
	{ "documentation", on_documentation },
	{ "file", on_file },
	{ "quit", on_quit },
	{ "exit", on_quit },
};

#define ROOM_VERBS 4 /* which are the first ones */

static const struct verb *find_verb(const struct words *words)
{
	for (size_t i = 0; i < sizeof(verbs) / sizeof(verbs[0]); i++)
		if (is_word(words->verb, words->verb_length, verbs[i].name))
			return &verbs[i];
	return NULL;
}

/* ---- Actions ---- */

/* The one that the parameters name, with those that stay. */
static void run_action(struct session *session)
{
	struct session_request *request = session_request_take(session);
	struct json_value params = params_of(session);

	params.text =
		arena_text(&request->request.arena, params.text, params.length);
	request->count = session->messages;
	const char *problem = session_read_params(request, params);

	if (problem == NULL) {
		session_run(request);
		return;
	}
	struct json_writer writer = json_writer(&request->output);

	json_write_object(&writer);
	write_pair(&writer, "error", problem);
	session_finish_line(request, 400, &writer);
}

static void on_action(const struct words *words)
{
	set_text(words->session, "action", 6, words->verb, words->verb_length);
	run_action(words->session);
}

/* {"action":"x","params":{...}}: the parameters take the place of all that
 * were kept, and stay. */
static void on_json(struct session *session, struct json_value whole)
{
	struct json_value action, params;
	struct buffer kept = { 0 };

	if (json_find(whole, "params", &params) &&
	    json_kind_of(params) == JSON_OBJECT)
		buffer_append(&kept, params.text, params.length);
	keep_params(session, &kept);
	if (json_find(whole, "action", &action))
		change_param(session, "action", 6, action);
	run_action(session);
}

static void take_json(struct session *session, const char *line, size_t length)
{
	struct json_value whole;

	if (json_check(line, length, DEPTH_MAX) != JSON_VALUE) {
		answer_error(session, "Error: the line is not JSON");
		return;
	}
	whole = json_value_of(line, length);
	/* Its action must outlive what change_param() replaces: it is the
	 * line's. */
	on_json(session, whole);
}

static struct words split(struct session *session, const char *line,
			  size_t length)
{
	const char *space = memchr(line, ' ', length);
	struct words words = { .session = session,
			       .verb = line,
			       .verb_length = space == NULL
						      ? length
						      : (size_t)(space - line),
			       .rest = "" };

	if (space == NULL)
		return words;
	words.rest = space + 1;
	words.rest_length = length - words.verb_length - 1;
	return words;
}

void session_take_line(struct session *session, const char *line, size_t length)
{
	struct words words = split(session, line, length);

	const struct verb *verb = find_verb(&words);

	session->messages++;
	if ((verb == NULL || verb >= &verbs[ROOM_VERBS]) &&
	    session_defer(session, line, length))
		return;
	if (line[0] == '{')
		take_json(session, line, length);
	else if (verb != NULL)
		verb->run(&words);
	else
		on_action(&words);
}

void session_refuse_line(struct session *session, size_t length_max)
{
	char *text = mem_format("Error: a line is longer than %zu bytes",
				length_max);

	session->messages++;
	answer_error(session, text);
	free(text);
}
