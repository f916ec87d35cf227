/* Lines, cut anywhere. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "wire/line.h"

#define LENGTH_MAX 8

/* Lines in brackets, and "!" for one that is too long. */
static char *read_in_steps(const char *text, size_t step)
{
	struct line_reader reader = { .length_max = LENGTH_MAX };
	struct buffer told = { 0 };
	size_t left = strlen(text);
	int answer = 0;

	while (left > 0 && answer >= 0) {
		size_t length = left < step ? left : step;
		uint8_t *exact = mem_copy(text, length);
		const uint8_t *at = exact;
		struct line line;

		text += length;
		left -= length;
		while ((answer = line_read(&reader, &at, &length, &line)) > 0)
			buffer_append_format(&told, "[%.*s]", (int)line.length,
					     line.text);
		free(exact);
	}
	if (answer < 0)
		buffer_append(&told, "!", 1);
	else
		assert_int_equal(reader.was_told, false);
	buffer_append(&told, "", 1);
	line_reader_fini(&reader);
	return (char *)told.data;
}

static void expect(const char *text, const char *told)
{
	static const size_t steps[] = { 1000, 1, 2, 3, 7 };

	for (size_t i = 0; i < sizeof(steps) / sizeof(steps[0]); i++) {
		char *lines = read_in_steps(text, steps[i]);

		assert_string_equal(lines, told);
		free(lines);
	}
}

static void lines_end_with_either_end(void **state)
{
	(void)state;
	expect("one\ntwo\r\n\n\r\nthree\n", "[one][two][][][three]");
	expect("a\rb\n\r\r\n", "[a\rb][\r]");
	expect("not yet", "");
	expect("\xe2\x82\xac\n", "[\xe2\x82\xac]");
}

static void a_line_at_its_limit_is_read_and_a_longer_one_refused(void **state)
{
	(void)state;
	expect("12345678\n", "[12345678]");
	expect("12345678\r\n1\n", "[12345678][1]");
	expect("a\n123456789\n", "[a]!");
	expect("123456789\r\n", "!");
	expect("1234567890123456789", "!");
}

static void interrupts_are_whole(void **state)
{
	(void)state;
	assert_true(line_is_interrupt((const uint8_t *)"\x04", 1));
	assert_true(
		line_is_interrupt((const uint8_t *)"\xff\xf4\xff\xfd\x06", 5));
	assert_false(line_is_interrupt((const uint8_t *)"\x04\n", 2));
	assert_false(line_is_interrupt((const uint8_t *)"\xff\xf4\xff", 3));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(lines_end_with_either_end),
		cmocka_unit_test(
			a_line_at_its_limit_is_read_and_a_longer_one_refused),
		cmocka_unit_test(interrupts_are_whole),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
