/*
 * muster/http.h - a worker's HTTP/1.1 server.
 *
 *     static void hello(struct muster_http *http, void *arg)
 *     {
 *             muster_http_reply(http, 200, "text/plain", "hello\n", 6);
 *     }
 *     ...
 *     muster_http_listen(cluster, "0.0.0.0:8000", hello, NULL);
 *
 * RFC 9110 and RFC 9112: keep-alive, pipelining, chunked request bodies,
 * Expect: 100-continue, HEAD, HTTP/1.0. What is malformed or over a limit is
 * answered (400, 408, 413, 414, 431, 501, 505) and the connection closed; the
 * handler never sees it. A body is complete when the handler is called.
 *
 * When the worker is told to go, replies carry "Connection: close", and idle
 * connections get drain_idle_ms for one more request.
 */
#ifndef MUSTER_HTTP_H
#define MUSTER_HTTP_H

#include <muster/cluster.h>

#ifdef __cplusplus
extern "C" {
#endif

/* A request and its reply. */
struct muster_http;

/*
 * Answers with muster_http_reply(), now or later: a handler may return before
 * it has, and keep `http` until then. The client may leave in the meantime; a
 * reply to it is then dropped. Each request must be replied to exactly once,
 * and `http` is gone when muster_http_reply() returns.
 */
typedef void (*muster_http_fn)(struct muster_http *http, void *arg);

/* 0 is the default named beside each. */
struct muster_http_limits {
	uint32_t head_bytes; /* request line and headers; 16 KiB: 431 */
	uint32_t url_bytes;  /* 8 KiB: 414 */
	uint32_t headers;    /* how many; 100: 431 */
	uint32_t body_bytes; /* 1 MiB: 413 */
	uint32_t head_ms;    /* to the full header; 10,000: 408 */
	uint32_t body_ms;    /* without a byte of the body; 10,000: 408 */
	uint32_t idle_ms;    /* between requests; 60,000 */
	uint32_t requests;   /* per connection; 0: no limit */
};

struct muster_http_options {
	muster_http_fn handler;
	void *arg;
	struct muster_http_limits limits;
	struct muster_listen_options listen; /* on_connection is not used */
	const char *server;                  /* the Server header; NULL: none */
};

/* http://HOST:PORT, HOST:PORT, unix:PATH and the rest of muster_listen(), with
 * its failures. */
MUSTER_PUBLIC MUSTER_MUST_READ int
muster_http_listen(struct muster_cluster *cluster, const char *url,
		   muster_http_fn handler, void *arg);
MUSTER_PUBLIC MUSTER_MUST_READ int
muster_http_listen_with(struct muster_cluster *cluster, const char *url,
			const struct muster_http_options *options,
			struct muster_listener **listener);

/*
 * Serves a connection that came another way, by a message for example, as if
 * it had been accepted at a listener: takes `descriptor` over.
 */
MUSTER_PUBLIC MUSTER_MUST_READ int
muster_http_serve(struct muster_cluster *cluster, int descriptor,
		  const struct muster_http_options *options);

/* All good until muster_http_reply(). Text ends with NUL. */
MUSTER_PUBLIC const char *muster_http_method(const struct muster_http *http);
/* As sent, without the query; "/" at least. */
MUSTER_PUBLIC const char *muster_http_path(const struct muster_http *http);
/* As sent, after the "?"; "" where there is none. */
MUSTER_PUBLIC const char *muster_http_query(const struct muster_http *http);
/* One parameter of the query, the first of that name, percent-decoded; NULL
 * where there is none. A "%" that begins no escape, and "%00", stay as sent. */
MUSTER_PUBLIC const char *muster_http_parameter(struct muster_http *http,
						const char *name);
/* A header's value, the first of that name, in any case; NULL. */
MUSTER_PUBLIC const char *muster_http_header(const struct muster_http *http,
					     const char *name);
/* Followed by a NUL that does not count. */
MUSTER_PUBLIC const void *muster_http_body(const struct muster_http *http,
					   size_t *length);
/* Numeric; "" for a unix socket, or where the client had left before this was
 * first asked. */
MUSTER_PUBLIC const char *muster_http_client(const struct muster_http *http);

/* Adds a header to the reply. -EINVAL: a name or value that HTTP does not
 * allow, or one of those that the server sets itself. */
MUSTER_PUBLIC MUSTER_MUST_READ int
muster_http_set_header(struct muster_http *http, const char *name,
		       const char *value);

/* Replies and is done with the request. Status 200 to 599; the body is copied.
 * `type` may be NULL where there is no body. Another status, or a type that is
 * no header's value, is replied to with 500. */
MUSTER_PUBLIC void muster_http_reply(struct muster_http *http, int status,
				     const char *type, const void *body,
				     size_t length);
MUSTER_PUBLIC __attribute__((format(printf, 4, 5))) void
muster_http_reply_format(struct muster_http *http, int status, const char *type,
			 const char *format, ...);

#ifdef __cplusplus
}
#endif

#endif
