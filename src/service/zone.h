/*
 * zone - a time zone of the system's tzdata, read without touching TZ, which
 * belongs to the whole process.
 *
 * Times are seconds since 1970; local ones are those of a clock on the wall, as
 * if it were UTC's.
 */
#pragma once
#include <stddef.h>
#include <stdint.h>

#include "base/problem.h"

struct zone;

enum zone_times {
	ZONE_ONCE,
	ZONE_TWICE, /* the clock was set back over it */
	ZONE_NEVER, /* the clock is set forward over it */
};

/* NULL and "UTC" need no file. NULL with *problem filled where there is none
 * of that name. TZDIR says where, else /usr/share/zoneinfo. */
struct zone *zone_open(const char *name, struct problem *problem);
void zone_free(struct zone *zone); /* NULL is fine */

/* A file's content (RFC 8536, any version); NULL where it is none. */
struct zone *zone_read(const uint8_t *bytes, size_t length);

/* East of UTC. */
int32_t zone_offset_s(const struct zone *zone, int64_t at_s);

/* When the clock on the wall shows that: the first time, or, where it never
 * does, when it is set forward over it. */
enum zone_times zone_resolve(const struct zone *zone, int64_t local_s,
			     int64_t *at_s);

/* The first time after `from_s` and up to `to_s` at which the offset is the one
 * that it is at `to_s`; they differ. */
int64_t zone_change_s(const struct zone *zone, int64_t from_s, int64_t to_s);
