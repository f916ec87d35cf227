/*
 * json - is this text one JSON value?
 *
 * RFC 8259, strictly: UTF-8 without overlong forms and surrogates, and nothing
 * behind the value but whitespace. Nothing is built, so nothing is allocated;
 * what would not fit into memory of some kind, a number of any length or half
 * a surrogate pair as an escape, is the reader's affair. Any thread.
 */
#pragma once
#include <stdbool.h>
#include <stddef.h>

/* Deeper is refused, so that a reader that recurses survives it. */
#define JSON_DEPTH_MAX 2048

bool json_is_value(const char *text, size_t length);

enum json_answer {
	JSON_VALUE,
	JSON_NO_VALUE,
	JSON_TOO_DEEP, /* as far as it was read */
};

/* The same, and at most `depth_max` (up to JSON_DEPTH_MAX) containers deep:
 * 0 is a scalar, 1 also [] and {"a":1}. */
enum json_answer json_check(const char *text, size_t length, size_t depth_max);
