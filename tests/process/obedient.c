#include "obedient.h"

#include <errno.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "program.h"

#define LISTENERS_MAX 40
#define SLOTS_MAX     64

static struct muster_listener *listeners[LISTENERS_MAX];
static int listener_count;
static int channel = -1;

/* "NAME=" at the beginning of the text: what follows, else NULL. */
static const char *value_of(const char *text, const char *name)
{
	size_t length = strlen(name);

	return strncmp(text, name, length) == 0 && text[length] == '='
		       ? text + length + 1
		       : NULL;
}

static enum muster_schedule schedule_named(const char *name)
{
	static const char *const names[] = { "default", "least", "rr", "shared",
					     "reuseport" };

	for (int i = 0; i < 5; i++)
		if (strcmp(names[i], name) == 0)
			return (enum muster_schedule)i;
	say("no schedule %s", name);
	exit(2);
}

/* ---- Listening ------------------------------------------------------------
 */

static void refuse(struct muster_connection *connection, void *arg)
{
	(void)arg;
	say("worker refused");
	muster_connection_refuse(connection);
}

static void read_listen_option(struct muster_listen_options *options,
			       bool *is_http, const char *text)
{
	const char *value;

	if (strcmp(text, "hold") == 0)
		options->on_connection = answer_id_and_hold;
	else if (strcmp(text, "refuse") == 0)
		options->on_connection = refuse;
	else if (strcmp(text, "udp") == 0)
		options->on_datagram = answer_datagram;
	else if (strcmp(text, "http") == 0)
		*is_http = true;
	else if (strcmp(text, "exclusive") == 0)
		options->exclusive = true;
	else if (strcmp(text, "ipv6_only") == 0)
		options->ipv6_only = true;
	else if (strcmp(text, "reuse_address") == 0)
		options->reuse_address = true;
	else if (strcmp(text, "readable_all") == 0)
		options->readable_all = true;
	else if (strcmp(text, "writable_all") == 0)
		options->writable_all = true;
	else if ((value = value_of(text, "backlog")) != NULL)
		options->backlog = atoi(value);
	else if ((value = value_of(text, "max")) != NULL)
		options->max_connections = (uint32_t)atoi(value);
	else if ((value = value_of(text, "schedule")) != NULL)
		options->schedule = schedule_named(value);
	else
		say("no listen option %s", text);
}

/* "URL OPTION...", parted by spaces or commas. */
static int listen_at(struct muster_cluster *cluster, const char *text)
{
	struct muster_http_options options = {
		.handler = answer_http,
		.arg = cluster,
		.listen = { .on_connection = answer_id, .arg = cluster },
	};
	struct muster_listener *listener = NULL;
	bool is_http = false;
	char words[1024];
	char *rest = words;
	int code;

	snprintf(words, sizeof(words), "%s", text);
	const char *url = strsep(&rest, " ,");

	for (const char *word; (word = strsep(&rest, " ,")) != NULL;)
		read_listen_option(&options.listen, &is_http, word);
	if (options.listen.on_datagram != NULL)
		options.listen.on_connection = NULL;
	code = is_http ? muster_http_listen_with(cluster, url, &options,
						 &listener)
		       : muster_listen_with(cluster, url, &options.listen,
					    &listener);
	int id = muster_is_worker(cluster)
			 ? muster_worker_id(muster_self(cluster))
			 : 0;

	if (code != 0) {
		say("worker %d listen %s code=%d name=%s text=%s", id, url,
		    code, muster_problem_name(cluster),
		    muster_problem_text(cluster));
		return code;
	}
	const struct muster_address *address =
		muster_listener_address(listener);

	say("worker %d listener=%d host=%s port=%d type=%d url=%s", id,
	    listener_count, address->host, address->port, address->type,
	    address->url);
	listeners[listener_count++] = listener;
	return 0;
}

static int unlisten(struct muster_cluster *cluster, const char *text)
{
	int index = atoi(text);

	(void)cluster;
	muster_listener_close(listeners[index]);
	listeners[index] = NULL;
	return 0;
}

static int unref(struct muster_cluster *cluster, const char *text)
{
	(void)cluster;
	muster_listener_unref(listeners[atoi(text)]);
	return 0;
}

void listen_as_told(struct muster_cluster *cluster, int argc, char **argv)
{
	for (int i = 0; argument(argc, argv, i)[0] != '\0'; i++) {
		const char *value = value_of(argument(argc, argv, i), "listen");

		if (value != NULL && listen_at(cluster, value) != 0)
			exit(1);
	}
}

/* ---- Commands -------------------------------------------------------------
 */

struct verb {
	const char *name;
	int (*run)(struct muster_cluster *cluster, const char *rest);
};

/* No answer of the library's. */
#define NO_SUCH_VERB 1000

static int run_verb(const struct verb *verbs, struct muster_cluster *cluster,
		    const char *line)
{
	for (; verbs->name != NULL; verbs++) {
		size_t length = strlen(verbs->name);

		if (strncmp(line, verbs->name, length) == 0 &&
		    (line[length] == ' ' || line[length] == '\0'))
			return verbs->run(
				cluster, line + length + (line[length] == ' '));
	}
	return NO_SUCH_VERB;
}

/* Takes a number off the front of the text. */
static int take_number(const char **text)
{
	char *end;
	long number = strtol(*text, &end, 10);

	*text = *end == ' ' ? end + 1 : end;
	return (int)number;
}

/* The latest in each slot: a worker that was told to go has left its slot, but
 * is still there. */
static struct muster_worker *latest[SLOTS_MAX + 1];

static void remember(struct muster_worker *worker, void *arg)
{
	(void)arg;
	if (muster_worker_id(worker) <= SLOTS_MAX)
		latest[muster_worker_id(worker)] = worker;
}

static void forget(struct muster_worker *worker, int code, int signal,
		   void *arg)
{
	(void)code;
	(void)signal;
	(void)arg;
	if (muster_worker_id(worker) <= SLOTS_MAX &&
	    latest[muster_worker_id(worker)] == worker)
		latest[muster_worker_id(worker)] = NULL;
}

static struct muster_worker *take_worker(struct muster_cluster *cluster,
					 const char **text)
{
	int id = take_number(text);
	struct muster_worker *worker = muster_worker_find(cluster, id);

	if (worker != NULL || id < 0 || id > SLOTS_MAX)
		return worker;
	return latest[id];
}

static int do_fork(struct muster_cluster *cluster, const char *rest)
{
	(void)rest;
	return muster_fork(cluster, NULL, NULL);
}

static int do_scale(struct muster_cluster *cluster, const char *rest)
{
	return muster_scale(cluster, take_number(&rest));
}

static void on_reloaded(struct muster_cluster *cluster, int code, void *arg)
{
	(void)arg;
	say("reloaded code=%d text=%s", code,
	    code != 0 ? muster_problem_text(cluster) : "");
}

static int do_reload(struct muster_cluster *cluster, const char *rest)
{
	(void)rest;
	return muster_reload(cluster, on_reloaded, NULL);
}

static void on_disconnected(struct muster_cluster *cluster, void *arg)
{
	(void)arg;
	say("disconnected workers=%zu", muster_worker_count(cluster));
}

static int do_disconnect(struct muster_cluster *cluster, const char *rest)
{
	if (rest[0] == '\0')
		return muster_disconnect(cluster, on_disconnected, NULL);

	struct muster_worker *worker = take_worker(cluster, &rest);

	return worker != NULL ? muster_worker_disconnect(worker)
			      : NOBODY_HAS_IT;
}

static int do_stop(struct muster_cluster *cluster, const char *rest)
{
	muster_cluster_stop(cluster, take_number(&rest));
	return 0;
}

static int do_count(struct muster_cluster *cluster, const char *rest)
{
	(void)rest;
	say("count %zu", muster_worker_count(cluster));
	return 0;
}

static int do_echo(struct muster_cluster *cluster, const char *rest)
{
	(void)cluster;
	(void)rest;
	return 0;
}

static int do_kill(struct muster_cluster *cluster, const char *rest)
{
	struct muster_worker *worker = take_worker(cluster, &rest);

	return worker != NULL ? muster_worker_kill(worker, take_number(&rest))
			      : NOBODY_HAS_IT;
}

static int do_state(struct muster_cluster *cluster, const char *rest)
{
	struct muster_worker *worker = take_worker(cluster, &rest);

	if (worker == NULL)
		return NOBODY_HAS_IT;
	say("state %d %s name=%s pid=%d connected=%d dead=%d voluntary=%d "
	    "connections=%u",
	    muster_worker_id(worker), muster_worker_state(worker),
	    muster_worker_name(worker), (int)muster_worker_pid(worker),
	    muster_worker_is_connected(worker), muster_worker_is_dead(worker),
	    muster_worker_exited_after_disconnect(worker),
	    muster_worker_connections(worker));
	return 0;
}

static int do_send(struct muster_cluster *cluster, const char *rest)
{
	struct muster_worker *worker = take_worker(cluster, &rest);

	return worker != NULL ? muster_send(worker, rest, strlen(rest))
			      : NOBODY_HAS_IT;
}

static int do_tell(struct muster_cluster *cluster, const char *rest)
{
	struct muster_worker *worker = take_worker(cluster, &rest);

	return worker != NULL ? muster_send_format(worker, "\"%s\"", rest)
			      : NOBODY_HAS_IT;
}

static const struct verb commands[] = {
	{ "fork", do_fork },      { "scale", do_scale },
	{ "reload", do_reload },  { "disconnect", do_disconnect },
	{ "stop", do_stop },      { "count", do_count },
	{ "echo", do_echo },      { "kill", do_kill },
	{ "state", do_state },    { "send", do_send },
	{ "tell", do_tell },      { "listen", listen_at },
	{ "unlisten", unlisten }, { "unref", unref },
	{ NULL, NULL },
};

void common_command(struct muster_cluster *cluster, const char *line)
{
	int code = run_verb(commands, cluster, line);

	say("done %s code=%d", line, code);
}

/* ---- Orders ---------------------------------------------------------------
 */

static int order_exit(struct muster_cluster *cluster, const char *rest)
{
	(void)cluster;
	exit(take_number(&rest));
}

static int order_disconnect(struct muster_cluster *cluster, const char *rest)
{
	(void)rest;
	return muster_worker_disconnect(muster_self(cluster));
}

static int order_kill(struct muster_cluster *cluster, const char *rest)
{
	(void)rest;
	return muster_worker_kill(muster_self(cluster), 0);
}

static int order_close(struct muster_cluster *cluster, const char *rest)
{
	(void)cluster;
	(void)rest;
	close_held();
	return 0;
}

static int order_spin(struct muster_cluster *cluster, const char *rest)
{
	(void)cluster;
	(void)rest;
	for (volatile int forever = 1; forever;)
		;
	return 0;
}

/* Blocks the loop for so many milliseconds, working. */
static int order_busy(struct muster_cluster *cluster, const char *rest)
{
	struct timespec now;
	int ms = take_number(&rest);

	(void)cluster;
	clock_gettime(CLOCK_MONOTONIC, &now);
	int64_t end_ms = now.tv_sec * 1000 + now.tv_nsec / 1000000 + ms;

	do
		clock_gettime(CLOCK_MONOTONIC, &now);
	while (now.tv_sec * 1000 + now.tv_nsec / 1000000 < end_ms);
	return 0;
}

static int order_say(struct muster_cluster *cluster, const char *rest)
{
	say("worker %d %s", muster_worker_id(muster_self(cluster)), rest);
	return 0;
}

static int order_reply(struct muster_cluster *cluster, const char *rest)
{
	return muster_send_format(muster_self(cluster), "\"%s\"", rest);
}

static int order_ready(struct muster_cluster *cluster, const char *rest)
{
	(void)rest;
	return muster_ready(cluster);
}

static int order_cut(struct muster_cluster *cluster, const char *rest)
{
	(void)cluster;
	(void)rest;
	return shutdown(channel, SHUT_RDWR);
}

static const struct verb orders[] = {
	{ "exit", order_exit },   { "disconnect", order_disconnect },
	{ "kill", order_kill },   { "close", order_close },
	{ "spin", order_spin },   { "busy", order_busy },
	{ "say", order_say },     { "reply", order_reply },
	{ "ready", order_ready }, { "cut", order_cut },
	{ "listen", listen_at },  { "unlisten", unlisten },
	{ "unref", unref },       { NULL, NULL },
};

static void on_order(struct muster_worker *self, struct muster_message *message,
		     void *arg)
{
	const char *content = muster_message_content(message);
	char order[2048];

	if (sscanf(content, "\"%2047[^\"]", order) != 1)
		return;
	int code = run_verb(orders, arg, order);

	if (code != 0 && strncmp(order, "listen", 6) != 0)
		say("worker %d order=%s code=%d", muster_worker_id(self), order,
		    code);
}

void obey(struct muster_cluster *cluster)
{
	muster_on_message(cluster, on_order, cluster);
}

/* ---- The program ------------------------------------------------------------
 */

#define NUMBER(member)                                                         \
	{                                                                      \
		.name = #member,                                               \
		.place = offsetof(struct muster_options, member)               \
	}

static const struct {
	const char *name;
	size_t place; /* of a uint32_t */
} numbers[] = {
	NUMBER(ready_ms),     NUMBER(min_uptime_ms),
	NUMBER(drain_ms),     NUMBER(drain_idle_ms),
	NUMBER(kill_ms),      NUMBER(hang_ms),
	NUMBER(backoff_ms),   NUMBER(backoff_max_ms),
	NUMBER(failures_max), NUMBER(failure_window_ms),
	NUMBER(max_surge),    NUMBER(max_unavailable),
};

static bool read_number(struct muster_options *options, const char *text)
{
	for (size_t i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++) {
		const char *value = value_of(text, numbers[i].name);
		uint32_t number = value != NULL ? (uint32_t)atoi(value) : 0;

		if (value == NULL)
			continue;
		memcpy((char *)options + numbers[i].place, &number,
		       sizeof(number));
		return true;
	}
	return false;
}

static void read_option(struct muster_options *options, const char *text)
{
	const char *value;

	if (read_number(options, text))
		return;
	if ((value = value_of(text, "name")) != NULL)
		options->name = value;
	else if ((value = value_of(text, "workers")) != NULL)
		options->workers = atoi(value);
	else if ((value = value_of(text, "wait_ready")) != NULL)
		options->wait_ready = atoi(value) != 0;
	else if ((value = value_of(text, "no_signals")) != NULL)
		options->no_signals = atoi(value) != 0;
	else if ((value = value_of(text, "schedule")) != NULL)
		options->settings.schedule = schedule_named(value);
	else if ((value = value_of(text, "serialization")) != NULL)
		options->settings.serialization = strcmp(value, "bytes") == 0
							  ? MUSTER_BYTES
							  : MUSTER_JSON;
	else if (value_of(text, "fork") == NULL &&
		 value_of(text, "listen") == NULL)
		say("no option %s", text);
}

struct muster_cluster *open_obedient(int argc, char **argv)
{
	struct muster_options options = { 0 };
	const char *variable = getenv("MUSTER_CHANNEL_FD");

	if (variable != NULL)
		channel = atoi(variable);
	for (int i = 0; argument(argc, argv, i)[0] != '\0'; i++)
		read_option(&options, argument(argc, argv, i));

	struct muster_cluster *cluster = open_cluster(argc, argv, &options);

	if (muster_is_primary(cluster)) {
		muster_on_fork(cluster, remember, NULL);
		muster_on_exit(cluster, forget, NULL);
	}
	return cluster;
}

static void fork_as_told(struct muster_cluster *cluster, int argc, char **argv)
{
	for (int i = 0; argument(argc, argv, i)[0] != '\0'; i++) {
		const char *value = value_of(argument(argc, argv, i), "fork");

		for (int n = value != NULL ? atoi(value) : 0; n > 0; n--)
			must(cluster, "fork", muster_fork(cluster, NULL, NULL));
	}
}

int obedient(int argc, char **argv)
{
	struct muster_cluster *cluster = open_obedient(argc, argv);

	if (muster_is_primary(cluster)) {
		say_events(cluster);
		fork_as_told(cluster, argc, argv);
		return run_with_commands(cluster, common_command);
	}
	obey(cluster);
	listen_as_told(cluster, argc, argv);
	return muster_cluster_run(cluster);
}
