#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/base64.h"

/* RFC 4648, section 10, and what uses all of the alphabet's ends. */
static const struct {
	const char *bytes;
	const char *text;
} pairs[] = {
	{ "", "" },
	{ "f", "Zg==" },
	{ "fo", "Zm8=" },
	{ "foo", "Zm9v" },
	{ "foob", "Zm9vYg==" },
	{ "fooba", "Zm9vYmE=" },
	{ "foobar", "Zm9vYmFy" },
	{ "\xfb\xff\xbf", "+/+/" },
};

static void what_is_encoded_is_decoded(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(pairs) / sizeof(pairs[0]); i++) {
		size_t length = strlen(pairs[i].bytes);
		char text[16];
		char bytes[16];
		size_t decoded;

		assert_int_equal(base64_length(length), strlen(pairs[i].text));
		base64_encode(pairs[i].bytes, length, text);
		assert_string_equal(text, pairs[i].text);
		assert_true(base64_decode(text, strlen(text), bytes, &decoded));
		assert_int_equal(decoded, length);
		assert_memory_equal(bytes, pairs[i].bytes, length);
	}
}

static void all_bytes_come_back(void **state)
{
	uint8_t bytes[256];
	uint8_t again[256];
	char text[345];
	size_t decoded;

	(void)state;
	for (size_t i = 0; i < sizeof(bytes); i++)
		bytes[i] = (uint8_t)(i * 167);
	for (size_t length = 0; length <= sizeof(bytes); length++) {
		base64_encode(bytes, length, text);
		assert_true(base64_decode(text, strlen(text), again, &decoded));
		assert_int_equal(decoded, length);
		assert_memory_equal(again, bytes, length);
	}
}

static void anything_else_is_refused(void **state)
{
	static const char *const wrong[] = {
		"Z",    "Zg",     "Zg=",  "Zm9vZg",     "Zh==",
		"Zm9=", "Z===",   "====", "=Zg=",       "Zg==Zg==",
		"Zm 9", "Zm9v\n", "Zm-_", "Z\xc3\xa4g",
	};
	char bytes[16];
	size_t decoded;

	(void)state;
	for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++)
		assert_false(base64_decode(wrong[i], strlen(wrong[i]), bytes,
					   &decoded));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_is_encoded_is_decoded),
		cmocka_unit_test(all_bytes_come_back),
		cmocka_unit_test(anything_else_is_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
