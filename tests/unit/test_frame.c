/* The head of a frame, at every boundary. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "wire/frame.h"

/* The bytes lie at the very end of a block of their own, for those who watch
 * for reads beyond it. */
static int read_frame(const uint8_t *bytes, size_t length, struct frame *frame)
{
	uint8_t *copy = mem_copy(bytes, length);
	int answer = frame_read(copy, length, frame);

	if (answer == FRAME_OK)
		assert_ptr_equal(frame->payload, copy + FRAME_HEAD_BYTES);
	else
		assert_null(frame->payload);
	free(copy);
	return answer;
}

static void a_frame_is_little_endian(void **state)
{
	(void)state;
	static const uint8_t bytes[] = { 3, 0, 0, 0, 0x34, 0x12,
					 2, 0, 7, 8, 9,    99 };
	struct frame frame;

	assert_int_equal(read_frame(bytes, sizeof(bytes), &frame), FRAME_OK);
	assert_int_equal(frame.length, 3);
	assert_int_equal(frame.type, 0x1234);
	assert_int_equal(frame.descriptors, 2);
	assert_int_equal(frame_bytes(&frame), 11);
}

static void a_head_that_is_not_complete_tells_nothing(void **state)
{
	(void)state;
	static const uint8_t bytes[FRAME_HEAD_BYTES] = { 0xff, 0xff, 0xff, 0xff,
							 0xff, 0xff, 0xff };
	struct frame frame;

	for (size_t length = 0; length < FRAME_HEAD_BYTES; length++) {
		assert_int_equal(read_frame(bytes, length, &frame), FRAME_MORE);
		assert_int_equal(frame.length, 0);
	}
}

static void
a_payload_that_is_not_complete_tells_how_long_it_will_be(void **state)
{
	(void)state;
	uint8_t bytes[FRAME_HEAD_BYTES + 20] = { 0 };
	struct frame frame;

	frame_write_head(bytes, 14, 0, 20);
	for (size_t length = FRAME_HEAD_BYTES; length < sizeof(bytes);
	     length++) {
		assert_int_equal(read_frame(bytes, length, &frame), FRAME_MORE);
		assert_int_equal(frame.length, 20);
		assert_int_equal(frame.type, 14);
	}
	assert_int_equal(read_frame(bytes, sizeof(bytes), &frame), FRAME_OK);
}

static void an_empty_payload_is_a_frame(void **state)
{
	(void)state;
	uint8_t bytes[FRAME_HEAD_BYTES];
	struct frame frame;

	frame_write_head(bytes, 14, 0, 0);
	assert_int_equal(read_frame(bytes, sizeof(bytes), &frame), FRAME_OK);
	assert_int_equal(frame_bytes(&frame), FRAME_HEAD_BYTES);
}

static void a_length_at_the_limit_passes_and_one_more_does_not(void **state)
{
	(void)state;
	uint8_t bytes[FRAME_HEAD_BYTES];
	struct frame frame;

	frame_write_head(bytes, 14, 0, FRAME_PAYLOAD_MAX);
	assert_int_equal(read_frame(bytes, sizeof(bytes), &frame), FRAME_MORE);
	assert_int_equal(frame.length, FRAME_PAYLOAD_MAX);

	bytes[0]++;
	assert_int_equal(read_frame(bytes, sizeof(bytes), &frame), -EMSGSIZE);
	memset(bytes, 0xff, 4);
	assert_int_equal(read_frame(bytes, sizeof(bytes), &frame), -EMSGSIZE);
	assert_int_equal(frame.length, UINT32_MAX);
}

static void descriptors_at_the_limit_pass_and_one_more_does_not(void **state)
{
	(void)state;
	uint8_t bytes[FRAME_HEAD_BYTES];
	struct frame frame;

	frame_write_head(bytes, 14, FRAME_DESCRIPTORS_MAX, 0);
	assert_int_equal(read_frame(bytes, sizeof(bytes), &frame), FRAME_OK);
	assert_int_equal(frame.descriptors, FRAME_DESCRIPTORS_MAX);

	bytes[6]++;
	assert_int_equal(read_frame(bytes, sizeof(bytes), &frame), -E2BIG);
	bytes[7] = 0xff;
	assert_int_equal(read_frame(bytes, sizeof(bytes), &frame), -E2BIG);
}

static void a_head_is_read_as_it_was_written(void **state)
{
	(void)state;
	static const uint32_t lengths[] = {
		0, 1, 255, 256, 65535, 65536, FRAME_PAYLOAD_MAX
	};
	static const uint16_t types[] = { 0, 1, 255, 256, 65535 };

	for (size_t i = 0; i < 7; i++) {
		for (size_t j = 0; j < 5; j++) {
			uint8_t bytes[FRAME_HEAD_BYTES];
			struct frame frame;

			frame_write_head(bytes, types[j], (uint16_t)(i * 10),
					 lengths[i]);
			assert_int_equal(
				read_frame(bytes, sizeof(bytes), &frame),
				lengths[i] == 0 ? FRAME_OK : FRAME_MORE);
			assert_int_equal(frame.length, lengths[i]);
			assert_int_equal(frame.type, types[j]);
			assert_int_equal(frame.descriptors, i * 10);
		}
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_frame_is_little_endian),
		cmocka_unit_test(a_head_that_is_not_complete_tells_nothing),
		cmocka_unit_test(
			a_payload_that_is_not_complete_tells_how_long_it_will_be),
		cmocka_unit_test(an_empty_payload_is_a_frame),
		cmocka_unit_test(
			a_length_at_the_limit_passes_and_one_more_does_not),
		cmocka_unit_test(
			descriptors_at_the_limit_pass_and_one_more_does_not),
		cmocka_unit_test(a_head_is_read_as_it_was_written),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
