/* Numbers as text. */
#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/digits.h"

static void assert_written(uint64_t number)
{
	char room[DIGITS_MAX + 1];
	char expected[DIGITS_MAX + 1];
	size_t length = digits_put(room, number);

	snprintf(expected, sizeof(expected), "%" PRIu64, number);
	assert_int_equal(length, strlen(expected));
	assert_memory_equal(room, expected, length);
}

static void numbers_around_each_power_of_ten_are_written(void **state)
{
	(void)state;
	for (size_t i = 0; i < DIGITS_MAX; i++) {
		assert_written(digits_powers[i] - 1);
		assert_written(digits_powers[i]);
		assert_written(digits_powers[i] + 1);
	}
}

static void numbers_around_each_power_of_two_are_written(void **state)
{
	(void)state;
	for (unsigned bit = 0; bit < 64; bit++) {
		assert_written((UINT64_C(1) << bit) - 1);
		assert_written(UINT64_C(1) << bit);
	}
	assert_written(UINT64_MAX);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(numbers_around_each_power_of_ten_are_written),
		cmocka_unit_test(numbers_around_each_power_of_two_are_written),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
