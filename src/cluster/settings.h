/*
 * settings - how workers are started: a copy that is changed bit by bit.
 *
 * A zeroed struct is "nothing was ever set". Owns all that `view` points to.
 */
#pragma once
#include <muster/cluster.h>

#include "base/problem.h"

#define SETTINGS_STDIO_MAX 64

struct settings {
	struct muster_settings view;
};

/* Overwrites what `from` has set (is not zero). -EINVAL with
 * SETTINGS_INVALID; then nothing was changed. */
__attribute__((warn_unused_result)) int
settings_merge(struct settings *settings, const struct muster_settings *from,
	       struct problem *problem);
void settings_copy(struct settings *to, const struct settings *from);
void settings_fini(struct settings *settings);

/* Lists of texts, NULL-ended. */
char **texts_copy(const char *const *list);
void texts_free(const char *const *list); /* NULL is fine */
