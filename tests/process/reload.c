/* A new version takes over, worker by worker. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "client.h"
#include "harness.h"
#include "load.h"
#include "obedient.h"
#include "program.h"

/* ---- A program with versions
 * -------------------------------------------------
 *
 * The file "version" stands for the program file: a worker serves what it
 * found there when it started. "broken" exits at once, "stuck" never gets
 * ready.
 */

static char version[32];

static void read_version(void)
{
	FILE *file = fopen("version", "re");

	if (file == NULL || fscanf(file, "%31s", version) != 1)
		exit(9);
	fclose(file);
}

static void answer_version(struct muster_http *http, void *cluster)
{
	muster_http_reply_format(http, 200, "text/plain", "%d %d %s",
				 muster_worker_id(muster_self(cluster)),
				 (int)getpid(), version);
}

static int versioned(int argc, char **argv)
{
	struct muster_cluster *cluster = open_obedient(argc, argv);

	if (muster_is_primary(cluster)) {
		say_events(cluster);
		return run_with_commands(cluster, common_command);
	}
	read_version();
	if (strcmp(version, "broken") == 0) {
		fprintf(stderr, "this version is broken\n");
		return 13;
	}
	obey(cluster);
	while (strcmp(version, "stuck") == 0)
		pause();
	must(cluster, "listen",
	     muster_http_listen(cluster, "127.0.0.1:0", answer_version,
				cluster));
	return muster_cluster_run(cluster);
}

static void release(const char *name)
{
	FILE *file = fopen(path_in_directory("version"), "w");

	assert_non_null(file);
	fprintf(file, "%s\n", name);
	fclose(file);
}

static struct process *start_version(const char *name, int *port)
{
	release(name);
	struct process *p =
		start("versioned", "workers=2", "min_uptime_ms=2000",
		      "ready_ms=500", "drain_idle_ms=100", "kill_ms=100", NULL);

	*port = field(expect(p, "listening 1 *"), "port");
	expect(p, "listening 2 *");
	return p;
}

static void expect_version(int port, const char *name)
{
	for (int i = 0; i < 4; i++) {
		int connection = dial(NULL, port);
		char served[32];

		assert_int_equal(sscanf(http_get(connection, "/"),
					"%*d %*d %31s", served),
				 1);
		assert_string_equal(served, name);
		let_go(connection);
	}
}

/* ---- What a reload does ---------------------------------------------------
 */

static void a_reload_serves_the_new_version(void)
{
	int port;
	struct process *p = start_version("one", &port);

	expect_version(port, "one");
	release("two");
	command(p, "reload");
	expect(p, "done reload code=0");
	expect(p, "reloaded code=0 *");
	expect_version(port, "two");
	expect(p, "exit 1 code=0 signal=0 voluntary=1 *");
	expect(p, "exit 2 code=0 signal=0 voluntary=1 *");
}

static void slots_and_names_stay_as_they_are(void)
{
	int port;
	struct process *p = start_version("one", &port);

	for (int round = 0; round < 3; round++) {
		pid_t pids[3];

		for (int id = 1; id <= 2; id++)
			pids[id] =
				(pid_t)field(expect(p, "fork %d *", id), "pid");
		command(p, "reload");
		expect(p, "reloaded code=0 *");
		for (int id = 1; id <= 2; id++) {
			command(p, "state %d", id);
			const char *line = expect(
				p, "state %d ready name=*-worker-%d *", id, id);

			assert_int_not_equal(field(line, "pid"), pids[id]);
			expect_gone(pids[id]);
		}
		command(p, "count");
		expect(p, "count 2");
	}
	expect_none(p, "fork 3 *");
}

/* From the events: how many were up, and how many of those ready, at worst. */
static void find_extremes(const struct process *p, int *most, int *least)
{
	int alive = 0;
	int ready = 0;
	bool is_full = false;
	const char *line;

	*most = 0;
	*least = 1000;
	for (int i = 0; (line = line_at(p, i)) != NULL; i++) {
		if (strncmp(line, "fork ", 5) == 0)
			alive++;
		if (strncmp(line, "ready ", 6) == 0)
			ready++;
		if (strncmp(line, "exit ", 5) == 0) {
			alive--;
			ready--;
		}
		if (alive > *most)
			*most = alive;
		is_full = is_full || ready == 4;
		if (is_full && ready < *least)
			*least = ready;
	}
}

static void start_and_reload(struct process **p, const char *surge,
			     const char *unavailable)
{
	*p = start("obedient", "workers=4", "listen=127.0.0.1:0",
		   "min_uptime_ms=2000", surge, unavailable, NULL);
	for (int id = 1; id <= 4; id++)
		expect(*p, "ready %d", id);
	command(*p, "reload");
	expect(*p, "reloaded code=0 *");
	for (int id = 1; id <= 4; id++)
		expect(*p, "exit %d *", id);
}

static void the_new_one_is_ready_before_the_old_one_goes(void)
{
	struct process *p;
	int most;
	int least;

	start_and_reload(&p, "max_surge=1", NULL);
	find_extremes(p, &most, &least);
	assert_int_equal(most, 5);
	assert_int_equal(least, 4);
}

static void a_reload_may_be_made_wider(void)
{
	struct process *p;
	int most;
	int least;

	start_and_reload(&p, "max_surge=2", NULL);
	find_extremes(p, &most, &least);
	assert_in_range(most, 5, 6);
	assert_int_equal(least, 4);
}

static void a_reload_may_do_with_fewer(void)
{
	struct process *p;
	int most;
	int least;

	start_and_reload(&p, "max_surge=1", "max_unavailable=1");
	find_extremes(p, &most, &least);
	assert_in_range(most, 4, 5);
	assert_in_range(least, 3, 4);
}

static void a_request_in_progress_is_finished_by_the_old_worker(void)
{
	struct process *p = start("obedient", "workers=1", "min_uptime_ms=2000",
				  "listen=127.0.0.1:0,http", NULL);
	int port = field(expect(p, "listening 1 *"), "port");
	int connection = dial(NULL, port);
	int id;
	int old;
	int new;

	assert_int_equal(sscanf(http_get(connection, "/"), "%d %d", &id, &old),
			 2);
	http_ask(connection, "/?ms=500");
	command(p, "reload");
	expect(p, "listening 1 *");
	/* Asked when the new one is there, answered while the old one works. */
	int other = dial(NULL, port);

	do {
		assert_int_equal(
			sscanf(http_get(other, "/"), "%d %d", &id, &new), 2);
		let_go(other);
		other = dial(NULL, port);
	} while (new == old);
	assert_true(is_quiet(connection));
	static struct reply reply;

	assert_int_equal(try_http_receive(connection, &reply), 0);
	assert_int_equal(sscanf(reply.body, "%d %d", &id, &new), 2);
	assert_int_equal(new, old);
	assert_true(reply.closes);
	expect_closed(connection);
	expect(p, "exit 1 code=0 *");
}

static void an_idle_connection_gets_one_more_request(void)
{
	struct process *p =
		start("obedient", "workers=1", "min_uptime_ms=2000",
		      "drain_idle_ms=10000", "listen=127.0.0.1:0,http", NULL);
	int connection = dial(NULL, field(expect(p, "listening 1 *"), "port"));

	http_get(connection, "/");
	command(p, "reload");
	expect(p, "listening 1 *");
	command(p, "echo");
	expect(p, "done echo *");
	static struct reply reply;

	do {
		http_ask(connection, "/");
		assert_int_equal(try_http_receive(connection, &reply), 0);
		assert_int_equal(reply.status, 200);
	} while (!reply.closes); /* until it has heard of it */
	expect_closed(connection);
	expect(p, "exit 1 code=0 *");
	expect(p, "reloaded code=0 *");
}

/* ---- What stands in its way -------------------------------------------------
 */

static void expect_old_ones_kept(struct process *p, int port)
{
	expect_version(port, "one");
	command(p, "count");
	expect(p, "count 2");
	for (int id = 1; id <= 2; id++) {
		command(p, "state %d", id);
		const char *line = expect(p, "state %d ready *", id);

		assert_int_equal(field(line, "pid"),
				 field(expect(p, "fork %d *", id), "pid"));
	}
}

static void a_version_that_exits_leaves_the_old_one_in_place(void)
{
	int port;
	struct process *p = start_version("one", &port);

	release("broken");
	command(p, "reload");
	expect(p, "reloaded code=%d text=*13*", -ECHILD);
	expect_old_ones_kept(p, port);
	/* A good one comes through afterwards. */
	release("two");
	command(p, "reload");
	expect(p, "reloaded code=0 *");
	expect_version(port, "two");
}

static void a_version_that_never_gets_ready_leaves_the_old_one_in_place(void)
{
	int port;
	struct process *p = start_version("one", &port);

	release("stuck");
	command(p, "reload");
	expect(p, "reloaded code=%d text=*ready*", -ETIMEDOUT);
	expect_old_ones_kept(p, port);
	/* And the stuck one is gone again. */
	expect(p, "exit * code=*");
	command(p, "echo");
	expect(p, "done echo *");
	assert_int_equal(count_children(pid_of(p)), 2);
}

static void a_version_that_exits_does_so_under_load_without_a_failure(void)
{
	int port;
	struct process *p = start_version("one", &port);
	struct load *load = load_start(&(struct load_options){
		.port = port, .path = "/", .connections = 8 });

	load_wait(load, 20);
	for (int i = 0; i < 3; i++) {
		release("broken");
		command(p, "reload");
		expect(p, "reloaded code=%d *", -ECHILD);
	}
	load_wait(load, 20);
	load_expect_no_failure(load);
}

static void a_second_reload_is_refused_while_one_runs(void)
{
	int port;
	struct process *p = start_version("one", &port);

	command(p, "reload");
	command(p, "reload");
	expect(p, "done reload code=0");
	expect(p, "done reload code=%d", -EBUSY);
	expect(p, "reloaded code=0 *");
	command(p, "reload");
	expect(p, "done reload code=0");
	expect(p, "reloaded code=0 *");
}

static void a_reload_ends_when_the_cluster_is_stopped(void)
{
	int port;
	struct process *p = start_version("one", &port);

	release("stuck");
	command(p, "reload");
	expect(p, "done reload code=0");
	expect(p, "fork *"); /* those of the start */
	expect(p, "fork *");
	expect(p, "fork *");
	command(p, "disconnect");
	expect(p, "reloaded code=%d *", -ECANCELED);
	expect(p, "disconnected workers=0");
	expect_end(p, 0);
}

static void a_worker_that_dies_during_a_reload_is_replaced(void)
{
	int port;
	struct process *p = start_version("one", &port);
	pid_t old = (pid_t)field(expect(p, "fork 2 *"), "pid");

	release("two");
	command(p, "reload");
	kill(old, SIGKILL);
	expect(p, "reloaded code=0 *");
	command(p, "state 2");
	expect(p, "state 2 *");
	expect_version(port, "two");
}

/* ---- Under load
 * -------------------------------------------------------------- */

#define RELOADS 5

static void reload_under_load(const char *schedule, const char *path,
			      bool keep_alive)
{
	struct process *p =
		start("obedient", "workers=2", "min_uptime_ms=60000",
		      "listen=127.0.0.1:0,http", schedule, NULL);
	int port = field(expect(p, "listening 1 *"), "port");
	struct load *load;

	expect(p, "listening 2 *");
	load = load_start(&(struct load_options){
		.port = port,
		.path = path,
		.connections = 8,
		.keep_alive = keep_alive,
	});
	load_wait(load, 20);
	for (int i = 0; i < RELOADS; i++) {
		command(p, "reload");
		expect(p, "reloaded code=0 *");
		load_wait(load, 20);
	}
	load_expect_no_failure(load);
	for (int i = 0; i < RELOADS; i++) {
		expect(p, "exit 1 code=0 signal=0 voluntary=1 *");
		expect(p, "exit 2 code=0 signal=0 voluntary=1 *");
	}
}

static void no_request_fails_with_keep_alive(void)
{
	reload_under_load("schedule=least", "/", true);
}

static void no_request_fails_with_a_connection_each(void)
{
	reload_under_load("schedule=least", "/", false);
}

static void no_slow_request_fails_with_keep_alive(void)
{
	reload_under_load("schedule=least", "/?ms=20", true);
}

static void no_slow_request_fails_with_a_connection_each(void)
{
	reload_under_load("schedule=least", "/?ms=20", false);
}

static void no_request_fails_under_rr(void)
{
	reload_under_load("schedule=rr", "/", false);
}

static void no_request_fails_under_shared(void)
{
	reload_under_load("schedule=shared", "/", false);
}

static void no_request_fails_under_reuseport(void)
{
	reload_under_load("schedule=reuseport", "/", false);
}

static const struct test_program programs[] = {
	PROGRAM(obedient),
	PROGRAM(versioned),
	{ NULL, NULL },
};

static const struct test tests[] = {
	TEST(a_reload_serves_the_new_version),
	TEST(slots_and_names_stay_as_they_are),
	TEST(the_new_one_is_ready_before_the_old_one_goes),
	TEST(a_reload_may_be_made_wider),
	TEST(a_reload_may_do_with_fewer),
	TEST(a_request_in_progress_is_finished_by_the_old_worker),
	TEST(an_idle_connection_gets_one_more_request),
	TEST(a_version_that_exits_leaves_the_old_one_in_place),
	TEST(a_version_that_never_gets_ready_leaves_the_old_one_in_place),
	TEST(a_version_that_exits_does_so_under_load_without_a_failure),
	TEST(a_second_reload_is_refused_while_one_runs),
	TEST(a_reload_ends_when_the_cluster_is_stopped),
	TEST(a_worker_that_dies_during_a_reload_is_replaced),
	TEST(no_request_fails_with_keep_alive),
	TEST(no_request_fails_with_a_connection_each),
	TEST(no_slow_request_fails_with_keep_alive),
	TEST(no_slow_request_fails_with_a_connection_each),
	TEST(no_request_fails_under_rr),
	TEST(no_request_fails_under_shared),
	TEST(no_request_fails_under_reuseport),
	{ NULL, NULL },
};

int main(int argc, char **argv)
{
	return harness_main(argc, argv, programs, tests);
}
