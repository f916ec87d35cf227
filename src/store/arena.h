/*
 * arena - memory that goes all at once: a call's request and its answer.
 *
 * A zeroed arena is empty. What it gave stays where it is until arena_fini().
 */
#pragma once
#include <stddef.h>

#include "store/store_types.h"

struct arena_block;

struct arena {
	struct arena_block *blocks;
	char *at;
	size_t left;
};

void arena_fini(struct arena *arena); /* leaves it empty */

/* Aligned for anything. */
__attribute__((returns_nonnull)) void *arena_take(struct arena *arena,
						  size_t size);
__attribute__((returns_nonnull)) void *
arena_take_zeroed(struct arena *arena, size_t count, size_t size);
struct store_bytes arena_copy(struct arena *arena, const void *data,
			      size_t length);
