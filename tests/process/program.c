#include "program.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
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

static void on_listening(struct muster_worker *worker,
			 const struct muster_address *address, void *arg)
{
	(void)arg;
	say("listening %d host=%s port=%d type=%d url=%s",
	    muster_worker_id(worker), address->host, address->port,
	    address->type, address->url);
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

int check(struct muster_cluster *cluster, const char *call, int code)
{
	if (code != 0)
		say("%s code=%d name=%s", call, code,
		    muster_problem_name(cluster));
	return code;
}

int listen_or_say(struct muster_cluster *cluster, const char *url,
		  const struct muster_listen_options *options,
		  struct muster_listener **listener)
{
	return check(cluster, "listen failed",
		     muster_listen_with(cluster, url, options, listener));
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

static void on_disconnected(struct muster_cluster *cluster, void *arg)
{
	(void)arg;
	say("disconnected workers=%zu", muster_worker_count(cluster));
}

static void on_reloaded(struct muster_cluster *cluster, int code, void *arg)
{
	(void)arg;
	say("reloaded code=%d text=%s", code,
	    code != 0 ? muster_problem_text(cluster) : "");
}

static int do_command(struct muster_cluster *cluster, const char *line)
{
	struct muster_worker *worker = NULL;
	char content[2048];
	int id = 0;
	int number = 0;

	if (sscanf(line, "%*s %d", &id) == 1)
		worker = muster_worker_find(cluster, id);
	if (strcmp(line, "fork") == 0)
		return muster_fork(cluster, NULL, NULL);
	if (strcmp(line, "disconnect") == 0)
		return muster_disconnect(cluster, on_disconnected, NULL);
	if (sscanf(line, "scale %d", &number) == 1)
		return muster_scale(cluster, number);
	if (strcmp(line, "reload") == 0)
		return muster_reload(cluster, on_reloaded, NULL);
	if (strncmp(line, "echo", 4) == 0)
		return 0;
	if (sscanf(line, "stop %d", &number) == 1) {
		muster_cluster_stop(cluster, number);
		return 0;
	}
	if (strcmp(line, "count") == 0) {
		say("count %zu", muster_worker_count(cluster));
		return 0;
	}
	if (worker == NULL)
		return MUSTER_NOT_FOUND;
	if (strncmp(line, "disconnect", 10) == 0)
		return muster_worker_disconnect(worker);
	if (sscanf(line, "kill %d %d", &id, &number) == 2)
		return muster_worker_kill(worker, number);
	if (sscanf(line, "send %d %2047[^\n]", &id, content) == 2)
		return muster_send(worker, content, strlen(content));
	if (strncmp(line, "state", 5) == 0) {
		say("state %d %s name=%s connected=%d dead=%d voluntary=%d "
		    "connections=%u",
		    id, muster_worker_state(worker), muster_worker_name(worker),
		    muster_worker_is_connected(worker),
		    muster_worker_is_dead(worker),
		    muster_worker_exited_after_disconnect(worker),
		    muster_worker_connections(worker));
		return 0;
	}
	return -EINVAL;
}

void common_command(struct muster_cluster *cluster, const char *line)
{
	int code = do_command(cluster, line);

	say("done %s code=%d", line, code);
}

/* ---- Answering ------------------------------------------------------------
 */

static struct muster_connection *held[HELD_MAX];
static size_t held_count;

static void answer(struct muster_connection *connection,
		   struct muster_cluster *cluster)
{
	/* A fresh socket has room for a line. */
	if (dprintf(muster_connection_descriptor(connection), "%d %d\n",
		    muster_worker_id(muster_self(cluster)), (int)getpid()) < 0)
		say("cannot answer: %s", strerror(errno));
}

void answer_id(struct muster_connection *connection, void *cluster)
{
	answer(connection, cluster);
	muster_connection_close(connection);
}

void answer_id_and_hold(struct muster_connection *connection, void *cluster)
{
	answer(connection, cluster);
	if (held_count < HELD_MAX)
		held[held_count++] = connection;
}

void close_held(void)
{
	while (held_count > 0)
		muster_connection_close(held[--held_count]);
}

struct slow_reply {
	struct muster_http *http;
	struct muster_cluster *cluster;
};

static void reply_id(struct muster_http *http, struct muster_cluster *cluster)
{
	muster_http_reply_format(http, 200, "text/plain", "%d %d",
				 muster_worker_id(muster_self(cluster)),
				 (int)getpid());
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
