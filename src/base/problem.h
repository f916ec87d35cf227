/*
 * problem - a failure that a person will read.
 *
 * Filled where the cause is known. `name` is a stable word that programs may
 * compare with (LISTEN_IN_USE); `text` is one sentence with the thing, the
 * cause and the way out.
 */
#pragma once

struct problem {
	int code;         /* negative errno; 0 where there is no problem */
	const char *name; /* static */
	char text[256];
};

/* Returns `code`, so that a function can end with it. */
__attribute__((format(printf, 4, 5))) int problem_set(struct problem *problem,
						      int code,
						      const char *name,
						      const char *format, ...);
