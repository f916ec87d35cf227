#include "server/socket.h"

#include <sys/socket.h>

#include "base/must.h"
#include "loop/timer.h"

#define HIGH_BYTES   (1U << 20)
#define MOST_BYTES   (4U << 20)
#define STALL_MS     10000
#define TICK_MS      1000
#define SPARE_BYTES  65536
#define SHARED_BYTES 4096 /* from here on a copy costs more */

static void on_tick(void *owner)
{
	struct sockets *sockets = owner;
	uint64_t now_ms = loop_now_ms(sockets->loop);

	LIST_EACH (&sockets->all, link) {
		struct socket *socket = LIST_ENTRY(link, struct socket, link);
		uint64_t queued = stream_queued_bytes(socket->stream) +
				  buffer_length(&socket->output);
		uint64_t sent = socket->put - queued;

		if (queued == 0 || sent != socket->sent)
			socket->moved_ms = now_ms;
		socket->sent = sent;
		sockets->events->on_tick(socket, now_ms);
	}
}

static void flush(struct socket *socket, const struct stream_piece *piece);

static void flush_dirty(struct loop_task *task)
{
	struct sockets *sockets = LIST_ENTRY(task, struct sockets, flush);

	while (!list_is_empty(&sockets->dirty))
		flush(LIST_ENTRY(list_first(&sockets->dirty), struct socket,
				 dirty),
		      NULL);
}

void sockets_init(struct sockets *sockets, struct loop *loop,
		  const struct socket_events *events,
		  const struct socket_limits *limits)
{
	*sockets = (struct sockets){ .loop = loop,
				     .events = events,
				     .limits = *limits,
				     .flush = { .run = flush_dirty } };
	if (sockets->limits.high_bytes == 0)
		sockets->limits.high_bytes = HIGH_BYTES;
	if (sockets->limits.most_bytes == 0)
		sockets->limits.most_bytes = MOST_BYTES;
	if (sockets->limits.stall_ms == 0)
		sockets->limits.stall_ms = STALL_MS;
	list_init(&sockets->all);
	list_init(&sockets->dirty);
	sockets->tick = timer_open(loop, on_tick, sockets, false);
}

void sockets_fini(struct sockets *sockets)
{
	MUST(sockets->count == 0);
	loop_undefer(&sockets->flush);
	timer_close(sockets->tick);
	buffer_fini(&sockets->spare);
}

/* ---- Writing ---- */

bool socket_is_full(const struct socket *socket)
{
	return buffer_length(&socket->output) +
		       stream_queued_bytes(socket->stream) >
	       socket->sockets->limits.high_bytes;
}

bool socket_is_sent(const struct socket *socket)
{
	return buffer_length(&socket->output) == 0 &&
	       stream_queued_bytes(socket->stream) == 0;
}

bool socket_is_stuck(const struct socket *socket, uint64_t now_ms)
{
	return socket->is_over ||
	       now_ms - socket->moved_ms > socket->sockets->limits.stall_ms;
}

static void give_back(struct sockets *sockets, struct buffer *buffer)
{
	if (sockets->spare.data != NULL || buffer->capacity > SPARE_BYTES) {
		buffer_fini(buffer);
		return;
	}
	buffer_truncate(buffer, 0);
	sockets->spare = *buffer;
	*buffer = (struct buffer){ 0 };
}

/* A piece goes behind what is in the output. */
static void flush(struct socket *socket, const struct stream_piece *piece)
{
	struct iovec part = { buffer_bytes(&socket->output),
			      buffer_length(&socket->output) };
	size_t parts = part.iov_len > 0;

	if (list_is_linked(&socket->dirty))
		list_remove(&socket->dirty);
	if (piece != NULL)
		stream_write_piece(socket->stream, &part, parts, piece);
	else if (parts > 0)
		stream_write(socket->stream, &part, parts);
	if (socket->output.data != NULL)
		give_back(socket->sockets, &socket->output);
	if (socket_is_full(socket) && !socket->is_held) {
		socket->is_held = true;
		stream_stop_reading(socket->stream);
	}
}

/* False: it is dropped. */
static bool may_write(struct socket *socket, size_t length)
{
	if (socket->is_ended || socket->is_over || length == 0)
		return false;
	if (buffer_length(&socket->output) +
		    stream_queued_bytes(socket->stream) >
	    socket->sockets->limits.most_bytes) {
		socket->is_over = true;
		return false;
	}
	socket->put += length;
	return true;
}

void socket_write(struct socket *socket, const void *bytes, size_t length)
{
	struct sockets *sockets = socket->sockets;

	if (!may_write(socket, length))
		return;
	if (socket->output.data == NULL) {
		socket->output = sockets->spare;
		sockets->spare = (struct buffer){ 0 };
	}
	buffer_append(&socket->output, bytes, length);
	if (list_is_linked(&socket->dirty))
		return;
	list_add_last(&sockets->dirty, &socket->dirty);
	if (!socket->is_reading)
		loop_defer(sockets->loop, &sockets->flush);
}

static void release(void *shared)
{
	shared_release(shared);
}

void socket_write_shared(struct socket *socket, struct shared *shared)
{
	if (shared->length < SHARED_BYTES) {
		socket_write(socket, shared->bytes, shared->length);
		return;
	}
	if (!may_write(socket, shared->length))
		return;
	flush(socket, &(struct stream_piece){ .bytes = shared->bytes,
					      .descriptor = -1,
					      .length = shared->length,
					      .release = release,
					      .arg = shared_hold(shared) });
}

void socket_end(struct socket *socket)
{
	if (socket->is_ended)
		return;
	flush(socket, NULL);
	socket->is_ended = true;
	stream_shutdown(socket->stream);
	/* What it sends meanwhile is read, or its end would not be seen. */
	socket->is_held = false;
	stream_start_reading(socket->stream);
}

/* ---- Reading ---- */

static void read_bytes(struct socket *socket, const uint8_t *bytes,
		       size_t length)
{
	const struct socket_events *events = socket->sockets->events;

	socket->is_reading = true;
	do {
		size_t used = events->on_bytes(socket, bytes, length);

		bytes += used;
		length -= used;
		flush(socket, NULL);
	} while (length > 0 && !socket_is_full(socket));
	if (length > 0)
		buffer_append(&socket->input, bytes, length);
	socket->is_reading = false;
	events->on_settle(socket); /* it may be gone */
}

static void on_bytes(void *owner, const uint8_t *bytes, size_t length)
{
	struct socket *socket = owner;

	socket->heard_ms = loop_now_ms(socket->sockets->loop);
	/* A read that was under way when it became full. */
	if (buffer_length(&socket->input) > 0) {
		buffer_append(&socket->input, bytes, length);
		return;
	}
	read_bytes(socket, bytes, length);
}

static void on_end(void *owner, int error)
{
	struct socket *socket = owner;

	socket->sockets->events->on_end(socket, error);
}

/* All has left: reads on, first what was kept. */
static void on_written(void *owner)
{
	struct socket *socket = owner;

	if (!socket->is_held)
		return;
	socket->is_held = false;
	/* It was not listened to. */
	socket->heard_ms = loop_now_ms(socket->sockets->loop);
	stream_start_reading(socket->stream);
	struct buffer input = socket->input;

	if (buffer_length(&input) == 0)
		return;
	socket->input = (struct buffer){ 0 };
	read_bytes(socket, buffer_bytes(&input), buffer_length(&input));
	buffer_fini(&input);
}

static const struct stream_events stream_events = { on_bytes, on_end,
						    on_written };

void socket_open(struct socket *socket, struct sockets *sockets,
		 struct stream *stream, void (*on_closed)(void *token),
		 void *token)
{
	socket->sockets = sockets;
	socket->stream = stream;
	socket->heard_ms = socket->moved_ms = loop_now_ms(sockets->loop);
	socket->on_closed = on_closed;
	socket->token = token;
	list_add_last(&sockets->all, &socket->link);
	if (sockets->count++ == 0)
		timer_start(sockets->tick, TICK_MS, TICK_MS);
	stream_set_events(stream, &stream_events, socket);
}

void socket_start(struct socket *socket, const void *early, size_t length)
{
	stream_start_reading(socket->stream);
	if (length > 0)
		read_bytes(socket, early, length);
	else
		flush(socket, NULL);
}

void socket_close(struct socket *socket)
{
	struct sockets *sockets = socket->sockets;
	void (*on_closed)(void *token) = socket->on_closed;
	void *token = socket->token;

	MUST(!socket->is_reading);
	if (list_is_linked(&socket->dirty))
		list_remove(&socket->dirty);
	list_remove(&socket->link);
	if (--sockets->count == 0)
		timer_stop(sockets->tick);
	buffer_fini(&socket->output);
	buffer_fini(&socket->input);
	/* Closing would not do: other processes may hold the socket. Fails
	 * where the client is gone. */
	DISCARD(shutdown(stream_release(socket->stream), SHUT_RDWR));
	socket->stream = NULL;
	on_closed(token);
}
