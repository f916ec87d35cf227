#include "wire/field.h"

#include <string.h>

static int lower(char byte)
{
	return byte >= 'A' && byte <= 'Z' ? byte | 0x20 : byte;
}

bool field_is(struct field_text text, const char *word)
{
	size_t length = strlen(word);

	if (text.length != length)
		return false;
	for (size_t i = 0; i < length; i++)
		if (lower(text.bytes[i]) != lower(word[i]))
			return false;
	return true;
}

static bool is_blank(char byte)
{
	return byte == ' ' || byte == '\t';
}

struct field_text field_trim(const char *start, const char *end)
{
	while (start < end && is_blank(*start))
		start++;
	while (end > start && is_blank(end[-1]))
		end--;
	return (struct field_text){ start, (size_t)(end - start) };
}

/* Behind the quoted string that begins at `at`; the end where it has none. */
static const char *skip_quoted(const char *at, const char *end)
{
	for (at++; at < end; at++) {
		if (*at == '\\' && end - at > 1)
			at++;
		else if (*at == '"')
			return at + 1;
	}
	return end;
}

/* The first `stop` outside of quoted strings, or the end. */
static const char *find(const char *at, const char *end, char stop)
{
	while (at < end && *at != stop)
		at = *at == '"' ? skip_quoted(at, end) : at + 1;
	return at;
}

static void go_on_behind(struct field_text *rest, const char *stop)
{
	const char *end = rest->bytes + rest->length;

	if (stop < end)
		stop++;
	*rest = (struct field_text){ stop, (size_t)(end - stop) };
}

bool field_next_element(struct field_text *rest, struct field_text *element)
{
	while (rest->length > 0) {
		const char *start = rest->bytes;
		const char *stop = find(start, start + rest->length, ',');

		go_on_behind(rest, stop);
		*element = field_trim(start, stop);
		if (element->length > 0)
			return true;
	}
	return false;
}

struct field_text field_take_word(struct field_text *rest)
{
	const char *start = rest->bytes;
	const char *end = start + rest->length;
	const char *stop =
		rest->length > 0 ? memchr(start, ';', rest->length) : NULL;

	if (stop == NULL)
		stop = end;
	go_on_behind(rest, stop);
	return field_trim(start, stop);
}

static bool split(struct field_text text, struct field_parameter *parameter)
{
	const char *end = text.bytes + text.length;
	const char *equals = memchr(text.bytes, '=', text.length);

	if (equals == NULL)
		return false;
	parameter->name = field_trim(text.bytes, equals);
	parameter->value = field_trim(equals + 1, end);
	parameter->is_quoted =
		parameter->value.length > 0 && *parameter->value.bytes == '"';
	if (parameter->is_quoted) {
		const char *value = parameter->value.bytes;
		const char *stop = skip_quoted(value, end);

		/* Without its end it is taken to go on to that of the header.
		 */
		if (stop > value + 1 && stop[-1] == '"')
			stop--;
		parameter->value =
			(struct field_text){ value + 1,
					     (size_t)(stop - value - 1) };
	}
	return parameter->name.length > 0;
}

bool field_next_parameter(struct field_text *rest,
			  struct field_parameter *parameter)
{
	while (rest->length > 0) {
		const char *start = rest->bytes;
		const char *stop = find(start, start + rest->length, ';');
		struct field_text text = field_trim(start, stop);

		go_on_behind(rest, stop);
		if (text.length > 0 && split(text, parameter))
			return true;
	}
	return false;
}

size_t field_unquote(char *to, const struct field_parameter *parameter)
{
	const char *at = parameter->value.bytes;
	const char *end = at + parameter->value.length;
	char *start = to;

	while (at < end) {
		if (parameter->is_quoted && *at == '\\' && end - at > 1 &&
		    (at[1] == '"' || at[1] == '\\'))
			at++;
		*to++ = *at++;
	}
	return (size_t)(to - start);
}

/* "0", "1", and up to three digits behind the point. */
static int read_quality(struct field_text text)
{
	int quality = 0;
	int scale = 1000;

	if (text.length == 0 || text.length > 5 ||
	    (text.length > 1 && text.bytes[1] != '.'))
		return 0;
	for (size_t i = 0; i < text.length; i++) {
		char digit = text.bytes[i];

		if (i == 1)
			continue;
		if (digit < '0' || digit > '9' || (i == 0 && digit > '1'))
			return 0;
		quality += (digit - '0') * scale;
		scale /= 10;
	}
	return quality <= 1000 ? quality : 0;
}

int field_quality(struct field_text parameters)
{
	struct field_parameter parameter;

	while (field_next_parameter(&parameters, &parameter))
		if (field_is(parameter.name, "q"))
			return read_quality(parameter.value);
	return 1000;
}

int field_coding_quality(const char *value, size_t length, const char *coding)
{
	struct field_text rest = { value, length };
	struct field_text element;
	int of_any = 0;
	int of_it = -1;

	while (field_next_element(&rest, &element)) {
		struct field_text word = field_take_word(&element);

		if (field_is(word, coding) ||
		    (word.length > 2 && lower(word.bytes[0]) == 'x' &&
		     word.bytes[1] == '-' &&
		     field_is((struct field_text){ word.bytes + 2,
						   word.length - 2 },
			      coding)))
			of_it = field_quality(element);
		else if (field_is(word, "*"))
			of_any = field_quality(element);
	}
	return of_it >= 0 ? of_it : of_any;
}
