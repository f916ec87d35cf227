/* What signals mean to a primary and to a worker. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "client.h"
#include "harness.h"
#include "obedient.h"
#include "program.h"

static struct process *start_pool(const char *listen)
{
	struct process *p = start("obedient", "workers=2", "backoff_ms=1",
				  "drain_idle_ms=50", listen, NULL);

	expect(p, "listening 1 *");
	expect(p, "listening 2 *");
	return p;
}

static pid_t pid_of_worker(struct process *p, int id)
{
	return (pid_t)field(expect(p, "fork %d *", id), "pid");
}

static void term_and_int_stop_a_primary_gracefully(void)
{
	static const int signals[] = { SIGTERM, SIGINT };

	for (int i = 0; i < 2; i++) {
		struct process *p = start_pool("listen=127.0.0.1:0");

		send_signal(p, signals[i]);
		expect(p, "exit 1 code=0 signal=0 voluntary=1 *");
		expect(p, "exit 2 code=0 signal=0 voluntary=1 *");
		expect_end(p, 0);
		assert_int_equal(count_lines(p, "fork *"), 2);
	}
}

static void requests_are_finished_before_a_primary_stops(void)
{
	struct process *p = start_pool("listen=127.0.0.1:0,http");
	int port = field(expect(p, "worker 1 listener=0 *"), "port");
	int connections[4];

	for (int i = 0; i < 4; i++) {
		connections[i] = dial(NULL, port);
		http_get(connections[i], "/"); /* it is with its worker */
		http_ask(connections[i], "/?ms=200");
	}
	send_signal(p, SIGTERM);
	for (int i = 0; i < 4; i++)
		assert_in_range(atoi(http_receive(connections[i])), 1, 2);
	expect_end(p, 0);
}

static void a_second_term_changes_nothing(void)
{
	struct process *p = start_pool("listen=127.0.0.1:0,http");
	int port = field(expect(p, "worker 1 listener=0 *"), "port");
	int connection = dial(NULL, port);

	http_get(connection, "/");
	http_ask(connection, "/?ms=200");
	send_signal(p, SIGTERM);
	command(p, "echo");
	expect(p, "done echo *");
	send_signal(p, SIGTERM);
	http_receive(connection);
	expect_end(p, 0);
}

static void a_second_int_waits_for_nobody(void)
{
	struct process *p = start_pool("listen=127.0.0.1:0,hold");
	int port = field(expect(p, "worker 1 listener=0 *"), "port");
	int connection = dial(NULL, port);

	receive_line(connection);
	send_signal(p, SIGINT);
	command(p, "echo");
	expect(p, "done echo *");
	assert_true(is_quiet(connection));
	send_signal(p, SIGINT);
	expect_closed(connection);
	expect_end(p, 0);
}

static void the_terminals_interrupt_reaches_all_and_is_one_stop(void)
{
	struct process *p = start_pool("listen=127.0.0.1:0");

	/* Ctrl-C goes to the whole group. */
	kill(-pid_of(p), SIGINT);
	expect(p, "exit 1 code=0 signal=0 *");
	expect(p, "exit 2 code=0 signal=0 *");
	expect_end(p, 0);
	assert_int_equal(count_lines(p, "fork *"), 2);
}

static void term_and_int_drain_a_worker_and_it_is_replaced(void)
{
	static const int signals[] = { SIGTERM, SIGINT };
	struct process *p = start_pool("listen=127.0.0.1:0,http");
	int port = field(expect(p, "worker 1 listener=0 *"), "port");

	for (int i = 0; i < 2; i++) {
		int connection = dial(NULL, port);
		int id = 0;
		int pid = 0;

		assert_int_equal(
			sscanf(http_get(connection, "/"), "%d %d", &id, &pid),
			2);
		http_ask(connection, "/?ms=100");
		kill(pid, signals[i]);
		assert_int_equal(atoi(http_receive(connection)), id);
		let_go(connection);
		expect(p, "exit %d code=0 signal=0 voluntary=1 *", id);
		expect(p, "listening %d *", id);
	}
}

static void hup_and_usr2_replace_every_worker(void)
{
	static const int signals[] = { SIGHUP, SIGUSR2 };
	struct process *p = start_pool("listen=127.0.0.1:0");

	for (int i = 0; i < 2; i++) {
		pid_t old[2] = { pid_of_worker(p, 1), pid_of_worker(p, 2) };

		send_signal(p, signals[i]);
		for (int id = 1; id <= 2; id++) {
			expect(p, "listening %d *", id);
			expect(p, "exit %d code=0 signal=0 voluntary=1 *", id);
			expect_gone(old[id - 1]);
		}
	}
	assert_int_equal(count_lines(p, "fork *"), 6);
}

static void ttin_and_ttou_make_it_one_more_and_one_fewer(void)
{
	struct process *p = start_pool("listen=127.0.0.1:0");

	send_signal(p, SIGTTIN);
	expect(p, "listening 3 *");
	send_signal(p, SIGTTIN);
	expect(p, "listening 4 *");
	send_signal(p, SIGTTOU);
	expect(p, "exit 4 code=0 signal=0 voluntary=1 *");
	command(p, "count");
	expect(p, "count 3");
}

static void the_last_worker_stays_at_ttou(void)
{
	struct process *p = start("obedient", "workers=1", "backoff_ms=1",
				  "listen=127.0.0.1:0", NULL);

	expect(p, "listening 1 *");
	send_signal(p, SIGTTOU);
	command(p, "count");
	expect(p, "count 1");
	send_signal(p, SIGTTIN);
	expect(p, "listening 2 *");
	expect_none(p, "exit *");
}

static void winch_stops_the_workers_and_keeps_the_primary(void)
{
	struct process *p = start_pool("listen=127.0.0.1:0");

	send_signal(p, SIGWINCH);
	expect(p, "exit 1 code=0 signal=0 voluntary=1 *");
	expect(p, "exit 2 code=0 signal=0 voluntary=1 *");
	command(p, "count");
	expect(p, "count 0");
	assert_true(is_alive(pid_of(p)));
	/* And it starts workers again when it is told to. */
	send_signal(p, SIGHUP);
	expect(p, "listening 1 *");
	expect(p, "listening 2 *");
}

static void other_signals_are_the_programs(void)
{
	struct process *p = start_pool("listen=127.0.0.1:0");

	send_signal(p, SIGPIPE);
	command(p, "echo");
	expect(p, "done echo *");
	send_signal(p, SIGUSR1);
	expect_exit(p, -SIGUSR1);
	expect_nobody_left();
}

static void signals_are_left_alone_where_asked_for(void)
{
	struct process *p =
		start("obedient", "workers=1", "no_signals=1", NULL);

	expect(p, "online 1 *");
	send_signal(p, SIGHUP);
	expect_exit(p, -SIGHUP);
	expect_nobody_left();
}

static const struct test_program programs[] = {
	PROGRAM(obedient),
	{ NULL, NULL },
};

static const struct test tests[] = {
	TEST(term_and_int_stop_a_primary_gracefully),
	TEST(requests_are_finished_before_a_primary_stops),
	TEST(a_second_term_changes_nothing),
	TEST(a_second_int_waits_for_nobody),
	TEST(the_terminals_interrupt_reaches_all_and_is_one_stop),
	TEST(term_and_int_drain_a_worker_and_it_is_replaced),
	TEST(hup_and_usr2_replace_every_worker),
	TEST(ttin_and_ttou_make_it_one_more_and_one_fewer),
	TEST(the_last_worker_stays_at_ttou),
	TEST(winch_stops_the_workers_and_keeps_the_primary),
	TEST(other_signals_are_the_programs),
	TEST(signals_are_left_alone_where_asked_for),
	{ NULL, NULL },
};

int main(int argc, char **argv)
{
	return harness_main(argc, argv, programs, tests);
}
