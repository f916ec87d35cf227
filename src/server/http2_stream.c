/* A stream of HTTP/2: a request and its reply. See http2_internal.h. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/mem.h"
#include "base/must.h"
#include "server/http2_internal.h"

/* Bodies that are kept until they are complete grow past the window of their
 * streams this many at a time: what a connection may fill memory with. */
#define GRANTS_MAX   8
#define JOINED_BYTES 16384 /* small writes, put together */
#define FEW_HEADERS  32

static struct http2_stream *stream_of(const struct connection *connection)
{
	return LIST_ENTRY((uintptr_t)connection, struct http2_stream,
			  connection);
}

static bool is_handled(const struct http2_stream *stream)
{
	return stream->connection.phase == PHASE_HANDLED;
}

/* ---- Output: the body of the reply ---- */

struct output {
	struct list link;
	struct stream_piece piece; /* where it is the application's */
	struct buffer copied;      /* where it is not */
	uint64_t taken;            /* of the piece */
};

static void output_free(struct output *output)
{
	list_remove(&output->link);
	if (output->piece.release != NULL)
		output->piece.release(output->piece.arg);
	buffer_fini(&output->copied);
	free(output);
}

static struct output *output_add(struct http2_stream *stream)
{
	struct output *output = mem_zalloc(sizeof(*output));

	list_add_last(&stream->output, &output->link);
	return output;
}

static void drop_output(struct http2_stream *stream)
{
	stream->queued = 0;
	while (!list_is_empty(&stream->output))
		output_free(LIST_ENTRY(list_first(&stream->output),
				       struct output, link));
}

/* What small writes are put together in; NULL: there is none. */
static struct output *last_copy(const struct http2_stream *stream)
{
	struct output *last;

	if (stream->queued == 0)
		return NULL;
	last = LIST_ENTRY(stream->output.previous, struct output, link);
	return last->piece.length > 0 ||
			       buffer_length(&last->copied) > JOINED_BYTES
		       ? NULL
		       : last;
}

static void add_copy(struct http2_stream *stream, const void *bytes,
		     size_t length)
{
	struct output *output = last_copy(stream);

	if (length == 0)
		return;
	if (output == NULL)
		output = output_add(stream);
	buffer_append(&output->copied, bytes, length);
	stream->queued += length;
}

static int take_file(const struct output *output, struct buffer *to,
		     size_t length)
{
	uint8_t *room = buffer_reserve(to, length);
	ssize_t got = pread(output->piece.descriptor, room, length,
			    (off_t)(output->piece.offset + output->taken));

	/* Read at once or, as it has become shorter, not at all. */
	if (got != (ssize_t)length)
		return got < 0 ? -errno : -EIO;
	buffer_extend(to, length);
	return 0;
}

/* At most that much; returns how much it was, or -errno. */
static ssize_t take_some(struct output *output, struct buffer *to,
			 size_t length)
{
	size_t left = output->piece.length > 0
			      ? (size_t)(output->piece.length - output->taken)
			      : buffer_length(&output->copied);
	size_t some = length < left ? length : left;
	int error = 0;

	if (output->piece.length == 0) {
		buffer_append(to, buffer_bytes(&output->copied), some);
		buffer_consume(&output->copied, some);
	} else if (output->piece.bytes != NULL) {
		buffer_append(to,
			      (const char *)output->piece.bytes + output->taken,
			      some);
	} else {
		error = take_file(output, to, some);
	}
	if (error < 0)
		return error;
	output->taken += some;
	if (some == left)
		output_free(output);
	return (ssize_t)some;
}

int http2_stream_take_output(struct http2_stream *stream, struct buffer *to,
			     size_t length)
{
	MUST(length <= stream->queued);
	while (length > 0) {
		ssize_t some = take_some(LIST_ENTRY(list_first(&stream->output),
						    struct output, link),
					 to, length);

		if (some < 0)
			return (int)some;
		length -= (size_t)some;
		stream->queued -= (size_t)some;
	}
	stream->connection.since_ms =
		loop_now_ms(stream->connection.server->loop);
	if (stream->queued == 0 && is_handled(stream)) {
		stream->owes_drain = true;
		loop_defer(stream->connection.server->loop,
			   &stream->connection.task);
	}
	return 0;
}

/* How much there is to send; it is taken in send_data(), of http2.c. */
static ssize_t on_read(nghttp2_session *session, int32_t id, uint8_t *room,
		       size_t length, uint32_t *flags,
		       nghttp2_data_source *source, void *arg)
{
	struct http2_stream *stream = source->ptr;
	size_t some = length < stream->queued ? length : (size_t)stream->queued;

	(void)session;
	(void)id;
	(void)room;
	(void)arg;
	if (some == 0 && !stream->is_complete) {
		stream->is_deferred = true;
		return NGHTTP2_ERR_DEFERRED;
	}
	*flags |= NGHTTP2_DATA_FLAG_NO_COPY;
	if (stream->is_complete && some == stream->queued)
		*flags |= NGHTTP2_DATA_FLAG_EOF;
	return (ssize_t)some;
}

static void send_more(struct http2_stream *stream)
{
	if (stream->is_deferred) {
		stream->is_deferred = false;
		/* Fails where the stream has been closed just now. */
		DISCARD(nghttp2_session_resume_data(stream->http2->session,
						    stream->id));
	}
	http2_wake(stream->http2);
}

/* ---- Headers of the reply ---- */

struct headers {
	nghttp2_nv few[FEW_HEADERS];
	nghttp2_nv *list;
	size_t count;
};

static void add_header(struct headers *headers, struct http_text name,
		       struct http_text value)
{
	headers->list[headers->count++] = (nghttp2_nv){
		.name = (uint8_t *)(uintptr_t)name.bytes,
		.namelen = name.length,
		.value = (uint8_t *)(uintptr_t)value.bytes,
		.valuelen = value.length,
	};
}

static size_t count_lines(struct http_text lines)
{
	size_t count = 0;

	for (size_t i = 0; i < lines.length; i++)
		count += lines.bytes[i] == '\n';
	return count;
}

/* "Name: value" CR LF, as the replies of HTTP/1 have them. */
static void add_lines(struct headers *headers, struct http_text lines)
{
	const char *at = lines.bytes;
	const char *end = lines.length > 0 ? at + lines.length : at;

	while (at < end) {
		const char *colon = memchr(at, ':', (size_t)(end - at));

		MUST(colon != NULL);
		const char *line_end =
			memchr(colon, '\r', (size_t)(end - colon));

		MUST(line_end != NULL);
		add_header(headers,
			   (struct http_text){ at, (size_t)(colon - at) },
			   (struct http_text){
				   colon + 2, (size_t)(line_end - colon) - 2 });
		at = line_end + 2;
	}
}

#define TEXT(literal) ((struct http_text){ (literal), sizeof(literal) - 1 })

static struct http_text number_text(char room[24], uint64_t number)
{
	char *end = room + 24;
	char *at = end;

	do {
		*--at = (char)('0' + number % 10);
		number /= 10;
	} while (number > 0);
	return (struct http_text){ at, (size_t)(end - at) };
}

static void submit(struct http2_stream *stream, const struct http_reply *reply,
		   bool has_body)
{
	struct http_text common = http_reply_common(stream->connection.server);
	size_t count = 3 + count_lines(common) + count_lines(reply->fields);
	nghttp2_data_provider provider = { .source = { .ptr = stream },
					   .read_callback = on_read };
	struct headers headers = { .count = 0 };
	char status[24];
	char length[24];

	headers.list = count <= FEW_HEADERS
			       ? headers.few
			       : mem_alloc(count * sizeof(nghttp2_nv));
	add_header(&headers, TEXT(":status"),
		   number_text(status, (uint64_t)reply->status));
	add_lines(&headers, common);
	if (reply->type.bytes != NULL)
		add_header(&headers, TEXT("content-type"), reply->type);
	if (reply->has_length)
		add_header(&headers, TEXT("content-length"),
			   number_text(length, reply->length));
	add_lines(&headers, reply->fields);
	stream->is_submitted = true;
	/* It copies them, and writes the names in lower case. */
	if (nghttp2_submit_response(stream->http2->session, stream->id,
				    headers.list, headers.count,
				    has_body ? &provider : NULL) != 0)
		http2_stream_reset(stream, NGHTTP2_INTERNAL_ERROR);
	if (headers.list != headers.few)
		free(headers.list);
	http2_wake(stream->http2);
}

/* ---- What http asks of whatever carries a request ---- */

static void put_reply(struct connection *connection,
		      const struct http_reply *reply)
{
	struct http2_stream *stream = stream_of(connection);
	bool has_body = reply->sends_body && reply->length > 0;

	if (stream->http2->is_finishing)
		return;
	stream->is_complete = true;
	if (has_body)
		add_copy(stream, reply->body, (size_t)reply->length);
	submit(stream, reply, has_body);
}

static void put_continue(struct connection *connection)
{
	struct http2_stream *stream = stream_of(connection);
	struct headers headers = { .count = 0 };

	if (stream->http2->is_finishing)
		return;
	headers.list = headers.few;
	add_header(&headers, TEXT(":status"), TEXT("100"));
	/* Without it the client goes on after a while. */
	DISCARD(nghttp2_submit_headers(stream->http2->session,
				       NGHTTP2_FLAG_NONE, stream->id, NULL,
				       headers.list, headers.count, NULL));
	http2_wake(stream->http2);
}

static void begin(struct connection *connection, const struct http_reply *reply)
{
	if (!stream_of(connection)->http2->is_finishing)
		submit(stream_of(connection), reply, true);
}

static void write_body(struct connection *connection, const struct iovec *parts,
		       size_t count, const struct stream_piece *piece)
{
	struct http2_stream *stream = stream_of(connection);

	if (stream->is_reset || stream->http2->is_finishing) {
		if (piece != NULL && piece->release != NULL)
			piece->release(piece->arg);
		return;
	}
	for (size_t i = 0; i < count; i++)
		add_copy(stream, parts[i].iov_base, parts[i].iov_len);
	if (piece != NULL) {
		output_add(stream)->piece = *piece;
		stream->queued += piece->length;
	}
	if (stream->queued > 0)
		send_more(stream);
}

static void replied(struct connection *connection)
{
	struct http2_stream *stream = stream_of(connection);

	http_connection_move(connection, PHASE_CLOSING);
	if (stream->is_submitted && !connection->is_cut &&
	    !stream->is_complete) {
		stream->is_complete = true;
		send_more(stream);
	}
	http2_stream_settle(stream);
}

static uint64_t queued(const struct connection *connection)
{
	return stream_of(connection)->queued;
}

static const struct http_carrier carrier = {
	.put_reply = put_reply,
	.put_continue = put_continue,
	.begin = begin,
	.write = write_body,
	.replied = replied,
	.queued = queued,
};

/* ---- Life ---- */

static void on_task(struct loop_task *task);

struct http2_stream *http2_stream_new(struct http2 *http2, int32_t id)
{
	struct http2_stream *stream = mem_zalloc(sizeof(*stream));
	struct connection *connection = &stream->connection;
	struct http_server *server = http2->server;

	stream->http2 = http2;
	stream->id = id;
	list_init(&stream->output);
	list_add_last(&http2->streams, &stream->link);
	connection->server = server;
	connection->stream = http2->transport;
	connection->carrier = &carrier;
	connection->task.run = on_task;
	connection->is_nodelay = true;
	connection->knows_peer = true;
	connection->peer = http2->peer;
	connection->request = http_request_take(server);
	connection->request->connection = connection;
	if (server->access_log != NULL)
		connection->request->began_ms = loop_now_ms(server->loop);
	http_connection_move(connection, PHASE_HEAD);
	return stream;
}

static void grant(struct http2_stream *stream)
{
	stream->is_granted = true;
	stream->wants_grant = false;
	stream->http2->grants++;
	/* It was us who let it wait. */
	stream->connection.since_ms =
		loop_now_ms(stream->connection.server->loop);
	http_body_begin_waiting(stream->connection.request);
	/* Fails where the stream has been closed just now. */
	DISCARD(nghttp2_session_consume_stream(stream->http2->session,
					       stream->id, stream->owed));
	stream->owed = 0;
	http2_wake(stream->http2);
}

static void give_grant_back(struct http2_stream *stream)
{
	struct http2 *http2 = stream->http2;

	stream->wants_grant = false;
	if (!stream->is_granted)
		return;
	stream->is_granted = false;
	http2->grants--;
	if (http2->is_finishing)
		return;
	LIST_EACH (&http2->streams, link) {
		struct http2_stream *next =
			LIST_ENTRY(link, struct http2_stream, link);

		if (next->wants_grant) {
			grant(next);
			return;
		}
	}
}

void http2_stream_free(struct http2_stream *stream, int error)
{
	struct connection *connection = &stream->connection;
	struct http2 *http2 = stream->http2;
	struct muster_http *handled = NULL;

	if (is_handled(stream))
		handled = connection->request;
	else if (connection->request != NULL)
		http_request_give_back(connection->server, connection->request);
	give_grant_back(stream);
	loop_undefer(&connection->task);
	list_remove(&stream->link);
	if (list_is_empty(&http2->streams))
		http2->since_ms = loop_now_ms(connection->server->loop);
	drop_output(stream);
	buffer_fini(&connection->input);
	free(stream);
	if (handled != NULL)
		http_request_detach(handled, error);
}

void http2_stream_reset(struct http2_stream *stream, uint32_t code)
{
	if (stream->is_reset || stream->http2->is_finishing)
		return;
	stream->is_reset = true;
	drop_output(stream);
	/* Fails for want of memory alone. */
	DISCARD(nghttp2_submit_rst_stream(stream->http2->session,
					  NGHTTP2_FLAG_NONE, stream->id, code));
	http2_wake(stream->http2);
}

void http2_stream_settle(struct http2_stream *stream)
{
	if (stream->connection.phase != PHASE_CLOSING)
		return;
	give_grant_back(stream);
	buffer_fini(&stream->connection.input);
	if (!stream->is_complete)
		http2_stream_reset(stream, NGHTTP2_INTERNAL_ERROR);
}

void http2_stream_drop(struct http2_stream *stream, uint32_t code)
{
	struct connection *connection = &stream->connection;

	MUST(!is_handled(stream));
	http_request_give_back(connection->server, connection->request);
	connection->request = NULL;
	http_connection_move(connection, PHASE_CLOSING);
	http2_stream_reset(stream, code);
	http2_stream_settle(stream);
}

/* ---- Input ---- */

static void take_message(struct http2_stream *stream)
{
	struct connection *connection = &stream->connection;
	struct muster_http *http = connection->request;

	if (!http_connection_take_head(connection))
		return;
	if (stream->is_remote_ended) {
		http_connection_dispatch(connection);
		return;
	}
	/* As for HTTP/1, there is a body of a length that nobody knows. */
	if (!stream->http2->head.has_length)
		http->head.is_chunked = true;
	http_body_begin(connection, http->head.length);
}

static void read_head(struct http2_stream *stream)
{
	struct connection *connection = &stream->connection;
	struct http_server *server = connection->server;
	struct muster_http *http = connection->request;
	struct buffer *text = &server->http2->text;

	buffer_truncate(text, 0);
	if (!http2_head_write(&stream->http2->head, text)) {
		http_connection_refuse(connection, 400, "malformed request");
		return;
	}
	http->text = (const char *)buffer_bytes(text);
	switch (http1_head_read(&http->head, http->headers,
				&server->head_limits, http->text,
				buffer_length(text))) {
	case HTTP1_DONE:
		take_message(stream);
		return;
	case HTTP1_REFUSED:
		http_connection_refuse(connection, http->head.status,
				       http->head.reason);
		return;
	case HTTP1_MORE:
	case HTTP1_DATA:
		break;
	}
	http_connection_refuse(connection, 400, "malformed request");
}

void http2_stream_take_head(struct http2_stream *stream)
{
	read_head(stream);
	http2_stream_settle(stream);
}

/* Is the body wanted at this moment? */
static bool takes_body(const struct http2_stream *stream)
{
	const struct connection *connection = &stream->connection;

	return connection->phase == PHASE_BODY ||
	       (is_handled(stream) && http_body_flows(connection->request));
}

/* That much has found its place: the client may send more. */
static void give_window(struct http2_stream *stream, size_t length)
{
	struct http2 *http2 = stream->http2;
	struct muster_http *http = stream->connection.request;

	if (http == NULL || stream->is_remote_ended)
		return;
	stream->owed += length;
	if (!http->is_streamed && !stream->is_granted) {
		if (stream->owed < HTTP2_WINDOW_BYTES / 2)
			return;
		stream->wants_grant = http2->grants == GRANTS_MAX;
		if (!stream->wants_grant)
			grant(stream);
		return;
	}
	DISCARD(nghttp2_session_consume_stream(http2->session, stream->id,
					       stream->owed));
	stream->owed = 0;
	http2_wake(http2);
}

static void read_body(struct http2_stream *stream, const void *bytes,
		      size_t length)
{
	http_body_read(&stream->connection, bytes, length);
	give_window(stream, length);
	http2_stream_settle(stream);
}

void http2_stream_take_data(struct http2_stream *stream, const void *bytes,
			    size_t length)
{
	struct connection *connection = &stream->connection;

	if (connection->phase != PHASE_BODY && !is_handled(stream))
		return; /* it has been answered */
	connection->since_ms = loop_now_ms(connection->server->loop);
	if (takes_body(stream) && buffer_length(&connection->input) == 0)
		read_body(stream, bytes, length);
	else
		buffer_append(&connection->input, bytes, length);
}

void http2_stream_end_input(struct http2_stream *stream)
{
	struct connection *connection = &stream->connection;

	if (stream->has_told_end || !takes_body(stream) ||
	    buffer_length(&connection->input) > 0)
		return;
	if (stream->is_remote_ended) {
		stream->has_told_end = true;
		http_body_finish(connection);
	} else if (stream->http2->has_ended && is_handled(stream)) {
		http_connection_abandon(connection, 400,
					"the body is not complete",
					-ECONNRESET);
	}
	http2_stream_settle(stream);
}

/* Of what was kept while the body was not wanted. */
static void go_on(struct http2_stream *stream)
{
	struct buffer input = stream->connection.input;

	if (buffer_length(&input) > 0 && takes_body(stream)) {
		stream->connection.input = (struct buffer){ 0 };
		read_body(stream, buffer_bytes(&input), buffer_length(&input));
		buffer_fini(&input);
	}
	http2_stream_end_input(stream);
}

static void on_task(struct loop_task *task)
{
	struct connection *connection =
		LIST_ENTRY(task, struct connection, task);
	struct http2_stream *stream = stream_of(connection);

	go_on(stream);
	if (!stream->owes_drain)
		return;
	stream->owes_drain = false;
	if (is_handled(stream) && connection->request->flow != NULL &&
	    stream->queued == 0)
		http_stream_drained(connection->request);
}
