#include "server/limiter.h"

#include <arpa/inet.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"

#define SETS  1024
#define WAYS  4
#define TOKEN 1000 /* of what a bucket is counted in */

struct bucket {
	uint64_t key;    /* 0: nobody's */
	uint64_t tokens; /* at `at_ms` */
	uint64_t at_ms;
};

struct limiter {
	uint64_t per_ms;
	uint64_t most;
	struct bucket buckets[SETS][WAYS];
};

struct limiter *limiter_new(uint32_t rate, uint32_t burst)
{
	struct limiter *limiter = mem_zalloc(sizeof(*limiter));

	limiter->per_ms = rate; /* tokens of 1,000 in 1,000 ms */
	limiter->most = (uint64_t)(burst > 0 ? burst : rate) * TOKEN;
	return limiter;
}

void limiter_free(struct limiter *limiter)
{
	free(limiter);
}

/* FNV-1a, of what is no address (a unix socket's peers are one client). */
static uint64_t hash(const char *text)
{
	uint64_t number = 0xcbf29ce484222325;

	while (*text != '\0')
		number = (number ^ (uint8_t)*text++) * 0x100000001b3;
	return number;
}

static uint64_t key_of(const char *address)
{
	struct in6_addr six;
	struct in_addr four;
	uint64_t key = 0;

	if (inet_pton(AF_INET, address, &four) == 1)
		key = 1ULL << 32 | four.s_addr;
	else if (inet_pton(AF_INET6, address, &six) == 1)
		memcpy(&key, &six, sizeof(key));
	else
		key = hash(address);
	return key == 0 ? 1 : key;
}

static uint64_t tokens_of(const struct limiter *limiter,
			  const struct bucket *bucket, uint64_t now_ms)
{
	uint64_t tokens =
		bucket->tokens + (now_ms - bucket->at_ms) * limiter->per_ms;

	return bucket->key == 0 || tokens > limiter->most ? limiter->most
							  : tokens;
}

/* The client's, or the fullest one: to be full is to be as good as new. */
static struct bucket *find(struct limiter *limiter, uint64_t key,
			   uint64_t now_ms)
{
	struct bucket *set =
		limiter->buckets[key * 0x9e3779b97f4a7c15 >> 54 & (SETS - 1)];
	struct bucket *fullest = set;

	for (size_t i = 0; i < WAYS; i++) {
		if (set[i].key == key)
			return &set[i];
		if (tokens_of(limiter, &set[i], now_ms) >
		    tokens_of(limiter, fullest, now_ms))
			fullest = &set[i];
	}
	*fullest = (struct bucket){ key, limiter->most, now_ms };
	return fullest;
}

uint32_t limiter_take(struct limiter *limiter, const char *address,
		      uint64_t now_ms)
{
	struct bucket *bucket = find(limiter, key_of(address), now_ms);

	bucket->tokens = tokens_of(limiter, bucket, now_ms);
	bucket->at_ms = now_ms;
	if (bucket->tokens >= TOKEN) {
		bucket->tokens -= TOKEN;
		return 0;
	}
	return (uint32_t)((TOKEN - bucket->tokens + limiter->per_ms - 1) /
			  limiter->per_ms);
}
