/* Entity tags and their lists. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

#include "wire/etag.h"

static bool has(const char *list, const char *tag, bool is_strong)
{
	return etag_is_listed(list, strlen(list), tag, is_strong);
}

static void a_tag_is_quoted(void **state)
{
	(void)state;
	assert_true(etag_is("\"a\"", 3));
	assert_true(etag_is("W/\"\"", 4));
	assert_false(etag_is("a", 1));
	assert_false(etag_is("\"a", 2));
	assert_false(etag_is("w/\"a\"", 5));
	assert_false(etag_is("\"a\"b", 4));
	assert_false(etag_is("\"a b\"", 5));
	assert_false(etag_is("", 0));
}

static void a_tag_is_found_in_a_list(void **state)
{
	(void)state;
	assert_true(has("\"a\"", "\"a\"", false));
	assert_true(has("\"x\", \"y\" ,\"a\"", "\"a\"", true));
	assert_true(has("\"a,b\", \"c\"", "\"a,b\"", true));
	assert_false(has("\"a,b\"", "\"b\"", false));
	assert_false(has("\"b\"", "\"a\"", false));
	assert_false(has("", "\"a\"", false));
	assert_false(has("a", "\"a\"", false));
	/* Broken off there. */
	assert_false(has("\"x, \"a\"", "\"a\"", false));
}

static void anything_matches_an_asterisk(void **state)
{
	(void)state;
	assert_true(has("*", "\"a\"", true));
	assert_false(has("*, \"b\"", "\"a\"", false));
}

static void weak_tags_match_weakly_alone(void **state)
{
	(void)state;
	assert_true(has("W/\"a\"", "\"a\"", false));
	assert_true(has("\"a\"", "W/\"a\"", false));
	assert_false(has("W/\"a\"", "\"a\"", true));
	assert_false(has("\"a\"", "W/\"a\"", true));
	assert_false(has("W/\"a\"", "W/\"a\"", true));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_tag_is_quoted),
		cmocka_unit_test(a_tag_is_found_in_a_list),
		cmocka_unit_test(anything_matches_an_asterisk),
		cmocka_unit_test(weak_tags_match_weakly_alone),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
