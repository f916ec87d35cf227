/*
 * arena - memory that goes all at once: what a call asks and is answered, what
 * an action was given while it ran.
 *
 * A zeroed arena is empty. What it gave stays where it is until arena_fini().
 */
#pragma once
#include <stddef.h>

struct arena_block;

struct arena {
	struct arena_block *blocks;
	char *at;
	size_t left;
};

void arena_fini(struct arena *arena); /* leaves it empty */
/* The same, but an arena that was hardly used keeps its memory. */
void arena_reset(struct arena *arena);

/* Aligned for anything. */
__attribute__((returns_nonnull)) void *arena_take(struct arena *arena,
						  size_t size);
__attribute__((returns_nonnull)) void *
arena_take_zeroed(struct arena *arena, size_t count, size_t size);
/* A copy, followed by a NUL that does not count. */
__attribute__((returns_nonnull)) char *
arena_text(struct arena *arena, const void *bytes, size_t length);
