/* civil - days and dates of the Gregorian calendar, as a person writes them. */
#pragma once
#include <stdint.h>

#define CIVIL_DAY_S 86400

struct civil {
	int64_t year;
	int month; /* from 1 */
	int day;   /* from 1 */
};

/* Days since 1970-01-01. */
int64_t civil_days(struct civil date);
struct civil civil_date(int64_t days);
int civil_month_days(int64_t year, int month);
int civil_weekday(int64_t days); /* 0 is Sunday */

/* Of seconds, rounded down. */
static inline int64_t civil_day_of(int64_t seconds)
{
	return seconds / CIVIL_DAY_S - (seconds % CIVIL_DAY_S < 0);
}
