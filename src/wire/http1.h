/*
 * http1 - reads the head of an HTTP/1 request, and chunked bodies.
 *
 * Zero-copy: what is found are slices of the caller's bytes. Strict: what two
 * readers could understand differently is refused (RFC 9112, 2.2, 3, 5, 6;
 * RFC 9110, 5). No state but what the caller keeps; no I/O; any thread.
 */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct slice {
	const char *text; /* not NUL-ended */
	size_t length;
};
