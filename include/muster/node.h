/*
 * muster/node.h - a process as a node of a cluster of servers: the store that
 * it shares with the others, and the fibers that its code runs on.
 *
 *     static int start(struct muster *muster, void *arg)
 *     {
 *             int64_t starts;
 *             int error = muster_cache_add(muster, "starts", 1, 0, &starts);
 *
 *             if (error < 0)
 *                     return error;
 *             printf("%s: start number %lld\n", muster_id(muster),
 *                    (long long)starts);
 *             return 0;
 *     }
 *     ...
 *     struct muster *muster = muster_open(cluster,
 *             &(struct muster_node_options){ .on_start = start });
 *     if (muster == NULL)
 *             return 1;
 *     return muster_cluster_run(cluster);
 *
 * The store is a URL: lmdb:PATH, on this host and without a server (default);
 * redis://, unix:, redis+sentinel://, redis+cluster://, and with rediss in the
 * place of redis over TLS. Nothing else in an application changes with it. What
 * may follow a '?' is in muster_node(3).
 *
 * Rules that hold for every function that takes a struct muster:
 * - Code of the application runs on fibers: on_start, on_stop, tasks, handlers,
 *   and what muster_spawn() starts. There a call that has to wait parks the
 *   fiber and lets others run; to the reader it is an ordinary call. Elsewhere
 *   (in a callback of muster/cluster.h) such a call fails with -EPERM. What
 *   blocks the thread goes into muster_blocking().
 * - One thread: a struct muster is used by the thread that opened it.
 * - 0 is done, a positive value is an answer of enum muster_answer listed
 *   beside the function, a negative value is -errno; muster_problem() says it
 *   in a sentence. Any call that waits may fail with -ECANCELED (the fiber was
 *   told to end), -ETIMEDOUT (its deadline, or the store's, has passed),
 *   -ENOTCONN and others of the store (it is away).
 * - Text and structs given to a function are copied. What a call gives back
 *   (values, lists, texts) belongs to the fiber and is good until it ends or
 *   calls muster_clear_answers().
 * - Times are milliseconds. A zeroed options struct means sane defaults.
 */
#ifndef MUSTER_NODE_H
#define MUSTER_NODE_H

#include <muster/types.h>

#ifdef __cplusplus
extern "C" {
#endif

struct muster_cluster;
struct muster_method;
struct muster_room;
struct muster_task;
struct muster;

/* What a power loss may take from an embedded store; no crash of any process
 * takes anything. Redis has settings of its own. */
enum muster_durability {
	MUSTER_NORMAL = 0, /* the last step, at most */
	MUSTER_DURABLE,    /* nothing that was answered */
	MUSTER_FAST,       /* possibly all of it */
};

/* On a fiber. A failure (negative) of on_start ends the node. */
typedef int (*muster_start_fn)(struct muster *muster, void *arg);
typedef void (*muster_fiber_fn)(struct muster *muster, void *arg);

struct muster_node_options {
	const char *name;  /* of the application; the cluster's, else the
			    * program's */
	const char *store; /* URL; MUSTER_STORE, else an embedded one in
			    * MUSTER_HOME (~/.muster), store/NAME */
	const char *token; /* the cluster's secret; MUSTER_TOKEN. A remote store
			    * needs one */
	const char *prefix; /* of everything in the store; "muster" */
	enum muster_durability durability;
	uint32_t store_ms; /* for the store to answer; 5,000 */
	uint32_t drain_ms; /* to finish when told to stop; 30,000, or the
			    * cluster's */
	/* Uses what is shared without being a peer: it has no name that others
	 * see, and runs no tasks. For tools and scripts. */
	bool is_guest;
	muster_start_fn on_start; /* when it is a peer, before it takes tasks */
	muster_fiber_fn on_stop;  /* when what it did is finished */
	void *arg;

	/* See muster/cache.h. */
	size_t cache_value_bytes; /* of one; 1 MiB */
	uint64_t cache_bytes;     /* embedded: of all, as the first process on
				   * the host says; 0: what there is room for */
	uint64_t cache_entries;   /* the same for their number; 0: no limit */
	/* See muster/peer.h. What others see of this node, and how soon one
	 * that is silent is suspect and dead: 2,000, 6,000 and 15,000; with an
	 * embedded store 500, 1,500 and 3,750. The same in every node. */
	/* These two, and what they point to, last as long as the node. */
	const char *version;     /* of the application; "" */
	const char *const *urls; /* where it serves; ends with NULL */
	bool names_host;         /* HOST-worker-N instead of NAME-worker-N */
	uint32_t ping_ms;
	uint32_t suspect_ms;
	uint32_t dead_ms;

	/* See muster/rpc.h. */
	const struct muster_method *methods; /* ends with one without a name */
	unsigned allowed;                    /* enum muster_allowed */

	/* See muster/room.h. */
	const struct muster_room *rooms; /* ends with one without a name */
	uint32_t web_ms;       /* for a web client to come back; 300,000 */
	uint32_t web_messages; /* that are kept for one; 200 */

	/* See muster/task.h. */
	const struct muster_task *tasks; /* ends with one that is all zeros */
	uint32_t concurrency;            /* of tasks at once; 10 */
	uint32_t lease_ms; /* of a task that runs: how soon another server gets
			    * it if this one is lost; 30,000 */
	uint32_t adopt_ms; /* a server that is gone for so long does not come
			    * back: its own queue is everybody's; 600,000 */
	const char *const *queues; /* served beside the global one, this node's
				    * own and those of its tasks; ends with NULL
				    */
};

/*
 * Opens a node. With a cluster it lives as long as that and drains with it: in
 * a worker, or in a primary that has none. Without (NULL) it has a loop of its
 * own: see muster_run().
 *
 * NULL with errno set where the options or the URL cannot be used; a line on
 * stderr says why. What only the store's server can tell (its version, the
 * password) is found when the loop runs: a line on stderr, and the process ends
 * with 78.
 */
MUSTER_PUBLIC MUSTER_MUST_READ struct muster *
muster_open(struct muster_cluster *cluster,
	    const struct muster_node_options *options);

/* Without a cluster: runs until it was stopped, by TERM, INT, muster_stop(), or
 * because on_start failed; a guest also when its fibers have ended. Frees the
 * node. Returns what main should return. */
MUSTER_PUBLIC int muster_run(struct muster *muster);

/* Drains the node and ends it; in a worker, the worker as well. */
MUSTER_PUBLIC void muster_stop(struct muster *muster, int exit_code);

/* "api-worker-3": this node's name among its peers; "" before it has one. */
MUSTER_PUBLIC const char *muster_id(const struct muster *muster);
/* Is it finishing? Long work should look now and then. */
MUSTER_PUBLIC bool muster_is_stopping(const struct muster *muster);

/* The last failure of a call on this fiber, as one sentence with the way out,
 * and as a stable word (STORE_TIMEOUT); "" where there was none. Good until the
 * next call that fails. */
MUSTER_PUBLIC const char *muster_problem(const struct muster *muster);
MUSTER_PUBLIC const char *muster_problem_word(const struct muster *muster);

/* ---- Fibers ------------------------------------------------------------- */

/* Runs fn(muster, arg) on a fiber of its own, at once until it first waits.
 * `name` shows in messages and is copied. -EAGAIN: too many; -ECANCELED: the
 * node is ending. From anywhere. */
MUSTER_PUBLIC MUSTER_MUST_READ int muster_spawn(struct muster *muster,
						const char *name,
						muster_fiber_fn fn, void *arg);

MUSTER_PUBLIC int muster_sleep(struct muster *muster, uint64_t delay_ms);

/* Runs fn(arg) on another thread and waits for it, which nothing cuts short:
 * what fn uses may be on this fiber's stack. */
MUSTER_PUBLIC int muster_blocking(struct muster *muster, void (*fn)(void *arg),
				  void *arg);

/* In `delay_ms` the call that this fiber waits in, or the next that would
 * wait, fails with -ETIMEDOUT: once, so that it can still wait while it cleans
 * up. 0: no deadline. */
MUSTER_PUBLIC int muster_set_deadline(struct muster *muster, uint64_t delay_ms);

/* Frees what calls on this fiber have given back so far: for one that goes on
 * for long. */
MUSTER_PUBLIC void muster_clear_answers(struct muster *muster);

/* ---- Texts ---------------------------------------------------------------
 */

/* A text on this fiber, in printf form. */
MUSTER_PUBLIC MUSTER_FORMAT(2, 3) const
	char *muster_text(struct muster *muster, const char *format, ...);

/* A JSON text, quoted as it must be, made as jansson's json_pack() does:
 * muster_json(muster, "{s:s, s:i, s:[b]}", "to", name, "tries", 3, "ok", true)
 * Where that cannot be done it is "", which whatever takes JSON refuses. */
MUSTER_PUBLIC const char *muster_json(struct muster *muster, const char *format,
				      ...);

#ifdef __cplusplus
}
#endif

#endif
