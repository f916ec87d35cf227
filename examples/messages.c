/*
 * The events of a worker's life, and messages both ways.
 *
 *     messages [PORT]
 *
 * The primary greets each worker; a worker that has answered is told to go, so
 * the program ends by itself.
 */
#include <stdio.h>
#include <unistd.h>

#include <muster/cluster.h>

/* ---- The primary ------------------------------------------------------- */

static void on_fork(struct muster_worker *worker, void *arg)
{
	(void)arg;
	printf("fork: worker %d\n", muster_worker_id(worker));
	if (muster_send_format(worker, "{\"msg\": \"Hello worker %d\"}",
			       muster_worker_id(worker)) < 0)
		printf("worker %d is gone\n", muster_worker_id(worker));
}

static void on_online(struct muster_worker *worker, void *arg)
{
	(void)arg;
	printf("online: worker %d\n", muster_worker_id(worker));
}

static void on_listening(struct muster_worker *worker,
			 const struct muster_address *address, void *arg)
{
	(void)arg;
	printf("listening: worker %d on %s port %d\n", muster_worker_id(worker),
	       address->host, address->port);
}

static void on_answer(struct muster_worker *worker,
		      struct muster_message *message, void *arg)
{
	(void)arg;
	printf("message: worker %d says '%s'\n", muster_worker_id(worker),
	       muster_message_text(message, "msg"));
	if (muster_worker_disconnect(worker) < 0)
		printf("worker %d is gone\n", muster_worker_id(worker));
}

static void on_disconnect(struct muster_worker *worker, void *arg)
{
	(void)arg;
	printf("disconnect: worker %d\n", muster_worker_id(worker));
}

static void on_exit_of(struct muster_worker *worker, int code, int signal,
		       void *arg)
{
	(void)arg;
	printf("exit: worker %d with %s\n", muster_worker_id(worker),
	       muster_exit_text(code, signal));
}

/* ---- A worker ----------------------------------------------------------- */

static void hello(struct muster_http *http, void *arg)
{
	(void)arg;
	muster_http_reply(http, 200, "text/plain", "hello world\n", 12);
}

static void on_greeting(struct muster_worker *self,
			struct muster_message *message, void *arg)
{
	(void)arg;
	printf("Worker received: %s\n",
	       (const char *)muster_message_content(message));
	if (muster_send_format(self, "{\"msg\": \"Hello primary\"}") < 0)
		printf("the primary is gone\n");
}

int main(int argc, char **argv)
{
	const char *port = argc > 1 ? argv[1] : "8000";
	struct muster_cluster *cluster = muster_cluster_open(argc, argv, NULL);

	setlinebuf(stdout);
	if (cluster == NULL)
		return 1;
	if (muster_is_primary(cluster)) {
		printf("Primary %d is running\n", (int)getpid());
		muster_on_fork(cluster, on_fork, NULL);
		muster_on_online(cluster, on_online, NULL);
		muster_on_listening(cluster, on_listening, NULL);
		muster_on_message(cluster, on_answer, NULL);
		muster_on_disconnect(cluster, on_disconnect, NULL);
		muster_on_exit(cluster, on_exit_of, NULL);
		for (int i = 0; i < muster_available_cores(); i++)
			muster_fork(cluster, NULL, NULL);
	} else {
		if (muster_http_listen(cluster, port, hello, NULL) < 0) {
			fprintf(stderr, "%s\n", muster_problem_text(cluster));
			return 1;
		}
		printf("Worker %d started\n", (int)getpid());
		muster_on_message(cluster, on_greeting, NULL);
	}
	return muster_cluster_run(cluster);
}
