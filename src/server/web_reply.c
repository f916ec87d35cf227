/* Answers: see web_internal.h. */
#include <string.h>

#include "base/must.h"
#include "server/web_internal.h"

#define METHODS_BYTES 64

static void put(struct buffer *to, const char *text, size_t length)
{
	buffer_append(to, text, length);
}

#define PUT(to, literal) put(to, literal, sizeof(literal) - 1)

/* ---- parameters as they were received ---- */

static const struct muster_input *
find_input(const struct muster_input *const *inputs, size_t count,
	   const char *name, size_t length)
{
	for (size_t i = 0; i < count && inputs[i] != NULL; i++)
		if (strlen(inputs[i]->name) == length &&
		    memcmp(inputs[i]->name, name, length) == 0)
			return inputs[i];
	return NULL;
}

/* Has it, or any of its members, a secret? */
static bool has_secret(const struct muster_input *input)
{
	if (input->secret)
		return true;
	for (size_t i = 0; input->schema != NULL && input->schema[i] != NULL;
	     i++)
		if (has_secret(input->schema[i]))
			return true;
	return false;
}

static void write_value(struct json_writer *writer, struct json_value value,
			const struct muster_input *input);

/* Of an object with secrets: the members that it is to have. */
static void write_members(struct json_writer *writer, struct json_value object,
			  const struct muster_input *input)
{
	struct json_walk walk = json_walk(object);
	struct json_value key, value;

	json_write_object(writer);
	while (json_walk_next(&walk, &key, &value))
		for (size_t i = 0; input->schema[i] != NULL; i++) {
			const struct muster_input *member = input->schema[i];

			if (!json_string_is(key, member->name,
					    strlen(member->name)))
				continue;
			json_write_name(writer, member->name);
			write_value(writer, value, member);
			break;
		}
	json_write_object_end(writer);
}

static void write_value(struct json_writer *writer, struct json_value value,
			const struct muster_input *input)
{
	if (!has_secret(input))
		json_write_raw(writer, value.text, value.length);
	else if (input->schema != NULL && !input->secret &&
		 json_kind_of(value) == JSON_OBJECT)
		write_members(writer, value, input);
	else
		json_write_text(writer, "[FILTERED]");
}

static void write_param(struct json_writer *writer, const struct param *param,
			const struct muster_input *input)
{
	json_write_key(writer, param->name, param->name_length);
	if (param->is_json)
		write_value(writer,
			    (struct json_value){ param->text, param->length },
			    input);
	else if (has_secret(input))
		json_write_text(writer, "[FILTERED]");
	else
		json_write_string(writer, param->text, param->length);
}

static void write_word(struct json_writer *writer, const char *name,
		       const struct param *param)
{
	if (param->text == NULL)
		return;
	json_write_name(writer, name);
	json_write_string(writer, param->text, param->length);
}

/* What is no input is not known to be no secret either. */
static void write_params(const struct web_request *request,
			 struct json_writer *writer)
{
	const struct action *action = request->api.chosen;
	const struct params *params = &request->api.params;

	json_write_object(writer);
	for (uint32_t i = 0; action != NULL && i < params->count; i++) {
		const struct param *param = &params->list[i];
		const struct muster_input *input =
			find_input(action->given->inputs, action->input_count,
				   param->name, param->name_length);

		if (input != NULL)
			write_param(writer, param, input);
	}
	write_word(writer, "apiVersion", &request->words[WEB_API_VERSION]);
	write_word(writer, "callback", &request->words[WEB_CALLBACK]);
	write_word(writer, "action", &request->words[WEB_ACTION]);
	json_write_object_end(writer);
}

/* ---- the two blocks ---- */

static void separate(struct json_writer *writer)
{
	if (writer->follows)
		PUT(writer->buffer, ",");
	writer->follows = true;
}

static void write_server(const struct web_request *request,
			 struct json_writer *writer, uint64_t took_us)
{
	const struct buffer *fixed = &request->web->server_information;

	separate(writer);
	put(writer->buffer, (const char *)buffer_bytes(fixed),
	    buffer_length(fixed));
	writer->follows = false;
	json_write_integer(writer, (int64_t)(took_us / 1000));
	PUT(writer->buffer, ",\"currentTime\":");
	writer->follows = false;
	json_write_integer(writer, web_wall_ms(request->web));
	PUT(writer->buffer, "}");
}

/* Ids and addresses hold nothing that JSON would quote. */
static void write_requester(const struct web_request *request,
			    struct json_writer *writer)
{
	struct buffer *to = writer->buffer;

	separate(writer);
	PUT(to, "\"requesterInformation\":{\"id\":\"");
	put(to, request->id, request->fingerprint_length + WEB_MESSAGE_BYTES);
	PUT(to, "\",\"fingerprint\":\"");
	put(to, request->fingerprint, request->fingerprint_length);
	PUT(to, "\",\"messageId\":\"");
	put(to, request->message, WEB_MESSAGE_BYTES - 1);
	PUT(to, "\",\"remoteIP\":\"");
	buffer_append_text(to, request->client.address);
	PUT(to, "\",\"receivedParams\":");
	writer->follows = false;
	write_params(request, writer);
	PUT(to, "}");
}

void web_write_information(struct web_request *request,
			   struct json_writer *writer, uint64_t took_us)
{
	const struct web_settings *settings = &request->web->settings;

	if (!settings->no_server_information)
		write_server(request, writer, took_us);
	if (!settings->no_requester_information)
		write_requester(request, writer);
}

/* ---- headers ---- */

static void put_session(struct web_request *request, struct buffer *fields)
{
	if (!request->is_new)
		return;
	PUT(fields, "Set-Cookie: ");
	buffer_append_text(fields, request->web->settings.cookie);
	PUT(fields, "=");
	buffer_append_text(fields, request->fingerprint);
	PUT(fields, "; Path=/; HttpOnly; SameSite=Lax");
	if (request->http->is_secure)
		PUT(fields, "; Secure");
	PUT(fields, "\r\n");
}

static void put_origin(struct web_request *request, struct buffer *fields)
{
	const char *const *origins = request->web->settings.origins;

	if (origins == NULL) {
		PUT(fields, "Access-Control-Allow-Origin: *\r\n");
		return;
	}
	struct muster_http_cors cors = { .origins = origins };

	MUST(muster_http_cors(request->http, &cors) == 0); /* no OPTIONS */
}

static void put_allowed(struct web_request *request, struct buffer *fields)
{
	char methods[METHODS_BYTES];

	router_methods_write(request->allowed, methods, sizeof(methods));
	PUT(fields, "Allow: ");
	buffer_append_text(fields, methods);
	PUT(fields, ", OPTIONS\r\n");
}

void web_put_headers(struct web_request *request)
{
	put_session(request, &request->http->fields);
	put_origin(request, &request->http->fields);
}

/* ---- replies ---- */

static bool has_content(int status)
{
	return status != 204 && status != 205 && status != 304;
}

void web_reply(struct web_request *request, int status,
	       struct json_writer *writer)
{
	struct buffer *fields = &request->http->fields;
	struct buffer *body = &request->output;
	bool is_script = request->words[WEB_CALLBACK].text != NULL;

	uint64_t took_us = web_took_us(request);

	web_write_information(request, writer, took_us);
	json_write_object_end(writer);
	if (is_script) {
		PUT(body, ");");
		PUT(fields, "X-Content-Type-Options: nosniff\r\n");
	}
	web_put_headers(request);
	if (status == 405)
		put_allowed(request, fields);
	web_count(request->web, status, took_us);
	if (!has_content(status))
		muster_http_reply(request->http, status, NULL, NULL, 0);
	else
		muster_http_reply(request->http, status,
				  is_script ? "application/javascript"
					    : "application/json",
				  buffer_bytes(body), buffer_length(body));
	request->http = NULL;
}

void web_reply_error(struct web_request *request, int status, const char *why)
{
	struct json_writer writer = json_writer(&request->output);
	const struct param *callback = &request->words[WEB_CALLBACK];

	if (callback->text != NULL && buffer_length(&request->output) == 0) {
		buffer_append(&request->output, callback->text,
			      callback->length);
		PUT(&request->output, "(");
	}
	json_write_object(&writer);
	json_write_name(&writer, "error");
	json_write_text(&writer, why);
	web_reply(request, status, &writer);
}

void web_reply_text(struct web_request *request, int status, const char *type,
		    const void *body, size_t length)
{
	put_origin(request, &request->http->fields);
	web_count(request->web, status, web_took_us(request));
	muster_http_reply(request->http, status, type, body, length);
	request->http = NULL;
}
