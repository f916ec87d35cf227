/* The pool: as many workers as were asked for, and what to do when they die. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/must.h"
#include "cluster/primary_internal.h"

/* EX_CONFIG: it cannot work as it is set up, so another try is in vain. */
#define EXIT_CONFIG 78

/* Slots that are held. Who leaves of its own will has given its slot up; who
 * was cut off keeps it until its exit tells why, and is replaced then. */
static int held(const struct primary *primary)
{
	int count = 0;

	for (int id = 1; id <= SLOTS_MAX; id++) {
		if (primary->slots[id].holder != NULL)
			count++;
	}
	return count;
}

bool pool_is_short(const struct primary *primary)
{
	return primary->pool.is_on && !primary->pool.is_paused &&
	       held(primary) < primary->pool.wanted;
}

static uint64_t jittered(uint64_t delay_ms)
{
	/* A quarter either way, so that a fleet does not march in step. */
	return delay_ms - delay_ms / 4 +
	       (uint64_t)random() % (delay_ms / 2 + 1);
}

static uint64_t backoff_ms(const struct muster_options *options,
			   uint32_t young_deaths)
{
	uint64_t delay_ms = options->backoff_ms;

	/* The first time may have been bad luck. */
	if (young_deaths <= 1)
		return 0;
	for (uint32_t i = 2; i < young_deaths; i++) {
		delay_ms *= 2;
		if (delay_ms >= options->backoff_max_ms)
			return jittered(options->backoff_max_ms);
	}
	return jittered(delay_ms);
}

static void end_pool(struct primary *primary)
{
	struct muster_cluster *cluster = primary->cluster;

	primary->pool.is_on = false;
	if (handlers_have(&cluster->handlers, EVENT_FAILURE)) {
		events_tell_failure(cluster);
		return;
	}
	cluster->exit_code = 1;
	primary_stop_all(primary);
}

static void give_up_at_once(struct primary *primary, int id)
{
	struct muster_cluster *cluster = primary->cluster;

	problem_set(&cluster->problem, -ECHILD, "POOL_FAILED",
		    "worker %d cannot work as it is set up (it exited with %d "
		    "before it was ready; see its output)",
		    id, EXIT_CONFIG);
	log_error(&cluster->log, "pool failed id=%d text=\"%s\"", id,
		  cluster->problem.text);
	end_pool(primary);
}

static void give_up(struct primary *primary, int id)
{
	struct muster_cluster *cluster = primary->cluster;
	const struct muster_options *options = &cluster->options;
	struct problem reason = cluster->problem;

	problem_set(&cluster->problem, -ECHILD, "POOL_FAILED",
		    "worker %d died young %u times within %u s (see its "
		    "output%s%s)",
		    id, options->failures_max,
		    options->failure_window_ms / 1000,
		    reason.code != 0 ? "; " : "",
		    reason.code != 0 ? reason.text : "");
	log_error(&cluster->log, "pool failed id=%d deaths=%u window_ms=%u", id,
		  options->failures_max, options->failure_window_ms);
	end_pool(primary);
}

/* A death or a failed start; true: the pool gave up over it. */
static bool count_young_death(struct primary *primary, int id)
{
	const struct muster_options *options = &primary->cluster->options;
	struct slot *slot = &primary->slots[id];
	uint64_t now_ms = loop_now_ms(primary->cluster->loop);

	if (slot->failures == 0 ||
	    now_ms - slot->window_ms > options->failure_window_ms) {
		slot->failures = 0;
		slot->window_ms = now_ms;
	}
	slot->failures++;
	slot->young_deaths++;
	uint64_t delay_ms = backoff_ms(options, slot->young_deaths);

	slot->not_before_ms = now_ms + delay_ms;
	log_warn(&primary->cluster->log,
		 "worker died young id=%d deaths=%u restart_ms=%llu", id,
		 slot->failures, (unsigned long long)delay_ms);
	if (slot->failures < options->failures_max)
		return false;
	give_up(primary, id);
	return true;
}

void pool_on_exited(struct primary *primary, struct muster_worker *worker)
{
	struct slot *slot = &primary->slots[worker->id];
	uint64_t age_ms =
		loop_now_ms(primary->cluster->loop) - worker->started_ms;

	if (!primary->pool.is_on || worker->predecessor != NULL)
		return;
	if (worker->code == EXIT_CONFIG && !worker->was_ready &&
	    !worker->was_asked) {
		give_up_at_once(primary, worker->id);
		return;
	}
	bool was_sent_off = worker->is_voluntary && !worker->wished_to_leave;
	bool is_young = age_ms < primary->cluster->options.min_uptime_ms;

	if (!worker->missed_ready && (was_sent_off || !is_young)) {
		slot->young_deaths = 0;
		slot->not_before_ms = 0;
	} else if (count_young_death(primary, worker->id)) {
		return;
	}
	pool_fill(primary);
}

void pool_on_ready(struct primary *primary, struct muster_worker *worker)
{
	(void)worker;
	pool_fill(primary);
}

void pool_fill(struct primary *primary)
{
	if (primary->pool.is_on)
		loop_defer(primary->cluster->loop, &primary->pool.fill);
}

static int free_slot(const struct primary *primary)
{
	for (int id = 1; id <= SLOTS_MAX; id++)
		if (primary->slots[id].holder == NULL)
			return id;
	return -1;
}

/* The next time a slot may be filled; 0: none waits. */
static uint64_t start_missing(struct primary *primary, int missing)
{
	uint64_t now_ms = loop_now_ms(primary->cluster->loop);
	uint64_t next_ms = 0;

	for (int id = 1; id <= SLOTS_MAX && missing > 0; id++) {
		struct slot *slot = &primary->slots[id];

		if (slot->holder != NULL)
			continue;
		missing--;
		if (slot->not_before_ms > now_ms) {
			if (next_ms == 0 || slot->not_before_ms < next_ms)
				next_ms = slot->not_before_ms;
			continue;
		}
		int error = primary_start_worker(primary, id, NULL, NULL, NULL);

		if (error == 0)
			continue;
		log_error(&primary->cluster->log,
			  "worker not started id=%d error=\"%s\"", id,
			  strerror(-error));
		events_tell_cluster_error(primary->cluster, error,
					  primary->cluster->problem.text);
		if (count_young_death(primary, id))
			return 0;
		if (slot->not_before_ms <= now_ms)
			slot->not_before_ms =
				now_ms + primary->cluster->options.backoff_ms;
		if (next_ms == 0 || slot->not_before_ms < next_ms)
			next_ms = slot->not_before_ms;
	}
	return next_ms;
}

static void send_off(struct primary *primary, int surplus)
{
	for (int id = SLOTS_MAX; id >= 1 && surplus > 0; id--) {
		struct muster_worker *holder = primary->slots[id].holder;

		if (holder == NULL || holder->state >= WORKER_DRAINING)
			continue;
		surplus--;
		if (holder->successor != NULL)
			worker_ask_to_leave(holder->successor, false);
		worker_ask_to_leave(holder, false);
	}
}

static void run_fill(struct loop_task *task)
{
	struct pool *pool = LIST_ENTRY(task, struct pool, fill);
	struct primary *primary = LIST_ENTRY(pool, struct primary, pool);
	int missing = pool->wanted - held(primary);

	if (!pool->is_on || pool->is_paused || primary->is_stopping)
		return;
	timer_stop(pool->timer);
	if (missing < 0)
		send_off(primary, -missing);
	if (missing <= 0)
		return;
	uint64_t next_ms = start_missing(primary, missing);
	uint64_t now_ms = loop_now_ms(primary->cluster->loop);

	if (next_ms > 0)
		timer_start(pool->timer,
			    next_ms > now_ms ? next_ms - now_ms : 1, 0);
}

static void on_time(void *owner)
{
	pool_fill(owner);
}

int primary_scale(struct primary *primary, int count)
{
	if (count == MUSTER_PER_CORE)
		count = muster_available_cores();
	if (count < 0 || count > SLOTS_MAX)
		return problem_set(&primary->cluster->problem, -EINVAL,
				   "SCALE_INVALID",
				   "a pool has 0 to %d workers", SLOTS_MAX);
	if (primary->is_stopping)
		return problem_set(&primary->cluster->problem, -ECANCELED,
				   "STOPPING", "the cluster is stopping");
	primary->pool.wanted = count;
	primary->pool.is_on = true;
	pool_fill(primary);
	return 0;
}

int primary_fork(struct primary *primary, const char *const *env,
		 struct muster_worker **worker)
{
	int id = free_slot(primary);

	if (id < 0)
		return -EAGAIN;
	return primary_start_worker(primary, id, env, NULL, worker);
}

void pool_init(struct primary *primary)
{
	primary->pool.fill.run = run_fill;
	/* Nothing but this timer may be left while a slot waits. */
	primary->pool.timer =
		timer_open(primary->cluster->loop, on_time, primary, true);
}

void pool_fini(struct primary *primary)
{
	loop_undefer(&primary->pool.fill);
	timer_close(primary->pool.timer);
}
