/* The registration functions of muster/cluster.h, two for each event. */
#include "cluster/cluster.h"
#include "cluster/self.h"
#include "cluster/worker.h"

/* In a worker a handler of messages keeps the process going. */
static void added(struct muster_cluster *cluster)
{
	if (cluster->self != NULL)
		self_on_handler(cluster->self);
}

#define ON_CLUSTER(event, EVENT, type)                                         \
	void muster_on_##event(struct muster_cluster *cluster, type fn,        \
			       void *arg)                                      \
	{                                                                      \
		handlers_add(&cluster->handlers, EVENT, (event_fn)fn, arg);    \
		added(cluster);                                                \
	}

#define ON_WORKER(event, EVENT, type)                                          \
	void muster_worker_on_##event(struct muster_worker *worker, type fn,   \
				      void *arg)                               \
	{                                                                      \
		handlers_add(&worker->handlers, EVENT, (event_fn)fn, arg);     \
		added(worker->cluster);                                        \
	}

#define ON_BOTH(event, EVENT, type)                                            \
	ON_CLUSTER(event, EVENT, type)                                         \
	ON_WORKER(event, EVENT, type)

ON_CLUSTER(setup, EVENT_SETUP, muster_setup_fn)
ON_CLUSTER(fork, EVENT_FORK, muster_worker_fn)
ON_CLUSTER(failure, EVENT_FAILURE, muster_done_fn)
ON_BOTH(online, EVENT_ONLINE, muster_worker_fn)
ON_BOTH(listening, EVENT_LISTENING, muster_listening_fn)
ON_BOTH(ready, EVENT_READY, muster_worker_fn)
ON_BOTH(message, EVENT_MESSAGE, muster_message_fn)
ON_BOTH(drain, EVENT_DRAIN, muster_worker_fn)
ON_BOTH(disconnect, EVENT_DISCONNECT, muster_worker_fn)
ON_BOTH(exit, EVENT_EXIT, muster_exit_fn)
ON_BOTH(error, EVENT_ERROR, muster_error_fn)
ON_BOTH(output, EVENT_OUTPUT, muster_output_fn)
