/* What connections share: files read, and what is agreed to. See tls.h. */
#include <errno.h>
#include <openssl/err.h>
#include <openssl/x509v3.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/mem.h"
#include "base/must.h"
#include "loop/tls_internal.h"

/* Of TLS 1.2: an exchange that leaves no secret behind, and a cipher that
 * proves what it carries. Those of 1.3 are all so. */
#define CIPHERS "ECDHE+AESGCM:ECDHE+CHACHA20"

const char *tls_reason(unsigned long error)
{
	const char *reason = ERR_reason_error_string(error);

	if (ERR_SYSTEM_ERROR(error))
		reason = strerror(ERR_GET_REASON(error));
	return reason == NULL ? "for an unknown reason" : reason;
}

/* ---- files ---- */

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
			   tls_reason(ERR_peek_error()));
}

/* It is used all the same: a clock may be wrong, and clients will tell. */
static void warn(const struct log *log, SSL_CTX *ssl, const char *cert,
		 const char *key)
{
	const X509 *own = SSL_CTX_get0_certificate(ssl);
	struct stat status;

	if (log == NULL)
		return;
	if (X509_cmp_current_time(X509_get0_notAfter(own)) < 0)
		log_warn(log, "the certificate has expired file=%s", cert);
	if (X509_cmp_current_time(X509_get0_notBefore(own)) > 0)
		log_warn(log, "the certificate is not valid yet file=%s", cert);
	if (stat(key, &status) == 0 && (status.st_mode & S_IRWXO) != 0)
		log_warn(log,
			 "the key can be read by everybody file=%s mode=%04o",
			 key, (unsigned)status.st_mode & 07777);
}

static int load_pair(SSL_CTX *ssl, const struct tls_pair *pair,
		     const struct tls_settings *settings,
		     struct problem *problem)
{
	const char *cert = pair->cert_path;
	const char *key = pair->key_path == NULL ? cert : pair->key_path;

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
				   cert, tls_reason(ERR_peek_error()));
	if (SSL_CTX_use_PrivateKey_file(ssl, key, SSL_FILETYPE_PEM) != 1)
		return problem_set(problem, -EINVAL, "TLS_KEY",
				   "cannot use the key in %.100s with the "
				   "certificate: %.80s (give the path of its "
				   "key, a PEM file without a passphrase)",
				   key, tls_reason(ERR_peek_error()));
	warn(settings->log, ssl, cert, key);
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

/* ---- what a client's first message asks for ---- */

static bool is_for(X509 *cert, const char *name)
{
	return X509_check_host(cert, name, 0, 0, NULL) == 1;
}

static int on_name(SSL *ssl, int *alert, void *arg)
{
	const struct tls_context *context = arg;
	const char *name = SSL_get_servername(ssl, TLSEXT_NAMETYPE_host_name);

	(void)alert;
	if (name == NULL ||
	    is_for(SSL_CTX_get0_certificate(context->ssl), name))
		return SSL_TLSEXT_ERR_OK;
	for (size_t i = 0; i < context->other_count; i++) {
		if (!is_for(context->others[i].cert, name))
			continue;
		MUST(SSL_set_SSL_CTX(ssl, context->others[i].ssl) != NULL);
		break;
	}
	return SSL_TLSEXT_ERR_OK;
}

/* Is it one of those that the client names: a length and as many letters? */
static const unsigned char *
find_protocol(const char *name, const unsigned char *offered, unsigned length)
{
	size_t name_length = strlen(name);

	for (unsigned at = 0; at < length; at += 1u + offered[at])
		if (offered[at] == name_length && at + offered[at] < length &&
		    memcmp(offered + at + 1, name, name_length) == 0)
			return offered + at;
	return NULL;
}

static int on_protocols(SSL *ssl, const unsigned char **chosen,
			unsigned char *chosen_length,
			const unsigned char *offered, unsigned length,
			void *arg)
{
	const struct tls_context *context = arg;

	(void)ssl;
	for (size_t i = 0; context->protocols[i] != NULL; i++) {
		const unsigned char *found =
			find_protocol(context->protocols[i], offered, length);

		if (found == NULL)
			continue;
		*chosen = found + 1;
		*chosen_length = found[0];
		return SSL_TLSEXT_ERR_OK;
	}
	return SSL_TLSEXT_ERR_ALERT_FATAL;
}

/* ---- making one ---- */

/* NULL, and a problem. */
static SSL_CTX *make(struct tls_context *context, const struct tls_pair *pair,
		     const struct tls_settings *settings,
		     struct problem *problem)
{
	SSL_CTX *ssl = SSL_CTX_new(context->is_server ? TLS_server_method()
						      : TLS_client_method());
	bool is_checked = context->is_server
				  ? settings->ca_path != NULL
				  : settings->check != TLS_CHECK_NOTHING;

	MUST(ssl != NULL);
	MUST(SSL_CTX_set_min_proto_version(ssl, TLS1_2_VERSION) == 1);
	SSL_CTX_set_app_data(ssl, context);
	SSL_CTX_set_options(ssl,
			    SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION);
	/* What was offered once may lie elsewhere when it is offered again. */
	SSL_CTX_set_mode(ssl, SSL_MODE_RELEASE_BUFFERS |
				      SSL_MODE_ENABLE_PARTIAL_WRITE |
				      SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
	SSL_CTX_set_read_ahead(ssl, 1); /* one read for several records */
	SSL_CTX_set_default_passwd_cb(ssl, no_passphrase);
	if (is_checked)
		SSL_CTX_set_verify(
			ssl, SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT,
			NULL);
	if (context->is_server) {
		MUST(SSL_CTX_set_cipher_list(ssl, CIPHERS) == 1);
		SSL_CTX_set_options(ssl, SSL_OP_CIPHER_SERVER_PREFERENCE |
						 SSL_OP_PRIORITIZE_CHACHA);
	}
	tls_use_tickets(context, ssl);
	if (context->protocols != NULL)
		SSL_CTX_set_alpn_select_cb(ssl, on_protocols, context);
	ERR_clear_error();
	if ((is_checked && load_signers(ssl, settings, problem) < 0) ||
	    load_pair(ssl, pair, settings, problem) < 0) {
		ERR_clear_error();
		SSL_CTX_free(ssl);
		return NULL;
	}
	return ssl;
}

static int make_others(struct tls_context *context,
		       const struct tls_settings *settings,
		       struct problem *problem)
{
	context->others = mem_zalloc((settings->other_count + 1) *
				     sizeof(*context->others));
	for (size_t i = 0; i < settings->other_count; i++) {
		SSL_CTX *ssl =
			make(context, &settings->others[i], settings, problem);

		if (ssl == NULL)
			return problem->code;
		context->others[context->other_count++] =
			(struct tls_other){ ssl,
					    SSL_CTX_get0_certificate(ssl) };
	}
	return 0;
}

struct tls_context *tls_context_new(const struct tls_settings *settings,
				    struct problem *problem)
{
	struct tls_context *context = mem_zalloc(sizeof(*context));

	context->holders = 1;
	context->is_server = settings->is_server;
	context->check = settings->check;
	context->protocols = settings->protocols;
	context->ticket_key = settings->ticket_key;
	context->ticket_owner = settings->ticket_owner;
	context->plain_reply = settings->plain_reply;
	context->method = tls_make_method();
	context->ssl = make(context, &settings->own, settings, problem);
	if (context->ssl == NULL ||
	    make_others(context, settings, problem) < 0) {
		tls_context_release(context);
		return NULL;
	}
	if (context->other_count > 0) {
		SSL_CTX_set_tlsext_servername_callback(context->ssl, on_name);
		SSL_CTX_set_tlsext_servername_arg(context->ssl, context);
	}
	return context;
}

void tls_context_release(struct tls_context *context)
{
	if (--context->holders > 0)
		return;
	for (size_t i = 0; i < context->other_count; i++)
		SSL_CTX_free(context->others[i].ssl);
	SSL_CTX_free(context->ssl);
	BIO_meth_free(context->method);
	free(context->others);
	free(context);
}

void tls_context_free(struct tls_context *context)
{
	if (context != NULL)
		tls_context_release(context);
}
