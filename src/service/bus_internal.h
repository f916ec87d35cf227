/*
 * What bus.c, bus_lanes.c and bus_topics.c share.
 */
#pragma once
#include <string.h>

#include "base/buffer.h"
#include "base/list.h"
#include "service/bus.h"

#define BUS_BUCKETS    256
#define BUS_TOPICS_MAX 65536

/* Lanes that are received: the general one, those of channels, our own. */
#define BUS_LANE_GENERAL 0
#define BUS_LANE_FIRST   1
#define BUS_LANE_OWN     (BUS_LANE_FIRST + BUS_LANES)
#define BUS_LANES_IN     (BUS_LANE_OWN + 1)

/* A type, a channel or a pattern that somebody here has a handler for. */
struct bus_topic {
	struct list link;
	struct bus_topic *next;
	struct list handlers;
	bool is_channel;
	uint32_t hash;
	uint32_t lanes; /* bits: those it needs */
	size_t length;
	char name[];
};

struct bus_handler {
	struct list link;    /* of its topic's, or of those to be freed */
	struct list waiting; /* of those to be told that they are ready */
	struct bus *bus;
	struct bus_topic *topic;
	bus_message_fn on_message; /* NULL: removed */
	void *owner;
	uint64_t born; /* the bus's turn: what is being dispatched is not its */
	bus_ready_fn on_ready;
	void *ready_owner;
};

struct bus_watcher {
	struct list link;
	struct bus *bus;
	const struct bus_events *events; /* NULL: removed */
	void *owner;
};

/* A lane that we publish on. */
struct bus_out {
	struct list link;   /* by use: the one used last is last */
	struct list marked; /* of those to more than one server */
	struct bus_out *next;
	uint32_t hash;
	uint64_t seq;     /* of the last one published */
	uint64_t mark_ms; /* when a mark is due; 0: none */
	size_t length;
	char name[];
};

struct timer;

struct bus {
	struct loop *loop;
	struct store *store;
	struct store_bus *transport;
	struct envelope_keys *keys;
	struct envelope_book *book;
	char *id;
	char *nonce;
	char *own_lane;       /* "node:ID" */
	struct buffer room;   /* that envelopes are written into */
	meter_value *meters;  /* NULL: none */
	uint64_t turn_seen;   /* of the loop, when the time was looked at */
	uint64_t turn_now_ms; /* then, by the store's clock; 0: not yet */

	uint32_t lane_counts[BUS_LANES_IN]; /* topics that need it */
	uint32_t lanes_up;                  /* bits */
	uint32_t lanes_wanted;              /* bits: count is not 0 */
	uint32_t lanes_lost;                /* bits: were up, and are no more */
	bool is_up;                         /* as watchers have been told */
	bool owes_who; /* to ask for marks, once all lanes are up */

	struct bus_topic *topics[BUS_BUCKETS];
	struct list all_topics;
	size_t topic_count;
	struct list waiting; /* handlers, for their lanes */
	struct loop_task tell_ready;
	struct list watchers;
	struct list removed; /* handlers, while one is called */
	bool has_removed_watchers;
	unsigned calling;
	uint64_t turn;

	struct bus_out *outs[BUS_BUCKETS];
	struct list all_outs;
	struct list readings; /* bus_log.c's */
	size_t out_count;
	struct list marked;
	bool has_forgotten_outs;
	uint64_t highest_seq; /* of any lane */
	struct timer *tick;

	uint64_t refused[ENVELOPE_ANSWERS]; /* since the last line of the log */
	uint64_t refused_ms[ENVELOPE_ANSWERS];
	uint64_t delivered;
	uint64_t unhandled;
	uint64_t published;
	uint64_t gaps;
};

static inline struct envelope_text bus_text(const char *text)
{
	return (struct envelope_text){ text, strlen(text) };
}

/* FNV-1a. */
uint32_t bus_hash(struct envelope_text text);

/* ---- bus_topics.c ---- */

void bus_topics_init(struct bus *bus);
void bus_topics_fini(struct bus *bus);
/* The lanes a channel or a pattern is on, as bits. */
uint32_t bus_lanes_of(struct envelope_text pattern);
bool bus_is_channel(struct envelope_text text, bool may_be_pattern);
void bus_dispatch(struct bus *bus, const struct bus_message *message);
/* Lanes have come up: handlers may be ready. */
void bus_topics_ready(struct bus *bus);
/* Around each callback of handlers and watchers. */
void bus_call_begin(struct bus *bus);
void bus_call_end(struct bus *bus);

/* ---- bus_lanes.c: what comes in, and whether anything may be missing ---- */

extern const struct store_bus_events bus_transport_events;
/* 0, or what store_bus_subscribe() says. */
__attribute__((warn_unused_result)) int bus_lanes_need(struct bus *bus,
						       uint32_t lanes);
void bus_lanes_spare(struct bus *bus, uint32_t lanes);
/* The server's own lane has another name than this one now. */
void bus_lanes_move_own(struct bus *bus, const char *old_name);
/* Frees the watchers that were removed while one was called. */
void bus_lanes_bury_watchers(struct bus *bus);

/* ---- bus_log.c ---- */

void bus_logs_fini(struct bus *bus);
/* The name of a channel's lane. */
#define BUS_LANE_BYTES 24 /* of "/" and a number */
void bus_lane_of(struct envelope_text channel, char name[BUS_LANE_BYTES]);
/* What bus.c says of a message that was opened. */
void bus_describe(const struct bus *bus, const struct envelope *envelope,
		  struct bus_message *message);

/* ---- bus.c ---- */

/* Seals and sends; the lane is the caller's to choose. */
__attribute__((warn_unused_result)) int
bus_send(struct bus *bus, struct envelope_text lane,
	 const struct bus_outgoing *message,
	 store_bus_published_fn on_published, void *owner);
/* A mark behind all that was published, in a while. */
void bus_mark_all(struct bus *bus, uint64_t delay_ms);
