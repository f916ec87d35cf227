#include "cluster/channel.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/buffer.h"
#include "base/mem.h"
#include "base/must.h"
#include "loop/fdstream.h"

/* Descriptors that came before their frame has; more is an attack. */
#define WAITING_DESCRIPTORS_MAX ((size_t)2 * FDSTREAM_BATCH)

/* A message that came while another one was awaited. */
struct kept {
	struct list link;
	struct channel_descriptors descriptors;
	struct frame frame;
	uint8_t payload[];
};

/* What a parse has yet to look at. */
struct cursor {
	const uint8_t *at;
	size_t left;
};

struct channel {
	struct fdstream *stream;
	struct loop *loop;
	struct buffer in; /* the beginning of a frame that is not complete */
	struct cursor *cursor; /* of the parse that is under way; else NULL */
	struct list kept;
	struct loop_task replay; /* hands out what was kept */
	bool is_busy;            /* the sender was told so */
	bool is_closed;
	bool is_in_use; /* the memory must outlive a close in a callback */
	bool has_ended;
	bool is_awaiting;          /* the rest is kept, until that returns */
	enum message_type awaited; /* 0: it has come, or none is */
	channel_handle_fn on_awaited;
	const struct channel_events *events;
	void *owner;
};

static void free_memory(struct channel *channel)
{
	buffer_fini(&channel->in);
	free(channel);
}

/* Callbacks may close the channel from here on, and nest. */
static bool begin_use(struct channel *channel)
{
	bool was_in_use = channel->is_in_use;

	channel->is_in_use = true;
	return was_in_use;
}

/* False: it was closed meanwhile, and the memory may be gone. */
static bool end_use(struct channel *channel, bool was_in_use)
{
	bool is_open = !channel->is_closed;

	channel->is_in_use = was_in_use;
	if (!is_open && !was_in_use)
		free_memory(channel);
	return is_open;
}

static void close_descriptors(struct channel_descriptors *descriptors)
{
	for (size_t i = 0; i < descriptors->count; i++)
		if (descriptors->list[i] >= 0)
			close(descriptors->list[i]);
}

static void end(struct channel *channel, const struct problem *problem)
{
	if (channel->has_ended || channel->is_closed)
		return;
	channel->has_ended = true;
	channel->events->on_end(channel->owner, problem);
}

static void refuse(struct channel *channel, const struct frame *frame,
		   int error)
{
	struct problem problem = { 0 };
	const char *name = "FRAME_MALFORMED";
	const char *what = "its payload is shorter or longer than its fields";

	if (error == -EMSGSIZE) {
		name = "FRAME_TOO_LONG";
		what = "its payload is over 16 MiB";
	} else if (error == -E2BIG) {
		name = "FRAME_DESCRIPTORS";
		what = "it claims too many descriptors";
	} else if (error == -EBADF) {
		name = "FRAME_DESCRIPTORS";
		what = "its descriptors did not come with it";
	} else if (error == -ENOMSG) {
		name = "FRAME_UNKNOWN";
		what = "nobody knows its type";
	} else if (error == -EMFILE) {
		name = "FRAME_DESCRIPTORS";
		what = "descriptors came without a frame";
	}
	problem_set(&problem, error, name,
		    "a frame of type %u (%s) with %u bytes was refused: %s",
		    frame->type, message_name(frame->type), frame->length,
		    what);
	end(channel, &problem);
}

static void keep(struct channel *channel, const struct frame *frame,
		 struct channel_descriptors *descriptors)
{
	struct message message;
	int error = message_decode(frame, &message);

	if (error < 0) {
		/* Whoever waits is told now, not by the deadline. */
		close_descriptors(descriptors);
		refuse(channel, frame, error);
		return;
	}
	struct kept *kept = mem_alloc(sizeof(*kept) + frame->length);

	memset(&kept->link, 0, sizeof(kept->link));
	kept->descriptors = *descriptors;
	kept->frame = *frame;
	if (frame->length > 0)
		memcpy(kept->payload, frame->payload, frame->length);
	kept->frame.payload = kept->payload;
	list_add_last(&channel->kept, &kept->link);
	loop_defer(channel->loop, &channel->replay);
}

static void hand_out(struct channel *channel, const struct frame *frame,
		     struct channel_descriptors *descriptors)
{
	struct message message;
	int error = message_decode(frame, &message);

	if (error < 0) {
		refuse(channel, frame, error);
	} else if (message.type == channel->awaited) {
		channel->awaited = 0;
		if (!channel->on_awaited(channel->owner, &message, descriptors))
			channel->awaited = message.type;
	} else {
		channel->events->on_message(channel->owner, &message,
					    descriptors);
	}
	close_descriptors(descriptors);
}

/* False: the frame was refused. */
static bool take_frame(struct channel *channel, const struct frame *frame)
{
	struct channel_descriptors descriptors;

	descriptors.count = 0;
	if (fdstream_descriptor_count(channel->stream) < frame->descriptors) {
		refuse(channel, frame, -EBADF);
		return false;
	}
	while (descriptors.count < frame->descriptors)
		descriptors.list[descriptors.count++] =
			fdstream_take_descriptor(channel->stream);
	bool is_late = channel->is_awaiting ? frame->type != channel->awaited
					    : !list_is_empty(&channel->kept);

	if (is_late)
		keep(channel, frame, &descriptors);
	else
		hand_out(channel, frame, &descriptors);
	return true;
}

/* Takes the whole frames off the front. */
static void take_frames(struct channel *channel, struct cursor *cursor)
{
	struct frame frame;

	while (!channel->is_closed && !channel->has_ended) {
		int answer = frame_read(cursor->at, cursor->left, &frame);

		if (answer == FRAME_MORE)
			return;
		if (answer < 0) {
			refuse(channel, &frame, answer);
			return;
		}
		cursor->at += frame_bytes(&frame);
		cursor->left -= frame_bytes(&frame);
		if (!take_frame(channel, &frame))
			return;
	}
}

/* The next frame's whole size is known from its head: one allocation. */
static void make_room(struct channel *channel)
{
	struct frame frame;
	size_t held = buffer_length(&channel->in);
	int answer = frame_read(buffer_bytes(&channel->in), held, &frame);

	if (answer == FRAME_MORE && frame.length > 0)
		buffer_reserve(&channel->in, frame_bytes(&frame) - held);
}

/*
 * Parses what is buffered and then `bytes`. What callbacks are shown must stay
 * where it is, even if one of them waits for another message and so reads on:
 * the memory is the parse's own meanwhile, and what it has not looked at yet
 * is handed to the one that waits (leave_rest).
 */
static void parse(struct channel *channel, const uint8_t *bytes, size_t length)
{
	struct buffer work = { 0 };
	struct cursor cursor = { bytes, length };
	struct cursor *outer = channel->cursor;

	if (buffer_length(&channel->in) > 0) {
		buffer_append(&channel->in, bytes, length);
		work = channel->in;
		channel->in = (struct buffer){ 0 };
		cursor.at = buffer_bytes(&work);
		cursor.left = buffer_length(&work);
	}
	channel->cursor = &cursor;
	take_frames(channel, &cursor);
	channel->cursor = outer;
	if (cursor.left > 0 && work.data != NULL) {
		buffer_consume(&work, buffer_length(&work) - cursor.left);
		channel->in = work;
		work = (struct buffer){ 0 };
	} else if (cursor.left > 0) {
		buffer_append(&channel->in, cursor.at, cursor.left);
	}
	if (cursor.left > 0)
		make_room(channel);
	buffer_fini(&work);
}

static void leave_rest(struct channel *channel)
{
	struct cursor *cursor = channel->cursor;

	if (cursor == NULL || cursor->left == 0)
		return;
	buffer_append(&channel->in, cursor->at, cursor->left);
	cursor->left = 0;
	parse(channel, NULL, 0);
}

static void on_bytes(void *owner, const uint8_t *bytes, size_t length)
{
	struct channel *channel = owner;
	bool was_in_use = begin_use(channel);

	parse(channel, bytes, length);
	if (end_use(channel, was_in_use) &&
	    fdstream_descriptor_count(channel->stream) >
		    WAITING_DESCRIPTORS_MAX)
		refuse(channel, &(struct frame){ 0 }, -EMFILE);
}

static void run_replay(struct loop_task *task)
{
	struct channel *channel = LIST_ENTRY(task, struct channel, replay);
	struct list *link;

	bool was_in_use = begin_use(channel);

	while (!channel->is_closed &&
	       (link = list_take_first(&channel->kept)) != NULL) {
		struct kept *kept = LIST_ENTRY(link, struct kept, link);

		hand_out(channel, &kept->frame, &kept->descriptors);
		free(kept);
	}
	end_use(channel, was_in_use);
}

static void on_end(void *owner, int error)
{
	struct channel *channel = owner;
	struct problem problem = { 0 };

	if (buffer_length(&channel->in) > 0)
		problem_set(&problem, -EPROTO, "FRAME_CUT",
			    "the channel ended in the middle of a frame");
	else if (error < 0 && error != -ECONNRESET && error != -EPIPE)
		problem_set(&problem, error, "CHANNEL_FAILED",
			    "the channel failed: %s", strerror(-error));
	end(channel, &problem);
}

static void on_drained(void *owner)
{
	struct channel *channel = owner;

	bool was_busy = channel->is_busy;

	channel->is_busy = false;
	channel->events->on_drained(channel->owner, was_busy);
}

static const struct fdstream_events stream_events = {
	.on_bytes = on_bytes,
	.on_end = on_end,
	.on_drained = on_drained,
};

struct channel *channel_open(struct loop *loop, int descriptor,
			     const struct channel_events *events, void *owner)
{
	struct channel *channel = mem_zalloc(sizeof(*channel));

	channel->stream =
		fdstream_open(loop, descriptor, &stream_events, channel);
	channel->loop = loop;
	channel->replay.run = run_replay;
	list_init(&channel->kept);
	channel->events = events;
	channel->owner = owner;
	return channel;
}

void channel_close(struct channel *channel)
{
	struct list *link;

	if (channel == NULL)
		return;
	MUST(!channel->is_closed);
	channel->is_closed = true;
	/* What was said last should be heard: STOP, a last message. */
	DISCARD(fdstream_flush(channel->stream)); /* may be gone */
	fdstream_close(channel->stream);
	loop_undefer(&channel->replay);
	while ((link = list_take_first(&channel->kept)) != NULL) {
		struct kept *kept = LIST_ENTRY(link, struct kept, link);

		close_descriptors(&kept->descriptors);
		free(kept);
	}
	if (!channel->is_in_use)
		free_memory(channel);
}

void channel_start(struct channel *channel)
{
	fdstream_start_reading(channel->stream);
}

void channel_set_keeps_alive(struct channel *channel, bool keeps_alive)
{
	fdstream_set_keeps_alive(channel->stream, keeps_alive);
}

void channel_send(struct channel *channel, const struct message *message,
		  int descriptor)
{
	if (descriptor >= 0)
		fdstream_queue_descriptors_take(channel->stream, &descriptor,
						1);
	message_encode(message, descriptor >= 0 ? 1 : 0,
		       fdstream_queue(channel->stream, message_bytes(message)));
}

int channel_send_content(struct channel *channel, const void *content,
			 size_t length, const int *descriptors, size_t count)
{
	size_t queued = fdstream_queued_bytes(channel->stream);

	if (queued + length > CHANNEL_QUEUE_MAX)
		return -ENOBUFS;
	fdstream_queue_descriptors_take(channel->stream, descriptors, count);
	uint8_t *room =
		fdstream_queue(channel->stream, FRAME_HEAD_BYTES + length);

	frame_write_head(room, MESSAGE_MESSAGE, (uint16_t)count,
			 (uint32_t)length);
	if (length > 0)
		memcpy(room + FRAME_HEAD_BYTES, content, length);
	if (queued + length <= CHANNEL_BUSY_BYTES)
		return 0;
	/* Most of it may fit into the socket right away. */
	int error = fdstream_flush(channel->stream);

	if (error != -EAGAIN)
		return 0; /* on_end tells whether it got lost */
	if (fdstream_queued_bytes(channel->stream) <= CHANNEL_BUSY_BYTES)
		return 0;
	channel->is_busy = true;
	return 1;
}

size_t channel_queued_bytes(const struct channel *channel)
{
	return fdstream_queued_bytes(channel->stream);
}

int channel_flush(struct channel *channel)
{
	return fdstream_flush(channel->stream);
}

int channel_send_now(struct channel *channel, const void *frames, size_t length,
		     const int *descriptors, size_t count)
{
	return fdstream_send_now(channel->stream, frames, length, descriptors,
				 count);
}

static int64_t now_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

static int await(struct channel *channel, int64_t deadline)
{
	leave_rest(channel);
	while (channel->awaited != 0) {
		int64_t left = deadline - now_ms();
		int error = -ETIMEDOUT;

		if (channel->has_ended || channel->is_closed)
			error = -EPIPE;
		else if (left > 0)
			error = fdstream_read_within(channel->stream,
						     (int)left);
		if (error < 0)
			return error;
	}
	return 0;
}

int channel_await(struct channel *channel, enum message_type type,
		  int timeout_ms, channel_handle_fn handle)
{
	MUST(!channel->is_awaiting && !channel->is_closed);
	bool was_in_use = begin_use(channel);

	channel->is_awaiting = true;
	channel->awaited = type;
	channel->on_awaited = handle;
	int error = await(channel, now_ms() + timeout_ms);

	channel->awaited = 0;
	channel->is_awaiting = false;
	end_use(channel, was_in_use);
	return error;
}

void channel_drain(struct channel *channel)
{
	bool was_in_use = begin_use(channel);

	if (!channel->is_closed && !channel->has_ended)
		fdstream_read_arrived(channel->stream);
	end_use(channel, was_in_use);
}
