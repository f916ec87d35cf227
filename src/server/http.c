#include "server/http.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "base/mem.h"
#include "base/must.h"
#include "server/http2.h"
#include "server/http_internal.h"

#define MAGIC            0x68747470u
#define INPUT_BYTES_MAX  65536        /* behind a request with the handler */
#define OUTPUT_BYTES_MAX 65536        /* gathered before it is written */
#define QUEUED_BYTES_MAX (256 * 1024) /* for a slow client */

const char *const http_protocols[] = { "h2", "http/1.1", "http/1.0", NULL };

const char http_plain_reply[] =
	"HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain\r\n"
	"Content-Length: 37\r\nConnection: close\r\n\r\n"
	"this port speaks HTTPS: use https://\n";

#define TO(phase) (1u << (phase))

static const unsigned may_become[PHASES] = {
	[PHASE_WAITING] =
		TO(PHASE_HEAD) | TO(PHASE_BLOCKED) | TO(PHASE_CLOSING),
	[PHASE_HEAD] = TO(PHASE_BODY) | TO(PHASE_HANDLED) | TO(PHASE_TAKEN) |
		       TO(PHASE_CLOSING),
	[PHASE_BODY] = TO(PHASE_HANDLED) | TO(PHASE_CLOSING),
	[PHASE_HANDLED] =
		TO(PHASE_WAITING) | TO(PHASE_TAKEN) | TO(PHASE_CLOSING),
	[PHASE_TAKEN] = 0,
	[PHASE_BLOCKED] = TO(PHASE_WAITING) | TO(PHASE_CLOSING),
	[PHASE_CLOSING] = TO(PHASE_LINGERING),
	[PHASE_LINGERING] = 0,
};

void http_connection_move(struct connection *connection, enum phase phase)
{
	MUST((may_become[connection->phase] & TO(phase)) != 0);
	connection->phase = (uint8_t)phase;
	connection->since_ms = loop_now_ms(connection->server->loop);
}

void http_request_tell_gone(struct muster_http *http, int error)
{
	struct http_flow *flow = http->flow;
	muster_http_body_fn on_body = flow->on_body;
	muster_http_gone_fn on_gone = flow->on_gone;

	if (http->is_body_open && on_body != NULL) {
		http->is_body_open = false;
		flow->on_body = NULL;
		on_body(http, NULL, 0, error, flow->body_arg);
	} else if (on_gone != NULL && !http->has_told_end) {
		http->has_told_end = true;
		on_gone(http, error, flow->gone_arg);
	}
}

void http_request_detach(struct muster_http *http, int error)
{
	http->connection = NULL;
	if (http->flow == NULL)
		return;
	loop_undefer(&http->flow->task);
	http_request_tell_gone(http, error);
}

void http_count_connection(const struct http_server *server, uint64_t by)
{
	if (server->meters != NULL)
		meter_add(server->meters, METER_CONNECTIONS, by);
}

static void unlink_connection(struct connection *connection)
{
	struct http_server *server = connection->server;

	loop_undefer(&connection->task);
	list_remove(&connection->link);
	http_count_connection(server, UINT64_MAX);
	if (--server->connection_count == 0)
		timer_stop(server->sweep);
	if (server->probed == connection)
		server->probed = NULL;
}

void http_connection_finish(struct connection *connection)
{
	http_closed_fn on_closed = connection->on_closed;
	void *token = connection->token;
	struct muster_http *handled = NULL;
	http_taken_fn on_taken = NULL;
	void *taken_arg = connection->taken_arg;

	MUST(connection->magic == MAGIC && !connection->is_processing);
	/* Closing would not do: other processes may hold the socket. Fails
	 * where the client is gone. */
	DISCARD(shutdown(stream_release(connection->stream), SHUT_RDWR));
	if (connection->phase == PHASE_HANDLED)
		handled = connection->request;
	else if (connection->request != NULL)
		http_request_give_back(connection->server, connection->request);
	if (connection->phase == PHASE_TAKEN)
		on_taken = connection->on_taken;
	unlink_connection(connection);
	buffer_fini(&connection->input);
	connection->magic = 0;
	free(connection);
	if (handled != NULL)
		http_request_detach(handled, -ECONNRESET);
	if (on_taken != NULL)
		on_taken(NULL, taken_arg);
	on_closed(token);
}

/* The stream, and what came on it, are another protocol's. */
static void hand_over(struct connection *connection)
{
	struct http_taken taken = {
		.stream = connection->stream,
		.input = connection->input,
		.has_ended = connection->has_ended,
		.on_closed = connection->on_closed,
		.token = connection->token,
	};
	http_taken_fn on_taken = connection->on_taken;
	void *arg = connection->taken_arg;

	stream_stop_reading(connection->stream);
	unlink_connection(connection);
	connection->magic = 0;
	free(connection);
	on_taken(&taken, arg);
}

/* ---- Output ---- */

void http_connection_write(struct connection *connection,
			   const struct iovec *parts, size_t count,
			   const struct stream_piece *piece)
{
	/* What does not go at once is waited for by http_connection_settle().
	 */
	if (connection->carrier != NULL)
		connection->carrier->write(connection, parts, count, piece);
	else if (piece != NULL)
		DISCARD(stream_write_piece(connection->stream, parts, count,
					   piece));
	else if (count > 0)
		DISCARD(stream_write(connection->stream, parts, count));
}

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
	DISCARD(stream_write(connection->stream, parts,
			     extra_length > 0 ? 2 : 1));
	buffer_truncate(output, mark);
	buffer_trim(output, 2 * OUTPUT_BYTES_MAX);
}

size_t http_output_begin(struct connection *connection)
{
	struct http_server *server = connection->server;
	size_t mark = server->mark;

	/* Another connection's replies may be gathering. */
	if (!connection->is_processing)
		server->mark = buffer_length(&server->output);
	return mark;
}

void http_output_end(struct connection *connection, size_t mark)
{
	if (connection->is_processing)
		return;
	http_connection_flush(connection, NULL, 0);
	connection->server->mark = mark;
}

uint64_t http_connection_queued(const struct connection *connection)
{
	return connection->carrier != NULL
		       ? connection->carrier->queued(connection)
		       : stream_queued_bytes(connection->stream);
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

void http_connection_refuse(struct connection *connection, int status,
			    const char *reason)
{
	http_reply_refusal(connection, status, reason,
			   connection->request->is_head);
	if (connection->server->access_log != NULL)
		http_log_request(connection->request, status,
				 strlen(reason) + 1);
	http_request_give_back(connection->server, connection->request);
	connection->request = NULL;
	connection->lingers = true;
	http_connection_move(connection, PHASE_CLOSING);
}

void http_connection_abandon(struct connection *connection, int status,
			     const char *reason, int error)
{
	struct muster_http *http = connection->request;
	size_t mark = http_output_begin(connection);

	if (!http->is_begun)
		http_reply_refusal(connection, status, reason, http->is_head);
	http_output_end(connection, mark);
	if (connection->server->access_log != NULL)
		http_log_request(http, http->is_begun ? http->status : status,
				 http->is_begun ? http->flow->sent
						: strlen(reason) + 1);
	connection->request = NULL;
	connection->lingers = true;
	http_connection_move(connection, PHASE_CLOSING);
	http_request_detach(http, error);
}

void http_connection_dispatch(struct connection *connection)
{
	struct http_server *server = connection->server;
	struct muster_http *http = connection->request;

	connection->requests++;
	http_connection_move(connection, PHASE_HANDLED);
	server->handler(http, server->arg);
	if (connection->phase == PHASE_HANDLED)
		http_request_own(http);
}

bool http_connection_take_head(struct connection *connection)
{
	struct muster_http *http = connection->request;
	const struct http1_head *head = &http->head;

	http->is_head = head->method.length == 4 &&
			memcmp(http->text + head->method.start, "HEAD", 4) == 0;
	if (head->form != HTTP1_AUTHORITY)
		return true;
	http_connection_refuse(connection, 501, "CONNECT is not supported");
	return false;
}

/* Whole bodies are used where they lie; returns how much was used. */
static size_t take_message(struct connection *connection, size_t length)
{
	struct http_server *server = connection->server;
	struct muster_http *http = connection->request;
	const struct http1_head *head = &http->head;
	size_t rest = length - head->length;

	if (!http_connection_take_head(connection))
		return length;
	if (head->is_chunked || head->content_length > rest ||
	    (server->on_head != NULL && head->content_length > 0 &&
	     (server->wants_head == NULL ||
	      server->wants_head(http, server->arg))))
		return http_body_begin(connection, length);
	if (head->content_length > server->limits.body_bytes) {
		http_connection_refuse(connection, 413,
				       "the body is too large");
		return length;
	}
	http->body_length = (size_t)head->content_length;
	connection->unread = rest - http->body_length;
	http_connection_dispatch(connection); /* the request may be gone */
	return length - connection->unread;
}

static void on_http2(const struct http_taken *taken, void *arg)
{
	if (taken != NULL)
		http2_open(arg, taken);
}

/* What HTTP/2 begins with is made to be refused by HTTP/1, so that looking for
 * it there costs no other request anything. */
static bool is_http2(struct connection *connection, const char *bytes,
		     size_t length)
{
	struct http_server *server = connection->server;

	if (connection->requests > 0 || !http2_may_begin(bytes, length))
		return false;
	if (length < HTTP2_PREFACE_BYTES) {
		/* Read again when there is more of it. */
		http1_head_init(&connection->request->head);
		return true;
	}
	http_request_give_back(server, connection->request);
	connection->request = NULL;
	connection->on_taken = on_http2;
	connection->taken_arg = server;
	http_connection_move(connection, PHASE_TAKEN);
	return true;
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
		if (is_http2(connection, bytes, length))
			return 0;
		http_connection_refuse(connection, http->head.status,
				       http->head.reason);
		return length;
	case HTTP1_DONE:
		break;
	}
	return take_message(connection, length);
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
		if (connection->server->access_log != NULL)
			connection->request->began_ms =
				loop_now_ms(connection->server->loop);
		http_connection_move(connection, PHASE_HEAD);
		return read_head(connection, bytes, length);
	case PHASE_HEAD:
		return read_head(connection, bytes, length);
	case PHASE_BODY:
		return http_body_read(connection, bytes, length);
	case PHASE_HANDLED:
		if (http_body_flows(connection->request))
			return http_body_read(connection, bytes, length);
		break;
	case PHASE_TAKEN:
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
			http_connection_move(connection, PHASE_BLOCKED);
	} while (some > 0 && used < length);
	connection->unread = 0;
	connection->is_processing = false;
	http_connection_flush(connection, NULL, 0);
	return used;
}

/* ---- What a connection waits for next ---- */

void http_connection_set_nodelay(struct connection *connection)
{
	int on = 1;

	if (connection->is_nodelay)
		return;
	connection->is_nodelay = true;
	/* Fails for a unix socket, which does not need it. */
	DISCARD(setsockopt(stream_descriptor(connection->stream), IPPROTO_TCP,
			   TCP_NODELAY, &on, sizeof(on)));
}

static void linger(struct connection *connection)
{
	http_connection_move(connection, PHASE_LINGERING);
	buffer_fini(&connection->input);
	stream_shutdown(connection->stream);
	stream_start_reading(connection->stream);
}

/* Over TLS an end is said, which takes its time where the socket is full: it
 * is not to be cut off. */
static bool must_linger(const struct connection *connection)
{
	return !connection->has_ended &&
	       (connection->lingers || stream_is_secret(connection->stream));
}

/* Will what is missing of the body that the handler reads never come? */
static bool is_cut_short(const struct connection *connection)
{
	return connection->has_ended && http_body_flows(connection->request) &&
	       buffer_length(&connection->input) == 0;
}

void http_connection_settle(struct connection *connection)
{
	switch ((enum phase)connection->phase) {
	case PHASE_WAITING:
	case PHASE_HEAD:
	case PHASE_BODY:
		if (!connection->has_ended) {
			/* Kept: replies may leave in several writes. */
			if (connection->requests > 0)
				http_connection_set_nodelay(connection);
			stream_start_reading(connection->stream);
			return;
		}
		/* There will be no more of it. */
		http_connection_move(connection, PHASE_CLOSING);
		break;
	case PHASE_TAKEN:
		hand_over(connection);
		return;
	case PHASE_HANDLED:
		if (!is_cut_short(connection)) {
			if (buffer_length(&connection->input) > INPUT_BYTES_MAX)
				stream_stop_reading(connection->stream);
			else
				stream_start_reading(connection->stream);
			return;
		}
		http_connection_abandon(connection, 400,
					"the body is not complete",
					-ECONNRESET);
		break;
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
	else if (must_linger(connection))
		linger(connection);
	else
		http_connection_finish(connection);
}

/* May what comes be worked on? */
static bool takes_input(const struct connection *connection)
{
	return connection->phase < PHASE_HANDLED ||
	       (connection->phase == PHASE_HANDLED &&
		http_body_flows(connection->request));
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
	http_connection_settle(connection);
}

static void on_bytes(void *owner, const uint8_t *bytes, size_t length)
{
	struct connection *connection = owner;
	struct buffer *input = &connection->input;
	size_t used = 0;

	MUST(connection->magic == MAGIC);
	if (connection->phase >= PHASE_CLOSING)
		return;
	if (connection->phase == PHASE_BODY ||
	    connection->phase == PHASE_HANDLED)
		connection->since_ms = loop_now_ms(connection->server->loop);
	if (buffer_length(input) > 0) {
		buffer_append(input, bytes, length);
		if (takes_input(connection)) {
			resume(connection);
			return;
		}
	} else {
		if (takes_input(connection))
			used = process(connection, (const char *)bytes, length);
		if (connection->phase < PHASE_CLOSING)
			buffer_append(input, bytes + used, length - used);
	}
	http_connection_settle(connection);
}

/* A client that has left does the same as one that only sends no more. */
static void end_handled(struct connection *connection)
{
	struct muster_http *http = connection->request;
	bool is_body_open = http->is_body_open;

	http_connection_settle(connection);
	if (!is_body_open)
		http_request_tell_gone(http, 0);
}

static void on_end(void *owner, int error)
{
	struct connection *connection = owner;

	MUST(connection->magic == MAGIC);
	connection->has_ended = true;
	if (error < 0 || connection->phase == PHASE_LINGERING)
		http_connection_finish(connection);
	else if (connection->phase == PHASE_HANDLED &&
		 connection->request->flow != NULL)
		end_handled(connection);
	else
		http_connection_settle(connection);
}

static void on_written(void *owner)
{
	struct connection *connection = owner;

	MUST(connection->magic == MAGIC);
	if (connection->phase == PHASE_HANDLED) {
		if (connection->request->flow != NULL)
			http_stream_drained(connection->request);
	} else if (connection->phase == PHASE_BLOCKED) {
		http_connection_move(connection, PHASE_WAITING);
		resume(connection);
	} else {
		http_connection_settle(connection);
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
		http_connection_settle(connection);
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
	if (connection->carrier != NULL) {
		connection->carrier->replied(connection);
		return;
	}
	connection->lingers = lingers;
	http_connection_move(connection,
			     is_last ? PHASE_CLOSING : PHASE_WAITING);
	if (connection->is_processing)
		return;
	if (connection->phase == PHASE_WAITING && is_blocked(connection))
		http_connection_move(connection, PHASE_BLOCKED);
	/* Not at once: the caller is in the middle of something. */
	if (connection->phase == PHASE_WAITING &&
	    buffer_length(&connection->input) > 0)
		loop_defer(server->loop, &connection->task);
	else
		http_connection_settle(connection);
}

/* ---- Other protocols ---- */

int http_take_over(struct muster_http *http, const char *protocol,
		   http_taken_fn on_taken, void *arg)
{
	struct connection *connection = http->connection;
	struct http_server *server;

	if (connection == NULL)
		return -EPIPE;
	server = connection->server;
	if (!http->head.wants_upgrade || http->head.is_chunked ||
	    http->head.content_length > 0 || http->is_begun ||
	    connection->phase != PHASE_HANDLED)
		return -EINVAL;
	size_t mark = http_output_begin(connection);

	buffer_append_format(&server->output,
			     "HTTP/1.1 101 Switching Protocols\r\n"
			     "Connection: Upgrade\r\nUpgrade: %s\r\n",
			     protocol);
	buffer_append(&server->output, buffer_bytes(&http->fields),
		      buffer_length(&http->fields));
	buffer_append_text(&server->output, "\r\n");
	http_output_end(connection, mark);
	connection->on_taken = on_taken;
	connection->taken_arg = arg;
	connection->request = NULL;
	http_request_give_back(server, http);
	http_connection_move(connection, PHASE_TAKEN);
	if (!connection->is_processing)
		loop_defer(server->loop, &connection->task);
	return 0;
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
		.body_bytes = or_default(limits->body_bytes, HTTP_BODY_BYTES),
		.head_ms = or_default(limits->head_ms, 10000),
		.body_ms = or_default(limits->body_ms, 10000),
		.body_rate = or_default(limits->body_rate, 500),
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
	server->on_head = settings->on_head;
	server->wants_head = settings->wants_head;
	server->meters = settings->meters;
	server->refuse = settings->refuse;
	server->arg = settings->arg;
	server->limits = with_defaults(&settings->limits);
	server->head_limits = (struct http1_limits){
		.head_bytes = server->limits.head_bytes,
		.url_bytes = server->limits.url_bytes,
		.headers = server->limits.headers,
	};
	server->drain_idle_ms = settings->drain_idle_ms;
	server->gzip_bytes = settings->gzip_bytes;
	server->trusts_forwarded = settings->trusts_forwarded;
	server->access_log = settings->access_log;
	server->tls = settings->tls;
	if (settings->trusted_proxies != NULL)
		DISCARD(network_list_read(&server->trusted,
					  settings->trusted_proxies,
					  &(struct problem){ 0 }));
	if (name != NULL && http1_is_value(name, strlen(name)))
		server->server_header = mem_format("Server: %s\r\n", name);
	list_init(&server->connections);
	server->http2 = http2_shared_new();
	server->sweep = timer_open(loop, http_sweep, server, false);
	return server;
}

void http_server_free(struct http_server *server)
{
	struct list *link;

	if (server == NULL)
		return;
	while ((link = list_first(&server->connections)) != NULL)
		http_connection_finish(
			LIST_ENTRY(link, struct connection, link));
	http2_shared_free(server->http2);
	timer_close(server->sweep);
	access_log_close(server->access_log);
	network_list_fini(&server->trusted);
	tls_context_free(server->tls);
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
	connection->stream =
		server->tls == NULL
			? stream_open(server->loop, descriptor, &stream_events,
				      connection)
			: tls_accept(server->loop, descriptor, server->tls,
				     &stream_events, connection);
	connection->task.run = on_task;
	connection->since_ms = loop_now_ms(server->loop);
	connection->on_closed = on_closed;
	connection->token = token;
	list_add_last(&server->connections, &connection->link);
	http_count_connection(server, 1);
	if (server->connection_count++ == 0)
		http_sweep_start(server);
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
	http2_drain(server);
	if (server->connection_count > 0)
		http_sweep_start(server);
}

size_t http_server_connections(const struct http_server *server)
{
	return server->connection_count;
}
