/* Messages over a channel. The other side is a channel as well, or a bare
 * socket with bytes that no channel would send. */
#include "loop_bench.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/buffer.h"
#include "base/mem.h"
#include "cluster/channel.h"
#include "wire/messages.h"

/* A channel and what it told. */
struct side {
	struct channel *channel;
	char told[4096]; /* "PING 1", a line each; content as it is */
	size_t messages;
	size_t bytes;
	uint32_t sum; /* of all content */
	size_t ends;
	struct problem problem;
	size_t drained;
	int kept[256]; /* descriptors that were taken */
	size_t kept_count;
	bool closes_on_message;
	bool closes_on_end;
	bool closes_on_drained;
	enum message_type awaits; /* on a PING, within the callback */
	int await_answer;
	int passes_over; /* so many awaited messages are not the right one */
	bool is_calling;
	bool was_called_within; /* a callback while another one ran */
};

static struct loop_bench bench;
static struct side here;
static struct side there;
static int ends[2];

static void close_side(struct side *side)
{
	channel_close(side->channel);
	side->channel = NULL;
}

static void tell(struct side *side, const char *text, size_t length)
{
	size_t used = strlen(side->told);

	if (used + length + 2 > sizeof(side->told))
		return;
	memcpy(side->told + used, text, length);
	memcpy(side->told + used + length, "\n", 2);
}

static void take(struct side *side, struct channel_descriptors *descriptors)
{
	for (size_t i = 0; i < descriptors->count; i++) {
		assert_true(side->kept_count < 256);
		side->kept[side->kept_count++] = descriptors->list[i];
		descriptors->list[i] = -1;
	}
}

static void describe(struct side *side, const struct message *message)
{
	char line[64];

	side->messages++;
	if (message->type == MESSAGE_MESSAGE) {
		const struct message_rest *content = &message->message.content;

		side->bytes += content->length;
		for (size_t i = 0; i < content->length; i += 97)
			side->sum = side->sum * 31 + content->bytes[i];
		if (content->length < 100)
			tell(side, (const char *)content->bytes,
			     content->length);
		return;
	}
	/* All the others begin with a number. */
	int length =
		snprintf(line, sizeof(line), "%s %u",
			 message_name(message->type), message->ping.number);

	tell(side, line, (size_t)length);
}

static struct side *side_that_awaits;

/* Sent before the wait within a callback begins. */
static int late_descriptor = -1;
static const uint8_t *late_bytes;
static size_t late_length;

static bool on_awaited(void *owner, const struct message *message,
		       struct channel_descriptors *descriptors)
{
	assert_ptr_equal(owner, side_that_awaits);
	if (side_that_awaits->passes_over > 0) {
		side_that_awaits->passes_over--;
		return false;
	}
	tell(owner, "awaited", 7);
	describe(owner, message);
	take(owner, descriptors);
	return true;
}

static int await(struct side *side, enum message_type type, int timeout_ms)
{
	side_that_awaits = side;
	return channel_await(side->channel, type, timeout_ms, on_awaited);
}

static void on_message(void *owner, const struct message *message,
		       struct channel_descriptors *descriptors)
{
	struct side *side = owner;

	side->was_called_within |= side->is_calling;
	side->is_calling = true;
	describe(side, message);
	take(side, descriptors);
	if (side->awaits != 0 && message->type == MESSAGE_PING) {
		enum message_type type = side->awaits;
		uint32_t number = message->ping.number;

		side->awaits = 0;
		if (late_descriptor >= 0) {
			send(late_descriptor, late_bytes, late_length, 0);
			close(late_descriptor);
			late_descriptor = -1;
		}
		side->await_answer = await(side, type, 1000);
		/* What this callback was shown is still there. */
		assert_int_equal(message->ping.number, number);
	}
	if (side->closes_on_message && side->channel != NULL)
		close_side(side);
	side->is_calling = false;
}

static void on_end(void *owner, const struct problem *problem)
{
	struct side *side = owner;

	side->ends++;
	side->problem = *problem;
	if (side->closes_on_end)
		close_side(side);
}

static void on_drained(void *owner, bool was_busy)
{
	struct side *side = owner;

	(void)was_busy;
	side->drained++;
	if (side->closes_on_drained)
		close_side(side);
}

static const struct channel_events events = { on_message, on_end, on_drained };

static void open_side(struct side *side, int *end)
{
	side->channel = channel_open(bench.loop, *end, &events, side);
	*end = -1;
	channel_start(side->channel);
}

static void open_both(void)
{
	open_side(&here, &ends[0]);
	open_side(&there, &ends[1]);
}

static int set_up(void **state)
{
	(void)state;
	memset(&here, 0, sizeof(here));
	memset(&there, 0, sizeof(there));
	loop_bench_open(&bench);
	open_pair(ends);
	return 0;
}

static void close_kept(struct side *side)
{
	for (size_t i = 0; i < side->kept_count; i++)
		close(side->kept[i]);
	side->kept_count = 0;
}

static int tear_down(void **state)
{
	(void)state;
	close_side(&here);
	close_side(&there);
	close_kept(&here);
	close_kept(&there);
	for (int i = 0; i < 2; i++)
		if (ends[i] >= 0)
			close(ends[i]);
	loop_bench_close(&bench);
	return 0;
}

static void ping(struct side *side, uint32_t number)
{
	channel_send(
		side->channel,
		&(struct message){ .type = MESSAGE_PING, .ping = { number } },
		-1);
}

static void pong(struct side *side, uint32_t number)
{
	channel_send(
		side->channel,
		&(struct message){ .type = MESSAGE_PONG, .pong = { number } },
		-1);
}

static int send_text(struct side *side, const char *text)
{
	return channel_send_content(side->channel, text, strlen(text), NULL, 0);
}

static int send_much(struct side *side, size_t length, uint8_t seed)
{
	uint8_t *bytes = mem_alloc(length);

	for (size_t i = 0; i < length; i++)
		bytes[i] = (uint8_t)(seed + i * 13);
	int answer =
		channel_send_content(side->channel, bytes, length, NULL, 0);

	free(bytes);
	return answer;
}

static void empty(int descriptor)
{
	static uint8_t bytes[65536];

	while (recv(descriptor, bytes, sizeof(bytes), 0) > 0)
		;
}

/* Writes raw bytes to the bare socket. */
static void send_raw(const void *bytes, size_t length)
{
	assert_int_equal(send(ends[1], bytes, length, MSG_NOSIGNAL), length);
}

static void send_raw_head(uint32_t length, uint16_t type, uint16_t descriptors)
{
	uint8_t head[FRAME_HEAD_BYTES];

	for (int i = 0; i < 4; i++)
		head[i] = (uint8_t)(length >> (8 * i));
	head[4] = (uint8_t)type;
	head[5] = (uint8_t)(type >> 8);
	head[6] = (uint8_t)descriptors;
	head[7] = (uint8_t)(descriptors >> 8);
	send_raw(head, sizeof(head));
}

/* False: there is no room. */
static bool send_raw_descriptors(const void *bytes, size_t length, size_t count)
{
	union {
		struct cmsghdr head;
		char room[CMSG_SPACE(253 * sizeof(int))];
	} control = { 0 };
	struct iovec part = { .iov_base = (void *)(uintptr_t)bytes,
			      .iov_len = length };
	struct msghdr message = { .msg_iov = &part,
				  .msg_iovlen = 1,
				  .msg_control = &control,
				  .msg_controllen =
					  CMSG_SPACE(count * sizeof(int)) };
	int list[253];

	for (size_t i = 0; i < count; i++)
		list[i] = ends[1];
	control.head.cmsg_level = SOL_SOCKET;
	control.head.cmsg_type = SCM_RIGHTS;
	control.head.cmsg_len = CMSG_LEN(count * sizeof(int));
	memcpy(CMSG_DATA(&control.head), list, count * sizeof(int));
	return sendmsg(ends[1], &message, MSG_NOSIGNAL) == (ssize_t)length;
}

static void await_problem(const char *name, int code)
{
	AWAIT(&bench, here.ends > 0);
	assert_int_equal(here.problem.code, code);
	if (name != NULL)
		assert_string_equal(here.problem.name, name);
	loop_bench_settle(&bench);
	assert_int_equal(here.ends, 1);
}

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

/* ---- Frames that are none ---- */

static void a_frame_too_long_ends_the_channel(void **state)
{
	(void)state;
	open_side(&here, &ends[0]);
	send_raw_head(FRAME_PAYLOAD_MAX + 1, MESSAGE_MESSAGE, 0);
	await_problem("FRAME_TOO_LONG", -EMSGSIZE);
}

static void a_frame_of_no_type_ends_the_channel(void **state)
{
	(void)state;
	open_side(&here, &ends[0]);
	send_raw_head(0, 999, 0);
	await_problem("FRAME_UNKNOWN", -ENOMSG);
}

static void a_frame_too_short_for_its_fields_ends_the_channel(void **state)
{
	(void)state;
	open_side(&here, &ends[0]);
	send_raw_head(3, MESSAGE_PING, 0);
	send_raw("123", 3);
	await_problem("FRAME_MALFORMED", -EPROTO);
}

static void a_frame_with_bytes_after_its_fields_ends_the_channel(void **state)
{
	(void)state;
	open_side(&here, &ends[0]);
	send_raw_head(5, MESSAGE_PING, 0);
	send_raw("12345", 5);
	await_problem("FRAME_MALFORMED", -EPROTO);
}

static void
a_frame_that_claims_too_many_descriptors_ends_the_channel(void **state)
{
	(void)state;
	open_side(&here, &ends[0]);
	send_raw_head(0, MESSAGE_MESSAGE, FRAME_DESCRIPTORS_MAX + 1);
	await_problem("FRAME_DESCRIPTORS", -E2BIG);
}

static void
a_frame_whose_descriptors_did_not_come_ends_the_channel(void **state)
{
	(void)state;
	open_side(&here, &ends[0]);
	send_raw_head(0, MESSAGE_MESSAGE, 1);
	await_problem("FRAME_DESCRIPTORS", -EBADF);
	assert_int_equal(here.messages, 0);
}

static void descriptors_without_a_frame_end_the_channel(void **state)
{
	(void)state;
	open_side(&here, &ends[0]);
	send_raw_head(1000000, MESSAGE_MESSAGE, 64);
	size_t most = 0;

	for (int i = 0; i < 1000 && here.ends == 0; i++) {
		send_raw_descriptors("x", 1, 250);
		loop_turn(bench.loop);
		if (count_descriptors() > most)
			most = count_descriptors();
	}
	await_problem("FRAME_DESCRIPTORS", -EMFILE);
	assert_true(most < bench.descriptors + 800);
}

static void nothing_is_heard_after_a_broken_frame(void **state)
{
	(void)state;
	open_side(&here, &ends[0]);
	send_raw_head(0, 999, 0);
	send_raw_head(4, MESSAGE_PING, 0);
	send_raw("1234", 4);
	await_problem("FRAME_UNKNOWN", -ENOMSG);
	loop_bench_settle(&bench);
	assert_int_equal(here.messages, 0);
}

static void the_end_has_no_problem(void **state)
{
	(void)state;
	open_side(&here, &ends[0]);
	close(ends[1]);
	ends[1] = -1;
	await_problem(NULL, 0);
}

static void the_end_within_a_frame_is_named(void **state)
{
	(void)state;
	open_side(&here, &ends[0]);
	send_raw_head(100, MESSAGE_MESSAGE, 0);
	close(ends[1]);
	ends[1] = -1;
	await_problem("FRAME_CUT", -EPROTO);
}

static void a_peer_that_died_with_bytes_unread_has_no_problem(void **state)
{
	(void)state;
	open_side(&here, &ends[0]);
	ping(&here, 1);
	loop_bench_settle(&bench);
	close(ends[1]);
	ends[1] = -1;
	await_problem(NULL, 0);
}

/* ---- Closing within callbacks ---- */

static void a_channel_may_be_closed_when_a_message_comes(void **state)
{
	(void)state;
	open_both();
	there.closes_on_message = true;
	ping(&here, 1);
	channel_send(here.channel,
		     &(struct message){ .type = MESSAGE_CONNECTION },
		     open_file());
	ping(&here, 3);
	AWAIT(&bench, here.ends > 0);
	assert_int_equal(there.messages, 1);
	assert_int_equal(there.ends, 0);
}

static void a_channel_may_be_closed_when_a_frame_is_refused(void **state)
{
	(void)state;
	open_side(&here, &ends[0]);
	here.closes_on_end = true;
	send_raw_head(0, 999, 0);
	send_raw_head(0, 999, 0);
	AWAIT(&bench, here.channel == NULL);
	assert_int_equal(here.ends, 1);
}

static void a_channel_may_be_closed_at_a_flood_of_descriptors(void **state)
{
	(void)state;
	open_side(&here, &ends[0]);
	here.closes_on_end = true;
	send_raw_head(1000, MESSAGE_MESSAGE, 64);
	for (int i = 0; i < 10; i++)
		send_raw_descriptors("x", 1, 250);
	AWAIT(&bench, here.channel == NULL);
}

static void a_channel_may_be_closed_at_its_end(void **state)
{
	(void)state;
	open_both();
	there.closes_on_end = true;
	close_side(&here);
	AWAIT(&bench, there.channel == NULL);
}

static void a_channel_may_be_closed_when_it_has_drained(void **state)
{
	(void)state;
	open_side(&here, &ends[0]);
	here.closes_on_drained = true;
	while (send_much(&here, 50000, 0) == 0)
		;
	open_side(&there, &ends[1]);
	AWAIT(&bench, here.channel == NULL);
}

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

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

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
		TEST(a_frame_too_long_ends_the_channel),
		TEST(a_frame_of_no_type_ends_the_channel),
		TEST(a_frame_too_short_for_its_fields_ends_the_channel),
		TEST(a_frame_with_bytes_after_its_fields_ends_the_channel),
		TEST(a_frame_that_claims_too_many_descriptors_ends_the_channel),
		TEST(a_frame_whose_descriptors_did_not_come_ends_the_channel),
		TEST(descriptors_without_a_frame_end_the_channel),
		TEST(nothing_is_heard_after_a_broken_frame),
		TEST(the_end_has_no_problem),
		TEST(the_end_within_a_frame_is_named),
		TEST(a_peer_that_died_with_bytes_unread_has_no_problem),
		TEST(a_channel_may_be_closed_when_a_message_comes),
		TEST(a_channel_may_be_closed_when_a_frame_is_refused),
		TEST(a_channel_may_be_closed_at_a_flood_of_descriptors),
		TEST(a_channel_may_be_closed_at_its_end),
		TEST(a_channel_may_be_closed_when_it_has_drained),
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
