/*
 * What store_bus.c and the two ways of it share: who has joined, and the
 * channels that somebody here has subscribed to.
 */
#pragma once
#include "store/store_bus.h"
#include "store/store_internal.h"

#define STORE_BUS_BUCKETS 256

struct store_bus_channel {
	struct list link; /* of all of them */
	struct store_bus_channel *next;
	uint64_t hash;
	unsigned count; /* of subscriptions */
	bool is_up;     /* and its owner knows */
	int node;       /* Redis Cluster: who was asked for it; -1 */
	uint64_t ask;   /* Redis: of the SUBSCRIBE that was sent; 0: none */
	size_t length;
	char name[];
};

struct store_bus_ops {
	int (*join)(struct store_bus *bus, struct problem *problem);
	void (*leave)(struct store_bus *bus);
	void (*subscribe)(struct store_bus *bus,
			  struct store_bus_channel *channel);
	/* The channel is freed after this. */
	void (*unsubscribe)(struct store_bus *bus,
			    struct store_bus_channel *channel);
	int (*publish)(struct store_bus *bus, struct store_bytes channel,
		       struct store_bytes bytes,
		       const struct store_bus_log *log,
		       store_bus_published_fn on_published, void *owner);
	void (*forget)(struct store_bus *bus, const void *owner);
	int (*secret)(struct store *store, char secret[STORE_BUS_SECRET_BYTES],
		      struct problem *problem);
};

struct store_bus {
	struct store *store;
	const struct store_bus_ops *ops;
	const struct store_bus_events *events;
	void *owner;
	char id[STORE_NAME_MAX + 1];
	char nonce[STORE_NAME_MAX + 1];
	void *back_end;
	struct list channels;
	size_t channel_count;
	struct store_bus_channel *buckets[STORE_BUS_BUCKETS];
	int64_t clock_offset_ms;
	bool is_clock_known;
	struct store_bus_counters counters;
};

extern const struct store_bus_ops lmdb_bus_ops;
extern const struct store_bus_ops redis_bus_ops;

/* FNV-1a; never 0 or 1. */
uint64_t store_bus_hash(struct store_bytes channel);
/* NULL: nobody has subscribed to it. */
struct store_bus_channel *store_bus_find(const struct store_bus *bus,
					 struct store_bytes channel);
void store_bus_deliver(struct store_bus *bus, struct store_bytes channel,
		       struct store_bytes bytes);
void store_bus_set_up(struct store_bus *bus, struct store_bus_channel *channel,
		      bool is_up);

static inline struct store_bytes
store_bus_name(const struct store_bus_channel *channel)
{
	return store_bytes(channel->name, channel->length);
}
