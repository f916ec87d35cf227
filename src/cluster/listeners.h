/*
 * listeners - the sockets that the primary keeps for its workers.
 *
 * One listener for each address that workers asked for; the first to ask makes
 * it, the others join. It outlives the workers that use it as long as others
 * may come, so that no queued connection is lost when one dies.
 *
 *   least, rr   the primary accepts and hands over
 *   shared      workers accept on the one socket
 *   reuseport   a socket a slot; while a slot has no worker, the primary
 *               accepts there and hands over to the others
 *   UDP         workers receive on the one socket
 *
 * Used by the primary's loop alone.
 */
#pragma once
#include <stdbool.h>
#include <stdint.h>

#include "base/problem.h"
#include "cluster/handover.h"
#include "cluster/worker.h"
#include "wire/messages.h"

struct listeners;
struct listener;

/* Bits of LISTEN's flags. */
enum listen_flag {
	LISTEN_IPV6_ONLY = 1,
	LISTEN_REUSE_ADDRESS = 2,
	LISTEN_READABLE_ALL = 4,
	LISTEN_WRITABLE_ALL = 8,
};

struct listeners *listeners_new(struct muster_cluster *cluster,
				struct handover *handover);
void listeners_free(struct listeners *listeners); /* closes what is open */

/* LISTEN: finds or makes what is asked for and answers the worker. */
void listeners_ask(struct listeners *listeners, struct muster_worker *worker,
		   const struct message_listen *ask);
/* LISTENING and UNLISTEN. -ENOENT: the worker never asked for it. */
__attribute__((warn_unused_result)) int
listeners_serve(struct listeners *listeners, struct muster_worker *worker,
		uint32_t id, struct muster_address *address);
__attribute__((warn_unused_result)) int
listeners_unlisten(struct listeners *listeners, struct muster_worker *worker,
		   uint32_t id);

/* The worker gets no more connections; its listeners stay for others. */
void listeners_detach(struct listeners *listeners,
		      struct muster_worker *worker);

/* Closes those that no worker has joined: nobody will come for them. */
void listeners_sweep(struct listeners *listeners);
size_t listeners_count(const struct listeners *listeners);
