/* What the files of tls share: the context. */
#pragma once
#include <openssl/bio.h>
#include <openssl/ssl.h>

#include "loop/tls.h"

#define TLS_RECORD_BYTES 16384 /* of what one record holds */

/* A certificate that is chosen by the name a client asks for. */
struct tls_other {
	SSL_CTX *ssl;
	X509 *cert;
};

struct tls_context {
	unsigned holders; /* its owner and its connections */
	bool is_server;
	enum tls_check check;
	SSL_CTX *ssl;
	BIO_METHOD *method; /* the socket, as OpenSSL sees it */
	struct tls_other *others;
	size_t other_count;
	const char *const *protocols;
	tls_ticket_key_fn ticket_key;
	void *ticket_owner;
	const char *plain_reply;
	uint8_t room[TLS_RECORD_BYTES]; /* where a record is put together */
};

/* tls.c: how a connection's BIO works. */
BIO_METHOD *tls_make_method(void);

/* tls_context.c */
void tls_context_release(struct tls_context *context);
/* An error of OpenSSL's, in a few words. */
const char *tls_reason(unsigned long error);

/* tls_tickets.c */
void tls_use_tickets(struct tls_context *context, SSL_CTX *ssl);
