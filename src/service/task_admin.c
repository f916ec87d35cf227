/* Looking after tasks: show, list, count, cancel, retry, remove, and the
 * queues. Straight-line calls. */
#include <errno.h>
#include <string.h>

#include "base/must.h"
#include "service/ask.h"
#include "service/routine.h"
#include "service/tasks_internal.h"

#define LIST_LIMIT 100
#define LIST_MAX   1000

static const char *const state_texts[] = {
	[MUSTER_TASK_QUEUED] = "queued", [MUSTER_TASK_DELAYED] = "delayed",
	[MUSTER_TASK_ACTIVE] = "active", [MUSTER_TASK_CANCELLED] = "cancelled",
	[MUSTER_TASK_DEAD] = "dead",     [MUSTER_TASK_DONE] = "done",
};

static const enum store_task_state store_states[] = {
	[MUSTER_TASK_QUEUED] = STORE_TASK_QUEUED,
	[MUSTER_TASK_DELAYED] = STORE_TASK_DELAYED,
	[MUSTER_TASK_ACTIVE] = STORE_TASK_ACTIVE,
	[MUSTER_TASK_CANCELLED] = STORE_TASK_ACTIVE,
	[MUSTER_TASK_DEAD] = STORE_TASK_DEAD,
	[MUSTER_TASK_DONE] = STORE_TASK_DONE,
};

const char *muster_task_state_text(enum muster_task_state state)
{
	return state_texts[state];
}

/* ---- what there is ---- */

static enum muster_task_state state_of(enum store_task_state state)
{
	static const enum muster_task_state states[] = {
		[STORE_TASK_QUEUED] = MUSTER_TASK_QUEUED,
		[STORE_TASK_DELAYED] = MUSTER_TASK_DELAYED,
		[STORE_TASK_ACTIVE] = MUSTER_TASK_ACTIVE,
		[STORE_TASK_CANCELLED] = MUSTER_TASK_CANCELLED,
		[STORE_TASK_DEAD] = MUSTER_TASK_DEAD,
		[STORE_TASK_DONE] = MUSTER_TASK_DONE,
	};

	return states[state];
}

static const char *keep(struct muster *muster, struct store_bytes text)
{
	return routine_keep(muster, text).data;
}

/* ID:NONCE, of which people know the first half. */
static const char *server_of(struct muster *muster, struct store_bytes owner)
{
	const char *nonce = owner.length == 0
				    ? NULL
				    : memrchr(owner.data, ':', owner.length);

	if (nonce != NULL)
		owner.length = (size_t)(nonce - owner.data);
	return keep(muster, owner);
}

/* What nobody can read is shown as it is. */
static void read_envelope(struct muster *muster, struct store_bytes envelope,
			  struct muster_task_info *info)
{
	struct arena *arena = routine_answers(muster);
	struct task_envelope read;
	const char *why;

	info->task = "";
	info->params = keep(muster, envelope);
	/* What is done has none any more. */
	if (envelope.length == 0 ||
	    !task_envelope_read(arena, envelope.data, envelope.length, &read,
				&why))
		return;
	info->task = read.method;
	info->params = arena_text(arena, read.params.text, read.params.length);
	info->enqueued_ms = read.enqueued_ms;
}

static void read_info(struct muster *muster, const struct store_task_info *task,
		      struct muster_task_info *info)
{
	*info = (struct muster_task_info){
		.id = keep(muster, task->id),
		.queue = keep(muster, task->queue),
		.server = server_of(muster, task->owner),
		.unique = keep(muster, task->unique),
		.error = keep(muster, task->error),
		.result = keep(muster, task->result),
		.progress = keep(muster, task->progress),
		.state = state_of(task->state),
		.priority = task->priority,
		.attempt = task->attempt,
		.attempts = task->max_attempts,
		.token = task->token,
		.in_ms = task->in_ms,
	};
	read_envelope(muster, task->envelope, info);
}

int muster_task_show(struct muster *muster, const char *id,
		     struct muster_task_info *info)
{
	struct ask ask;
	int error = ask_begin(&ask, muster);

	if (error < 0)
		return error;
	store_show(muster->store, &(struct store_show){ store_text(id) },
		   ask_on_answer, &ask);
	error = ask_end(&ask);
	if (error < 0)
		return error;
	if (ask.answer->result == STORE_NOT_FOUND ||
	    ask.answer->list.count == 0)
		return MUSTER_NOT_FOUND;
	read_info(muster, &ask.answer->list.tasks[0], info);
	return 0;
}

int muster_task_list(struct muster *muster,
		     const struct muster_task_filter *filter,
		     const struct muster_task_info **list, size_t *count)
{
	uint32_t limit = filter->limit == 0 ? LIST_LIMIT : filter->limit;
	struct ask ask;
	int error = ask_begin(&ask, muster);

	if (error < 0)
		return error;
	store_list(muster->store,
		   &(struct store_list){
			   .state = store_states[filter->state],
			   .queue = store_text(filter->queue),
			   .offset = filter->offset,
			   .limit = limit < LIST_MAX ? limit : LIST_MAX,
		   },
		   ask_on_answer, &ask);
	error = ask_end(&ask);
	if (error < 0)
		return error;
	struct muster_task_info *made =
		arena_take_zeroed(routine_answers(muster),
				  ask.answer->list.count + 1, sizeof(*made));

	*count = ask.answer->list.count;
	for (size_t i = 0; i < *count; i++)
		read_info(muster, &ask.answer->list.tasks[i], &made[i]);
	*list = made;
	return 0;
}

static void read_queue(struct muster *muster,
		       const struct store_queue_info *queue,
		       struct muster_queue_info *info)
{
	*info = (struct muster_queue_info){
		.name = keep(muster, queue->name),
		.queued = queue->queued,
		.running = queue->running,
		.depth = queue->depth,
		.running_max = queue->running_max,
		.per_second = queue->per_second,
		.is_paused = queue->is_paused,
	};
}

int muster_task_count(struct muster *muster, struct muster_task_counts *counts)
{
	struct ask ask;
	int error = ask_begin(&ask, muster);

	if (error < 0)
		return error;
	store_counts(muster->store, &(struct store_counts){ 0 }, ask_on_answer,
		     &ask);
	error = ask_end(&ask);
	if (error < 0)
		return error;
	size_t count = ask.answer->counts.queue_count;
	struct muster_queue_info *queues = arena_take_zeroed(
		routine_answers(muster), count + 1, sizeof(*queues));

	for (size_t i = 0; i < count; i++)
		read_queue(muster, &ask.answer->counts.queues[i], &queues[i]);
	*counts = (struct muster_task_counts){
		.queued = ask.answer->counts.queued,
		.delayed = ask.answer->counts.delayed,
		.active = ask.answer->counts.active,
		.dead = ask.answer->counts.dead,
		.done = ask.answer->counts.done,
		.queues = queues,
		.queue_count = count,
	};
	return 0;
}

/* ---- what is done to them ---- */

static int answer_of(enum store_result result)
{
	if (result == STORE_CANCELLED || result == STORE_BUSY)
		return MUSTER_RUNNING;
	return result == STORE_NOT_FOUND ? MUSTER_NOT_FOUND : 0;
}

/* It runs here: no need to wait for the next beat. */
static void cancel_here(struct muster *muster, const char *id)
{
	struct tasks *tasks = muster->tasks;

	if (tasks == NULL)
		return;
	LIST_EACH (&tasks->jobs, link) {
		struct muster_job *job =
			LIST_ENTRY(link, struct muster_job, link);

		if (strcmp(job->id.data, id) == 0)
			atomic_store(&job->lease.is_cancelled, true);
	}
	tasks_run_news(tasks);
}

int muster_task_cancel(struct muster *muster, const char *id)
{
	struct store_bytes name = store_text(id);
	struct ask ask;
	int error = ask_begin(&ask, muster);

	if (error < 0)
		return error;
	store_cancel(muster->store, &(struct store_cancel){ &name, 1 },
		     ask_on_answer, &ask);
	error = ask_end(&ask);
	if (error < 0)
		return error;
	int answer = answer_of(ask.answer->results[0]);

	if (answer == MUSTER_RUNNING)
		cancel_here(muster, id);
	return answer;
}

int muster_task_retry(struct muster *muster, const char *id)
{
	struct store_bytes name = store_text(id);
	struct ask ask;
	int error = ask_begin(&ask, muster);

	if (error < 0)
		return error;
	store_retry_dead(muster->store, &(struct store_retry_dead){ &name, 1 },
			 ask_on_answer, &ask);
	error = ask_end(&ask);
	return error < 0 ? error : answer_of(ask.answer->results[0]);
}

int muster_task_remove(struct muster *muster, const char *id)
{
	struct store_bytes name = store_text(id);
	struct ask ask;
	int error = ask_begin(&ask, muster);

	if (error < 0)
		return error;
	store_remove(muster->store, &(struct store_remove){ &name, 1 },
		     ask_on_answer, &ask);
	error = ask_end(&ask);
	return error < 0 ? error : answer_of(ask.answer->results[0]);
}

static int set_paused(struct muster *muster, const char *queue, bool is_paused)
{
	struct ask ask;
	int error = ask_begin(&ask, muster);

	if (error < 0)
		return error;
	store_pause(muster->store,
		    &(struct store_pause){ store_text(queue), is_paused },
		    ask_on_answer, &ask);
	return ask_end(&ask);
}

int muster_task_pause(struct muster *muster, const char *queue)
{
	return set_paused(muster, queue, true);
}

int muster_task_resume(struct muster *muster, const char *queue)
{
	return set_paused(muster, queue, false);
}

int muster_task_limit(struct muster *muster, const char *queue,
		      const struct muster_queue_limits *limits)
{
	struct ask ask;
	int error = ask_begin(&ask, muster);

	if (error < 0)
		return error;
	store_limits(muster->store,
		     &(struct store_limits){
			     .queue = store_text(queue),
			     .depth = limits->depth,
			     .running = limits->running,
			     .per_second = limits->per_second,
		     },
		     ask_on_answer, &ask);
	return ask_end(&ask);
}
