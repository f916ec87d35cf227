/*
 * base64 - bytes as text, with padding (RFC 4648, section 4). Any thread.
 */
#pragma once
#include <stdbool.h>
#include <stddef.h>

/* Of the text, without the NUL that base64_encode() adds. */
static inline size_t base64_length(size_t length)
{
	return (length + 2) / 3 * 4;
}

void base64_encode(const void *bytes, size_t length, char *text);

/* Room for length / 4 * 3 bytes is needed. False where it is not exactly what
 * base64_encode() gives: another alphabet, missing padding, stray bits. */
bool base64_decode(const char *text, size_t length, void *bytes,
		   size_t *decoded);
