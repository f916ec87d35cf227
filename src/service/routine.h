/*
 * routine - one run of straight-line code on a fiber of a node: what it was
 * answered, the last failure, its deadline.
 *
 * A call that waits begins with routine_check(), takes fiber_wait_begin(),
 * arranges for fiber_wake() on it, and parks with routine_park().
 */
#pragma once
#include <stdarg.h>

#include "base/arena.h"
#include "base/fiber.h"
#include "service/node.h"
#include "store/store_types.h"

struct timer;

#define ROUTINE_NAME_BYTES 48

struct routine {
	struct list link; /* of the node's */
	struct routine *next_spare;
	struct muster *muster;
	struct fiber *fiber;
	char name[ROUTINE_NAME_BYTES];
	muster_fiber_fn fn;
	void *arg;
	/* Of whoever started it (a task's run, a request); NULL. */
	void *context;
	struct arena answers;
	struct problem problem;
	uint64_t deadline_ms;   /* of the loop's clock; 0: none */
	struct timer *alarm;    /* NULL until a wait first has a limit */
	struct fiber_wait wait; /* the last that it parked for */
	bool is_cancelled;      /* that is how this one ended */
	bool was_late;          /* its deadline has ended a wait */
	bool is_blocking; /* in another thread: nothing ends this wait early */
	int owed;         /* what its next wait is cancelled with; 0 */
};

/* Runs fn(muster, arg) now, until it first waits. `context` may be NULL; the
 * name is copied, as much of it as fits. */
__attribute__((warn_unused_result)) int routine_start(struct muster *muster,
						      const char *name,
						      muster_fiber_fn fn,
						      void *arg, void *context);

/* Those that are kept to be used again go with their node. */
void routine_free_spares(struct muster *muster);

/* The one that runs; NULL where no fiber of this node does. */
struct routine *routine_current(const struct muster *muster);

/* Ends its wait, or the next one, with `code`; once, so that it can still wait
 * while it cleans up. It may have ended when this returns. */
void routine_cancel(struct routine *routine, int code);

/* The loop ends before it has: lets go of that. It stays parked. */
void routine_abandon(struct routine *routine);

/* What a call of this fiber gives back lives here. */
struct arena *routine_answers(struct muster *muster);

/* Where the next failure is told: the fiber's problem, or the node's. */
struct problem *routine_problem(struct muster *muster);

/* 0 on a fiber of this node; else -EPERM with a problem. */
__attribute__((warn_unused_result)) int routine_check(struct muster *muster);

/*
 * Parks until the wait that was begun is woken with a value, which is the
 * result; or for delay_ms at most (0: no limit), then -ETIMEDOUT. Both without
 * a word to the problem. Where the fiber is cancelled or its deadline passes,
 * what it was cancelled with, and the problem says so.
 */
__attribute__((warn_unused_result)) int
routine_park(struct muster *muster, struct fiber_wait wait, uint64_t delay_ms);

/* A copy on this fiber, followed by a NUL. */
struct store_bytes routine_keep(struct muster *muster,
				struct store_bytes bytes);

/* muster_json(). */
const char *routine_json(struct muster *muster, const char *format,
			 va_list arguments);
