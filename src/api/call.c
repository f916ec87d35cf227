#include "api/call.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "api/documentation.h"
#include "api/upload.h"
#include "base/json.h"
#include "base/json_walk.h"
#include "base/must.h"
#include "service/routine.h"

#define DEPTH_MAX 8 /* of actions that run actions */

/* ---- running ---- */

static void run_before(struct muster_call *call, size_t *ran)
{
	const struct action *action = call->action;

	for (*ran = 0; *ran < action->middleware_count && !call->has_failed;
	     (*ran)++) {
		const struct muster_middleware *middleware =
			action->middleware[*ran];

		call->arg = middleware->arg;
		if (middleware->before != NULL)
			middleware->before(call);
	}
}

/* Those that have had their `before`, backwards. */
static void run_after(struct muster_call *call, size_t ran)
{
	while (ran-- > 0) {
		const struct muster_middleware *middleware =
			call->action->middleware[ran];

		call->arg = middleware->arg;
		if (middleware->after != NULL)
			middleware->after(call);
	}
}

void call_run(struct muster_call *call)
{
	size_t ran = 0;

	run_before(call, &ran);
	if (!call->has_failed)
		call_check(call);
	if (!call->has_failed) {
		call->arg = call->action->given->arg;
		call->action->given->run(call);
	}
	run_after(call, ran);
}

/* ---- who asks ---- */

struct muster *muster_call_server(const struct muster_call *call)
{
	return call->api->muster;
}

const struct muster_action *muster_call_action(const struct muster_call *call)
{
	return call->action->given;
}

void *muster_call_arg(const struct muster_call *call)
{
	return call->arg;
}

enum muster_transport muster_call_transport(const struct muster_call *call)
{
	return call->request == NULL ? MUSTER_INTERNAL
				     : call->client->transport;
}

const char *muster_call_connection(const struct muster_call *call)
{
	return call->client->id;
}

const char *muster_call_fingerprint(const struct muster_call *call)
{
	return call->client->fingerprint;
}

const char *muster_call_address(const struct muster_call *call)
{
	return call->client->address;
}

const char *muster_call_message(const struct muster_call *call)
{
	return call->request == NULL || call->request->message == NULL
		       ? ""
		       : call->request->message;
}

/* ---- parameters ---- */

static struct param *find(const struct muster_call *call, const char *name)
{
	return params_find(&call->params, name, strlen(name));
}

static struct json_value value_of(const struct param *param)
{
	return (struct json_value){ param->text, param->length };
}

bool muster_param_is_given(const struct muster_call *call, const char *name)
{
	return find(call, name) != NULL;
}

const char *muster_param_text(struct muster_call *call, const char *name)
{
	const struct param *param = find(call, name);
	size_t length;

	if (param == NULL)
		return "";
	if (!param->is_json)
		return arena_text(call->arena, param->text, param->length);
	if (json_kind_of(value_of(param)) != JSON_STRING)
		return arena_text(call->arena, param->text, param->length);
	char *room = arena_take(call->arena, param->length);
	const char *text = json_string_of(value_of(param), room, &length);

	return arena_text(call->arena, text, length);
}

int64_t muster_param_int(struct muster_call *call, const char *name)
{
	const char *text = muster_param_text(call, name);
	int64_t integer = 0;
	size_t length = strlen(text);

	if (!json_is_value(text, length) ||
	    !json_integer_of(json_value_of(text, length), &integer))
		return 0;
	return integer;
}

double muster_param_number(struct muster_call *call, const char *name)
{
	return strtod(muster_param_text(call, name), NULL);
}

bool muster_param_bool(struct muster_call *call, const char *name)
{
	const char *text = muster_param_text(call, name);

	return strcmp(text, "true") == 0 || strcmp(text, "1") == 0;
}

const char *muster_param_json(struct muster_call *call, const char *name)
{
	const struct param *param = find(call, name);

	if (param == NULL)
		return "null";
	if (param->is_json)
		return arena_text(call->arena, param->text, param->length);
	struct buffer buffer = { 0 };
	struct json_writer writer = json_writer(&buffer);

	json_write_string(&writer, param->text, param->length);
	const char *json = arena_text(call->arena, buffer_bytes(&buffer),
				      buffer_length(&buffer));

	buffer_fini(&buffer);
	return json;
}

bool muster_param_file(const struct muster_call *call, const char *name,
		       struct muster_file *file)
{
	const struct param *param = find(call, name);

	if (param == NULL || param->file == NULL || param->file->descriptor < 0)
		return false;
	*file = *param->file;
	return true;
}

struct keeping {
	const struct muster_file *file;
	const char *path;
	int error;
};

static void keep(void *arg)
{
	struct keeping *keeping = arg;

	keeping->error = upload_keep(keeping->file->descriptor,
				     keeping->file->size, keeping->path);
}

int muster_param_file_save(struct muster_call *call, const char *name,
			   const char *path)
{
	struct muster_file file;
	struct keeping keeping = { &file, path, 0 };

	if (!muster_param_file(call, name, &file))
		return -ENOENT;
	int error = muster_blocking(call->api->muster, keep, &keeping);

	return error < 0 ? error : keeping.error;
}

void muster_param_set(struct muster_call *call, const char *name,
		      const char *text)
{
	size_t name_length = strlen(name), length = strlen(text);
	struct param param = {
		.name = arena_text(call->arena, name, name_length),
		.name_length = name_length,
		.text = arena_text(call->arena, text, length),
		.length = length,
	};

	if (params_set(&call->params, &param) < 0)
		muster_fail(call, 400, "there are too many parameters");
}

/* ---- the answer ---- */

void muster_set_text(struct muster_call *call, const char *name,
		     const char *text)
{
	json_write_name(&call->writer, name);
	json_write_text(&call->writer, text);
}

void muster_set_int(struct muster_call *call, const char *name, int64_t value)
{
	json_write_name(&call->writer, name);
	json_write_integer(&call->writer, value);
}

void muster_set_number(struct muster_call *call, const char *name, double value)
{
	json_write_name(&call->writer, name);
	json_write_number(&call->writer, value);
}

void muster_set_bool(struct muster_call *call, const char *name, bool value)
{
	json_write_name(&call->writer, name);
	json_write_boolean(&call->writer, value);
}

void muster_set_json(struct muster_call *call, const char *name,
		     const char *json)
{
	size_t length = strlen(json);

	json_write_name(&call->writer, name);
	if (json_is_value(json, length))
		json_write_raw(&call->writer, json, length);
	else
		json_write_null(&call->writer);
}

void muster_fail(struct muster_call *call, int status, const char *format, ...)
{
	va_list arguments;

	if (call->has_failed)
		return;
	call->has_failed = true;
	call->status = status >= 400 && status <= 599 ? status : 500;
	va_start(arguments, format);
	vsnprintf(call->error, sizeof(call->error), format, arguments);
	va_end(arguments);
}

bool muster_has_failed(const struct muster_call *call)
{
	return call->has_failed;
}

void muster_set_status(struct muster_call *call, int status)
{
	if (!call->has_failed && status >= 200 && status <= 399)
		call->status = status;
}

/* ---- an action from an action ---- */

static uint32_t depth_of(const struct muster_call *call)
{
	uint32_t depth = 0;

	for (; call->caller != NULL; call = call->caller)
		depth++;
	return depth;
}

int muster_run_action(struct muster_call *call, const char *name,
		      uint32_t version, const char *params, const char **answer)
{
	struct buffer buffer = { 0 };
	struct muster_call inner = {
		.api = call->api,
		.client = call->client,
		.caller = call,
		.arena = call->arena,
		.params = params_in(call->arena),
		.writer = json_writer(&buffer),
	};
	int error = 0;

	*answer = "{}";
	inner.action =
		actions_find(call->api->actions, name, strlen(name), version);
	if (inner.action == NULL || depth_of(call) >= DEPTH_MAX ||
	    (inner.action->given->blocked & MUSTER_INTERNAL) != 0)
		return MUSTER_NOT_FOUND;
	if (params != NULL) {
		size_t length = strlen(params);

		if (!json_is_value(params, length) ||
		    json_kind_of(json_value_of(params, length)) != JSON_OBJECT)
			return -EINVAL;
		const char *kept = arena_text(call->arena, params, length);

		error = params_set_object(&inner.params,
					  json_value_of(kept, length));
	}
	if (error < 0)
		return error;
	json_write_object(&inner.writer);
	call_run(&inner);
	if (inner.has_failed)
		muster_set_text(&inner, "error", inner.error);
	json_write_object_end(&inner.writer);
	*answer = arena_text(call->arena, buffer_bytes(&buffer),
			     buffer_length(&buffer));
	buffer_fini(&buffer);
	return inner.has_failed ? -EINVAL : 0;
}

/* ---- what there is ---- */

const char *muster_actions_json(struct muster_call *call)
{
	struct buffer text = { 0 };
	struct json_writer writer = json_writer(&text);

	documentation_write(call->api->actions, &writer);
	const char *kept = arena_text(call->arena, buffer_bytes(&text),
				      buffer_length(&text));

	buffer_fini(&text);
	return kept;
}
