#include "base/json.h"

#include <stdint.h>
#include <string.h>

struct cursor {
	const uint8_t *at;
	const uint8_t *end;
};

/* The containers around the cursor, a bit each: is it an object? */
struct nest {
	uint64_t is_object[JSON_DEPTH_MAX / 64];
	size_t depth;
	size_t depth_max;
	bool is_too_deep;
};

static void skip_space(struct cursor *cursor)
{
	while (cursor->at < cursor->end &&
	       (*cursor->at == ' ' || *cursor->at == '\n' ||
		*cursor->at == '\r' || *cursor->at == '\t'))
		cursor->at++;
}

/* The byte at the cursor; -1 at the end. */
static int peek(const struct cursor *cursor)
{
	return cursor->at < cursor->end ? *cursor->at : -1;
}

static bool take(struct cursor *cursor, int byte)
{
	if (peek(cursor) != byte)
		return false;
	cursor->at++;
	return true;
}

static bool take_word(struct cursor *cursor, const char *word, size_t length)
{
	if ((size_t)(cursor->end - cursor->at) < length ||
	    memcmp(cursor->at, word, length) != 0)
		return false;
	cursor->at += length;
	return true;
}

/* ---- Numbers ------------------------------------------------------------ */

static bool take_digits(struct cursor *cursor)
{
	const uint8_t *start = cursor->at;

	while (peek(cursor) >= '0' && peek(cursor) <= '9')
		cursor->at++;
	return cursor->at > start;
}

static bool take_number(struct cursor *cursor)
{
	take(cursor, '-');
	if (!take(cursor, '0') && !take_digits(cursor))
		return false;
	if (take(cursor, '.') && !take_digits(cursor))
		return false;
	if (!take(cursor, 'e') && !take(cursor, 'E'))
		return true;
	if (!take(cursor, '+'))
		take(cursor, '-');
	return take_digits(cursor);
}

/* ---- Strings ------------------------------------------------------------ */

static bool take_hex(struct cursor *cursor)
{
	for (int i = 0; i < 4; i++) {
		int byte = peek(cursor);
		int letter = byte | 32;

		if ((byte < '0' || byte > '9') &&
		    (letter < 'a' || letter > 'f'))
			return false;
		cursor->at++;
	}
	return true;
}

static bool take_escape(struct cursor *cursor)
{
	int byte = peek(cursor);

	if (byte < 0)
		return false;
	cursor->at++;
	if (byte == 'u')
		return take_hex(cursor);
	return byte != 0 && strchr("\"\\/bfnrt", byte) != NULL;
}

/* A character of more than one byte. What its second byte may be keeps overlong
 * forms, surrogates and what is past U+10FFFF out (Unicode, table 3-7). */
static bool take_character(struct cursor *cursor)
{
	uint8_t first = *cursor->at++;
	uint8_t lowest = first == 0xe0 ? 0xa0 : first == 0xf0 ? 0x90 : 0x80;
	uint8_t highest = first == 0xed ? 0x9f : first == 0xf4 ? 0x8f : 0xbf;
	int more = first < 0xe0 ? 1 : first < 0xf0 ? 2 : 3;

	if (first < 0xc2 || first > 0xf4)
		return false;
	while (more-- > 0) {
		int byte = peek(cursor);

		if (byte < lowest || byte > highest)
			return false;
		cursor->at++;
		lowest = 0x80;
		highest = 0xbf;
	}
	return true;
}

/* Eight bytes that need no second look: no quote, backslash, control or
 * byte over 127. */
static bool is_plain(const uint8_t *bytes)
{
	const uint64_t ones = UINT64_MAX / 255, highs = ones << 7;
	uint64_t word;

	memcpy(&word, bytes, sizeof(word));
	uint64_t quote = word ^ (ones * '"'), slash = word ^ (ones * '\\');

	/* A byte's high bit is set where it was over 127 or, but for a borrow
	 * from a lower byte that was itself found, under what is taken off. */
	return ((word | (word - ones * ' ') | (quote - ones) | (slash - ones)) &
		highs) == 0;
}

static bool take_string(struct cursor *cursor)
{
	if (!take(cursor, '"'))
		return false;
	for (;;) {
		while (cursor->end - cursor->at >= 8 && is_plain(cursor->at))
			cursor->at += 8;
		int byte = peek(cursor);

		if (byte < ' ') /* or the end */
			return false;
		if (byte >= 0x80) {
			if (!take_character(cursor))
				return false;
			continue;
		}
		cursor->at++;
		if (byte == '"')
			return true;
		if (byte == '\\' && !take_escape(cursor))
			return false;
	}
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

static bool take_key(struct cursor *cursor)
{
	skip_space(cursor);
	if (!take_string(cursor))
		return false;
	skip_space(cursor);
	return take(cursor, ':');
}

static bool take_scalar(struct cursor *cursor)
{
	switch (peek(cursor)) {
	case '"':
		return take_string(cursor);
	case 't':
		return take_word(cursor, "true", 4);
	case 'f':
		return take_word(cursor, "false", 5);
	case 'n':
		return take_word(cursor, "null", 4);
	default:
		return take_number(cursor);
	}
}

/* Up to and with the next scalar or empty container. */
static bool descend(struct cursor *cursor, struct nest *nest)
{
	for (;;) {
		skip_space(cursor);
		bool object = peek(cursor) == '{';

		if (!object && peek(cursor) != '[')
			return take_scalar(cursor);
		nest->is_too_deep = nest->depth == nest->depth_max;
		if (nest->is_too_deep)
			return false;
		cursor->at++;
		skip_space(cursor);
		if (take(cursor, object ? '}' : ']'))
			return true;
		enter(nest, object);
		if (object && !take_key(cursor))
			return false;
	}
}

/* Out of the containers that end here; true: another value follows. */
static bool ascend(struct cursor *cursor, struct nest *nest, bool *is_wrong)
{
	while (nest->depth > 0) {
		skip_space(cursor);
		if (take(cursor, ',')) {
			*is_wrong = is_object(nest) && !take_key(cursor);
			return !*is_wrong;
		}
		*is_wrong = !take(cursor, is_object(nest) ? '}' : ']');
		if (*is_wrong)
			return false;
		nest->depth--;
	}
	return false;
}

enum json_answer json_check(const char *text, size_t length, size_t depth_max)
{
	struct cursor cursor = { (const uint8_t *)text,
				 (const uint8_t *)text + length };
	struct nest nest;
	bool is_wrong = false;

	nest.depth = 0;
	nest.depth_max = depth_max;
	nest.is_too_deep = false;
	do {
		if (!descend(&cursor, &nest))
			return nest.is_too_deep ? JSON_TOO_DEEP : JSON_NO_VALUE;
	} while (ascend(&cursor, &nest, &is_wrong));
	skip_space(&cursor);
	return !is_wrong && cursor.at == cursor.end ? JSON_VALUE
						    : JSON_NO_VALUE;
}

bool json_is_value(const char *text, size_t length)
{
	return json_check(text, length, JSON_DEPTH_MAX) == JSON_VALUE;
}
