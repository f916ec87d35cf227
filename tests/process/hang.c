/* Workers that do not answer any more. */
#include <stdio.h>
#include <string.h>

#include "client.h"
#include "harness.h"
#include "obedient.h"
#include "program.h"

static struct process *start_pool(int *port)
{
	struct process *p =
		start("obedient", "workers=2", "backoff_ms=1", "hang_ms=300",
		      "kill_ms=300", "listen=127.0.0.1:0", NULL);

	*port = field(expect(p, "listening 1 *"), "port");
	expect(p, "listening 2 *");
	return p;
}

/* The other one serves all the time, until the line is said. */
static void expect_served_until(struct process *p, int port, const char *line)
{
	do {
		int connection = dial(NULL, port);

		assert_in_range(receive_number(connection, ""), 1, 2);
		let_go(connection);
	} while (count_lines(p, "%s", line) == 0);
}

static void a_worker_in_an_endless_loop_is_aborted_and_replaced(void)
{
	int port;
	struct process *p = start_pool(&port);

	command(p, "tell 1 spin");
	expect_served_until(p, port, "exit 1 *");
	expect(p, "exit 1 code=-1 signal=6 voluntary=0 *");
	expect(p, "listening 1 * port=%d *", port);
	expect_none(p, "exit 2 *");
}

static void a_stopped_worker_is_killed_and_replaced(void)
{
	int port;
	struct process *p = start_pool(&port);

	kill((pid_t)field(expect(p, "fork 1 *"), "pid"), SIGSTOP);
	expect_served_until(p, port, "exit 1 *");
	expect(p, "exit 1 code=-1 signal=9 voluntary=0 *");
	expect(p, "listening 1 * port=%d *", port);
	expect_none(p, "exit 2 *");
}

static void a_worker_that_ignores_abort_is_killed(void)
{
	struct process *p = start("stubborn", NULL);

	expect(p, "online 1 *");
	command(p, "tell 1 spin");
	expect(p, "exit 1 code=-1 signal=9 *");
	expect_end(p, 0);
}

static int stubborn(int argc, char **argv)
{
	struct muster_cluster *cluster = open_cluster(
		argc, argv,
		&(struct muster_options){ .hang_ms = 200, .kill_ms = 100 });

	if (muster_is_primary(cluster)) {
		say_events(cluster);
		must(cluster, "fork", muster_fork(cluster, NULL, NULL));
		return run_with_commands(cluster, common_command);
	}
	signal(SIGABRT, SIG_IGN);
	obey(cluster);
	return muster_cluster_run(cluster);
}

static void all_may_hang_and_are_all_replaced(void)
{
	int port;
	struct process *p = start_pool(&port);
	int connections[4];

	command(p, "tell 1 spin");
	command(p, "tell 2 spin");
	for (int i = 0; i < 4; i++)
		connections[i] = dial(NULL, port);
	expect(p, "exit 1 code=-1 signal=6 *");
	expect(p, "exit 2 code=-1 signal=6 *");
	/* Who came in between is served by those who come after. */
	for (int i = 0; i < 4; i++)
		assert_in_range(receive_number(connections[i], ""), 1, 2);
}

static void a_worker_that_is_busy_for_less_is_left_alone(void)
{
	struct process *p = start("obedient", "workers=1", "hang_ms=10000",
				  "listen=127.0.0.1:0", NULL);

	expect(p, "listening 1 *");
	command(p, "tell 1 busy 500");
	command(p, "tell 1 reply done");
	expect(p, "message 1 \"done\"");
	expect_none(p, "exit *");
}

static void nobody_is_ended_where_it_is_not_checked(void)
{
	struct process *p = start("unchecked", NULL);

	expect(p, "online 1 *");
	command(p, "tell 1 busy 500");
	command(p, "tell 1 reply done");
	expect(p, "message 1 \"done\"");
	expect_none(p, "exit *");
}

static int unchecked(int argc, char **argv)
{
	struct muster_options options = { .hang_ms = 50,
					  .no_hang_check = true };
	struct muster_cluster *cluster = open_cluster(argc, argv, &options);

	if (muster_is_primary(cluster)) {
		say_events(cluster);
		must(cluster, "fork", muster_fork(cluster, NULL, NULL));
		return run_with_commands(cluster, common_command);
	}
	obey(cluster);
	return muster_cluster_run(cluster);
}

static void a_worker_that_hangs_while_it_drains_is_ended(void)
{
	int port;
	struct process *p = start_pool(&port);

	command(p, "tell 1 spin");
	send_signal(p, SIGTERM);
	expect(p, "exit 1 code=-1 signal=*");
	expect(p, "exit 2 code=0 *");
	expect_end(p, 0);
}

static const struct test_program programs[] = {
	PROGRAM(obedient),
	PROGRAM(stubborn),
	PROGRAM(unchecked),
	{ NULL, NULL },
};

static const struct test tests[] = {
	TEST(a_worker_in_an_endless_loop_is_aborted_and_replaced),
	TEST(a_stopped_worker_is_killed_and_replaced),
	TEST(a_worker_that_ignores_abort_is_killed),
	TEST(all_may_hang_and_are_all_replaced),
	TEST(a_worker_that_is_busy_for_less_is_left_alone),
	TEST(nobody_is_ended_where_it_is_not_checked),
	TEST(a_worker_that_hangs_while_it_drains_is_ended),
	{ NULL, NULL },
};

int main(int argc, char **argv)
{
	return harness_main(argc, argv, programs, tests);
}
