#include "base/buffer.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/must.h"

#define SMALLEST 256

void buffer_fini(struct buffer *buffer)
{
	free(buffer->data);
	*buffer = (struct buffer){ 0 };
}

uint8_t *buffer_grow(struct buffer *buffer, size_t length)
{
	size_t used = buffer_length(buffer);
	size_t needed = used + length;

	MUST(needed >= length);
	MUST(buffer->data != NULL || (buffer->head == 0 && used == 0));
	if (buffer->head > 0 && needed <= buffer->capacity / 2) {
		memmove(buffer->data, buffer->data + buffer->head, used);
	} else {
		size_t capacity = buffer->capacity;

		if (capacity < SMALLEST)
			capacity = SMALLEST;
		while (capacity < needed)
			capacity += capacity / 2;
		uint8_t *data = mem_alloc(capacity);

		if (used > 0)
			memcpy(data, buffer->data + buffer->head, used);
		free(buffer->data);
		buffer->data = data;
		buffer->capacity = capacity;
	}
	buffer->head = 0;
	buffer->tail = used;
	return buffer->data + buffer->tail;
}

void buffer_extend(struct buffer *buffer, size_t length)
{
	MUST(length <= buffer->capacity - buffer->tail);
	buffer->tail += length;
}

void buffer_append_format(struct buffer *buffer, const char *format, ...)
{
	va_list arguments;

	va_start(arguments, format);
	int length = vsnprintf(NULL, 0, format, arguments);

	va_end(arguments);
	MUST(length >= 0);

	char *room = (char *)buffer_reserve(buffer, (size_t)length + 1);

	va_start(arguments, format);
	MUST(vsnprintf(room, (size_t)length + 1, format, arguments) == length);
	va_end(arguments);
	buffer->tail += (size_t)length;
}

void buffer_truncate(struct buffer *buffer, size_t length)
{
	MUST(length <= buffer_length(buffer));
	buffer->tail = buffer->head + length;
}

void buffer_consume(struct buffer *buffer, size_t length)
{
	MUST(length <= buffer_length(buffer));
	buffer->head += length;
	if (buffer->head == buffer->tail)
		buffer->head = buffer->tail = 0;
}

void buffer_trim(struct buffer *buffer, size_t keep_bytes)
{
	if (buffer_length(buffer) == 0 && buffer->capacity > keep_bytes)
		buffer_fini(buffer);
}
