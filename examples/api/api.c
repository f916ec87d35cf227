/*
 * An API server on every core, behind one port, with tasks and a cache that all
 * of its workers share.
 *
 *     api [--port N] [--workers N|max] [--schedule POLICY] [--store URL]
 *
 * PORT, WORKERS, STORE and MUSTER_TOKEN in the environment do the same; --help
 * tells the rest.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include <muster/muster.h>

#include "chat.h"

#define SLEEP_MAX_MS  60000
#define CACHE_TEST_MS 5000

/* Of this worker. */
static struct {
	uint64_t started_ms;
	uint64_t requests;
} self;

static uint64_t now_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_REALTIME, &now);
	return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

static int start(struct muster *muster, void *arg)
{
	(void)muster;
	(void)arg;
	self.started_ms = now_ms();
	return 0;
}

/* ---- Actions ------------------------------------------------------------- */

static void count_request(struct muster_call *call)
{
	(void)call;
	self.requests++;
}

static void show_status(struct muster_call *call)
{
	const char *id = muster_id(muster_call_server(call));
	const char *slot = strrchr(id, '-');
	uint64_t uptime_ms = now_ms() - self.started_ms;
	struct rusage usage = { 0 };

	getrusage(RUSAGE_SELF, &usage);
	muster_set_text(call, "id", id);
	muster_set_text(call, "name", id);
	muster_set_int(call, "worker",
		       slot != NULL ? strtol(slot + 1, NULL, 10) : 0);
	muster_set_int(call, "pid", getpid());
	muster_set_int(call, "uptime", (int64_t)uptime_ms);
	muster_set_int(call, "uptime_ms", (int64_t)uptime_ms);
	muster_set_int(call, "requests", (int64_t)self.requests);
	muster_set_number(call, "consumedMemoryMB",
			  (double)usage.ru_maxrss / 1024);
	muster_set_text(call, "nodeStatus", "Node Healthy");
	muster_set_json(call, "problems", "[]");
}

static void random_number(struct muster_call *call)
{
	uint32_t number = 0;

	if (getrandom(&number, sizeof(number), 0) < 0) {
		muster_fail(call, 500, "the system has no random numbers");
		return;
	}
	muster_set_number(call, "randomNumber", number / 4294967296.0);
}

static int is_long_enough(struct muster_call *call, const char *name)
{
	if (strlen(muster_param_text(call, name)) >= 3)
		return 0;
	return muster_refuse(call, "inputs should be at least 3 letters long");
}

static void cache_test(struct muster_call *call)
{
	struct muster *muster = muster_call_server(call);
	const char *value = muster_param_text(call, "value");
	const char *key = muster_text(muster, "cacheTest_%s",
				      muster_param_text(call, "key"));
	struct muster_cache_options options = { .ttl_ms = CACHE_TEST_MS };
	struct muster_cached cached;
	uint64_t size = 0;

	if (muster_cache_save_text(muster, key, value, &options) != 0 ||
	    muster_cache_size(muster, &size) != 0 ||
	    muster_cache_load(muster, key, &cached) != 0) {
		muster_fail(call, 503, "%s", muster_problem(muster));
		return;
	}
	int destroyed = muster_cache_destroy(muster, key, NULL);

	muster_set_json(
		call, "cacheTestResults",
		muster_json(muster,
			    "{s:b, s:I, s:{s:s, s:s, s:I, s:I, s:n}, s:b}",
			    "saveResp", 1, "sizeResp", (long long)size,
			    "loadResp", "key", key, "value", cached.data,
			    "expireTimestamp", (long long)cached.expires_ms,
			    "createdAt", (long long)cached.created_ms, "readAt",
			    "deleteResp", destroyed == 0));
}

static int is_a_nap(struct muster_call *call, const char *name)
{
	int64_t duration_ms = muster_param_int(call, name);

	if (duration_ms >= 0 && duration_ms <= SLEEP_MAX_MS)
		return 0;
	return muster_refuse(call, "%s is a number from 0 to %d", name,
			     SLEEP_MAX_MS);
}

/* Its worker serves others meanwhile. */
static void sleep_test(struct muster_call *call)
{
	int64_t duration_ms = muster_param_int(call, "sleepDuration");
	uint64_t began_ms = now_ms();

	if (muster_sleep(muster_call_server(call), (uint64_t)duration_ms) < 0) {
		muster_fail(call, 503, "the sleep was cut short");
		return;
	}
	uint64_t ended_ms = now_ms();

	muster_set_int(call, "sleepStarted", (int64_t)began_ms);
	muster_set_int(call, "sleepEnded", (int64_t)ended_ms);
	muster_set_int(call, "sleepDelta", (int64_t)(ended_ms - began_ms));
	muster_set_int(call, "sleepDuration", duration_ms);
}

static void show_documentation(struct muster_call *call)
{
	muster_set_json(call, "documentation", muster_actions_json(call));
}

static const char *describe_peer(struct muster *muster,
				 const struct muster_peer *peer)
{
	return muster_json(muster, "{s:s, s:s, s:s, s:I, s:I, s:b, s:b}", "id",
			   peer->id, "host", peer->host, "state",
			   muster_peer_state_text(peer->state), "pid",
			   (long long)peer->pid, "startedAt",
			   (long long)peer->started_ms, "suspect",
			   peer->is_suspect, "answers", peer->is_self);
}

static void show_peers(struct muster_call *call)
{
	struct muster *muster = muster_call_server(call);
	struct muster_peer_list list;
	const char *peers = "[";

	if (muster_peers(muster, &list) != 0) {
		muster_fail(call, 503, "%s", muster_problem(muster));
		return;
	}
	for (size_t i = 0; i < list.count; i++)
		peers = muster_text(muster, "%s%s%s", peers, i > 0 ? "," : "",
				    describe_peer(muster, &list.peers[i]));
	muster_set_json(call, "peers", muster_text(muster, "%s]", peers));
}

static void validation_test(struct muster_call *call)
{
	muster_set_text(call, "string", muster_param_text(call, "string"));
}

static void enqueue_task(struct muster_call *call)
{
	struct muster *muster = muster_call_server(call);
	const char *queue = muster_param_text(call, "queue");
	const char *id = "";
	struct muster_enqueue enqueue = {
		.params = muster_param_is_given(call, "params")
				  ? muster_param_json(call, "params")
				  : NULL,
		.delay_ms = (uint64_t)muster_param_int(call, "delay"),
		.queue = queue[0] != '\0' ? queue : NULL,
		.made_id = &id,
	};
	int answer = muster_task_enqueue(
		muster, muster_param_text(call, "name"), &enqueue);

	if (answer < 0)
		muster_fail(call, answer == -ENOENT ? 404 : 503, "%s",
			    muster_problem(muster));
	else if (answer == MUSTER_FULL)
		muster_fail(call, 429, "the queue is full");
	if (answer != 0)
		return;
	muster_set_bool(call, "enqueued", true);
	muster_set_text(call, "id", id);
}

static int is_no_less_than_0(struct muster_call *call, const char *name)
{
	return muster_param_int(call, name) >= 0
		       ? 0
		       : muster_refuse(call, "%s is 0 or more", name);
}

static void crash(struct muster_call *call)
{
	const char *allowed = getenv("ALLOW_CRASH");

	if (allowed != NULL && strcmp(allowed, "1") == 0)
		abort();
	muster_fail(call, 403, "only with ALLOW_CRASH=1 in the environment");
}

static const struct muster_input key = { .name = "key",
					 .required = true,
					 .validate = is_long_enough };
static const struct muster_input value = { .name = "value",
					   .required = true,
					   .validate = is_long_enough };
static const struct muster_input sleep_duration = {
	.name = "sleepDuration",
	.description = "milliseconds",
	.type = MUSTER_INTEGER,
	.fallback = "1000",
	.validate = is_a_nap,
};
static const struct muster_input string = { .name = "string",
					    .description = "a letter and more",
					    .required = true,
					    .pattern = "^[A-Za-z]" };
static const struct muster_input task_name = { .name = "name",
					       .required = true };
static const struct muster_input task_params = { .name = "params",
						 .type = MUSTER_OBJECT };
static const struct muster_input task_delay = {
	.name = "delay",
	.description = "milliseconds",
	.type = MUSTER_INTEGER,
	.fallback = "0",
	.validate = is_no_less_than_0,
};
static const struct muster_input task_queue = { .name = "queue" };

static const struct muster_input room_name = { .name = "name",
					       .required = true };
static const struct muster_input chat_method = { .name = "method",
						 .required = true,
						 .validate = chat_is_method };
static const struct muster_input chat_room = { .name = "room" };
static const struct muster_input chat_message = { .name = "message",
						  .type = MUSTER_ANY };

static const struct muster_action actions[] = {
	{ .name = "status",
	  .description = "how this worker is",
	  .output_example = "{\"id\":\"api-worker-1\",\"nodeStatus\":\"Node "
			    "Healthy\"}",
	  .run = show_status },
	{ .name = "randomNumber",
	  .description = "a number from 0 up to 1",
	  .output_example = "{\"randomNumber\":0.123}",
	  .run = random_number },
	{ .name = "cacheTest",
	  .description = "saves, loads and removes a value of the cache",
	  .inputs = { &key, &value },
	  .run = cache_test },
	{ .name = "sleepTest",
	  .description = "answers later",
	  .inputs = { &sleep_duration },
	  .timeout_ms = SLEEP_MAX_MS + 1000,
	  .run = sleep_test },
	{ .name = "showDocumentation",
	  .description = "all actions",
	  .run = show_documentation },
	{ .name = "showPeers",
	  .description = "the servers of the cluster, on all of its hosts",
	  .output_example = "{\"peers\":[{\"id\":\"api-worker-1\"}]}",
	  .run = show_peers },
	{ .name = "validationTest",
	  .description = "takes what begins with a letter",
	  .inputs = { &string },
	  .run = validation_test },
	{ .name = "createChatRoom",
	  .description = "makes a room",
	  .inputs = { &room_name },
	  .run = chat_create_room },
	{ .name = "chat",
	  .description = "rooms for clients that come over HTTP",
	  .inputs = { &chat_method, &chat_room, &chat_message },
	  .blocked = MUSTER_WEBSOCKET | MUSTER_TCP,
	  .run = chat },
	{ .name = "enqueueTask",
	  .description = "hands work to whichever server is free",
	  .inputs = { &task_name, &task_params, &task_delay, &task_queue },
	  .run = enqueue_task },
	{ .name = "crash",
	  .description = "ends its worker, where ALLOW_CRASH is 1",
	  .run = crash },
	{ 0 },
};

static const struct muster_middleware middleware[] = {
	{ .name = "count", .global = true, .before = count_request },
	{ 0 },
};

/* ---- Tasks --------------------------------------------------------------- */

static int say_hello(struct muster_job *job)
{
	const char *name = muster_job_text(job, "name");

	printf("hello, %s, from %s\n", name != NULL ? name : "world",
	       muster_id(muster_job_node(job)));
	return 0;
}

static int sleep_task(struct muster_job *job)
{
	int64_t duration_ms = muster_job_int(job, "duration", 1000);

	return muster_sleep(muster_job_node(job),
			    duration_ms > 0 ? (uint64_t)duration_ms : 0);
}

static int fail_task(struct muster_job *job)
{
	return muster_job_fail(job, "it was asked to fail");
}

static int count_minute(struct muster_job *job)
{
	return muster_cache_add(muster_job_node(job), "minutes", 1, 0, NULL);
}

static const struct muster_task tasks[] = {
	{ .name = "sayHello", .run = say_hello },
	{ .name = "sleep", .run = sleep_task },
	{ .name = "fail", .run = fail_task, .attempts = 3 },
	{ .name = "countMinute", .run = count_minute, .cron = "* * * * *" },
	{ 0 },
};

/* Where the sources are, the page is; elsewhere --public says where. */
static const char *public_folder(void)
{
	return access(PUBLIC_FOLDER, R_OK | X_OK) == 0 ? PUBLIC_FOLDER : NULL;
}

int main(int argc, char **argv)
{
	static const char *const examples[] = { "status",
						"sleepTest?sleepDuration=500",
						"showDocumentation", NULL };

	return muster_main(
		argc, argv,
		&(struct muster_app){
			.name = "api",
			.version = "1.0.0",
			.actions = actions,
			.middleware = middleware,
			.tasks = tasks,
			.rooms = chat_rooms,
			.allowed = MUSTER_ALLOW_LOG | MUSTER_ALLOW_STATUS,
			.public_folder = public_folder(),
			.on_start = start,
			.tcp = "5000",
			.welcome = "Hello! Welcome to the muster api",
			.examples = examples,
		});
}
