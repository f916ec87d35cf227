/*
 * range - which parts of a content the Range header asks for (RFC 9110, 14).
 *
 * No I/O; any thread.
 */
#pragma once
#include <stddef.h>
#include <stdint.h>

#define RANGES_MAX 16

enum range_answer {
	RANGE_SOME = 0,
	/* To be answered with all of the content: not to be understood, or
	 * more than anybody honest asks for. */
	RANGE_WHOLE,
	RANGE_BEYOND, /* none of it exists: 416 */
};

struct range {
	uint64_t start;
	uint64_t length; /* never 0 */
};

struct ranges {
	struct range list[RANGES_MAX]; /* in the order asked */
	size_t count;
};

/* Of a content of `size` bytes. */
enum range_answer range_read(const char *value, size_t length, uint64_t size,
			     struct ranges *ranges);
