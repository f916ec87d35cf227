#include "loop/child.h"

#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/mem.h"
#include "base/must.h"
#include "loop/loop_internal.h"

struct child {
	uv_process_t handle;
	child_exited_fn on_exited;
	void *owner;
	bool has_exited;
};

static void on_handle_closed(uv_handle_t *handle)
{
	free(handle->data);
}

static void on_uv_exit(uv_process_t *handle, int64_t status, int signal)
{
	struct child *child = handle->data;

	child->has_exited = true;
	child->on_exited(child->owner, signal != 0 ? -1 : (int)status, signal);
}

/* libuv opens /dev/null for 0 to 2 alone, and leaves other entries closed. */
static uv_stdio_container_t *stdio_of(const struct child_options *options,
				      int *null)
{
	uv_stdio_container_t *stdio =
		mem_zalloc(options->descriptor_count * sizeof(*stdio));

	for (size_t i = 0; i < options->descriptor_count; i++) {
		int descriptor = options->descriptors[i];

		if (descriptor < 0 && *null < 0)
			*null = open("/dev/null", O_RDWR | O_CLOEXEC);
		if (descriptor < 0)
			descriptor = *null;
		stdio[i].flags = descriptor < 0 ? UV_IGNORE : UV_INHERIT_FD;
		stdio[i].data.fd = descriptor;
	}
	return stdio;
}

int child_open(struct loop *loop, const struct child_options *options,
	       child_exited_fn on_exited, void *owner, struct child **child_out)
{
	struct child *child = mem_zalloc(sizeof(*child));
	int null = -1;
	uv_stdio_container_t *stdio = stdio_of(options, &null);
	uv_process_options_t uv = {
		.file = options->file,
		.args = (char **)(uintptr_t)options->arguments,
		.env = (char **)(uintptr_t)options->environment,
		.cwd = options->directory,
		.exit_cb = on_uv_exit,
		.stdio = stdio,
		.stdio_count = (int)options->descriptor_count,
		.uid = options->uid,
		.gid = options->gid,
	};

	if (options->uid != 0)
		uv.flags |= UV_PROCESS_SETUID;
	if (options->gid != 0)
		uv.flags |= UV_PROCESS_SETGID;
	child->handle.data = child;
	child->on_exited = on_exited;
	child->owner = owner;

	loop_touch(loop); /* the first one watches for SIGCHLD */
	int error = uv_spawn(loop_uv(loop), &child->handle, &uv);

	free(stdio);
	if (null >= 0)
		close(null);
	if (error < 0) {
		/* The handle is known to the loop even after a failure. */
		uv_close((uv_handle_t *)&child->handle, on_handle_closed);
		return error;
	}
	*child_out = child;
	return 0;
}

void child_close(struct child *child)
{
	if (child != NULL)
		uv_close((uv_handle_t *)&child->handle, on_handle_closed);
}

pid_t child_pid(const struct child *child)
{
	return child->handle.pid;
}

int child_kill(struct child *child, int signal)
{
	if (child->has_exited)
		return UV_ESRCH; /* the pid may be somebody else's by now */
	return uv_process_kill(&child->handle, signal);
}
