/*
 * http - an HTTP/1.1 server over streams that others accept.
 *
 * A server holds the connections, their time-outs and limits; it does not
 * listen. What is received and answered within one read goes out in one
 * write. One request of a connection is with the handler at a time; those
 * pipelined behind it wait, unread past a bound.
 *
 * struct muster_http of the public header is a request of this module; the
 * muster_http_*() functions that take one are implemented here, those that
 * take a cluster in src/app/.
 *
 * A TCP listener whose connections come here should set TCP_DEFER_ACCEPT
 * (tcp(7)): the request is then there when the connection is, which halves the
 * cost of one that is closed after a request.
 */
#pragma once
#include <muster/http.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buffer.h"
#include "base/meters.h"
#include "loop/loop.h"
#include "loop/stream.h"
#include "loop/tls.h"
#include "server/access_log.h"

struct http_server;

#define HTTP_BODY_BYTES (1024 * 1024) /* where limits say nothing */

/* Writes the body, JSON, that a request which is refused is answered with:
 * `http` is all that is known of it. */
typedef void (*http_refuse_fn)(struct muster_http *http, int status,
			       const char *reason, struct buffer *body,
			       void *arg);

/* What this server speaks inside TLS, the best first: for
 * tls_settings.protocols. */
extern const char *const http_protocols[];

/* What to say, for tls_settings.plain_reply. */
extern const char http_plain_reply[];

/* Is on_head to be asked about a request whose body has come as a whole, with
 * its head? One whose body has not is asked about in any case. */
typedef bool (*http_wants_head_fn)(const struct muster_http *http, void *arg);

struct http_settings {
	muster_http_fn handler;
	muster_http_fn on_head;        /* may be NULL */
	http_wants_head_fn wants_head; /* NULL: it always is */
	void *arg;
	struct muster_http_limits limits; /* 0: the default */
	const char *server;               /* Server header; NULL: none */
	uint32_t drain_idle_ms;
	uint32_t gzip_bytes;
	const char *trusted_proxies; /* what is no list trusts nobody */
	bool trusts_forwarded;
	struct access_log *access_log; /* the server closes it; NULL: none */
	http_refuse_fn refuse;         /* NULL: a line of text */
	struct tls_context *tls;       /* the server frees it; NULL: none */
	meter_value *meters;           /* METER_CONNECTIONS; NULL: none */
};

typedef void (*http_closed_fn)(void *token);

struct http_server *http_server_new(struct loop *loop,
				    const struct http_settings *settings);
/* Cuts what is still open; not within a handler. Requests that handlers hold
 * are still to be replied to. NULL is fine. */
void http_server_free(struct http_server *server);

/*
 * Serves `descriptor`, which is non-blocking and stays the caller's to close:
 * on_closed(token) tells that the server is done with it (it has shut the
 * socket down, so that the peer sees the end though another process may hold
 * a copy).
 *
 * What has come already is read and answered before this function returns, and
 * on_closed may be called. So it is not for a handler, nor for anybody else
 * whom a stream has called: those leave it for the end of the turn.
 */
void http_server_take(struct http_server *server, int descriptor,
		      http_closed_fn on_closed, void *token);
void http_server_take_later(struct http_server *server, int descriptor,
			    http_closed_fn on_closed, void *token);

/* From now on replies close their connections; idle ones get drain_idle_ms. */
void http_server_drain(struct http_server *server);
size_t http_server_connections(const struct http_server *server);

/* ---- For other protocols that begin as a request ---- */

/* A connection that is HTTP's no more. */
struct http_taken {
	struct stream *stream; /* not reading; its events are to be set */
	struct buffer input;   /* what came behind the request */
	bool has_ended;        /* the client has sent its end */
	/* Owed when it is over, with the stream released. */
	http_closed_fn on_closed;
	void *token;
};

typedef void (*http_taken_fn)(const struct http_taken *taken, void *arg);

/*
 * Takes the connection of a request with "Upgrade" over, instead of a reply:
 * `http` is gone when this returns. 101 with that protocol and the headers that
 * were set goes out; then, soon, on_taken(). Where the client leaves before
 * that, on_taken() is called with a NULL.
 *
 * -EPIPE: the client has left; -EINVAL: the request did not ask for an upgrade,
 * has a body, or was answered. `http` is then as it was.
 */
__attribute__((warn_unused_result)) int http_take_over(struct muster_http *http,
						       const char *protocol,
						       http_taken_fn on_taken,
						       void *arg);

/* What a 426 has to say (RFC 9110, 15.5.22); nothing over HTTP/2, which has no
 * upgrades. */
void http_offer_upgrade(struct muster_http *http, const char *protocol);
