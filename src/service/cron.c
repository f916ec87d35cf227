#include "service/cron.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "base/must.h"
#include "service/civil.h"

#define FIELDS         6
#define HOURS          24
#define ALL_HOURS      ((UINT32_C(1) << HOURS) - 1)
#define TEXT_BYTES_MAX 256
/* 29 February comes on each weekday within 40 years. */
#define DAYS_MAX (366 * 41)

static const char *const month_names[] = { "jan", "feb", "mar", "apr",
					   "may", "jun", "jul", "aug",
					   "sep", "oct", "nov", "dec" };
static const char *const day_names[] = { "sun", "mon", "tue", "wed",
					 "thu", "fri", "sat" };

/* What a field may hold. */
struct field {
	const char *name;
	unsigned least;
	unsigned most;
	const char *const *names; /* of least, and so on; NULL */
	unsigned name_count;
};

enum { SECOND, MINUTE, HOUR, DAY, MONTH, WEEKDAY };

static const struct field fields[FIELDS] = {
	[SECOND] = { "second", 0, 59, NULL, 0 },
	[MINUTE] = { "minute", 0, 59, NULL, 0 },
	[HOUR] = { "hour", 0, 23, NULL, 0 },
	[DAY] = { "day", 1, 31, NULL, 0 },
	[MONTH] = { "month", 1, 12, month_names, 12 },
	[WEEKDAY] = { "weekday", 0, 7, day_names, 7 },
};

static const struct {
	const char *name;
	const char *meaning;
} words[] = {
	{ "@yearly", "0 0 1 1 *" },  { "@annually", "0 0 1 1 *" },
	{ "@monthly", "0 0 1 * *" }, { "@weekly", "0 0 * * 0" },
	{ "@daily", "0 0 * * *" },   { "@midnight", "0 0 * * *" },
	{ "@hourly", "0 * * * *" },  { "@minutely", "* * * * *" },
};

/* ---- reading ---- */

static bool is_end(char byte)
{
	return byte == '\0' || byte == ' ' || byte == '\t';
}

static bool read_digits(const char **at, unsigned *number)
{
	const char *start = *at;

	*number = 0;
	while (isdigit((unsigned char)**at) && *at - start < 4)
		*number = *number * 10 + (unsigned)(*(*at)++ - '0');
	return *at > start;
}

static bool read_one(const char **at, const struct field *field,
		     unsigned *number)
{
	for (unsigned i = 0; i < field->name_count; i++)
		if (strncasecmp(*at, field->names[i], 3) == 0) {
			*at += 3;
			*number = field->least + i;
			return true;
		}
	return read_digits(at, number) && *number >= field->least &&
	       *number <= field->most;
}

/* *, A, A-B, each with /STEP. */
static bool read_range(const char **at, const struct field *field,
		       uint64_t *bits)
{
	unsigned first = field->least;
	unsigned last = field == &fields[WEEKDAY] ? 6 : field->most;
	unsigned step = 1;
	bool is_one = false;

	if (**at == '*') {
		(*at)++;
	} else {
		if (!read_one(at, field, &first))
			return false;
		is_one = **at != '-';
		if (!is_one && (++*at, !read_one(at, field, &last)))
			return false;
		/* Sunday ends the week as well. */
		if (!is_one && field == &fields[WEEKDAY] && last == 0)
			last = 7;
	}
	if (**at == '/') {
		++*at;
		if (!read_digits(at, &step) || step == 0)
			return false;
	} else if (is_one) {
		last = first;
	}
	if (first > last)
		return false;
	for (unsigned i = first; i <= last; i += step)
		*bits |= UINT64_C(1) << i;
	return true;
}

static bool read_field(const char **at, const struct field *field,
		       struct cron *cron, uint64_t *bits)
{
	*bits = 0;
	for (;;) {
		if (field == &fields[DAY] && (**at == 'L' || **at == 'l')) {
			++*at;
			cron->has_last_day = true;
		} else if (!read_range(at, field, bits)) {
			return false;
		}
		if (**at != ',')
			return is_end(**at);
		++*at;
	}
}

static const char *skip_space(const char *at)
{
	return at + strspn(at, " \t");
}

static unsigned count_fields(const char *at)
{
	unsigned count = 0;

	for (at = skip_space(at); *at != '\0'; at = skip_space(at)) {
		count++;
		at += strcspn(at, " \t");
	}
	return count;
}

static int refuse(const char *text, const char *why, struct problem *problem)
{
	return problem_set(problem, -EINVAL, "CRON_INVALID",
			   "'%.60s' says no times: %s (\"MINUTE HOUR DAY MONTH "
			   "WEEKDAY\", as in \"*/15 8-18 * * mon-fri\")",
			   text, why);
}

static void keep(struct cron *cron, const uint64_t *bits)
{
	cron->seconds = bits[SECOND];
	cron->minutes = bits[MINUTE];
	cron->hours = (uint32_t)bits[HOUR];
	cron->days = (uint32_t)bits[DAY];
	cron->months = (uint16_t)bits[MONTH];
	/* 7 is Sunday too. */
	cron->weekdays = (uint8_t)((bits[WEEKDAY] | bits[WEEKDAY] >> 7) & 0x7f);
}

/* 31 February never comes, unless its weekday does. */
static bool can_come(const struct cron *cron)
{
	if (!cron->is_any_weekday || cron->has_last_day)
		return true;
	for (int month = 1; month <= 12; month++)
		for (int day = 1; day <= civil_month_days(2000, month); day++)
			if ((cron->months >> month & 1) != 0 &&
			    (cron->days >> day & 1) != 0)
				return true;
	return false;
}

int cron_read(const char *text, struct cron *cron, struct problem *problem)
{
	uint64_t bits[FIELDS] = { [SECOND] = 1 };
	const char *at = text;
	char why[64];

	*cron = (struct cron){ 0 };
	for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++)
		if (strcasecmp(words[i].name, text) == 0)
			at = words[i].meaning;
	if (strlen(at) > TEXT_BYTES_MAX)
		return refuse(text, "it is too long", problem);
	unsigned count = count_fields(at);

	if (count != FIELDS && count != FIELDS - 1)
		return refuse(text, "it has not five fields, or six", problem);
	for (size_t i = FIELDS - count; i < FIELDS; i++) {
		at = skip_space(at);
		bool is_any = *at == '*';

		if (!read_field(&at, &fields[i], cron, &bits[i])) {
			snprintf(why, sizeof(why), "its %s cannot be read",
				 fields[i].name);
			return refuse(text, why, problem);
		}
		if (i == DAY)
			cron->is_any_day = is_any;
		if (i == WEEKDAY)
			cron->is_any_weekday = is_any;
	}
	keep(cron, bits);
	return can_come(cron) ? 0
			      : refuse(text, "that day never comes", problem);
}

/* ---- times of the clock on the wall ---- */

static bool is_day(const struct cron *cron, struct civil date, int64_t days)
{
	bool is_weekday = (cron->weekdays >> civil_weekday(days) & 1) != 0;
	bool is_month_day =
		(cron->days >> date.day & 1) != 0 ||
		(cron->has_last_day &&
		 date.day == civil_month_days(date.year, date.month));

	if ((cron->months >> date.month & 1) == 0)
		return false;
	if (cron->is_any_day || cron->is_any_weekday)
		return is_month_day && is_weekday;
	return is_month_day || is_weekday;
}

/* The first bit from `from` on, or `none`. */
static int first_bit(uint64_t bits, int from, int none)
{
	if (from >= none || bits >> from == 0)
		return none;
	return from + __builtin_ctzll(bits >> from);
}

/* The first time of a day from that second on; -1: none is left. */
static int64_t time_of_day(const struct cron *cron, int64_t from_s)
{
	int from_hour = (int)(from_s / 3600);
	int from_minute = (int)(from_s / 60 % 60);
	int from_second = (int)(from_s % 60);

	for (int hour = first_bit(cron->hours, from_hour, HOURS); hour < HOURS;
	     hour = first_bit(cron->hours, hour + 1, HOURS)) {
		bool is_first = hour == from_hour;

		for (int minute = first_bit(cron->minutes,
					    is_first ? from_minute : 0, 60);
		     minute < 60;
		     minute = first_bit(cron->minutes, minute + 1, 60)) {
			bool is_now = is_first && minute == from_minute;
			int second = first_bit(cron->seconds,
					       is_now ? from_second : 0, 60);

			if (second < 60)
				return hour * 3600 + minute * 60 + second;
		}
	}
	return -1;
}

/* The first time from `local_s` on. */
static int64_t next_local_s(const struct cron *cron, int64_t local_s)
{
	int64_t day = civil_day_of(local_s);
	int64_t from_s = local_s - day * CIVIL_DAY_S;

	for (int i = 0; i < DAYS_MAX; i++, day++, from_s = 0) {
		if (!is_day(cron, civil_date(day), day))
			continue;
		int64_t time_s = time_of_day(cron, from_s);

		if (time_s >= 0)
			return day * CIVIL_DAY_S + time_s;
	}
	must_fail("a time that comes", __FILE__, __LINE__);
}

/* ---- times ---- */

static int64_t next_by_the_clock(const struct cron *cron,
				 const struct zone *zone, int64_t at_s)
{
	for (;;) {
		int32_t offset_s = zone_offset_s(zone, at_s);
		int64_t next_s = next_local_s(cron, at_s + offset_s) - offset_s;

		if (zone_offset_s(zone, next_s) == offset_s)
			return next_s;
		at_s = zone_change_s(zone, at_s, next_s);
	}
}

int64_t cron_next_s(const struct cron *cron, const struct zone *zone,
		    int64_t after_s)
{
	if (cron->hours == ALL_HOURS)
		return next_by_the_clock(cron, zone, after_s + 1);
	int64_t local_s = after_s + zone_offset_s(zone, after_s) + 1;

	for (;;) {
		int64_t at_s;

		local_s = next_local_s(cron, local_s);
		/* How often it comes matters not: it is told once. */
		DISCARD(zone_resolve(zone, local_s, &at_s));
		if (at_s > after_s)
			return at_s;
		local_s++;
	}
}
