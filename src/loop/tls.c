#include "loop/tls.h"

#include <arpa/inet.h>
#include <errno.h>
#include <openssl/err.h>
#include <openssl/x509v3.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/mem.h"
#include "base/must.h"
#include "loop/stream_cipher.h"
#include "loop/tls_internal.h"

#define MAGIC 0x746c7321u

struct tls {
	struct stream_cipher cipher;
	unsigned magic;
	int descriptor; /* the stream's */
	struct tls_context *context;
	SSL *ssl;
	char *host;     /* of a client */
	int send_flags; /* for what is being written */
	int io_error;   /* the socket's; 0 */
	/* What reading ended with, where bytes came before it. */
	ssize_t answer;
	bool has_answer : 1;
	bool has_heard : 1;
	bool is_plain : 1; /* the peer speaks no TLS */
	struct problem *problem;
};

static struct tls *tls_of(struct stream_cipher *cipher)
{
	struct tls *tls = LIST_ENTRY(cipher, struct tls, cipher);

	MUST(tls->magic == MAGIC);
	return tls;
}

/* ---- the socket, as OpenSSL sees it ---- */

static int keep_error(struct tls *tls, int error)
{
	tls->io_error = error;
	return error == 0 ? 0 : -1;
}

static int read_socket(BIO *bio, char *bytes, int size)
{
	struct tls *tls = BIO_get_data(bio);
	ssize_t length;

	BIO_clear_retry_flags(bio);
	do
		length = recv(tls->descriptor, bytes, (size_t)size, 0);
	while (length < 0 && errno == EINTR);
	if (length > 0) {
		if (!tls->has_heard)
			tls->is_plain = bytes[0] >= 'A' && bytes[0] <= 'Z';
		tls->has_heard = true;
		return (int)length;
	}
	if (length < 0 && errno == EAGAIN) {
		BIO_set_retry_read(bio);
		return -1;
	}
	/* An end that was not said. */
	return keep_error(tls, length == 0 ? -ECONNRESET : -errno);
}

static int write_socket(BIO *bio, const char *bytes, int length)
{
	struct tls *tls = BIO_get_data(bio);
	ssize_t written;

	BIO_clear_retry_flags(bio);
	do
		written = send(tls->descriptor, bytes, (size_t)length,
			       tls->send_flags | MSG_NOSIGNAL);
	while (written < 0 && errno == EINTR);
	if (written >= 0)
		return (int)written;
	if (errno == EAGAIN) {
		BIO_set_retry_write(bio);
		return -1;
	}
	return keep_error(tls, -errno);
}

static long control_socket(BIO *bio, int command, long number, void *pointer)
{
	(void)bio;
	(void)number;
	(void)pointer;
	return command == BIO_CTRL_FLUSH; /* nothing is held back */
}

BIO_METHOD *tls_make_method(void)
{
	BIO_METHOD *method = BIO_meth_new(BIO_TYPE_SOURCE_SINK, "stream");

	MUST(method != NULL);
	MUST(BIO_meth_set_read(method, read_socket) == 1);
	MUST(BIO_meth_set_write(method, write_socket) == 1);
	MUST(BIO_meth_set_ctrl(method, control_socket) == 1);
	return method;
}

/* ---- failing ---- */

/* Where the library gave up: keeps why. */
static int explain(struct tls *tls)
{
	long checked = SSL_get_verify_result(tls->ssl);
	const char *host = tls->host == NULL ? "the client" : tls->host;

	if (tls->problem == NULL)
		tls->problem = mem_zalloc(sizeof(*tls->problem));
	if (checked != X509_V_OK && !SSL_is_init_finished(tls->ssl))
		problem_set(tls->problem, -EACCES, "TLS_UNTRUSTED",
			    "the certificate of %.80s is not trusted: %.100s",
			    host, X509_verify_cert_error_string(checked));
	else
		problem_set(tls->problem, -EPROTO, "TLS_FAILED",
			    "TLS with %.80s failed: %.100s", host,
			    tls_reason(ERR_peek_last_error()));
	ERR_clear_error();
	return tls->problem->code;
}

/* What a call that gave nothing means: as of stream_cipher_ops.read(). */
static int judge(struct tls *tls, int result)
{
	int reason = SSL_get_error(tls->ssl, result);

	if (reason == SSL_ERROR_WANT_READ)
		return -EAGAIN;
	if (reason == SSL_ERROR_WANT_WRITE) {
		tls->cipher.wants_write = true;
		return -EAGAIN;
	}
	if (reason == SSL_ERROR_ZERO_RETURN)
		return 0;
	if (tls->io_error == 0)
		return explain(tls);
	ERR_clear_error();
	return tls->io_error;
}

/* ---- reading ---- */

/* One who has come to the wrong door. Whether it hears that is its affair. */
static void answer_plainly(struct tls *tls)
{
	const char *reply = tls->context->plain_reply;

	if (reply != NULL)
		DISCARD(send(tls->descriptor, reply, strlen(reply),
			     MSG_NOSIGNAL));
}

static int shake_hands(struct tls *tls)
{
	ERR_clear_error();
	int result = SSL_do_handshake(tls->ssl);

	if (result == 1) {
		tls->cipher.is_ready = true;
		return 0;
	}
	int error = judge(tls, result);

	if (error == 0) /* it says that this was all, and nothing was */
		return -ECONNRESET;
	if (error == -EPROTO && tls->is_plain && tls->context->is_server)
		answer_plainly(tls);
	return error;
}

static ssize_t read_secret(struct stream_cipher *cipher, void *bytes,
			   size_t size)
{
	struct tls *tls = tls_of(cipher);
	size_t total = 0;
	size_t got;
	int error = 0;

	cipher->wants_write = false;
	if (tls->has_answer)
		return tls->answer;
	if (!cipher->is_ready)
		error = shake_hands(tls);
	if (error < 0)
		return error;
	ERR_clear_error();
	while (total < size && SSL_read_ex(tls->ssl, (uint8_t *)bytes + total,
					   size - total, &got) == 1)
		total += got;
	if (total == size)
		return (ssize_t)total;
	tls->answer = judge(tls, 0);
	tls->has_answer = tls->answer != -EAGAIN;
	return total > 0 ? (ssize_t)total : tls->answer;
}

static bool has_more(struct stream_cipher *cipher)
{
	const struct tls *tls = tls_of(cipher);

	return tls->has_answer || SSL_has_pending(tls->ssl) == 1;
}

/* ---- writing ---- */

/* Where a write has got to. */
struct progress {
	const struct iovec *parts;
	size_t count;
	size_t used; /* of the first */
	size_t total;
};

static void advance(struct progress *progress, size_t length)
{
	progress->total += length;
	while (progress->count > 0 &&
	       length >= progress->parts->iov_len - progress->used) {
		length -= progress->parts->iov_len - progress->used;
		progress->used = 0;
		progress->parts++;
		progress->count--;
	}
	progress->used += length;
}

/* Small parts share a record. */
static size_t gather(const struct progress *progress, uint8_t *room)
{
	size_t used = progress->used;
	size_t total = 0;

	for (size_t i = 0; i < progress->count; i++) {
		const struct iovec *part = &progress->parts[i];
		size_t length = part->iov_len - used;

		if (length > TLS_RECORD_BYTES - total)
			length = TLS_RECORD_BYTES - total;
		if (length > 0)
			memcpy(room + total,
			       (const uint8_t *)part->iov_base + used, length);
		total += length;
		used = 0;
	}
	return total;
}

/* Bytes that went, 0, or -errno. */
static ssize_t write_record(struct tls *tls, const void *bytes, size_t length)
{
	size_t written = 0;

	ERR_clear_error();
	if (SSL_write_ex(tls->ssl, bytes, length, &written) == 1)
		return (ssize_t)written;
	int error = judge(tls, 0);

	tls->cipher.wants_write = false; /* that is for readers */
	if (error == 0)
		return -EPIPE;
	return error == -EAGAIN ? 0 : error;
}

static ssize_t write_secret(struct stream_cipher *cipher,
			    const struct iovec *parts, size_t count, int flags)
{
	struct tls *tls = tls_of(cipher);
	struct progress progress = { parts, count, 0, 0 };
	ssize_t written = 1;

	tls->send_flags = flags;
	advance(&progress, 0); /* past what is empty */
	while (progress.count > 0 && written > 0) {
		size_t left = progress.parts->iov_len - progress.used;
		const void *bytes = (const uint8_t *)progress.parts->iov_base +
				    progress.used;

		if (progress.count > 1 && left < TLS_RECORD_BYTES) {
			left = gather(&progress, tls->context->room);
			bytes = tls->context->room;
		}
		written = write_record(tls, bytes, left);
		if (written > 0)
			advance(&progress, (size_t)written);
	}
	return written < 0 ? written : (ssize_t)progress.total;
}

static ssize_t write_file(struct stream_cipher *cipher, int descriptor,
			  uint64_t offset, uint64_t length)
{
	struct tls *tls = tls_of(cipher);
	uint8_t *room = tls->context->room;
	ssize_t total = 0;

	tls->send_flags = 0;
	while (length > 0) {
		size_t size = length < TLS_RECORD_BYTES ? (size_t)length
							: TLS_RECORD_BYTES;
		ssize_t got;

		do
			got = pread(descriptor, room, size, (off_t)offset);
		while (got < 0 && errno == EINTR);
		if (got <= 0) /* it has become shorter */
			return got < 0 ? -errno : -EIO;
		ssize_t written = write_record(tls, room, (size_t)got);

		if (written < 0)
			return written;
		if (written == 0)
			break;
		total += written;
		offset += (uint64_t)written;
		length -= (uint64_t)written;
	}
	return total;
}

/* ---- the end ---- */

static bool say_end(struct stream_cipher *cipher)
{
	struct tls *tls = tls_of(cipher);

	if (!cipher->is_ready || tls->io_error < 0 || tls->problem != NULL)
		return true; /* nobody to say it to */
	tls->send_flags = 0;
	ERR_clear_error();
	int result = SSL_shutdown(tls->ssl);

	if (result >= 0)
		return true;
	bool is_waiting =
		SSL_get_error(tls->ssl, result) == SSL_ERROR_WANT_WRITE;

	ERR_clear_error();
	return !is_waiting;
}

static void free_tls(struct stream_cipher *cipher)
{
	struct tls *tls = tls_of(cipher);

	tls->magic = 0;
	SSL_free(tls->ssl); /* and its BIO */
	tls_context_release(tls->context);
	free(tls->problem);
	free(tls->host);
	free(tls);
}

static const struct stream_cipher_ops ops = {
	.read = read_secret,
	.has_more = has_more,
	.write = write_secret,
	.write_file = write_file,
	.shut = say_end,
	.free = free_tls,
};

/* ---- opening ---- */

static struct tls *tls_new(struct tls_context *context, int descriptor)
{
	struct tls *tls = mem_zalloc(sizeof(*tls));
	BIO *bio = BIO_new(context->method);

	tls->magic = MAGIC;
	tls->cipher.ops = &ops;
	tls->descriptor = descriptor;
	tls->context = context;
	context->holders++;
	tls->ssl = SSL_new(context->ssl);
	MUST(tls->ssl != NULL && bio != NULL);
	BIO_set_data(bio, tls);
	BIO_set_init(bio, 1);
	SSL_set_bio(tls->ssl, bio, bio);
	return tls;
}

struct stream *tls_accept(struct loop *loop, int descriptor,
			  struct tls_context *context,
			  const struct stream_events *events, void *owner)
{
	struct tls *tls = tls_new(context, descriptor);

	MUST(context->is_server);
	SSL_set_accept_state(tls->ssl);
	return stream_open_secret(loop, descriptor, &tls->cipher, events,
				  owner);
}

static void expect_host(struct tls *tls)
{
	unsigned char address[sizeof(struct in6_addr)];
	X509_VERIFY_PARAM *wanted = SSL_get0_param(tls->ssl);
	const char *host = tls->host;
	bool is_address = inet_pton(AF_INET, host, address) == 1 ||
			  inet_pton(AF_INET6, host, address) == 1;

	/* An address is no name that a server could look for (RFC 6066), and
	 * neither is one of more than 255 letters. */
	if (!is_address)
		DISCARD(SSL_set_tlsext_host_name(tls->ssl, tls->host));
	if (tls->context->check != TLS_CHECK_ALL)
		return;
	if (is_address)
		MUST(X509_VERIFY_PARAM_set1_ip_asc(wanted, host) == 1);
	else
		MUST(X509_VERIFY_PARAM_set1_host(wanted, host, 0) == 1);
}

struct stream *tls_connect(struct loop *loop, int descriptor,
			   struct tls_context *context, const char *host,
			   const struct stream_events *events, void *owner)
{
	struct tls *tls = tls_new(context, descriptor);

	MUST(!context->is_server);
	tls->host = mem_text(host);
	expect_host(tls);
	SSL_set_connect_state(tls->ssl);
	tls->answer = shake_hands(tls); /* it speaks first */
	tls->has_answer = tls->answer != -EAGAIN;
	return stream_open_secret(loop, descriptor, &tls->cipher, events,
				  owner);
}

const struct problem *tls_problem(const struct stream *stream)
{
	struct stream_cipher *cipher = stream_cipher(stream);

	return cipher == NULL ? NULL : tls_of(cipher)->problem;
}
