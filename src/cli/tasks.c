#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>

#include <muster/task.h>

#include "base/quantity.h"
#include "cli/guest.h"
#include "cli/print.h"
#include "cli/tasks_print.h"

#define PAGE  100
#define LIMIT 100

enum {
	DELAY = GUEST_OPTIONS,
	DEADLINE,
	QUEUE,
	SERVER,
	PRIORITY,
	ATTEMPTS,
	ID,
	UNIQUE,
	ALL,
	COUNT,
	DEPTH,
	RUNNING,
	PER_SECOND,
	OPTIONS,
};

#define TAKES(option) (1ULL << (option))
#define ENQUEUE_TAKES                                                          \
	(TAKES(DELAY) | TAKES(DEADLINE) | TAKES(QUEUE) | TAKES(SERVER) |       \
	 TAKES(PRIORITY) | TAKES(ATTEMPTS) | TAKES(ID) | TAKES(UNIQUE) |       \
	 TAKES(ALL))

static const struct command_option options[OPTIONS + 1] = {
	GUEST_ROWS,
	[DELAY] = { 'd', "delay", NULL, "TIME",
		    "not before: 500 (ms), 10s, 2m, 1h (now)" },
	[DEADLINE] = { 0, "deadline", NULL, "TIME",
		       "not to be started after (never)" },
	[QUEUE] = { 'q', "queue", NULL, "QUEUE", "of that queue (global)" },
	[SERVER] = { 0, "server", NULL, "ID", "for that server alone" },
	[PRIORITY] = { 'p', "priority", NULL, "N", "0, the first, to 3 (0)" },
	[ATTEMPTS] = { 0, "attempts", NULL, "N", "at most (25)" },
	[ID] = { 0, "id", NULL, "ID", "the same id adds nothing (made)" },
	[UNIQUE] = { 0, "unique", NULL, "KEY", "one at a time of that key" },
	[ALL] = { 'a', "all", NULL, NULL,
		  "for each server; with retry: each that is dead" },
	[COUNT] = { 'n', "limit", NULL, "N", "how many to show (100)" },
	[DEPTH] = { 0, "depth", NULL, "N", "how many may wait; 0: any" },
	[RUNNING] = { 0, "running", NULL, "N",
		      "how many may run at once; 0: any" },
	[PER_SECOND] = { 0, "per-second", NULL, "N",
			 "how many may start in a second; 0: any" },
};

/* What the command line asks for. */
struct request {
	struct muster_enqueue enqueue;
	bool is_all;
	uint64_t limit;
	long depth; /* -1: as it is */
	long running;
	long per_second;
};

static int take_time(int option, const char *text, uint64_t *time_ms)
{
	uint32_t read_ms;

	if (!quantity_read_time_ms(text, &read_ms))
		return guest_wants(&tasks_command, option,
				   "a time as in 500 (ms), 10s or 1m", text);
	*time_ms = read_ms;
	return COMMAND_DONE;
}

static int take_number(int option, const char *text, long least, long most,
		       long *number)
{
	char wants[64];

	if (arguments_read_number(text, least, most, number))
		return COMMAND_DONE;
	snprintf(wants, sizeof(wants), "a number from %ld to %ld", least, most);
	return guest_wants(&tasks_command, option, wants, text);
}

static int take(void *context, int option, const char *value)
{
	struct request *request = context;
	long number = 0;
	int code;

	switch (option) {
	case DELAY:
		return take_time(option, value, &request->enqueue.delay_ms);
	case DEADLINE:
		return take_time(option, value, &request->enqueue.deadline_ms);
	case QUEUE:
		request->enqueue.queue = value;
		return COMMAND_DONE;
	case SERVER:
		request->enqueue.server = value;
		return COMMAND_DONE;
	case PRIORITY:
		code = take_number(option, value, 0, 3, &number);
		request->enqueue.priority = (uint32_t)number;
		return code;
	case ATTEMPTS:
		code = take_number(option, value, 1, 60000, &number);
		request->enqueue.attempts = (uint32_t)number;
		return code;
	case ID:
		request->enqueue.id = value;
		return COMMAND_DONE;
	case UNIQUE:
		request->enqueue.unique = value;
		return COMMAND_DONE;
	case COUNT:
		code = take_number(option, value, 1, INT_MAX, &number);
		request->limit = (uint64_t)number;
		return code;
	case DEPTH:
		return take_number(option, value, 0, INT_MAX, &request->depth);
	case RUNNING:
		return take_number(option, value, 0, INT_MAX,
				   &request->running);
	case PER_SECOND:
		return take_number(option, value, 0, INT_MAX,
				   &request->per_second);
	default: /* ALL */
		request->is_all = true;
		return COMMAND_DONE;
	}
}

/* ---- to look at them ---- */

static int list_state(struct guest *guest, enum muster_task_state state,
		      uint64_t *left)
{
	const struct request *request = guest->context;
	const struct muster_task_info *list;
	size_t count = PAGE;

	for (uint64_t offset = 0; *left > 0 && count == PAGE; offset += count) {
		int answer = muster_task_list(
			guest->muster,
			&(struct muster_task_filter){
				.state = state,
				.queue = request->enqueue.queue,
				.offset = offset,
				.limit = PAGE,
			},
			&list, &count);

		if (answer < 0)
			return guest_failed(guest);
		for (size_t i = 0; i<count && * left> 0; i++, --*left)
			tasks_print_row(guest, &list[i],
					*left == request->limit);
		muster_clear_answers(guest->muster);
	}
	return COMMAND_DONE;
}

static int find_state(const char *name, enum muster_task_state *state)
{
	static const enum muster_task_state known[] = {
		MUSTER_TASK_QUEUED, MUSTER_TASK_DELAYED, MUSTER_TASK_ACTIVE,
		MUSTER_TASK_DEAD,   MUSTER_TASK_DONE,
	};

	for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++) {
		if (strcmp(muster_task_state_text(known[i]), name) != 0)
			continue;
		*state = known[i];
		return COMMAND_DONE;
	}
	return command_misused(&tasks_command,
			       "'%s' is no state: queued, delayed, active, "
			       "dead, done",
			       name);
}

/* As many as were asked for: there may be others. */
static void end_list(const struct guest *guest, uint64_t left)
{
	const struct request *request = guest->context;

	tasks_print_end(guest);
	if (left == 0 && !guest->is_json)
		fprintf(stderr,
			"muster: these are the first %" PRIu64 " (--limit N "
			"shows more, muster tasks stats counts them)\n",
			request->limit);
}

static int list(struct guest *guest)
{
	static const enum muster_task_state open[] = { MUSTER_TASK_ACTIVE,
						       MUSTER_TASK_QUEUED,
						       MUSTER_TASK_DELAYED };
	const struct request *request = guest->context;
	uint64_t left = request->limit;
	enum muster_task_state state = MUSTER_TASK_QUEUED;
	int code = COMMAND_DONE;

	if (guest->operand_count > 0) {
		code = find_state(guest->operands[0], &state);
		if (code != COMMAND_DONE)
			return code;
		tasks_print_begin(guest);
		code = list_state(guest, state, &left);
	} else {
		tasks_print_begin(guest);
		for (size_t i = 0; i < 3 && code == COMMAND_DONE; i++)
			code = list_state(guest, open[i], &left);
	}
	end_list(guest, left);
	return code;
}

static int list_failed(struct guest *guest)
{
	const struct request *request = guest->context;
	uint64_t left = request->limit;

	tasks_print_begin(guest);
	int code = list_state(guest, MUSTER_TASK_DEAD, &left);

	end_list(guest, left);
	return code;
}

static int tell(const struct guest *guest, int answer, const char *id)
{
	if (answer == 0)
		return COMMAND_DONE;
	if (answer == MUSTER_NOT_FOUND)
		return command_failed("there is no such task '%s' (muster "
				      "tasks ls shows what there is)",
				      id);
	if (answer == MUSTER_RUNNING)
		return command_failed("the task '%s' is running (muster tasks "
				      "cancel %s tells it to stop)",
				      id, id);
	return guest_failed(guest);
}

static int show(struct guest *guest)
{
	struct muster_task_info info;
	int answer = muster_task_show(guest->muster, guest->operands[0], &info);

	if (answer != 0)
		return tell(guest, answer, guest->operands[0]);
	tasks_print_one(guest, &info);
	return COMMAND_DONE;
}

static int stats(struct guest *guest)
{
	struct muster_task_counts counts;

	if (muster_task_count(guest->muster, &counts) < 0)
		return guest_failed(guest);
	tasks_print_counts(guest, &counts);
	return COMMAND_DONE;
}

/* ---- to enqueue ---- */

static const char *answer_text(int answer)
{
	if (answer == MUSTER_KNOWN)
		return "known";
	return answer == MUSTER_DUPLICATE ? "duplicate" : "enqueued";
}

static int enqueue(struct guest *guest)
{
	const struct request *request = guest->context;
	struct muster_enqueue wishes = request->enqueue;
	const char *id = "";

	wishes.params = guest->operand_count > 1 ? guest->operands[1] : NULL;
	wishes.all = request->is_all;
	wishes.is_foreign = true; /* which tasks there are is not known here */
	wishes.made_id = &id;
	int answer =
		muster_task_enqueue(guest->muster, guest->operands[0], &wishes);

	if (answer == MUSTER_FULL)
		return command_failed("the queue is full (raise its depth: "
				      "muster tasks limits)");
	if (answer == MUSTER_NOT_FOUND)
		return command_failed("there is no server that could get it");
	if (answer < 0)
		return guest_failed(guest);
	if (guest->is_json)
		print_json(json_pack("{s:s,s:s}", "id", id, "answer",
				     answer_text(answer)));
	else
		printf("%s\n", id);
	return COMMAND_DONE;
}

/* ---- what is done to them ---- */

typedef int (*each_fn)(struct muster *muster, const char *id);

/* Each of the operands; what fails is told, and the others are gone on with. */
static int for_each(struct guest *guest, each_fn fn, const char *done,
		    int fine_too)
{
	int code = COMMAND_DONE;
	unsigned long long count = 0;

	for (size_t i = 0; i < guest->operand_count; i++) {
		const char *id = guest->operands[i];
		int answer = fn(guest->muster, id);

		if (answer == 0 || answer == fine_too)
			count++;
		else
			code = tell(guest, answer, id);
		if (answer < 0)
			break;
	}
	tasks_print_done(guest, done, count);
	return code;
}

/* From the front, as they go from there. */
static int retry_all(struct guest *guest)
{
	const struct muster_task_info *dead;
	unsigned long long count = 0;
	size_t found;

	do {
		if (muster_task_list(guest->muster,
				     &(struct muster_task_filter){
					     .state = MUSTER_TASK_DEAD,
					     .limit = PAGE,
				     },
				     &dead, &found) < 0)
			return guest_failed(guest);
		size_t retried = 0;

		for (size_t i = 0; i < found; i++) {
			int answer =
				muster_task_retry(guest->muster, dead[i].id);

			if (answer < 0)
				return guest_failed(guest);
			retried += answer == 0;
		}
		muster_clear_answers(guest->muster);
		count += retried;
		if (retried == 0)
			break;
	} while (found == PAGE);
	tasks_print_done(guest, "retried", count);
	return COMMAND_DONE;
}

static int retry(struct guest *guest)
{
	const struct request *request = guest->context;

	return request->is_all
		       ? retry_all(guest)
		       : for_each(guest, muster_task_retry, "retried", 0);
}

static int cancel(struct guest *guest)
{
	return for_each(guest, muster_task_cancel, "cancelled", MUSTER_RUNNING);
}

static int remove_tasks(struct guest *guest)
{
	return for_each(guest, muster_task_remove, "removed", 0);
}

/* ---- queues ---- */

/* As people are shown it. */
static const char *queue_of(const struct guest *guest)
{
	if (guest->operand_count == 0 ||
	    strcmp(guest->operands[0], "global") == 0)
		return "";
	return guest->operands[0];
}

static int show_queue(struct guest *guest)
{
	struct muster_task_counts counts;
	const char *name = queue_of(guest);

	if (muster_task_count(guest->muster, &counts) < 0)
		return guest_failed(guest);
	for (size_t i = 0; i < counts.queue_count; i++) {
		if (strcmp(counts.queues[i].name, name) != 0)
			continue;
		tasks_print_queue(guest, &counts.queues[i]);
		return COMMAND_DONE;
	}
	tasks_print_queue(guest, &(struct muster_queue_info){ .name = name });
	return COMMAND_DONE;
}

static int pause_queue(struct guest *guest)
{
	return muster_task_pause(guest->muster, queue_of(guest)) < 0
		       ? guest_failed(guest)
		       : show_queue(guest);
}

static int resume_queue(struct guest *guest)
{
	return muster_task_resume(guest->muster, queue_of(guest)) < 0
		       ? guest_failed(guest)
		       : show_queue(guest);
}

/* What is not said stays as it is. */
static int limit_queue(struct guest *guest)
{
	const struct request *request = guest->context;
	struct muster_queue_limits limits = { 0 };
	struct muster_task_counts counts;
	const char *name = queue_of(guest);

	if (request->depth < 0 && request->running < 0 &&
	    request->per_second < 0)
		return show_queue(guest);
	if (muster_task_count(guest->muster, &counts) < 0)
		return guest_failed(guest);
	for (size_t i = 0; i < counts.queue_count; i++)
		if (strcmp(counts.queues[i].name, name) == 0)
			limits = (struct muster_queue_limits){
				counts.queues[i].depth,
				counts.queues[i].running_max,
				counts.queues[i].per_second,
			};
	if (request->depth >= 0)
		limits.depth = (uint64_t)request->depth;
	if (request->running >= 0)
		limits.running = (uint32_t)request->running;
	if (request->per_second >= 0)
		limits.per_second = (uint32_t)request->per_second;
	return muster_task_limit(guest->muster, name, &limits) < 0
		       ? guest_failed(guest)
		       : show_queue(guest);
}

static int check(const struct guest *guest)
{
	const struct request *request = guest->context;

	if (guest->verb->run != retry ||
	    (guest->operand_count == 0) == request->is_all)
		return COMMAND_DONE;
	return command_misused(&tasks_command,
			       "tasks retry needs an ID, or --all and none");
}

static const struct command_verb verbs[] = {
	{ "ls", "list", "[STATE]",
	  "shows what waits and runs, or is queued, delayed, active, dead, "
	  "done",
	  0, 1, TAKES(QUEUE) | TAKES(COUNT), list },
	{ "enqueue", "add", "NAME [PARAMS]",
	  "enqueues a task; PARAMS is a JSON object", 1, 2, ENQUEUE_TAKES,
	  enqueue },
	{ "show", NULL, "ID", "shows one task", 1, 1, 0, show },
	{ "failed", NULL, "", "shows the dead", 0, 0, TAKES(COUNT),
	  list_failed },
	{ "retry", NULL, "ID...", "runs the dead again", 0, UINT_MAX,
	  TAKES(ALL), retry },
	{ "cancel", NULL, "ID...", "takes back what waits, stops what runs", 1,
	  UINT_MAX, 0, cancel },
	{ "remove", NULL, "ID...", "forgets what does not run", 1, UINT_MAX, 0,
	  remove_tasks },
	{ "pause", NULL, "[QUEUE]", "starts nothing more from a queue", 0, 1, 0,
	  pause_queue },
	{ "resume", NULL, "[QUEUE]", "goes on", 0, 1, 0, resume_queue },
	{ "limits", NULL, "[QUEUE]", "shows and sets a queue's limits", 0, 1,
	  TAKES(DEPTH) | TAKES(RUNNING) | TAKES(PER_SECOND), limit_queue },
	{ "stats", NULL, "", "counts tasks and queues", 0, 0, 0, stats },
	{ 0 },
};

static int run(struct arguments *arguments)
{
	struct request request = {
		.limit = LIMIT, .depth = -1, .running = -1, .per_second = -1
	};

	return guest_run(arguments,
			 &(struct guest_plan){ .take = take,
					       .check = check,
					       .context = &request });
}

const struct command tasks_command = {
	.name = "tasks",
	.operands = "VERB [OPERAND...]",
	.summary = "Shows, enqueues and looks after tasks",
	.options = options,
	.verbs = verbs,
	.run = run,
};
