#include "loop/signals.h"

#include <stdlib.h>

#include "base/mem.h"
#include "base/must.h"
#include "loop/loop_internal.h"

#define SIGNALS_MAX 16

struct signals {
	uv_signal_t handles[SIGNALS_MAX];
	size_t open_handles;
	signals_fn on_signal;
	void *owner;
};

static void on_uv_signal(uv_signal_t *handle, int signal)
{
	struct signals *signals = handle->data;

	signals->on_signal(signals->owner, signal);
}

static void on_handle_closed(uv_handle_t *handle)
{
	struct signals *signals = handle->data;

	if (--signals->open_handles == 0)
		free(signals);
}

struct signals *signals_open(struct loop *loop, const int *list, size_t count,
			     signals_fn on_signal, void *owner)
{
	MUST(count > 0 && count <= SIGNALS_MAX);
	struct signals *signals = mem_zalloc(sizeof(*signals));

	loop_touch(loop);
	signals->on_signal = on_signal;
	signals->owner = owner;
	for (size_t i = 0; i < count; i++) {
		uv_signal_t *handle = &signals->handles[i];

		MUST(uv_signal_init(loop_uv(loop), handle) == 0);
		handle->data = signals;
		MUST(uv_signal_start(handle, on_uv_signal, list[i]) == 0);
		uv_unref((uv_handle_t *)handle);
	}
	signals->open_handles = count;
	return signals;
}

void signals_close(struct signals *signals)
{
	if (signals == NULL)
		return;
	for (size_t count = signals->open_handles, i = 0; i < count; i++)
		uv_close((uv_handle_t *)&signals->handles[i], on_handle_closed);
}
