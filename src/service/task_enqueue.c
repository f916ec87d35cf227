#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/mem.h"
#include "base/must.h"
#include "base/uuid.h"
#include "service/ask.h"
#include "service/routine.h"
#include "service/tasks_internal.h"

#define MANY_MAX     1000
#define TRIES        4
#define TRY_AGAIN_MS 50

static const struct muster_enqueue no_wishes;

static uint64_t real_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_REALTIME, &now);
	return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

/* ---- what is to be stored ---- */

static struct store_bytes keep(struct arena *arena, const char *text)
{
	size_t length = text == NULL ? 0 : strlen(text);

	return store_bytes(arena_text(arena, text == NULL ? "" : text, length),
			   length);
}

static int invalid(struct problem *problem, const char *name, const char *task,
		   const char *why)
{
	return problem_set(problem, -EINVAL, name,
			   "'%.100s' cannot be enqueued: %s", task, why);
}

static int check(const char *name, const struct muster_enqueue *enqueue,
		 const struct known_task *known, struct problem *problem)
{
	if (known == NULL && !enqueue->is_foreign)
		return problem_set(
			problem, -ENOENT, "TASK_UNKNOWN",
			"no task '%.100s' is registered here (is it spelled "
			"right? one that other servers run is registered "
			"without a function, or is_foreign)",
			name);
	if (name[0] == '\0' || strlen(name) > TASK_NAME_MAX)
		return invalid(problem, "TASK_INVALID", name,
			       "a task's name has 1 to 100 bytes");
	if (enqueue->params != NULL &&
	    !task_envelope_is_object(enqueue->params, strlen(enqueue->params)))
		return invalid(problem, "PARAMS_INVALID", name,
			       "its params are no JSON object");
	if (enqueue->queue != NULL && enqueue->server != NULL)
		return invalid(problem, "QUEUE_INVALID", name,
			       "a queue and a server are named (a server's "
			       "queue is its own)");
	if (enqueue->delay_ms != 0 && enqueue->at_ms != 0)
		return invalid(problem, "TIME_INVALID", name,
			       "a delay and a time are named");
	if (enqueue->priority >= STORE_PRIORITIES)
		return invalid(problem, "PRIORITY_INVALID", name,
			       "its priority is not 0 to 3");
	if (enqueue->attempts > STORE_ATTEMPTS_MAX)
		return invalid(problem, "ATTEMPTS_INVALID", name,
			       "it has more than 60000 attempts");
	return 0;
}

static struct store_bytes make_id(struct arena *arena)
{
	char id[UUID_BYTES];

	uuid_make(id);
	return keep(arena, id);
}

static const char *queue_of(const struct muster_enqueue *enqueue,
			    const struct muster_task *task)
{
	if (enqueue->server != NULL)
		return enqueue->server;
	if (enqueue->queue != NULL)
		return enqueue->queue;
	return task != NULL ? task->queue : NULL;
}

int task_prepare(struct muster *muster, struct arena *arena, const char *name,
		 const struct muster_enqueue *enqueue, struct store_task *task,
		 struct problem *problem)
{
	if (enqueue == NULL)
		enqueue = &no_wishes;
	const struct known_task *known =
		muster->tasks == NULL
			? NULL
			: tasks_find(muster->tasks, name, strlen(name));
	const struct muster_task *own = known == NULL ? NULL : known->task;
	int error = check(name, enqueue, known, problem);

	if (error < 0)
		return error;
	uint64_t now_ms = real_ms();
	uint64_t deadline_ms =
		enqueue->deadline_ms == 0 ? 0 : now_ms + enqueue->deadline_ms;

	*task = (struct store_task){
		.id = enqueue->id != NULL ? keep(arena, enqueue->id)
					  : make_id(arena),
		.queue = keep(arena, queue_of(enqueue, own)),
		.envelope = store_text(task_envelope_write(
			arena, name, enqueue->params, now_ms, deadline_ms)),
		.unique = keep(arena, enqueue->unique),
		.unique_scope =
			enqueue->unique_scope == MUSTER_UNIQUE_UNTIL_START
				? STORE_UNIQUE_UNTIL_START
				: STORE_UNIQUE_UNTIL_DONE,
		.priority = enqueue->priority,
		.max_attempts = enqueue->attempts,
		.delay_ms = enqueue->delay_ms,
		.at_ms = enqueue->at_ms,
	};
	if (task->priority == 0 && own != NULL)
		task->priority = own->priority;
	if (task->max_attempts == 0 && own != NULL)
		task->max_attempts = own->attempts;
	if (task->max_attempts == 0)
		task->max_attempts = TASK_ATTEMPTS;
	return 0;
}

/* ---- middleware ---- */

static const struct muster_task_middleware *const *
middleware_of(const struct muster *muster, const char *name)
{
	const struct known_task *known =
		muster->tasks == NULL
			? NULL
			: tasks_find(muster->tasks, name, strlen(name));

	return known == NULL ? NULL : known->task->middleware;
}

static int run_before(struct muster *muster, const char *name,
		      struct muster_enqueue *enqueue)
{
	const struct muster_task_middleware *const *list =
		middleware_of(muster, name);
	int answer = 0;

	for (; list != NULL && *list != NULL && answer == 0; list++)
		if ((*list)->before_enqueue != NULL)
			answer = (*list)->before_enqueue(muster, name, enqueue,
							 (*list)->arg);
	return answer;
}

static void run_after(struct muster *muster, const char *name, const char *id,
		      int answer)
{
	const struct muster_task_middleware *const *list =
		middleware_of(muster, name);
	size_t count = 0;

	while (list != NULL && list[count] != NULL)
		count++;
	while (count-- > 0)
		if (list[count]->after_enqueue != NULL)
			list[count]->after_enqueue(muster, name, id, answer,
						   list[count]->arg);
}

/* ---- asking ---- */

/* One of those that are asked for together. */
struct order {
	const char *name;
	struct muster_enqueue enqueue;
	bool is_asked; /* else `answer` says why not */
	bool has_made_id;
	int answer;
	struct store_bytes id;
};

static int answer_of(enum store_result result, bool was_tried, bool has_made_id)
{
	if (result == STORE_DONE)
		return 0;
	if (result == STORE_DUPLICATE)
		return MUSTER_DUPLICATE;
	if (result == STORE_QUEUE_FULL)
		return MUSTER_FULL;
	/* Our own first try was heard, and its answer was lost. */
	return was_tried && has_made_id ? 0 : MUSTER_KNOWN;
}

static int ask_once(struct muster *muster, const struct store_task *tasks,
		    size_t count, struct ask *ask)
{
	int error = ask_begin(ask, muster);

	if (error < 0)
		return error;
	store_enqueue(muster->store, &(struct store_enqueue){ tasks, count },
		      ask_on_answer, ask);
	return ask_end(ask);
}

/* An answer that was lost is asked for again: ids make that safe. */
static int ask_store(struct muster *muster, const struct store_task *tasks,
		     size_t count, struct ask *ask, bool *was_tried)
{
	*was_tried = false;
	for (unsigned tries = 1;; tries++) {
		int error = ask_once(muster, tasks, count, ask);

		if (error == 0 || tries == TRIES ||
		    strcmp(muster_problem_word(muster), "STORE_ANSWER_LOST") !=
			    0)
			return error;
		*was_tried = true;
		error = muster_sleep(muster, (uint64_t)TRY_AGAIN_MS << tries);
		if (error < 0)
			return error;
	}
}

static int send(struct muster *muster, struct order *orders, size_t order_count,
		const struct store_task *tasks, size_t count)
{
	struct ask ask;
	bool was_tried;
	size_t at = 0;

	if (count == 0)
		return 0;
	int error = ask_store(muster, tasks, count, &ask, &was_tried);

	if (error < 0)
		return error;
	/* All of it before anything that could wait. */
	for (size_t i = 0; i < order_count; i++) {
		struct order *order = &orders[i];

		if (!order->is_asked)
			continue;
		enum store_result result = ask.answer->results[at];

		order->answer =
			answer_of(result, was_tried, order->has_made_id);
		if (result == STORE_DUPLICATE)
			order->id = routine_keep(muster,
						 ask.answer->enqueue.ids[at]);
		at++;
	}
	return 0;
}

static void prepare(struct muster *muster, struct order *order,
		    struct store_task *tasks, size_t *count)
{
	struct store_task *task = &tasks[*count];

	order->id = store_text("");
	order->answer = run_before(muster, order->name, &order->enqueue);
	if (order->answer != 0)
		return;
	if (order->enqueue.all) {
		order->answer = invalid(
			routine_problem(muster), "ALL_ALONE", order->name,
			"to all servers it goes by itself, with "
			"muster_task_enqueue()");
		return;
	}
	order->answer =
		task_prepare(muster, routine_answers(muster), order->name,
			     &order->enqueue, task, routine_problem(muster));
	if (order->answer < 0)
		return;
	order->has_made_id = order->enqueue.id == NULL;
	order->id = task->id;
	order->is_asked = true;
	*count += 1;
}

static void finish(struct muster *muster, const struct order *order)
{
	if (order->enqueue.made_id != NULL)
		*order->enqueue.made_id = order->id.data;
	if (order->answer != MUSTER_DROPPED)
		run_after(muster, order->name, order->id.data, order->answer);
}

static int enqueue_orders(struct muster *muster, struct order *orders,
			  size_t order_count, bool is_all_or_none)
{
	struct store_task *tasks = mem_alloc(order_count * sizeof(*tasks));
	size_t count = 0;
	int error = 0;

	for (size_t i = 0; i < order_count; i++) {
		prepare(muster, &orders[i], tasks, &count);
		if (orders[i].answer < 0 && is_all_or_none && error == 0)
			error = orders[i].answer;
	}
	if (error == 0)
		error = send(muster, orders, order_count, tasks, count);
	free(tasks);
	for (size_t i = 0; i < order_count; i++) {
		if (error < 0 && orders[i].is_asked)
			orders[i].answer = error;
		finish(muster, &orders[i]);
	}
	return error;
}

/* ---- one for each server ---- */

static int list_servers(struct muster *muster, struct store_bytes **servers,
			size_t *count)
{
	struct ask ask;
	int error = ask_begin(&ask, muster);

	if (error < 0)
		return error;
	store_peer_list(muster->store, &(struct store_peer_list){ 0 },
			ask_on_answer, &ask);
	error = ask_end(&ask);
	if (error < 0)
		return error;
	*count = ask.answer->peers.count;
	*servers = arena_take_zeroed(routine_answers(muster), *count + 1,
				     sizeof(**servers));
	for (size_t i = 0; i < *count; i++)
		(*servers)[i] =
			routine_keep(muster, ask.answer->peers.list[i].id);
	return 0;
}

/* What all of them come to. */
static int sum_up(const struct order *orders, size_t count)
{
	int sum = count == 0 ? MUSTER_NOT_FOUND : orders[0].answer;

	for (size_t i = 0; i < count; i++) {
		if (orders[i].answer < 0 || orders[i].answer == MUSTER_FULL)
			return orders[i].answer;
		if (orders[i].answer == 0)
			sum = 0;
	}
	return sum;
}

static int enqueue_for_all(struct muster *muster, const char *name,
			   const struct muster_enqueue *enqueue)
{
	struct arena *arena = routine_answers(muster);
	const char *id =
		enqueue->id != NULL ? enqueue->id : make_id(arena).data;
	struct store_bytes *servers;
	size_t count;
	int error = list_servers(muster, &servers, &count);

	if (error < 0)
		return error;
	struct order *orders = mem_zalloc((count + 1) * sizeof(*orders));

	for (size_t i = 0; i < count; i++) {
		struct muster_enqueue *one = &orders[i].enqueue;

		orders[i].name = name;
		*one = *enqueue;
		one->all = false;
		one->made_id = NULL;
		one->server = servers[i].data;
		one->id = muster_text(muster, "%s.%s", id, servers[i].data);
		if (enqueue->unique != NULL)
			one->unique =
				muster_text(muster, "%s.%s", enqueue->unique,
					    servers[i].data);
	}
	for (size_t i = 0; i < count && error == 0; i += MANY_MAX)
		error = enqueue_orders(
			muster, orders + i,
			count - i < MANY_MAX ? count - i : MANY_MAX, true);
	int answer = error < 0 ? error : sum_up(orders, count);

	free(orders);
	if (enqueue->made_id != NULL)
		*enqueue->made_id = id;
	return answer;
}

/* ---- what applications see ---- */

int muster_task_enqueue(struct muster *muster, const char *task,
			const struct muster_enqueue *enqueue)
{
	int error = routine_check(muster);

	if (error < 0)
		return error;
	if (enqueue == NULL)
		enqueue = &no_wishes;
	if (enqueue->all)
		return enqueue_for_all(muster, task, enqueue);
	struct order order = { .name = task, .enqueue = *enqueue };

	error = enqueue_orders(muster, &order, 1, true);
	return error < 0 ? error : order.answer;
}

int muster_task_enqueue_many(struct muster *muster,
			     const struct muster_enqueue *list, size_t count,
			     int *answers)
{
	int error = routine_check(muster);

	if (error < 0)
		return error;
	if (count > MANY_MAX)
		return problem_set(routine_problem(muster), -E2BIG, "TOO_MANY",
				   "%zu tasks at once, but %d are the most "
				   "(split them)",
				   count, MANY_MAX);
	struct order *orders = mem_zalloc((count + 1) * sizeof(*orders));

	for (size_t i = 0; i < count; i++) {
		orders[i].name = list[i].task == NULL ? "" : list[i].task;
		orders[i].enqueue = list[i];
	}
	error = enqueue_orders(muster, orders, count, answers == NULL);
	for (size_t i = 0; i < count; i++) {
		if (answers != NULL)
			answers[i] = orders[i].answer;
		else if (error == 0)
			error = orders[i].answer;
	}
	free(orders);
	return error;
}
