/*
 * etag - entity tags, and the lists of them in If-Match and If-None-Match
 * (RFC 9110, 8.8.3 and 13.1).
 *
 * No I/O; any thread.
 */
#pragma once
#include <stdbool.h>
#include <stddef.h>

/* With its quotes, and W/ before it where it is weak. */
bool etag_is(const char *text, size_t length);

/* Is `tag` in the list, or the list "*"? Strongly, both must be strong; weakly,
 * W/ does not count. What cannot be read ends the list. */
bool etag_is_listed(const char *list, size_t length, const char *tag,
		    bool is_strong);
