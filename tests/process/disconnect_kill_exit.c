/* How workers leave: asked to, of themselves, by force. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "client.h"
#include "harness.h"
#include "obedient.h"
#include "program.h"

static struct process *start_workers(int count)
{
	char number[32];

	snprintf(number, sizeof(number), "fork=%d", count);
	struct process *p = start("obedient", number, NULL);

	for (int id = 1; id <= count; id++)
		expect(p, "online %d *", id);
	return p;
}

static void expect_one_end_each(struct process *p, int count)
{
	for (int id = 1; id <= count; id++) {
		assert_int_equal(count_lines(p, "disconnect %d *", id), 1);
		assert_int_equal(count_lines(p, "exit %d *", id), 1);
	}
}

/* ---- All of them ------------------------------------------------------------
 */

static bool is_within_call;

static void on_nobody_left(struct muster_cluster *cluster, void *arg)
{
	(void)arg;
	say("done within=%d workers=%zu", is_within_call,
	    muster_worker_count(cluster));
}

static int nobody(int argc, char **argv)
{
	struct muster_cluster *cluster = open_cluster(argc, argv, NULL);

	is_within_call = true;
	must(cluster, "disconnect",
	     muster_disconnect(cluster, on_nobody_left, NULL));
	is_within_call = false;
	return muster_cluster_run(cluster);
}

static void disconnecting_nobody_calls_back_later(void)
{
	struct process *p = start("nobody", NULL);

	expect(p, "done within=0 workers=0");
	expect_end(p, 0);
}

static void idle_workers_are_all_disconnected(void)
{
	struct process *p = start_workers(3);

	command(p, "disconnect");
	for (int id = 1; id <= 3; id++)
		expect(p, "exit %d code=0 signal=0 voluntary=1 *", id);
	expect(p, "disconnected workers=0");
	expect_end(p, 0);
	expect_one_end_each(p, 3);
}

static int hasty(int argc, char **argv)
{
	struct muster_cluster *cluster = open_cluster(argc, argv, NULL);

	if (muster_is_primary(cluster)) {
		say_events(cluster);
		must(cluster, "fork", muster_fork(cluster, NULL, NULL));
		must(cluster, "disconnect",
		     muster_disconnect(cluster, on_nobody_left, NULL));
		return muster_cluster_run(cluster);
	}
	obey(cluster);
	return muster_cluster_run(cluster);
}

static void a_worker_that_is_not_online_yet_is_disconnected(void)
{
	struct process *p = start("hasty", NULL);

	expect(p, "disconnect 1 *");
	/* It has nothing to finish, so that it may be ended by TERM. */
	expect(p, "exit 1 * voluntary=1 *");
	expect(p, "done within=0 workers=0");
	expect_end(p, 0);
	expect_one_end_each(p, 1);
}

static void send_off(struct muster_worker *worker, void *cluster)
{
	must(cluster, "disconnect", muster_worker_disconnect(worker));
}

static int fleeting(int argc, char **argv)
{
	struct muster_cluster *cluster = open_cluster(argc, argv, NULL);

	if (muster_is_primary(cluster)) {
		say_events(cluster);
		muster_on_online(cluster, send_off, cluster);
		for (int i = 0; i < 20; i++)
			must(cluster, "fork", muster_fork(cluster, NULL, NULL));
		return muster_cluster_run(cluster);
	}
	/* Refused, or granted and at once of no use any more. */
	int code = muster_listen(cluster, "127.0.0.1:0", answer_id, cluster);

	if (code != 0 && code != -EPIPE)
		say("listen code=%d", code);
	return muster_cluster_run(cluster);
}

static void a_worker_told_to_go_while_it_asks_to_listen_goes(void)
{
	struct process *p = start("fleeting", NULL);

	for (int id = 1; id <= 20; id++)
		expect(p, "exit %d code=0 signal=0 voluntary=1 *", id);
	expect_end(p, 0);
	expect_none(p, "listen code=*");
}

static void disconnect_the_rest(struct muster_worker *worker, void *cluster)
{
	(void)worker;
	must(cluster, "disconnect",
	     muster_disconnect(cluster, on_nobody_left, NULL));
}

static int cascade(int argc, char **argv)
{
	struct muster_cluster *cluster = open_obedient(argc, argv);

	if (muster_is_primary(cluster)) {
		say_events(cluster);
		muster_on_disconnect(cluster, disconnect_the_rest, cluster);
		for (int i = 0; i < 3; i++)
			must(cluster, "fork", muster_fork(cluster, NULL, NULL));
		return run_with_commands(cluster, common_command);
	}
	obey(cluster);
	return muster_cluster_run(cluster);
}

static void all_may_be_disconnected_from_within_a_disconnect(void)
{
	struct process *p = start("cascade", NULL);

	for (int id = 1; id <= 3; id++)
		expect(p, "online %d *", id);
	command(p, "disconnect 1");
	for (int id = 1; id <= 3; id++)
		expect(p, "exit %d code=0 signal=0 voluntary=1 *", id);
	expect(p, "done within=0 workers=0");
	expect_end(p, 0);
	expect_one_end_each(p, 3);
}

static void an_idle_worker_leaves_and_the_listening_one_stays(void)
{
	static const char *const urls[] = { "tcp://127.0.0.1:0",
					    "udp://127.0.0.1:0 udp" };

	for (int i = 0; i < 2; i++) {
		struct process *p = start_workers(2);

		command(p, "tell 1 listen %s", urls[i]);
		int port = field(expect(p, "listening 1 *"), "port");

		command(p, "disconnect 2");
		expect(p, "exit 2 code=0 *");
		int connection =
			i == 0 ? dial(NULL, port) : dial_udp(NULL, port);

		if (i == 1)
			send_text(connection, "1");
		assert_int_equal(receive_number(connection, ""), 1);
		let_go(connection);
		command(p, "disconnect");
		expect(p, "exit 1 code=0 *");
		expect_end(p, 0);
	}
}

static void one_leaves_while_another_starts(void)
{
	struct process *p = start_workers(1);

	for (int i = 0; i < 10; i++) {
		int leaving = 1 + i % 2;
		int coming = 3 - leaving;

		command(p, "tell %d listen %s:0", leaving, own_host());
		expect(p, "listening %d *", leaving);
		command(p, "fork");
		command(p, "disconnect %d", leaving);
		expect(p, "exit %d code=0 *", leaving);
		expect(p, "online %d *", coming);
	}
}

static void everyone_may_leave_at_once(void)
{
	struct process *p = start_workers(4);

	for (int id = 1; id <= 4; id++) {
		command(p, "tell %d listen 127.0.0.1:0", id);
		expect(p, "listening %d *", id);
	}
	command(p, "tell 1 kill\ntell 2 disconnect\ndisconnect 3\n"
		   "disconnect\ntell 3 kill\ntell 4 disconnect");
	for (int id = 1; id <= 4; id++)
		expect(p, "exit %d code=0 signal=0 voluntary=1 *", id);
	expect_end(p, 0);
	expect_one_end_each(p, 4);
}

/* ---- Asked to, or of itself -----------------------------------------------
 */

static void the_primary_asks_a_listening_worker_to_go(void)
{
	struct process *p = start_workers(1);

	command(p, "tell 1 listen 127.0.0.1:0");
	expect(p, "listening 1 *");
	command(p, "disconnect 1\nstate 1");
	expect(p, "state 1 draining * voluntary=1 *");
	expect(p, "disconnect 1 connected=0 * voluntary=1");
	expect(p, "exit 1 code=0 signal=0 voluntary=1 dead=1 state=gone");
	expect_end(p, 0);
}

static void a_worker_disconnects_itself(void)
{
	struct process *p = start_workers(1);

	command(p, "tell 1 disconnect");
	expect(p, "disconnect 1 connected=0 * voluntary=1");
	expect(p, "exit 1 code=0 signal=0 voluntary=1 *");
	expect_end(p, 0);
	expect_one_end_each(p, 1);
}

static void asking_twice_changes_nothing(void)
{
	struct process *p = start_workers(1);

	command(p, "disconnect 1\ndisconnect 1");
	expect(p, "done disconnect 1 code=0");
	expect(p, "done disconnect 1 code=*");
	expect(p, "exit 1 code=0 signal=0 voluntary=1 *");
	expect_end(p, 0);
	expect_one_end_each(p, 1);
}

static void a_worker_kills_itself_as_if_asked_to(void)
{
	struct process *p = start_workers(1);

	command(p, "tell 1 listen 127.0.0.1:0 hold");
	int port = field(expect(p, "listening 1 *"), "port");
	int connection = dial(NULL, port);

	receive_line(connection);
	command(p, "tell 1 kill"); /* finishes nothing */
	expect(p, "exit 1 code=0 signal=0 voluntary=1 *");
	expect_closed(connection);
	expect_end(p, 0);
	expect_one_end_each(p, 1);
}

static void a_worker_kills_itself_while_it_disconnects(void)
{
	struct process *p = start_workers(2);

	command(p, "tell 1 listen 127.0.0.1:0 hold");
	int port = field(expect(p, "listening 1 *"), "port");

	receive_line(dial(NULL, port));
	command(p, "tell 1 disconnect");
	command(p, "tell 1 say disconnecting");
	expect(p, "worker 1 disconnecting");
	command(p, "tell 1 kill");
	expect(p, "exit 1 code=0 signal=0 voluntary=1 *");
	command(p, "disconnect 2\ntell 2 kill");
	expect(p, "exit 2 code=0 signal=0 voluntary=1 *");
	expect_end(p, 0);
	expect_one_end_each(p, 2);
}

static void say_draining(struct muster_worker *self, void *cluster)
{
	say("worker disconnected connected=%d draining=%d",
	    muster_worker_is_connected(self), muster_is_draining(cluster));
}

static int farewell(int argc, char **argv)
{
	struct muster_cluster *cluster = open_obedient(argc, argv);

	if (muster_is_primary(cluster)) {
		say_events(cluster);
		must(cluster, "fork", muster_fork(cluster, NULL, NULL));
		return run_with_commands(cluster, common_command);
	}
	say("worker connected=%d dead=%d draining=%d",
	    muster_worker_is_connected(muster_self(cluster)),
	    muster_worker_is_dead(muster_self(cluster)),
	    muster_is_draining(cluster));
	obey(cluster);
	muster_on_disconnect(cluster, say_draining, cluster);
	listen_as_told(cluster, argc, argv);
	muster_cluster_run(cluster);
	say("worker has run");
	return 42;
}

static void a_worker_is_told_of_its_disconnect_and_chooses_its_code(void)
{
	struct process *p = start("farewell", "listen=127.0.0.1:0", NULL);

	expect(p, "listening 1 *");
	expect(p, "worker connected=1 dead=0 draining=0");
	command(p, "state 1");
	expect(p, "state 1 * connected=1 dead=0 voluntary=0 *");
	command(p, "disconnect 1");
	expect_in_order(p, "worker disconnected connected=0 draining=1",
			"worker has run", NULL);
	expect(p, "exit 1 code=42 signal=0 voluntary=1 *");
	expect_end(p, 0);
}

static void a_worker_finishes_its_connections_before_it_disconnects(void)
{
	struct process *p = start("farewell", "listen=127.0.0.1:0,hold", NULL);
	int port = field(expect(p, "listening 1 *"), "port");
	int connection = dial(NULL, port);

	receive_line(connection);
	command(p, "disconnect 1");
	expect(p, "done disconnect 1 code=0");
	/* Nobody is served any more... */
	int late = dial(NULL, port);

	/* ...and the channel is open, which shows that it waits. */
	command(p, "state 1");
	expect(p, "state 1 draining * connected=1 *");
	expect_none(p, "worker disconnected *");
	assert_true(is_quiet(connection));
	assert_true(is_quiet(late));
	let_go(connection);
	expect(p, "worker disconnected *");
	expect(p, "exit 1 code=42 *");
	expect_closed(late); /* there is nobody else */
	expect_end(p, 0);
}

static void on_late(struct muster_timer *timer, void *arg)
{
	(void)timer;
	(void)arg;
	say("worker did what it had to do");
}

static int busy(int argc, char **argv)
{
	struct muster_cluster *cluster = open_obedient(argc, argv);

	if (muster_is_primary(cluster)) {
		say_events(cluster);
		must(cluster, "fork", muster_fork(cluster, NULL, NULL));
		return run_with_commands(cluster, common_command);
	}
	listen_as_told(cluster, argc, argv);
	muster_timer_start(cluster, 300, 0, on_late, NULL);
	return muster_cluster_run(cluster);
}

static void a_worker_with_something_to_do_stays_until_it_is_done(void)
{
	struct process *p = start("busy", "listen=127.0.0.1:0", NULL);

	expect(p, "listening 1 *");
	command(p, "disconnect 1");
	expect_in_order(p, "worker did what it had to do",
			"exit 1 code=0 signal=0 voluntary=1 *", NULL);
	expect_end(p, 0);
}

static void a_worker_that_does_not_finish_is_ended_step_by_step(void)
{
	struct process *p = start("obedient", "fork=1", "drain_ms=100",
				  "kill_ms=100", NULL);
	int64_t begin_ms;

	/* Neither being asked nor TERM gets through to it. */
	expect(p, "online 1 *");
	command(p, "tell 1 spin");
	begin_ms = now_ms();
	command(p, "disconnect 1");
	expect(p, "exit 1 code=-1 signal=9 voluntary=1 *");
	assert_true(now_ms() - begin_ms >= 200);
	expect_end(p, 0);
}

static void a_worker_leaves_what_it_has_not_finished_in_time(void)
{
	struct process *p = start("obedient", "fork=1", "drain_ms=100",
				  "listen=127.0.0.1:0,hold", NULL);
	int port = field(expect(p, "listening 1 *"), "port");
	int connection = dial(NULL, port);
	int64_t begin_ms;

	receive_line(connection);
	begin_ms = now_ms();
	command(p, "disconnect 1");
	/* By itself, or by the TERM that is due at the same moment. */
	expect(p, "exit 1 * voluntary=1 *");
	assert_true(now_ms() - begin_ms >= 100);
	expect_closed(connection);
	expect_end(p, 0);
}

static void a_worker_that_ends_at_term_is_not_killed(void)
{
	/* Not ours, so TERM ends it; and it never says anything. */
	struct process *p = start("sleeper", NULL);

	expect(p, "fork 1 *");
	command(p, "disconnect 1");
	expect(p, "exit 1 code=-1 signal=15 voluntary=1 *");
	expect_end(p, 0);
}

static int sleeper(int argc, char **argv)
{
	static const char *const arguments[] = { "1000", NULL };
	struct muster_options options = {
		.drain_ms = 100,
		.settings = { .exec = "/bin/sleep", .args = arguments },
	};
	struct muster_cluster *cluster = open_cluster(argc, argv, &options);

	say_events(cluster);
	must(cluster, "fork", muster_fork(cluster, NULL, NULL));
	return run_with_commands(cluster, common_command);
}

/* ---- Without asking -------------------------------------------------------
 */

static void a_worker_that_cuts_its_channel_ends(void)
{
	struct process *p = start_workers(1);

	command(p, "tell 1 listen 127.0.0.1:0");
	expect(p, "listening 1 *");
	command(p, "tell 1 cut");
	expect(p, "disconnect 1 connected=0 *");
	expect(p, "exit 1 code=0 signal=0 voluntary=0 *");
	expect_end(p, 0);
	expect_one_end_each(p, 1);
}

static void a_worker_that_exits_is_reported_with_its_code(void)
{
	struct process *p = start_workers(1);
	pid_t pid = (pid_t)field(expect(p, "fork 1 *"), "pid");

	command(p, "tell 1 exit 42");
	expect(p, "disconnect 1 connected=0 * voluntary=0");
	expect(p, "exit 1 code=42 signal=0 voluntary=0 dead=1 state=gone");
	expect_end(p, 0);
	expect_one_end_each(p, 1);
	assert_false(is_alive(pid));
}

static void a_worker_killed_by_sigkill_is_reported_with_its_signal(void)
{
	struct process *p = start_workers(2);
	pid_t pid = (pid_t)field(expect(p, "fork 1 *"), "pid");

	command(p, "kill 1 %d", SIGKILL);
	expect(p, "disconnect 1 connected=0 * voluntary=0");
	expect(p, "exit 1 code=-1 signal=9 voluntary=0 dead=1 state=gone");
	assert_false(is_alive(pid));
	pid = (pid_t)field(expect(p, "fork 2 *"), "pid");
	kill(pid, SIGKILL);
	expect(p, "exit 2 code=-1 signal=9 voluntary=0 *");
	expect_end(p, 0);
	expect_one_end_each(p, 2);
}

static void a_worker_in_an_endless_loop_is_ended_by_a_signal(void)
{
	struct process *p = start("wild", NULL);

	expect(p, "online 1 *");
	command(p, "tell 1 spin");
	command(p, "kill 1 0");
	expect(p, "exit 1 code=-1 signal=15 voluntary=0 *");
	expect_end(p, 0);
}

/* With signals left alone, TERM is what the kernel makes of it. */
static int wild(int argc, char **argv)
{
	struct muster_cluster *cluster = open_cluster(
		argc, argv, &(struct muster_options){ .no_signals = true });

	if (muster_is_primary(cluster)) {
		say_events(cluster);
		must(cluster, "fork", muster_fork(cluster, NULL, NULL));
		return run_with_commands(cluster, common_command);
	}
	obey(cluster);
	return muster_cluster_run(cluster);
}

static void a_dead_worker_cannot_be_killed(void)
{
	struct process *p = start("mourner", NULL);

	expect(p, "kill code=%d", -ESRCH);
	expect(p, "send code=%d", -EPIPE);
	expect(p, "disconnect code=*");
	expect_end(p, 0);
}

static void kill_again(struct muster_worker *worker, int code, int signal,
		       void *arg)
{
	(void)code;
	(void)signal;
	(void)arg;
	say("kill code=%d", muster_worker_kill(worker, 0));
	say("send code=%d", muster_send(worker, "1", 1));
	say("disconnect code=%d", muster_worker_disconnect(worker));
}

static int mourner(int argc, char **argv)
{
	struct muster_cluster *cluster = open_cluster(argc, argv, NULL);

	if (muster_is_primary(cluster)) {
		muster_on_exit(cluster, kill_again, NULL);
		must(cluster, "fork", muster_fork(cluster, NULL, NULL));
	}
	return muster_cluster_run(cluster);
}

static void events_come_on_the_worker_as_on_the_cluster(void)
{
	struct process *p = start("attentive", NULL);

	expect_in_order(p, "cluster online 1", "worker online 1",
			"cluster listening 1", "worker listening 1",
			"cluster disconnect 1", "worker disconnect 1",
			"cluster exit 1", "worker exit 1", NULL);
	expect_end(p, 0);
}

static void on_event(struct muster_worker *worker, void *text)
{
	say("%s %d", (const char *)text, muster_worker_id(worker));
}

static void on_listening(struct muster_worker *worker,
			 const struct muster_address *address, void *text)
{
	(void)address;
	say("%s %d", (const char *)text, muster_worker_id(worker));
}

static void on_exit_event(struct muster_worker *worker, int code, int signal,
			  void *text)
{
	(void)code;
	(void)signal;
	say("%s %d", (const char *)text, muster_worker_id(worker));
}

static void watch_worker(struct muster_worker *worker)
{
	static char online[] = "worker online";
	static char listening[] = "worker listening";
	static char disconnected[] = "worker disconnect";
	static char exited[] = "worker exit";

	muster_worker_on_online(worker, on_event, online);
	muster_worker_on_listening(worker, on_listening, listening);
	muster_worker_on_disconnect(worker, on_event, disconnected);
	muster_worker_on_exit(worker, on_exit_event, exited);
}

static int attentive(int argc, char **argv)
{
	static char online[] = "cluster online";
	static char listening[] = "cluster listening";
	static char disconnected[] = "cluster disconnect";
	static char exited[] = "cluster exit";
	struct muster_cluster *cluster = open_cluster(argc, argv, NULL);
	struct muster_worker *worker;

	if (muster_is_primary(cluster)) {
		must(cluster, "fork", muster_fork(cluster, NULL, &worker));
		watch_worker(worker);
		muster_on_online(cluster, on_event, online);
		muster_on_listening(cluster, on_listening, listening);
		muster_on_disconnect(cluster, on_event, disconnected);
		muster_on_exit(cluster, on_exit_event, exited);
		return muster_cluster_run(cluster);
	}
	must(cluster, "listen",
	     muster_listen(cluster, "127.0.0.1:0", answer_id, cluster));
	must(cluster, "disconnect",
	     muster_worker_disconnect(muster_self(cluster)));
	return muster_cluster_run(cluster);
}

/* ---- The primary
 * ------------------------------------------------------------- */

static void a_primary_chooses_its_code_and_its_workers_end(void)
{
	struct process *p = start_workers(2);

	command(p, "stop 3");
	expect_exit(p, 3);
	expect_nobody_left();
}

static int failing(int argc, char **argv)
{
	struct muster_cluster *cluster = open_cluster(argc, argv, NULL);

	if (muster_is_primary(cluster)) {
		say_events(cluster);
		for (int i = 0; i < 2; i++)
			must(cluster, "fork", muster_fork(cluster, NULL, NULL));
		return run_with_commands(cluster, common_command);
	}
	obey(cluster);
	say("worker %d is here", muster_worker_id(muster_self(cluster)));
	return muster_cluster_run(cluster);
}

static void a_primary_that_crashes_takes_its_workers_along(void)
{
	struct process *p = start("failing", NULL);

	expect(p, "worker 1 is here");
	expect(p, "worker 2 is here");
	send_signal(p, SIGSEGV);
	assert_int_not_equal(wait_for_exit(p), 0);
	expect_nobody_left();
}

static const struct test_program programs[] = {
	PROGRAM(obedient), PROGRAM(nobody),  PROGRAM(hasty),
	PROGRAM(fleeting), PROGRAM(cascade), PROGRAM(farewell),
	PROGRAM(busy),     PROGRAM(sleeper), PROGRAM(wild),
	PROGRAM(mourner),  PROGRAM(failing), PROGRAM(attentive),
	{ NULL, NULL },
};

static const struct test tests[] = {
	TEST(disconnecting_nobody_calls_back_later),
	TEST(idle_workers_are_all_disconnected),
	TEST(a_worker_that_is_not_online_yet_is_disconnected),
	TEST(a_worker_told_to_go_while_it_asks_to_listen_goes),
	TEST(all_may_be_disconnected_from_within_a_disconnect),
	TEST(an_idle_worker_leaves_and_the_listening_one_stays),
	TEST(one_leaves_while_another_starts),
	TEST(everyone_may_leave_at_once),
	TEST(the_primary_asks_a_listening_worker_to_go),
	TEST(a_worker_disconnects_itself),
	TEST(asking_twice_changes_nothing),
	TEST(a_worker_kills_itself_as_if_asked_to),
	TEST(a_worker_kills_itself_while_it_disconnects),
	TEST(a_worker_is_told_of_its_disconnect_and_chooses_its_code),
	TEST(a_worker_finishes_its_connections_before_it_disconnects),
	TEST(a_worker_with_something_to_do_stays_until_it_is_done),
	TEST(a_worker_that_does_not_finish_is_ended_step_by_step),
	TEST(a_worker_leaves_what_it_has_not_finished_in_time),
	TEST(a_worker_that_ends_at_term_is_not_killed),
	TEST(a_worker_that_cuts_its_channel_ends),
	TEST(a_worker_that_exits_is_reported_with_its_code),
	TEST(a_worker_killed_by_sigkill_is_reported_with_its_signal),
	TEST(a_worker_in_an_endless_loop_is_ended_by_a_signal),
	TEST(a_dead_worker_cannot_be_killed),
	TEST(events_come_on_the_worker_as_on_the_cluster),
	TEST(a_primary_chooses_its_code_and_its_workers_end),
	TEST(a_primary_that_crashes_takes_its_workers_along),
	{ NULL, NULL },
};

int main(int argc, char **argv)
{
	return harness_main(argc, argv, programs, tests);
}
