/* A producer, at the level of the store or, as `client`, of the public API:
 * tasks under ids it knows beforehand, tried again under the same
 * id until the store has answered; killed, it reads in its own log where it
 * was. What a task is follows from the seed and its number. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <muster/task.h>

#include "base/must.h"
#include "chaos.h"
#include "service/ask.h"

#define BATCH_MAX  64
#define RETRY_MS   20
#define PARAMS     "{\"ms\":%u,\"do\":\"%s\",\"n\":%u}"
#define ENVELOPE   "{\"method\":\"chaos\",\"params\":" PARAMS "}"
#define AGAIN      150  /* of 1,000 calls ask for an old task once more, */
#define AGAIN_BACK 1000 /* which is none older than so many */

/* What the letters of kinds= stand for; the others are plain. */
enum kind {
	PLAIN,
	SLOW,   /* s: about as long as a lease */
	FAILS,  /* f: once or twice, then it is done */
	BURIED, /* b: fails until it is dead */
	FINAL,  /* e: dead at once */
	LATER,  /* d: delayed */
	THERE,  /* q: a server's own queue */
	UNIQUE, /* u */
	UNDONE, /* c: delayed, and cancelled before */
	PARENT, /* p: its completion enqueues a child */
	POISON, /* x: kills its worker until it is dead */
	BLOCKS, /* k: blocks its worker's thread for longer than a lease */
};

static const struct {
	char letter;
	enum kind kind;
	unsigned of_1000;
} shares[] = {
	{ 's', SLOW, 60 },   { 'f', FAILS, 40 },  { 'b', BURIED, 10 },
	{ 'e', FINAL, 10 },  { 'd', LATER, 40 },  { 'q', THERE, 30 },
	{ 'u', UNIQUE, 20 }, { 'c', UNDONE, 10 }, { 'p', PARENT, 60 },
	{ 'x', POISON, 8 },  { 'k', BLOCKS, 2 },
};

struct made {
	enum kind kind;
	char id[NAME_BYTES];
	char envelope[96];
	char unique[32];
	bool is_answered;
	struct store_task task;
};

static enum kind kind_of(const struct chaos *chaos, uint64_t number)
{
	uint64_t drawn = chaos_random(chaos->seed, number * 4, 1000);

	if (chaos_random(chaos->seed, number * 4 + 3, 100) >= chaos->special)
		return PLAIN;

	for (size_t i = 0; i < sizeof(shares) / sizeof(shares[0]); i++) {
		if (drawn < shares[i].of_1000)
			return strchr(chaos->kinds, shares[i].letter) != NULL
				       ? shares[i].kind
				       : PLAIN;
		drawn -= shares[i].of_1000;
	}
	return PLAIN;
}

static const char *set_kind(const struct chaos *chaos, struct made *made,
			    uint64_t drawn, unsigned *sleep_ms)
{
	struct store_task *task = &made->task;

	switch (made->kind) {
	case PLAIN:
		return "ok";
	case SLOW:
		*sleep_ms =
			chaos->lease_ms / 4 + *sleep_ms * chaos->lease_ms / 8;
		return "ok";
	case FAILS:
		return "fail";
	case BURIED:
		task->max_attempts = 3;
		return "fail";
	case FINAL:
		return "final";
	case LATER:
		task->delay_ms = 100 + drawn % 900;
		return "ok";
	case THERE:
		task->queue = store_text(chaos->server);
		return "ok";
	case UNIQUE:
		snprintf(made->unique, sizeof(made->unique), "key-%ju",
			 (uintmax_t)(drawn % 4));
		task->unique = store_text(made->unique);
		*sleep_ms *= 10;
		return "ok";
	case UNDONE:
		task->delay_ms = 300;
		return "ok";
	case PARENT:
		return "child";
	case POISON:
		task->max_attempts = 3;
		return "poison";
	case BLOCKS:
		*sleep_ms = chaos->lease_ms * 3 / 2;
		return "block";
	}
	return "ok";
}

static void make(const struct chaos *chaos, uint64_t number, struct made *made)
{
	uint64_t drawn = chaos_random(chaos->seed, number * 4 + 1, 1000000);
	unsigned sleep_ms = (unsigned)(drawn % 6);

	*made = (struct made){ .kind = kind_of(chaos, number) };
	const char *what = set_kind(chaos, made, drawn, &sleep_ms);
	unsigned times = made->kind == BURIED  ? 1000
			 : made->kind == FAILS ? 1 + (unsigned)(drawn % 2)
					       : 0;

	snprintf(made->id, sizeof(made->id), "%s.%07ju", chaos->name,
		 (uintmax_t)number);
	/* The library wraps what a client gives. */
	snprintf(made->envelope, sizeof(made->envelope),
		 chaos->is_client ? PARAMS : ENVELOPE, sleep_ms, what, times);
	made->task.id = store_text(made->id);
	made->task.envelope = store_text(made->envelope);
}

/* ---- asking ---- */

static void tell_try(const struct chaos *chaos, const struct made *made)
{
	const struct store_task *task = &made->task;

	chaos_line("try %s %d %ju %u %s %s", made->id, (int)made->kind,
		   (uintmax_t)task->delay_ms, task->max_attempts,
		   task->queue.length > 0 ? chaos->server : "-",
		   task->unique.length > 0 ? made->unique : "-");
}

static int enqueue_at_store(struct muster *muster,
			    const struct store_task *tasks, size_t count,
			    enum store_result *results)
{
	const struct store_enqueue request = { tasks, count };
	struct ask ask;
	int error = ask_begin(&ask, muster);

	if (error == 0) {
		store_enqueue(muster->store, &request, ask_on_answer, &ask);
		error = ask_end(&ask);
	}
	for (size_t i = 0; i < count && error == 0; i++)
		results[i] = ask.answer->results[i];
	return error;
}

static enum store_result result_of(int answer)
{
	switch (answer) {
	case 0:
		return STORE_DONE;
	case MUSTER_KNOWN:
		return STORE_KNOWN;
	case MUSTER_DUPLICATE:
		return STORE_DUPLICATE;
	default:
		return STORE_QUEUE_FULL;
	}
}

/* The same as an application's author would do it. */
static int enqueue_as_client(struct muster *muster,
			     const struct store_task *tasks, size_t count,
			     enum store_result *results)
{
	struct muster_enqueue list[BATCH_MAX] = { 0 };
	int answers[BATCH_MAX];

	for (size_t i = 0; i < count; i++)
		list[i] = (struct muster_enqueue){
			.task = "chaos",
			.params = tasks[i].envelope.data,
			.delay_ms = tasks[i].delay_ms,
			.server = tasks[i].queue.length > 0
					  ? tasks[i].queue.data
					  : NULL,
			.attempts = tasks[i].max_attempts,
			.id = tasks[i].id.data,
			.unique = tasks[i].unique.length > 0
					  ? tasks[i].unique.data
					  : NULL,
		};
	int error = muster_task_enqueue_many(muster, list, count, answers);

	for (size_t i = 0; i < count && error == 0; i++)
		if (answers[i] < 0)
			error = answers[i];
		else
			results[i] = result_of(answers[i]);
	return error;
}

/* Those that were answered with more than a refusal. */
static int ask_once(struct muster *muster, const struct chaos *chaos,
		    struct made *made, size_t count)
{
	struct store_task tasks[BATCH_MAX];
	struct made *asked[BATCH_MAX];
	enum store_result results[BATCH_MAX];
	size_t some = 0;

	for (size_t i = 0; i < count; i++) {
		if (made[i].is_answered)
			continue;
		tasks[some] = made[i].task;
		asked[some++] = &made[i];
		tell_try(chaos, &made[i]);
	}
	chaos_flush();
	int error = chaos->is_client
			    ? enqueue_as_client(muster, tasks, some, results)
			    : enqueue_at_store(muster, tasks, some, results);

	if (error < 0) {
		chaos_line("error %s 0 %s", made[0].id,
			   muster_problem_word(muster));
		chaos_flush();
		return error;
	}
	for (size_t i = 0; i < some; i++) {
		chaos_line("ack %s %d", asked[i]->id, (int)results[i]);
		asked[i]->is_answered = results[i] != STORE_QUEUE_FULL;
		if (!asked[i]->is_answered)
			error = -EAGAIN;
	}
	chaos_flush();
	return error;
}

static bool ask_until_answered(struct muster *muster, const struct chaos *chaos,
			       struct made *made, size_t count)
{
	int error;

	while ((error = ask_once(muster, chaos, made, count)) < 0) {
		muster_clear_answers(muster);
		if (error == -ECANCELED || muster_sleep(muster, RETRY_MS) < 0)
			return false;
	}
	return true;
}

static int cancel_once(struct muster *muster, const struct chaos *chaos,
		       const struct made *made, int *result)
{
	const struct store_cancel request = { &made->task.id, 1 };
	struct ask ask;

	if (chaos->is_client) {
		int answer = muster_task_cancel(muster, made->id);

		*result = answer == 0                ? STORE_DONE
			  : answer == MUSTER_RUNNING ? STORE_CANCELLED
						     : STORE_NOT_FOUND;
		return answer < 0 ? answer : 0;
	}
	int error = ask_begin(&ask, muster);

	if (error < 0)
		return error;
	store_cancel(muster->store, &request, ask_on_answer, &ask);
	error = ask_end(&ask);
	if (error == 0)
		*result = (int)ask.answer->results[0];
	return error;
}

static bool cancel(struct muster *muster, const struct chaos *chaos,
		   const struct made *made)
{
	int result = 0;
	int error;

	chaos_line("undo %s", made->id);
	chaos_flush();
	while ((error = cancel_once(muster, chaos, made, &result)) < 0)
		if (error == -ECANCELED || muster_sleep(muster, RETRY_MS) < 0)
			return false;
	chaos_line("undone %s %d", made->id, result);
	chaos_flush();
	return true;
}

/* One that was answered long ago: a client that did not believe it. A task that
 * was cancelled, or was refused for its key, leaves nothing to know it by. */
static bool ask_again(struct muster *muster, const struct chaos *chaos,
		      uint64_t next)
{
	struct made made;
	uint64_t drawn = chaos_random(chaos->seed, next * 4 + 2, 1000);

	if (drawn >= AGAIN || next == 0)
		return true;
	uint64_t most = next < AGAIN_BACK ? next : AGAIN_BACK;

	make(chaos, next - 1 - chaos_random(chaos->seed, next * 4 + 3, most),
	     &made);
	if (made.kind == UNDONE || made.kind == UNIQUE)
		return true;
	return ask_until_answered(muster, chaos, &made, 1);
}

/* ---- where it was ---- */

/* The number after the last one that was answered. */
static uint64_t read_position(const struct chaos *chaos)
{
	FILE *file = fopen(chaos_log_path(), "re");
	char line[512];
	char id[NAME_BYTES];
	uintmax_t number;
	uint64_t next = 0;
	size_t own = strlen(chaos->name);

	MUST(file != NULL);
	while (fgets(line, sizeof(line), file) != NULL)
		if (sscanf(line, "%*u ack %79s", id) == 1 &&
		    strncmp(id, chaos->name, own) == 0 &&
		    sscanf(id + own, ".%ju", &number) == 1 && number >= next)
			next = number + 1;
	fclose(file);
	return next;
}

void producer_role(struct muster *muster, void *arg)
{
	static struct made made[BATCH_MAX];
	struct chaos *chaos = arg;
	uint64_t next = read_position(chaos);

	MUST(chaos->batch <= BATCH_MAX);
	while (next < chaos->count) {
		size_t count =
			chaos_random(chaos->seed, next * 4 + 2, chaos->batch) +
			1;

		if (count > chaos->count - next)
			count = chaos->count - next;
		for (size_t i = 0; i < count; i++)
			make(chaos, next + i, &made[i]);
		if (!ask_until_answered(muster, chaos, made, count))
			return;
		for (size_t i = 0; i < count; i++)
			if (made[i].kind == UNDONE &&
			    !cancel(muster, chaos, &made[i]))
				return;
		if (!ask_again(muster, chaos, next))
			return;
		next += count;
		muster_clear_answers(muster);
		if (chaos->rate > 0 &&
		    muster_sleep(muster, count * 1000 / chaos->rate) < 0)
			return;
	}
	chaos_line("produced %ju", (uintmax_t)next);
	chaos_flush();
	printf("produced\n");
	fflush(stdout);
}
