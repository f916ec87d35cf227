#include "service/node_bus.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/must.h"
#include "service/pubsub.h"
#include "service/routine.h"
#include "service/rpc.h"

#define GUEST    "guest-"
#define LEAVE_MS 500

/* A fiber that waits for the bus. */
struct opening {
	struct fiber_wait wait;
};

static void on_up(void *owner)
{
	struct opening *opening = owner;

	fiber_wake(opening->wait, 0);
}

/* Others' messages arrive from here on. A store that is away is waited for by
 * the bus itself, later. */
static int await_up(struct muster *muster)
{
	static const struct bus_events events = { .on_up = on_up };
	struct opening opening = { .wait = fiber_wait_begin() };

	if (bus_is_up(muster->bus))
		return 0;
	struct bus_watcher *watcher = bus_watch(muster->bus, &events, &opening);
	int error = routine_park(muster, opening.wait,
				 muster->settings.options.store_ms);

	bus_unwatch(watcher);
	if (error == -ETIMEDOUT)
		log_warn(&muster->log, "other servers cannot be heard yet");
	return error == -ECANCELED ? error : 0;
}

static int open_bus(struct muster *muster, struct problem *problem)
{
	char *guest = mem_format(GUEST "%s", muster->nonce);

	muster->bus = bus_open(
		muster->loop, muster->store,
		&(struct bus_options){
			.id = muster->id[0] != '\0' ? muster->id : guest,
			.nonce = muster->nonce,
			.token = muster->token,
			.meters = muster->meters,
		},
		problem);
	free(guest);
	return muster->bus == NULL ? problem->code : 0;
}

/* Few tools need it: a guest's is opened when it is first asked for. */
static int start(struct muster *muster)
{
	if (muster->settings.options.is_guest)
		return 0;
	int error = open_bus(muster, routine_problem(muster));

	return error < 0 ? error : await_up(muster);
}

static bool can_open(const struct muster *muster)
{
	return muster->settings.options.is_guest && muster->pubsub != NULL &&
	       muster->rpc != NULL && muster->state < NODE_STOPPING;
}

struct bus *node_bus(struct muster *muster)
{
	if (muster->bus != NULL)
		return muster->bus;
	if (!can_open(muster)) {
		problem_set(routine_problem(muster), -ENOTCONN, "BUS_CLOSED",
			    "this node has no way to other servers yet, or no "
			    "longer");
		return NULL;
	}
	if (open_bus(muster, routine_problem(muster)) < 0)
		return NULL;
	pubsub_attach(muster);
	rpc_attach(muster);
	if (routine_current(muster) != NULL && await_up(muster) < 0)
		return NULL;
	return muster->bus;
}

static void on_gone(void *owner, int error, int64_t receivers)
{
	struct opening *opening = owner;

	(void)error;
	(void)receivers;
	fiber_wake(opening->wait, 0);
}

/* What was published last has left when a message behind it has. */
static void stop(struct muster *muster)
{
	static const char type[] = "leaving";
	const char *id = muster->id;

	if (muster->bus == NULL || id[0] == '\0')
		return;
	struct opening opening = { .wait = fiber_wait_begin() };

	if (bus_publish(
		    muster->bus,
		    &(struct bus_outgoing){ .type = { type, sizeof(type) - 1 },
					    .to = { id, strlen(id) } },
		    on_gone, &opening) < 0)
		return;
	DISCARD(routine_park(muster, opening.wait,
			     LEAVE_MS)); /* they are lost, then */
	bus_forget(muster->bus, &opening);
}

/* Under another name it is heard under that one. */
static void on_rejoin(struct muster *muster)
{
	if (muster->bus != NULL)
		bus_rename(muster->bus, muster->id);
}

static void close_bus(struct muster *muster)
{
	bus_close(muster->bus);
	muster->bus = NULL;
}

const struct node_part bus_part = {
	.name = "bus",
	.start = start,
	.on_rejoin = on_rejoin,
	.stop = stop,
	.close = close_bus,
};
