#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>

#include "base/mem.h"
#include "base/must.h"
#include "loop/timer.h"
#include "service/routine.h"
#include "service/tasks_internal.h"

/* After the first word, for one that waits again and again. */
#define LATE_AGAIN_MS  5000
#define UNKNOWN_MS     1000 /* until another server may have it; doubled */
#define UNKNOWN_MS_MAX (60 * 1000)
#define DOUBLINGS_MAX  10
#define TEXT_BYTES     512

static uint64_t real_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_REALTIME, &now);
	return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

/* ---- the end of a run ---- */

void tasks_job_free(struct muster_job *job)
{
	list_remove(&job->link);
	timer_close(job->timeout);
	if (job->is_telling_progress)
		store_forget(job->tasks->muster->store, tasks_progress_of(job));
	free(job->progress);
	free(job->effects);
	arena_fini(&job->arena);
	free(job);
}

void tasks_run_end(struct muster_job *job)
{
	struct tasks *tasks = job->tasks;

	MUST(!job->has_ended);
	job->has_ended = true;
	timer_close(job->timeout);
	job->timeout = NULL;
	MUST(tasks->held > 0);
	tasks->held--;
	if (job->outcome == JOB_DONE)
		meter_add(tasks->muster->meters, METER_TASKS_DONE, 1);
	else if (job->outcome == JOB_FAILED || job->outcome == JOB_DEAD)
		meter_add(tasks->muster->meters, METER_TASKS_FAILED, 1);
	list_add_last(&tasks->ended, &job->stage);
	tasks_turn(tasks);
	tasks_look(tasks);
}

static void end_as(struct muster_job *job, enum job_outcome outcome,
		   const char *error, uint64_t retry_ms)
{
	job->outcome = outcome;
	job->error = error;
	job->retry_ms = retry_ms;
	tasks_run_end(job);
}

/* Why it failed, where it has not said so. */
static const char *reason_of(struct muster_job *job, int code)
{
	const struct routine *routine = job->routine;
	const char *text = strerror(code < 0 ? -code : code);

	if (job->is_late)
		text = "it ran for longer than its time-out";
	else if (code > 0)
		text = "it ended with an answer that is neither 0 nor a "
		       "failure";
	else if (routine->problem.code == code)
		text = routine->problem.text;
	return arena_text(&job->arena, text, strlen(text));
}

static uint64_t random_number(void)
{
	uint64_t number = 0;

	DISCARD(getrandom(&number, sizeof(number), 0)); /* then it is 0 */
	return number;
}

static void judge(struct muster_job *job, int code)
{
	const struct tasks *tasks = job->tasks;

	/* This node is in a hurry, and that is no fault of the task's. */
	if (code != 0 && tasks->muster->is_late &&
	    !(job->has_verdict && job->outcome == JOB_DEAD)) {
		job->outcome = JOB_RELEASED;
		return;
	}
	if (code == 0) {
		job->outcome = JOB_DONE;
	} else if (!job->has_verdict) {
		job->outcome = JOB_FAILED;
		job->retry_ms = UINT64_MAX;
		job->error = reason_of(job, code);
	}
	if (job->outcome == JOB_FAILED && job->retry_ms == UINT64_MAX)
		job->retry_ms = task_backoff_ms(job->known->task, job->attempt,
						random_number());
	if (job->outcome != JOB_DONE) {
		job->result = (struct store_bytes){ 0 };
		job->effect_count = 0;
	}
}

/* ---- a run ---- */

static int run_before(struct muster_job *job, size_t *reached)
{
	const struct muster_task_middleware *const *list =
		job->known->task->middleware;
	int code = 0;

	for (; list != NULL && list[*reached] != NULL && code == 0;
	     (*reached)++)
		if (list[*reached]->before_run != NULL)
			code = list[*reached]->before_run(job,
							  list[*reached]->arg);
	return code;
}

static int run_after(struct muster_job *job, size_t reached, int code)
{
	const struct muster_task_middleware *const *list =
		job->known->task->middleware;

	while (reached-- > 0)
		if (list[reached]->after_run != NULL)
			code = list[reached]->after_run(job, code,
							list[reached]->arg);
	return code;
}

static void run(struct muster *muster, void *arg)
{
	struct muster_job *job = arg;
	size_t reached = 0;

	job->routine = routine_current(muster);
	int code = run_before(job, &reached);

	if (code == 0)
		code = job->known->task->run(job);
	else if (code == MUSTER_DROPPED)
		code = 0;
	code = run_after(job, reached, code);
	/* It was given back over our heads, when the node had to end. */
	if (!job->has_ended)
		judge(job, code);
	job->routine = NULL;
	MUST(job->known->running > 0);
	job->known->running--;
	meter_add(job->tasks->muster->meters, METER_TASKS, UINT64_MAX);
	if (!job->has_ended)
		tasks_run_end(job);
	else if (job->is_told)
		tasks_job_free(job);
}

static void on_timeout(void *owner)
{
	struct muster_job *job = owner;

	job->is_late = true;
	if (job->routine != NULL)
		routine_cancel(job->routine, -ETIMEDOUT);
}

static void set_timeout(struct muster_job *job)
{
	uint32_t timeout_ms = job->known->task->timeout_ms;

	if (timeout_ms == 0)
		return;
	job->timeout =
		timer_open(job->tasks->muster->loop, on_timeout, job, false);
	timer_start(job->timeout, timeout_ms, LATE_AGAIN_MS);
	keeper_remove(job->tasks->keeper, &job->lease);
	job->lease.until_ms = keeper_now_ms() + timeout_ms;
	keeper_add(job->tasks->keeper, &job->lease);
}

/* It may have ended when this returns. */
static void start(struct muster_job *job)
{
	struct tasks *tasks = job->tasks;

	set_timeout(job);
	job->known->running++;
	meter_add(tasks->muster->meters, METER_TASKS, 1);
	if (routine_start(tasks->muster, job->known->task->name, run, job,
			  job) == 0)
		return;
	job->known->running--;
	meter_add(job->tasks->muster->meters, METER_TASKS, UINT64_MAX);
	end_as(job, JOB_RELEASED, "", 0);
}

static bool has_room(const struct known_task *known)
{
	return known->task->concurrency == 0 ||
	       known->running < known->task->concurrency;
}

void tasks_run_ready(struct tasks *tasks)
{
	struct list later;

	list_init(&later);
	while (!list_is_empty(&tasks->ready)) {
		struct list *stage = list_take_first(&tasks->ready);
		struct muster_job *job =
			LIST_ENTRY(stage, struct muster_job, stage);

		if (has_room(job->known))
			start(job);
		else
			list_add_last(&later, stage);
	}
	while (!list_is_empty(&later))
		list_add_last(&tasks->ready, list_take_first(&later));
}

void tasks_run_release_ready(struct tasks *tasks)
{
	while (!list_is_empty(&tasks->ready)) {
		struct list *stage = list_take_first(&tasks->ready);

		end_as(LIST_ENTRY(stage, struct muster_job, stage),
		       JOB_RELEASED, "", 0);
	}
}

/* ---- what was claimed ---- */

static struct store_bytes keep(struct muster_job *job, struct store_bytes text)
{
	return store_bytes(arena_text(&job->arena, text.data, text.length),
			   text.length);
}

static struct muster_job *new_job(struct tasks *tasks,
				  const struct store_claimed *claimed)
{
	struct muster_job *job = mem_zalloc(sizeof(*job));

	job->tasks = tasks;
	job->id = keep(job, claimed->id);
	job->queue = keep(job, claimed->queue);
	job->attempt = claimed->attempt;
	job->max_attempts = claimed->max_attempts;
	job->retry_ms = UINT64_MAX;
	job->error = "";
	job->lease.id = job->id.data;
	job->lease.token = claimed->token;
	list_add_last(&tasks->jobs, &job->link);
	tasks->held++;
	return job;
}

static uint64_t unknown_ms(uint32_t attempt)
{
	uint32_t times =
		attempt - 1 < DOUBLINGS_MAX ? attempt - 1 : DOUBLINGS_MAX;
	uint64_t delay_ms = (uint64_t)UNKNOWN_MS << times;

	return delay_ms < UNKNOWN_MS_MAX ? delay_ms : UNKNOWN_MS_MAX;
}

static __attribute__((format(printf, 2, 3))) const char *
say(struct muster_job *job, const char *format, ...)
{
	char text[TEXT_BYTES];
	va_list arguments;

	va_start(arguments, format);
	int length = vsnprintf(text, sizeof(text), format, arguments);

	va_end(arguments);
	return length < 0 ? "" : arena_text(&job->arena, text, strlen(text));
}

/* What cannot run here; others are not held up by it. */
static bool is_unfit(struct muster_job *job, struct store_bytes text)
{
	const char *why = "";

	if (!task_envelope_read(&job->arena, text.data, text.length,
				&job->envelope, &why)) {
		end_as(job, JOB_DEAD,
		       say(job, "%s (was it put there by hand?)", why), 0);
		return true;
	}
	job->known = tasks_find(job->tasks, job->envelope.method,
				job->envelope.method_length);
	if (job->known == NULL || job->known->task->run == NULL) {
		end_as(job, JOB_FAILED,
		       say(job,
			   "the server that took it has no task '%.100s' (let "
			   "one that has it serve this queue)",
			   job->envelope.method),
		       unknown_ms(job->attempt));
		return true;
	}
	if (job->envelope.deadline_ms != 0 &&
	    real_ms() > job->envelope.deadline_ms) {
		end_as(job, JOB_DEAD,
		       "its deadline had passed before it could be started", 0);
		return true;
	}
	return false;
}

void tasks_run_claimed(struct tasks *tasks, const struct store_claimed *claimed)
{
	struct muster_job *job = new_job(tasks, claimed);
	struct store_bytes text = keep(job, claimed->envelope);

	keeper_add(tasks->keeper, &job->lease);
	if (!is_unfit(job, text))
		list_add_last(&tasks->ready, &job->stage);
}

/* ---- leases ---- */

static bool has_news(const struct muster_job *job)
{
	return !job->has_ended &&
	       ((!job->is_told_fenced && atomic_load(&job->lease.is_fenced)) ||
		(!job->is_told_cancelled &&
		 atomic_load(&job->lease.is_cancelled)));
}

/* Jobs end within this, and others with them: looked for from the start until
 * there is none. */
static struct muster_job *next_with_news(const struct tasks *tasks)
{
	LIST_EACH (&tasks->jobs, link) {
		struct muster_job *job =
			LIST_ENTRY(link, struct muster_job, link);

		if (has_news(job))
			return job;
	}
	return NULL;
}

static void hear(struct muster_job *job)
{
	bool was_told = job->is_told_fenced || job->is_told_cancelled;

	if (!job->is_told_fenced && atomic_load(&job->lease.is_fenced))
		log_warn(&job->tasks->muster->log,
			 "a run has lost its lease task=%s id=%s attempt=%u",
			 job->envelope.method, job->id.data, job->attempt);
	job->is_told_fenced = atomic_load(&job->lease.is_fenced);
	job->is_told_cancelled = atomic_load(&job->lease.is_cancelled);
	/* Once, so that it can wait while it cleans up. */
	if (!was_told && job->routine != NULL)
		routine_cancel(job->routine, -ECANCELED);
}

void tasks_run_news(void *owner)
{
	struct tasks *tasks = owner;
	struct muster_job *job;

	while ((job = next_with_news(tasks)) != NULL)
		hear(job);
}

void tasks_run_fence(struct tasks *tasks)
{
	LIST_EACH (&tasks->jobs, link) {
		struct muster_job *job =
			LIST_ENTRY(link, struct muster_job, link);

		keeper_remove(tasks->keeper, &job->lease);
		atomic_store(&job->lease.is_fenced, true);
	}
	tasks_run_news(tasks);
}
