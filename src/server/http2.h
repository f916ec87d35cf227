/*
 * http2 - connections of HTTP/2 (RFC 9113), as a server of http has them.
 *
 * A connection of http's that begins with the preface comes here, over TLS or
 * not. Each of its streams is a connection of a single request to the rest of
 * http (http_internal.h), so that handlers notice nothing. Framing, HPACK and
 * flow control are nghttp2's; what a client may cost is bounded here.
 */
#pragma once
#include <stdbool.h>
#include <stddef.h>

#include "server/http.h"

#define HTTP2_PREFACE_BYTES 24

/* What the connections of a server share. */
struct http2_shared;

struct http2_shared *http2_shared_new(void);
/* Cuts what is still open. */
void http2_shared_free(struct http2_shared *shared);

/* Is it the preface, or may it become that? */
bool http2_may_begin(const char *bytes, size_t length);
/* Goes on with a connection whose input begins with the preface. */
void http2_open(struct http_server *server, const struct http_taken *taken);

/* Says goodbye on all: what has come is answered. */
void http2_drain(struct http_server *server);
/* Looks for what takes too long. */
void http2_sweep(struct http_server *server);
