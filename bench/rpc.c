/*
 * Calls and messages between two servers, through the public API:
 * rpc MODE URL [N [FIBERS]]
 *
 *   call     calls of a method on another server, from FIBERS fibers (64)
 *   alone    one at a time
 *   publish  messages to a type, which the other server subscribes to
 *
 * Prints one JSON object.
 */
#include <inttypes.h>
#include <sched.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <muster/node.h>
#include <muster/peer.h>
#include <muster/pubsub.h>
#include <muster/rpc.h>

#define ACK    1024
#define WINDOW 8192 /* messages that are under way */
#define TURN   128  /* messages that leave together */
#define OTHER  "other-worker-1"
#define ARGS   "{\"name\":\"a name of some length\",\"number\":12345678}"

static struct {
	const char *mode;
	uint64_t wanted;
	uint64_t fibers;
	uint64_t begun;
	uint64_t done;
	uint64_t acked;
	uint64_t *samples;
	uint64_t since_ns;
	double used_us;
} bench;

static uint64_t now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

static double cpu_us(int who)
{
	struct rusage usage;

	getrusage(who, &usage);
	return (double)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) * 1e6 +
	       (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec);
}

static void pin(size_t core)
{
	cpu_set_t cores;

	CPU_ZERO(&cores);
	CPU_SET(core, &cores);
	if (sched_setaffinity(0, sizeof(cores), &cores) < 0)
		return; /* one core, then */
}

static void must(struct muster *muster, int answer)
{
	if (answer == 0)
		return;
	fprintf(stderr, "rpc: %s\n", muster_problem(muster));
	exit(1);
}

/* ---- the other server ---- */

static void echo(struct muster_request *request)
{
	muster_request_reply(request, muster_request_args(request));
}

static void on_data(struct muster *muster, const struct muster_news *news,
		    void *arg)
{
	static uint64_t seen;

	(void)news;
	(void)arg;
	if (++seen % ACK == 0)
		must(muster, muster_publish(muster, "/acks", "1"));
}

static int serve(struct muster *muster, void *arg)
{
	struct muster_subscription *data;

	(void)arg;
	must(muster, muster_subscribe(muster, "/data", on_data, NULL, &data));
	muster_subscription_set_room(data, WINDOW * 2);
	return 0;
}

static struct muster *open_node(const char *name, const char *url,
				muster_start_fn on_start)
{
	static const struct muster_method methods[] = {
		{ .name = "echo", .run = echo },
		{ 0 },
	};

	return muster_open(NULL, &(struct muster_node_options){
					 .name = name,
					 .store = url,
					 .token = "a token for benches",
					 .methods = methods,
					 .on_start = on_start });
}

static pid_t start_other(const char *url)
{
	pid_t pid = fork();

	if (pid != 0)
		return pid;
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	pin(1);
	struct muster *muster = open_node("other", url, serve);

	_exit(muster == NULL ? 1 : muster_run(muster));
}

/* ---- calls ---- */

static int by_value(const void *a, const void *b)
{
	uint64_t left = *(const uint64_t *)a;
	uint64_t right = *(const uint64_t *)b;

	return left < right ? -1 : left > right;
}

static void report(struct muster *muster, const char *what)
{
	uint64_t took = now_ns() - bench.since_ns;

	printf("{\"%s_per_second\": %.0f, \"cpu_us\": %.2f", what,
	       (double)bench.done * 1e9 / (double)took,
	       (cpu_us(RUSAGE_SELF) - bench.used_us) / (double)bench.done);
	if (bench.samples != NULL) {
		qsort(bench.samples, bench.done, sizeof(*bench.samples),
		      by_value);
		size_t middle = bench.done / 2;
		size_t late = bench.done * 99 / 100;

		printf(", \"p50_us\": %.1f, \"p99_us\": %.1f",
		       (double)bench.samples[middle] / 1e3,
		       (double)bench.samples[late] / 1e3);
	}
	muster_stop(muster, 0);
}

static void call(struct muster *muster, void *arg)
{
	static const struct muster_do other = { .node = OTHER };
	struct muster_reply reply;

	(void)arg;
	while (bench.begun < bench.wanted) {
		uint64_t since = now_ns();

		bench.begun++;
		must(muster,
		     muster_do_cluster(muster, "echo", ARGS, &other, &reply));
		if (strcmp(reply.value, ARGS) != 0)
			abort();
		bench.samples[bench.done++] = now_ns() - since;
		muster_clear_answers(muster);
	}
	if (bench.done == bench.wanted)
		report(muster, "calls");
}

/* ---- messages ---- */

static void on_ack(struct muster *muster, const struct muster_news *news,
		   void *arg)
{
	(void)news;
	(void)arg;
	bench.acked += ACK;
	if (bench.acked < bench.wanted)
		return;
	bench.done = bench.wanted;
	report(muster, "messages");
}

/* A turn of the loop at a time, as an application does: the last of each is
 * waited for, until it has left. */
static void publish(struct muster *muster, void *arg)
{
	int64_t receivers;

	(void)arg;
	while (bench.begun < bench.wanted) {
		if (bench.begun + TURN > bench.acked + WINDOW) {
			must(muster, muster_sleep(muster, 1));
			continue;
		}
		for (int i = 1; i < TURN; i++)
			must(muster, muster_publish(muster, "/data", ARGS));
		must(muster,
		     muster_publish_counted(muster, "/data", ARGS, &receivers));
		bench.begun += TURN;
	}
}

/* ---- this one ---- */

static void begin(struct muster *muster, void *arg)
{
	(void)arg;
	must(muster,
	     muster_peer_wait(muster, OTHER, MUSTER_PEER_IS_UP, 30000, NULL));
	bool publishes = strcmp(bench.mode, "publish") == 0;

	if (publishes)
		must(muster,
		     muster_subscribe(muster, "/acks", on_ack, NULL, NULL));
	else
		bench.samples = calloc(bench.wanted, sizeof(*bench.samples));
	bench.since_ns = now_ns();
	bench.used_us = cpu_us(RUSAGE_SELF);
	for (uint64_t i = 0; i < (publishes ? 1 : bench.fibers); i++)
		must(muster, muster_spawn(muster, "bench",
					  publishes ? publish : call, NULL));
}

static int on_start(struct muster *muster, void *arg)
{
	return muster_spawn(muster, "begin", begin, arg);
}

int main(int argc, char **argv)
{
	if (argc < 3) {
		fprintf(stderr, "rpc call|alone|publish URL [N [FIBERS]]\n");
		return 2;
	}
	bench.mode = argv[1];
	bench.wanted = argc > 3 ? strtoull(argv[3], NULL, 10) : 100000;
	bench.wanted = bench.wanted / ACK * ACK;
	bench.fibers = argc > 4 ? strtoull(argv[4], NULL, 10) : 64;
	if (strcmp(bench.mode, "alone") == 0)
		bench.fibers = 1;
	pid_t other = start_other(argv[2]);

	pin(0);
	struct muster *muster = open_node("caller", argv[2], on_start);
	int code = muster == NULL ? 1 : muster_run(muster);

	kill(other, SIGKILL);
	waitpid(other, NULL, 0);
	if (bench.done > 0)
		printf(", \"other_cpu_us\": %.2f}\n",
		       cpu_us(RUSAGE_CHILDREN) / (double)bench.done);
	return code;
}
