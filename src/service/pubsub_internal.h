/*
 * What pubsub.c and pubsub_replay.c share.
 */
#pragma once
#include "service/bus.h"
#include "service/node.h"
#include "service/pubsub.h"

/* A message that waits for its handler; the texts are behind it. */
struct pubsub_item {
	struct list link;
	struct muster_news news;
	const char *nonce; /* of the life of its publisher */
	uint64_t kept;
	bool is_replayed;
	size_t bytes;
};

struct replay;

struct muster_subscription {
	struct list link;
	struct muster *muster;
	char *where;
	struct bus_handler *handler;
	struct replay *replay; /* NULL: without */
	muster_news_fn fn;
	void *arg;
	struct list items;
	size_t waiting;
	size_t replayed; /* of those */
	size_t bytes;
	uint32_t room;
	bool is_running; /* its fiber is at work */
	bool is_removed;
	struct fiber_wait ready;
};

struct pubsub {
	struct muster *muster;
	struct list subscriptions;
	struct bus_watcher *watcher;
	struct list gaps;
	size_t gap_count;
	struct loop_task tell;
	bool tells_gaps;
	muster_gap_fn on_gap;
	void *gap_arg;
	uint64_t dropped_slow;
	uint64_t missed;
	uint64_t recovered;
	uint64_t warned_ms;
};

#define PUBSUB_ROOM_BYTES ((size_t)8 << 20)

/* ---- pubsub.c ---- */

struct pubsub_item *pubsub_item_new(const struct bus_message *message);
/* To the handler, which takes it over. */
void pubsub_give(struct muster_subscription *subscription,
		 struct pubsub_item *item);
void pubsub_note_gap(struct pubsub *pubsub, const struct muster_gap *gap);

/* ---- pubsub_replay.c: what was missed, out of the channel's log ---- */

struct replay *replay_new(struct muster_subscription *subscription,
			  uint32_t since_ms);
/* At once; NULL is fine. */
void replay_free(struct replay *replay);
/* Everything that is published from now on arrives. */
void replay_begin(struct replay *replay);
void replay_take(struct replay *replay, const struct bus_message *message);
/* Something may be missing. */
void replay_suspect(struct replay *replay);
