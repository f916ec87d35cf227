/* How long things may take, how often they may happen, and how a connection is
 * left: see http2_internal.h. */
#include <errno.h>

#include "base/must.h"
#include "server/http2_internal.h"

#define LINGER_MS 2000

/* Requests that are taken back at once cost a server more than a client
 * (CVE-2023-44487); a browser whose user leaves a page takes back all it has
 * under way. */
#define RESETS_BURST 200
#define RESETS_PER_S 50
/* Frames that ask nothing: PING, SETTINGS, PRIORITY, empty DATA. */
#define CHATTER_BURST 2000
#define CHATTER_PER_S 200

/* ---- How often ---- */

bool http2_allow(struct http2_allowance *allowance, uint32_t burst,
		 uint32_t per_s, uint64_t now_ms)
{
	uint64_t passed_ms = now_ms - allowance->filled_ms;
	uint64_t more = passed_ms * per_s / 1000;

	if (allowance->filled_ms == 0 || more > burst - allowance->left)
		allowance->left = burst;
	else
		allowance->left += (uint32_t)more;
	/* What is not enough for one is kept. */
	if (more > 0 || allowance->filled_ms == 0)
		allowance->filled_ms = now_ms;
	if (allowance->left == 0)
		return false;
	allowance->left--;
	return true;
}

bool http2_allow_reset(struct http2 *http2)
{
	return http2_allow(&http2->resets, RESETS_BURST, RESETS_PER_S,
			   loop_now_ms(http2->server->loop));
}

bool http2_allow_chatter(struct http2 *http2)
{
	return http2_allow(&http2->chatter, CHATTER_BURST, CHATTER_PER_S,
			   loop_now_ms(http2->server->loop));
}

void http2_expect_chatter(struct http2 *http2)
{
	/* WINDOW_UPDATE, of the stream and of the connection. */
	if (http2->chatter.left + 2 <= CHATTER_BURST)
		http2->chatter.left += 2;
}

/* ---- Leaving (RFC 9113, 6.8) ----
 *
 * First that no stream is wanted any more, without saying which was the last:
 * requests may be on their way. Once a PING has been there and back the client
 * knows, and whatever it had sent is here: then the last is named.
 */

void http2_leave(struct http2 *http2)
{
	if (http2->is_leaving || http2->phase != HTTP2_OPEN)
		return;
	http2->is_leaving = true;
	http2->leaving_ms = loop_now_ms(http2->server->loop);
	/* Fails for want of memory alone; the sweep goes on then. */
	DISCARD(nghttp2_submit_shutdown_notice(http2->session));
	http2_wake(http2);
}

/* Not before: a PING would go ahead of it. */
void http2_notice_sent(struct http2 *http2)
{
	static const uint8_t opaque[8] = "goodbye";

	if (http2->is_leaving && !http2->has_left)
		DISCARD(nghttp2_submit_ping(http2->session, NGHTTP2_FLAG_NONE,
					    opaque));
}

void http2_left(struct http2 *http2)
{
	if (http2->has_left || !http2->is_leaving)
		return;
	http2->has_left = true;
	DISCARD(nghttp2_submit_goaway(
		http2->session, NGHTTP2_FLAG_NONE,
		nghttp2_session_get_last_proc_stream_id(http2->session),
		NGHTTP2_NO_ERROR, NULL, 0));
	http2_wake(http2);
}

void http2_drain(struct http_server *server)
{
	LIST_EACH (&server->http2->connections, link)
		http2_leave(LIST_ENTRY(link, struct http2, link));
}

/* ---- How long ---- */

/* Before all of the request has come? No more of it is wanted, but a client
 * that is told so along with the reply may take that for a failure (RFC 9113,
 * 8.1): it gets a while to see the reply, and to stop by itself. */
static bool is_answered(const struct http2_stream *stream)
{
	return stream->is_complete && stream->queued == 0;
}

static uint64_t deadline_ms(const struct http2_stream *stream)
{
	if (stream->connection.phase == PHASE_CLOSING && is_answered(stream))
		return stream->connection.since_ms + LINGER_MS;
	return http_connection_deadline_ms(&stream->connection);
}

/* A head that does not come holds up the whole connection. */
static void time_out_stream(struct http2_stream *stream)
{
	struct connection *connection = &stream->connection;

	switch ((enum phase)connection->phase) {
	case PHASE_HEAD:
		http2_terminate(stream->http2, NGHTTP2_ENHANCE_YOUR_CALM);
		return;
	case PHASE_BODY:
		if (stream->wants_grant)
			return; /* we do not let it */
		http_connection_refuse(connection, 408,
				       "the request took too long");
		break;
	case PHASE_HANDLED:
		if (http_body_flows(connection->request))
			http_connection_abandon(connection, 408,
						"the request took too long",
						-ETIMEDOUT);
		else
			/* The handler is told when it is gone. */
			http2_stream_reset(stream, NGHTTP2_CANCEL);
		break;
	case PHASE_CLOSING:
		http2_stream_reset(stream, is_answered(stream)
						   ? NGHTTP2_NO_ERROR
						   : NGHTTP2_CANCEL);
		break;
	case PHASE_WAITING:
	case PHASE_TAKEN:
	case PHASE_BLOCKED:
	case PHASE_LINGERING:
		break;
	}
	http2_stream_settle(stream);
}

static void sweep_streams(struct http2 *http2, uint64_t now_ms)
{
	LIST_EACH (&http2->streams, link) {
		struct http2_stream *stream =
			LIST_ENTRY(link, struct http2_stream, link);

		if (now_ms >= deadline_ms(stream))
			time_out_stream(stream);
	}
}

static uint64_t later(uint64_t a, uint64_t b)
{
	return a > b ? a : b;
}

/* Without a stream; what came in the meantime counts for nothing. */
static uint64_t idle_deadline_ms(const struct http2 *http2)
{
	const struct http_server *server = http2->server;

	if (http2->is_leaving)
		return later(http2->since_ms, http2->leaving_ms) +
		       server->drain_idle_ms;
	return http2->since_ms + (http2->has_heard ? server->limits.idle_ms
						   : server->limits.head_ms);
}

static void sweep_open(struct http2 *http2, uint64_t now_ms)
{
	if (http2->is_leaving &&
	    now_ms >= http2->leaving_ms + http2->server->drain_idle_ms)
		http2_left(http2);
	if (!list_is_empty(&http2->streams))
		sweep_streams(http2, now_ms);
	else if (now_ms >= idle_deadline_ms(http2))
		http2_terminate(http2, NGHTTP2_NO_ERROR);
	/* All that was said is sent; it may be gone. */
	http2_send(http2);
}

static bool is_stuck(struct http2 *http2, uint64_t now_ms)
{
	uint64_t queued = stream_queued_bytes(http2->transport);

	if (queued == 0 || queued != http2->queued)
		http2->moved_ms = now_ms;
	http2->queued = queued;
	return now_ms - http2->moved_ms >= http2->server->limits.idle_ms;
}

static void sweep_one(struct http2 *http2, uint64_t now_ms)
{
	if (is_stuck(http2, now_ms)) {
		http2_finish(http2);
		return;
	}
	switch ((enum http2_phase)http2->phase) {
	case HTTP2_OPEN:
		sweep_open(http2, now_ms);
		return;
	case HTTP2_CLOSING:
		return; /* either its output moves, or it is stuck */
	case HTTP2_LINGERING:
		if (now_ms >= http2->since_ms + LINGER_MS)
			http2_finish(http2);
		return;
	}
}

void http2_sweep(struct http_server *server)
{
	struct list *all = &server->http2->connections;
	uint64_t now_ms = loop_now_ms(server->loop);
	struct list swept;

	/* Moved from one to the other: one that ends may end others. */
	list_init(&swept);
	while (!list_is_empty(all)) {
		struct list *link = list_first(all);

		list_remove(link);
		list_add_last(&swept, link);
		sweep_one(LIST_ENTRY(link, struct http2, link), now_ms);
	}
	while (!list_is_empty(&swept)) {
		struct list *link = list_first(&swept);

		list_remove(link);
		list_add_last(all, link);
	}
}
