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

#include "loop/loop.h"

struct http_server;

struct http_settings {
	muster_http_fn handler;
	void *arg;
	struct muster_http_limits limits; /* 0: the default */
	const char *server;               /* Server header; NULL: none */
	uint32_t drain_idle_ms;
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
