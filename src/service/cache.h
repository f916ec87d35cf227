/*
 * cache - the functions of muster/cache.h: what they have in common.
 *
 * A key is checked before the store is asked, so that all back ends refuse the
 * same ones with the same words. An entry that muster_cache_compute() has
 * saved carries, behind its type, what it cost and how long it may be served
 * when it is stale ("text/plain;muster=12,5000"); what is known not to exist
 * has the type muster/none. Neither shows in what applications load.
 */
#pragma once
#include <muster/cache.h>

#include "service/ask.h"
#include "service/node.h"

/* What compute has noted behind the type. */
struct cache_note {
	bool is_none;      /* there is known to be no value */
	uint64_t cost_ms;  /* to compute it */
	uint64_t stale_ms; /* of its time, the last part */
};

/* ask_begin(), on a fiber and with a key that can be one. */
__attribute__((warn_unused_result)) int
cache_begin(struct ask *ask, struct muster *muster, const char *key);
/* ask_end(); an answer of the store is one of the cache's. */
__attribute__((warn_unused_result)) int cache_end(struct ask *ask);

/* Any thread. */
__attribute__((warn_unused_result)) int
cache_key_problem(const char *key, struct problem *problem);
/* Fails with the fiber's problem filled. */
__attribute__((warn_unused_result)) int cache_check_key(struct muster *muster,
							const char *key);
__attribute__((warn_unused_result)) int
cache_check_value(struct muster *muster, size_t length, const char *type);

/* As muster_cache_load(); what is known not to exist is done, with a note. */
__attribute__((warn_unused_result)) int
cache_load(struct muster *muster, const char *key, uint64_t slide_ms,
	   struct muster_cached *cached, struct cache_note *note);

/* As muster_cache_save() with ttl_ms as it is; the type may carry a note. */
__attribute__((warn_unused_result)) int
cache_save(struct muster *muster, const struct store_cache_save *request);

#define CACHE_NOTE ";muster="

/* Up to a tenth more or less. */
uint64_t cache_jitter(struct muster *muster, uint64_t ttl_ms);
uint64_t cache_now_ms(void); /* since 1970 */
/* 0 to 1, without both. */
double cache_chance(struct muster *muster);
