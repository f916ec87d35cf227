/* The Range header. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

#include "wire/range.h"

#define SIZE 1000

static void expect_one(const char *value, uint64_t start, uint64_t length)
{
	struct ranges ranges;

	assert_int_equal(range_read(value, strlen(value), SIZE, &ranges),
			 RANGE_SOME);
	assert_int_equal(ranges.count, 1);
	assert_int_equal(ranges.list[0].start, start);
	assert_int_equal(ranges.list[0].length, length);
}

static void expect(const char *value, uint64_t size, enum range_answer wanted)
{
	struct ranges ranges;

	assert_int_equal(range_read(value, strlen(value), size, &ranges),
			 wanted);
}

static void a_range_is_read_within_the_content(void **state)
{
	(void)state;
	expect_one("bytes=0-0", 0, 1);
	expect_one("bytes=0-499", 0, 500);
	expect_one("bytes=500-", 500, 500);
	expect_one("bytes=-1", 999, 1);
	expect_one("bytes=-2000", 0, 1000);
	expect_one("bytes=900-99999999999999999999999", 900, 100);
	expect_one("Bytes= 1-2 ,", 1, 2);
}

static void several_ranges_stay_in_their_order(void **state)
{
	(void)state;
	struct ranges ranges;

	assert_int_equal(
		range_read("bytes=500-509, 2000-, 0-9, -1", 29, SIZE, &ranges),
		RANGE_SOME);
	assert_int_equal(ranges.count, 3);
	assert_int_equal(ranges.list[0].start, 500);
	assert_int_equal(ranges.list[1].start, 0);
	assert_int_equal(ranges.list[2].start, 999);
}

static void what_does_not_exist_is_beyond(void **state)
{
	(void)state;
	expect("bytes=1000-", SIZE, RANGE_BEYOND);
	expect("bytes=1000-2000,5000-6000", SIZE, RANGE_BEYOND);
	expect("bytes=-0", SIZE, RANGE_BEYOND);
	expect("bytes=0-", 0, RANGE_BEYOND);
	expect("bytes=-5", 0, RANGE_BEYOND);
}

static void what_is_malformed_asks_for_all(void **state)
{
	(void)state;
	static const char *const values[] = {
		"",          "bytes",       "bytes=",        "bytes=,",
		"lines=0-1", "bytes=5-4",   "bytes=a-b",     "bytes=1",
		"bytes=-",   "bytes=--1",   "bytes=1-2-3",   "bytes=1 -2",
		"bytes=1-x", "bytes=0-1;2", "bytes=0-1, x-", "bytes 0-1",
	};

	for (size_t i = 0; i < sizeof(values) / sizeof(*values); i++)
		expect(values[i], SIZE, RANGE_WHOLE);
}

static void more_than_all_is_answered_with_all(void **state)
{
	(void)state;
	expect("bytes=0-,0-,0-", SIZE, RANGE_WHOLE);
	expect("bytes=0-,-1", SIZE, RANGE_WHOLE);
	expect("bytes=0-0,1-1,2-2,3-3,4-4,5-5,6-6,7-7,8-8,9-9,10-10,11-11,"
	       "12-12,13-13,14-14,15-15,16-16",
	       SIZE, RANGE_WHOLE);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_range_is_read_within_the_content),
		cmocka_unit_test(several_ranges_stay_in_their_order),
		cmocka_unit_test(what_does_not_exist_is_beyond),
		cmocka_unit_test(what_is_malformed_asks_for_all),
		cmocka_unit_test(more_than_all_is_answered_with_all),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
