/*
 * pubsub - what applications subscribe to: the bus's messages, handed to their
 * handlers on fibers, one subscription after its own order.
 *
 * Applications see include/muster/pubsub.h.
 */
#pragma once
#include <muster/pubsub.h>

#include "service/node.h"

extern const struct node_part pubsub_part;

/* The node has its bus from now on. */
void pubsub_attach(struct muster *muster);
