/*
 * node - a process as a member of a cluster of servers: its loop, its store,
 * the fibers that an application's code runs on, and the services above them.
 *
 * A node opens (the store answers), starts its parts in the order of one table
 * and runs the application's on_start; told to stop, it drains the parts in
 * reverse, runs on_stop, stops them, ends what fibers are left, and closes the
 * store. Start and stop run on a fiber, like the application's own code; all
 * else here is callbacks.
 *
 * src/app brings node and cluster together; applications see
 * include/muster/node.h.
 */
#pragma once
#include <muster/node.h>
#include <muster/peer.h>

#include "base/fiber.h"
#include "base/list.h"
#include "base/log.h"
#include "base/meters.h"
#include "base/problem.h"
#include "loop/loop.h"
#include "store/store.h"

#define NODE_EXIT_CONFIG 78 /* it cannot work as it is set up; EX_CONFIG */
#define NODE_NONCE_BYTES 17 /* 16 hexadecimal digits and a NUL */

enum node_state {
	NODE_OPENING,  /* until the store answers */
	NODE_STARTING, /* parts, then the application */
	NODE_UP,
	NODE_DRAINING, /* nothing new is begun, what runs is finished */
	NODE_STOPPING, /* fibers that are left are cancelled */
	NODE_CLOSING,  /* the store closes */
	NODE_CLOSED,
};

/* A service of the node. start, drain and stop run on the node's own fiber, so
 * they may wait; each may be NULL. */
struct node_part {
	const char *name;
	/* Fails with the fiber's problem filled. */
	int (*start)(struct muster *muster);
	/* The node is in another state than before. Must not wait, nor stop
	 * the node. Told to parts that were started. */
	void (*on_state)(struct muster *muster);
	/* Something has become of another peer. From a fiber; must not wait. */
	void (*on_peer)(struct muster *muster, enum muster_peer_event event,
			const char *id);
	/* Hands back what this life of a peer, which is over, has owned. More
	 * than once, and by more than one node, as any of them may die over
	 * it. On a fiber; where it fails it is tried again. */
	int (*reap)(struct muster *muster, const char *id, const char *nonce);
	/* Others took this node for dead, and have what it owned: fence what
	 * runs, begin nothing. Must not wait. */
	void (*on_lost)(struct muster *muster);
	/* It is a peer again, with another nonce, and maybe another id. On a
	 * fiber. */
	void (*on_rejoin)(struct muster *muster);
	/* Begins nothing new and waits for what runs; its wait is cancelled
	 * when drain_ms have passed. */
	void (*drain)(struct muster *muster);
	/* Tells the store what is to be told. Also after a failed start. */
	void (*stop)(struct muster *muster);
	/* From the loop, always, started or not: lets go of the store, which
	 * closes next. */
	void (*close)(struct muster *muster);
	/* From the loop, always, started or not: closes and frees all it has.
	 * The store answers nothing any more. */
	void (*free)(struct muster *muster);
};

/* What a node is made of, from options, cluster and environment. Texts are
 * copied. */
struct node_settings {
	/* Nothing in it is left to a default but hooks, arg and tasks. Texts
	 * are copied: those of the node are in struct muster. */
	struct muster_node_options options;
	meter_value *meters; /* NULL: its own alone */
	int slot; /* of a worker: it is to be NAME-worker-SLOT; 0: any */
	/* Told once, from the loop: all is closed, the node may be freed. */
	void (*on_closed)(void *owner, int exit_code);
	/* It is to go, and somebody holds it: see node_hold(). From its fiber.
	 * NULL: they know by themselves. */
	void (*on_held)(void *owner);
	void *owner;
};

struct bus;
struct document_node;
struct peers;
struct pubsub;
struct rooms;
struct routine;
struct rpc;
struct stats;
struct tasks;
struct timer;

struct muster {
	struct loop *loop;
	struct log log;
	struct node_settings settings;
	enum node_state state;
	char *name; /* of the application */
	char *store_url;
	char *token; /* NULL: none */
	char *prefix;
	char *id;                     /* "" until it has a name */
	char nonce[NODE_NONCE_BYTES]; /* of this life of the node */
	struct store *store;
	meter_value *meters; /* the settings', or own_meters */
	meter_value own_meters[METERS];
	struct fiber_pool *fibers;
	struct list routines;
	struct routine *spare_routines;
	uint32_t spare_routine_count;
	struct routine *own; /* the one that starts and stops it */
	struct timer *drain_deadline;
	struct fiber_wait idle_wait; /* its own, for others to end */
	uint32_t holds;              /* of servers; see node_hold() */
	struct loop_task close;
	struct problem problem; /* of calls that are on no fiber */
	size_t parts_started;
	bool is_told_to_stop;
	bool is_late; /* drain_ms have passed */
	int exit_code;
	/* The application's settings, which outlast it; NULL: none. */
	const struct document_node *config;

	/* The cache's, which is no part: it begins and ends with the store. */
	struct list flights; /* what fibers are computing */
	uint64_t owners;     /* of locks, named so far */
	uint64_t dice;       /* 0: not thrown yet */

	/* The parts, each opened and freed by its own module. */
	struct peers *peers;
	struct bus *bus; /* NULL: a guest without a token */
	struct pubsub *pubsub;
	struct rpc *rpc;
	struct rooms *rooms;
	struct stats *stats;
	struct tasks *tasks;
};

/* What of that can be told without a loop: store (NULL: embedded), token and
 * tasks. Fails with *problem filled. */
__attribute__((warn_unused_result)) int
node_check(const struct muster_node_options *options, struct problem *problem);

/* Does not wait: the store is asked once the loop runs. NULL with *problem
 * filled where the URL or an option cannot be used. */
struct muster *node_new(struct loop *loop, const struct log *log,
			const struct node_settings *settings,
			struct problem *problem);

/* Drains; more calls change nothing but the first exit code that is not 0. */
void node_stop(struct muster *muster, int exit_code);

/*
 * Somebody serves others with what the node has. Told to stop it begins nothing
 * new, but its parts, and the application's on_stop, wait for the release; and
 * as ever for drain_ms at most. Holds may be released after that.
 */
void node_hold(struct muster *muster);
void node_release(struct muster *muster);

/* The loop ends before the node has: closes what the loop must not keep, tells
 * on_closed while the loop runs dry. What is on fibers is left as it is. */
void node_abandon(struct muster *muster);

/* Only within or after on_closed. */
void node_free(struct muster *muster);

bool node_is_up(const struct muster *muster);
/* Is the store only away, so that trying again may help? */
bool node_is_passing(int error);
void node_make_nonce(char nonce[NODE_NONCE_BYTES]);

/* For the peers, who know of it: see struct node_part. */
__attribute__((warn_unused_result)) int
node_reap(struct muster *muster, const char *id, const char *nonce);
void node_tell_peer(struct muster *muster, enum muster_peer_event event,
		    const char *id);
void node_tell_lost(struct muster *muster);
void node_tell_rejoined(struct muster *muster);
const char *node_state_name(enum node_state state);
