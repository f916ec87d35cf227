#include "service/rpc_internal.h"

#include <errno.h>
#include <inttypes.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "base/json_write.h"
#include "base/mem.h"
#include "base/must.h"
#include "service/node_bus.h"
#include "service/peers.h"
#include "service/routine.h"

#define TIMEOUT_MS 5000
#define ID_BYTES   48

static const struct {
	const char *name;
	int code;
	const char *text;
} errors[] = { [RPC_OK] = { "", 0, "" },
#define RPC_ROW(NAME, number, sentence)                                        \
	[RPC_##NAME] = { #NAME, -(number), sentence },
	       RPC_ERRORS(RPC_ROW)
#undef RPC_ROW
};

const char *rpc_error_name(enum rpc_error error)
{
	return errors[error].name;
}

const char *rpc_error_text(enum rpc_error error)
{
	return errors[error].text;
}

int rpc_error_code(enum rpc_error error)
{
	return errors[error].code;
}

enum rpc_error rpc_error_read(const char *word, size_t length)
{
	for (int i = RPC_OK + 1; i < RPC_ERRORS_END; i++)
		if (strlen(errors[i].name) == length &&
		    memcmp(errors[i].name, word, length) == 0)
			return (enum rpc_error)i;
	return RPC_CALLEE_ERROR;
}

static const struct {
	const char *name;
	size_t length;
	size_t offset; /* in struct rpc_body */
} fields[] = {
#define RPC_ROW(NAME, name)                                                    \
	{ name, sizeof(name) - 1, offsetof(struct rpc_body, NAME) },
	RPC_FIELDS(RPC_ROW)
#undef RPC_ROW
};

/* Ours has no escapes in it. */
static struct json_value *field_of(struct rpc_body *body, struct json_value key)
{
	for (size_t i = 0; i < sizeof(fields) / sizeof(fields[0]); i++)
		if (key.length == fields[i].length + 2 &&
		    memcmp(key.text + 1, fields[i].name, fields[i].length) == 0)
			return (struct json_value *)(void *)((char *)body +
							     fields[i].offset);
	return NULL;
}

bool rpc_read_body(struct envelope_text text, struct rpc_body *body)
{
	struct json_value object = json_value_of(text.data, text.length);
	struct json_value key, value;

	*body = (struct rpc_body){ 0 };
	if (json_kind_of(object) != JSON_OBJECT)
		return false;
	struct json_walk walk = json_walk(object);

	while (json_walk_next(&walk, &key, &value)) {
		struct json_value *field = field_of(body, key);

		if (field != NULL && field->text == NULL)
			*field = value;
	}
	return true;
}

bool rpc_is(struct json_value value, enum json_kind kind)
{
	return value.text != NULL && json_kind_of(value) == kind;
}

/* ---- a call that waits ---- */

struct answered {
	struct list link;
	struct muster_reply reply;
};

/* A call of a fiber, on whose stack this is. */
struct pending {
	struct list link;
	uint64_t number;
	struct muster *muster;
	struct fiber_wait wait;
	struct arena *arena; /* of the fiber: what it is answered goes there */
	const char *target;  /* that server alone; NULL: all */
	bool is_gathering;   /* wants all answers, not the first */
	bool is_over;
	bool must_look; /* who is there? Its fiber asks the store */
	int unsent;     /* why the question has not left; 0 */
	/* To all: how many servers have it (-1: nobody knows), and how many
	 * have answered, so far with an error each. */
	int64_t receivers;
	int64_t failures;
	enum rpc_error error; /* the one that says most so far */
	struct muster_reply reply;
	struct list answers; /* struct answered: who has answered, or died */
	const struct muster_peer_list *expected; /* NULL: nobody knows yet */
	bool *has_answered; /* one for each that is expected */
	size_t left;
};

static void finish(struct pending *pending)
{
	if (pending->is_over)
		return;
	pending->is_over = true;
	list_remove(&pending->link);
	fiber_wake(pending->wait, 0);
}

static void fail(struct pending *pending, enum rpc_error error,
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

static struct pending *find(struct rpc *rpc, uint64_t number)
{
	LIST_EACH (&rpc->pending[number % RPC_BUCKETS], link) {
		struct pending *pending =
			LIST_ENTRY(link, struct pending, link);

		if (pending->number == number)
			return pending;
	}
	return NULL;
}

/* Everybody who has the call has failed at it. */
static void see_whether_all_failed(struct pending *pending)
{
	if (pending->is_gathering || pending->target != NULL)
		return;
	if ((pending->receivers >= 0 &&
	     pending->failures >= pending->receivers) ||
	    (pending->expected != NULL && pending->left == 0))
		finish(pending);
}

/* Not from here: asking the store waits. */
static void look(struct pending *pending)
{
	pending->must_look = true;
	fiber_wake(pending->wait, 0);
}

/* ---- answers ---- */

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
static bool read_reply(struct pending *pending, const struct rpc_body *body,
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

static void mark_answered(struct pending *pending, const char *from)
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

static void note(struct pending *pending, const struct muster_reply *reply)
{
	struct answered *answered =
		arena_take_zeroed(pending->arena, 1, sizeof(*answered));

	answered->reply = *reply;
	list_add_last(&pending->answers, &answered->link);
	mark_answered(pending, reply->from);
}

static void gather(struct pending *pending, const struct muster_reply *reply)
{
	note(pending, reply);
	if (pending->left == 0)
		finish(pending);
}

static void take_answer(struct pending *pending, const struct rpc_body *body,
			struct envelope_text from)
{
	struct muster_reply reply;
	enum rpc_error error;

	if (!read_reply(pending, body, from, &reply, &error))
		return;
	if (pending->is_gathering) {
		/* A guest is no server: it only says that it is not asked. */
		if (error != RPC_NO_RESPONDERS)
			gather(pending, &reply);
		return;
	}
	if (error == RPC_OK) {
		pending->error = RPC_OK;
		pending->reply = reply;
		finish(pending);
		return;
	}
	pending->failures++;
	fail(pending, error, reply.from, reply.text);
	if (pending->target != NULL) {
		finish(pending);
		return;
	}
	note(pending, &reply);
	see_whether_all_failed(pending);
}

static void on_response(void *owner, const struct bus_message *message)
{
	struct rpc *rpc = owner;
	struct rpc_body body;
	char *end = NULL;

	/* The number, behind this life's nonce. */
	if (!rpc_read_body(message->body, &body) ||
	    !rpc_is(body.id, JSON_STRING) || body.id.length < 3 ||
	    body.id.length > ID_BYTES)
		return;
	const struct json_value id = body.id;
	char text[ID_BYTES + 1];
	size_t nonce = strlen(rpc->nonce);

	memcpy(text, id.text + 1, id.length - 2);
	text[id.length - 2] = '\0';
	if (strncmp(text, rpc->nonce, nonce) != 0 || text[nonce] != '-')
		return;
	uint64_t number = strtoull(text + nonce + 1, &end, 16);
	struct pending *pending = *end == '\0' ? find(rpc, number) : NULL;

	if (pending != NULL)
		take_answer(pending, &body, message->from);
	else
		rpc->late++;
}

/* Somebody has it, as far as is known here? A Cluster does not say; and a
 * Redis takes one that was cut off for a receiver long after it is dead. */
static bool is_heard(const struct pending *pending)
{
	if (pending->target != NULL)
		return peers_knows(pending->muster, pending->target);
	return pending->receivers > 0 || pending->is_gathering;
}

static void on_published(void *owner, int error, int64_t receivers)
{
	struct pending *pending = owner;

	pending->receivers = error < 0 ? -1 : receivers;
	if (pending->is_over || error == -ECONNRESET)
		return; /* it may have been sent, and be answered */
	if (error < 0) {
		pending->unsent = error;
		finish(pending);
	} else if (receivers == 0) {
		fail(pending, RPC_NO_RESPONDERS, "",
		     rpc_error_text(RPC_NO_RESPONDERS));
		finish(pending);
	} else if (!is_heard(pending)) {
		look(pending);
	} else {
		see_whether_all_failed(pending);
	}
}

/* ---- peers that go ---- */

static bool is_noted(const struct pending *pending, const char *id)
{
	LIST_EACH (&pending->answers, link)
		if (strcmp(LIST_ENTRY(link, struct answered, link)->reply.from,
			   id) == 0)
			return true;
	return false;
}

/* It may have had the call or not: those who are left decide. */
static bool tell_one_of_all_gone(struct pending *pending, const char *id)
{
	if (is_noted(pending, id))
		return false;
	struct muster_reply reply = {
		.from = arena_text(pending->arena, id, strlen(id)),
	};

	fail(pending, RPC_PEER_DOWN, id, rpc_error_text(RPC_PEER_DOWN));
	note(pending, &reply);
	look(pending);
	return true;
}

/* true: its fiber may have run. */
static bool tell_gone(struct pending *pending, const char *id)
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

		gather(pending, &reply);
		return true;
	}
	if (pending->target == NULL)
		return tell_one_of_all_gone(pending, id);
	if (strcmp(pending->target, id) != 0)
		return false;
	fail(pending, RPC_PEER_DOWN, id, rpc_error_text(RPC_PEER_DOWN));
	finish(pending);
	return true;
}

static bool tell_one_gone(struct rpc *rpc, const char *id)
{
	for (size_t i = 0; i < RPC_BUCKETS; i++) {
		LIST_EACH (&rpc->pending[i], link) {
			if (tell_gone(LIST_ENTRY(link, struct pending, link),
				      id))
				return true;
		}
	}
	return false;
}

/* Fibers run within, and may end other calls: from the start again. */
static void peer_gone(struct rpc *rpc, const char *id)
{
	while (tell_one_gone(rpc, id))
		;
}

/* ---- asking ---- */

static struct envelope_text text_of(const char *text)
{
	return (struct envelope_text){ text, strlen(text) };
}

struct question {
	const char *method;
	const char *args;
	const char *target; /* NULL: all */
	const char *connection;
	uint32_t timeout_ms;
	uint64_t number;
	bool wants_reply;
};

/* This life's nonce, "-", and the number in hexadecimal. */
static size_t write_id(const struct rpc *rpc, uint64_t number,
		       char room[ID_BYTES])
{
	size_t length = strlen(rpc->nonce);
	int bits = 64 - __builtin_clzll(number | 1);

	MUST(length + 1 + 16 <= ID_BYTES);
	memcpy(room, rpc->nonce, length);
	room[length++] = '-';
	for (int shift = (bits - 1) & ~3; shift >= 0; shift -= 4)
		room[length++] = "0123456789abcdef"[number >> shift & 15];
	return length;
}

static void write_question(const struct muster *muster,
			   const struct question *question,
			   struct buffer *buffer)
{
	struct json_writer writer = json_writer(buffer);
	char id[ID_BYTES];

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

static int send_question(struct muster *muster, const struct question *question,
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
			.type = text_of("do"),
			.to = question->target == NULL
				      ? (struct envelope_text){ "", 0 }
				      : text_of(question->target),
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
		  struct question *question)
{
	question->timeout_ms =
		options->timeout_ms > 0 ? options->timeout_ms : TIMEOUT_MS;
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

static void begin(struct muster *muster, struct question *question,
		  struct pending *pending)
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

static void end(struct pending *pending)
{
	struct muster *muster = pending->muster;

	if (!pending->is_over)
		list_remove(&pending->link);
	pending->is_over = true;
	if (muster->bus != NULL)
		bus_forget(muster->bus, pending);
}

static int tell_error(struct muster *muster, const struct question *question,
		      const struct muster_reply *reply, enum rpc_error error)
{
	return problem_set(routine_problem(muster), rpc_error_code(error),
			   rpc_error_name(error), "'%.60s'%s%.60s: %.120s",
			   question->method,
			   reply->from[0] != '\0' ? " on " : "", reply->from,
			   reply->text[0] != '\0' ? reply->text
						  : rpc_error_text(error));
}

/* One whose application starts may not be heard yet. */
static bool is_to_answer(const struct muster_peer *peer)
{
	return peer->is_self || peer->state != MUSTER_PEER_JOINING;
}

static void expect_all(struct pending *pending,
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
		mark_answered(
			pending,
			LIST_ENTRY(link, struct answered, link)->reply.from);
}

/* Whom the call waits for, says the store. Fails where the fiber is to end. */
static int see_who_is_there(struct muster *muster, struct pending *pending)
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
		expect_all(pending, &peers);
		see_whether_all_failed(pending);
		return 0;
	}
	for (size_t i = 0; i < peers.count; i++)
		if (strcmp(peers.peers[i].id, pending->target) == 0)
			return 0;
	fail(pending, RPC_NO_RESPONDERS, "", rpc_error_text(RPC_NO_RESPONDERS));
	finish(pending);
	return 0;
}

static int await(struct muster *muster, struct pending *pending,
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

/* 0: it has ended by itself. */
static int ask(struct muster *muster, struct question *question,
	       struct pending *pending)
{
	begin(muster, question, pending);
	int error = send_question(muster, question, on_published, pending);

	if (error == 0)
		error = await(muster, pending, question->timeout_ms);
	end(pending);
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
	struct question question = { .method = method,
				     .args = args != NULL ? args : "null" };
	struct pending pending = { 0 };
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
	error = ask(muster, &question, &pending);
	if (error == -ETIMEDOUT)
		fail(&pending, RPC_TIMEOUT, "", rpc_error_text(RPC_TIMEOUT));
	else if (error < 0)
		return tell_unsent(muster, reply, error);
	/* A connection goes with its server. */
	if (question.connection != NULL &&
	    (pending.error == RPC_NO_RESPONDERS ||
	     pending.error == RPC_PEER_DOWN)) {
		pending.error = RPC_OK;
		fail(&pending, RPC_CONNECTION_GONE, pending.reply.from,
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
	struct question question = { .method = method,
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

/* ---- asking all ---- */

static int compare_replies(const void *a, const void *b)
{
	const struct muster_reply *one = a;
	const struct muster_reply *other = b;

	return strcmp(one->from, other->from);
}

static void fill_gathered(struct pending *pending,
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
			LIST_ENTRY(link, struct answered, link)->reply;
	qsort(replies, gathered->count, sizeof(*replies), compare_replies);
	for (size_t i = 0; i < pending->expected->count; i++)
		if (!pending->has_answered[i])
			silent[gathered->silent_count++] =
				pending->expected->peers[i].id;
}

int muster_gather(struct muster *muster, const char *method, const char *args,
		  uint32_t timeout_ms, struct muster_gathered *gathered)
{
	struct question question = {
		.method = method,
		.args = args != NULL ? args : "null",
		.timeout_ms = timeout_ms > 0 ? timeout_ms : TIMEOUT_MS,
	};
	struct muster_peer_list peers = { 0 };
	int error = node_bus(muster) == NULL ? routine_problem(muster)->code
					     : muster_peers(muster, &peers);

	*gathered = (struct muster_gathered){ 0 };
	if (error < 0 || peers.count == 0)
		return error;
	struct pending pending = { .is_gathering = true,
				   .arena = routine_answers(muster) };

	list_init(&pending.answers);
	expect_all(&pending, &peers);
	error = ask(muster, &question, &pending);
	if (error < 0 && error != -ETIMEDOUT)
		return error;
	fill_gathered(&pending, gathered);
	return 0;
}

/* ---- the part ---- */

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

	rpc->on_do = bus_on_type(muster->bus, text_of("do"), on_do, rpc);
	rpc->on_response = bus_on_type(muster->bus, text_of("doResponse"),
				       on_response, rpc);
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
		peer_gone(muster->rpc, id);
}

static struct pending *first_asked_until(struct rpc *rpc, uint64_t last)
{
	for (size_t i = 0; i < RPC_BUCKETS; i++) {
		LIST_EACH (&rpc->pending[i], link) {
			struct pending *pending =
				LIST_ENTRY(link, struct pending, link);

			if (pending->number <= last)
				return pending;
		}
	}
	return NULL;
}

/* Answers go to the name that this node had, which may be another's now. */
static void on_rejoin(struct muster *muster)
{
	struct rpc *rpc = muster->rpc;
	struct pending *pending;

	if (strcmp(rpc->id, muster->id) == 0)
		return;
	uint64_t last = rpc->calls;

	while ((pending = first_asked_until(rpc, last)) != NULL) {
		pending->error = RPC_OK;
		fail(pending, RPC_PEER_DOWN, rpc->id,
		     "this server was taken for dead meanwhile, and has "
		     "another name now");
		finish(pending);
	}
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
