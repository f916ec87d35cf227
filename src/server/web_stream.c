/*
 * Answers that actions send in pieces: see web_internal.h. While the server
 * goes what streams for ever is ended; its clients come back to another one.
 */
#include <errno.h>

#include "base/must.h"
#include "server/web_internal.h"

static struct web_request *of(struct api_request *api)
{
	return (struct web_request *)(void *)api;
}

static void on_drain(struct muster_http *http, void *arg)
{
	struct web_request *request = arg;

	(void)http;
	api_has_room(&request->api);
}

/* Headers that were put for a reply which is not begun are taken back. */
static int begun(struct web_request *request, size_t fields, int status,
		 int error)
{
	if (error < 0) {
		buffer_truncate(&request->http->fields, fields);
		return error;
	}
	request->status = status;
	muster_http_on_drain(request->http, on_drain, request);
	return 0;
}

static int begin(struct api_request *api, int status, const char *type,
		 uint64_t length)
{
	struct web_request *request = of(api);
	size_t fields = buffer_length(&request->http->fields);

	web_put_headers(request);
	return begun(request, fields, status,
		     muster_http_begin(request->http, status, type, length));
}

static int begin_events(struct api_request *api)
{
	struct web_request *request = of(api);
	size_t fields = buffer_length(&request->http->fields);

	if (request->web->is_draining)
		return -ESHUTDOWN;
	web_put_headers(request);
	request->status = 200;
	int error = begun(request, fields, 200,
			  muster_http_begin_events(request->http));

	if (error == 0)
		list_add_last(&request->web->endless, &request->endless);
	return error;
}

/* Who has asked for the head has all that it wants: an action without an end is
 * not to go on for it. */
static int write_bytes(struct api_request *api, const void *bytes,
		       size_t length)
{
	struct muster_http *http = of(api)->http;

	return http->is_head && http->is_begun
		       ? -EPIPE
		       : muster_http_write(http, bytes, length);
}

static int send_event(struct api_request *api, const struct muster_event *event)
{
	struct muster_http *http = of(api)->http;

	if (http->is_head && http->is_begun)
		return -EPIPE;
	if (event == NULL)
		return muster_http_send_comment(http, NULL);
	return muster_http_send_event(http, &(struct muster_http_event){
						    .name = event->name,
						    .data = event->data,
						    .id = event->id,
						    .retry_ms = event->retry_ms,
					    });
}

static const char *header(struct api_request *api, const char *name)
{
	return muster_http_header(of(api)->http, name);
}

static int set_header(struct api_request *api, const char *name,
		      const char *value)
{
	return api->is_streamed
		       ? -EINVAL
		       : muster_http_set_header(of(api)->http, name, value);
}

const struct api_stream web_stream = {
	.begin = begin,
	.begin_events = begin_events,
	.write = write_bytes,
	.event = send_event,
	.header = header,
	.set_header = set_header,
};

void web_end_stream(struct web_request *request, bool has_failed)
{
	if (list_is_linked(&request->endless))
		list_remove(&request->endless);
	web_count(request->web, request->status, web_took_us(request));
	if (has_failed)
		http_cut(request->http);
	else
		muster_http_end(request->http);
	request->http = NULL;
}

void web_drain(void *owner)
{
	struct web *web = owner;
	struct list *link;

	web->is_draining = true;
	while ((link = list_first(&web->endless)) != NULL) {
		list_remove(link);
		api_abandon(
			&LIST_ENTRY(link, struct web_request, endless)->api);
	}
}
