/* What is left after many workers, reloads, connections and messages: nothing.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "client.h"
#include "harness.h"
#include "obedient.h"
#include "program.h"

/* After it has done what it had to: a turn of its loop. */
static size_t descriptors_now(struct process *p)
{
	command(p, "echo");
	expect(p, "done echo *");
	return count_descriptors(pid_of(p));
}

/* The primary closes its copy of a connection a little after the worker has
 * taken it up: gives it turns of its loop until it has, or never will. */
static void expect_descriptors(struct process *p, size_t expected)
{
	int64_t deadline = now_ms() + DEADLINE_MS;
	size_t count;

	do
		count = descriptors_now(p);
	while (count != expected && now_ms() < deadline);
	assert_int_equal(count, expected);
}

static void expect_no_growth(struct process *p, size_t before_kib)
{
	/* A sanitizer keeps what was freed. */
	if (!is_sanitized())
		assert_in_range(resident_kib(pid_of(p)), 0, before_kib + 1024);
}

static void fifty_generations_leave_no_descriptor_and_no_memory(void)
{
	struct process *p =
		start("obedient", "workers=2", "backoff_ms=1",
		      "backoff_max_ms=1", "failures_max=1000",
		      "listen=127.0.0.1:0", "listen=unix:socket", NULL);
	size_t descriptors = 0;
	size_t memory = 0;

	expect(p, "ready 1");
	expect(p, "ready 2");
	for (int i = 0; i < 50; i++) {
		int id = 1 + i % 2;

		command(p, "kill %d 9", id);
		expect(p, "exit %d code=-1 signal=9 *", id);
		expect(p, "ready %d", id);
		if (i == 5) {
			expect(p, "listening 1 *");
			descriptors = descriptors_now(p);
			memory = resident_kib(pid_of(p));
		}
	}
	for (int i = 0; i < 51; i++) /* all are up */
		expect(p, "listening * url=unix:*/socket");
	expect_descriptors(p, descriptors);
	expect_no_growth(p, memory);
}

static void twenty_reloads_leave_no_descriptor(void)
{
	static const char *const schedules[] = { "schedule=least",
						 "schedule=shared",
						 "schedule=reuseport" };

	for (int s = 0; s < 3; s++) {
		struct process *p =
			start("obedient", "workers=2", "min_uptime_ms=1000",
			      "listen=127.0.0.1:0", schedules[s], NULL);
		size_t descriptors;

		expect(p, "ready 1");
		expect(p, "ready 2");
		descriptors = descriptors_now(p);
		for (int i = 0; i < 7; i++) {
			command(p, "reload");
			expect(p, "reloaded code=0 *");
			expect(p, "exit 1 code=0 *");
			expect(p, "exit 2 code=0 *");
		}
		expect_descriptors(p, descriptors);
	}
}

static void a_thousand_connections_leave_no_descriptor(void)
{
	static const char *const schedules[] = { "schedule=least",
						 "schedule=rr",
						 "schedule=shared",
						 "schedule=reuseport" };

	for (int s = 0; s < 4; s++) {
		struct process *p =
			start("obedient", "fork=1", "listen=127.0.0.1:0",
			      schedules[s], NULL);
		int port = field(expect(p, "listening 1 *"), "port");
		pid_t worker = (pid_t)field(expect(p, "fork 1 *"), "pid");
		size_t of_primary = descriptors_now(p);
		size_t of_worker = count_descriptors(worker);

		for (int i = 0; i < 250; i++) {
			int connection = dial(NULL, port);

			receive_line(connection);
			expect_closed(connection);
			let_go(connection);
		}
		command(p, "tell 1 reply done");
		expect(p, "message 1 *");
		expect_descriptors(p, of_primary);
		assert_int_equal(count_descriptors(worker), of_worker);
		command(p, "state 1");
		assert_int_equal(field(expect(p, "state 1 *"), "connections"),
				 0);
	}
}

static void clients_that_leave_before_they_are_served_leave_nothing(void)
{
	struct process *p =
		start("obedient", "fork=1", "listen=127.0.0.1:0,hold", NULL);
	int port = field(expect(p, "listening 1 *"), "port");
	pid_t worker = (pid_t)field(expect(p, "fork 1 *"), "pid");
	size_t of_primary = descriptors_now(p);

	kill(worker, SIGSTOP);
	for (int i = 0; i < 100; i++)
		let_go(dial(NULL, port));
	kill(worker, SIGCONT);
	receive_line(dial(NULL, port));
	command(p, "tell 1 close");
	command(p, "tell 1 reply done");
	expect(p, "message 1 *");
	expect_descriptors(p, of_primary);
}

static void listening_and_closing_leaves_no_descriptor(void)
{
	struct process *p = start("obedient", "fork=1", NULL);
	size_t descriptors;
	pid_t worker;
	size_t of_worker;

	expect(p, "online 1 *");
	worker = (pid_t)field(expect(p, "fork 1 *"), "pid");
	command(p, "tell 1 reply ready");
	expect(p, "message 1 *");
	descriptors = descriptors_now(p);
	of_worker = count_descriptors(worker);
	for (int i = 0; i < 30; i++) {
		static const char *const urls[] = {
			"127.0.0.1:0", "unix:socket", "udp://127.0.0.1:0 udp",
			"127.0.0.1:0 schedule=shared",
			"127.0.0.1:0 schedule=reuseport"
		};

		command(p, "tell 1 listen %s", urls[i % 5]);
		expect(p, "listening 1 *");
		command(p, "tell 1 unlisten %d", i);
	}
	command(p, "tell 1 reply done");
	expect(p, "message 1 \"done\"");
	expect_descriptors(p, descriptors);
	assert_int_equal(count_descriptors(worker), of_worker);
}

static void failed_forks_and_binds_leave_no_descriptor(void)
{
	struct process *p = start("clumsy", NULL);
	const char *line = expect(p, "before=*");

	expect(p, "forked code=%d", -ENOENT);
	assert_int_equal(field(line, "before"), field(line, "after"));
	expect_end(p, 0);
}

static int clumsy(int argc, char **argv)
{
	struct muster_settings settings = { .exec = "/no/such/program" };
	struct muster_cluster *cluster = open_cluster(argc, argv, NULL);
	size_t before;
	int code = 0;

	must(cluster, "setup", muster_setup_primary(cluster, &settings));
	code = muster_fork(cluster, NULL, NULL);
	before = count_descriptors(getpid());
	for (int i = 0; i < 50; i++) {
		code = muster_fork(cluster, NULL, NULL);
		if (muster_listen(cluster, "192.0.2.1:0", answer_id, cluster) !=
		    -EADDRNOTAVAIL)
			say("not refused");
	}
	say("before=%zu after=%zu", before, count_descriptors(getpid()));
	say("forked code=%d", code);
	return muster_cluster_run(cluster);
}

static const struct test_program programs[] = {
	PROGRAM(obedient),
	PROGRAM(clumsy),
	{ NULL, NULL },
};

static const struct test tests[] = {
	TEST(fifty_generations_leave_no_descriptor_and_no_memory),
	TEST(twenty_reloads_leave_no_descriptor),
	TEST(a_thousand_connections_leave_no_descriptor),
	TEST(clients_that_leave_before_they_are_served_leave_nothing),
	TEST(listening_and_closing_leaves_no_descriptor),
	TEST(failed_forks_and_binds_leave_no_descriptor),
	{ NULL, NULL },
};

int main(int argc, char **argv)
{
	return harness_main(argc, argv, programs, tests);
}
