#include "loop/timer.h"

#include <stdlib.h>

#include "base/mem.h"
#include "base/must.h"
#include "loop/loop_internal.h"

struct timer {
	uv_timer_t handle;
	timer_fn on_time;
	void *owner;
};

static void on_uv_time(uv_timer_t *handle)
{
	struct timer *timer = handle->data;

	timer->on_time(timer->owner);
}

static void on_handle_closed(uv_handle_t *handle)
{
	free(handle->data);
}

struct timer *timer_open(struct loop *loop, timer_fn on_time, void *owner,
			 bool keeps_alive)
{
	struct timer *timer = mem_zalloc(sizeof(*timer));

	MUST(uv_timer_init(loop_uv(loop), &timer->handle) == 0);
	timer->handle.data = timer;
	timer->on_time = on_time;
	timer->owner = owner;
	if (!keeps_alive)
		uv_unref((uv_handle_t *)&timer->handle);
	return timer;
}

void timer_close(struct timer *timer)
{
	if (timer != NULL)
		uv_close((uv_handle_t *)&timer->handle, on_handle_closed);
}

void timer_start(struct timer *timer, uint64_t delay_ms, uint64_t repeat_ms)
{
	/* The loop's idea of now may be old: a turn can be long. */
	uv_update_time(timer->handle.loop);
	MUST(uv_timer_start(&timer->handle, on_uv_time, delay_ms, repeat_ms) ==
	     0);
}

void timer_stop(struct timer *timer)
{
	MUST(uv_timer_stop(&timer->handle) == 0);
}

void timer_set_keeps_alive(struct timer *timer, bool keeps_alive)
{
	if (keeps_alive)
		uv_ref((uv_handle_t *)&timer->handle);
	else
		uv_unref((uv_handle_t *)&timer->handle);
}

bool timer_is_started(const struct timer *timer)
{
	return uv_is_active((const uv_handle_t *)&timer->handle) != 0;
}
