/*
 * actions - the table of what an application can do, and of what stands around
 * it. Made once at the start, checked, then only read.
 *
 * The application's structs are not copied: they last as long as the table.
 */
#pragma once
#include <muster/action.h>

#include "base/problem.h"

/* An action with all that stands around it, in its order. */
struct action {
	const struct muster_action *given;
	uint32_t version;
	size_t input_count;
	const struct muster_middleware **middleware;
	size_t middleware_count;
};

struct actions;

/* Both end with one that has no name; either may be NULL. NULL with *problem
 * filled: a name that is missing, doubled or a verb of the protocols, an input
 * likewise, JSON or a pattern that is none, unknown middleware. */
struct actions *actions_new(const struct muster_action *list,
			    const struct muster_middleware *middleware,
			    struct problem *problem);
void actions_free(struct actions *actions); /* NULL is fine */

/* Version 0: the highest. */
const struct action *actions_find(const struct actions *actions,
				  const char *name, size_t length,
				  uint32_t version);
/* By name, then by version. */
const struct action *actions_at(const struct actions *actions, size_t index);
size_t actions_count(const struct actions *actions);
