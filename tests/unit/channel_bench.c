#include "channel_bench.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/mem.h"

struct loop_bench bench;
struct side here;
struct side there;
int ends[2];
int late_descriptor = -1;
const uint8_t *late_bytes;
size_t late_length;

void close_side(struct side *side)
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

int await(struct side *side, enum message_type type, int timeout_ms)
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

void open_side(struct side *side, int *end)
{
	side->channel = channel_open(bench.loop, *end, &events, side);
	*end = -1;
	channel_start(side->channel);
}

void open_both(void)
{
	open_side(&here, &ends[0]);
	open_side(&there, &ends[1]);
}

int channel_set_up(void **state)
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

int channel_tear_down(void **state)
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

void ping(struct side *side, uint32_t number)
{
	channel_send(
		side->channel,
		&(struct message){ .type = MESSAGE_PING, .ping = { number } },
		-1);
}

void pong(struct side *side, uint32_t number)
{
	channel_send(
		side->channel,
		&(struct message){ .type = MESSAGE_PONG, .pong = { number } },
		-1);
}

int send_text(struct side *side, const char *text)
{
	return channel_send_content(side->channel, text, strlen(text), NULL, 0);
}

int send_much(struct side *side, size_t length, uint8_t seed)
{
	uint8_t *bytes = mem_alloc(length);

	for (size_t i = 0; i < length; i++)
		bytes[i] = (uint8_t)(seed + i * 13);
	int answer =
		channel_send_content(side->channel, bytes, length, NULL, 0);

	free(bytes);
	return answer;
}

void empty(int descriptor)
{
	static uint8_t bytes[65536];

	while (recv(descriptor, bytes, sizeof(bytes), 0) > 0)
		;
}

void send_raw(const void *bytes, size_t length)
{
	assert_int_equal(send(ends[1], bytes, length, MSG_NOSIGNAL), length);
}

void send_raw_head(uint32_t length, uint16_t type, uint16_t descriptors)
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

bool send_raw_descriptors(const void *bytes, size_t length, size_t count)
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

void await_problem(const char *name, int code)
{
	AWAIT(&bench, here.ends > 0);
	assert_int_equal(here.problem.code, code);
	if (name != NULL)
		assert_string_equal(here.problem.name, name);
	loop_bench_settle(&bench);
	assert_int_equal(here.ends, 1);
}
