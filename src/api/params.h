/*
 * params - what a request asks an action with: names and values.
 *
 * A value is text as it was sent, or JSON. A name is there once: what is set
 * later takes the place of what was there. Names and values are not copied, and
 * must last as long as the params; the list itself is in the arena.
 */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/json_walk.h"

#define PARAMS_MAX 1000

struct muster_file;

struct param {
	const char *name;
	size_t name_length;
	const char *text; /* the text, or the JSON of one value */
	size_t length;
	bool is_json;
	bool is_secret; /* an input says so */
	/* An upload, which `text` describes as JSON; NULL: it is none. Without
	 * a descriptor where nobody wanted it. */
	const struct muster_file *file;
};

struct params {
	struct arena *arena;
	struct param *list;
	uint32_t count;
	uint32_t room;
};

static inline struct params params_in(struct arena *arena)
{
	return (struct params){ .arena = arena };
}

struct param *params_find(const struct params *params, const char *name,
			  size_t length);

/* Fails with -E2BIG past PARAMS_MAX. */
__attribute__((warn_unused_result)) int params_set(struct params *params,
						   const struct param *param);
void params_remove(struct params *params, struct param *param);

/* Every member of an object. -EINVAL: a name is there twice. */
__attribute__((warn_unused_result)) int
params_set_object(struct params *params, struct json_value object);
