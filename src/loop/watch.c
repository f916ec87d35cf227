#include "loop/watch.h"

#include <stdlib.h>
#include <sys/epoll.h>

#include "base/mem.h"
#include "base/must.h"
#include "loop/loop_internal.h"

/*
 * libuv has no EPOLLEXCLUSIVE, and the flag can be given at EPOLL_CTL_ADD
 * alone. libuv adds a descriptor when the loop next polls, and touches it no
 * more until the handle is stopped, which is an EPOLL_CTL_DEL. So once the
 * loop has polled (a check handle runs right after), the registration is
 * taken out and put back with the flag.
 */
struct watch {
	uv_poll_t handle;
	uv_check_t check;
	int open_handles;
	int descriptor;
	struct loop *loop;
	bool is_started;
	bool is_exclusive;
	watch_fn on_readable;
	void *owner;
};

static void on_handle_closed(uv_handle_t *handle)
{
	struct watch *watch = handle->data;

	if (--watch->open_handles == 0)
		free(watch);
}

static void on_uv_poll(uv_poll_t *handle, int status, int events)
{
	struct watch *watch = handle->data;

	/* An error shows when the descriptor is read. libuv has stopped the
	 * handle then; it goes on, as a UDP socket's errors pass. */
	(void)events;
	if (status < 0 && watch->is_started) {
		watch->is_started = false;
		watch_start(watch);
	}
	watch->on_readable(watch->owner);
}

static void on_uv_check(uv_check_t *check)
{
	struct watch *watch = check->data;
	int epoll = uv_backend_fd(check->loop);
	struct epoll_event event = { .events = EPOLLIN | EPOLLEXCLUSIVE,
				     .data.fd = watch->descriptor };

	/* Started by a callback of the poll, it is not in it yet: next time. */
	if (epoll_ctl(epoll, EPOLL_CTL_DEL, watch->descriptor, &event) < 0)
		return;
	MUST(uv_check_stop(check) == 0);
	if (epoll_ctl(epoll, EPOLL_CTL_ADD, watch->descriptor, &event) == 0)
		return;
	event.events = EPOLLIN;
	MUST(epoll_ctl(epoll, EPOLL_CTL_ADD, watch->descriptor, &event) == 0);
}

int watch_open(struct loop *loop, int descriptor, watch_fn on_readable,
	       void *owner, struct watch **watch_out)
{
	struct watch *watch = mem_zalloc(sizeof(*watch));
	int error = uv_poll_init(loop_uv(loop), &watch->handle, descriptor);

	if (error < 0) {
		free(watch);
		return error;
	}
	MUST(uv_check_init(loop_uv(loop), &watch->check) == 0);
	uv_unref((uv_handle_t *)&watch->check);
	watch->handle.data = watch;
	watch->check.data = watch;
	watch->open_handles = 2;
	watch->descriptor = descriptor;
	watch->loop = loop;
	watch->on_readable = on_readable;
	watch->owner = owner;
	*watch_out = watch;
	return 0;
}

void watch_close(struct watch *watch)
{
	if (watch == NULL)
		return;
	uv_close((uv_handle_t *)&watch->handle, on_handle_closed);
	uv_close((uv_handle_t *)&watch->check, on_handle_closed);
}

void watch_start(struct watch *watch)
{
	if (watch->is_started)
		return;
	watch->is_started = true;
	loop_touch(watch->loop);
	MUST(uv_poll_start(&watch->handle, UV_READABLE, on_uv_poll) == 0);
	if (watch->is_exclusive)
		MUST(uv_check_start(&watch->check, on_uv_check) == 0);
}

void watch_stop(struct watch *watch)
{
	if (!watch->is_started)
		return;
	watch->is_started = false;
	MUST(uv_poll_stop(&watch->handle) == 0);
	MUST(uv_check_stop(&watch->check) == 0);
}

void watch_set_keeps_alive(struct watch *watch, bool keeps_alive)
{
	if (keeps_alive)
		uv_ref((uv_handle_t *)&watch->handle);
	else
		uv_unref((uv_handle_t *)&watch->handle);
}

void watch_set_exclusive(struct watch *watch)
{
	watch->is_exclusive = true;
}
