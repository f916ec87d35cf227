/* http_listen - HTTP for a server of ours that has to know when the last of its
 * connections has gone: see muster_http_listen_with(). */
#pragma once
#include <muster/http.h>

#include "server/http.h"

struct http_listen_owner {
	/* The listener is closed, and so are its connections. May be NULL. */
	void (*on_freed)(void *owner);
	/* The worker is leaving. May be NULL. */
	void (*on_drain)(void *owner);
	void *owner;
	http_refuse_fn refuse;         /* NULL: a line of text */
	http_wants_head_fn wants_head; /* NULL: always */
};

__attribute__((warn_unused_result)) int
http_listen(struct muster_cluster *cluster, const char *url,
	    const struct muster_http_options *options,
	    const struct http_listen_owner *owner,
	    struct muster_listener **listener);
