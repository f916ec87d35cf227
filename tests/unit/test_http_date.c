/* Dates, in all their forms. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

#include <time.h>

#include "wire/http_date.h"

#define NOW 1800000000 /* January 2027 */

static void expect(const char *text, int64_t wanted)
{
	int64_t seconds = -1;

	assert_true(http_date_read(text, strlen(text), NOW, &seconds));
	assert_int_equal(seconds, wanted);
}

static void the_three_forms_are_read(void **state)
{
	(void)state;
	expect("Sun, 06 Nov 1994 08:49:37 GMT", 784111777);
	expect("Sunday, 06-Nov-94 08:49:37 GMT", 784111777);
	expect("Sun Nov  6 08:49:37 1994", 784111777);
	expect("Wed Nov 16 08:49:37 1994", 784975777);
	expect("Thu, 01 Jan 1970 00:00:00 GMT", 0);
	expect("Tue, 29 Feb 2000 23:59:60 GMT", 951868800);
}

static void two_digits_are_of_the_nearest_century(void **state)
{
	(void)state;
	expect("Friday, 01-Jan-27 00:00:00 GMT", 1798761600);
	expect("Friday, 01-Jan-77 00:00:00 GMT", 3376684800);
	expect("Sunday, 01-Jan-78 00:00:00 GMT", 252460800);
}

static void what_is_no_date_is_refused(void **state)
{
	(void)state;
	static const char *const texts[] = {
		"",
		"Sun, 06 Nov 1994 08:49:37",
		"Sun, 06 Nov 1994 08:49:37 CET",
		"Sun, 06 nov 1994 08:49:37 GMT",
		"Sun, 6 Nov 1994 08:49:37 GMT",
		"Sun, 31 Nov 1994 08:49:37 GMT",
		"Sun, 29 Feb 1900 08:49:37 GMT",
		"Sun, 00 Nov 1994 08:49:37 GMT",
		"Sun, 06 Nov 1994 24:49:37 GMT",
		"Sun, 06 Nov 1994 08:60:37 GMT",
		"Sun, 06 Nov 1994 08:49:61 GMT",
		"Sun, 06 Nov 0000 08:49:37 GMT",
		"Sun, 06 Nov 1994 08:49:37 GMT ",
		"123456, 06-Nov-94 08:49:37 GMT",
		"Sunday, 06-Nov-1994 08:49:37 GMT",
		"784111777",
	};
	int64_t seconds;

	for (size_t i = 0; i < sizeof(texts) / sizeof(*texts); i++)
		assert_false(http_date_read(texts[i], strlen(texts[i]), NOW,
					    &seconds));
}

static void what_is_written_is_what_the_system_writes(void **state)
{
	(void)state;
	/* About every 20 days for 500 years, and some seconds. */
	for (int64_t at = 0; at < 16000000000; at += 1728131) {
		char ours[HTTP_DATE_BYTES + 1] = "";
		char theirs[64];
		time_t time = (time_t)at;
		struct tm utc;

		http_date_write(ours, at);
		strftime(theirs, sizeof(theirs), "%a, %d %b %Y %H:%M:%S GMT",
			 gmtime_r(&time, &utc));
		assert_string_equal(ours, theirs);
		expect(ours, at);
	}
}

static void what_cannot_be_written_is_the_nearest(void **state)
{
	(void)state;
	char text[HTTP_DATE_BYTES];

	http_date_write(text, -1);
	assert_memory_equal(text, "Thu, 01 Jan 1970 00:00:00 GMT", 29);
	http_date_write(text, INT64_MAX);
	assert_memory_equal(text, "Fri, 31 Dec 9999 23:59:59 GMT", 29);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_three_forms_are_read),
		cmocka_unit_test(two_digits_are_of_the_nearest_century),
		cmocka_unit_test(what_is_no_date_is_refused),
		cmocka_unit_test(what_is_written_is_what_the_system_writes),
		cmocka_unit_test(what_cannot_be_written_is_the_nearest),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
