/*
 * loop - the one event loop of a process, and the only layer that calls libuv.
 *
 * Everything in this layer is used by the thread that made the loop. Objects
 * are opened and closed: after x_close() the owner gets no more callbacks and
 * may forget the object, whose memory goes when libuv has let go of it. An
 * object may be closed within any of its own callbacks.
 */
#pragma once
#include <stdbool.h>
#include <stdint.h>

#include "base/list.h"
#include "base/log.h"

#define LOOP_SCRATCH_BYTES 65536

struct loop;

/* Work for the end of this turn: embedded in its owner, zeroed at birth. */
struct loop_task {
	struct list link;
	void (*run)(struct loop_task *task);
};

/* `log` must outlive the loop. */
struct loop *loop_new(const struct log *log);
/* Every object must have been closed; runs the loop dry. NULL is fine. */
void loop_free(struct loop *loop);

/* Until nothing keeps it going, or loop_stop(). */
void loop_run(struct loop *loop);
void loop_stop(struct loop *loop);

/* While held, counted, the loop goes on though nothing is open. */
void loop_hold(struct loop *loop);
void loop_release(struct loop *loop);

/* For a loop inside another one: wait on the descriptor for timeout_ms (-1:
 * for ever), then turn once without blocking. */
int loop_descriptor(const struct loop *loop);
int loop_timeout_ms(const struct loop *loop);
bool loop_turn(struct loop *loop); /* is there more to come? */

/* Monotonic, as of this turn. */
uint64_t loop_now_ms(const struct loop *loop);
/* How often it has waited: while it is the same, so is the turn. */
uint64_t loop_turns(const struct loop *loop);
const struct log *loop_log(const struct loop *loop);

/* LOOP_SCRATCH_BYTES that whoever reads may use until it returns to the loop.
 * Only one reader at a time: a reader whose callback reads again must not. */
uint8_t *loop_scratch(struct loop *loop);

/* Runs before the loop blocks again, once, in the order of the calls. A task
 * that waits already stays where it is. */
void loop_defer(struct loop *loop, struct loop_task *task);
void loop_undefer(struct loop_task *task); /* fine if it does not wait */
