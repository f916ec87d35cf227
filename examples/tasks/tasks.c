/*
 * Tasks that a cluster of workers shares.
 *
 *     tasks [--workers N|max] [--store URL]
 *     tasks [--store URL] enqueue NAME [PARAMS]
 *     tasks [--store URL] produce COUNT
 *
 * The first form is the cluster. Start it, and in another terminal:
 *
 *     build/examples/tasks enqueue resize '{"picture":"cat.png","width":640}'
 *     build/examples/tasks enqueue sendMail '{"to":"ann@example.org"}'
 *     build/examples/tasks produce 1000
 *
 * What happens when a worker dies over a task: kill -9 it, and watch another
 * one take it up. Meanwhile `muster tasks ls --store URL` shows what there is.
 *
 * The store is an embedded one (in MUSTER_HOME, by default ~/.muster); --store
 * redis://HOST, with a secret in MUSTER_TOKEN, is one for many hosts. WORKERS
 * and STORE in the environment do the same as the options.
 */
#include <getopt.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <muster/cluster.h>
#include <muster/task.h>

#define PRODUCE_AT_ONCE 500

/* ---- the tasks ----------------------------------------------------------- */

static void say(struct muster_job *job, const char *text)
{
	printf("%s %s: %s\n", muster_id(muster_job_node(job)),
	       muster_job_task(job), text);
}

/* What takes the processor for a while, on another thread meanwhile. */
static void shrink(void *arg)
{
	uint64_t *sum = arg;

	for (uint64_t i = 0; i < 20 * 1000 * 1000; i++)
		*sum = *sum * 31 + i;
}

static int resize(struct muster_job *job)
{
	struct muster *muster = muster_job_node(job);
	const char *picture = muster_job_text(job, "picture");
	uint64_t sum = 0;

	if (picture == NULL)
		return muster_job_give_up(job, "it does not say which picture");
	int error = muster_blocking(muster, shrink, &sum);

	if (error < 0)
		return error;
	say(job, muster_text(muster, "%s is %" PRId64 " wide", picture,
			     muster_job_int(job, "width", 100)));
	/* Counted with the completion: once, however often it has run. */
	return muster_job_then_add(job, "pictures", 1, 0);
}

/* The mail server refuses everybody at first. */
static int send_mail(struct muster_job *job)
{
	const char *to = muster_job_text(job, "to");

	if (to == NULL)
		return muster_job_give_up(job, "it does not say to whom");
	if (muster_job_attempt(job) == 1) {
		say(job, "try again later");
		return muster_job_fail(job, "the mail server is busy");
	}
	int error = muster_sleep(muster_job_node(job), 20);

	if (error < 0)
		return error;
	say(job, muster_text(muster_job_node(job), "sent to %s at attempt %u",
			     to, muster_job_attempt(job)));
	return 0;
}

static int report(struct muster_job *job)
{
	struct muster *muster = muster_job_node(job);
	struct muster_task_counts counts;
	int error = muster_task_count(muster, &counts);

	if (error < 0)
		return error;
	say(job, muster_text(muster, "%" PRIu64 " wait, %" PRIu64 " are dead",
			     counts.queued + counts.delayed, counts.dead));
	return 0;
}

static const struct muster_task tasks[] = {
	{ .name = "resize", .run = resize, .concurrency = 4 },
	{ .name = "sendMail",
	  .run = send_mail,
	  .attempts = 5,
	  .backoff_ms = 200 },
	/* Once every ten seconds, however many workers there are. */
	{ .name = "report", .run = report, .cron = "*/10 * * * * *" },
	{ 0 },
};

/* ---- the workers --------------------------------------------------------- */

static int start(struct muster *muster, void *arg)
{
	struct muster_cluster *cluster = arg;

	printf("%s takes tasks\n", muster_id(muster));
	return muster_ready(cluster);
}

static int serve(int argc, char **argv, int workers, const char *store)
{
	struct muster_cluster *cluster = muster_cluster_open(
		argc, argv, &(struct muster_options){ .workers = workers });

	if (cluster == NULL)
		return 1;
	if (muster_is_worker(cluster) &&
	    muster_open(cluster, &(struct muster_node_options){
					 .name = "tasks",
					 .store = store,
					 .tasks = tasks,
					 .on_start = start,
					 .arg = cluster,
				 }) == NULL)
		return 1;
	return muster_cluster_run(cluster);
}

/* ---- the producer -------------------------------------------------------- */

/* What the command line asks for. */
struct order {
	const char *verb;
	const char *name; /* enqueue */
	const char *params;
	long count; /* produce */
};

static int enqueue(struct muster *muster, const struct order *order)
{
	const char *id = NULL;
	int answer = muster_task_enqueue(
		muster, order->name,
		&(struct muster_enqueue){ .params = order->params,
					  .made_id = &id });

	if (answer == 0)
		printf("%s\n", id);
	return answer;
}

static int produce(struct muster *muster, const struct order *order)
{
	struct muster_enqueue list[PRODUCE_AT_ONCE];
	int answer = 0;

	for (long done = 0; done < order->count && answer == 0;) {
		size_t some = 0;

		for (; some < PRODUCE_AT_ONCE && done < order->count; some++)
			list[some] = (struct muster_enqueue){
				.task = "resize",
				.params = muster_text(
					muster, "{\"picture\":\"%ld.png\"}",
					++done),
			};
		answer = muster_task_enqueue_many(muster, list, some, NULL);
		muster_clear_answers(muster);
	}
	if (answer == 0)
		printf("enqueued %ld tasks\n", order->count);
	return answer;
}

static int do_order(struct muster *muster, void *arg)
{
	const struct order *order = arg;
	int answer = strcmp(order->verb, "produce") == 0
			     ? produce(muster, order)
			     : enqueue(muster, order);

	if (answer == MUSTER_FULL)
		fprintf(stderr, "tasks: the queue is full\n");
	else if (answer < 0)
		fprintf(stderr, "tasks: %s\n", muster_problem(muster));
	if (answer != 0)
		muster_stop(muster, 1);
	return 0;
}

static int give(const char *store, struct order *order)
{
	struct muster *muster = muster_open(NULL, &(struct muster_node_options){
							  .name = "tasks",
							  .store = store,
							  .is_guest = true,
							  .tasks = tasks,
							  .on_start = do_order,
							  .arg = order,
						  });

	return muster == NULL ? 1 : muster_run(muster);
}

/* ---- the command line ---------------------------------------------------- */

static int explain(void)
{
	fprintf(stderr, "usage: tasks [--workers N|max] [--store URL]\n"
			"       tasks [--store URL] enqueue NAME [PARAMS]\n"
			"       tasks [--store URL] produce COUNT\n");
	return 2;
}

static int read_order(char **words, struct order *order)
{
	char *end = NULL;

	order->verb = words[0];
	if (words[1] == NULL)
		return explain();
	if (strcmp(words[0], "enqueue") == 0) {
		order->name = words[1];
		order->params = words[2];
		return 0;
	}
	order->count = strtol(words[1], &end, 10);
	if (strcmp(words[0], "produce") != 0 || *end != '\0' ||
	    order->count < 1)
		return explain();
	return 0;
}

static int read_workers(const char *text)
{
	char *end = NULL;
	long number = text == NULL ? 0 : strtol(text, &end, 10);

	if (text == NULL || strcmp(text, "max") == 0)
		return MUSTER_PER_CORE;
	return *end == '\0' && number > 0 && number <= 1024 ? (int)number : 0;
}

int main(int argc, char **argv)
{
	static const struct option known[] = {
		{ "workers", required_argument, NULL, 'w' },
		{ "store", required_argument, NULL, 's' },
		{ 0 },
	};
	const char *workers = getenv("WORKERS");
	const char *store = getenv("STORE");
	struct order order = { 0 };
	int option;

	setvbuf(stdout, NULL, _IOLBF, 0);
	while ((option = getopt_long(argc, argv, "w:s:", known, NULL)) != -1) {
		if (option == 'w')
			workers = optarg;
		else if (option == 's')
			store = optarg;
		else
			return explain();
	}
	if (argv[optind] != NULL) {
		int code = read_order(argv + optind, &order);

		return code != 0 ? code : give(store, &order);
	}
	int count = read_workers(workers);

	return count == 0 ? explain() : serve(argc, argv, count, store);
}
