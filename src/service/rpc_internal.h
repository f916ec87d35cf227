/* What the files of rpc share. */
#pragma once
#include <string.h>

#include "base/arena.h"
#include "base/buffer.h"
#include "base/fiber.h"
#include "base/json_walk.h"
#include "base/list.h"
#include "service/bus.h"
#include "service/rpc.h"

#define RPC_BUCKETS    256
#define RPC_ROOM_BYTES ((size_t)1 << 16) /* that are kept */
#define RPC_TIMEOUT_MS 5000              /* where the caller says none */
#define RPC_ID_BYTES   48

/* ---- rpc_body.c ---- */

/* Why a call has failed: the words of muster/rpc.h, from the one that says
 * least to the one that says most. */
#define RPC_ERRORS(ERROR)                                                      \
	ERROR(NO_RESPONDERS, EHOSTUNREACH, "there is no such server")          \
	ERROR(TIMEOUT, ETIMEDOUT, "nobody has answered in time")               \
	ERROR(NO_SUCH_METHOD, ENOSYS, "the server has no such method")         \
	ERROR(CONNECTION_GONE, ENOTCONN,                                       \
	      "the server does not hold the connection")                       \
	ERROR(PEER_DOWN, EHOSTDOWN, "the server died, or left, meanwhile")     \
	ERROR(BUSY, EBUSY, "too many calls of the method wait there")          \
	ERROR(CALLEE_ERROR, EREMOTEIO, "the method failed")

enum rpc_error {
	RPC_OK = 0,
#define RPC_ENUM(NAME, code, text) RPC_##NAME,
	RPC_ERRORS(RPC_ENUM)
#undef RPC_ENUM
		RPC_ERRORS_END
};

const char *rpc_error_name(enum rpc_error error);
const char *rpc_error_text(enum rpc_error error);
int rpc_error_code(enum rpc_error error); /* negative */
/* RPC_CALLEE_ERROR where the word is none of ours. */
enum rpc_error rpc_error_read(const char *word, size_t length);

/* What a message's object is made of. */
#define RPC_FIELDS(FIELD)                                                      \
	FIELD(id, "id")                                                        \
	FIELD(method, "method")                                                \
	FIELD(ttl, "ttl")                                                      \
	FIELD(reply, "reply")                                                  \
	FIELD(connection, "connectionId")                                      \
	FIELD(args, "args")                                                    \
	FIELD(ok, "ok")                                                        \
	FIELD(value, "value")                                                  \
	FIELD(error, "error")                                                  \
	FIELD(text, "text")

struct rpc_body {
#define RPC_MEMBER(NAME, name) struct json_value NAME; /* no text: absent */
	RPC_FIELDS(RPC_MEMBER)
#undef RPC_MEMBER
};

/* Goes through it once. false: it is no object. */
bool rpc_read_body(struct envelope_text text, struct rpc_body *body);
/* Is there such a member, of that kind? */
bool rpc_is(struct json_value value, enum json_kind kind);

static inline struct envelope_text rpc_text_of(const char *text)
{
	return (struct envelope_text){ text, strlen(text) };
}

/* ---- the part, rpc.c ---- */

struct rpc_callee;
struct rpc_connections;

struct rpc {
	struct muster *muster;
	/* In the numbers of calls: that of the node's first life, whatever
	 * becomes of the node. */
	char *nonce;
	char *id;                         /* that answers go to */
	struct buffer room;               /* that bodies are written into */
	struct list pending[RPC_BUCKETS]; /* calls by their number */
	uint64_t calls;
	uint64_t late; /* answers that nobody waited for any more */
	struct bus_handler *on_do;
	struct bus_handler *on_response;
	struct rpc_callee *callee;
	struct rpc_connections *connections;
};

struct rpc_answered {
	struct list link;
	struct muster_reply reply;
};

/* A call of a fiber, on whose stack this is. */
struct rpc_pending {
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
	struct list answers; /* rpc_answered: who has answered, or died */
	const struct muster_peer_list *expected; /* NULL: nobody knows yet */
	bool *has_answered; /* one for each that is expected */
	size_t left;
};

struct rpc_question {
	const char *method;
	const char *args;
	const char *target; /* NULL: all */
	const char *connection;
	uint32_t timeout_ms;
	uint64_t number;
	bool wants_reply;
};

/* ---- rpc_pending.c ---- */

/* Gives the question its number. One rpc_pending_end() is owed. */
void rpc_pending_begin(struct muster *muster, struct rpc_question *question,
		       struct rpc_pending *pending);
void rpc_pending_end(struct rpc_pending *pending);
struct rpc_pending *rpc_pending_find(struct rpc *rpc, uint64_t number);
/* 0: it has ended by itself. */
int rpc_pending_await(struct muster *muster, struct rpc_pending *pending,
		      uint32_t timeout_ms);
/* Its fiber may run within, and with it the call may be gone. */
void rpc_pending_finish(struct rpc_pending *pending);
/* Of several errors the one that says most stays. Does not end the call. */
void rpc_pending_fail(struct rpc_pending *pending, enum rpc_error error,
		      const char *from, const char *text);
/* Those that are to answer, before the call or while it waits. */
void rpc_pending_expect(struct rpc_pending *pending,
			const struct muster_peer_list *peers);
void rpc_pending_note(struct rpc_pending *pending,
		      const struct muster_reply *reply);
/* Notes it, and ends a call that has all its answers now. */
void rpc_pending_gather(struct rpc_pending *pending,
			const struct muster_reply *reply);
/* Ends a call to all where everybody who has it has failed at it. */
void rpc_pending_weigh(struct rpc_pending *pending);
void rpc_pending_look(struct rpc_pending *pending);
void rpc_pending_peer_gone(struct rpc *rpc, const char *id);
/* The node has another name than those who are asked know. */
void rpc_pending_disown(struct rpc *rpc);

/* ---- rpc_answer.c ---- */

/* On "doResponse"; the owner is the struct rpc. */
void rpc_answer_take(void *owner, const struct bus_message *message);

/* ---- rpc_call.c ---- */

/* 0: it has ended by itself. */
int rpc_call_ask(struct muster *muster, struct rpc_question *question,
		 struct rpc_pending *pending);

/* ---- rpc_callee.c ---- */

struct rpc_callee *rpc_callee_new(struct rpc *rpc);
/* No call runs any more. */
void rpc_callee_free(struct rpc_callee *callee);
uint64_t rpc_callee_repeated(const struct rpc_callee *callee);
/* Takes no call any more, and waits for those that it has. On a fiber. */
void rpc_callee_drain(struct rpc_callee *callee);
/* Calls that wait for their turn are answered PEER_DOWN. */
void rpc_callee_stop(struct rpc_callee *callee);
void rpc_callee_do(struct rpc_callee *callee,
		   const struct bus_message *message);

/* ---- rpc_connections.c ---- */

bool rpc_holds(const struct rpc *rpc, const char *id, size_t length);
/* The server that a connection's id names; NULL where it is no such id. */
const char *rpc_server_of(const char *connection);
void rpc_connections_free(struct rpc_connections *connections);
/* The id as the node keeps it, until the connection is dropped; NULL: it does
 * not hold it. */
const char *rpc_connection_id(const struct muster *muster, const char *id);
