/* Bytes that grow at the end and go from the front. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

#include "base/buffer.h"

#define assert_content(buffer, text)                                           \
	do {                                                                   \
		assert_int_equal(buffer_length(buffer), strlen(text));         \
		assert_memory_equal(buffer_bytes(buffer), text, strlen(text)); \
	} while (0)

static void a_zeroed_buffer_is_empty_and_owns_nothing(void **state)
{
	(void)state;
	struct buffer buffer = { 0 };

	assert_int_equal(buffer_length(&buffer), 0);
	assert_null(buffer_bytes(&buffer));
	buffer_consume(&buffer, 0);
	buffer_truncate(&buffer, 0);
	buffer_append(&buffer, NULL, 0);
	assert_null(buffer_bytes(&buffer));
	buffer_fini(&buffer);
	buffer_fini(&buffer);
}

static void what_is_appended_follows_what_is_there(void **state)
{
	(void)state;
	struct buffer buffer = { 0 };

	buffer_append(&buffer, "one", 3);
	buffer_append_text(&buffer, " two");
	buffer_append_format(&buffer, " %s %d", "three", 4);
	assert_content(&buffer, "one two three 4");
	buffer_fini(&buffer);
}

static void what_is_consumed_goes_from_the_front(void **state)
{
	(void)state;
	struct buffer buffer = { 0 };

	buffer_append_text(&buffer, "one two");
	buffer_consume(&buffer, 4);
	assert_content(&buffer, "two");
	buffer_append_text(&buffer, " three");
	assert_content(&buffer, "two three");
	buffer_consume(&buffer, 9);
	assert_int_equal(buffer_length(&buffer), 0);
	assert_int_equal(buffer.head, 0); /* all the room can be used again */
	buffer_fini(&buffer);
}

static void truncating_keeps_the_front(void **state)
{
	(void)state;
	struct buffer buffer = { 0 };

	buffer_append_text(&buffer, "0123456789");
	buffer_consume(&buffer, 2);
	buffer_truncate(&buffer, 3);
	assert_content(&buffer, "234");
	buffer_fini(&buffer);
}

static void reserved_room_counts_once_it_is_extended(void **state)
{
	(void)state;
	struct buffer buffer = { 0 };

	for (size_t size = 0; size <= 5000; size += 17) {
		size_t length = buffer_length(&buffer);
		uint8_t *room = buffer_reserve(&buffer, size);

		assert_non_null(room);
		memset(room, 'x', size);
		assert_int_equal(buffer_length(&buffer), length);
		buffer_extend(&buffer, size / 2);
		assert_int_equal(buffer_length(&buffer), length + size / 2);
	}
	buffer_fini(&buffer);
}

static void a_formatted_text_may_fill_the_room_to_the_byte(void **state)
{
	(void)state;
	static char text[2000];

	memset(text, 'a', sizeof(text) - 1);
	for (size_t length = 200; length < 300; length++) {
		struct buffer buffer = { 0 };

		buffer_append_format(&buffer, "%.*s", (int)length, text);
		assert_int_equal(buffer_length(&buffer), length);
		assert_memory_equal(buffer_bytes(&buffer), text, length);
		buffer_fini(&buffer);
	}
}

static void
an_emptied_buffer_gives_much_memory_back_and_keeps_a_little(void **state)
{
	(void)state;
	struct buffer buffer = { 0 };
	static const uint8_t bytes[4096];

	buffer_append(&buffer, bytes, sizeof(bytes));
	buffer_trim(&buffer, 1024);
	assert_int_equal(buffer_length(&buffer), sizeof(bytes));
	buffer_consume(&buffer, sizeof(bytes));
	buffer_trim(&buffer, 65536);
	assert_non_null(buffer.data);
	buffer_trim(&buffer, 1024);
	assert_null(buffer.data);
	buffer_fini(&buffer);
}

/* Against a model: what is in the buffer is a stretch of one long sequence. */
static void any_order_of_appending_and_consuming_keeps_the_bytes(void **state)
{
	(void)state;
	struct buffer buffer = { 0 };
	uint32_t random = 1;
	size_t begin = 0;
	size_t end = 0;

	for (int step = 0; step < 20000; step++) {
		random = random * 1103515245 + 12345;
		size_t amount = (random >> 16) % 700;

		if ((random >> 8) % 5 < 2) {
			uint8_t *room = buffer_reserve(&buffer, amount);

			for (size_t i = 0; i < amount; i++)
				room[i] = (uint8_t)((end + i) * 7);
			buffer_extend(&buffer, amount);
			end += amount;
		} else {
			if (amount > end - begin)
				amount = end - begin;
			buffer_consume(&buffer, amount);
			begin += amount;
		}
		assert_int_equal(buffer_length(&buffer), end - begin);
		for (size_t i = 0; i < end - begin; i++)
			if (buffer_bytes(&buffer)[i] !=
			    (uint8_t)((begin + i) * 7))
				fail_msg("byte %zu of step %d", i, step);
	}
	assert_true(buffer.capacity < 1 << 20);
	buffer_fini(&buffer);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_zeroed_buffer_is_empty_and_owns_nothing),
		cmocka_unit_test(what_is_appended_follows_what_is_there),
		cmocka_unit_test(what_is_consumed_goes_from_the_front),
		cmocka_unit_test(truncating_keeps_the_front),
		cmocka_unit_test(reserved_room_counts_once_it_is_extended),
		cmocka_unit_test(
			a_formatted_text_may_fill_the_room_to_the_byte),
		cmocka_unit_test(
			an_emptied_buffer_gives_much_memory_back_and_keeps_a_little),
		cmocka_unit_test(
			any_order_of_appending_and_consuming_keeps_the_bytes),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
