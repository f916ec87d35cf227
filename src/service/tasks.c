#include "service/tasks.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/must.h"
#include "loop/timer.h"
#include "service/ask.h"
#include "service/routine.h"
#include "service/schedule.h"
#include "service/tasks_internal.h"

#define CONCURRENCY 10
#define LEASE_MS    30000
#define ADOPT_MS    (10 * 60 * 1000)
#define CLEAN_UP_MS 1000
#define TELL_MS     500 /* between two looks at whether all was told */

/* ---- what there is ---- */

struct known_task *tasks_find(const struct tasks *tasks, const char *name,
			      size_t length)
{
	for (size_t i = 0; i < tasks->known_count; i++) {
		const char *known = tasks->known[i].task->name;

		if (strncmp(known, name, length) == 0 && known[length] == '\0')
			return &tasks->known[i];
	}
	return NULL;
}

static int refuse(struct problem *problem, const struct muster_task *task,
		  const char *why)
{
	return problem_set(problem, -EINVAL, "TASK_INVALID",
			   "the task '%.100s' %s", task->name, why);
}

static bool is_name(const char *name)
{
	size_t length = strlen(name);

	for (size_t i = 0; i < length; i++)
		if (name[i] <= ' ' || name[i] > '~' || name[i] == '"' ||
		    name[i] == '\\' || name[i] == '|')
			return false;
	return length > 0 && length <= TASK_NAME_MAX;
}

static int check_task(const struct muster_task *task, struct problem *problem)
{
	if (!is_name(task->name))
		return refuse(problem, task,
			      "cannot be called that: 1 to 100 bytes of ASCII "
			      "without spaces, quotes, \\ and |");
	if (task->priority >= STORE_PRIORITIES)
		return refuse(problem, task,
			      "has a priority that is not 0 to 3");
	if (task->attempts > STORE_ATTEMPTS_MAX)
		return refuse(problem, task, "has more than 60000 attempts");
	if (task->params != NULL &&
	    !task_envelope_is_object(task->params, strlen(task->params)))
		return refuse(problem, task,
			      "has params that are no JSON object");
	return 0;
}

int tasks_check(const struct muster_task *list, struct problem *problem)
{
	const struct muster_task *task = list;

	for (; task != NULL && task->name != NULL; task++) {
		int error = check_task(task, problem);

		if (error == 0)
			error = schedule_check(task, problem);
		if (error < 0)
			return error;
		for (const struct muster_task *other = list; other != task;
		     other++)
			if (strcmp(other->name, task->name) == 0)
				return refuse(problem, task, "is there twice");
	}
	return 0;
}

static int learn(struct tasks *tasks)
{
	const struct muster_task *list = tasks->muster->settings.options.tasks;
	int error = tasks_check(list, routine_problem(tasks->muster));

	for (; error == 0 && list != NULL && list->name != NULL; list++) {
		tasks->known = mem_resize(tasks->known, tasks->known_count + 1,
					  sizeof(*tasks->known));
		tasks->known[tasks->known_count++] =
			(struct known_task){ .task = list };
	}
	return error;
}

/* ---- where from, and as whom ---- */

static int add_queue(struct tasks *tasks, const char *name)
{
	struct store_bytes queue = store_text(name);

	for (size_t i = 0; i < tasks->queue_count; i++)
		if (tasks->queues[i].length == queue.length &&
		    memcmp(tasks->queues[i].data, queue.data, queue.length) ==
			    0)
			return 0;
	if (tasks->queue_count == STORE_QUEUES_MAX)
		return problem_set(routine_problem(tasks->muster), -E2BIG,
				   "TOO_MANY_QUEUES",
				   "a node serves %d queues at most, with the "
				   "global one and its own (let another node "
				   "serve '%.64s')",
				   STORE_QUEUES_MAX, name);
	tasks->queues[tasks->queue_count++] = queue;
	return 0;
}

/* The global one first; its own, which must not starve, has its turn too. */
static int choose_queues(struct tasks *tasks)
{
	const struct muster_node_options *options =
		&tasks->muster->settings.options;
	int error = 0;

	tasks->queue_count = 0;
	error = add_queue(tasks, "");
	for (size_t i = 0; i < tasks->known_count && error == 0; i++) {
		const struct muster_task *task = tasks->known[i].task;

		if (task->run != NULL && task->queue != NULL)
			error = add_queue(tasks, task->queue);
	}
	for (const char *const *queue = options->queues;
	     queue != NULL && *queue != NULL && error == 0; queue++)
		error = add_queue(tasks, *queue);
	if (error == 0)
		error = add_queue(tasks, tasks->muster->id);
	return error;
}

static char *owner_of(const char *id, const char *nonce)
{
	return id[0] == '\0' ? mem_text(nonce) : mem_format("%s:%s", id, nonce);
}

static int name_owner(struct tasks *tasks)
{
	free(tasks->owner);
	tasks->owner = owner_of(tasks->muster->id, tasks->muster->nonce);
	return choose_queues(tasks);
}

/* ---- turns ---- */

static void run_turn(struct loop_task *task)
{
	struct tasks *tasks = LIST_ENTRY(task, struct tasks, turn);

	tasks_run_ready(tasks);
	tasks_tell(tasks);
	tasks_claim(tasks);
}

void tasks_turn(struct tasks *tasks)
{
	if (!tasks->is_over)
		loop_defer(tasks->muster->loop, &tasks->turn);
}

void tasks_look(struct tasks *tasks)
{
	fiber_wake(tasks->idle_wait, 0);
}

/* ---- the node's part ---- */

static bool runs_any(const struct tasks *tasks)
{
	for (size_t i = 0; i < tasks->known_count; i++)
		if (tasks->known[i].task->run != NULL)
			return true;
	return false;
}

static void open_keeper(struct tasks *tasks)
{
	struct muster *muster = tasks->muster;
	const struct muster_node_options *options = &muster->settings.options;
	struct keeper_settings settings = {
		.store_url = options->store,
		.store = { .prefix = options->prefix,
			   .timeout_ms = options->store_ms,
			   /* Its time may be shorter than the URL's wait. */
			   .waits_for_none = true },
		.lease_ms = tasks->lease_ms,
		.on_news = tasks_run_news,
		.owner = tasks,
	};

	if (settings.store.timeout_ms > tasks->lease_ms / 2)
		settings.store.timeout_ms = tasks->lease_ms / 2;
	tasks->keeper = keeper_new(muster->loop, &muster->log, &settings);
}

static int start(struct muster *muster)
{
	const struct muster_node_options *options = &muster->settings.options;
	struct tasks *tasks = mem_zalloc(sizeof(*tasks));

	muster->tasks = tasks;
	tasks->muster = muster;
	tasks->turn.run = run_turn;
	tasks->concurrency =
		options->concurrency > 0 ? options->concurrency : CONCURRENCY;
	tasks->lease_ms = options->lease_ms > 0 ? options->lease_ms : LEASE_MS;
	tasks->adopt_ms = options->adopt_ms > 0 ? options->adopt_ms : ADOPT_MS;
	list_init(&tasks->jobs);
	list_init(&tasks->ready);
	list_init(&tasks->ended);
	int error = learn(tasks);

	if (error < 0 || options->is_guest)
		return error;
	tasks->pause =
		timer_open(muster->loop, tasks_claim_pause_over, tasks, false);
	tasks->tell_again =
		timer_open(muster->loop, tasks_tell_now, tasks, false);
	error = name_owner(tasks);
	if (error == 0)
		error = schedule_new(muster, &tasks->schedule,
				     routine_problem(muster));
	if (error == 0 && runs_any(tasks))
		open_keeper(tasks);
	return error;
}

static void on_state(struct muster *muster)
{
	struct tasks *tasks = muster->tasks;

	/* A guest enqueues, and that is all. */
	if (muster->state != NODE_UP || tasks->owner == NULL)
		return;
	schedule_start(tasks->schedule);
	tasks->is_open = tasks->keeper != NULL;
	if (tasks->is_open)
		tasks_adopt_start(tasks);
	tasks_turn(tasks);
}

static int reap(struct muster *muster, const char *id, const char *nonce)
{
	char *owner = owner_of(id, nonce);
	struct ask ask;
	int error = ask_begin(&ask, muster);

	if (error == 0) {
		store_reap_owner(
			muster->store,
			&(struct store_reap_owner){ store_text(owner) },
			ask_on_answer, &ask);
		error = ask_end(&ask);
	}
	if (error == 0 && ask.answer->number.value > 0)
		log_info(&muster->log,
			 "took back what a dead peer ran peer=%s tasks=%llu",
			 id, (unsigned long long)ask.answer->number.value);
	free(owner);
	return error;
}

static void on_lost(struct muster *muster)
{
	struct tasks *tasks = muster->tasks;

	tasks->is_open = false;
	schedule_stop(tasks->schedule);
	if (tasks->keeper == NULL)
		return;
	tasks_claim_end(tasks);
	tasks_run_release_ready(tasks);
	tasks_run_fence(tasks);
}

static void on_rejoin(struct muster *muster)
{
	struct tasks *tasks = muster->tasks;

	if (tasks->owner == NULL)
		return;
	/* As many as before, so it cannot fail. */
	MUST(name_owner(tasks) == 0);
	if (!node_is_up(muster))
		return;
	schedule_start(tasks->schedule);
	tasks->is_open = tasks->keeper != NULL;
	tasks_turn(tasks);
}

static bool has_untold(const struct tasks *tasks)
{
	return !list_is_empty(&tasks->ended) || tasks->tellings > 0;
}

/* What runs is finished, and told. */
static void drain(struct muster *muster)
{
	struct tasks *tasks = muster->tasks;
	int error = 0;

	tasks->is_open = false;
	schedule_stop(tasks->schedule);
	if (tasks->keeper == NULL)
		return;
	tasks_claim_end(tasks);
	tasks_run_release_ready(tasks);
	while ((tasks->held > 0 || has_untold(tasks)) && error >= 0) {
		tasks->idle_wait = fiber_wait_begin();
		error = routine_park(muster, tasks->idle_wait, 0);
	}
	/* Its time is up, and what ran was told so: it may clean up. */
	for (error = 0; tasks->held > 0 && error >= 0;) {
		tasks->idle_wait = fiber_wait_begin();
		error = routine_park(muster, tasks->idle_wait, CLEAN_UP_MS);
	}
}

/* Its fiber goes on, or does not end: others may have it. */
static void give_back(struct muster_job *job)
{
	atomic_store(&job->lease.is_fenced, true);
	job->outcome = JOB_RELEASED;
	tasks_run_end(job);
}

static void stop(struct muster *muster)
{
	struct tasks *tasks = muster->tasks;
	uint32_t waited_ms = 0;

	tasks->is_open = false;
	schedule_stop(tasks->schedule);
	if (tasks->keeper == NULL)
		return;
	tasks_claim_end(tasks);
	tasks_run_release_ready(tasks);
	LIST_EACH (&tasks->jobs, link) {
		struct muster_job *job =
			LIST_ENTRY(link, struct muster_job, link);

		if (!job->has_ended)
			give_back(job);
	}
	while (has_untold(tasks) &&
	       waited_ms < muster->settings.options.store_ms) {
		tasks->idle_wait = fiber_wait_begin();
		if (routine_park(muster, tasks->idle_wait, TELL_MS) ==
		    -ETIMEDOUT)
			waited_ms += TELL_MS;
	}
}

static void free_tasks(struct muster *muster)
{
	struct tasks *tasks = muster->tasks;

	if (tasks == NULL)
		return;
	muster->tasks = NULL;
	tasks->is_over = true;
	schedule_free(tasks->schedule);
	keeper_free(tasks->keeper);
	loop_undefer(&tasks->turn);
	tasks_adopt_free(tasks);
	timer_close(tasks->pause);
	timer_close(tasks->tell_again);
	/* One whose fiber never ended is left to it. */
	LIST_EACH (&tasks->jobs, link) {
		struct muster_job *job =
			LIST_ENTRY(link, struct muster_job, link);

		timer_close(job->timeout);
		job->timeout = NULL;
		if (job->routine == NULL)
			tasks_job_free(job);
	}
	free(tasks->known);
	free(tasks->owner);
	free(tasks);
}

const struct node_part tasks_part = {
	.name = "tasks",
	.start = start,
	.on_state = on_state,
	.reap = reap,
	.on_lost = on_lost,
	.on_rejoin = on_rejoin,
	.drain = drain,
	.stop = stop,
	.free = free_tasks,
};
