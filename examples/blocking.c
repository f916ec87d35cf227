/*
 * What a blocking handler costs: its own worker's time, and nobody else's.
 *
 *     blocking [PORT] [WORKERS]
 *     curl 'http://127.0.0.1:8080/block?ms=2000' &
 *     curl http://127.0.0.1:8080/
 *
 * The second answer comes at once, from another worker: the primary hands a
 * connection to the worker with the fewest open ones.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <muster/cluster.h>

static double now_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (double)now.tv_sec * 1e3 + (double)now.tv_nsec / 1e6;
}

static void answer(struct muster_http *http, void *arg)
{
	double began_ms = now_ms();
	double block_ms = 0;

	(void)arg;
	if (strcmp(muster_http_path(http), "/block") == 0) {
		const char *text = muster_http_parameter(http, "ms");

		block_ms = text != NULL ? strtod(text, NULL) : 200;
	}
	while (now_ms() - began_ms < block_ms) {
		/* a handler that computes, as far as its loop can tell */
	}
	muster_http_reply_format(http, 200, "text/plain",
				 "worker %d took %.0f ms\n", (int)getpid(),
				 now_ms() - began_ms);
}

int main(int argc, char **argv)
{
	const char *port = argc > 1 ? argv[1] : "8080";
	struct muster_options options = {
		.workers = argc > 2 ? (int)strtol(argv[2], NULL, 10) : 2,
	};
	struct muster_cluster *cluster =
		muster_cluster_open(argc, argv, &options);

	setlinebuf(stdout);
	if (cluster == NULL)
		return 1;
	if (muster_is_worker(cluster)) {
		if (muster_http_listen(cluster, port, answer, NULL) < 0) {
			fprintf(stderr, "%s\n", muster_problem_text(cluster));
			return 1;
		}
		printf("worker %d serves port %s\n", (int)getpid(), port);
	}
	return muster_cluster_run(cluster);
}
