#include "http_bench.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <arpa/inet.h>
#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "base/mem.h"
#include "base/must.h"

#define DEADLINE_MS 10000

static const struct log no_log = { .level = LOG_OFF };

static int64_t now_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

static void on_request(struct muster_http *http, void *arg)
{
	struct bench *bench = arg;

	bench->handled++;
	if (bench->on_request != NULL)
		bench->on_request(bench, http);
	if (bench->holds) {
		assert_true(bench->held_count < HELD_MAX);
		bench->held[bench->held_count++] = http;
		return;
	}
	muster_http_reply(http, bench->status != 0 ? bench->status : 200,
			  "text/plain", bench->reply,
			  bench->reply_length != 0 ? bench->reply_length
						   : strlen(bench->reply));
}

void bench_serve(struct bench *bench, const struct http_settings *settings)
{
	struct http_settings own = { 0 };

	if (settings != NULL)
		own = *settings;
	own.handler = on_request;
	own.arg = bench;
	http_server_free(bench->server);
	bench->server = http_server_new(bench->loop, &own);
}

void bench_open(struct bench *bench, const struct http_settings *settings)
{
	signal(SIGPIPE, SIG_IGN); /* as a cluster does */
	memset(bench, 0, sizeof(*bench));
	bench->reply = "hello";
	bench->loop = loop_new(&no_log);
	bench_serve(bench, settings);
}

void bench_close(struct bench *bench)
{
	http_server_free(bench->server);
	/* Requests outlive their server. */
	for (size_t i = 0; i < bench->held_count; i++)
		muster_http_reply(bench->held[i], 200, NULL, NULL, 0);
	loop_free(bench->loop);
}

static void on_closed(void *token)
{
	struct client *client = token;

	client->is_done = true;
	client->bench->closed++;
	/* Still ours, and out of the loop's poll. */
	assert_int_equal(close(client->server_descriptor), 0);
}

static void set_nonblocking(int descriptor)
{
	assert_int_equal(fcntl(descriptor, F_SETFL, O_NONBLOCK), 0);
}

static struct client *open_pair(struct bench *bench, int ours, int servers)
{
	struct client *client = mem_zalloc(sizeof(*client));

	client->bench = bench;
	client->descriptor = ours;
	client->server_descriptor = servers;
	set_nonblocking(ours);
	set_nonblocking(servers);
	http_server_take_later(bench->server, servers, on_closed, client);
	return client;
}

struct client *client_open(struct bench *bench, int type)
{
	int pair[2];

	assert_int_equal(socketpair(AF_UNIX, type | SOCK_CLOEXEC, 0, pair), 0);
	return open_pair(bench, pair[0], pair[1]);
}

struct client *client_open_tcp(struct bench *bench)
{
	struct sockaddr_in address = { .sin_family = AF_INET,
				       .sin_addr.s_addr =
					       htonl(INADDR_LOOPBACK) };
	struct sockaddr *any = (struct sockaddr *)(void *)&address;
	socklen_t length = sizeof(address);
	int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	int ours = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	assert_int_equal(bind(listener, any, length), 0);
	assert_int_equal(listen(listener, 1), 0);
	assert_int_equal(getsockname(listener, any, &length), 0);
	assert_int_equal(connect(ours, any, length), 0);
	int servers = accept4(listener, NULL, NULL, SOCK_CLOEXEC);

	assert_true(servers >= 0);
	close(listener);
	return open_pair(bench, ours, servers);
}

void client_close(struct client *client)
{
	close(client->descriptor);
	client->descriptor = -1;
	for (int64_t deadline = now_ms() + DEADLINE_MS; !client->is_done;) {
		assert_true(now_ms() < deadline);
		bench_settle(client->bench);
		if (!client->is_done) {
			/* Its request is held. */
			http_server_free(client->bench->server);
			client->bench->server = NULL;
		}
	}
	free(client);
}

/* Waits for the loop to have something to do, or the client to receive. */
static void turn(struct bench *bench, struct client *client, int64_t deadline)
{
	struct pollfd polled[] = {
		{ .fd = loop_descriptor(bench->loop), .events = POLLIN },
		{ .fd = client != NULL ? client->descriptor : -1,
		  .events = POLLIN },
	};
	int64_t left = deadline - now_ms();
	int timeout = loop_timeout_ms(bench->loop);

	if (timeout < 0 || timeout > left)
		timeout = left > 0 ? (int)left : 0;
	assert_true(poll(polled, 2, timeout) >= 0);
	loop_turn(bench->loop);
}

static void receive(struct client *client)
{
	size_t room = sizeof(client->text) - 1 - client->length;

	assert_true(room > 0);
	ssize_t length = recv(client->descriptor, client->text + client->length,
			      room, MSG_DONTWAIT);

	if (length > 0)
		client->length += (size_t)length;
	else if (length == 0)
		client->has_ended = true;
	else if (errno != EAGAIN)
		client->error = errno;
	client->text[client->length] = 0;
}

static void take(struct client *client, size_t length)
{
	client->length -= length;
	memmove(client->text, client->text + length, client->length + 1);
}

/* Fails the test where what is waited for cannot come any more. */
static void wait_for(struct client *client, int64_t deadline, const char *what)
{
	if (now_ms() >= deadline || client->has_ended || client->error != 0)
		fail_msg("waited for \"%s\" (%s), have \"%s\"", what,
			 client->has_ended    ? "ended"
			 : client->error != 0 ? strerror(client->error)
					      : "in vain",
			 client->text);
	turn(client->bench, client, deadline);
	receive(client);
}

void client_send_bytes(struct client *client, const void *bytes, size_t length)
{
	int64_t deadline = now_ms() + DEADLINE_MS;
	const char *at = bytes;

	while (length > 0) {
		ssize_t sent = send(client->descriptor, at, length,
				    MSG_NOSIGNAL | MSG_DONTWAIT);

		if (sent > 0) {
			at += sent;
			length -= (size_t)sent;
			continue;
		}
		assert_int_equal(errno, EAGAIN);
		assert_true(now_ms() < deadline);
		loop_turn(client->bench->loop);
	}
}

void client_send(struct client *client, const char *text)
{
	client_send_bytes(client, text, strlen(text));
}

void client_expect(struct client *client, const char *text)
{
	int64_t deadline = now_ms() + DEADLINE_MS;
	char *place;

	while ((place = strstr(client->text, text)) == NULL)
		wait_for(client, deadline, text);
	take(client, (size_t)(place - client->text) + strlen(text));
}

void client_expect_only(struct client *client, const char *text)
{
	int64_t deadline = now_ms() + DEADLINE_MS;

	while (client->length < strlen(text))
		wait_for(client, deadline, text);
	assert_string_equal(client->text, text);
	take(client, client->length);
}

size_t client_receive_all(struct client *client)
{
	int64_t deadline = now_ms() + DEADLINE_MS;

	receive(client);
	while (!client->has_ended)
		wait_for(client, deadline, "the end");
	return client->length;
}

void client_expect_end(struct client *client)
{
	client_receive_all(client);
	assert_string_equal(client->text, "");
}

void client_expect_gone(struct client *client)
{
	int64_t deadline = now_ms() + DEADLINE_MS;

	while (!client->has_ended && client->error == 0) {
		assert_true(now_ms() < deadline);
		turn(client->bench, client, deadline);
		receive(client);
	}
}

void client_expect_nothing(struct client *client)
{
	bench_settle(client->bench);
	receive(client);
	assert_string_equal(client->text, "");
	assert_false(client->has_ended);
	assert_int_equal(client->error, 0);
}

const char *client_receive_once(struct client *client)
{
	int64_t deadline = now_ms() + DEADLINE_MS;

	assert_int_equal(client->length, 0);
	while (client->length == 0)
		wait_for(client, deadline, "anything");
	client->length = 0;
	return client->text;
}

void bench_await(struct bench *bench, const size_t *counter, size_t value)
{
	int64_t deadline = now_ms() + DEADLINE_MS;

	while (*counter != value) {
		if (now_ms() >= deadline)
			fail_msg("waited for %zu, have %zu", value, *counter);
		turn(bench, NULL, deadline);
	}
}

void bench_settle(struct bench *bench)
{
	struct pollfd polled = { .fd = loop_descriptor(bench->loop),
				 .events = POLLIN };

	/* Twice: what a turn starts is in the poll after the next. */
	do {
		loop_turn(bench->loop);
		loop_turn(bench->loop);
	} while (poll(&polled, 1, 0) > 0);
}
