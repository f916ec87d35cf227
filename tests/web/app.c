/* An application with one of everything, for the tests beside it. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <muster/muster.h>

static void echo(struct muster_call *call)
{
	muster_set_json(call, "text", muster_param_json(call, "text"));
	muster_set_json(call, "id", muster_param_json(call, "id"));
	muster_set_json(call, "payload", muster_param_json(call, "payload"));
	muster_set_json(call, "rest", muster_param_json(call, "rest"));
	muster_set_int(call, "version", muster_call_action(call)->version);
	muster_set_text(call, "fingerprint", muster_call_fingerprint(call));
	muster_set_text(call, "connection", muster_call_connection(call));
}

static void made(struct muster_call *call)
{
	muster_set_status(call, 201);
}

static void nothing(struct muster_call *call)
{
	muster_set_status(call, 204);
}

static void teapot(struct muster_call *call)
{
	muster_fail(call, 418, "I am \"a teapot\"");
}

/* Says when it has begun and how it has ended. */
static void nap(struct muster_call *call)
{
	printf("nap begun\n");
	int error = muster_sleep(muster_call_server(call),
				 (uint64_t)muster_param_int(call, "ms"));

	printf("nap ended %s\n", error == -ECANCELED   ? "cancelled"
				 : error == -ETIMEDOUT ? "late"
				 : error == 0          ? "well"
						       : "otherwise");
	muster_set_int(call, "code", error);
}

/* Without a word, as there may be many. */
static void long_nap(struct muster_call *call)
{
	muster_set_int(call, "code",
		       muster_sleep(muster_call_server(call), 3600000));
}

static void big(struct muster_call *call)
{
	size_t length = 300 * 1024;
	char *text = malloc(length + 1);

	if (text == NULL)
		abort();
	memset(text, 'x', length);
	text[length] = '\0';
	muster_set_text(call, "text", text);
	free(text);
}

/* What came, and what it is to be kept as. */
static void upload(struct muster_call *call)
{
	const char *path = muster_param_text(call, "path");
	struct muster_file file;
	char begin[16];

	if (!muster_param_file(call, "picture", &file)) {
		muster_set_text(call, "name", "none");
		return;
	}
	ssize_t length = read(file.descriptor, begin, sizeof(begin));

	muster_set_text(call, "begin",
			muster_text(muster_call_server(call), "%.*s",
				    (int)(length > 0 ? length : 0), begin));
	muster_set_text(call, "name", file.filename);
	muster_set_text(call, "type", file.type);
	muster_set_int(call, "size", (int64_t)file.size);
	muster_set_json(call, "as_json", muster_param_json(call, "picture"));
	muster_set_json(call, "title", muster_param_json(call, "title"));
	if (path[0] != '\0')
		muster_set_int(call, "saved",
			       muster_param_file_save(call, "picture", path));
	if (!muster_param_is_given(call, "wait"))
		return;
	printf("upload waits\n");
	printf("upload goes on %d\n",
	       muster_sleep(muster_call_server(call), 60000));
}

static const char *outcome(int error)
{
	return error == -ECANCELED   ? "cancelled"
	       : error == -ETIMEDOUT ? "late"
	       : error == 0          ? "well"
				     : "otherwise";
}

/* Events until it has said as many as were asked for. */
static void ticks(struct muster_call *call)
{
	struct muster *muster = muster_call_server(call);
	const char *last = muster_call_header(call, "Last-Event-ID");
	int64_t at = last != NULL ? strtol(last, NULL, 10) : 0;
	int64_t most = muster_param_int(call, "count");
	int error = muster_set_header(call, "X-Ticks", "yes");

	if (error == 0)
		error = muster_call_begin_events(call);
	if (error == 0)
		error = muster_call_event(call, NULL);
	while (error == 0 && at++ < most) {
		error = muster_call_event(
			call, &(struct muster_event){
				      .name = "tick",
				      .id = muster_text(muster, "%d", (int)at),
				      .data = "one\ntwo",
			      });
		if (error == 0)
			error = muster_sleep(
				muster, (uint64_t)muster_param_int(call, "ms"));
	}
	printf("ticks ended %s\n", outcome(error));
}

/* Pieces of 64 KiB, as many as are asked for. */
static void pieces(struct muster_call *call)
{
	static char piece[65536];
	int64_t count = muster_param_int(call, "count");
	bool has_length = muster_param_is_given(call, "length");
	int error = muster_call_begin(
		call, 200, "application/octet-stream",
		has_length ? (uint64_t)muster_param_int(call, "length")
			   : MUSTER_CALL_UNKNOWN);

	memset(piece, 'p', sizeof(piece));
	for (int64_t i = 0; error == 0 && i < count; i++)
		error = muster_call_write(call, piece, sizeof(piece));
	printf("pieces ended %s\n", outcome(error));
	if (muster_param_is_given(call, "fails"))
		muster_fail(call, 500, "half of it is there");
}

/* What cannot begin can still be answered. */
static void badly_begun(struct muster_call *call)
{
	int events = muster_call_event(call, NULL);

	muster_set_int(call, "early", events);
	muster_set_int(call, "begun",
		       muster_call_begin(call, 204, "text/plain", 0));
	muster_set_int(call, "header", muster_set_header(call, "a b", "c"));
}

/* An action that another one runs has no client of its own. */
static void nested(struct muster_call *call)
{
	const char *answer;
	int error = muster_run_action(call, "badlyBegun", 0, NULL, &answer);

	muster_set_int(call, "error", error);
	muster_set_json(call, "inner", answer);
}

/* Deeper than any stack. */
static int sink(struct muster_call *call, int depth)
{
	volatile char room[512];

	room[0] = (char)depth;
	return depth < 0 ? room[0] : sink(call, depth + 1) + room[0];
}

static void overflow(struct muster_call *call)
{
	muster_set_int(call, "depth", sink(call, 0));
}

/* What is no status of a failure is 500. */
static void broken(struct muster_call *call)
{
	muster_fail(call, 200, "it is broken");
	muster_fail(call, 400, "the first one counts");
}

static void forbid(struct muster_call *call)
{
	muster_fail(call, 403, "not you");
}

static const struct muster_input text = { .name = "text", .type = MUSTER_ANY };
static const struct muster_input id = { .name = "id" };
static const struct muster_input payload = { .name = "payload",
					     .type = MUSTER_ANY };
static const struct muster_input rest = { .name = "rest" };
static const struct muster_input password = { .name = "password",
					      .required = true,
					      .secret = true };
static const struct muster_input card = { .name = "card", .secret = true };
static const struct muster_input city = { .name = "city" };
static const struct muster_input *const person_members[] = { &city, &card,
							     NULL };
static const struct muster_input person = { .name = "person",
					    .type = MUSTER_OBJECT,
					    .schema = person_members };
static const struct muster_input user = { .name = "user", .required = true };
static const struct muster_input ms = { .name = "ms",
					.type = MUSTER_INTEGER,
					.fallback = "60000" };

static const struct muster_input picture = { .name = "picture",
					     .type = MUSTER_FILE,
					     .length_max = 300000 };
static const struct muster_input needed_picture = { .name = "picture",
						    .type = MUSTER_FILE,
						    .required = true };
static const struct muster_input count = { .name = "count",
					   .type = MUSTER_INTEGER,
					   .fallback = "3" };
static const struct muster_input length = { .name = "length",
					    .type = MUSTER_INTEGER };
static const struct muster_input fails = { .name = "fails" };
static const struct muster_input title = { .name = "title" };
static const struct muster_input path = { .name = "path" };
static const struct muster_input wait_input = { .name = "wait" };

static const struct muster_action actions[] = {
	{ .name = "upload",
	  .inputs = { &picture, &title, &path, &wait_input },
	  .body_max = 1000000,
	  .timeout_ms = 120000,
	  .run = upload },
	{ .name = "uploadSmall", .inputs = { &needed_picture }, .run = upload },
	{ .name = "jsonOnly",
	  .inputs = { &text },
	  .body_max = 100,
	  .bodies = MUSTER_BODY_JSON,
	  .run = made },
	{ .name = "echo",
	  .version = 1,
	  .inputs = { &text, &id, &payload, &rest },
	  .run = echo },
	{ .name = "echo",
	  .version = 2,
	  .inputs = { &text, &id, &payload, &rest },
	  .run = echo },
	{ .name = "echo",
	  .version = 10,
	  .inputs = { &text, &id, &payload, &rest },
	  .run = echo },
	{ .name = "ticks", .inputs = { &count, &ms }, .run = ticks },
	{ .name = "pieces",
	  .inputs = { &count, &length, &fails },
	  .timeout_ms = 1000,
	  .run = pieces },
	{ .name = "badlyBegun", .run = badly_begun },
	{ .name = "nested", .run = nested },
	{ .name = "longNap", .timeout_ms = 3600000, .run = long_nap },
	{ .name = "overflow", .run = overflow },
	{ .name = "made", .run = made },
	{ .name = "nothing", .run = nothing },
	{ .name = "teapot", .run = teapot },
	{ .name = "nap", .inputs = { &ms }, .run = nap },
	{ .name = "shortNap", .inputs = { &ms }, .timeout_ms = 20, .run = nap },
	{ .name = "big", .run = big },
	{ .name = "broken", .run = broken },
	{ .name = "logIn",
	  .inputs = { &user, &password, &person },
	  .run = made },
	{ .name = "guarded",
	  .inputs = { &password },
	  .middleware = { "guard" },
	  .run = made },
	{ .name = "strict", .inputs = { &text }, .strict = true, .run = made },
	{ .name = "hidden", .blocked = MUSTER_WEB, .run = made },
	{ 0 },
};

static const struct muster_middleware middleware[] = {
	{ .name = "guard", .before = forbid },
	{ 0 },
};

static const struct muster_route routes[] = {
	{ "GET", "/items/:id([0-9]+)", "echo", 2 },
	{ "GET", "/items/:id", "echo", 0 },
	{ "PUT", "/items/:id", "made", 0 },
	{ NULL, "/files/*rest", "echo", 1 },
	{ "POST", "/api/teapot", "made", 0 },
	{ 0 },
};

static int start(struct muster *muster, void *arg)
{
	(void)muster;
	(void)arg;
	return getenv("TEST_FAILS_TO_START") != NULL ? -ENOENT : 0;
}

static void stop(struct muster *muster, void *arg)
{
	(void)muster;
	(void)arg;
	printf("stopped\n");
}

static uint32_t number(const char *name)
{
	const char *digits = getenv(name);

	return digits != NULL ? (uint32_t)strtoul(digits, NULL, 10) : 0;
}

static struct muster_http_limits limits(void)
{
	return (struct muster_http_limits){
		.body_bytes = 65536,
		.head_ms = number("TEST_HEAD_MS"),
		.body_ms = number("TEST_BODY_MS"),
		.requests = number("TEST_REQUESTS"),
	};
}

int main(int argc, char **argv)
{
	static const char *const origins[] = { "https://a.example", NULL };
	bool is_bare = getenv("TEST_BARE") != NULL;

	setvbuf(stdout, NULL, _IOLBF, 0);
	return muster_main(
		argc, argv,
		&(struct muster_app){
			.name = "webtest",
			.version = "3.2.1",
			.actions = actions,
			.middleware = middleware,
			.routes = routes,
			.on_start = start,
			.on_stop = stop,
			.limits = limits(),
			.public_folder = getenv("TEST_PUBLIC"),
			.max_connections = number("TEST_CONNECTIONS"),
			.client_rate = number("TEST_RATE"),
			.client_burst = number("TEST_BURST"),
			.origins = is_bare ? origins : NULL,
			.no_server_information = is_bare,
			.no_requester_information = is_bare,
		});
}
