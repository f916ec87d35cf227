/* Replies that are compressed: see http_internal.h. */
#include <string.h>

#include "server/gzip.h"
#include "server/http_internal.h"
#include "server/mime.h"
#include "wire/field.h"

/* More would hold up the loop for too long. */
#define PACKED_BYTES_MAX (1024 * 1024)

/* Was that header set? */
static bool has_field(const struct muster_http *http, const char *name)
{
	const char *at = (const char *)buffer_bytes(&http->fields);
	size_t left = buffer_length(&http->fields);
	const char *end = left > 0 ? at + left : at;
	size_t length = strlen(name);

	while (at < end) {
		const char *colon = memchr(at, ':', (size_t)(end - at));

		if (http1_is_name(at, (size_t)(colon - at), name, length))
			return true;
		at = (const char *)memchr(colon, '\n', (size_t)(end - colon)) +
		     1;
	}
	return false;
}

static bool is_accepted(const struct muster_http *http)
{
	for (size_t i = 0; i < http->head.header_count; i++) {
		const struct http1_header *header = &http->headers[i];

		if (http1_is_name(http->text + header->name.start,
				  header->name.length, "Accept-Encoding", 15))
			return field_coding_quality(
				       http->text + header->value.start,
				       header->value.length, "gzip") > 0;
	}
	return false;
}

/* A tag, or a part, is of the content as it is. */
static bool may_be_packed(const struct muster_http *http,
			  const struct http_reply *reply)
{
	return reply->has_length && reply->type.bytes != NULL &&
	       reply->status != 206 && !http->keeps_coding &&
	       mime_is_compressible(reply->type.bytes) &&
	       !has_field(http, "Content-Encoding") &&
	       !has_field(http, "Content-Range") && !has_field(http, "ETag");
}

static void refresh(const struct muster_http *http, struct http_reply *reply)
{
	reply->fields = (struct http_text){
		(const char *)buffer_bytes(&http->fields),
		buffer_length(&http->fields),
	};
}

void http_pack_reply(struct muster_http *http, struct http_reply *reply,
		     struct buffer *packed)
{
	if (reply->length > PACKED_BYTES_MAX || !may_be_packed(http, reply))
		return;
	buffer_append_text(&http->fields, "Vary: Accept-Encoding\r\n");
	if (!is_accepted(http)) {
		refresh(http, reply);
		return;
	}
	if (http->is_head) {
		/* Its length is not known without its body. */
		reply->has_length = false;
	} else if (gzip_pack(reply->body, (size_t)reply->length,
			     GZIP_LEVEL_SENT, packed)) {
		buffer_append_text(&http->fields, "Content-Encoding: gzip\r\n");
		reply->body = buffer_bytes(packed);
		reply->length = buffer_length(packed);
	}
	refresh(http, reply);
}
