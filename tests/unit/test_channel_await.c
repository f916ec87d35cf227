/* Waiting for one message, and for what is left of a worker that has exited. */
#include "channel_bench.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/mem.h"

/* ---- Waiting for one message ---- */

static void awaiting_one_message_keeps_the_others_in_order(void **state)
{
	(void)state;
	open_both();
	ping(&there, 1);
	channel_send(there.channel,
		     &(struct message){ .type = MESSAGE_CONNECTION },
		     open_file());
	pong(&there, 3);
	ping(&there, 4);
	assert_int_equal(channel_flush(there.channel), 0);
	assert_int_equal(await(&here, MESSAGE_PONG, 1000), 0);
	assert_string_equal(here.told, "awaited\nPONG 3\n");
	ping(&there, 5);
	AWAIT(&bench, here.messages == 5);
	assert_string_equal(here.told, "awaited\nPONG 3\nPING 1\n"
				       "CONNECTION 0\nPING 4\nPING 5\n");
	assert_int_equal(here.kept_count, 1);
}

static void awaiting_within_a_callback_keeps_the_others_in_order(void **state)
{
	(void)state;
	open_both();
	here.awaits = MESSAGE_PONG;
	ping(&there, 1);
	send_text(&there, "two");
	pong(&there, 3);
	send_text(&there, "four");
	channel_send(there.channel,
		     &(struct message){ .type = MESSAGE_CONNECTION },
		     open_file());
	AWAIT(&bench, here.messages == 5);
	assert_int_equal(here.await_answer, 0);
	assert_string_equal(here.told, "PING 1\nawaited\nPONG 3\ntwo\nfour\n"
				       "CONNECTION 0\n");
	assert_false(here.was_called_within);
	assert_int_equal(here.kept_count, 1);
}

static void what_follows_an_awaited_message_is_kept_as_well(void **state)
{
	(void)state;
	open_both();
	here.awaits = MESSAGE_PONG;
	ping(&there, 1);
	pong(&there, 2);
	send_text(&there, "three");
	ping(&there, 4);
	AWAIT(&bench, here.messages == 4);
	assert_string_equal(here.told,
			    "PING 1\nawaited\nPONG 2\nthree\nPING 4\n");
	assert_false(here.was_called_within);
}

static void awaiting_within_a_callback_finds_what_comes_later(void **state)
{
	(void)state;
	uint8_t bytes[3][128];
	size_t lengths[3];
	struct message list[3] = {
		{ .type = MESSAGE_PING, .ping = { 1 } },
		{ .type = MESSAGE_PING, .ping = { 2 } },
		{ .type = MESSAGE_PONG, .pong = { 3 } },
	};

	open_side(&here, &ends[0]);
	here.awaits = MESSAGE_PONG;
	for (int i = 0; i < 3; i++) {
		lengths[i] = message_bytes(&list[i]);
		message_encode(&list[i], 0, bytes[i]);
	}
	/* The first with the beginning of the second, whose rest comes while
	 * the first one's callback waits. */
	send_raw(bytes[0], lengths[0]);
	send_raw(bytes[1], 5);
	late_descriptor = dup(ends[1]);
	late_bytes = bytes[1] + 5;
	late_length = lengths[1] - 5;
	memcpy(bytes[1] + lengths[1], bytes[2], lengths[2]);
	late_length += lengths[2];
	AWAIT(&bench, here.messages == 3);
	assert_string_equal(here.told, "PING 1\nawaited\nPONG 3\nPING 2\n");
}

static void
a_message_that_does_not_come_is_waited_for_until_the_deadline(void **state)
{
	(void)state;
	open_both();
	ping(&there, 1);
	assert_int_equal(channel_flush(there.channel), 0);
	int64_t before = clock_ms();

	assert_int_equal(await(&here, MESSAGE_PONG, 30), -ETIMEDOUT);
	assert_true(clock_ms() - before >= 29);
	assert_int_equal(here.messages, 0);
	AWAIT(&bench, here.messages == 1);
	/* Nobody waits for it any more. */
	pong(&there, 2);
	AWAIT(&bench, here.messages == 2);
	assert_string_equal(here.told, "PING 1\nPONG 2\n");
}

static void a_message_of_the_type_may_be_another_one(void **state)
{
	(void)state;
	open_both();
	here.passes_over = 2;
	for (uint32_t i = 1; i <= 4; i++)
		pong(&there, i);
	assert_int_equal(channel_flush(there.channel), 0);
	assert_int_equal(await(&here, MESSAGE_PONG, 1000), 0);
	assert_string_equal(here.told, "awaited\nPONG 3\n");
	AWAIT(&bench, here.messages == 2);
	here.passes_over = 1;
	pong(&there, 5);
	assert_int_equal(channel_flush(there.channel), 0);
	assert_int_equal(await(&here, MESSAGE_PONG, 20), -ETIMEDOUT);
}

static void awaiting_ends_with_the_channel(void **state)
{
	(void)state;
	open_side(&here, &ends[0]);
	close(ends[1]);
	ends[1] = -1;
	assert_int_equal(await(&here, MESSAGE_PONG, 1000), -EPIPE);
	assert_int_equal(here.ends, 1);
	assert_int_equal(await(&here, MESSAGE_PONG, 1000), -EPIPE);
}

static void a_channel_may_be_closed_while_it_is_awaited(void **state)
{
	(void)state;
	open_side(&here, &ends[0]);
	here.closes_on_end = true;
	close(ends[1]);
	ends[1] = -1;
	assert_int_equal(await(&here, MESSAGE_PONG, 1000), -EPIPE);
	assert_null(here.channel);
}

static void a_broken_frame_ends_what_awaits(void **state)
{
	(void)state;
	open_side(&here, &ends[0]);
	here.closes_on_end = true;
	send_raw_head(0, 999, 0);
	assert_int_equal(await(&here, MESSAGE_PONG, 1000), -EPIPE);
	assert_null(here.channel);
	assert_string_equal(here.problem.name, "FRAME_UNKNOWN");
}

static void a_channel_may_be_closed_while_kept_messages_are_told(void **state)
{
	(void)state;
	open_both();
	ping(&there, 1);
	channel_send(there.channel,
		     &(struct message){ .type = MESSAGE_CONNECTION },
		     open_file());
	pong(&there, 3);
	assert_int_equal(channel_flush(there.channel), 0);
	assert_int_equal(await(&here, MESSAGE_PONG, 1000), 0);
	here.closes_on_message = true;
	AWAIT(&bench, here.channel == NULL);
	loop_bench_settle(&bench);
	assert_string_equal(here.told, "awaited\nPONG 3\nPING 1\n");
}

static void
a_channel_closed_before_kept_messages_are_told_forgets_them(void **state)
{
	(void)state;
	open_both();
	channel_send(there.channel,
		     &(struct message){ .type = MESSAGE_CONNECTION },
		     open_file());
	pong(&there, 3);
	assert_int_equal(channel_flush(there.channel), 0);
	assert_int_equal(await(&here, MESSAGE_PONG, 1000), 0);
	close_side(&here);
	loop_bench_settle(&bench);
	assert_int_equal(here.messages, 1);
}

/* Answers once it has read all that comes before a PING. */
static void *answer_late(void *arg)
{
	int *descriptor = arg;
	static uint8_t bytes[65536];
	size_t left = 2000000 + FRAME_HEAD_BYTES + FRAME_HEAD_BYTES + 4;
	uint8_t reply[64];

	while (left > 0) {
		struct pollfd wait = { .fd = *descriptor, .events = POLLIN };

		if (poll(&wait, 1, 20000) <= 0)
			return NULL;
		ssize_t length = recv(*descriptor, bytes, sizeof(bytes), 0);

		if (length <= 0)
			return NULL;
		left -= (size_t)length;
	}
	message_encode(&(struct message){ .type = MESSAGE_PONG, .pong = { 5 } },
		       0, reply);
	send(*descriptor, reply, FRAME_HEAD_BYTES + 4, MSG_NOSIGNAL);
	return NULL;
}

static void what_is_queued_is_sent_while_the_answer_is_awaited(void **state)
{
	(void)state;
	pthread_t thread;

	open_side(&here, &ends[0]);
	assert_int_equal(send_much(&here, 2000000, 0), 1);
	ping(&here, 1);
	assert_int_equal(pthread_create(&thread, NULL, answer_late, &ends[1]),
			 0);
	assert_int_equal(await(&here, MESSAGE_PONG, 10000), 0);
	pthread_join(thread, NULL);
	assert_string_equal(here.told, "awaited\nPONG 5\n");
}

/* ---- What is left of a worker that has exited ---- */

static void what_was_said_last_is_drained(void **state)
{
	(void)state;
	open_both();
	for (uint32_t i = 0; i < 5; i++)
		ping(&there, i);
	send_much(&there, 150000, 0);
	assert_int_equal(channel_flush(there.channel), 0);
	close_side(&there);
	channel_drain(here.channel);
	assert_int_equal(here.messages, 6);
	assert_int_equal(here.ends, 1);
	channel_drain(here.channel);
	assert_int_equal(here.ends, 1);
}

static void a_channel_may_be_closed_while_it_is_drained(void **state)
{
	(void)state;
	open_both();
	for (uint32_t i = 0; i < 5; i++)
		ping(&there, i);
	assert_int_equal(channel_flush(there.channel), 0);
	here.closes_on_message = true;
	channel_drain(here.channel);
	assert_null(here.channel);
	assert_int_equal(here.messages, 1);
}

/* A child of a worker that has exited may hold the channel and go on. */
static void *talk_without_end(void *arg)
{
	int *descriptor = arg;
	static const uint8_t zeroes[65536]; /* becomes empty MESSAGEs */
	uint8_t *frames = mem_alloc(sizeof(zeroes));
	int64_t deadline = clock_ms() + 20000;

	for (size_t at = 0; at < sizeof(zeroes); at += FRAME_HEAD_BYTES)
		frame_write_head(frames + at, MESSAGE_MESSAGE, 0, 0);
	size_t at = 0;

	while (clock_ms() < deadline) {
		struct pollfd wait = { .fd = *descriptor, .events = POLLOUT };
		ssize_t sent = send(*descriptor, frames + at,
				    sizeof(zeroes) - at, MSG_NOSIGNAL);

		if (sent < 0 && errno == EAGAIN)
			poll(&wait, 1, 100);
		else if (sent < 0)
			break;
		else
			at = (at + (size_t)sent) % sizeof(zeroes);
	}
	free(frames);
	return NULL;
}

static void draining_ends_though_somebody_goes_on_talking(void **state)
{
	(void)state;
	pthread_t thread;
	int64_t before = clock_ms();

	open_side(&here, &ends[0]);
	assert_int_equal(
		pthread_create(&thread, NULL, talk_without_end, &ends[1]), 0);
	AWAIT(&bench, here.messages > 0);
	channel_drain(here.channel);
	close_side(&here);
	pthread_join(thread, NULL);
	assert_true(clock_ms() - before < 19000);
}

#define TEST(name)                                                             \
	cmocka_unit_test_setup_teardown(name, channel_set_up, channel_tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(awaiting_one_message_keeps_the_others_in_order),
		TEST(awaiting_within_a_callback_keeps_the_others_in_order),
		TEST(what_follows_an_awaited_message_is_kept_as_well),
		TEST(awaiting_within_a_callback_finds_what_comes_later),
		TEST(a_message_that_does_not_come_is_waited_for_until_the_deadline),
		TEST(a_message_of_the_type_may_be_another_one),
		TEST(awaiting_ends_with_the_channel),
		TEST(a_channel_may_be_closed_while_it_is_awaited),
		TEST(a_broken_frame_ends_what_awaits),
		TEST(a_channel_may_be_closed_while_kept_messages_are_told),
		TEST(a_channel_closed_before_kept_messages_are_told_forgets_them),
		TEST(what_is_queued_is_sent_while_the_answer_is_awaited),
		TEST(what_was_said_last_is_drained),
		TEST(a_channel_may_be_closed_while_it_is_drained),
		TEST(draining_ends_though_somebody_goes_on_talking),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
