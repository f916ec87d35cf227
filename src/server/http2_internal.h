/*
 * What the files of http2 share: a connection, its streams, and a head that is
 * being received.
 *
 * nghttp2 is entered in two places, http2_receive() and http2_send(), and never
 * from a callback of its own: whatever a handler does only queues, and is sent
 * at the end of the turn. A stream is freed when nghttp2 has closed it, or
 * with its connection.
 */
#pragma once
#include <nghttp2/nghttp2.h>

#include "server/http2.h"
#include "server/http_internal.h"

#define HTTP2_STREAMS_MAX  100
#define HTTP2_WINDOW_BYTES 65535 /* of a stream: what comes unasked */

/* How often something may happen: `burst` at once, `per_s` in the long run. */
struct http2_allowance {
	uint64_t filled_ms;
	uint32_t left;
};

/* The parts of a request's head, in the order of HTTP/1. */
struct http2_head {
	struct buffer pseudo; /* method, path and authority, one by one */
	struct http1_span method;
	struct http1_span path;
	struct http1_span authority;
	struct buffer fields;  /* lines */
	struct buffer cookies; /* their crumbs, which are one header */
	size_t bytes;          /* of all that came, as RFC 9113, 6.5.2 counts */
	bool is_bad;           /* something would end a line */
	bool has_length;
};

enum http2_phase {
	HTTP2_OPEN,
	HTTP2_CLOSING,   /* the last frames are on their way */
	HTTP2_LINGERING, /* our end is sent, theirs is waited for */
};

struct http2_shared {
	struct list connections;
	nghttp2_session_callbacks *callbacks;
	nghttp2_option *option;
	struct buffer output; /* frames, until they are written */
	struct buffer text;   /* of the head that is being read */
};

struct http2 {
	unsigned magic;
	uint8_t phase;          /* enum http2_phase */
	bool is_entered : 1;    /* nghttp2, up the stack */
	bool is_finishing : 1;  /* its streams are being freed */
	bool is_broken : 1;     /* nghttp2 has given up */
	bool is_terminated : 1; /* what comes is of no interest */
	bool is_output_full : 1;
	bool is_leaving : 1; /* the goodbye has begun */
	bool has_left : 1;   /* it is complete: nothing new is taken */
	bool has_heard : 1;  /* a request */
	bool has_ended : 1;  /* the client has sent its end */
	uint32_t requests;
	uint32_t grants; /* streams that may fill their bodies */
	nghttp2_session *session;
	struct http_server *server;
	struct stream *transport;
	struct list link;
	struct list streams;
	struct loop_task task; /* sends */
	struct http2_head head;
	struct http2_allowance resets;
	struct http2_allowance chatter;
	uint64_t since_ms;   /* in its phase, or without a stream */
	uint64_t leaving_ms; /* when the goodbye began */
	uint64_t moved_ms;   /* when output last left, or none waited */
	uint64_t queued;     /* output, when the sweep last looked */
	http_closed_fn on_closed;
	void *token;
	struct peer_address peer;
};

struct http2_stream {
	struct connection connection; /* what the rest of http knows of it */
	struct http2 *http2;
	struct list link;
	int32_t id;
	bool is_remote_ended : 1; /* all of the request has come */
	bool has_told_end : 1;    /* to the body's reader */
	bool is_submitted : 1;    /* the reply's head */
	bool is_complete : 1;     /* the reply */
	bool is_deferred : 1;     /* nghttp2 waits for some of it */
	bool is_reset : 1;        /* by us */
	bool owes_drain : 1;      /* all output has left */
	bool is_granted : 1;
	bool wants_grant : 1;
	size_t owed;        /* of the window, until it is granted */
	struct list output; /* of the reply's body */
	uint64_t queued;    /* bytes of it */
};

/* http2.c */

/* Sends what there is, soon. */
void http2_wake(struct http2 *http2);
/* Takes what was received. The connection may be gone. */
void http2_receive(struct http2 *http2, const void *bytes, size_t length);
/* Sends, and goes on to what has to happen. The connection may be gone. */
void http2_send(struct http2 *http2);
/* GOAWAY with that code; what runs is lost. */
void http2_terminate(struct http2 *http2, uint32_t code);
/* Its end: the descriptor is the caller's again. */
void http2_finish(struct http2 *http2);

/* http2_head.c */

void http2_head_begin(struct http2_head *head);
void http2_head_add(struct http2_head *head, size_t bytes_max, const char *name,
		    size_t name_length, const char *value, size_t value_length);
/* As the head of HTTP/1 that it would be; false: there is none such. */
bool http2_head_write(const struct http2_head *head, struct buffer *to);
void http2_head_fini(struct http2_head *head);

/* http2_stream.c */

struct http2_stream *http2_stream_new(struct http2 *http2, int32_t id);
/* Tells its handler, if it has a request: calls the application last. */
void http2_stream_free(struct http2_stream *stream, int error);
/* The head is complete. */
void http2_stream_take_head(struct http2_stream *stream);
void http2_stream_take_data(struct http2_stream *stream, const void *bytes,
			    size_t length);
/* All of the request has come, or all that ever will. */
void http2_stream_end_input(struct http2_stream *stream);
/* To be called after whatever may have answered its request. */
void http2_stream_settle(struct http2_stream *stream);
/* RST_STREAM; what the reply still had is dropped. */
void http2_stream_reset(struct http2_stream *stream, uint32_t code);
/* Ends a request that is not with its handler, without a reply. */
void http2_stream_drop(struct http2_stream *stream, uint32_t code);
/* Appends that much of the output; -errno: it cannot be read. */
__attribute__((warn_unused_result)) int
http2_stream_take_output(struct http2_stream *stream, struct buffer *to,
			 size_t length);

/* http2_life.c */

/* False: that was once too often. */
bool http2_allow(struct http2_allowance *allowance, uint32_t burst,
		 uint32_t per_s, uint64_t now_ms);
bool http2_allow_reset(struct http2 *http2);
bool http2_allow_chatter(struct http2 *http2);
/* Something was sent that a client may answer with frames of little use. */
void http2_expect_chatter(struct http2 *http2);
/* Begins the goodbye, and ends it once the client has heard of it. */
void http2_leave(struct http2 *http2);
void http2_notice_sent(struct http2 *http2);
void http2_left(struct http2 *http2);
