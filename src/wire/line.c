#include "wire/line.h"

#include <errno.h>
#include <string.h>

void line_reader_fini(struct line_reader *reader)
{
	buffer_fini(&reader->partial);
}

static int tell(const struct line_reader *reader, struct line *line,
		const void *text, size_t length)
{
	const char *bytes = length == 0 ? "" : text;

	if (length > 0 && bytes[length - 1] == '\r')
		length--;
	*line = (struct line){ bytes, length };
	return length > reader->length_max ? -EMSGSIZE : 1;
}

int line_read(struct line_reader *reader, const uint8_t **bytes, size_t *length,
	      struct line *line)
{
	struct buffer *partial = &reader->partial;

	if (reader->was_told) {
		buffer_fini(partial);
		reader->was_told = false;
	}
	if (*length == 0)
		return 0;
	const uint8_t *begin = *bytes;
	const uint8_t *end = memchr(begin, '\n', *length);
	size_t part = end == NULL ? *length : (size_t)(end - begin);
	size_t kept = buffer_length(partial);

	/* One more may be the "\r" of its end. */
	if (part > reader->length_max + 1 - kept)
		return -EMSGSIZE;
	if (end == NULL || kept > 0)
		buffer_append(partial, begin, part);
	*bytes += part;
	*length -= part;
	if (end == NULL)
		return 0;
	(*bytes)++;
	(*length)--;
	if (kept == 0)
		return tell(reader, line, begin, part);
	reader->was_told = true;
	return tell(reader, line, buffer_bytes(partial),
		    buffer_length(partial));
}

bool line_is_interrupt(const uint8_t *bytes, size_t length)
{
	static const uint8_t telnet[] = { 0xff, 0xf4, 0xff, 0xfd, 0x06 };

	return (length == 1 && bytes[0] == 4) ||
	       (length == sizeof(telnet) &&
		memcmp(bytes, telnet, sizeof(telnet)) == 0);
}
