/*
 * muster/peer.h - the other nodes that share a store, and this one's name.
 *
 * A node is a peer under a name that no other has meanwhile: APP-worker-N, of
 * its slot's number where it is a worker and the name is free, else of the
 * lowest that is. It says that it lives every `ping_ms`, by the store's clock;
 * nothing here depends on the clocks of hosts.
 *
 *              joining ──▶ up ──▶ draining ──▶ (left)
 *                 silent for suspect_ms: suspect, until heard again
 *                 its process gone, or silent for dead_ms: (down)
 *
 * A node that was taken for dead and was not (it was stopped, or cut off)
 * finds out when it runs again: it lets go of what it held, and joins anew.
 */
#ifndef MUSTER_PEER_H
#define MUSTER_PEER_H

#include <muster/types.h>

#ifdef __cplusplus
extern "C" {
#endif

struct muster;

enum muster_peer_state {
	MUSTER_PEER_JOINING, /* its application starts */
	MUSTER_PEER_UP,
	MUSTER_PEER_DRAINING, /* finishes what it does, and leaves */
};

struct muster_peer {
	const char *id;          /* its name: "api-worker-3" */
	const char *nonce;       /* of this life; a name may have many */
	const char *host;        /* its host's name */
	const char *version;     /* of the application there; "" */
	const char *const *urls; /* where it serves, as it says; ends with
				  * NULL */
	enum muster_peer_state state;
	int pid;
	uint32_t slots;      /* tasks that it runs at once; 0: none */
	uint64_t started_ms; /* since 1970, by its own clock */
	uint64_t silent_ms;  /* since it last said that it lives */
	bool is_self;
	bool is_here;    /* on this machine */
	bool is_suspect; /* silent for longer than it should be */
};

struct muster_peer_list {
	const struct muster_peer *peers; /* by name */
	size_t count;
};

/* All peers as the store has them now, this node included. On a fiber. */
MUSTER_PUBLIC MUSTER_MUST_READ int muster_peers(struct muster *muster,
						struct muster_peer_list *list);

enum muster_peer_event {
	MUSTER_PEER_IS_UP = 1,  /* there, and serving; or heard again */
	MUSTER_PEER_IS_SUSPECT, /* silent */
	MUSTER_PEER_IS_DOWN,    /* dead; what it owned is handed back */
	MUSTER_PEER_HAS_LEFT,   /* in order */
};

/* On a fiber of its own, which may wait: what happens meanwhile is told after
 * that, in order. `peer` is good until it returns. */
typedef void (*muster_peer_fn)(struct muster *muster,
			       enum muster_peer_event event,
			       const struct muster_peer *peer, void *arg);

/* Tells of others from now on, and first of those that are up. For as long as
 * the node lives; a guest that has a handler goes on until it is stopped. From
 * anywhere. */
MUSTER_PUBLIC void muster_on_peer(struct muster *muster, muster_peer_fn fn,
				  void *arg);

/* Waits until it happens to the peer `id`, or, with NULL, to any; at once
 * where it is so: IS_UP of one that is up. *peer, where `peer` is not NULL,
 * says whom. -ETIMEDOUT after timeout_ms (0: no limit). On a fiber. */
MUSTER_PUBLIC MUSTER_MUST_READ int
muster_peer_wait(struct muster *muster, const char *id,
		 enum muster_peer_event event, uint64_t timeout_ms,
		 const struct muster_peer **peer);

/* "up", "suspect", "down", "left"; "joining", "up", "draining". */
MUSTER_PUBLIC const char *muster_peer_event_text(enum muster_peer_event event);
MUSTER_PUBLIC const char *muster_peer_state_text(enum muster_peer_state state);

#ifdef __cplusplus
}
#endif

#endif
