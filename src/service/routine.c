#include "service/routine.h"

#include <errno.h>
#include <jansson.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/must.h"
#include "loop/timer.h"
#include "loop/work.h"

struct routine *routine_current(const struct muster *muster)
{
	struct fiber *fiber = fiber_current();
	struct routine *routine = fiber == NULL ? NULL : fiber_owner(fiber);

	return routine != NULL && routine->muster == muster ? routine : NULL;
}

struct arena *routine_answers(struct muster *muster)
{
	struct routine *routine = routine_current(muster);

	MUST(routine != NULL);
	return &routine->answers;
}

struct store_bytes routine_keep(struct muster *muster, struct store_bytes bytes)
{
	return (struct store_bytes){ arena_text(routine_answers(muster),
						bytes.data, bytes.length),
				     bytes.length };
}

struct problem *routine_problem(struct muster *muster)
{
	struct routine *routine = routine_current(muster);

	return routine != NULL ? &routine->problem : &muster->problem;
}

int routine_check(struct muster *muster)
{
	if (routine_current(muster) != NULL)
		return 0;
	return problem_set(&muster->problem, -EPERM, "NOT_ON_A_FIBER",
			   "this call may wait, so it works on a fiber alone "
			   "(call it from a task, a handler, or what "
			   "muster_spawn() starts)");
}

/* ---- life ---- */

#define SPARES_MAX 64

/* One that has ended is used again: most requests start one. */
static struct routine *take(struct muster *muster)
{
	struct routine *routine = muster->spare_routines;

	if (routine == NULL)
		return mem_zalloc(sizeof(*routine));
	struct arena answers = routine->answers;

	muster->spare_routines = routine->next_spare;
	muster->spare_routine_count--;
	memset(routine, 0, sizeof(*routine));
	routine->answers = answers;
	return routine;
}

static void give_back(struct muster *muster, struct routine *routine)
{
	if (muster->spare_routine_count == SPARES_MAX) {
		arena_fini(&routine->answers);
		free(routine);
		return;
	}
	arena_reset(&routine->answers);
	routine->next_spare = muster->spare_routines;
	muster->spare_routines = routine;
	muster->spare_routine_count++;
}

void routine_free_spares(struct muster *muster)
{
	while (muster->spare_routines != NULL) {
		struct routine *routine = take(muster);

		arena_fini(&routine->answers);
		free(routine);
	}
}

static void end(struct routine *routine)
{
	struct muster *muster = routine->muster;

	list_remove(&routine->link);
	timer_close(routine->alarm);
	give_back(muster, routine);
	/* Only the node's own is left, and may wait for that. */
	if (list_has_one(&muster->routines))
		fiber_wake(muster->idle_wait, 0);
}

static void run(void *arg)
{
	struct routine *routine = arg;

	routine->fiber = fiber_current();
	routine->fn(routine->muster, routine->arg);
	end(routine);
}

int routine_start(struct muster *muster, const char *name, muster_fiber_fn fn,
		  void *arg, void *context)
{
	struct routine *routine = take(muster);

	routine->muster = muster;
	memcpy(routine->name, name,
	       strnlen(name, sizeof(routine->name) - 1)); /* zeros follow */
	routine->fn = fn;
	routine->arg = arg;
	routine->context = context;
	list_add_last(&muster->routines, &routine->link);
	int error = fiber_start(muster->fibers, routine->name, run, routine);

	if (error == 0)
		return 0;
	problem_set(routine_problem(muster), error, "TOO_MANY_FIBERS",
		    "'%.80s' cannot run: %s", name,
		    error == -EAGAIN ? "too many fibers are running"
				     : "no memory for its stack");
	list_remove(&routine->link);
	give_back(muster, routine);
	return error;
}

void routine_cancel(struct routine *routine, int code)
{
	if (routine->is_blocking || fiber_wait_is_over(routine->wait)) {
		routine->owed = code;
		return;
	}
	routine->is_cancelled = true;
	fiber_wake(routine->wait, code);
}

void routine_abandon(struct routine *routine)
{
	timer_close(routine->alarm);
	routine->alarm = NULL;
}

/* ---- waiting ---- */

static bool is_late(const struct routine *routine)
{
	return routine->deadline_ms > 0 &&
	       loop_now_ms(routine->muster->loop) >= routine->deadline_ms;
}

static void on_alarm(void *owner)
{
	struct routine *routine = owner;

	if (is_late(routine)) {
		routine->was_late = true;
		routine->deadline_ms = 0; /* once */
		routine_cancel(routine, -ETIMEDOUT);
	} else {
		fiber_wake(routine->wait, -ETIMEDOUT);
	}
}

static int tell_cancelled(struct routine *routine, int code)
{
	if (code == -ETIMEDOUT)
		return problem_set(&routine->problem, code, "DEADLINE",
				   "'%.80s' has reached its deadline",
				   routine->name);
	return problem_set(&routine->problem, code, "CANCELLED",
			   "'%.80s' was told to end", routine->name);
}

/* For the wait's own limit or for the deadline, whichever is sooner. */
static void set_alarm(struct routine *routine, uint64_t delay_ms)
{
	uint64_t now_ms = loop_now_ms(routine->muster->loop);

	if (routine->deadline_ms > 0) {
		uint64_t left_ms = routine->deadline_ms > now_ms
					   ? routine->deadline_ms - now_ms
					   : 1;

		if (delay_ms == 0 || left_ms < delay_ms)
			delay_ms = left_ms;
	}
	if (routine->alarm == NULL)
		routine->alarm = timer_open(routine->muster->loop, on_alarm,
					    routine, true);
	timer_start(routine->alarm, delay_ms, 0);
}

int routine_park(struct muster *muster, struct fiber_wait wait,
		 uint64_t delay_ms)
{
	struct routine *routine = routine_current(muster);

	MUST(routine != NULL);
	int owed = routine->owed;

	if (owed < 0 && !routine->is_blocking) {
		routine->owed = 0;
		return tell_cancelled(routine, owed);
	}
	routine->wait = wait;
	routine->is_cancelled = false;
	bool has_alarm = delay_ms > 0 ||
			 (routine->deadline_ms > 0 && !routine->is_blocking);

	if (has_alarm)
		set_alarm(routine, delay_ms);
	int result = fiber_park();

	if (has_alarm)
		timer_stop(routine->alarm);
	return routine->is_cancelled ? tell_cancelled(routine, result) : result;
}

int muster_sleep(struct muster *muster, uint64_t delay_ms)
{
	int error = routine_check(muster);

	if (error < 0)
		return error;
	error = routine_park(muster, fiber_wait_begin(),
			     delay_ms > 0 ? delay_ms : 1);
	return error == -ETIMEDOUT && !routine_current(muster)->is_cancelled
		       ? 0
		       : error;
}

static void on_work_done(void *owner)
{
	struct fiber_wait *wait = owner;

	fiber_wake(*wait, 0);
}

int muster_blocking(struct muster *muster, void (*fn)(void *arg), void *arg)
{
	int error = routine_check(muster);

	if (error < 0)
		return error;
	struct routine *routine = routine_current(muster);
	struct fiber_wait wait = fiber_wait_begin();

	routine->is_blocking = true;
	work_start(muster->loop, fn, arg, on_work_done, &wait);
	error = routine_park(muster, wait, 0);
	routine->is_blocking = false;
	return error;
}

int muster_set_deadline(struct muster *muster, uint64_t delay_ms)
{
	int error = routine_check(muster);

	if (error < 0)
		return error;
	struct routine *routine = routine_current(muster);

	routine->deadline_ms =
		delay_ms > 0 ? loop_now_ms(muster->loop) + delay_ms : 0;
	return 0;
}

int muster_spawn(struct muster *muster, const char *name, muster_fiber_fn fn,
		 void *arg)
{
	if (muster->state >= NODE_STOPPING)
		return problem_set(
			routine_problem(muster), -ECANCELED, "CANCELLED",
			"'%.80s' cannot run, as this node ends", name);
	return routine_start(muster, name, fn, arg, NULL);
}

/* ---- what it was given ---- */

void muster_clear_answers(struct muster *muster)
{
	struct routine *routine = routine_current(muster);

	if (routine != NULL)
		arena_reset(&routine->answers);
}

const char *muster_problem(const struct muster *muster)
{
	const struct routine *routine = routine_current(muster);

	return routine != NULL ? routine->problem.text : muster->problem.text;
}

const char *muster_problem_word(const struct muster *muster)
{
	const struct routine *routine = routine_current(muster);
	const char *name =
		routine != NULL ? routine->problem.name : muster->problem.name;

	return name != NULL ? name : "";
}

const char *muster_text(struct muster *muster, const char *format, ...)
{
	va_list arguments;
	char *text = NULL;

	if (routine_check(muster) < 0)
		return "";
	va_start(arguments, format);
	int length = vasprintf(&text, format, arguments);

	va_end(arguments);
	if (length < 0)
		return "";
	const char *kept =
		arena_text(routine_answers(muster), text, (size_t)length);

	free(text);
	return kept;
}

const char *routine_json(struct muster *muster, const char *format,
			 va_list arguments)
{
	json_error_t error;

	if (routine_check(muster) < 0)
		return "";
	json_t *value = json_vpack_ex(&error, 0, format, arguments);
	char *text = value == NULL ? NULL
				   : json_dumps(value,
						JSON_COMPACT | JSON_ENCODE_ANY);
	const char *kept = "";

	if (text != NULL)
		kept = arena_text(routine_answers(muster), text, strlen(text));
	else
		problem_set(routine_problem(muster), -EINVAL, "JSON_INVALID",
			    "no JSON comes of '%.60s': %.100s", format,
			    value == NULL ? error.text : "it is not UTF-8");
	free(text);
	json_decref(value);
	return kept;
}

const char *muster_json(struct muster *muster, const char *format, ...)
{
	va_list arguments;

	va_start(arguments, format);
	const char *text = routine_json(muster, format, arguments);

	va_end(arguments);
	return text;
}
