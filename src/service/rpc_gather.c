/* rpc_gather - what this node asks of all servers, and what each of them
 * says. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "service/node_bus.h"
#include "service/routine.h"
#include "service/rpc_internal.h"

static int compare_replies(const void *a, const void *b)
{
	const struct muster_reply *one = a;
	const struct muster_reply *other = b;

	return strcmp(one->from, other->from);
}

static void fill_gathered(struct rpc_pending *pending,
			  struct muster_gathered *gathered)
{
	size_t count = 0;

	LIST_EACH (&pending->answers, link)
		count++;
	struct muster_reply *replies =
		arena_take_zeroed(pending->arena, count + 1, sizeof(*replies));
	const char **silent = arena_take_zeroed(
		pending->arena, pending->left + 1, sizeof(*silent));

	*gathered = (struct muster_gathered){ .replies = replies,
					      .silent = silent };
	LIST_EACH (&pending->answers, link)
		replies[gathered->count++] =
			LIST_ENTRY(link, struct rpc_answered, link)->reply;
	qsort(replies, gathered->count, sizeof(*replies), compare_replies);
	for (size_t i = 0; i < pending->expected->count; i++)
		if (!pending->has_answered[i])
			silent[gathered->silent_count++] =
				pending->expected->peers[i].id;
}

int muster_gather(struct muster *muster, const char *method, const char *args,
		  uint32_t timeout_ms, struct muster_gathered *gathered)
{
	struct rpc_question question = {
		.method = method,
		.args = args != NULL ? args : "null",
		.timeout_ms = timeout_ms > 0 ? timeout_ms : RPC_TIMEOUT_MS,
	};
	struct muster_peer_list peers = { 0 };
	int error = node_bus(muster) == NULL ? routine_problem(muster)->code
					     : muster_peers(muster, &peers);

	*gathered = (struct muster_gathered){ 0 };
	if (error < 0 || peers.count == 0)
		return error;
	struct rpc_pending pending = { .is_gathering = true,
				       .arena = routine_answers(muster) };

	list_init(&pending.answers);
	rpc_pending_expect(&pending, &peers);
	error = rpc_call_ask(muster, &question, &pending);
	if (error < 0 && error != -ETIMEDOUT)
		return error;
	fill_gathered(&pending, gathered);
	return 0;
}
