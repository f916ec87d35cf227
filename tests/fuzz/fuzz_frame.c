/*
 * Any bytes as what comes over a channel. Read frame by frame, whatever is
 * understood is written again as the same bytes. Sent through a real channel
 * in two pieces, the same messages are told in the same order, and the same
 * frame is refused for the same reason.
 *
 * The first byte says where it is cut.
 */
#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/mem.h"
#include "base/must.h"
#include "cluster/channel.h"
#include "wire/messages.h"

/* A socket takes as much at once. */
#define LENGTH_MAX 65536

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length);

/* What was told: how much of what, and how it ended. */
struct told {
	size_t messages;
	uint32_t sum;
	int code; /* of the frame that was refused, else 0 */
	bool has_ended;
};

static void add(struct told *told, const void *bytes, size_t length)
{
	const uint8_t *at = bytes;

	for (size_t i = 0; i < length; i++)
		told->sum = told->sum * 31 + at[i];
}

/* A message is known by the bytes that say it. */
static void tell(struct told *told, const struct message *message)
{
	size_t length = message_bytes(message);
	uint8_t *bytes = mem_alloc(length);

	message_encode(message, 0, bytes);
	add(told, bytes, length);
	told->messages++;
	free(bytes);
}

/* ---- Frame by frame ---- */

static void check_same(const struct frame *frame, const struct message *message)
{
	size_t length = message_bytes(message);
	uint8_t *bytes = mem_alloc(length);

	MUST(length == frame_bytes(frame));
	message_encode(message, frame->descriptors, bytes);
	MUST(memcmp(bytes, frame->payload - FRAME_HEAD_BYTES, length) == 0);
	free(bytes);
}

/* False: there are no more. */
static bool read_frame(struct told *told, const uint8_t *bytes, size_t length,
		       size_t *used)
{
	struct frame frame;
	struct message message;
	int answer = frame_read(bytes, length, &frame);

	if (answer == FRAME_MORE) {
		MUST(frame.payload == NULL);
		MUST(length < FRAME_HEAD_BYTES || length < frame_bytes(&frame));
		/* The end comes in the middle of it. */
		told->code = length > 0 ? -EPROTO : 0;
		return false;
	}
	if (answer == FRAME_OK) {
		MUST(frame.payload == bytes + FRAME_HEAD_BYTES);
		MUST(frame_bytes(&frame) <= length);
		answer = frame.descriptors > 0
				 ? -EBADF
				 : message_decode(&frame, &message);
	}
	if (answer < 0) {
		told->code = answer;
		return false;
	}
	check_same(&frame, &message);
	tell(told, &message);
	*used = frame_bytes(&frame);
	return true;
}

static struct told read_frames(const uint8_t *bytes, size_t length)
{
	struct told told = { 0 };
	size_t used;

	while (read_frame(&told, bytes, length, &used)) {
		bytes += used;
		length -= used;
	}
	return told;
}

/* With descriptors, which a frame alone may have. */
static void check_with_descriptors(const uint8_t *bytes, size_t length)
{
	struct frame frame;
	struct message message;

	if (frame_read(bytes, length, &frame) == FRAME_OK &&
	    message_decode(&frame, &message) == 0)
		check_same(&frame, &message);
}

/* ---- Through a channel ---- */

static void on_message(void *owner, const struct message *message,
		       struct channel_descriptors *descriptors)
{
	MUST(descriptors->count == 0);
	tell(owner, message);
}

static void on_end(void *owner, const struct problem *problem)
{
	struct told *told = owner;

	MUST(!told->has_ended);
	told->has_ended = true;
	told->code = problem->code;
}

static void on_drained(void *owner, bool was_busy)
{
	(void)owner;
	(void)was_busy;
}

static const struct channel_events events = { on_message, on_end, on_drained };

static void send_all(int descriptor, const uint8_t *bytes, size_t length)
{
	if (length > 0)
		MUST(send(descriptor, bytes, length, MSG_NOSIGNAL) ==
		     (ssize_t)length);
}

static struct told send_in_two(const uint8_t *bytes, size_t length, size_t cut)
{
	static struct log log = { LOG_OFF, NULL };
	static struct loop *loop;
	struct told told = { 0 };
	int ends[2];

	if (loop == NULL)
		loop = loop_new(&log);
	MUST(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0,
			ends) == 0);
	struct channel *channel = channel_open(loop, ends[0], &events, &told);

	channel_start(channel);
	send_all(ends[1], bytes, cut);
	loop_turn(loop);
	if (!told.has_ended)
		send_all(ends[1], bytes + cut, length - cut);
	shutdown(ends[1], SHUT_WR);
	while (!told.has_ended)
		loop_turn(loop);
	channel_close(channel);
	close(ends[1]);
	loop_turn(loop);
	return told;
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length)
{
	if (length == 0 || length > LENGTH_MAX)
		return 0;
	size_t cut = (length - 1) * bytes[0] / 255;

	bytes++;
	length--;
	check_with_descriptors(bytes, length);
	struct told whole = read_frames(bytes, length);
	struct told parts = send_in_two(bytes, length, cut);

	MUST(whole.messages == parts.messages && whole.sum == parts.sum);
	MUST(whole.code == parts.code);
	return 0;
}
