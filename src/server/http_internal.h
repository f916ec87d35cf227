/*
 * What the files of http share: a connection and a request.
 *
 * A connection reads one request after the other; `phase` says where it
 * stands. Replies to what came in one read gather in the server's output, and
 * go out in one write when the read has been worked through.
 */
#pragma once
#include "base/buffer.h"
#include "base/list.h"
#include "loop/stream.h"
#include "loop/timer.h"
#include "server/http.h"
#include "wire/http1.h"

enum phase {
	PHASE_WAITING,   /* for a request; nothing of it is here */
	PHASE_HEAD,      /* a part of its head is */
	PHASE_BODY,      /* its head is */
	PHASE_HANDLED,   /* it is with the handler */
	PHASE_BLOCKED,   /* too much output waits for a slow client */
	PHASE_CLOSING,   /* the last reply is on its way */
	PHASE_LINGERING, /* our end is sent, theirs is waited for */
};
#define PHASES (PHASE_LINGERING + 1)

struct connection {
	unsigned magic;
	uint8_t phase;          /* move() alone writes it */
	bool is_fresh : 1;      /* no byte has come yet */
	bool is_processing : 1; /* its input, up the stack */
	bool has_ended : 1;     /* the client has sent its end */
	bool lingers : 1; /* the client does not know that we will close */
	bool is_nodelay : 1;
	uint32_t requests;
	struct http_server *server;
	struct stream *stream;
	struct list link;
	struct loop_task task;       /* a first read; going on after a reply */
	struct muster_http *request; /* from its first byte to its reply */
	struct buffer input;         /* received and not processed */
	size_t unread;               /* of the input being processed */
	uint64_t since_ms;           /* in its phase, or the last progress */
	size_t queued;               /* output, when the sweep last looked */
	http_closed_fn on_closed;
	void *token;
};

struct muster_http {
	unsigned magic;
	bool is_owned : 1; /* `text` and the body are in storage */
	bool is_head : 1;  /* the method is HEAD */
	bool knows_client : 1;
	struct connection *connection; /* NULL: the client has left */
	const char *text;              /* the head: its spans refer to this */
	size_t body_length;            /* the body follows, unless chunked */
	struct http1_head head;
	struct http1_chunks chunks;
	struct buffer storage;
	struct buffer fields; /* headers for the reply */
	char *parameters;     /* name NUL value NUL...; NULL until asked */
	size_t parameters_length;
	char client[48];
	struct http1_header headers[]; /* as many as the limit says */
};

struct http_server {
	struct loop *loop;
	muster_http_fn handler;
	void *arg;
	struct muster_http_limits limits;
	struct http1_limits head_limits;
	uint32_t drain_idle_ms;
	struct list connections;
	size_t connection_count;
	struct timer *sweep; /* runs while there are connections */
	bool is_draining;
	uint64_t draining_since_ms;
	struct connection *probed; /* NULL once it is gone */
	struct muster_http *spare; /* for the next request */
	struct buffer output;
	size_t mark; /* output from here on is the current connection's */
	char *server_header;
	struct buffer common; /* headers of every reply */
	uint64_t common_ms;   /* when they were last looked at */
	int64_t common_s;     /* the second that they tell */
};

/* http.c */

/* Writes what the output holds for the connection, and `extra` after it. */
void http_connection_flush(struct connection *connection, const void *extra,
			   size_t extra_length);
/* Is there input behind the request that is with the handler? */
bool http_connection_has_more(const struct connection *connection);
/* The reply has been put. */
void http_connection_replied(struct connection *connection, bool is_last,
			     bool lingers);

/* http_request.c */

struct muster_http *http_request_take(struct http_server *server);
void http_request_give_back(struct http_server *server,
			    struct muster_http *http);
void http_request_free(struct muster_http *http);
/* Copies the head; the body is to be appended to storage. */
void http_request_store_head(struct muster_http *http);
/* The body in storage is complete. */
void http_request_seal(struct muster_http *http);
/* Copies head and body, unless they are in storage. */
void http_request_own(struct muster_http *http);

/* http_reply.c */

/* To what is refused: closes. */
void http_reply_refusal(struct connection *connection, int status,
			const char *reason);
void http_reply_continue(struct connection *connection);
