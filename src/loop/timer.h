/* timer - calls its owner once or again and again. */
#pragma once
#include <stdbool.h>
#include <stdint.h>

#include "loop/loop.h"

struct timer;
typedef void (*timer_fn)(void *owner);

/* Not started. `keeps_alive`: does it keep loop_run() going while started? */
struct timer *timer_open(struct loop *loop, timer_fn on_time, void *owner,
			 bool keeps_alive);
void timer_close(struct timer *timer); /* NULL is fine */

/* Starting again sets it anew. repeat_ms 0: once. */
void timer_start(struct timer *timer, uint64_t delay_ms, uint64_t repeat_ms);
void timer_stop(struct timer *timer);
void timer_set_keeps_alive(struct timer *timer, bool keeps_alive);
bool timer_is_started(const struct timer *timer);
