#include "loop/stream.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/buffer.h"
#include "base/mem.h"
#include "base/must.h"
#include "loop/loop_internal.h"
#include "loop/stream_cipher.h"

#define MAGIC 0x73747265u
/* As much of a file as is sent before others have their turn. */
#define FILE_BYTES_MAX (2u << 20)
/* The same where they have to be read, and encrypted. */
#define SECRET_FILE_BYTES_MAX (256u << 10)

/* Queued behind the bytes, in the order of the writes. */
struct piece {
	struct list link;
	struct stream_piece of; /* what is left */
	struct buffer after;    /* bytes that were written behind it */
};

struct stream {
	uv_poll_t handle; /* known to libuv once is_polled */
	unsigned magic;
	int descriptor;
	struct loop *loop;
	const struct stream_events *events;
	void *owner;
	struct stream_cipher *cipher; /* NULL: none */
	struct buffer queue;          /* waits for the descriptor to take it */
	struct list pieces;      /* behind it; zeroed until there was one */
	uint64_t piece_bytes;    /* of them all */
	struct loop_task report; /* tells a failed write, outside of it */
	int error;               /* the one that ended it, 0 */
	uint8_t awaited;         /* what the poll waits for now */
	bool is_polled : 1;
	bool is_closed : 1;
	bool is_socket : 1; /* until the system says otherwise */
	bool is_reading : 1;
	bool has_ended : 1; /* the peer's way */
	bool is_shut : 1;   /* ours, once the queue is empty */
	bool owes_shut : 1; /* the cipher has not got it out yet */
};

static void on_handle_closed(uv_handle_t *handle)
{
	struct stream *stream = handle->data;

	stream->magic = 0;
	free(stream);
}

/* ---- Pieces ---- */

static bool has_pieces(const struct stream *stream)
{
	return stream->pieces.next != NULL && !list_is_empty(&stream->pieces);
}

static bool is_queueing(const struct stream *stream)
{
	return buffer_length(&stream->queue) > 0 || has_pieces(stream);
}

static void release(const struct stream_piece *piece)
{
	if (piece->release != NULL)
		piece->release(piece->arg);
}

/* The first is sent, or will not be: what is behind it is bytes again. */
static void drop_first_piece(struct stream *stream)
{
	struct list *link = list_take_first(&stream->pieces);
	struct piece *piece = LIST_ENTRY(link, struct piece, link);

	buffer_fini(&stream->queue);
	stream->queue = piece->after;
	stream->piece_bytes -= piece->of.length + buffer_length(&piece->after);
	release(&piece->of);
	free(piece);
}

static void drop_queue(struct stream *stream)
{
	while (has_pieces(stream))
		drop_first_piece(stream);
	buffer_fini(&stream->queue);
}

static void queue_piece(struct stream *stream, const struct stream_piece *of)
{
	struct piece *piece = mem_zalloc(sizeof(*piece));

	piece->of = *of;
	if (stream->pieces.next == NULL)
		list_init(&stream->pieces);
	list_add_last(&stream->pieces, &piece->link);
	stream->piece_bytes += of->length;
}

/* Does the cipher have something to send before it reads on? */
static bool is_blocked(const struct stream *stream)
{
	return stream->cipher != NULL && stream->cipher->wants_write;
}

static uint8_t wanted(const struct stream *stream)
{
	bool is_queued = is_queueing(stream) || stream->owes_shut;
	bool is_ready = stream_is_ready(stream);
	uint8_t events = 0;

	if (stream->error < 0)
		return 0;
	/* Hands are shaken by reading, whatever is wanted of the stream. */
	if ((stream->is_reading && !stream->has_ended) ||
	    (!is_ready && is_queued))
		events |= is_blocked(stream) ? UV_WRITABLE : UV_READABLE;
	if (is_ready && is_queued)
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
	drop_queue(stream);
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

/* What a read has brought, or -errno. Calls back last. */
static void deliver(struct stream *stream, ssize_t length)
{
	if (length > 0) {
		stream->events->on_bytes(stream->owner,
					 loop_scratch(stream->loop),
					 (size_t)length);
	} else if (length == 0) {
		stream->has_ended = true;
		stream->events->on_end(stream->owner, 0);
	} else if (length != -EAGAIN) {
		set_error(stream, (int)length);
		stream->events->on_end(stream->owner, stream->error);
	}
}

/* All that the cipher has: the poll knows nothing of what it keeps. */
static void read_secret(struct stream *stream)
{
	struct stream_cipher *cipher = stream->cipher;
	bool is_closed = false;
	ssize_t length;

	cipher->is_closed = &is_closed;
	do {
		length = cipher->ops->read(cipher, loop_scratch(stream->loop),
					   LOOP_SCRATCH_BYTES);
		deliver(stream, length);
	} while (!is_closed && length > 0 && stream->is_reading &&
		 cipher->ops->has_more(cipher));
	if (is_closed)
		return;
	cipher->is_closed = NULL;
	join_poll(stream); /* what waited for the hands to be shaken */
}

/* Calls back last. */
static void read_once(struct stream *stream)
{
	ssize_t length;

	if (stream->cipher != NULL) {
		read_secret(stream);
		return;
	}
	do
		length = read(stream->descriptor, loop_scratch(stream->loop),
			      LOOP_SCRATCH_BYTES);
	while (length < 0 && errno == EINTR);
	deliver(stream, length < 0 ? -errno : length);
}

static void on_more(struct loop_task *task)
{
	struct stream_cipher *cipher =
		LIST_ENTRY(task, struct stream_cipher, more);
	struct stream *stream = cipher->stream;

	if (stream->is_reading && !stream->has_ended && stream->error == 0)
		read_once(stream);
}

/* Bytes written, 0 where the descriptor takes none now, or -errno. `flags`:
 * MSG_MORE where more follows at once. */
static ssize_t write_once(struct stream *stream, const struct iovec *parts,
			  size_t count, int flags)
{
	flags |= MSG_NOSIGNAL;

	struct msghdr message = { .msg_iov = (struct iovec *)(uintptr_t)parts,
				  .msg_iovlen = count };
	ssize_t length;

	if (!stream_is_ready(stream))
		return 0;
	if (stream->cipher != NULL)
		return stream->cipher->ops->write(stream->cipher, parts, count,
						  flags);
	do {
		if (!stream->is_socket)
			length = writev(stream->descriptor, parts, (int)count);
		else if (count == 1)
			length = send(stream->descriptor, parts->iov_base,
				      parts->iov_len, flags);
		else
			length = sendmsg(stream->descriptor, &message, flags);
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
	stream->owes_shut = stream->cipher != NULL &&
			    !stream->cipher->ops->shut(stream->cipher);
	if (stream->owes_shut)
		return;
	/* Fails where the peer is gone, or for a pipe: nothing to do then. */
	DISCARD(shutdown(stream->descriptor, SHUT_WR));
}

static uint64_t smaller(uint64_t a, uint64_t b)
{
	return a < b ? a : b;
}

/* The same, of a file. */
static ssize_t write_file(struct stream *stream, struct stream_piece *piece)
{
	struct stream_cipher *cipher = stream->cipher;
	off_t offset = (off_t)piece->offset;
	ssize_t length;

	if (cipher != NULL) {
		length = cipher->ops->write_file(
			cipher, piece->descriptor, piece->offset,
			smaller(piece->length, SECRET_FILE_BYTES_MAX));
	} else {
		do
			length = sendfile(
				stream->descriptor, piece->descriptor, &offset,
				smaller(piece->length, FILE_BYTES_MAX));
		while (length < 0 && errno == EINTR);
		if (length == 0) /* the file has become shorter */
			return -EIO;
		if (length < 0)
			return errno == EAGAIN ? 0 : -errno;
	}
	if (length > 0)
		piece->offset += (uint64_t)length;
	return length;
}

/* The same, of a piece. */
static ssize_t write_piece(struct stream *stream, struct stream_piece *piece)
{
	struct iovec part = { .iov_base = (void *)(uintptr_t)piece->bytes,
			      .iov_len = (size_t)piece->length };
	ssize_t length;

	if (!stream_is_ready(stream))
		return 0;
	if (piece->bytes != NULL) {
		length = write_once(stream, &part, 1, 0);
		if (length > 0)
			piece->bytes = (const uint8_t *)piece->bytes + length;
	} else {
		length = write_file(stream, piece);
	}
	if (length > 0)
		piece->length -= (uint64_t)length;
	return length;
}

/* 0, or -errno. */
static int write_bytes(struct stream *stream)
{
	struct iovec part = { .iov_base = buffer_bytes(&stream->queue),
			      .iov_len = buffer_length(&stream->queue) };

	if (part.iov_len == 0)
		return 0;
	ssize_t written =
		write_once(stream, &part, 1, has_pieces(stream) ? MSG_MORE : 0);

	if (written < 0)
		return (int)written;
	buffer_consume(&stream->queue, (size_t)written);
	return 0;
}

/* One after the other, until the descriptor takes no more or others should
 * have their turn. 0, or -errno. */
static int write_pieces(struct stream *stream)
{
	int error = write_bytes(stream);

	while (error == 0 && buffer_length(&stream->queue) == 0 &&
	       has_pieces(stream)) {
		struct piece *piece = LIST_ENTRY(list_first(&stream->pieces),
						 struct piece, link);
		uint64_t before = piece->of.length;
		ssize_t written = write_piece(stream, &piece->of);

		if (written < 0)
			return (int)written;
		stream->piece_bytes -= before - piece->of.length;
		if (piece->of.length > 0)
			return 0;
		drop_first_piece(stream);
		error = write_bytes(stream);
	}
	return error;
}

/* Calls back last. */
static void write_queue(struct stream *stream)
{
	bool was_queueing = is_queueing(stream);
	int error = write_pieces(stream);

	if (error < 0) {
		set_error(stream, error);
		stream->events->on_end(stream->owner, stream->error);
		return;
	}
	if (is_queueing(stream))
		return;
	buffer_fini(&stream->queue);
	if (stream->is_shut)
		shut(stream);
	if (was_queueing)
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
	if (is_blocked(stream)) {
		if ((events & wanted(stream) & UV_WRITABLE) != 0)
			read_once(stream);
	} else if ((events & wanted(stream) & UV_WRITABLE) != 0) {
		write_queue(stream);
	}
	if (!stream->is_closed && !is_blocked(stream) &&
	    (events & wanted(stream) & UV_READABLE) != 0)
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

struct stream *stream_open_secret(struct loop *loop, int descriptor,
				  struct stream_cipher *cipher,
				  const struct stream_events *events,
				  void *owner)
{
	struct stream *stream = stream_open(loop, descriptor, events, owner);

	cipher->stream = stream;
	cipher->more.run = on_more;
	stream->cipher = cipher;
	return stream;
}

/* Says the end, where what came before has left. */
static void close_cipher(struct stream *stream)
{
	struct stream_cipher *cipher = stream->cipher;

	if (cipher->is_closed != NULL)
		*cipher->is_closed = true;
	loop_undefer(&cipher->more);
	if (cipher->is_ready && stream->error == 0 && !is_queueing(stream) &&
	    (!stream->is_shut || stream->owes_shut))
		DISCARD(cipher->ops->shut(cipher)); /* or it never will be */
	cipher->ops->free(cipher);
	stream->cipher = NULL;
}

int stream_release(struct stream *stream)
{
	int descriptor = stream->descriptor;

	MUST(stream->magic == MAGIC && !stream->is_closed);
	if (stream->cipher != NULL)
		close_cipher(stream);
	stream->descriptor = -1;
	stream->is_closed = true;
	loop_undefer(&stream->report);
	drop_queue(stream);
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

struct stream_cipher *stream_cipher(const struct stream *stream)
{
	return stream->cipher;
}

bool stream_is_secret(const struct stream *stream)
{
	return stream->cipher != NULL;
}

bool stream_is_ready(const struct stream *stream)
{
	return stream->cipher == NULL || stream->cipher->is_ready;
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
	/* Up the stack, who reads goes on by itself. */
	if (stream->cipher != NULL && stream->cipher->is_closed == NULL &&
	    stream->cipher->ops->has_more(stream->cipher))
		loop_defer(stream->loop, &stream->cipher->more);
}

void stream_stop_reading(struct stream *stream)
{
	stream->is_reading = false;
}

/* Where what is written now has its place. */
static struct buffer *last_buffer(struct stream *stream)
{
	if (!has_pieces(stream))
		return &stream->queue;
	return &LIST_ENTRY(stream->pieces.previous, struct piece, link)->after;
}

static void queue_rest(struct stream *stream, const struct iovec *parts,
		       size_t count, size_t written)
{
	struct buffer *last = last_buffer(stream);
	size_t before = buffer_length(last);

	for (size_t i = 0; i < count; i++) {
		size_t length = parts[i].iov_len;

		if (written >= length) {
			written -= length;
			continue;
		}
		buffer_append(last,
			      (const uint8_t *)parts[i].iov_base + written,
			      length - written);
		written = 0;
	}
	if (last != &stream->queue)
		stream->piece_bytes += buffer_length(last) - before;
}

bool stream_write(struct stream *stream, const struct iovec *parts,
		  size_t count)
{
	ssize_t written = 0;

	MUST(!stream->is_shut);
	if (stream->error < 0)
		return true;
	if (!is_queueing(stream))
		written = write_once(stream, parts, count, 0);
	if (written < 0) {
		fail_later(stream, (int)written);
		return true;
	}
	queue_rest(stream, parts, count, (size_t)written);
	if (!is_queueing(stream))
		return true;
	join_poll(stream);
	return false;
}

bool stream_write_piece(struct stream *stream, const struct iovec *parts,
			size_t count, const struct stream_piece *piece)
{
	bool was_queueing = is_queueing(stream);
	ssize_t written = 0;
	int error = 0;

	MUST(!stream->is_shut && piece->length > 0);
	if (stream->error == 0 && !was_queueing && count > 0)
		written = write_once(stream, parts, count, MSG_MORE);
	if (stream->error < 0 || written < 0) {
		release(piece);
		if (written < 0)
			fail_later(stream, (int)written);
		return true;
	}
	queue_rest(stream, parts, count, (size_t)written);
	queue_piece(stream, piece);
	if (!was_queueing)
		error = write_pieces(stream);
	if (error < 0) {
		fail_later(stream, error);
		return true;
	}
	if (!is_queueing(stream))
		return true;
	join_poll(stream);
	return false;
}

uint64_t stream_queued_bytes(const struct stream *stream)
{
	return buffer_length(&stream->queue) + stream->piece_bytes;
}

bool stream_has_failed(const struct stream *stream)
{
	return stream->error < 0;
}

void stream_set_events(struct stream *stream,
		       const struct stream_events *events, void *owner)
{
	stream->events = events;
	stream->owner = owner;
}

void stream_shutdown(struct stream *stream)
{
	if (stream->is_shut)
		return;
	stream->is_shut = true;
	if (!is_queueing(stream))
		shut(stream);
	if (stream->owes_shut)
		join_poll(stream);
}
