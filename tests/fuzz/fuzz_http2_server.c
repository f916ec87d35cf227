/*
 * Any bytes as what a client of HTTP/2 sends after its preface, in pieces, with
 * handlers that answer now or later, echo a body as it comes, take forms, send
 * files, and leave requests until the client has gone. Whatever comes, each
 * request is told of its end once, and nothing is left in the end.
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
	DISCARD(muster_http_set_header(http, "X-Some", "Value"));
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

static void answer_held(void)
{
	while (held_count > 0)
		answer(held[--held_count]);
}

static void on_body(struct muster_http *http, const void *bytes, size_t length,
		    int error, void *arg)
{
	(void)error;
	(void)arg;
	if (bytes == NULL) {
		MUST(length == 0);
		end(http);
		return;
	}
	MUST(length > 0);
	if (((const uint8_t *)bytes)[0] % 3 == 0)
		muster_http_pause_body(http);
	/* It fails where the client has left. */
	DISCARD(muster_http_write(http, bytes, length));
}

static void on_drain(struct muster_http *http, void *arg)
{
	(void)arg;
	muster_http_resume_body(http);
}

static void echo(struct muster_http *http)
{
	muster_http_on_drain(http, on_drain, NULL);
	if (muster_http_begin(http, 200, NULL, MUSTER_HTTP_UNKNOWN) < 0 ||
	    muster_http_read_body(http, on_body, NULL) < 0)
		end(http);
}

static void look(struct muster_http *http)
{
	struct muster_http_part part;
	size_t length;

	MUST(muster_http_method(http)[0] != 0);
	MUST(strpbrk(muster_http_path(http), "\r\n ") == NULL);
	DISCARD(muster_http_header(http, "host"));
	DISCARD(muster_http_field(http, "a"));
	DISCARD(muster_http_parameter(http, "a"));
	DISCARD(muster_http_cookie(http, "a"));
	DISCARD(muster_http_client(http));
	MUST(muster_http_body(http, &length) != NULL);
	for (size_t i = 0; muster_http_part(http, i, &part); i++)
		MUST(part.bytes != NULL || part.descriptor >= 0);
	answer(http);
}

static void large(struct muster_http *http)
{
	static const char content[40000];

	requests--;
	muster_http_reply(http, 200, "text/plain", content, sizeof(content));
}

/* Shorter than it says, or longer. */
static void lie(struct muster_http *http)
{
	if (muster_http_begin(http, 200, NULL, 3) == 0) {
		DISCARD(muster_http_write(http, "ab", 2));
		DISCARD(muster_http_write(http, "ab", 2));
	}
	end(http);
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
		echo(http);
		break;
	case 'f':
		look(http);
		break;
	case 'l':
		large(http);
		break;
	case 'c':
		lie(http);
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
	else if (path[1] == 'm')
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
		.server = "fuzz",
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
	static const uint8_t preface[] = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
					 "\0\0\0\4\0\0\0\0";
	int pair[2];

	if (length < 2 || length > LENGTH_MAX)
		return 0;
	open_server(bytes[1]);
	MUST(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0,
			pair) == 0);
	is_closed = false;
	server_descriptor = pair[1];
	http_server_take_later(server, pair[1], on_closed, NULL);
	send_pieces(pair[0], preface, sizeof(preface), sizeof(preface));
	send_pieces(pair[0], bytes + 2, length - 2, bytes[0] + 1u);
	if ((bytes[1] & 32) != 0)
		http_server_drain(server);
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
