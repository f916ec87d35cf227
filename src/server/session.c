#include "server/session.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/mem.h"
#include "base/must.h"
#include "server/session_internal.h"

#include <muster/rpc.h>

#define SPARES_MAX  64
#define SPARE_BYTES 4096
#define VERSION_MAX 1000000000

/* ---- Requests ---- */

struct session_request *session_request_take(struct session *session)
{
	struct sessions *sessions = session->sessions;
	struct list *link = list_take_first(&sessions->spares);
	struct session_request *request;

	if (link == NULL) {
		request = mem_zalloc(sizeof(*request));
	} else {
		request = LIST_ENTRY(link, struct session_request, link);
		sessions->spare_count--;
	}
	request->session = session;
	request->request.client = &session->client;
	request->request.output = &request->output;
	request->request.params = params_in(&request->request.arena);
	list_add_last(&session->requests, &request->link);
	return request;
}

static void free_all(struct sessions *sessions)
{
	struct list *link;

	while ((link = list_take_first(&sessions->spares)) != NULL) {
		struct session_request *request =
			LIST_ENTRY(link, struct session_request, link);

		buffer_fini(&request->output);
		free(request);
	}
	buffer_fini(&sessions->scratch);
	free(sessions->welcome);
	free(sessions);
}

static void session_free(struct session *session)
{
	struct sessions *sessions = session->sessions;

	sessions->count--;
	rooms_client_close(&session->rooms);
	/* Drops what is not there any more where the node has gone. */
	muster_connection_drop(sessions->api->muster, session->client.id);
	buffer_fini(&session->params);
	free(session->fingerprint);
	free(session->address);
	free(session);
	if (sessions->is_over && sessions->count == 0)
		free_all(sessions);
}

bool session_is_busy(const struct session *session)
{
	return !list_is_empty(&session->requests) ||
	       !list_is_empty(&session->reads) || session->is_asking;
}

void session_settle(struct session *session)
{
	if (session_is_busy(session) || session->is_abandoning)
		return;
	if (session->connection == NULL)
		session_free(session);
	else if (session->is_leaving)
		session->kind->quit(session->connection, false);
}

void session_request_done(struct session_request *request)
{
	struct session *session = request->session;
	struct sessions *sessions = session->sessions;
	struct buffer output = request->output;

	list_remove(&request->link);
	arena_fini(&request->request.arena);
	if (sessions->spare_count == SPARES_MAX ||
	    output.capacity > SPARE_BYTES) {
		buffer_fini(&output);
		free(request);
	} else {
		buffer_truncate(&output, 0);
		*request = (struct session_request){ .output = output };
		list_add_last(&sessions->spares, &request->link);
		sessions->spare_count++;
	}
	session_settle(session);
}

static void on_answer(struct api_request *api_request, int status,
		      struct json_writer *writer)
{
	struct session_request *request =
		LIST_ENTRY(api_request, struct session_request, request);

	if (request->session->connection == NULL)
		session_request_done(request);
	else if (request->session->kind->transport == MUSTER_TCP)
		session_finish_line(request, status, writer);
	else
		session_finish_frame(request, writer);
}

void session_run(struct session_request *request)
{
	request->request.on_answer = on_answer;
	api_run(request->session->sessions->api, &request->request);
}

static void take_action(struct session_request *request, struct param *param)
{
	struct json_value value = { param->text, param->length };
	struct arena *arena = &request->request.arena;

	if (json_kind_of(value) != JSON_STRING)
		return;
	request->request.action =
		json_string_of(value, arena_take(arena, param->length),
			       &request->request.action_length);
}

static void take_version(struct session_request *request, struct param *param)
{
	struct json_value value = { param->text, param->length };
	size_t length;
	int64_t version;

	if (json_kind_of(value) == JSON_STRING) {
		char *room = arena_take(&request->request.arena, param->length);
		const char *text = json_string_of(value, room, &length);
		char *end, *number = arena_text(&request->request.arena, text,
						length);

		version = strtoll(number, &end, 10);
		if (end == number || *end != '\0')
			version = -1;
	} else if (json_kind_of(value) == JSON_NULL) {
		version = 0;
	} else if (json_kind_of(value) != JSON_NUMBER ||
		   !json_integer_of(value, &version)) {
		version = -1;
	}
	/* One that no action has: it is unknown then. */
	request->request.version = version < 0 || version > VERSION_MAX
					   ? UINT32_MAX
					   : (uint32_t)version;
}

const char *session_read_params(struct session_request *request,
				struct json_value object)
{
	struct params *params = &request->request.params;
	int error = params_set_object(params, object);

	request->request.action = "";
	request->request.action_length = 0;
	if (error == -EINVAL)
		return "a parameter is there twice";
	if (error < 0)
		return "there are too many parameters";
	struct param *action = params_find(params, "action", 6);

	if (action != NULL) {
		take_action(request, action);
		params_remove(params, action);
	}
	struct param *version = params_find(params, "apiVersion", 10);

	if (version != NULL) {
		take_version(request, version);
		params_remove(params, version);
	}
	return NULL;
}

/* ---- Answers ---- */

struct json_writer session_answer(struct session *session)
{
	struct buffer *scratch = &session->sessions->scratch;

	buffer_truncate(scratch, 0);
	return json_writer(scratch);
}

void session_send_answer(struct session *session)
{
	struct buffer *scratch = &session->sessions->scratch;

	if (session->connection != NULL)
		session->kind->send(session->connection, buffer_bytes(scratch),
				    buffer_length(scratch));
	buffer_consume(scratch, buffer_length(scratch));
	buffer_trim(scratch, 65536);
}

static void write_text_or_null(struct json_writer *writer, const char *name,
			       const char *text)
{
	json_write_name(writer, name);
	if (text == NULL)
		json_write_null(writer);
	else
		json_write_text(writer, text);
}

static void write_integer(struct json_writer *writer, const char *name,
			  int64_t value)
{
	json_write_name(writer, name);
	json_write_integer(writer, value);
}

void session_write_details(struct session *session, struct json_writer *writer)
{
	json_write_object(writer);
	write_text_or_null(writer, "id", session->client.id);
	write_text_or_null(writer, "fingerprint", session->fingerprint);
	write_text_or_null(writer, "remoteIP", session->address);
	write_integer(writer, "remotePort", session->port);
	json_write_name(writer, "params");
	if (buffer_length(&session->params) == 0)
		json_write_raw(writer, "{}", 2);
	else
		json_write_raw(writer,
			       (const char *)buffer_bytes(&session->params),
			       buffer_length(&session->params));
	write_integer(writer, "connectedAt", session->connected_at_ms);
	json_write_name(writer, "rooms");
	session_write_rooms(session, writer);
	write_integer(writer, "totalActions", (int64_t)session->client.total);
	write_integer(writer, "pendingActions", session->client.pending);
	json_write_object_end(writer);
}

static void write_inputs(struct json_writer *writer,
			 const struct action *action, bool required)
{
	json_write_name(writer, required ? "required" : "optional");
	json_write_array(writer);
	for (size_t i = 0; i < action->input_count; i++)
		if (action->given->inputs[i]->required == required)
			json_write_text(writer, action->given->inputs[i]->name);
	json_write_array_end(writer);
}

static void write_action(struct json_writer *writer,
			 const struct action *action)
{
	const char *example = action->given->output_example;
	const char *description = action->given->description;
	char version[16];

	snprintf(version, sizeof(version), "%u", action->version);
	json_write_name(writer, version);
	json_write_object(writer);
	write_text_or_null(writer, "name", action->given->name);
	write_integer(writer, "version", action->version);
	write_text_or_null(writer, "description",
			   description == NULL ? "" : description);
	json_write_name(writer, "inputs");
	json_write_object(writer);
	write_inputs(writer, action, true);
	write_inputs(writer, action, false);
	json_write_object_end(writer);
	json_write_name(writer, "outputExample");
	if (example == NULL)
		json_write_raw(writer, "{}", 2);
	else
		json_write_raw(writer, example, strlen(example));
	json_write_object_end(writer);
}

/* {action:{version:{...}}}: the table has them by name, then by version. */
void session_write_documentation(struct session *session,
				 struct json_writer *writer)
{
	const struct actions *actions = session->sessions->api->actions;
	const char *name = NULL;

	json_write_object(writer);
	for (size_t i = 0; i < actions_count(actions); i++) {
		const struct action *action = actions_at(actions, i);

		if (name == NULL || strcmp(name, action->given->name) != 0) {
			if (name != NULL)
				json_write_object_end(writer);
			name = action->given->name;
			json_write_name(writer, name);
			json_write_object(writer);
		}
		write_action(writer, action);
	}
	if (name != NULL)
		json_write_object_end(writer);
	json_write_object_end(writer);
}

/* ---- Coming and going ---- */

static int64_t wall_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_REALTIME, &now);
	return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

static void send_welcome(struct session *session)
{
	struct json_writer writer = session_answer(session);

	json_write_object(&writer);
	write_text_or_null(&writer, "welcome", session->sessions->welcome);
	write_text_or_null(&writer, "context", "api");
	json_write_object_end(&writer);
	session_send_answer(session);
}

struct session *session_open(struct sessions *sessions,
			     const struct session_kind *kind, void *connection,
			     const struct session_client *client)
{
	struct session *session = mem_zalloc(sizeof(*session));

	session->sessions = sessions;
	session->kind = kind;
	session->connection = connection;
	session->connected_at_ms = wall_ms();
	session->port = client->port;
	session->address = mem_text(client->address);
	if (client->fingerprint != NULL)
		session->fingerprint = mem_text(client->fingerprint);
	list_init(&session->requests);
	list_init(&session->reads);
	session->client = (struct client){
		.transport = kind->transport,
		.id = muster_connection_hold(sessions->api->muster),
		.address = session->address,
	};
	if (session->fingerprint == NULL && kind->transport != MUSTER_TCP)
		session->fingerprint = mem_text(session->client.id);
	session->client.fingerprint =
		session->fingerprint == NULL ? "" : session->fingerprint;
	list_init(&session->asks);
	session->rooms = (struct rooms_client){
		.muster = sessions->api->muster,
		.id = session->client.id,
		.receive = session_hear,
	};
	rooms_client_open(&session->rooms);
	sessions->count++;
	send_welcome(session);
	return session;
}

void session_leave(struct session *session)
{
	size_t count = 0;

	session->connection = NULL;
	session_files_abandon(session);
	/* One that is abandoned may be done, and gone, at once; the session
	 * not before this is through. */
	session->is_abandoning = true;
	LIST_EACH (&session->requests, link)
		count++;
	while (count-- > 0 && !list_is_empty(&session->requests)) {
		struct list *link = list_take_first(&session->requests);

		list_add_last(&session->requests, link);
		api_abandon(&LIST_ENTRY(link, struct session_request, link)
				     ->request);
	}
	session->is_abandoning = false;
	session_settle(session);
}

void session_drain(struct session *session)
{
	session->is_leaving = true;
	session_settle(session);
}

struct sessions *sessions_new(const struct sessions_settings *settings)
{
	struct sessions *sessions = mem_zalloc(sizeof(*sessions));

	sessions->api = settings->api;
	sessions->welcome = mem_text(
		settings->welcome == NULL ? "Welcome" : settings->welcome);
	sessions->files = settings->files;
	sessions->file_bytes = settings->file_bytes;
	sessions->origins = settings->origins;
	list_init(&sessions->spares);
	return sessions;
}

void sessions_close_files(struct sessions *sessions)
{
	sessions->files = NULL;
}

void sessions_free(struct sessions *sessions)
{
	if (sessions == NULL)
		return;
	sessions->is_over = true;
	if (sessions->count == 0)
		free_all(sessions);
}
