/* Statistics of nodes that are real processes, on either back end:
 * MUSTER_TEST_STORE says which. */
#include <muster/node.h>
#include <muster/peer.h>
#include <muster/stats.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "harness.h"
#include "program.h"

#define NAMES   900 /* more than one flush takes */
#define CLIENTS 8

/* ---- programs ---- */

static int redis(int argc, char **argv)
{
	execlp("redis-server", "redis-server", "--port", "0", "--unixsocket",
	       argument(argc, argv, 0), "--save", "", NULL);
	return 127;
}

static int run(const char *name, muster_start_fn fn, const void *arg)
{
	struct muster *muster = muster_open(
		NULL, &(struct muster_node_options){
			      .name = name,
			      .token = "of these tests alone",
			      .is_guest = strcmp(name, "guest") == 0,
			      .ping_ms = 100,
			      .suspect_ms = 600,
			      .dead_ms = 1500,
			      .store_ms = 500,
			      .on_start = fn,
			      .arg = (void *)(uintptr_t)arg,
		      });

	return muster == NULL ? 1 : muster_run(muster);
}

static void say_list(const char *title, const struct muster_stat_list *list)
{
	for (size_t i = 0; i < list->count; i++)
		say("%s %s=%lld gauge=%d", title, list->stats[i].name,
		    (long long)list->stats[i].value, list->stats[i].is_gauge);
	say("%s count=%zu", title, list->count);
}

static int show(struct muster *muster, void *arg)
{
	const char *prefix = arg;
	struct muster_stat_list list;
	int error = muster_stats(muster, NULL, prefix, &list);

	if (error == 0)
		say_list("all", &list);
	if (error == 0)
		error = muster_stats(muster, "app-worker-1", prefix, &list);
	if (error == 0)
		say_list("first", &list);
	return error;
}

static int reader(int argc, char **argv)
{
	return run("guest", show, argument(argc, argv, 0));
}

static int count_some(struct muster *muster, void *arg)
{
	(void)arg;
	for (int i = 0; i < 1000; i++)
		muster_stat_add(muster, "requests", 1);
	muster_stat_add(muster, "errors", -3);
	muster_stat_set(muster, "connections", 5);
	muster_stat_set(muster, "connections", 7);
	/* What is none, or of the other kind, is left out. */
	muster_stat_add(muster, "", 1);
	muster_stat_add(muster, "@a", 1);
	muster_stat_add(muster, "a|b", 1);
	muster_stat_add(muster, "connections", 1);
	muster_stat_set(muster, "requests", 1);
	say("counted %s", muster_id(muster));
	return 0;
}

static int node(int argc, char **argv)
{
	(void)argc;
	(void)argv;
	return run("app", count_some, NULL);
}

static int count_and_leave(struct muster *muster, void *arg)
{
	char name[16];

	for (int i = 0; i < NAMES; i++) {
		snprintf(name, sizeof(name), "n.%d", i);
		muster_stat_add(muster, name, i);
	}
	muster_stop(muster, 0);
	(void)arg;
	return 0;
}

/* It is told to stop before a second has passed. */
static int brief(int argc, char **argv)
{
	(void)argc;
	(void)argv;
	return run("app", count_and_leave, NULL);
}

static uint64_t clock_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

static int measure(struct muster *muster, void *arg)
{
	static const char *const names[] = { "http.requests", "http.errors",
					     "tasks.run", "bytes.sent" };
	const int count = 1000000;
	uint64_t began_ns = clock_ns();

	(void)arg;
	for (int i = 0; i < count; i++)
		muster_stat_add(muster, names[i % 4], 1);
	say("ns=%d", (int)((clock_ns() - began_ns) / (uint64_t)count));
	muster_stop(muster, 0);
	return 0;
}

static int fast(int argc, char **argv)
{
	(void)argc;
	(void)argv;
	return run("app", measure, NULL);
}

static void count_slowly(struct muster *muster, void *arg)
{
	(void)arg;
	for (int i = 0; i < 300; i++) {
		muster_stat_add(muster, "slow", 1);
		if (muster_sleep(muster, 10) < 0)
			return;
	}
	say("counted 300");
}

static int start_slowly(struct muster *muster, void *arg)
{
	(void)arg;
	say("counts");
	return muster_spawn(muster, "count", count_slowly, NULL);
}

static int slow(int argc, char **argv)
{
	(void)argc;
	(void)argv;
	return run("app", start_slowly, NULL);
}

static const struct test_program programs[] = {
	PROGRAM(brief), PROGRAM(fast), PROGRAM(node), PROGRAM(reader),
	PROGRAM(redis), PROGRAM(slow), { 0 },
};

/* ---- what tests do ---- */

static char store[300]; /* for the environment */
static struct process *server;

static bool has_redis(void)
{
	const char *kind = getenv("MUSTER_TEST_STORE");

	return kind != NULL && strcmp(kind, "redis") == 0;
}

static void open_store(void)
{
	if (!has_redis()) {
		snprintf(store, sizeof(store), "MUSTER_STORE=lmdb:%s",
			 path_in_directory("store"));
		return;
	}
	server = start("redis", path_in_directory("redis.sock"), NULL);
	expect(server, "*eady to accept connections*");
	snprintf(store, sizeof(store), "MUSTER_STORE=unix:%s",
		 path_in_directory("redis.sock"));
}

static struct process *start_program(const char *name, const char *first)
{
	return start_with(&(struct start_options){
		.name = name,
		.arguments = (const char *const[]){ first, NULL },
		.environment = (const char *const[]){ store, NULL },
	});
}

static struct process *read_all(const char *prefix)
{
	struct process *p = start_program("reader", prefix);

	expect_exit(p, 0);
	return p;
}

/* ---- tests ---- */

static void they_are_summed_and_gauges_go_with_their_server(void)
{
	open_store();
	struct process *first = start_program("node", NULL);

	expect(first, "counted app-worker-1");
	struct process *second = start_program("node", NULL);

	expect(second, "counted app-worker-2");
	/* A node that ends in order has told all; one that is killed as much
	 * as it has told, which is all a second later. */
	send_signal(second, SIGTERM);
	expect_exit(second, 0);
	int64_t deadline_ms = now_ms() + DEADLINE_MS;
	struct process *p = read_all("");

	while (count_lines(p, "all requests=2000 gauge=0") == 0 &&
	       now_ms() < deadline_ms)
		p = read_all("");
	expect(p, "all connections=7 gauge=1");
	expect(p, "all errors=-6 gauge=0");
	expect(p, "all requests=2000 gauge=0");
	expect(p, "all count=3");
	expect(p, "first connections=7 gauge=1");
	expect(p, "first errors=-3 gauge=0");
	expect(p, "first requests=1000 gauge=0");
	expect(p, "first count=3");
	send_signal(first, SIGKILL);
	expect_exit(first, -SIGKILL);
	/* Whoever comes next buries it. */
	first = start_program("brief", NULL);
	expect_exit(first, 0);
	p = read_all("");
	expect(p, "all requests=2000 gauge=0");
	expect_none(p, "* connections=*");
	p = read_all("req");
	expect(p, "all count=1");
	expect(p, "first count=1");
}

static void a_clean_stop_loses_nothing(void)
{
	struct process *all[CLIENTS];

	open_store();
	for (int i = 0; i < CLIENTS; i++)
		all[i] = start_program("brief", NULL);
	for (int i = 0; i < CLIENTS; i++)
		expect_exit(all[i], 0);
	struct process *p = read_all("n.");

	for (int i = 0; i < NAMES; i++)
		expect(p, "all n.%d=%d gauge=0", i, i * CLIENTS);
	expect(p, "all count=%d", NAMES);
}

/* Redis is stopped now and again: flushes time out, and are repeated. Whether
 * they were counted or not, they count once. */
static void a_lost_answer_counts_once(void)
{
	open_store();
	struct process *p = start_program("slow", NULL);

	expect(p, "counts");
	for (int i = 0; has_redis() && i < 3; i++) {
		struct timespec time = { .tv_nsec = 700 * 1000 * 1000 };

		/* What the test is about takes time. */
		send_signal(server, SIGSTOP);
		nanosleep(&time, NULL);
		send_signal(server, SIGCONT);
		nanosleep(&time, NULL);
	}
	expect(p, "counted 300");
	send_signal(p, SIGTERM);
	expect_exit(p, 0);
	p = read_all("slow");
	expect(p, "all slow=300 gauge=0");
}

static void counting_costs_next_to_nothing(void)
{
	open_store();
	struct process *p = start_program("fast", NULL);
	int took_ns = expect_number(p, "ns=");

	expect_exit(p, 0);
	print_message("# a count takes %d ns\n", took_ns);
	assert_in_range(took_ns, 0, 5000);
	p = read_all("http.");
	expect(p, "all http.requests=250000 gauge=0");
	expect(p, "all count=2");
}

int main(int argc, char **argv)
{
	static const struct test tests[] = {
		TEST(they_are_summed_and_gauges_go_with_their_server),
		TEST(a_clean_stop_loses_nothing),
		TEST(a_lost_answer_counts_once),
		TEST(counting_costs_next_to_nothing),
		{ 0 },
	};

	return harness_main(argc, argv, programs, tests);
}
