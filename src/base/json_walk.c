#include "base/json_walk.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/json_plain.h"

#define NUMBER_BYTES 400 /* a longer one is cut where it no longer counts */

static bool is_space(char byte)
{
	return byte == ' ' || byte == '\n' || byte == '\r' || byte == '\t';
}

static const char *skip_space(const char *at, const char *end)
{
	while (at < end && is_space(*at))
		at++;
	return at;
}

static const char *skip_string(const char *at, const char *end)
{
	const uint8_t *byte = (const uint8_t *)at + 1;
	const uint8_t *stop = (const uint8_t *)end;

	while ((byte = json_plain_end(byte, stop)) < stop && *byte != '"')
		byte += *byte == '\\' ? 2 : 1;
	return (const char *)byte + 1;
}

/* What begins or ends a container or begins a string. */
static const bool is_structure[256] = {
	['"'] = true, ['{'] = true, ['}'] = true, ['['] = true, [']'] = true,
};

static const char *skip_container(const char *at, const char *end)
{
	size_t depth = 0;

	do {
		while (at < end && !is_structure[(uint8_t)*at])
			at++;
		if (at < end && *at == '"') {
			at = skip_string(at, end);
			continue;
		}
		if (at < end)
			depth += *at == '{' || *at == '[' ? 1 : SIZE_MAX;
		at++;
	} while (depth > 0 && at < end);
	return at;
}

/* Behind the value at `at`; a scalar ends before what is no part of it. */
static const char *skip_value(const char *at, const char *end)
{
	if (*at == '"')
		return skip_string(at, end);
	if (*at == '{' || *at == '[')
		return skip_container(at, end);
	while (at < end && *at != ',' && *at != ']' && *at != '}' &&
	       !is_space(*at))
		at++;
	return at;
}

struct json_value json_value_of(const char *text, size_t length)
{
	const char *end = text + length;
	const char *at = skip_space(text, end);

	while (end > at && is_space(end[-1]))
		end--;
	return (struct json_value){ at, (size_t)(end - at) };
}

enum json_kind json_kind_of(struct json_value value)
{
	switch (value.text[0]) {
	case '{':
		return JSON_OBJECT;
	case '[':
		return JSON_ARRAY;
	case '"':
		return JSON_STRING;
	case 't':
	case 'f':
		return JSON_BOOLEAN;
	case 'n':
		return JSON_NULL;
	default:
		return JSON_NUMBER;
	}
}

/* ---- containers ---- */

struct json_walk json_walk(struct json_value container)
{
	return (struct json_walk){ container.text + 1,
				   container.text + container.length - 1,
				   container.text[0] == '{' };
}

static struct json_value take(struct json_walk *walk)
{
	const char *start = walk->at;

	walk->at = skip_value(start, walk->end);
	return (struct json_value){ start, (size_t)(walk->at - start) };
}

bool json_walk_next(struct json_walk *walk, struct json_value *key,
		    struct json_value *value)
{
	walk->at = skip_space(walk->at, walk->end);
	if (walk->at < walk->end && *walk->at == ',')
		walk->at = skip_space(walk->at + 1, walk->end);
	if (walk->at >= walk->end)
		return false;
	if (walk->is_object) {
		struct json_value name = take(walk);

		if (key != NULL)
			*key = name;
		walk->at = skip_space(walk->at, walk->end) + 1; /* the colon */
		walk->at = skip_space(walk->at, walk->end);
	}
	*value = take(walk);
	return true;
}

bool json_find(struct json_value object, const char *key,
	       struct json_value *value)
{
	struct json_walk walk = json_walk(object);
	size_t length = strlen(key);
	struct json_value name = { "", 0 };

	while (json_walk_next(&walk, &name, value))
		if (json_string_is(name, key, length))
			return true;
	return false;
}

/* ---- strings ---- */

static unsigned hex4(const char *at)
{
	unsigned value = 0;

	for (int i = 0; i < 4; i++) {
		unsigned byte = (unsigned char)at[i];
		unsigned digit =
			byte <= '9' ? byte - '0' : (byte | 32) - 'a' + 10;

		value = value << 4 | digit;
	}
	return value;
}

static char *put_character(char *at, unsigned character)
{
	if (character < 0x80) {
		*at++ = (char)character;
	} else if (character < 0x800) {
		*at++ = (char)(0xc0 | character >> 6);
		*at++ = (char)(0x80 | (character & 0x3f));
	} else if (character < 0x10000) {
		*at++ = (char)(0xe0 | character >> 12);
		*at++ = (char)(0x80 | (character >> 6 & 0x3f));
		*at++ = (char)(0x80 | (character & 0x3f));
	} else {
		*at++ = (char)(0xf0 | character >> 18);
		*at++ = (char)(0x80 | (character >> 12 & 0x3f));
		*at++ = (char)(0x80 | (character >> 6 & 0x3f));
		*at++ = (char)(0x80 | (character & 0x3f));
	}
	return at;
}

static bool is_half(unsigned character, unsigned which)
{
	return (character & 0xfc00) == which;
}

/* From behind "\u"; moves *from behind what was taken. */
static unsigned take_escaped(const char **from, const char *end)
{
	unsigned character = hex4(*from);

	*from += 4;
	if (is_half(character, 0xd800) && end - *from >= 6 &&
	    (*from)[0] == '\\' && (*from)[1] == 'u') {
		unsigned low = hex4(*from + 2);

		if (is_half(low, 0xdc00)) {
			*from += 6;
			return 0x10000 + ((character & 0x3ff) << 10) +
			       (low & 0x3ff);
		}
	}
	return character >= 0xd800 && character < 0xe000 ? 0xfffd : character;
}

static char unescape_letter(char letter)
{
	switch (letter) {
	case 'b':
		return '\b';
	case 'f':
		return '\f';
	case 'n':
		return '\n';
	case 'r':
		return '\r';
	case 't':
		return '\t';
	default:
		return letter;
	}
}

const char *json_string_of(struct json_value value, char *room, size_t *length)
{
	const char *from = value.text + 1;
	const char *end = value.text + value.length - 1;
	char *to = room;

	*length = value.length - 2;
	if (memchr(from, '\\', *length) == NULL)
		return from;
	while (from < end) {
		if (*from != '\\') {
			*to++ = *from++;
		} else if (from[1] != 'u') {
			*to++ = unescape_letter(from[1]);
			from += 2;
		} else {
			from += 2;
			to = put_character(to, take_escaped(&from, end));
		}
	}
	*length = (size_t)(to - room);
	return room;
}

bool json_string_is(struct json_value value, const char *text, size_t length)
{
	char room[256];
	size_t found;

	if (memchr(value.text, '\\', value.length) == NULL)
		return value.length - 2 == length &&
		       memcmp(value.text + 1, text, length) == 0;
	/* An escape is at most six times what it stands for. */
	if (value.length > sizeof(room) || value.length - 2 > 6 * length)
		return false;
	const char *name = json_string_of(value, room, &found);

	return found == length && memcmp(name, text, length) == 0;
}

/* ---- the rest ---- */

double json_number_of(struct json_value value)
{
	char text[NUMBER_BYTES + 1];
	size_t length =
		value.length < NUMBER_BYTES ? value.length : NUMBER_BYTES;

	memcpy(text, value.text, length);
	text[length] = '\0';
	return strtod(text, NULL);
}

static bool is_written_as_integer(struct json_value value)
{
	for (size_t i = 0; i < value.length; i++)
		if (value.text[i] != '-' &&
		    (value.text[i] < '0' || value.text[i] > '9'))
			return false;
	return true;
}

bool json_integer_of(struct json_value value, int64_t *integer)
{
	char text[NUMBER_BYTES + 1];
	double number;

	if (is_written_as_integer(value)) {
		if (value.length > 20)
			return false;
		memcpy(text, value.text, value.length);
		text[value.length] = '\0';
		errno = 0;
		*integer = strtoll(text, NULL, 10);
		return errno == 0;
	}
	number = json_number_of(value);
	/* Above 2^53 a double does not say which integer it is. */
	if (number > 9007199254740992.0 || number < -9007199254740992.0)
		return false;
	*integer = (int64_t)number;
	return (double)*integer == number;
}

bool json_boolean_of(struct json_value value)
{
	return value.text[0] == 't';
}
