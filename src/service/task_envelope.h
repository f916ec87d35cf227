/*
 * task_envelope - a task as it is kept in the store, for people and other
 * programs to read:
 *
 *	{"method":"sendMail","params":{"to":"a@b"},"enqueuedAt":1763640000000}
 *
 * and "deadline", after which it is not to be started. Times are milliseconds
 * since 1970. Members that are not known are left alone.
 */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/json_walk.h"

struct task_envelope {
	const char *method; /* followed by a NUL, in the arena */
	size_t method_length;
	struct json_value params; /* an object */
	uint64_t enqueued_ms;     /* 0: not known */
	uint64_t deadline_ms;     /* 0: none */
};

/* `params`: a JSON object, or NULL. The text is in the arena. */
const char *task_envelope_write(struct arena *arena, const char *method,
				const char *params, uint64_t enqueued_ms,
				uint64_t deadline_ms);

/* false with *why, a text that lasts, where it is none. The values stand in
 * `text`. */
bool task_envelope_read(struct arena *arena, const char *text, size_t length,
			struct task_envelope *envelope, const char **why);

/* Is it what parameters are: a JSON object? */
bool task_envelope_is_object(const char *text, size_t length);
