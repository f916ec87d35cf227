/*
 * A worker a core behind one port; a worker that dies is followed by another.
 *
 *     fork_per_core [PORT] [LIFE_MS]
 *     curl http://127.0.0.1:8080/
 *
 * "/" keeps its worker busy for a while, and each worker dies at a random
 * moment within LIFE_MS (20,000): the program as a whole goes on serving.
 */
#include <stdio.h>
#include <stdlib.h>
#include <sys/random.h>
#include <unistd.h>

#include <muster/cluster.h>

#define CANNOT_LISTEN 2 /* exit code: another worker could not either */

static void on_exit_of(struct muster_worker *worker, int code, int signal,
		       void *arg)
{
	struct muster_cluster *cluster = arg;

	if (code == 0 || code == CANNOT_LISTEN ||
	    muster_worker_exited_after_disconnect(worker))
		return;
	printf("Worker %d crashed (%s), starting a new one\n",
	       muster_worker_id(worker), muster_exit_text(code, signal));
	muster_fork(cluster, NULL, NULL);
}

static void answer(struct muster_http *http, void *arg)
{
	volatile unsigned i = 0;

	(void)arg;
	if (muster_http_path(http)[1] != '\0') {
		muster_http_reply(http, 200, NULL, NULL, 0);
		return;
	}
	while (i < 100 * 1000 * 1000) /* blocks this worker, no other one */
		i++;
	muster_http_reply(http, 200, "text/plain", "okay", 4);
}

static void die(struct muster_timer *timer, void *arg)
{
	(void)timer;
	(void)arg;
	exit(1);
}

/* Told to go, and finished: nothing to die for any more. */
static void on_disconnect(struct muster_worker *self, void *arg)
{
	struct muster_timer *death = arg;

	(void)self;
	muster_timer_stop(death);
}

static uint64_t random_below(uint64_t limit)
{
	uint64_t number = 0;

	if (getrandom(&number, sizeof(number), 0) < 0)
		perror("getrandom");
	return number % limit;
}

int main(int argc, char **argv)
{
	const char *port = argc > 1 ? argv[1] : "8080";
	uint64_t life_ms = argc > 2 ? strtoull(argv[2], NULL, 10) : 20000;
	struct muster_cluster *cluster = muster_cluster_open(argc, argv, NULL);

	setlinebuf(stdout);
	if (cluster == NULL)
		return 1;
	if (muster_is_primary(cluster)) {
		printf("Primary running on pid: %d\n", (int)getpid());
		muster_on_exit(cluster, on_exit_of, cluster);
		for (int i = 0; i < muster_available_cores(); i++)
			muster_fork(cluster, NULL, NULL);
	} else {
		if (muster_http_listen(cluster, port, answer, NULL) < 0) {
			fprintf(stderr, "%s\n", muster_problem_text(cluster));
			return CANNOT_LISTEN;
		}
		printf("Worker running on pid: %d\n", (int)getpid());
		muster_on_disconnect(
			cluster, on_disconnect,
			muster_timer_start(cluster, random_below(life_ms) + 1,
					   0, die, NULL));
	}
	return muster_cluster_run(cluster);
}
