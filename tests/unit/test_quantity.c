#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/quantity.h"

static void sizes_have_units(void **state)
{
	static const struct {
		const char *text;
		uint32_t bytes;
	} sizes[] = {
		{ "0", 0 },           { "512", 512 },
		{ "1b", 1 },          { "16KiB", 16384 },
		{ "16k", 16384 },     { "2KB", 2048 },
		{ "1MiB", 1U << 20 }, { "3m", 3U << 20 },
		{ "1MB", 1U << 20 },  { "1g", 1U << 30 },
		{ "3GiB", 3U << 30 }, { "4294967295", UINT32_MAX },
	};
	uint32_t bytes = 1;

	(void)state;
	for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		assert_true(quantity_read_bytes(sizes[i].text, &bytes));
		assert_int_equal(bytes, sizes[i].bytes);
	}
}

static void what_is_no_size_is_refused(void **state)
{
	static const char *const others[] = {
		"",  " 1",   "-1",   "+1",         "1 k",
		"k", "1.5m", "4GiB", "4294967296", "99999999999999999999",
		"1x"
	};
	uint32_t bytes = 1;

	(void)state;
	for (size_t i = 0; i < sizeof(others) / sizeof(others[0]); i++)
		assert_false(quantity_read_bytes(others[i], &bytes));
	assert_int_equal(bytes, 1);
}

static void times_are_not_without_length(void **state)
{
	uint32_t time_ms = 0;

	(void)state;
	assert_true(quantity_read_time_ms("2M", &time_ms));
	assert_int_equal(time_ms, 120000);
	assert_false(quantity_read_time_ms("0s", &time_ms));
	assert_false(quantity_read_time_ms("-1s", &time_ms));
	assert_false(quantity_read_time_ms("600h", &time_ms));
}

static void numbers_have_bounds(void **state)
{
	uint32_t number = 0;

	(void)state;
	assert_true(quantity_read_number("7", 1, 7, &number));
	assert_int_equal(number, 7);
	assert_false(quantity_read_number("8", 1, 7, &number));
	assert_false(quantity_read_number("0", 1, 7, &number));
	assert_false(quantity_read_number("7s", 1, 7, &number));
	assert_false(quantity_read_number("", 0, 7, &number));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(sizes_have_units),
		cmocka_unit_test(what_is_no_size_is_refused),
		cmocka_unit_test(times_are_not_without_length),
		cmocka_unit_test(numbers_have_bounds),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
