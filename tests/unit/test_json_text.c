/* What json_write makes, json_is_value accepts and json_walk reads back. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/json.h"
#include "base/json_walk.h"
#include "base/json_write.h"

static void expect_text(struct buffer *buffer, const char *expected)
{
	buffer_append(buffer, "", 1);
	assert_string_equal((char *)buffer_bytes(buffer), expected);
	assert_true(
		json_is_value((char *)buffer_bytes(buffer), strlen(expected)));
	buffer_fini(buffer);
}

/* ---- writing ---- */

static void commas_come_by_themselves(void **state)
{
	struct buffer buffer = { 0 };
	struct json_writer writer = json_writer(&buffer);

	(void)state;
	json_write_object(&writer);
	json_write_name(&writer, "a");
	json_write_integer(&writer, 1);
	json_write_name(&writer, "b");
	json_write_array(&writer);
	json_write_array_end(&writer);
	json_write_name(&writer, "c");
	json_write_array(&writer);
	json_write_null(&writer);
	json_write_boolean(&writer, true);
	json_write_boolean(&writer, false);
	json_write_object(&writer);
	json_write_object_end(&writer);
	json_write_raw(&writer, "[0]", 3);
	json_write_array_end(&writer);
	json_write_name(&writer, "d");
	json_write_text(&writer, "x");
	json_write_object_end(&writer);
	expect_text(&buffer, "{\"a\":1,\"b\":[],\"c\":[null,true,false,{},[0]],"
			     "\"d\":\"x\"}");
}

static void strings_are_escaped_as_they_must_be(void **state)
{
	static const char text[] = "q\" s\\ \b\t\n\v\f\r\x1f\x7f \xc3\xa9 "
				   "\xf0\x9f\x98\x80 bad:\xff\xc3(\xed\xa0\x80";
	struct buffer buffer = { 0 };
	struct json_writer writer = json_writer(&buffer);

	(void)state;
	json_write_string(&writer, text, sizeof(text) - 1);
	expect_text(&buffer,
		    "\"q\\\" s\\\\ \\b\\t\\n\\u000b\\f\\r\\u001f\x7f \xc3\xa9 "
		    "\xf0\x9f\x98\x80 bad:\xef\xbf\xbd\xef\xbf\xbd("
		    "\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\"");
}

static void a_nul_within_a_string_is_kept(void **state)
{
	struct buffer buffer = { 0 };
	struct json_writer writer = json_writer(&buffer);

	(void)state;
	json_write_string(&writer, "a\0b", 3);
	expect_text(&buffer, "\"a\\u0000b\"");
}

static void integers_are_written_in_full(void **state)
{
	struct buffer buffer = { 0 };
	struct json_writer writer = json_writer(&buffer);

	(void)state;
	json_write_array(&writer);
	json_write_integer(&writer, 0);
	json_write_integer(&writer, -1);
	json_write_integer(&writer, INT64_MAX);
	json_write_integer(&writer, INT64_MIN);
	json_write_array_end(&writer);
	expect_text(&buffer, "[0,-1,9223372036854775807,-9223372036854775808]");
}

static void numbers_are_short_and_exact(void **state)
{
	struct buffer buffer = { 0 };
	struct json_writer writer = json_writer(&buffer);

	(void)state;
	json_write_array(&writer);
	json_write_number(&writer, 0.1);
	json_write_number(&writer, 1.0 / 3);
	json_write_number(&writer, 1e300);
	json_write_number(&writer, NAN);
	json_write_number(&writer, INFINITY);
	json_write_array_end(&writer);
	expect_text(&buffer, "[0.1,0.3333333333333333,1e+300,null,null]");
}

/* ---- reading ---- */

static struct json_value value_of(const char *text)
{
	assert_true(json_is_value(text, strlen(text)));
	return json_value_of(text, strlen(text));
}

static void check_value(struct json_value value, const char *expected)
{
	assert_int_equal(value.length, strlen(expected));
	assert_memory_equal(value.text, expected, value.length);
}

static void members_come_in_their_order(void **state)
{
	struct json_walk walk = json_walk(
		value_of(" { \"a\" : 1 ,\"b,}\":[1,{\"c\":\"]\\\"\"}] , "
			 "\"d\":\"x\" } "));
	struct json_value key, value;

	(void)state;
	assert_true(json_walk_next(&walk, &key, &value));
	check_value(key, "\"a\"");
	check_value(value, "1");
	assert_true(json_walk_next(&walk, &key, &value));
	check_value(key, "\"b,}\"");
	check_value(value, "[1,{\"c\":\"]\\\"\"}]");
	assert_true(json_walk_next(&walk, &key, &value));
	check_value(value, "\"x\"");
	assert_false(json_walk_next(&walk, &key, &value));
}

static void elements_come_in_their_order(void **state)
{
	struct json_walk walk = json_walk(value_of("[ true,null , -1.5e3,[]]"));
	static const enum json_kind kinds[] = { JSON_BOOLEAN, JSON_NULL,
						JSON_NUMBER, JSON_ARRAY };
	struct json_value value;

	(void)state;
	for (size_t i = 0; i < 4; i++) {
		assert_true(json_walk_next(&walk, NULL, &value));
		assert_int_equal(json_kind_of(value), kinds[i]);
	}
	assert_false(json_walk_next(&walk, NULL, &value));
}

static void empty_containers_have_nothing(void **state)
{
	static const char *const texts[] = { "{}", "[]", "{ }", "[ \n]" };
	struct json_value value;

	(void)state;
	for (size_t i = 0; i < 4; i++) {
		struct json_walk walk = json_walk(value_of(texts[i]));

		assert_false(json_walk_next(&walk, NULL, &value));
	}
}

static void check_string(const char *json, const char *expected, size_t length)
{
	struct json_value value = value_of(json);
	char *room = malloc(value.length);
	size_t found = 0;
	const char *text = json_string_of(value, room, &found);

	assert_int_equal(found, length);
	assert_memory_equal(text, expected, length);
	assert_true(json_string_is(value, expected, length));
	assert_false(json_string_is(value, "something else", 14));
	free(room);
}

static void strings_are_unescaped(void **state)
{
	(void)state;
	check_string("\"\"", "", 0);
	check_string("\"plain\"", "plain", 5);
	check_string("\"\\\"\\\\\\/\\b\\f\\n\\r\\t\"", "\"\\/\b\f\n\r\t", 8);
	check_string("\"\\u0041\\u00e9\\u20AC\"", "A\xc3\xa9\xe2\x82\xac", 6);
	check_string("\"\\ud83d\\ude00\"", "\xf0\x9f\x98\x80", 4);
	check_string("\"\\u0000\"", "\0", 1);
	check_string("\"\\ud83d\"", "\xef\xbf\xbd", 3);
	check_string("\"\\ude00x\"", "\xef\xbf\xbdx", 4);
	check_string("\"\\ud83d\\u0041\"",
		     "\xef\xbf\xbd"
		     "A",
		     4);
}

static void a_member_is_found_whatever_its_key_is_written_like(void **state)
{
	struct json_value object =
		value_of("{\"ab\":1,\"a\\u0062c\":2,\"abc\":3}");
	struct json_value value;

	(void)state;
	assert_true(json_find(object, "abc", &value));
	check_value(value, "2");
	assert_false(json_find(object, "a", &value));
}

static void integers_are_exact_or_none(void **state)
{
	static const struct {
		const char *text;
		int64_t value;
	} good[] = {
		{ "0", 0 },
		{ "-0", 0 },
		{ "9223372036854775807", INT64_MAX },
		{ "-9223372036854775808", INT64_MIN },
		{ "1.0", 1 },
		{ "12e2", 1200 },
	};
	static const char *const bad[] = { "1.5", "9223372036854775808",
					   "1e400", "1e18",
					   "123456789012345678901234567890" };
	int64_t integer;

	(void)state;
	for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
		assert_true(json_integer_of(value_of(good[i].text), &integer));
		assert_true(integer == good[i].value);
	}
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		assert_false(json_integer_of(value_of(bad[i]), &integer));
	assert_true(json_number_of(value_of("-1.5e3")) == -1500);
	assert_true(json_boolean_of(value_of("true")));
}

/* As the C library writes the fewest digits that read back the same. */
static void expect_shortest(double value)
{
	struct buffer buffer = { 0 };
	struct json_writer writer = json_writer(&buffer);
	char text[32];

	for (int digits = 15; digits <= 17; digits++) {
		snprintf(text, sizeof(text), "%.*g", digits, value);
		if (strtod(text, NULL) == value)
			break;
	}
	json_write_number(&writer, value);
	expect_text(&buffer, text);
}

static void numbers_of_any_size_read_back_the_same(void **state)
{
	static const double some[] = {
		0,    1,    0.5,    0.1, 1e-4,    9.9e-5,   123.456,
		1e15, 1e14, 5e-324, 0.3, 2.0 / 3, 1e15 - 1, 99999.99999999999
	};
	uint64_t dice = 88172645463325252;

	(void)state;
	for (size_t i = 0; i < sizeof(some) / sizeof(some[0]); i++) {
		expect_shortest(some[i]);
		expect_shortest(-some[i]);
		expect_shortest(nextafter(some[i], 1e300));
	}
	for (int i = -20; i < 60; i++) {
		expect_shortest(ldexp(1, i));
		expect_shortest(nextafter(ldexp(1, i), 0));
	}
	for (int i = 0; i < 20000; i++) {
		dice ^= dice << 13;
		dice ^= dice >> 7;
		dice ^= dice << 17;
		expect_shortest((double)(dice >> 11) * 0x1p-53);
		expect_shortest((double)(dice >> 44) / 100);
		expect_shortest(ldexp((double)dice, (int)(dice % 70) - 80));
	}
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(commas_come_by_themselves),
		cmocka_unit_test(strings_are_escaped_as_they_must_be),
		cmocka_unit_test(a_nul_within_a_string_is_kept),
		cmocka_unit_test(integers_are_written_in_full),
		cmocka_unit_test(numbers_are_short_and_exact),
		cmocka_unit_test(numbers_of_any_size_read_back_the_same),
		cmocka_unit_test(members_come_in_their_order),
		cmocka_unit_test(elements_come_in_their_order),
		cmocka_unit_test(empty_containers_have_nothing),
		cmocka_unit_test(strings_are_unescaped),
		cmocka_unit_test(
			a_member_is_found_whatever_its_key_is_written_like),
		cmocka_unit_test(integers_are_exact_or_none),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
