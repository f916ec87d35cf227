/*
 * muster/rpc.h - asking other servers of the cluster to do something.
 *
 *     static void hello(struct muster_request *request)
 *     {
 *             printf("Hello from the node %s\n",
 *                    muster_id(muster_request_server(request)));
 *     }
 *     ...
 *     static const struct muster_method methods[] = {
 *             { .name = "hello", .run = hello },
 *             { 0 },
 *     };
 *     ...
 *     struct muster_reply reply;
 *
 *     muster_do_cluster(muster, "hello", NULL, NULL, &reply);
 *
 * A call is made of all servers, of one, or of the one that holds a connection.
 * It is answered once: by the first server that succeeds, or with one error,
 * whose word is in muster_problem_word() and in the reply:
 *
 *     TIMEOUT         -ETIMEDOUT     nobody has answered in time
 *     NO_RESPONDERS   -EHOSTUNREACH  there is no such server
 *     NO_SUCH_METHOD  -ENOSYS        it does not have the method
 *     CONNECTION_GONE -ENOTCONN      it does not hold the connection
 *     PEER_DOWN       -EHOSTDOWN     it died meanwhile, or left
 *     CALLEE_ERROR    -EREMOTEIO     the method failed there; the reply has
 *                                    its text
 *     BUSY            -EBUSY         too many calls of it wait there
 *
 * What keeps a call from being sent at all has a word of its own (TOO_LARGE,
 * STORE_TIMEOUT...), in the reply too.
 *
 * A method that fails, blocks or crashes its worker harms nobody else. A call
 * is made at most once on each server. A method goes on where its caller dies
 * meanwhile, until the time that the caller gave it is over: its waits end then
 * with -ETIMEDOUT.
 *
 * A server that was taken for dead may come back under another id; calls that
 * it waits for end with PEER_DOWN then, and connections are to be held anew.
 */
#ifndef MUSTER_RPC_H
#define MUSTER_RPC_H

#include <muster/types.h>

#ifdef __cplusplus
extern "C" {
#endif

struct muster;

/* ---- Methods ------------------------------------------------------------- */

/* One call of a method, on a fiber; gone when the method returns. */
struct muster_request;

typedef void (*muster_method_fn)(struct muster_request *request);

/* In muster_node_options.methods, which ends with one that has no name. */
struct muster_method {
	const char *name;
	muster_method_fn run;
	void *arg;
	uint32_t concurrency; /* calls at once; 0: 100 */
	uint32_t waiting;     /* calls that wait for their turn; 0: 1,000.
			       * One more is answered BUSY */
};

/* Bits of muster_node_options.allowed: methods that are there, and off unless
 * allowed. */
enum muster_allowed {
	MUSTER_ALLOW_LOG = 1,    /* log: writes args.message to the log */
	MUSTER_ALLOW_STATUS = 2, /* status: id, host, pid, uptimeMs... */
	MUSTER_ALLOW_STOP = 4,   /* stop: drains the node and ends it */
};

MUSTER_PUBLIC struct muster *
muster_request_server(const struct muster_request *request);
MUSTER_PUBLIC void *muster_request_arg(const struct muster_request *request);
/* The id of the server that asks. */
MUSTER_PUBLIC const char *
muster_request_from(const struct muster_request *request);
/* That the call is about; "" where it is about none. */
MUSTER_PUBLIC const char *
muster_request_connection(const struct muster_request *request);
/* The arguments, one JSON value. */
MUSTER_PUBLIC const char *
muster_request_args(const struct muster_request *request);
/* One member of arguments that are an object; "", 0 where there is none. */
MUSTER_PUBLIC const char *muster_request_text(struct muster_request *request,
					      const char *name);
MUSTER_PUBLIC int64_t muster_request_int(struct muster_request *request,
					 const char *name);
/* What the caller gets: one JSON value; null where nothing was set. */
MUSTER_PUBLIC void muster_request_reply(struct muster_request *request,
					const char *json);
/* CALLEE_ERROR with this text. */
MUSTER_PUBLIC MUSTER_FORMAT(2, 3) void muster_request_fail(
	struct muster_request *request, const char *format, ...);

/* ---- Calls --------------------------------------------------------------- */

struct muster_do {
	const char *node;       /* that server alone */
	const char *connection; /* the server that holds it alone */
	uint32_t timeout_ms;    /* 0: 5,000 */
};

struct muster_reply {
	const char *value; /* JSON; "null" where it failed */
	const char *from;  /* who answered; "" where nobody did */
	const char *error; /* a word of the list above; "" where it succeeded */
	const char *text;  /* of the error, for a person; "" */
};

/*
 * Calls a method of all servers (this one too), or as `options` say, and waits
 * for the first answer. `args` is one JSON value, NULL is null; `reply` may be
 * NULL. 0, or an error of the list; -EINVAL, -EMSGSIZE (1 MiB), -ELOOP (64
 * deep): the arguments cannot be sent.
 */
MUSTER_PUBLIC int muster_do_cluster(struct muster *muster, const char *method,
				    const char *args,
				    const struct muster_do *options,
				    struct muster_reply *reply);

/* The same without an answer: none is asked for, none is sent. Does not wait,
 * from anywhere. */
MUSTER_PUBLIC MUSTER_MUST_READ int
muster_tell_cluster(struct muster *muster, const char *method, const char *args,
		    const struct muster_do *options);

struct muster_gathered {
	const struct muster_reply *replies; /* one for each server, by id */
	size_t count;
	const char *const *silent; /* servers that did not answer in time */
	size_t silent_count;
};

/* Calls a method of every server that is up now, and waits until each has
 * answered, has died, or timeout_ms (0: 5,000) have passed. */
MUSTER_PUBLIC MUSTER_MUST_READ int
muster_gather(struct muster *muster, const char *method, const char *args,
	      uint32_t timeout_ms, struct muster_gathered *gathered);

/* ---- Connections --------------------------------------------------------- */

/*
 * A connection's id names its server, so that a call about it goes there and
 * nowhere else: 32 hexadecimal digits, '.', the server's id. This node holds it
 * from now on.
 */
MUSTER_PUBLIC const char *muster_connection_hold(struct muster *muster);
MUSTER_PUBLIC void muster_connection_drop(struct muster *muster,
					  const char *id);

#ifdef __cplusplus
}
#endif

#endif
