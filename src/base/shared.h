/*
 * shared - bytes that many read and nobody changes: written once, gone with
 * the last who holds them. One thread.
 */
#pragma once
#include <stddef.h>
#include <stdint.h>

struct shared {
	uint32_t holders;
	size_t length;
	uint8_t bytes[];
};

/* A copy; the caller holds it. */
__attribute__((returns_nonnull)) struct shared *shared_new(const void *bytes,
							   size_t length);
/* As long, to be filled by the caller before anybody else holds it. */
__attribute__((returns_nonnull)) struct shared *shared_make(size_t length);
struct shared *shared_hold(struct shared *shared);
void shared_release(struct shared *shared);
