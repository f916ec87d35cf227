/* signals - tells the owner which signals came. Keeps no loop going. */
#pragma once
#include <stddef.h>

#include "loop/loop.h"

struct signals;
typedef void (*signals_fn)(void *owner, int signal);

/* `list` of `count` signal numbers, up to 16. */
struct signals *signals_open(struct loop *loop, const int *list, size_t count,
			     signals_fn on_signal, void *owner);
void signals_close(struct signals *signals); /* NULL is fine */
