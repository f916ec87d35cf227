/* The primary is killed, and what its workers do then. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "client.h"
#include "harness.h"
#include "obedient.h"
#include "program.h"

static void idle_workers_end_when_their_primary_is_killed(void)
{
	struct process *p =
		start("obedient", "fork=3", "listen=127.0.0.1:0", NULL);

	for (int id = 1; id <= 3; id++)
		expect(p, "listening %d *", id);
	int64_t begin_ms = now_ms();

	send_signal(p, SIGKILL);
	expect_end(p, -SIGKILL);
	expect_nobody_left();
	assert_in_range(now_ms() - begin_ms, 0, DEADLINE_MS / 4);
}

static void requests_are_finished_when_the_primary_is_killed(void)
{
	static const char *const schedules[] = { "schedule=least",
						 "schedule=rr",
						 "schedule=shared",
						 "schedule=reuseport" };

	for (int s = 0; s < 4; s++) {
		struct process *p =
			start("obedient", "fork=2", "listen=127.0.0.1:0,http",
			      "drain_idle_ms=100", schedules[s], NULL);
		int port = field(expect(p, "listening 1 *"), "port");
		int connections[6];

		expect(p, "listening 2 *");
		for (int i = 0; i < 6; i++) {
			connections[i] = dial(NULL, port);
			http_get(connections[i], "/");
			http_ask(connections[i], "/?ms=200");
		}
		send_signal(p, SIGKILL);
		expect_exit(p, -SIGKILL);
		for (int i = 0; i < 6; i++) {
			assert_in_range(atoi(http_receive(connections[i])), 1,
					2);
			let_go(connections[i]); /* not waited for, then */
		}
		expect_end(p, -SIGKILL);
		expect_nobody_left();
	}
}

static void connections_are_finished_when_the_primary_stops(void)
{
	struct process *p =
		start("obedient", "fork=2", "listen=127.0.0.1:0,hold", NULL);
	int port = field(expect(p, "listening 1 *"), "port");
	int connection = dial(NULL, port);
	int id;
	int pid;

	expect(p, "listening 2 *");
	assert_int_equal(sscanf(receive_line(connection), "%d %d", &id, &pid),
			 2);
	command(p, "stop 0");
	expect_exit(p, 0);
	assert_true(is_alive(pid)); /* it still serves */
	assert_true(is_quiet(connection));
	let_go(connection);
	expect_gone(pid);
	expect_nobody_left();
}

static void a_worker_that_does_not_finish_ends_at_its_deadline(void)
{
	struct process *p =
		start("obedient", "fork=1", "drain_ms=200", "kill_ms=200",
		      "listen=127.0.0.1:0,hold", NULL);
	int connection = dial(NULL, field(expect(p, "listening 1 *"), "port"));

	receive_line(connection);
	send_signal(p, SIGKILL);
	expect_end(p, -SIGKILL);
	expect_closed(connection);
	expect_nobody_left();
}

static void a_worker_that_is_starting_ends_as_well(void)
{
	for (int i = 0; i < 10; i++) {
		struct process *p = start("obedient", "fork=4", NULL);

		expect(p, "fork 4 *");
		send_signal(p, SIGKILL);
		expect_end(p, -SIGKILL);
		expect_nobody_left();
	}
}

/* ---- What a worker's calls answer then
 * ---------------------------------------- */

static void try_everything(struct muster_worker *self,
			   struct muster_message *message, void *cluster)
{
	struct muster_listener *listener = NULL;
	struct muster_listen_options options = { .on_connection = answer_id,
						 .arg = cluster };
	char byte;
	int code = 0;

	(void)message;
	say("worker waits");
	int fifo = open("fifo", O_RDONLY | O_CLOEXEC);

	if (read(fifo, &byte, 1) != 1)
		say("worker was not told");
	close(fifo);
	code = muster_listen_with(cluster, "127.0.0.1:0", &options, &listener);
	say("listen code=%d", code);
	/* What was queued before it knew is lost, what comes after refused. */
	code = muster_send(self, "1", 1);
	say("send code=%d", code);
	say("connected=%d", muster_worker_is_connected(self));
}

static int orphan(int argc, char **argv)
{
	struct muster_cluster *cluster = open_cluster(argc, argv, NULL);

	if (muster_is_primary(cluster)) {
		say_events(cluster);
		must(cluster, "fork", muster_fork(cluster, NULL, NULL));
		return run_with_commands(cluster, common_command);
	}
	muster_on_message(cluster, try_everything, cluster);
	return muster_cluster_run(cluster);
}

static void calls_of_an_orphan_answer_that_the_primary_is_gone(void)
{
	assert_int_equal(mkfifo(path_in_directory("fifo"), 0600), 0);
	struct process *p = start("orphan", NULL);

	expect(p, "online 1 *");
	command(p, "send 1 {}");
	expect(p, "worker waits");
	send_signal(p, SIGKILL);
	expect_exit(p, -SIGKILL);
	int fifo = keep(open(path_in_directory("fifo"), O_WRONLY | O_CLOEXEC));

	assert_int_equal(write(fifo, "x", 1), 1);
	expect(p, "listen code=%d", -EPIPE);
	expect(p, "send code=%d", -EPIPE);
	expect_end(p, -SIGKILL);
	expect_nobody_left();
}

static void the_port_is_free_once_everyone_has_ended(void)
{
	struct process *p = start("obedient", "fork=2", NULL);

	expect(p, "online 1 *");
	expect(p, "online 2 *");
	int port = free_port();

	command(p, "tell 1 listen %s:%d", own_host(), port);
	expect(p, "listening 1 *");
	command(p, "tell 2 listen %s:%d", own_host(), port);
	expect(p, "listening 2 *");
	send_signal(p, SIGKILL);
	expect_end(p, -SIGKILL);
	expect_nobody_left();
	assert_int_equal(try_dial(own_host(), port), -ECONNREFUSED);
	p = start("obedient", "fork=1", NULL);
	expect(p, "online 1 *");
	command(p, "tell 1 listen %s:%d", own_host(), port);
	expect(p, "listening 1 *");
}

static const struct test_program programs[] = {
	PROGRAM(obedient),
	PROGRAM(orphan),
	{ NULL, NULL },
};

static const struct test tests[] = {
	TEST(idle_workers_end_when_their_primary_is_killed),
	TEST(requests_are_finished_when_the_primary_is_killed),
	TEST(connections_are_finished_when_the_primary_stops),
	TEST(a_worker_that_does_not_finish_ends_at_its_deadline),
	TEST(a_worker_that_is_starting_ends_as_well),
	TEST(calls_of_an_orphan_answer_that_the_primary_is_gone),
	TEST(the_port_is_free_once_everyone_has_ended),
	{ NULL, NULL },
};

int main(int argc, char **argv)
{
	return harness_main(argc, argv, programs, tests);
}
