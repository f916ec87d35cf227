#include "loop/fdstream.h"

#include <errno.h>
#include <linux/sockios.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/buffer.h"
#include "base/mem.h"
#include "base/must.h"
#include "loop/loop_internal.h"

/* A queue emptied keeps this much. */
#define KEPT_BYTES 65536
/* One send; more than a socket buffer holds is of no use. */
#define SEND_BYTES 262144
/* After ETOOMANYREFS (too many descriptors under way) there is no event to
 * wait for. */
#define RETRY_MS 5

struct outgoing {
	uint64_t offset; /* in all that was ever queued: goes with that byte */
	int descriptor;
};

struct fdstream {
	uv_poll_t poll;
	uv_timer_t retry;
	int open_handles;
	int descriptor;
	int polled; /* UV_READABLE | UV_WRITABLE */
	bool is_reading;
	bool is_blocked; /* the socket is full: wait until it is writable */
	bool is_paused;  /* for `retry`: no event would come */
	bool owes_drained;
	bool has_ended;
	bool is_closing;
	struct loop *loop;
	struct loop_task flush;
	struct loop_task drained; /* tells the owner */
	struct buffer out;
	uint64_t sent;          /* all bytes that ever left */
	uint64_t covered;       /* the descriptors up to here have left */
	uint64_t received;      /* all bytes that ever came */
	struct buffer outgoing; /* of struct outgoing, in order */
	struct buffer incoming; /* of int */
	const struct fdstream_events *events;
	void *owner;
};

union control {
	struct cmsghdr align;
	char bytes[CMSG_SPACE(FDSTREAM_BATCH * sizeof(int))];
};

static void on_handle_closed(uv_handle_t *handle)
{
	struct fdstream *stream = handle->data;

	if (--stream->open_handles > 0)
		return;
	close(stream->descriptor);
	buffer_fini(&stream->out);
	buffer_fini(&stream->outgoing);
	buffer_fini(&stream->incoming);
	free(stream);
}

static void on_uv_poll(uv_poll_t *poll, int status, int events);

static void update_poll(struct fdstream *stream)
{
	int wanted = 0;

	if (stream->is_closing)
		return;
	if (stream->is_reading && !stream->has_ended)
		wanted |= UV_READABLE;
	if (stream->is_blocked && !stream->has_ended)
		wanted |= UV_WRITABLE;
	if (wanted == stream->polled)
		return;
	stream->polled = wanted;
	loop_touch(stream->loop);
	if (wanted == 0)
		MUST(uv_poll_stop(&stream->poll) == 0);
	else
		MUST(uv_poll_start(&stream->poll, wanted, on_uv_poll) == 0);
}

static void end(struct fdstream *stream, int error)
{
	if (stream->has_ended)
		return;
	stream->has_ended = true;
	loop_undefer(&stream->flush);
	update_poll(stream);
	stream->events->on_end(stream->owner, error);
}

/* Nothing can be sent any more. What the peer said before it went comes
 * first. */
static void end_writing(struct fdstream *stream, int error)
{
	if (stream->is_reading)
		fdstream_read_arrived(stream);
	end(stream, error);
}

static void run_flush(struct loop_task *task)
{
	struct fdstream *stream = LIST_ENTRY(task, struct fdstream, flush);
	int error = fdstream_flush(stream);

	if (error < 0 && error != -EAGAIN)
		end_writing(stream, error);
}

static void on_uv_poll(uv_poll_t *poll, int status, int events)
{
	struct fdstream *stream = poll->data;

	/* After an error libuv has stopped the handle; reading tells which. */
	if (status < 0)
		stream->polled = 0;
	if ((events & UV_WRITABLE) != 0 && stream->is_blocked)
		run_flush(&stream->flush);
	if (!stream->is_closing && stream->is_reading &&
	    (status < 0 || (events & ~UV_WRITABLE) != 0))
		fdstream_read_now(stream);
	if (status < 0)
		update_poll(stream);
}

static void on_uv_retry(uv_timer_t *timer)
{
	struct fdstream *stream = timer->data;

	run_flush(&stream->flush);
}

static void run_drained(struct loop_task *task)
{
	struct fdstream *stream = LIST_ENTRY(task, struct fdstream, drained);

	/* Otherwise the flush that follows tells. */
	if (buffer_length(&stream->out) > 0)
		return;
	stream->owes_drained = false;
	stream->events->on_drained(stream->owner);
}

struct fdstream *fdstream_open(struct loop *loop, int descriptor,
			       const struct fdstream_events *events,
			       void *owner)
{
	struct fdstream *stream = mem_zalloc(sizeof(*stream));

	MUST(uv_poll_init(loop_uv(loop), &stream->poll, descriptor) == 0);
	MUST(uv_timer_init(loop_uv(loop), &stream->retry) == 0);
	uv_unref((uv_handle_t *)&stream->retry);
	stream->poll.data = stream;
	stream->retry.data = stream;
	stream->open_handles = 2;
	stream->descriptor = descriptor;
	stream->loop = loop;
	stream->flush.run = run_flush;
	stream->drained.run = run_drained;
	stream->events = events;
	stream->owner = owner;
	return stream;
}

void fdstream_close(struct fdstream *stream)
{
	if (stream == NULL)
		return;
	int descriptor;

	MUST(!stream->is_closing);
	stream->is_closing = true;
	stream->has_ended = true;
	loop_undefer(&stream->flush);
	loop_undefer(&stream->drained);
	while ((descriptor = fdstream_take_descriptor(stream)) >= 0)
		close(descriptor);
	while (buffer_length(&stream->outgoing) > 0) {
		struct outgoing out;

		memcpy(&out, buffer_bytes(&stream->outgoing), sizeof(out));
		buffer_consume(&stream->outgoing, sizeof(out));
		close(out.descriptor);
	}
	uv_close((uv_handle_t *)&stream->poll, on_handle_closed);
	uv_close((uv_handle_t *)&stream->retry, on_handle_closed);
	/* The peer reads the end now, though the number is kept from others
	 * until libuv has let go of it. */
	DISCARD(shutdown(stream->descriptor, SHUT_RDWR)); /* may be gone */
}

void fdstream_start_reading(struct fdstream *stream)
{
	stream->is_reading = true;
	update_poll(stream);
}

void fdstream_set_keeps_alive(struct fdstream *stream, bool keeps_alive)
{
	if (keeps_alive)
		uv_ref((uv_handle_t *)&stream->poll);
	else
		uv_unref((uv_handle_t *)&stream->poll);
}

uint8_t *fdstream_queue(struct fdstream *stream, size_t length)
{
	uint8_t *room = buffer_reserve(&stream->out, length);

	buffer_extend(&stream->out, length);
	if (!stream->is_blocked && !stream->is_paused)
		loop_defer(stream->loop, &stream->flush);
	return room;
}

void fdstream_queue_descriptors_take(struct fdstream *stream,
				     const int *descriptors, size_t count)
{
	uint64_t offset = stream->sent + buffer_length(&stream->out);

	for (size_t i = 0; i < count; i++)
		buffer_append(&stream->outgoing,
			      &(struct outgoing){ offset, descriptors[i] },
			      sizeof(struct outgoing));
}

size_t fdstream_queued_bytes(const struct fdstream *stream)
{
	return buffer_length(&stream->out);
}

int fdstream_send_now(struct fdstream *stream, const void *bytes, size_t length,
		      const int *descriptors, size_t count)
{
	struct iovec part = { .iov_base = (void *)(uintptr_t)bytes,
			      .iov_len = length };
	struct msghdr message = { .msg_iov = &part, .msg_iovlen = 1 };
	union control control;

	MUST(count <= FDSTREAM_BATCH);
	if (buffer_length(&stream->out) > 0)
		return -EAGAIN;
	if (count > 0) {
		message.msg_control = control.bytes;
		message.msg_controllen = CMSG_SPACE(count * sizeof(int));
		/* The padding too: the kernel reads it, and valgrind tells. */
		memset(control.bytes, 0, message.msg_controllen);
		struct cmsghdr *header = CMSG_FIRSTHDR(&message);

		header->cmsg_level = SOL_SOCKET;
		header->cmsg_type = SCM_RIGHTS;
		header->cmsg_len = CMSG_LEN(count * sizeof(int));
		memcpy(CMSG_DATA(header), descriptors, count * sizeof(int));
	}
	ssize_t sent = sendmsg(stream->descriptor, &message,
			       MSG_NOSIGNAL | MSG_DONTWAIT);

	if (sent < 0)
		return errno == ETOOMANYREFS || errno == EINTR ||
				       errno == ENOBUFS
			       ? -EAGAIN
			       : -errno;
	/* A small piece is one buffer of the kernel's: all or nothing. Should
	 * it ever not be, the rest goes the ordinary way. */
	stream->covered = stream->sent + length;
	stream->sent += (uint64_t)sent;
	if ((size_t)sent < length)
		memcpy(fdstream_queue(stream, length - (size_t)sent),
		       (const char *)bytes + sent, length - (size_t)sent);
	return 0;
}

/* One send: the bytes up to what the descriptors allow. Descriptors go with
 * the byte they were queued before, or with an earlier one: where the socket
 * took a part alone, the rest of it goes before any other descriptors do. So
 * a reader never has to keep more than a batch. */
static int send_batch(struct fdstream *stream)
{
	struct outgoing *out =
		(struct outgoing *)(void *)buffer_bytes(&stream->outgoing);
	size_t queued = buffer_length(&stream->outgoing) / sizeof(*out);
	size_t length = buffer_length(&stream->out);
	struct iovec part = { .iov_base = buffer_bytes(&stream->out) };
	struct msghdr message = { .msg_iov = &part, .msg_iovlen = 1 };
	union control control;
	size_t count = 0;
	int descriptors[FDSTREAM_BATCH];

	if (length > SEND_BYTES)
		length = SEND_BYTES;
	if (stream->covered > stream->sent &&
	    length > stream->covered - stream->sent)
		length = (size_t)(stream->covered - stream->sent);
	while (count < queued && count < FDSTREAM_BATCH &&
	       out[count].offset < stream->sent + length) {
		descriptors[count] = out[count].descriptor;
		count++;
	}
	if (count < queued && count > 0 &&
	    out[count].offset < stream->sent + length) {
		/* More than one send can carry: a piece whose descriptors do
		 * not all fit waits for the next. */
		uint64_t cut = out[count].offset;

		while (count > 0 && out[count - 1].offset == cut)
			count--;
		MUST(count > 0);
		length = (size_t)(cut - stream->sent);
	}
	part.iov_len = length;
	if (count > 0) {
		message.msg_control = control.bytes;
		message.msg_controllen = CMSG_SPACE(count * sizeof(int));
		/* The padding too: the kernel reads it, and valgrind tells. */
		memset(control.bytes, 0, message.msg_controllen);
		struct cmsghdr *header = CMSG_FIRSTHDR(&message);

		header->cmsg_level = SOL_SOCKET;
		header->cmsg_type = SCM_RIGHTS;
		header->cmsg_len = CMSG_LEN(count * sizeof(int));
		memcpy(CMSG_DATA(header), descriptors, count * sizeof(int));
	}

	ssize_t sent = sendmsg(stream->descriptor, &message,
			       MSG_NOSIGNAL | MSG_DONTWAIT);

	if (sent < 0)
		return -errno;
	for (size_t i = 0; i < count; i++)
		close(descriptors[i]);
	if (stream->covered < stream->sent + length)
		stream->covered = stream->sent + length;
	buffer_consume(&stream->outgoing, count * sizeof(*out));
	buffer_consume(&stream->out, (size_t)sent);
	stream->sent += (uint64_t)sent;
	return 0;
}

int fdstream_flush(struct fdstream *stream)
{
	int error = 0;

	if (stream->is_closing)
		return -EPIPE;
	loop_undefer(&stream->flush);
	stream->is_blocked = false;
	stream->is_paused = false;
	while (error == 0 && buffer_length(&stream->out) > 0) {
		error = send_batch(stream);
		if (error == -EINTR)
			error = 0;
	}
	if (error == -ETOOMANYREFS || error == -ENOBUFS) {
		MUST(uv_timer_start(&stream->retry, on_uv_retry, RETRY_MS, 0) ==
		     0);
		stream->is_paused = true;
	}
	stream->is_blocked = error == -EAGAIN;
	update_poll(stream);
	if (stream->is_blocked || stream->is_paused) {
		stream->owes_drained = true;
		return -EAGAIN;
	}
	if (error < 0 && !stream->has_ended) {
		/* Whoever asked may be up the stack: the end is told later. */
		loop_defer(stream->loop, &stream->flush);
	} else if (error == 0) {
		buffer_trim(&stream->out, KEPT_BYTES);
		if (stream->owes_drained)
			loop_defer(stream->loop, &stream->drained);
	}
	return error;
}

static void keep_descriptors(struct fdstream *stream, struct msghdr *message)
{
	for (struct cmsghdr *header = CMSG_FIRSTHDR(message); header != NULL;
	     header = CMSG_NXTHDR(message, header)) {
		if (header->cmsg_level == SOL_SOCKET &&
		    header->cmsg_type == SCM_RIGHTS)
			buffer_append(&stream->incoming, CMSG_DATA(header),
				      header->cmsg_len - CMSG_LEN(0));
	}
}

static bool read_into(struct fdstream *stream, uint8_t *room)
{
	struct iovec part = { .iov_base = room, .iov_len = LOOP_SCRATCH_BYTES };
	union control control;
	struct msghdr message = { .msg_iov = &part,
				  .msg_iovlen = 1,
				  .msg_control = control.bytes,
				  .msg_controllen = sizeof(control.bytes) };

	if (stream->has_ended)
		return false;
	ssize_t received = recvmsg(stream->descriptor, &message,
				   MSG_DONTWAIT | MSG_CMSG_CLOEXEC);

	if (received < 0) {
		if (errno == EAGAIN || errno == EINTR)
			return false;
		end(stream, -errno);
		return false;
	}
	keep_descriptors(stream, &message);
	if (received == 0) {
		end(stream, 0);
		return false;
	}
	if ((message.msg_flags & MSG_CTRUNC) != 0) {
		/* Descriptors were lost: this process may open no more. */
		end(stream, -EMFILE);
		return false;
	}
	stream->received += (uint64_t)received;
	stream->events->on_bytes(stream->owner, room, (size_t)received);
	return true;
}

bool fdstream_read_now(struct fdstream *stream)
{
	return read_into(stream, loop_fdstream_scratch(stream->loop));
}

void fdstream_read_arrived(struct fdstream *stream)
{
	uint64_t before = stream->received;
	int arrived = 0;

	DISCARD(ioctl(stream->descriptor, SIOCINQ, &arrived)); /* then 0 */
	/* Once more than that, for the end. */
	while (fdstream_read_now(stream) &&
	       stream->received - before <= (uint64_t)arrived)
		;
}

int fdstream_read_within(struct fdstream *stream, int timeout_ms)
{
	struct pollfd wait = { .fd = stream->descriptor, .events = POLLIN };

	/* What is awaited may be the answer to what has not left yet. */
	DISCARD(fdstream_flush(stream)); /* the end shows by reading */
	if (stream->is_blocked)
		wait.events |= POLLOUT;
	if (stream->is_paused && timeout_ms > RETRY_MS)
		timeout_ms = RETRY_MS;
	int ready = poll(&wait, 1, timeout_ms);

	if (ready < 0)
		return errno == EINTR ? 0 : -errno;
	if (ready == 0)
		return stream->is_paused ? 0 : -ETIMEDOUT;
	if ((wait.revents & ~POLLOUT) == 0)
		return 0;
	/* The scratch memory may be in use by a callback that waits. */
	uint8_t *room = mem_alloc(LOOP_SCRATCH_BYTES);

	read_into(stream, room);
	free(room);
	return 0;
}

int fdstream_take_descriptor(struct fdstream *stream)
{
	int descriptor;

	if (buffer_length(&stream->incoming) < sizeof(descriptor))
		return -1;
	memcpy(&descriptor, buffer_bytes(&stream->incoming),
	       sizeof(descriptor));
	buffer_consume(&stream->incoming, sizeof(descriptor));
	return descriptor;
}

size_t fdstream_descriptor_count(const struct fdstream *stream)
{
	return buffer_length(&stream->incoming) / sizeof(int);
}
