#include "base/arena.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/must.h"

#define BLOCK_BYTES 4096
#define ALIGNMENT   ((size_t)16)

struct arena_block {
	struct arena_block *next;
	size_t size; /* keeps what follows aligned */
};

void arena_fini(struct arena *arena)
{
	while (arena->blocks != NULL) {
		struct arena_block *block = arena->blocks;

		arena->blocks = block->next;
		free(block);
	}
	*arena = (struct arena){ 0 };
}

void arena_reset(struct arena *arena)
{
	struct arena_block *block = arena->blocks;

	if (block == NULL || block->next != NULL ||
	    block->size != BLOCK_BYTES) {
		arena_fini(arena);
		return;
	}
	arena->at = (char *)(block + 1);
	arena->left = block->size;
}

void *arena_take(struct arena *arena, size_t size)
{
	MUST(size < SIZE_MAX / 2);
	size = (size + ALIGNMENT - 1) & ~(ALIGNMENT - 1);
	if (size > arena->left || arena->at == NULL) {
		size_t room = size > BLOCK_BYTES ? size : BLOCK_BYTES;
		struct arena_block *block = mem_alloc(sizeof(*block) + room);

		block->next = arena->blocks;
		block->size = room;
		arena->blocks = block;
		arena->at = (char *)(block + 1);
		arena->left = room;
	}
	void *taken = arena->at;

	arena->at += size;
	arena->left -= size;
	return taken;
}

void *arena_take_zeroed(struct arena *arena, size_t count, size_t size)
{
	MUST(size == 0 || count <= SIZE_MAX / 2 / size);
	return memset(arena_take(arena, count * size), 0, count * size);
}

char *arena_text(struct arena *arena, const void *bytes, size_t length)
{
	char *text = arena_take(arena, length + 1);

	if (length > 0)
		memcpy(text, bytes, length);
	text[length] = '\0';
	return text;
}
