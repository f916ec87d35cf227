/*
 * worker - one worker, as the primary knows it; in a worker process, the one
 * record that stands for itself.
 *
 *   STARTING -> ONLINE -> READY -> DRAINING -> GONE   (any may skip ahead)
 *
 * The record lives from the fork until its exit callbacks have returned and
 * its channel is closed. disconnect is told before exit, always.
 */
#pragma once
#include <muster/cluster.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/list.h"
#include "base/problem.h"
#include "cluster/channel.h"
#include "cluster/events.h"
#include "cluster/settings.h"
#include "loop/loop.h"

struct child;
struct timer;
struct worker_events;
struct worker_pipe;

enum worker_state {
	WORKER_STARTING, /* the process was started */
	WORKER_ONLINE,   /* it said hello */
	WORKER_READY,    /* it serves */
	WORKER_DRAINING, /* it was told to go, or its channel is closed */
	WORKER_GONE,     /* it has exited */
	WORKER_STATES,
};

struct muster_worker {
	struct list link; /* in the primary's list of workers */
	struct muster_cluster *cluster;
	int id; /* its slot */
	char *name;
	uint32_t berth;
	pid_t pid;
	enum worker_state state;
	bool is_connected;
	bool is_dead;
	bool is_voluntary;
	bool was_asked;        /* to leave */
	bool was_told_at_once;
	bool finishes_nothing; /* asked to go at once */
	bool said_hello;
	uint32_t program; /* cluster->program when it was started */
	bool is_running;
	bool was_ready;
	bool missed_ready; /* was not ready in time */
	int code;
	int signal;
	bool wished_to_leave; /* before it was asked */
	uint64_t started_ms;
	uint64_t running_ms;
	struct child *child;
	struct channel *channel;
	enum muster_serialization serialization;
	const struct worker_events *events;
	struct handlers handlers; /* the application's */
	void *data;
	struct worker_pipe *pipes;
	size_t pipe_count;
	struct timer *ready_timer; /* to be ready within */
	struct timer *leave_timer; /* to be gone within; then TERM, then KILL */
	int leave_signal;          /* the next one to send */
	uint32_t pings_missed;
	uint32_t lanes;          /* a bit for each one in use */
	uint32_t answers_queued; /* since nothing was, at most */
	struct loop_task fork_told;
	struct loop_task freed;
	uint64_t generation; /* how many reloads had begun when it started */
	/* A reload: who it takes the slot over from, and who will. */
	struct muster_worker *predecessor;
	struct muster_worker *successor;
};

/* What the primary does when a worker's life goes on; called after the
 * application has been told. */
struct worker_events {
	void (*on_message)(struct muster_worker *worker,
			   const struct message *message,
			   struct channel_descriptors *descriptors);
	void (*on_ready)(struct muster_worker *worker);
	/* It gets no more connections: it was asked to leave, or asked to
	 * itself, or its channel is closed. */
	void (*on_draining)(struct muster_worker *worker);
	/* It read what had to wait for it. */
	void (*on_drained)(struct muster_worker *worker);
	/* Before the application is told. */
	void (*on_disconnecting)(struct muster_worker *worker);
	void (*on_exiting)(struct muster_worker *worker);
	void (*on_exited)(struct muster_worker *worker);
};

struct worker_start {
	const struct settings *settings;
	const char *const *env;  /* of this worker alone; may be NULL */
	const char *exec;        /* resolved */
	const char *notify;      /* NOTIFY_SOCKET; NULL: none */
	const char *const *args; /* without [0] */
	const struct worker_events *events;
};

/*
 * Starts the process; `worker` has its id, name and berth. Fails with the
 * -errno of socketpair(2), fork(2) or execve(2).
 */
__attribute__((warn_unused_result)) int
worker_start(struct muster_worker *worker, const struct worker_start *start);
/* What is left of a worker that has gone, or was not started. */
void worker_free(struct muster_worker *worker);

void worker_move(struct muster_worker *worker, enum worker_state state);
const char *worker_state_name(enum worker_state state);

/* Tells the application and the primary that it serves. */
void worker_set_ready(struct muster_worker *worker);

/* It turns its loop: what it does not listen on soon it never will. */
void worker_set_running(struct muster_worker *worker);

/* Asks it to go and sees to it that it does. */
void worker_ask_to_leave(struct muster_worker *worker, bool at_once);
/* At once, and nothing else; -ESRCH: it is dead. */
int worker_kill(struct muster_worker *worker, int signal);
/* TERM now, KILL after kill_ms. */
void worker_terminate(struct muster_worker *worker, int signal);
/* Closes a channel whose other side broke the rules. */
void worker_break(struct muster_worker *worker, const struct problem *problem);
