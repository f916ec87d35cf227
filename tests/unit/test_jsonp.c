/* Names of callbacks. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

#include "wire/jsonp.h"

static void identifiers_and_their_members_are_names(void **state)
{
	(void)state;
	static const char *const good[] = {
		"a",      "callback", "_$",   "jQuery123_45",
		"app.on", "a.b.c",    "a[0]", "a[12].b",
	};

	for (size_t i = 0; i < sizeof(good) / sizeof(*good); i++)
		assert_true(jsonp_is_callback(good[i], strlen(good[i])));
}

static void what_could_be_more_than_a_name_is_refused(void **state)
{
	(void)state;
	static const char *const bad[] = {
		"",    "1a",    "a b",      "alert(1)", "a;b",   "a.",
		".a",  "a..b",  "a[",       "a[]",      "a[b]",  "a['b']",
		"a[0", "a]",    "<script>", "a\n",      "a/**/", "\xc3\xa4",
		"a.1", "a[0]b", "a-b",      "a\"",      "[0]",   "a.[0]",
	};

	for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++)
		assert_false(jsonp_is_callback(bad[i], strlen(bad[i])));
	assert_false(jsonp_is_callback("a\0b", 3));
}

static void a_long_name_is_refused(void **state)
{
	(void)state;
	char name[JSONP_NAME_BYTES_MAX + 1];

	memset(name, 'a', sizeof(name));
	assert_true(jsonp_is_callback(name, sizeof(name) - 1));
	assert_false(jsonp_is_callback(name, sizeof(name)));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(identifiers_and_their_members_are_names),
		cmocka_unit_test(what_could_be_more_than_a_name_is_refused),
		cmocka_unit_test(a_long_name_is_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
