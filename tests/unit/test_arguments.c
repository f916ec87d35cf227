#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/quantity.h"
#include "cli/arguments.h"

enum {
	COUNT,
	FORCE,
	NAME,
};

static const struct command_option options[] = {
	[COUNT] = { 'c', "count", "instances", "N", "how many" },
	[FORCE] = { 'f', "force", NULL, NULL, "a switch" },
	[NAME] = { 0, "name", NULL, "NAME", "no letter" },
	{ 0 },
};
static const struct command command = { .name = "test", .options = options };

#define READ(...)                                                              \
	arguments_of(&command, (const char *const[]){ __VA_ARGS__, NULL })

static void gives(struct arguments *arguments, int option, const char *value)
{
	assert_int_equal(arguments_next(arguments), option);
	assert_string_equal(arguments->value, value);
}

static void a_value_stands_beside_or_in_the_word(void **state)
{
	struct arguments arguments =
		READ("-c", "1", "-c2", "--count", "3", "--count=4", "--name=");

	(void)state;
	gives(&arguments, COUNT, "1");
	gives(&arguments, COUNT, "2");
	gives(&arguments, COUNT, "3");
	gives(&arguments, COUNT, "4");
	gives(&arguments, NAME, "");
	assert_int_equal(arguments_next(&arguments), ARGUMENTS_END);
	assert_int_equal(arguments_next(&arguments), ARGUMENTS_END);
}

static void another_spelling_is_the_same_option(void **state)
{
	struct arguments arguments = READ("--instances", "5");

	(void)state;
	gives(&arguments, COUNT, "5");
}

static void operands_and_options_may_be_mixed(void **state)
{
	struct arguments arguments = READ("one", "-f", "-", "--name", "-c");

	(void)state;
	gives(&arguments, ARGUMENTS_OPERAND, "one");
	assert_int_equal(arguments_next(&arguments), FORCE);
	gives(&arguments, ARGUMENTS_OPERAND, "-");
	gives(&arguments, NAME, "-c");
}

static void what_follows_two_dashes_is_left_alone(void **state)
{
	struct arguments arguments = READ("-f", "--", "-c", "--");

	(void)state;
	assert_null(arguments.rest[0]);
	assert_int_equal(arguments_next(&arguments), FORCE);
	assert_int_equal(arguments_next(&arguments), ARGUMENTS_END);
	assert_string_equal(arguments.rest[0], "-c");
	assert_string_equal(arguments.rest[1], "--");
	assert_null(arguments.rest[2]);
	assert_int_equal(arguments_next(&arguments), ARGUMENTS_END);
}

static void is_wrong(struct arguments arguments, const char *problem)
{
	assert_int_equal(arguments_next(&arguments), ARGUMENTS_WRONG);
	assert_string_equal(arguments.problem, problem);
}

static void what_is_wrong_is_said(void **state)
{
	(void)state;
	is_wrong(READ("--coutn"),
		 "test: --coutn is no option: did you mean --count?");
	is_wrong(READ("-x"), "test: -x is no option");
	is_wrong(READ("--count"), "test: --count needs a value: N");
	is_wrong(READ("--force=1"), "test: --force=1 takes no value");
}

static void help_is_found_wherever_it_stands(void **state)
{
	(void)state;
	assert_true(arguments_ask_for_help(READ("x", "-f", "-h")));
	assert_true(arguments_ask_for_help(READ("--help")));
	assert_false(arguments_ask_for_help(READ("--name", "-h")));
	assert_false(arguments_ask_for_help(READ("--", "-h")));
	assert_false(arguments_ask_for_help(READ("--nonsense", "-h")));
}

static void a_time_has_a_unit_or_is_milliseconds(void **state)
{
	static const struct {
		const char *text;
		uint32_t time_ms;
	} times[] = {
		{ "1", 1 },        { "250ms", 250 },
		{ "10s", 10000 },  { "2m", 120000 },
		{ "1h", 3600000 }, { "2147483647", INT32_MAX },
	};
	static const char *const others[] = {
		"",     "s",  "0",          "-1s",   "1.5s",
		"10 s", "5y", "2147483648", "1000h", "99999999999999999999"
	};
	uint32_t time_ms = 0;

	(void)state;
	for (size_t i = 0; i < sizeof(times) / sizeof(times[0]); i++) {
		assert_true(quantity_read_time_ms(times[i].text, &time_ms));
		assert_int_equal(time_ms, times[i].time_ms);
	}
	for (size_t i = 0; i < sizeof(others) / sizeof(others[0]); i++)
		assert_false(quantity_read_time_ms(others[i], &time_ms));
}

static void a_number_has_bounds_and_nothing_behind_it(void **state)
{
	long number = 0;

	(void)state;
	assert_true(arguments_read_number("7", 1, 7, &number));
	assert_int_equal(number, 7);
	assert_false(arguments_read_number("8", 1, 7, &number));
	assert_false(arguments_read_number("0", 1, 7, &number));
	assert_false(arguments_read_number("7x", 1, 7, &number));
	assert_false(arguments_read_number("", 0, 7, &number));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_value_stands_beside_or_in_the_word),
		cmocka_unit_test(another_spelling_is_the_same_option),
		cmocka_unit_test(operands_and_options_may_be_mixed),
		cmocka_unit_test(what_follows_two_dashes_is_left_alone),
		cmocka_unit_test(what_is_wrong_is_said),
		cmocka_unit_test(help_is_found_wherever_it_stands),
		cmocka_unit_test(a_time_has_a_unit_or_is_milliseconds),
		cmocka_unit_test(a_number_has_bounds_and_nothing_behind_it),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
