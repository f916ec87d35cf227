#include "api/params.h"

#include <errno.h>
#include <string.h>

#define FIRST_ROOM 8

struct param *params_find(const struct params *params, const char *name,
			  size_t length)
{
	for (uint32_t i = 0; i < params->count; i++) {
		struct param *param = &params->list[i];

		if (param->name_length == length &&
		    memcmp(param->name, name, length) == 0)
			return param;
	}
	return NULL;
}

static void grow(struct params *params)
{
	uint32_t room = params->room == 0 ? FIRST_ROOM : params->room * 2;
	struct param *list =
		arena_take(params->arena, room * sizeof(struct param));

	if (params->count > 0)
		memcpy(list, params->list, params->count * sizeof(*list));
	params->list = list;
	params->room = room;
}

int params_set(struct params *params, const struct param *param)
{
	struct param *old =
		params_find(params, param->name, param->name_length);

	if (old != NULL) {
		*old = *param;
		return 0;
	}
	if (params->count == PARAMS_MAX)
		return -E2BIG;
	if (params->count == params->room)
		grow(params);
	params->list[params->count++] = *param;
	return 0;
}

void params_remove(struct params *params, struct param *param)
{
	size_t at = (size_t)(param - params->list);

	params->count--;
	memmove(param, param + 1, (params->count - at) * sizeof(*param));
}

static const char *name_of(struct params *params, struct json_value key,
			   size_t *length)
{
	if (memchr(key.text, '\\', key.length) == NULL) {
		*length = key.length - 2;
		return key.text + 1;
	}
	return json_string_of(key, arena_take(params->arena, key.length),
			      length);
}

int params_set_object(struct params *params, struct json_value object)
{
	struct json_walk walk = json_walk(object);
	struct json_value key, value;
	uint32_t first = params->count;
	uint32_t members = 0;

	while (json_walk_next(&walk, &key, &value)) {
		struct param param = { .text = value.text,
				       .length = value.length,
				       .is_json = true };

		param.name = name_of(params, key, &param.name_length);
		struct param *old =
			params_find(params, param.name, param.name_length);

		/* It is this object's own where the object's own list has it.
		 */
		if (old != NULL && old >= params->list + first)
			return -EINVAL;
		if (old != NULL && old->is_json && old->text >= object.text &&
		    old->text < object.text + object.length)
			return -EINVAL;
		int error = params_set(params, &param);

		if (error < 0)
			return error;
		if (++members > PARAMS_MAX)
			return -E2BIG;
	}
	return 0;
}
