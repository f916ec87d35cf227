/*
 * Tasks through the public functions:
 *
 *	tasks latency STORE COUNT	one at a time; prints p50 and p99 in us
 *	tasks run STORE COUNT AT_ONCE	enqueues, then runs that many no-op
 *					tasks; prints both in tasks/s
 *	tasks idle STORE		prints "idle", and does nothing until
 *					it is told to stop
 *
 * FAST in the environment: an embedded store that may lose all to a power loss.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <muster/node.h>
#include <muster/task.h>

#define BATCH 1000

static struct {
	const char *mode;
	const char *store;
	long count;
	uint32_t at_once;
	long runs;
	uint64_t started_ns;
	uint64_t *took_ns;
	bool is_guest;
} bench;

static uint64_t now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

static int run_nothing(struct muster_job *job)
{
	(void)job;
	bench.started_ns = now_ns();
	bench.runs++;
	return 0;
}

static void fail(struct muster *muster, const char *what)
{
	fprintf(stderr, "tasks: %s: %s\n", what, muster_problem(muster));
	muster_stop(muster, 1);
}

static int compare(const void *a, const void *b)
{
	uint64_t one = *(const uint64_t *)a;
	uint64_t other = *(const uint64_t *)b;

	return one < other ? -1 : one > other;
}

static void measure_latency(struct muster *muster, void *arg)
{
	(void)arg;
	for (long i = 0; i < bench.count; i++) {
		long runs = bench.runs;
		uint64_t began_ns;

		/* It waits in the store by then. */
		if (muster_sleep(muster, 2) < 0)
			return;
		began_ns = now_ns();
		if (muster_task_enqueue(muster, "nothing", NULL) != 0) {
			fail(muster, "enqueue");
			return;
		}
		while (bench.runs == runs)
			if (muster_sleep(muster, 1) < 0)
				return;
		bench.took_ns[i] = bench.started_ns - began_ns;
		muster_clear_answers(muster);
	}
	qsort(bench.took_ns, (size_t)bench.count, sizeof(uint64_t), compare);
	long middle = bench.count / 2;
	long late = bench.count * 99 / 100;

	printf("latency %.1f %.1f\n", (double)bench.took_ns[middle] / 1000,
	       (double)bench.took_ns[late] / 1000);
	muster_stop(muster, 0);
}

/* By a guest, so that none is run before all are there. */
static void enqueue_all(struct muster *muster, void *arg)
{
	static struct muster_enqueue list[BATCH];
	uint64_t began_ns = now_ns();

	(void)arg;
	for (size_t i = 0; i < BATCH; i++)
		list[i] = (struct muster_enqueue){
			.task = "nothing",
			.params = "{\"to\":\"somebody@example.org\",\"text\":"
				  "\"about as long as tasks are, mostly\"}",
		};
	for (long done = 0; done < bench.count; done += BATCH) {
		if (muster_task_enqueue_many(muster, list, BATCH, NULL) != 0) {
			fail(muster, "enqueue");
			return;
		}
		muster_clear_answers(muster);
	}
	printf("enqueue %.0f\n",
	       (double)bench.count * 1e9 / (double)(now_ns() - began_ns));
}

static void await_all(struct muster *muster, void *arg)
{
	uint64_t began_ns = now_ns();
	struct muster_task_counts counts = { .active = 1 };

	(void)arg;
	while (bench.runs < bench.count)
		if (muster_sleep(muster, 1) < 0)
			return;
	while (counts.active > 0) {
		if (muster_task_count(muster, &counts) < 0) {
			fail(muster, "count");
			return;
		}
		muster_clear_answers(muster);
	}
	printf("run %.0f\n",
	       (double)bench.count * 1e9 / (double)(now_ns() - began_ns));
	muster_stop(muster, 0);
}

static void say_idle(struct muster *muster, void *arg)
{
	(void)arg;
	if (muster_sleep(muster, 1000) == 0)
		puts("idle");
}

static int start(struct muster *muster, void *arg)
{
	(void)arg;
	if (bench.is_guest)
		return muster_spawn(muster, "bench", enqueue_all, NULL);
	if (strcmp(bench.mode, "latency") == 0)
		return muster_spawn(muster, "bench", measure_latency, NULL);
	if (strcmp(bench.mode, "run") == 0)
		return muster_spawn(muster, "bench", await_all, NULL);
	return muster_spawn(muster, "bench", say_idle, NULL);
}

static int run_node(bool is_guest)
{
	static const struct muster_task tasks[] = {
		{ .name = "nothing", .run = run_nothing },
		{ 0 },
	};

	bench.is_guest = is_guest;
	struct muster *muster =
		muster_open(NULL, &(struct muster_node_options){
					  .name = "bench",
					  .store = bench.store,
					  .token = "of this benchmark alone",
					  .durability = getenv("FAST") != NULL
								? MUSTER_FAST
								: MUSTER_NORMAL,
					  .is_guest = is_guest,
					  .tasks = tasks,
					  .concurrency = bench.at_once,
					  .on_start = start,
				  });

	return muster == NULL ? 1 : muster_run(muster);
}

int main(int argc, char **argv)
{
	if (argc < 3) {
		fprintf(stderr, "usage: tasks latency|run|idle STORE [COUNT "
				"[AT_ONCE]]\n");
		return 2;
	}
	setvbuf(stdout, NULL, _IOLBF, 0);
	bench.mode = argv[1];
	bench.store = argv[2];
	bench.count = argc > 3 ? strtol(argv[3], NULL, 10) : 1000;
	bench.at_once = argc > 4 ? (uint32_t)strtoul(argv[4], NULL, 10) : 0;
	bench.took_ns = calloc((size_t)bench.count, sizeof(uint64_t));
	if (bench.took_ns == NULL)
		return 1;
	int code = strcmp(bench.mode, "run") == 0 ? run_node(true) : 0;

	if (code == 0)
		code = run_node(false);
	free(bench.took_ns);
	return code;
}
