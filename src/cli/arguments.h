/*
 * arguments - a command line, read by the command's table of options.
 *
 *     while ((option = arguments_next(arguments)) >= 0)
 *             switch (option) ... arguments->value ...
 *     if (option == ARGUMENTS_WRONG)
 *             return command_misused(command, "%s", arguments->problem);
 *
 * Options and operands may be mixed; "--" ends both, and what follows it is
 * `rest`. A value may stand in the same word (--name=api, -napi).
 */
#pragma once
#include <stdbool.h>
#include <stdint.h>

#include "cli/command.h"

enum arguments_answer {
	ARGUMENTS_END = -1,
	ARGUMENTS_OPERAND = -2, /* `value` is a word that is no option */
	ARGUMENTS_HELP = -3,    /* -h or --help */
	ARGUMENTS_WRONG = -4,   /* `problem` says what */
};

struct arguments {
	const struct command *command;
	const char *const *words; /* after the command's name, ended by NULL */
	const char *value;
	const char *const
		*rest; /* after "--", ended by NULL; empty before the end */
	char problem[256];
};

/* `words` must stay. */
struct arguments arguments_of(const struct command *command,
			      const char *const *words);

/* The index of the next option in the table, or an answer above. */
int arguments_next(struct arguments *arguments);

/* Is -h or --help among them? Leaves them unread. */
bool arguments_ask_for_help(struct arguments arguments);

/* ---- What a value may look like; false where it does not ---------------- */

bool arguments_read_number(const char *text, long least, long most,
			   long *number);
