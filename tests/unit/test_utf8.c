/* UTF-8, cut anywhere. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <string.h>

#include "base/utf8.h"

/* Is it, fed in two pieces, wherever it is cut? */
static bool is_text(const char *bytes, size_t length)
{
	bool is_first = false;

	for (size_t cut = 0; cut <= length; cut++) {
		struct utf8 utf8 = { 0 };
		bool is_good = utf8_feed(&utf8, bytes, cut) &&
			       utf8_feed(&utf8, bytes + cut, length - cut) &&
			       utf8_is_whole(&utf8);

		if (cut == 0)
			is_first = is_good;
		assert_int_equal(is_good, is_first);
	}
	return is_first;
}

#define IS_TEXT(text) is_text(text, sizeof(text) - 1)

static void characters_of_every_length_are_text(void **state)
{
	(void)state;
	assert_true(IS_TEXT(""));
	assert_true(IS_TEXT("plain, and longer than eight bytes"));
	assert_true(IS_TEXT("\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80 end"));
	assert_true(IS_TEXT("\xc2\x80\xdf\xbf\xe0\xa0\x80\xef\xbf\xbf"));
	assert_true(IS_TEXT("\xf0\x90\x80\x80\xf4\x8f\xbf\xbf"));
	assert_true(IS_TEXT("\xed\x9f\xbf\xee\x80\x80"));
}

static void what_is_no_character_is_refused(void **state)
{
	(void)state;
	assert_false(IS_TEXT("a\x80"));    /* a tail alone */
	assert_false(IS_TEXT("\xc0\xaf")); /* overlong */
	assert_false(IS_TEXT("\xc1\xbf"));
	assert_false(IS_TEXT("\xe0\x9f\xbf"));
	assert_false(IS_TEXT("\xf0\x8f\xbf\xbf"));
	assert_false(IS_TEXT("\xed\xa0\x80")); /* surrogates */
	assert_false(IS_TEXT("\xed\xbf\xbf"));
	assert_false(IS_TEXT("\xf4\x90\x80\x80")); /* past the end */
	assert_false(IS_TEXT("\xf5\x80\x80\x80"));
	assert_false(IS_TEXT("\xff"));
	assert_false(IS_TEXT("\xc3 bcdefgh"));
}

static void half_a_character_is_not_whole(void **state)
{
	(void)state;
	assert_false(IS_TEXT("abcdefgh\xe2\x82"));
	assert_false(IS_TEXT("\xf0\x9f\x98"));
	assert_false(IS_TEXT("\xc3"));
}

static void it_is_told_at_the_first_wrong_byte(void **state)
{
	struct utf8 utf8 = { 0 };

	(void)state;
	assert_true(utf8_feed(&utf8, "\xce\xba\xe1\xbd\xb9\xf4", 6));
	assert_false(utf8_feed(&utf8, "\x90", 1));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(characters_of_every_length_are_text),
		cmocka_unit_test(what_is_no_character_is_refused),
		cmocka_unit_test(half_a_character_is_not_whole),
		cmocka_unit_test(it_is_told_at_the_first_wrong_byte),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
