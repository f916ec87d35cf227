/*
 * Two workers that serve one port; one that stops is followed by another.
 *
 *     one_port [PORT]
 *     curl http://127.0.0.1:5000/
 */
#include <stdio.h>
#include <unistd.h>

#include <muster/cluster.h>

#define CANNOT_LISTEN 2 /* exit code: another worker could not either */

static const char page[] = "<h1>Hi 👋</h1>";

static void on_exit_of(struct muster_worker *worker, int code, int signal,
		       void *arg)
{
	struct muster_cluster *cluster = arg;

	printf("process %d stopped: %s\n", (int)muster_worker_pid(worker),
	       muster_exit_text(code, signal));
	if (code != CANNOT_LISTEN &&
	    !muster_worker_exited_after_disconnect(worker))
		muster_fork(cluster, NULL, NULL);
}

static void answer(struct muster_http *http, void *arg)
{
	(void)arg;
	muster_http_reply(http, 200, "text/html; charset=utf-8", page,
			  sizeof(page) - 1);
}

int main(int argc, char **argv)
{
	const char *port = argc > 1 ? argv[1] : "5000";
	struct muster_cluster *cluster = muster_cluster_open(argc, argv, NULL);

	setlinebuf(stdout);
	if (cluster == NULL)
		return 1;
	if (muster_is_primary(cluster)) {
		printf("this is the primary %d\n", (int)getpid());
		muster_on_exit(cluster, on_exit_of, cluster);
		muster_fork(cluster, NULL, NULL);
		muster_fork(cluster, NULL, NULL);
	} else {
		if (muster_http_listen(cluster, port, answer, NULL) < 0) {
			fprintf(stderr, "%s\n", muster_problem_text(cluster));
			return CANNOT_LISTEN;
		}
		printf("Listening\n");
	}
	return muster_cluster_run(cluster);
}
