/* Replies in pieces: see http_internal.h. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/must.h"
#include "server/http_internal.h"

#define PENDING_BYTES_MAX 16384        /* gathered before it is sent */
#define UNSENT_BYTES_MAX  (256 * 1024) /* for a slow client */
#define SHARED_BYTES_MAX  65536        /* the same, of many on one connection */
#define COPIED_BYTES_MAX  4096         /* more than that is sent at once */

/* ---- What a request needs for it ---- */

static void send_pending(struct muster_http *http, const void *extra,
			 size_t extra_length, const struct stream_piece *piece);

static void on_task(struct loop_task *task)
{
	struct http_flow *flow = LIST_ENTRY(task, struct http_flow, task);
	struct muster_http *http = flow->http;

	send_pending(http, NULL, 0, NULL);
	if (http->owes_end && !http->is_body_paused)
		http_body_end_stream(http);
	else if (http->is_full && http_connection_queued(http->connection) == 0)
		http_stream_drained(http);
}

struct http_flow *http_request_flow(struct muster_http *http)
{
	if (http->flow == NULL) {
		http->flow = mem_zalloc(sizeof(*http->flow));
		http->flow->http = http;
		http->flow->task.run = on_task;
	}
	return http->flow;
}

void http_flow_free(struct muster_http *http)
{
	struct http_flow *flow = http->flow;

	http->flow = NULL;
	loop_undefer(&flow->task);
	http_parts_free(flow->parts);
	buffer_fini(&flow->body);
	buffer_fini(&flow->pending);
	free(flow);
}

/* ---- Output ---- */

static void send_pending(struct muster_http *http, const void *extra,
			 size_t extra_length, const struct stream_piece *piece)
{
	struct connection *connection = http->connection;
	struct buffer *pending = &http->flow->pending;
	struct iovec parts[2];
	size_t count = 0;

	http_connection_set_nodelay(connection);
	if (connection->is_processing)
		http_connection_flush(connection, NULL, 0);
	if (buffer_length(pending) > 0)
		parts[count++] =
			(struct iovec){ .iov_base = buffer_bytes(pending),
					.iov_len = buffer_length(pending) };
	if (extra_length > 0)
		parts[count++] =
			(struct iovec){ .iov_base = (void *)(uintptr_t)extra,
					.iov_len = extra_length };
	http_connection_write(connection, parts, count, piece);
	buffer_truncate(pending, 0);
	buffer_trim(pending, PENDING_BYTES_MAX);
}

/* Soon, together with what else is written in this turn. */
static void send_soon(struct muster_http *http)
{
	if (buffer_length(&http->flow->pending) >= PENDING_BYTES_MAX)
		send_pending(http, NULL, 0, NULL);
	else
		loop_defer(http->connection->server->loop, &http->flow->task);
}

void http_stream_drained(struct muster_http *http)
{
	muster_http_fn on_drain = http->flow->on_drain;

	http->is_full = false;
	if (on_drain != NULL)
		on_drain(http, http->flow->drain_arg);
}

uint64_t muster_http_unsent(const struct muster_http *http)
{
	if (http->connection == NULL || http->flow == NULL)
		return 0;
	return buffer_length(&http->flow->pending) +
	       http_connection_queued(http->connection);
}

/* ---- The reply ---- */

int muster_http_begin(struct muster_http *http, int status, const char *type,
		      uint64_t length)
{
	struct connection *connection = http->connection;
	struct http_reply reply = http_reply_of(http, status, type, "", length);
	bool is_known = length != MUSTER_HTTP_UNKNOWN;

	if (http->is_begun || !http_reply_is_good(status, type) ||
	    !reply.has_length || status == 205)
		return -EINVAL;
	if (connection == NULL)
		return -EPIPE;
	struct http_flow *flow = http_request_flow(http);

	http->is_begun = true;
	http->status = (uint16_t)status;
	flow->left = length;
	reply.has_length = is_known;
	if (connection->carrier != NULL) {
		connection->carrier->begin(connection, &reply);
		return 0;
	}
	http->is_chunked = !is_known && http->head.minor_version > 0;
	http->is_last = http_reply_is_last(http) ||
			(!is_known && !http->is_chunked && !http->is_head);
	reply.says_chunked = http->is_chunked;
	reply.says_close = http->is_last;
	reply.says_keep_alive = http->head.minor_version == 0;
	http_reply_head(connection->server, &reply, &flow->pending);
	send_soon(http);
	return 0;
}

/* 0: it may be written. */
static int check_write(const struct muster_http *http, uint64_t length)
{
	if (!http->is_begun)
		return -EINVAL;
	/* It may have failed a moment ago, and not have been told yet. */
	if (http->connection == NULL ||
	    stream_has_failed(http->connection->stream))
		return -EPIPE;
	return length > http->flow->left ? -EMSGSIZE : 0;
}

static int check_room(struct muster_http *http)
{
	const struct connection *connection = http->connection;

	http->is_full = connection != NULL &&
			muster_http_unsent(http) > (connection->carrier != NULL
							    ? SHARED_BYTES_MAX
							    : UNSENT_BYTES_MAX);
	return http->is_full ? -EAGAIN : 0;
}

/* True: nothing of it is sent. */
static bool begin_write(struct muster_http *http, uint64_t length)
{
	struct http_flow *flow = http->flow;

	if (flow->left != MUSTER_HTTP_UNKNOWN)
		flow->left -= length;
	if (length == 0 || http->is_head)
		return true;
	flow->sent += length;
	if (http->is_chunked)
		buffer_append_format(&flow->pending, "%llx\r\n",
				     (unsigned long long)length);
	return false;
}

static void end_write(struct muster_http *http)
{
	if (http->is_chunked)
		buffer_append_text(&http->flow->pending, "\r\n");
	send_soon(http);
}

int http_write_now(struct muster_http *http, const void *bytes, size_t length)
{
	int error = check_write(http, length);

	if (error < 0)
		return error;
	if (begin_write(http, length))
		return 0;
	if (length > COPIED_BYTES_MAX)
		send_pending(http, bytes, length, NULL);
	else
		buffer_append(&http->flow->pending, bytes, length);
	end_write(http);
	return 0;
}

int muster_http_write(struct muster_http *http, const void *bytes,
		      size_t length)
{
	int error = check_room(http);

	return error < 0 ? error : http_write_now(http, bytes, length);
}

int http_write_piece(struct muster_http *http, const struct stream_piece *piece)
{
	int error = check_write(http, piece->length);

	if (error < 0)
		return error;
	if (begin_write(http, piece->length)) {
		if (piece->release != NULL)
			piece->release(piece->arg);
		return 0;
	}
	send_pending(http, NULL, 0, piece);
	end_write(http);
	return 0;
}

int muster_http_write_owned(struct muster_http *http, const void *bytes,
			    size_t length, void (*release)(void *arg),
			    void *arg)
{
	int error = check_room(http);

	if (error < 0)
		return error;
	return http_write_piece(http, &(struct stream_piece){
					      .bytes = bytes,
					      .descriptor = -1,
					      .length = length,
					      .release = release,
					      .arg = arg,
				      });
}

void muster_http_end(struct muster_http *http)
{
	struct connection *connection = http->connection;

	if (connection == NULL) {
		http_request_free(http);
		return;
	}
	MUST(connection->request == http);
	struct http_server *server = connection->server;
	bool lingers = http->head.is_keep_alive ||
		       http_connection_has_more(connection);
	bool is_last =
		http->is_last || connection->has_ended || http->is_body_open;

	connection->is_cut =
		!http->is_begun ||
		(!http->is_head && http->flow->left != MUSTER_HTTP_UNKNOWN &&
		 http->flow->left > 0);
	if (http->is_begun) {
		if (http->is_chunked && !http->is_head)
			buffer_append_text(&http->flow->pending, "0\r\n\r\n");
		send_pending(http, NULL, 0, NULL);
	}
	if (server->access_log != NULL && http->is_begun)
		http_log_request(http, http->status, http->flow->sent);
	http_request_give_back(server, http);
	http_connection_replied(connection, is_last || connection->is_cut,
				lingers);
}

void http_cut(struct muster_http *http)
{
	/* Without the last chunk, and a length is not reached. */
	http->is_last = true;
	http->is_chunked = false;
	http->flow->left = 1;
	muster_http_end(http);
}

void muster_http_on_drain(struct muster_http *http, muster_http_fn on_drain,
			  void *arg)
{
	struct http_flow *flow = http_request_flow(http);

	flow->on_drain = on_drain;
	flow->drain_arg = arg;
}

int muster_http_on_gone(struct muster_http *http, muster_http_gone_fn on_gone,
			void *arg)
{
	struct http_flow *flow = http_request_flow(http);

	flow->on_gone = on_gone;
	flow->gone_arg = arg;
	return http->connection != NULL ? 0 : -EPIPE;
}

/* ---- Server-Sent Events ---- */

int muster_http_begin_events(struct muster_http *http)
{
	int error = muster_http_set_header(http, "Cache-Control", "no-store");

	return error < 0 ? error
			 : muster_http_begin(http, 200, "text/event-stream",
					     MUSTER_HTTP_UNKNOWN);
}

/* One field; each line of the text is one of that name. */
static void put_lines(struct buffer *to, const char *name, const char *text)
{
	for (;;) {
		size_t length = strcspn(text, "\r\n");

		buffer_append_text(to, name);
		buffer_append(to, text, length);
		buffer_append_text(to, "\n");
		text += length;
		if (*text == 0)
			return;
		text += text[0] == '\r' && text[1] == '\n' ? 2 : 1;
	}
}

static bool is_line(const char *text)
{
	return text == NULL || text[strcspn(text, "\r\n")] == 0;
}

static int write_buffer(struct muster_http *http, struct buffer *from)
{
	int error = muster_http_write(http, buffer_bytes(from),
				      buffer_length(from));

	buffer_fini(from);
	return error;
}

int muster_http_send_event(struct muster_http *http,
			   const struct muster_http_event *event)
{
	struct buffer text = { 0 };

	if (!is_line(event->name) || !is_line(event->id))
		return -EINVAL;
	if (event->retry_ms > 0)
		buffer_append_format(&text, "retry: %u\n", event->retry_ms);
	if (event->id != NULL)
		put_lines(&text, "id: ", event->id);
	if (event->name != NULL)
		put_lines(&text, "event: ", event->name);
	if (event->data != NULL)
		put_lines(&text, "data: ", event->data);
	buffer_append_text(&text, "\n");
	return write_buffer(http, &text);
}

int muster_http_send_comment(struct muster_http *http, const char *comment)
{
	struct buffer text = { 0 };

	put_lines(&text, ": ", comment != NULL ? comment : "");
	buffer_append_text(&text, "\n");
	return write_buffer(http, &text);
}
