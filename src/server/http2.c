/* Connections of HTTP/2, over nghttp2: see http2_internal.h. */
#include "server/http2.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "base/mem.h"
#include "base/must.h"
#include "server/http2_internal.h"

#define MAGIC            0x68747032u
#define OUTPUT_BYTES_MAX 65536        /* gathered before it is written */
#define QUEUED_BYTES_MAX (256 * 1024) /* for a slow client */
/* Data are given back to the connection's window at once: streams are held
 * back one by one. This is how much may be on its way. */
#define CONNECTION_WINDOW_BYTES (1024 * 1024)
/* A head of more is not even answered: HPACK makes much of a few bytes. */
#define HEAD_FACTOR 4
#define ACKS_MAX    100 /* that wait for a client which does not read */

/* ---- What nghttp2 tells ---- */

static struct http2_stream *find(struct http2 *http2, int32_t id)
{
	return nghttp2_session_get_stream_user_data(http2->session, id);
}

static int on_begin_frame(nghttp2_session *session,
			  const nghttp2_frame_hd *header, void *arg)
{
	struct http2 *http2 = arg;
	bool is_useful = header->type == NGHTTP2_HEADERS ||
			 header->type == NGHTTP2_CONTINUATION ||
			 (header->type == NGHTTP2_DATA &&
			  (header->length > 0 ||
			   (header->flags & NGHTTP2_FLAG_END_STREAM) != 0));

	(void)session;
	if (!is_useful && !http2_allow_chatter(http2))
		http2_terminate(http2, NGHTTP2_ENHANCE_YOUR_CALM);
	return 0;
}

static int on_begin_headers(nghttp2_session *session,
			    const nghttp2_frame *frame, void *arg)
{
	struct http2 *http2 = arg;
	int32_t id = frame->hd.stream_id;

	http2_head_begin(&http2->head);
	if (frame->headers.cat != NGHTTP2_HCAT_REQUEST)
		return 0;
	if (http2->is_terminated)
		return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
	http2->has_heard = true;
	DISCARD(nghttp2_session_set_stream_user_data(
		session, id, http2_stream_new(http2, id)));
	return 0;
}

static int on_header(nghttp2_session *session, const nghttp2_frame *frame,
		     const uint8_t *name, size_t name_length,
		     const uint8_t *value, size_t value_length, uint8_t flags,
		     void *arg)
{
	struct http2 *http2 = arg;
	size_t bytes_max = http2->server->limits.head_bytes;

	(void)session;
	(void)frame;
	(void)flags;
	http2_head_add(&http2->head, bytes_max, (const char *)name, name_length,
		       (const char *)value, value_length);
	if (http2->head.bytes <= HEAD_FACTOR * bytes_max)
		return 0;
	http2_terminate(http2, NGHTTP2_ENHANCE_YOUR_CALM);
	return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
}

/* RFC 9113, 8.2.1: it is not to be passed over. */
static int on_invalid_header(nghttp2_session *session,
			     const nghttp2_frame *frame, const uint8_t *name,
			     size_t name_length, const uint8_t *value,
			     size_t value_length, uint8_t flags, void *arg)
{
	(void)session;
	(void)frame;
	(void)name;
	(void)name_length;
	(void)value;
	(void)value_length;
	(void)flags;
	(void)arg;
	return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
}

static void take_request(struct http2 *http2, struct http2_stream *stream)
{
	if (++http2->requests >= http2->server->limits.requests)
		http2_leave(http2);
	http2_stream_take_head(stream);
}

static int on_frame(nghttp2_session *session, const nghttp2_frame *frame,
		    void *arg)
{
	struct http2 *http2 = arg;
	struct http2_stream *stream;

	(void)session;
	if (frame->hd.type == NGHTTP2_PING) {
		if ((frame->hd.flags & NGHTTP2_FLAG_ACK) != 0)
			http2_left(http2);
		return 0;
	}
	if (frame->hd.type != NGHTTP2_HEADERS && frame->hd.type != NGHTTP2_DATA)
		return 0;
	stream = find(http2, frame->hd.stream_id);
	if (stream == NULL)
		return 0;
	if ((frame->hd.flags & NGHTTP2_FLAG_END_STREAM) != 0)
		stream->is_remote_ended = true;
	if (frame->hd.type == NGHTTP2_HEADERS &&
	    frame->headers.cat == NGHTTP2_HCAT_REQUEST)
		take_request(http2, stream);
	else if (stream->is_remote_ended)
		http2_stream_end_input(stream);
	return 0;
}

static int on_data(nghttp2_session *session, uint8_t flags, int32_t id,
		   const uint8_t *bytes, size_t length, void *arg)
{
	struct http2 *http2 = arg;
	struct http2_stream *stream = find(http2, id);

	(void)flags;
	if (nghttp2_session_consume_connection(session, length) != 0)
		return NGHTTP2_ERR_CALLBACK_FAILURE;
	if (stream != NULL)
		http2_stream_take_data(stream, bytes, length);
	return 0;
}

static int on_stream_close(nghttp2_session *session, int32_t id, uint32_t code,
			   void *arg)
{
	struct http2 *http2 = arg;
	struct http2_stream *stream = find(http2, id);
	bool is_our_doing = stream != NULL && stream->is_reset;

	DISCARD(nghttp2_session_set_stream_user_data(session, id, NULL));
	if (code != NGHTTP2_NO_ERROR && !is_our_doing &&
	    !http2_allow_reset(http2))
		http2_terminate(http2, NGHTTP2_ENHANCE_YOUR_CALM);
	if (stream != NULL)
		http2_stream_free(stream, -ECONNRESET);
	return 0;
}

/* ---- What nghttp2 has to send ---- */

static int on_frame_sent(nghttp2_session *session, const nghttp2_frame *frame,
			 void *arg)
{
	(void)session;
	if (frame->hd.type == NGHTTP2_DATA)
		http2_expect_chatter(arg);
	else if (frame->hd.type == NGHTTP2_GOAWAY)
		http2_notice_sent(arg);
	return 0;
}

/* Headers that are too long to be sent, for one. */
static int on_frame_not_sent(nghttp2_session *session,
			     const nghttp2_frame *frame, int error, void *arg)
{
	struct http2_stream *stream = find(arg, frame->hd.stream_id);

	(void)session;
	(void)error;
	if (frame->hd.type == NGHTTP2_HEADERS && stream != NULL)
		http2_stream_reset(stream, NGHTTP2_INTERNAL_ERROR);
	return 0;
}

static int send_data(nghttp2_session *session, nghttp2_frame *frame,
		     const uint8_t *header, size_t length,
		     nghttp2_data_source *source, void *arg)
{
	struct http2 *http2 = arg;
	struct http2_stream *stream = source->ptr;
	struct buffer *output = &http2->server->http2->output;
	size_t mark = buffer_length(output);

	(void)session;
	MUST(frame->data.padlen == 0);
	http2->is_output_full = mark >= OUTPUT_BYTES_MAX;
	if (http2->is_output_full)
		return NGHTTP2_ERR_WOULDBLOCK;
	buffer_append(output, header, 9);
	if (http2_stream_take_output(stream, output, length) == 0)
		return 0;
	/* A file that has become shorter: nghttp2 resets the stream. */
	buffer_truncate(output, mark);
	stream->is_reset = true;
	return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
}

static void flush(struct http2 *http2)
{
	struct buffer *output = &http2->server->http2->output;
	struct iovec part = { buffer_bytes(output), buffer_length(output) };

	if (part.iov_len == 0)
		return;
	stream_write(http2->transport, &part, 1);
	buffer_truncate(output, 0);
	buffer_trim(output, 2 * OUTPUT_BYTES_MAX);
}

static bool is_blocked(const struct http2 *http2)
{
	return stream_queued_bytes(http2->transport) > QUEUED_BYTES_MAX;
}

static void write_frames(struct http2 *http2)
{
	struct buffer *output = &http2->server->http2->output;
	const uint8_t *bytes;
	ssize_t length;

	http2->is_entered = true;
	do {
		http2->is_output_full = false;
		length = nghttp2_session_mem_send(http2->session, &bytes);
		if (length > 0)
			buffer_append(output, bytes, (size_t)length);
		if (buffer_length(output) >= OUTPUT_BYTES_MAX)
			flush(http2);
	} while ((length > 0 || http2->is_output_full) && !is_blocked(http2));
	http2->is_entered = false;
	http2->is_broken |= length < 0;
	flush(http2);
}

/* ---- What a connection does next ---- */

static void move(struct http2 *http2, enum http2_phase phase)
{
	http2->phase = (uint8_t)phase;
	http2->since_ms = loop_now_ms(http2->server->loop);
}

/* Whoever still has a request is told that nobody hears the reply. */
static void free_streams(struct http2 *http2)
{
	http2->is_finishing = true;
	while (!list_is_empty(&http2->streams))
		http2_stream_free(LIST_ENTRY(list_first(&http2->streams),
					     struct http2_stream, link),
				  -ECONNRESET);
}

static void linger(struct http2 *http2)
{
	move(http2, HTTP2_LINGERING);
	stream_shutdown(http2->transport);
	stream_start_reading(http2->transport);
}

static bool is_over(const struct http2 *http2)
{
	return http2->is_broken || http2->is_terminated ||
	       (http2->has_ended && list_is_empty(&http2->streams)) ||
	       (nghttp2_session_want_read(http2->session) == 0 &&
		nghttp2_session_want_write(http2->session) == 0);
}

static void settle(struct http2 *http2)
{
	if (http2->phase == HTTP2_OPEN && !is_blocked(http2) &&
	    is_over(http2)) {
		move(http2, HTTP2_CLOSING);
		free_streams(http2);
	}
	if (http2->phase != HTTP2_CLOSING ||
	    stream_queued_bytes(http2->transport) > 0)
		return;
	if (http2->has_ended)
		http2_finish(http2);
	else
		linger(http2);
}

void http2_send(struct http2 *http2)
{
	if (http2->phase == HTTP2_OPEN)
		write_frames(http2);
	settle(http2);
}

void http2_receive(struct http2 *http2, const void *bytes, size_t length)
{
	http2->is_entered = true;
	if (nghttp2_session_mem_recv(http2->session, bytes, length) < 0)
		http2->is_broken = true;
	http2->is_entered = false;
	http2_send(http2);
}

void http2_terminate(struct http2 *http2, uint32_t code)
{
	if (http2->is_terminated)
		return;
	http2->is_terminated = true;
	/* Fails for want of memory alone. */
	DISCARD(nghttp2_session_terminate_session(http2->session, code));
	http2_wake(http2);
}

void http2_wake(struct http2 *http2)
{
	loop_defer(http2->server->loop, &http2->task);
}

static void on_task(struct loop_task *task)
{
	http2_send(LIST_ENTRY(task, struct http2, task));
}

/* ---- The stream below ---- */

static void on_bytes(void *owner, const uint8_t *bytes, size_t length)
{
	struct http2 *http2 = owner;

	MUST(http2->magic == MAGIC && !http2->is_entered);
	if (http2->phase == HTTP2_OPEN)
		http2_receive(http2, bytes, length);
}

/* No more of a request will come; what has come is still answered. */
static void end_stream(struct http2_stream *stream)
{
	struct connection *connection = &stream->connection;

	if (connection->phase == PHASE_HEAD || connection->phase == PHASE_BODY)
		http2_stream_drop(stream, NGHTTP2_CANCEL);
	else if (connection->phase != PHASE_HANDLED ||
		 connection->request->flow == NULL)
		return;
	else if (connection->request->is_body_open)
		http2_stream_end_input(stream);
	else
		http_request_tell_gone(connection->request, 0);
}

static void on_end(void *owner, int error)
{
	struct http2 *http2 = owner;

	MUST(http2->magic == MAGIC && !http2->is_entered);
	http2->has_ended = true;
	if (error < 0 || http2->phase == HTTP2_LINGERING) {
		http2_finish(http2);
		return;
	}
	LIST_EACH (&http2->streams, link)
		end_stream(LIST_ENTRY(link, struct http2_stream, link));
	http2_send(http2);
}

static void on_written(void *owner)
{
	struct http2 *http2 = owner;

	MUST(http2->magic == MAGIC && !http2->is_entered);
	http2_send(http2);
}

static const struct stream_events stream_events = {
	.on_bytes = on_bytes,
	.on_end = on_end,
	.on_written = on_written,
};

/* ---- Beginning and end ---- */

bool http2_may_begin(const char *bytes, size_t length)
{
	static const char preface[] = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

	return memcmp(bytes, preface,
		      length < HTTP2_PREFACE_BYTES ? length
						   : HTTP2_PREFACE_BYTES) == 0;
}

static void submit_settings(struct http2 *http2)
{
	const nghttp2_settings_entry settings[] = {
		{ NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS, HTTP2_STREAMS_MAX },
		{ NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, HTTP2_WINDOW_BYTES },
		{ NGHTTP2_SETTINGS_MAX_HEADER_LIST_SIZE,
		  http2->server->limits.head_bytes },
	};

	MUST(nghttp2_submit_settings(
		     http2->session, NGHTTP2_FLAG_NONE, settings,
		     sizeof(settings) / sizeof(*settings)) == 0);
	MUST(nghttp2_session_set_local_window_size(
		     http2->session, NGHTTP2_FLAG_NONE, 0,
		     CONNECTION_WINDOW_BYTES) == 0);
}

static struct http2 *http2_new(struct http_server *server,
			       const struct http_taken *taken)
{
	struct http2_shared *shared = server->http2;
	struct http2 *http2 = mem_zalloc(sizeof(*http2));

	http2->magic = MAGIC;
	http2->server = server;
	http2->transport = taken->stream;
	http2->on_closed = taken->on_closed;
	http2->token = taken->token;
	http2->task.run = on_task;
	http2->since_ms = http2->moved_ms = loop_now_ms(server->loop);
	http2->peer = peer_address_of(stream_descriptor(taken->stream));
	list_init(&http2->streams);
	list_add_last(&shared->connections, &http2->link);
	http_count_connection(server, 1);
	if (server->connection_count++ == 0)
		http_sweep_start(server);
	MUST(nghttp2_session_server_new2(&http2->session, shared->callbacks,
					 http2, shared->option) == 0);
	stream_set_events(http2->transport, &stream_events, http2);
	return http2;
}

void http2_open(struct http_server *server, const struct http_taken *taken)
{
	struct http2 *http2 = http2_new(server, taken);
	struct connection below = { .stream = taken->stream };
	struct buffer input = taken->input;

	http_connection_set_nodelay(&below);
	submit_settings(http2);
	if (server->is_draining)
		http2_leave(http2);
	if (!taken->has_ended)
		stream_start_reading(http2->transport);
	http2->has_ended = taken->has_ended;
	http2_receive(http2, buffer_bytes(&input), buffer_length(&input));
	buffer_fini(&input);
}

void http2_finish(struct http2 *http2)
{
	http_closed_fn on_closed = http2->on_closed;
	struct http_server *server = http2->server;
	void *token = http2->token;

	MUST(http2->magic == MAGIC && !http2->is_entered);
	/* Closing would not do: other processes may hold the socket. Fails
	 * where the client is gone. */
	DISCARD(shutdown(stream_release(http2->transport), SHUT_RDWR));
	list_remove(&http2->link);
	http_count_connection(server, UINT64_MAX);
	if (--server->connection_count == 0)
		timer_stop(server->sweep);
	free_streams(http2);
	loop_undefer(&http2->task);
	nghttp2_session_del(http2->session);
	http2_head_fini(&http2->head);
	http2->magic = 0;
	free(http2);
	on_closed(token);
}

/* ---- What connections share ---- */

static void set_callbacks(nghttp2_session_callbacks *callbacks)
{
	nghttp2_session_callbacks_set_on_begin_frame_callback(callbacks,
							      on_begin_frame);
	nghttp2_session_callbacks_set_on_begin_headers_callback(
		callbacks, on_begin_headers);
	nghttp2_session_callbacks_set_on_header_callback(callbacks, on_header);
	nghttp2_session_callbacks_set_on_invalid_header_callback(
		callbacks, on_invalid_header);
	nghttp2_session_callbacks_set_on_frame_recv_callback(callbacks,
							     on_frame);
	nghttp2_session_callbacks_set_on_data_chunk_recv_callback(callbacks,
								  on_data);
	nghttp2_session_callbacks_set_on_stream_close_callback(callbacks,
							       on_stream_close);
	nghttp2_session_callbacks_set_on_frame_send_callback(callbacks,
							     on_frame_sent);
	nghttp2_session_callbacks_set_on_frame_not_send_callback(
		callbacks, on_frame_not_sent);
	nghttp2_session_callbacks_set_send_data_callback(callbacks, send_data);
}

struct http2_shared *http2_shared_new(void)
{
	struct http2_shared *shared = mem_zalloc(sizeof(*shared));

	list_init(&shared->connections);
	/* They fail for want of memory alone. */
	MUST(nghttp2_session_callbacks_new(&shared->callbacks) == 0);
	MUST(nghttp2_option_new(&shared->option) == 0);
	set_callbacks(shared->callbacks);
	/* Whoever takes the body says when there may be more of it. */
	nghttp2_option_set_no_auto_window_update(shared->option, 1);
	nghttp2_option_set_no_closed_streams(shared->option, 1);
	nghttp2_option_set_max_outbound_ack(shared->option, ACKS_MAX);
	return shared;
}

void http2_shared_free(struct http2_shared *shared)
{
	while (!list_is_empty(&shared->connections))
		http2_finish(LIST_ENTRY(list_first(&shared->connections),
					struct http2, link));
	nghttp2_session_callbacks_del(shared->callbacks);
	nghttp2_option_del(shared->option);
	buffer_fini(&shared->output);
	buffer_fini(&shared->text);
	free(shared);
}
