#include "store/hash.h"

#include <string.h>

struct state {
	uint64_t a;
	uint64_t b;
	uint64_t c;
	uint64_t d;
};

static inline uint64_t rotate(uint64_t value, unsigned bits)
{
	return value << bits | value >> (64 - bits);
}

static inline void mix(struct state *state)
{
	state->a += state->b;
	state->b = rotate(state->b, 13) ^ state->a;
	state->a = rotate(state->a, 32);
	state->c += state->d;
	state->d = rotate(state->d, 16) ^ state->c;
	state->a += state->d;
	state->d = rotate(state->d, 21) ^ state->a;
	state->c += state->b;
	state->b = rotate(state->b, 17) ^ state->c;
	state->c = rotate(state->c, 32);
}

static inline void take(struct state *state, uint64_t word)
{
	state->d ^= word;
	mix(state);
	state->a ^= word;
}

static uint64_t finish(struct state *state)
{
	mix(state);
	mix(state);
	mix(state);
	return state->a ^ state->b ^ state->c ^ state->d;
}

void hash_key(const struct hash_secret *secret, const void *key, size_t length,
	      uint8_t hash[HASH_BYTES])
{
	const uint8_t *at = key;
	uint64_t last = (uint64_t)length << 56;
	uint64_t word;
	/* The constants are those of the SipHash paper, for 128 bits. */
	struct state state = {
		.a = secret->halves[0] ^ 0x736f6d6570736575,
		.b = secret->halves[1] ^ 0x646f72616e646f6d ^ 0xee,
		.c = secret->halves[0] ^ 0x6c7967656e657261,
		.d = secret->halves[1] ^ 0x7465646279746573,
	};

	for (size_t i = 0; i < length / 8; i++, at += 8) {
		memcpy(&word, at, 8);
		take(&state, word);
	}
	for (size_t i = 0; i < length % 8; i++)
		last |= (uint64_t)at[i] << (8 * i);
	take(&state, last);
	state.c ^= 0xee;
	word = finish(&state);
	memcpy(hash, &word, 8);
	state.b ^= 0xdd;
	word = finish(&state);
	memcpy(hash + 8, &word, 8);
}
