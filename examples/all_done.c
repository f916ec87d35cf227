/*
 * Workers that are another program, and a primary that waits for them all.
 *
 *     all_done [LONGEST_MS]
 */
#include <libgen.h>
#include <limits.h>
#include <stdio.h>
#include <unistd.h>

#include <muster/cluster.h>

struct count {
	int started;
	int ended;
};

static void on_exit_of(struct muster_worker *worker, int code, int signal,
		       void *arg)
{
	struct count *count = arg;

	(void)code;
	(void)signal;
	printf("process ended %d\n", (int)muster_worker_pid(worker));
	if (++count->ended == count->started)
		printf("all done ✅\n");
}

int main(int argc, char **argv)
{
	struct muster_cluster *cluster = muster_cluster_open(argc, argv, NULL);
	struct count count = { 0 };
	char own[PATH_MAX] = "";
	char program[PATH_MAX + 16];

	setlinebuf(stdout);
	if (cluster == NULL ||
	    readlink("/proc/self/exe", own, sizeof(own) - 1) < 0)
		return 1;
	snprintf(program, sizeof(program), "%s/random_exit", dirname(own));

	const char *const args[] = { argc > 1 ? argv[1] : "6000", NULL };
	struct muster_settings settings = { .exec = program, .args = args };

	if (muster_setup_primary(cluster, &settings) < 0) {
		fprintf(stderr, "%s\n", muster_problem_text(cluster));
		return 1;
	}
	muster_on_exit(cluster, on_exit_of, &count);
	for (int i = 0; i < muster_available_cores(); i++)
		if (muster_fork(cluster, NULL, NULL) == 0)
			count.started++;
	return muster_cluster_run(cluster);
}
