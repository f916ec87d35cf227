/* arena - the store's bytes in an arena. */
#pragma once
#include "base/arena.h"
#include "store/store_types.h"

struct store_bytes arena_copy(struct arena *arena, const void *data,
			      size_t length);
