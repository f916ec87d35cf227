/* Messages over a channel: their order, their descriptors, and how many may
 * wait. */
#include "channel_bench.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

/* ---- Order ---- */

static void messages_arrive_in_order(void **state)
{
	(void)state;
	open_both();
	ping(&here, 1);
	assert_int_equal(send_text(&here, "one"), 0);
	assert_int_equal(send_text(&here, ""), 0);
	pong(&here, 2);
	assert_int_equal(send_text(&here, "three"), 0);
	AWAIT(&bench, there.messages == 5);
	assert_string_equal(there.told, "PING 1\none\n\nPONG 2\nthree\n");
}

static void messages_of_any_length_arrive_in_order(void **state)
{
	(void)state;
	size_t sum = 0;
	uint32_t random = 3;

	open_both();
	for (int i = 0; i < 400; i++) {
		random = random * 1664525 + 1013904223;
		size_t length = (random >> 10) % (i % 10 == 0 ? 200000 : 3000);

		if (send_much(&here, length, (uint8_t)i) == 1)
			AWAIT(&bench, here.drained > 0);
		here.drained = 0;
		sum += length;
	}
	AWAIT(&bench, there.messages == 400);
	assert_int_equal(there.bytes, sum);
}

static void frames_may_come_byte_by_byte(void **state)
{
	(void)state;
	uint8_t bytes[256];
	struct message message = { .type = MESSAGE_LISTEN,
				   .listen = { .request = 7,
					       .host = { "host", 4 } } };
	size_t length = message_bytes(&message);

	open_side(&here, &ends[0]);
	message_encode(&message, 0, bytes);
	for (int round = 0; round < 3; round++) {
		for (size_t i = 0; i < length; i++) {
			assert_int_equal(here.messages, round);
			send_raw(bytes + i, 1);
			loop_bench_settle(&bench);
		}
	}
	assert_string_equal(here.told, "LISTEN 7\nLISTEN 7\nLISTEN 7\n");
}

static void content_at_the_limit_arrives(void **state)
{
	(void)state;
	open_both();
	assert_int_equal(send_much(&here, FRAME_PAYLOAD_MAX, 5), 1);
	assert_int_equal(send_text(&here, "after"), 1);
	AWAIT(&bench, there.messages == 2);
	assert_int_equal(there.bytes, FRAME_PAYLOAD_MAX + 5);
	uint32_t sum = 0;

	for (size_t i = 0; i < FRAME_PAYLOAD_MAX; i += 97)
		sum = sum * 31 + (uint8_t)(5 + i * 13);
	assert_int_equal(there.sum, sum * 31 + 'a');
	AWAIT(&bench, here.drained == 1);
}

static void
what_was_sent_last_arrives_though_the_channel_is_closed(void **state)
{
	(void)state;
	open_both();
	assert_int_equal(send_text(&here, "goodbye"), 0);
	close_side(&here);
	AWAIT(&bench, there.ends > 0);
	assert_string_equal(there.told, "goodbye\n");
	assert_int_equal(there.problem.code, 0);
}

/* ---- Descriptors ---- */

static void descriptors_come_with_their_message(void **state)
{
	(void)state;
	uint64_t numbers[130];
	size_t sent = 0;

	open_both();
	for (size_t i = 0; i < 10; i++) {
		int list[64];

		for (size_t j = 0; j < i * 3 % 20; j++) {
			list[j] = open_file();
			numbers[sent++] = number_of(list[j]);
		}
		assert_int_equal(channel_send_content(here.channel, "c", 1,
						      list, i * 3 % 20),
				 0);
		int one = open_file();

		numbers[sent++] = number_of(one);
		channel_send(here.channel,
			     &(struct message){ .type = MESSAGE_CONNECTION },
			     one);
	}
	AWAIT(&bench, there.messages == 20);
	assert_int_equal(there.kept_count, sent);
	for (size_t i = 0; i < sent; i++)
		assert_true(number_of(there.kept[i]) == numbers[i]);
	assert_int_equal(fcntl(there.kept[0], F_GETFD), FD_CLOEXEC);
}

static void the_descriptors_of_a_send_that_failed_are_closed_once(void **state)
{
	(void)state;
	static uint8_t content[300000];
	int list[3];

	open_side(&here, &ends[0]);
	close(ends[1]);
	ends[1] = -1;
	for (size_t i = 0; i < 3; i++)
		list[i] = open_file();
	/* It was taken, so they were; the end tells that it got lost. */
	assert_int_equal(channel_send_content(here.channel, content,
					      sizeof(content), list, 3),
			 0);
	AWAIT(&bench, here.ends > 0);
	for (size_t i = 0; i < 3; i++)
		assert_int_equal(fcntl(list[i], F_GETFD), FD_CLOEXEC);
	close_side(&here);
	for (size_t i = 0; i < 3; i++)
		assert_int_equal(fcntl(list[i], F_GETFD), -1);
}

static void a_message_that_is_refused_leaves_its_descriptors(void **state)
{
	(void)state;
	int one = open_file();

	open_side(&here, &ends[0]);
	while (send_much(&here, FRAME_PAYLOAD_MAX, 0) >= 0)
		;
	size_t queued = channel_queued_bytes(here.channel);

	assert_int_equal(
		channel_send_content(here.channel, here.told, sizeof(here.told),
				     &one, 1),
		queued + sizeof(here.told) > CHANNEL_QUEUE_MAX ? -ENOBUFS : 1);
	assert_int_equal(fcntl(one, F_GETFD), FD_CLOEXEC);
	if (queued + sizeof(here.told) > CHANNEL_QUEUE_MAX)
		close(one);
}

/* ---- Back-pressure ---- */

static void
a_sender_is_told_when_it_is_too_fast_and_when_it_may_go_on(void **state)
{
	(void)state;
	int answer;
	size_t sent = 0;

	open_side(&here, &ends[0]);
	while ((answer = send_much(&here, 50000, 0)) == 0)
		sent++;
	assert_int_equal(answer, 1);
	assert_true(sent > 2);
	assert_true(channel_queued_bytes(here.channel) > CHANNEL_BUSY_BYTES);
	loop_bench_settle(&bench);
	assert_int_equal(here.drained, 0);
	AWAIT(&bench, (empty(ends[1]), here.drained > 0));
	assert_int_equal(channel_queued_bytes(here.channel), 0);
	assert_int_equal(send_text(&here, "small"), 0);
	loop_bench_settle(&bench);
	assert_int_equal(here.drained, 1);
}

static void a_queue_has_a_limit(void **state)
{
	(void)state;
	size_t sent = 0;
	int answer;

	open_side(&here, &ends[0]);
	while ((answer = send_much(&here, 1000000, 0)) >= 0)
		sent += 1000000;
	assert_int_equal(answer, -ENOBUFS);
	assert_in_range(sent, CHANNEL_QUEUE_MAX - 1000000,
			CHANNEL_QUEUE_MAX + 1000000);
	assert_true(channel_queued_bytes(here.channel) <=
		    CHANNEL_QUEUE_MAX + 1000);
	/* What was accepted is not lost. */
	open_side(&there, &ends[1]);
	AWAIT(&bench, there.bytes == sent);
	AWAIT(&bench, here.drained == 1);
}

#define TEST(name)                                                             \
	cmocka_unit_test_setup_teardown(name, channel_set_up, channel_tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(messages_arrive_in_order),
		TEST(messages_of_any_length_arrive_in_order),
		TEST(frames_may_come_byte_by_byte),
		TEST(content_at_the_limit_arrives),
		TEST(what_was_sent_last_arrives_though_the_channel_is_closed),
		TEST(descriptors_come_with_their_message),
		TEST(the_descriptors_of_a_send_that_failed_are_closed_once),
		TEST(a_message_that_is_refused_leaves_its_descriptors),
		TEST(a_sender_is_told_when_it_is_too_fast_and_when_it_may_go_on),
		TEST(a_queue_has_a_limit),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
