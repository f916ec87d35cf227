#include "service/schedule.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/arena.h"
#include "base/mem.h"
#include "base/must.h"
#include "loop/timer.h"
#include "service/cron.h"
#include "service/tasks_internal.h"

/* The host's clock may be set meanwhile. */
#define SLEEP_MS_MAX (60 * 1000)
#define RETRY_MS     1000
/* Another host's clock may be that much ahead, and it has moved the time on. */
#define SKEW_MS (60 * 1000)

struct recurring {
	struct schedule *schedule;
	const struct muster_task *task;
	struct cron cron;
	struct zone *zone; /* NULL: by interval */
	char *spec;
	struct timer *timer;
	uint64_t due_ms;  /* as the store has it; 0: not known */
	uint64_t next_ms; /* what it was asked to set */
	bool is_asking;
};

struct schedule {
	struct muster *muster;
	struct recurring *list;
	size_t count;
	bool is_started;
	bool is_away; /* the store, as was logged */
};

static uint64_t real_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_REALTIME, &now);
	return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

/* ---- times ---- */

static uint64_t next_after(const struct recurring *recurring, uint64_t after_ms)
{
	if (recurring->zone == NULL)
		return after_ms + recurring->task->every_ms;
	return (uint64_t)cron_next_s(&recurring->cron, recurring->zone,
				     (int64_t)(after_ms / 1000)) *
	       1000;
}

/* The one after `due_ms` that is still to come. */
static uint64_t next_to_come(const struct recurring *recurring, uint64_t due_ms,
			     uint64_t now_ms)
{
	if (now_ms <= due_ms)
		return next_after(recurring, due_ms);
	if (recurring->zone != NULL)
		return next_after(recurring, now_ms);
	uint64_t every_ms = recurring->task->every_ms;

	/* In step with those that were missed. */
	return due_ms + ((now_ms - due_ms) / every_ms + 1) * every_ms;
}

/* ---- asking ---- */

static void sleep_until_due(struct recurring *recurring)
{
	uint64_t now_ms = real_ms();
	uint64_t left_ms =
		recurring->due_ms > now_ms ? recurring->due_ms - now_ms : 0;

	timer_start(recurring->timer,
		    left_ms < SLEEP_MS_MAX ? left_ms : SLEEP_MS_MAX, 0);
}

static void go_on(struct recurring *recurring);

static void on_unanswered(struct recurring *recurring,
			  const struct store_answer *answer)
{
	struct schedule *schedule = recurring->schedule;

	if (!schedule->is_away)
		log_warn(&schedule->muster->log,
			 "recurring tasks are held up, trying on text=\"%s\"",
			 answer->problem->text);
	schedule->is_away = true;
	timer_start(recurring->timer, RETRY_MS, 0);
}

static void on_fired(void *owner, const struct store_answer *answer)
{
	struct recurring *recurring = owner;

	recurring->is_asking = false;
	if (!recurring->schedule->is_started)
		return;
	if (answer->error < 0) {
		on_unanswered(recurring, answer);
		return;
	}
	recurring->schedule->is_away = false;
	/* Somebody else was faster, and this is what it has become. */
	recurring->due_ms = answer->result == STORE_DONE ? recurring->next_ms
							 : answer->cron.at_ms;
	go_on(recurring);
}

static void ask(struct recurring *recurring, uint64_t next_ms,
		const struct store_task *task)
{
	recurring->is_asking = true;
	recurring->next_ms = next_ms;
	store_cron_fire(recurring->schedule->muster->store,
			&(struct store_cron_fire){
				.name = store_text(recurring->task->name),
				.spec = store_text(recurring->spec),
				.expected_ms = recurring->due_ms,
				.next_ms = next_ms,
				.task = task,
			},
			on_fired, recurring);
}

/* With an id that each node makes the same. */
static void fire(struct recurring *recurring, uint64_t next_ms)
{
	struct muster *muster = recurring->schedule->muster;
	const char *name = recurring->task->name;
	struct arena arena = { 0 };
	struct problem problem;
	struct store_task task;
	char *id = mem_format("cron:%s:%llu", name,
			      (unsigned long long)recurring->due_ms);
	char *unique = mem_format("cron:%s", name);
	struct muster_enqueue enqueue = {
		.params = recurring->task->params,
		.at_ms = recurring->due_ms,
		.id = id,
		.unique = recurring->task->no_overlap ? unique : NULL,
	};
	int error =
		task_prepare(muster, &arena, name, &enqueue, &task, &problem);

	MUST(error == 0); /* it was checked when the node began */
	ask(recurring, next_ms, &task);
	arena_fini(&arena);
	free(unique);
	free(id);
}

static void come_due(struct recurring *recurring, uint64_t now_ms)
{
	enum muster_missed missed = recurring->task->missed;
	uint64_t following_ms = next_after(recurring, recurring->due_ms);
	uint64_t to_come_ms =
		next_to_come(recurring, recurring->due_ms, now_ms);

	if (missed == MUSTER_MISSED_SKIP && following_ms <= now_ms)
		ask(recurring, to_come_ms, NULL);
	else
		fire(recurring,
		     missed == MUSTER_MISSED_ALL ? following_ms : to_come_ms);
}

static void go_on(struct recurring *recurring)
{
	uint64_t now_ms = real_ms();

	if (recurring->is_asking)
		return;
	if (recurring->due_ms == 0 ||
	    recurring->due_ms > next_after(recurring, now_ms + SKEW_MS))
		ask(recurring, next_after(recurring, now_ms), NULL);
	else if (recurring->due_ms > now_ms)
		sleep_until_due(recurring);
	else
		come_due(recurring, now_ms);
}

static void on_time(void *owner)
{
	go_on(owner);
}

/* ---- life ---- */

static bool recurs(const struct muster_task *task)
{
	return task->every_ms != 0 || task->cron != NULL;
}

static int read_times(struct recurring *recurring, struct problem *problem)
{
	const struct muster_task *task = recurring->task;

	if (task->every_ms != 0 && task->cron != NULL)
		return problem_set(problem, -EINVAL, "TASK_INVALID",
				   "the task '%.100s' recurs by an interval "
				   "and by cron (take one of them)",
				   task->name);
	if (task->cron == NULL) {
		recurring->spec = mem_format(
			"every %llu ms", (unsigned long long)task->every_ms);
		return 0;
	}
	recurring->spec = mem_format("%s %s", task->cron,
				     task->zone == NULL ? "UTC" : task->zone);
	recurring->zone = zone_open(task->zone, problem);
	return recurring->zone == NULL
		       ? problem->code
		       : cron_read(task->cron, &recurring->cron, problem);
}

int schedule_check(const struct muster_task *task, struct problem *problem)
{
	struct recurring recurring = { .task = task };
	int error = recurs(task) ? read_times(&recurring, problem) : 0;

	zone_free(recurring.zone);
	free(recurring.spec);
	return error;
}

int schedule_new(struct muster *muster, struct schedule **schedule_out,
		 struct problem *problem)
{
	const struct muster_task *list = muster->settings.options.tasks;
	struct schedule *schedule = NULL;
	int error = 0;

	for (; list != NULL && list->name != NULL && error == 0; list++) {
		if (!recurs(list))
			continue;
		if (schedule == NULL)
			schedule = mem_zalloc(sizeof(*schedule));
		schedule->muster = muster;
		schedule->list = mem_resize(schedule->list, schedule->count + 1,
					    sizeof(*schedule->list));
		struct recurring *recurring =
			&schedule->list[schedule->count++];

		*recurring = (struct recurring){ .task = list };
		error = read_times(recurring, problem);
	}
	*schedule_out = schedule;
	/* Now they stay where they are. */
	for (size_t i = 0; schedule != NULL && i < schedule->count; i++) {
		schedule->list[i].schedule = schedule;
		schedule->list[i].timer = timer_open(muster->loop, on_time,
						     &schedule->list[i], false);
	}
	return error;
}

void schedule_start(struct schedule *schedule)
{
	if (schedule == NULL || schedule->is_started)
		return;
	schedule->is_started = true;
	for (size_t i = 0; i < schedule->count; i++) {
		schedule->list[i].due_ms = 0;
		go_on(&schedule->list[i]);
	}
}

void schedule_stop(struct schedule *schedule)
{
	if (schedule == NULL || !schedule->is_started)
		return;
	schedule->is_started = false;
	for (size_t i = 0; i < schedule->count; i++) {
		struct recurring *recurring = &schedule->list[i];

		timer_stop(recurring->timer);
		if (recurring->is_asking)
			store_forget(schedule->muster->store, recurring);
		recurring->is_asking = false;
	}
}

void schedule_free(struct schedule *schedule)
{
	if (schedule == NULL)
		return;
	schedule->is_started = false;
	for (size_t i = 0; i < schedule->count; i++) {
		timer_close(schedule->list[i].timer);
		zone_free(schedule->list[i].zone);
		free(schedule->list[i].spec);
	}
	free(schedule->list);
	free(schedule);
}
