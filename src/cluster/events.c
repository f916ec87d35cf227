#include "cluster/events.h"

#include <stdlib.h>

#include "base/mem.h"
#include "cluster/cluster.h"
#include "cluster/worker.h"

struct handler {
	enum event event;
	event_fn fn;
	void *arg;
};

void handlers_add(struct handlers *handlers, enum event event, event_fn fn,
		  void *arg)
{
	handlers->list = mem_resize(handlers->list, handlers->count + 1,
				    sizeof(*handlers->list));
	handlers->list[handlers->count++] =
		(struct handler){ .event = event, .fn = fn, .arg = arg };
}

bool handlers_have(const struct handlers *handlers, enum event event)
{
	for (size_t i = 0; i < handlers->count; i++)
		if (handlers->list[i].event == event)
			return true;
	return false;
}

void handlers_fini(struct handlers *handlers)
{
	free(handlers->list);
	*handlers = (struct handlers){ 0 };
}

/* Calls `call` for each handler of the event. The list may grow and move while
 * it runs, so a handler is copied out before it is called. */
#define EACH_HANDLER(handlers, wanted, type, call)                             \
	for (size_t i = 0, end = (handlers)->count; i < end; i++) {            \
		struct handler handler = (handlers)->list[i];                  \
		type fn = (type)handler.fn;                                    \
                                                                               \
		if (handler.event == (wanted))                                 \
			call;                                                  \
	}

/* The cluster's first, then the worker's. */
#define EACH_LISTENER(worker, wanted, type, call)                              \
	do {                                                                   \
		EACH_HANDLER(&(worker)->cluster->handlers, wanted, type, call) \
		EACH_HANDLER(&(worker)->handlers, wanted, type, call)          \
	} while (0)

void events_tell_setup(struct muster_cluster *cluster,
		       const struct muster_settings *settings)
{
	EACH_HANDLER(&cluster->handlers, EVENT_SETUP, muster_setup_fn,
		     fn(cluster, settings, handler.arg))
}

void events_tell_cluster_error(struct muster_cluster *cluster, int code,
			       const char *text)
{
	EACH_HANDLER(&cluster->handlers, EVENT_ERROR, muster_error_fn,
		     fn(NULL, code, text, handler.arg))
}

void events_tell_failure(struct muster_cluster *cluster)
{
	EACH_HANDLER(&cluster->handlers, EVENT_FAILURE, muster_done_fn,
		     fn(cluster, handler.arg))
}

void events_tell(struct muster_worker *worker, enum event event)
{
	EACH_LISTENER(worker, event, muster_worker_fn, fn(worker, handler.arg));
}

void events_tell_listening(struct muster_worker *worker,
			   const struct muster_address *address)
{
	EACH_LISTENER(worker, EVENT_LISTENING, muster_listening_fn,
		      fn(worker, address, handler.arg));
}

void events_tell_message(struct muster_worker *worker,
			 struct muster_message *message)
{
	EACH_LISTENER(worker, EVENT_MESSAGE, muster_message_fn,
		      fn(worker, message, handler.arg));
}

void events_tell_exit(struct muster_worker *worker)
{
	EACH_LISTENER(worker, EVENT_EXIT, muster_exit_fn,
		      fn(worker, worker->code, worker->signal, handler.arg));
}

void events_tell_error(struct muster_worker *worker, int code, const char *text)
{
	EACH_LISTENER(worker, EVENT_ERROR, muster_error_fn,
		      fn(worker, code, text, handler.arg));
}

void events_tell_output(struct muster_worker *worker, int descriptor,
			const char *bytes, size_t length)
{
	EACH_LISTENER(worker, EVENT_OUTPUT, muster_output_fn,
		      fn(worker, descriptor, bytes, length, handler.arg));
}
