#include "speakers.h"

#include <errno.h>
#include <muster/node.h>
#include <muster/peer.h>
#include <muster/pubsub.h>
#include <muster/rpc.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "commands.h"
#include "program.h"

/* Short, so that nothing takes long, and long beside a busy machine's pauses.
 */
#define PING_MS    100
#define SUSPECT_MS 600
#define DEAD_MS    2000
#define TICK_MS    5
#define SLOW_ROOM  4
#define KEPT       "/kept"
#define KEPT_ROOM  200000

/* ---- programs ---- */

static int redis(int argc, char **argv)
{
	execlp("redis-server", "redis-server", "--port", "0", "--unixsocket",
	       argument(argc, argv, 0), "--save", "", NULL);
	return 127;
}

/* It has all that it had when it is started again. */
static int lasting_redis(int argc, char **argv)
{
	execlp("redis-server", "redis-server", "--port", "0", "--unixsocket",
	       argument(argc, argv, 0), "--save", "", "--appendonly", "yes",
	       "--appendfsync", "always", NULL);
	return 127;
}

struct way {
	int from;
	int to;
};

static void *carry(void *arg)
{
	struct way *way = arg;
	char room[65536];
	ssize_t length;

	while ((length = read(way->from, room, sizeof(room))) > 0)
		for (ssize_t at = 0; at < length;) {
			ssize_t written = write(way->to, room + at,
						(size_t)(length - at));

			if (written < 0)
				break;
			at += written;
		}
	shutdown(way->to, SHUT_WR);
	return NULL;
}

static struct sockaddr_un socket_address(const char *path)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };

	snprintf(address.sun_path, sizeof(address.sun_path), "%s", path);
	return address;
}

static void carry_both(int client, const char *path)
{
	struct sockaddr_un address = socket_address(path);
	int descriptor = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	struct way *ways = calloc(2, sizeof(*ways));
	pthread_t thread;

	if (ways == NULL || connect(descriptor, (struct sockaddr *)&address,
				    sizeof(address)) < 0) {
		close(descriptor);
		close(client);
		free(ways);
		return;
	}
	/* They end with the process. */
	ways[0] = (struct way){ client, descriptor };
	ways[1] = (struct way){ descriptor, client };
	for (int i = 0; i < 2; i++)
		if (pthread_create(&thread, NULL, carry, &ways[i]) != 0 ||
		    pthread_detach(thread) != 0)
			abort();
}

/* The way to a store, which can be cut and mended. */
static int relay(int argc, char **argv)
{
	struct sockaddr_un address = socket_address(argument(argc, argv, 0));
	int listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	int client;

	signal(SIGPIPE, SIG_IGN);
	unlink(address.sun_path);
	if (bind(listener, (struct sockaddr *)&address, sizeof(address)) < 0 ||
	    listen(listener, 64) < 0)
		return 1;
	say("relays");
	while ((client = accept4(listener, NULL, NULL, SOCK_CLOEXEC)) >= 0)
		carry_both(client, argument(argc, argv, 1));
	return 1;
}

/* One server that is a whole Cluster. */
static int cluster(int argc, char **argv)
{
	execlp("redis-server", "redis-server", "--bind",
	       argument(argc, argv, 0), "--port", argument(argc, argv, 1),
	       "--cluster-enabled", "yes", "--cluster-port",
	       argument(argc, argv, 2), "--cluster-announce-ip",
	       argument(argc, argv, 0), "--save", "", NULL);
	return 127;
}

static int redis_cli(int argc, char **argv)
{
	const char *words[16] = { "redis-cli" };

	for (int i = 0; i + 3 < argc && i < 14; i++)
		words[i + 1] = argv[i + 3];
	execvp("redis-cli", (char *const *)(uintptr_t)words);
	return 127;
}

static void hello(struct muster_request *request)
{
	say("Hello from the node %s",
	    muster_id(muster_request_server(request)));
	muster_request_reply(request, muster_request_args(request));
}

static void refuse(struct muster_request *request)
{
	muster_request_fail(request, "not on a %s",
			    muster_request_text(request, "day"));
}

static void die(struct muster_request *request)
{
	(void)request;
	say("dies");
	raise(SIGKILL);
}

static void nap(struct muster_request *request)
{
	say("naps");
	if (muster_sleep(muster_request_server(request),
			 (uint64_t)muster_request_int(request, "ms")) < 0)
		say("was told to end: %s",
		    muster_problem_word(muster_request_server(request)));
	else
		say("slept");
}

/* Nothing of this worker goes on. */
static void block(struct muster_request *request)
{
	(void)request;
	say("blocks");
	for (;;)
		pause();
}

static void whose(struct muster_request *request)
{
	say("about %s", muster_request_connection(request));
}

static void no_json(struct muster_request *request)
{
	muster_request_reply(request, "{");
}

static const struct muster_method methods[] = {
	{ .name = "hello", .run = hello },
	{ .name = "refuse", .run = refuse },
	{ .name = "die", .run = die },
	{ .name = "nap", .run = nap, .concurrency = 1, .waiting = 1 },
	{ .name = "whose", .run = whose },
	{ .name = "noJson", .run = no_json },
	{ .name = "block", .run = block },
	{ 0 },
};

static void on_news(struct muster *muster, const struct muster_news *news,
		    void *arg)
{
	(void)muster;
	(void)arg;
	say("news type=%s channel=%s from=%s payload=%s", news->type,
	    news->channel, news->from, news->payload);
}

/* What has come, and what is known not to have. */
static struct {
	unsigned long long ticks;
	unsigned long long missed;
	unsigned long long outages;
	unsigned long long slow;
} heard;

static void on_tick(struct muster *muster, const struct muster_news *news,
		    void *arg)
{
	(void)muster;
	(void)news;
	(void)arg;
	heard.ticks++;
}

/* What was published with a replay, numbered from 1: each once, in order. */
static struct {
	unsigned long long last;
	unsigned long long count;
	unsigned long long disorder;
	unsigned long long lost;
	unsigned long long outages;
} kept;

static void on_kept(struct muster *muster, const struct muster_news *news,
		    void *arg)
{
	unsigned long long number = strtoull(news->payload + 1, NULL, 10);

	(void)muster;
	(void)arg;
	kept.disorder += number <= kept.last;
	kept.last = number;
	kept.count++;
}

/* Until it is told to end. */
static void on_slow(struct muster *muster, const struct muster_news *news,
		    void *arg)
{
	(void)arg;
	say("is slow with %s", news->payload);
	if (muster_sleep(muster, 3600 * 1000) < 0)
		return;
}

static void on_gap(struct muster *muster, const struct muster_gap *gap,
		   void *arg)
{
	(void)muster;
	(void)arg;
	if (strcmp(gap->where, KEPT) == 0) {
		kept.lost += gap->missed;
		kept.outages += gap->cause == MUSTER_GAP_OUTAGE;
	}
	if (strcmp(gap->where, "slow") == 0) {
		heard.slow += gap->missed;
		say("slow cause=%d missed=%llu", gap->cause, heard.slow);
	}
	if (strcmp(gap->where, "tick") != 0)
		return;
	heard.missed += gap->missed;
	if (gap->cause == MUSTER_GAP_OUTAGE)
		say("outage %llu", ++heard.outages);
}

static const char *token(void)
{
	const char *own = getenv("TEST_TOKEN");

	return own != NULL ? own : SPEAKERS_TOKEN;
}

static uint32_t store_ms(void)
{
	const char *own = getenv("TEST_STORE_MS");

	return own != NULL ? (uint32_t)strtoul(own, NULL, 10) : 0;
}

static struct muster *open_node(const char *name, muster_start_fn on_start,
				const struct muster_method *has)
{
	return muster_open(NULL, &(struct muster_node_options){
					 .name = name,
					 .token = token(),
					 .store_ms = store_ms(),
					 .ping_ms = PING_MS,
					 .suspect_ms = SUSPECT_MS,
					 .dead_ms = DEAD_MS,
					 .methods = has,
					 .allowed = MUSTER_ALLOW_STATUS |
						    MUSTER_ALLOW_STOP,
					 .on_start = on_start });
}

static void say_reply(struct muster *muster, int code,
		      const struct muster_reply *reply)
{
	(void)muster;
	say("reply code=%d error=%s value=%s from=%s text=%s", code,
	    reply->error, reply->value, reply->from, reply->text);
}

static void call(struct muster *muster, const char *method, const char *args,
		 const struct muster_do *options)
{
	struct muster_reply reply;
	int code = muster_do_cluster(muster, method, args, options, &reply);

	say_reply(muster, code, &reply);
}

static void call_large(struct muster *muster)
{
	size_t length = (1 << 20) + 1;
	char *args = malloc(length + 1);

	if (args == NULL)
		abort();
	memset(args, '1', length);
	args[length] = '\0';
	args[0] = args[length - 1] = '"';
	call(muster, "hello", args, NULL);
	free(args);
}

static void call_deep(struct muster *muster)
{
	char args[201];

	memset(args, '[', 100);
	memset(args + 100, ']', 100);
	args[200] = '\0';
	call(muster, "hello", args, NULL);
}

static bool is_ticking;

static void tick(struct muster *muster)
{
	unsigned long long sent = 0, refused = 0;

	is_ticking = true;
	say("ticks");
	while (is_ticking && muster_sleep(muster, TICK_MS) == 0) {
		if (muster_publish(muster, "tick", "1") == 0)
			sent++;
		else
			refused++;
	}
	say("sent=%llu refused=%llu", sent, refused);
}

/* A message as long as `bytes`: its number, and what fills it up. */
static bool publish_kept(struct muster *muster, unsigned long long number,
			 size_t bytes, uint32_t replay)
{
	char payload[2048];
	int length = snprintf(payload, sizeof(payload), "[%llu,\"", number);

	while (length < (int)bytes && length < (int)sizeof(payload) - 3)
		payload[length++] = 'x';
	snprintf(payload + length, sizeof(payload) - (size_t)length, "\"]");
	return muster_publish_with(muster, KEPT, payload,
				   &(struct muster_publish_options){
					   .replay = replay }) == 0;
}

static void keep_on(struct muster *muster, uint32_t replay)
{
	unsigned long long sent = 0, refused = 0;

	is_ticking = true;
	say("keeps");
	while (is_ticking && muster_sleep(muster, TICK_MS) == 0) {
		if (publish_kept(muster, sent + 1, 0, replay))
			sent++;
		else
			refused++;
	}
	say("kept sent=%llu refused=%llu", sent, refused);
}

/* More than waits for one that does not read. */
static void keep_much(struct muster *muster, unsigned long long count)
{
	for (unsigned long long i = 0; i < count; i++) {
		/* There is no room while the store has not taken more. */
		while (!publish_kept(muster, i + 1, 1000, (uint32_t)count))
			if (muster_sleep(muster, 1) < 0)
				return;
	}
	say("kept sent=%llu refused=0", count);
}

static void say_kept(struct muster *muster)
{
	struct muster_bus_counts counts;

	muster_bus_counts(muster, &counts);
	say("has kept=%llu last=%llu disorder=%llu lost=%llu outages=%llu "
	    "recovered=%llu",
	    kept.count, kept.last, kept.disorder, kept.lost, kept.outages,
	    (unsigned long long)counts.recovered);
}

static void say_counts(struct muster *muster)
{
	struct muster_bus_counts counts;

	muster_bus_counts(muster, &counts);
	say("counts forged=%llu replayed=%llu late=%llu malformed=%llu "
	    "unwanted=%llu slow=%llu repeated=%llu lateAnswers=%llu",
	    (unsigned long long)counts.forged,
	    (unsigned long long)counts.replayed,
	    (unsigned long long)counts.late,
	    (unsigned long long)counts.malformed,
	    (unsigned long long)counts.unwanted,
	    (unsigned long long)counts.dropped_slow,
	    (unsigned long long)counts.calls_repeated,
	    (unsigned long long)counts.answers_late);
}

static void obey_about_messages(struct muster *muster, const char *verb,
				const char *what)
{
	if (strcmp(verb, "tick") == 0) {
		tick(muster);
	} else if (strcmp(verb, "keep") == 0) {
		keep_on(muster, (uint32_t)strtoul(what, NULL, 10));
	} else if (strcmp(verb, "keepMuch") == 0) {
		keep_much(muster, strtoull(what, NULL, 10));
	} else if (strcmp(verb, "kept") == 0) {
		say_kept(muster);
	} else if (strcmp(verb, "since") == 0) {
		if (muster_subscribe_with(muster, KEPT,
					  &(struct muster_subscribe_options){
						  .replay = true,
						  .since_ms = (uint32_t)strtoul(
							  what, NULL, 10),
						  .room = KEPT_ROOM },
					  on_kept, NULL, NULL) == 0)
			say("subscribed since %s", what);
	} else if (strcmp(verb, "untick") == 0) {
		is_ticking = false;
	} else if (strcmp(verb, "heard") == 0) {
		say("heard ticks=%llu missed=%llu outages=%llu", heard.ticks,
		    heard.missed, heard.outages);
	} else if (strcmp(verb, "awaits") == 0) {
		const struct muster_peer *peer;

		if (muster_peer_wait(muster, what, MUSTER_PEER_IS_UP, 60000,
				     &peer) == 0)
			say("is up: %s", peer->id);
	} else if (strcmp(verb, "counts") == 0) {
		say_counts(muster);
	} else if (strcmp(verb, "rest") == 0) {
		if (muster_sleep(muster, strtoull(what, NULL, 10)) == 0)
			say("rested");
	} else if (strcmp(verb, "flood") == 0) {
		for (int i = 0; i < 20; i++)
			if (muster_publish(muster, what, "7") < 0)
				abort();
		say("flooded");
	}
}

/* Reads what to do from the test, a line each. */
static void obey(struct muster *muster, const char *line)
{
	char verb[32] = "", method[64] = "", target[160] = "", rest[256] = "";

	sscanf(line, "%31s %63s %159s %255[^\n]", verb, method, target, rest);
	const char *args = rest[0] != '\0' ? rest : NULL;

	if (strcmp(verb, "all") == 0) {
		call(muster, method, args,
		     &(struct muster_do){ .timeout_ms = 60000 });
	} else if (strcmp(verb, "node") == 0) {
		call(muster, method, args,
		     &(struct muster_do){ .node = target,
					  .timeout_ms = 60000 });
	} else if (strcmp(verb, "brief") == 0) {
		call(muster, method, args,
		     &(struct muster_do){ .node = target, .timeout_ms = 50 });
	} else if (strcmp(verb, "connection") == 0) {
		call(muster, method, args,
		     &(struct muster_do){ .connection = target,
					  .timeout_ms = 60000 });
	} else if (strcmp(verb, "tell") == 0) {
		say("told code=%d",
		    muster_tell_cluster(muster, method, args, NULL));
	} else if (strcmp(verb, "gather") == 0) {
		struct muster_gathered all;
		int code = muster_gather(muster, method, args, 60000, &all);

		for (size_t i = 0; i < all.count; i++)
			say("gathered from=%s error=%s value=%s",
			    all.replies[i].from, all.replies[i].error,
			    all.replies[i].value);
		say("gathered code=%d count=%zu silent=%zu", code, all.count,
		    all.silent_count);
	} else if (strcmp(verb, "publish") == 0) {
		int64_t receivers = 0;
		int code = muster_publish_counted(muster, method, target,
						  &receivers);

		say("published code=%d receivers=%lld", code,
		    (long long)receivers);
	} else if (strcmp(verb, "large") == 0) {
		call_large(muster);
	} else if (strcmp(verb, "deep") == 0) {
		call_deep(muster);
	} else {
		obey_about_messages(muster, verb, method);
	}
	muster_clear_answers(muster);
}

static void run_command(struct muster *muster, void *arg)
{
	obey(muster, arg);
	free(arg);
}

/* Each on a fiber of its own, so that several may be under way. */
static void begin_command(struct muster *muster, const char *line)
{
	char *copy = strdup(line);

	if (copy == NULL ||
	    muster_spawn(muster, "command", run_command, copy) < 0)
		abort();
}

static int begin(struct muster *muster, void *arg)
{
	(void)arg;
	say("ready %s", muster_id(muster));
	return commands_begin(muster, begin_command);
}

static int serve(struct muster *muster, void *arg)
{
	struct muster_subscription *slow;

	(void)arg;
	if (muster_subscribe(muster, "priceChanged", on_news, NULL, NULL) < 0 ||
	    muster_subscribe(muster, "/a/*", on_news, NULL, NULL) < 0 ||
	    muster_subscribe(muster, "tick", on_tick, NULL, NULL) < 0 ||
	    muster_subscribe(muster, "slow", on_slow, NULL, &slow) < 0)
		return -1;
	muster_subscription_set_room(slow, SLOW_ROOM);
	muster_on_gap(muster, on_gap, NULL);
	say("joined %s", muster_id(muster));
	say("holds %s", muster_connection_hold(muster));
	return begin(muster, NULL);
}

static int node(int argc, char **argv)
{
	struct muster *muster =
		open_node(argument(argc, argv, 0), serve, methods);

	return muster == NULL ? 1 : muster_run(muster);
}

static int caller(int argc, char **argv)
{
	(void)argc;
	(void)argv;
	struct muster *muster = open_node("caller", begin, NULL);

	return muster == NULL ? 1 : muster_run(muster);
}

const struct test_program speakers[] = {
	PROGRAM(caller),        PROGRAM(cluster),
	PROGRAM(lasting_redis), PROGRAM(node),
	PROGRAM(redis),         PROGRAM(redis_cli),
	PROGRAM(relay),         { 0 },
};

/* ---- what tests do ---- */

static char store[300]; /* for the environment */
struct process *server;

const char *back_end(void)
{
	const char *kind = getenv("MUSTER_TEST_STORE");

	return kind != NULL ? kind : "lmdb";
}

bool store_lasts;
static char port[8], way[8]; /* of the Cluster */

static bool is_cluster(void)
{
	return strcmp(back_end(), "cluster") == 0;
}

void start_server(void)
{
	if (is_cluster())
		server = start("cluster", own_host(), port, way, NULL);
	else
		server = start(store_lasts ? "lasting_redis" : "redis",
			       path_in_directory("redis.sock"), NULL);
	expect(server, "*eady to accept connections*");
}

static void start_cluster(void)
{
	snprintf(port, sizeof(port), "%d", free_port());
	snprintf(way, sizeof(way), "%d", free_port());
	start_server();
	expect(start("redis_cli", "-h", own_host(), "-p", port, "cluster",
		     "addslotsrange", "0", "16383", NULL),
	       "OK");
	expect(server, "*luster state changed: ok*");
	snprintf(store, sizeof(store), "MUSTER_STORE=redis+cluster://%s:%s",
		 own_host(), port);
}

void open_store(void)
{
	bool is_redis = strcmp(back_end(), "redis") == 0;

	server = NULL;
	if (is_cluster()) {
		start_cluster();
		return;
	}
	if (is_redis)
		start_server();
	snprintf(store, sizeof(store), "MUSTER_STORE=%s%s",
		 is_redis ? "unix:" : "lmdb:",
		 path_in_directory(is_redis ? "redis.sock" : "store"));
}

struct process *start_speaker(const char *name, const char *argument,
			      const char *one, const char *other)
{
	return start_with(&(struct start_options){
		.name = name,
		.arguments = (const char *const[]){ argument, NULL },
		/* What comes first counts, another store too. */
		.environment =
			(const char *const[]){
				one != NULL ? one : store,
				one != NULL && other != NULL ? other : store,
				store, NULL },
	});
}

struct process *start_node(int number)
{
	struct process *p = start_speaker("node", "app", NULL, NULL);

	expect(p, "joined app-worker-%d", number);
	return p;
}

struct process *start_caller(void)
{
	struct process *p = start_speaker("caller", NULL, NULL, NULL);

	expect(p, "ready caller-worker-1");
	return p;
}
