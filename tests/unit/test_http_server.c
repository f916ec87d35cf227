/* Requests and replies of the HTTP server, over socket pairs. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "base/mem.h"
#include "http_bench.h"

#define GET "GET / HTTP/1.1\r\nHost: a\r\n\r\n"

static struct bench bench;

static int open_default(void **state)
{
	(void)state;
	bench_open(&bench, NULL);
	return 0;
}

static int close_bench(void **state)
{
	(void)state;
	bench_close(&bench);
	return 0;
}

/* ---- Replies ---------------------------------------------------------------
 */

static void a_request_is_answered(void **state)
{
	(void)state;
	static const char shape[] = "HTTP/1.1 200 OK\r\n"
				    "Date: xxx, 00 xxx 0000 00:00:00 GMT\r\n";
	struct client *client = client_open(&bench, SOCK_STREAM);

	client_send(client, GET);
	client_expect(client, "hello");
	client_send(client, GET);
	const char *reply = client_receive_once(client);

	for (size_t i = 0; i < sizeof(shape) - 1; i++)
		if (shape[i] == '0')
			assert_in_range(reply[i], '0', '9');
		else if (shape[i] != 'x')
			assert_int_equal(reply[i], shape[i]);
	assert_string_equal(strstr(reply, " GMT\r\n"),
			    " GMT\r\nContent-Type: text/plain\r\n"
			    "Content-Length: 5\r\n\r\nhello");
	assert_int_equal(http_server_connections(bench.server), 1);
	client_close(client);
	assert_int_equal(bench.closed, 1);
}

static void the_server_names_itself_where_asked(void **state)
{
	(void)state;
	struct client *client = client_open(&bench, SOCK_STREAM);

	client_send(client, GET);
	client_expect(client, "\r\nServer: tested\r\n");
	client_close(client);
}

static int open_named(void **state)
{
	(void)state;
	bench_open(&bench, &(struct http_settings){ .server = "tested" });
	return 0;
}

static void pipelined_requests_are_answered_in_one_write(void **state)
{
	(void)state;
	struct client *client = client_open(&bench, SOCK_SEQPACKET);
	size_t replies = 0;

	client_send(client, GET GET GET GET);
	const char *at = client_receive_once(client);

	while ((at = strstr(at, "HTTP/1.1 200 OK\r\n")) != NULL) {
		at++;
		replies++;
	}
	assert_int_equal(replies, 4);
	client_close(client);
}

static void a_request_in_pieces_is_answered(void **state)
{
	(void)state;
	struct client *client = client_open(&bench, SOCK_STREAM);

	for (const char *at = GET GET; *at != 0; at++) {
		client_send_bytes(client, at, 1);
		bench_settle(&bench);
	}
	client_expect(client, "hello");
	client_expect(client, "hello");
	client_close(client);
}

static void head_gets_the_length_without_the_body(void **state)
{
	(void)state;
	struct client *client = client_open(&bench, SOCK_STREAM);

	client_send(client, "HEAD / HTTP/1.1\r\nHost: a\r\n\r\n");
	client_expect(client, "Content-Length: 5\r\n\r\n");
	client_expect_nothing(client);
	client_close(client);
}

static void a_status_without_content_has_no_length(void **state)
{
	(void)state;
	static const int statuses[] = { 204, 304 };
	struct client *client = client_open(&bench, SOCK_STREAM);

	for (size_t i = 0; i < 2; i++) {
		bench.status = statuses[i];
		client_send(client, GET);
		const char *reply = client_receive_once(client);

		assert_null(strstr(reply, "Content-Length"));
		assert_null(strstr(reply, "hello"));
		assert_non_null(strstr(reply, "\r\n\r\n"));
	}
	client_close(client);
}

static void a_status_without_a_name_is_sent(void **state)
{
	(void)state;
	struct client *client = client_open(&bench, SOCK_STREAM);

	bench.status = 299;
	client_send(client, GET);
	client_expect(client, "HTTP/1.1 299 \r\n");
	client_close(client);
}

static void a_status_that_does_not_exist_becomes_500(void **state)
{
	(void)state;
	static const int statuses[] = { 100, 600, -1 };
	struct client *client = client_open(&bench, SOCK_STREAM);

	for (size_t i = 0; i < 3; i++) {
		bench.status = statuses[i];
		client_send(client, GET);
		client_expect(client, "HTTP/1.1 500 ");
		client_expect(client, "Content-Length: 0\r\n\r\n");
	}
	client_close(client);
}

static void a_large_reply_arrives_whole(void **state)
{
	(void)state;
	size_t length = 900000;
	char *body = mem_alloc(length + 1);
	struct client *client = client_open(&bench, SOCK_STREAM);

	memset(body, 'x', length);
	body[length] = 0;
	bench.reply = body;
	client_send(client, "GET / HTTP/1.1\r\nHost: a\r\n"
			    "Connection: close\r\n\r\n");
	client_receive_all(client);
	const char *start = strstr(client->text, "\r\n\r\n");

	assert_non_null(strstr(client->text, "Content-Length: 900000\r\n"));
	assert_string_equal(start + 4, body);
	client_close(client);
	free(body);
}

static void a_reply_may_come_later(void **state)
{
	(void)state;
	struct client *client = client_open(&bench, SOCK_STREAM);

	bench.holds = true;
	client_send(client, GET);
	bench_await(&bench, &bench.held_count, 1);
	client_expect_nothing(client);
	muster_http_reply(bench.held[0], 200, "text/plain", "later", 5);
	bench.held_count = 0;
	client_expect(client, "later");
	client_close(client);
}

static void requests_behind_one_that_waits_are_answered_in_order(void **state)
{
	(void)state;
	struct client *client = client_open(&bench, SOCK_STREAM);

	bench.holds = true;
	client_send(client, GET GET GET);
	bench_await(&bench, &bench.held_count, 1);
	bench_settle(&bench);
	assert_int_equal(bench.handled, 1);
	bench.holds = false;
	bench.held_count = 0;
	muster_http_reply(bench.held[0], 200, "text/plain", "first", 5);
	client_expect(client, "\r\n\r\nfirstHTTP/1.1 200 OK");
	client_expect(client, "hello");
	client_expect(client, "hello");
	client_close(client);
}

static void answer_the_held(struct bench *of, struct muster_http *http)
{
	(void)http;
	if (of->held_count > 0)
		muster_http_reply(of->held[--of->held_count], 200, "text/plain",
				  "other", 5);
}

static void a_handler_may_answer_another_request(void **state)
{
	(void)state;
	struct client *one = client_open(&bench, SOCK_STREAM);
	struct client *two = client_open(&bench, SOCK_STREAM);

	bench.holds = true;
	client_send(one, GET GET);
	bench_await(&bench, &bench.held_count, 1);
	bench.holds = false;
	bench.on_request = answer_the_held;
	client_send(two, GET GET);
	client_expect(one, "other");
	client_expect(one, "hello");
	client_expect(two, "hello");
	client_expect(two, "hello");
	client_expect_nothing(one);
	client_expect_nothing(two);
	client_close(one);
	client_close(two);
}

static void a_formatted_reply_of_any_length_is_sent(void **state)
{
	(void)state;
	struct client *client = client_open(&bench, SOCK_STREAM);

	bench.holds = true;
	client_send(client, GET);
	bench_await(&bench, &bench.held_count, 1);
	bench.held_count = 0;
	muster_http_reply_format(bench.held[0], 201, "text/plain", "%d-%5000s!",
				 42, "x");
	client_expect(client, "201 Created");
	client_expect(client, "Content-Length: 5004\r\n\r\n42-   ");
	client_expect(client, "x!");
	client_close(client);
}

static struct muster_http *held_request(struct client *client,
					const char *request)
{
	size_t count = bench.held_count;

	bench.holds = true;
	client_send(client, request);
	bench_await(&bench, &bench.held_count, count + 1);
	bench.held_count--;
	return bench.held[bench.held_count];
}

static void headers_are_added_to_a_reply(void **state)
{
	(void)state;
	struct client *client = client_open(&bench, SOCK_STREAM);
	struct muster_http *http = held_request(client, GET);

	assert_int_equal(muster_http_set_header(http, "X-One", "1"), 0);
	assert_int_equal(muster_http_set_header(http, "X-Two", ""), 0);
	muster_http_reply(http, 200, NULL, NULL, 0);
	client_expect(client, "Content-Length: 0\r\n"
			      "X-One: 1\r\nX-Two: \r\n\r\n");
	/* They are those of one reply. */
	http = held_request(client, GET);
	muster_http_reply(http, 200, NULL, NULL, 0);
	client_expect(client, "Content-Length: 0\r\n\r\n");
	client_close(client);
}

static void a_header_cannot_bring_another_one(void **state)
{
	(void)state;
	struct client *client = client_open(&bench, SOCK_STREAM);
	struct muster_http *http = held_request(client, GET);
	static const char *const bad[][2] = {
		{ "X", "a\r\nY: b" },
		{ "X", "a\nb" },
		{ "X", "\x7f" },
		{ "X: a\r\nY", "b" },
		{ "X Y", "a" },
		{ "", "a" },
		{ "Content-Length", "5" },
		{ "content-type", "text/html" },
		{ "Transfer-Encoding", "chunked" },
		{ "Connection", "close" },
		{ "Date", "today" },
	};

	for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++)
		assert_int_equal(
			muster_http_set_header(http, bad[i][0], bad[i][1]),
			-EINVAL);
	muster_http_reply(http, 200, "text/plain\r\nX: y", "a", 1);
	client_expect(client, "HTTP/1.1 500 ");
	client_expect(client, "Content-Length: 0\r\n\r\n");
	client_close(client);
}

/* ---- What a handler sees
 * ----------------------------------------------------- */

static void the_request_line_is_told(void **state)
{
	(void)state;
	struct client *client = client_open(&bench, SOCK_STREAM);
	struct muster_http *http = held_request(
		client, "PATCH /a%20b?c=d HTTP/1.1\r\nHost: a\r\n\r\n");

	assert_string_equal(muster_http_method(http), "PATCH");
	assert_string_equal(muster_http_path(http), "/a%20b");
	assert_string_equal(muster_http_query(http), "c=d");
	assert_string_equal(muster_http_client(http), "");
	muster_http_reply(http, 200, NULL, NULL, 0);

	http = held_request(client,
			    "GET http://b?c HTTP/1.1\r\nHost: a\r\n\r\n");
	assert_string_equal(muster_http_path(http), "/");
	assert_string_equal(muster_http_query(http), "c");
	muster_http_reply(http, 200, NULL, NULL, 0);

	http = held_request(client, GET);
	assert_string_equal(muster_http_path(http), "/");
	assert_string_equal(muster_http_query(http), "");
	muster_http_reply(http, 200, NULL, NULL, 0);
	client_close(client);
}

static void a_tcp_client_has_an_address(void **state)
{
	(void)state;
	struct client *client = client_open_tcp(&bench);
	struct muster_http *http = held_request(client, GET);

	assert_string_equal(muster_http_client(http), "127.0.0.1");
	assert_string_equal(muster_http_client(http), "127.0.0.1");
	muster_http_reply(http, 200, NULL, NULL, 0);
	client_close(client);
}

static void parameters_are_decoded(void **state)
{
	(void)state;
	struct client *client = client_open(&bench, SOCK_STREAM);
	struct muster_http *http = held_request(
		client, "GET /?a=b%20c+d&%65=%c3%A4&&f&g=&a=2&=x&h=i=j "
			"HTTP/1.1\r\nHost: a\r\n\r\n");

	assert_string_equal(muster_http_parameter(http, "a"), "b c d");
	assert_string_equal(muster_http_parameter(http, "e"), "\xc3\xa4");
	assert_string_equal(muster_http_parameter(http, "f"), "");
	assert_string_equal(muster_http_parameter(http, "g"), "");
	assert_string_equal(muster_http_parameter(http, "h"), "i=j");
	assert_string_equal(muster_http_parameter(http, ""), "x");
	assert_null(muster_http_parameter(http, "b c d"));
	assert_null(muster_http_parameter(http, "z"));
	muster_http_reply(http, 200, NULL, NULL, 0);

	http = held_request(client, GET);
	assert_null(muster_http_parameter(http, ""));
	assert_null(muster_http_parameter(http, "a"));
	muster_http_reply(http, 200, NULL, NULL, 0);
	client_close(client);
}

static void what_is_no_escape_stays_as_sent(void **state)
{
	(void)state;
	struct client *client = client_open(&bench, SOCK_STREAM);
	struct muster_http *http =
		held_request(client, "GET /?a=100%&b=%2&c=%zz%4&d=x%00y&e=%%41 "
				     "HTTP/1.1\r\nHost: a\r\n\r\n");

	assert_string_equal(muster_http_parameter(http, "a"), "100%");
	assert_string_equal(muster_http_parameter(http, "b"), "%2");
	assert_string_equal(muster_http_parameter(http, "c"), "%zz%4");
	assert_string_equal(muster_http_parameter(http, "d"), "x%00y");
	assert_string_equal(muster_http_parameter(http, "e"), "%A");
	muster_http_reply(http, 200, NULL, NULL, 0);
	client_close(client);
}

static void list_parameters(struct bench *of, struct muster_http *http)
{
	const char *name;
	const char *value;
	char told[64] = "";

	(void)of;
	for (size_t i = 0; muster_http_parameter_at(http, i, &name, &value);
	     i++) {
		strcat(told, name);
		strcat(told, "=");
		strcat(told, value);
		strcat(told, "|");
	}
	assert_string_equal(told, "a=1|b=|a=2 3|=x|");
	assert_false(muster_http_parameter_at(http, 4, &name, &value));
	assert_false(muster_http_parameter_at(http, 9, &name, &value));
}

static void parameters_are_listed_in_their_order(void **state)
{
	(void)state;
	struct client *client = client_open(&bench, SOCK_STREAM);

	bench.on_request = list_parameters;
	client_send(client, "GET /?a=1&b&&a=2+3&=x HTTP/1.1\r\n"
			    "Host: a\r\n\r\n");
	client_expect(client, "hello");
	client_close(client);
}

static void many_tiny_parameters_have_room(void **state)
{
	(void)state;
	char request[8300] = "GET /?";
	struct client *client = client_open(&bench, SOCK_STREAM);
	size_t at = strlen(request);

	for (size_t i = 0; i < 4000; i++, at += 2)
		memcpy(request + at, "a&", 2);
	static const char rest[] = "b HTTP/1.1\r\nHost: a\r\n\r\n";

	memcpy(request + at, rest, sizeof(rest));
	struct muster_http *http = held_request(client, request);

	assert_string_equal(muster_http_parameter(http, "b"), "");
	muster_http_reply(http, 200, NULL, NULL, 0);
	client_close(client);
}

static void headers_are_found_in_any_case(void **state)
{
	(void)state;
	struct client *client = client_open(&bench, SOCK_STREAM);
	struct muster_http *http = held_request(
		client, "GET / HTTP/1.1\r\nHost: a\r\nX-One:  1 \r\n"
			"x-one: 2\r\nX-Two:\r\n\r\n");

	assert_string_equal(muster_http_header(http, "x-ONE"), "1");
	assert_string_equal(muster_http_header(http, "X-Two"), "");
	assert_null(muster_http_header(http, "X-Three"));
	assert_null(muster_http_header(http, "X"));
	muster_http_reply(http, 200, NULL, NULL, 0);
	client_close(client);
}

static const char *seen_path;
static const char *seen_body;

static void look(struct bench *of, struct muster_http *http)
{
	size_t length;

	(void)of;
	seen_path = muster_http_path(http);
	seen_body = muster_http_body(http, &length);
}

static void text_stays_until_the_reply(void **state)
{
	(void)state;
	struct client *client = client_open(&bench, SOCK_STREAM);
	struct client *other = client_open(&bench, SOCK_STREAM);

	bench.on_request = look;
	struct muster_http *http =
		held_request(client, "PUT /kept HTTP/1.1\r\nHost: a\r\n"
				     "Content-Length: 4\r\n\r\nbody" GET GET);
	const char *path = seen_path;
	const char *body = seen_body;

	bench.on_request = NULL;
	bench.holds = false;
	client_send(other, "GET /another HTTP/1.1\r\nHost: a\r\n\r\n");
	client_expect(other, "hello");
	client_send(client, "GET /more HTTP/1.1\r\nHost: a\r\n\r\n");
	bench_settle(&bench);
	assert_string_equal(path, "/kept");
	assert_string_equal(body, "body");
	assert_ptr_equal(muster_http_path(http), path);
	muster_http_reply(http, 200, NULL, NULL, 0);
	client_expect(client, "hello");
	client_close(client);
	client_close(other);
}

/* ---- Bodies
 * --------------------------------------------------------------------- */

static void assert_body(const struct muster_http *http, const char *expected,
			size_t expected_length)
{
	size_t length;
	const char *body = muster_http_body(http, &length);

	assert_int_equal(length, expected_length);
	if (length > 0)
		assert_memory_equal(body, expected, length);
	assert_int_equal(body[length], 0);
}

static void a_sized_body_is_complete_for_the_handler(void **state)
{
	(void)state;
	struct client *client = client_open(&bench, SOCK_STREAM);
	struct muster_http *http =
		held_request(client, "POST / HTTP/1.1\r\nHost: a\r\n"
				     "Content-Length: 5\r\n\r\nfiver" GET);

	assert_body(http, "fiver", 5);
	muster_http_reply(http, 200, NULL, NULL, 0);
	bench_await(&bench, &bench.held_count, 1);
	assert_body(bench.held[0], "", 0);
	client_close(client);
}

static void a_body_in_pieces_is_put_together(void **state)
{
	(void)state;
	static const char *const requests[] = {
		"POST / HTTP/1.1\r\nHost: a\r\nX: y\r\n"
		"Content-Length: 10\r\n\r\n0123456789",
		"POST / HTTP/1.1\r\nHost: a\r\nX: y\r\n"
		"Transfer-Encoding: chunked\r\n\r\n"
		"3\r\n012\r\n07\r\n3456789\r\n0\r\nA: b\r\n\r\n",
	};
	struct client *client = client_open(&bench, SOCK_STREAM);

	bench.holds = true;
	for (size_t i = 0; i < 2; i++) {
		for (const char *at = requests[i]; *at != 0; at++) {
			assert_int_equal(bench.held_count, 0);
			client_send_bytes(client, at, 1);
			bench_settle(&bench);
		}
		assert_int_equal(bench.held_count, 1);
		bench.held_count = 0;
		assert_body(bench.held[0], "0123456789", 10);
		assert_string_equal(muster_http_header(bench.held[0], "x"),
				    "y");
		muster_http_reply(bench.held[0], 200, NULL, NULL, 0);
	}
	client_close(client);
}

static void a_chunked_body_may_be_followed_by_a_request(void **state)
{
	(void)state;
	struct client *client = client_open(&bench, SOCK_STREAM);

	client_send(client, "POST / HTTP/1.1\r\nHost: a\r\n"
			    "Transfer-Encoding: chunked\r\n\r\n"
			    "1\r\na\r\n0\r\n\r\n" GET);
	client_expect(client, "hello");
	client_expect(client, "hello");
	client_close(client);
}

static void a_large_body_is_read_whole(void **state)
{
	(void)state;
	size_t length = 1024 * 1024;
	char *body = mem_alloc(length);
	struct client *client = client_open(&bench, SOCK_STREAM);

	for (size_t i = 0; i < length; i++)
		body[i] = (char)(i * 7 + i / 256);
	client_send(client, "POST / HTTP/1.1\r\nHost: a\r\n"
			    "Content-Length: 1048576\r\n\r\n");
	client_send_bytes(client, body, length - 1);
	struct muster_http *http =
		held_request(client, (char[]){ body[length - 1], 0 });

	assert_body(http, body, length);
	muster_http_reply(http, 200, NULL, NULL, 0);
	client_close(client);
	free(body);
}

static void a_body_that_is_too_large_is_refused(void **state)
{
	(void)state;
	static const char *const requests[] = {
		"POST / HTTP/1.1\r\nHost: a\r\n"
		"Content-Length: 1048577\r\n\r\n",
		"POST / HTTP/1.1\r\nHost: a\r\n"
		"Content-Length: 99999999999999999999999\r\n\r\n",
		"POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\n"
		"Content-Length: 1048577\r\n\r\n",
		"POST / HTTP/1.1\r\nHost: a\r\n"
		"Transfer-Encoding: chunked\r\n\r\n100001\r\n",
		"POST / HTTP/1.1\r\nHost: a\r\n"
		"Transfer-Encoding: chunked\r\n\r\n"
		"1\r\na\r\nffffffffffffffff\r\nabc",
		"POST / HTTP/1.1\r\nHost: a\r\n"
		"Transfer-Encoding: chunked\r\n\r\n1\r\na\r\n100000\r\n",
	};

	for (size_t i = 0; i < sizeof(requests) / sizeof(*requests); i++) {
		struct client *client = client_open(&bench, SOCK_STREAM);

		client_send(client, requests[i]);
		const char *reply = client_receive_once(client);

		assert_memory_equal(reply, "HTTP/1.1 413 ", 13);
		assert_non_null(strstr(reply, "Connection: close\r\n"));
		client_expect_end(client);
		client_close(client);
	}
	assert_int_equal(bench.handled, 0);
}

static void a_body_is_asked_for_where_expected(void **state)
{
	(void)state;
	struct client *client = client_open(&bench, SOCK_STREAM);

	client_send(client, "POST / HTTP/1.1\r\nHost: a\r\n"
			    "Expect: 100-continue\r\n"
			    "Content-Length: 2\r\n\r\n");
	client_expect_only(client, "HTTP/1.1 100 Continue\r\n\r\n");
	client_send(client, "ab");
	client_expect(client, "200 OK");
	client_expect(client, "hello");
	client_send(client, "POST / HTTP/1.1\r\nHost: a\r\n"
			    "Expect: 100-continue\r\n"
			    "Transfer-Encoding: chunked\r\n\r\n");
	client_expect_only(client, "HTTP/1.1 100 Continue\r\n\r\n");
	client_send(client, "0\r\n\r\n");
	client_expect(client, "200 OK");
	client_close(client);
}

static void a_body_that_is_there_is_not_asked_for(void **state)
{
	(void)state;
	struct client *client = client_open(&bench, SOCK_STREAM);

	client_send(client, "POST / HTTP/1.1\r\nHost: a\r\n"
			    "Expect: 100-continue\r\n"
			    "Content-Length: 2\r\n\r\nab");
	assert_memory_equal(client_receive_once(client), "HTTP/1.1 200", 12);
	client_send(client, "POST / HTTP/1.0\r\n"
			    "Expect: 100-continue\r\n"
			    "Content-Length: 2\r\n\r\n");
	client_expect_nothing(client);
	client_send(client, "ab");
	assert_memory_equal(client_receive_once(client), "HTTP/1.1 200", 12);
	client_close(client);
}

/* ---- Connections
 * ------------------------------------------------------------------ */

static void the_connection_is_closed_when_asked_to(void **state)
{
	(void)state;
	static const char *const requests[] = {
		"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
		"GET / HTTP/1.0\r\n\r\n",
	};

	for (size_t i = 0; i < 2; i++) {
		struct client *client = client_open(&bench, SOCK_STREAM);

		client_send(client, requests[i]);
		client_expect(client, "Connection: close\r\n\r\nhello");
		client_expect_end(client);
		/* It did not wait for the client. */
		assert_true(client->is_done);
		client_close(client);
	}
}

static void http_1_0_keeps_the_connection_when_asked(void **state)
{
	(void)state;
	struct client *client = client_open(&bench, SOCK_STREAM);

	for (int i = 0; i < 2; i++) {
		client_send(client, "GET / HTTP/1.0\r\n"
				    "Connection: keep-alive\r\n\r\n");
		client_expect(client, "Connection: keep-alive\r\n\r\nhello");
	}
	client_expect_nothing(client);
	client_close(client);
}

static void requests_behind_a_close_are_not_read(void **state)
{
	(void)state;
	struct client *client = client_open(&bench, SOCK_STREAM);

	client_send(client, "GET / HTTP/1.1\r\nHost: a\r\n"
			    "Connection: close\r\n\r\n" GET);
	client_expect(client, "hello");
	client_expect_end(client);
	assert_int_equal(bench.handled, 1);
	client_close(client);
}

static void what_is_malformed_is_refused_and_closed(void **state)
{
	(void)state;
	static const struct {
		int status;
		const char *text;
	} cases[] = {
		{ 400, "GET / HTTP/1.1\r\n\r\n" },
		{ 400, "GET / HTTP/1.1\r\nHost : a\r\n\r\n" },
		{ 400, "\x16\x03\x01\x02" },
		{ 400, "POST / HTTP/1.1\r\nHost: a\r\n"
		       "Transfer-Encoding: chunked\r\n\r\nxyz\r\n" },
		{ 501, "GET / HTTP/1.1\r\nHost: a\r\n"
		       "Transfer-Encoding: gzip, chunked\r\n\r\n" },
		{ 501, "CONNECT a:80 HTTP/1.1\r\nHost: a\r\n\r\n" },
		{ 505, "GET / HTTP/2.0\r\n\r\n" },
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		struct client *client = client_open(&bench, SOCK_STREAM);
		char status[32];

		sprintf(status, "HTTP/1.1 %d ", cases[i].status);
		client_send(client, cases[i].text);
		const char *reply = client_receive_once(client);

		assert_memory_equal(reply, status, strlen(status));
		assert_non_null(strstr(reply, "Connection: close\r\n"));
		client_expect_end(client);
		client_close(client);
	}
	assert_int_equal(bench.handled, 0);
}

static void a_smuggled_request_reaches_nobody(void **state)
{
	(void)state;
	static const char *const requests[] = {
		"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 6\r\n"
		"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n" GET,
		"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n"
		"Content-Length: 44\r\n\r\n" GET,
		"POST / HTTP/1.1\r\nHost: a\r\n"
		"Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n" GET,
		"POST / HTTP/1.1\r\nHost: a\r\nX: y\n"
		"Content-Length: 28\r\n\r\n" GET,
		"POST / HTTP/1.1\r\nHost: a\r\n"
		"Transfer-Encoding: chunked\r\n\r\n"
		"1\na\r\n0\r\n\r\n" GET,
		"POST / HTTP/1.1\r\nHost: a\r\n"
		"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n" GET,
	};

	for (size_t i = 0; i < sizeof(requests) / sizeof(*requests); i++) {
		struct client *client = client_open(&bench, SOCK_STREAM);

		client_send(client, requests[i]);
		client_expect(client, "HTTP/1.1 400 ");
		client_receive_all(client);
		assert_null(strstr(client->text, "HTTP/1.1"));
		client_close(client);
	}
	assert_int_equal(bench.handled, 0);
}

static int open_small(void **state)
{
	(void)state;
	bench_open(&bench, &(struct http_settings){
				   .limits = { .head_bytes = 256,
					       .url_bytes = 64,
					       .headers = 3,
					       .body_bytes = 8,
					       .requests = 2 },
			   });
	return 0;
}

static void limits_are_kept(void **state)
{
	(void)state;
	char text[512] = "GET /";
	struct client *client = client_open(&bench, SOCK_STREAM);

	memset(text + 5, 'x', 80);
	client_send(client, text);
	client_expect(client, "HTTP/1.1 414 ");
	client_close(client);

	client = client_open(&bench, SOCK_STREAM);
	client_send(client, "GET / HTTP/1.1\r\nA:\r\nB:\r\nC:\r\nD:\r\n");
	client_expect(client, "HTTP/1.1 431 ");
	client_close(client);

	client = client_open(&bench, SOCK_STREAM);
	memset(text, 'x', 300);
	memcpy(text, "GET / HTTP/1.1\r\nA: ", 19);
	client_send(client, text);
	client_expect(client, "HTTP/1.1 431 ");
	client_close(client);

	client = client_open(&bench, SOCK_STREAM);
	client_send(client, "PUT / HTTP/1.1\r\nHost: a\r\n"
			    "Content-Length: 9\r\n\r\n");
	client_expect(client, "HTTP/1.1 413 ");
	client_close(client);
	assert_int_equal(bench.handled, 0);
}

static void the_last_request_of_a_connection_closes_it(void **state)
{
	(void)state;
	struct client *client = client_open(&bench, SOCK_STREAM);

	client_send(client, GET);
	assert_null(strstr(client_receive_once(client), "Connection"));
	client_send(client, GET GET);
	client_expect(client, "Connection: close\r\n");
	client_expect(client, "hello");
	client_expect_end(client);
	assert_int_equal(bench.handled, 2);
	client_close(client);
}

#define with(setup, test)                                                      \
	cmocka_unit_test_setup_teardown(test, setup, close_bench)

int main(void)
{
	const struct CMUnitTest tests[] = {
		with(open_default, a_request_is_answered),
		with(open_named, the_server_names_itself_where_asked),
		with(open_default,
		     pipelined_requests_are_answered_in_one_write),
		with(open_default, a_request_in_pieces_is_answered),
		with(open_default, head_gets_the_length_without_the_body),
		with(open_default, a_status_without_content_has_no_length),
		with(open_default, a_status_without_a_name_is_sent),
		with(open_default, a_status_that_does_not_exist_becomes_500),
		with(open_default, a_large_reply_arrives_whole),
		with(open_default, a_reply_may_come_later),
		with(open_default,
		     requests_behind_one_that_waits_are_answered_in_order),
		with(open_default, a_handler_may_answer_another_request),
		with(open_default, a_formatted_reply_of_any_length_is_sent),
		with(open_default, headers_are_added_to_a_reply),
		with(open_default, a_header_cannot_bring_another_one),
		with(open_default, the_request_line_is_told),
		with(open_default, a_tcp_client_has_an_address),
		with(open_default, parameters_are_decoded),
		with(open_default, parameters_are_listed_in_their_order),
		with(open_default, what_is_no_escape_stays_as_sent),
		with(open_default, many_tiny_parameters_have_room),
		with(open_default, headers_are_found_in_any_case),
		with(open_default, text_stays_until_the_reply),
		with(open_default, a_sized_body_is_complete_for_the_handler),
		with(open_default, a_body_in_pieces_is_put_together),
		with(open_default, a_chunked_body_may_be_followed_by_a_request),
		with(open_default, a_large_body_is_read_whole),
		with(open_default, a_body_that_is_too_large_is_refused),
		with(open_default, a_body_is_asked_for_where_expected),
		with(open_default, a_body_that_is_there_is_not_asked_for),
		with(open_default, the_connection_is_closed_when_asked_to),
		with(open_default, http_1_0_keeps_the_connection_when_asked),
		with(open_default, requests_behind_a_close_are_not_read),
		with(open_default, what_is_malformed_is_refused_and_closed),
		with(open_default, a_smuggled_request_reaches_nobody),
		with(open_small, limits_are_kept),
		with(open_small, the_last_request_of_a_connection_closes_it),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
