#include "server/web.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "api/documentation.h"
#include "base/mem.h"
#include "base/must.h"
#include "server/web_internal.h"
#include "wire/urlencoded.h"

#define SPARES_MAX         64
#define SPARE_OUTPUT_BYTES 16384

uint64_t web_now_us(struct web *web)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	web->now_us =
		(uint64_t)now.tv_sec * 1000000 + (uint64_t)now.tv_nsec / 1000;
	return web->now_us;
}

/* When work on a request begins. Of several in one turn of the loop it does
 * where the one before has ended, which was looked at then. */
static uint64_t beginning(struct web *web)
{
	uint64_t turn = loop_turns(web->settings.api->muster->loop);

	if (turn == web->turn && web->now_us > 0)
		return web->now_us;
	web->turn = turn;
	return web_now_us(web);
}

/* By the monotonic clock: how much the other is ahead changes when somebody
 * sets it, and is looked at once a millisecond. */
int64_t web_wall_ms(struct web *web)
{
	uint64_t now_ms = loop_now_ms(web->settings.api->muster->loop);
	struct timespec wall;

	if (now_ms != web->wall_read_ms) {
		clock_gettime(CLOCK_REALTIME, &wall);
		web->wall_read_ms = now_ms;
		web->wall_ahead_us = (int64_t)wall.tv_sec * 1000000 +
				     wall.tv_nsec / 1000 -
				     (int64_t)web_now_us(web);
	}
	return ((int64_t)web->now_us + web->wall_ahead_us) / 1000;
}

uint64_t web_took_us(const struct web_request *request)
{
	uint64_t now_us = web_now_us(request->web);

	return now_us > request->api.began_us ? now_us - request->api.began_us
					      : 0;
}

/* ---- life ---- */

/* What of each answer does not change. */
static void write_server_information(struct web *web)
{
	struct json_writer writer = json_writer(&web->server_information);

	json_write_name(&writer, "serverInformation");
	json_write_object(&writer);
	json_write_name(&writer, "serverName");
	json_write_text(&writer, web->settings.name);
	json_write_name(&writer, "apiVersion");
	json_write_text(&writer, web->settings.version);
	json_write_name(&writer, "requestDuration");
}

struct web *web_new(const struct web_settings *settings,
		    struct problem *problem)
{
	struct router *router =
		router_new(settings->routes, settings->api->actions, problem);

	if (router == NULL)
		return NULL;
	struct web *web = mem_zalloc(sizeof(*web));

	web->settings = *settings;
	web->router = router;
	list_init(&web->endless);
	web_metrics_open(web);
	if (settings->client_rate > 0)
		web->limiter = limiter_new(settings->client_rate,
					   settings->client_burst);
	if (web->settings.cookie == NULL)
		web->settings.cookie = "sessionID";
	if (web->settings.version == NULL)
		web->settings.version = "";
	web->has_body_rules = web_body_has_rules(settings->api->actions);
	write_server_information(web);
	return web;
}

static void free_request(struct web_request *request)
{
	arena_fini(&request->api.arena);
	buffer_fini(&request->output);
	free(request);
}

void web_free(struct web *web)
{
	if (web == NULL)
		return;
	while (web->spare != NULL) {
		struct web_request *request = web->spare;

		web->spare = request->next;
		free_request(request);
	}
	router_free(web->router);
	limiter_free(web->limiter);
	buffer_fini(&web->server_information);
	explicit_bzero(web->random, sizeof(web->random));
	free(web);
}

void web_close(struct web *web)
{
	web->is_closed = true;
	web->settings.api->is_draining = true;
	web->settings.files = NULL; /* their owner closes them */
}

/* ---- requests ---- */

static struct web_request *take(struct web *web)
{
	struct web_request *request = web->spare;

	if (request == NULL)
		return mem_zalloc(sizeof(*request));
	web->spare = request->next;
	web->spares--;
	return request;
}

static void give_back(struct web_request *request)
{
	struct web *web = request->web;

	if (web->spares == SPARES_MAX) {
		free_request(request);
		return;
	}
	arena_reset(&request->api.arena);
	buffer_truncate(&request->output, 0);
	buffer_trim(&request->output, SPARE_OUTPUT_BYTES);
	request->next = web->spare;
	web->spare = request;
	web->spares++;
}

static void on_answer(struct api_request *api, int status,
		      struct json_writer *writer)
{
	struct web_request *request = (struct web_request *)(void *)api;

	request->is_answered = true;
	if (api->is_streamed)
		web_end_stream(request, status >= 400);
	else
		web_reply(request, status, writer);
	/* Whoever has called api_run() looks at it again. */
	if (!request->is_running)
		give_back(request);
}

static struct web_request *begin(struct web *web, struct muster_http *http)
{
	struct web_request *request = take(web);

	request->web = web;
	request->http = http;
	request->api.client = &request->client;
	request->api.params = params_in(&request->api.arena);
	request->api.action = "";
	request->api.action_length = 0;
	request->api.version = 0;
	request->api.on_answer = on_answer;
	request->api.output = &request->output;
	request->api.routine = NULL;
	request->api.stream = &web_stream;
	request->api.is_streamed = false;
	request->api.chosen = NULL;
	request->api.began_us = beginning(web);
	memset(request->words, 0, sizeof(request->words));
	request->is_running = request->is_answered = false;
	request->allowed = ROUTER_ANY;
	/* From here on its bytes stay where they are until the reply. */
	request->client = (struct client){
		.transport = MUSTER_WEB,
		.address = muster_http_client(http),
		.id = request->id,
		.fingerprint = request->fingerprint,
	};
	DISCARD(muster_http_path(http)); /* for what it does */
	web_session_begin(request);
	request->api.message = request->message;
	return request;
}

static void refuse(struct web_request *request, int status, const char *why)
{
	web_reply_error(request, status, why);
	give_back(request);
}

/* ---- what is always there ---- */

static bool is_leaving(const struct web *web)
{
	return web->is_closed ||
	       (web->settings.is_draining != NULL &&
		web->settings.is_draining(web->settings.owner));
}

static void reply_text(struct web_request *request, const char *type,
		       const void *body, size_t length)
{
	web_reply_text(request, 200, type, body, length);
	give_back(request);
}

static void show_health(struct web_request *request)
{
	reply_text(request, "text/plain", "ok\n", 3);
}

static void show_readiness(struct web_request *request)
{
	if (is_leaving(request->web))
		refuse(request, 503, "the server is shutting down");
	else
		reply_text(request, "text/plain", "ready\n", 6);
}

static void show_metrics(struct web_request *request)
{
	web_metrics_write(request->web, &request->output);
	reply_text(request, "text/plain; version=0.0.4",
		   buffer_bytes(&request->output),
		   buffer_length(&request->output));
}

static void show_openapi(struct web_request *request)
{
	const struct web_settings *settings = &request->web->settings;
	struct json_writer writer = json_writer(&request->output);

	documentation_openapi(settings->api->actions, settings->name,
			      settings->version, settings->routes, &writer);
	reply_text(request, "application/json", buffer_bytes(&request->output),
		   buffer_length(&request->output));
}

static const struct {
	const char *path;
	void (*show)(struct web_request *request);
} pages[] = {
	{ "/healthz", show_health },
	{ "/readyz", show_readiness },
	{ "/metrics", show_metrics },
	{ "/openapi.json", show_openapi },
};

/* ---- where it goes ---- */

struct target {
	const char *path;
	size_t length;
	unsigned method;
};

static struct target target_of(const struct muster_http *http)
{
	const struct http1_head *head = &http->head;

	if (head->path.length == 0)
		return (struct target){ "/", 1,
					router_method_of(
						http->text + head->method.start,
						head->method.length) };
	return (struct target){
		http->text + head->path.start, head->path.length,
		router_method_of(http->text + head->method.start,
				 head->method.length)
	};
}

static bool begins_with(const struct target *target, const char *text,
			size_t length)
{
	return target->length >= length &&
	       memcmp(target->path, text, length) == 0;
}

/* "/api", "/api/", "/api/NAME" or "/api/NAME/"; false: none of them. */
static bool find_name(struct web_request *request, const struct target *target)
{
	const char *at = target->path + 5;
	size_t length;
	bool has_nul = false;

	if (!begins_with(target, "/api", 4) ||
	    (target->length > 4 && target->path[4] != '/'))
		return false;
	if (target->length <= 5)
		return true;
	length = target->length - 5;
	if (length > 1 && at[length - 1] == '/')
		length--;
	if (memchr(at, '%', length) != NULL) {
		char *room = arena_take(&request->api.arena, length + 1);

		length = urlencoded_decode_path(room, at, length, &has_nul);
		at = room;
	}
	request->api.action = at;
	request->api.action_length = length;
	return true;
}

enum found {
	FOUND_ACTION,
	FOUND_NOTHING,
	FOUND_NO_METHOD,
};

static enum found find(struct web_request *request, const struct target *target)
{
	const struct muster_route *route;
	enum router_answer answer =
		router_find(request->web->router, target->method, target->path,
			    target->length, &request->api.params, &route,
			    &request->allowed);

	if (answer == ROUTER_FOUND) {
		request->api.action = route->action;
		request->api.action_length = strlen(route->action);
		request->api.version = route->version;
		return FOUND_ACTION;
	}
	unsigned of_routes = request->allowed;

	request->allowed = ROUTER_ANY;
	if (find_name(request, target))
		return target->method == 0 ? FOUND_NO_METHOD : FOUND_ACTION;
	if (answer == ROUTER_NO_METHOD) {
		request->allowed = of_routes;
		return FOUND_NO_METHOD;
	}
	return FOUND_NOTHING;
}

/* ---- an action ---- */

static void on_gone(struct muster_http *http, int error, void *arg)
{
	struct web_request *request = arg;

	(void)http;
	(void)error;
	api_abandon(&request->api);
}

/* A number from 1 on; 0: it is none, so that no action has it. */
static bool read_version(struct web_request *request)
{
	const struct param *param = &request->words[WEB_API_VERSION];
	uint32_t version = 0;

	if (param->text == NULL || request->api.version != 0)
		return true;
	if (param->length == 0 || param->length > 9)
		return false;
	for (size_t i = 0; i < param->length; i++) {
		if (param->text[i] < '0' || param->text[i] > '9')
			return false;
		version = version * 10 + (uint32_t)(param->text[i] - '0');
	}
	request->api.version = version;
	return version > 0;
}

static void run(struct web_request *request)
{
	struct web *web = request->web;

	request->is_running = true;
	api_run(web->settings.api, &request->api);
	request->is_running = false;
	if (request->is_answered)
		give_back(request);
	else
		muster_http_on_gone(request->http, on_gone, request);
}

static int check_body(struct web_request *request, const char **why)
{
	const struct action *action = actions_find(
		request->web->settings.api->actions, request->api.action,
		request->api.action_length, request->api.version);

	return action == NULL ? 0 : web_body_check(request, action, why);
}

static void choose(struct web_request *request)
{
	const struct param *name = &request->words[WEB_ACTION];
	const char *why;

	if (request->api.action_length == 0 && name->text != NULL) {
		request->api.action = name->text;
		request->api.action_length = name->length;
	}
	request->words[WEB_ACTION].text = request->api.action;
	request->words[WEB_ACTION].length = request->api.action_length;
	if (!read_version(request)) {
		refuse(request, 404, "unknown action or invalid apiVersion");
		return;
	}
	int status =
		request->web->has_body_rules ? check_body(request, &why) : 0;

	if (status != 0)
		refuse(request, status, why);
	else
		run(request);
}

static void begin_callback(struct web_request *request)
{
	const struct param *callback = &request->words[WEB_CALLBACK];

	if (callback->text == NULL)
		return;
	buffer_append(&request->output, callback->text, callback->length);
	buffer_append(&request->output, "(", 1);
}

/* True: it has asked too often, and is told so. */
static bool is_limited(struct web_request *request)
{
	struct limiter *limiter = request->web->limiter;
	uint32_t wait_ms =
		limiter == NULL ? 0
				: limiter_take(limiter, request->client.address,
					       request->api.began_us / 1000);

	if (wait_ms == 0)
		return false;
	buffer_append_format(&request->http->fields, "Retry-After: %u\r\n",
			     (wait_ms + 999) / 1000);
	refuse(request, 429, "you have asked too often, try again later");
	return true;
}

static void serve_action(struct web_request *request)
{
	const char *why;

	if (is_limited(request))
		return;
	int status = web_params_read(request, &why);

	if (status != 0) {
		refuse(request, status, why);
		return;
	}
	begin_callback(request);
	choose(request);
}

/* ---- before the body ---- */

const struct action *web_find_early(struct web *web, struct muster_http *http)
{
	struct web_request request = { .web = web, .http = http };
	struct target target = target_of(http);
	const char *name = muster_http_parameter(http, "action");
	const char *version = muster_http_parameter(http, "apiVersion");
	const struct action *action = NULL;

	request.api.action = "";
	request.api.params = params_in(&request.api.arena);
	if (version != NULL && version[0] != '\0')
		request.words[WEB_API_VERSION] =
			(struct param){ .text = version,
					.length = strlen(version) };
	if (find(&request, &target) == FOUND_ACTION && read_version(&request)) {
		if (request.api.action_length == 0 && name != NULL) {
			request.api.action = name;
			request.api.action_length = strlen(name);
		}
		action = actions_find(
			web->settings.api->actions, request.api.action,
			request.api.action_length, request.api.version);
	}
	arena_fini(&request.api.arena);
	return action;
}

void web_refuse_now(struct web *web, struct muster_http *http, int status,
		    const char *why)
{
	refuse(begin(web, http), status, why);
}

/* ---- a request ---- */

static void serve_file(struct web_request *request, const struct target *target)
{
	struct files *files = request->web->settings.files;
	bool is_reading = (target->method & (ROUTER_GET | ROUTER_HEAD)) != 0;

	if (files != NULL && is_reading &&
	    files_reply(files, request->http, NULL) == 0) {
		give_back(request);
		return;
	}
	refuse(request, 404, "there is nothing here");
}

static bool serve_page(struct web_request *request, const struct target *target)
{
	for (size_t i = 0; i < sizeof(pages) / sizeof(pages[0]); i++) {
		if (strlen(pages[i].path) != target->length ||
		    memcmp(pages[i].path, target->path, target->length) != 0)
			continue;
		request->allowed = ROUTER_GET | ROUTER_HEAD;
		if ((target->method & request->allowed) == 0)
			refuse(request, 405, "the method is not allowed here");
		else
			pages[i].show(request);
		return true;
	}
	return false;
}

static bool is_options(const struct muster_http *http)
{
	return http->head.method.length == 7 &&
	       memcmp(http->text + http->head.method.start, "OPTIONS", 7) == 0;
}

static void serve(struct web_request *request)
{
	struct target target = target_of(request->http);

	switch (find(request, &target)) {
	case FOUND_ACTION:
		if (request->web->is_closed)
			refuse(request, 503, "the server is shutting down");
		else
			serve_action(request);
		return;
	case FOUND_NO_METHOD:
		refuse(request, 405, "the method is not allowed here");
		return;
	case FOUND_NOTHING:
		break;
	}
	if (!serve_page(request, &target))
		serve_file(request, &target);
}

/* The path without a query, and without a slash at its end. */
static bool is_path(const struct muster_http *http, const char *path,
		    size_t length)
{
	const char *at = http->text + http->head.path.start;
	size_t own = http->head.path.length;

	return (own == length || (own == length + 1 && at[length] == '/')) &&
	       memcmp(at, path, length) == 0;
}

void web_refuse_upgrade(struct muster_http *http, int status, const char *why,
			void *owner)
{
	struct web_request *request = begin(owner, http);

	request->allowed = ROUTER_GET;
	refuse(request, status, why);
}

/* Before all else but OPTIONS, as what it becomes is no request. */
static bool upgrade(struct web *web, struct muster_http *http)
{
	bool is_primus = is_path(http, "/primus", 7);

	if (web->settings.on_upgrade == NULL ||
	    (!is_primus && !is_path(http, "/ws", 3)))
		return false;
	if (web->is_closed)
		web_refuse_upgrade(http, 503, "the server is shutting down",
				   web);
	else
		web->settings.on_upgrade(http, is_primus, web->settings.owner);
	return true;
}

void web_handle(struct muster_http *http, void *arg)
{
	struct web *web = arg;

	if (is_options(http)) {
		struct muster_http_cors cors = {
			.origins = web->settings.origins
		};

		web_count(web, 200, 0);
		MUST(muster_http_cors(http, &cors) == MUSTER_HTTP_ANSWERED);
		return;
	}
	if (!upgrade(web, http))
		serve(begin(web, http));
}

/* ---- what HTTP refuses ---- */

/* Nothing that it brought is believed, nor asked for. */
void web_refuse(struct muster_http *http, int status, const char *reason,
		struct buffer *body, void *arg)
{
	struct web *web = arg;
	struct web_request request = {
		.web = web,
		.http = http,
		.client = { .address = muster_http_client(http) },
		.api = { .began_us = web_now_us(web) },
	};
	struct json_writer writer = json_writer(body);

	web_session_make(&request);
	json_write_object(&writer);
	json_write_name(&writer, "error");
	json_write_text(&writer, reason);
	web_write_information(&request, &writer, 0);
	json_write_object_end(&writer);
	web_count(web, status, 0);
}
