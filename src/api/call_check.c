/*
 * call_check - are the parameters what the inputs say? What is wrong is
 * gathered, so that a client is told all of it at once.
 */
#include <errno.h>
#include <regex.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "api/call.h"
#include "base/json.h"
#include "base/must.h"

#define PATH_BYTES 256

/* One value on its way through the checks. */
struct look {
	struct muster_call *call;
	const struct muster_input *input;
	const char *path; /* how the client names it */
	struct param *param;
};

__attribute__((format(printf, 2, 3))) static void
complain(struct muster_call *call, const char *format, ...)
{
	va_list arguments;
	char text[CALL_TEXT_BYTES];

	va_start(arguments, format);
	vsnprintf(text, sizeof(text), format, arguments);
	va_end(arguments);
	if (buffer_length(&call->problems) > 0)
		buffer_append_text(&call->problems, "; ");
	buffer_append_text(&call->problems, text);
}

int muster_refuse(struct muster_call *call, const char *format, ...)
{
	va_list arguments;
	char text[CALL_TEXT_BYTES];

	va_start(arguments, format);
	vsnprintf(text, sizeof(text), format, arguments);
	va_end(arguments);
	if (call->input == NULL)
		muster_fail(call, 422, "%s", text);
	else
		complain(call, "%s", text);
	return -EINVAL;
}

/* ---- types ---- */

/* What was sent, without a JSON string's quotes. */
static const char *plain_text(const struct look *look, size_t *length)
{
	const struct param *param = look->param;
	struct json_value value = { param->text, param->length };

	*length = param->length;
	if (!param->is_json || json_kind_of(value) != JSON_STRING)
		return param->text;
	return json_string_of(
		value, arena_take(look->call->arena, param->length), length);
}

static bool is_json_of(const char *text, size_t length, enum json_kind kind)
{
	return length > 0 && json_is_value(text, length) &&
	       json_kind_of(json_value_of(text, length)) == kind;
}

static bool is_text(const struct look *look)
{
	struct json_value value = { look->param->text, look->param->length };

	if (!look->param->is_json)
		return true;
	return json_kind_of(value) != JSON_OBJECT &&
	       json_kind_of(value) != JSON_ARRAY;
}

static bool become(const struct look *look, const char *text, size_t length)
{
	look->param->text = text;
	look->param->length = length;
	look->param->is_json = true;
	return true;
}

static bool is_number(const struct look *look, bool is_integer)
{
	int64_t integer;
	size_t length;
	const char *text = plain_text(look, &length);

	if (!is_json_of(text, length, JSON_NUMBER))
		return false;
	struct json_value value = json_value_of(text, length);

	if (is_integer && !json_integer_of(value, &integer))
		return false;
	return become(look, value.text, value.length);
}

static bool is_boolean(const struct look *look)
{
	size_t length;
	const char *text = plain_text(look, &length);

	if ((length == 4 && memcmp(text, "true", 4) == 0) ||
	    (length == 1 && *text == '1'))
		return become(look, "true", 4);
	if ((length == 5 && memcmp(text, "false", 5) == 0) ||
	    (length == 1 && *text == '0'))
		return become(look, "false", 5);
	return false;
}

/* Where only text can be sent, a text that is JSON will do. */
static bool is_container(const struct look *look, enum json_kind kind)
{
	size_t length;
	const char *text = plain_text(look, &length);

	if (!is_json_of(text, length, kind))
		return false;
	struct json_value value = json_value_of(text, length);

	return become(look, value.text, value.length);
}

static bool is_of_type(const struct look *look)
{
	if (look->param->file != NULL || look->input->type == MUSTER_FILE)
		return look->param->file != NULL &&
		       look->param->file->descriptor >= 0;
	switch (look->input->type) {
	case MUSTER_TEXT:
		return is_text(look);
	case MUSTER_INTEGER:
		return is_number(look, true);
	case MUSTER_NUMBER:
		return is_number(look, false);
	case MUSTER_BOOLEAN:
		return is_boolean(look);
	case MUSTER_OBJECT:
		return is_container(look, JSON_OBJECT);
	case MUSTER_ARRAY:
		return is_container(look, JSON_ARRAY);
	case MUSTER_ANY:
		return true;
	case MUSTER_FILE:
		break;
	}
	return false;
}

static const char *type_text(enum muster_type type)
{
	static const char *const texts[] = {
		[MUSTER_TEXT] = "a text",
		[MUSTER_INTEGER] = "an integer",
		[MUSTER_NUMBER] = "a number",
		[MUSTER_BOOLEAN] = "true or false",
		[MUSTER_OBJECT] = "an object",
		[MUSTER_ARRAY] = "an array",
		[MUSTER_ANY] = "a value that is no file",
		[MUSTER_FILE] = "a file",
	};

	return texts[type];
}

/* ---- bounds ---- */

static size_t elements(const struct param *param)
{
	struct json_walk walk =
		json_walk((struct json_value){ param->text, param->length });
	struct json_value value;
	size_t count = 0;

	while (json_walk_next(&walk, NULL, &value))
		count++;
	return count;
}

static bool is_within(const struct look *look)
{
	uint32_t most = look->input->length_max;
	size_t length;

	if (most == 0)
		return true;
	if (look->param->file != NULL)
		return look->param->file->size <= most;
	if (look->input->type == MUSTER_ARRAY)
		return elements(look->param) <= most;
	plain_text(look, &length);
	return length <= most;
}

static bool matches(const struct look *look)
{
	regex_t pattern;
	size_t length;

	if (look->input->pattern == NULL)
		return true;
	const char *text = plain_text(look, &length);
	char *ended = arena_text(look->call->arena, text, length);

	/* It was compiled at the start to see that it can be. */
	if (strlen(ended) != length ||
	    regcomp(&pattern, look->input->pattern, REG_EXTENDED | REG_NOSUB))
		return false;
	bool is_match = regexec(&pattern, ended, 0, NULL, 0) == 0;

	regfree(&pattern);
	return is_match;
}

static bool look_at(const struct look *look);

static bool has_members(const struct look *look)
{
	struct json_value object = { look->param->text, look->param->length };
	bool is_good = true;

	if (look->input->schema == NULL)
		return true;
	for (size_t i = 0; look->input->schema[i] != NULL; i++) {
		const struct muster_input *member = look->input->schema[i];
		struct json_value value;
		char path[PATH_BYTES];

		snprintf(path, sizeof(path), "%s.%s", look->path, member->name);
		bool is_there = json_find(object, member->name, &value) &&
				json_kind_of(value) != JSON_NULL;

		if (!is_there) {
			is_good = is_good && !member->required;
			if (member->required)
				complain(look->call,
					 "%s is a required parameter for this "
					 "action",
					 path);
			continue;
		}
		struct param param = { .text = value.text,
				       .length = value.length,
				       .is_json = true };
		struct look inner = { look->call, member, path, &param };

		is_good = look_at(&inner) && is_good;
	}
	return is_good;
}

/* Type, bounds, pattern, members. */
static bool look_at(const struct look *look)
{
	if (!is_of_type(look)) {
		complain(look->call, "%s has to be %s", look->path,
			 type_text(look->input->type));
		return false;
	}
	if (!is_within(look)) {
		complain(look->call, "%s is longer than %u", look->path,
			 look->input->length_max);
		return false;
	}
	if (!matches(look)) {
		complain(look->call, "%s does not match %s", look->path,
			 look->input->pattern);
		return false;
	}
	return has_members(look);
}

/* ---- one input ---- */

/* Nothing, null and "" are all as if it had not been sent. */
static bool is_empty(const struct param *param)
{
	if (!param->is_json)
		return param->length == 0;
	return (param->length == 4 && memcmp(param->text, "null", 4) == 0) ||
	       (param->length == 2 && memcmp(param->text, "\"\"", 2) == 0);
}

static struct param *find(struct muster_call *call,
			  const struct muster_input *input)
{
	struct param *param =
		params_find(&call->params, input->name, strlen(input->name));

	if (param != NULL && is_empty(param)) {
		params_remove(&call->params, param);
		param = NULL;
	}
	return param;
}

static void take_fallback(struct muster_call *call,
			  const struct muster_input *input)
{
	struct param param = { .name = input->name,
			       .name_length = strlen(input->name),
			       .text = input->fallback,
			       .length = strlen(input->fallback),
			       .is_json = true };

	MUST(params_set(&call->params, &param) == 0 ||
	     call->params.count == PARAMS_MAX);
}

static void check_input(struct muster_call *call,
			const struct muster_input *input)
{
	struct param *param = find(call, input);

	if (param == NULL && input->fallback != NULL) {
		take_fallback(call, input);
		return;
	}
	if (param == NULL) {
		if (input->required)
			complain(call,
				 "%s is a required parameter for this action",
				 input->name);
		return;
	}
	call->input = input->name;
	if (input->format != NULL)
		input->format(call, input->name);
	struct look look = { call, input, input->name, find(call, input) };

	if (look.param != NULL) {
		size_t told = buffer_length(&call->problems);

		look.param->is_secret = input->secret;
		if (look_at(&look) && input->validate != NULL &&
		    input->validate(call, input->name) != 0 &&
		    buffer_length(&call->problems) == told)
			complain(
				call,
				"Input for parameter \"%s\" failed validation!",
				input->name);
	}
	call->input = NULL;
}

/* ---- all of them ---- */

static bool is_input(const struct action *action, const struct param *param)
{
	for (size_t i = 0; i < action->input_count; i++) {
		const char *name = action->given->inputs[i]->name;

		if (strlen(name) == param->name_length &&
		    memcmp(name, param->name, param->name_length) == 0)
			return true;
	}
	return false;
}

static void drop_others(struct muster_call *call)
{
	for (uint32_t i = call->params.count; i-- > 0;) {
		struct param *param = &call->params.list[i];

		if (is_input(call->action, param))
			continue;
		if (call->action->given->strict)
			complain(call, "%.*s is no parameter of this action",
				 (int)(param->name_length < 64
					       ? param->name_length
					       : 64),
				 param->name);
		params_remove(&call->params, param);
	}
}

void call_check(struct muster_call *call)
{
	drop_others(call);
	for (size_t i = 0; i < call->action->input_count; i++)
		check_input(call, call->action->given->inputs[i]);
	if (buffer_length(&call->problems) > 0)
		muster_fail(call, 422, "%.*s",
			    (int)buffer_length(&call->problems),
			    (const char *)buffer_bytes(&call->problems));
	buffer_fini(&call->problems);
}
