#include "cluster/primary.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/mem.h"
#include "base/must.h"
#include "cluster/notify.h"
#include "cluster/primary_internal.h"

/* So many pings in a row unanswered, and the worker hangs. */
#define PINGS_MISSED_MAX 4

/* Somebody waits for all workers to be gone. */
struct waiting_done {
	struct list link;
	muster_done_fn on_done;
	void *arg;
};

/* A change of the settings that is to be told. */
struct setup_told {
	struct list link;
	struct settings settings;
};

/* ---- settings ---- */

static void run_tell_setups(struct loop_task *task)
{
	struct primary *primary = LIST_ENTRY(task, struct primary, tell_setups);
	struct list *link;

	while ((link = list_take_first(&primary->setups)) != NULL) {
		struct setup_told *told =
			LIST_ENTRY(link, struct setup_told, link);

		events_tell_setup(primary->cluster, &told->settings.view);
		settings_fini(&told->settings);
		free(told);
	}
}

/* The file this program was started from, so that a new version that has taken
 * its place is what is started next. */
static char *own_program(const struct muster_cluster *cluster)
{
	const char *name = cluster->argv != NULL ? cluster->argv[0] : NULL;
	char path[4096];

	if (name != NULL && name[0] == '/')
		return mem_text(name);
	if (name != NULL && strchr(name, '/') != NULL &&
	    getcwd(path, sizeof(path)) != NULL) {
		char *whole = mem_format("%s/%s", path, name);

		if (access(whole, X_OK) == 0)
			return whole;
		free(whole);
	}
	ssize_t length = readlink("/proc/self/exe", path, sizeof(path) - 1);

	MUST(length > 0);
	path[length] = '\0';
	return mem_text(path);
}

/* The first setup fills in what the application left open. */
static int set_defaults(struct primary *primary)
{
	struct muster_cluster *cluster = primary->cluster;
	char *exec = own_program(cluster);
	static char *const no_arguments[] = { NULL, NULL };
	char *const *argv = cluster->argv != NULL && cluster->argv[0] != NULL
				    ? cluster->argv
				    : no_arguments;
	struct muster_settings defaults = {
		.exec = exec,
		.args = (const char *const *)(argv + 1),
		.schedule = cluster->options.settings.schedule,
	};
	int error = settings_merge(&primary->settings, &defaults,
				   &cluster->problem);

	if (error == 0)
		error = settings_merge(&primary->settings,
				       &cluster->first_settings.view,
				       &cluster->problem);
	free(exec);
	/* Another execution of ourselves will say hello as well. */
	cluster->program_speaks = cluster->first_settings.view.exec == NULL;
	primary->is_set_up = error == 0;
	return error;
}

static void tell_setup(struct primary *primary)
{
	struct setup_told *told = mem_zalloc(sizeof(*told));

	settings_copy(&told->settings, &primary->settings);
	list_add_last(&primary->setups, &told->link);
	loop_defer(primary->cluster->loop, &primary->tell_setups);
}

int primary_setup(struct primary *primary,
		  const struct muster_settings *settings)
{
	static const struct muster_settings nothing = { 0 };
	struct muster_settings wanted = settings != NULL ? *settings : nothing;
	int error = 0;

	if (!primary->is_set_up)
		error = set_defaults(primary);
	else if (primary->worker_count > 0)
		wanted.schedule = MUSTER_SCHEDULE_DEFAULT; /* frozen */
	if (error == 0)
		error = settings_merge(&primary->settings, &wanted,
				       &primary->cluster->problem);
	if (error < 0)
		return error;
	primary->cluster->options.settings.schedule =
		primary->settings.view.schedule;
	if (wanted.exec != NULL) {
		primary->cluster->program++;
		primary->cluster->program_speaks = false;
	}
	tell_setup(primary);
	return 0;
}

const struct muster_settings *primary_settings(const struct primary *primary)
{
	return &primary->settings.view;
}

/* ---- the end of all ---- */

/*
 * From when on it is known which listeners the worker asks for. Until it is
 * ready or it reaches its loop it may ask for any; a node that has reached its
 * loop listens only when its application has started, and one address after
 * the other.
 */
static uint64_t settled_at_ms(const struct muster_worker *worker)
{
	if (worker->state >= WORKER_DRAINING)
		return 0;
	if (worker->state < WORKER_READY)
		return UINT64_MAX;
	if (!worker->said_hello)
		return 0;
	return worker->is_running
		       ? worker->running_ms +
				 worker->cluster->options.min_uptime_ms
		       : UINT64_MAX;
}

/* From when on nobody comes who would join a listener that is there; where
 * that is not known, sweeping is tried again at the next event. */
static uint64_t all_settled_at_ms(const struct primary *primary)
{
	const struct pool *pool = &primary->pool;
	uint64_t latest_ms = 0;

	if (pool->is_on && !primary->is_stopping &&
	    (pool->is_paused || pool_is_short(primary)))
		return UINT64_MAX;
	LIST_EACH (&primary->workers, link) {
		uint64_t at_ms = settled_at_ms(
			LIST_ENTRY(link, struct muster_worker, link));

		if (latest_ms < at_ms)
			latest_ms = at_ms;
	}
	return latest_ms;
}

void primary_sweep(struct primary *primary)
{
	uint64_t now_ms = loop_now_ms(primary->cluster->loop);
	uint64_t at_ms = all_settled_at_ms(primary);

	if (at_ms <= now_ms)
		listeners_sweep(primary->listeners);
	else if (at_ms != UINT64_MAX)
		timer_start(primary->sweep, at_ms - now_ms, 0);
}

static void on_sweep_time(void *owner)
{
	primary_sweep(owner);
}

static void run_check_done(struct loop_task *task)
{
	struct primary *primary = LIST_ENTRY(task, struct primary, check_done);
	struct list *link;

	if (primary->worker_count > 0)
		return;
	primary_sweep(primary);
	primary->is_stopping = false; /* it may all begin again */
	while (primary->worker_count == 0 &&
	       (link = list_first(&primary->done)) != NULL) {
		struct waiting_done *done =
			LIST_ENTRY(link, struct waiting_done, link);
		muster_done_fn on_done = done->on_done;
		void *arg = done->arg;

		list_remove(link);
		free(done);
		on_done(primary->cluster, arg);
	}
}

void primary_stop_all(struct primary *primary)
{
	primary->is_stopping = true;
	primary->pool.is_on = false;
	timer_stop(primary->pool.timer);
	reload_cancel(primary);
	LIST_EACH (&primary->workers, link) {
		worker_ask_to_leave(
			LIST_ENTRY(link, struct muster_worker, link), false);
	}
	loop_defer(primary->cluster->loop, &primary->check_done);
}

int primary_disconnect(struct primary *primary, muster_done_fn on_done,
		       void *arg)
{
	if (on_done != NULL) {
		struct waiting_done *done = mem_zalloc(sizeof(*done));

		done->on_done = on_done;
		done->arg = arg;
		list_add_last(&primary->done, &done->link);
	}
	primary_stop_all(primary);
	return 0;
}

/* ---- what workers say and do ---- */

static struct primary *primary_of(const struct muster_worker *worker)
{
	return worker->cluster->primary;
}

static void on_leaving(struct muster_worker *worker, bool at_once)
{
	if (!worker->was_asked)
		worker->wished_to_leave = true;
	worker_ask_to_leave(worker, at_once);
}

static void on_listening(struct muster_worker *worker, uint32_t id)
{
	struct problem problem;
	struct muster_address address;

	if (worker->was_asked)
		return; /* it was told to go in the meantime */
	if (listeners_serve(primary_of(worker)->listeners, worker, id,
			    &address) < 0) {
		problem_set(&problem, -ENOENT, "FRAME_MALFORMED",
			    "worker %d serves a listener that it never asked "
			    "for",
			    worker->id);
		worker_break(worker, &problem);
		return;
	}
	events_tell_listening(worker, &address);
	if (!worker->cluster->options.wait_ready)
		worker_set_ready(worker);
}

static void refuse_message(struct muster_worker *worker,
			   const struct message *message)
{
	struct problem problem;

	problem_set(&problem, -EPROTO, "FRAME_MISPLACED",
		    "worker %d sent %s, which only a primary may", worker->id,
		    message_name(message->type));
	worker_break(worker, &problem);
}

static void on_message(struct muster_worker *worker,
		       const struct message *message,
		       struct channel_descriptors *descriptors)
{
	struct primary *primary = primary_of(worker);

	(void)descriptors;
	switch (message->type) {
	case MESSAGE_LISTEN:
		listeners_ask(primary->listeners, worker, &message->listen);
		break;
	case MESSAGE_LISTENING:
		on_listening(worker, message->listening.listener);
		break;
	case MESSAGE_UNLISTEN:
		/* Absent where it was told to go in the meantime. */
		DISCARD(listeners_unlisten(primary->listeners, worker,
					   message->unlisten.listener));
		break;
	case MESSAGE_WAKE:
		handover_wake(primary->handover, worker->berth);
		break;
	case MESSAGE_READY:
		worker_set_ready(worker);
		break;
	case MESSAGE_RUNNING:
		worker_set_running(worker);
		primary_sweep(primary);
		break;
	case MESSAGE_LEAVING:
		on_leaving(worker, message->leaving.at_once != 0);
		break;
	case MESSAGE_PONG:
		break; /* that it came is enough */
	case MESSAGE_HELLO:
	case MESSAGE_MESSAGE: /* worker.c */
	case MESSAGE_WELCOME:
	case MESSAGE_LISTEN_RESULT:
	case MESSAGE_CONNECTION:
	case MESSAGE_LEAVE:
	case MESSAGE_PING:
	case MESSAGE_DIED:
		refuse_message(worker, message);
		break;
	}
}

static void on_ready(struct muster_worker *worker)
{
	struct primary *primary = primary_of(worker);

	reload_on_ready(primary, worker);
	pool_on_ready(primary, worker);
	primary_sweep(primary);
}

static void release_slot(struct muster_worker *worker)
{
	struct primary *primary = primary_of(worker);

	if (primary->slots[worker->id].holder == worker)
		primary->slots[worker->id].holder = NULL;
	reload_on_left(primary, worker);
}

static void on_draining(struct muster_worker *worker)
{
	struct primary *primary = primary_of(worker);

	listeners_detach(primary->listeners, worker);
	/* Who leaves of its own will has given its slot up; who was cut off
	 * keeps it until it is known why. */
	if (worker->is_voluntary) {
		release_slot(worker);
		pool_fill(primary);
	}
}

static void on_drained(struct muster_worker *worker)
{
	handover_wake(primary_of(worker)->handover, worker->berth);
}

static void on_disconnecting(struct muster_worker *worker)
{
	handover_leave(primary_of(worker)->handover, worker->berth);
}

/* What it owned in a store is handed on by those who have the same one. */
static void tell_others_it_died(struct primary *primary,
				const struct muster_worker *dead)
{
	LIST_EACH (&primary->workers, link) {
		struct muster_worker *worker =
			LIST_ENTRY(link, struct muster_worker, link);

		if (worker != dead && worker->said_hello &&
		    worker->is_connected && !worker->is_dead)
			channel_send(worker->channel,
				     &(struct message){
					     .type = MESSAGE_DIED,
					     .died = { (uint32_t)dead->id,
						       (uint32_t)dead->pid } },
				     -1);
	}
}

static void on_exiting(struct muster_worker *worker)
{
	struct primary *primary = primary_of(worker);

	primary->worker_count--;
	tell_others_it_died(primary, worker);
	release_slot(worker);
}

static void on_exited(struct muster_worker *worker)
{
	struct primary *primary = primary_of(worker);

	pool_on_exited(primary, worker);
	reload_on_exited(primary, worker);
	primary->berths[worker->berth] = 0;
	list_remove(&worker->link);
	if (primary->worker_count == 0)
		loop_defer(primary->cluster->loop, &primary->check_done);
	else
		primary_sweep(primary);
}

static const struct worker_events worker_events = {
	.on_message = on_message,
	.on_ready = on_ready,
	.on_draining = on_draining,
	.on_drained = on_drained,
	.on_disconnecting = on_disconnecting,
	.on_exiting = on_exiting,
	.on_exited = on_exited,
};

/* ---- starting ---- */

static int free_berth(const struct primary *primary)
{
	for (int berth = 0; berth < BOARD_BERTHS; berth++)
		if (!primary->berths[berth])
			return berth;
	return -1;
}

static void welcome(struct primary *primary, struct muster_worker *worker)
{
	const struct muster_options *options = &primary->cluster->options;
	struct message message = {
		.type = MESSAGE_WELCOME,
		.welcome = { .protocol = MESSAGES_PROTOCOL,
			     .worker_id = (uint32_t)worker->id,
			     .berth = worker->berth,
			     .serialization = worker->serialization,
			     .drain_ms = options->drain_ms,
			     .drain_idle_ms = options->drain_idle_ms },
	};
	int board = fcntl(primary->board_descriptor, F_DUPFD_CLOEXEC, 3);

	/* It is there before the worker looks for it. */
	channel_send(worker->channel, &message, board);
	DISCARD(channel_flush(worker->channel)); /* the end will be told */
}

int primary_start_worker(struct primary *primary, int id,
			 const char *const *env,
			 struct muster_worker *predecessor,
			 struct muster_worker **worker_out)
{
	struct muster_cluster *cluster = primary->cluster;
	int berth = free_berth(primary);
	int error = 0;

	if (!primary->is_set_up)
		error = primary_setup(primary, NULL);
	if (error < 0)
		return error;
	if (berth < 0)
		return -EAGAIN;

	struct muster_worker *worker = mem_zalloc(sizeof(*worker));
	struct worker_start start = {
		.settings = &primary->settings,
		.env = env,
		.exec = primary->settings.view.exec,
		.notify = primary->notify == NULL
				  ? NULL
				  : notify_name(primary->notify),
		.args = primary->settings.view.args,
		.events = &worker_events,
	};

	worker->cluster = cluster;
	worker->id = id;
	worker->name = mem_format("%s-worker-%d", cluster->name, id);
	worker->berth = (uint32_t)berth;
	worker->program = cluster->program;
	worker->generation = primary->reload.generation;
	error = worker_start(worker, &start);
	if (error < 0) {
		worker_free(worker);
		return problem_set(&cluster->problem, error, "FORK_FAILED",
				   "cannot start %.120s: %s (is the file there,"
				   " and may it be executed?)",
				   start.exec, strerror(-error));
	}
	log_info(&cluster->log, "worker started id=%d pid=%d", id,
		 (int)worker->pid);
	primary->berths[berth] = 1;
	primary->worker_count++;
	list_add_last(&primary->workers, &worker->link);
	handover_join(primary->handover, worker->berth, worker->channel);
	welcome(primary, worker);
	if (predecessor != NULL) {
		worker->predecessor = predecessor;
		predecessor->successor = worker;
	} else {
		primary->slots[id].holder = worker;
	}
	if (worker_out != NULL)
		*worker_out = worker;
	return 0;
}

void primary_start(struct primary *primary)
{
	const struct muster_options *options = &primary->cluster->options;

	if (options->workers == 0)
		return;
	if (primary_scale(primary, options->workers) < 0) {
		log_error(&primary->cluster->log, "pool refused workers=%d",
			  options->workers);
		primary->cluster->exit_code = 1;
	}
}

struct muster_worker *primary_next(struct primary *primary, int after_id)
{
	for (int id = after_id + 1; id <= SLOTS_MAX; id++)
		if (primary->slots[id].holder != NULL)
			return primary->slots[id].holder;
	return NULL;
}

struct muster_worker *primary_find(struct primary *primary, int id)
{
	return id >= 1 && id <= SLOTS_MAX ? primary->slots[id].holder : NULL;
}

size_t primary_count(const struct primary *primary)
{
	return primary->worker_count;
}

uint32_t primary_connections(const struct primary *primary,
			     const struct muster_worker *worker)
{
	return handover_open(primary->handover, worker->berth) +
	       atomic_load(&primary->board->berths[worker->berth].accepted);
}

/* ---- pings ---- */

static void ping(struct primary *primary, struct muster_worker *worker)
{
	struct muster_cluster *cluster = primary->cluster;

	if (!worker->said_hello || !worker->is_connected || worker->is_dead)
		return;
	if (worker->pings_missed >= PINGS_MISSED_MAX) {
		log_error(&cluster->log,
			  "worker hangs id=%d pid=%d silent_ms=%u", worker->id,
			  (int)worker->pid, cluster->options.hang_ms);
		problem_set(&cluster->problem, -ETIMEDOUT, "WORKER_HANGS",
			    "worker %d did not answer for %u ms and is ended",
			    worker->id, cluster->options.hang_ms);
		events_tell_error(worker, -ETIMEDOUT, cluster->problem.text);
		worker->pings_missed = 0;
		worker_terminate(worker, SIGABRT);
		return;
	}
	/* Any frame of the worker's sets it back: see worker.c. */
	if (worker->pings_missed++ > 0)
		handover_set_stuck(primary->handover, worker->berth);
	channel_send(worker->channel,
		     &(struct message){ .type = MESSAGE_PING,
					.ping = { worker->pings_missed } },
		     -1);
}

/* Counted in turns of this timer and not by the clock, so that a primary that
 * was stopped itself does not blame its workers. */
static void on_ping_time(void *owner)
{
	struct primary *primary = owner;

	LIST_EACH (&primary->workers, link) {
		ping(primary, LIST_ENTRY(link, struct muster_worker, link));
	}
}

/* ---- what workers say on NOTIFY_SOCKET ---- */

static struct muster_worker *find_pid(struct primary *primary, pid_t pid)
{
	LIST_EACH (&primary->workers, link) {
		struct muster_worker *worker =
			LIST_ENTRY(link, struct muster_worker, link);

		if (worker->pid == pid && !worker->is_dead)
			return worker;
	}
	return NULL;
}

static void on_notified_alive(void *owner, pid_t pid)
{
	struct muster_worker *worker = find_pid(owner, pid);

	if (worker != NULL)
		worker->pings_missed = 0;
}

static void on_notified_ready(void *owner, pid_t pid)
{
	struct muster_worker *worker = find_pid(owner, pid);

	if (worker != NULL)
		worker_set_ready(worker);
}

/* It leaves of its own will; it knows when it has finished. */
static void on_notified_stopping(void *owner, pid_t pid)
{
	struct muster_worker *worker = find_pid(owner, pid);

	if (worker != NULL)
		on_leaving(worker, false);
}

static const struct notify_events notify_events = {
	.on_ready = on_notified_ready,
	.on_stopping = on_notified_stopping,
	.on_alive = on_notified_alive,
};

/* ---- birth and death ---- */

static void on_ticket_time(void *owner)
{
	struct primary *primary = owner;

	board_make_key(primary->board);
}

struct primary *primary_new(struct muster_cluster *cluster)
{
	struct primary *primary = mem_zalloc(sizeof(*primary));

	primary->cluster = cluster;
	list_init(&primary->workers);
	list_init(&primary->done);
	list_init(&primary->setups);
	primary->check_done.run = run_check_done;
	primary->tell_setups.run = run_tell_setups;
	primary->board = board_new(&primary->board_descriptor);
	primary->handover = handover_new(cluster->loop, primary->board);
	board_make_key(primary->board);
	primary->tickets =
		timer_open(cluster->loop, on_ticket_time, primary, false);
	timer_start(primary->tickets, cluster->options.ticket_ms,
		    cluster->options.ticket_ms);
	primary->notify = notify_open(cluster->loop, &notify_events, primary);
	primary->listeners = listeners_new(cluster, primary->handover);
	pool_init(primary);
	reload_init(primary);
	primary->sweep =
		timer_open(cluster->loop, on_sweep_time, primary, false);
	primary->ping = timer_open(cluster->loop, on_ping_time, primary, false);
	if (!cluster->options.no_hang_check) {
		uint32_t interval_ms =
			cluster->options.hang_ms / PINGS_MISSED_MAX;

		timer_start(primary->ping, interval_ms, interval_ms);
	}
	primary_remember_window(primary);
	return primary;
}

const struct board *primary_board(const struct primary *primary)
{
	return primary->board;
}

static void forget_worker(struct primary *primary, struct muster_worker *worker)
{
	if (worker->is_connected) {
		listeners_detach(primary->listeners, worker);
		handover_leave(primary->handover, worker->berth);
	}
	list_remove(&worker->link);
	worker_free(worker);
}

void primary_free(struct primary *primary)
{
	struct list *link;

	if (primary == NULL)
		return;
	while ((link = list_first(&primary->workers)) != NULL)
		forget_worker(primary,
			      LIST_ENTRY(link, struct muster_worker, link));
	while ((link = list_take_first(&primary->done)) != NULL) {
		free(LIST_ENTRY(link, struct waiting_done, link));
	}
	while ((link = list_take_first(&primary->setups)) != NULL) {
		struct setup_told *told =
			LIST_ENTRY(link, struct setup_told, link);

		settings_fini(&told->settings);
		free(told);
	}
	loop_undefer(&primary->check_done);
	loop_undefer(&primary->tell_setups);
	timer_close(primary->ping);
	timer_close(primary->tickets);
	timer_close(primary->sweep);
	notify_close(primary->notify);
	reload_fini(primary);
	pool_fini(primary);
	listeners_free(primary->listeners);
	handover_free(primary->handover);
	board_free(primary->board);
	close(primary->board_descriptor);
	settings_fini(&primary->settings);
	free(primary);
}
