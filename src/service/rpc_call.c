/* rpc_call - what this node asks of one server, or of the first of all that
 * does it. */
#include <errno.h>
#include <string.h>

#include "base/json.h"
#include "base/json_write.h"
#include "base/must.h"
#include "service/node_bus.h"
#include "service/peers.h"
#include "service/routine.h"
#include "service/rpc_internal.h"

/* ---- the question ---- */

/* This life's nonce, "-", and the number in hexadecimal. */
static size_t write_id(const struct rpc *rpc, uint64_t number,
		       char room[RPC_ID_BYTES])
{
	size_t length = strlen(rpc->nonce);
	int bits = 64 - __builtin_clzll(number | 1);

	MUST(length + 1 + 16 <= RPC_ID_BYTES);
	memcpy(room, rpc->nonce, length);
	room[length++] = '-';
	for (int shift = (bits - 1) & ~3; shift >= 0; shift -= 4)
		room[length++] = "0123456789abcdef"[number >> shift & 15];
	return length;
}

static void write_question(const struct muster *muster,
			   const struct rpc_question *question,
			   struct buffer *buffer)
{
	struct json_writer writer = json_writer(buffer);
	char id[RPC_ID_BYTES];

	json_write_object(&writer);
	json_write_name(&writer, "id");
	json_write_string(&writer, id,
			  write_id(muster->rpc, question->number, id));
	json_write_name(&writer, "method");
	json_write_text(&writer, question->method);
	json_write_name(&writer, "ttl");
	json_write_integer(&writer, question->timeout_ms);
	json_write_name(&writer, "reply");
	json_write_boolean(&writer, question->wants_reply);
	if (question->connection != NULL) {
		json_write_name(&writer, "connectionId");
		json_write_text(&writer, question->connection);
	}
	json_write_name(&writer, "args");
	json_write_raw(&writer, question->args, strlen(question->args));
	json_write_object_end(&writer);
}

static int send_question(struct muster *muster,
			 const struct rpc_question *question,
			 store_bus_published_fn on_done, void *owner)
{
	struct bus *bus = node_bus(muster);
	struct buffer *room = &muster->rpc->room;

	if (bus == NULL)
		return routine_problem(muster)->code;
	/* By themselves: "1,\"method\":\"stop\"" must not be what they end.
	 * Within an object, so that the whole need not be looked at again. */
	enum json_answer args = json_check(
		question->args, strlen(question->args), ENVELOPE_DEPTH_MAX - 1);

	if (args == JSON_NO_VALUE)
		return problem_set(
			routine_problem(muster), -EINVAL, "ARGUMENTS_INVALID",
			"'%.60s' cannot be called: its arguments are "
			"no JSON value",
			question->method);
	if (args == JSON_TOO_DEEP) {
		bus_problem(-ELOOP, routine_problem(muster));
		return -ELOOP;
	}
	buffer_truncate(room, 0);
	write_question(muster, question, room);
	int error = bus_publish(
		bus,
		&(struct bus_outgoing){
			.type = rpc_text_of("do"),
			.to = question->target == NULL
				      ? (struct envelope_text){ "", 0 }
				      : rpc_text_of(question->target),
			.body = { (const char *)buffer_bytes(room),
				  buffer_length(room) },
			.is_checked = true,
		},
		on_done, owner);

	buffer_truncate(room, 0);
	buffer_trim(room, RPC_ROOM_BYTES);
	if (error < 0)
		bus_problem(error, routine_problem(muster));
	return error;
}

/* Whom the options mean. */
static int choose(struct muster *muster, const struct muster_do *options,
		  struct rpc_question *question)
{
	question->timeout_ms =
		options->timeout_ms > 0 ? options->timeout_ms : RPC_TIMEOUT_MS;
	question->target = options->node;
	question->connection = options->connection;
	if (options->connection == NULL || options->node != NULL)
		return 0;
	question->target = rpc_server_of(options->connection);
	if (question->target != NULL)
		return 0;
	return problem_set(routine_problem(muster),
			   rpc_error_code(RPC_CONNECTION_GONE),
			   rpc_error_name(RPC_CONNECTION_GONE),
			   "'%.80s' is no connection's id: it names no server",
			   options->connection);
}

/* ---- the call ---- */

static int tell_error(struct muster *muster,
		      const struct rpc_question *question,
		      const struct muster_reply *reply, enum rpc_error error)
{
	return problem_set(routine_problem(muster), rpc_error_code(error),
			   rpc_error_name(error), "'%.60s'%s%.60s: %.120s",
			   question->method,
			   reply->from[0] != '\0' ? " on " : "", reply->from,
			   reply->text[0] != '\0' ? reply->text
						  : rpc_error_text(error));
}

/* Somebody has it, as far as is known here? A Cluster does not say; and a
 * Redis takes one that was cut off for a receiver long after it is dead. */
static bool is_heard(const struct rpc_pending *pending)
{
	if (pending->target != NULL)
		return peers_knows(pending->muster, pending->target);
	return pending->receivers > 0 || pending->is_gathering;
}

static void on_published(void *owner, int error, int64_t receivers)
{
	struct rpc_pending *pending = owner;

	pending->receivers = error < 0 ? -1 : receivers;
	if (pending->is_over || error == -ECONNRESET)
		return; /* it may have been sent, and be answered */
	if (error < 0) {
		pending->unsent = error;
		rpc_pending_finish(pending);
	} else if (receivers == 0) {
		rpc_pending_fail(pending, RPC_NO_RESPONDERS, "",
				 rpc_error_text(RPC_NO_RESPONDERS));
		rpc_pending_finish(pending);
	} else if (!is_heard(pending)) {
		rpc_pending_look(pending);
	} else {
		rpc_pending_weigh(pending);
	}
}

int rpc_call_ask(struct muster *muster, struct rpc_question *question,
		 struct rpc_pending *pending)
{
	rpc_pending_begin(muster, question, pending);
	int error = send_question(muster, question, on_published, pending);

	if (error == 0)
		error = rpc_pending_await(muster, pending,
					  question->timeout_ms);
	rpc_pending_end(pending);
	return error;
}

static int tell_unsent(struct muster *muster, struct muster_reply *reply,
		       int error)
{
	reply->error =
		arena_text(routine_answers(muster), muster_problem_word(muster),
			   strlen(muster_problem_word(muster)));
	reply->text =
		arena_text(routine_answers(muster), muster_problem(muster),
			   strlen(muster_problem(muster)));
	return error;
}

int muster_do_cluster(struct muster *muster, const char *method,
		      const char *args, const struct muster_do *options,
		      struct muster_reply *reply)
{
	static const struct muster_do defaults = { 0 };
	struct rpc_question question = { .method = method,
					 .args = args != NULL ? args : "null" };
	struct rpc_pending pending = { 0 };
	struct muster_reply unread;
	int error = routine_check(muster);

	if (reply == NULL)
		reply = &unread;
	*reply = (struct muster_reply){ "null", "", "", "" };
	if (error < 0)
		return error;
	error = choose(muster, options != NULL ? options : &defaults,
		       &question);
	/* A guest's is opened by this, which may wait. */
	if (error == 0 && node_bus(muster) == NULL)
		error = routine_problem(muster)->code;
	if (error < 0)
		return tell_unsent(muster, reply, error);
	error = rpc_call_ask(muster, &question, &pending);
	if (error == -ETIMEDOUT)
		rpc_pending_fail(&pending, RPC_TIMEOUT, "",
				 rpc_error_text(RPC_TIMEOUT));
	else if (error < 0)
		return tell_unsent(muster, reply, error);
	/* A connection goes with its server. */
	if (question.connection != NULL &&
	    (pending.error == RPC_NO_RESPONDERS ||
	     pending.error == RPC_PEER_DOWN)) {
		pending.error = RPC_OK;
		rpc_pending_fail(&pending, RPC_CONNECTION_GONE,
				 pending.reply.from,
				 rpc_error_text(RPC_CONNECTION_GONE));
	}
	*reply = pending.reply;
	if (pending.error == RPC_OK)
		return 0;
	return tell_error(muster, &question, reply, pending.error);
}

int muster_tell_cluster(struct muster *muster, const char *method,
			const char *args, const struct muster_do *options)
{
	static const struct muster_do defaults = { 0 };
	struct rpc_question question = { .method = method,
					 .args = args != NULL ? args : "null" };
	int error = choose(muster, options != NULL ? options : &defaults,
			   &question);

	if (error == 0 && node_bus(muster) == NULL)
		error = routine_problem(muster)->code;
	if (error < 0)
		return error;
	question.number = ++muster->rpc->calls;
	return send_question(muster, &question, NULL, NULL);
}
