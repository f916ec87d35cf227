/*
 * tcp - sessions over TCP: a line a request, a line of JSON an answer.
 *
 * A server holds connections that others accept; it does not listen.
 */
#pragma once
#include "server/session.h"

struct tcp_server;
struct tls_context;

/* 0 is the default beside each. */
struct tcp_limits {
	uint32_t line_bytes; /* 64 KiB: an error line, and closed */
	uint32_t idle_ms;    /* without a byte; 0: for ever */
	uint32_t close_ms;   /* for the client's end after ours; 2,000 */
	uint32_t high_bytes; /* not read by the client; 1 MiB */
	uint32_t most_bytes; /* the same; 4 MiB */
	uint32_t stall_ms;   /* 10,000 */
	uint32_t shake_ms;   /* for the hands to be shaken; 10,000 */
};

struct tcp_server *tcp_server_new(struct loop *loop, struct sessions *sessions,
				  const struct tcp_limits *limits);
/* Cuts what is open; not within a callback. NULL is fine. */
void tcp_server_free(struct tcp_server *server);

/*
 * Serves `descriptor`, which is non-blocking and stays the caller's to close:
 * on_closed(token) tells that the server is done with it, which it has then
 * shut down.
 */
void tcp_server_take(struct tcp_server *server, int descriptor,
		     void (*on_closed)(void *token), void *token);

/* The same over TLS. */
void tcp_server_take_secure(struct tcp_server *server, int descriptor,
			    struct tls_context *tls,
			    void (*on_closed)(void *token), void *token);

/* Says goodbye to each once nothing of it runs, to all after drain_ms. */
void tcp_server_drain(struct tcp_server *server, uint32_t drain_ms);
size_t tcp_server_connections(const struct tcp_server *server);
