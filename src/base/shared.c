#include "base/shared.h"

#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/must.h"

struct shared *shared_make(size_t length)
{
	struct shared *shared = mem_alloc(sizeof(*shared) + length);

	shared->holders = 1;
	shared->length = length;
	return shared;
}

struct shared *shared_new(const void *bytes, size_t length)
{
	struct shared *shared = shared_make(length);

	if (length > 0)
		memcpy(shared->bytes, bytes, length);
	return shared;
}

struct shared *shared_hold(struct shared *shared)
{
	MUST(shared->holders > 0 && shared->holders < UINT32_MAX);
	shared->holders++;
	return shared;
}

void shared_release(struct shared *shared)
{
	MUST(shared->holders > 0);
	if (--shared->holders == 0)
		free(shared);
}
