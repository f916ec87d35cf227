/* rpc_pending - a call that waits: what is known of it so far, and what ends
 * it. */
#include <errno.h>
#include <string.h>

#include "service/peers.h"
#include "service/routine.h"
#include "service/rpc_internal.h"

void rpc_pending_finish(struct rpc_pending *pending)
{
	if (pending->is_over)
		return;
	pending->is_over = true;
	list_remove(&pending->link);
	fiber_wake(pending->wait, 0);
}

void rpc_pending_fail(struct rpc_pending *pending, enum rpc_error error,
		      const char *from, const char *text)
{
	if (error < pending->error)
		return;
	pending->error = error;
	pending->reply = (struct muster_reply){
		.value = "null",
		.from = arena_text(pending->arena, from, strlen(from)),
		.error = rpc_error_name(error),
		.text = arena_text(pending->arena, text, strlen(text)),
	};
}

struct rpc_pending *rpc_pending_find(struct rpc *rpc, uint64_t number)
{
	LIST_EACH (&rpc->pending[number % RPC_BUCKETS], link) {
		struct rpc_pending *pending =
			LIST_ENTRY(link, struct rpc_pending, link);

		if (pending->number == number)
			return pending;
	}
	return NULL;
}

void rpc_pending_begin(struct muster *muster, struct rpc_question *question,
		       struct rpc_pending *pending)
{
	struct rpc *rpc = muster->rpc;

	question->number = ++rpc->calls;
	question->wants_reply = true;
	pending->number = question->number;
	pending->muster = muster;
	pending->arena = routine_answers(muster);
	pending->target = question->target;
	pending->receivers = -1;
	pending->reply = (struct muster_reply){
		.value = "null", .from = "", .error = "", .text = ""
	};
	if (pending->answers.next == NULL)
		list_init(&pending->answers);
	pending->wait = fiber_wait_begin();
	list_add_last(&rpc->pending[pending->number % RPC_BUCKETS],
		      &pending->link);
}

void rpc_pending_end(struct rpc_pending *pending)
{
	struct muster *muster = pending->muster;

	if (!pending->is_over)
		list_remove(&pending->link);
	pending->is_over = true;
	if (muster->bus != NULL)
		bus_forget(muster->bus, pending);
}

/* ---- who has answered ---- */

/* Everybody who has the call has failed at it. */
void rpc_pending_weigh(struct rpc_pending *pending)
{
	if (pending->is_gathering || pending->target != NULL)
		return;
	if ((pending->receivers >= 0 &&
	     pending->failures >= pending->receivers) ||
	    (pending->expected != NULL && pending->left == 0))
		rpc_pending_finish(pending);
}

static void mark_answered(struct rpc_pending *pending, const char *from)
{
	if (pending->expected == NULL)
		return;
	for (size_t i = 0; i < pending->expected->count; i++)
		if (!pending->has_answered[i] &&
		    strcmp(pending->expected->peers[i].id, from) == 0) {
			pending->has_answered[i] = true;
			pending->left--;
		}
}

void rpc_pending_note(struct rpc_pending *pending,
		      const struct muster_reply *reply)
{
	struct rpc_answered *answered =
		arena_take_zeroed(pending->arena, 1, sizeof(*answered));

	answered->reply = *reply;
	list_add_last(&pending->answers, &answered->link);
	mark_answered(pending, reply->from);
}

void rpc_pending_gather(struct rpc_pending *pending,
			const struct muster_reply *reply)
{
	rpc_pending_note(pending, reply);
	if (pending->left == 0)
		rpc_pending_finish(pending);
}

/* ---- who is there ---- */

/* Not from here: asking the store waits. */
void rpc_pending_look(struct rpc_pending *pending)
{
	pending->must_look = true;
	fiber_wake(pending->wait, 0);
}

/* One whose application starts may not be heard yet. */
static bool is_to_answer(const struct muster_peer *peer)
{
	return peer->is_self || peer->state != MUSTER_PEER_JOINING;
}

void rpc_pending_expect(struct rpc_pending *pending,
			const struct muster_peer_list *peers)
{
	struct muster_peer_list *expected =
		arena_take_zeroed(pending->arena, 1, sizeof(*expected));

	*expected = *peers;
	pending->has_answered = arena_take_zeroed(
		pending->arena, peers->count + 1, sizeof(bool));
	pending->expected = expected;
	pending->left = 0;
	for (size_t i = 0; i < peers->count; i++) {
		pending->has_answered[i] = !is_to_answer(&peers->peers[i]);
		pending->left += !pending->has_answered[i];
	}
	LIST_EACH (&pending->answers, link)
		mark_answered(pending,
			      LIST_ENTRY(link, struct rpc_answered, link)
				      ->reply.from);
}

/* Whom the call waits for, says the store. Fails where the fiber is to end. */
static int see_who_is_there(struct muster *muster, struct rpc_pending *pending)
{
	struct muster_peer_list peers;

	pending->must_look = false;
	int error = muster_peers(muster, &peers);

	if (pending->is_over)
		return 0;
	if (error < 0)
		return error == -ECANCELED || routine_current(muster)->was_late
			       ? error
			       : 0;
	if (pending->target == NULL) {
		rpc_pending_expect(pending, &peers);
		rpc_pending_weigh(pending);
		return 0;
	}
	for (size_t i = 0; i < peers.count; i++)
		if (strcmp(peers.peers[i].id, pending->target) == 0)
			return 0;
	rpc_pending_fail(pending, RPC_NO_RESPONDERS, "",
			 rpc_error_text(RPC_NO_RESPONDERS));
	rpc_pending_finish(pending);
	return 0;
}

int rpc_pending_await(struct muster *muster, struct rpc_pending *pending,
		      uint32_t timeout_ms)
{
	uint64_t end_ms = loop_now_ms(muster->loop) + timeout_ms;

	while (!pending->is_over) {
		uint64_t now_ms = loop_now_ms(muster->loop);

		if (now_ms >= end_ms)
			return -ETIMEDOUT;
		int error = pending->must_look
				    ? see_who_is_there(muster, pending)
				    : routine_park(muster, pending->wait,
						   end_ms - now_ms);

		if (error < 0)
			return error;
		if (!pending->is_over)
			pending->wait = fiber_wait_begin();
	}
	if (pending->unsent < 0)
		bus_problem(pending->unsent, routine_problem(muster));
	return pending->unsent;
}

/* ---- peers that go ---- */

static bool is_noted(const struct rpc_pending *pending, const char *id)
{
	LIST_EACH (&pending->answers, link)
		if (strcmp(LIST_ENTRY(link, struct rpc_answered, link)
				   ->reply.from,
			   id) == 0)
			return true;
	return false;
}

/* It may have had the call or not: those who are left decide. */
static bool tell_one_of_all_gone(struct rpc_pending *pending, const char *id)
{
	if (is_noted(pending, id))
		return false;
	struct muster_reply reply = {
		.from = arena_text(pending->arena, id, strlen(id)),
	};

	rpc_pending_fail(pending, RPC_PEER_DOWN, id,
			 rpc_error_text(RPC_PEER_DOWN));
	rpc_pending_note(pending, &reply);
	rpc_pending_look(pending);
	return true;
}

/* true: its fiber may have run. */
static bool tell_gone(struct rpc_pending *pending, const char *id)
{
	if (pending->is_gathering) {
		size_t before = pending->left;

		mark_answered(pending, id);
		if (pending->left == before)
			return false;
		struct muster_reply reply = {
			.value = "null",
			.from = arena_text(pending->arena, id, strlen(id)),
			.error = rpc_error_name(RPC_PEER_DOWN),
			.text = rpc_error_text(RPC_PEER_DOWN),
		};

		rpc_pending_gather(pending, &reply);
		return true;
	}
	if (pending->target == NULL)
		return tell_one_of_all_gone(pending, id);
	if (strcmp(pending->target, id) != 0)
		return false;
	rpc_pending_fail(pending, RPC_PEER_DOWN, id,
			 rpc_error_text(RPC_PEER_DOWN));
	rpc_pending_finish(pending);
	return true;
}

static bool tell_one_gone(struct rpc *rpc, const char *id)
{
	for (size_t i = 0; i < RPC_BUCKETS; i++) {
		LIST_EACH (&rpc->pending[i], link) {
			if (tell_gone(
				    LIST_ENTRY(link, struct rpc_pending, link),
				    id))
				return true;
		}
	}
	return false;
}

/* Fibers run within, and may end other calls: from the start again. */
void rpc_pending_peer_gone(struct rpc *rpc, const char *id)
{
	while (tell_one_gone(rpc, id))
		;
}

/* ---- a node that has another name ---- */

static struct rpc_pending *first_asked_until(struct rpc *rpc, uint64_t last)
{
	for (size_t i = 0; i < RPC_BUCKETS; i++) {
		LIST_EACH (&rpc->pending[i], link) {
			struct rpc_pending *pending =
				LIST_ENTRY(link, struct rpc_pending, link);

			if (pending->number <= last)
				return pending;
		}
	}
	return NULL;
}

void rpc_pending_disown(struct rpc *rpc)
{
	struct rpc_pending *pending;
	uint64_t last = rpc->calls;

	while ((pending = first_asked_until(rpc, last)) != NULL) {
		pending->error = RPC_OK;
		rpc_pending_fail(pending, RPC_PEER_DOWN, rpc->id,
				 "this server was taken for dead meanwhile, "
				 "and has another name now");
		rpc_pending_finish(pending);
	}
}
