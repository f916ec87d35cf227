/* rpc_answer - what others answer, given to the call that waits for it. */
#include <stdlib.h>
#include <string.h>

#include "service/rpc_internal.h"

static const char *keep(struct arena *arena, struct envelope_text text)
{
	return arena_text(arena, text.data, text.length);
}

static const char *keep_string(struct arena *arena, struct json_value value)
{
	size_t length;

	if (!rpc_is(value, JSON_STRING))
		return "";
	char *room = arena_take(arena, value.length);
	const char *text = json_string_of(value, room, &length);

	return arena_text(arena, text, length);
}

/* false: it is not what an answer looks like. */
static bool read_reply(struct rpc_pending *pending, const struct rpc_body *body,
		       struct envelope_text from, struct muster_reply *reply,
		       enum rpc_error *error)
{
	if (!rpc_is(body->ok, JSON_BOOLEAN))
		return false;
	*reply = (struct muster_reply){ .value = "null",
					.from = keep(pending->arena, from),
					.error = "",
					.text = "" };
	*error = RPC_OK;
	if (json_boolean_of(body->ok)) {
		if (body->value.text != NULL)
			reply->value =
				arena_text(pending->arena, body->value.text,
					   body->value.length);
		return true;
	}
	const char *word = keep_string(pending->arena, body->error);

	*error = rpc_error_read(word, strlen(word));
	reply->text = keep_string(pending->arena, body->text);
	reply->error = rpc_error_name(*error);
	return true;
}

static void take_answer(struct rpc_pending *pending,
			const struct rpc_body *body, struct envelope_text from)
{
	struct muster_reply reply;
	enum rpc_error error;

	if (!read_reply(pending, body, from, &reply, &error))
		return;
	if (pending->is_gathering) {
		/* A guest is no server: it only says that it is not asked. */
		if (error != RPC_NO_RESPONDERS)
			rpc_pending_gather(pending, &reply);
		return;
	}
	if (error == RPC_OK) {
		pending->error = RPC_OK;
		pending->reply = reply;
		rpc_pending_finish(pending);
		return;
	}
	pending->failures++;
	rpc_pending_fail(pending, error, reply.from, reply.text);
	if (pending->target != NULL) {
		rpc_pending_finish(pending);
		return;
	}
	rpc_pending_note(pending, &reply);
	rpc_pending_weigh(pending);
}

void rpc_answer_take(void *owner, const struct bus_message *message)
{
	struct rpc *rpc = owner;
	struct rpc_body body;
	char *end = NULL;

	/* The number, behind this life's nonce. */
	if (!rpc_read_body(message->body, &body) ||
	    !rpc_is(body.id, JSON_STRING) || body.id.length < 3 ||
	    body.id.length > RPC_ID_BYTES)
		return;
	const struct json_value id = body.id;
	char text[RPC_ID_BYTES + 1];
	size_t nonce = strlen(rpc->nonce);

	memcpy(text, id.text + 1, id.length - 2);
	text[id.length - 2] = '\0';
	if (strncmp(text, rpc->nonce, nonce) != 0 || text[nonce] != '-')
		return;
	uint64_t number = strtoull(text + nonce + 1, &end, 16);
	struct rpc_pending *pending =
		*end == '\0' ? rpc_pending_find(rpc, number) : NULL;

	if (pending != NULL)
		take_answer(pending, &body, message->from);
	else
		rpc->late++;
}
