#include "server/tcp.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "base/mem.h"
#include "base/must.h"
#include "loop/tls.h"
#include "server/peer_address.h"
#include "server/socket.h"
#include "wire/line.h"

#define MAGIC      0x74637063
#define LINE_BYTES 65536
#define CLOSE_MS   2000
#define SHAKE_MS   10000

struct tcp {
	unsigned magic;
	struct tcp_server *server;
	struct socket socket;
	struct session *session;
	struct line_reader reader;
	uint64_t ended_ms; /* when our end was sent */
	bool is_ending;    /* nothing more is read of it */
	bool has_ended;    /* the client has sent its end */
};

struct tcp_server {
	struct sockets sockets;
	struct sessions *sessions;
	struct tcp_limits limits;
	bool is_draining;
	uint64_t drain_until_ms;
};

static struct tcp *tcp_of(struct socket *socket)
{
	struct tcp *tcp = LIST_ENTRY(socket, struct tcp, socket);

	MUST(tcp->magic == MAGIC);
	return tcp;
}

/* ---- What the session asks of its connection ---- */

static void send_line(void *connection, const void *text, size_t length)
{
	struct tcp *tcp = connection;

	socket_write(&tcp->socket, text, length);
	socket_write(&tcp->socket, "\r\n", 2);
}

static void send_bytes(void *connection, const void *bytes, size_t length)
{
	struct tcp *tcp = connection;

	socket_write(&tcp->socket, bytes, length);
}

static void end(struct tcp *tcp)
{
	if (tcp->is_ending)
		return;
	tcp->is_ending = true;
	tcp->ended_ms = loop_now_ms(tcp->server->sockets.loop);
	socket_end(&tcp->socket);
}

static void quit(void *connection, bool is_asked)
{
	static const char bye[] = "{\"status\":\"Bye!\",\"context\":\"api\"}";
	struct tcp *tcp = connection;

	(void)is_asked; /* it is the same goodbye */
	if (tcp->is_ending)
		return;
	send_line(tcp, bye, sizeof(bye) - 1);
	end(tcp);
}

static const struct session_kind kind = { .transport = MUSTER_TCP,
					  .send = send_line,
					  .send_bytes = send_bytes,
					  .quit = quit };

/* ---- What the socket tells ---- */

static void tcp_free(struct tcp *tcp)
{
	session_leave(tcp->session);
	line_reader_fini(&tcp->reader);
	socket_close(&tcp->socket);
	tcp->magic = 0;
	free(tcp);
}

static size_t on_bytes(struct socket *socket, const uint8_t *bytes,
		       size_t length)
{
	struct tcp *tcp = tcp_of(socket);
	struct line line;
	size_t left = length;

	if (line_is_between(&tcp->reader) && line_is_interrupt(bytes, length))
		quit(tcp, true);
	while (!tcp->is_ending && !socket_is_full(socket)) {
		int answer = line_read(&tcp->reader, &bytes, &left, &line);

		if (answer == 0)
			break;
		if (answer < 0) {
			session_refuse_line(tcp->session,
					    tcp->reader.length_max);
			end(tcp);
		} else if (line.length > 0) {
			session_take_line(tcp->session, line.text, line.length);
		}
	}
	return tcp->is_ending ? length : length - left;
}

static void on_settle(struct socket *socket)
{
	(void)socket;
}

/* A client that has sent its end may still wait for answers, or read them. */
static void on_end(struct socket *socket, int error)
{
	struct tcp *tcp = tcp_of(socket);

	if (error < 0) {
		tcp_free(tcp);
		return;
	}
	tcp->has_ended = true;
	session_drain(tcp->session);
	if (tcp->is_ending && socket_is_sent(socket))
		tcp_free(tcp);
}

static bool is_over(const struct tcp *tcp, uint64_t now_ms)
{
	return tcp->is_ending && socket_is_sent(&tcp->socket) &&
	       (tcp->has_ended ||
		now_ms - tcp->ended_ms > tcp->server->limits.close_ms);
}

/* Nothing is heard of it before. */
static bool is_never_ready(const struct tcp *tcp, uint64_t now_ms)
{
	return !stream_is_ready(tcp->socket.stream) &&
	       now_ms - tcp->socket.heard_ms > tcp->server->limits.shake_ms;
}

static void on_tick(struct socket *socket, uint64_t now_ms)
{
	struct tcp *tcp = tcp_of(socket);
	struct tcp_server *server = tcp->server;
	uint32_t idle_ms = server->limits.idle_ms;

	if (socket_is_stuck(socket, now_ms) || is_over(tcp, now_ms) ||
	    is_never_ready(tcp, now_ms))
		tcp_free(tcp);
	else if ((idle_ms > 0 && !socket->is_held &&
		  now_ms - socket->heard_ms > idle_ms &&
		  !session_is_busy(tcp->session)) ||
		 (server->is_draining && now_ms >= server->drain_until_ms))
		quit(tcp, false);
}

static const struct socket_events socket_events = { on_bytes, on_settle, on_end,
						    on_tick };

/* ---- The server ---- */

static uint32_t or_default(uint32_t value, uint32_t otherwise)
{
	return value > 0 ? value : otherwise;
}

struct tcp_server *tcp_server_new(struct loop *loop, struct sessions *sessions,
				  const struct tcp_limits *limits)
{
	struct tcp_server *server = mem_zalloc(sizeof(*server));

	server->sessions = sessions;
	server->limits = *limits;
	server->limits.line_bytes = or_default(limits->line_bytes, LINE_BYTES);
	server->limits.close_ms = or_default(limits->close_ms, CLOSE_MS);
	server->limits.shake_ms = or_default(limits->shake_ms, SHAKE_MS);
	sockets_init(&server->sockets, loop, &socket_events,
		     &(struct socket_limits){
			     .high_bytes = limits->high_bytes,
			     .most_bytes = limits->most_bytes,
			     .stall_ms = limits->stall_ms,
		     });
	return server;
}

void tcp_server_free(struct tcp_server *server)
{
	if (server == NULL)
		return;
	LIST_EACH (&server->sockets.all, link)
		tcp_free(tcp_of(LIST_ENTRY(link, struct socket, link)));
	sockets_fini(&server->sockets);
	free(server);
}

/* Answers are whole: they are not to wait for an acknowledgement. Fails for a
 * unix socket, which does not wait. */
static void set_options(int descriptor)
{
	int on = 1;

	DISCARD(setsockopt(descriptor, IPPROTO_TCP, TCP_NODELAY, &on,
			   sizeof(on)));
	DISCARD(setsockopt(descriptor, SOL_SOCKET, SO_KEEPALIVE, &on,
			   sizeof(on)));
}

static const struct stream_events no_events;

static void take(struct tcp_server *server, int descriptor,
		 struct stream *stream, void (*on_closed)(void *token),
		 void *token)
{
	struct tcp *tcp = mem_zalloc(sizeof(*tcp));
	struct peer_address peer = peer_address_of(descriptor);

	tcp->magic = MAGIC;
	tcp->server = server;
	tcp->reader.length_max = server->limits.line_bytes;
	set_options(descriptor);
	socket_open(&tcp->socket, &server->sockets, stream, on_closed, token);
	tcp->session =
		session_open(server->sessions, &kind, tcp,
			     &(struct session_client){ .address = peer.text,
						       .port = peer.port });
	if (server->is_draining)
		session_drain(tcp->session);
	socket_start(&tcp->socket, NULL, 0);
}

void tcp_server_take(struct tcp_server *server, int descriptor,
		     void (*on_closed)(void *token), void *token)
{
	take(server, descriptor,
	     stream_open(server->sockets.loop, descriptor, &no_events, NULL),
	     on_closed, token);
}

void tcp_server_take_secure(struct tcp_server *server, int descriptor,
			    struct tls_context *tls,
			    void (*on_closed)(void *token), void *token)
{
	take(server, descriptor,
	     tls_accept(server->sockets.loop, descriptor, tls, &no_events,
			NULL),
	     on_closed, token);
}

void tcp_server_drain(struct tcp_server *server, uint32_t drain_ms)
{
	if (server->is_draining)
		return;
	server->is_draining = true;
	server->drain_until_ms = loop_now_ms(server->sockets.loop) + drain_ms;
	LIST_EACH (&server->sockets.all, link)
		session_drain(
			tcp_of(LIST_ENTRY(link, struct socket, link))->session);
}

size_t tcp_server_connections(const struct tcp_server *server)
{
	return server->sockets.count;
}
