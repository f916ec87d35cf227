/*
 * tasks - runs the cluster's tasks on this node, several at once, each on a
 * fiber.
 *
 * One turn of the loop starts what was claimed, tells the store what has ended
 * (completions, failures and releases, a batch each) and claims as many as
 * there is room for, all gathered by the store into one step. Where a claim
 * finds less than that, it waits in the store until there may be more; nothing
 * is polled. What has ended is told again until the store has answered; the
 * keeper prolongs the lease until then.
 *
 * Applications see include/muster/task.h.
 */
#pragma once
#include <muster/task.h>

#include "service/node.h"

extern const struct node_part tasks_part;

/* Can a node have these? `list` ends with one that has no name, or is NULL.
 * Fails with *problem filled. */
__attribute__((warn_unused_result)) int
tasks_check(const struct muster_task *list, struct problem *problem);
