/*
 * listener - where an application takes connections or datagrams, in a worker
 * as in a primary.
 *
 * Either connections come from the primary one by one (HANDED), or this
 * process accepts by itself (SELF): on its own socket, on one that the workers
 * share, or on one of several with SO_REUSEPORT.
 *
 * On a shared socket a worker that has more than the mean and an eighth stops
 * accepting for a while, so that all have about as many. Should the others not
 * take what is queued meanwhile, it does.
 */
#pragma once
#include <muster/cluster.h>
#include <stdbool.h>

#include "base/list.h"
#include "cluster/bind.h"
#include "cluster/board.h"

struct muster_listener {
	struct list link; /* in the cluster's list */
	struct muster_cluster *cluster;
	struct muster_listen_options options;
	struct address asked; /* with `index`, what the primary knows it by */
	uint32_t index;
	uint32_t id; /* the primary's; 0: it knows nothing of it */
	uint32_t lane;
	enum muster_schedule schedule;
	struct bound bound; /* descriptor -1: HANDED */
	struct muster_address address;
	char url[BOUND_URL_BYTES];
	struct watch *watch;
	struct timer *gate; /* shared: looks whether to accept again */
	bool is_gated;
	bool was_left; /* queued connections nobody took, at the last look */
	bool is_closed;
	bool is_unref;
	/* src/app: the last connection was closed after the listener. */
	void (*on_freed)(void *owner);
	void *owner;
	uint32_t open; /* connections; the memory stays until there are none */
};

/* Takes `bound` over (descriptor -1: HANDED). Not started. */
struct muster_listener *
listener_open(struct muster_cluster *cluster, const struct bound *bound,
	      const struct muster_listen_options *options);
void listener_start(struct muster_listener *listener);

/* A connection that the primary handed over: takes `descriptor` over. False:
 * the application refused it. */
bool listener_take(struct muster_listener *listener, int descriptor);

/* As muster_connection_close(), for one that has been shut down already. */
void connection_finish(struct muster_connection *connection);
