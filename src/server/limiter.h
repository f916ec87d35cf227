/*
 * limiter - lets each client ask so many times a second, and a few times more
 * at once: a bucket of tokens for each address.
 *
 * An address is that of IPv4, or the first 64 bits of IPv6, which is what one
 * subscriber has at least. So many are remembered; where more ask, those that
 * have waited longest are forgotten, to which that makes no difference. One for
 * a worker, used by its loop.
 */
#pragma once
#include <stdint.h>

struct limiter;

/* `burst` of 0 is as many as `rate`. */
struct limiter *limiter_new(uint32_t rate, uint32_t burst);
void limiter_free(struct limiter *limiter); /* NULL is fine */

/* 0: it may ask now. Else not, and may in so many milliseconds. */
uint32_t limiter_take(struct limiter *limiter, const char *address,
		      uint64_t now_ms);
