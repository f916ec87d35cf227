#include "server/http.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "base/mem.h"
#include "base/must.h"
#include "server/http_internal.h"

#define MAGIC            0x68747470u
#define LINGER_MS        2000
#define SWEEP_MS_MAX     1000
#define INPUT_BYTES_MAX  65536        /* behind a request with the handler */
#define OUTPUT_BYTES_MAX 65536        /* gathered before it is written */
#define QUEUED_BYTES_MAX (256 * 1024) /* for a slow client */

#define TO(phase) (1u << (phase))

static const unsigned may_become[PHASES] = {
	[PHASE_WAITING] =
		TO(PHASE_HEAD) | TO(PHASE_BLOCKED) | TO(PHASE_CLOSING),
	[PHASE_HEAD] = TO(PHASE_BODY) | TO(PHASE_HANDLED) | TO(PHASE_CLOSING),
	[PHASE_BODY] = TO(PHASE_HANDLED) | TO(PHASE_CLOSING),
	[PHASE_HANDLED] = TO(PHASE_WAITING) | TO(PHASE_CLOSING),
	[PHASE_BLOCKED] = TO(PHASE_WAITING) | TO(PHASE_CLOSING),
	[PHASE_CLOSING] = TO(PHASE_LINGERING),
	[PHASE_LINGERING] = 0,
};

static void move(struct connection *connection, enum phase phase)
{
	MUST((may_become[connection->phase] & TO(phase)) != 0);
	connection->phase = (uint8_t)phase;
	connection->since_ms = loop_now_ms(connection->server->loop);
}

/* Its end: the descriptor is the caller's again. */
static void finish(struct connection *connection)
{
	struct http_server *server = connection->server;
	http_closed_fn on_closed = connection->on_closed;
	void *token = connection->token;

	MUST(connection->magic == MAGIC && !connection->is_processing);
	/* Closing would not do: other processes may hold the socket. Fails
	 * where the client is gone. */
	DISCARD(shutdown(stream_release(connection->stream), SHUT_RDWR));
	if (connection->phase == PHASE_HANDLED)
		connection->request->connection = NULL;
	else if (connection->request != NULL)
		http_request_give_back(server, connection->request);
	loop_undefer(&connection->task);
	list_remove(&connection->link);
	if (--server->connection_count == 0)
		timer_stop(server->sweep);
	if (server->probed == connection)
		server->probed = NULL;
	buffer_fini(&connection->input);
	connection->magic = 0;
	free(connection);
	on_closed(token);
}

/* ---- Output ---- */

void http_connection_flush(struct connection *connection, const void *extra,
			   size_t extra_length)
{
	struct buffer *output = &connection->server->output;
	size_t mark = connection->server->mark;
	struct iovec parts[] = {
		{ .iov_base = buffer_length(output) > mark
				      ? buffer_bytes(output) + mark
				      : NULL,
		  .iov_len = buffer_length(output) - mark },
		{ .iov_base = (void *)(uintptr_t)extra,
		  .iov_len = extra_length },
	};

	if (parts[0].iov_len == 0)
		return;
	/* What does not go at once is waited for by settle(). */
	DISCARD(stream_write(connection->stream, parts,
			     extra_length > 0 ? 2 : 1));
	buffer_truncate(output, mark);
	buffer_trim(output, 2 * OUTPUT_BYTES_MAX);
}

static bool is_blocked(const struct connection *connection)
{
	return stream_queued_bytes(connection->stream) > QUEUED_BYTES_MAX;
}

/* ---- Input ---- */

bool http_connection_has_more(const struct connection *connection)
{
	return connection->unread > 0 ||
	       (!connection->is_processing &&
		buffer_length(&connection->input) > 0);
}

static void refuse(struct connection *connection, int status,
		   const char *reason)
{
	http_reply_refusal(connection, status, reason);
	http_request_give_back(connection->server, connection->request);
	connection->request = NULL;
	connection->lingers = true;
	move(connection, PHASE_CLOSING);
}

static void dispatch(struct connection *connection)
{
	struct http_server *server = connection->server;
	struct muster_http *http = connection->request;

	connection->requests++;
	move(connection, PHASE_HANDLED);
	server->handler(http, server->arg);
	if (connection->phase == PHASE_HANDLED)
		http_request_own(http);
}

/* Whole bodies are used where they lie; returns how much was used. */
static size_t take_message(struct connection *connection, size_t length)
{
	struct muster_http *http = connection->request;
	const struct http1_head *head = &http->head;
	size_t rest = length - head->length;

	http->is_head = head->method.length == 4 &&
			memcmp(http->text + head->method.start, "HEAD", 4) == 0;
	if (head->form == HTTP1_AUTHORITY) {
		refuse(connection, 501, "CONNECT is not supported");
		return length;
	}
	if (head->content_length > connection->server->limits.body_bytes) {
		refuse(connection, 413, "the body is too large");
		return length;
	}
	if (!head->is_chunked && head->content_length <= rest) {
		http->body_length = (size_t)head->content_length;
		connection->unread = rest - http->body_length;
		dispatch(connection); /* the request may be gone */
		return length - connection->unread;
	}
	http_request_store_head(http);
	move(connection, PHASE_BODY);
	if (head->expects_continue && rest == 0)
		http_reply_continue(connection);
	return head->length;
}

static size_t read_head(struct connection *connection, const char *bytes,
			size_t length)
{
	struct http_server *server = connection->server;
	struct muster_http *http = connection->request;

	http->text = bytes;
	switch (http1_head_read(&http->head, http->headers,
				&server->head_limits, bytes, length)) {
	case HTTP1_MORE:
	case HTTP1_DATA:
		return 0;
	case HTTP1_REFUSED:
		refuse(connection, http->head.status, http->head.reason);
		return length;
	case HTTP1_DONE:
		break;
	}
	return take_message(connection, length);
}

static void take_body(struct connection *connection, size_t unread)
{
	connection->unread = unread;
	http_request_seal(connection->request);
	dispatch(connection);
}

static size_t read_sized_body(struct connection *connection, const char *bytes,
			      size_t length)
{
	struct muster_http *http = connection->request;
	size_t left = (size_t)http->head.content_length - http->body_length;
	size_t used = length < left ? length : left;

	buffer_append(&http->storage, bytes, used);
	http->body_length += used;
	if (used == left)
		take_body(connection, length - used);
	return used;
}

static size_t read_chunked_body(struct connection *connection,
				const char *bytes, size_t length)
{
	struct muster_http *http = connection->request;
	size_t limit = connection->server->limits.body_bytes;
	size_t used;
	size_t data;
	enum http1_answer answer =
		http1_chunks_read(&http->chunks, bytes, length, &used, &data);

	/* Judged by the size a chunk announces, before its data are here. */
	if (answer != HTTP1_REFUSED &&
	    (data > limit - http->body_length ||
	     http->chunks.left > limit - http->body_length - data)) {
		refuse(connection, 413, "the body is too large");
		return length;
	}
	switch (answer) {
	case HTTP1_DATA:
		buffer_append(&http->storage, bytes + used - data, data);
		http->body_length += data;
		break;
	case HTTP1_DONE:
		take_body(connection, length - used);
		break;
	case HTTP1_REFUSED:
		refuse(connection, http->chunks.status, http->chunks.reason);
		return length;
	case HTTP1_MORE:
		break;
	}
	return used;
}

/* Returns how many bytes were used; 0: more are needed. */
static size_t read_some(struct connection *connection, const char *bytes,
			size_t length)
{
	switch ((enum phase)connection->phase) {
	case PHASE_WAITING:
		connection->is_fresh = false;
		connection->request = http_request_take(connection->server);
		connection->request->connection = connection;
		move(connection, PHASE_HEAD);
		return read_head(connection, bytes, length);
	case PHASE_HEAD:
		return read_head(connection, bytes, length);
	case PHASE_BODY:
		if (connection->request->head.is_chunked)
			return read_chunked_body(connection, bytes, length);
		return read_sized_body(connection, bytes, length);
	case PHASE_HANDLED:
	case PHASE_BLOCKED:
	case PHASE_CLOSING:
	case PHASE_LINGERING:
		break;
	}
	return 0;
}

/* Returns how many bytes were used. */
static size_t process(struct connection *connection, const char *bytes,
		      size_t length)
{
	struct http_server *server = connection->server;
	size_t used = 0;
	size_t some;

	connection->is_processing = true;
	server->mark = buffer_length(&server->output);
	do {
		some = read_some(connection, bytes + used, length - used);
		used += some;
		if (buffer_length(&server->output) > OUTPUT_BYTES_MAX)
			http_connection_flush(connection, NULL, 0);
		if (connection->phase == PHASE_WAITING &&
		    is_blocked(connection))
			move(connection, PHASE_BLOCKED);
	} while (some > 0 && used < length);
	connection->unread = 0;
	connection->is_processing = false;
	http_connection_flush(connection, NULL, 0);
	return used;
}

/* ---- What a connection waits for next ---- */

/* Once for a connection that was kept: replies may leave in several writes, and
 * none of them should wait for the client to acknowledge the one before. */
static void set_nodelay(struct connection *connection)
{
	int on = 1;

	if (connection->is_nodelay || connection->requests == 0)
		return;
	connection->is_nodelay = true;
	/* Fails for a unix socket, which does not need it. */
	DISCARD(setsockopt(stream_descriptor(connection->stream), IPPROTO_TCP,
			   TCP_NODELAY, &on, sizeof(on)));
}

static void linger(struct connection *connection)
{
	move(connection, PHASE_LINGERING);
	buffer_fini(&connection->input);
	stream_shutdown(connection->stream);
	stream_start_reading(connection->stream);
}

/* To be called last, after whatever has happened to a connection. */
static void settle(struct connection *connection)
{
	switch ((enum phase)connection->phase) {
	case PHASE_WAITING:
	case PHASE_HEAD:
	case PHASE_BODY:
		if (!connection->has_ended) {
			set_nodelay(connection);
			stream_start_reading(connection->stream);
			return;
		}
		/* There will be no more of it. */
		move(connection, PHASE_CLOSING);
		break;
	case PHASE_HANDLED:
		if (buffer_length(&connection->input) > INPUT_BYTES_MAX)
			stream_stop_reading(connection->stream);
		else
			stream_start_reading(connection->stream);
		return;
	case PHASE_BLOCKED:
		stream_stop_reading(connection->stream);
		return;
	case PHASE_CLOSING:
		break;
	case PHASE_LINGERING:
		return;
	}
	if (stream_queued_bytes(connection->stream) > 0)
		stream_stop_reading(connection->stream);
	else if (connection->lingers && !connection->has_ended)
		linger(connection);
	else
		finish(connection);
}

/* Goes on with what was received before. */
static void resume(struct connection *connection)
{
	struct buffer *input = &connection->input;

	if (buffer_length(input) > 0) {
		buffer_consume(input, process(connection,
					      (const char *)buffer_bytes(input),
					      buffer_length(input)));
		buffer_trim(input, 0);
	}
	settle(connection);
}

static void on_bytes(void *owner, const uint8_t *bytes, size_t length)
{
	struct connection *connection = owner;
	struct buffer *input = &connection->input;
	size_t used = 0;

	MUST(connection->magic == MAGIC);
	if (connection->phase >= PHASE_CLOSING)
		return;
	if (connection->phase == PHASE_BODY)
		connection->since_ms = loop_now_ms(connection->server->loop);
	if (buffer_length(input) > 0) {
		buffer_append(input, bytes, length);
		if (connection->phase < PHASE_HANDLED) {
			resume(connection);
			return;
		}
	} else {
		if (connection->phase < PHASE_HANDLED)
			used = process(connection, (const char *)bytes, length);
		if (connection->phase < PHASE_CLOSING)
			buffer_append(input, bytes + used, length - used);
	}
	settle(connection);
}

static void on_end(void *owner, int error)
{
	struct connection *connection = owner;

	MUST(connection->magic == MAGIC);
	connection->has_ended = true;
	if (error < 0 || connection->phase == PHASE_LINGERING)
		finish(connection);
	else
		settle(connection);
}

static void on_written(void *owner)
{
	struct connection *connection = owner;

	MUST(connection->magic == MAGIC);
	if (connection->phase == PHASE_BLOCKED) {
		move(connection, PHASE_WAITING);
		resume(connection);
	} else {
		settle(connection);
	}
}

static const struct stream_events stream_events = {
	.on_bytes = on_bytes,
	.on_end = on_end,
	.on_written = on_written,
};

/* The first read, before the loop is told of the connection at all. */
static void probe(struct connection *connection)
{
	struct http_server *server = connection->server;

	MUST(server->probed == NULL);
	server->probed = connection;
	stream_read_now(connection->stream);
	if (server->probed == connection)
		settle(connection);
	server->probed = NULL;
}

static void on_task(struct loop_task *task)
{
	struct connection *connection =
		LIST_ENTRY(task, struct connection, task);

	if (connection->is_fresh)
		probe(connection);
	else
		resume(connection);
}

void http_connection_replied(struct connection *connection, bool is_last,
			     bool lingers)
{
	struct http_server *server = connection->server;

	connection->request = NULL;
	connection->lingers = lingers;
	move(connection, is_last ? PHASE_CLOSING : PHASE_WAITING);
	if (connection->is_processing)
		return;
	if (connection->phase == PHASE_WAITING && is_blocked(connection))
		move(connection, PHASE_BLOCKED);
	/* Not at once: the caller is in the middle of something. */
	if (connection->phase == PHASE_WAITING &&
	    buffer_length(&connection->input) > 0)
		loop_defer(server->loop, &connection->task);
	else
		settle(connection);
}

/* ---- Time-outs ---- */

/* A request may be on its way in at this moment. */
static void close_idle(struct connection *connection)
{
	struct http_server *server = connection->server;

	server->probed = connection;
	stream_read_now(connection->stream);
	if (server->probed == connection &&
	    connection->phase == PHASE_WAITING) {
		connection->lingers = true;
		move(connection, PHASE_CLOSING);
		settle(connection);
	}
	server->probed = NULL;
}

static void time_out(struct connection *connection)
{
	switch ((enum phase)connection->phase) {
	case PHASE_WAITING:
		close_idle(connection);
		return;
	case PHASE_HEAD:
	case PHASE_BODY:
		connection->server->mark =
			buffer_length(&connection->server->output);
		refuse(connection, 408, "the request took too long");
		http_connection_flush(connection, NULL, 0);
		settle(connection);
		return;
	case PHASE_BLOCKED:
	case PHASE_CLOSING:
	case PHASE_LINGERING:
		finish(connection);
		return;
	case PHASE_HANDLED:
		return;
	}
}

static uint64_t deadline_ms(const struct connection *connection)
{
	const struct http_server *server = connection->server;
	const struct muster_http_limits *limits = &server->limits;
	uint64_t since_ms = connection->since_ms;

	switch ((enum phase)connection->phase) {
	case PHASE_WAITING:
		if (server->is_draining)
			return (since_ms > server->draining_since_ms
					? since_ms
					: server->draining_since_ms) +
			       server->drain_idle_ms;
		return since_ms + (connection->is_fresh ? limits->head_ms
							: limits->idle_ms);
	case PHASE_HEAD:
		return since_ms + limits->head_ms;
	case PHASE_BODY:
		return since_ms + limits->body_ms;
	case PHASE_BLOCKED:
	case PHASE_CLOSING:
		return since_ms + limits->idle_ms;
	case PHASE_LINGERING:
		return since_ms + LINGER_MS;
	case PHASE_HANDLED:
		break;
	}
	return UINT64_MAX;
}

static void notice_progress(struct connection *connection, uint64_t now_ms)
{
	size_t queued = stream_queued_bytes(connection->stream);

	if (queued != connection->queued)
		connection->since_ms = now_ms;
	connection->queued = queued;
}

/* Looks at each connection, which costs little as it is seldom done, and
 * spares the requests all bookkeeping but a time stamp. */
static void on_sweep(void *owner)
{
	struct http_server *server = owner;
	uint64_t now_ms = loop_now_ms(server->loop);
	struct list expired;
	struct list *link;

	/* Set aside first: one that is ended may end others. */
	list_init(&expired);
	LIST_EACH (&server->connections, each) {
		struct connection *connection =
			LIST_ENTRY(each, struct connection, link);

		if (connection->phase == PHASE_BLOCKED ||
		    connection->phase == PHASE_CLOSING)
			notice_progress(connection, now_ms);
		if (now_ms >= deadline_ms(connection)) {
			list_remove(each);
			list_add_last(&expired, each);
		}
	}
	while ((link = list_first(&expired)) != NULL) {
		list_remove(link);
		list_add_last(&server->connections, link);
		time_out(LIST_ENTRY(link, struct connection, link));
	}
}

static uint64_t smaller(uint64_t a, uint64_t b)
{
	return a < b ? a : b;
}

static void start_sweep(struct http_server *server)
{
	const struct muster_http_limits *limits = &server->limits;
	uint64_t shortest_ms = smaller(limits->idle_ms, LINGER_MS);

	shortest_ms = smaller(shortest_ms, limits->head_ms);
	shortest_ms = smaller(shortest_ms, limits->body_ms);
	if (server->is_draining)
		shortest_ms = smaller(shortest_ms, server->drain_idle_ms);

	uint64_t every_ms = smaller(shortest_ms / 4 + 1, SWEEP_MS_MAX);

	timer_start(server->sweep, every_ms, every_ms);
}

/* ---- The server ---- */

static uint32_t or_default(uint32_t value, uint32_t otherwise)
{
	return value > 0 ? value : otherwise;
}

static struct muster_http_limits
with_defaults(const struct muster_http_limits *limits)
{
	return (struct muster_http_limits){
		.head_bytes = or_default(limits->head_bytes, 16 * 1024),
		.url_bytes = or_default(limits->url_bytes, 8 * 1024),
		.headers = or_default(limits->headers, 100),
		.body_bytes = or_default(limits->body_bytes, 1024 * 1024),
		.head_ms = or_default(limits->head_ms, 10000),
		.body_ms = or_default(limits->body_ms, 10000),
		.idle_ms = or_default(limits->idle_ms, 60000),
		.requests = or_default(limits->requests, UINT32_MAX),
	};
}

struct http_server *http_server_new(struct loop *loop,
				    const struct http_settings *settings)
{
	struct http_server *server = mem_zalloc(sizeof(*server));
	const char *name = settings->server;

	server->loop = loop;
	server->handler = settings->handler;
	server->arg = settings->arg;
	server->limits = with_defaults(&settings->limits);
	server->head_limits = (struct http1_limits){
		.head_bytes = server->limits.head_bytes,
		.url_bytes = server->limits.url_bytes,
		.headers = server->limits.headers,
	};
	server->drain_idle_ms = settings->drain_idle_ms;
	if (name != NULL && http1_is_value(name, strlen(name)))
		server->server_header = mem_format("Server: %s\r\n", name);
	list_init(&server->connections);
	server->sweep = timer_open(loop, on_sweep, server, false);
	return server;
}

void http_server_free(struct http_server *server)
{
	struct list *link;

	if (server == NULL)
		return;
	while ((link = list_first(&server->connections)) != NULL)
		finish(LIST_ENTRY(link, struct connection, link));
	timer_close(server->sweep);
	http_request_free(server->spare);
	buffer_fini(&server->output);
	buffer_fini(&server->common);
	free(server->server_header);
	free(server);
}

static struct connection *connection_new(struct http_server *server,
					 int descriptor,
					 http_closed_fn on_closed, void *token)
{
	struct connection *connection = mem_zalloc(sizeof(*connection));

	connection->magic = MAGIC;
	connection->is_fresh = true;
	connection->server = server;
	connection->stream = stream_open(server->loop, descriptor,
					 &stream_events, connection);
	connection->task.run = on_task;
	connection->since_ms = loop_now_ms(server->loop);
	connection->on_closed = on_closed;
	connection->token = token;
	list_add_last(&server->connections, &connection->link);
	if (server->connection_count++ == 0)
		start_sweep(server);
	return connection;
}

void http_server_take(struct http_server *server, int descriptor,
		      http_closed_fn on_closed, void *token)
{
	probe(connection_new(server, descriptor, on_closed, token));
}

void http_server_take_later(struct http_server *server, int descriptor,
			    http_closed_fn on_closed, void *token)
{
	struct connection *connection =
		connection_new(server, descriptor, on_closed, token);

	loop_defer(server->loop, &connection->task);
}

void http_server_drain(struct http_server *server)
{
	if (server->is_draining)
		return;
	server->is_draining = true;
	server->draining_since_ms = loop_now_ms(server->loop);
	if (server->connection_count > 0)
		start_sweep(server);
}

size_t http_server_connections(const struct http_server *server)
{
	return server->connection_count;
}
