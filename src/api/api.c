#include "api/api.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "api/call.h"
#include "base/mem.h"
#include "base/must.h"
#include "service/routine.h"

#define TIMEOUT_MS  30000
#define PENDING_MAX 5

struct api *api_new(struct muster *muster, const struct api_settings *settings,
		    struct problem *problem)
{
	struct actions *actions =
		actions_new(settings->actions, settings->middleware, problem);

	if (actions == NULL)
		return NULL;
	struct api *api = mem_zalloc(sizeof(*api));

	api->muster = muster;
	api->actions = actions;
	api->settings = *settings;
	if (api->settings.timeout_ms == 0)
		api->settings.timeout_ms = TIMEOUT_MS;
	if (api->settings.pending_max == 0)
		api->settings.pending_max = PENDING_MAX;
	return api;
}

void api_free(struct api *api)
{
	if (api == NULL)
		return;
	MUST(api->running == 0);
	actions_free(api->actions);
	free(api);
}

/* ---- answers ---- */

static uint64_t now_us(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000 + (uint64_t)now.tv_nsec / 1000;
}

static void count(const struct api *api, uint32_t running)
{
	meter_set(api->muster->meters, METER_ACTIONS, running);
}

static void answer_error(struct api_request *request, int status,
			 const char *text)
{
	struct json_writer writer = json_writer(request->output);

	json_write_object(&writer);
	json_write_name(&writer, "error");
	json_write_text(&writer, text);
	request->on_answer(request, status, &writer);
}

/* ---- running ---- */

static void run(struct muster *muster, void *arg)
{
	struct api_request *request = arg;
	struct routine *routine = routine_current(muster);
	struct muster_call *call = routine->context;
	struct api *api = call->api;

	request->routine = routine;
	muster_set_deadline(muster, call->action->given->timeout_ms > 0
					    ? call->action->given->timeout_ms
					    : api->settings.timeout_ms);
	json_write_object(&call->writer);
	call_run(call);
	if (routine->was_late && !call->has_failed && !request->is_streamed)
		muster_fail(call, 504, "the action took too long");
	if (api->muster->is_late && routine->is_cancelled &&
	    !call->has_failed && !request->is_streamed)
		muster_fail(call, 503, "the server is shutting down");
	if (call->has_failed) {
		json_write_name(&call->writer, "error");
		json_write_text(&call->writer, call->error);
	}
	request->routine = NULL;
	request->params = call->params;
	request->client->pending--;
	count(api, --api->running);
	int status = call->status == 0 ? 200 : call->status;
	struct json_writer writer = call->writer;

	request->on_answer(request, status, &writer);
}

static void start(struct api *api, struct api_request *request,
		  const struct action *action)
{
	struct muster_call *call =
		arena_take_zeroed(&request->arena, 1, sizeof(*call));

	call->api = api;
	call->request = request;
	call->client = request->client;
	call->action = action;
	call->params = request->params;
	call->arena = &request->arena;
	call->writer = json_writer(request->output);
	request->client->pending++;
	request->client->total++;
	count(api, ++api->running);
	int error = routine_start(api->muster, action->given->name, run,
				  request, call);

	if (error == 0)
		return; /* it may be answered, and gone */
	request->client->pending--;
	count(api, --api->running);
	answer_error(request, 503, "the server is busy, try again");
}

void api_run(struct api *api, struct api_request *request)
{
	const struct action *action =
		actions_find(api->actions, request->action,
			     request->action_length, request->version);

	if (request->began_us == 0)
		request->began_us = now_us();
	request->routine = NULL;
	request->chosen = action;
	if (api->is_draining)
		answer_error(request, 503, "the server is shutting down");
	else if (action == NULL)
		answer_error(request, 404,
			     "unknown action or invalid apiVersion");
	else if ((action->given->blocked & request->client->transport) != 0)
		answer_error(request, 400,
			     "this action does not support the connection "
			     "type");
	else if (request->client->pending >= api->settings.pending_max)
		answer_error(request, 429,
			     "you have too many pending requests");
	else
		start(api, request, action);
}

void api_abandon(struct api_request *request)
{
	if (request->routine != NULL)
		routine_cancel(request->routine, -ECANCELED);
}
