/*
 * tls - what stream does, with the bytes encrypted on their way (TLS 1.2 and
 * 1.3), at either end.
 *
 * OpenSSL works in memory alone and a stream of ours carries what comes out,
 * so nothing here blocks and nothing else in the tree calls libssl. Used by
 * the loop's thread. All callbacks may close it, as with a stream.
 */
#pragma once
#include <stdbool.h>
#include <sys/uio.h>

#include "base/problem.h"
#include "loop/stream.h"

enum tls_check {
	TLS_CHECK_ALL,     /* who has signed the certificate, and its name */
	TLS_CHECK_SIGNER,  /* not its name */
	TLS_CHECK_NOTHING, /* whoever it is: keeps out those who listen alone */
};

struct tls_settings {
	bool is_server;
	/* A server with a ca_path asks for clients' certificates. */
	const char *ca_path;   /* file or directory; NULL: the system's */
	const char *cert_path; /* PEM, and what links it to its root; NULL:
				  none, which a server cannot do with */
	const char *key_path;  /* PEM; NULL: it is in cert_path */
	enum tls_check check;  /* of the peer; a client's */
};

/* What the connections of one kind share. May be freed while they last. */
struct tls_context;
struct tls_context *tls_context_new(const struct tls_settings *settings,
				    struct problem *problem);
void tls_context_free(struct tls_context *context); /* NULL is fine */

struct tls;

/* Takes `descriptor` over, which must be non-blocking and may still connect.
 * `host` is the name or address that a server's certificate has to be for;
 * NULL at a server's end. Not reading yet, but shaking hands. on_end(0): the
 * peer has said that this was all; a connection that ends without is an error
 * (-ECONNRESET), as that may be somebody's doing. */
struct tls *tls_open(struct loop *loop, int descriptor,
		     struct tls_context *context, const char *host,
		     const struct stream_events *events, void *owner);
/* Drops what is queued. */
void tls_close(struct tls *tls);
void tls_start_reading(struct tls *tls);
/* As stream_write(). What comes before the hands are shaken waits for that. */
bool tls_write(struct tls *tls, const struct iovec *parts, size_t count);

/* Within on_end(): why it is TLS that failed, in half a sentence without a way
 * out (TLS_UNTRUSTED, TLS_FAILED); NULL: it is not. */
const struct problem *tls_problem(const struct tls *tls);
