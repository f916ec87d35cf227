#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "base/mem.h"
#include "base/must.h"
#include "server/http_internal.h"

#define MAGIC               0x72657175u
#define SPARE_STORAGE_BYTES 16384

struct muster_http *http_request_take(struct http_server *server)
{
	struct muster_http *http = server->spare;

	if (http == NULL) {
		http = mem_zalloc(sizeof(*http) +
				  server->limits.headers *
					  sizeof(struct http1_header));
		http->magic = MAGIC;
	}
	server->spare = NULL;
	return http;
}

static void reset(struct muster_http *http)
{
	http->is_owned = http->is_head = http->knows_client = false;
	http->connection = NULL;
	http->text = NULL;
	http->body_length = 0;
	http1_head_init(&http->head);
	http->chunks = (struct http1_chunks){ 0 };
	buffer_truncate(&http->storage, 0);
	buffer_trim(&http->storage, SPARE_STORAGE_BYTES);
	buffer_truncate(&http->fields, 0);
	buffer_trim(&http->fields, SPARE_STORAGE_BYTES);
	free(http->parameters);
	http->parameters = NULL;
}

void http_request_give_back(struct http_server *server,
			    struct muster_http *http)
{
	if (server->spare != NULL) {
		http_request_free(http);
		return;
	}
	reset(http);
	server->spare = http;
}

void http_request_free(struct muster_http *http)
{
	if (http == NULL)
		return;
	MUST(http->magic == MAGIC);
	http->magic = 0;
	buffer_fini(&http->storage);
	buffer_fini(&http->fields);
	free(http->parameters);
	free(http);
}

/* ---- Ownership of the bytes ------------------------------------------------
 *
 * A request is parsed where the bytes were received. They are copied when
 * somebody asks for text, which must then stay until the reply, or when the
 * handler returns without one.
 */

void http_request_store_head(struct muster_http *http)
{
	buffer_append(&http->storage, http->text, http->head.length);
}

static void end_text(struct muster_http *http, struct http1_span span)
{
	buffer_bytes(&http->storage)[span.start + span.length] = 0;
}

void http_request_seal(struct muster_http *http)
{
	/* A body often is text. */
	*buffer_reserve(&http->storage, 1) = 0;
	http->text = (const char *)buffer_bytes(&http->storage);
	http->is_owned = true;
	/* Each is followed by a space, or by the "?". */
	end_text(http, http->head.method);
	end_text(http, http->head.path);
	end_text(http, http->head.target);
}

void http_request_own(struct muster_http *http)
{
	if (http->is_owned)
		return;
	buffer_append(&http->storage, http->text,
		      http->head.length + http->body_length);
	http_request_seal(http);
}

/* To a caller a request does not change by being looked at. */
static struct muster_http *owned(const struct muster_http *http)
{
	struct muster_http *own = (struct muster_http *)(uintptr_t)http;

	MUST(http->magic == MAGIC);
	http_request_own(own);
	return own;
}

/* ---- The request line ---- */

const char *muster_http_method(const struct muster_http *http)
{
	return owned(http)->text + http->head.method.start;
}

const char *muster_http_path(const struct muster_http *http)
{
	if (http->head.path.length == 0)
		return "/";
	return owned(http)->text + http->head.path.start;
}

const char *muster_http_query(const struct muster_http *http)
{
	if (http->head.query.length == 0)
		return "";
	return owned(http)->text + http->head.query.start;
}

/* ---- Parameters ---- */

static int hex(char digit)
{
	if (digit >= '0' && digit <= '9')
		return digit - '0';
	if ((digit | 32) >= 'a' && (digit | 32) <= 'f')
		return (digit | 32) - 'a' + 10;
	return -1;
}

/* What is no escape, and a NUL, which would end the text, stay as sent. */
static uint8_t *decode(uint8_t *to, const char *from, const char *end)
{
	for (; from < end; from++) {
		int high = *from == '%' && end - from > 2 ? hex(from[1]) : -1;
		int low = high >= 0 ? hex(from[2]) : -1;

		if (low >= 0 && high + low > 0) {
			*to++ = (uint8_t)(high << 4 | low);
			from += 2;
		} else {
			*to++ = *from == '+' ? ' ' : (uint8_t)*from;
		}
	}
	*to++ = 0;
	return to;
}

static void decode_parameters(struct muster_http *http)
{
	const char *at = muster_http_query(http);
	const char *end = at + http->head.query.length;
	/* "a" alone, the worst case, gets two NULs for its "&". */
	uint8_t *to = mem_alloc(2 * (size_t)(end - at) + 2);

	http->parameters = (char *)to;
	while (at < end) {
		const char *stop = memchr(at, '&', (size_t)(end - at));

		if (stop == NULL)
			stop = end;
		const char *equals = memchr(at, '=', (size_t)(stop - at));

		if (stop > at) {
			to = decode(to, at, equals != NULL ? equals : stop);
			to = decode(to, equals != NULL ? equals + 1 : stop,
				    stop);
		}
		at = stop + 1;
	}
	http->parameters_length = (size_t)((char *)to - http->parameters);
}

const char *muster_http_parameter(struct muster_http *http, const char *name)
{
	if (http->parameters == NULL)
		decode_parameters(http);

	const char *at = http->parameters;
	const char *end = at + http->parameters_length;

	while (at < end) {
		const char *value = at + strlen(at) + 1;

		if (strcmp(at, name) == 0)
			return value;
		at = value + strlen(value) + 1;
	}
	return NULL;
}

/* ---- Headers and body ---- */

const char *muster_http_header(const struct muster_http *http, const char *name)
{
	struct muster_http *own = owned(http);
	size_t length = strlen(name);

	for (size_t i = 0; i < http->head.header_count; i++) {
		struct http1_header header = http->headers[i];

		if (!http1_is_name(own->text + header.name.start,
				   header.name.length, name, length))
			continue;
		end_text(own, header.value);
		return own->text + header.value.start;
	}
	return NULL;
}

const void *muster_http_body(const struct muster_http *http, size_t *length)
{
	*length = http->body_length;
	return owned(http)->text + http->head.length;
}

/* ---- The client ---- */

static void put_address(struct muster_http *http,
			const struct sockaddr_storage *address)
{
	const void *bytes = NULL;

	if (address->ss_family == AF_INET)
		bytes = &((const struct sockaddr_in *)(const void *)address)
				 ->sin_addr;
	else if (address->ss_family == AF_INET6)
		bytes = &((const struct sockaddr_in6 *)(const void *)address)
				 ->sin6_addr;
	if (bytes != NULL)
		inet_ntop(address->ss_family, bytes, http->client,
			  sizeof(http->client));
}

const char *muster_http_client(const struct muster_http *http)
{
	struct muster_http *own = owned(http);
	struct sockaddr_storage address = { 0 };
	socklen_t length = sizeof(address);

	if (http->knows_client)
		return http->client;
	own->knows_client = true;
	own->client[0] = 0;
	if (http->connection != NULL &&
	    getpeername(stream_descriptor(http->connection->stream),
			(struct sockaddr *)(void *)&address, &length) == 0)
		put_address(own, &address);
	return http->client;
}
