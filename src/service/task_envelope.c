#include "service/task_envelope.h"

#include <stdlib.h>
#include <string.h>

#include "base/buffer.h"
#include "base/json.h"
#include "base/json_write.h"

static const struct json_value no_params = { "{}", 2 };

const char *task_envelope_write(struct arena *arena, const char *method,
				const char *params, uint64_t enqueued_ms,
				uint64_t deadline_ms)
{
	struct buffer buffer = { 0 };
	struct json_writer writer = json_writer(&buffer);

	json_write_object(&writer);
	json_write_name(&writer, "method");
	json_write_text(&writer, method);
	json_write_name(&writer, "params");
	if (params == NULL)
		params = "{}";
	json_write_raw(&writer, params, strlen(params));
	json_write_name(&writer, "enqueuedAt");
	json_write_integer(&writer, (int64_t)enqueued_ms);
	if (deadline_ms != 0) {
		json_write_name(&writer, "deadline");
		json_write_integer(&writer, (int64_t)deadline_ms);
	}
	json_write_object_end(&writer);
	const char *text = arena_text(arena, buffer_bytes(&buffer),
				      buffer_length(&buffer));

	buffer_fini(&buffer);
	return text;
}

bool task_envelope_is_object(const char *text, size_t length)
{
	return json_is_value(text, length) &&
	       json_kind_of(json_value_of(text, length)) == JSON_OBJECT;
}

static uint64_t time_of(struct json_value object, const char *name)
{
	struct json_value value;
	int64_t number;

	if (!json_find(object, name, &value) ||
	    json_kind_of(value) != JSON_NUMBER ||
	    !json_integer_of(value, &number) || number < 0)
		return 0;
	return (uint64_t)number;
}

bool task_envelope_read(struct arena *arena, const char *text, size_t length,
			struct task_envelope *envelope, const char **why)
{
	struct json_value value;

	if (!task_envelope_is_object(text, length)) {
		*why = "its envelope is no JSON object";
		return false;
	}
	struct json_value object = json_value_of(text, length);

	if (!json_find(object, "method", &value) ||
	    json_kind_of(value) != JSON_STRING) {
		*why = "its envelope has no \"method\", which names the task";
		return false;
	}
	char *room = arena_take(arena, value.length + 1);
	const char *method =
		json_string_of(value, room, &envelope->method_length);

	if (method != room)
		memmove(room, method, envelope->method_length);
	room[envelope->method_length] = '\0';
	envelope->method = room;
	envelope->params = no_params;
	if (json_find(object, "params", &value)) {
		enum json_kind kind = json_kind_of(value);

		if (kind == JSON_OBJECT) {
			envelope->params = value;
		} else if (kind != JSON_NULL) {
			*why = "the \"params\" in its envelope are no JSON "
			       "object";
			return false;
		}
	}
	envelope->enqueued_ms = time_of(object, "enqueuedAt");
	envelope->deadline_ms = time_of(object, "deadline");
	return true;
}
