/* Times that recur, in zones that change their clocks. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#include "service/civil.h"
#include "service/cron.h"

/* "2026-03-29 01:59:00", of UTC. */
static int64_t utc(const char *text)
{
	struct tm parts = { 0 };

	assert_non_null(strptime(text, "%Y-%m-%d %H:%M:%S", &parts));
	return timegm(&parts);
}

static const char *text_of(int64_t at_s)
{
	static char text[32];
	time_t at = at_s;
	struct tm parts;

	gmtime_r(&at, &parts);
	strftime(text, sizeof(text), "%Y-%m-%d %H:%M:%S", &parts);
	return text;
}

/* The times that follow `after`, each as UTC. */
static void follow(const char *cron_text, const char *zone_name,
		   const char *after, const char *const *expected)
{
	struct problem problem = { 0 };
	struct cron cron;
	struct zone *zone = zone_open(zone_name, &problem);

	assert_non_null(zone);
	assert_int_equal(cron_read(cron_text, &cron, &problem), 0);
	int64_t at_s = utc(after);

	for (; *expected != NULL; expected++) {
		at_s = cron_next_s(&cron, zone, at_s);
		assert_string_equal(text_of(at_s), *expected);
	}
	zone_free(zone);
}

#define FOLLOW(cron, zone, after, ...)                                         \
	follow((cron), (zone), (after),                                        \
	       (const char *const[]){ __VA_ARGS__, NULL })

static void fields_say_when(void **state)
{
	(void)state;
	FOLLOW("* * * * *", "UTC", "2026-01-01 00:00:30", "2026-01-01 00:01:00",
	       "2026-01-01 00:02:00");
	FOLLOW("*/15 8-9 * * *", NULL, "2026-01-01 09:30:00",
	       "2026-01-01 09:45:00", "2026-01-02 08:00:00");
	FOLLOW("30 4 1,15 * *", "UTC", "2026-01-02 00:00:00",
	       "2026-01-15 04:30:00", "2026-02-01 04:30:00");
	FOLLOW("0 0 * * mon-FRI", "UTC", "2026-11-20 00:00:00",
	       "2026-11-23 00:00:00");
	FOLLOW("0 0 * * fri-sun", "UTC", "2026-11-20 00:00:00",
	       "2026-11-21 00:00:00", "2026-11-22 00:00:00",
	       "2026-11-27 00:00:00");
	FOLLOW("0 0 * * 5-7", "UTC", "2026-11-21 00:00:00",
	       "2026-11-22 00:00:00", "2026-11-27 00:00:00");
	FOLLOW("0 12 * jan,JUL 0", "UTC", "2026-01-25 12:00:00",
	       "2026-07-05 12:00:00");
	FOLLOW("10/20 * * * *", "UTC", "2026-01-01 00:00:00",
	       "2026-01-01 00:10:00", "2026-01-01 00:30:00",
	       "2026-01-01 00:50:00", "2026-01-01 01:10:00");
	FOLLOW("5-20/7 0 * * *", "UTC", "2026-01-01 00:00:00",
	       "2026-01-01 00:05:00", "2026-01-01 00:12:00",
	       "2026-01-01 00:19:00", "2026-01-02 00:05:00");
	FOLLOW("*/20 0 0 * * *", "UTC", "2026-01-01 00:00:00",
	       "2026-01-01 00:00:20", "2026-01-01 00:00:40",
	       "2026-01-02 00:00:00");
	FOLLOW("@hourly", "UTC", "2026-12-31 23:00:00", "2027-01-01 00:00:00");
	FOLLOW("@Weekly", "UTC", "2026-11-20 00:00:00", "2026-11-22 00:00:00");
	FOLLOW("@yearly", "UTC", "2026-11-20 00:00:00", "2027-01-01 00:00:00");
	FOLLOW("  0  0\t*  * * ", "UTC", "2026-11-20 00:00:00",
	       "2026-11-21 00:00:00");
}

static void days_may_be_last_rare_and_of_either_kind(void **state)
{
	(void)state;
	FOLLOW("0 0 L * *", "UTC", "2026-01-31 00:00:00", "2026-02-28 00:00:00",
	       "2026-03-31 00:00:00");
	FOLLOW("0 0 15,l 2 *", "UTC", "2028-02-01 00:00:00",
	       "2028-02-15 00:00:00", "2028-02-29 00:00:00");
	FOLLOW("0 0 29 2 *", "UTC", "2096-02-29 00:00:00",
	       "2104-02-29 00:00:00");
	/* Where both are given, either will do. */
	FOLLOW("0 0 13 * fri", "UTC", "2026-11-12 00:00:00",
	       "2026-11-13 00:00:00", "2026-11-20 00:00:00",
	       "2026-11-27 00:00:00", "2026-12-04 00:00:00",
	       "2026-12-11 00:00:00", "2026-12-13 00:00:00");
	/* A field that begins with * narrows the other one. */
	FOLLOW("0 0 */30 2 mon", "UTC", "2027-02-02 00:00:00",
	       "2038-02-01 00:00:00");
}

static void what_says_no_times_is_refused(void **state)
{
	static const char *const texts[] = {
		"",
		" ",
		"* * * *",
		"* * * * * * *",
		"60 * * * *",
		"* 24 * * *",
		"* * 0 * *",
		"* * 32 * *",
		"* * * 0 *",
		"* * * 13 *",
		"* * * * 8",
		"5-4 * * * *",
		"*/0 * * * *",
		"* * * * abc",
		"*-5 * * * *",
		"1, * * * *",
		",1 * * * *",
		"1--2 * * * *",
		"-1 * * * *",
		"0 0 31 2 *",
		"0 0 30 2 *",
		"0 0 31 4,6 *",
		"@never",
		"0 0 * L *",
		"1/ * * * *",
		"** * * * *",
		"1x * * * *",
		"\xff * * * *",
		"99999999999999999999 * * * *",
	};

	(void)state;
	for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
		struct problem problem = { 0 };
		struct cron cron;

		if (cron_read(texts[i], &cron, &problem) != -EINVAL)
			fail_msg("'%s' was read", texts[i]);
		assert_string_equal(problem.name, "CRON_INVALID");
	}
}

static void
a_time_that_is_left_out_comes_at_the_first_minute_after(void **state)
{
	(void)state;
	/* Vienna: 02:00 becomes 03:00, which is 01:00 UTC. */
	FOLLOW("30 2 * * *", "Europe/Vienna", "2026-03-28 12:00:00",
	       "2026-03-29 01:00:00", "2026-03-30 00:30:00");
	/* Twice in the gap is once. */
	FOLLOW("15,45 2 * * *", "Europe/Vienna", "2026-03-28 12:00:00",
	       "2026-03-29 01:00:00", "2026-03-30 00:15:00");
	/* In a year that the file's rule alone knows. */
	FOLLOW("30 2 * * *", "Europe/Vienna", "2050-03-26 12:00:00",
	       "2050-03-27 01:00:00", "2050-03-28 00:30:00");
}

static void a_time_that_comes_twice_is_told_once(void **state)
{
	(void)state;
	/* Vienna: 03:00 becomes 02:00 at 01:00 UTC. */
	FOLLOW("30 2 * * *", "Europe/Vienna", "2026-10-24 12:00:00",
	       "2026-10-25 00:30:00", "2026-10-26 01:30:00");
	/* New York: 02:00 becomes 01:00 at 06:00 UTC. */
	FOLLOW("0,30 1 * * *", "America/New_York", "2026-11-01 00:00:00",
	       "2026-11-01 05:00:00", "2026-11-01 05:30:00",
	       "2026-11-02 06:00:00");
}

static void where_every_hour_counts_the_clock_is_followed(void **state)
{
	(void)state;
	FOLLOW("30 * * * *", "Europe/Vienna", "2026-03-29 00:00:00",
	       "2026-03-29 00:30:00", "2026-03-29 01:30:00");
	FOLLOW("30 * * * *", "Europe/Vienna", "2026-10-24 23:45:00",
	       "2026-10-25 00:30:00", "2026-10-25 01:30:00",
	       "2026-10-25 02:30:00");
	/* Half an hour, on the southern side: 02:00 becomes 02:30. */
	FOLLOW("0 * * * *", "Australia/Lord_Howe", "2026-10-03 14:30:00",
	       "2026-10-03 16:00:00");
	FOLLOW("15 2 * * *", "Australia/Lord_Howe", "2026-10-03 12:00:00",
	       "2026-10-03 15:30:00");
}

/* Against the C library, which has TZ for the whole process. */
static void offsets_are_those_of_the_system(void **state)
{
	static const char *const names[] = {
		"Europe/Vienna",  "America/New_York",  "Australia/Lord_Howe",
		"Asia/Kathmandu", "Africa/Casablanca", "America/Sao_Paulo",
		"Europe/Dublin",  "Antarctica/Troll",  "Asia/Tehran",
		"Pacific/Apia",
	};

	(void)state;
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		struct problem problem = { 0 };
		struct zone *zone = zone_open(names[i], &problem);

		assert_non_null(zone);
		assert_int_equal(setenv("TZ", names[i], 1), 0);
		tzset();
		for (int64_t at_s = utc("1930-01-01 00:00:00");
		     at_s < utc("2090-01-01 00:00:00"); at_s += 86400 * 5 + 7) {
			time_t at = at_s;
			struct tm parts;

			localtime_r(&at, &parts);
			if (zone_offset_s(zone, at_s) != parts.tm_gmtoff)
				fail_msg("%s at %s: %d, not %ld", names[i],
					 text_of(at_s),
					 zone_offset_s(zone, at_s),
					 parts.tm_gmtoff);
		}
		zone_free(zone);
	}
	unsetenv("TZ");
	tzset();
}

static void zones_that_are_none_are_refused(void **state)
{
	static const char *const names[] = { "Europe/Nowhere",   "",
					     "../../etc/passwd", "/etc/passwd",
					     "zone.tab",         "Europe" };

	(void)state;
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		struct problem problem = { 0 };

		assert_null(zone_open(names[i], &problem));
		assert_string_equal(problem.name, "ZONE_UNKNOWN");
	}
}

static void dates_are_those_of_the_calendar(void **state)
{
	(void)state;
	for (int64_t days = -200000; days < 200000; days += 17) {
		struct civil date = civil_date(days);
		time_t at = days * 86400;
		struct tm parts;

		gmtime_r(&at, &parts);
		assert_int_equal(date.year, parts.tm_year + 1900);
		assert_int_equal(date.month, parts.tm_mon + 1);
		assert_int_equal(date.day, parts.tm_mday);
		assert_int_equal(civil_weekday(days), parts.tm_wday);
		assert_int_equal(civil_days(date), days);
	}
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(fields_say_when),
		cmocka_unit_test(days_may_be_last_rare_and_of_either_kind),
		cmocka_unit_test(what_says_no_times_is_refused),
		cmocka_unit_test(
			a_time_that_is_left_out_comes_at_the_first_minute_after),
		cmocka_unit_test(a_time_that_comes_twice_is_told_once),
		cmocka_unit_test(where_every_hour_counts_the_clock_is_followed),
		cmocka_unit_test(offsets_are_those_of_the_system),
		cmocka_unit_test(zones_that_are_none_are_refused),
		cmocka_unit_test(dates_are_those_of_the_calendar),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
