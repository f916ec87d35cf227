/*
 * rooms - what members of a room say to each other, on whichever servers they
 * are.
 *
 * A room with members on this node (struct rooms_here) has a handler on the
 * bus's channel of that room, and a list of those members: what comes is one
 * JSON text, which is sent to each as it came. Rooms and members that the store
 * has are told and read by the calls of muster/room.h alone; what is said goes
 * over the bus, and to web clients by one step of the store.
 *
 *   joining: a fiber asks the store ──▶ joined ──▶ gone
 *
 * A member's row in the store belongs to this life of the node. Where the store
 * was away, or others took this node for dead, all rows are written again; what
 * could not be removed is removed later.
 *
 * Applications see include/muster/room.h.
 */
#pragma once
#include <muster/room.h>
#include <muster/rpc.h>

#include "base/list.h"
#include "service/node.h"

extern const struct node_part rooms_part;

/* What other servers ask about connections of this one; ends with one that has
 * no name. */
extern const struct muster_method rooms_methods[];

/* A connection of this node that may be a member of rooms. */
struct rooms_client {
	struct muster *muster;
	const char *id; /* that the node holds it under */
	/* One JSON text. May close clients, this one too. */
	void (*receive)(struct rooms_client *client, const char *text,
			size_t length);
	/* The node holds it no longer, and it is closed. NULL is fine. */
	void (*on_dropped)(struct rooms_client *client);
	struct list memberships;
};

/* Of a connection that the node holds: its id, what it does with messages and
 * its muster are set. */
void rooms_client_open(struct rooms_client *client);
/* It leaves all rooms. Never opened, or closed before, is fine. */
void rooms_client_close(struct rooms_client *client);

bool rooms_is_member(const struct rooms_client *client, const char *room);
/* Calls `tell` with the name of each of its rooms, in the order it joined. */
void rooms_each(const struct rooms_client *client,
		void (*tell)(void *owner, const char *room), void *owner);
