/* Cookie and Set-Cookie. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

#include "wire/cookie.h"

static void expect_pairs(const char *value, const char *wanted)
{
	struct field_text rest = { value, strlen(value) };
	struct cookie_pair pair;
	char told[128] = "";

	while (cookie_next(&rest, &pair)) {
		strncat(told, pair.name.bytes, pair.name.length);
		strcat(told, "=");
		strncat(told, pair.value.bytes, pair.value.length);
		strcat(told, "|");
	}
	assert_string_equal(told, wanted);
}

static void cookies_are_read_in_order(void **state)
{
	(void)state;
	expect_pairs("a=1; b=2", "a=1|b=2|");
	expect_pairs("a=1;b=2;a=3", "a=1|b=2|a=3|");
	expect_pairs("", "");
}

static void cookies_are_read_as_browsers_send_them(void **state)
{
	(void)state;
	expect_pairs("a=\"1 2\"; b=x=y", "a=1 2|b=x=y|");
	expect_pairs(" a = 1 ;; nameless; =x; c=", "a=1|c=|");
	/* A quote that is left open does not swallow the next. */
	expect_pairs("a=\"1; b=2", "a=\"1|b=2|");
}

static void expect_written(const struct cookie *cookie, const char *wanted)
{
	struct buffer to = { 0 };

	assert_null(cookie_fault(cookie));
	cookie_write(cookie, &to);
	buffer_append(&to, "", 1);
	assert_string_equal(buffer_bytes(&to), wanted);
	buffer_fini(&to);
}

static void a_cookie_is_written_with_its_attributes(void **state)
{
	(void)state;
	expect_written(&(struct cookie){ .name = "a", .value = "" }, "a=");
	expect_written(&(struct cookie){ .name = "sessionID",
					 .value = "0af",
					 .path = "/",
					 .is_http_only = true,
					 .same_site = COOKIE_SAME_SITE_LAX },
		       "sessionID=0af; Path=/; HttpOnly; SameSite=Lax");
	expect_written(&(struct cookie){ .name = "__Secure-a",
					 .value = "1",
					 .domain = "example.org",
					 .max_age_s = 3600,
					 .has_max_age = true,
					 .is_secure = true,
					 .same_site = COOKIE_SAME_SITE_NONE },
		       "__Secure-a=1; Domain=example.org; Max-Age=3600; "
		       "Secure; SameSite=None");
	expect_written(&(struct cookie){ .name = "a",
					 .value = "\"1\"",
					 .max_age_s = -5,
					 .has_max_age = true,
					 .same_site = COOKIE_SAME_SITE_STRICT },
		       "a=\"1\"; Max-Age=0; SameSite=Strict");
}

static void a_cookie_that_would_be_dropped_is_refused(void **state)
{
	(void)state;
	static const struct cookie bad[] = {
		{ .name = NULL, .value = "1" },
		{ .name = "", .value = "1" },
		{ .name = "a b", .value = "1" },
		{ .name = "a=b", .value = "1" },
		{ .name = "a", .value = NULL },
		{ .name = "a", .value = "1;2" },
		{ .name = "a", .value = "1 2" },
		{ .name = "a", .value = "1\r\nX: y" },
		{ .name = "a", .value = "\xc3\xa4" },
		{ .name = "a", .value = "\"" },
		{ .name = "a", .value = "1", .path = "a" },
		{ .name = "a", .value = "1", .path = "/;x" },
		{ .name = "a", .value = "1", .domain = "" },
		{ .name = "a", .value = "1", .domain = "a;b" },
		{ .name = "a",
		  .value = "1",
		  .same_site = COOKIE_SAME_SITE_NONE },
		{ .name = "__Secure-a", .value = "1" },
		{ .name = "__Host-a", .value = "1", .is_secure = true },
		{ .name = "__HOST-a",
		  .value = "1",
		  .is_secure = true,
		  .path = "/",
		  .domain = "a.org" },
	};
	char large[5000];

	for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++)
		assert_non_null(cookie_fault(&bad[i]));
	memset(large, 'x', sizeof(large) - 1);
	large[sizeof(large) - 1] = 0;
	assert_non_null(
		cookie_fault(&(struct cookie){ .name = "a", .value = large }));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(cookies_are_read_in_order),
		cmocka_unit_test(cookies_are_read_as_browsers_send_them),
		cmocka_unit_test(a_cookie_is_written_with_its_attributes),
		cmocka_unit_test(a_cookie_that_would_be_dropped_is_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
