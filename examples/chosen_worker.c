/*
 * The application decides which worker gets a connection: here a client's
 * address always leads to the same one, which can so remember its clients.
 *
 *     chosen_worker [PORT] [WORKERS]
 *     curl http://127.0.0.1:8080/
 *     curl --interface 127.0.0.2 http://127.0.0.1:8080/
 */
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include <muster/cluster.h>

/* ---- The primary: accepts, and passes on -------------------------------- */

static unsigned client_hash(int descriptor)
{
	struct sockaddr_in address = { 0 };
	socklen_t length = sizeof(address);

	if (getpeername(descriptor, (struct sockaddr *)&address, &length) < 0)
		return 0;
	return (unsigned)ntohl(address.sin_addr.s_addr) * 2654435761u >> 16;
}

static void on_connection(struct muster_connection *connection, void *arg)
{
	struct muster_cluster *cluster = arg;
	int descriptor = muster_connection_descriptor(connection);
	unsigned workers = (unsigned)muster_worker_count(cluster);
	int slot =
		workers == 0 ? 0 : 1 + (int)(client_hash(descriptor) % workers);
	struct muster_worker *worker = muster_worker_find(cluster, slot);

	if (worker != NULL &&
	    muster_send_descriptors(worker, "{}", 2, &descriptor, 1) < 0)
		fprintf(stderr, "worker %d is gone\n", slot);
	muster_connection_close(connection); /* the worker has a copy */
}

/* ---- A worker: serves what it is passed --------------------------------- */

static void answer(struct muster_http *http, void *arg)
{
	static int visits;

	(void)arg;
	muster_http_reply_format(
		http, 200, "text/plain", "client %s, worker %d, visit %d\n",
		muster_http_client(http), (int)getpid(), ++visits);
}

static void on_message(struct muster_worker *self,
		       struct muster_message *message, void *arg)
{
	struct muster_cluster *cluster = arg;
	struct muster_http_options options = { .handler = answer };
	int descriptor = muster_message_take_descriptor(message, 0);

	(void)self;
	if (muster_http_serve(cluster, descriptor, &options) < 0)
		fprintf(stderr, "%s\n", muster_problem_text(cluster));
}

int main(int argc, char **argv)
{
	const char *port = argc > 1 ? argv[1] : "8080";
	struct muster_options options = {
		.workers = argc > 2 ? (int)strtol(argv[2], NULL, 10) : 4,
	};
	struct muster_cluster *cluster =
		muster_cluster_open(argc, argv, &options);

	setlinebuf(stdout);
	if (cluster == NULL)
		return 1;
	if (muster_is_worker(cluster)) {
		muster_on_message(cluster, on_message, cluster);
	} else if (muster_listen(cluster, port, on_connection, cluster) < 0) {
		fprintf(stderr, "%s\n", muster_problem_text(cluster));
		return 1;
	} else {
		printf("primary %d accepts at port %s\n", (int)getpid(), port);
	}
	return muster_cluster_run(cluster);
}
