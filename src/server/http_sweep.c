/* The time-outs of connections: see http_internal.h. */
#include <errno.h>

#include "server/http2.h"
#include "server/http_internal.h"

#define LINGER_MS    2000
#define SWEEP_MS_MAX 1000

/* A request may be on its way in at this moment. */
static void close_idle(struct connection *connection)
{
	struct http_server *server = connection->server;

	server->probed = connection;
	stream_read_now(connection->stream);
	if (server->probed == connection &&
	    connection->phase == PHASE_WAITING) {
		connection->lingers = true;
		http_connection_move(connection, PHASE_CLOSING);
		http_connection_settle(connection);
	}
	server->probed = NULL;
}

/* A body that does not come, or a reply that is not taken. */
static void time_out_handled(struct connection *connection)
{
	if (!http_body_flows(connection->request)) {
		http_connection_finish(connection);
		return;
	}
	http_connection_abandon(connection, 408, "the request took too long",
				-ETIMEDOUT);
	http_connection_settle(connection);
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
		http_connection_refuse(connection, 408,
				       "the request took too long");
		http_connection_flush(connection, NULL, 0);
		http_connection_settle(connection);
		return;
	case PHASE_BLOCKED:
	case PHASE_CLOSING:
	case PHASE_LINGERING:
		http_connection_finish(connection);
		return;
	case PHASE_HANDLED:
		time_out_handled(connection);
		return;
	case PHASE_TAKEN:
		return;
	}
}

static uint64_t smaller(uint64_t a, uint64_t b)
{
	return a < b ? a : b;
}

/* Of a body that is waited for: until its next byte, and until there would
 * have to be more than there are of it. */
static uint64_t body_deadline_ms(const struct connection *connection)
{
	const struct muster_http_limits *limits = &connection->server->limits;
	const struct muster_http *http = connection->request;
	uint64_t bytes = http->body_length - http->body_mark;

	return smaller(connection->since_ms + limits->body_ms,
		       http->body_since_ms + limits->body_ms +
			       bytes * 1000 / limits->body_rate);
}

uint64_t http_connection_deadline_ms(const struct connection *connection)
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
		return body_deadline_ms(connection);
	case PHASE_BLOCKED:
	case PHASE_CLOSING:
		return since_ms + limits->idle_ms;
	case PHASE_LINGERING:
		return since_ms + LINGER_MS;
	case PHASE_HANDLED:
		if (http_body_flows(connection->request))
			return body_deadline_ms(connection);
		if (http_connection_queued(connection) > 0)
			return since_ms + limits->idle_ms;
		break;
	case PHASE_TAKEN:
		break;
	}
	return UINT64_MAX;
}

static void notice_progress(struct connection *connection, uint64_t now_ms)
{
	uint64_t queued = stream_queued_bytes(connection->stream);

	if (queued != connection->queued)
		connection->since_ms = now_ms;
	connection->queued = queued;
}

/* Looks at each connection, which costs little as it is seldom done, and
 * spares the requests all bookkeeping but a time stamp. */
void http_sweep(void *owner)
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

		if (connection->phase == PHASE_HANDLED ||
		    connection->phase == PHASE_BLOCKED ||
		    connection->phase == PHASE_CLOSING)
			notice_progress(connection, now_ms);
		if (now_ms >= http_connection_deadline_ms(connection)) {
			list_remove(each);
			list_add_last(&expired, each);
		}
	}
	while ((link = list_first(&expired)) != NULL) {
		list_remove(link);
		list_add_last(&server->connections, link);
		time_out(LIST_ENTRY(link, struct connection, link));
	}
	http2_sweep(server);
}

void http_sweep_start(struct http_server *server)
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
