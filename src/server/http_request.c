#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/must.h"
#include "server/http_internal.h"
#include "wire/urlencoded.h"

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
	http->is_secure = server->tls != NULL;
	return http;
}

static void reset(struct muster_http *http)
{
	http->is_owned = http->is_head = http->knows_client = false;
	http->is_deciding = http->owes_continue = http->is_limited = false;
	http->is_apart = http->is_streamed = http->is_body_open = false;
	http->is_body_paused = http->owes_end = http->is_begun = false;
	http->is_chunked = http->is_last = http->is_full = false;
	http->has_told_end = http->keeps_coding = false;
	if (http->knows_cookies) {
		http->knows_cookies = false;
		buffer_truncate(&http->cookies, 0);
		buffer_trim(&http->cookies, SPARE_STORAGE_BYTES);
	}
	if (http->flow != NULL)
		http_flow_free(http);
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
	if (http->flow != NULL)
		http_flow_free(http);
	http->magic = 0;
	buffer_fini(&http->storage);
	buffer_fini(&http->fields);
	buffer_fini(&http->cookies);
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

static char *put_decoded(char *to, const char *from, size_t length)
{
	to += urlencoded_decode(to, from, length);
	*to = 0;
	return to + 1;
}

static void decode_parameters(struct muster_http *http)
{
	const char *query = muster_http_query(http);
	size_t length = http->head.query.length;
	struct urlencoded reader;
	struct urlencoded_pair pair;
	/* "a" alone, the worst case, gets two NULs for its "&". */
	char *to = mem_alloc(2 * length + 2);

	http->parameters = to;
	urlencoded_init(&reader, query, length);
	while (urlencoded_next(&reader, &pair)) {
		to = put_decoded(to, pair.name, pair.name_length);
		to = put_decoded(to, pair.value, pair.value_length);
	}
	http->parameters_length = (size_t)(to - http->parameters);
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

bool muster_http_parameter_at(struct muster_http *http, size_t index,
			      const char **name, const char **value)
{
	if (http->parameters == NULL)
		decode_parameters(http);

	const char *at = http->parameters;
	const char *end = at + http->parameters_length;

	for (; at < end; index--) {
		*name = at;
		*value = at + strlen(at) + 1;
		if (index == 0)
			return true;
		at = *value + strlen(*value) + 1;
	}
	return false;
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
	const uint8_t *apart;

	*length = http->is_streamed ? 0 : http->body_length;
	if (!http->is_apart)
		return owned(http)->text + http->head.length;
	apart = buffer_bytes(&http->flow->body);
	if (apart != NULL && !http->is_deciding)
		return apart;
	*length = 0;
	return "";
}
