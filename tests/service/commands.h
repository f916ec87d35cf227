/* commands - what a node is told to do, a line each on its standard input. It
 * stops where that ends. */
#pragma once
#include <muster/node.h>

/* From the node's on_start. `obey` is called on a fiber, one line after the
 * other; the line is good until it returns. */
int commands_begin(struct muster *muster,
		   void (*obey)(struct muster *muster, const char *line));
