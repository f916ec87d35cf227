/*
 * The rolling reload: a new worker is ready before an old one is told to go,
 * slot by slot. Where max_surge is 0, the old one goes first.
 *
 * There is no list of what is left to do: it is all those holders that were
 * started before the reload and were not asked to leave. So a worker that dies
 * meanwhile, or is scaled away, needs no thought here.
 */
#include <errno.h>

#include "cluster/primary_internal.h"

static bool is_old(const struct primary *primary,
		   const struct muster_worker *worker)
{
	return worker->generation < primary->reload.generation;
}

static struct muster_worker *next_to_replace(const struct primary *primary)
{
	for (int id = 1; id <= SLOTS_MAX; id++) {
		struct muster_worker *holder = primary->slots[id].holder;

		if (holder != NULL && is_old(primary, holder) &&
		    holder->state < WORKER_DRAINING &&
		    holder->successor == NULL)
			return holder;
	}
	return NULL;
}

/* Replacements under way, from the new one's start to the old one's exit (or
 * the other way round). */
static uint32_t under_way(const struct primary *primary)
{
	uint32_t count = 0;

	LIST_EACH (&primary->workers, link) {
		struct muster_worker *worker =
			LIST_ENTRY(link, struct muster_worker, link);
		bool is_leaving = is_old(primary, worker) &&
				  worker->state == WORKER_DRAINING;
		bool is_coming = !is_old(primary, worker) &&
				 worker->state < WORKER_READY;

		if (!worker->is_dead && (is_leaving || is_coming))
			count++;
	}
	return count;
}

static void finish(struct primary *primary)
{
	struct reload *reload = &primary->reload;
	muster_reloaded_fn on_done = reload->on_done;

	reload->is_running = false;
	reload->on_done = NULL;
	if (reload->failure == 0)
		log_info(&primary->cluster->log, "reload done");
	else
		log_error(&primary->cluster->log,
			  "reload failed problem=%s text=\"%s\"",
			  primary->cluster->problem.name,
			  primary->cluster->problem.text);
	primary_sweep(primary);
	if (on_done != NULL)
		on_done(primary->cluster, reload->failure, reload->arg);
}

static int start_successor(struct primary *primary, struct muster_worker *old)
{
	int error = primary_start_worker(primary, old->id, NULL, old, NULL);

	if (error < 0)
		problem_set(&primary->cluster->problem, error, "RELOAD_FAILED",
			    "a new worker %d cannot be started: error %d (the "
			    "old one goes on)",
			    old->id, -error);
	return error;
}

static void fail(struct primary *primary, int code)
{
	if (primary->reload.failure != 0)
		return;
	primary->reload.failure = code;
	/* Other new ones that are not ready yet are of the same version. */
	LIST_EACH (&primary->workers, link) {
		struct muster_worker *worker =
			LIST_ENTRY(link, struct muster_worker, link);

		if (worker->predecessor != NULL)
			worker_ask_to_leave(worker, true);
	}
}

static void run_step(struct loop_task *task)
{
	struct reload *reload = LIST_ENTRY(task, struct reload, step);
	struct primary *primary = LIST_ENTRY(reload, struct primary, reload);
	const struct muster_options *options = &primary->cluster->options;
	uint32_t limit = options->max_surge > 0 ? options->max_surge
						: options->max_unavailable;
	struct muster_worker *old = NULL;

	while (reload->failure == 0 && under_way(primary) < limit &&
	       (old = next_to_replace(primary)) != NULL) {
		if (options->max_surge == 0) {
			worker_ask_to_leave(old, false);
			continue;
		}
		int error = start_successor(primary, old);

		if (error < 0)
			fail(primary, error);
	}
	if (reload->is_running && under_way(primary) == 0 &&
	    (reload->failure != 0 || next_to_replace(primary) == NULL) &&
	    !pool_is_short(primary))
		finish(primary);
}

static void step(struct primary *primary)
{
	if (primary->reload.is_running)
		loop_defer(primary->cluster->loop, &primary->reload.step);
}

int primary_reload(struct primary *primary, muster_reloaded_fn on_done,
		   void *arg)
{
	struct problem *problem = &primary->cluster->problem;

	if (primary->is_stopping)
		return problem_set(problem, -ECANCELED, "STOPPING",
				   "the cluster is stopping");
	if (primary->reload.is_running)
		return problem_set(problem, -EBUSY, "RELOAD_RUNNING",
				   "a reload is running (wait for its end)");
	primary->reload.is_running = true;
	primary->reload.failure = 0;
	primary->reload.generation++;
	primary->reload.on_done = on_done;
	primary->reload.arg = arg;
	log_info(&primary->cluster->log, "reload started workers=%zu",
		 primary->worker_count);
	step(primary);
	return 0;
}

/* The new one takes the slot over, and the old one goes. */
void reload_on_ready(struct primary *primary, struct muster_worker *worker)
{
	struct muster_worker *old = worker->predecessor;

	if (old != NULL) {
		worker->predecessor = NULL;
		old->successor = NULL;
		primary->slots[worker->id].holder = worker;
		worker_ask_to_leave(old, false);
	}
	step(primary);
}

/* The slot is free: whoever was to take it over has it. */
void reload_on_left(struct primary *primary, struct muster_worker *worker)
{
	struct muster_worker *successor = worker->successor;

	if (successor == NULL)
		return;
	successor->predecessor = NULL;
	worker->successor = NULL;
	primary->slots[worker->id].holder = successor;
}

static void explain_failure(struct primary *primary,
			    const struct muster_worker *worker)
{
	if (worker->missed_ready)
		return; /* was explained when it was found */
	problem_set(&primary->cluster->problem, -ECHILD, "RELOAD_FAILED",
		    "the new worker %d ended with %s before it was ready (the "
		    "old one goes on; see the new one's output)",
		    worker->id, muster_exit_text(worker->code, worker->signal));
}

void reload_on_exited(struct primary *primary, struct muster_worker *worker)
{
	struct reload *reload = &primary->reload;
	bool goes_first = primary->cluster->options.max_surge == 0;
	bool is_failure = !is_old(primary, worker) && !worker->was_ready &&
			  (worker->predecessor != NULL || goes_first);

	if (worker->predecessor != NULL)
		worker->predecessor->successor = NULL;
	if (!reload->is_running)
		return;
	if (is_failure && reload->failure == 0) {
		explain_failure(primary, worker);
		fail(primary, primary->cluster->problem.code);
	}
	/* Without a pool there is nobody else who starts the new one. */
	if (goes_first && is_old(primary, worker) && !primary->pool.is_on &&
	    reload->failure == 0 && primary->slots[worker->id].holder == NULL &&
	    primary_start_worker(primary, worker->id, NULL, NULL, NULL) < 0)
		fail(primary, -ECHILD);
	step(primary);
}

void reload_cancel(struct primary *primary)
{
	if (!primary->reload.is_running || primary->reload.failure != 0)
		return;
	problem_set(&primary->cluster->problem, -ECANCELED, "RELOAD_CANCELED",
		    "the cluster stopped before the reload was done");
	fail(primary, -ECANCELED);
	step(primary);
}

void reload_init(struct primary *primary)
{
	primary->reload.step.run = run_step;
}

void reload_fini(struct primary *primary)
{
	loop_undefer(&primary->reload.step);
}
