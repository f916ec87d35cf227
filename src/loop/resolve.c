#include "loop/resolve.h"

#include <stdlib.h>

#include "base/mem.h"
#include "base/must.h"
#include "loop/loop_internal.h"

struct resolve {
	uv_getaddrinfo_t request;
	bool is_closed;
	int error;
	struct loop_task failure;
	resolve_fn on_found;
	void *owner;
};

static void on_uv_found(uv_getaddrinfo_t *request, int status,
			struct addrinfo *found)
{
	struct resolve *resolve = request->data;

	if (!resolve->is_closed && status == 0)
		resolve->on_found(resolve->owner, 0, found->ai_addr,
				  found->ai_addrlen);
	else if (!resolve->is_closed)
		resolve->on_found(resolve->owner, status, NULL, 0);
	uv_freeaddrinfo(found);
	free(resolve);
}

static void run_failure(struct loop_task *task)
{
	struct resolve *resolve = LIST_ENTRY(task, struct resolve, failure);

	if (!resolve->is_closed)
		resolve->on_found(resolve->owner, resolve->error, NULL, 0);
	free(resolve);
}

struct resolve *resolve_open(struct loop *loop, const char *host,
			     const char *port, resolve_fn on_found, void *owner)
{
	const struct addrinfo hints = { .ai_family = AF_UNSPEC,
					.ai_socktype = SOCK_STREAM,
					.ai_flags = AI_ADDRCONFIG };
	struct resolve *resolve = mem_zalloc(sizeof(*resolve));

	resolve->request.data = resolve;
	resolve->failure.run = run_failure;
	resolve->on_found = on_found;
	resolve->owner = owner;
	resolve->error = uv_getaddrinfo(loop_uv(loop), &resolve->request,
					on_uv_found, host, port, &hints);
	if (resolve->error < 0)
		loop_defer(loop, &resolve->failure);
	return resolve;
}

void resolve_close(struct resolve *resolve)
{
	if (resolve == NULL)
		return;
	resolve->is_closed = true;
	/* A lookup under way cannot always be stopped; then it ends unheard. */
	if (resolve->error == 0)
		DISCARD(uv_cancel((uv_req_t *)&resolve->request));
}
