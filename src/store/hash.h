/*
 * hash - 128 bits that stand for a key of any length: SipHash-1-3 with a
 * secret of the store's own, so that nobody can make two keys meet.
 */
#pragma once
#include <stddef.h>
#include <stdint.h>

#define HASH_BYTES 16

struct hash_secret {
	uint64_t halves[2];
};

void hash_key(const struct hash_secret *secret, const void *key, size_t length,
	      uint8_t hash[HASH_BYTES]);
