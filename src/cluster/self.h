/*
 * self - the role of a process that is a worker.
 *
 * Talks to the primary over the channel it was born with, takes connections
 * that are handed over, and leaves in order: no new connections, listeners
 * closed, what is served is finished, the channel closed, the end. If the
 * primary is gone it does the same by itself. A deadline ends it all.
 */
#pragma once
#include "cluster/board.h"
#include "cluster/cluster.h"
#include "cluster/listener.h"
#include "cluster/worker.h"

struct self;

/* Takes `channel` over and says hello. NULL with the cluster's problem set. */
struct self *self_new(struct muster_cluster *cluster, int channel);
void self_free(struct self *self); /* NULL is fine */

/* Before the first turn of the loop. */
void self_start(struct self *self);

struct muster_worker *self_worker(struct self *self);
struct board *self_board(struct self *self);
/* This worker's own, good as long as it. */
meter_value *self_meters(struct self *self);
struct board_berth *self_berth(struct self *self);
bool self_is_draining(const struct self *self);
uint32_t self_drain_idle_ms(const struct self *self);
uint32_t self_drain_ms(const struct self *self);

struct self_wish {
	struct address address; /* resolved */
	const struct muster_listen_options *options;
};

/* Asks the primary for a listener and starts it. */
int self_listen(struct self *self, const struct self_wish *wish,
		struct muster_listener **listener);
void self_unlisten(struct self *self, const struct muster_listener *listener);

int self_ready(struct self *self);
void self_leave(struct self *self, bool at_once);

/* Sends WAKE if the primary waits for news. */
void self_wake_primary(struct self *self);

/* A message handler was added: the channel keeps the process going. */
void self_on_handler(struct self *self);
/* The last connection was closed. */
void self_on_idle(struct self *self);
