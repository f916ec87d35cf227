#include "loop/stream.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/buffer.h"
#include "base/mem.h"
#include "base/must.h"
#include "loop/loop_internal.h"

#define MAGIC 0x73747265u

struct stream {
	uv_poll_t handle; /* known to libuv once is_polled */
	unsigned magic;
	int descriptor;
	struct loop *loop;
	const struct stream_events *events;
	void *owner;
	struct buffer queue;     /* waits for the descriptor to take it */
	struct loop_task report; /* tells a failed write, outside of it */
	int error;               /* the one that ended it, 0 */
	uint8_t awaited;         /* what the poll waits for now */
	bool is_polled : 1;
	bool is_closed : 1;
	bool is_socket : 1; /* until the system says otherwise */
	bool is_reading : 1;
	bool has_ended : 1; /* the peer's way */
	bool is_shut : 1;   /* ours, once the queue is empty */
};

static void on_handle_closed(uv_handle_t *handle)
{
	struct stream *stream = handle->data;

	stream->magic = 0;
	free(stream);
}

static uint8_t wanted(const struct stream *stream)
{
	uint8_t events = 0;

	if (stream->error < 0)
		return 0;
	if (stream->is_reading && !stream->has_ended)
		events |= UV_READABLE;
	if (buffer_length(&stream->queue) > 0)
		events |= UV_WRITABLE;
	return events;
}

static void on_report(struct loop_task *task)
{
	struct stream *stream = LIST_ENTRY(task, struct stream, report);

	stream->events->on_end(stream->owner, stream->error);
}

static void set_error(struct stream *stream, int error)
{
	stream->error = error;
	buffer_fini(&stream->queue);
}

/* For where the owner is up the stack. */
static void fail_later(struct stream *stream, int error)
{
	set_error(stream, error);
	loop_defer(stream->loop, &stream->report);
}

static void on_uv_poll(uv_poll_t *handle, int status, int events);

/* A change costs two system calls, so the poll is only widened here; what it
 * brings and nobody wants any more narrows it, see on_uv_poll(). */
static void join_poll(struct stream *stream)
{
	uint8_t events = wanted(stream);
	int error = 0;

	if ((events & ~stream->awaited) == 0)
		return;
	if (!stream->is_polled) {
		error = uv_poll_init(loop_uv(stream->loop), &stream->handle,
				     stream->descriptor);
		if (error < 0) {
			fail_later(stream, error);
			return;
		}
		stream->is_polled = true;
		stream->handle.data = stream;
	}
	MUST(uv_poll_start(&stream->handle, events, on_uv_poll) == 0);
	stream->awaited = events;
	loop_touch(stream->loop);
}

static void narrow_poll(struct stream *stream)
{
	uint8_t events = wanted(stream);

	if (events == stream->awaited)
		return;
	stream->awaited = events;
	loop_touch(stream->loop);
	if (events == 0)
		MUST(uv_poll_stop(&stream->handle) == 0);
	else
		MUST(uv_poll_start(&stream->handle, events, on_uv_poll) == 0);
}

/* Calls back last. */
static void read_once(struct stream *stream)
{
	uint8_t *scratch = loop_scratch(stream->loop);
	ssize_t length;

	do
		length = read(stream->descriptor, scratch, LOOP_SCRATCH_BYTES);
	while (length < 0 && errno == EINTR);

	if (length > 0) {
		stream->events->on_bytes(stream->owner, scratch,
					 (size_t)length);
	} else if (length == 0) {
		stream->has_ended = true;
		stream->events->on_end(stream->owner, 0);
	} else if (errno != EAGAIN) {
		set_error(stream, -errno);
		stream->events->on_end(stream->owner, stream->error);
	}
}

/* Bytes written, 0 where the descriptor takes none now, or -errno. */
static ssize_t write_once(struct stream *stream, const struct iovec *parts,
			  size_t count)
{
	struct msghdr message = { .msg_iov = (struct iovec *)(uintptr_t)parts,
				  .msg_iovlen = count };
	ssize_t length;

	do {
		if (!stream->is_socket)
			length = writev(stream->descriptor, parts, (int)count);
		else if (count == 1)
			length = send(stream->descriptor, parts->iov_base,
				      parts->iov_len, MSG_NOSIGNAL);
		else
			length = sendmsg(stream->descriptor, &message,
					 MSG_NOSIGNAL);
		if (length < 0 && errno == ENOTSOCK) {
			stream->is_socket = false;
			errno = EINTR;
		}
	} while (length < 0 && errno == EINTR);
	if (length < 0)
		return errno == EAGAIN ? 0 : -errno;
	return length;
}

static void shut(struct stream *stream)
{
	/* Fails where the peer is gone, or for a pipe: nothing to do then. */
	DISCARD(shutdown(stream->descriptor, SHUT_WR));
}

/* Calls back last. */
static void write_queue(struct stream *stream)
{
	struct iovec part = { .iov_base = buffer_bytes(&stream->queue),
			      .iov_len = buffer_length(&stream->queue) };
	ssize_t written = write_once(stream, &part, 1);

	if (written < 0) {
		set_error(stream, (int)written);
		stream->events->on_end(stream->owner, stream->error);
		return;
	}
	buffer_consume(&stream->queue, (size_t)written);
	if (buffer_length(&stream->queue) > 0)
		return;
	buffer_fini(&stream->queue);
	if (stream->is_shut)
		shut(stream);
	stream->events->on_written(stream->owner);
}

/* libuv knows the handle here, so a stream closed by a callback stays in memory
 * until this has returned. */
static void on_uv_poll(uv_poll_t *handle, int status, int events)
{
	struct stream *stream = handle->data;

	MUST(stream->magic == MAGIC);
	if (status < 0) {
		/* EPOLLERR: libuv has left the poll. Whatever is tried next
		 * fails with the error itself. */
		stream->awaited = 0;
		events = UV_READABLE | UV_WRITABLE;
	}
	if ((events & wanted(stream) & UV_WRITABLE) != 0)
		write_queue(stream);
	if (!stream->is_closed && (events & wanted(stream) & UV_READABLE) != 0)
		read_once(stream);
	if (!stream->is_closed)
		narrow_poll(stream);
}

struct stream *stream_open(struct loop *loop, int descriptor,
			   const struct stream_events *events, void *owner)
{
	struct stream *stream = mem_zalloc(sizeof(*stream));

	stream->magic = MAGIC;
	stream->descriptor = descriptor;
	stream->loop = loop;
	stream->events = events;
	stream->owner = owner;
	stream->report.run = on_report;
	stream->is_socket = true;
	return stream;
}

int stream_release(struct stream *stream)
{
	int descriptor = stream->descriptor;

	MUST(stream->magic == MAGIC && !stream->is_closed);
	stream->descriptor = -1;
	stream->is_closed = true;
	loop_undefer(&stream->report);
	buffer_fini(&stream->queue);
	if (stream->is_polled) /* takes it out of the poll at once */
		uv_close((uv_handle_t *)&stream->handle, on_handle_closed);
	else
		free(stream);
	return descriptor;
}

void stream_close(struct stream *stream)
{
	close(stream_release(stream));
}

int stream_descriptor(const struct stream *stream)
{
	return stream->descriptor;
}

void stream_read_now(struct stream *stream)
{
	if (!stream->has_ended && stream->error == 0)
		read_once(stream);
}

void stream_start_reading(struct stream *stream)
{
	stream->is_reading = true;
	join_poll(stream);
}

void stream_stop_reading(struct stream *stream)
{
	stream->is_reading = false;
}

static void queue_rest(struct stream *stream, const struct iovec *parts,
		       size_t count, size_t written)
{
	for (size_t i = 0; i < count; i++) {
		size_t length = parts[i].iov_len;

		if (written >= length) {
			written -= length;
			continue;
		}
		buffer_append(&stream->queue,
			      (const uint8_t *)parts[i].iov_base + written,
			      length - written);
		written = 0;
	}
}

bool stream_write(struct stream *stream, const struct iovec *parts,
		  size_t count)
{
	ssize_t written = 0;

	MUST(!stream->is_shut);
	if (stream->error < 0)
		return true;
	if (buffer_length(&stream->queue) == 0)
		written = write_once(stream, parts, count);
	if (written < 0) {
		fail_later(stream, (int)written);
		return true;
	}
	queue_rest(stream, parts, count, (size_t)written);
	if (buffer_length(&stream->queue) == 0)
		return true;
	join_poll(stream);
	return false;
}

size_t stream_queued_bytes(const struct stream *stream)
{
	return buffer_length(&stream->queue);
}

void stream_shutdown(struct stream *stream)
{
	if (stream->is_shut)
		return;
	stream->is_shut = true;
	if (buffer_length(&stream->queue) == 0)
		shut(stream);
}
