/* watch - tells the owner that a descriptor can be read. The descriptor stays
 * the owner's and is closed after the watch, never before. */
#pragma once
#include "loop/loop.h"

struct watch;
typedef void (*watch_fn)(void *owner);

/* Not started. Fails with -errno where the descriptor cannot be polled. */
__attribute__((warn_unused_result)) int
watch_open(struct loop *loop, int descriptor, watch_fn on_readable, void *owner,
	   struct watch **watch);
void watch_close(struct watch *watch); /* NULL is fine */

void watch_start(struct watch *watch); /* fine if started */
void watch_stop(struct watch *watch);  /* fine if stopped */
void watch_set_keeps_alive(struct watch *watch, bool keeps_alive);

/*
 * Of several processes that watch one open file description, wake one for
 * each event instead of all (EPOLLEXCLUSIVE, epoll_ctl(2)). Advice: where it
 * cannot be had, all are woken.
 */
void watch_set_exclusive(struct watch *watch);
