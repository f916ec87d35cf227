/*
 * Bodies of requests to actions: which are read at all, how large they may be,
 * and forms with files, which go to the disk as they come. See web_internal.h.
 */
#include <errno.h>
#include <string.h>

#include "base/json_write.h"
#include "base/must.h"
#include "base/utf8.h"
#include "server/web_internal.h"
#include "wire/field.h"

static int refuse(const char **why, int status, const char *text)
{
	*why = text;
	return status;
}

/* ---- kinds ---- */

static bool is_json(struct field_text type)
{
	return field_is(type, "application/json") ||
	       (type.length > 5 &&
		field_is((struct field_text){ type.bytes + type.length - 5, 5 },
			 "+json"));
}

/* Where it was received: of a request whose body is yet to be measured nothing
 * may be copied. */
static bool find_header(const struct muster_http *http, const char *name,
			struct field_text *value)
{
	size_t length = strlen(name);

	for (size_t i = 0; i < http->head.header_count; i++) {
		const struct http1_header *header = &http->headers[i];

		if (!http1_is_name(http->text + header->name.start,
				   header->name.length, name, length))
			continue;
		*value = (struct field_text){ http->text + header->value.start,
					      header->value.length };
		return true;
	}
	return false;
}

unsigned web_body_kind(const struct muster_http *http, const char **why)
{
	struct field_text value;

	*why = "the body's encoding is not understood";
	if (find_header(http, "Content-Encoding", &value) &&
	    !field_is(value, "identity"))
		return 0;
	*why = "the body has no Content-Type";
	if (!find_header(http, "Content-Type", &value))
		return 0;
	struct field_text type = field_take_word(&value);

	*why = "the body's Content-Type is not understood";
	if (is_json(type))
		return MUSTER_BODY_JSON;
	if (field_is(type, "application/x-www-form-urlencoded"))
		return MUSTER_BODY_URLENCODED;
	return field_is(type, "multipart/form-data") ? MUSTER_BODY_MULTIPART
						     : 0;
}

static bool is_method(const struct muster_http *http, const char *name,
		      size_t length)
{
	const struct http1_span method = http->head.method;

	return method.length == length &&
	       memcmp(http->text + method.start, name, length) == 0;
}

bool web_body_is_read(const struct muster_http *http)
{
	return !http->is_head && !is_method(http, "GET", 3) &&
	       !is_method(http, "OPTIONS", 7);
}

/* ---- what an action says ---- */

bool web_body_has_rules(const struct actions *actions)
{
	for (size_t i = 0; i < actions_count(actions); i++) {
		const struct muster_action *given =
			actions_at(actions, i)->given;

		if (given->body_max > 0 || given->bodies != 0)
			return true;
	}
	return false;
}

static bool takes(const struct action *action, unsigned kind)
{
	return action == NULL || action->given->bodies == 0 ||
	       (action->given->bodies & kind) != 0;
}

int web_body_check(const struct web_request *request,
		   const struct action *action, const char **why)
{
	const struct muster_http *http = request->http;
	uint64_t limit = request->web->settings.body_bytes;

	if (http->body_length == 0 || !web_body_is_read(http))
		return 0;
	if (action->given->body_max > 0)
		limit = action->given->body_max;
	if (limit > 0 && http->body_length > limit)
		return refuse(why, 413, "the body is too large");
	if (!takes(action, web_body_kind(http, why)))
		return refuse(why, 415, "the action takes no such body");
	return 0;
}

/* ---- before it has come ---- */

bool web_wants_head(const struct muster_http *http, void *arg)
{
	const struct web *web = arg;
	const char *why;

	if (web->settings.body_bytes > 0 &&
	    http->head.content_length > web->settings.body_bytes)
		return true;
	return web_body_kind(http, &why) == MUSTER_BODY_MULTIPART;
}

/* What files of that name may have; 0: the action has no such input. */
static uint64_t bytes_of(const char *name, void *arg)
{
	const struct action *action = arg;

	for (size_t i = 0; action != NULL && i < action->input_count; i++) {
		const struct muster_input *input = action->given->inputs[i];

		if (input->type == MUSTER_FILE &&
		    strcmp(input->name, name) == 0)
			return input->length_max > 0 ? input->length_max
						     : UINT64_MAX;
	}
	return 0;
}

/* Its name may be in the body: then `action` is NULL, and files have no input
 * that they could be for. */
static void decide(struct web *web, struct muster_http *http,
		   const struct action *action)
{
	struct http_form_filter filter = { bytes_of,
					   (void *)(uintptr_t)action };
	const char *why;
	unsigned kind = web_body_kind(http, &why);

	if (kind == 0 && action != NULL)
		web_refuse_now(web, http, 415, why);
	else if (!takes(action, kind))
		web_refuse_now(web, http, 415, "the action takes no such body");
	else if (kind == MUSTER_BODY_MULTIPART &&
		 http_form_stream(http, NULL, &filter) < 0)
		web_refuse_now(web, http, 400, "the form is malformed");
}

void web_on_head(struct muster_http *http, void *arg)
{
	struct web *web = arg;

	if (!web_body_is_read(http))
		return;
	const struct action *action = web_find_early(web, http);
	uint64_t limit = web->settings.body_bytes;

	if (action != NULL && action->given->body_max > 0) {
		limit = action->given->body_max;
		muster_http_limit_body(http, limit);
	}
	/* Else it is refused for that, whatever it is. */
	if (limit == 0 || http->head.content_length <= limit)
		decide(web, http, action);
}

/* ---- forms ---- */

/* As a client is told of it: nothing of where it is. */
static struct param describe(struct arena *arena,
			     const struct muster_http_part *part)
{
	struct muster_file *file = arena_take(arena, sizeof(*file));
	struct buffer text = { 0 };
	struct json_writer writer = json_writer(&text);

	*file = (struct muster_file){
		.filename = part->filename,
		.type = part->type != NULL ? part->type : "",
		.size = part->length,
		.descriptor = part->descriptor,
	};
	json_write_object(&writer);
	json_write_name(&writer, "size");
	json_write_integer(&writer, (int64_t)file->size);
	json_write_name(&writer, "mimetype");
	json_write_text(&writer, file->type);
	json_write_name(&writer, "originalFilename");
	json_write_text(&writer, file->filename);
	json_write_object_end(&writer);
	struct param param = {
		.text = arena_text(arena, buffer_bytes(&text),
				   buffer_length(&text)),
		.length = buffer_length(&text),
		.is_json = true,
		.file = file,
	};

	buffer_fini(&text);
	return param;
}

static int read_part(struct web_request *request,
		     const struct muster_http_part *part, const char **why)
{
	struct param param = { .text = part->bytes,
			       .length = (size_t)part->length };

	if (part->filename != NULL) {
		/* A field of a page that was left empty. */
		if (part->filename[0] == '\0' && part->length == 0)
			return 0;
		param = describe(&request->api.arena, part);
	} else if (!utf8_is_valid(param.text, param.length)) {
		return refuse(why, 400, "a parameter is not valid UTF-8");
	}
	param.name = part->name;
	param.name_length = strlen(part->name);
	if (!utf8_is_valid(param.name, param.name_length))
		return refuse(why, 400, "a parameter is not valid UTF-8");
	if (params_set(&request->api.params, &param) == 0)
		return 0;
	return refuse(why, 400, "there are too many parameters");
}

int web_body_read_form(struct web_request *request, const char **why)
{
	struct muster_http_part part;
	int error = muster_http_read_form(request->http);

	if (error == -EMSGSIZE)
		return refuse(why, 413, "the form has too many parts");
	if (error < 0)
		return refuse(why, 400, "the form is malformed");
	for (size_t i = 0; muster_http_part(request->http, i, &part); i++) {
		int status = read_part(request, &part, why);

		if (status != 0)
			return status;
	}
	return 0;
}
