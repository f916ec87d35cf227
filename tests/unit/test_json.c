#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/json.h"

/* In memory of exactly its length, so that a sanitizer sees a byte too many. */
static bool is_value(const char *text, size_t length)
{
	char *copy = malloc(length > 0 ? length : 1);

	assert_non_null(copy);
	memcpy(copy, text, length);
	bool answer = json_is_value(copy, length);

	free(copy);
	return answer;
}

static void expect_all(const char *const *texts, bool expected)
{
	for (; *texts != NULL; texts++)
		if (is_value(*texts, strlen(*texts)) != expected)
			fail_msg("%s should be %s", *texts,
				 expected ? "taken" : "refused");
}

static void values_of_every_kind_are_taken(void **state)
{
	static const char *const texts[] = {
		"null",
		"true",
		"false",
		" \t\r\n0 \t\r\n",
		"\"\"",
		"[]",
		"{}",
		"[ ]",
		"{ }",
		"[[],{},[[]]]",
		"[1,\"a\",null]",
		"{\"a\":1}",
		"{ \"a\" : { \"b\" : [ true , {} ] } , \"\":0}",
		NULL,
	};

	(void)state;
	expect_all(texts, true);
}

static void what_is_incomplete_is_refused(void **state)
{
	static const char *const texts[] = {
		"",     " ",          "nul",     "tru",      "-",
		"1.",   "1e",         "1e+",     "\"",       "\"a",
		"\"\\", "\"\\u12",    "[",       "[1",       "[1,",
		"{",    "{\"a\"",     "{\"a\":", "{\"a\":1", "{\"a\":1,",
		"[[]",  "\"12345678", NULL,
	};

	(void)state;
	expect_all(texts, false);
}

static void what_does_not_belong_is_refused(void **state)
{
	static const char *const texts[] = {
		"nulls",    "1 2",       "[1 2]",      "[,1]",      "[1,]",
		"{1:2}",    "{\"a\" 1}", "{\"a\":1,}", "{,}",       "{\"a\":}",
		"[}",       "{]",        "[1}",        "{\"a\":1]", "]",
		"}",        ",",         ":",          "'a'",       "NaN",
		"Infinity", "/**/1",     "{}x",        NULL,
	};

	(void)state;
	expect_all(texts, false);
}

static void numbers_are_those_of_json(void **state)
{
	static const char *const good[] = {
		"0",     "-0",      "10",
		"-1.5",  "0.001",   "1e5",
		"1E-5",  "1.5e+10", "123456789012345678901234567890",
		"1e999", NULL,
	};
	static const char *const bad[] = {
		"01",    "-01", "+1",    ".5", "0x1",
		"1e5.5", "--1", "1e1e1", "1f", NULL,
	};

	(void)state;
	expect_all(good, true);
	expect_all(bad, false);
}

static void strings_are_those_of_json(void **state)
{
	static const char *const good[] = {
		"\"plain text of more than eight bytes\"",
		"\"\\\"\\\\\\/\\b\\f\\n\\r\\t\\u0000\\uD834\\udd1e\"",
		"\"\x7f\"",
		"\"1234567\\\"\"",
		"\"12345678\\\"\"",
		NULL,
	};
	static const char *const bad[] = {
		"\"\\x\"",          "\"\\u00g0\"", "\"\t\"", "\"1234567\n\"",
		"\"12345678\x1f\"", "\"a\"b\"",    NULL,
	};

	(void)state;
	expect_all(good, true);
	expect_all(bad, false);
	assert_false(is_value("\"a\0b\"", 5));
	assert_false(is_value("\"\\\0\"", 4));
	assert_false(is_value("1\0", 2));
}

static void strings_are_utf8(void **state)
{
	static const char *const good[] = {
		"\"\xc2\x80\xdf\xbf\"",
		"\"\xe0\xa0\x80\xef\xbf\xbf\"",
		"\"\xed\x9f\xbf\xee\x80\x80\"",
		"\"\xf0\x90\x80\x80\"",
		"\"\xf4\x8f\xbf\xbf\"",
		"\"1234567\xc3\xbc 12345678\"",
		NULL,
	};
	static const char *const bad[] = {
		"\"\x80\"",
		"\"\xc1\xbf\"",
		"\"\xe0\x9f\xbf\"",
		"\"\xed\xa0\x80\"",
		"\"\xf0\x8f\xbf\xbf\"",
		"\"\xf4\x90\x80\x80\"",
		"\"\xf5\x80\x80\x80\"",
		"\"\xff\"",
		"\"\xc3\"",
		"\"\xe2\x82\"",
		"\"\xe2\x82",
		"\xc3\xbc",
		"\"12345678\xfe\"",
		NULL,
	};

	(void)state;
	expect_all(good, true);
	expect_all(bad, false);
}

/* `depth` arrays, one in the other. */
static bool is_nest_value(size_t depth)
{
	char *text = malloc(2 * depth);

	assert_non_null(text);
	memset(text, '[', depth);
	memset(text + depth, ']', depth);
	bool answer = is_value(text, 2 * depth);

	free(text);
	return answer;
}

static void what_is_nested_too_deeply_is_refused(void **state)
{
	(void)state;
	assert_true(is_nest_value(65));
	assert_true(is_nest_value(JSON_DEPTH_MAX));
	assert_false(is_nest_value(JSON_DEPTH_MAX + 1));
	assert_false(is_nest_value(100 * JSON_DEPTH_MAX));
}

static void how_deep_a_value_may_be_is_said_by_who_asks(void **state)
{
	(void)state;
	assert_int_equal(json_check("1", 1, 0), JSON_VALUE);
	assert_int_equal(json_check("[]", 2, 0), JSON_TOO_DEEP);
	assert_int_equal(json_check("[]", 2, 1), JSON_VALUE);
	assert_int_equal(json_check("[{}]", 4, 1), JSON_TOO_DEEP);
	assert_int_equal(json_check("[{},{}]", 7, 2), JSON_VALUE);
	assert_int_equal(json_check("[{},{}", 6, 2), JSON_NO_VALUE);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(values_of_every_kind_are_taken),
		cmocka_unit_test(what_is_incomplete_is_refused),
		cmocka_unit_test(what_does_not_belong_is_refused),
		cmocka_unit_test(numbers_are_those_of_json),
		cmocka_unit_test(strings_are_those_of_json),
		cmocka_unit_test(strings_are_utf8),
		cmocka_unit_test(what_is_nested_too_deeply_is_refused),
		cmocka_unit_test(how_deep_a_value_may_be_is_said_by_who_asks),
	};

	return cmocka_run_group_tests_name("json", tests, NULL, NULL);
}
