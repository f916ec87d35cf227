/* Replies in pieces, events, clients that leave, other protocols. */
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
#include "base/must.h"
#include "http_bench.h"

#define GET   "GET / HTTP/1.1\r\nHost: a\r\n\r\n"
#define GET10 "GET / HTTP/1.0\r\n\r\n"

static struct bench bench;
static struct client *client;

static int open_default(void **state)
{
	(void)state;
	bench_open(&bench, NULL);
	client = client_open(&bench, SOCK_STREAM);
	return 0;
}

static int open_impatient(void **state)
{
	(void)state;
	bench_open(&bench,
		   &(struct http_settings){ .limits = { .idle_ms = 50 } });
	client = client_open(&bench, SOCK_STREAM);
	return 0;
}

static int close_bench(void **state)
{
	(void)state;
	if (client != NULL)
		client_close(client);
	bench_close(&bench);
	return 0;
}

/* Sends the request and returns it as the handler holds it. */
static struct muster_http *hold(const char *request)
{
	bench.holds = true;
	client_send(client, request);
	bench_await(&bench, &bench.held_count, 1);
	bench.held_count = 0;
	return bench.held[0];
}

static void begin(struct muster_http *http, uint64_t length)
{
	assert_int_equal(muster_http_begin(http, 200, "text/plain", length), 0);
}

static void write_text(struct muster_http *http, const char *text)
{
	assert_int_equal(muster_http_write(http, text, strlen(text)), 0);
}

static void a_reply_without_a_length_is_chunked(void **state)
{
	(void)state;
	struct muster_http *http = hold(GET);

	begin(http, MUSTER_HTTP_UNKNOWN);
	write_text(http, "one");
	client_expect(client, "Content-Type: text/plain\r\n"
			      "Transfer-Encoding: chunked\r\n\r\n"
			      "3\r\none\r\n");
	write_text(http, "");
	write_text(http, "and two, of 26 characters.");
	client_expect_only(client, "1a\r\nand two, of 26 characters.\r\n");
	muster_http_end(http);
	client_expect_only(client, "0\r\n\r\n");
	bench.holds = false;
	client_send(client, GET);
	client_expect(client, "hello");
}

static void a_reply_with_a_length_is_not(void **state)
{
	(void)state;
	struct muster_http *http = hold(GET);

	begin(http, 6);
	write_text(http, "one");
	assert_int_equal(muster_http_write(http, "four", 4), -EMSGSIZE);
	write_text(http, "two");
	assert_int_equal(muster_http_write(http, "x", 1), -EMSGSIZE);
	muster_http_end(http);
	client_expect(client, "Content-Length: 6\r\n\r\nonetwo");
	client_expect_nothing(client);
}

static void what_is_written_in_a_turn_leaves_together(void **state)
{
	(void)state;
	client_close(client);
	client = client_open(&bench, SOCK_SEQPACKET);
	struct muster_http *http = hold(GET);

	begin(http, MUSTER_HTTP_UNKNOWN);
	write_text(http, "one");
	write_text(http, "two");
	muster_http_end(http);
	assert_non_null(strstr(client_receive_once(client),
			       "\r\n\r\n3\r\none\r\n3\r\ntwo\r\n0\r\n\r\n"));
}

static void to_http_1_0_a_reply_ends_with_the_connection(void **state)
{
	(void)state;
	struct muster_http *http =
		hold("GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n");

	begin(http, MUSTER_HTTP_UNKNOWN);
	write_text(http, "one");
	write_text(http, "two");
	muster_http_end(http);
	client_receive_all(client);
	assert_non_null(strstr(client->text, "Connection: close\r\n"));
	assert_null(strstr(client->text, "chunked"));
	assert_non_null(strstr(client->text, "\r\n\r\nonetwo"));
}

static void head_gets_no_body_in_pieces_either(void **state)
{
	(void)state;
	struct muster_http *http = hold("HEAD / HTTP/1.1\r\nHost: a\r\n\r\n");

	begin(http, MUSTER_HTTP_UNKNOWN);
	write_text(http, "one");
	muster_http_end(http);
	client_expect(client, "Transfer-Encoding: chunked\r\n\r\n");
	client_expect_nothing(client);
	http = hold("HEAD / HTTP/1.1\r\nHost: a\r\n\r\n");
	begin(http, 3);
	write_text(http, "one");
	muster_http_end(http);
	client_expect(client, "Content-Length: 3\r\n\r\n");
	client_expect_nothing(client);
}

static void a_reply_that_is_too_short_cuts_the_connection(void **state)
{
	(void)state;
	struct muster_http *http = hold(GET);

	begin(http, 6);
	write_text(http, "one");
	muster_http_end(http);
	client_expect(client, "\r\n\r\none");
	client_expect_end(client);
}

static void a_reply_that_was_not_begun_cuts_the_connection(void **state)
{
	(void)state;
	muster_http_end(hold(GET));
	client_expect_end(client);
}

static void a_reply_is_begun_once_and_rightly(void **state)
{
	(void)state;
	struct muster_http *http = hold(GET);

	assert_int_equal(muster_http_write(http, "x", 1), -EINVAL);
	assert_int_equal(muster_http_begin(http, 204, NULL, 0), -EINVAL);
	assert_int_equal(muster_http_begin(http, 100, NULL, 0), -EINVAL);
	assert_int_equal(muster_http_begin(http, 200, "a\r\nb", 0), -EINVAL);
	begin(http, 0);
	assert_int_equal(muster_http_begin(http, 200, NULL, 0), -EINVAL);
	muster_http_end(http);
	client_expect(client, "Content-Length: 0\r\n\r\n");
	client_expect_nothing(client);
}

/* In the handler itself, between pipelined requests. */
static void stream_it(struct bench *of, struct muster_http *http)
{
	if (of->handled != 2)
		return;
	of->holds = true; /* has its reply, so the bench must not answer */
	begin(http, MUSTER_HTTP_UNKNOWN);
	write_text(http, "streamed");
	muster_http_end(http);
}

static void pipelined_replies_keep_their_order(void **state)
{
	(void)state;
	bench.on_request = stream_it;
	client_send(client, GET GET);
	client_expect(client, "\r\n\r\nhello");
	client_expect(client, "\r\n\r\n8\r\nstreamed\r\n0\r\n\r\n");
	bench.held_count = 0; /* it is gone */
	bench.holds = false;
	client_send(client, GET);
	client_expect(client, "\r\n\r\nhello");
}

static size_t drained;

static void on_drain(struct muster_http *http, void *arg)
{
	(void)http;
	assert_ptr_equal(arg, &drained);
	drained++;
}

static void a_slow_client_is_waited_for(void **state)
{
	(void)state;
	struct muster_http *http = hold(GET);
	char piece[10000];
	size_t written = 0;
	int error;

	drained = 0;
	memset(piece, 'x', sizeof(piece));
	begin(http, MUSTER_HTTP_UNKNOWN);
	muster_http_on_drain(http, on_drain, &drained);
	while ((error = muster_http_write(http, piece, sizeof(piece))) == 0) {
		written += sizeof(piece);
		assert_true(written < 100 << 20);
	}
	assert_int_equal(error, -EAGAIN);
	assert_in_range(muster_http_unsent(http), 256 * 1024, 300 * 1024);
	bench_settle(&bench);
	assert_int_equal(drained, 0);
	while (drained == 0) {
		client_expect(client, "x");
		client->length = 0;
		client->text[0] = 0;
	}
	assert_int_equal(muster_http_unsent(http), 0);
	write_text(http, "the last");
	muster_http_end(http);
	client_expect(client, "the last\r\n0\r\n\r\n");
	assert_int_equal(drained, 1);
}

static size_t gone;
static int gone_error;

static void on_gone(struct muster_http *http, int error, void *arg)
{
	(void)http;
	assert_ptr_equal(arg, &gone);
	gone++;
	gone_error = error;
}

static void a_client_that_takes_nothing_is_cut(void **state)
{
	(void)state;
	struct muster_http *http = hold(GET);
	char *body = mem_zalloc(4 << 20);

	gone = 0;
	muster_http_on_gone(http, on_gone, &gone);
	begin(http, MUSTER_HTTP_UNKNOWN);
	assert_int_equal(muster_http_write(http, body, 4 << 20), 0);
	bench_await(&bench, &gone, 1);
	assert_true(gone_error < 0);
	assert_int_equal(muster_http_write(http, "x", 1), -EPIPE);
	muster_http_end(http);
	free(body);
}

static void released(void *arg)
{
	++*(size_t *)arg;
}

static void owned_bytes_are_released_when_sent(void **state)
{
	(void)state;
	struct muster_http *http = hold(GET);
	char *body = mem_alloc(3 << 20);
	size_t count = 0;

	memset(body, 'y', 3 << 20);
	begin(http, 4 << 20);
	assert_int_equal(
		muster_http_write_owned(http, body, 3 << 20, released, &count),
		0);
	assert_int_equal(count, 0);
	assert_int_equal(
		muster_http_write_owned(http, body, 10, released, &count),
		-EAGAIN);
	assert_int_equal(count, 0);
	for (size_t got = 0; got < 3 << 20;) {
		client_expect(client, "y");
		got += client->length + 1;
		client->length = 0;
		client->text[0] = 0;
	}
	bench_await(&bench, &count, 1);
	assert_int_equal(
		muster_http_write_owned(http, body, 1 << 20, released, &count),
		0);
	/* What is on its way is released with the connection as well. */
	muster_http_end(http);
	client_close(client);
	client = NULL;
	assert_int_equal(count, 2);
	free(body);
}

static void a_client_that_leaves_is_told_at_once(void **state)
{
	(void)state;
	struct muster_http *http = hold(GET);

	gone = 0;
	muster_http_on_gone(http, on_gone, &gone);
	begin(http, MUSTER_HTTP_UNKNOWN);
	write_text(http, "one");
	bench_settle(&bench);
	/* Unread bytes make it a reset. */
	client_close(client);
	client = NULL;
	assert_int_equal(gone, 1);
	muster_http_end(http);
}

static void a_write_to_one_that_left_fails_at_once(void **state)
{
	(void)state;
	struct muster_http *http = hold(GET);
	static char piece[10000];

	gone = 0;
	muster_http_on_gone(http, on_gone, &gone);
	begin(http, MUSTER_HTTP_UNKNOWN);
	close(client->descriptor);
	/* The first finds out, the next are told, and then the handler. */
	assert_int_equal(muster_http_write(http, piece, sizeof(piece)), 0);
	assert_int_equal(muster_http_write(http, piece, 1), -EPIPE);
	assert_int_equal(gone, 0);
	bench_await(&bench, &gone, 1);
	assert_int_equal(muster_http_write(http, piece, 1), -EPIPE);
	muster_http_end(http);
	client->descriptor = -1;
}

static void a_client_that_only_ends_its_side_gets_its_reply(void **state)
{
	(void)state;
	struct muster_http *http = hold(GET);

	gone = 0;
	gone_error = 1;
	muster_http_on_gone(http, on_gone, &gone);
	shutdown(client->descriptor, SHUT_WR);
	bench_await(&bench, &gone, 1);
	assert_int_equal(gone_error, 0);
	begin(http, MUSTER_HTTP_UNKNOWN);
	write_text(http, "still");
	muster_http_end(http);
	client_expect(client, "5\r\nstill\r\n0\r\n\r\n");
	client_expect_end(client);
	assert_int_equal(gone, 1);
}

static void reply_when_gone(struct muster_http *http, int error, void *arg)
{
	on_gone(http, error, arg);
	muster_http_reply(http, 200, NULL, NULL, 0);
}

static void the_request_may_end_when_its_client_is_gone(void **state)
{
	(void)state;
	struct muster_http *http = hold(GET);

	gone = 0;
	muster_http_on_gone(http, reply_when_gone, &gone);
	client_close(client);
	client = NULL;
	bench_await(&bench, &gone, 1);
}

/* ---- Server-Sent Events ---- */

static void events_are_sent_as_they_come(void **state)
{
	(void)state;
	struct muster_http *http = hold(GET);

	assert_int_equal(muster_http_begin_events(http), 0);
	assert_int_equal(
		muster_http_send_event(
			http, &(struct muster_http_event){ .data = "one" }),
		0);
	client_expect(client, "Content-Type: text/event-stream\r\n");
	client_expect(client, "Cache-Control: no-store\r\n\r\n"
			      "b\r\ndata: one\n\n\r\n");
	assert_int_equal(
		muster_http_send_event(http,
				       &(struct muster_http_event){
					       .name = "chat",
					       .data = "a\nb\r\nc\rd\n",
					       .id = "7",
					       .retry_ms = 500,
				       }),
		0);
	client_expect(client, "retry: 500\nid: 7\nevent: chat\n"
			      "data: a\ndata: b\ndata: c\ndata: d\ndata: \n\n");
	assert_int_equal(muster_http_send_comment(http, NULL), 0);
	client_expect(client, ": \n\n");
	muster_http_end(http);
	client_expect(client, "0\r\n\r\n");
}

static void an_event_cannot_forge_another(void **state)
{
	(void)state;
	struct muster_http *http = hold(GET);

	assert_int_equal(muster_http_begin_events(http), 0);
	assert_int_equal(muster_http_send_event(http,
						&(struct muster_http_event){
							.name = "a\ndata: b" }),
			 -EINVAL);
	assert_int_equal(
		muster_http_send_event(
			http, &(struct muster_http_event){ .id = "a\rb" }),
		-EINVAL);
	muster_http_end(http);
	client_expect(client, "\r\n\r\n0\r\n\r\n");
}

/* ---- Other protocols ---- */

#define UPGRADE                                                                \
	"GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\n"                 \
	"Upgrade: tested\r\n\r\n"

static struct http_taken taken;
static size_t taken_count;
static char came[64];

static void on_taken_bytes(void *owner, const uint8_t *bytes, size_t length)
{
	(void)owner;
	strncat(came, (const char *)bytes, length);
}

static void on_taken_end(void *owner, int error)
{
	(void)owner;
	(void)error;
}

static void on_taken_written(void *owner)
{
	(void)owner;
}

static const struct stream_events taken_events = { on_taken_bytes, on_taken_end,
						   on_taken_written };

static void on_taken(const struct http_taken *told, void *arg)
{
	assert_ptr_equal(arg, &taken);
	taken_count++;
	taken = told != NULL ? *told : (struct http_taken){ 0 };
	if (told != NULL)
		stream_set_events(taken.stream, &taken_events, NULL);
}

static void give_back(void)
{
	buffer_fini(&taken.input);
	DISCARD(shutdown(stream_release(taken.stream), SHUT_RDWR));
	taken.on_closed(taken.token);
}

static void take_it(struct bench *of, struct muster_http *http)
{
	of->holds = true;
	assert_int_equal(http_take_over(http, "tested", on_taken, &taken), 0);
}

static void a_connection_is_taken_over_with_what_came(void **state)
{
	(void)state;
	taken_count = 0;
	came[0] = 0;
	bench.on_request = take_it;
	client_send(client, UPGRADE "behind");
	bench_await(&bench, &taken_count, 1);
	bench.held_count = 0;
	assert_int_equal(http_server_connections(bench.server), 0);
	client_expect_only(client, "HTTP/1.1 101 Switching Protocols\r\n"
				   "Connection: Upgrade\r\n"
				   "Upgrade: tested\r\n\r\n");
	assert_int_equal(buffer_length(&taken.input), 6);
	assert_memory_equal(buffer_bytes(&taken.input), "behind", 6);
	stream_start_reading(taken.stream);
	client_send(client, "more");
	bench_settle(&bench);
	assert_string_equal(came, "more");
	char reply[] = "reply";

	stream_write(taken.stream, &(struct iovec){ reply, 5 }, 1);
	client_expect_only(client, "reply");
	give_back();
}

static void a_connection_may_be_taken_over_later(void **state)
{
	(void)state;
	taken_count = 0;
	struct muster_http *http = hold(UPGRADE);

	assert_int_equal(muster_http_set_header(http, "X-A", "b"), 0);
	assert_int_equal(http_take_over(http, "tested", on_taken, &taken), 0);
	client_expect(client, "Upgrade: tested\r\nX-A: b\r\n\r\n");
	bench_await(&bench, &taken_count, 1);
	assert_non_null(taken.stream);
	give_back();
}

static void only_what_asks_for_it_is_taken_over(void **state)
{
	(void)state;
	struct muster_http *http = hold(GET);

	assert_int_equal(http_take_over(http, "x", on_taken, &taken), -EINVAL);
	muster_http_reply(http, 200, NULL, NULL, 0);
	http = hold("POST / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\n"
		    "Upgrade: x\r\nContent-Length: 1\r\n\r\nx");
	assert_int_equal(http_take_over(http, "x", on_taken, &taken), -EINVAL);
	client_close(client);
	client = NULL;
	assert_int_equal(http_take_over(http, "x", on_taken, &taken), -EPIPE);
	assert_int_equal(muster_http_on_gone(http, on_gone, NULL), -EPIPE);
	assert_int_equal(muster_http_begin(http, 200, NULL, 0), -EPIPE);
	muster_http_reply(http, 200, NULL, NULL, 0);
}

#define with(setup, test)                                                      \
	cmocka_unit_test_setup_teardown(test, setup, close_bench)
#define plain(test) with(open_default, test)

int main(void)
{
	const struct CMUnitTest tests[] = {
		plain(a_reply_without_a_length_is_chunked),
		plain(a_reply_with_a_length_is_not),
		plain(what_is_written_in_a_turn_leaves_together),
		plain(to_http_1_0_a_reply_ends_with_the_connection),
		plain(head_gets_no_body_in_pieces_either),
		plain(a_reply_that_is_too_short_cuts_the_connection),
		plain(a_reply_that_was_not_begun_cuts_the_connection),
		plain(a_reply_is_begun_once_and_rightly),
		plain(pipelined_replies_keep_their_order),
		plain(a_slow_client_is_waited_for),
		with(open_impatient, a_client_that_takes_nothing_is_cut),
		plain(owned_bytes_are_released_when_sent),
		plain(a_client_that_leaves_is_told_at_once),
		plain(a_write_to_one_that_left_fails_at_once),
		plain(a_client_that_only_ends_its_side_gets_its_reply),
		plain(the_request_may_end_when_its_client_is_gone),
		plain(events_are_sent_as_they_come),
		plain(an_event_cannot_forge_another),
		plain(a_connection_is_taken_over_with_what_came),
		plain(a_connection_may_be_taken_over_later),
		plain(only_what_asks_for_it_is_taken_over),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
