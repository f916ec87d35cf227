#include "base/uuid.h"

#include <stdint.h>
#include <stdio.h>
#include <sys/random.h>
#include <time.h>

#include "base/must.h"

void uuid_make(char uuid[UUID_BYTES])
{
	struct timespec now;
	uint16_t random[5];

	clock_gettime(CLOCK_REALTIME, &now);
	uint64_t ms =
		(uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;

	MUST(getrandom(random, sizeof(random), 0) == sizeof(random));
	int length = snprintf(
		uuid, UUID_BYTES, "%08x-%04x-%04x-%04x-%04x%04x%04x",
		(unsigned)(ms >> 16 & 0xffffffff), (unsigned)(ms & 0xffff),
		(random[0] & 0x0fffU) | 0x7000U,
		(random[1] & 0x3fffU) | 0x8000U, (unsigned)random[2],
		(unsigned)random[3], (unsigned)random[4]);

	MUST(length == UUID_BYTES - 1);
}
