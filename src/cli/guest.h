/*
 * guest - commands that act on the cluster behind a store.
 *
 * Such a command begins its table of options with GUEST_ROWS and numbers its
 * own from GUEST_OPTIONS. Its run() calls guest_run(), which reads the command
 * line, opens a node that is no peer, and runs the verb, or `run` where the
 * command has no verbs, on a fiber of it: straight-line code, which may call
 * whatever a node offers.
 *
 *     enum { TTL = GUEST_OPTIONS, OPTIONS };
 *     static const struct command_option options[OPTIONS + 1] = {
 *             GUEST_ROWS,
 *             [TTL] = { 0, "ttl", NULL, "TIME", "gone after that (never)" },
 *     };
 */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <muster/node.h>

#include "cli/arguments.h"
#include "cli/command.h"

enum {
	GUEST_STORE,
	GUEST_TOKEN,
	GUEST_PREFIX,
	GUEST_JSON,
	GUEST_OPTIONS,
};

#define GUEST_ROWS                                                             \
	[GUEST_STORE] = { 's', "store", NULL, "URL",                           \
			  "lmdb:PATH, redis://HOST, ... (MUSTER_STORE)" },     \
	[GUEST_TOKEN] = { 0, "token", NULL, "TEXT",                            \
			  "the cluster's secret (MUSTER_TOKEN)" },             \
	[GUEST_PREFIX] = { 0, "prefix", NULL, "TEXT",                          \
			   "of what the store holds (muster)" },               \
	[GUEST_JSON] = { 'j', "json", NULL, NULL, "for programs to read" }

struct guest {
	const struct command *command;
	const struct command_verb *verb; /* NULL where there are none */
	struct muster *muster;
	const char *const *operands; /* without the verb, ended by NULL */
	size_t operand_count;
	bool is_json;
	void *context; /* the command's */
};

struct guest_plan {
	/* An option of the command's own: answers the exit code, misuse or
	 * COMMAND_DONE. NULL where it has none. */
	int (*take)(void *context, int option, const char *value);
	/* What the tables cannot say about the words, before the store is
	 * opened: as take(). NULL: nothing. */
	int (*check)(const struct guest *guest);
	/* On a fiber; answers the exit code. NULL: the verb's is run. */
	int (*run)(struct guest *guest);
	unsigned least; /* operands, where there are no verbs */
	unsigned most;
	void *context;
};

/* Answers the exit code. */
int guest_run(struct arguments *arguments, const struct guest_plan *plan);

/* The fiber's problem as the one line on stderr; answers the exit code. */
int guest_failed(const struct guest *guest);

/* Where a value is not of its kind: --ttl wants a time, not 'x'. */
int guest_wants(const struct command *command, int option, const char *wants,
		const char *value);
