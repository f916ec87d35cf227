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

/* Room for at least `length` more bytes at the end; what is written there
 * counts once buffer_extend() has said so. */
uint8_t *buffer_reserve(struct buffer *buffer, size_t length);
void buffer_extend(struct buffer *buffer, size_t length);

void buffer_append(struct buffer *buffer, const void *bytes, size_t length);
void buffer_append_text(struct buffer *buffer, const char *text);
__attribute__((format(printf, 2, 3))) void
buffer_append_format(struct buffer *buffer, const char *format, ...);

/* Keeps the first `length` bytes alone. */
void buffer_truncate(struct buffer *buffer, size_t length);

/* Drops bytes from the front; an emptied buffer larger than `keep_bytes`
 * gives its memory back. */
void buffer_consume(struct buffer *buffer, size_t length);
void buffer_trim(struct buffer *buffer, size_t keep_bytes);
