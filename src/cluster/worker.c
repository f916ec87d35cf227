#include "cluster/worker.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/mem.h"
#include "base/must.h"
#include "cluster/cluster.h"
#include "cluster/message.h"
#include "loop/child.h"
#include "loop/stream.h"
#include "loop/timer.h"

/* Where a worker finds its channel, unless the stdio table says otherwise. */
#define CHANNEL_DESCRIPTOR 3
#define DESCRIPTORS_MAX    (4 + 2 * SETTINGS_STDIO_MAX)

/* More than a pipe holds. */
#define DRAIN_READS_MAX 256

struct worker_pipe {
	struct muster_worker *worker;
	int index;             /* the worker's descriptor */
	struct stream *stream; /* NULL: ended */
	bool is_quiet;         /* nothing came since it was cleared */
	bool is_shut;          /* our side of it is closed */
	bool is_busy;
};

/* ---- states ---- */

#define TO(state) (1u << (state))

static const unsigned may_become[WORKER_STATES] = {
	[WORKER_STARTING] = TO(WORKER_ONLINE) | TO(WORKER_READY) |
			    TO(WORKER_DRAINING) | TO(WORKER_GONE),
	[WORKER_ONLINE] =
		TO(WORKER_READY) | TO(WORKER_DRAINING) | TO(WORKER_GONE),
	[WORKER_READY] = TO(WORKER_DRAINING) | TO(WORKER_GONE),
	[WORKER_DRAINING] = TO(WORKER_GONE),
};

static const char *const state_names[WORKER_STATES] = {
	[WORKER_STARTING] = "starting", [WORKER_ONLINE] = "online",
	[WORKER_READY] = "ready",       [WORKER_DRAINING] = "draining",
	[WORKER_GONE] = "gone",
};

const char *worker_state_name(enum worker_state state)
{
	return state_names[state];
}

void worker_move(struct muster_worker *worker, enum worker_state state)
{
	MUST((may_become[worker->state] & TO(state)) != 0);
	log_debug(&worker->cluster->log, "worker moved id=%d pid=%d %s -> %s",
		  worker->id, (int)worker->pid, state_names[worker->state],
		  state_names[state]);
	worker->state = state;
}

/* ---- leaving ---- */

static void send_signal(struct muster_worker *worker, int signal)
{
	/* It may have ended a moment ago; its exit will be told. */
	DISCARD(child_kill(worker->child, signal));
}

int worker_kill(struct muster_worker *worker, int signal)
{
	return child_kill(worker->child, signal);
}

static void on_leave_time(void *owner)
{
	struct muster_worker *worker = owner;
	uint32_t kill_ms = worker->cluster->options.kill_ms;

	log_warn(&worker->cluster->log,
		 "worker did not end in time id=%d pid=%d sent=%s", worker->id,
		 (int)worker->pid, strsignal(worker->leave_signal));
	send_signal(worker, worker->leave_signal);
	if (worker->leave_signal != SIGKILL) {
		worker->leave_signal = SIGKILL;
		timer_start(worker->leave_timer, kill_ms, 0);
	}
}

/* How long a program that was asked to go may still be starting. */
static uint32_t hello_ms(const struct muster_worker *worker)
{
	const struct muster_options *options = &worker->cluster->options;

	return options->min_uptime_ms < options->drain_ms
		       ? options->min_uptime_ms
		       : options->drain_ms;
}

static void leave_within(struct muster_worker *worker, uint32_t deadline_ms)
{
	if (worker->is_dead || timer_is_started(worker->leave_timer))
		return;
	worker->leave_signal = SIGTERM;
	timer_start(worker->leave_timer, deadline_ms, 0);
}

void worker_terminate(struct muster_worker *worker, int signal)
{
	if (worker->is_dead)
		return;
	send_signal(worker, signal);
	worker->leave_signal = SIGKILL;
	timer_start(worker->leave_timer, worker->cluster->options.kill_ms, 0);
}

static void start_draining(struct muster_worker *worker)
{
	if (worker->state == WORKER_DRAINING)
		return;
	worker_move(worker, WORKER_DRAINING);
	worker->events->on_draining(worker);
}

/* The time it has once it knows that it is to go. */
static uint32_t leave_ms(const struct muster_worker *worker)
{
	return worker->finishes_nothing ? worker->cluster->options.kill_ms
					: worker->cluster->options.drain_ms;
}

void worker_ask_to_leave(struct muster_worker *worker, bool at_once)
{
	/* At once is told once as well, however often the worker asks. */
	if (worker->is_dead || worker->was_told_at_once ||
	    (worker->was_asked && !at_once))
		return;
	worker->was_told_at_once = at_once;
	if (worker->is_connected)
		channel_send(worker->channel,
			     &(struct message){ .type = MESSAGE_LEAVE,
						.leave = { at_once } },
			     -1);
	if (worker->was_asked)
		return;
	worker->was_asked = true;
	worker->is_voluntary = true;
	start_draining(worker);
	timer_stop(worker->ready_timer);
	worker->finishes_nothing = at_once;
	leave_within(worker, leave_ms(worker));
	/* A program that does not say hello soon does not read the channel. */
	if (!worker->said_hello)
		timer_start(worker->leave_timer, hello_ms(worker), 0);
}

/* ---- the channel ---- */

static void disconnected(struct muster_worker *worker,
			 const struct problem *problem)
{
	if (!worker->is_connected)
		return;
	worker->is_connected = false;
	timer_stop(worker->ready_timer);
	start_draining(worker);
	worker->events->on_disconnecting(worker);
	channel_close(worker->channel);
	worker->channel = NULL;
	if (problem->code < 0) {
		if (!handlers_have(&worker->cluster->handlers, EVENT_ERROR) &&
		    !handlers_have(&worker->handlers, EVENT_ERROR))
			log_error(&worker->cluster->log,
				  "worker broke its channel id=%d pid=%d "
				  "problem=%s text=\"%s\"",
				  worker->id, (int)worker->pid, problem->name,
				  problem->text);
		events_tell_error(worker, problem->code, problem->text);
		worker_terminate(worker, SIGTERM);
	}
	events_tell(worker, EVENT_DISCONNECT);
	leave_within(worker, worker->cluster->options.drain_ms);
}

void worker_break(struct muster_worker *worker, const struct problem *problem)
{
	worker->cluster->problem = *problem;
	disconnected(worker, problem);
}

static void on_channel_end(void *owner, const struct problem *problem)
{
	struct muster_worker *worker = owner;

	if (problem->code < 0)
		worker->cluster->problem = *problem;
	disconnected(worker, problem);
}

static void on_hello(struct muster_worker *worker,
		     const struct message_hello *hello)
{
	struct problem problem;

	if (hello->protocol != MESSAGES_PROTOCOL) {
		problem_set(&problem, -EPROTO, "PROTOCOL_VERSION",
			    "worker %d speaks version %u of the channel, the "
			    "primary %u (build both with the same muster)",
			    worker->id, hello->protocol, MESSAGES_PROTOCOL);
		worker_break(worker, &problem);
		return;
	}
	if (worker->said_hello)
		return;
	worker->said_hello = true;
	if (worker->program == worker->cluster->program)
		worker->cluster->program_speaks = true;
	/* Else it was slow, and passed for a program that does not speak. */
	if (worker->state == WORKER_STARTING)
		worker_move(worker, WORKER_ONLINE);
	if (worker->was_asked) {
		/* It was, before it was there: now it has its time. */
		timer_start(worker->leave_timer, leave_ms(worker), 0);
		return;
	}
	events_tell(worker, EVENT_ONLINE);
}

static void on_channel_message(void *owner, const struct message *message,
			       struct channel_descriptors *descriptors)
{
	struct muster_worker *worker = owner;

	struct problem problem;

	worker->pings_missed = 0;
	if (!worker->said_hello && message->type != MESSAGE_HELLO) {
		problem_set(&problem, -EPROTO, "HELLO_MISSING",
			    "worker %d sent %s before it said HELLO",
			    worker->id, message_name(message->type));
		worker_break(worker, &problem);
		return;
	}
	if (message->type == MESSAGE_HELLO)
		on_hello(worker, &message->hello);
	else if (message->type == MESSAGE_MESSAGE)
		message_tell(worker, &message->message.content, descriptors);
	else
		worker->events->on_message(worker, message, descriptors);
}

static void on_channel_drained(void *owner, bool was_busy)
{
	struct muster_worker *worker = owner;

	worker->events->on_drained(worker);
	if (was_busy)
		events_tell(worker, EVENT_DRAIN);
}

static const struct channel_events channel_events = {
	.on_message = on_channel_message,
	.on_end = on_channel_end,
	.on_drained = on_channel_drained,
};

/* ---- ready ---- */

void worker_set_ready(struct muster_worker *worker)
{
	if (worker->state != WORKER_STARTING && worker->state != WORKER_ONLINE)
		return;
	timer_stop(worker->ready_timer);
	worker->was_ready = true;
	worker_move(worker, WORKER_READY);
	log_info(&worker->cluster->log,
		 "worker ready id=%d pid=%d after_ms=%llu", worker->id,
		 (int)worker->pid,
		 (unsigned long long)(loop_now_ms(worker->cluster->loop) -
				      worker->started_ms));
	events_tell(worker, EVENT_READY);
	worker->events->on_ready(worker);
}

/* Will it say hello? Where nobody knows it may be a program that is not made
 * for us. */
static bool is_known_to_speak(const struct muster_worker *worker)
{
	return worker->said_hello ||
	       (worker->program == worker->cluster->program &&
		worker->cluster->program_speaks);
}

/* When it is ready by being alive: UINT64_MAX where that is not enough. */
static uint64_t ready_at_ms(const struct muster_worker *worker)
{
	const struct muster_options *options = &worker->cluster->options;

	if (options->wait_ready)
		return UINT64_MAX;
	if (worker->is_running)
		return worker->running_ms + options->min_uptime_ms;
	if (!is_known_to_speak(worker))
		return worker->started_ms + options->min_uptime_ms;
	return UINT64_MAX;
}

static void set_ready_timer(struct muster_worker *worker)
{
	uint64_t now_ms = loop_now_ms(worker->cluster->loop);
	uint64_t at_ms = worker->started_ms + worker->cluster->options.ready_ms;

	if (ready_at_ms(worker) < at_ms)
		at_ms = ready_at_ms(worker);
	timer_start(worker->ready_timer, at_ms > now_ms ? at_ms - now_ms : 0,
		    0);
}

void worker_set_running(struct muster_worker *worker)
{
	worker->is_running = true;
	worker->running_ms = loop_now_ms(worker->cluster->loop);
	if (worker->state < WORKER_READY)
		set_ready_timer(worker);
}

/*
 * First min_uptime_ms after it was started, or, where it speaks to us, after
 * it began to run: a program that does not listen is ready by being alive.
 * Else after ready_ms: it had its time.
 */
static void on_ready_time(void *owner)
{
	struct muster_worker *worker = owner;
	const struct muster_options *options = &worker->cluster->options;
	uint64_t now_ms = loop_now_ms(worker->cluster->loop);

	if (now_ms >= ready_at_ms(worker)) {
		worker_set_ready(worker);
		return;
	}
	if (now_ms < worker->started_ms + options->ready_ms) {
		set_ready_timer(worker);
		return;
	}
	worker->missed_ready = true;
	problem_set(&worker->cluster->problem, -ETIMEDOUT, "NOT_READY",
		    "worker %d was not ready within %u ms (does it listen, or "
		    "call muster_ready()? raise ready_ms if it needs longer)",
		    worker->id, options->ready_ms);
	log_error(&worker->cluster->log,
		  "worker not ready in time id=%d pid=%d ready_ms=%u",
		  worker->id, (int)worker->pid, options->ready_ms);
	worker_terminate(worker, SIGTERM);
}

/* ---- pipes ---- */

static void on_pipe_bytes(void *owner, const uint8_t *bytes, size_t length)
{
	struct worker_pipe *pipe = owner;

	pipe->is_quiet = false;
	events_tell_output(pipe->worker, pipe->index, (const char *)bytes,
			   length);
}

static void close_pipe(struct worker_pipe *pipe)
{
	if (pipe->stream == NULL)
		return;
	stream_close(pipe->stream);
	pipe->stream = NULL;
	events_tell_output(pipe->worker, pipe->index, "", 0);
}

static void on_pipe_end(void *owner, int error)
{
	(void)error;
	close_pipe(owner);
}

static void on_pipe_written(void *owner)
{
	struct worker_pipe *pipe = owner;

	if (pipe->is_busy)
		events_tell(pipe->worker, EVENT_DRAIN);
	pipe->is_busy = false;
}

static const struct stream_events pipe_events = {
	.on_bytes = on_pipe_bytes,
	.on_end = on_pipe_end,
	.on_written = on_pipe_written,
};

/* What a worker wrote before it exited is told before its exit. What a child
 * of its goes on writing has no end. */
static void drain_pipes(struct muster_worker *worker)
{
	for (size_t i = 0; i < worker->pipe_count; i++) {
		struct worker_pipe *pipe = &worker->pipes[i];

		pipe->is_quiet = false;
		for (int reads = 0; reads < DRAIN_READS_MAX && !pipe->is_quiet;
		     reads++) {
			pipe->is_quiet = true;
			if (pipe->stream != NULL)
				stream_read_now(pipe->stream);
		}
		close_pipe(pipe);
	}
}

static struct worker_pipe *find_pipe(struct muster_worker *worker,
				     int descriptor)
{
	for (size_t i = 0; i < worker->pipe_count; i++)
		if (worker->pipes[i].index == descriptor &&
		    worker->pipes[i].stream != NULL)
			return &worker->pipes[i];
	return NULL;
}

int muster_worker_write(struct muster_worker *worker, int descriptor,
			const void *bytes, size_t length)
{
	struct worker_pipe *pipe = find_pipe(worker, descriptor);
	struct iovec part = { .iov_base = (void *)(uintptr_t)bytes,
			      .iov_len = length };

	if (pipe == NULL || pipe->is_shut)
		return -EBADF;
	stream_write(pipe->stream, &part, 1);
	if (stream_queued_bytes(pipe->stream) <= CHANNEL_BUSY_BYTES)
		return 0;
	pipe->is_busy = true;
	return MUSTER_BUSY;
}

int muster_worker_close_pipe(struct muster_worker *worker, int descriptor)
{
	struct worker_pipe *pipe = find_pipe(worker, descriptor);

	if (pipe == NULL || pipe->is_shut)
		return -EBADF;
	pipe->is_shut = true;
	stream_shutdown(pipe->stream);
	return 0;
}

/* ---- the end ---- */

static void run_freed(struct loop_task *task)
{
	worker_free(LIST_ENTRY(task, struct muster_worker, freed));
}

static void on_child_exited(void *owner, int code, int signal)
{
	static const struct problem no_problem = { 0 };
	struct muster_worker *worker = owner;

	worker->is_dead = true;
	worker->code = code;
	worker->signal = signal;
	timer_stop(worker->leave_timer);
	/* What it said last comes first. */
	if (worker->is_connected)
		channel_drain(worker->channel);
	disconnected(worker, &no_problem);
	drain_pipes(worker);
	worker_move(worker, WORKER_GONE);
	log_info(&worker->cluster->log,
		 "worker exited id=%d pid=%d %s ran_ms=%llu", worker->id,
		 (int)worker->pid, muster_exit_text(code, signal),
		 (unsigned long long)(loop_now_ms(worker->cluster->loop) -
				      worker->started_ms));
	worker->events->on_exiting(worker);
	events_tell_exit(worker);
	worker->events->on_exited(worker);
	loop_defer(worker->cluster->loop, &worker->freed);
}

/* ---- the start ---- */

/* What the child finds, entry by entry; -1 is /dev/null. Ours to close after
 * the fork are those in `opened`. */
struct table {
	int list[DESCRIPTORS_MAX];
	size_t count;
	int channel; /* the child's number of it */
	int opened[DESCRIPTORS_MAX];
	size_t opened_count;
};

static int pair(int ends[2])
{
	return socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK,
			  0, ends) < 0
		       ? -errno
		       : 0;
}

static int add_pipe(struct muster_worker *worker, struct table *table)
{
	int ends[2];
	int error = pair(ends);

	if (error < 0)
		return error;
	/* The child's end blocks, as a program expects of its output. */
	DISCARD(fcntl(ends[1], F_SETFL, fcntl(ends[1], F_GETFL) & ~O_NONBLOCK));
	struct worker_pipe *pipe = &worker->pipes[worker->pipe_count++];

	pipe->worker = worker;
	pipe->index = (int)table->count;
	pipe->stream =
		stream_open(worker->cluster->loop, ends[0], &pipe_events, pipe);
	table->opened[table->opened_count++] = ends[1];
	table->list[table->count++] = ends[1];
	return 0;
}

static int add_entry(struct muster_worker *worker, struct table *table,
		     int entry, int channel)
{
	switch (entry) {
	case MUSTER_STDIO_PIPE:
		return add_pipe(worker, table);
	case MUSTER_STDIO_CHANNEL:
		table->channel = (int)table->count;
		table->list[table->count++] = channel;
		return 0;
	default:
		table->list[table->count++] = entry < 0 ? -1 : entry;
		return 0;
	}
}

static int fill_table(struct muster_worker *worker,
		      const struct muster_settings *settings, int channel,
		      struct table *table)
{
	static const int plain[] = { 0, 1, 2, MUSTER_STDIO_CHANNEL };
	static const int silent[] = { MUSTER_STDIO_NULL, MUSTER_STDIO_PIPE,
				      MUSTER_STDIO_PIPE, MUSTER_STDIO_CHANNEL };
	const int *stdio = settings->silent ? silent : plain;
	size_t count = 4;
	int error = 0;

	if (settings->stdio != NULL) {
		stdio = settings->stdio;
		count = settings->stdio_count;
	}
	worker->pipes = mem_zalloc((count + settings->descriptor_count) *
				   sizeof(*worker->pipes));
	for (size_t i = 0; i < count && error == 0; i++)
		error = add_entry(worker, table, stdio[i], channel);
	for (size_t i = 0; i < settings->descriptor_count && error == 0; i++)
		error = add_entry(worker, table, settings->descriptors[i],
				  channel);
	return error;
}

/* The name of the variable is over before '='. */
static bool is_same_variable(const char *one, const char *other)
{
	size_t length = strcspn(one, "=");

	return strncmp(one, other, length) == 0 && other[length] == '=';
}

struct environment {
	char **list;
	size_t count;
};

static void set_variable(struct environment *environment, char *variable)
{
	for (size_t i = 0; i < environment->count; i++) {
		if (!is_same_variable(environment->list[i], variable))
			continue;
		free(environment->list[i]);
		environment->list[i] = variable;
		return;
	}
	environment->list =
		mem_resize(environment->list, environment->count + 2,
			   sizeof(*environment->list));
	environment->list[environment->count++] = variable;
	environment->list[environment->count] = NULL;
}

static void drop_variable(struct environment *environment, const char *prefix)
{
	size_t kept = 0;

	for (size_t i = 0; i < environment->count; i++) {
		char *variable = environment->list[i];

		if (strncmp(variable, prefix, strlen(prefix)) == 0)
			free(variable);
		else
			environment->list[kept++] = variable;
	}
	environment->count = kept;
	if (environment->list != NULL)
		environment->list[kept] = NULL;
}

static void set_variables(struct environment *environment,
			  const char *const *list)
{
	for (size_t i = 0; list != NULL && list[i] != NULL; i++)
		if (strchr(list[i], '=') != NULL)
			set_variable(environment, mem_text(list[i]));
}

static struct environment environment_of(const struct muster_worker *worker,
					 const struct worker_start *start,
					 int channel)
{
	struct environment environment = { 0 };

	set_variables(&environment, (const char *const *)environ);
	set_variables(&environment, start->settings->view.env);
	set_variables(&environment, start->env);
	set_variable(&environment,
		     mem_format("MUSTER_WORKER_ID=%d", worker->id));
	set_variable(&environment, mem_format("MUSTER_NAME=%s", worker->name));
	set_variable(&environment, mem_format("MUSTER_CHANNEL_FD=%d", channel));
	set_variable(&environment,
		     mem_format("NODE_APP_INSTANCE=%d", worker->id - 1));
	/* Our own, if there is one, is for us alone. */
	drop_variable(&environment, "NOTIFY_SOCKET=");
	drop_variable(&environment, "WATCHDOG_");
	if (start->notify != NULL)
		set_variable(&environment,
			     mem_format("NOTIFY_SOCKET=%s", start->notify));
	return environment;
}

static char **arguments_of(const struct worker_start *start)
{
	size_t count = 0;

	while (start->args != NULL && start->args[count] != NULL)
		count++;
	char **arguments = mem_alloc((count + 2) * sizeof(*arguments));

	arguments[0] = mem_text(start->exec);
	for (size_t i = 0; i < count; i++)
		arguments[i + 1] = mem_text(start->args[i]);
	arguments[count + 1] = NULL;
	return arguments;
}

static int spawn(struct muster_worker *worker, const struct worker_start *start,
		 const struct table *table)
{
	struct environment environment =
		environment_of(worker, start, table->channel);
	char **arguments = arguments_of(start);
	struct child_options options = {
		.file = start->exec,
		.arguments = arguments,
		.environment = environment.list,
		.directory = start->settings->view.cwd,
		.uid = start->settings->view.uid,
		.gid = start->settings->view.gid,
		.descriptors = table->list,
		.descriptor_count = table->count,
	};
	/* Whatever this program has opened since, the worker finds what it is
	 * given and nothing else. */
	DISCARD(close_range(3, ~0u, CLOSE_RANGE_CLOEXEC));
	int error = child_open(worker->cluster->loop, &options, on_child_exited,
			       worker, &worker->child);

	texts_free((const char *const *)arguments);
	texts_free((const char *const *)environment.list);
	return error;
}

static void run_fork_told(struct loop_task *task)
{
	events_tell(LIST_ENTRY(task, struct muster_worker, fork_told),
		    EVENT_FORK);
}

static void start_pipes(struct muster_worker *worker)
{
	for (size_t i = 0; i < worker->pipe_count; i++)
		stream_start_reading(worker->pipes[i].stream);
}

int worker_start(struct muster_worker *worker, const struct worker_start *start)
{
	struct loop *loop = worker->cluster->loop;
	struct table table = { .channel = CHANNEL_DESCRIPTOR };
	int ends[2] = { -1, -1 };
	int error = pair(ends);

	if (error == 0)
		error = fill_table(worker, &start->settings->view, ends[1],
				   &table);
	if (error == 0)
		error = spawn(worker, start, &table);
	for (size_t i = 0; i < table.opened_count; i++)
		close(table.opened[i]);
	if (ends[1] >= 0)
		close(ends[1]);
	if (error < 0) {
		if (ends[0] >= 0)
			close(ends[0]);
		return error;
	}

	worker->pid = child_pid(worker->child);
	worker->is_connected = true;
	worker->events = start->events;
	worker->started_ms = loop_now_ms(loop);
	worker->serialization = start->settings->view.serialization;
	worker->channel = channel_open(loop, ends[0], &channel_events, worker);
	worker->ready_timer = timer_open(loop, on_ready_time, worker, false);
	worker->leave_timer = timer_open(loop, on_leave_time, worker, false);
	worker->fork_told.run = run_fork_told;
	worker->freed.run = run_freed;
	channel_start(worker->channel);
	start_pipes(worker);
	set_ready_timer(worker);
	loop_defer(loop, &worker->fork_told);
	return 0;
}

void worker_free(struct muster_worker *worker)
{
	for (size_t i = 0; i < worker->pipe_count; i++)
		if (worker->pipes[i].stream != NULL)
			stream_close(worker->pipes[i].stream);
	channel_close(worker->channel);
	child_close(worker->child);
	timer_close(worker->ready_timer);
	timer_close(worker->leave_timer);
	loop_undefer(&worker->fork_told);
	loop_undefer(&worker->freed);
	handlers_fini(&worker->handlers);
	free(worker->pipes);
	free(worker->name);
	free(worker);
}
