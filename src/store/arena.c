#include "store/arena.h"

struct store_bytes arena_copy(struct arena *arena, const void *data,
			      size_t length)
{
	if (length == 0)
		return (struct store_bytes){ "", 0 };
	return (struct store_bytes){
		memcpy(arena_take(arena, length), data, length), length
	};
}
