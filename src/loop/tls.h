/*
 * tls - streams that are encrypted on their way (TLS 1.2 and 1.3), at either
 * end.
 *
 * What tls_connect() and tls_accept() give is a stream as any other (see
 * loop/stream.h). OpenSSL reads and writes the socket through us, never blocks,
 * and nothing else in the tree calls libssl. Used by the loop's thread.
 */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/log.h"
#include "base/problem.h"
#include "loop/stream.h"

enum tls_check {
	TLS_CHECK_ALL,     /* who has signed the certificate, and its name */
	TLS_CHECK_SIGNER,  /* not its name */
	TLS_CHECK_NOTHING, /* whoever it is: keeps out those who listen alone */
};

/* PEM files: a certificate, with what links it to its root, and its key. */
struct tls_pair {
	const char *cert_path; /* NULL: none, which a server cannot do with */
	const char *key_path;  /* NULL: it is in cert_path */
};

/* What session tickets are sealed with, so that whoever has the key resumes
 * them. */
struct tls_ticket_key {
	uint8_t name[16];
	uint8_t cipher[32];
	uint8_t mac[32];
};

/* The key of that age: 0 is the one for new tickets, higher ones are older.
 * False: there is none, or none that old. */
typedef bool (*tls_ticket_key_fn)(void *owner, unsigned age,
				  struct tls_ticket_key *key);

struct tls_settings {
	bool is_server;
	/* A server with a ca_path asks for clients' certificates. */
	const char *ca_path; /* file or directory; NULL: the system's */
	struct tls_pair own;
	enum tls_check check; /* of the peer; a client's */

	/* ---- a server's ---- */

	/* For those who ask for one of their names; the own one is for all
	 * others. */
	const struct tls_pair *others;
	size_t other_count;
	/* What is spoken inside (ALPN), the best first; a client that names
	 * some, and none of them, is refused. Ends with NULL; must outlive the
	 * context. NULL: whatever a client says. */
	const char *const *protocols;
	tls_ticket_key_fn ticket_key; /* NULL: no session is resumed */
	void *ticket_owner;
	/* Sent to a peer that begins with a capital letter, as HTTP does,
	 * instead of TLS; must outlive the context. NULL: it is hung up on. */
	const char *plain_reply;
	const struct log *log; /* for what is odd; NULL: nobody is told */
};

/* What the connections of one kind share. May be freed while they last. */
struct tls_context;
struct tls_context *tls_context_new(const struct tls_settings *settings,
				    struct problem *problem);
void tls_context_free(struct tls_context *context); /* NULL is fine */

/*
 * Take `descriptor` over, a socket, which must be non-blocking and may still
 * connect. `host` is the name or address that the server's certificate has to
 * be for. Not reading yet, though hands are shaken as soon as it reads.
 * on_end(0): the peer has said that this was all; a connection that ends
 * without is an error (-ECONNRESET), as that may be somebody's doing.
 */
struct stream *tls_connect(struct loop *loop, int descriptor,
			   struct tls_context *context, const char *host,
			   const struct stream_events *events, void *owner);
struct stream *tls_accept(struct loop *loop, int descriptor,
			  struct tls_context *context,
			  const struct stream_events *events, void *owner);

/* Within on_end(): why it is TLS that failed, in half a sentence without a way
 * out (TLS_UNTRUSTED, TLS_FAILED); NULL: it is not, or there is no TLS. */
const struct problem *tls_problem(const struct stream *stream);
