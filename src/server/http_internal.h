/*
 * What the files of http share: a connection and a request.
 *
 * A request, struct muster_http, is what a handler sees, and knows nothing of
 * how it travels; a connection carries it. There are two kinds: one of
 * HTTP/1, of http.c, and a stream of HTTP/2 (http2_internal.h), which carries
 * a single request and differs where struct http_carrier says so.
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
#include "server/peer_address.h"
#include "wire/http1.h"
#include "wire/network.h"

enum phase {
	PHASE_WAITING,   /* for a request; nothing of it is here */
	PHASE_HEAD,      /* a part of its head is */
	PHASE_BODY,      /* its head is */
	PHASE_HANDLED,   /* it is with the handler */
	PHASE_TAKEN,     /* somebody else is to have the stream */
	PHASE_BLOCKED,   /* too much output waits for a slow client */
	PHASE_CLOSING,   /* the last reply is on its way */
	PHASE_LINGERING, /* our end is sent, theirs is waited for */
};
#define PHASES (PHASE_LINGERING + 1)

struct connection;
struct http_reply;

/* How requests are carried otherwise than by HTTP/1, whose own way stands
 * where each of these would be called: nearly all requests take it. */
struct http_carrier {
	/* A whole reply, of which it keeps nothing. */
	void (*put_reply)(struct connection *connection,
			  const struct http_reply *reply);
	void (*put_continue)(struct connection *connection);
	/* The head of a reply whose body is then written. */
	void (*begin)(struct connection *connection,
		      const struct http_reply *reply);
	/* Some of that body. It keeps none of the parts, but the piece. */
	void (*write)(struct connection *connection, const struct iovec *parts,
		      size_t count, const struct stream_piece *piece);
	/* The reply is complete, or cut; the request is no more. */
	void (*replied)(struct connection *connection);
	/* Bytes that wait for the client. */
	uint64_t (*queued)(const struct connection *connection);
};

struct connection {
	unsigned magic;
	uint8_t phase;          /* move() alone writes it */
	bool is_fresh : 1;      /* no byte has come yet */
	bool is_processing : 1; /* its input, up the stack */
	bool has_ended : 1;     /* the client has sent its end */
	bool lingers : 1; /* the client does not know that we will close */
	bool is_nodelay : 1;
	bool knows_peer : 1;
	bool is_cut : 1;                    /* the last reply is not complete */
	const struct http_carrier *carrier; /* NULL: HTTP/1 */
	uint32_t requests;
	struct http_server *server;
	struct stream *stream;
	struct list link;
	struct loop_task task;       /* a first read; going on after a reply */
	struct muster_http *request; /* from its first byte to its reply */
	struct buffer input;         /* received and not processed */
	size_t unread;               /* of the input being processed */
	uint64_t since_ms;           /* in its phase, or the last progress */
	uint64_t queued;             /* output, when the sweep last looked */
	http_closed_fn on_closed;
	void *token;
	http_taken_fn on_taken; /* of PHASE_TAKEN */
	void *taken_arg;
	struct peer_address peer; /* once it was asked for */
};

/* What a request needs beyond the ordinary: most have none. */
struct http_flow {
	struct muster_http *http;
	struct loop_task task; /* sends what is pending */
	muster_http_body_fn on_body;
	void *body_arg;
	muster_http_gone_fn on_gone;
	void *gone_arg;
	muster_http_fn on_drain;
	void *drain_arg;
	struct buffer body;       /* where it is apart from the head */
	struct buffer pending;    /* of the reply, to be sent at once */
	uint64_t left;            /* of a reply with a length */
	uint64_t sent;            /* of its body */
	struct http_parts *parts; /* a form that is read as it comes */
};

struct muster_http {
	unsigned magic;
	bool is_owned : 1; /* `text` and the body are in storage */
	bool is_head : 1;  /* the method is HEAD */
	bool knows_client : 1;
	bool is_deciding : 1;    /* on_head() is being called */
	bool owes_continue : 1;  /* once the body is wanted */
	bool is_limited : 1;     /* body_limit is its own */
	bool is_apart : 1;       /* the body is in the flow */
	bool is_streamed : 1;    /* the handler gets the body as it comes */
	bool is_body_open : 1;   /* more of it is to come to the handler */
	bool is_body_paused : 1; /* the handler has enough */
	bool owes_end : 1;       /* on_body is to be told that it is complete */
	bool is_begun : 1;       /* the head of the reply has been put */
	bool is_chunked : 1;     /* the reply */
	bool is_last : 1;        /* it says that the connection closes */
	bool is_full : 1;        /* a write was refused */
	bool has_told_end : 1;   /* on_gone was called for the client's end */
	bool keeps_coding : 1;   /* the reply is not to be compressed */
	bool knows_cookies : 1;
	bool is_secure : 1; /* it came over TLS */
	uint16_t status;    /* of a reply that was begun */
	uint64_t began_ms;  /* where there is an access log */
	uint64_t body_limit;
	struct http_flow *flow;        /* NULL: nothing of it was asked for */
	struct connection *connection; /* NULL: the client has left */
	const char *text;              /* the head: its spans refer to this */
	size_t body_length;            /* the body follows, unless chunked */
	uint64_t body_since_ms;        /* it is waited for since then */
	size_t body_mark;              /* its length at that time */
	struct http1_head head;
	struct http1_chunks chunks;
	struct buffer storage;
	struct buffer fields;  /* headers for the reply */
	struct buffer cookies; /* name NUL value NUL... */
	char *parameters;      /* name NUL value NUL...; NULL until asked */
	size_t parameters_length;
	char client[48];
	struct http1_header headers[]; /* as many as the limit says */
};

struct http_server {
	struct loop *loop;
	muster_http_fn handler;
	muster_http_fn on_head;        /* NULL: bodies are waited for */
	http_wants_head_fn wants_head; /* NULL: always */
	http_refuse_fn refuse;         /* NULL: a line of text */
	void *arg;
	struct muster_http_limits limits;
	struct http1_limits head_limits;
	uint32_t drain_idle_ms;
	struct list connections;
	size_t connection_count; /* those of HTTP/2 as well */
	meter_value *meters;     /* NULL: none */
	struct http2_shared *http2;
	struct timer *sweep; /* runs while there are connections */
	bool is_draining;
	uint64_t draining_since_ms;
	struct connection *probed; /* NULL once it is gone */
	struct muster_http *spare; /* for the next request */
	struct buffer output;
	size_t mark; /* output from here on is the current connection's */
	char *server_header;
	uint32_t gzip_bytes; /* 0: never */
	bool trusts_forwarded;
	struct network_list trusted;
	struct access_log *access_log; /* NULL: none */
	struct tls_context *tls;       /* NULL: none */
	struct buffer common;          /* headers of every reply */
	uint64_t common_ms;            /* when they were last looked at */
	int64_t common_s;              /* the second that they tell */
};

/* http.c */

/* One more, or UINT64_MAX: one less. */
void http_count_connection(const struct http_server *server, uint64_t by);
void http_connection_move(struct connection *connection, enum phase phase);
/* Its end: the descriptor is the caller's again. */
void http_connection_finish(struct connection *connection);
/* Writes what the output holds for the connection, and the rest after it. */
void http_connection_flush(struct connection *connection, const void *extra,
			   size_t extra_length);
/* Writes parts of the connection's now, in its place. */
void http_connection_write(struct connection *connection,
			   const struct iovec *parts, size_t count,
			   const struct stream_piece *piece);
/* Around what appends a reply to the server's output. */
size_t http_output_begin(struct connection *connection);
void http_output_end(struct connection *connection, size_t mark);
/* Small writes are not to wait for what is under way to be acknowledged. */
void http_connection_set_nodelay(struct connection *connection);
/* What has been written and waits for the client. */
uint64_t http_connection_queued(const struct connection *connection);
/* Is there input behind the request that is with the handler? */
bool http_connection_has_more(const struct connection *connection);
/* The reply has been put. */
void http_connection_replied(struct connection *connection, bool is_last,
			     bool lingers);
/* Answers what is malformed, too much or too late, and closes. */
void http_connection_refuse(struct connection *connection, int status,
			    const char *reason);
/* The same for a request that the handler has, which is told. */
void http_connection_abandon(struct connection *connection, int status,
			     const char *reason, int error);
/* To be called last, after whatever has happened to a connection. */
void http_connection_settle(struct connection *connection);
/* Looks at a head that is complete; false: it was refused. */
bool http_connection_take_head(struct connection *connection);
/* Gives the request to the handler. */
void http_connection_dispatch(struct connection *connection);
/* The request is its handler's alone from now on, who is told. */
void http_request_detach(struct muster_http *http, int error);
/* Tells whoever asked that the client has gone. Calls the application last. */
void http_request_tell_gone(struct muster_http *http, int error);

/* http_sweep.c */

void http_sweep_start(struct http_server *server);
/* When what it waits for is over; UINT64_MAX: it may take as long as it does.
 */
uint64_t http_connection_deadline_ms(const struct connection *connection);
void http_sweep(void *owner); /* the server */

/* http_body.c: both return how many bytes were used; 0: more are needed. */

size_t http_body_begin(struct connection *connection, size_t length);
size_t http_body_read(struct connection *connection, const char *bytes,
		      size_t length);
/* It is waited for from now on, and its speed counts. */
void http_body_begin_waiting(struct muster_http *http);
/* The body has ended, which its own framing does not tell: HTTP/2. */
void http_body_finish(struct connection *connection);
/* Does a body go to the handler at this moment? */
static inline bool http_body_flows(const struct muster_http *http)
{
	return http->is_body_open && !http->is_body_paused && !http->owes_end &&
	       http->flow->on_body != NULL;
}

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
struct http_flow *http_request_flow(struct muster_http *http);

/* http_reply.c */

struct http_text {
	const char *bytes;
	size_t length;
};

struct http_reply {
	int status;
	struct http_text type;   /* NULL: no header */
	struct http_text fields; /* complete lines */
	const void *body;
	uint64_t length;
	bool has_length; /* says it */
	bool sends_body; /* not for HEAD */
	bool says_chunked;
	bool says_close;
	bool says_keep_alive;
};

/* Headers of every reply, complete lines; good until the next call. */
struct http_text http_reply_common(struct http_server *server);
/* To what is refused: closes. */
void http_reply_refusal(struct connection *connection, int status,
			const char *reason, bool is_head);
void http_reply_continue(struct connection *connection);
void http_reply_head(struct http_server *server, const struct http_reply *reply,
		     struct buffer *to);
/* Must the connection close after the reply that is made now? */
bool http_reply_is_last(const struct muster_http *http);
/* The one for a status; is it one that the application may send? */
struct http_reply http_reply_of(const struct muster_http *http, int status,
				const char *type, const void *body,
				uint64_t length);
bool http_reply_is_good(int status, const char *type);

/* http_pack.c */

/* As gzip, where it may be and pays. `packed` must outlive the reply. */
void http_pack_reply(struct muster_http *http, struct http_reply *reply,
		     struct buffer *packed);

/* http_client.c */

/* Its address; "" where it is none, or not known any more. */
const char *http_connection_peer(struct connection *connection);
void http_log_request(struct muster_http *http, int status,
		      uint64_t body_bytes);

/* http_stream.c */

/* All has left. Calls the application last. */
void http_stream_drained(struct muster_http *http);
/* The body is complete. Calls the application last. */
void http_body_end_stream(struct muster_http *http);
void http_flow_free(struct muster_http *http);
/* muster_http_end() of a reply that was begun and is not complete: the client
 * sees that, as the connection ends without the reply's end. */
void http_cut(struct muster_http *http);
/* Of a reply that was begun, however much waits. Where it fails the piece is
 * not released. */
__attribute__((warn_unused_result)) int
http_write_piece(struct muster_http *http, const struct stream_piece *piece);
__attribute__((warn_unused_result)) int
http_write_now(struct muster_http *http, const void *bytes, size_t length);

/* http_form.c */

/* A form that is read as it comes, or was. */
struct http_parts;

/* Which files of a form are kept, of each name the last one. */
struct http_form_filter {
	/* How many bytes such a file may have; 0: it is passed over, and has
	 * neither bytes nor a descriptor then. */
	uint64_t (*bytes_of)(const char *name, void *arg);
	void *arg; /* good until the form is there */
};

/* muster_http_stream_form(). `filter` may be NULL: all are kept. */
__attribute__((warn_unused_result)) int
http_form_stream(struct muster_http *http,
		 const struct muster_http_form_options *options,
		 const struct http_form_filter *filter);
void http_parts_free(struct http_parts *parts); /* NULL is fine */
/* 0, or the status to refuse it with. */
int http_parts_feed(struct http_parts *parts, const void *bytes, size_t length,
		    const char **reason);
int http_parts_end(struct http_parts *parts, const char **reason);
