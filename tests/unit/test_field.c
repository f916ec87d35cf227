/* What the values of headers consist of. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

#include "wire/field.h"

static struct field_text text_of(const char *text)
{
	return (struct field_text){ text, strlen(text) };
}

static void append(char *told, struct field_text text)
{
	strncat(told, text.bytes, text.length);
	strcat(told, "|");
}

static void expect_elements(const char *value, const char *wanted)
{
	struct field_text rest = text_of(value);
	struct field_text element;
	char told[128] = "";

	while (field_next_element(&rest, &element))
		append(told, element);
	assert_string_equal(told, wanted);
}

static void a_list_ends_its_elements_at_commas(void **state)
{
	(void)state;
	expect_elements("a, b ,\tc", "a|b|c|");
	expect_elements(",, a,,", "a|");
	expect_elements("", "");
	expect_elements("a;x=\",\", b", "a;x=\",\"|b|");
	expect_elements("a;x=\"\\\",\", b", "a;x=\"\\\",\"|b|");
	expect_elements("\"open, b", "\"open, b|");
}

static void expect_parameters(const char *value, const char *word,
			      const char *wanted)
{
	struct field_text rest = text_of(value);
	struct field_parameter parameter;
	char told[128] = "";

	append(told, field_take_word(&rest));
	assert_memory_equal(told, word, strlen(word));
	told[0] = 0;
	while (field_next_parameter(&rest, &parameter)) {
		char copy[64];
		size_t length = field_unquote(copy, &parameter);

		append(told, parameter.name);
		append(told, (struct field_text){ copy, length });
	}
	assert_string_equal(told, wanted);
}

static void parameters_follow_a_word(void **state)
{
	(void)state;
	expect_parameters("text/html", "text/html|", "");
	expect_parameters("text/html ; charset=utf-8;a=b", "text/html|",
			  "charset|utf-8|a|b|");
	expect_parameters("x;a=\"b;c\";;d=e", "x|", "a|b;c|d|e|");
	expect_parameters("x;a=\"b\\\"c\\\\d\\e\"", "x|", "a|b\"c\\d\\e|");
	expect_parameters("x;a=\"open;b=c", "x|", "a|open;b=c|");
	expect_parameters("x;novalue;=b;a=", "x|", "a||");
}

static void words_are_the_same_in_any_case(void **state)
{
	(void)state;
	assert_true(field_is(text_of("GZip"), "gzip"));
	assert_false(field_is(text_of("gzip2"), "gzip"));
	/* "[" and "{" differ in that bit as well. */
	assert_false(field_is(text_of("["), "{"));
}

static int quality(const char *value, const char *coding)
{
	return field_coding_quality(value, strlen(value), coding);
}

static void a_coding_is_wanted_as_its_quality_says(void **state)
{
	(void)state;
	assert_int_equal(quality("gzip", "gzip"), 1000);
	assert_int_equal(quality("deflate, GZIP;q=0.5, br", "gzip"), 500);
	assert_int_equal(quality("gzip;q=0", "gzip"), 0);
	assert_int_equal(quality("gzip;q=0.001", "gzip"), 1);
	assert_int_equal(quality("gzip ; q=1.000", "gzip"), 1000);
	assert_int_equal(quality("x-gzip", "gzip"), 1000);
	assert_int_equal(quality("br", "gzip"), 0);
	assert_int_equal(quality("", "gzip"), 0);
}

static void any_coding_stands_for_those_not_named(void **state)
{
	(void)state;
	assert_int_equal(quality("*", "gzip"), 1000);
	assert_int_equal(quality("*;q=0.3, br", "gzip"), 300);
	assert_int_equal(quality("gzip;q=0, *", "gzip"), 0);
	assert_int_equal(quality("*, gzip;q=0.2", "gzip"), 200);
}

static void a_malformed_quality_is_none(void **state)
{
	(void)state;
	static const char *const values[] = {
		"gzip;q=",  "gzip;q=2",  "gzip;q=1.001", "gzip;q=0.0001",
		"gzip;q=a", "gzip;q=-1", "gzip;q=.5",    "gzip;q=1,",
	};

	for (size_t i = 0; i + 1 < sizeof(values) / sizeof(*values); i++)
		assert_int_equal(quality(values[i], "gzip"), 0);
	assert_int_equal(quality("gzip;q=1,", "gzip"), 1000);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_list_ends_its_elements_at_commas),
		cmocka_unit_test(parameters_follow_a_word),
		cmocka_unit_test(words_are_the_same_in_any_case),
		cmocka_unit_test(a_coding_is_wanted_as_its_quality_says),
		cmocka_unit_test(any_coding_stands_for_those_not_named),
		cmocka_unit_test(a_malformed_quality_is_none),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
