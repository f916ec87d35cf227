/*
 * Any bytes into the reader of HTTP/1 heads, and what follows a head into that
 * of chunked bodies. Whatever they answer, what is found lies within the
 * bytes, and an input that comes in two pieces is read as one that comes whole.
 *
 * The first byte says where it is cut.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/must.h"
#include "wire/http1.h"

#define HEADERS_MAX 16

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length);

static const struct http1_limits limits = { .head_bytes = 2048,
					    .url_bytes = 256,
					    .headers = HEADERS_MAX };

struct result {
	enum http1_answer answer;
	struct http1_head head;
	struct http1_header headers[HEADERS_MAX];
};

/* In a block of that size alone, so that a read beyond it shows. */
static void read_first(struct result *result, const char *text, size_t length)
{
	char *copy = mem_copy(text, length);

	result->answer = http1_head_read(&result->head, result->headers,
					 &limits, copy, length);
	free(copy);
}

static void check_span(struct http1_span span, size_t length)
{
	MUST(span.start <= length && span.length <= length - span.start);
}

static void check_result(const struct result *result, const char *text,
			 size_t length)
{
	const struct http1_head *head = &result->head;

	if (result->answer == HTTP1_REFUSED) {
		MUST(head->reason != NULL && head->status >= 400);
		return;
	}
	if (result->answer == HTTP1_MORE) {
		MUST(length < limits.head_bytes);
		return;
	}
	MUST(result->answer == HTTP1_DONE && head->length <= length);
	MUST(memcmp(text + head->length - 4, "\r\n\r\n", 4) == 0);
	MUST(!head->is_chunked || head->content_length == 0);
	check_span(head->method, head->length);
	check_span(head->target, head->length);
	check_span(head->path, head->length);
	check_span(head->query, head->length);
	check_span(head->host, head->length);
	MUST(http1_is_token(text + head->method.start, head->method.length));
	for (size_t i = 0; i < head->header_count; i++) {
		const struct http1_header *header = &result->headers[i];

		check_span(header->name, head->length);
		check_span(header->value, head->length);
		MUST(http1_is_token(text + header->name.start,
				    header->name.length));
		MUST(http1_is_value(text + header->value.start,
				    header->value.length));
	}
}

static bool is_same_span(struct http1_span a, struct http1_span b)
{
	return a.start == b.start && a.length == b.length;
}

static void check_same(const struct result *a, const struct result *b)
{
	MUST(a->answer == b->answer);
	MUST(a->head.status == b->head.status);
	MUST(a->head.reason == b->head.reason);
	if (a->answer != HTTP1_DONE)
		return;
	MUST(a->head.length == b->head.length);
	MUST(a->head.header_count == b->head.header_count);
	MUST(a->head.content_length == b->head.content_length);
	MUST(a->head.form == b->head.form);
	MUST(a->head.minor_version == b->head.minor_version);
	MUST(a->head.is_chunked == b->head.is_chunked);
	MUST(a->head.is_keep_alive == b->head.is_keep_alive);
	MUST(a->head.expects_continue == b->head.expects_continue);
	MUST(a->head.wants_upgrade == b->head.wants_upgrade);
	MUST(is_same_span(a->head.method, b->head.method));
	MUST(is_same_span(a->head.target, b->head.target));
	MUST(is_same_span(a->head.path, b->head.path));
	MUST(is_same_span(a->head.query, b->head.query));
	MUST(is_same_span(a->head.host, b->head.host));
	for (size_t i = 0; i < a->head.header_count; i++) {
		MUST(is_same_span(a->headers[i].name, b->headers[i].name));
		MUST(is_same_span(a->headers[i].value, b->headers[i].value));
	}
}

struct body {
	enum http1_answer answer;
	struct http1_chunks chunks;
	size_t used;
	size_t length;
	uint32_t sum; /* of the content */
};

static void read_body(struct body *body, const char *text, size_t length)
{
	char *copy = mem_copy(text, length);
	size_t at = 0;

	do {
		size_t used;
		size_t data;

		body->answer = http1_chunks_read(&body->chunks, copy + at,
						 length - at, &used, &data);
		MUST(used <= length - at && data <= used);
		MUST(body->answer == HTTP1_DATA || data == 0);
		for (size_t i = at + used - data; i < at + used; i++)
			body->sum = body->sum * 31 + (uint8_t)copy[i];
		body->length += data;
		at += used;
	} while (body->answer == HTTP1_DATA ||
		 (body->answer == HTTP1_MORE && at < length));
	body->used += at;
	free(copy);
}

static void check_body(const char *text, size_t length, size_t cut)
{
	struct body whole = { 0 };
	struct body parts = { 0 };

	read_body(&whole, text, length);
	read_body(&parts, text, cut);
	if (parts.answer == HTTP1_MORE)
		read_body(&parts, text + cut, length - cut);
	MUST(whole.answer == parts.answer && whole.used == parts.used);
	MUST(whole.length == parts.length && whole.sum == parts.sum);
	MUST(whole.chunks.status == parts.chunks.status);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length)
{
	struct result whole;
	struct result parts;

	if (length == 0)
		return 0;
	const char *text = (const char *)bytes + 1;
	size_t cut;

	length--;
	cut = length * bytes[0] / 255;
	http1_head_init(&whole.head);
	http1_head_init(&parts.head);
	read_first(&whole, text, length);
	check_result(&whole, text, length);
	read_first(&parts, text, cut);
	if (parts.answer == HTTP1_MORE)
		read_first(&parts, text, length);
	check_same(&whole, &parts);

	size_t body = whole.answer == HTTP1_DONE ? whole.head.length : 0;

	check_body(text + body, length - body,
		   (length - body) * bytes[0] / 255);
	return 0;
}
