/* What a run sees of itself, and says: the functions of muster/task.h that
 * take a job. */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "base/mem.h"
#include "service/routine.h"
#include "service/tasks_internal.h"

#define TEXT_BYTES         1024 /* of an error, when it is written */
#define PROGRESS_BYTES_MAX 4096

/* ---- what it is ---- */

struct muster *muster_job_node(const struct muster_job *job)
{
	return job->tasks->muster;
}

void *muster_job_arg(const struct muster_job *job)
{
	return job->known->task->arg;
}

const char *muster_job_task(const struct muster_job *job)
{
	return job->known->task->name;
}

const char *muster_job_id(const struct muster_job *job)
{
	return job->id.data;
}

const char *muster_job_queue(const struct muster_job *job)
{
	return job->queue.data;
}

uint32_t muster_job_attempt(const struct muster_job *job)
{
	return job->attempt;
}

uint32_t muster_job_attempts(const struct muster_job *job)
{
	return job->max_attempts;
}

uint64_t muster_job_token(const struct muster_job *job)
{
	return job->lease.token;
}

uint64_t muster_job_enqueued_ms(const struct muster_job *job)
{
	return job->envelope.enqueued_ms;
}

bool muster_job_is_fenced(const struct muster_job *job)
{
	return atomic_load(&job->lease.is_fenced);
}

bool muster_job_is_cancelled(const struct muster_job *job)
{
	return atomic_load(&job->lease.is_cancelled);
}

uint64_t muster_job_lease_ms(const struct muster_job *job)
{
	uint64_t until_ms = atomic_load(&job->lease.sure_until_ms);
	uint64_t now_ms = keeper_now_ms();

	return !muster_job_is_fenced(job) && until_ms > now_ms
		       ? until_ms - now_ms
		       : 0;
}

/* ---- its parameters ---- */

static const char *copy(struct muster_job *job, struct json_value value)
{
	return arena_text(&job->arena, value.text, value.length);
}

const char *muster_job_params(struct muster_job *job)
{
	if (job->params == NULL)
		job->params = arena_text(&job->arena, job->envelope.params.text,
					 job->envelope.params.length);
	return job->params;
}

const char *muster_job_text(struct muster_job *job, const char *name)
{
	struct json_value value;
	size_t length;

	if (!json_find(job->envelope.params, name, &value) ||
	    json_kind_of(value) != JSON_STRING)
		return NULL;
	char *room = arena_take(&job->arena, value.length + 1);
	const char *text = json_string_of(value, room, &length);

	if (text != room)
		memmove(room, text, length);
	room[length] = '\0';
	return room;
}

const char *muster_job_json(struct muster_job *job, const char *name)
{
	struct json_value value;

	return json_find(job->envelope.params, name, &value) ? copy(job, value)
							     : NULL;
}

int64_t muster_job_int(const struct muster_job *job, const char *name,
		       int64_t otherwise)
{
	struct json_value value;
	int64_t number;

	return json_find(job->envelope.params, name, &value) &&
			       json_kind_of(value) == JSON_NUMBER &&
			       json_integer_of(value, &number)
		       ? number
		       : otherwise;
}

double muster_job_number(const struct muster_job *job, const char *name,
			 double otherwise)
{
	struct json_value value;

	return json_find(job->envelope.params, name, &value) &&
			       json_kind_of(value) == JSON_NUMBER
		       ? json_number_of(value)
		       : otherwise;
}

bool muster_job_bool(const struct muster_job *job, const char *name,
		     bool otherwise)
{
	struct json_value value;

	return json_find(job->envelope.params, name, &value) &&
			       json_kind_of(value) == JSON_BOOLEAN
		       ? json_boolean_of(value)
		       : otherwise;
}

/* ---- what it comes out with ---- */

static int refuse_json(struct muster_job *job, const char *what)
{
	return problem_set(routine_problem(job->tasks->muster), -EINVAL,
			   "JSON_INVALID",
			   "the %s of '%.100s' is no JSON value", what,
			   muster_job_task(job));
}

int muster_job_set_result(struct muster_job *job, const char *json)
{
	size_t length = strlen(json);

	if (!json_is_value(json, length))
		return refuse_json(job, "result");
	if (length > 64 * 1024)
		return problem_set(routine_problem(job->tasks->muster),
				   -EMSGSIZE, "RESULT_TOO_LONG",
				   "the result of '%.100s' has %zu bytes, but "
				   "65536 are the most (store a reference)",
				   muster_job_task(job), length);
	job->result =
		store_bytes(arena_text(&job->arena, json, length), length);
	return 0;
}

static void on_progress_told(void *owner, const struct store_answer *answer);

static void tell_progress(struct muster_job *job)
{
	char *progress = job->progress;

	job->progress = NULL;
	job->is_telling_progress = true;
	store_progress(job->tasks->muster->store,
		       &(struct store_progress){
			       .id = job->id,
			       .token = job->lease.token,
			       .progress = store_text(progress),
		       },
		       on_progress_told, tasks_progress_of(job));
	free(progress);
}

/* What was said meanwhile is told next. A failure is not worth a word: the
 * next one tells more. */
static void on_progress_told(void *owner, const struct store_answer *answer)
{
	struct muster_job *job = LIST_ENTRY(owner, struct muster_job, progress);
	struct tasks *tasks = job->tasks;

	job->is_telling_progress = false;
	if (answer->error == 0 && answer->result == STORE_LOST)
		atomic_store(&job->lease.is_fenced, true);
	if (answer->error == 0 && answer->result == STORE_CANCELLED)
		atomic_store(&job->lease.is_cancelled, true);
	if (tasks->muster->state < NODE_CLOSING && !job->has_ended &&
	    job->progress != NULL)
		tell_progress(job);
	tasks_run_news(tasks); /* the job may be gone after this */
}

int muster_job_set_progress(struct muster_job *job, const char *json)
{
	size_t length = strlen(json);

	if (!json_is_value(json, length))
		return refuse_json(job, "progress");
	if (length > PROGRESS_BYTES_MAX)
		return problem_set(routine_problem(job->tasks->muster),
				   -EMSGSIZE, "PROGRESS_TOO_LONG",
				   "the progress of '%.100s' has %zu bytes, "
				   "but %d are the most",
				   muster_job_task(job), length,
				   PROGRESS_BYTES_MAX);
	free(job->progress);
	job->progress = mem_text(json);
	if (!job->is_telling_progress && !job->has_ended)
		tell_progress(job);
	return 0;
}

static void set_verdict(struct muster_job *job, enum job_outcome outcome,
			uint64_t retry_ms)
{
	job->has_verdict = true;
	job->outcome = outcome;
	job->retry_ms = retry_ms;
}

static __attribute__((format(printf, 2, 0))) void
set_error(struct muster_job *job, const char *format, va_list arguments)
{
	char text[TEXT_BYTES];
	int length = vsnprintf(text, sizeof(text), format, arguments);

	job->error =
		length < 0 ? "" : arena_text(&job->arena, text, strlen(text));
}

int muster_job_fail(struct muster_job *job, const char *format, ...)
{
	va_list arguments;

	va_start(arguments, format);
	set_error(job, format, arguments);
	va_end(arguments);
	set_verdict(job, JOB_FAILED, UINT64_MAX);
	return -EIO;
}

int muster_job_retry_in(struct muster_job *job, uint64_t delay_ms,
			const char *format, ...)
{
	va_list arguments;

	va_start(arguments, format);
	set_error(job, format, arguments);
	va_end(arguments);
	set_verdict(job, JOB_FAILED, delay_ms);
	return -EIO;
}

int muster_job_give_up(struct muster_job *job, const char *format, ...)
{
	va_list arguments;

	va_start(arguments, format);
	set_error(job, format, arguments);
	va_end(arguments);
	set_verdict(job, JOB_DEAD, 0);
	return -EIO;
}

int muster_job_release(struct muster_job *job)
{
	set_verdict(job, JOB_RELEASED, 0);
	return -EAGAIN;
}

/* ---- what is to happen with its completion ---- */

static struct store_effect *add_effect(struct muster_job *job,
				       enum store_effect_kind kind)
{
	if (job->effect_count == job->effect_room) {
		job->effect_room = job->effect_room * 2 + 4;
		job->effects = mem_resize(job->effects, job->effect_room,
					  sizeof(*job->effects));
	}
	struct store_effect *effect = &job->effects[job->effect_count++];

	*effect = (struct store_effect){ .kind = kind };
	return effect;
}

static struct store_bytes keep(struct muster_job *job, const void *bytes,
			       size_t length)
{
	return store_bytes(arena_text(&job->arena, bytes, length), length);
}

static int check_key(struct muster_job *job, const char *key)
{
	if (key[0] != '\0')
		return 0;
	return problem_set(routine_problem(job->tasks->muster), -EINVAL,
			   "KEY_INVALID", "the key is empty");
}

int muster_job_then_enqueue(struct muster_job *job, const char *task,
			    const struct muster_enqueue *enqueue)
{
	struct store_task made;
	int error = task_prepare(job->tasks->muster, &job->arena, task, enqueue,
				 &made, routine_problem(job->tasks->muster));

	if (error != 0)
		return error;
	add_effect(job, STORE_EFFECT_ENQUEUE)->task = made;
	return 0;
}

int muster_job_then_save(struct muster_job *job, const char *key,
			 const void *value, size_t length, uint64_t ttl_ms)
{
	int error = check_key(job, key);

	if (error < 0)
		return error;
	struct store_effect *effect = add_effect(job, STORE_EFFECT_CACHE_SAVE);

	effect->key = keep(job, key, strlen(key));
	effect->value = keep(job, value, length);
	effect->ttl_ms = ttl_ms;
	return 0;
}

int muster_job_then_add(struct muster_job *job, const char *key, int64_t delta,
			uint64_t ttl_ms)
{
	int error = check_key(job, key);

	if (error < 0)
		return error;
	struct store_effect *effect = add_effect(job, STORE_EFFECT_CACHE_ADD);

	effect->key = keep(job, key, strlen(key));
	effect->delta = delta;
	effect->ttl_ms = ttl_ms;
	return 0;
}

int muster_job_then_destroy(struct muster_job *job, const char *key)
{
	int error = check_key(job, key);

	if (error < 0)
		return error;
	add_effect(job, STORE_EFFECT_CACHE_DESTROY)->key =
		keep(job, key, strlen(key));
	return 0;
}
