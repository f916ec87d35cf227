#include "service/rpc.h"

#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/must.h"
#include "service/rpc_internal.h"

static void on_do(void *owner, const struct bus_message *message)
{
	struct rpc *rpc = owner;

	rpc_callee_do(rpc->callee, message);
}

void rpc_counts(const struct muster *muster, uint64_t *late, uint64_t *repeated)
{
	*late = muster->rpc->late;
	*repeated = rpc_callee_repeated(muster->rpc->callee);
}

void rpc_attach(struct muster *muster)
{
	struct rpc *rpc = muster->rpc;

	rpc->on_do = bus_on_type(muster->bus, rpc_text_of("do"), on_do, rpc);
	rpc->on_response = bus_on_type(muster->bus, rpc_text_of("doResponse"),
				       rpc_answer_take, rpc);
	MUST(rpc->on_do != NULL && rpc->on_response != NULL);
}

static int start(struct muster *muster)
{
	struct rpc *rpc = mem_zalloc(sizeof(*rpc));

	muster->rpc = rpc;
	rpc->muster = muster;
	rpc->nonce = mem_text(muster->nonce);
	rpc->id = mem_text(muster->id);
	for (size_t i = 0; i < RPC_BUCKETS; i++)
		list_init(&rpc->pending[i]);
	rpc->callee = rpc_callee_new(rpc);
	if (muster->bus != NULL)
		rpc_attach(muster);
	return 0;
}

static void on_peer(struct muster *muster, enum muster_peer_event event,
		    const char *id)
{
	if (event == MUSTER_PEER_IS_DOWN || event == MUSTER_PEER_HAS_LEFT)
		rpc_pending_peer_gone(muster->rpc, id);
}

/* Answers go to the name that this node had, which may be another's now. */
static void on_rejoin(struct muster *muster)
{
	struct rpc *rpc = muster->rpc;

	if (strcmp(rpc->id, muster->id) == 0)
		return;
	rpc_pending_disown(rpc);
	free(rpc->id);
	rpc->id = mem_text(muster->id);
}

static void drain(struct muster *muster)
{
	rpc_callee_drain(muster->rpc->callee);
}

static void stop(struct muster *muster)
{
	rpc_callee_stop(muster->rpc->callee);
}

static void close_rpc(struct muster *muster)
{
	struct rpc *rpc = muster->rpc;

	if (rpc == NULL)
		return;
	bus_handler_remove(rpc->on_do);
	bus_handler_remove(rpc->on_response);
	rpc->on_do = rpc->on_response = NULL;
}

static void free_rpc(struct muster *muster)
{
	if (muster->rpc == NULL)
		return;
	rpc_callee_free(muster->rpc->callee);
	rpc_connections_free(muster->rpc->connections);
	buffer_fini(&muster->rpc->room);
	free(muster->rpc->nonce);
	free(muster->rpc->id);
	free(muster->rpc);
	muster->rpc = NULL;
}

const struct node_part rpc_part = {
	.name = "rpc",
	.start = start,
	.on_peer = on_peer,
	.on_rejoin = on_rejoin,
	.drain = drain,
	.stop = stop,
	.close = close_rpc,
	.free = free_rpc,
};
