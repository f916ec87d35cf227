/* least: the worker with the fewest open connections gets the next one. */
#include <stdio.h>
#include <string.h>

#include "client.h"
#include "harness.h"
#include "obedient.h"
#include "program.h"

static struct process *start_workers(int count, const char *listen)
{
	char number[32];

	snprintf(number, sizeof(number), "fork=%d", count);
	return start("obedient", number, "schedule=least", "drain_ms=200",
		     listen, NULL);
}

static int await_workers(struct process *p, int count)
{
	int port = 0;

	for (int id = 1; id <= count; id++)
		port = field(expect(p, "listening %d *", id), "port");
	return port;
}

static int connections_of(struct process *p, int id)
{
	command(p, "state %d", id);
	return field(expect(p, "state %d *", id), "connections");
}

/* Each has done what it had to, and so has its turn again. */
static void await_idle(struct process *p, int workers)
{
	for (int id = 1; id <= workers; id++) {
		command(p, "tell %d reply idle", id);
		expect(p, "message %d *", id);
	}
}

static bool is_even(const int *count, int workers)
{
	for (int id = 2; id <= workers; id++)
		if (count[id] != count[1])
			return false;
	return true;
}

/* A worker that did not run for a while was passed over, and is made up for:
 * goes on until all have the same number, which must be soon. */
static int fill_until_even(struct process *p, int port, int workers, int *count)
{
	for (int i = 0; i < 250 && !is_even(count, workers); i++) {
		await_idle(p, workers);
		count[receive_number(dial(NULL, port), "")]++;
	}
	assert_true(is_even(count, workers));
	return count[1];
}

static void kept_connections_are_spread_evenly(void)
{
	struct process *p = start_workers(4, "listen=127.0.0.1:0,hold");
	int port = await_workers(p, 4);
	int count[5] = { 0 };

	for (int i = 0; i < 40; i++)
		count[receive_number(dial(NULL, port), "")]++;
	int each = fill_until_even(p, port, 4, count);

	for (int id = 1; id <= 4; id++)
		assert_int_equal(connections_of(p, id), each);
}

static void kept_connections_are_spread_evenly_in_a_burst(void)
{
	struct process *p = start_workers(4, "listen=127.0.0.1:0,hold");
	int port = await_workers(p, 4);
	int connections[200];
	int count[5] = { 0 };

	for (int i = 0; i < 200; i++)
		connections[i] = dial(NULL, port);
	for (int i = 0; i < 200; i++)
		count[receive_number(connections[i], "")]++;
	fill_until_even(p, port, 4, count);
}

static void equals_take_turns(void)
{
	struct process *p = start_workers(3, "listen=127.0.0.1:0");
	int port = await_workers(p, 3);
	int count[4] = { 0 };

	for (int i = 0; i < 12; i++) {
		int connection = dial(NULL, port);

		count[receive_number(connection, "")]++;
		expect_closed(connection);
		await_idle(p, 3); /* until then they are no equals */
	}
	for (int id = 1; id <= 3; id++)
		assert_int_equal(count[id], 4);
}

static void the_worker_that_has_fewer_gets_all_until_it_is_even(void)
{
	struct process *p = start_workers(2, "listen=127.0.0.1:0,hold");
	int port = await_workers(p, 2);
	int count[3] = { 0 };

	for (int i = 0; i < 8; i++)
		count[receive_number(dial(NULL, port), "")]++;
	int each = fill_until_even(p, port, 2, count);

	command(p, "tell 1 close");
	await_idle(p, 2);
	for (int i = 0; i < each; i++) {
		assert_int_equal(receive_number(dial(NULL, port), ""), 1);
		await_idle(p, 2);
	}
	assert_int_equal(connections_of(p, 1), each);
	assert_int_equal(connections_of(p, 2), each);
}

static void connections_of_all_its_listeners_count(void)
{
	struct process *p = start_workers(2, "listen=127.0.0.1:0,hold");
	int first = await_workers(p, 2);
	int both[2];

	for (int id = 1; id <= 2; id++) {
		command(p, "tell %d listen 127.0.0.1:0 hold", id);
		both[id - 1] = field(expect(p, "listening %d *", id), "port");
	}
	int count[3] = { 0 };

	assert_int_equal(both[0], both[1]);
	for (int i = 0; i < 4; i++)
		count[receive_number(dial(NULL, first), "")]++;
	int each = fill_until_even(p, first, 2, count);

	command(p, "tell 2 close");
	await_idle(p, 2);
	for (int i = 0; i < each; i++) {
		assert_int_equal(receive_number(dial(NULL, both[0]), ""), 2);
		await_idle(p, 2);
	}
}

static void a_blocked_worker_harms_nobody(void)
{
	struct process *p = start_workers(2, "listen=127.0.0.1:0,hold");
	int port = await_workers(p, 2);
	int first = dial(NULL, port);
	int blocked = receive_number(first, "");
	int other = 3 - blocked;
	int64_t begin_ms = now_ms();

	/* It has one more than the other, and then it hangs. */
	command(p, "tell %d say spins", blocked);
	expect(p, "worker %d spins", blocked);
	command(p, "tell %d spin", blocked);
	for (int i = 0; i < 50; i++) {
		int connection = dial(NULL, port);

		assert_int_equal(receive_number(connection, ""), other);
	}
	assert_in_range(now_ms() - begin_ms, 0, DEADLINE_MS / 4);
	command(p, "kill %d 9", blocked);
	expect(p, "exit %d *", blocked);
}

static void what_a_stopped_worker_does_not_take_up_goes_to_another(void)
{
	struct process *p = start_workers(2, "listen=127.0.0.1:0");
	int port = await_workers(p, 2);
	pid_t stopped = (pid_t)field(expect(p, "fork 1 *"), "pid");
	int connections[10];

	kill(stopped, SIGSTOP);
	for (int i = 0; i < 10; i++)
		connections[i] = dial(NULL, port);
	for (int i = 0; i < 10; i++)
		assert_int_equal(receive_number(connections[i], ""), 2);
	/* Nor does it serve a second time what went to the other. */
	kill(stopped, SIGCONT);
	command(p, "tell 1 reply awake");
	expect(p, "message 1 *");
	for (int i = 0; i < 10; i++)
		expect_closed(connections[i]);
	assert_int_equal(connections_of(p, 1), 0);
}

static void what_a_killed_worker_did_not_take_up_goes_to_another(void)
{
	for (int round = 0; round < 5; round++) {
		struct process *p = start_workers(2, "listen=127.0.0.1:0");
		int port = await_workers(p, 2);
		pid_t stopped = (pid_t)field(expect(p, "fork 1 *"), "pid");
		int connections[10];

		kill(stopped, SIGSTOP);
		for (int i = 0; i < 10; i++)
			connections[i] = dial(NULL, port);
		kill(stopped, SIGKILL);
		for (int i = 0; i < 10; i++)
			assert_int_equal(receive_number(connections[i], ""), 2);
		expect(p, "exit 1 code=-1 signal=9 *");
	}
}

static void what_nobody_takes_up_waits_for_the_replacement(void)
{
	struct process *p =
		start("obedient", "workers=1", "listen=127.0.0.1:0", NULL);
	int port = field(expect(p, "listening 1 *"), "port");
	pid_t stopped = (pid_t)field(expect(p, "fork 1 *"), "pid");
	int connections[10];

	kill(stopped, SIGSTOP);
	for (int i = 0; i < 10; i++)
		connections[i] = dial(NULL, port);
	kill(stopped, SIGKILL);
	for (int i = 0; i < 10; i++) {
		int id;
		int pid;

		assert_int_equal(sscanf(receive_line(connections[i]), "%d %d",
					&id, &pid),
				 2);
		assert_int_equal(id, 1);
		assert_int_not_equal(pid, stopped);
	}
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
		expect_closed(connection);
	}
	expect(p, "worker refused");
	assert_int_equal(connections_of(p, 1), 0);
}

static void a_worker_at_its_limit_is_passed_over(void)
{
	struct process *p = start_workers(2, "name=limited");
	int count[3] = { 0 };

	expect(p, "online 1 *");
	expect(p, "online 2 *");
	int port = free_port();

	command(p, "tell 1 listen %s:%d hold max=2", own_host(), port);
	expect(p, "listening 1 *");
	command(p, "tell 2 listen %s:%d hold", own_host(), port);
	expect(p, "listening 2 *");
	for (int i = 0; i < 10; i++)
		count[receive_number(dial(own_host(), port), "")]++;
	assert_int_equal(count[1], 2);
	assert_int_equal(count[2], 8);
}

static void accepting_pauses_while_all_are_full(void)
{
	struct process *p = start_workers(2, "listen=127.0.0.1:0,hold,max=2");
	int port = await_workers(p, 2);
	int connections[12];
	size_t descriptors;

	for (int i = 0; i < 4; i++)
		receive_line(connections[i] = dial(NULL, port));
	command(p, "echo");
	expect(p, "done echo *");
	descriptors = count_descriptors(pid_of(p));
	for (int i = 4; i < 12; i++)
		connections[i] = dial(NULL, port); /* the kernel's queue */
	for (int i = 0; i < 10; i++) {
		command(p, "tell 1 reply %d", i);
		expect(p, "message 1 \"%d\"", i);
	}
	for (int i = 4; i < 12; i++)
		assert_true(is_quiet(connections[i]));
	/* It took one at most to see that it cannot give it. */
	assert_in_range(count_descriptors(pid_of(p)), 0, descriptors + 1);

	/* One leaves, one comes in, in the order they came. */
	for (int i = 0; i < 8; i++) {
		let_go(connections[i]);
		assert_true(receive_number(connections[i + 4], "") >= 1);
	}
}

static void a_paused_primary_does_not_spin(void)
{
	struct process *p = start_workers(1, "listen=127.0.0.1:0,hold,max=1");
	int port = await_workers(p, 1);
	int kept = dial(NULL, port);
	int waiting;

	receive_line(kept);
	waiting = dial(NULL, port);
	uint64_t before_ms = cpu_ms(pid_of(p));
	int64_t begin_ms = now_ms();

	for (int i = 0; i < 200; i++) {
		command(p, "tell 1 reply %d", i);
		expect(p, "message 1 \"%d\"", i);
	}
	int64_t took_ms = now_ms() - begin_ms;

	assert_true((int64_t)(cpu_ms(pid_of(p)) - before_ms) <= took_ms);
	let_go(kept);
	receive_line(waiting);
}

static void a_worker_that_joins_late_catches_up(void)
{
	struct process *p = start_workers(1, "name=growing");

	expect(p, "online 1 *");
	int port = free_port();

	command(p, "tell 1 listen %s:%d hold", own_host(), port);
	expect(p, "listening 1 *");
	for (int i = 0; i < 6; i++)
		receive_line(dial(own_host(), port));
	command(p, "fork");
	expect(p, "online 2 *");
	command(p, "tell 2 listen %s:%d hold", own_host(), port);
	expect(p, "listening 2 *");
	for (int i = 0; i < 6; i++) {
		assert_int_equal(receive_number(dial(own_host(), port), ""), 2);
		await_idle(p, 2);
	}
}

static const struct test_program programs[] = {
	PROGRAM(obedient),
	{ NULL, NULL },
};

static const struct test tests[] = {
	TEST(kept_connections_are_spread_evenly),
	TEST(kept_connections_are_spread_evenly_in_a_burst),
	TEST(equals_take_turns),
	TEST(the_worker_that_has_fewer_gets_all_until_it_is_even),
	TEST(connections_of_all_its_listeners_count),
	TEST(a_blocked_worker_harms_nobody),
	TEST(what_a_stopped_worker_does_not_take_up_goes_to_another),
	TEST(what_a_killed_worker_did_not_take_up_goes_to_another),
	TEST(what_nobody_takes_up_waits_for_the_replacement),
	TEST(what_a_worker_refuses_goes_to_another),
	TEST(a_worker_at_its_limit_is_passed_over),
	TEST(accepting_pauses_while_all_are_full),
	TEST(a_paused_primary_does_not_spin),
	TEST(a_worker_that_joins_late_catches_up),
	{ NULL, NULL },
};

int main(int argc, char **argv)
{
	return harness_main(argc, argv, programs, tests);
}
