/*
 * bind - makes the sockets that are listened on.
 *
 * Blocking system calls, no loop. The primary calls it for what is shared, a
 * worker for what is its own alone.
 */
#pragma once
#include <stdbool.h>
#include <stdint.h>

#include "base/problem.h"
#include "wire/address.h"

struct bind_options {
	int backlog;
	bool ipv6_only;
	bool reuse_address;
	bool reuse_port;
	bool readable_all;
	bool writable_all;
};

/* Address types as in muster_address.type. */
enum bound_type {
	BOUND_UNIX = -1,
	BOUND_TCP4 = 4,
	BOUND_TCP6 = 6,
	BOUND_UDP4 = 14,
	BOUND_UDP6 = 16,
};

struct bound {
	int descriptor; /* non-blocking, close-on-exec, listening */
	enum bound_type type;
	char host[ADDRESS_HOST_BYTES]; /* numeric; the path */
	uint16_t port;                 /* the real one */
	bool is_inherited; /* its file, if any, is somebody else\'s */
};

/*
 * Turns a name into a numeric address; an empty one stays ("every address").
 * May block while the name is looked up, so the worker does it, not the
 * primary. Makes a path absolute. -EINVAL with ADDRESS_UNKNOWN.
 */
__attribute__((warn_unused_result)) int bind_resolve(struct address *address,
						     struct problem *problem);

/* -errno of socket(2), bind(2) or listen(2), with LISTEN_IN_USE,
 * LISTEN_DENIED or LISTEN_FAILED. */
__attribute__((warn_unused_result)) int
bind_open(const struct address *address, const struct bind_options *options,
	  struct bound *bound, struct problem *problem);

/* Raises the backlog of one that listens. */
void bind_set_backlog(int descriptor, int backlog);

/* "tcp://127.0.0.1:8000", "udp://[::1]:53", "unix:/run/x". */
#define BOUND_URL_BYTES (ADDRESS_HOST_BYTES + 16)
void bind_write_url(const struct bound *bound, char url[BOUND_URL_BYTES]);

/* Removes the file of a unix socket. */
void bind_unlink(const struct bound *bound);
