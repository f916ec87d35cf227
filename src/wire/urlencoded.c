#include "wire/urlencoded.h"

#include <string.h>

void urlencoded_init(struct urlencoded *reader, const char *text, size_t length)
{
	reader->at = text;
	reader->end = length > 0 ? text + length : text;
}

static void split(struct urlencoded_pair *pair, const char *start,
		  const char *stop)
{
	const char *equals = memchr(start, '=', (size_t)(stop - start));

	pair->name = start;
	pair->name_length = (size_t)((equals != NULL ? equals : stop) - start);
	pair->value = equals != NULL ? equals + 1 : stop;
	pair->value_length = (size_t)(stop - pair->value);
}

bool urlencoded_next(struct urlencoded *reader, struct urlencoded_pair *pair)
{
	while (reader->at < reader->end) {
		const char *start = reader->at;
		const char *stop =
			memchr(start, '&', (size_t)(reader->end - start));

		if (stop == NULL)
			stop = reader->end;
		reader->at = stop < reader->end ? stop + 1 : stop;
		if (stop == start)
			continue;
		split(pair, start, stop);
		return true;
	}
	return false;
}

size_t urlencoded_count(const char *text, size_t length)
{
	size_t count = length > 0;

	for (size_t i = 0; i < length; i++)
		count += text[i] == '&';
	return count;
}

static int hex(char digit)
{
	if (digit >= '0' && digit <= '9')
		return digit - '0';
	if ((digit | 32) >= 'a' && (digit | 32) <= 'f')
		return (digit | 32) - 'a' + 10;
	return -1;
}

/* The byte that an escape at `from` stands for, or -1. */
static int escaped(const char *from, size_t left)
{
	if (*from != '%' || left < 3)
		return -1;
	int high = hex(from[1]);
	int low = hex(from[2]);

	return high < 0 || low < 0 ? -1 : high << 4 | low;
}

size_t urlencoded_decode(char *to, const char *from, size_t length)
{
	char *start = to;

	for (size_t i = 0; i < length; i++) {
		int byte = escaped(from + i, length - i);

		if (byte > 0) {
			*to++ = (char)byte;
			i += 2;
		} else {
			*to++ = from[i] == '+' ? ' ' : from[i];
		}
	}
	return (size_t)(to - start);
}

size_t urlencoded_decode_path(char *to, const char *from, size_t length,
			      bool *has_nul)
{
	char *start = to;

	*has_nul = false;
	for (size_t i = 0; i < length; i++) {
		int byte = escaped(from + i, length - i);

		*has_nul |= byte == 0 || from[i] == 0;
		if (byte > 0) {
			*to++ = (char)byte;
			i += 2;
		} else {
			*to++ = from[i];
		}
	}
	return (size_t)(to - start);
}
