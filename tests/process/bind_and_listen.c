/* Where workers listen, and what stands in their way. */
#include <arpa/inet.h>
#include <errno.h>
#include <linux/capability.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <unistd.h>

#include "client.h"
#include "harness.h"
#include "obedient.h"
#include "program.h"

static const char *const schedules[] = { "least", "rr", "shared", "reuseport" };

/* One worker that listens nowhere yet. */
static struct process *start_one(const char *schedule)
{
	char option[64];

	snprintf(option, sizeof(option), "schedule=%s", schedule);
	struct process *p = start("obedient", "fork=1", option, NULL);

	expect(p, "online 1 *");
	return p;
}

static struct process *start_many(int count)
{
	char option[64];

	snprintf(option, sizeof(option), "fork=%d", count);
	struct process *p = start("obedient", option, NULL);

	for (int id = 1; id <= count; id++)
		expect(p, "online %d *", id);
	return p;
}

/* Once it serves. */
static int port_of_listener(struct process *p, int id, int index)
{
	if (id > 0)
		expect(p, "listening %d *", id);
	return field(expect(p, "worker %d listener=%d *", id, index), "port");
}

static void expect_served(const char *host, int port)
{
	int connection = dial(host, port);

	assert_true(receive_number(connection, "") >= 1);
	let_go(connection);
}

/* ---- Ports -------------------------------------------------------------- */

static void port_0_is_any_free_port(void)
{
	static const char *const urls[] = { "0", ":0", "127.0.0.1:0",
					    "tcp://127.0.0.1:0",
					    "localhost:0" };
	struct process *p = start_one("default");

	for (int i = 0; i < 5; i++) {
		command(p, "tell 1 listen %s", urls[i]);
		expect_served(NULL, port_of_listener(p, 1, i));
	}
}

static void an_address_that_makes_no_sense_is_refused(void)
{
	static const char *const urls[] = { "tcp://127.0.0.1:65536",
					    "tcp://127.0.0.1",
					    "ftp://127.0.0.1:0",
					    "unix:",
					    "fd://none",
					    "tcp://127.0.0.1:-1",
					    "tcp://[::1:0" };
	struct process *p = start_one("default");

	for (size_t i = 0; i < 7; i++) {
		command(p, "tell 1 listen %s", urls[i]);
		expect(p, "worker 1 listen %s code=%d *", urls[i], -EINVAL);
	}
}

static void a_port_that_others_hold_is_refused_and_left_alone(void)
{
	int holder;
	int port = held_port(&holder);

	keep(holder);
	for (size_t i = 0; i < 4; i++) {
		struct process *p = start_one(schedules[i]);

		command(p, "tell 1 listen %s:%d", own_host(), port);
		expect(p, "worker 1 listen * code=%d name=LISTEN_IN_USE *",
		       -EADDRINUSE);
		command(p, "tell 1 disconnect");
		expect(p, "exit 1 code=0 signal=0 voluntary=1 *");
		expect_end(p, 0);
		expect_none(p, "listening *");
	}
}

static void a_port_is_taken_once_the_others_have_left_it(void)
{
	for (size_t i = 0; i < 4; i++) {
		int holder;
		int port = held_port(&holder);
		struct process *p = start_one(schedules[i]);

		command(p, "tell 1 listen %s:%d", own_host(), port);
		expect(p, "worker 1 listen * code=%d *", -EADDRINUSE);
		close(holder);
		command(p, "tell 1 listen %s:%d", own_host(), port);
		assert_int_equal(port_of_listener(p, 1, 0), port);
		expect_served(own_host(), port);
	}
}

static void the_port_of_another_cluster_is_refused(void)
{
	struct process *first = start_one("default");
	struct process *second = start_one("default");

	command(first, "tell 1 listen %s:0", own_host());
	int port = port_of_listener(first, 1, 0);

	command(second, "tell 1 listen %s:%d", own_host(), port);
	expect(second, "worker 1 listen * code=%d *", -EADDRINUSE);
	expect_served(own_host(), port);
}

static void the_port_that_an_earlier_run_used_is_free_again(void)
{
	struct process *p = start_one("default");

	command(p, "tell 1 listen %s:0", own_host());
	int port = port_of_listener(p, 1, 0);
	/* The server closes first, so that its port lies in TIME_WAIT. */
	expect_served(own_host(), port);
	send_signal(p, SIGTERM);
	expect_end(p, 0);

	p = start_one("default");
	command(p, "tell 1 listen %s:%d", own_host(), port);
	assert_int_equal(port_of_listener(p, 1, 0), port);
}

/* A root that may not bind low ports; its workers are started as ever. */
static void drop_capability(unsigned capability)
{
	struct __user_cap_header_struct header = {
		.version = _LINUX_CAPABILITY_VERSION_3,
	};
	struct __user_cap_data_struct sets[2];

	if (syscall(SYS_capget, &header, sets) != 0)
		return;
	sets[0].effective &= ~(1u << capability);
	syscall(SYS_capset, &header, sets);
}

static int humble(int argc, char **argv)
{
	drop_capability(CAP_NET_BIND_SERVICE);
	return obedient(argc, argv);
}

static void a_privileged_port_is_refused_without_privilege(void)
{
	for (size_t i = 0; i < 4; i++) {
		char option[64];

		snprintf(option, sizeof(option), "schedule=%s", schedules[i]);
		struct process *p = start("humble", "fork=1", option, NULL);

		expect(p, "online 1 *");
		command(p, "tell 1 listen %s:81", own_host());
		expect(p, "worker 1 listen * code=%d *", -EACCES);
	}
}

static void an_address_of_another_host_is_refused(void)
{
	struct process *p = start_one("default");

	command(p, "tell 1 listen 192.0.2.1:0");
	expect(p, "worker 1 listen * code=%d *", -EADDRNOTAVAIL);
}

/* ---- Options --------------------------------------------------------------
 */

static void the_backlog_is_the_one_asked_for(void)
{
	struct process *p = start_one("default");

	command(p, "tell 1 listen 127.0.0.1:0 backlog=127");
	assert_int_equal(field(expect(p, "listening 1 *"), "backlog"), 127);
}

static void the_backlog_is_the_largest_asked_for(void)
{
	struct process *p = start_many(3);
	int port = free_port();

	command(p, "tell 1 listen %s:%d backlog=100", own_host(), port);
	assert_int_equal(field(expect(p, "listening 1 *"), "backlog"), 100);
	command(p, "tell 2 listen %s:%d backlog=300", own_host(), port);
	assert_int_equal(field(expect(p, "listening 2 *"), "backlog"), 300);
	command(p, "tell 3 listen %s:%d backlog=200", own_host(), port);
	assert_int_equal(field(expect(p, "listening 3 *"), "backlog"), 300);
}

static void workers_share_an_address_that_is_ipv6_only(void)
{
	for (size_t i = 0; i < 2; i++) {
		char option[64];

		snprintf(option, sizeof(option), "schedule=%s",
			 i == 0 ? "rr" : "shared");
		struct process *p = start("obedient", "fork=3", option,
					  "listen=[::]:0,ipv6_only", NULL);
		int port = port_of_listener(p, 1, 0);

		assert_int_equal(port_of_listener(p, 2, 0), port);
		assert_int_equal(port_of_listener(p, 3, 0), port);
		assert_int_equal(
			count_lines(p, "listening * host=:: port=%d type=6 *",
				    port),
			3);
		expect_served("::1", port);
		assert_int_equal(try_dial(own_host(), port), -ECONNREFUSED);
		/* ...so that the same port is free over IPv4. */
		command(p, "tell 1 listen %s:%d", own_host(), port);
		assert_int_equal(port_of_listener(p, 1, 1), port);
		expect_served(own_host(), port);
	}
}

static void an_ipv6_address_answers_ipv4_as_well(void)
{
	struct process *p = start_one("default");

	command(p, "tell 1 listen tcp://[::]:0");
	int port = port_of_listener(p, 1, 0);

	expect_served("::1", port);
	expect_served("127.0.0.1", port);
}

static void an_exclusive_listener_is_the_workers_own(void)
{
	struct process *p = start_many(2);

	command(p, "tell 1 listen %s:0 exclusive", own_host());
	int port = field(expect(p, "worker 1 listener=0 *"), "port");

	command(p, "tell 2 listen %s:%d exclusive", own_host(), port);
	expect(p, "worker 2 listen * code=%d *", -EADDRINUSE);
	int connection = dial(own_host(), port);

	assert_int_equal(receive_number(connection, ""), 1);
}

static void options_that_conflict_are_refused(void)
{
	struct process *p = start_many(2);

	int port = free_port();

	command(p, "tell 1 listen %s:%d schedule=rr", own_host(), port);
	expect(p, "listening 1 *");
	command(p, "tell 2 listen %s:%d schedule=shared", own_host(), port);
	expect(p, "worker 2 listen * code=%d *", -EINVAL);
	command(p, "tell 2 listen %s:%d schedule=rr", own_host(), port);
	assert_int_equal(port_of_listener(p, 2, 0), port);
}

/* ---- Unix sockets -----------------------------------------------------------
 */

static void a_unix_path_is_shared_and_removed_at_the_end(void)
{
	struct process *p = start_many(2);

	command(p, "tell 1 listen unix:socket");
	expect(p, "listening 1 host=* port=0 type=-1 *");
	command(p, "tell 2 listen unix:socket");
	expect(p, "listening 2 *");
	bool has_served[3] = { false, false, false };

	for (int i = 0; i < 2; i++)
		has_served[receive_number(dial_unix("socket"), "")] = true;
	assert_true(has_served[1] && has_served[2]);
	command(p, "tell 1 disconnect");
	expect(p, "exit 1 *");
	assert_int_equal(access(path_in_directory("socket"), F_OK), 0);
	command(p, "tell 2 disconnect");
	expect_end(p, 0);
	assert_int_equal(access(path_in_directory("socket"), F_OK), -1);
}

static void a_unix_path_that_another_process_holds_is_refused(void)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	int holder = keep(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));

	snprintf(address.sun_path, sizeof(address.sun_path), "%s",
		 path_in_directory("socket"));
	assert_int_equal(
		bind(holder, (struct sockaddr *)&address, sizeof(address)), 0);
	assert_int_equal(listen(holder, 1), 0);
	struct process *p = start_one("default");

	command(p, "tell 1 listen unix:socket");
	expect(p, "worker 1 listen * code=%d *", -EADDRINUSE);
	assert_int_equal(try_dial_unix("socket"), 0); /* it still is theirs */
}

static void the_path_of_a_dead_listener_is_taken_over(void)
{
	struct process *p = start_one("default");

	command(p, "tell 1 listen unix:socket");
	expect(p, "listening 1 *");
	send_signal(p, SIGKILL);
	expect_end(p, -SIGKILL);
	assert_int_equal(access(path_in_directory("socket"), F_OK), 0);

	p = start_one("default");
	command(p, "tell 1 listen unix:socket");
	expect(p, "listening 1 *");
	assert_int_equal(receive_number(dial_unix("socket"), ""), 1);
}

static int nested(int argc, char **argv)
{
	if (getenv("MUSTER_CHANNEL_FD") == NULL &&
	    chdir(argument(argc, argv, 0)) != 0)
		return 1;
	struct muster_cluster *cluster = open_cluster(argc, argv, NULL);

	if (muster_is_primary(cluster)) {
		struct muster_settings settings = { .cwd = "below" };

		say_events(cluster);
		must(cluster, "setup",
		     muster_setup_primary(cluster, &settings));
		must(cluster, "fork", muster_fork(cluster, NULL, NULL));
		return run_with_commands(cluster, common_command);
	}
	obey(cluster);
	return muster_cluster_run(cluster);
}

static void a_relative_path_is_the_workers_even_where_it_is_long(void)
{
	static const char deep[] =
		"a-directory-whose-name-is-so-long-that-the-path-of-a-socket-"
		"in-it-would-not-fit-into-the-address-of-a-socket-any-more";
	char place[512];

	assert_int_equal(mkdir(path_in_directory(deep), 0755), 0);
	snprintf(place, sizeof(place), "%s/below", deep);
	assert_int_equal(mkdir(path_in_directory(place), 0755), 0);
	struct process *p = start("nested", deep, NULL);

	expect(p, "online 1 *");
	command(p, "tell 1 listen unix:socket");
	expect(p, "worker 1 listener=0 *");
	command(p, "tell 1 listen unix:%s/%s/below/absolute", directory(),
		deep);
	expect(p, "worker 1 listener=1 *");

	/* The client cannot name it either, but through a shorter way. */
	snprintf(place, sizeof(place), "%s/below", deep);
	char target[512];

	snprintf(target, sizeof(target), "%s", path_in_directory(place));
	assert_int_equal(symlink(target, path_in_directory("way")), 0);
	assert_int_equal(receive_number(dial_unix("way/socket"), ""), 1);
	assert_int_equal(receive_number(dial_unix("way/absolute"), ""), 1);
	command(p, "tell 1 disconnect");
	expect_end(p, 0);
	assert_int_equal(access(path_in_directory("way/socket"), F_OK), -1);
	assert_int_equal(access(path_in_directory("way/absolute"), F_OK), -1);
}

static mode_t mode_of(const char *name)
{
	struct stat status;

	assert_int_equal(stat(path_in_directory(name), &status), 0);
	return status.st_mode & 0777;
}

static void the_mode_of_a_unix_path_is_opened_on_demand(void)
{
	struct process *p = start_one("default");

	command(p, "tell 1 listen unix:all readable_all writable_all");
	expect(p, "worker 1 listener=0 *");
	command(p, "tell 1 listen unix:readable readable_all");
	expect(p, "worker 1 listener=1 *");
	assert_int_equal(mode_of("all") & 0666, 0666);
	assert_int_equal(mode_of("readable") & 0444, 0444);
	assert_int_equal(mode_of("readable") & 0002, 0);
}

static void an_abstract_name_is_shared(void)
{
	struct process *p = start_many(2);
	char name[64];

	snprintf(name, sizeof(name), "@muster-test-%d", (int)getpid());
	command(p, "tell 1 listen unix:%s", name);
	expect(p, "listening 1 *");
	command(p, "tell 2 listen unix:%s", name);
	expect(p, "listening 2 *");
	bool has_served[3] = { false, false, false };

	for (int i = 0; i < 2; i++)
		has_served[receive_number(dial_unix(name), "")] = true;
	assert_true(has_served[1] && has_served[2]);
}

static void say_client(struct muster_http *http, void *arg)
{
	(void)arg;
	muster_http_reply_format(http, 200, "text/plain", "client=%s",
				 muster_http_client(http));
}

static int unix_http(int argc, char **argv)
{
	struct muster_cluster *cluster = open_cluster(argc, argv, NULL);

	if (muster_is_primary(cluster)) {
		say_events(cluster);
		must(cluster, "fork", muster_fork(cluster, NULL, NULL));
		return muster_cluster_run(cluster);
	}
	must(cluster, "listen",
	     muster_http_listen(cluster, "unix:socket", say_client, NULL));
	return muster_cluster_run(cluster);
}

static void http_is_served_on_a_unix_path(void)
{
	struct process *p = start("unix_http", NULL);

	expect(p, "listening 1 *");
	assert_string_equal(http_get(dial_unix("socket"), "/"), "client=");
}

/* ---- Descriptors that are there --------------------------------------------
 */

static void workers_listen_at_a_descriptor_of_the_primary(void)
{
	int holder;
	int port = held_port(&holder);
	static const char *const arguments[] = { "fork=2", NULL };
	struct process *p = start_with(&(struct start_options){
		.name = "obedient",
		.arguments = arguments,
		.descriptor = holder,
	});

	close(holder);
	expect(p, "online 1 *");
	expect(p, "online 2 *");
	command(p, "tell 1 listen fd://3");
	assert_int_equal(port_of_listener(p, 1, 0), port);
	command(p, "tell 2 listen fd://3");
	assert_int_equal(port_of_listener(p, 2, 0), port);
	bool has_served[3] = { false, false, false };

	for (int i = 0; i < 2; i++)
		has_served[receive_number(dial(own_host(), port), "")] = true;
	assert_true(has_served[1] && has_served[2]);
	command(p, "tell 1 listen fd://99");
	expect(p, "worker 1 listen fd://99 code=%d *", -EBADF);
}

/* What systemd does: descriptors from 3 on, and the receiver's own pid. */
static int activated(int argc, char **argv)
{
	if (getenv("MUSTER_CHANNEL_FD") == NULL) {
		char pid[16];

		snprintf(pid, sizeof(pid), "%d", (int)getpid());
		setenv("LISTEN_PID", pid, 1);
		setenv("LISTEN_FDS", "1", 1);
		setenv("LISTEN_FDNAMES", "web", 1);
	}
	return obedient(argc, argv);
}

static void workers_listen_at_a_socket_that_systemd_gave(void)
{
	int holder;
	int port = held_port(&holder);
	static const char *const arguments[] = { "fork=2", NULL };
	struct process *p = start_with(&(struct start_options){
		.name = "activated",
		.arguments = arguments,
		.descriptor = holder,
	});

	close(holder);
	expect(p, "online 1 *");
	expect(p, "online 2 *");
	command(p, "tell 1 listen systemd://0");
	assert_int_equal(port_of_listener(p, 1, 0), port);
	command(p, "tell 2 listen systemd://web");
	assert_int_equal(port_of_listener(p, 2, 0), port);
	expect_served(own_host(), port);
	command(p, "tell 1 listen systemd://mail");
	expect(p, "worker 1 listen systemd://mail code=-*");
}

/* ---- Opening and closing ----------------------------------------------------
 */

static void a_closed_listener_can_be_opened_again(void)
{
	struct process *p = start_one("default");

	for (int i = 0; i < 6; i += 2) {
		command(p, "tell 1 listen 127.0.0.1:0");
		int first = port_of_listener(p, 1, i);

		command(p, "tell 1 listen 127.0.0.1:0");
		int second = port_of_listener(p, 1, i + 1);

		assert_int_not_equal(first, second);
		expect_served(NULL, first);
		expect_served(NULL, second);
		command(p, "tell 1 unlisten %d", i);
		command(p, "tell 1 unlisten %d", i + 1);
	}
	command(p, "tell 1 disconnect");
	expect_end(p, 0);
}

static void a_worker_leaves_a_shared_address_and_joins_it_again(void)
{
	for (size_t i = 0; i < 4; i++) {
		char option[64];

		snprintf(option, sizeof(option), "schedule=%s", schedules[i]);
		struct process *p = start("obedient", "fork=2", option, NULL);

		expect(p, "online 1 *");
		expect(p, "online 2 *");
		int port = free_port();

		command(p, "tell 1 listen %s:%d", own_host(), port);
		expect(p, "listening 1 *");
		command(p, "tell 2 listen %s:%d", own_host(), port);
		assert_int_equal(port_of_listener(p, 2, 0), port);
		command(p, "tell 2 unlisten 0");
		command(p, "tell 2 listen %s:%d", own_host(), port);
		assert_int_equal(port_of_listener(p, 2, 1), port);
		expect_served(own_host(), port);
		command(p, "disconnect");
		expect(p, "exit 1 code=0 *");
		expect(p, "exit 2 code=0 *");
		expect_end(p, 0);
	}
}

static void a_worker_that_listens_twice_is_refused_and_does_no_harm(void)
{
	struct process *p = start_many(2);

	int port = free_port();

	command(p, "tell 1 listen %s:%d", own_host(), port);
	expect(p, "listening 1 *");
	command(p, "tell 1 listen %s:%d", own_host(), port);
	expect(p, "worker 1 listen * code=%d *", -EADDRINUSE);
	command(p, "tell 1 unlisten 0");
	command(p, "tell 2 listen %s:%d", own_host(), port);
	assert_int_equal(port_of_listener(p, 2, 0), port);
	command(p, "tell 1 listen %s:%d", own_host(), port);
	assert_int_equal(port_of_listener(p, 1, 1), port);
	bool has_served[3] = { false, false, false };

	for (int i = 0; i < 2; i++)
		has_served[receive_number(dial(own_host(), port), "")] = true;
	assert_true(has_served[1] && has_served[2]);
}

static void two_listeners_in_eight_workers_are_two_ports(void)
{
	struct process *p = start("obedient", "fork=8", "listen=127.0.0.1:0",
				  "listen=127.0.0.1:0", NULL);
	int ports[2] = { port_of_listener(p, 1, 0), port_of_listener(p, 1, 1) };

	assert_int_not_equal(ports[0], ports[1]);
	for (int id = 2; id <= 8; id++)
		for (int index = 0; index < 2; index++)
			assert_int_equal(port_of_listener(p, id, index),
					 ports[index]);
	expect_served(NULL, ports[0]);
	expect_served(NULL, ports[1]);
	assert_int_equal(count_lines(p, "listening *"), 16);
}

static void the_last_worker_to_close_closes_the_port(void)
{
	struct process *p = start_many(2);

	int port = free_port();

	command(p, "tell 1 listen %s:%d", own_host(), port);
	expect(p, "listening 1 *");
	command(p, "tell 2 listen %s:%d", own_host(), port);
	expect(p, "worker 2 listener=0 *");
	command(p, "tell 1 disconnect");
	expect(p, "exit 1 *");
	expect_served(own_host(), port);
	command(p, "tell 2 unlisten 0");
	command(p, "tell 2 reply closed"); /* comes after it */
	expect(p, "message 2 \"closed\"");
	assert_int_equal(try_dial(own_host(), port), -ECONNREFUSED);
}

static void fork_two(struct muster_cluster *cluster, void *arg)
{
	(void)arg;
	say("disconnected workers=%zu", muster_worker_count(cluster));
	must(cluster, "fork", muster_fork(cluster, NULL, NULL));
	must(cluster, "fork", muster_fork(cluster, NULL, NULL));
}

static void start_over(struct muster_cluster *cluster, const char *line)
{
	(void)line;
	must(cluster, "disconnect", muster_disconnect(cluster, fork_two, NULL));
}

static int rounds(int argc, char **argv)
{
	struct muster_cluster *cluster = open_cluster(argc, argv, NULL);

	if (muster_is_primary(cluster)) {
		say_events(cluster);
		fork_two(cluster, NULL);
		return run_with_commands(cluster, start_over);
	}
	obey(cluster);
	must(cluster, "listen",
	     muster_listen(cluster, "127.0.0.1:0", answer_id, cluster));
	return muster_cluster_run(cluster);
}

static void a_cluster_can_be_used_again_after_disconnect(void)
{
	struct process *p = start("rounds", NULL);

	for (int round = 0; round < 3; round++) {
		int port = field(expect(p, "listening 1 *"), "port");

		expect(p, "listening 2 *");
		expect_served(NULL, port);
		command(p, "again");
		expect(p, "exit 1 code=0 *");
		expect(p, "exit 2 code=0 *");
		expect(p, "disconnected workers=0");
	}
}

static void a_primary_listens_for_itself(void)
{
	struct process *p = start_one("default");

	command(p, "listen 127.0.0.1:0");
	int connection = dial(NULL, port_of_listener(p, 0, 0));

	assert_int_equal(receive_number(connection, ""), 0);
	expect_closed(connection);
}

static void a_worker_has_32_listeners_at_most(void)
{
	struct process *p = start_one("default");

	for (int i = 0; i < 33; i++)
		command(p, "tell 1 listen 127.0.0.1:0");
	expect(p, "worker 1 listen * code=%d *", -ENOSPC);
	assert_int_equal(count_lines(p, "worker 1 listener=*"), 32);
}

static const struct test_program programs[] = {
	PROGRAM(obedient),  PROGRAM(humble),    PROGRAM(nested),
	PROGRAM(unix_http), PROGRAM(activated), PROGRAM(rounds),
	{ NULL, NULL },
};

static const struct test tests[] = {
	TEST(port_0_is_any_free_port),
	TEST(an_address_that_makes_no_sense_is_refused),
	TEST(a_port_that_others_hold_is_refused_and_left_alone),
	TEST(a_port_is_taken_once_the_others_have_left_it),
	TEST(the_port_of_another_cluster_is_refused),
	TEST(the_port_that_an_earlier_run_used_is_free_again),
	TEST(a_privileged_port_is_refused_without_privilege),
	TEST(an_address_of_another_host_is_refused),
	TEST(the_backlog_is_the_one_asked_for),
	TEST(the_backlog_is_the_largest_asked_for),
	TEST(workers_share_an_address_that_is_ipv6_only),
	TEST(an_ipv6_address_answers_ipv4_as_well),
	TEST(an_exclusive_listener_is_the_workers_own),
	TEST(options_that_conflict_are_refused),
	TEST(a_unix_path_is_shared_and_removed_at_the_end),
	TEST(a_unix_path_that_another_process_holds_is_refused),
	TEST(the_path_of_a_dead_listener_is_taken_over),
	TEST(a_relative_path_is_the_workers_even_where_it_is_long),
	TEST(the_mode_of_a_unix_path_is_opened_on_demand),
	TEST(an_abstract_name_is_shared),
	TEST(http_is_served_on_a_unix_path),
	TEST(workers_listen_at_a_descriptor_of_the_primary),
	TEST(workers_listen_at_a_socket_that_systemd_gave),
	TEST(a_closed_listener_can_be_opened_again),
	TEST(a_worker_leaves_a_shared_address_and_joins_it_again),
	TEST(a_worker_that_listens_twice_is_refused_and_does_no_harm),
	TEST(two_listeners_in_eight_workers_are_two_ports),
	TEST(the_last_worker_to_close_closes_the_port),
	TEST(a_cluster_can_be_used_again_after_disconnect),
	TEST(a_primary_listens_for_itself),
	TEST(a_worker_has_32_listeners_at_most),
	{ NULL, NULL },
};

int main(int argc, char **argv)
{
	return harness_main(argc, argv, programs, tests);
}
