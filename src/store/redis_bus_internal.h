/*
 * What the files of the bus over Redis share: redis_bus.c, which subscribes,
 * and redis_bus_publish.c.
 */
#pragma once
#include "store/redis_internal.h"
#include "store/store_bus_internal.h"

/*
 * What we subscribe to comes over connections of their own, one to each node
 * that has a channel of ours (`links`; without a Cluster the first one). They
 * reconnect by themselves, and then ask for their channels again.
 *
 * What we publish goes over the ordinary connections, gathered in bundles: a
 * command of many, each with a reply of its own. A bundle that was on its way
 * when the connection broke is sent again from the first one without a reply;
 * who gets a message twice knows it by its number.
 */
struct redis_bus {
	struct redis *redis;
	struct store_bus *bus;
	struct redis_connection *links[REDIS_NODES_MAX];
	struct buffer asks[REDIS_NODES_MAX]; /* struct ask, not answered yet */
	uint64_t last_ask;
	struct redis_command *open[REDIS_NODES_MAX + 1]; /* that take more */
	struct list bundles;
	size_t waiting_bytes; /* in all bundles */
	struct timer *tick;
	uint64_t clock_ms; /* when the time was asked for */
	bool is_asking_clock;
	uint64_t refusal_ms;
	struct buffer name;     /* of a channel, in full */
	struct buffer log_name; /* the same, of what a log is kept under */
	char *prefix;           /* that all of them begin with */
	size_t prefix_length;
	struct loop_task mark;
};

static inline uint64_t redis_bus_now_ms(const struct redis_bus *own)
{
	return loop_now_ms(own->redis->store->loop);
}

static inline bool redis_bus_is_sharded(const struct redis *redis)
{
	return redis->is_cluster && !redis->has_no_shards;
}

static inline bool redis_bus_starts(const char *text, const char *with)
{
	return strncmp(text, with, strlen(with)) == 0;
}

/* PREFIX:bus, and what follows; on a Cluster all of it in braces. Good until
 * the next one. */
struct store_bytes redis_bus_name(struct redis_bus *own,
				  struct store_bytes channel);

/* What a log is kept under: the list, what is known about it, and which life
 * of the store this is, for all logs of the channel. On a Cluster they are
 * where the channel is. Good until the next one. */
enum redis_log_key { REDIS_LOG_LIST, REDIS_LOG_FACTS, REDIS_LOG_LIFE };
struct store_bytes redis_log_key(struct redis_bus *own,
				 struct store_bytes channel,
				 struct store_bytes name,
				 enum redis_log_key key);

/* ---- redis_bus_publish.c ---- */

int redis_bus_publish(struct store_bus *bus, struct store_bytes channel,
		      struct store_bytes bytes, const struct store_bus_log *log,
		      store_bus_published_fn on_published, void *owner);
void redis_bus_forget(struct store_bus *bus, const void *owner);
/* What has waited for too long to be sent; and who does not answer. */
void redis_bus_check_bundles(struct redis_bus *own);
/* They go as they are, and nobody is told. */
void redis_bus_leave_bundles(struct redis_bus *own);
