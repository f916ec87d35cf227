/* Forms and queries. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "wire/urlencoded.h"

/* Reads all, and writes it as name=value| once more, decoded. */
static void expect(const char *text, const char *wanted)
{
	struct urlencoded reader;
	struct urlencoded_pair pair;
	char told[256] = "";
	size_t at = 0;
	size_t count = 0;

	urlencoded_init(&reader, text, strlen(text));
	while (urlencoded_next(&reader, &pair)) {
		at += urlencoded_decode(told + at, pair.name, pair.name_length);
		told[at++] = '=';
		at += urlencoded_decode(told + at, pair.value,
					pair.value_length);
		told[at++] = '|';
		count++;
	}
	told[at] = 0;
	assert_string_equal(told, wanted);
	assert_true(count <= urlencoded_count(text, strlen(text)));
}

static void pairs_are_read_in_order(void **state)
{
	(void)state;
	expect("a=1&b=2", "a=1|b=2|");
	expect("a=1&a=2&a=", "a=1|a=2|a=|");
	expect("", "");
}

static void what_is_no_pair_is_passed_over(void **state)
{
	(void)state;
	expect("&&a=1&&", "a=1|");
	expect("a", "a=|");
	expect("=1", "=1|");
	expect("a=b=c", "a=b=c|");
}

static void escapes_are_decoded(void **state)
{
	(void)state;
	expect("a%20b=c+d%2B%26%3d", "a b=c d+&=|");
	expect("n=%C3%a4", "n=\xc3\xa4|");
}

static void what_is_no_escape_stays(void **state)
{
	(void)state;
	expect("a=%&b=%4&c=%4g&d=%g4&e=%%41", "a=%|b=%4|c=%4g|d=%g4|e=%A|");
	expect("a=%00b", "a=%00b|");
}

static void a_text_decodes_in_place(void **state)
{
	(void)state;
	char text[] = "%41%42+c";
	size_t length = urlencoded_decode(text, text, strlen(text));

	assert_int_equal(length, 4);
	assert_memory_equal(text, "AB c", 4);
}

static void a_path_keeps_its_plus_and_tells_of_nul(void **state)
{
	(void)state;
	char to[32];
	bool has_nul;
	size_t length = urlencoded_decode_path(to, "/a+b%2e%2E", 10, &has_nul);

	assert_int_equal(length, 6);
	assert_memory_equal(to, "/a+b..", 6);
	assert_false(has_nul);
	assert_int_equal(urlencoded_decode_path(to, "/a%00", 5, &has_nul), 5);
	assert_true(has_nul);
	assert_int_equal(urlencoded_decode_path(to, "/a\0b", 4, &has_nul), 4);
	assert_true(has_nul);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(pairs_are_read_in_order),
		cmocka_unit_test(what_is_no_pair_is_passed_over),
		cmocka_unit_test(escapes_are_decoded),
		cmocka_unit_test(what_is_no_escape_stays),
		cmocka_unit_test(a_text_decodes_in_place),
		cmocka_unit_test(a_path_keeps_its_plus_and_tells_of_nul),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
