/* Bodies, waited for or not: see http_internal.h. */
#include <errno.h>

#include "base/must.h"
#include "server/http_internal.h"

/* ---- Before the body ---- */

/* Asks the application; false: it has answered. */
static bool decide(struct connection *connection)
{
	struct http_server *server = connection->server;
	struct muster_http *http = connection->request;

	http->is_deciding = true;
	server->on_head(http, server->arg);
	if (connection->request != http)
		return false;
	http->is_deciding = false;
	/* What was looked at must stay where it is, so the body goes apart. */
	http_request_own(http);
	DISCARD(http_request_flow(http));
	http->is_apart = true;
	return true;
}

static uint64_t limit_of(const struct connection *connection)
{
	const struct muster_http *http = connection->request;

	return http->is_limited ? http->body_limit
				: connection->server->limits.body_bytes;
}

void http_body_begin_waiting(struct muster_http *http)
{
	http->body_since_ms = loop_now_ms(http->connection->server->loop);
	http->body_mark = http->body_length;
}

size_t http_body_begin(struct connection *connection, size_t length)
{
	struct muster_http *http = connection->request;
	size_t head_length = http->head.length;
	bool expects_continue =
		http->head.expects_continue && length == head_length;

	/* All of it is of no more use where the connection closes. */
	if (connection->server->on_head != NULL && !decide(connection))
		return length;
	if (http->head.content_length > limit_of(connection)) {
		http_connection_refuse(connection, 413,
				       "the body is too large");
		return length;
	}
	http_body_begin_waiting(http);
	if (http->is_streamed) {
		http->owes_continue = expects_continue;
		http->is_body_open = true;
		http_connection_dispatch(connection);
		return head_length;
	}
	if (!http->is_apart)
		http_request_store_head(http);
	http_connection_move(connection, PHASE_BODY);
	if (expects_continue)
		http_reply_continue(connection);
	return head_length;
}

/* ---- The body ---- */

struct piece {
	const char *data;
	size_t length;
	size_t used; /* of the input */
	bool is_last;
};

/* Returns the length of the input: nothing of it is of use any more. */
static size_t refuse(struct connection *connection, int status,
		     const char *reason, size_t length)
{
	if (connection->phase == PHASE_HANDLED)
		http_connection_abandon(connection, status, reason,
					status == 413 ? -EMSGSIZE : -EPROTO);
	else
		http_connection_refuse(connection, status, reason);
	return length;
}

static struct piece sized_piece(const struct muster_http *http,
				const char *bytes, size_t length)
{
	size_t left = (size_t)http->head.content_length - http->body_length;
	size_t used = length < left ? length : left;

	return (struct piece){ bytes, used, used, used == left };
}

/* The status to refuse it with, or 0. */
static int chunked_piece(struct connection *connection, const char *bytes,
			 size_t length, struct piece *piece)
{
	struct muster_http *http = connection->request;
	uint64_t room = limit_of(connection) - http->body_length;
	size_t data;
	enum http1_answer answer = http1_chunks_read(
		&http->chunks, bytes, length, &piece->used, &data);

	if (answer == HTTP1_REFUSED)
		return http->chunks.status;
	/* Judged by the size a chunk announces, before its data are here. */
	if (data > room || http->chunks.left > room - data) {
		http->chunks.reason = "the body is too large";
		return 413;
	}
	piece->data = bytes + piece->used - data;
	piece->length = data;
	piece->is_last = answer == HTTP1_DONE;
	return 0;
}

/* HTTP/2 has taken it out of its frames; the end is told apart. */
static int framed_piece(const struct connection *connection, const char *bytes,
			size_t length, struct piece *piece)
{
	const struct muster_http *http = connection->request;

	*piece = (struct piece){ bytes, length, length, false };
	return length > limit_of(connection) - http->body_length ? 413 : 0;
}

static struct buffer *gathers_in(struct muster_http *http)
{
	if (!http->is_apart)
		return &http->storage;
	MUST(http->flow != NULL);
	return &http->flow->body;
}

/* False: it was refused, or answered. */
static bool take_piece(struct connection *connection, const struct piece *piece)
{
	struct muster_http *http = connection->request;
	const char *reason;
	int status = 0;

	http->body_length += piece->length;
	if (connection->phase == PHASE_HANDLED) {
		http->flow->on_body(http, piece->data, piece->length, 0,
				    http->flow->body_arg);
		return connection->request == http;
	}
	if (http->flow != NULL && http->flow->parts != NULL)
		status = http_parts_feed(http->flow->parts, piece->data,
					 piece->length, &reason);
	else
		buffer_append(gathers_in(http), piece->data, piece->length);
	if (status != 0)
		http_connection_refuse(connection, status, reason);
	return status == 0;
}

void http_body_end_stream(struct muster_http *http)
{
	muster_http_body_fn on_body = http->flow->on_body;

	http->is_body_open = http->owes_end = false;
	on_body(http, NULL, 0, 0, http->flow->body_arg);
}

void http_body_finish(struct connection *connection)
{
	struct muster_http *http = connection->request;
	const char *reason;
	int status = 0;

	if (connection->phase == PHASE_HANDLED) {
		http->owes_end = http->is_body_paused;
		if (!http->owes_end)
			http_body_end_stream(http);
		return;
	}
	if (http->flow != NULL && http->flow->parts != NULL)
		status = http_parts_end(http->flow->parts, &reason);
	if (status != 0) {
		http_connection_refuse(connection, status, reason);
		return;
	}
	if (http->is_apart)
		/* A body often is text. */
		*buffer_reserve(gathers_in(http), 1) = 0;
	else
		http_request_seal(http);
	http_connection_dispatch(connection);
}

size_t http_body_read(struct connection *connection, const char *bytes,
		      size_t length)
{
	struct muster_http *http = connection->request;
	struct piece piece = { 0 };

	if (connection->carrier != NULL) {
		if (framed_piece(connection, bytes, length, &piece) != 0)
			return refuse(connection, 413, "the body is too large",
				      length);
	} else if (http->head.is_chunked) {
		int status = chunked_piece(connection, bytes, length, &piece);

		if (status != 0)
			return refuse(connection, status, http->chunks.reason,
				      length);
	} else {
		piece = sized_piece(http, bytes, length);
	}
	connection->unread = length - piece.used;
	if (piece.length > 0 && !take_piece(connection, &piece))
		return length;
	if (piece.is_last)
		http_body_finish(connection);
	return piece.used;
}

/* ---- The application's side ---- */

void muster_http_limit_body(struct muster_http *http, uint64_t bytes)
{
	MUST(http->is_deciding);
	http->is_limited = true;
	http->body_limit = bytes;
}

void muster_http_stream_body(struct muster_http *http)
{
	MUST(http->is_deciding);
	http->is_streamed = true;
}

/* What has come already is worked on soon. */
static void go_on(struct muster_http *http)
{
	struct connection *connection = http->connection;
	struct loop *loop = connection->server->loop;

	connection->since_ms = loop_now_ms(loop);
	http_body_begin_waiting(http);
	if (!connection->is_processing)
		loop_defer(loop, &connection->task);
}

int muster_http_read_body(struct muster_http *http, muster_http_body_fn on_body,
			  void *arg)
{
	if (!http->is_streamed || http->flow->on_body != NULL)
		return -EINVAL;
	if (http->connection == NULL)
		return -EPIPE;
	http->flow->on_body = on_body;
	http->flow->body_arg = arg;
	if (http->owes_continue && http->connection->phase == PHASE_HANDLED) {
		size_t mark = http_output_begin(http->connection);

		http_reply_continue(http->connection);
		http_output_end(http->connection, mark);
	}
	go_on(http);
	return 0;
}

void muster_http_pause_body(struct muster_http *http)
{
	http->is_body_paused = true;
}

void muster_http_resume_body(struct muster_http *http)
{
	if (!http->is_body_paused)
		return;
	http->is_body_paused = false;
	if (http->connection == NULL || !http->is_body_open)
		return;
	if (http->owes_end)
		loop_defer(http->connection->server->loop, &http->flow->task);
	else
		go_on(http);
}
