/*
 * json_write - writes a JSON text to the end of a buffer, value by value.
 *
 * Commas come by themselves. What is written is compact and valid as long as
 * keys and values alternate within an object and what is opened is closed.
 */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buffer.h"

struct json_writer {
	struct buffer *buffer;
	bool follows; /* a value, so that the next one needs a comma */
};

static inline struct json_writer json_writer(struct buffer *buffer)
{
	return (struct json_writer){ buffer, false };
}

void json_write_object(struct json_writer *writer);
void json_write_object_end(struct json_writer *writer);
void json_write_array(struct json_writer *writer);
void json_write_array_end(struct json_writer *writer);

/* Before each value of an object. */
void json_write_key(struct json_writer *writer, const char *key, size_t length);
void json_write_name(struct json_writer *writer, const char *key);

/* What is not UTF-8 becomes U+FFFD. */
void json_write_string(struct json_writer *writer, const char *text,
		       size_t length);
void json_write_text(struct json_writer *writer, const char *text);
void json_write_integer(struct json_writer *writer, int64_t value);
/* As short as it reads back the same; null where it is no number. */
void json_write_number(struct json_writer *writer, double value);
void json_write_boolean(struct json_writer *writer, bool value);
void json_write_null(struct json_writer *writer);
/* One value, which is JSON already. */
void json_write_raw(struct json_writer *writer, const char *text,
		    size_t length);
