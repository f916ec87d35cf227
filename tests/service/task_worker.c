/*
 * A node whose tasks say on stdout what happens to them, a line each:
 *
 *	ready NODE PID
 *	start NODE TASK ID ATTEMPT TOKEN
 *	end NODE TASK ID TOKEN CODE, and "fenced" or "cancelled"
 *
 * LEASE_MS, CONCURRENCY, DRAIN_MS, TICK_MS in the environment; WORKERS: a
 * cluster of that many, each a node.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <muster/cluster.h>
#include <muster/node.h>
#include <muster/task.h>

static void tell_start(struct muster_job *job)
{
	printf("start %s %s %s %u %" PRIu64 "\n",
	       muster_id(muster_job_node(job)), muster_job_task(job),
	       muster_job_id(job), muster_job_attempt(job),
	       muster_job_token(job));
}

static int tell_end(struct muster_job *job, int code)
{
	printf("end %s %s %s %" PRIu64 " %d%s%s\n",
	       muster_id(muster_job_node(job)), muster_job_task(job),
	       muster_job_id(job), muster_job_token(job), code,
	       muster_job_is_fenced(job) ? " fenced" : "",
	       muster_job_is_cancelled(job) ? " cancelled" : "");
	if (muster_job_set_result(job, muster_text(muster_job_node(job),
						   "\"%" PRIu64 "\"",
						   muster_job_token(job))) < 0)
		return -1;
	return code;
}

/* Waits "ms", or "first" where it is the first run. */
static uint64_t how_long(struct muster_job *job)
{
	int64_t ms = muster_job_int(job, "ms", 0);

	if (muster_job_attempt(job) == 1)
		ms = muster_job_int(job, "first", ms);
	return (uint64_t)ms;
}

static int hold(struct muster_job *job)
{
	tell_start(job);
	return tell_end(job, muster_sleep(muster_job_node(job), how_long(job)));
}

/* The loop too. */
static int block(struct muster_job *job)
{
	uint64_t ms = how_long(job);

	tell_start(job);
	for (uint64_t i = 0; i < ms; i++)
		usleep(1000);
	return tell_end(job, 0);
}

static int start(struct muster *muster, void *arg)
{
	struct muster_cluster *cluster = arg;

	printf("ready %s %d\n", muster_id(muster), (int)getpid());
	return cluster == NULL ? 0 : muster_ready(cluster);
}

static uint32_t number(const char *name)
{
	const char *text = getenv(name);

	return text == NULL ? 0 : (uint32_t)strtoul(text, NULL, 10);
}

int main(int argc, char **argv)
{
	struct muster_cluster *cluster = NULL;
	struct muster_task tasks[] = {
		{ .name = "hold", .run = hold, .backoff_ms = 10 },
		{ .name = "block", .run = block, .backoff_ms = 10 },
		{ .name = number("TICK_MS") > 0 ? "tick" : NULL,
		  .run = hold,
		  .every_ms = number("TICK_MS") },
		{ 0 },
	};

	setvbuf(stdout, NULL, _IOLBF, 0);
	if (number("WORKERS") > 0) {
		cluster = muster_cluster_open(
			argc, argv,
			&(struct muster_options){
				.workers = (int)number("WORKERS") });
		if (cluster == NULL)
			return 1;
		if (muster_is_primary(cluster))
			return muster_cluster_run(cluster);
	}
	struct muster *muster = muster_open(
		cluster, &(struct muster_node_options){
				 .name = "work",
				 .tasks = tasks,
				 .lease_ms = number("LEASE_MS"),
				 .concurrency = number("CONCURRENCY"),
				 .drain_ms = number("DRAIN_MS"),
				 .on_start = start,
				 .arg = cluster,
			 });

	if (muster == NULL)
		return 1;
	return cluster == NULL ? muster_run(muster)
			       : muster_cluster_run(cluster);
}
