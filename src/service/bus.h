/*
 * bus - signed messages between the servers of a cluster, dispatched to
 * handlers by type or by channel. Callbacks on the loop, no fibers: pub/sub
 * and RPC for applications are built on top.
 *
 * At most once, in order for each publisher and channel (on a store that is
 * no Redis Cluster: for each publisher). A message that cannot be shown to be
 * a server's of this cluster, fresh, and new is dropped and counted. What a
 * server has published and this one has not received, though it could have, is
 * told as a gap: by its number with the next message of that server, or with
 * the mark that each server sends behind its last one, about a second later.
 *
 * Lanes. The store carries a message once to each server, whoever it has
 * handlers for it there; the rest is done from memory:
 *   ""         PREFIX:bus, every server: all messages without a channel
 *   "/0".."/15" a channel's lane is by its hash; a server is on those lanes
 *              that it has handlers for, on all of them for a pattern
 *   "node:ID"  that server alone
 *
 * One for each store, which outlives it. Used by the loop's thread alone.
 * While open it keeps loop_run() going.
 */
#pragma once
#include "base/meters.h"
#include "store/store_bus.h"
#include "wire/envelope.h"

#define BUS_LANES 16

struct bus;
struct bus_handler;

struct bus_options {
	/* Who this is: "serverId", and a number of this boot alone. Texts are
	 * copied. */
	const char *id;
	const char *nonce;
	/* The cluster's token. Empty or NULL with an embedded store: one is
	 * made and kept beside it, readable for this user alone. With a remote
	 * one it must be there, and not be what manuals show ("change-me"). */
	const char *token;
	/* While tokens are changed: the other one, accepted as well. NULL. */
	const char *second_token;
	meter_value *meters; /* messages are counted there; NULL: nowhere */
};

/* NULL with *problem filled: TOKEN_MISSING, TOKEN_DEFAULT, or what
 * store_bus_secret() and store_bus_join() say. */
struct bus *bus_open(struct loop *loop, struct store *store,
		     const struct bus_options *options,
		     struct problem *problem);
/* At once: no callback comes any more, handlers that were not removed go with
 * it. Not out of a handler's callback; NULL is fine. */
void bus_close(struct bus *bus);

/* This server has another id now: it sends under that one, and hears what is
 * for that one alone; what is for the old one it hears no more. Handlers stay
 * as they are. The same id changes nothing. */
void bus_rename(struct bus *bus, const char *id);

/* ---- receiving ---- */

struct bus_message {
	struct envelope_text type;    /* "messageType" */
	struct envelope_text channel; /* empty: none */
	struct envelope_text from;    /* the server's id, shown to be it */
	struct envelope_text nonce;   /* of its boot */
	struct envelope_text body;    /* one JSON value */
	uint64_t seq;
	uint64_t ts_ms;
	uint64_t kept;  /* by sender and channel, from 1; 0: in no log */
	bool is_own;    /* this server published it */
	bool is_direct; /* to this server alone */
};

/* All that the message points to is good until the callback returns. It may
 * add and remove handlers, itself too, and publish. */
typedef void (*bus_message_fn)(void *owner, const struct bus_message *message);

/*
 * Messages of that type: those without a channel, and those to this server
 * alone. Messages on a channel go to its handlers whatever their type is.
 * NULL: the name is none (see wire/envelope.h).
 */
struct bus_handler *bus_on_type(struct bus *bus, struct envelope_text type,
				bus_message_fn on_message, void *owner);
/*
 * Messages on a channel "/a/b". The last part may be "*", which stands for one
 * part, or "**", for one or more. NULL: it is no channel or pattern, or there
 * are too many.
 */
struct bus_handler *bus_on_channel(struct bus *bus,
				   struct envelope_text pattern,
				   bus_message_fn on_message, void *owner);
void bus_handler_remove(struct bus_handler *handler); /* NULL is fine */

/* Is everything published now sure to arrive at the handler, as far as the
 * store can say? Called once, when it is (at once where it is so by now, but
 * from the loop); removed with the handler. */
typedef void (*bus_ready_fn)(void *owner);
void bus_handler_ready(struct bus_handler *handler, bus_ready_fn on_ready,
		       void *owner);

/* ---- sending ---- */

struct bus_outgoing {
	struct envelope_text type;    /* not empty */
	struct envelope_text channel; /* empty: none; no pattern */
	struct envelope_text to;      /* a server's id; empty: all */
	struct envelope_text body;    /* one JSON value; empty: null */
	/* Kept in the channel's log until so many others have followed it, or
	 * that time is over; 0: not. See store_bus_publish(). */
	uint32_t keep;
	uint32_t keep_ms;
	bool is_checked; /* the body is that, and not too deep, for sure */
};

/*
 * Signed now, gone at the end of this turn. on_published (NULL: nobody) as
 * store_bus_publish() says: how many servers received it, this one included if
 * it is on the lane, -1 where nobody knows. Negative, and nothing is sent:
 * -EINVAL (a name, or the body is no JSON value), -EMSGSIZE, -ELOOP (too
 * deep), -ENOBUFS (the store is away, and too much waits for it), -EAGAIN (it
 * has never been up, so nobody knows the store's time).
 *
 * Types that begin with "_bus:" are the bus's own.
 */
__attribute__((warn_unused_result)) int
bus_publish(struct bus *bus, const struct bus_outgoing *message,
	    store_bus_published_fn on_published, void *owner);
void bus_forget(struct bus *bus, const void *owner);
/* One sentence for a person about what bus_publish() answered. */
void bus_problem(int error, struct problem *problem);

/* ---- what is kept ---- */

struct bus_log {
	const struct bus_message *list; /* the oldest first */
	size_t count;
	/* Another one than before: the store has lost what it had. */
	struct envelope_text life;
};

/* What is kept of a channel, as far as it is genuine. Negative error: the store
 * could not be asked; *log is empty. All of it is good until the callback
 * returns. One reading an owner at a time. */
typedef void (*bus_log_fn)(void *owner, int error, const struct bus_log *log);
void bus_read_log(struct bus *bus, struct envelope_text channel,
		  bus_log_fn on_log, void *owner);
void bus_forget_log(struct bus *bus, const void *owner);

/* ---- what is not well ---- */

struct bus_gap {
	struct envelope_text from; /* empty: nobody knows whose */
	struct envelope_text nonce;
	/* "" for messages without a channel; a channel of this lane may be
	 * concerned, see bus_gap_concerns(). */
	struct envelope_text lane;
	/* How many; 0: the way was interrupted and is open again, and nobody
	 * knows. Those that show to be missing are told by number later. */
	uint64_t missed;
};
bool bus_gap_concerns(const struct bus_gap *gap, struct envelope_text pattern);

/* A refusal is logged once a second and kind; all of them are told here. */
struct bus_refusal {
	enum envelope_answer why;
	struct envelope_text lane;
	struct envelope_text from; /* as it says; empty where unreadable */
};

struct bus_events {
	void (*on_gap)(void *owner, const struct bus_gap *gap);
	void (*on_refused)(void *owner, const struct bus_refusal *refusal);
	/* The way from others to here is open (again), or interrupted. */
	void (*on_up)(void *owner);
	void (*on_down)(void *owner);
};
/* Any number of watchers; members may be NULL; `events` must outlive it. */
struct bus_watcher;
struct bus_watcher *bus_watch(struct bus *bus, const struct bus_events *events,
			      void *owner);
void bus_unwatch(struct bus_watcher *watcher); /* NULL is fine */

bool bus_is_up(const struct bus *bus);
/* The store's time, in milliseconds since 1970, as far as we know it. */
uint64_t bus_now_ms(const struct bus *bus);

struct bus_counters {
	struct envelope_counters envelopes;
	struct store_bus_counters transport;
	uint64_t published;
	uint64_t delivered; /* calls of handlers */
	uint64_t unhandled; /* messages that no handler wanted */
	uint64_t gaps;
};
void bus_counters(const struct bus *bus, struct bus_counters *counters);
