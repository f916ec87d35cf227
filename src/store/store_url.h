/*
 * store_url - where the shared state is, as a URL says it:
 *
 *   lmdb:PATH
 *   redis://[[USER]:PASSWORD@]HOST[:PORT][/DATABASE]
 *   unix:PATH[?db=DATABASE]                              redis+unix: as well
 *   redis+sentinel://[[USER]:PASSWORD@]HOST[:PORT],.../NAME[/DATABASE]
 *   redis+cluster://[[USER]:PASSWORD@]HOST[:PORT],...
 *
 * With rediss instead of redis it is TLS, with these after a '?', joined by
 * '&': ca=PATH of who signs the server's certificate (a file or a directory;
 * the system's), cert=PATH and key=PATH of a certificate of one's own,
 * verify=yes, ca (the certificate may be for another host) or no. All but
 * lmdb: take wait_replicas=N and wait_ms=N there, see struct store_options.
 *
 * An IPv6 address stands in brackets. What a URL gives a meaning to is written
 * as %XX in user, password, path and values. No I/O.
 */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/problem.h"
#include "loop/tls.h"

#define STORE_HOSTS_MAX 16

enum store_url_kind {
	STORE_URL_LMDB,
	STORE_URL_REDIS,
	STORE_URL_UNIX,
	STORE_URL_SENTINEL,
	STORE_URL_CLUSTER,
};

struct store_host {
	char *name;
	uint16_t port;
};

struct store_url {
	enum store_url_kind kind;
	bool is_tls;
	char *path;     /* LMDB, UNIX */
	char *user;     /* NULL: none */
	char *password; /* NULL: none */
	char *master;   /* SENTINEL: what it calls the primary */
	struct store_host hosts[STORE_HOSTS_MAX];
	size_t host_count;
	unsigned database;
	char *ca_path;   /* NULL: the system's, */
	char *cert_path; /* none, */
	char *key_path;  /* it is with the certificate */
	enum tls_check check;
	unsigned wait_replicas;
	unsigned wait_ms;
};

/* Fails with STORE_URL_INVALID, whose text never shows a password. */
__attribute__((warn_unused_result)) int store_url_read(const char *text,
						       struct store_url *url,
						       struct problem *problem);
/* With all it points to. */
void store_url_copy(struct store_url *to, const struct store_url *from);
void store_url_fini(struct store_url *url);
