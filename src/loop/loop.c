#include "loop/loop.h"

#include <stdlib.h>

#include "base/mem.h"
#include "base/must.h"
#include "loop/loop_internal.h"

struct loop {
	uv_loop_t uv;
	uv_prepare_t prepare; /* runs the deferred tasks; keeps nothing alive */
	struct list tasks;
	uint64_t turns;
	unsigned holds;  /* while above 0 the prepare handle counts */
	bool is_touched; /* loop_touch() since the last turn began */
	const struct log *log;
	uint8_t scratch[LOOP_SCRATCH_BYTES];
	uint8_t fdstream_scratch[LOOP_SCRATCH_BYTES];
};

/* What the tasks defer runs too: nothing may wait while the loop blocks. */
static void run_tasks(struct loop *loop)
{
	struct list *link;

	while ((link = list_take_first(&loop->tasks)) != NULL) {
		struct loop_task *task =
			LIST_ENTRY(link, struct loop_task, link);

		task->run(task);
	}
}

static void on_prepare(uv_prepare_t *prepare)
{
	struct loop *loop = prepare->data;

	run_tasks(loop);
	loop->turns++;
}

struct loop *loop_new(const struct log *log)
{
	struct loop *loop = mem_zalloc(sizeof(*loop));

	MUST(uv_loop_init(&loop->uv) == 0);
	MUST(uv_prepare_init(&loop->uv, &loop->prepare) == 0);
	loop->prepare.data = loop;
	MUST(uv_prepare_start(&loop->prepare, on_prepare) == 0);
	uv_unref((uv_handle_t *)&loop->prepare);
	list_init(&loop->tasks);
	loop->log = log;
	return loop;
}

void loop_free(struct loop *loop)
{
	if (loop == NULL)
		return;
	run_tasks(loop);
	uv_close((uv_handle_t *)&loop->prepare, NULL);
	/* Only close callbacks are left to run. */
	while (uv_run(&loop->uv, UV_RUN_NOWAIT) != 0)
		;
	MUST(uv_loop_close(&loop->uv) == 0);
	free(loop);
}

void loop_run(struct loop *loop)
{
	/* A task alone does not count as life to libuv. */
	do {
		run_tasks(loop);
		if (uv_run(&loop->uv, UV_RUN_DEFAULT) != 0)
			return; /* stopped */
	} while (!list_is_empty(&loop->tasks));
}

void loop_stop(struct loop *loop)
{
	uv_stop(&loop->uv);
}

void loop_hold(struct loop *loop)
{
	if (loop->holds++ == 0)
		uv_ref((uv_handle_t *)&loop->prepare);
}

void loop_release(struct loop *loop)
{
	MUST(loop->holds > 0);
	if (--loop->holds == 0)
		uv_unref((uv_handle_t *)&loop->prepare);
}

int loop_descriptor(const struct loop *loop)
{
	return uv_backend_fd(&loop->uv);
}

int loop_timeout_ms(const struct loop *loop)
{
	if (!list_is_empty(&loop->tasks) || loop->is_touched)
		return 0;
	return uv_backend_timeout(&loop->uv);
}

bool loop_turn(struct loop *loop)
{
	run_tasks(loop);
	loop->is_touched = false;
	bool is_alive = uv_run(&loop->uv, UV_RUN_NOWAIT) != 0;

	run_tasks(loop);
	return is_alive || uv_loop_alive(&loop->uv) != 0;
}

uint64_t loop_now_ms(const struct loop *loop)
{
	return uv_now(&loop->uv);
}

uint64_t loop_turns(const struct loop *loop)
{
	return loop->turns;
}

const struct log *loop_log(const struct loop *loop)
{
	return loop->log;
}

uint8_t *loop_scratch(struct loop *loop)
{
	return loop->scratch;
}

void loop_defer(struct loop *loop, struct loop_task *task)
{
	if (!list_is_linked(&task->link))
		list_add_last(&loop->tasks, &task->link);
}

void loop_undefer(struct loop_task *task)
{
	if (list_is_linked(&task->link))
		list_remove(&task->link);
}

uint8_t *loop_fdstream_scratch(struct loop *loop)
{
	return loop->fdstream_scratch;
}

void loop_touch(struct loop *loop)
{
	loop->is_touched = true;
}

uv_loop_t *loop_uv(struct loop *loop)
{
	return &loop->uv;
}
