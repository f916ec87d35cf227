/* What the reader of HTTP/1 heads takes, and what it refuses. Every input is
 * read in one piece, and again byte by byte: the answers must agree. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "wire/http1.h"

#define HEADERS_MAX 8

static const struct http1_limits limits = { .head_bytes = 1024,
					    .url_bytes = 64,
					    .headers = HEADERS_MAX };

struct result {
	enum http1_answer answer;
	struct http1_head head;
	struct http1_header headers[HEADERS_MAX];
	const char *text;
};

/* The input lies at the very end of a block of its own, for those who watch
 * for reads beyond it. */
static struct result read_in_pieces(const char *text, size_t length,
				    size_t piece)
{
	struct result result = { .answer = HTTP1_MORE, .text = text };
	size_t given = 0;

	http1_head_init(&result.head);
	while (result.answer == HTTP1_MORE && given < length) {
		given = length - given < piece ? length : given + piece;
		char *copy = mem_copy(text, given);

		result.answer = http1_head_read(&result.head, result.headers,
						&limits, copy, given);
		free(copy);
	}
	return result;
}

static void assert_same_span(struct http1_span a, struct http1_span b)
{
	assert_int_equal(a.start, b.start);
	assert_int_equal(a.length, b.length);
}

static void assert_same(const struct result *a, const struct result *b)
{
	assert_int_equal(a->answer, b->answer);
	assert_int_equal(a->head.status, b->head.status);
	if (a->answer == HTTP1_REFUSED)
		assert_string_equal(a->head.reason, b->head.reason);
	if (a->answer != HTTP1_DONE)
		return;
	assert_int_equal(a->head.length, b->head.length);
	assert_int_equal(a->head.header_count, b->head.header_count);
	assert_same_span(a->head.path, b->head.path);
	assert_same_span(a->head.query, b->head.query);
	assert_same_span(a->head.host, b->head.host);
	for (size_t i = 0; i < a->head.header_count; i++) {
		assert_same_span(a->headers[i].name, b->headers[i].name);
		assert_same_span(a->headers[i].value, b->headers[i].value);
	}
}

static struct result read_bytes(const char *text, size_t length)
{
	struct result whole = read_in_pieces(text, length, length);
	struct result bytes = read_in_pieces(text, length, 1);
	struct result sevens = read_in_pieces(text, length, 7);

	assert_same(&whole, &bytes);
	assert_same(&whole, &sevens);
	return whole;
}

static struct result read_done(const char *text)
{
	struct result result = read_bytes(text, strlen(text));

	if (result.answer != HTTP1_DONE)
		print_message("%s\n", result.head.reason);
	assert_int_equal(result.answer, HTTP1_DONE);
	return result;
}

static void assert_refused_bytes(int status, const char *text, size_t length)
{
	struct result result = read_bytes(text, length);

	assert_int_equal(result.answer, HTTP1_REFUSED);
	assert_int_equal(result.head.status, status);
	assert_non_null(result.head.reason);
}

/* For literals, which may have a NUL inside. */
#define assert_refused(status, literal)                                        \
	assert_refused_bytes(status, literal, sizeof(literal) - 1)

static void assert_text(const struct result *result, struct http1_span span,
			const char *expected)
{
	assert_int_equal(span.length, strlen(expected));
	assert_memory_equal(result->text + span.start, expected, span.length);
}

/* A request with `lines`, each with its CR LF, between Host and the end. */
#define GET(lines) "GET / HTTP/1.1\r\nHost: a\r\n" lines "\r\n"

/* ---- The request line ---------------------------------------------------- */

static void a_simple_request_is_read(void **state)
{
	(void)state;
	struct result result = read_done(
		"GET /a/b?c=d&e HTTP/1.1\r\nHost: example.org:80\r\n\r\nrest");

	assert_text(&result, result.head.method, "GET");
	assert_text(&result, result.head.target, "/a/b?c=d&e");
	assert_text(&result, result.head.path, "/a/b");
	assert_text(&result, result.head.query, "c=d&e");
	assert_text(&result, result.head.host, "example.org:80");
	assert_int_equal(result.head.form, HTTP1_ORIGIN);
	assert_int_equal(result.head.minor_version, 1);
	assert_int_equal(result.head.length, 49);
	assert_int_equal(result.head.header_count, 1);
	assert_true(result.head.is_keep_alive);
	assert_false(result.head.is_chunked);
	assert_int_equal(result.head.content_length, 0);
}

static void an_unfinished_head_needs_more(void **state)
{
	(void)state;
	static const char text[] = GET("Accept: */*\r\n");

	for (size_t length = 0; length < sizeof(text) - 1; length++)
		assert_int_equal(read_bytes(text, length).answer, HTTP1_MORE);
	assert_int_equal(read_bytes(text, sizeof(text) - 1).answer, HTTP1_DONE);
}

static void empty_lines_before_a_request_are_passed_over(void **state)
{
	(void)state;
	struct result result =
		read_done("\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n");

	assert_text(&result, result.head.method, "GET");
	assert_int_equal(result.head.length, 31);
}

static void a_method_is_any_token(void **state)
{
	(void)state;
	struct result result =
		read_done("M-SEARCH!#$ / HTTP/1.1\r\nHost: a\r\n\r\n");

	assert_text(&result, result.head.method, "M-SEARCH!#$");
	read_done("get / HTTP/1.1\r\nHost: a\r\n\r\n");
}

static void a_bad_method_is_refused(void **state)
{
	(void)state;
	assert_refused(400, " / HTTP/1.1\r\nHost: a\r\n\r\n");
	assert_refused(400, "G@T / HTTP/1.1\r\nHost: a\r\n\r\n");
	assert_refused(400, "GET\t/ HTTP/1.1\r\nHost: a\r\n\r\n");
	assert_refused(400, "G\0T / HTTP/1.1\r\nHost: a\r\n\r\n");
	assert_refused(400, "\"GET\" / HTTP/1.1\r\nHost: a\r\n\r\n");
	assert_refused(400, "GET\r\n\r\n");
}

static void a_tls_greeting_is_refused_at_once(void **state)
{
	(void)state;
	assert_refused(400, "\x16\x03\x01\x02\x00\x01");
}

static void a_method_longer_than_any_known_is_not_implemented(void **state)
{
	(void)state;
	assert_refused(501, "ABCDEFGHIJKLMNOPQRSTUVWXYZABCDEFGHIJK / HTTP");
}

static void a_request_line_has_single_spaces(void **state)
{
	(void)state;
	assert_refused(400, "GET  / HTTP/1.1\r\nHost: a\r\n\r\n");
	assert_refused(400, "GET /  HTTP/1.1\r\nHost: a\r\n\r\n");
	assert_refused(400, "GET / HTTP/1.1 \r\nHost: a\r\n\r\n");
	assert_refused(400, "GET / a HTTP/1.1\r\nHost: a\r\n\r\n");
	assert_refused(400, "GET\v/ HTTP/1.1\r\nHost: a\r\n\r\n");
}

static void a_request_of_http_0_9_is_refused(void **state)
{
	(void)state;
	assert_refused(400, "GET /\r\n");
}

static void a_target_with_bytes_that_no_url_has_is_refused(void **state)
{
	(void)state;
	assert_refused(400, "GET /a#b HTTP/1.1\r\nHost: a\r\n\r\n");
	assert_refused(400, "GET /\x7f HTTP/1.1\r\nHost: a\r\n\r\n");
	assert_refused(400, "GET /\0 HTTP/1.1\r\nHost: a\r\n\r\n");
	assert_refused(400, "GET /\xc3\xa4 HTTP/1.1\r\nHost: a\r\n\r\n");
	assert_refused(400, "GET /\t HTTP/1.1\r\nHost: a\r\n\r\n");
}

static void a_target_without_a_slash_is_refused(void **state)
{
	(void)state;
	assert_refused(400, "GET a HTTP/1.1\r\nHost: a\r\n\r\n");
	assert_refused(400, "GET ?a HTTP/1.1\r\nHost: a\r\n\r\n");
	assert_refused(400, "GET ftp://a/b HTTP/1.1\r\nHost: a\r\n\r\n");
}

static void only_the_first_question_mark_splits(void **state)
{
	(void)state;
	struct result result =
		read_done("GET /a??b?c HTTP/1.1\r\nHost: a\r\n\r\n");

	assert_text(&result, result.head.path, "/a");
	assert_text(&result, result.head.query, "?b?c");
}

static void the_absolute_form_brings_its_host(void **state)
{
	(void)state;
	struct result result = read_done(
		"GET http://b.org:81/c?d HTTP/1.1\r\nHost: a\r\n\r\n");

	assert_int_equal(result.head.form, HTTP1_ABSOLUTE);
	assert_text(&result, result.head.host, "b.org:81");
	assert_text(&result, result.head.path, "/c");
	assert_text(&result, result.head.query, "d");

	result = read_done("GET HTTPS://b?d HTTP/1.1\r\nHost: a\r\n\r\n");
	assert_text(&result, result.head.host, "b");
	assert_text(&result, result.head.path, "");
	assert_text(&result, result.head.query, "d");
}

static void a_malformed_absolute_form_is_refused(void **state)
{
	(void)state;
	assert_refused(400, "GET http:// HTTP/1.1\r\nHost: a\r\n\r\n");
	assert_refused(400, "GET http:///b HTTP/1.1\r\nHost: a\r\n\r\n");
	assert_refused(400, "GET http://u@b/ HTTP/1.1\r\nHost: a\r\n\r\n");
	assert_refused(400, "GET http://:80/ HTTP/1.1\r\nHost: a\r\n\r\n");
	assert_refused(400, "GET http://b:x/ HTTP/1.1\r\nHost: a\r\n\r\n");
	assert_refused(400, "GET http:/b HTTP/1.1\r\nHost: a\r\n\r\n");
}

static void the_authority_form_is_of_connect_alone(void **state)
{
	(void)state;
	struct result result =
		read_done("CONNECT b.org:443 HTTP/1.1\r\nHost: b.org\r\n\r\n");

	assert_int_equal(result.head.form, HTTP1_AUTHORITY);
	assert_text(&result, result.head.host, "b.org:443");
	assert_refused(400, "GET b.org:443 HTTP/1.1\r\nHost: a\r\n\r\n");
	assert_refused(400, "CONNECT /b HTTP/1.1\r\nHost: a\r\n\r\n");
	assert_refused(400, "CONNECT b.org HTTP/1.1\r\nHost: a\r\n\r\n");
	assert_refused(400, "CONNECT b.org: HTTP/1.1\r\nHost: a\r\n\r\n");
	assert_refused(400, "CONNECT :443 HTTP/1.1\r\nHost: a\r\n\r\n");
}

static void the_asterisk_form_is_of_options_alone(void **state)
{
	(void)state;
	struct result result =
		read_done("OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n");

	assert_int_equal(result.head.form, HTTP1_ASTERISK);
	assert_text(&result, result.head.path, "*");
	assert_refused(400, "GET * HTTP/1.1\r\nHost: a\r\n\r\n");
	assert_refused(400, "OPTIONS *a HTTP/1.1\r\nHost: a\r\n\r\n");
}

static void another_major_version_is_not_supported(void **state)
{
	(void)state;
	assert_refused(505, "GET / HTTP/2.0\r\nHost: a\r\n\r\n");
	assert_refused(505, "OPTIONS * HTTP/2.0\r\n\r\nSM\r\n\r\n");
	assert_refused(505, "GET / HTTP/0.9\r\nHost: a\r\n\r\n");
	assert_refused(505, "GET / HTTP/5.6");
}

static void a_later_minor_version_is_read_as_1_1(void **state)
{
	(void)state;
	struct result result = read_done("GET / HTTP/1.2\r\nHost: a\r\n\r\n");

	assert_int_equal(result.head.minor_version, 1);
}

static void a_malformed_version_is_refused(void **state)
{
	(void)state;
	assert_refused(400, "GET / http/1.1\r\nHost: a\r\n\r\n");
	assert_refused(400, "GET / HTTP/1,1\r\nHost: a\r\n\r\n");
	assert_refused(400, "GET / HTTP/11\r\nHost: a\r\n\r\n");
	assert_refused(400, "GET / HTTP/1.10\r\nHost: a\r\n\r\n");
	assert_refused(400, "GET / HTTP/01.1\r\nHost: a\r\n\r\n");
	assert_refused(400, "GET / HTTP/x.1\r\nHost: a\r\n\r\n");
	assert_refused(400, "GET / ICE/1.0\r\nHost: a\r\n\r\n");
	assert_refused(400, "GET / IHTTP/1.0\r\nHost: a\r\n\r\n");
	assert_refused(400, "GET / \r\nHost: a\r\n\r\n");
}

/* ---- The ends of lines --------------------------------------------------- */

static void a_bare_lf_ends_no_line(void **state)
{
	(void)state;
	assert_refused(400, "GET / HTTP/1.1\nHost: a\n\n");
	assert_refused(400, "\nGET / HTTP/1.1\r\nHost: a\r\n\r\n");
	assert_refused(400, "GET / HTTP/1.1\r\nHost: a\nX: b\r\n\r\n");
	assert_refused(400, "GET / HTTP/1.1\r\nHost: a\r\nX: b\r\n\n");
	assert_refused(400, GET("X:\nTransfer-Encoding: chunked\r\n"));
}

static void a_bare_cr_ends_no_line(void **state)
{
	(void)state;
	assert_refused(400, "\rGET / HTTP/1.1\r\nHost: a\r\n\r\n");
	assert_refused(400, "GET / HTTP/1.1\rHost: a\r\n\r\n");
	assert_refused(400, GET("X: b\rY: c\r\n"));
	assert_refused(400, GET("X:\rTransfer-Encoding: chunked\r\n"));
	assert_refused(400, GET("X: b\r\r\n"));
	assert_refused(400, "GET / HTTP/1.1\r\nHost: a\r\n\rX: b\r\n\r\n");
	assert_refused(400, GET("Connection\r: close\r\n"));
}

/* ---- Headers --------------------------------------------------------------
 */

static void headers_are_given_in_their_order(void **state)
{
	(void)state;
	struct result result = read_done(GET("X-One: 1\r\nx-two:2\r\n"));

	assert_int_equal(result.head.header_count, 3);
	assert_text(&result, result.headers[1].name, "X-One");
	assert_text(&result, result.headers[1].value, "1");
	assert_text(&result, result.headers[2].name, "x-two");
	assert_text(&result, result.headers[2].value, "2");
}

static void whitespace_around_a_value_is_not_part_of_it(void **state)
{
	(void)state;
	struct result result =
		read_done(GET("A: \t b\t c \t\r\nB:\r\nC:  \r\nD:e\r\n"));

	assert_text(&result, result.headers[1].value, "b\t c");
	assert_text(&result, result.headers[2].value, "");
	assert_text(&result, result.headers[3].value, "");
	assert_text(&result, result.headers[4].value, "e");
}

static void a_long_header_is_read_whole(void **state)
{
	(void)state;
	struct result result = read_done(GET(
		"A-Name-That-Is-Longer-Than-Sixteen_Bytes-0123456789: a value "
		"that is longer, too, \xc3\xa4 and\tso on, 0123456789\r\n"));

	assert_text(&result, result.headers[1].name,
		    "A-Name-That-Is-Longer-Than-Sixteen_Bytes-0123456789");
	assert_text(&result, result.headers[1].value,
		    "a value that is longer, too, \xc3\xa4 and\tso on, "
		    "0123456789");
}

static void a_space_before_the_colon_is_refused(void **state)
{
	(void)state;
	assert_refused(400, GET("X : b\r\n"));
	assert_refused(400, GET("Transfer-Encoding : chunked\r\n"));
	assert_refused(400, GET("Transfer-Encoding\t: chunked\r\n"));
	assert_refused(400, GET("Content-Length : 5\r\n"));
}

static void a_folded_header_is_refused(void **state)
{
	(void)state;
	assert_refused(400, GET("X: b\r\n c\r\n"));
	assert_refused(400, GET("X: b\r\n\tc\r\n"));
	assert_refused(400, GET("X: b\r\n Content-Length: 5\r\n"));
	assert_refused(400, GET("Transfer-Encoding:\r\n chunked\r\n"));
	assert_refused(400, "GET / HTTP/1.1\r\n Host: a\r\n\r\n");
}

static void a_malformed_name_is_refused(void **state)
{
	(void)state;
	assert_refused(400, GET(": b\r\n"));
	assert_refused(400, GET("X@: b\r\n"));
	assert_refused(400, GET("X\x01\ty: b\r\n"));
	assert_refused(400, GET("X\0: b\r\n"));
	assert_refused(400, GET("X\x80: b\r\n"));
	assert_refused(400, GET("(X): b\r\n"));
	assert_refused(400, GET("no colon\r\n"));
	assert_refused(400, GET("nocolon\r\n"));
	assert_refused(400, GET("A-Quite-Long-Header-Name\x0bX: b\r\n"));
}

static void a_control_byte_in_a_value_is_refused(void **state)
{
	(void)state;
	for (int byte = 0; byte < 256; byte++) {
		char text[] = GET("X: abcdefghijklmnopqrstuvwxyz\r\n");
		char *place = strchr(text, 'k');
		bool is_fine = byte == '\t' || (byte >= 32 && byte != 127);

		*place = (char)byte;
		if (is_fine)
			assert_int_equal(
				read_bytes(text, sizeof(text) - 1).answer,
				HTTP1_DONE);
		else
			assert_refused_bytes(400, text, sizeof(text) - 1);
	}
}

/* ---- Host ------------------------------------------------------------------
 */

static void http_1_1_needs_one_host(void **state)
{
	(void)state;
	assert_refused(400, "GET / HTTP/1.1\r\n\r\n");
	assert_refused(400, "GET / HTTP/1.1\r\nHos: a\r\n\r\n");
	assert_refused(400, GET("Host: a\r\n"));
	assert_refused(400, GET("hOST: b\r\n"));
	assert_refused(400, "GET http://a/ HTTP/1.1\r\n\r\n");
}

static void http_1_0_needs_no_host(void **state)
{
	(void)state;
	struct result result = read_done("GET / HTTP/1.0\r\n\r\n");

	assert_int_equal(result.head.minor_version, 0);
	assert_refused(400, "GET / HTTP/1.0\r\nHost: a\r\nHost: a\r\n\r\n");
}

static void a_host_may_be_empty_or_an_address(void **state)
{
	(void)state;
	read_done("GET / HTTP/1.1\r\nHost:\r\n\r\n");
	read_done("GET / HTTP/1.1\r\nHost: 127.0.0.1:8080\r\n\r\n");
	read_done("GET / HTTP/1.1\r\nHost: [::1]:8080\r\n\r\n");
	read_done("GET / HTTP/1.1\r\nHost: [::ffff:1.2.3.4]\r\n\r\n");
	read_done("GET / HTTP/1.1\r\nHost: a_b-c.d%20:\r\n\r\n");
}

static void a_malformed_host_is_refused(void **state)
{
	(void)state;
	assert_refused(400, "GET / HTTP/1.1\r\nHost: a b\r\n\r\n");
	assert_refused(400, "GET / HTTP/1.1\r\nHost: a/b\r\n\r\n");
	assert_refused(400, "GET / HTTP/1.1\r\nHost: u@a\r\n\r\n");
	assert_refused(400, "GET / HTTP/1.1\r\nHost: a:80:80\r\n\r\n");
	assert_refused(400, "GET / HTTP/1.1\r\nHost: a:8x\r\n\r\n");
	assert_refused(400, "GET / HTTP/1.1\r\nHost: a:123456\r\n\r\n");
	assert_refused(400, "GET / HTTP/1.1\r\nHost: [::1\r\n\r\n");
	assert_refused(400, "GET / HTTP/1.1\r\nHost: []\r\n\r\n");
	assert_refused(400, "GET / HTTP/1.1\r\nHost: [::1]a\r\n\r\n");
	assert_refused(400, "GET / HTTP/1.1\r\nHost: a%2\r\n\r\n");
	assert_refused(400, "GET / HTTP/1.1\r\nHost: a%zz\r\n\r\n");
	assert_refused(400, "GET / HTTP/1.1\r\nHost: \xc3\xa4\r\n\r\n");
}

/* ---- How long the body is --------------------------------------------------
 */

static uint64_t length_of(const char *text)
{
	return read_done(text).head.content_length;
}

static void a_content_length_is_read(void **state)
{
	(void)state;
	assert_int_equal(length_of(GET("Content-Length: 0\r\n")), 0);
	assert_int_equal(length_of(GET("content-length:42 \r\n")), 42);
	assert_int_equal(length_of(GET("CONTENT-LENGTH: 0007\r\n")), 7);
	assert_true(
		length_of(GET("Content-Length: 18446744073709551614\r\n")) ==
		UINT64_MAX - 1);
}

static void a_content_length_beyond_counting_counts_as_the_largest(void **state)
{
	(void)state;
	assert_true(
		length_of(GET("Content-Length: 18446744073709551616\r\n")) ==
		UINT64_MAX);
	assert_true(length_of(GET("Content-Length: 99999999999999999999999999"
				  "999999999999999999999999\r\n")) ==
		    UINT64_MAX);
}

static void a_malformed_content_length_is_refused(void **state)
{
	(void)state;
	assert_refused(400, GET("Content-Length:\r\n"));
	assert_refused(400, GET("Content-Length: +5\r\n"));
	assert_refused(400, GET("Content-Length: -5\r\n"));
	assert_refused(400, GET("Content-Length: 5 5\r\n"));
	assert_refused(400, GET("Content-Length: 5, 5\r\n"));
	assert_refused(400, GET("Content-Length: 5,6\r\n"));
	assert_refused(400, GET("Content-Length: 0x5\r\n"));
	assert_refused(400, GET("Content-Length: 5.0\r\n"));
	assert_refused(400, GET("Content-Length: 5a\r\n"));
	assert_refused(400, GET("Content-Length: \"5\"\r\n"));
}

static void a_second_content_length_is_refused(void **state)
{
	(void)state;
	assert_refused(400, GET("Content-Length: 5\r\nContent-Length: 6\r\n"));
	assert_refused(400, GET("Content-Length: 5\r\ncontent-length: 5\r\n"));
}

static void chunked_is_understood(void **state)
{
	(void)state;
	assert_true(read_done(GET("Transfer-Encoding: chunked\r\n"))
			    .head.is_chunked);
	assert_true(read_done(GET("transfer-encoding:\tCHUNKED\t\r\n"))
			    .head.is_chunked);
}

static void both_lengths_are_refused(void **state)
{
	(void)state;
	assert_refused(400, GET("Content-Length: 5\r\n"
				"Transfer-Encoding: chunked\r\n"));
	assert_refused(400, GET("Transfer-Encoding: chunked\r\n"
				"Content-Length: 5\r\n"));
	assert_refused(400, GET("Transfer-Encoding: identity\r\n"
				"Content-Length: 5\r\n"));
	assert_refused(400, GET("Transfer-Encoding:\r\n"
				"Content-Length: 5\r\n"));
}

static void a_coding_that_does_not_end_in_chunked_is_refused(void **state)
{
	(void)state;
	assert_refused(400, GET("Transfer-Encoding:\r\n"));
	assert_refused(400, GET("Transfer-Encoding: identity\r\n"));
	assert_refused(400, GET("Transfer-Encoding: pigeons\r\n"));
	assert_refused(400, GET("Transfer-Encoding: chunkedx\r\n"));
	assert_refused(400, GET("Transfer-Encoding: xchunked\r\n"));
	assert_refused(400, GET("Transfer-Encoding: \"chunked\"\r\n"));
	assert_refused(400, GET("Transfer-Encoding: chunked;q=1\r\n"));
	assert_refused(400, GET("Transfer-Encoding: chunked identity\r\n"));
	assert_refused(400, GET("Transfer-Encoding: chunked, gzip\r\n"));
	assert_refused(400, GET("Transfer-Encoding: chunked,\r\n"));
	assert_refused(400, GET("Transfer-Encoding: chunked\r\n"
				"Transfer-Encoding: identity\r\n"));
}

static void chunked_twice_is_refused(void **state)
{
	(void)state;
	assert_refused(400, GET("Transfer-Encoding: chunked, chunked\r\n"));
	assert_refused(400, GET("Transfer-Encoding: chunked\r\n"
				"Transfer-Encoding: chunked\r\n"));
}

static void another_coding_before_chunked_is_not_implemented(void **state)
{
	(void)state;
	assert_refused(501, GET("Transfer-Encoding: gzip, chunked\r\n"));
	assert_refused(501, GET("Transfer-Encoding: gzip\r\n"
				"Transfer-Encoding: chunked\r\n"));
	assert_refused(501, GET("Transfer-Encoding: ,chunked\r\n"));
}

static void a_coding_in_http_1_0_is_refused(void **state)
{
	(void)state;
	assert_refused(400, "POST / HTTP/1.0\r\n"
			    "Transfer-Encoding: chunked\r\n\r\n");
}

/* ---- What becomes of the connection -----------------------------------------
 */

static bool keeps(const char *text)
{
	return read_done(text).head.is_keep_alive;
}

static void http_1_1_keeps_the_connection_unless_asked(void **state)
{
	(void)state;
	assert_true(keeps(GET("")));
	assert_true(keeps(GET("Connection: keep-alive\r\n")));
	assert_true(keeps(GET("Connection: closed\r\n")));
	assert_false(keeps(GET("Connection: close\r\n")));
	assert_false(keeps(GET("Connection: keep-alive, Close\r\n")));
	assert_false(keeps(GET("Connection: a ,close\t, b\r\n")));
	assert_false(keeps(GET("Connection: a\r\nconnection: close\r\n")));
}

static void http_1_0_keeps_the_connection_when_asked(void **state)
{
	(void)state;
	assert_false(keeps("GET / HTTP/1.0\r\n\r\n"));
	assert_true(keeps("GET / HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n"));
	assert_false(keeps("GET / HTTP/1.0\r\n"
			   "Connection: keep-alive, close\r\n\r\n"));
}

static void an_expectation_is_seen(void **state)
{
	(void)state;
	assert_true(read_done(GET("Expect: 100-Continue\r\n"))
			    .head.expects_continue);
	assert_false(
		read_done(GET("Expect: 200-ok\r\n")).head.expects_continue);
	assert_false(read_done("GET / HTTP/1.0\r\nExpect: 100-continue\r\n\r\n")
			     .head.expects_continue);
}

static void an_upgrade_must_be_named_by_connection(void **state)
{
	(void)state;
	assert_true(read_done(GET("Upgrade: websocket\r\n"
				  "Connection: keep-alive, Upgrade\r\n"))
			    .head.wants_upgrade);
	assert_false(
		read_done(GET("Upgrade: websocket\r\n")).head.wants_upgrade);
	assert_false(
		read_done(GET("Connection: upgrade\r\n")).head.wants_upgrade);
	assert_false(read_done("GET / HTTP/1.0\r\nUpgrade: websocket\r\n"
			       "Connection: upgrade\r\n\r\n")
			     .head.wants_upgrade);
}

/* ---- Limits
 * ------------------------------------------------------------------ */

static char *padded(const char *before, size_t count, const char *after)
{
	char *text = mem_alloc(strlen(before) + count + strlen(after) + 1);
	char *at = stpcpy(text, before);

	memset(at, 'x', count);
	memcpy(at + count, after, strlen(after) + 1);
	return text;
}

static void a_url_at_the_limit_passes_and_one_beyond_does_not(void **state)
{
	(void)state;
	char *at_limit = padded("GET /", 63, " HTTP/1.1\r\nHost: a\r\n\r\n");
	char *beyond = padded("GET /", 64, " HTTP/1.1\r\nHost: a\r\n\r\n");
	char *endless = padded("GET /", 64, "");

	read_done(at_limit);
	assert_refused_bytes(414, beyond, strlen(beyond));
	assert_refused_bytes(414, endless, strlen(endless));
	free(at_limit);
	free(beyond);
	free(endless);
}

static void a_head_at_the_limit_passes_and_one_beyond_does_not(void **state)
{
	(void)state;
	static const char start[] = "GET / HTTP/1.1\r\nHost: a\r\nX: ";
	size_t count = limits.head_bytes - (sizeof(start) - 1) - 4;
	char *at_limit = padded(start, count, "\r\n\r\nbody");
	char *beyond = padded(start, count + 1, "\r\n\r\n");
	char *endless = padded(start, count + 4, "");

	assert_int_equal(read_done(at_limit).head.length, limits.head_bytes);
	assert_refused_bytes(431, beyond, strlen(beyond));
	assert_refused_bytes(431, endless, strlen(endless));
	free(at_limit);
	free(beyond);
	free(endless);
}

static void empty_lines_without_end_are_refused(void **state)
{
	(void)state;
	char text[1026];

	for (size_t i = 0; i < sizeof(text); i += 2)
		memcpy(text + i, "\r\n", 2);
	assert_refused_bytes(431, text, sizeof(text));
}

static void headers_at_the_limit_pass_and_one_more_does_not(void **state)
{
	(void)state;
	read_done(GET("A:\r\nB:\r\nC:\r\nD:\r\nE:\r\nF:\r\nG:\r\n"));
	assert_refused(431,
		       GET("A:\r\nB:\r\nC:\r\nD:\r\nE:\r\nF:\r\nG:\r\nH:\r\n"));
}

static void a_browsers_request_is_read(void **state)
{
	(void)state;
	struct result result = read_done(
		"GET /favicon.ico HTTP/1.1\r\n"
		"Host: localhost:8080\r\n"
		"User-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:109.0) "
		"Gecko/20100101 Firefox/115.0\r\n"
		"Accept: image/avif,image/webp,*/*\r\n"
		"Accept-Language: en-US,en;q=0.5\r\n"
		"Accept-Encoding: gzip, deflate, br\r\n"
		"Connection: keep-alive\r\n"
		"Cookie: sessionID=0123456789abcdef; theme=\"dark\"\r\n"
		"\r\n");

	assert_int_equal(result.head.header_count, 7);
	assert_true(result.head.is_keep_alive);
}

static void names_and_values_are_told_apart_from_others(void **state)
{
	(void)state;
	assert_true(http1_is_token("X-a", 3));
	assert_false(http1_is_token("", 0));
	assert_false(http1_is_token("a b", 3));
	assert_false(http1_is_token("a:", 2));
	assert_true(http1_is_value("", 0));
	assert_true(http1_is_value("a\tb c", 5));
	assert_false(http1_is_value("a\r\nb", 4));
	assert_false(http1_is_value("a\0b", 3));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_simple_request_is_read),
		cmocka_unit_test(an_unfinished_head_needs_more),
		cmocka_unit_test(empty_lines_before_a_request_are_passed_over),
		cmocka_unit_test(a_method_is_any_token),
		cmocka_unit_test(a_bad_method_is_refused),
		cmocka_unit_test(a_tls_greeting_is_refused_at_once),
		cmocka_unit_test(
			a_method_longer_than_any_known_is_not_implemented),
		cmocka_unit_test(a_request_line_has_single_spaces),
		cmocka_unit_test(a_request_of_http_0_9_is_refused),
		cmocka_unit_test(
			a_target_with_bytes_that_no_url_has_is_refused),
		cmocka_unit_test(a_target_without_a_slash_is_refused),
		cmocka_unit_test(only_the_first_question_mark_splits),
		cmocka_unit_test(the_absolute_form_brings_its_host),
		cmocka_unit_test(a_malformed_absolute_form_is_refused),
		cmocka_unit_test(the_authority_form_is_of_connect_alone),
		cmocka_unit_test(the_asterisk_form_is_of_options_alone),
		cmocka_unit_test(another_major_version_is_not_supported),
		cmocka_unit_test(a_later_minor_version_is_read_as_1_1),
		cmocka_unit_test(a_malformed_version_is_refused),
		cmocka_unit_test(a_bare_lf_ends_no_line),
		cmocka_unit_test(a_bare_cr_ends_no_line),
		cmocka_unit_test(headers_are_given_in_their_order),
		cmocka_unit_test(whitespace_around_a_value_is_not_part_of_it),
		cmocka_unit_test(a_long_header_is_read_whole),
		cmocka_unit_test(a_space_before_the_colon_is_refused),
		cmocka_unit_test(a_folded_header_is_refused),
		cmocka_unit_test(a_malformed_name_is_refused),
		cmocka_unit_test(a_control_byte_in_a_value_is_refused),
		cmocka_unit_test(http_1_1_needs_one_host),
		cmocka_unit_test(http_1_0_needs_no_host),
		cmocka_unit_test(a_host_may_be_empty_or_an_address),
		cmocka_unit_test(a_malformed_host_is_refused),
		cmocka_unit_test(a_content_length_is_read),
		cmocka_unit_test(
			a_content_length_beyond_counting_counts_as_the_largest),
		cmocka_unit_test(a_malformed_content_length_is_refused),
		cmocka_unit_test(a_second_content_length_is_refused),
		cmocka_unit_test(chunked_is_understood),
		cmocka_unit_test(both_lengths_are_refused),
		cmocka_unit_test(
			a_coding_that_does_not_end_in_chunked_is_refused),
		cmocka_unit_test(chunked_twice_is_refused),
		cmocka_unit_test(
			another_coding_before_chunked_is_not_implemented),
		cmocka_unit_test(a_coding_in_http_1_0_is_refused),
		cmocka_unit_test(http_1_1_keeps_the_connection_unless_asked),
		cmocka_unit_test(http_1_0_keeps_the_connection_when_asked),
		cmocka_unit_test(an_expectation_is_seen),
		cmocka_unit_test(an_upgrade_must_be_named_by_connection),
		cmocka_unit_test(
			a_url_at_the_limit_passes_and_one_beyond_does_not),
		cmocka_unit_test(
			a_head_at_the_limit_passes_and_one_beyond_does_not),
		cmocka_unit_test(empty_lines_without_end_are_refused),
		cmocka_unit_test(
			headers_at_the_limit_pass_and_one_more_does_not),
		cmocka_unit_test(a_browsers_request_is_read),
		cmocka_unit_test(names_and_values_are_told_apart_from_others),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
