/*
 * events - who wants to be told of what: the callbacks that an application
 * registered on a cluster or on one worker.
 *
 * Called in the order of registration, the cluster's first. A callback may
 * register more; those are called from the next event on.
 */
#pragma once
#include <muster/cluster.h>
#include <stdbool.h>
#include <stddef.h>

enum event {
	EVENT_SETUP,
	EVENT_FORK,
	EVENT_ONLINE,
	EVENT_LISTENING,
	EVENT_READY,
	EVENT_MESSAGE,
	EVENT_DRAIN,
	EVENT_DISCONNECT,
	EVENT_EXIT,
	EVENT_ERROR,
	EVENT_OUTPUT,
	EVENT_FAILURE,
};

struct handler;

/* Zeroed is empty. */
struct handlers {
	struct handler *list;
	size_t count;
};

typedef void (*event_fn)(void); /* whatever type the event has */

void handlers_add(struct handlers *handlers, enum event event, event_fn fn,
		  void *arg);
bool handlers_have(const struct handlers *handlers, enum event event);
void handlers_fini(struct handlers *handlers);

void events_tell_setup(struct muster_cluster *cluster,
		       const struct muster_settings *settings);
/* ERROR without a worker: one that could not be started. */
void events_tell_cluster_error(struct muster_cluster *cluster, int code,
			       const char *text);
void events_tell_failure(struct muster_cluster *cluster);
/* FORK, ONLINE, READY, DRAIN, DISCONNECT. */
void events_tell(struct muster_worker *worker, enum event event);
void events_tell_listening(struct muster_worker *worker,
			   const struct muster_address *address);
void events_tell_message(struct muster_worker *worker,
			 struct muster_message *message);
void events_tell_exit(struct muster_worker *worker);
void events_tell_error(struct muster_worker *worker, int code,
		       const char *text);
void events_tell_output(struct muster_worker *worker, int descriptor,
			const char *bytes, size_t length);
