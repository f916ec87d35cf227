/* Whom a request is from, and what is noted of it: see http_internal.h. */
#include <string.h>

#include "base/must.h"
#include "server/http_internal.h"
#include "wire/forwarded.h"

/* ---- The address ---- */

const char *http_connection_peer(struct connection *connection)
{
	if (!connection->knows_peer)
		connection->peer =
			peer_address_of(stream_descriptor(connection->stream));
	connection->knows_peer = true;
	return connection->peer.text;
}

/* Several headers of a name are one list: the last goes first. */
static void put_forwarded(struct muster_http *http)
{
	const struct http_server *server = http->connection->server;
	const char *name =
		server->trusts_forwarded ? "Forwarded" : "X-Forwarded-For";

	for (size_t i = http->head.header_count; i > 0; i--) {
		const struct http1_header *header = &http->headers[i - 1];

		if (http1_is_name(http->text + header->name.start,
				  header->name.length, name, strlen(name)))
			forwarded_read(http->client, &server->trusted,
				       http->text + header->value.start,
				       header->value.length,
				       server->trusts_forwarded);
	}
}

static void learn_client(struct muster_http *http)
{
	http->knows_client = true;
	http->client[0] = 0;
	if (http->connection == NULL)
		return;
	memcpy(http->client, http_connection_peer(http->connection),
	       sizeof(http->client));
	if (http->connection->server->trusted.count > 0 ||
	    http->connection->server->trusted.has_unix)
		put_forwarded(http);
}

const char *muster_http_client(const struct muster_http *http)
{
	if (!http->knows_client)
		/* To a caller a request does not change by being looked at. */
		learn_client((struct muster_http *)(uintptr_t)http);
	return http->client;
}

bool muster_http_is_secure(const struct muster_http *http)
{
	return http->is_secure;
}

/* ---- The access log ---- */

static struct access_text text_of(const struct muster_http *http,
				  struct http1_span span)
{
	return (struct access_text){ http->text + span.start, span.length };
}

static struct access_text find_header(const struct muster_http *http,
				      const char *name)
{
	size_t length = strlen(name);

	for (size_t i = 0; i < http->head.header_count; i++)
		if (http1_is_name(http->text + http->headers[i].name.start,
				  http->headers[i].name.length, name, length))
			return text_of(http, http->headers[i].value);
	return (struct access_text){ 0 };
}

void http_log_request(struct muster_http *http, int status, uint64_t body_bytes)
{
	struct http_server *server = http->connection->server;

	/* Refused while its body came: what was read is here by now. */
	if (!http->is_owned && buffer_length(&http->storage) > 0)
		http->text = (const char *)buffer_bytes(&http->storage);

	struct access_line line = {
		.client = muster_http_client(http),
		.status = status,
		.body_bytes = body_bytes,
		.took_ms = loop_now_ms(server->loop) - http->began_ms,
	};

	/* What broke off, or was no request, has no head to tell of. */
	if (http->head.length > 0) {
		line.method = text_of(http, http->head.method);
		line.target = text_of(http, http->head.target);
		line.minor_version = http->head.minor_version;
		line.is_http2 = http->connection->carrier != NULL;
		line.referer = find_header(http, "Referer");
		line.agent = find_header(http, "User-Agent");
	}
	access_log_put(server->access_log, &line);
}
