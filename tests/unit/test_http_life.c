/* How connections of the HTTP server end: time-outs, draining, clients that
 * leave, are slow, or do not stop sending. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/mem.h"
#include "http_bench.h"

#define GET   "GET / HTTP/1.1\r\nHost: a\r\n\r\n"
#define CLOSE "GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"

static struct bench bench;

static int open_patient(void **state)
{
	(void)state;
	bench_open(&bench, &(struct http_settings){ .drain_idle_ms = 60000 });
	return 0;
}

/* One of the times is short, so that a test of another one would fail. */
static int open_with(const struct muster_http_limits *limits)
{
	bench_open(&bench, &(struct http_settings){ .limits = *limits,
						    .drain_idle_ms = 40 });
	return 0;
}

static int open_short_head(void **state)
{
	(void)state;
	return open_with(&(struct muster_http_limits){ .head_ms = 40,
						       .head_bytes = 1 << 24 });
}

static int open_short_body(void **state)
{
	(void)state;
	return open_with(&(struct muster_http_limits){ .body_ms = 40 });
}

static int open_rated_body(void **state)
{
	(void)state;
	return open_with(&(struct muster_http_limits){
		.body_ms = 40, .body_rate = UINT32_MAX });
}

static int open_short_idle(void **state)
{
	(void)state;
	return open_with(&(struct muster_http_limits){ .idle_ms = 40 });
}

static int close_bench(void **state)
{
	(void)state;
	bench_close(&bench);
	return 0;
}

/* ---- Time-outs
 * ---------------------------------------------------------------- */

static void half_a_head_times_out(void **state)
{
	(void)state;
	struct client *client = client_open(&bench, SOCK_STREAM);

	client_send(client, "GET / HTTP/1.1\r\nHost: a\r\n");
	client_expect(client, "HTTP/1.1 408 ");
	client_expect(client, "Connection: close\r\n");
	client_close(client);
	assert_int_equal(bench.handled, 0);
}

/* Sends byte by byte until it is answered. */
static void trickle(const char *begin)
{
	struct client *client = client_open(&bench, SOCK_STREAM);

	client_send(client, begin);
	while (!client->is_done && client->length == 0 && !client->has_ended) {
		ssize_t length;

		client_send(client, "x");
		bench_settle(&bench);
		length = recv(client->descriptor, client->text,
			      sizeof(client->text) - 1, MSG_DONTWAIT);
		if (length > 0)
			client->length = (size_t)length;
	}
	assert_memory_equal(client->text, "HTTP/1.1 408 ", 13);
	client_close(client);
}

static void a_head_that_trickles_times_out(void **state)
{
	(void)state;
	trickle("GET / HTTP/1.1\r\nX: ");
}

/* However steadily: it holds a connection and memory. */
static void a_body_that_trickles_times_out(void **state)
{
	(void)state;
	trickle("PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000\r\n\r\n");
	trickle("PUT / HTTP/1.1\r\nHost: a\r\n"
		"Transfer-Encoding: chunked\r\n\r\nfffff\r\n");
	assert_int_equal(bench.handled, 0);
}

static void a_connection_that_never_sends_is_closed(void **state)
{
	(void)state;
	struct client *client = client_open(&bench, SOCK_STREAM);

	client_expect_end(client);
	client_close(client);
}

static void half_a_body_times_out(void **state)
{
	(void)state;
	static const char *const requests[] = {
		"PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nab",
		"PUT / HTTP/1.1\r\nHost: a\r\n"
		"Transfer-Encoding: chunked\r\n\r\n5\r\nab",
	};

	for (size_t i = 0; i < 2; i++) {
		struct client *client = client_open(&bench, SOCK_STREAM);

		client_send(client, requests[i]);
		client_expect(client, "HTTP/1.1 408 ");
		client_close(client);
	}
	assert_int_equal(bench.handled, 0);
}

static void an_idle_connection_is_closed_without_a_word(void **state)
{
	(void)state;
	struct client *client = client_open(&bench, SOCK_STREAM);

	client_send(client, GET);
	client_expect(client, "hello");
	client_expect_end(client);
	client_close(client);
}

static void a_request_with_the_handler_does_not_time_out(void **state)
{
	(void)state;
	struct client *client = client_open(&bench, SOCK_STREAM);
	struct client *other = client_open(&bench, SOCK_STREAM);

	bench.holds = true;
	client_send(client, GET);
	bench_await(&bench, &bench.held_count, 1);
	/* The other one idles twice as long as is allowed. */
	bench.holds = false;
	client_send(other, GET);
	client_expect(other, "hello");
	client_expect_end(other);
	client_close(other);
	other = client_open(&bench, SOCK_STREAM);
	client_send(other, GET);
	client_expect(other, "hello");
	client_expect_end(other);
	client_close(other);
	bench.held_count = 0;
	muster_http_reply(bench.held[0], 200, NULL, NULL, 0);
	client_expect(client, "200 OK");
	client_close(client);
}

static void a_client_that_reads_nothing_is_cut(void **state)
{
	(void)state;
	size_t length = 8 * 1024 * 1024;
	char *body = mem_zalloc(length);
	struct client *client = client_open(&bench, SOCK_STREAM);

	bench.reply = body;
	bench.reply_length = length;
	client_send(client, GET);
	bench_await(&bench, &bench.closed, 1);
	client_close(client);
	free(body);
}

/* ---- Draining
 * ------------------------------------------------------------------- */

static void a_draining_server_says_close(void **state)
{
	(void)state;
	struct client *client = client_open(&bench, SOCK_STREAM);

	client_send(client, GET);
	client_expect(client, "hello");
	http_server_drain(bench.server);
	client_expect_nothing(client);
	client_send(client, GET);
	client_expect(client, "Connection: close\r\n");
	client_expect(client, "hello");
	client_expect_end(client);
	client_close(client);
	assert_int_equal(bench.closed, 1);
}

static void a_new_connection_is_served_while_draining(void **state)
{
	(void)state;
	http_server_drain(bench.server);
	struct client *client = client_open(&bench, SOCK_STREAM);

	client_expect_nothing(client);
	client_send(client, GET);
	client_expect(client, "Connection: close\r\n");
	client_expect(client, "hello");
	client_expect_end(client);
	client_close(client);
}

static void only_the_last_of_pipelined_replies_says_close(void **state)
{
	(void)state;
	struct client *client = client_open(&bench, SOCK_STREAM);

	http_server_drain(bench.server);
	client_send(client, GET GET GET);
	client_receive_all(client);
	const char *close_header = strstr(client->text, "Connection: close");

	assert_non_null(close_header);
	assert_null(strstr(close_header, "HTTP/1.1"));
	assert_int_equal(bench.handled, 3);
	client_close(client);
}

static void a_held_reply_of_a_draining_server_says_close(void **state)
{
	(void)state;
	struct client *client = client_open(&bench, SOCK_STREAM);

	bench.holds = true;
	client_send(client, GET);
	bench_await(&bench, &bench.held_count, 1);
	http_server_drain(bench.server);
	bench.held_count = 0;
	muster_http_reply(bench.held[0], 200, NULL, NULL, 0);
	client_expect(client, "Connection: close\r\n\r\n");
	client_expect_end(client);
	client_close(client);
}

static void connections_without_a_request_are_closed_when_drained(void **state)
{
	(void)state;
	struct client *idle = client_open(&bench, SOCK_STREAM);
	struct client *fresh = client_open(&bench, SOCK_STREAM);

	client_send(idle, GET);
	client_expect(idle, "hello");
	http_server_drain(bench.server);
	http_server_drain(bench.server);
	client_expect_end(idle);
	client_expect_end(fresh);
	client_close(idle);
	client_close(fresh);
	assert_int_equal(http_server_connections(bench.server), 0);
}

/* ---- Closing
 * ---------------------------------------------------------------------- */

static void a_refusal_can_be_read_by_a_client_that_goes_on_sending(void **state)
{
	(void)state;
	char junk[65536];
	struct client *client = client_open_tcp(&bench);

	memset(junk, 'x', sizeof(junk));
	client_send(client, "PUT / HTTP/1.1\r\nHost: a\r\n"
			    "Content-Length: 99999999\r\n\r\n");
	for (int i = 0; i < 32; i++) {
		client_send_bytes(client, junk, sizeof(junk));
		bench_settle(&bench);
	}
	client_expect(client, "HTTP/1.1 413 ");
	client_receive_all(client);
	assert_false(client->is_done); /* still listening to the rest */
	client_close(client);
}

static void a_connection_does_not_linger_for_ever(void **state)
{
	(void)state;
	struct client *client = client_open(&bench, SOCK_STREAM);

	client_send(client, "nonsense\r\n");
	client_expect(client, "HTTP/1.1 400 ");
	bench_await(&bench, &bench.closed, 1);
	client_close(client);
}

static void a_client_that_leaves_is_let_go(void **state)
{
	(void)state;
	static const char half_a_body[] = "PUT / HTTP/1.1\r\nHost: a\r\n"
					  "Content-Length: 5\r\n\r\nab";
	const char *const sent[] = { "", "GET / HT", half_a_body, GET };

	for (size_t i = 0; i < 4; i++) {
		struct client *client = client_open_tcp(&bench);

		client_send(client, sent[i]);
		bench_settle(&bench);
		client_close(client);
		assert_int_equal(bench.closed, i + 1);
	}
	assert_int_equal(http_server_connections(bench.server), 0);
}

/* A close with RST, as when the process is killed with bytes unread. */
static void reset(struct client *client)
{
	struct linger none = { .l_onoff = 1 };

	assert_int_equal(setsockopt(client->descriptor, SOL_SOCKET, SO_LINGER,
				    &none, sizeof(none)),
			 0);
	close(client->descriptor);
	client->descriptor = -1;
}

static void a_request_outlives_its_client(void **state)
{
	(void)state;
	struct client *client = client_open_tcp(&bench);

	bench.holds = true;
	client_send(client, "PUT /gone HTTP/1.1\r\nHost: a\r\n"
			    "Content-Length: 2\r\n\r\nab" GET);
	bench_await(&bench, &bench.held_count, 1);
	reset(client);
	bench_await(&bench, &bench.closed, 1);
	assert_int_equal(http_server_connections(bench.server), 0);
	assert_string_equal(muster_http_path(bench.held[0]), "/gone");
	assert_string_equal(muster_http_client(bench.held[0]), "");
	assert_int_equal(muster_http_set_header(bench.held[0], "X", "y"), 0);
	bench.held_count = 0;
	muster_http_reply(bench.held[0], 200, "text/plain", "late", 4);
	assert_int_equal(bench.handled, 1);
	free(client);
}

static void a_request_outlives_its_server(void **state)
{
	(void)state;
	struct client *client = client_open(&bench, SOCK_STREAM);

	bench.holds = true;
	client_send(client, GET);
	bench_await(&bench, &bench.held_count, 1);
	http_server_free(bench.server);
	bench.server = NULL;
	assert_true(client->is_done);
	assert_string_equal(muster_http_path(bench.held[0]), "/");
	client_close(client); /* bench_close() replies */
}

static void a_client_may_send_its_end_and_wait(void **state)
{
	(void)state;
	struct client *client = client_open(&bench, SOCK_STREAM);

	bench.holds = true;
	client_send(client, GET);
	assert_int_equal(shutdown(client->descriptor, SHUT_WR), 0);
	bench_await(&bench, &bench.held_count, 1);
	bench_settle(&bench);
	bench.held_count = 0;
	muster_http_reply(bench.held[0], 200, "text/plain", "late", 4);
	client_expect(client, "late");
	client_expect_end(client);
	client_close(client);

	client = client_open(&bench, SOCK_STREAM);
	bench.holds = false;
	client_send(client, GET GET);
	assert_int_equal(shutdown(client->descriptor, SHUT_WR), 0);
	client_expect(client, "hello");
	client_expect(client, "hello");
	client_expect_end(client);
	client_close(client);
}

/* ---- Slow and fast clients
 * ---------------------------------------------------------- */

static void replies_wait_for_a_client_that_reads_slowly(void **state)
{
	(void)state;
	size_t length = 100000;
	size_t count = 40;
	char *body = mem_zalloc(length + 1);
	struct client *client = client_open(&bench, SOCK_STREAM);
	size_t received = 0;

	memset(body, 'x', length);
	bench.reply = body;
	for (size_t i = 0; i < count; i++)
		client_send(client, i + 1 < count ? GET : CLOSE);
	bench_settle(&bench);
	assert_true(bench.handled < 10); /* not all of them in memory */
	while (!client->has_ended) {
		ssize_t some = recv(client->descriptor, client->text,
				    sizeof(client->text), MSG_DONTWAIT);

		if (some == 0)
			break;
		if (some > 0)
			received += (size_t)some;
		else
			bench_settle(&bench);
	}
	assert_int_equal(bench.handled, count);
	assert_true(received > count * length);
	client_close(client);
	free(body);
}

static void requests_behind_one_that_waits_stay_with_the_client(void **state)
{
	(void)state;
	char many[27 * 1000];
	struct client *client = client_open(&bench, SOCK_STREAM);
	size_t sent = 0;

	for (size_t at = 0; at + strlen(GET) <= sizeof(many); at += strlen(GET))
		memcpy(many + at, GET, strlen(GET));
	bench.holds = true;
	client_send(client, GET);
	bench_await(&bench, &bench.held_count, 1);
	for (;;) {
		ssize_t some = send(client->descriptor, many, sizeof(many),
				    MSG_DONTWAIT);

		if (some < 0)
			break;
		sent += (size_t)some;
		assert_true(sent < 16 * 1024 * 1024);
		bench_settle(&bench);
	}
	assert_int_equal(errno, EAGAIN);
	client_close(client);
}

#define with(setup, test)                                                      \
	cmocka_unit_test_setup_teardown(test, setup, close_bench)

int main(void)
{
	const struct CMUnitTest tests[] = {
		with(open_short_head, half_a_head_times_out),
		with(open_short_head, a_head_that_trickles_times_out),
		with(open_short_head, a_connection_that_never_sends_is_closed),
		with(open_short_body, half_a_body_times_out),
		with(open_rated_body, a_body_that_trickles_times_out),
		with(open_short_idle,
		     an_idle_connection_is_closed_without_a_word),
		with(open_short_idle,
		     a_request_with_the_handler_does_not_time_out),
		with(open_short_idle, a_client_that_reads_nothing_is_cut),
		with(open_patient, a_draining_server_says_close),
		with(open_patient, a_new_connection_is_served_while_draining),
		with(open_patient,
		     only_the_last_of_pipelined_replies_says_close),
		with(open_patient,
		     a_held_reply_of_a_draining_server_says_close),
		with(open_short_idle,
		     connections_without_a_request_are_closed_when_drained),
		with(open_patient,
		     a_refusal_can_be_read_by_a_client_that_goes_on_sending),
		with(open_patient, a_connection_does_not_linger_for_ever),
		with(open_patient, a_client_that_leaves_is_let_go),
		with(open_patient, a_request_outlives_its_client),
		with(open_patient, a_request_outlives_its_server),
		with(open_patient, a_client_may_send_its_end_and_wait),
		with(open_patient, replies_wait_for_a_client_that_reads_slowly),
		with(open_patient,
		     requests_behind_one_that_waits_stay_with_the_client),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
