/*
 * Any bytes as what a client sends to an API server: HTTP, sessions, routes,
 * parameters of every kind, uploads, checks, actions that answer at once, wait,
 * run others, stream and fail. Whatever comes, every action ends, and nothing
 * of it is left.
 *
 * The first byte says how it is cut, the second how it ends.
 */
#include <signal.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/must.h"
#include "server/http.h"
#include "server/web.h"
#include "service/node.h"

#define LENGTH_MAX 8192

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length);

static struct muster muster;
static struct api *api;
static struct web *web;
static bool is_closed;
static int server_descriptor;

/* ---- an application ---- */

static const char *const names[] = { "text",   "integer", "number", "boolean",
				     "object", "array",   "any",    "picture" };

/* Asks for each parameter in each way that there is. */
static void echo(struct muster_call *call)
{
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		struct muster_file file;

		if (!muster_param_is_given(call, names[i]))
			continue;
		muster_set_text(call, names[i],
				muster_param_text(call, names[i]));
		muster_set_int(call, "integer",
			       muster_param_int(call, names[i]));
		muster_set_number(call, "number",
				  muster_param_number(call, names[i]));
		muster_set_bool(call, "boolean",
				muster_param_bool(call, names[i]));
		muster_set_json(call, "json",
				muster_param_json(call, names[i]));
		if (muster_param_file(call, names[i], &file))
			MUST(file.descriptor >= 0 &&
			     lseek(file.descriptor, 0, SEEK_END) ==
				     (off_t)file.size);
	}
	DISCARD(muster_set_header(call, "X", muster_param_text(call, "text")));
}

static void nap(struct muster_call *call)
{
	DISCARD(muster_sleep(&muster, 3600000));
	muster_set_bool(call, "slept", true);
}

static void ticks(struct muster_call *call)
{
	const char *last = muster_call_header(call, "Last-Event-ID");
	struct muster_event event = { .data = last,
				      .name = muster_param_text(call, "text") };

	if (muster_call_begin_events(call) < 0)
		return;
	DISCARD(muster_call_event(call, &event));
	DISCARD(muster_sleep(&muster, 3600000));
	DISCARD(muster_call_event(call, NULL));
}

static void pieces(struct muster_call *call)
{
	static const char piece[100000];
	int64_t status = muster_param_int(call, "integer");
	int error = muster_call_begin(call, (int)(status % 1000),
				      muster_param_text(call, "text"), 250000);

	if (muster_param_is_given(call, "boolean"))
		DISCARD(muster_call_begin(call, 9999, "a", 0));
	for (int i = 0; error == 0 && i < 4; i++)
		error = muster_call_write(call, piece, sizeof(piece));
	if (muster_param_bool(call, "boolean"))
		muster_fail(call, 500, "half of it is there");
}

static void outer(struct muster_call *call)
{
	const char *answer;

	DISCARD(muster_run_action(call, muster_param_text(call, "text"), 0,
				  muster_param_json(call, "any"), &answer));
	muster_set_json(call, "inner", answer);
}

static int is_odd(struct muster_call *call, const char *name)
{
	return muster_param_int(call, name) % 2 != 0
		       ? 0
		       : muster_refuse(call, "%s is even", name);
}

static const struct muster_input text = { .name = "text",
					  .pattern = "^[a-z/-]*$",
					  .length_max = 100 };
static const struct muster_input integer = { .name = "integer",
					     .type = MUSTER_INTEGER,
					     .fallback = "201",
					     .validate = is_odd };
static const struct muster_input number = { .name = "number",
					    .type = MUSTER_NUMBER,
					    .secret = true };
static const struct muster_input boolean = { .name = "boolean",
					     .type = MUSTER_BOOLEAN };
static const struct muster_input member = { .name = "member",
					    .required = true,
					    .secret = true };
static const struct muster_input *const members[] = { &member, &integer, NULL };
static const struct muster_input object = { .name = "object",
					    .type = MUSTER_OBJECT,
					    .schema = members };
static const struct muster_input array = { .name = "array",
					   .type = MUSTER_ARRAY,
					   .length_max = 3 };
static const struct muster_input any = { .name = "any", .type = MUSTER_ANY };
static const struct muster_input picture = { .name = "picture",
					     .type = MUSTER_FILE,
					     .length_max = 1000 };

#define ALL                                                                    \
	{                                                                      \
		&text, &integer, &number, &boolean, &object, &array, &any      \
	}

static const struct muster_action actions[] = {
	{ .name = "echo", .inputs = ALL, .run = echo },
	{ .name = "echo", .version = 2, .inputs = ALL, .run = echo },
	{ .name = "upload",
	  .inputs = { &picture, &text },
	  .body_max = 3000,
	  .run = echo },
	{ .name = "json",
	  .inputs = { &any },
	  .bodies = MUSTER_BODY_JSON,
	  .body_max = 50,
	  .strict = true,
	  .run = echo },
	{ .name = "nap", .run = nap },
	{ .name = "ticks", .inputs = { &text }, .run = ticks },
	{ .name = "pieces",
	  .inputs = { &text, &integer, &boolean },
	  .run = pieces },
	{ .name = "outer", .inputs = { &text, &any }, .run = outer },
	{ 0 },
};

static const struct muster_route routes[] = {
	{ "GET", "/i/:integer([0-9]+)", "echo", 1 },
	{ "POST", "/u/:text", "upload", 0 },
	{ NULL, "/r/*text", "echo", 0 },
	{ 0 },
};

/* ---- what it lives in ---- */

static void open_all(void)
{
	static const struct log log = { LOG_OFF, NULL };
	struct problem problem;

	signal(SIGPIPE, SIG_IGN);
	muster.loop = loop_new(&log);
	muster.log = log;
	muster.state = NODE_UP;
	muster.id = (char *)(uintptr_t) "fuzz-worker-1";
	muster.meters = muster.own_meters;
	muster.fibers = fiber_pool_new(NULL);
	list_init(&muster.routines);
	api = api_new(&muster, &(struct api_settings){ .actions = actions },
		      &problem);
	MUST(api != NULL);
	web = web_new(&(struct web_settings){ .api = api,
					      .name = "fuzz",
					      .routes = routes,
					      .body_bytes = 1000 },
		      &problem);
	MUST(web != NULL);
}

static struct http_server *open_server(void)
{
	return http_server_new(
		muster.loop,
		&(struct http_settings){
			.handler = web_handle,
			.on_head = web_on_head,
			.wants_head = web_wants_head,
			.refuse = web_refuse,
			.arg = web,
			.limits = { .body_bytes = 1000, .requests = 20 },
		});
}

static void on_closed(void *token)
{
	(void)token;
	MUST(!is_closed);
	is_closed = true;
	close(server_descriptor);
}

static void turn(int client)
{
	char room[65536];

	loop_turn(muster.loop);
	while (recv(client, room, sizeof(room), MSG_DONTWAIT) > 0)
		loop_turn(muster.loop);
}

static void send_pieces(int client, const uint8_t *bytes, size_t length,
			size_t step)
{
	for (size_t at = 0; at < length; at += step) {
		size_t some = length - at < step ? length - at : step;

		/* It fails where the server has closed. */
		if (send(client, bytes + at, some, MSG_NOSIGNAL) < 0)
			break;
		turn(client);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length)
{
	int pair[2];

	if (length < 2 || length > LENGTH_MAX)
		return 0;
	if (web == NULL)
		open_all();
	struct http_server *server = open_server();

	MUST(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0,
			pair) == 0);
	is_closed = false;
	server_descriptor = pair[1];
	http_server_take_later(server, pair[1], on_closed, NULL);
	send_pieces(pair[0], bytes + 2, length - 2, bytes[0] + 1u);
	if ((bytes[1] & 1) != 0)
		shutdown(pair[0], SHUT_WR);
	turn(pair[0]);
	if ((bytes[1] & 2) != 0) {
		close(pair[0]);
		loop_turn(muster.loop);
		loop_turn(muster.loop);
	}
	http_server_free(server);
	MUST(is_closed);
	MUST(api->running == 0);
	if ((bytes[1] & 2) == 0)
		close(pair[0]);
	loop_turn(muster.loop);
	return 0;
}
