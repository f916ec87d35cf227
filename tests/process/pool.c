/* A pool that is kept at its number, and gives up in the end. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "client.h"
#include "harness.h"
#include "obedient.h"
#include "program.h"

static pid_t await_worker(struct process *p, int id)
{
	pid_t pid = (pid_t)field(expect(p, "fork %d *", id), "pid");

	expect(p, "ready %d", id);
	return pid;
}

static void the_pool_starts_as_many_as_asked_for(void)
{
	struct process *p =
		start("obedient", "workers=4", "listen=127.0.0.1:0", NULL);

	for (int id = 1; id <= 4; id++)
		await_worker(p, id);
	command(p, "count");
	expect(p, "count 4");
	assert_int_equal(count_children(pid_of(p)), 4);
}

static void the_pool_has_a_worker_per_core(void)
{
	struct process *p = start("obedient", "workers=-1", NULL);

	for (int id = 1; id <= muster_available_cores(); id++)
		expect(p, "online %d *", id);
	command(p, "count");
	expect(p, "count %d", muster_available_cores());
}

static void a_killed_worker_is_replaced_in_its_slot(void)
{
	struct process *p =
		start("obedient", "workers=3", "listen=127.0.0.1:0", NULL);
	pid_t first;

	first = await_worker(p, 1);
	await_worker(p, 2);
	await_worker(p, 3);
	kill(first, SIGKILL);
	expect(p, "exit 1 code=-1 signal=9 voluntary=0 *");
	pid_t second = await_worker(p, 1);

	assert_int_not_equal(first, second);
	command(p, "state 1");
	expect(p, "state 1 ready name=*-worker-1 pid=%d *", (int)second);
	assert_int_equal(count_lines(p, "fork *"), 4);
}

static void a_worker_that_exits_with_0_is_replaced_as_well(void)
{
	struct process *p = start("obedient", "workers=1", NULL);

	expect(p, "online 1 *");
	command(p, "tell 1 exit 0");
	expect(p, "exit 1 code=0 *");
	expect(p, "online 1 *");
}

static void a_worker_that_grew_old_is_replaced_at_once(void)
{
	/* A backoff would show: it is longer than the test may take. */
	struct process *p =
		start("obedient", "workers=1", "min_uptime_ms=50",
		      "backoff_ms=60000", "backoff_max_ms=60000", NULL);

	expect(p, "online 1 *");
	for (int i = 0; i < 4; i++) {
		command(p, "tell 1 busy 60"); /* grows old */
		command(p, "tell 1 exit 1");
		expect(p, "exit 1 code=1 *");
		expect(p, "online 1 *");
	}
}

static void a_worker_that_was_asked_to_go_is_replaced_too(void)
{
	struct process *p = start("obedient", "workers=2", NULL);

	expect(p, "online 1 *");
	expect(p, "online 2 *");
	command(p, "disconnect 1");
	expect(p, "exit 1 code=0 signal=0 voluntary=1 *");
	expect(p, "online 1 *");
}

static void connections_go_on_while_a_worker_is_replaced(void)
{
	struct process *p = start("obedient", "workers=2", "backoff_ms=1",
				  "backoff_max_ms=1", "failures_max=100",
				  "listen=127.0.0.1:0", NULL);
	int port = field(expect(p, "listening 1 *"), "port");

	expect(p, "listening 2 *");
	for (int i = 0; i < 10; i++) {
		int id = 1 + i % 2;

		command(p, "kill %d 9", id);
		for (int n = 0; n < 10; n++) {
			int connection = dial(NULL, port);

			assert_in_range(receive_number(connection, ""), 1, 2);
			let_go(connection);
		}
		expect(p, "listening %d * port=%d *", id, port);
	}
}

/* As a node does, which listens when its application has started. */
static void a_connection_waits_for_a_replacement_that_listens_later(void)
{
	struct process *p = start("obedient", "workers=1", "backoff_ms=1",
				  "min_uptime_ms=60000", NULL);

	expect(p, "online 1 *");
	command(p, "tell 1 listen 127.0.0.1:0");
	int port = field(expect(p, "listening 1 *"), "port");

	command(p, "kill 1 9");
	expect(p, "exit 1 *");
	expect(p, "online 1 *");
	/* Who is told has reached its loop. */
	command(p, "tell 1 say here");
	expect(p, "*here*");
	int connection = dial(NULL, port);

	command(p, "tell 1 listen 127.0.0.1:%d", port);
	assert_int_equal(receive_number(connection, ""), 1);
}

static void a_listener_that_the_replacement_does_not_ask_for_is_closed(void)
{
	struct process *p = start("obedient", "workers=1", "backoff_ms=1",
				  "min_uptime_ms=50", NULL);

	expect(p, "online 1 *");
	command(p, "tell 1 listen 127.0.0.1:0");
	int port = field(expect(p, "listening 1 *"), "port");

	command(p, "kill 1 9");
	expect(p, "exit 1 *");
	int64_t until_ms = now_ms() + DEADLINE_MS;
	int error;

	while ((error = try_dial(NULL, port)) == 0 && now_ms() < until_ms) {
		/* An answer takes the program a turn of its loop. */
		command(p, "echo");
		expect(p, "done echo *");
	}
	assert_int_equal(error, -ECONNREFUSED);
}

/* ---- Dying young ------------------------------------------------------------
 */

/* Lives for the milliseconds of its argument, then fails. */
static void die(struct muster_timer *timer, void *arg)
{
	(void)timer;
	(void)arg;
	_exit(7);
}

static int mortal(int argc, char **argv)
{
	struct muster_cluster *cluster = open_obedient(argc, argv);

	if (muster_is_primary(cluster)) {
		say_events(cluster);
		return muster_cluster_run(cluster);
	}
	muster_timer_start(cluster, 1, 0, die, NULL);
	return muster_cluster_run(cluster);
}

static void a_worker_that_dies_young_is_replaced_later_and_later(void)
{
	struct process *p = start("mortal", "workers=1", "backoff_ms=40",
				  "backoff_max_ms=160", "failures_max=6", NULL);
	int64_t begin_ms = now_ms();

	for (int i = 0; i < 6; i++)
		expect(p, "exit 1 code=7 *");
	/* 40 80 160 160 160, each with a jitter that takes off half of it at
	 * most. */
	assert_true(now_ms() - begin_ms >= (40 + 80 + 160 + 160 + 160) / 2);
	expect_end(p, 1);
	assert_int_equal(count_lines(p, "fork 1 *"), 6);
}

static void a_pool_whose_workers_die_young_reports_failure(void)
{
	struct process *p = start("mortal", "workers=2", "backoff_ms=1",
				  "failures_max=5", NULL);

	expect_end(p, 1);
	/* Five in one slot: a common cause that takes all of them down once is
	 * no reason to give up. */
	assert_true(count_lines(p, "exit 1 code=7 *") == 5 ||
		    count_lines(p, "exit 2 code=7 *") == 5);
	assert_in_range(count_lines(p, "exit * code=7 *"), 5, 10);
	assert_non_null(strstr(errors_of(p), "pool failed"));
}

static void refuse(struct muster_timer *timer, void *arg)
{
	(void)timer;
	(void)arg;
	_exit(78);
}

static int misconfigured(int argc, char **argv)
{
	struct muster_cluster *cluster = open_obedient(argc, argv);

	if (muster_is_primary(cluster))
		say_events(cluster);
	else
		muster_timer_start(cluster, 1, 0, refuse, NULL);
	return muster_cluster_run(cluster);
}

static void a_worker_that_cannot_work_as_it_is_set_up_fails_the_pool(void)
{
	struct process *p = start("misconfigured", "workers=1",
				  "min_uptime_ms=60000", NULL);

	expect(p, "exit 1 code=78 *");
	expect_end(p, 1);
	assert_int_equal(count_lines(p, "fork 1 *"), 1);
	assert_non_null(strstr(errors_of(p), "pool failed"));
	assert_non_null(strstr(errors_of(p), "worker 1 cannot work as it is "
					     "set up"));
}

/* It worked once: what it lacks may come back. */
static void one_that_was_ready_is_tried_again(void)
{
	struct process *p =
		start("obedient", "workers=1", "listen=127.0.0.1:0", NULL);

	expect(p, "ready 1");
	command(p, "tell 1 exit 78");
	expect(p, "exit 1 code=78 *");
	expect(p, "ready 1");
}

static void say_failure(struct muster_cluster *cluster, void *arg)
{
	(void)arg;
	say("failure text=%s", muster_problem_text(cluster));
}

static int patient(int argc, char **argv)
{
	struct muster_cluster *cluster = open_obedient(argc, argv);

	if (muster_is_primary(cluster)) {
		muster_on_failure(cluster, say_failure, NULL);
		say_events(cluster);
		return run_with_commands(cluster, common_command);
	}
	obey(cluster);
	if (access("good", F_OK) != 0)
		muster_timer_start(cluster, 1, 0, die, NULL);
	return muster_cluster_run(cluster);
}

static void the_application_is_told_of_the_failure(void)
{
	struct process *p = start("patient", "workers=1", "backoff_ms=1",
				  "failures_max=3", NULL);

	expect(p, "failure text=*");
	assert_int_equal(count_lines(p, "exit 1 code=7 *"), 3);
	assert_int_equal(count_lines(p, "failure *"), 1);
}

static void failures_long_ago_do_not_count(void)
{
	struct process *p = start("mortal", "workers=1", "backoff_ms=60",
				  "backoff_max_ms=60", "failures_max=3",
				  "failure_window_ms=40", NULL);

	/* They are 30 to 60 ms apart: there are never three within 40 ms. */
	for (int i = 0; i < 8; i++)
		expect(p, "exit 1 code=7 *");
}

static int missing(int argc, char **argv)
{
	struct muster_options options = {
		.workers = 2,
		.backoff_ms = 1,
		.failures_max = 4,
		.settings = { .exec = "/no/such/program" },
	};
	struct muster_cluster *cluster = open_cluster(argc, argv, &options);

	say_events(cluster);
	return muster_cluster_run(cluster);
}

static void a_program_that_cannot_be_started_is_a_failure_of_the_pool(void)
{
	struct process *p = start("missing", NULL);

	expect(p, "error * code=%d */no/such/program*", -ENOENT);
	expect_end(p, 1);
	expect_none(p, "fork *");
}

static void a_worker_that_does_not_get_ready_in_time_is_replaced(void)
{
	struct process *p =
		start("obedient", "workers=1", "ready_ms=100", "kill_ms=100",
		      "wait_ready=1", "backoff_ms=1", "failures_max=3", NULL);

	for (int i = 0; i < 3; i++)
		expect(p, "exit 1 *");
	expect_end(p, 1);
	expect_none(p, "ready *");
}

static void a_worker_says_by_itself_that_it_is_ready(void)
{
	struct process *p = start("obedient", "workers=1", "wait_ready=1",
				  "listen=127.0.0.1:0", NULL);

	expect(p, "listening 1 *");
	command(p, "state 1");
	expect(p, "state 1 online *");
	expect_none(p, "ready *");
	command(p, "tell 1 ready");
	expect(p, "ready 1");
	command(p, "state 1");
	expect(p, "state 1 ready *");
}

static void a_worker_is_ready_when_it_listens(void)
{
	struct process *p = start("obedient", "workers=1", "listen=127.0.0.1:0",
				  "listen=127.0.0.1:0", NULL);

	expect_in_order(p, "online 1 *", "listening 1 *", "ready 1", NULL);
	expect(p, "listening 1 *");
	command(p, "echo");
	expect(p, "done echo *");
	assert_int_equal(count_lines(p, "ready 1"), 1);
}

static void a_worker_that_listens_nowhere_is_ready_when_it_runs(void)
{
	struct process *p = start("obedient", "workers=1", NULL);

	expect_in_order(p, "online 1 *", "ready 1", NULL);
	expect_none(p, "exit *");
}

static int stranger(int argc, char **argv)
{
	static const char *const arguments[] = { "1000", NULL };
	struct muster_options options = {
		.workers = 1,
		.min_uptime_ms = 50,
		.settings = { .exec = "/bin/sleep", .args = arguments },
	};
	struct muster_cluster *cluster = open_cluster(argc, argv, &options);

	say_events(cluster);
	return muster_cluster_run(cluster);
}

static void a_program_that_says_nothing_is_ready_when_it_has_grown_old(void)
{
	struct process *p = start("stranger", NULL);

	expect_in_order(p, "fork 1 *", "ready 1", NULL);
	expect_none(p, "online *");
	expect_none(p, "exit *");
}

/* ---- Scaling ----------------------------------------------------------------
 */

static void the_pool_grows_and_shrinks_from_the_highest_slot(void)
{
	struct process *p =
		start("obedient", "workers=2", "listen=127.0.0.1:0", NULL);

	await_worker(p, 1);
	await_worker(p, 2);
	command(p, "scale 4");
	await_worker(p, 3);
	await_worker(p, 4);
	command(p, "scale 1");
	for (int id = 2; id <= 4; id++)
		expect(p, "exit %d code=0 signal=0 voluntary=1 *", id);
	command(p, "count");
	expect(p, "count 1");
	command(p, "scale 2");
	await_worker(p, 2);
	expect_none(p, "exit 1 *");
	expect(p, "done scale 4 code=0");
}

static void scaling_to_a_number_there_cannot_be_is_refused(void)
{
	struct process *p = start("obedient", "workers=1", NULL);

	expect(p, "online 1 *");
	command(p, "scale 100000");
	expect(p, "done scale 100000 code=-*");
	command(p, "scale -7");
	expect(p, "done scale -7 code=%d", -EINVAL);
	command(p, "count");
	expect(p, "count 1");
}

static void a_pool_is_not_refilled_once_it_is_disconnected(void)
{
	struct process *p =
		start("obedient", "workers=3", "listen=127.0.0.1:0", NULL);

	for (int id = 1; id <= 3; id++)
		await_worker(p, id);
	command(p, "disconnect");
	expect(p, "disconnected workers=0");
	expect_end(p, 0);
	assert_int_equal(count_lines(p, "fork *"), 3);
}

static const struct test_program programs[] = {
	PROGRAM(obedient),      PROGRAM(mortal),  PROGRAM(patient),
	PROGRAM(misconfigured), PROGRAM(missing), PROGRAM(stranger),
	{ NULL, NULL },
};

static const struct test tests[] = {
	TEST(the_pool_starts_as_many_as_asked_for),
	TEST(the_pool_has_a_worker_per_core),
	TEST(a_killed_worker_is_replaced_in_its_slot),
	TEST(a_worker_that_exits_with_0_is_replaced_as_well),
	TEST(a_worker_that_grew_old_is_replaced_at_once),
	TEST(a_worker_that_was_asked_to_go_is_replaced_too),
	TEST(connections_go_on_while_a_worker_is_replaced),
	TEST(a_connection_waits_for_a_replacement_that_listens_later),
	TEST(a_listener_that_the_replacement_does_not_ask_for_is_closed),
	TEST(a_worker_that_dies_young_is_replaced_later_and_later),
	TEST(a_pool_whose_workers_die_young_reports_failure),
	TEST(the_application_is_told_of_the_failure),
	TEST(failures_long_ago_do_not_count),
	TEST(a_worker_that_cannot_work_as_it_is_set_up_fails_the_pool),
	TEST(one_that_was_ready_is_tried_again),
	TEST(a_program_that_cannot_be_started_is_a_failure_of_the_pool),
	TEST(a_worker_that_does_not_get_ready_in_time_is_replaced),
	TEST(a_worker_says_by_itself_that_it_is_ready),
	TEST(a_worker_is_ready_when_it_listens),
	TEST(a_worker_that_listens_nowhere_is_ready_when_it_runs),
	TEST(a_program_that_says_nothing_is_ready_when_it_has_grown_old),
	TEST(the_pool_grows_and_shrinks_from_the_highest_slot),
	TEST(scaling_to_a_number_there_cannot_be_is_refused),
	TEST(a_pool_is_not_refilled_once_it_is_disconnected),
	{ NULL, NULL },
};

int main(int argc, char **argv)
{
	return harness_main(argc, argv, programs, tests);
}
