/*
 * muster/types.h - what the other headers have in common.
 */
#ifndef MUSTER_TYPES_H
#define MUSTER_TYPES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#if defined(__GNUC__)
#define MUSTER_PUBLIC              __attribute__((visibility("default")))
#define MUSTER_MUST_READ           __attribute__((warn_unused_result))
#define MUSTER_FORMAT(text, first) __attribute__((format(printf, text, first)))
#else
#define MUSTER_PUBLIC
#define MUSTER_MUST_READ
#define MUSTER_FORMAT(text, first)
#endif

/* Positive answers. Which of them a function gives stands beside it. */
enum muster_answer {
	MUSTER_OK = 0,
	MUSTER_BUSY =
		1, /* done, but the other side is slow: wait for on_drain */
	MUSTER_NOT_FOUND = 2, /* there is no such thing, or no longer */
	MUSTER_LOCKED = 3,    /* another one holds the lock */
	MUSTER_KNOWN = 4,     /* was done before; nothing was changed */
	MUSTER_DUPLICATE = 5, /* its unique key belongs to another one */
	MUSTER_FULL = 6,      /* a limit is reached; nothing was changed */
	MUSTER_LOST = 7,      /* what was held is somebody else's by now */
	MUSTER_RUNNING = 8,   /* it runs: told to stop, or left alone */
	MUSTER_DROPPED = 16,  /* a middleware dropped it; nothing was changed */
};

#endif
