/* A worker as an application's author would write it: the public headers, and
 * what is run. With workers= its own primary, and that many of them. */
#include <errno.h>
#include <inttypes.h>
#include <muster/cluster.h>
#include <muster/node.h>
#include <muster/task.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <time.h>
#include <unistd.h>

#include "chaos.h"

#define SLICE_MS 50

static void tell(const char *word, const struct muster_job *job)
{
	chaos_line("%s %s %" PRIu64, word, muster_job_id(job),
		   muster_job_token(job));
}

/* False: it is to end before its time. */
static bool work(struct muster_job *job, int64_t left_ms)
{
	struct muster *muster = muster_job_node(job);
	bool is_whole = true;

	while (left_ms > 0 && is_whole) {
		int64_t slice_ms = left_ms < SLICE_MS ? left_ms : SLICE_MS;

		/* It is woken where it is fenced or cancelled, and then goes on
		 * to the end: its completion must be refused. */
		is_whole = muster_sleep(muster, (uint64_t)slice_ms) == 0 &&
			   !muster_is_stopping(muster);
		left_ms -= slice_ms;
	}
	return is_whole;
}

static void block(int64_t left_ms)
{
	struct timespec left = { left_ms / 1000, left_ms % 1000 * 1000000 };

	while (nanosleep(&left, &left) < 0 && errno == EINTR)
		;
}

static int complete(struct muster_job *job, const struct chaos *chaos,
		    bool has_child)
{
	struct muster *muster = muster_job_node(job);
	int error = 0;

	if (has_child)
		error = muster_job_then_enqueue(
			job, "chaos",
			&(struct muster_enqueue){
				.id = muster_text(muster, "%s.c",
						  muster_job_id(job)),
				.params = "{\"ms\":0,\"do\":\"ok\",\"n\":0}",
			});
	if (error == 0 && !chaos->no_effects)
		error = muster_job_then_add(
			job,
			muster_text(muster, "effects:%s", muster_job_id(job)),
			1, 0);
	if (error < 0)
		return error;
	chaos_line("fin %s %" PRIu64 " %d", muster_job_id(job),
		   muster_job_token(job), has_child);
	chaos_flush();
	return 0;
}

static int end(struct muster_job *job, const struct chaos *chaos,
	       const char *what, bool is_whole)
{
	bool fails =
		strcmp(what, "fail") == 0 &&
		(int64_t)muster_job_attempt(job) <= muster_job_int(job, "n", 0);

	if (muster_job_is_fenced(job))
		tell("fenced", job);
	if (!is_whole && !muster_job_is_fenced(job) &&
	    !muster_job_is_cancelled(job)) {
		tell("release", job);
		chaos_flush();
		return muster_job_release(job);
	}
	if (fails || strcmp(what, "final") == 0) {
		chaos_line("fail %s %" PRIu64 " %d", muster_job_id(job),
			   muster_job_token(job), !fails);
		chaos_flush();
		return fails ? muster_job_retry_in(
				       job, muster_job_token(job) % 2 * 40,
				       "it was to fail")
			     : muster_job_give_up(job, "it was to be given up");
	}
	return complete(job, chaos, strcmp(what, "child") == 0);
}

static int run(struct muster_job *job)
{
	const struct chaos *chaos = muster_job_arg(job);
	const char *what = muster_job_text(job, "do");
	int64_t left_ms = muster_job_int(job, "ms", 0);

	/* When it was asked for is not ours to know. */
	chaos_line("got %s %" PRIu64 " %u %u 0 %s", muster_job_id(job),
		   muster_job_token(job), muster_job_attempt(job),
		   muster_job_attempts(job), muster_job_queue(job));
	tell("run", job);
	if (what == NULL) {
		chaos_line("damaged %s %s", muster_job_id(job),
			   muster_job_params(job));
		what = "ok";
	}
	if (strcmp(what, "poison") == 0)
		tell("poison", job);
	chaos_flush();
	if (strcmp(what, "poison") == 0)
		kill(getpid(), SIGKILL);
	if (strcmp(what, "block") == 0)
		block(left_ms);
	bool is_whole = strcmp(what, "block") == 0 || work(job, left_ms);

	return end(job, chaos, what, is_whole);
}

static int on_start(struct muster *muster, void *arg)
{
	(void)arg;
	chaos_line("open %s %d", muster_id(muster), (int)getpid());
	chaos_line("owner %s:%d", muster_id(muster), (int)getpid());
	chaos_flush();
	return 0;
}

int node_main(int argc, char **argv, struct chaos *chaos)
{
	static char path[4096];
	struct muster_cluster *cluster = NULL;
	const struct muster_task tasks[] = {
		{ .name = "chaos", .run = run, .arg = chaos },
		{ .name = "tock",
		  .run = run,
		  .arg = chaos,
		  .every_ms = chaos->recurs ? CHAOS_EVERY_MS : 0,
		  .missed = MUSTER_MISSED_ALL,
		  .params = "{\"ms\":0,\"do\":\"ok\",\"n\":0}" },
		{ 0 },
	};

	if (chaos->workers > 0) {
		cluster = muster_cluster_open(
			argc, argv,
			&(struct muster_options){
				.name = "chaos",
				.workers = (int)chaos->workers,
				.drain_ms = 5000,
				.min_uptime_ms = 1, /* killed young */
				.backoff_ms = 1,
				.failures_max = 1000000,
				.log = "warn",
			});
		if (cluster == NULL)
			return 1;
		if (muster_is_primary(cluster)) {
			prctl(PR_SET_PDEATHSIG, SIGKILL);
			return muster_cluster_run(cluster);
		}
		/* The primary's log is nobody's: each life has its own. */
		snprintf(path, sizeof(path), "%s.%d.log", chaos_log_path(),
			 (int)getpid());
		chaos_open_log(path);
	} else {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
	}
	struct muster *muster =
		muster_open(cluster, &(struct muster_node_options){
					     .name = "chaos",
					     .store = chaos->url,
					     .token = "a chaotic secret",
					     .drain_ms = 5000,
					     .on_start = on_start,
					     .tasks = tasks,
					     .concurrency = chaos->concurrency,
					     .lease_ms = chaos->lease_ms,
				     });

	if (muster == NULL)
		return 1;
	return cluster == NULL ? muster_run(muster)
			       : muster_cluster_run(cluster);
}
