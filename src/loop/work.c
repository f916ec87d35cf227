#include "loop/work.h"

#include <stdlib.h>

#include "base/mem.h"
#include "base/must.h"
#include "loop/loop_internal.h"

struct work {
	uv_work_t request;
	work_fn fn;
	void *arg;
	work_fn on_done;
	void *owner;
};

static void run(uv_work_t *request)
{
	struct work *work = request->data;

	work->fn(work->arg);
}

static void on_uv_done(uv_work_t *request, int status)
{
	struct work *work = request->data;
	work_fn on_done = work->on_done;
	void *owner = work->owner;

	MUST(status == 0); /* nobody cancels it */
	free(work);
	on_done(owner);
}

void work_start(struct loop *loop, work_fn fn, void *arg, work_fn on_done,
		void *owner)
{
	struct work *work = mem_zalloc(sizeof(*work));

	work->request.data = work;
	work->fn = fn;
	work->arg = arg;
	work->on_done = on_done;
	work->owner = owner;
	MUST(uv_queue_work(loop_uv(loop), &work->request, run, on_uv_done) ==
	     0);
}
