/*
 * websocket_deflate - permessage-deflate (RFC 7692): what two ends agree on,
 * and messages one after the other through zlib.
 *
 * Without context takeover nothing is left of a message when it is through,
 * so one deflater and one inflater do for all connections of a process; with
 * it each connection has its own, some 300 KiB together. What is inflated is
 * bounded while it is inflated, so a small message cannot become a big one.
 */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buffer.h"

#define WEBSOCKET_TERMS_BYTES 128
#define WEBSOCKET_WINDOW_BITS 15

struct websocket_terms {
	bool server_keeps; /* its context from one message to the next */
	bool client_keeps;
	uint8_t server_bits; /* of the window that it may use: 9 to 15 */
};

/* The first of a client's offers (Sec-WebSocket-Extensions) that can be
 * taken. False: none, or malformed. */
bool websocket_terms_choose(const char *offers, bool may_keep,
			    struct websocket_terms *terms);
/* As the answer's header says them. */
void websocket_terms_write(const struct websocket_terms *terms,
			   char text[WEBSOCKET_TERMS_BYTES]);

struct websocket_deflater;
struct websocket_deflater *websocket_deflater_new(unsigned window_bits);
void websocket_deflater_free(struct websocket_deflater *deflater); /* or NULL */
/* Appends the payload of a message. */
void websocket_deflate(struct websocket_deflater *deflater, const void *bytes,
		       size_t length, bool keeps, struct buffer *to);

struct websocket_inflater;
struct websocket_inflater *websocket_inflater_new(void);
void websocket_inflater_free(struct websocket_inflater *inflater); /* or NULL */
/* Appends a message's bytes. -EMSGSIZE: there are more than `max`; -EPROTO:
 * they are not deflated. */
__attribute__((warn_unused_result)) int
websocket_inflate(struct websocket_inflater *inflater, const void *bytes,
		  size_t length, uint64_t max, bool keeps, struct buffer *to);
