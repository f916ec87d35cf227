/*
 * call_stream - answers that an action sends in pieces, as its client takes
 * them: see api.h for who carries them.
 */
#include <errno.h>

#include "api/call.h"
#include "base/must.h"
#include "service/routine.h"

/* NULL with a problem: nobody can. */
static const struct api_stream *find_stream(struct muster_call *call)
{
	if (call->request != NULL && call->request->stream != NULL)
		return call->request->stream;
	problem_set(routine_problem(call->api->muster), -ENOTSUP,
		    "NOT_STREAMED",
		    "'%.80s' can answer in pieces over HTTP alone, and not to "
		    "another action",
		    call->action->given->name);
	return NULL;
}

/* A reply that was begun may take as long as its client does. */
static int begun(struct muster_call *call, int error)
{
	struct muster *muster = call->api->muster;

	if (error == -EPIPE)
		return problem_set(routine_problem(muster), -ECANCELED,
				   "CANCELLED",
				   "'%.80s' has lost its client, or its server "
				   "is shutting down",
				   call->action->given->name);
	if (error < 0)
		return error;
	call->request->is_streamed = true;
	return muster_set_deadline(muster, 0);
}

int muster_call_begin(struct muster_call *call, int status, const char *type,
		      uint64_t length)
{
	const struct api_stream *stream = find_stream(call);

	if (stream == NULL)
		return -ENOTSUP;
	if (call->has_failed)
		return -EINVAL;
	return begun(call, stream->begin(call->request, status, type, length));
}

int muster_call_begin_events(struct muster_call *call)
{
	const struct api_stream *stream = find_stream(call);

	if (stream == NULL)
		return -ENOTSUP;
	if (call->has_failed)
		return -EINVAL;
	int error = stream->begin_events(call->request);

	if (error == -ESHUTDOWN) {
		muster_fail(call, 503, "the server is shutting down");
		error = -EPIPE;
	}
	return begun(call, error);
}

/* Until the client has taken what waits for it; then it is to be tried again:
 * 0. */
static int await_room(struct muster_call *call)
{
	call->request->room = fiber_wait_begin();
	return routine_park(call->api->muster, call->request->room, 0);
}

int muster_call_write(struct muster_call *call, const void *bytes,
		      size_t length)
{
	const struct api_stream *stream = find_stream(call);
	int error = stream == NULL ? -ENOTSUP : 0;

	while (error == 0) {
		error = stream->write(call->request, bytes, length);
		if (error != -EAGAIN)
			return begun(call, error);
		error = await_room(call);
	}
	return error;
}

int muster_call_event(struct muster_call *call,
		      const struct muster_event *event)
{
	const struct api_stream *stream = find_stream(call);
	int error = stream == NULL ? -ENOTSUP : 0;

	while (error == 0) {
		error = stream->event(call->request, event);
		if (error != -EAGAIN)
			return begun(call, error);
		error = await_room(call);
	}
	return error;
}

/* ---- headers ---- */

const char *muster_call_header(const struct muster_call *call, const char *name)
{
	if (call->request == NULL || call->request->stream == NULL)
		return NULL;
	return call->request->stream->header(call->request, name);
}

int muster_set_header(struct muster_call *call, const char *name,
		      const char *value)
{
	if (call->request == NULL || call->request->stream == NULL)
		return -ENOTSUP;
	return call->request->stream->set_header(call->request, name, value);
}

/* ---- the server's side ---- */

void api_has_room(struct api_request *request)
{
	fiber_wake(request->room, 0);
}
