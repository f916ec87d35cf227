#include "cluster/cluster.h"

#include <errno.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/mem.h"
#include "base/must.h"
#include "cluster/listener.h"
#include "cluster/message.h"
#include "cluster/primary.h"
#include "cluster/self.h"
#include "loop/signals.h"
#include "loop/timer.h"

struct muster_timer {
	struct list link;
	struct muster_cluster *cluster;
	struct timer *timer;
	uint64_t repeat_ms;
	muster_timer_fn fn;
	void *arg;
	bool is_calling;
	bool is_stopped;
};

/* ---- options ---- */

static void set_default(uint32_t *field, uint32_t value)
{
	if (*field == 0)
		*field = value;
}

static enum muster_schedule schedule_from_environment(void)
{
	static const struct {
		const char *name;
		enum muster_schedule schedule;
	} names[] = {
		{ "least", MUSTER_LEAST },         { "rr", MUSTER_ROUND_ROBIN },
		{ "shared", MUSTER_SHARED },       { "none", MUSTER_SHARED },
		{ "reuseport", MUSTER_REUSEPORT },
	};
	const char *policy = getenv("MUSTER_SCHED_POLICY");

	for (size_t i = 0; policy != NULL && i < sizeof(names) / sizeof(*names);
	     i++)
		if (strcmp(policy, names[i].name) == 0)
			return names[i].schedule;
	return MUSTER_LEAST;
}

static void resolve(struct muster_options *options)
{
	set_default(&options->ready_ms, 30000);
	set_default(&options->min_uptime_ms, 1000);
	set_default(&options->drain_ms, 30000);
	set_default(&options->drain_idle_ms, 2000);
	set_default(&options->kill_ms, 5000);
	set_default(&options->hang_ms, 30000);
	set_default(&options->backoff_ms, 100);
	set_default(&options->backoff_max_ms, 15000);
	set_default(&options->failures_max, 8);
	set_default(&options->failure_window_ms, 60000);
	set_default(&options->ticket_ms, 3600 * 1000);
	if (options->max_surge == 0 && options->max_unavailable == 0)
		options->max_surge = 1;
	/* A ping must have a time of its own. */
	if (options->hang_ms < 40)
		options->hang_ms = 40;
	if (options->settings.schedule == MUSTER_SCHEDULE_DEFAULT)
		options->settings.schedule = schedule_from_environment();
}

static char *name_of(const struct muster_options *options, char *const *argv)
{
	const char *name = options->name;

	if (name == NULL && argv != NULL && argv[0] != NULL) {
		const char *slash = strrchr(argv[0], '/');

		name = slash != NULL ? slash + 1 : argv[0];
	}
	return mem_text(name != NULL && name[0] != '\0' ? name : "app");
}

/* ---- opening ---- */

static void on_signal(void *owner, int signal)
{
	struct muster_cluster *cluster = owner;

	if (cluster->primary != NULL)
		primary_signal(cluster->primary, signal);
	else
		self_leave(cluster->self, false);
}

static void watch_signals(struct muster_cluster *cluster)
{
	static const int for_primary[] = { SIGTERM, SIGINT,  SIGHUP,  SIGUSR2,
					   SIGTTIN, SIGTTOU, SIGWINCH };
	static const int for_worker[] = { SIGTERM, SIGINT };

	/* A peer that has closed is an error of write(2), not our end. */
	signal(SIGPIPE, SIG_IGN);
	if (cluster->options.no_signals)
		return;
	if (cluster->primary != NULL)
		cluster->signals = signals_open(cluster->loop, for_primary, 7,
						on_signal, cluster);
	else
		cluster->signals = signals_open(cluster->loop, for_worker, 2,
						on_signal, cluster);
}

/* -1: this process is no worker. */
static int channel_from_environment(void)
{
	const char *text = getenv("MUSTER_CHANNEL_FD");
	char *end;

	if (text == NULL || text[0] == '\0')
		return -1;
	errno = 0;
	long descriptor = strtol(text, &end, 10);

	/* What is no number is no open descriptor either. */
	if (*end != '\0' || errno != 0 || descriptor < 0 ||
	    descriptor > INT32_MAX)
		descriptor = INT32_MAX;
	/* A grandchild is a primary again. */
	unsetenv("MUSTER_CHANNEL_FD");
	return (int)descriptor;
}

static bool open_role(struct muster_cluster *cluster)
{
	int channel = channel_from_environment();
	const char *name = getenv("MUSTER_NAME");

	if (channel < 0) {
		cluster->log.role = "primary";
		cluster->primary = primary_new(cluster);
		return true;
	}
	if (name != NULL) {
		free(cluster->name);
		cluster->name = mem_text(name);
	}
	cluster->log.role = cluster->name;
	cluster->self = self_new(cluster, channel);
	return cluster->self != NULL;
}

static void free_cluster(struct muster_cluster *cluster)
{
	loop_free(cluster->loop);
	handlers_fini(&cluster->handlers);
	settings_fini(&cluster->first_settings);
	free(cluster->name);
	free(cluster);
}

struct muster_cluster *muster_cluster_open(int argc, char *const *argv,
					   const struct muster_options *options)
{
	struct muster_cluster *cluster = mem_zalloc(sizeof(*cluster));

	(void)argc;
	if (options != NULL)
		cluster->options = *options;
	resolve(&cluster->options);
	cluster->argv = argv;
	cluster->name = name_of(&cluster->options, argv);
	cluster->log.level =
		log_level_read(cluster->options.log,
			       log_level_read(getenv("MUSTER_LOG"), LOG_WARN));
	list_init(&cluster->parts);
	list_init(&cluster->timers);
	list_init(&cluster->listeners);
	cluster->loop = loop_new(&cluster->log);

	int error =
		settings_merge(&cluster->first_settings,
			       &cluster->options.settings, &cluster->problem);

	if (error < 0 || !open_role(cluster)) {
		error = -cluster->problem.code;
		fprintf(stderr, "muster: %s\n", cluster->problem.text);
		free_cluster(cluster);
		errno = error;
		return NULL;
	}
	watch_signals(cluster);
	return cluster;
}

/* ---- running ---- */

static void start(struct muster_cluster *cluster)
{
	if (cluster->has_run)
		return;
	cluster->has_run = true;
	if (cluster->primary != NULL)
		primary_start(cluster->primary);
	else
		self_start(cluster->self);
}

int muster_cluster_run(struct muster_cluster *cluster)
{
	start(cluster);
	if (!cluster->is_stopped)
		loop_run(cluster->loop);
	return muster_cluster_close(cluster);
}

void muster_cluster_stop(struct muster_cluster *cluster, int exit_code)
{
	cluster->exit_code = exit_code;
	cluster->is_stopped = true;
	loop_stop(cluster->loop);
}

int muster_cluster_descriptor(struct muster_cluster *cluster)
{
	return loop_descriptor(cluster->loop);
}

int muster_cluster_timeout_ms(struct muster_cluster *cluster)
{
	return cluster->has_run && !cluster->is_stopped
		       ? loop_timeout_ms(cluster->loop)
		       : 0;
}

int muster_cluster_dispatch(struct muster_cluster *cluster)
{
	start(cluster);
	return !cluster->is_stopped && loop_turn(cluster->loop) &&
	       !cluster->is_stopped;
}

int muster_cluster_close(struct muster_cluster *cluster)
{
	int exit_code = cluster->exit_code;
	struct list *link;

	while ((link = list_take_first(&cluster->parts)) != NULL) {
		struct cluster_part *part =
			LIST_ENTRY(link, struct cluster_part, link);

		part->on_close(part);
	}
	while ((link = list_first(&cluster->listeners)) != NULL)
		muster_listener_close(
			LIST_ENTRY(link, struct muster_listener, link));
	while ((link = list_first(&cluster->timers)) != NULL)
		muster_timer_stop(LIST_ENTRY(link, struct muster_timer, link));
	signals_close(cluster->signals);
	primary_free(cluster->primary);
	self_free(cluster->self);
	free_cluster(cluster);
	return exit_code;
}

/* ---- parts ---- */

void cluster_add_part(struct muster_cluster *cluster, struct cluster_part *part)
{
	list_add_last(&cluster->parts, &part->link);
}

void cluster_remove_part(struct cluster_part *part)
{
	if (list_is_linked(&part->link))
		list_remove(&part->link);
}

void cluster_drain_parts(struct muster_cluster *cluster)
{
	LIST_EACH (&cluster->parts, link) {
		struct cluster_part *part =
			LIST_ENTRY(link, struct cluster_part, link);

		if (part->on_drain != NULL)
			part->on_drain(part);
	}
}

const struct board *cluster_board(const struct muster_cluster *cluster)
{
	return cluster->self != NULL ? self_board(cluster->self)
				     : primary_board(cluster->primary);
}

void cluster_tell_died(struct muster_cluster *cluster, int pid)
{
	LIST_EACH (&cluster->parts, link) {
		struct cluster_part *part =
			LIST_ENTRY(link, struct cluster_part, link);

		if (part->on_died != NULL)
			part->on_died(part, pid);
	}
}

void cluster_hold(struct muster_cluster *cluster)
{
	if (cluster->holds++ == 0)
		loop_hold(cluster->loop);
}

void cluster_release(struct muster_cluster *cluster)
{
	MUST(cluster->holds > 0);
	if (--cluster->holds > 0)
		return;
	loop_release(cluster->loop);
	if (cluster->self != NULL)
		self_on_idle(cluster->self);
}

/* ---- who am I ---- */

bool muster_is_primary(const struct muster_cluster *cluster)
{
	return cluster->primary != NULL;
}

bool muster_is_worker(const struct muster_cluster *cluster)
{
	return cluster->self != NULL;
}

struct muster_worker *muster_self(struct muster_cluster *cluster)
{
	return cluster->self == NULL ? NULL : self_worker(cluster->self);
}

const char *muster_problem_text(const struct muster_cluster *cluster)
{
	return cluster->problem.text;
}

const char *muster_problem_name(const struct muster_cluster *cluster)
{
	return cluster->problem.name == NULL ? "" : cluster->problem.name;
}

bool muster_is_draining(const struct muster_cluster *cluster)
{
	return cluster->self != NULL && self_is_draining(cluster->self);
}

int muster_ready(struct muster_cluster *cluster)
{
	return cluster->self == NULL ? -EPERM : self_ready(cluster->self);
}

const char *muster_version(void)
{
	return MUSTER_VERSION;
}

const char *muster_exit_text(int code, int signal)
{
	static _Thread_local char text[32];
	const char *name = signal != 0 ? sigabbrev_np(signal) : NULL;

	if (name != NULL)
		snprintf(text, sizeof(text), "signal SIG%s", name);
	else if (signal != 0)
		snprintf(text, sizeof(text), "signal %d", signal);
	else
		snprintf(text, sizeof(text), "code %d", code);
	return text;
}

/* ---- the primary's workers ---- */

static int not_in_a_worker(struct muster_cluster *cluster)
{
	return problem_set(&cluster->problem, -EPERM, "NOT_A_PRIMARY",
			   "only a primary can do that (see "
			   "muster_is_primary())");
}

int muster_setup_primary(struct muster_cluster *cluster,
			 const struct muster_settings *settings)
{
	if (cluster->primary == NULL)
		return not_in_a_worker(cluster);
	return primary_setup(cluster->primary, settings);
}

const struct muster_settings *
muster_settings(const struct muster_cluster *cluster)
{
	static const struct muster_settings nothing = { 0 };

	return cluster->primary == NULL ? &nothing
					: primary_settings(cluster->primary);
}

int muster_fork(struct muster_cluster *cluster, const char *const *env,
		struct muster_worker **worker)
{
	if (cluster->primary == NULL)
		return not_in_a_worker(cluster);
	return primary_fork(cluster->primary, env, worker);
}

int muster_scale(struct muster_cluster *cluster, int count)
{
	if (cluster->primary == NULL)
		return not_in_a_worker(cluster);
	return primary_scale(cluster->primary, count);
}

int muster_reload(struct muster_cluster *cluster, muster_reloaded_fn on_done,
		  void *arg)
{
	if (cluster->primary == NULL)
		return not_in_a_worker(cluster);
	return primary_reload(cluster->primary, on_done, arg);
}

int muster_disconnect(struct muster_cluster *cluster, muster_done_fn on_done,
		      void *arg)
{
	if (cluster->primary == NULL)
		return not_in_a_worker(cluster);
	return primary_disconnect(cluster->primary, on_done, arg);
}

struct muster_worker *muster_worker_find(struct muster_cluster *cluster, int id)
{
	return cluster->primary == NULL ? NULL
					: primary_find(cluster->primary, id);
}

struct muster_worker *muster_worker_next(struct muster_cluster *cluster,
					 struct muster_worker *previous)
{
	if (cluster->primary == NULL)
		return NULL;
	return primary_next(cluster->primary,
			    previous == NULL ? 0 : previous->id);
}

size_t muster_worker_count(struct muster_cluster *cluster)
{
	return cluster->primary == NULL ? 0 : primary_count(cluster->primary);
}

/* ---- one worker ---- */

int muster_worker_id(const struct muster_worker *worker)
{
	return worker->id;
}

const char *muster_worker_name(const struct muster_worker *worker)
{
	return worker->name;
}

pid_t muster_worker_pid(const struct muster_worker *worker)
{
	return worker->pid;
}

const char *muster_worker_state(const struct muster_worker *worker)
{
	return worker_state_name(worker->state);
}

bool muster_worker_is_connected(const struct muster_worker *worker)
{
	return worker->is_connected;
}

bool muster_worker_is_dead(const struct muster_worker *worker)
{
	return worker->is_dead;
}

bool muster_worker_exited_after_disconnect(const struct muster_worker *worker)
{
	return worker->is_voluntary;
}

uint32_t muster_worker_connections(const struct muster_worker *worker)
{
	const struct muster_cluster *cluster = worker->cluster;

	if (cluster->primary == NULL)
		return cluster->holds - cluster->nodes;
	return worker->is_connected
		       ? primary_connections(cluster->primary, worker)
		       : 0;
}

void muster_worker_set_data(struct muster_worker *worker, void *data)
{
	worker->data = data;
}

void *muster_worker_data(const struct muster_worker *worker)
{
	return worker->data;
}

int muster_worker_disconnect(struct muster_worker *worker)
{
	if (worker->is_dead)
		return -ESRCH;
	if (worker->cluster->self != NULL)
		self_leave(worker->cluster->self, false);
	else
		worker_ask_to_leave(worker, false);
	return 0;
}

int muster_worker_kill(struct muster_worker *worker, int signal)
{
	if (worker->is_dead)
		return -ESRCH;
	if (worker->cluster->self != NULL) {
		self_leave(worker->cluster->self, true);
		return 0;
	}
	return worker_kill(worker, signal != 0 ? signal : SIGTERM);
}

/* ---- messages ---- */

int muster_send(struct muster_worker *worker, const void *content,
		size_t length)
{
	return message_send(worker->channel, worker->serialization, content,
			    length);
}

int muster_send_format(struct muster_worker *worker, const char *format, ...)
{
	va_list arguments;
	char *text = NULL;

	va_start(arguments, format);
	int length = vasprintf(&text, format, arguments);

	va_end(arguments);
	if (length < 0)
		return -ENOMEM;
	int answer = muster_send(worker, text, (size_t)length);

	free(text);
	return answer;
}

int muster_send_descriptors(struct muster_worker *worker, const void *content,
			    size_t length, const int *descriptors,
			    size_t descriptor_count)
{
	struct iovec part = { .iov_base = (void *)(uintptr_t)content,
			      .iov_len = length };

	return message_send_descriptors(worker->channel, worker->serialization,
					&part, descriptors, descriptor_count);
}

/* ---- listening ---- */

#define BACKLOG 4096

static int listen_here(struct muster_cluster *cluster,
		       const struct self_wish *wish,
		       struct muster_listener **listener)
{
	const struct muster_listen_options *options = wish->options;
	struct bind_options bind = {
		.backlog = options->backlog,
		.ipv6_only = options->ipv6_only,
		.reuse_address = options->reuse_address,
		.reuse_port = options->schedule == MUSTER_REUSEPORT,
		.readable_all = options->readable_all,
		.writable_all = options->writable_all,
	};
	struct bound bound;
	int error = bind_open(&wish->address, &bind, &bound, &cluster->problem);

	if (error < 0)
		return error;
	*listener = listener_open(cluster, &bound, options);
	listener_start(*listener);
	return 0;
}

int muster_listen_with(struct muster_cluster *cluster, const char *url,
		       const struct muster_listen_options *options,
		       struct muster_listener **listener_out)
{
	struct muster_listen_options resolved = *options;
	struct self_wish wish = { .options = &resolved };
	struct muster_listener *listener = NULL;
	int error = address_read(url, &wish.address, &cluster->problem);

	if (error == 0)
		error = bind_resolve(&wish.address, &cluster->problem);
	if (error < 0)
		return error;
	bool is_udp = wish.address.kind == ADDRESS_UDP;

	if ((is_udp && options->on_datagram == NULL) ||
	    (!is_udp && options->on_connection == NULL &&
	     options->on_datagram == NULL))
		return problem_set(
			&cluster->problem, -EINVAL, "LISTEN_NO_CALLBACK",
			"cannot listen on '%.80s' without a callback "
			"(set on_%s)",
			url, is_udp ? "datagram" : "connection");
	if (resolved.backlog <= 0)
		resolved.backlog = BACKLOG;
	if (cluster->self != NULL && !options->exclusive)
		error = self_listen(cluster->self, &wish, &listener);
	else
		error = listen_here(cluster, &wish, &listener);
	if (error == 0 && listener_out != NULL)
		*listener_out = listener;
	return error;
}

int muster_listen(struct muster_cluster *cluster, const char *url,
		  muster_connection_fn on_connection, void *arg)
{
	return muster_listen_with(
		cluster, url,
		&(struct muster_listen_options){ .on_connection = on_connection,
						 .arg = arg },
		NULL);
}

/* ---- timers ---- */

static void free_timer(struct muster_timer *timer)
{
	timer_close(timer->timer);
	list_remove(&timer->link);
	free(timer);
}

static void on_time(void *owner)
{
	struct muster_timer *timer = owner;

	timer->is_calling = true;
	timer->fn(timer, timer->arg);
	timer->is_calling = false;
	if (timer->is_stopped || timer->repeat_ms == 0)
		free_timer(timer);
}

struct muster_timer *muster_timer_start(struct muster_cluster *cluster,
					uint64_t delay_ms, uint64_t repeat_ms,
					muster_timer_fn fn, void *arg)
{
	struct muster_timer *timer = mem_zalloc(sizeof(*timer));

	timer->cluster = cluster;
	timer->timer = timer_open(cluster->loop, on_time, timer, true);
	timer->repeat_ms = repeat_ms;
	timer->fn = fn;
	timer->arg = arg;
	list_add_last(&cluster->timers, &timer->link);
	timer_start(timer->timer, delay_ms, repeat_ms);
	return timer;
}

void muster_timer_stop(struct muster_timer *timer)
{
	timer->is_stopped = true;
	if (timer->is_calling)
		timer_stop(timer->timer);
	else
		free_timer(timer);
}

void muster_timer_unref(struct muster_timer *timer)
{
	timer_set_keeps_alive(timer->timer, false);
}
