#include "base/json.h"

#include <stdint.h>
#include <string.h>

#include "base/json_plain.h"

/*
 * Each skip_*() is given where something begins, and returns where it ends;
 * NULL: it is none. That is carried in a register throughout, as most of the
 * time goes into short strings and numbers.
 */

/* The containers around, a bit each: is it an object? */
struct nest {
	uint64_t is_object[JSON_DEPTH_MAX / 64];
	size_t depth;
	size_t depth_max;
	bool is_too_deep;
};

static inline const uint8_t *skip_space(const uint8_t *at, const uint8_t *end)
{
	/* The first comparison is enough for nearly all. */
	while (at < end && *at <= ' ' &&
	       (*at == ' ' || *at == '\n' || *at == '\r' || *at == '\t'))
		at++;
	return at;
}

static inline bool is_at(const uint8_t *at, const uint8_t *end, uint8_t byte)
{
	return at < end && *at == byte;
}

static const uint8_t *skip_word(const uint8_t *at, const uint8_t *end,
				const char *word, size_t length)
{
	if ((size_t)(end - at) < length || memcmp(at, word, length) != 0)
		return NULL;
	return at + length;
}

/* ---- Numbers ------------------------------------------------------------ */

static inline const uint8_t *skip_digits(const uint8_t *at, const uint8_t *end)
{
	const uint8_t *start = at;

	while (at < end && *at >= '0' && *at <= '9')
		at++;
	return at > start ? at : NULL;
}

static const uint8_t *skip_exponent(const uint8_t *at, const uint8_t *end)
{
	if (is_at(at, end, '+') || is_at(at, end, '-'))
		at++;
	return skip_digits(at, end);
}

static inline const uint8_t *skip_number(const uint8_t *at, const uint8_t *end)
{
	if (is_at(at, end, '-'))
		at++;
	at = is_at(at, end, '0') ? at + 1 : skip_digits(at, end);
	if (at != NULL && is_at(at, end, '.'))
		at = skip_digits(at + 1, end);
	if (at != NULL && (is_at(at, end, 'e') || is_at(at, end, 'E')))
		at = skip_exponent(at + 1, end);
	return at;
}

/* ---- Strings ------------------------------------------------------------ */

static const uint8_t *skip_hex(const uint8_t *at, const uint8_t *end)
{
	if (end - at < 4)
		return NULL;
	for (const uint8_t *stop = at + 4; at < stop; at++) {
		int letter = *at | 32;

		if ((*at < '0' || *at > '9') && (letter < 'a' || letter > 'f'))
			return NULL;
	}
	return at;
}

/* What is behind a backslash. */
static const uint8_t *skip_escape(const uint8_t *at, const uint8_t *end)
{
	if (at == end)
		return NULL;
	if (*at == 'u')
		return skip_hex(at + 1, end);
	return *at != 0 && strchr("\"\\/bfnrt", *at) != NULL ? at + 1 : NULL;
}

/* A character of more than one byte. What its second byte may be keeps overlong
 * forms, surrogates and what is past U+10FFFF out (Unicode, table 3-7). */
static const uint8_t *skip_character(const uint8_t *at, const uint8_t *end)
{
	uint8_t first = *at++;
	uint8_t lowest = first == 0xe0 ? 0xa0 : first == 0xf0 ? 0x90 : 0x80;
	uint8_t highest = first == 0xed ? 0x9f : first == 0xf4 ? 0x8f : 0xbf;
	int more = first < 0xe0 ? 1 : first < 0xf0 ? 2 : 3;

	if (first < 0xc2 || first > 0xf4)
		return NULL;
	while (more-- > 0) {
		if (at == end || *at < lowest || *at > highest)
			return NULL;
		at++;
		lowest = 0x80;
		highest = 0xbf;
	}
	return at;
}

/* From a byte that is not plain on, to behind the closing quote. */
static const uint8_t *skip_string_rest(const uint8_t *at, const uint8_t *end)
{
	while (at != NULL && at < end && *at >= ' ') {
		if (*at == '"')
			return at + 1;
		at = *at >= 0x80 ? skip_character(at, end)
				 : skip_escape(at + 1, end);
		if (at != NULL)
			at = json_plain_end(at, end);
	}
	return NULL;
}

static inline const uint8_t *skip_string(const uint8_t *at, const uint8_t *end)
{
	if (!is_at(at, end, '"'))
		return NULL;
	at = json_plain_end(at + 1, end);
	return is_at(at, end, '"') ? at + 1 : skip_string_rest(at, end);
}

/* ---- Containers --------------------------------------------------------- */

static bool is_object(const struct nest *nest)
{
	size_t top = nest->depth - 1;

	return (nest->is_object[top / 64] >> top % 64 & 1) != 0;
}

static void enter(struct nest *nest, bool object)
{
	size_t top = nest->depth;

	/* Bits of levels not yet entered may be anything.
	 * NOLINTNEXTLINE(clang-analyzer-core.uninitialized.Assign) */
	nest->is_object[top / 64] &= ~(UINT64_C(1) << top % 64);
	nest->is_object[top / 64] |= (uint64_t)object << top % 64;
	nest->depth++;
}

/* With its colon, and what is blank around it. */
static const uint8_t *skip_key(const uint8_t *at, const uint8_t *end)
{
	at = skip_string(skip_space(at, end), end);
	if (at == NULL)
		return NULL;
	at = skip_space(at, end);
	return is_at(at, end, ':') ? at + 1 : NULL;
}

static const uint8_t *skip_scalar(const uint8_t *at, const uint8_t *end)
{
	if (at == end)
		return NULL;
	switch (*at) {
	case '"':
		return skip_string(at, end);
	case 't':
		return skip_word(at, end, "true", 4);
	case 'f':
		return skip_word(at, end, "false", 5);
	case 'n':
		return skip_word(at, end, "null", 4);
	default:
		return skip_number(at, end);
	}
}

/* Up to and with the next scalar or empty container. */
static const uint8_t *descend(const uint8_t *at, const uint8_t *end,
			      struct nest *nest)
{
	while (at != NULL) {
		at = skip_space(at, end);
		bool object = is_at(at, end, '{');

		if (!object && !is_at(at, end, '['))
			return skip_scalar(at, end);
		nest->is_too_deep = nest->depth == nest->depth_max;
		if (nest->is_too_deep)
			return NULL;
		at = skip_space(at + 1, end);
		if (is_at(at, end, object ? '}' : ']'))
			return at + 1;
		enter(nest, object);
		if (object)
			at = skip_key(at, end);
	}
	return NULL;
}

/* Out of the containers that end here, up to the next value; with depth 0 there
 * is none. */
static const uint8_t *ascend(const uint8_t *at, const uint8_t *end,
			     struct nest *nest)
{
	while (nest->depth > 0) {
		bool object = is_object(nest);

		at = skip_space(at, end);
		if (is_at(at, end, ','))
			return object ? skip_key(at + 1, end) : at + 1;
		if (!is_at(at, end, object ? '}' : ']'))
			return NULL;
		at++;
		nest->depth--;
	}
	return at;
}

enum json_answer json_check(const char *text, size_t length, size_t depth_max)
{
	const uint8_t *at = (const uint8_t *)text;
	const uint8_t *end = at + length;
	struct nest nest;

	nest.depth = 0;
	nest.depth_max = depth_max;
	nest.is_too_deep = false;
	do {
		at = descend(at, end, &nest);
		if (at == NULL)
			return nest.is_too_deep ? JSON_TOO_DEEP : JSON_NO_VALUE;
		at = ascend(at, end, &nest);
	} while (at != NULL && nest.depth > 0);
	return at != NULL && skip_space(at, end) == end ? JSON_VALUE
							: JSON_NO_VALUE;
}

bool json_is_value(const char *text, size_t length)
{
	return json_check(text, length, JSON_DEPTH_MAX) == JSON_VALUE;
}
