/*
 * websocket - the server's end of WebSocket connections, which begin as a
 * request of an HTTP server.
 *
 * Answers pings, sends its own, closes as RFC 6455 says, and ends connections
 * that are silent or stuck. What messages mean is their owner's affair: a
 * connection has one, which on_open() names.
 *
 * A connection is gone once on_close() has returned; before that, whatever its
 * owner calls, it stays.
 */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/shared.h"
#include "server/http.h"
#include "wire/websocket.h"

struct websocket;
struct websocket_server;

struct websocket_events {
	/* `arg` is that of websocket_upgrade(). Answers the owner. */
	void *(*on_open)(struct websocket *websocket, void *arg);
	/* A whole message; text is UTF-8. Good until it returns. */
	void (*on_message)(void *owner, const uint8_t *bytes, size_t length,
			   bool is_text);
	/* Instead of a ping, every beat_ms; may be NULL. */
	void (*on_beat)(void *owner);
	/* It is to be closed, soon: the server drains. */
	void (*on_drain)(void *owner);
	/* The last. WEBSOCKET_CUT: without a goodbye. */
	void (*on_close)(void *owner, uint16_t code);
	/* The client left before it was opened: of `arg`. */
	void (*on_missed)(void *arg);
};

/* 0 is the default beside each. */
struct websocket_limits {
	uint32_t message_bytes; /* 1 MiB: 1009 */
	uint32_t beat_ms;       /* 30,000 */
	uint32_t idle_ms;       /* without a byte; 90,000: 1001 */
	uint32_t close_ms;      /* for the other's goodbye; 5,000 */
	uint32_t high_bytes;    /* not read by the client; 1 MiB */
	uint32_t most_bytes;    /* the same; 4 MiB: 1013 */
	uint32_t stall_ms;      /* 10,000: 1013 */
};

struct websocket_settings {
	struct websocket_limits limits;
	bool no_deflate;
	bool keeps_context;    /* some 300 KiB a connection */
	uint32_t deflate_from; /* bytes of a message; 0: 1024 */
	/* Answers a request that begins no WebSocket, which is gone when it
	 * returns. NULL: it is answered with a line of text. */
	void (*refuse)(struct muster_http *http, int status, const char *why,
		       void *owner);
	void *owner;
};

struct websocket_server *
websocket_server_new(struct loop *loop,
		     const struct websocket_settings *settings);
/* Cuts what is open; not within a callback. NULL is fine. */
void websocket_server_free(struct websocket_server *server);

/*
 * Answers the request, which is gone when this returns: 101, and on_open()
 * follows, or on_missed(); or 400, 405, 426 or 503, and on_missed() is called
 * at once. `events` must outlast the connection.
 */
void websocket_upgrade(struct websocket_server *server,
		       struct muster_http *http,
		       const struct websocket_events *events, void *arg);

/* For whoever looks at a request before websocket_upgrade() would: http is gone
 * when this returns. */
void websocket_refuse(struct websocket_server *server, struct muster_http *http,
		      int status, const char *why);

/* From now on requests are refused; owners are told to finish, and those that
 * have not in drain_ms are closed. */
void websocket_server_drain(struct websocket_server *server, uint32_t drain_ms);
size_t websocket_server_connections(const struct websocket_server *server);

/* All are nothing once it closes. */
void websocket_send_text(struct websocket *websocket, const void *text,
			 size_t length);
void websocket_send_binary(struct websocket *websocket, const void *bytes,
			   size_t length);
/* One message for many: a frame made once, which each of them shares. */
struct shared *websocket_text_frame(const void *text, size_t length);
void websocket_send_frame(struct websocket *websocket, struct shared *frame);

/* Says goodbye and waits for the client's. WEBSOCKET_NO_CODE: none in it. */
void websocket_close(struct websocket *websocket, uint16_t code,
		     const char *reason);

int websocket_descriptor(const struct websocket *websocket);
