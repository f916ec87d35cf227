/*
 * schedule - enqueues recurring tasks when they are due.
 *
 * There is no leader: each node sees to each recurring task that it has, and
 * the store, which keeps the next due time of each, lets one of them enqueue
 * it and move the time on, in one step. Where the time that is kept is later
 * than the task's own next one, as it recurs more often than it did, it is set
 * back.
 */
#pragma once
#include <muster/task.h>

#include "service/node.h"

struct schedule;

/* Can this task recur as it says, if it does? Fails with *problem filled. */
__attribute__((warn_unused_result)) int
schedule_check(const struct muster_task *task, struct problem *problem);

/* NULL where nothing recurs, with 0; else fails with *problem filled where a
 * task's times or zone cannot be read. */
__attribute__((warn_unused_result)) int schedule_new(struct muster *muster,
						     struct schedule **schedule,
						     struct problem *problem);
/* All of these: NULL is fine. */
void schedule_free(struct schedule *schedule);

/* As often as it is told to, by turns. */
void schedule_start(struct schedule *schedule);
void schedule_stop(struct schedule *schedule);
