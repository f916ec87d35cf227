/* Descriptors that travel with messages. */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "client.h"
#include "harness.h"
#include "obedient.h"
#include "program.h"

static int open_null(void)
{
	return open("/dev/null", O_RDWR | O_CLOEXEC);
}

static void swallow(struct muster_worker *self, struct muster_message *message,
		    void *arg)
{
	(void)self;
	(void)message;
	(void)arg;
}

/* Primary: `scenario` runs when the worker is online, and its worker has
 * `on_message`. */
static int run_scenario(int argc, char **argv, muster_worker_fn scenario,
			muster_message_fn on_message)
{
	struct muster_cluster *cluster = open_cluster(argc, argv, NULL);

	if (muster_is_primary(cluster)) {
		say_events(cluster);
		muster_on_online(cluster, scenario, cluster);
		must(cluster, "fork", muster_fork(cluster, NULL, NULL));
		return run_with_commands(cluster, common_command);
	}
	muster_on_message(cluster, on_message, cluster);
	return muster_cluster_run(cluster);
}

static void leave(struct muster_worker *self)
{
	int code = muster_worker_disconnect(self);

	if (code != 0)
		say("cannot leave: code=%d", code);
}

/* ---- Which message they belong to
 * -------------------------------------------- */

static void send_three(struct muster_worker *worker, void *arg)
{
	int descriptor = open_null();

	(void)arg;
	if (muster_send(worker, "\"one\"", 5) != 0 ||
	    muster_send_descriptors(worker, "\"two\"", 5, &descriptor, 1) !=
		    0 ||
	    muster_send(worker, "\"three\"", 7) != 0)
		say("cannot send");
	close(descriptor); /* at once: the receiver has a copy */
}

static void say_descriptors(struct muster_worker *self,
			    struct muster_message *message, void *arg)
{
	const char *content = muster_message_content(message);
	int descriptor = muster_message_take_descriptor(message, 0);

	(void)arg;
	say("worker got %s with %zu open=%d again=%d beyond=%d", content,
	    muster_message_descriptor_count(message),
	    descriptor >= 0 && fcntl(descriptor, F_GETFD) == FD_CLOEXEC,
	    muster_message_take_descriptor(message, 0),
	    muster_message_take_descriptor(message, 64));
	if (strcmp(content, "\"three\"") == 0)
		leave(self);
}

static int three(int argc, char **argv)
{
	return run_scenario(argc, argv, send_three, say_descriptors);
}

static void a_descriptor_comes_with_its_own_message(void)
{
	struct process *p = start("three", NULL);

	expect_in_order(
		p, "worker got \"one\" with 0 open=0 again=-1 beyond=-1",
		"worker got \"two\" with 1 open=1 again=-1 beyond=-1",
		"worker got \"three\" with 0 open=0 again=-1 beyond=-1", NULL);
	expect_end(p, 0);
}

#define LARGE 800000

static char *make_large(void)
{
	char *content = malloc(LARGE);

	if (content == NULL)
		abort();
	memset(content, 'x', LARGE);
	content[0] = '"';
	content[LARGE - 1] = '"';
	return content;
}

static void send_large(struct muster_worker *worker, void *arg)
{
	char *content = make_large();
	int descriptor = open_null();

	(void)arg;
	if (muster_send_descriptors(worker, content, LARGE, &descriptor, 1) < 0)
		say("cannot send");
	close(descriptor);
	free(content);
}

static void send_large_back(struct muster_worker *self,
			    struct muster_message *message, void *arg)
{
	int descriptor = muster_message_take_descriptor(message, 0);
	int code = muster_send_descriptors(
		self, muster_message_content(message),
		muster_message_length(message), &descriptor, 1);

	(void)arg;
	if (code < 0)
		say("cannot send back: code=%d", code);
	close(descriptor);
}

static void check_large(struct muster_worker *worker,
			struct muster_message *message, void *arg)
{
	char *content = make_large();
	int descriptor = muster_message_take_descriptor(message, 0);

	(void)arg;
	say("back same=%d descriptor=%d",
	    muster_message_length(message) == LARGE &&
		    memcmp(content, muster_message_content(message), LARGE) ==
			    0,
	    fcntl(descriptor, F_GETFD) != -1);
	close(descriptor);
	free(content);
	leave(worker);
}

static int large(int argc, char **argv)
{
	struct muster_cluster *cluster = open_cluster(argc, argv, NULL);

	if (muster_is_primary(cluster)) {
		muster_on_online(cluster, send_large, NULL);
		muster_on_message(cluster, check_large, NULL);
		must(cluster, "fork", muster_fork(cluster, NULL, NULL));
	} else {
		muster_on_message(cluster, send_large_back, NULL);
	}
	return muster_cluster_run(cluster);
}

static void a_descriptor_comes_with_a_long_message_both_ways(void)
{
	struct process *p = start("large", NULL);

	expect(p, "back same=1 descriptor=1");
	expect_end(p, 0);
}

/* ---- Many ------------------------------------------------------------------
 */

#define CROSSING 500

/* Each message says which file the descriptor is: its offset is its number. */
static int numbered_descriptor(int number)
{
	int descriptor = open("file", O_RDWR | O_CREAT | O_CLOEXEC, 0600);

	if (descriptor < 0 || lseek(descriptor, number, SEEK_SET) != number)
		say("cannot open a file: %s", strerror(errno));
	return descriptor;
}

static void send_crossing(struct muster_worker *worker, void *arg)
{
	(void)arg;
	for (int i = 0; i < CROSSING; i++) {
		char content[16];
		int descriptor = numbered_descriptor(i);
		int length = snprintf(content, sizeof(content), "%d", i);
		int code = muster_send_descriptors(
			worker, content, (size_t)length, &descriptor, 1);

		close(descriptor);
		if (code < 0) {
			say("cannot send %d: code=%d", i, code);
			return;
		}
	}
}

static void check_crossing(struct muster_worker *worker,
			   struct muster_message *message, void *who)
{
	static int next;
	int number = atoi(muster_message_content(message));
	int descriptor = muster_message_take_descriptor(message, 0);

	if (number != next || lseek(descriptor, 0, SEEK_CUR) != number)
		say("%s got %d in place of %d", (const char *)who, number,
		    next);
	close(descriptor);
	if (++next < CROSSING)
		return;
	say("%s has got all", (const char *)who);
	if (strcmp(who, "worker") == 0)
		leave(worker);
}

static int crossing(int argc, char **argv)
{
	static char primary_word[] = "primary";
	static char worker_word[] = "worker";
	struct muster_cluster *cluster = open_cluster(argc, argv, NULL);

	if (muster_is_primary(cluster)) {
		muster_on_online(cluster, send_crossing, NULL);
		muster_on_message(cluster, check_crossing, primary_word);
		must(cluster, "fork", muster_fork(cluster, NULL, NULL));
	} else {
		muster_on_message(cluster, check_crossing, worker_word);
		send_crossing(muster_self(cluster), NULL);
	}
	return muster_cluster_run(cluster);
}

static void both_sides_may_send_descriptors_at_the_same_time(void)
{
	struct process *p = start("crossing", NULL);

	expect(p, "worker has got all");
	expect(p, "primary has got all");
	expect_end(p, 0);
	expect_none(p, "*in place of*");
}

static void send_full(struct muster_worker *worker, void *arg)
{
	int descriptors[MUSTER_DESCRIPTORS_MAX + 1];
	int closed = open_null();

	(void)arg;
	for (size_t i = 0; i <= MUSTER_DESCRIPTORS_MAX; i++)
		descriptors[i] = i % 2 == 0 ? 1 : 0;
	close(closed);
	say("none code=%d",
	    muster_send_descriptors(worker, "1", 1, descriptors, 0));
	say("many code=%d",
	    muster_send_descriptors(worker, "1", 1, descriptors,
				    MUSTER_DESCRIPTORS_MAX + 1));
	say("closed code=%d",
	    muster_send_descriptors(worker, "1", 1, &closed, 1));
	say("most code=%d", muster_send_descriptors(worker, "1", 1, descriptors,
						    MUSTER_DESCRIPTORS_MAX));
}

static void count_and_leave(struct muster_worker *self,
			    struct muster_message *message, void *arg)
{
	(void)arg;
	say("worker got %zu", muster_message_descriptor_count(message));
	leave(self);
}

static int full(int argc, char **argv)
{
	return run_scenario(argc, argv, send_full, count_and_leave);
}

static void a_message_takes_64_descriptors_at_most(void)
{
	struct process *p = start("full", NULL);

	expect(p, "none code=%d", -EINVAL);
	expect(p, "many code=%d", -EINVAL);
	expect(p, "closed code=%d", -EBADF);
	expect(p, "most code=0");
	expect(p, "worker got 64");
	expect_end(p, 0);
}

static int pair[2];

static void send_twice(struct muster_worker *worker, void *arg)
{
	(void)arg;
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) != 0 ||
	    muster_send_descriptors(worker, "1", 1, pair, 1) != 0 ||
	    muster_send_descriptors(worker, "2", 1, pair, 1) != 0)
		say("cannot send");
	close(pair[0]);
}

static void write_number(struct muster_worker *self,
			 struct muster_message *message, void *arg)
{
	int descriptor = muster_message_take_descriptor(message, 0);
	const char *content = muster_message_content(message);

	(void)arg;
	if (write(descriptor, content, 1) != 1)
		say("cannot write");
	close(descriptor);
	if (content[0] == '2')
		leave(self);
}

static int twice(int argc, char **argv)
{
	char bytes[2];
	int code = run_scenario(argc, argv, send_twice, write_number);

	if (pair[1] > 0)
		say("primary read %.*s",
		    (int)recv(pair[1], bytes, 2, MSG_WAITALL), bytes);
	return code;
}

static void one_socket_may_be_sent_twice(void)
{
	struct process *p = start("twice", NULL);

	expect(p, "primary read 12");
	expect_end(p, 0);
}

/* ---- Nobody takes them
 * ------------------------------------------------------- */

static void send_hundreds(struct muster_worker *worker, void *arg)
{
	(void)arg;
	for (int i = 0; i < 300; i++) {
		int descriptor = open_null();
		int code =
			muster_send_descriptors(worker, "1", 1, &descriptor, 1);

		close(descriptor);
		if (code < 0) {
			say("stopped at %d: code=%d", i, code);
			break;
		}
	}
	say("sent");
}

static void count_own(struct muster_worker *self,
		      struct muster_message *message, void *arg)
{
	static int count;

	(void)self;
	(void)message;
	(void)arg;
	if (++count == 300)
		say("worker got all");
}

static int wasteful(int argc, char **argv)
{
	return run_scenario(argc, argv, send_hundreds, count_own);
}

static void descriptors_that_nobody_takes_are_closed(void)
{
	struct process *p = start("wasteful", NULL);

	expect(p, "online 1 *");
	pid_t worker = (pid_t)field(expect(p, "fork 1 *"), "pid");

	expect(p, "sent");
	expect(p, "worker got all");
	command(p, "echo");
	expect(p, "done echo *");
	assert_in_range(count_descriptors(worker), 0, 40);
	assert_in_range(count_descriptors(pid_of(p)), 0, 40);
}

static void send_to_stopped(struct muster_worker *worker, void *arg)
{
	kill(muster_worker_pid(worker), SIGSTOP);
	send_hundreds(worker, arg);
}

static int dying(int argc, char **argv)
{
	return run_scenario(argc, argv, send_to_stopped, swallow);
}

static void a_worker_that_dies_with_descriptors_on_their_way_harms_nobody(void)
{
	struct process *p = start("dying", NULL);

	expect(p, "sent");
	command(p, "fork");
	expect(p, "online 2 *"); /* is stopped as well, and sent to */
	expect(p, "sent");
	command(p, "kill 1 9");
	expect(p, "exit 1 code=-1 signal=9 *");
	command(p, "echo");
	expect(p, "done echo *");
	/* What waits for the second is all that is left open. */
	assert_in_range(count_descriptors(pid_of(p)), 0, 340);
	command(p, "kill 2 9");
	expect(p, "exit 2 *");
	expect_end(p, 0);
}

/* ---- Sockets of every kind
 * ---------------------------------------------------- */

static void hand_on(struct muster_connection *connection, void *arg)
{
	static int next;
	struct muster_cluster *cluster = arg;
	int count = (int)muster_worker_count(cluster);
	struct muster_worker *worker =
		muster_worker_find(cluster, 1 + next++ % count);
	int descriptor = muster_connection_descriptor(connection);

	if (dprintf(descriptor, "primary\n") < 0 ||
	    muster_send_descriptors(worker, "\"client\"", 8, &descriptor, 1) <
		    0)
		say("cannot hand on");
	muster_connection_close(connection);
}

static void greet_client(struct muster_worker *self,
			 struct muster_message *message, void *arg)
{
	int descriptor = muster_message_take_descriptor(message, 0);

	(void)arg;
	if (dprintf(descriptor, "worker %d\n", muster_worker_id(self)) < 0)
		say("cannot greet");
	close(descriptor);
}

static int give_away(int argc, char **argv)
{
	struct muster_cluster *cluster = open_cluster(argc, argv, NULL);
	struct muster_listen_options options = { .on_connection = hand_on,
						 .arg = cluster };
	struct muster_listener *listener;

	if (muster_is_worker(cluster)) {
		muster_on_message(cluster, greet_client, NULL);
		return muster_cluster_run(cluster);
	}
	say_events(cluster);
	for (int i = 0; i < 3; i++)
		must(cluster, "fork", muster_fork(cluster, NULL, NULL));
	must(cluster, "listen",
	     muster_listen_with(cluster, "127.0.0.1:0", &options, &listener));
	say("port=%d", muster_listener_address(listener)->port);
	return run_with_commands(cluster, common_command);
}

static void a_connection_of_the_primary_is_served_by_a_chosen_worker(void)
{
	struct process *p = start("give_away", NULL);
	int port = expect_number(p, "port=");
	size_t before;

	for (int id = 1; id <= 3; id++)
		expect(p, "online %d *", id);
	before = count_descriptors(pid_of(p));
	for (int i = 0; i < 12; i++) {
		int connection = dial(NULL, port);

		expect_reply(connection, "primary");
		expect_reply(connection, "worker %d", 1 + i % 3);
		/* Both copies are closed, ours as the worker's. */
		expect_closed(connection);
	}
	command(p, "echo");
	expect(p, "done echo *");
	assert_int_equal(count_descriptors(pid_of(p)), before);
}

static int open_socket(int type)
{
	struct sockaddr_in address = { .sin_family = AF_INET };
	socklen_t length = sizeof(address);
	int descriptor = socket(AF_INET, type | SOCK_CLOEXEC, 0);

	inet_pton(AF_INET, "127.0.0.1", &address.sin_addr);
	if (bind(descriptor, (struct sockaddr *)&address, length) != 0 ||
	    (type == SOCK_STREAM && listen(descriptor, 16) != 0) ||
	    getsockname(descriptor, (struct sockaddr *)&address, &length) != 0)
		say("cannot bind: %s", strerror(errno));
	say("port=%d", ntohs(address.sin_port));
	return descriptor;
}

static int shared_socket;

static void send_socket(struct muster_worker *worker, void *arg)
{
	(void)arg;
	if (muster_send_descriptors(worker, "\"socket\"", 8, &shared_socket,
				    1) != 0)
		say("cannot send");
}

/* Serves one connection or datagram, then closes its copy. */
static void serve_one(const char *who, int descriptor)
{
	char bytes[64];
	struct sockaddr_in peer;
	socklen_t length = sizeof(peer);
	int connection = accept(descriptor, NULL, NULL);

	if (connection >= 0) {
		dprintf(connection, "%s\n", who);
		close(connection);
	} else if (recvfrom(descriptor, bytes, sizeof(bytes), 0,
			    (struct sockaddr *)&peer, &length) >= 0) {
		sendto(descriptor, who, strlen(who), 0,
		       (struct sockaddr *)&peer, length);
	}
	close(descriptor);
}

static void take_socket(struct muster_worker *self,
			struct muster_message *message, void *arg)
{
	(void)arg;
	serve_one("worker", muster_message_take_descriptor(message, 0));
	say("worker has closed it");
	leave(self);
}

static int lend(int argc, char **argv)
{
	struct muster_cluster *cluster = open_cluster(argc, argv, NULL);

	if (muster_is_worker(cluster)) {
		muster_on_message(cluster, take_socket, NULL);
		return muster_cluster_run(cluster);
	}
	shared_socket = open_socket(
		argument(argc, argv, 0)[0] == 'u' ? SOCK_DGRAM : SOCK_STREAM);
	muster_on_online(cluster, send_socket, NULL);
	must(cluster, "fork", muster_fork(cluster, NULL, NULL));
	int code = muster_cluster_run(cluster);

	say("primary serves");
	serve_one("primary", shared_socket);
	return code;
}

static void a_listening_socket_that_is_sent_is_served_by_both(void)
{
	struct process *p = start("lend", "tcp", NULL);
	int port = expect_number(p, "port=");

	expect_reply(dial(NULL, port), "worker");
	expect(p, "worker has closed it");
	expect_reply(dial(NULL, port), "primary");
	expect_end(p, 0);
	assert_int_equal(try_dial(NULL, port), -ECONNREFUSED);
}

static void a_udp_socket_that_is_sent_is_served_by_both(void)
{
	struct process *p = start("lend", "udp", NULL);
	int connection = dial_udp(NULL, expect_number(p, "port="));

	send_text(connection, "1");
	expect_reply(connection, "worker");
	expect(p, "worker has closed it");
	send_text(connection, "2");
	expect_reply(connection, "primary");
	expect_end(p, 0);
}

static void serve_http(struct muster_worker *self,
		       struct muster_message *message, void *cluster)
{
	struct muster_http_options options = { .handler = answer_http,
					       .arg = cluster };

	(void)self;
	must(cluster, "serve",
	     muster_http_serve(cluster,
			       muster_message_take_descriptor(message, 0),
			       &options));
}

static void hand_on_silently(struct muster_connection *connection, void *arg)
{
	int descriptor = muster_connection_descriptor(connection);

	if (muster_send_descriptors(muster_worker_find(arg, 1), "\"http\"", 6,
				    &descriptor, 1) < 0)
		say("cannot hand on");
	muster_connection_close(connection);
}

static int by_hand(int argc, char **argv)
{
	struct muster_cluster *cluster = open_cluster(argc, argv, NULL);
	struct muster_listen_options options = { .on_connection =
							 hand_on_silently,
						 .arg = cluster };
	struct muster_listener *listener;

	if (muster_is_worker(cluster)) {
		muster_on_message(cluster, serve_http, cluster);
		return muster_cluster_run(cluster);
	}
	must(cluster, "fork", muster_fork(cluster, NULL, NULL));
	must(cluster, "listen",
	     muster_listen_with(cluster, "127.0.0.1:0", &options, &listener));
	say("port=%d", muster_listener_address(listener)->port);
	return muster_cluster_run(cluster);
}

static void a_connection_sent_by_hand_is_served_by_the_http_server(void)
{
	struct process *p = start("by_hand", NULL);
	int connection = dial(NULL, expect_number(p, "port="));

	for (int i = 0; i < 3; i++)
		assert_int_equal(atoi(http_get(connection, "/")), 1);
	let_go(connection);
}

static const struct test_program programs[] = {
	PROGRAM(three),   PROGRAM(large),     PROGRAM(crossing),
	PROGRAM(full),    PROGRAM(twice),     PROGRAM(wasteful),
	PROGRAM(dying),   PROGRAM(give_away), PROGRAM(lend),
	PROGRAM(by_hand), { NULL, NULL },
};

static const struct test tests[] = {
	TEST(a_descriptor_comes_with_its_own_message),
	TEST(a_descriptor_comes_with_a_long_message_both_ways),
	TEST(both_sides_may_send_descriptors_at_the_same_time),
	TEST(a_message_takes_64_descriptors_at_most),
	TEST(one_socket_may_be_sent_twice),
	TEST(descriptors_that_nobody_takes_are_closed),
	TEST(a_worker_that_dies_with_descriptors_on_their_way_harms_nobody),
	TEST(a_connection_of_the_primary_is_served_by_a_chosen_worker),
	TEST(a_listening_socket_that_is_sent_is_served_by_both),
	TEST(a_udp_socket_that_is_sent_is_served_by_both),
	TEST(a_connection_sent_by_hand_is_served_by_the_http_server),
	{ NULL, NULL },
};

int main(int argc, char **argv)
{
	return harness_main(argc, argv, programs, tests);
}
