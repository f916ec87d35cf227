/*
 * Any bytes as what a client sends to an HTTP server, in pieces, with handlers
 * that do all that handlers can: answer now or later, begin and write, read the
 * body as it comes and pause, take forms, take over, leave a request until its
 * client has gone. Whatever comes, each request is told of its end once, and
 * nothing is left in the end.
 *
 * The first byte says how it is cut, the second how the server is set up.
 */
#include <errno.h>
#include <signal.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/must.h"
#include "server/http.h"

#define LENGTH_MAX 8192
#define HELD_MAX   16

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length);

static struct loop *loop;
static struct http_server *server;
static struct muster_http *held[HELD_MAX];
static size_t held_count;
static size_t requests; /* that are with their handlers */
static bool is_closed;
static int server_descriptor;

static void answer(struct muster_http *http)
{
	MUST(requests > 0);
	requests--;
	muster_http_reply(http, 200, "text/plain", "hello", 5);
}

static void end(struct muster_http *http)
{
	MUST(requests > 0);
	requests--;
	muster_http_end(http);
}

static void hold(struct muster_http *http)
{
	if (held_count == HELD_MAX)
		answer(http);
	else
		held[held_count++] = http;
}

/* What is held is answered; one that is told it is gone is not held. */
static void answer_held(void)
{
	while (held_count > 0)
		answer(held[--held_count]);
}

static void on_gone(struct muster_http *http, int error, void *arg)
{
	(void)arg;
	if (error < 0)
		end(http);
}

static void on_body(struct muster_http *http, const void *bytes, size_t length,
		    int error, void *arg)
{
	size_t *seen = arg;

	(void)error;
	if (bytes == NULL) {
		MUST(length == 0);
		end(http);
		return;
	}
	MUST(length > 0);
	*seen += ((const uint8_t *)bytes)[length - 1];
	if (*seen % 3 == 0) {
		muster_http_pause_body(http);
		muster_http_resume_body(http);
	}
	/* It fails where the client has left. */
	DISCARD(muster_http_write(http, bytes, length));
}

static void stream(struct muster_http *http)
{
	static size_t seen;

	if (muster_http_begin(http, 200, NULL, MUSTER_HTTP_UNKNOWN) < 0) {
		end(http);
		return;
	}
	if (muster_http_read_body(http, on_body, &seen) == 0)
		return;
	DISCARD(muster_http_write(http, "none", 4));
	muster_http_on_gone(http, on_gone, NULL);
	end(http);
}

static void form(struct muster_http *http)
{
	struct muster_http_part part;

	DISCARD(muster_http_field(http, "a"));
	DISCARD(muster_http_parameter(http, "a"));
	DISCARD(muster_http_cookie(http, "a"));
	for (size_t i = 0; muster_http_part(http, i, &part); i++)
		MUST(part.bytes != NULL || part.descriptor >= 0);
	answer(http);
}

static void on_taken(const struct http_taken *taken, void *arg)
{
	struct buffer input;

	(void)arg;
	if (taken == NULL)
		return;
	input = taken->input;
	buffer_fini(&input);
	DISCARD(shutdown(stream_release(taken->stream), SHUT_RDWR));
	taken->on_closed(taken->token);
}

static void take(struct muster_http *http)
{
	if (http_take_over(http, "x", on_taken, NULL) == 0)
		requests--;
	else
		answer(http);
}

static void begin_and_wait(struct muster_http *http)
{
	if (muster_http_begin_events(http) < 0) {
		end(http);
		return;
	}
	DISCARD(muster_http_send_comment(http, "wait"));
	hold(http);
}

static void on_request(struct muster_http *http, void *arg)
{
	const char *path = muster_http_path(http);

	(void)arg;
	requests++;
	switch (path[0] != 0 ? path[1] : 0) {
	case 'h':
		hold(http);
		break;
	case 's':
		stream(http);
		break;
	case 'f':
		form(http);
		break;
	case 't':
		take(http);
		break;
	case 'e':
		begin_and_wait(http);
		break;
	case 'p':
		answer_held();
		answer(http);
		break;
	default:
		answer(http);
		break;
	}
}

static void on_head(struct muster_http *http, void *arg)
{
	const char *path = muster_http_path(http);

	(void)arg;
	if (path[1] == 's')
		muster_http_stream_body(http);
	else if (path[1] == 'f')
		DISCARD(muster_http_stream_form(http, NULL));
	else if (path[1] == 'r')
		muster_http_reply(http, 403, NULL, NULL, 0);
	else if (path[1] == 'l')
		muster_http_limit_body(http, 3);
}

static void on_closed(void *token)
{
	(void)token;
	MUST(!is_closed);
	is_closed = true;
	close(server_descriptor);
}

static void turn(int client)
{
	char room[4096];

	loop_turn(loop);
	while (recv(client, room, sizeof(room), MSG_DONTWAIT) > 0)
		loop_turn(loop);
}

static void send_pieces(int client, const uint8_t *bytes, size_t length,
			size_t step)
{
	for (size_t at = 0; at < length; at += step) {
		size_t some = length - at < step ? length - at : step;

		/* It fails where the server has closed. */
		if (send(client, bytes + at, some, MSG_NOSIGNAL) < 0)
			break;
		turn(client);
	}
}

static void open_server(uint8_t kind)
{
	static const struct log log = { LOG_OFF, NULL };
	struct http_settings settings = {
		.handler = on_request,
		.limits = { .body_bytes = 1000, .requests = 20 },
		.trusted_proxies = "unix",
	};

	signal(SIGPIPE, SIG_IGN);
	if (loop == NULL)
		loop = loop_new(&log);
	if ((kind & 1) != 0)
		settings.on_head = on_head;
	if ((kind & 2) != 0)
		settings.gzip_bytes = 1;
	server = http_server_new(loop, &settings);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length)
{
	int pair[2];

	if (length < 2 || length > LENGTH_MAX)
		return 0;
	open_server(bytes[1]);
	MUST(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0,
			pair) == 0);
	is_closed = false;
	server_descriptor = pair[1];
	http_server_take_later(server, pair[1], on_closed, NULL);
	send_pieces(pair[0], bytes + 2, length - 2, bytes[0] + 1u);
	if ((bytes[1] & 4) != 0)
		answer_held();
	if ((bytes[1] & 8) != 0)
		shutdown(pair[0], SHUT_WR);
	turn(pair[0]);
	if ((bytes[1] & 16) != 0) {
		close(pair[0]);
		loop_turn(loop);
		loop_turn(loop);
	}
	http_server_free(server);
	answer_held();
	MUST(is_closed);
	MUST(requests == 0);
	if ((bytes[1] & 16) == 0)
		close(pair[0]);
	loop_turn(loop);
	return 0;
}
