#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "base/must.h"
#include "loop/timer.h"
#include "service/tasks_internal.h"

/* The longest wait, after which it is looked whether leases of others have run
 * out: a mark that got lost costs that much at most. */
#define WAIT_MS       5000
#define RETRY_MS      100
#define RETRY_MS_MAX  5000
#define EMPTY_MAX     8 /* in a row, before they are taken for noise */
#define EMPTY_MS      10
#define EMPTY_MS_MAX  1000
#define UNTOLD_MAX    4096
#define DOUBLINGS_MAX 10

/* Owners of what is asked: told apart by their addresses. */
static void *waiting_of(struct tasks *tasks)
{
	return &tasks->is_waiting;
}

static struct tasks *tasks_of_waiting(void *owner)
{
	return LIST_ENTRY(owner, struct tasks, is_waiting);
}

static uint64_t grown(uint64_t from_ms, unsigned times, uint64_t most_ms)
{
	uint64_t ms = from_ms
		      << (times < DOUBLINGS_MAX ? times : DOUBLINGS_MAX);

	return ms < most_ms ? ms : most_ms;
}

/* ---- the store does not answer ---- */

static void on_failure(struct tasks *tasks, const struct store_answer *answer)
{
	uint64_t random = 0;

	if (tasks->is_over || !tasks->is_open)
		return;
	if (tasks->failures++ == 0)
		log_warn(&tasks->muster->log,
			 "no tasks can be taken, trying on text=\"%s\"",
			 answer->problem->text);
	uint64_t delay_ms = grown(RETRY_MS, tasks->failures - 1, RETRY_MS_MAX);

	/* All nodes lost it together, and need not come back together. */
	DISCARD(getrandom(&random, sizeof(random), 0));
	timer_start(tasks->pause, delay_ms / 2 + random % (delay_ms / 2 + 1),
		    0);
}

static void on_success(struct tasks *tasks)
{
	if (tasks->failures > 0)
		log_info(&tasks->muster->log, "the store is back");
	tasks->failures = 0;
}

/* ---- what was leased to us, and we were not told ---- */

static bool is_ours(const struct tasks *tasks,
		    const struct store_task_info *info)
{
	LIST_EACH (&tasks->jobs, link)
		if (LIST_ENTRY(link, struct muster_job, link)->lease.token ==
		    info->token)
			return true;
	return false;
}

static void on_swept(void *owner, const struct store_answer *answer)
{
	struct tasks *tasks = owner;

	tasks->is_claiming = false;
	if (answer->error < 0)
		on_failure(tasks, answer);
	else
		tasks_turn(tasks);
}

static void on_own_listed(void *owner, const struct store_answer *answer)
{
	struct tasks *tasks = owner;
	size_t count = 0;

	if (answer->error < 0) {
		tasks->is_claiming = false;
		on_failure(tasks, answer);
		return;
	}
	tasks->is_unsure = answer->list.count == STORE_BATCH_MAX;
	struct store_lease *leases =
		calloc(answer->list.count + 1, sizeof(*leases));

	MUST(leases != NULL);
	for (size_t i = 0; i < answer->list.count; i++)
		if (!is_ours(tasks, &answer->list.tasks[i]))
			leases[count++] = (struct store_lease){
				answer->list.tasks[i].id,
				answer->list.tasks[i].token,
			};
	if (count > 0) {
		log_info(
			&tasks->muster->log,
			"gave back tasks that were leased unheard of count=%zu",
			count);
		store_release(tasks->muster->store,
			      &(struct store_release){ leases, count },
			      on_swept, tasks);
	} else {
		tasks->is_claiming = false;
		tasks_turn(tasks);
	}
	free(leases);
}

static void sweep(struct tasks *tasks)
{
	tasks->is_claiming = true;
	store_list(tasks->muster->store,
		   &(struct store_list){
			   .state = STORE_TASK_ACTIVE,
			   .owner = store_text(tasks->owner),
			   .limit = STORE_BATCH_MAX,
		   },
		   on_own_listed, tasks);
}

/* ---- waiting ---- */

static void on_waited(void *owner, const struct store_answer *answer)
{
	struct tasks *tasks = tasks_of_waiting(owner);

	tasks->is_waiting = false;
	if (answer->error < 0) {
		on_failure(tasks, answer);
		return;
	}
	if (answer->result == STORE_TIMED_OUT)
		tasks->empties = 0;
	tasks_turn(tasks);
}

static void wait_for(struct tasks *tasks, int64_t next_ms)
{
	/* Longer without a claim would look like an outage to the store, which
	 * then lets nobody's lease run out for a while. */
	uint64_t most_ms =
		tasks->lease_ms / 3 < WAIT_MS ? tasks->lease_ms / 3 : WAIT_MS;
	uint64_t timeout_ms = next_ms < 0 || (uint64_t)next_ms > most_ms
				      ? most_ms
				      : (uint64_t)next_ms + 1;

	tasks->is_waiting = true;
	store_wait(tasks->muster->store,
		   &(struct store_wait){
			   .queues = tasks->queues,
			   .queue_count = tasks->queue_count,
			   .timeout_ms = (uint32_t)timeout_ms,
		   },
		   on_waited, waiting_of(tasks));
}

/* ---- claiming ---- */

/* Something keeps promising tasks and has none: others are faster, or what is
 * due may not be had yet. */
static void rest(struct tasks *tasks)
{
	timer_start(tasks->pause,
		    grown(EMPTY_MS, tasks->empties - EMPTY_MAX, EMPTY_MS_MAX),
		    0);
}

static void on_claimed(void *owner, const struct store_answer *answer)
{
	struct tasks *tasks = owner;

	tasks->is_claiming = false;
	if (answer->error < 0) {
		tasks->is_unsure = true;
		on_failure(tasks, answer);
		return;
	}
	on_success(tasks);
	for (size_t i = 0; i < answer->claim.count; i++)
		tasks_run_claimed(tasks, &answer->claim.tasks[i]);
	if (answer->claim.count > 0) {
		tasks->empties = 0;
		tasks_turn(tasks);
	} else if (++tasks->empties > EMPTY_MAX) {
		rest(tasks);
	} else {
		wait_for(tasks, answer->claim.next_ms);
	}
}

static size_t untold(const struct tasks *tasks)
{
	size_t count = 0;

	LIST_EACH (&tasks->ended, stage) {
		(void)stage;
		count++;
	}
	return count;
}

void tasks_claim(struct tasks *tasks)
{
	if (!tasks->is_open || tasks->is_claiming || tasks->is_waiting ||
	    timer_is_started(tasks->pause) ||
	    tasks->held >= tasks->concurrency || untold(tasks) > UNTOLD_MAX)
		return;
	if (tasks->is_unsure) {
		sweep(tasks);
		return;
	}
	uint32_t want = tasks->concurrency - (uint32_t)tasks->held;

	tasks->is_claiming = true;
	store_claim(
		tasks->muster->store,
		&(struct store_claim){
			.owner = store_text(tasks->owner),
			.queues = tasks->queues,
			.queue_count = tasks->queue_count,
			.want = want < STORE_BATCH_MAX ? want : STORE_BATCH_MAX,
			.lease_ms = tasks->lease_ms,
		},
		on_claimed, tasks);
}

void tasks_claim_pause_over(void *owner)
{
	tasks_turn(owner);
}

void tasks_claim_end(struct tasks *tasks)
{
	timer_stop(tasks->pause);
	if (tasks->is_claiming)
		store_forget(tasks->muster->store, tasks);
	if (tasks->is_waiting)
		store_forget(tasks->muster->store, waiting_of(tasks));
	tasks->is_claiming = tasks->is_waiting = false;
}
