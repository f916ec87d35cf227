/*
 * buffer - bytes that grow at the end and are consumed from the front.
 *
 * Invariant: head <= tail <= capacity; the content is data[head..tail).
 * A zeroed struct is an empty buffer and owns nothing. Pointers into the
 * content are good until the next call that adds bytes.
 */
#pragma once
#include <stddef.h>
#include <stdint.h>
#include <string.h>

struct buffer {
	uint8_t *data;
	size_t head;
	size_t tail;
	size_t capacity;
};

void buffer_fini(struct buffer *buffer); /* leaves an empty buffer */

static inline size_t buffer_length(const struct buffer *buffer)
{
	return buffer->tail - buffer->head;
}

/* NULL where nothing was ever added. */
static inline uint8_t *buffer_bytes(const struct buffer *buffer)
{
	return buffer->data == NULL ? NULL : buffer->data + buffer->head;
}

uint8_t *buffer_grow(struct buffer *buffer, size_t length);

/* Room for at least `length` more bytes at the end; what is written there
 * counts once buffer_extend() has said so. */
static inline uint8_t *buffer_reserve(struct buffer *buffer, size_t length)
{
	if (buffer->capacity - buffer->tail < length || buffer->data == NULL)
		return buffer_grow(buffer, length);
	return buffer->data + buffer->tail;
}

void buffer_extend(struct buffer *buffer, size_t length);

/* Inline, as most that is appended is a few bytes of a known length. */
static inline void buffer_append(struct buffer *buffer, const void *bytes,
				 size_t length)
{
	if (length == 0)
		return;
	memcpy(buffer_reserve(buffer, length), bytes, length);
	buffer->tail += length;
}

static inline void buffer_append_text(struct buffer *buffer, const char *text)
{
	buffer_append(buffer, text, strlen(text));
}

__attribute__((format(printf, 2, 3))) void
buffer_append_format(struct buffer *buffer, const char *format, ...);

/* Keeps the first `length` bytes alone. */
void buffer_truncate(struct buffer *buffer, size_t length);

/* Drops bytes from the front; an emptied buffer larger than `keep_bytes`
 * gives its memory back. */
void buffer_consume(struct buffer *buffer, size_t length);
void buffer_trim(struct buffer *buffer, size_t keep_bytes);
