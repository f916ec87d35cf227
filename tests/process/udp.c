/* Datagrams. */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "client.h"
#include "harness.h"
#include "obedient.h"
#include "program.h"

static struct process *start_workers(int count, const char *listen)
{
	char number[32];

	snprintf(number, sizeof(number), "fork=%d", count);
	return start("obedient", number, listen, NULL);
}

static int await_workers(struct process *p, int count)
{
	int port = 0;

	for (int id = 1; id <= count; id++)
		port = field(expect(p, "listening %d *", id), "port");
	return port;
}

/* Asks and expects the answer to this very question. */
static int ask(int connection, int question)
{
	int id;
	int pid;
	int answer;

	send_text(connection, "%d", question);
	assert_int_equal(sscanf(receive_line(connection), "%d %d %d", &id, &pid,
				&answer),
			 3);
	assert_int_equal(answer, question);
	return id;
}

static void each_datagram_is_answered_by_exactly_one_worker(void)
{
	struct process *p = start_workers(4, "listen=udp://127.0.0.1:0,udp");
	int connection = dial_udp(NULL, await_workers(p, 4));

	for (int i = 0; i < 40; i++)
		assert_in_range(ask(connection, i), 1, 4);
	assert_true(is_quiet(connection));
}

static void many_datagrams_at_once_are_all_answered(void)
{
	struct process *p = start_workers(4, "listen=udp://127.0.0.1:0,udp");
	int connection = dial_udp(NULL, await_workers(p, 4));
	bool is_answered[40] = { false };

	for (int i = 0; i < 40; i++)
		send_text(connection, "%d", i);
	for (int i = 0; i < 40; i++) {
		int id;
		int pid;
		int answer;

		assert_int_equal(sscanf(receive_line(connection), "%d %d %d",
					&id, &pid, &answer),
				 3);
		assert_in_range(answer, 0, 39);
		assert_false(is_answered[answer]);
		is_answered[answer] = true;
	}
}

static void a_udp_listener_tells_its_type_and_the_real_port(void)
{
	struct process *p = start_workers(1, "name=types");

	expect(p, "online 1 *");
	command(p, "tell 1 listen udp://127.0.0.1:0 udp");
	expect(p, "listening 1 host=127.0.0.1 port=* type=14 *");
	command(p, "tell 1 listen udp://[::1]:0 udp");
	int port = field(expect(p, "listening 1 host=::1 port=* type=16 *"),
			 "port");

	assert_int_equal(ask(dial_udp("::1", port), 7), 1);
}

static void workers_share_a_udp_socket_of_the_primary(void)
{
	struct sockaddr_in address = { .sin_family = AF_INET };
	socklen_t length = sizeof(address);
	int holder = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	static const char *const arguments[] = { "fork=4", "listen=fd://3,udp",
						 NULL };

	inet_pton(AF_INET, own_host(), &address.sin_addr);
	assert_int_equal(bind(holder, (struct sockaddr *)&address, length), 0);
	getsockname(holder, (struct sockaddr *)&address, &length);
	struct process *p = start_with(&(struct start_options){
		.name = "obedient",
		.arguments = arguments,
		.descriptor = holder,
	});

	close(holder);
	int port = await_workers(p, 4);

	assert_int_equal(port, ntohs(address.sin_port));
	int connection = dial_udp(own_host(), port);

	for (int i = 0; i < 10; i++)
		assert_in_range(ask(connection, i), 1, 4);
}

static void udp_over_ipv6_only_leaves_the_ipv4_port_free(void)
{
	struct process *p =
		start_workers(2, "listen=udp://[::]:0,udp,ipv6_only");
	int port = await_workers(p, 2);

	for (int id = 1; id <= 2; id++) {
		command(p, "tell %d listen udp://%s:%d udp", id, own_host(),
			port);
		expect(p, "listening %d * port=%d type=14 *", id, port);
	}
	assert_in_range(ask(dial_udp(own_host(), port), 4), 1, 2);
	assert_in_range(ask(dial_udp("::1", port), 6), 1, 2);
}

static int bind_udp(const char *host, int port, bool reuses)
{
	struct sockaddr_in address = { .sin_family = AF_INET,
				       .sin_port = htons((uint16_t)port) };
	int on = reuses;
	int descriptor = keep(socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));

	inet_pton(AF_INET, host, &address.sin_addr);
	setsockopt(descriptor, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
	return bind(descriptor, (struct sockaddr *)&address, sizeof(address)) ==
			       0
		       ? 0
		       : -errno;
}

static void others_may_bind_a_reused_address(void)
{
	struct process *p = start_workers(1, "name=reuse");

	expect(p, "online 1 *");
	command(p, "tell 1 listen udp://%s:0 udp reuse_address", own_host());
	int port = field(expect(p, "listening 1 *"), "port");

	assert_int_equal(bind_udp(own_host(), port, true), 0);
	command(p, "tell 1 listen udp://%s:0 udp", own_host());
	port = field(expect(p, "listening 1 *"), "port");
	assert_int_equal(bind_udp(own_host(), port, true), -EADDRINUSE);
}

static void a_udp_port_that_others_hold_is_refused(void)
{
	struct process *p = start_workers(1, "name=refused");
	struct process *other = start_workers(1, "name=holder");

	expect(p, "online 1 *");
	expect(other, "online 1 *");
	command(other, "tell 1 listen udp://%s:0 udp", own_host());
	int port = field(expect(other, "listening 1 *"), "port");

	command(p, "tell 1 listen udp://%s:%d udp", own_host(), port);
	expect(p, "worker 1 listen * code=%d name=LISTEN_IN_USE *",
	       -EADDRINUSE);
	/* Nothing is left of it: the next one is as good as the first. */
	command(p, "tell 1 listen udp://%s:0 udp", own_host());
	port = field(expect(p, "listening 1 *"), "port");
	assert_int_equal(ask(dial_udp(own_host(), port), 1), 1);
}

static void a_closed_udp_listener_can_be_opened_again(void)
{
	struct process *p = start_workers(1, "name=again");

	expect(p, "online 1 *");
	for (int i = 0; i < 6; i += 2) {
		command(p, "tell 1 listen udp://127.0.0.1:0 udp");
		int first =
			field(expect(p, "worker 1 listener=%d *", i), "port");

		command(p, "tell 1 listen udp://127.0.0.1:0 udp");
		int second = field(expect(p, "worker 1 listener=%d *", i + 1),
				   "port");

		assert_int_not_equal(first, second);
		assert_int_equal(ask(dial_udp(NULL, first), i), 1);
		assert_int_equal(ask(dial_udp(NULL, second), i), 1);
		command(p, "tell 1 unlisten %d", i);
		command(p, "tell 1 unlisten %d", i + 1);
	}
}

static struct muster_listener *own_listener;

static void answer_and_close(struct muster_datagram *datagram, void *cluster)
{
	answer_datagram(datagram, cluster);
	muster_listener_close(own_listener);
}

static int bare(int argc, char **argv)
{
	struct muster_cluster *cluster = open_cluster(argc, argv, NULL);
	struct muster_listen_options options = {
		.on_datagram = answer_and_close,
		.arg = cluster,
	};

	if (muster_is_primary(cluster)) {
		say_events(cluster);
		must(cluster, "fork", muster_fork(cluster, NULL, NULL));
		return muster_cluster_run(cluster);
	}
	must(cluster, "listen",
	     muster_listen_with(cluster, "udp://127.0.0.1:0", &options,
				&own_listener));
	if (argument_number(argc, argv, 0) == 1)
		muster_listener_unref(own_listener);
	return muster_cluster_run(cluster);
}

static void a_listener_may_be_closed_within_its_callback(void)
{
	struct process *p = start("bare", "0", NULL);
	int port = field(expect(p, "listening 1 *"), "port");

	assert_int_equal(ask(dial_udp(NULL, port), 1), 1);
	expect(p, "exit 1 code=0 *"); /* nothing is left to do */
	expect_end(p, 0);
}

static void an_unreferenced_udp_listener_does_not_keep_a_worker_alive(void)
{
	struct process *p = start("bare", "1", NULL);

	expect(p, "exit 1 code=0 *");
	expect_end(p, 0);
}

static void a_datagram_of_the_longest_kind_is_answered(void)
{
	struct process *p = start_workers(1, "listen=udp://127.0.0.1:0,udp");
	int connection = dial_udp(NULL, await_workers(p, 1));
	static char bytes[65507];

	memset(bytes, '7', sizeof(bytes));
	assert_int_equal(send(connection, bytes, sizeof(bytes), 0),
			 sizeof(bytes));
	assert_int_equal(receive_number(connection, ""), 1);
	/* And an empty one. */
	assert_int_equal(send(connection, bytes, 0, 0), 0);
	assert_int_equal(receive_number(connection, ""), 1);
}

static const struct test_program programs[] = {
	PROGRAM(obedient),
	PROGRAM(bare),
	{ NULL, NULL },
};

static const struct test tests[] = {
	TEST(each_datagram_is_answered_by_exactly_one_worker),
	TEST(many_datagrams_at_once_are_all_answered),
	TEST(a_udp_listener_tells_its_type_and_the_real_port),
	TEST(workers_share_a_udp_socket_of_the_primary),
	TEST(udp_over_ipv6_only_leaves_the_ipv4_port_free),
	TEST(others_may_bind_a_reused_address),
	TEST(a_udp_port_that_others_hold_is_refused),
	TEST(a_closed_udp_listener_can_be_opened_again),
	TEST(a_listener_may_be_closed_within_its_callback),
	TEST(an_unreferenced_udp_listener_does_not_keep_a_worker_alive),
	TEST(a_datagram_of_the_longest_kind_is_answered),
	{ NULL, NULL },
};

int main(int argc, char **argv)
{
	return harness_main(argc, argv, programs, tests);
}
