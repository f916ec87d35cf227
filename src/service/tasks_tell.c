#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/must.h"
#include "loop/timer.h"
#include "service/tasks_internal.h"

#define RETRY_MS 100
#define TEXT_MAX 4096 /* the most that the store keeps */

/* What was told of some jobs that ended alike. */
struct telling {
	struct tasks *tasks;
	enum job_outcome outcome;
	size_t count;
	struct muster_job *jobs[STORE_BATCH_MAX];
};

/* ---- answers ---- */

static void forget(struct tasks *tasks, struct muster_job *job)
{
	keeper_remove(tasks->keeper, &job->lease);
	job->is_told = true;
	/* It was given back over its fiber's head, which still uses it. */
	if (job->routine == NULL)
		tasks_job_free(job);
}

static void log_result(const struct tasks *tasks, const struct muster_job *job,
		       enum store_result result)
{
	const struct log *log = &tasks->muster->log;
	const char *name =
		job->envelope.method == NULL ? "" : job->envelope.method;

	if (result == STORE_LOST || result == STORE_NOT_FOUND)
		log_warn(log,
			 "a run came too late, its end is not recorded "
			 "task=%s id=%s attempt=%u",
			 name, job->id.data, job->attempt);
	else if (result == STORE_DEAD)
		log_warn(
			log,
			"a task is dead task=%s id=%s attempts=%u error=\"%s\"",
			name, job->id.data, job->attempt, job->error);
	else if (result == STORE_RETRYING)
		log_info(log,
			 "a task failed and runs again task=%s id=%s "
			 "attempt=%u error=\"%s\"",
			 name, job->id.data, job->attempt, job->error);
	else
		log_debug(log, "a task ended task=%s id=%s result=%d", name,
			  job->id.data, (int)result);
}

static void end_again(struct muster_job *job)
{
	list_add_last(&job->tasks->ended, &job->stage);
}

/* Refused for what is in it, and not for now. */
static bool is_refusal(int error)
{
	return error == -EINVAL || error == -EMSGSIZE || error == -EXDEV;
}

/* The store will never record this end: it is a failure then. */
static void turn_into_failure(struct muster_job *job,
			      const struct problem *problem)
{
	job->outcome = JOB_FAILED;
	job->error =
		arena_text(&job->arena, problem->text, strlen(problem->text));
	job->retry_ms = UINT64_MAX;
}

static void on_refused(struct telling *telling, const struct problem *problem)
{
	struct tasks *tasks = telling->tasks;
	bool was_alone = telling->count == 1;

	for (size_t i = 0; i < telling->count; i++) {
		struct muster_job *job = telling->jobs[i];

		if (was_alone && telling->outcome == JOB_DONE) {
			turn_into_failure(job, problem);
		} else if (was_alone) {
			log_error(&tasks->muster->log,
				  "the end of a run cannot be recorded id=%s "
				  "text=\"%s\"",
				  job->id.data, problem->text);
			forget(tasks, job);
			continue;
		}
		job->tell_alone = true;
		end_again(job);
	}
	tasks_turn(tasks);
}

static void on_unanswered(struct telling *telling,
			  const struct problem *problem)
{
	struct tasks *tasks = telling->tasks;

	for (size_t i = 0; i < telling->count; i++)
		end_again(telling->jobs[i]);
	if (!tasks->is_store_away)
		log_warn(&tasks->muster->log,
			 "the end of runs could not be told, trying on "
			 "text=\"%s\"",
			 problem->text);
	tasks->is_store_away = true;
	timer_start(tasks->tell_again, RETRY_MS, 0);
}

static void on_told(void *owner, const struct store_answer *answer)
{
	struct telling *telling = owner;
	struct tasks *tasks = telling->tasks;

	tasks->tellings--;
	if (tasks->muster->state >= NODE_CLOSING) {
		/* Nobody is asked any more. */
		for (size_t i = 0; i < telling->count; i++)
			end_again(telling->jobs[i]);
	} else if (answer->error < 0 && is_refusal(answer->error)) {
		on_refused(telling, answer->problem);
	} else if (answer->error < 0) {
		on_unanswered(telling, answer->problem);
	} else {
		tasks->is_store_away = false;
		for (size_t i = 0; i < telling->count; i++) {
			log_result(tasks, telling->jobs[i], answer->results[i]);
			forget(tasks, telling->jobs[i]);
		}
	}
	free(telling);
	tasks_look(tasks);
}

/* ---- telling ---- */

static void complete(struct telling *telling)
{
	struct store_completion *items =
		mem_alloc(telling->count * sizeof(*items));

	for (size_t i = 0; i < telling->count; i++) {
		const struct muster_job *job = telling->jobs[i];

		items[i] = (struct store_completion){
			.id = job->id,
			.token = job->lease.token,
			.result = job->result,
			.effects = job->effects,
			.effect_count = job->effect_count,
		};
	}
	store_complete(telling->tasks->muster->store,
		       &(struct store_complete){ items, telling->count },
		       on_told, telling);
	free(items);
}

static void fail(struct telling *telling)
{
	struct store_failure *items =
		mem_alloc(telling->count * sizeof(*items));

	for (size_t i = 0; i < telling->count; i++) {
		const struct muster_job *job = telling->jobs[i];
		struct store_bytes error = store_text(job->error);

		if (error.length > TEXT_MAX)
			error.length = TEXT_MAX;
		items[i] = (struct store_failure){
			.id = job->id,
			.token = job->lease.token,
			.error = error,
			.delay_ms = job->retry_ms,
			.is_final = job->outcome == JOB_DEAD,
		};
	}
	store_fail(telling->tasks->muster->store,
		   &(struct store_fail){ items, telling->count }, on_told,
		   telling);
	free(items);
}

static void release(struct telling *telling)
{
	struct store_lease *leases =
		mem_alloc(telling->count * sizeof(*leases));

	for (size_t i = 0; i < telling->count; i++)
		leases[i] =
			(struct store_lease){ telling->jobs[i]->id,
					      telling->jobs[i]->lease.token };
	store_release(telling->tasks->muster->store,
		      &(struct store_release){ leases, telling->count },
		      on_told, telling);
	free(leases);
}

static void (*const tell_as[])(struct telling *) = {
	[JOB_DONE] = complete,
	[JOB_FAILED] = fail,
	[JOB_DEAD] = fail,
	[JOB_RELEASED] = release,
};

/* Up to a batch of those that ended in this way; NULL where there is none. */
static struct telling *gather(struct tasks *tasks, enum job_outcome outcome)
{
	struct telling *telling = NULL;

	LIST_EACH (&tasks->ended, stage) {
		struct muster_job *job =
			LIST_ENTRY(stage, struct muster_job, stage);

		if (job->outcome != outcome)
			continue;
		if (telling == NULL) {
			/* NOLINTNEXTLINE(bugprone-sizeof-expression) */
			telling = mem_alloc(sizeof(*telling));
			telling->tasks = tasks;
			telling->outcome = outcome;
			telling->count = 0;
		} else if (job->tell_alone) {
			continue;
		}
		list_remove(stage);
		telling->jobs[telling->count++] = job;
		if (job->tell_alone || telling->count == STORE_BATCH_MAX)
			break;
	}
	return telling;
}

void tasks_tell(struct tasks *tasks)
{
	static const enum job_outcome outcomes[] = { JOB_DONE, JOB_FAILED,
						     JOB_DEAD, JOB_RELEASED };
	struct telling *telling;

	if (timer_is_started(tasks->tell_again))
		return;
	for (size_t i = 0; i < sizeof(outcomes) / sizeof(outcomes[0]); i++) {
		while ((telling = gather(tasks, outcomes[i])) != NULL) {
			tasks->tellings++;
			tell_as[telling->outcome](telling);
		}
	}
}

void tasks_tell_now(void *owner)
{
	tasks_turn(owner);
}
