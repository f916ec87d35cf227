#include "program.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define HELD_MAX 512

const char *argument(int argc, char **argv, int n)
{
	return 3 + n < argc ? argv[3 + n] : "";
}

int argument_number(int argc, char **argv, int n)
{
	return atoi(argument(argc, argv, n));
}

void say(const char *format, ...)
{
	char line[4096];
	va_list arguments;

	va_start(arguments, format);
	int length = vsnprintf(line, sizeof(line) - 1, format, arguments);

	va_end(arguments);
	if (length > (int)sizeof(line) - 2)
		length = (int)sizeof(line) - 2;
	line[length++] = '\n';
	/* Nobody listens any more when the test has ended. */
	if (write(STDOUT_FILENO, line, (size_t)length) != length)
		_exit(3);
}

/* ---- Events ---------------------------------------------------------------
 */

static void on_setup(struct muster_cluster *cluster,
		     const struct muster_settings *settings, void *arg)
{
	(void)cluster;
	(void)settings;
	(void)arg;
	say("setup");
}

static void on_fork(struct muster_worker *worker, void *arg)
{
	(void)arg;
	say("fork %d pid=%d state=%s", muster_worker_id(worker),
	    (int)muster_worker_pid(worker), muster_worker_state(worker));
}

static void on_online(struct muster_worker *worker, void *arg)
{
	(void)arg;
	say("online %d state=%s", muster_worker_id(worker),
	    muster_worker_state(worker));
}

/* What the kernel was told; -1: it does not say. */
static int backlog_of(const struct muster_address *address)
{
	struct tcp_info info = { 0 };
	socklen_t length = sizeof(info);

	if (address->type != 4 && address->type != 6)
		return -1;
	if (getsockopt(address->descriptor, IPPROTO_TCP, TCP_INFO, &info,
		       &length) != 0)
		return -1;
	return (int)info.tcpi_sacked;
}

static void on_listening(struct muster_worker *worker,
			 const struct muster_address *address, void *arg)
{
	(void)arg;
	say("listening %d host=%s port=%d type=%d backlog=%d url=%s",
	    muster_worker_id(worker), address->host, address->port,
	    address->type, backlog_of(address), address->url);
}

static void on_ready(struct muster_worker *worker, void *arg)
{
	(void)arg;
	say("ready %d", muster_worker_id(worker));
}

static void on_message(struct muster_worker *worker,
		       struct muster_message *message, void *arg)
{
	(void)arg;
	say("message %d %s", muster_worker_id(worker),
	    (const char *)muster_message_content(message));
}

static void on_drain(struct muster_worker *worker, void *arg)
{
	(void)arg;
	say("drain %d", muster_worker_id(worker));
}

static void on_disconnect(struct muster_worker *worker, void *arg)
{
	(void)arg;
	say("disconnect %d connected=%d dead=%d voluntary=%d",
	    muster_worker_id(worker), muster_worker_is_connected(worker),
	    muster_worker_is_dead(worker),
	    muster_worker_exited_after_disconnect(worker));
}

static void on_exit_event(struct muster_worker *worker, int code, int signal,
			  void *arg)
{
	(void)arg;
	say("exit %d code=%d signal=%d voluntary=%d dead=%d state=%s",
	    muster_worker_id(worker), code, signal,
	    muster_worker_exited_after_disconnect(worker),
	    muster_worker_is_dead(worker), muster_worker_state(worker));
}

static void on_error(struct muster_worker *worker, int code, const char *text,
		     void *arg)
{
	(void)arg;
	say("error %d code=%d %s",
	    worker != NULL ? muster_worker_id(worker) : 0, code, text);
}

void say_events(struct muster_cluster *cluster)
{
	muster_on_setup(cluster, on_setup, NULL);
	muster_on_fork(cluster, on_fork, NULL);
	muster_on_online(cluster, on_online, NULL);
	muster_on_listening(cluster, on_listening, NULL);
	muster_on_ready(cluster, on_ready, NULL);
	muster_on_message(cluster, on_message, NULL);
	muster_on_drain(cluster, on_drain, NULL);
	muster_on_disconnect(cluster, on_disconnect, NULL);
	muster_on_exit(cluster, on_exit_event, NULL);
	muster_on_error(cluster, on_error, NULL);
}

/* ---- Opening, listening, running ------------------------------------------
 */

struct muster_cluster *open_cluster(int argc, char **argv,
				    const struct muster_options *options)
{
	struct muster_cluster *cluster =
		muster_cluster_open(argc, argv, options);

	if (cluster == NULL) {
		say("open failed errno=%d", errno);
		exit(1);
	}
	return cluster;
}

void must(struct muster_cluster *cluster, const char *call, int code)
{
	if (code == 0)
		return;
	say("%s code=%d name=%s", call, code, muster_problem_name(cluster));
	exit(1);
}

/* Calls with each whole line in the buffer; false at the end of input. */
static bool read_commands(struct muster_cluster *cluster, command_fn on_command)
{
	static char buffer[4096];
	static size_t used;
	ssize_t length =
		read(STDIN_FILENO, buffer + used, sizeof(buffer) - used);
	char *newline;

	if (length <= 0)
		return false;
	used += (size_t)length;
	while ((newline = memchr(buffer, '\n', used)) != NULL) {
		char line[4096];
		size_t whole = (size_t)(newline - buffer);

		memcpy(line, buffer, whole);
		line[whole] = '\0';
		used -= whole + 1;
		memmove(buffer, newline + 1, used);
		on_command(cluster, line);
	}
	return true;
}

int run_with_commands(struct muster_cluster *cluster, command_fn on_command)
{
	struct pollfd polled[2] = {
		{ .fd = muster_cluster_descriptor(cluster), .events = POLLIN },
		{ .fd = STDIN_FILENO, .events = POLLIN },
	};

	while (muster_cluster_dispatch(cluster) == 1) {
		if (poll(polled, 2, muster_cluster_timeout_ms(cluster)) < 0)
			continue; /* a signal: dispatch knows */
		if (polled[1].revents != 0 &&
		    !read_commands(cluster, on_command))
			polled[1].fd = -1;
	}
	return muster_cluster_close(cluster);
}

/* ---- Answering ------------------------------------------------------------
 */

static struct muster_connection *held[HELD_MAX];
static size_t held_count;
static struct muster_timer *hold_timer;

/* 0 stands for the primary. */
static int own_id(struct muster_cluster *cluster)
{
	struct muster_worker *self = muster_self(cluster);

	return self != NULL ? muster_worker_id(self) : 0;
}

static void answer(struct muster_connection *connection,
		   struct muster_cluster *cluster)
{
	/* A fresh socket has room for a line. */
	if (dprintf(muster_connection_descriptor(connection), "%d %d\n",
		    own_id(cluster), (int)getpid()) < 0)
		say("cannot answer: %s", strerror(errno));
}

void answer_id(struct muster_connection *connection, void *cluster)
{
	answer(connection, cluster);
	muster_connection_close(connection);
}

static bool has_ended(struct muster_connection *connection)
{
	char byte;
	ssize_t length = recv(muster_connection_descriptor(connection), &byte,
			      1, MSG_DONTWAIT);

	return length == 0 || (length < 0 && errno != EAGAIN);
}

static void release_ended(struct muster_timer *timer, void *arg)
{
	size_t left = 0;

	(void)arg;
	for (size_t i = 0; i < held_count; i++)
		if (has_ended(held[i]))
			muster_connection_close(held[i]);
		else
			held[left++] = held[i];
	held_count = left;
	if (left > 0)
		return;
	muster_timer_stop(timer);
	hold_timer = NULL;
}

void answer_id_and_hold(struct muster_connection *connection, void *cluster)
{
	answer(connection, cluster);
	if (held_count == HELD_MAX)
		abort();
	held[held_count++] = connection;
	if (hold_timer == NULL)
		hold_timer =
			muster_timer_start(cluster, 5, 5, release_ended, NULL);
}

void close_held(void)
{
	while (held_count > 0)
		muster_connection_close(held[--held_count]);
}

void answer_datagram(struct muster_datagram *datagram, void *cluster)
{
	char text[2048];
	int length =
		snprintf(text, sizeof(text), "%d %d %.*s", own_id(cluster),
			 (int)getpid(), (int)muster_datagram_length(datagram),
			 (const char *)muster_datagram_content(datagram));

	if (length > (int)sizeof(text) - 1)
		length = (int)sizeof(text) - 1;
	int code = muster_datagram_reply(datagram, text, (size_t)length);

	if (code != 0)
		say("cannot answer: %s", strerror(-code));
}

struct slow_reply {
	struct muster_http *http;
	struct muster_cluster *cluster;
};

static void reply_id(struct muster_http *http, struct muster_cluster *cluster)
{
	muster_http_reply_format(http, 200, "text/plain", "%d %d",
				 own_id(cluster), (int)getpid());
}

static void on_reply_due(struct muster_timer *timer, void *arg)
{
	struct slow_reply *slow = arg;

	(void)timer;
	reply_id(slow->http, slow->cluster);
	free(slow);
}

void answer_http(struct muster_http *http, void *cluster)
{
	const char *delay = muster_http_parameter(http, "ms");
	struct slow_reply *slow;

	if (delay == NULL) {
		reply_id(http, cluster);
		return;
	}
	slow = malloc(sizeof(*slow));
	if (slow == NULL)
		abort();
	*slow = (struct slow_reply){ .http = http, .cluster = cluster };
	muster_timer_start(cluster, strtoul(delay, NULL, 10), 0, on_reply_due,
			   slow);
}
