/*
 * node_bus - a node's bus: open while the node is a peer, under its id. A node
 * that joins anew keeps the one it has, with all its handlers, and gives it the
 * name that it has got.
 */
#pragma once
#include "service/bus.h"
#include "service/node.h"

extern const struct node_part bus_part;

/* NULL with the fiber's (or the node's) problem filled, while there is none. */
struct bus *node_bus(struct muster *muster);
