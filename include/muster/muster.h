/*
 * muster/muster.h - a whole API server: a program that says what it can do, and
 * is run on every core, behind one port, with the store that it shares.
 *
 *     int main(int argc, char **argv)
 *     {
 *             return muster_main(argc, argv, &(struct muster_app){
 *                     .name = "api", .actions = actions, .tasks = tasks });
 *     }
 *
 * ./api serves http://localhost:8080/api/ACTION with the store on this host;
 * ./api --workers 4 --store redis://10.0.0.5 joins a cluster of hosts, which
 * needs a token. ./api --help lists the options, which can be set in the
 * environment and in a file, api.yml, as well.
 */
#ifndef MUSTER_MUSTER_H
#define MUSTER_MUSTER_H

#include <muster/action.h>
#include <muster/cache.h>
#include <muster/cluster.h>
#include <muster/http.h>
#include <muster/node.h>
#include <muster/peer.h>
#include <muster/pubsub.h>
#include <muster/room.h>
#include <muster/rpc.h>
#include <muster/stats.h>
#include <muster/task.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Zeros are the default named beside each. Nothing is copied: it is to last as
 * long as muster_main(). Lists end with an entry that is all zeros. */
struct muster_app {
	const char *name;    /* the program's */
	const char *version; /* in answers and documents; "" */
	const struct muster_action *actions;
	const struct muster_middleware *middleware;
	const struct muster_task *tasks;
	const struct muster_method *methods; /* see muster/rpc.h */
	unsigned allowed;                    /* enum muster_allowed */
	const struct muster_room *rooms;     /* see muster/room.h */
	const struct muster_route *routes;

	/* In each worker, on a fiber: before it serves, which it does not where
	 * this fails; and when it has served its last request. */
	muster_start_fn on_start;
	muster_fiber_fn on_stop;
	void *arg; /* of both */

	const char *listen; /* unless it is said elsewhere; "8080" */
	const char *tcp;    /* the same for TCP's lines; none */
	/* Of https://HOST:PORT as `listen` and tls://HOST:PORT as `tcp`. */
	struct muster_certificate certificate;
	const char *welcome;       /* what WebSocket and TCP say first;
				    * "Welcome" */
	const char *public_folder; /* files for all other paths; none */
	/* Whose pages may read answers and connect; anybody's, but as if they
	 * had no cookies. Ends with NULL. */
	const char *const *origins;
	struct muster_http_limits limits;
	uint32_t max_connections; /* of a worker, on each address; no limit */
	uint32_t message_bytes;   /* of a WebSocket's; 1 MiB */
	uint32_t line_bytes;      /* of TCP's; 64 KiB */
	uint32_t file_bytes;      /* of a file over either; 1 MiB */
	uint32_t timeout_ms;      /* of actions that have none; 30,000 */
	/* HTTP actions a second that one address may ask a worker for, and how
	 * many at once: 429 with Retry-After. No limit; as many as a second. An
	 * address is muster_http_client()'s, of IPv6 its first 64 bits. */
	uint32_t client_rate;
	uint32_t client_burst;
	uint32_t web_ms;       /* for a web client to come back; 300,000 */
	uint32_t web_messages; /* that are kept for one; 200 */
	/* Answers without what is known of the server, and of the client. */
	bool no_server_information;
	bool no_requester_information;
	/* Paths worth a try, which the primary names with its address: "status"
	 * is /api/status. Ends with NULL. */
	const char *const *examples;
};

/*
 * Runs the application as a cluster until it is told to stop (see
 * muster/cluster.h for signals), and returns what main() should return: 0; 1
 * where it could not, with a line on stderr; 2 where the options are wrong.
 * `argv` must be main's, as workers are started with it again.
 */
MUSTER_PUBLIC int muster_main(int argc, char **argv,
			      const struct muster_app *app);

/*
 * The application's own settings: what its configuration has below "app", by
 * names with dots between them. Of
 *
 *     app:
 *       mailer: { host: mail.example.com, port: 25 }
 *
 * muster_config_int(muster, "mailer.port", 587) is 25. Where there is none, or
 * it is of another kind (which is logged), they give `otherwise`. A text is
 * good as long as the process. true, yes and on are the same, as are false, no
 * and off.
 */
MUSTER_PUBLIC const char *muster_config_text(const struct muster *muster,
					     const char *path,
					     const char *otherwise);
MUSTER_PUBLIC int64_t muster_config_int(const struct muster *muster,
					const char *path, int64_t otherwise);
MUSTER_PUBLIC bool muster_config_bool(const struct muster *muster,
				      const char *path, bool otherwise);

#ifdef __cplusplus
}
#endif

#endif
