/*
 * json_walk - reads the values of a JSON text where they stand.
 *
 * For a text that json_is_value() has accepted, and no other: nothing is
 * checked again, nothing is built or copied. A value is the part of the text
 * that it is written in, and is good for as long as the text.
 */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum json_kind {
	JSON_NULL,
	JSON_BOOLEAN,
	JSON_NUMBER,
	JSON_STRING,
	JSON_ARRAY,
	JSON_OBJECT,
};

struct json_value {
	const char *text;
	size_t length; /* without space around it */
};

/* The text's one value. */
struct json_value json_value_of(const char *text, size_t length);
enum json_kind json_kind_of(struct json_value value);

/* The members of an object, or the elements of an array, in their order. */
struct json_walk {
	const char *at;
	const char *end;
	bool is_object;
};

struct json_walk json_walk(struct json_value container);
/* false: that was all. `key` (a string, with its quotes) is set for members of
 * an object; may be NULL. */
bool json_walk_next(struct json_walk *walk, struct json_value *key,
		    struct json_value *value);

/* A string's bytes: in place where it has no escapes, else in `room`, which
 * takes value.length bytes. Half a surrogate pair becomes U+FFFD. */
const char *json_string_of(struct json_value value, char *room, size_t *length);
/* Is this string, unescaped, that text? */
bool json_string_is(struct json_value value, const char *text, size_t length);

/* Exactly an integer in range, also if it is written 1.0 or 1e2? */
bool json_integer_of(struct json_value value, int64_t *integer);
double json_number_of(struct json_value value);
bool json_boolean_of(struct json_value value);

/* The first member of that name. */
bool json_find(struct json_value object, const char *key,
	       struct json_value *value);
