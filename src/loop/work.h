/* work - runs what blocks on another thread, without blocking the loop. */
#pragma once
#include "loop/loop.h"

typedef void (*work_fn)(void *arg);

/* Runs fn(arg) in the thread pool, then on_done(owner) on the loop, once. It
 * cannot be stopped. Keeps the loop going meanwhile. */
void work_start(struct loop *loop, work_fn fn, void *arg, work_fn on_done,
		void *owner);
