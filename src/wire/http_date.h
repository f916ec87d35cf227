/*
 * http_date - "Sun, 06 Nov 1994 08:49:37 GMT" (RFC 9110, 5.6.7).
 *
 * Never in the language or the zone of the user. No I/O; any thread.
 */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define HTTP_DATE_BYTES 29

/* Without a NUL. Seconds since 1970, up to the year 9999; what is beyond is
 * written as the nearest. */
void http_date_write(char to[HTTP_DATE_BYTES], int64_t seconds);
/* Any of the three forms; `now` says which century a year of two digits is
 * of. */
bool http_date_read(const char *text, size_t length, int64_t now,
		    int64_t *seconds);
