/*
 * secure - what https:// and tls:// add to a listener: certificates, and the
 * keys for tickets that the workers of the cluster share.
 */
#pragma once
#include <muster/http.h>

#include "loop/tls.h"

struct secure_url {
	bool is_secure;
	char plain[512]; /* the same place without TLS, for muster_listen() */
};

/* `scheme` is the one that means TLS. -EINVAL: there is a certificate, but no
 * scheme that says whether it is to be used. */
__attribute__((warn_unused_result)) int
secure_read_url(struct muster_cluster *cluster, const char *url,
		const char *scheme, const struct muster_certificate *own,
		struct secure_url *where);

/* `others` ends with one without a certificate, and may be NULL; `protocols`
 * and `plain_reply` are those of tls_settings. -EINVAL: a file that cannot be
 * used. */
__attribute__((warn_unused_result)) int secure_open(
	struct muster_cluster *cluster, const struct muster_certificate *own,
	const struct muster_certificate *others, const char *const *protocols,
	const char *plain_reply, struct tls_context **context);
