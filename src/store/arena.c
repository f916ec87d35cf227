#include "store/arena.h"

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

void *arena_take(struct arena *arena, size_t size)
{
	MUST(size < SIZE_MAX / 2);
	size = (size + ALIGNMENT - 1) & ~(ALIGNMENT - 1);
	if (size > arena->left) {
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

struct store_bytes arena_copy(struct arena *arena, const void *data,
			      size_t length)
{
	if (length == 0)
		return (struct store_bytes){ "", 0 };
	return (struct store_bytes){
		memcpy(arena_take(arena, length), data, length), length
	};
}
