/* What waits in the own queue of a server that is gone for good is handed to
 * all: each node looks now and then, and the store lets one of them do it. */
#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#include "base/must.h"
#include "loop/timer.h"
#include "service/ask.h"
#include "service/routine.h"
#include "service/tasks_internal.h"

#define LOOKS       4 /* within the time after which a server is gone */
#define LOOK_MS_MAX (5 * 60 * 1000)

/* NAME-worker-3: only servers have a queue of such a name. */
static bool is_server(struct store_bytes queue)
{
	static const char middle[] = "-worker-";
	const char *at =
		memmem(queue.data, queue.length, middle, sizeof(middle) - 1);

	if (at == NULL || at == queue.data)
		return false;
	const char *end = queue.data + queue.length;

	for (at += sizeof(middle) - 1; at < end; at++)
		if (!isdigit((unsigned char)*at))
			return false;
	return end[-1] != '-';
}

static int list_queues(struct muster *muster, struct store_bytes **queues,
		       size_t *count)
{
	struct ask ask;
	int error = ask_begin(&ask, muster);

	*count = 0;
	if (error < 0)
		return error;
	store_counts(muster->store, &(struct store_counts){ 0 }, ask_on_answer,
		     &ask);
	error = ask_end(&ask);
	if (error < 0)
		return error;
	size_t all = ask.answer->counts.queue_count;

	*queues = arena_take_zeroed(routine_answers(muster), all + 1,
				    sizeof(**queues));
	for (size_t i = 0; i < all; i++) {
		struct store_bytes name = ask.answer->counts.queues[i].name;

		if (is_server(name))
			(*queues)[(*count)++] = routine_keep(muster, name);
	}
	return 0;
}

/* Those of servers that are there are left out. */
static int drop_living(struct muster *muster, struct store_bytes *queues,
		       size_t *count)
{
	struct ask ask;
	size_t left = 0;
	int error = ask_begin(&ask, muster);

	if (error < 0)
		return error;
	store_peer_list(muster->store, &(struct store_peer_list){ 0 },
			ask_on_answer, &ask);
	error = ask_end(&ask);
	if (error < 0)
		return error;
	for (size_t i = 0; i < *count; i++) {
		bool lives = false;

		for (size_t j = 0; j < ask.answer->peers.count; j++) {
			struct store_bytes id = ask.answer->peers.list[j].id;

			lives |=
				id.length == queues[i].length &&
				memcmp(id.data, queues[i].data, id.length) == 0;
		}
		if (!lives)
			queues[left++] = queues[i];
	}
	*count = left;
	return 0;
}

/* DONE, BUSY: it may come back yet. */
static int adopt(struct muster *muster, struct store_bytes queue)
{
	struct ask ask;
	int error = ask_begin(&ask, muster);

	if (error < 0)
		return error;
	store_adopt_queue(muster->store,
			  &(struct store_adopt_queue){
				  .queue = queue,
				  .after_ms = muster->tasks->adopt_ms,
			  },
			  ask_on_answer, &ask);
	error = ask_end(&ask);
	if (error == 0 && ask.answer->result == STORE_DONE &&
	    ask.answer->number.value > 0)
		log_warn(&muster->log,
			 "a server is gone for good, its tasks are everybody's "
			 "queue=%s tasks=%llu",
			 queue.data,
			 (unsigned long long)ask.answer->number.value);
	return error;
}

/* What fails is looked at again soon enough. */
static void look(struct muster *muster, void *arg)
{
	struct tasks *tasks = arg;
	struct store_bytes *queues = NULL;
	size_t count = 0;
	int error = list_queues(muster, &queues, &count);

	if (error == 0 && count > 0)
		error = drop_living(muster, queues, &count);
	for (size_t i = 0; i < count && error == 0; i++)
		error = adopt(muster, queues[i]);
	tasks->is_adopting = false;
}

static void on_time(void *owner)
{
	struct tasks *tasks = owner;

	if (tasks->is_adopting || !tasks->is_open)
		return;
	tasks->is_adopting = true;
	if (routine_start(tasks->muster, "queues of the gone", look, tasks,
			  NULL) < 0)
		tasks->is_adopting = false; /* the next time */
}

void tasks_adopt_start(struct tasks *tasks)
{
	uint64_t look_ms = tasks->adopt_ms / LOOKS + 1;

	if (look_ms > LOOK_MS_MAX)
		look_ms = LOOK_MS_MAX;
	if (tasks->adopt == NULL)
		tasks->adopt =
			timer_open(tasks->muster->loop, on_time, tasks, false);
	timer_start(tasks->adopt, look_ms, look_ms);
}

void tasks_adopt_free(struct tasks *tasks)
{
	timer_close(tasks->adopt);
	tasks->adopt = NULL;
}
