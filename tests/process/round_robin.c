/* rr: strict turns over the workers that take up what they are given. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>

#include "client.h"
#include "harness.h"
#include "obedient.h"
#include "program.h"

static struct process *start_workers(int count, const char *listen)
{
	char number[32];
	struct process *p;

	snprintf(number, sizeof(number), "fork=%d", count);
	p = start("obedient", number, "schedule=rr", listen, NULL);
	return p;
}

/* Until every worker listens; their port. */
static int await_workers(struct process *p, int count)
{
	int port = 0;

	for (int id = 1; id <= count; id++)
		port = field(expect(p, "listening %d *", id), "port");
	return port;
}

static int ask(int port)
{
	int connection = dial(NULL, port);
	int id = receive_number(connection, "");

	let_go(connection);
	return id;
}

/* A worker that did not run for a while is passed over, once. */
#define OUT_OF_TURN_MAX 3

static void workers_take_strict_turns(void)
{
	struct process *p = start_workers(3, "listen=127.0.0.1:0");
	int port = await_workers(p, 3);
	int turns[33];
	int out_of_turn = 0;

	for (int i = 0; i < 33; i++)
		turns[i] = ask(port);
	for (int i = 3; i < 33; i++)
		out_of_turn += turns[i] != turns[i - 3];
	assert_in_range(out_of_turn, 0, OUT_OF_TURN_MAX * 3);
	for (int i = 1; i < 33; i++)
		out_of_turn += turns[i] == turns[i - 1];
	assert_in_range(out_of_turn, 0, OUT_OF_TURN_MAX * 4);
}

static void a_turn_counts_connections_that_are_long_gone(void)
{
	struct process *p = start_workers(2, "listen=127.0.0.1:0,hold");
	int port = await_workers(p, 2);
	int kept = dial(NULL, port);
	int before = receive_number(kept, "");
	int out_of_turn = 0;

	/* Unlike least: who still holds one gets the next one all the same. */
	for (int i = 0; i < 20; i++) {
		int id = ask(port);

		out_of_turn += id == before;
		before = id;
	}
	assert_in_range(out_of_turn, 0, OUT_OF_TURN_MAX);
}

static void what_a_stopped_worker_does_not_take_up_goes_to_another(void)
{
	struct process *p = start_workers(2, "listen=127.0.0.1:0");
	int port = await_workers(p, 2);
	pid_t stuck = (pid_t)field(expect(p, "fork 1 *"), "pid");
	int connections[10];

	kill(stuck, SIGSTOP);
	for (int i = 0; i < 10; i++)
		connections[i] = dial(NULL, port);
	for (int i = 0; i < 10; i++)
		assert_int_equal(receive_number(connections[i], ""), 2);
	/* It goes on, and has its turn again. */
	kill(stuck, SIGCONT);
	command(p, "tell 1 reply awake");
	expect(p, "message 1 *");
	int count[3] = { 0 };

	for (int i = 0; i < 10; i++)
		count[ask(port)]++;
	assert_in_range(count[1], 5 - OUT_OF_TURN_MAX, 5 + OUT_OF_TURN_MAX);
}

static void what_a_killed_worker_did_not_take_up_goes_to_another(void)
{
	struct process *p = start_workers(2, "listen=127.0.0.1:0");
	int port = await_workers(p, 2);
	pid_t stuck = (pid_t)field(expect(p, "fork 1 *"), "pid");
	int connections[10];

	kill(stuck, SIGSTOP);
	for (int i = 0; i < 10; i++)
		connections[i] = dial(NULL, port);
	kill(stuck, SIGKILL);
	for (int i = 0; i < 10; i++)
		assert_int_equal(receive_number(connections[i], ""), 2);
	expect(p, "exit 1 code=-1 signal=9 *");
}

static void what_a_worker_refuses_goes_to_another(void)
{
	struct process *p = start_workers(2, "name=refusing");

	expect(p, "online 1 *");
	expect(p, "online 2 *");
	int port = free_port();

	command(p, "tell 1 listen %s:%d refuse", own_host(), port);
	expect(p, "listening 1 *");
	command(p, "tell 2 listen %s:%d", own_host(), port);
	expect(p, "listening 2 *");
	for (int i = 0; i < 10; i++) {
		int connection = dial(own_host(), port);

		assert_int_equal(receive_number(connection, ""), 2);
		let_go(connection);
	}
	expect(p, "worker refused");
}

static void a_worker_that_closes_its_listener_loses_no_connection(void)
{
	struct process *p = start_workers(2, "name=leaving");

	expect(p, "online 1 *");
	expect(p, "online 2 *");
	for (int round = 0; round < 10; round++) {
		int port = free_port();
		int connections[8];

		command(p, "tell 1 listen %s:%d", own_host(), port);
		expect(p, "listening 1 *");

		command(p, "tell 2 listen %s:%d", own_host(), port);
		expect(p, "listening 2 *");
		command(p, "tell 1 unlisten %d", round);
		for (int i = 0; i < 8; i++)
			connections[i] = dial(own_host(), port);
		for (int i = 0; i < 8; i++) {
			assert_true(receive_number(connections[i], "") >= 1);
			let_go(connections[i]);
		}
		command(p, "tell 2 unlisten %d", round);
		command(p, "tell 2 reply closed");
		expect(p, "message 2 *");
	}
}

static void limits_are_kept_for_each_worker(void)
{
	static const int limits[] = { 0, 1, 4, 5 };
	struct process *p = start_workers(3, "name=limited");
	int count[4] = { 0 };
	int port = free_port();

	for (int id = 1; id <= 3; id++)
		expect(p, "online %d *", id);
	for (int id = 1; id <= 3; id++) {
		command(p, "tell %d listen %s:%d hold max=%d", id, own_host(),
			port, limits[id]);
		expect(p, "listening %d *", id);
	}
	for (int i = 0; i < 10; i++)
		count[receive_number(dial(own_host(), port), "")]++;
	for (int id = 1; id <= 3; id++)
		assert_int_equal(count[id], limits[id]);
}

/* ---- The primary at its limits ----------------------------------------------
 */

static void limit_descriptors(struct muster_cluster *cluster, const char *line)
{
	struct rlimit limit;

	if (getrlimit(RLIMIT_NOFILE, &limit) != 0)
		exit(1);
	if (sscanf(line, "limit %lu", &limit.rlim_cur) == 1)
		say("limited %d", setrlimit(RLIMIT_NOFILE, &limit));
	else
		common_command(cluster, line);
}

static int scarce(int argc, char **argv)
{
	struct muster_cluster *cluster = open_obedient(argc, argv);

	if (muster_is_primary(cluster)) {
		say_events(cluster);
		must(cluster, "fork", muster_fork(cluster, NULL, NULL));
		return run_with_commands(cluster, limit_descriptors);
	}
	obey(cluster);
	listen_as_told(cluster, argc, argv);
	return muster_cluster_run(cluster);
}

static void a_primary_out_of_descriptors_goes_on_when_it_has_some(void)
{
	struct process *p =
		start("scarce", "schedule=rr", "listen=127.0.0.1:0", NULL);
	int port = field(expect(p, "listening 1 *"), "port");
	int connections[20];

	command(p, "limit 3");
	expect(p, "limited 0");
	for (int i = 0; i < 20; i++)
		connections[i] = dial(NULL, port);
	uint64_t before_ms = cpu_ms(pid_of(p));

	/* It lives, and does what it is told. */
	for (int i = 0; i < 20; i++) {
		command(p, "tell 1 reply %d", i);
		expect(p, "message 1 \"%d\"", i);
	}
	assert_true(cpu_ms(pid_of(p)) - before_ms < 1000);
	command(p, "limit 1000");
	expect(p, "limited 0");
	assert_int_equal(ask(port), 1);
	/* Those that came in between are answered or closed, never forgotten.
	 */
	for (int i = 0; i < 20; i++) {
		char line[64];
		int code = try_receive_line(connections[i], line, sizeof(line));

		assert_true(code == 0 || code == -EPIPE || code == -ECONNRESET);
	}
}

/* ---- What keeps a worker alive
 * ------------------------------------------------ */

static int bare(int argc, char **argv)
{
	struct muster_listener *listener;
	struct muster_cluster *cluster = open_obedient(argc, argv);
	struct muster_listen_options options = { .on_connection = answer_id,
						 .arg = cluster };

	if (muster_is_primary(cluster)) {
		say_events(cluster);
		must(cluster, "fork", muster_fork(cluster, NULL, NULL));
		return run_with_commands(cluster, common_command);
	}
	must(cluster, "listen",
	     muster_listen_with(cluster, "127.0.0.1:0", &options, &listener));
	if (argument_number(argc, argv, 1) == 1)
		muster_listener_close(listener);
	if (argument_number(argc, argv, 1) == 2)
		muster_listener_unref(listener);
	return muster_cluster_run(cluster);
}

static void a_listener_alone_keeps_a_worker_alive(void)
{
	struct process *p = start("bare", "schedule=rr", NULL);
	int port = field(expect(p, "listening 1 *"), "port");

	for (int i = 0; i < 5; i++)
		assert_int_equal(ask(port), 1);
	expect_none(p, "exit *");
}

static void a_worker_whose_listener_is_closed_ends(void)
{
	struct process *p = start("bare", "schedule=rr", "1", NULL);

	expect(p, "exit 1 code=0 *");
	expect_end(p, 0);
}

static void a_worker_whose_listener_is_unreferenced_ends(void)
{
	struct process *p = start("bare", "schedule=rr", "2", NULL);

	expect(p, "exit 1 code=0 *");
	expect_end(p, 0);
}

static const struct test_program programs[] = {
	PROGRAM(obedient),
	PROGRAM(scarce),
	PROGRAM(bare),
	{ NULL, NULL },
};

static const struct test tests[] = {
	TEST(workers_take_strict_turns),
	TEST(a_turn_counts_connections_that_are_long_gone),
	TEST(what_a_stopped_worker_does_not_take_up_goes_to_another),
	TEST(what_a_killed_worker_did_not_take_up_goes_to_another),
	TEST(what_a_worker_refuses_goes_to_another),
	TEST(a_worker_that_closes_its_listener_loses_no_connection),
	TEST(limits_are_kept_for_each_worker),
	TEST(a_primary_out_of_descriptors_goes_on_when_it_has_some),
	TEST(a_listener_alone_keeps_a_worker_alive),
	TEST(a_worker_whose_listener_is_closed_ends),
	TEST(a_worker_whose_listener_is_unreferenced_ends),
	{ NULL, NULL },
};

int main(int argc, char **argv)
{
	return harness_main(argc, argv, programs, tests);
}
