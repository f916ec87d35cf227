/* The head of a request, as HTTP/1 would have it: see http2_internal.h. */
#include <string.h>

#include "server/http2_internal.h"

#define KEPT_BYTES 2048

void http2_head_begin(struct http2_head *head)
{
	buffer_truncate(&head->pseudo, 0);
	buffer_truncate(&head->fields, 0);
	buffer_truncate(&head->cookies, 0);
	buffer_trim(&head->pseudo, KEPT_BYTES);
	buffer_trim(&head->fields, KEPT_BYTES);
	buffer_trim(&head->cookies, KEPT_BYTES);
	head->method = head->path = head->authority =
		(struct http1_span){ 0, 0 };
	head->bytes = 0;
	head->is_bad = head->has_length = false;
}

void http2_head_fini(struct http2_head *head)
{
	buffer_fini(&head->pseudo);
	buffer_fini(&head->fields);
	buffer_fini(&head->cookies);
}

static bool is_name(const char *name, size_t length, const char *known)
{
	return length == strlen(known) && memcmp(name, known, length) == 0;
}

static void add_pseudo(struct http2_head *head, const char *name,
		       size_t name_length, const char *value,
		       size_t value_length)
{
	struct http1_span *span = NULL;

	if (is_name(name, name_length, ":method"))
		span = &head->method;
	else if (is_name(name, name_length, ":path"))
		span = &head->path;
	else if (is_name(name, name_length, ":authority"))
		span = &head->authority;
	if (span == NULL)
		return;
	span->start = (uint32_t)buffer_length(&head->pseudo);
	span->length = (uint32_t)value_length;
	buffer_append(&head->pseudo, value, value_length);
}

/* RFC 9113, 8.2.3: a client may cut them up. */
static void add_crumb(struct buffer *cookies, const char *value, size_t length)
{
	if (buffer_length(cookies) > 0)
		buffer_append(cookies, "; ", 2);
	buffer_append(cookies, value, length);
}

static void add_field(struct http2_head *head, const char *name,
		      size_t name_length, const char *value,
		      size_t value_length)
{
	/* RFC 9113, 8.3.1: of the two, ":authority" counts. */
	if (is_name(name, name_length, "host") && head->authority.length > 0)
		return;
	if (is_name(name, name_length, "content-length"))
		head->has_length = true;
	buffer_append(&head->fields, name, name_length);
	buffer_append(&head->fields, ": ", 2);
	buffer_append(&head->fields, value, value_length);
	buffer_append(&head->fields, "\r\n", 2);
}

void http2_head_add(struct http2_head *head, size_t bytes_max, const char *name,
		    size_t name_length, const char *value, size_t value_length)
{
	head->bytes += name_length + value_length + 32;
	/* Refused for its length, whatever else there is. */
	if (buffer_length(&head->fields) + buffer_length(&head->pseudo) +
		    buffer_length(&head->cookies) >
	    bytes_max)
		return;
	/* nghttp2 has looked already, but what is a line of its own here
	 * decides what the request is. */
	if (!http1_is_value(value, value_length))
		head->is_bad = true;
	else if (name_length > 0 && name[0] == ':')
		add_pseudo(head, name, name_length, value, value_length);
	else if (!http1_is_token(name, name_length))
		head->is_bad = true;
	else if (is_name(name, name_length, "cookie"))
		add_crumb(&head->cookies, value, value_length);
	else
		add_field(head, name, name_length, value, value_length);
}

static void put_span(struct buffer *to, const struct http2_head *head,
		     struct http1_span span)
{
	if (span.length > 0)
		buffer_append(to, buffer_bytes(&head->pseudo) + span.start,
			      span.length);
}

static void put_lines(struct buffer *to, const struct buffer *lines)
{
	if (buffer_length(lines) > 0)
		buffer_append(to, buffer_bytes(lines), buffer_length(lines));
}

bool http2_head_write(const struct http2_head *head, struct buffer *to)
{
	if (head->is_bad || head->method.length == 0)
		return false;
	put_span(to, head, head->method);
	buffer_append_text(to, " ");
	/* CONNECT has no path. */
	put_span(to, head,
		 head->path.length > 0 ? head->path : head->authority);
	buffer_append_text(to, " HTTP/1.1\r\n");
	if (head->authority.length > 0) {
		buffer_append_text(to, "host: ");
		put_span(to, head, head->authority);
		buffer_append_text(to, "\r\n");
	}
	put_lines(to, &head->fields);
	if (buffer_length(&head->cookies) > 0) {
		buffer_append_text(to, "cookie: ");
		put_lines(to, &head->cookies);
		buffer_append_text(to, "\r\n");
	}
	buffer_append_text(to, "\r\n");
	return true;
}
