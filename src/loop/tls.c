#include "loop/tls.h"

#include <arpa/inet.h>
#include <errno.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/buffer.h"
#include "base/mem.h"
#include "base/must.h"

#define MAGIC      0x746c7321u
#define KEEP_BYTES ((size_t)65536) /* of memory, once a large write is over */

struct tls_context {
	SSL_CTX *ssl;
	bool is_server;
	enum tls_check check;
};

struct tls {
	unsigned magic;
	struct loop *loop;
	struct stream *stream;
	SSL *ssl;
	BIO *incoming; /* the SSL's own, like the next */
	BIO *outgoing;
	const struct stream_events *events;
	void *owner;
	char *host;
	struct buffer plain;     /* is to be encrypted */
	struct loop_task report; /* tells a failure outside of a write */
	struct problem problem;
	int error;
	bool is_queued;  /* a write said so: on_written is owed */
	bool has_ended;  /* the peer said that this was all */
	bool *is_closed; /* where a callback may be closing it */
};

/* ---- contexts ---- */

static const char *last_reason(void)
{
	unsigned long error = ERR_peek_last_error();
	const char *reason = ERR_reason_error_string(error);

	if (ERR_SYSTEM_ERROR(error))
		reason = strerror(ERR_GET_REASON(error));
	return reason == NULL ? "for an unknown reason" : reason;
}

static int load_signers(SSL_CTX *ssl, const struct tls_settings *settings,
			struct problem *problem)
{
	const char *path = settings->ca_path;
	struct stat status;
	int is_fine;

	if (path == NULL && settings->is_server)
		return 0;
	if (path == NULL)
		is_fine = SSL_CTX_set_default_verify_paths(ssl);
	else if (stat(path, &status) == 0 && S_ISDIR(status.st_mode))
		is_fine = SSL_CTX_load_verify_dir(ssl, path);
	else
		is_fine = SSL_CTX_load_verify_file(ssl, path);
	if (is_fine == 1)
		return 0;
	return problem_set(problem, -EINVAL, "TLS_CA",
			   "cannot read the signers' certificates in %.100s: "
			   "%.80s (give the path of a PEM file)",
			   path == NULL ? "the system's place" : path,
			   last_reason());
}

static int load_own(SSL_CTX *ssl, const struct tls_settings *settings,
		    struct problem *problem)
{
	const char *cert = settings->cert_path;
	const char *key =
		settings->key_path == NULL ? cert : settings->key_path;

	if (cert == NULL && key == NULL && !settings->is_server)
		return 0;
	if (cert == NULL)
		return problem_set(problem, -EINVAL, "TLS_CERTIFICATE",
				   "the certificate is missing (give the path "
				   "of a PEM file)");
	if (SSL_CTX_use_certificate_chain_file(ssl, cert) != 1)
		return problem_set(problem, -EINVAL, "TLS_CERTIFICATE",
				   "cannot read the certificate in %.100s: "
				   "%.80s (give the path of a PEM file)",
				   cert, last_reason());
	if (SSL_CTX_use_PrivateKey_file(ssl, key, SSL_FILETYPE_PEM) != 1)
		return problem_set(problem, -EINVAL, "TLS_KEY",
				   "cannot use the key in %.100s with the "
				   "certificate: %.80s (give the path of its "
				   "key, a PEM file without a passphrase)",
				   key, last_reason());
	return 0;
}

/* A key with a passphrase must not ask for it at the terminal. */
static int no_passphrase(char *text, int size, int is_writing, void *owner)
{
	(void)text;
	(void)size;
	(void)is_writing;
	(void)owner;
	return -1;
}

struct tls_context *tls_context_new(const struct tls_settings *settings,
				    struct problem *problem)
{
	SSL_CTX *ssl = SSL_CTX_new(settings->is_server ? TLS_server_method()
						       : TLS_client_method());
	bool is_checked = settings->is_server
				  ? settings->ca_path != NULL
				  : settings->check != TLS_CHECK_NOTHING;

	MUST(ssl != NULL);
	MUST(SSL_CTX_set_min_proto_version(ssl, TLS1_2_VERSION) == 1);
	SSL_CTX_set_options(ssl,
			    SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION);
	SSL_CTX_set_mode(ssl, SSL_MODE_RELEASE_BUFFERS);
	SSL_CTX_set_session_cache_mode(ssl, SSL_SESS_CACHE_OFF);
	SSL_CTX_set_default_passwd_cb(ssl, no_passphrase);
	if (is_checked)
		SSL_CTX_set_verify(
			ssl, SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT,
			NULL);
	ERR_clear_error();
	if ((is_checked && load_signers(ssl, settings, problem) < 0) ||
	    load_own(ssl, settings, problem) < 0) {
		ERR_clear_error();
		SSL_CTX_free(ssl);
		return NULL;
	}
	struct tls_context *context = mem_zalloc(sizeof(*context));

	context->ssl = ssl;
	context->is_server = settings->is_server;
	context->check = settings->check;
	return context;
}

void tls_context_free(struct tls_context *context)
{
	if (context == NULL)
		return;
	SSL_CTX_free(context->ssl); /* counted: connections hold it, too */
	free(context);
}

/* ---- failing ---- */

/* Where the library gave up: keeps why. */
static void explain(struct tls *tls)
{
	long checked = SSL_get_verify_result(tls->ssl);

	if (checked != X509_V_OK && !SSL_is_init_finished(tls->ssl))
		tls->error = problem_set(
			&tls->problem, -EACCES, "TLS_UNTRUSTED",
			"the certificate of %.80s is not trusted: %.100s",
			tls->host, X509_verify_cert_error_string(checked));
	else
		tls->error = problem_set(&tls->problem, -EPROTO, "TLS_FAILED",
					 "TLS with %.80s failed: %.100s",
					 tls->host, last_reason());
	ERR_clear_error();
}

static void on_report(struct loop_task *task)
{
	struct tls *tls = LIST_ENTRY(task, struct tls, report);

	tls->events->on_end(tls->owner, tls->error);
}

const struct problem *tls_problem(const struct tls *tls)
{
	return tls->problem.code < 0 ? &tls->problem : NULL;
}

/* ---- writing ---- */

/* Hands what the library has made to the stream. False: it waits there. */
static bool send_made(struct tls *tls)
{
	char *bytes;
	long length = BIO_get_mem_data(tls->outgoing, &bytes);
	struct iovec part = { .iov_base = bytes, .iov_len = (size_t)length };

	if (length <= 0)
		return true;
	bool is_gone = stream_write(tls->stream, &part, 1);

	MUST(BIO_reset(tls->outgoing) == 1);
	return is_gone;
}

/* False: it failed. */
static bool encrypt(struct tls *tls)
{
	size_t length = buffer_length(&tls->plain);
	size_t written = 0;

	if (length == 0 || !SSL_is_init_finished(tls->ssl))
		return true;
	ERR_clear_error();
	/* Memory takes everything, so this never writes a part. */
	bool is_fine = SSL_write_ex(tls->ssl, buffer_bytes(&tls->plain), length,
				    &written) == 1;

	MUST(!is_fine || written == length);
	buffer_consume(&tls->plain, length);
	buffer_trim(&tls->plain, KEEP_BYTES);
	if (!is_fine)
		explain(tls);
	if (!send_made(tls))
		tls->is_queued = true;
	return is_fine;
}

bool tls_write(struct tls *tls, const struct iovec *parts, size_t count)
{
	MUST(tls->magic == MAGIC);
	if (tls->error < 0)
		return true;
	for (size_t i = 0; i < count; i++)
		buffer_append(&tls->plain, parts[i].iov_base, parts[i].iov_len);
	tls->is_queued = false;
	if (!encrypt(tls)) {
		loop_defer(tls->loop, &tls->report);
		return true;
	}
	if (buffer_length(&tls->plain) > 0)
		tls->is_queued = true;
	return !tls->is_queued;
}

/* ---- reading ---- */

/* Its last callback: the owner may close it within. */
static void end(struct tls *tls, int error)
{
	if (tls->has_ended || tls->error < 0)
		return;
	tls->has_ended = true;
	tls->error = error;
	tls->events->on_end(tls->owner, error);
}

/* False: it failed, and has been told. */
static bool shake_hands(struct tls *tls)
{
	if (SSL_is_init_finished(tls->ssl))
		return true;
	ERR_clear_error();
	int result = SSL_do_handshake(tls->ssl);
	int reason =
		result == 1 ? SSL_ERROR_NONE : SSL_get_error(tls->ssl, result);
	bool is_fine =
		reason == SSL_ERROR_NONE || reason == SSL_ERROR_WANT_READ;

	if (!is_fine)
		explain(tls);    /* the alert that was made goes out below */
	DISCARD(send_made(tls)); /* nobody waits for that to be gone */
	if (is_fine && encrypt(tls))
		return true;
	tls->events->on_end(tls->owner, tls->error);
	return false;
}

/* What the last read ended with; calls back last. */
static void read_ended(struct tls *tls)
{
	int reason = SSL_get_error(tls->ssl, 0);

	if (reason == SSL_ERROR_ZERO_RETURN) {
		end(tls, 0);
	} else if (reason != SSL_ERROR_WANT_READ) {
		explain(tls);
		DISCARD(send_made(tls)); /* it has failed anyway */
		tls->events->on_end(tls->owner, tls->error);
	} else {
		/* What reading makes: answers to key updates. */
		DISCARD(send_made(tls)); /* as in shake_hands() */
		bool is_written = tls->is_queued &&
				  stream_queued_bytes(tls->stream) == 0 &&
				  buffer_length(&tls->plain) == 0;

		if (!is_written)
			return;
		/* What waited for the hands to be shaken went at once. */
		tls->is_queued = false;
		tls->events->on_written(tls->owner);
	}
}

static void on_bytes(void *owner, const uint8_t *bytes, size_t length)
{
	struct tls *tls = owner;
	uint8_t *scratch = loop_scratch(tls->loop);
	bool is_closed = false;
	size_t got = 0;

	MUST(tls->magic == MAGIC);
	if (tls->error < 0 || tls->has_ended)
		return;
	/* It is copied, so that the scratch memory is free again. */
	MUST(BIO_write(tls->incoming, bytes, (int)length) == (int)length);
	if (!shake_hands(tls))
		return;
	tls->is_closed = &is_closed;
	ERR_clear_error();
	while (SSL_read_ex(tls->ssl, scratch, LOOP_SCRATCH_BYTES, &got) == 1) {
		tls->events->on_bytes(tls->owner, scratch, got);
		if (is_closed)
			return;
		if (tls->error < 0)
			break;
		ERR_clear_error();
	}
	tls->is_closed = NULL;
	if (tls->error == 0)
		read_ended(tls);
}

static void on_end(void *owner, int error)
{
	struct tls *tls = owner;

	end(tls, error == 0 ? -ECONNRESET : error);
}

static void on_written(void *owner)
{
	struct tls *tls = owner;

	if (!tls->is_queued || buffer_length(&tls->plain) > 0)
		return;
	tls->is_queued = false;
	tls->events->on_written(tls->owner);
}

static const struct stream_events stream_events = {
	.on_bytes = on_bytes,
	.on_end = on_end,
	.on_written = on_written,
};

/* ---- opening and closing ---- */

static void expect_host(struct tls *tls, const struct tls_context *context,
			const char *host)
{
	unsigned char address[sizeof(struct in6_addr)];
	X509_VERIFY_PARAM *wanted = SSL_get0_param(tls->ssl);
	bool is_address = inet_pton(AF_INET, host, address) == 1 ||
			  inet_pton(AF_INET6, host, address) == 1;

	/* An address is no name that a server could look for (RFC 6066), and
	 * neither is one of more than 255 letters. */
	if (!is_address)
		DISCARD(SSL_set_tlsext_host_name(tls->ssl, tls->host));
	if (context->check != TLS_CHECK_ALL)
		return;
	if (is_address)
		MUST(X509_VERIFY_PARAM_set1_ip_asc(wanted, host) == 1);
	else
		MUST(X509_VERIFY_PARAM_set1_host(wanted, host, 0) == 1);
}

struct tls *tls_open(struct loop *loop, int descriptor,
		     struct tls_context *context, const char *host,
		     const struct stream_events *events, void *owner)
{
	struct tls *tls = mem_zalloc(sizeof(*tls));

	tls->magic = MAGIC;
	tls->loop = loop;
	tls->events = events;
	tls->owner = owner;
	tls->report.run = on_report;
	tls->host = mem_text(host == NULL ? "the client" : host);
	tls->ssl = SSL_new(context->ssl);
	tls->incoming = BIO_new(BIO_s_mem());
	tls->outgoing = BIO_new(BIO_s_mem());
	MUST(tls->ssl != NULL && tls->incoming != NULL &&
	     tls->outgoing != NULL);
	SSL_set_bio(tls->ssl, tls->incoming, tls->outgoing);
	tls->stream = stream_open(loop, descriptor, &stream_events, tls);
	if (context->is_server) {
		SSL_set_accept_state(tls->ssl);
		return tls;
	}
	MUST(host != NULL);
	expect_host(tls, context, host);
	SSL_set_connect_state(tls->ssl);
	ERR_clear_error();
	DISCARD(SSL_do_handshake(tls->ssl)); /* wants to read, now */
	DISCARD(send_made(tls));             /* it may connect yet */
	return tls;
}

void tls_start_reading(struct tls *tls)
{
	stream_start_reading(tls->stream);
}

void tls_close(struct tls *tls)
{
	MUST(tls->magic == MAGIC);
	if (tls->is_closed != NULL)
		*tls->is_closed = true;
	if (tls->error == 0 && SSL_is_init_finished(tls->ssl)) {
		ERR_clear_error();
		DISCARD(SSL_shutdown(tls->ssl)); /* that this was all */
		DISCARD(send_made(tls)); /* what does not go at once is lost */
	}
	tls->magic = 0;
	loop_undefer(&tls->report);
	stream_close(tls->stream);
	SSL_free(tls->ssl);
	buffer_fini(&tls->plain);
	free(tls->host);
	free(tls);
}
