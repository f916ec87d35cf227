/*
 * store_bus - bytes from one process of a cluster to others, by the name of a
 * channel. The store's way: Redis's pub/sub, or unix sockets between the
 * processes of a host. What is in the bytes is not looked into.
 *
 * At most once. What one process publishes on a channel arrives in that order;
 * on a store that is no Redis Cluster this holds over all its channels. Who
 * subscribes to a channel and publishes on it receives its own. A message that
 * does not arrive is told to nobody here: number them.
 *
 * Channels are short names, under the store's prefix: "" is PREFIX:bus, "/3"
 * PREFIX:bus/3, "node:api-worker-1" PREFIX:bus:node:api-worker-1. On a Cluster
 * braces are put around the whole name, and sharded pub/sub is used where the
 * server knows it (7.0). A name has at most STORE_BUS_CHANNEL_MAX bytes.
 *
 * One bus for each store; used by the loop's thread alone; callbacks come from
 * the loop, never out of a call that is made here. What waits to be sent is
 * bounded: STORE_BUS_WAITING_BYTES to Redis, or to each process of the host.
 */
#pragma once
#include "store/store.h"

#define STORE_BUS_CHANNEL_MAX   200
#define STORE_BUS_WAITING_BYTES ((size_t)8 << 20)
#define STORE_BUS_MESSAGE_MAX   ((size_t)(1 << 20) + 4096)

struct store_bus;

struct store_bus_events {
	/* Both are good until the callback returns. */
	void (*on_message)(void *owner, struct store_bytes channel,
			   struct store_bytes bytes);
	/* From now on what is published on the channel arrives; told again
	 * each time this was interrupted. */
	void (*on_subscribed)(void *owner, struct store_bytes channel);
	/* What is published on the channel meanwhile may not arrive. */
	void (*on_interrupted)(void *owner, struct store_bytes channel);
	/* Who received what we publish (a Redis that came back, an embedded
	 * peer that was too slow) has missed some of it. */
	void (*on_publishing)(void *owner);
};

/*
 * `id` and `nonce` say who this is, in what people look at; they are copied,
 * and at most STORE_NAME_MAX bytes each. NULL with *problem filled (embedded:
 * no room, or the directory cannot be written to; more than 256 processes).
 * `events` must outlive the bus.
 */
struct store_bus_join {
	struct store_bytes id;
	struct store_bytes nonce;
	const struct store_bus_events *events;
	void *owner;
};
struct store_bus *store_bus_join(struct store *store,
				 const struct store_bus_join *join,
				 struct problem *problem);
/* At once; no callback comes any more, not those of messages that were being
 * published either, though they may still go. Not out of one of its callbacks;
 * before store_close(). NULL is fine. */
void store_bus_leave(struct store_bus *bus);

/* Counted: as often unsubscribed as subscribed. -EINVAL: the name is too long;
 * -EMFILE: more than STORE_BUS_CHANNELS_MAX. */
#define STORE_BUS_CHANNELS_MAX 4096
__attribute__((warn_unused_result)) int
store_bus_subscribe(struct store_bus *bus, struct store_bytes channel);
void store_bus_unsubscribe(struct store_bus *bus, struct store_bytes channel);

/*
 * How many processes it was handed to: exactly on one Redis and embedded (of
 * those a slow one may lose it yet), -1 where the store does not know (a
 * Cluster). Negative error: -ETIMEDOUT (the store was away for its timeout),
 * -ECONNRESET (it may have been published or not), or what Redis refused.
 */
typedef void (*store_bus_published_fn)(void *owner, int error,
				       int64_t receivers);

/*
 * What is published is also put behind what is in this log, in the same step
 * (Redis: one script; embedded: the same turn hands both over), and stays until
 * so many others, STORE_BUS_LOG_BYTES of them, or that time have followed it.
 * Each publication says the bounds anew. A log belongs to the channel.
 */
struct store_bus_log {
	struct store_bytes name; /* at most STORE_BUS_LOG_NAME_MAX bytes */
	uint32_t entries;        /* 1 to STORE_BUS_LOG_ENTRIES_MAX */
	uint32_t keep_ms;        /* not 0 */
};
#define STORE_BUS_LOG_NAME_MAX    512
#define STORE_BUS_LOG_ENTRIES_MAX 65536
#define STORE_BUS_LOG_BYTES       ((size_t)8 << 20)

/*
 * Leaves at the end of the turn, with all others of that turn. `log` may be
 * NULL: it is kept nowhere. on_published may be NULL. Refused at once, nothing
 * is sent and nobody called back: -EMSGSIZE (over STORE_BUS_MESSAGE_MAX),
 * -EINVAL (the channel's name, or the log), -ENOBUFS (too many wait for the
 * store to come back).
 */
__attribute__((warn_unused_result)) int
store_bus_publish(struct store_bus *bus, struct store_bytes channel,
		  struct store_bytes bytes, const struct store_bus_log *log,
		  store_bus_published_fn on_published, void *owner);
/* The on_published that this owner waits for will not be called. */
void store_bus_forget(struct store_bus *bus, const void *owner);

/* What an embedded store keeps for the processes that share it: made by the
 * first who asks, in a file that this user alone can read. 64 letters and a
 * NUL. -EREMOTE (without a problem): the store is a server, which keeps none.
 */
#define STORE_BUS_SECRET_BYTES 65
__attribute__((warn_unused_result)) int
store_bus_secret(struct store *store, char secret[STORE_BUS_SECRET_BYTES],
		 struct problem *problem);

/* What to add to this host's clock (CLOCK_REALTIME) for the store's time; known
 * before anything is told by on_subscribed. */
int64_t store_bus_clock_offset_ms(const struct store_bus *bus);
bool store_bus_is_clock_known(const struct store_bus *bus);

/* What all names in the store begin with. */
const char *store_bus_prefix(const struct store_bus *bus);

struct store_bus_counters {
	uint64_t published;
	uint64_t received;
	uint64_t dropped;       /* of ours: a receiver, or the store, was slow
				   or away */
	uint64_t interruptions; /* of what we subscribe to */
};
void store_bus_counters(const struct store_bus *bus,
			struct store_bus_counters *counters);
