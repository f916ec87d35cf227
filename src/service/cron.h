/*
 * cron - times that recur, as crontab(5) writes them: five fields, or six with
 * seconds in front.
 *
 * Where both the day of the month and that of the week are given, either will
 * do. A time of the day that daylight saving leaves out comes when the clock is
 * set forward; one that it has twice comes the first time. Where every hour
 * counts, the times follow the clock: none is made up, and none is left out.
 */
#pragma once
#include <stdbool.h>
#include <stdint.h>

#include "base/problem.h"
#include "service/zone.h"

struct cron {
	uint64_t seconds; /* a bit each, as in all */
	uint64_t minutes;
	uint32_t hours;
	uint32_t days; /* from 1 */
	uint16_t months;
	uint8_t weekdays; /* 0 is Sunday */
	bool has_last_day;
	bool is_any_day;
	bool is_any_weekday;
};

/* Fails with -EINVAL and *problem filled. */
__attribute__((warn_unused_result)) int
cron_read(const char *text, struct cron *cron, struct problem *problem);

/* The first time after `after_s`, seconds since 1970. */
int64_t cron_next_s(const struct cron *cron, const struct zone *zone,
		    int64_t after_s);
