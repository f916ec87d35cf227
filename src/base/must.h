/*
 * must - assertions that stay on in release builds.
 *
 * MUST states what only a mistake of our own could break. What a client, a
 * disk or a clock can do is an error and is handled as one.
 */
#pragma once

#define MUST(condition)                                                        \
	((condition) ? (void)0 : must_fail(#condition, __FILE__, __LINE__))

/* Drops a result on purpose; say why beside it. */
#define DISCARD(call)                                                          \
	do {                                                                   \
		__typeof__(call) discarded = (call);                           \
		(void)discarded;                                               \
	} while (0)

__attribute__((noreturn, cold)) void must_fail(const char *condition,
					       const char *file, int line);
