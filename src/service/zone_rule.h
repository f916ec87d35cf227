/* zone_rule - when daylight saving begins and ends each year: the TZ texts of
 * POSIX, with the longer hours of RFC 8536. "CET-1CEST,M3.5.0,M10.5.0/3" */
#pragma once
#include <stdbool.h>
#include <stdint.h>

enum zone_day_kind {
	ZONE_DAY_WEEK,      /* the n-th weekday of a month; 5 is the last */
	ZONE_DAY_NO_LEAP,   /* 1 to 365; 29 February does not count */
	ZONE_DAY_FROM_ZERO, /* 0 to 365 */
};

struct zone_day {
	enum zone_day_kind kind;
	int month;
	int week;
	int day;
	int32_t time_s; /* of the clock on the wall until then */
};

struct zone_rule {
	int32_t offset_s; /* east */
	bool has_summer;
	int32_t summer_s;
	struct zone_day begin;
	struct zone_day end;
};

/* false where it is none. */
bool zone_rule_read(const char *text, struct zone_rule *rule);
int32_t zone_rule_offset_s(const struct zone_rule *rule, int64_t at_s);
