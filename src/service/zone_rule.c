#include "service/zone_rule.h"

#include <ctype.h>
#include <string.h>

#include "service/civil.h"

#define HOURS_MAX 167

/* ---- reading ---- */

static bool skip_name(const char **at)
{
	const char *start = *at;

	if (*start == '<') {
		const char *end = strchr(start, '>');

		if (end == NULL)
			return false;
		*at = end + 1;
		return true;
	}
	while (isalpha((unsigned char)**at))
		(*at)++;
	return *at - start >= 3;
}

static bool read_number(const char **at, int most, int *number)
{
	const char *start = *at;

	*number = 0;
	while (isdigit((unsigned char)**at) && *number <= most)
		*number = *number * 10 + *(*at)++ - '0';
	return *at > start && *number <= most;
}

/* [+-]HOURS[:MINUTES[:SECONDS]] */
static bool read_time(const char **at, int32_t *time_s)
{
	bool is_negative = **at == '-';
	int hours;
	int minutes = 0;
	int seconds = 0;

	if (**at == '-' || **at == '+')
		(*at)++;
	if (!read_number(at, HOURS_MAX, &hours))
		return false;
	if (**at == ':' && (++*at, !read_number(at, 59, &minutes)))
		return false;
	if (**at == ':' && (++*at, !read_number(at, 59, &seconds)))
		return false;
	*time_s = hours * 3600 + minutes * 60 + seconds;
	if (is_negative)
		*time_s = -*time_s;
	return true;
}

static bool read_week(const char **at, struct zone_day *day)
{
	day->kind = ZONE_DAY_WEEK;
	return read_number(at, 12, &day->month) && day->month >= 1 &&
	       *(*at)++ == '.' && read_number(at, 5, &day->week) &&
	       day->week >= 1 && *(*at)++ == '.' &&
	       read_number(at, 6, &day->day);
}

static bool read_day(const char **at, struct zone_day *day)
{
	bool is_read;

	if (*(*at)++ != ',')
		return false;
	if (**at == 'M') {
		(*at)++;
		is_read = read_week(at, day);
	} else {
		day->kind = **at == 'J' ? ZONE_DAY_NO_LEAP : ZONE_DAY_FROM_ZERO;
		*at += **at == 'J';
		is_read = read_number(at, 365, &day->day) &&
			  (day->kind == ZONE_DAY_FROM_ZERO || day->day > 0);
	}
	day->time_s = 2 * 3600;
	if (!is_read || **at != '/')
		return is_read;
	(*at)++;
	return read_time(at, &day->time_s);
}

bool zone_rule_read(const char *text, struct zone_rule *rule)
{
	const char *at = text;

	*rule = (struct zone_rule){ 0 };
	if (!skip_name(&at) || !read_time(&at, &rule->offset_s))
		return false;
	rule->offset_s = -rule->offset_s; /* written as west */
	if (*at == '\0')
		return true;
	rule->has_summer = true;
	if (!skip_name(&at))
		return false;
	rule->summer_s = rule->offset_s + 3600;
	if (*at != ',') {
		if (!read_time(&at, &rule->summer_s))
			return false;
		rule->summer_s = -rule->summer_s;
	}
	return read_day(&at, &rule->begin) && read_day(&at, &rule->end) &&
	       *at == '\0';
}

/* ---- times ---- */

static int64_t day_in(const struct zone_day *day, int64_t year)
{
	int64_t first = civil_days((struct civil){ year, 1, 1 });

	if (day->kind == ZONE_DAY_FROM_ZERO)
		return first + day->day;
	if (day->kind == ZONE_DAY_NO_LEAP)
		return first + day->day - 1 +
		       (day->day >= 60 && civil_month_days(year, 2) == 29);
	first = civil_days((struct civil){ year, day->month, 1 });
	int in_month =
		(day->day - civil_weekday(first) + 7) % 7 + (day->week - 1) * 7;

	while (in_month >= civil_month_days(year, day->month))
		in_month -= 7;
	return first + in_month;
}

/* When it comes, where the clock shows `offset_s` until then. */
static int64_t moment(const struct zone_day *day, int64_t year,
		      int32_t offset_s)
{
	return day_in(day, year) * CIVIL_DAY_S + day->time_s - offset_s;
}

int32_t zone_rule_offset_s(const struct zone_rule *rule, int64_t at_s)
{
	if (!rule->has_summer)
		return rule->offset_s;
	int64_t year = civil_date(civil_day_of(at_s + rule->offset_s)).year;
	int64_t begin_s = moment(&rule->begin, year, rule->offset_s);
	int64_t end_s = moment(&rule->end, year, rule->summer_s);
	/* In the south summer lasts over the turn of the year. */
	bool is_summer = begin_s < end_s ? at_s >= begin_s && at_s < end_s
					 : at_s >= begin_s || at_s < end_s;

	return is_summer ? rule->summer_s : rule->offset_s;
}
