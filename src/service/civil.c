#include "service/civil.h"

#include <stdbool.h>

#define DAYS_OF_400_YEARS 146097

static bool is_leap(int64_t year)
{
	return (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
}

int civil_month_days(int64_t year, int month)
{
	static const int days[] = { 31, 28, 31, 30, 31, 30,
				    31, 31, 30, 31, 30, 31 };

	return days[month - 1] + (month == 2 && is_leap(year));
}

/* Leap days before the year's first, counted from year 0. */
static int64_t leap_days(int64_t year)
{
	int64_t last = year - 1;

	return last / 4 - last / 100 + last / 400;
}

static int64_t first_of(int64_t year)
{
	return (year - 1970) * 365 + leap_days(year) - leap_days(1970);
}

int64_t civil_days(struct civil date)
{
	int64_t days = first_of(date.year) + date.day - 1;

	for (int month = 1; month < date.month; month++)
		days += civil_month_days(date.year, month);
	return days;
}

struct civil civil_date(int64_t days)
{
	struct civil date = { .year = 1970 + days * 400 / DAYS_OF_400_YEARS,
			      .month = 1 };

	while (first_of(date.year) > days)
		date.year--;
	while (first_of(date.year + 1) <= days)
		date.year++;
	int64_t left = days - first_of(date.year);

	while (left >= civil_month_days(date.year, date.month))
		left -= civil_month_days(date.year, date.month++);
	date.day = (int)left + 1;
	return date;
}

int civil_weekday(int64_t days)
{
	int64_t weekday = (days + 4) % 7; /* 1970 began on a Thursday */

	return (int)(weekday < 0 ? weekday + 7 : weekday);
}
