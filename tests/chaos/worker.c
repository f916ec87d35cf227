/* A worker at the level of the store: it claims, prolongs, and ends its runs in
 * every way there is; some answers it takes for lost. */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/fiber.h"
#include "base/must.h"
#include "chaos.h"
#include "service/ask.h"
#include "service/routine.h"

#define RUNS_MAX  256
#define SLICE_MS  50 /* a run looks that often whether it is to stop */
#define BEATS     3  /* in a lease */
#define RETRY_MS  20
#define CLAIM_MAX 64

struct run {
	struct worker *worker;
	bool is_used;
	bool is_fenced;
	bool is_cancelled;
	char id[NAME_BYTES];
	uint64_t token;
	uint32_t attempt;
	/* From the envelope. */
	uint32_t sleep_ms;
	char what[16];
	uint32_t number;
};

struct worker {
	struct chaos *chaos;
	struct store_bytes queues[2];
	struct run runs[RUNS_MAX];
	size_t running;
	bool is_full; /* the claiming fiber waits for a run to end */
	struct fiber_wait room;
	uint64_t drawn;
};

static bool takes_for_lost(struct worker *worker)
{
	struct chaos *chaos = worker->chaos;

	return chaos_random(chaos->seed, worker->drawn++, 1000) <
	       chaos->lost_answers;
}

/* ---- the ends of a run ---- */

/* Asked again until it is answered: trying again is safe. False: this process
 * ends. */
#define UNTIL_ANSWERED(run, ask, call)                                         \
	({                                                                     \
		int error_;                                                    \
		while ((error_ = ask_begin(&(ask), muster)) == 0 &&            \
		       ((call), error_ = ask_end(&(ask))) < 0 &&               \
		       error_ != -ECANCELED) {                                 \
			chaos_line("error %s %ju %s", (run)->id,               \
				   (uintmax_t)(run)->token,                    \
				   muster_problem_word(muster));               \
			chaos_flush();                                         \
			if (muster_sleep(muster, RETRY_MS) < 0)                \
				break;                                         \
		}                                                              \
		error_ == 0;                                                   \
	})

static void complete(struct muster *muster, struct run *run, bool has_child)
{
	char child[NAME_BYTES + 2];

	snprintf(child, sizeof(child), "%s.c", run->id);
	const struct store_effect effect = {
		.kind = STORE_EFFECT_ENQUEUE,
		.task = { .id = store_text(child),
			  .envelope = store_text(NOTHING_TO_DO) },
	};
	struct store_completion item = {
		.id = store_text(run->id),
		.token = run->token,
		.effects = &effect,
		.effect_count = has_child ? 1 : 0,
	};
	struct ask ask;

	chaos_line("fin %s %ju %d", run->id, (uintmax_t)run->token, has_child);
	chaos_flush();
	for (bool is_again = false;; is_again = true) {
		const struct store_complete request = { &item, 1 };

		if (!UNTIL_ANSWERED(run, ask,
				    store_complete(muster->store, &request,
						   ask_on_answer, &ask)))
			return;
		enum store_result result = ask.answer->results[0];

		if (result == STORE_LOST && !run->is_fenced) {
			run->is_fenced = true;
			chaos_line("fenced %s %ju", run->id,
				   (uintmax_t)run->token);
		}
		chaos_line("done %s %ju %d", run->id, (uintmax_t)run->token,
			   (int)result);
		chaos_flush();
		if (is_again || !takes_for_lost(run->worker))
			return;
	}
}

static void fail_run(struct muster *muster, struct run *run, bool is_final)
{
	const struct store_failure item = {
		.id = store_text(run->id),
		.token = run->token,
		.error = store_text("it was to fail"),
		.delay_ms = chaos_random(run->token, 0, 2) * 40,
		.is_final = is_final,
	};
	const struct store_fail request = { &item, 1 };
	struct ask ask;

	chaos_line("fail %s %ju %d", run->id, (uintmax_t)run->token, is_final);
	chaos_flush();
	if (!UNTIL_ANSWERED(
		    run, ask,
		    store_fail(muster->store, &request, ask_on_answer, &ask)))
		return;
	chaos_line("failed %s %ju %d", run->id, (uintmax_t)run->token,
		   (int)ask.answer->results[0]);
	chaos_flush();
}

static void release_run(struct muster *muster, struct run *run)
{
	const struct store_lease lease = { store_text(run->id), run->token };
	const struct store_release request = { &lease, 1 };
	struct ask ask;

	chaos_line("release %s %ju", run->id, (uintmax_t)run->token);
	chaos_flush();
	if (!UNTIL_ANSWERED(run, ask,
			    store_release(muster->store, &request,
					  ask_on_answer, &ask)))
		return;
	chaos_line("released %s %ju %d", run->id, (uintmax_t)run->token,
		   (int)ask.answer->results[0]);
	chaos_flush();
}

/* ---- a run ---- */

/* False: it is to be given back, or given up. */
static bool work(struct muster *muster, struct run *run)
{
	uint32_t left_ms = run->sleep_ms;

	while (left_ms > 0) {
		uint32_t now_ms = left_ms < SLICE_MS ? left_ms : SLICE_MS;

		if (run->is_cancelled || run->worker->chaos->is_stopping)
			return false;
		if (muster_sleep(muster, now_ms) < 0)
			return false;
		left_ms -= now_ms;
	}
	return true;
}

static bool is(const struct run *run, const char *what)
{
	return strcmp(run->what, what) == 0;
}

static void end(struct run *run)
{
	struct worker *worker = run->worker;

	run->is_used = false;
	worker->running--;
	if (worker->is_full) {
		worker->is_full = false;
		fiber_wake(worker->room, 0);
	}
}

static void run_task(struct muster *muster, void *arg)
{
	struct run *run = arg;

	chaos_line("run %s %ju", run->id, (uintmax_t)run->token);
	chaos_flush();
	if (is(run, "poison")) {
		chaos_line("poison %s %ju", run->id, (uintmax_t)run->token);
		chaos_flush();
		kill(getpid(), SIGKILL);
	}
	bool is_whole = work(muster, run);

	/* One that has lost its lease goes on all the same: what it tells the
	 * store then must be refused. */
	if (run->is_cancelled)
		complete(muster, run, false);
	else if (!is_whole)
		release_run(muster, run);
	else if (is(run, "fail") && run->attempt <= run->number)
		fail_run(muster, run, false);
	else if (is(run, "final"))
		fail_run(muster, run, true);
	else
		complete(muster, run,
			 run->worker->chaos->children && is(run, "child"));
	end(run);
}

/* ---- leases ---- */

static bool beat(struct muster *muster, struct worker *worker)
{
	static struct store_lease leases[RUNS_MAX];
	static struct run *runs[RUNS_MAX];
	size_t count = 0;
	uint64_t asked_us = chaos_now_us();
	struct ask ask;

	for (size_t i = 0; i < RUNS_MAX; i++) {
		struct run *run = &worker->runs[i];

		if (!run->is_used)
			continue;
		leases[count] =
			(struct store_lease){ store_text(run->id), run->token };
		runs[count++] = run;
	}
	if (count == 0)
		return true;
	const struct store_heartbeat request = { leases, count,
						 worker->chaos->lease_ms };
	/* Runs may end, and their room be taken, before the answer. */
	static uint64_t tokens[RUNS_MAX];

	for (size_t i = 0; i < count; i++)
		tokens[i] = leases[i].token;
	int error = ask_begin(&ask, muster);

	if (error == 0) {
		store_heartbeat(muster->store, &request, ask_on_answer, &ask);
		error = ask_end(&ask);
	}
	if (error < 0)
		return error != -ECANCELED;
	for (size_t i = 0; i < count; i++) {
		struct run *run = runs[i];
		enum store_result result = ask.answer->results[i];

		if (!run->is_used || run->token != tokens[i])
			continue;
		chaos_line("beat %s %ju %d %ju", run->id, (uintmax_t)run->token,
			   (int)result, (uintmax_t)asked_us);
		if (result == STORE_CANCELLED)
			run->is_cancelled = true;
		if (result == STORE_LOST && !run->is_fenced) {
			run->is_fenced = true;
			chaos_line("fenced %s %ju", run->id,
				   (uintmax_t)run->token);
		}
	}
	chaos_flush();
	return true;
}

static void prolong(struct muster *muster, void *arg)
{
	struct worker *worker = arg;

	while (muster_sleep(muster, worker->chaos->lease_ms / BEATS) == 0)
		if (!beat(muster, worker))
			return;
}

/* ---- claiming ---- */

static struct run *room_for_run(struct worker *worker)
{
	for (size_t i = 0; i < RUNS_MAX; i++)
		if (!worker->runs[i].is_used)
			return &worker->runs[i];
	return NULL;
}

static struct run *take(struct worker *worker, const struct store_claimed *task,
			uint64_t asked_us)
{
	struct run *run = room_for_run(worker);
	char envelope[256];

	MUST(run != NULL && task->id.length < sizeof(run->id));
	*run = (struct run){ .worker = worker,
			     .is_used = true,
			     .token = task->token,
			     .attempt = task->attempt };
	memcpy(run->id, task->id.data, task->id.length);
	snprintf(envelope, sizeof(envelope), "%.*s", (int)task->envelope.length,
		 task->envelope.data);
	const char *params = strstr(envelope, "{\"ms\"");

	if (params == NULL ||
	    sscanf(params, "{\"ms\":%u,\"do\":\"%15[a-z]\",\"n\":%u}",
		   &run->sleep_ms, run->what, &run->number) != 3)
		chaos_line("damaged %s %s", run->id, envelope);
	chaos_line("got %s %ju %u %u %ju %.*s", run->id, (uintmax_t)run->token,
		   run->attempt, task->max_attempts, (uintmax_t)asked_us,
		   (int)task->queue.length, task->queue.data);
	worker->running++;
	return run;
}

/* 0, with how long there is nothing to be had: 0, ask at once; -1, not known.
 */
static int claim(struct muster *muster, struct worker *worker, int64_t *next_ms)
{
	static struct run *runs[CLAIM_MAX];
	size_t room = worker->chaos->concurrency - worker->running;
	uint64_t asked_us = chaos_now_us();
	const struct store_claim request = {
		.owner = store_text(worker->chaos->owner),
		.queues = worker->queues,
		.queue_count = 2,
		.want = (uint32_t)(room < CLAIM_MAX ? room : CLAIM_MAX),
		.lease_ms = worker->chaos->lease_ms,
	};
	struct ask ask;
	int error = ask_begin(&ask, muster);

	if (error == 0) {
		store_claim(muster->store, &request, ask_on_answer, &ask);
		error = ask_end(&ask);
	}
	if (error < 0) {
		chaos_line("error - 0 %s", muster_problem_word(muster));
		chaos_flush();
		return error;
	}
	size_t count = ask.answer->claim.count;

	*next_ms = count > 0 ? 0 : ask.answer->claim.next_ms;

	if (count > 0 && takes_for_lost(worker)) {
		for (size_t i = 0; i < count; i++)
			chaos_line("missed %.*s %ju %ju",
				   (int)ask.answer->claim.tasks[i].id.length,
				   ask.answer->claim.tasks[i].id.data,
				   (uintmax_t)ask.answer->claim.tasks[i].token,
				   (uintmax_t)asked_us);
		chaos_flush();
		return 0;
	}
	/* All of them first: the answer is gone once a run has waited. */
	for (size_t i = 0; i < count; i++)
		runs[i] = take(worker, &ask.answer->claim.tasks[i], asked_us);
	chaos_flush();
	for (size_t i = 0; i < count; i++)
		MUST(muster_spawn(muster, "run", run_task, runs[i]) == 0);
	return 0;
}

static int wait_for_tasks(struct muster *muster, struct worker *worker,
			  int64_t next_ms)
{
	/* So that an outage is told from idleness: see the outage guard. */
	int64_t most_ms = worker->chaos->lease_ms / BEATS;
	const struct store_wait request = {
		.queues = worker->queues,
		.queue_count = 2,
		.timeout_ms = (uint32_t)(next_ms < 0 || next_ms > most_ms
						 ? most_ms
						 : next_ms + 1),
	};
	struct ask ask;
	int error = ask_begin(&ask, muster);

	if (error < 0)
		return error;
	store_wait(muster->store, &request, ask_on_answer, &ask);
	return ask_end(&ask);
}

static int wait_for_room(struct muster *muster, struct worker *worker)
{
	if (worker->running < worker->chaos->concurrency)
		return 0;
	worker->is_full = true;
	worker->room = fiber_wait_begin();
	int error = routine_park(muster, worker->room, 0);

	worker->is_full = false;
	return error;
}

void worker_role(struct muster *muster, void *arg)
{
	static struct worker worker;
	struct chaos *chaos = arg;

	MUST(chaos->concurrency < RUNS_MAX && chaos->owner != NULL);
	worker.chaos = chaos;
	chaos->own = &worker;
	worker.queues[0] = store_text("");
	worker.queues[1] = store_text(chaos->name);
	chaos_line("owner %s", chaos->owner);
	chaos_flush();
	MUST(muster_spawn(muster, "heartbeat", prolong, &worker) == 0);
	while (!chaos->is_stopping) {
		if (wait_for_room(muster, &worker) < 0)
			return;
		int64_t next_ms;
		int error = claim(muster, &worker, &next_ms);

		if (error == 0 && next_ms != 0)
			error = wait_for_tasks(muster, &worker, next_ms);
		muster_clear_answers(muster);
		if (error < 0 && muster_sleep(muster, RETRY_MS) < 0)
			return;
	}
}

void worker_drain(struct muster *muster, struct chaos *chaos)
{
	const struct worker *worker = chaos->own;

	while (worker != NULL && worker->running > 0)
		if (muster_sleep(muster, RETRY_MS) < 0)
			return;
}
