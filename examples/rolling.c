/*
 * A new version without a dropped request.
 *
 *     echo one >greeting; rolling greeting 8080 &
 *     echo two >greeting; kill -HUP %1
 *
 * A worker reads the greeting when it starts, as a new version would come with
 * a new program file. One that cannot read it does not get ready, and the old
 * ones stay.
 */
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <muster/cluster.h>

static char greeting[80];

static void answer(struct muster_http *http, void *arg)
{
	(void)arg;
	muster_http_reply(http, 200, "text/plain", greeting, strlen(greeting));
}

static int serve(struct muster_cluster *cluster, const char *file,
		 const char *port)
{
	FILE *stream = fopen(file, "re");

	if (stream == NULL || !fgets(greeting, sizeof(greeting), stream)) {
		perror(file);
		return 1;
	}
	fclose(stream);
	if (muster_http_listen(cluster, port, answer, NULL) < 0) {
		fprintf(stderr, "%s\n", muster_problem_text(cluster));
		return 1;
	}
	return muster_cluster_run(cluster);
}

static void on_ready(struct muster_worker *worker, void *arg)
{
	(void)arg;
	printf("worker %d is ready, pid %d\n", muster_worker_id(worker),
	       (int)muster_worker_pid(worker));
}

static void on_exit_of(struct muster_worker *worker, int code, int signal,
		       void *arg)
{
	(void)arg;
	printf("worker %d has gone: %s\n", muster_worker_id(worker),
	       muster_exit_text(code, signal));
}

int main(int argc, char **argv)
{
	const char *port = argc > 2 ? argv[2] : "8080";
	struct muster_options options = { .workers = 2 };

	if (argc < 2) {
		fprintf(stderr, "usage: rolling FILE [PORT]\n");
		return 2;
	}

	struct muster_cluster *cluster =
		muster_cluster_open(argc, argv, &options);

	setlinebuf(stdout);
	if (cluster == NULL)
		return 1;
	if (muster_is_worker(cluster))
		return serve(cluster, argv[1], port);
	muster_on_ready(cluster, on_ready, NULL);
	muster_on_exit(cluster, on_exit_of, NULL);
	printf("primary %d: kill -HUP %d rolls over\n", (int)getpid(),
	       (int)getpid());
	return muster_cluster_run(cluster);
}
