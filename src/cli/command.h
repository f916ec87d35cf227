/*
 * command - what the muster command can do: one table, from which dispatch,
 * help and shell completion come.
 *
 * A command is a file of its own that defines its struct command; commands.c
 * lists them.
 */
#pragma once
#include <stddef.h>
#include <stdint.h>

struct arguments;
struct guest;

struct command_option {
	char letter;       /* 0: none */
	const char *name;  /* without the dashes */
	const char *also;  /* another spelling, or NULL */
	const char *value; /* what follows it, for a person; NULL: a switch */
	const char *help;
};

/* The second word of a command that is several: see cli/guest.h. */
struct command_verb {
	const char *name;
	const char *also;     /* another spelling, or NULL */
	const char *operands; /* as in "KEY [VALUE]" */
	const char *help;
	unsigned least; /* operands */
	unsigned most;
	uint64_t takes; /* a bit for each of the command's own options */
	int (*run)(struct guest *guest); /* answers the exit code */
};

struct command {
	const char *name;
	const char *also;     /* another spelling, or NULL */
	const char *operands; /* as in "PROGRAM [-- ARGUMENT...]" */
	const char *summary;  /* one line */
	const char *details;  /* more lines, or NULL */
	const struct command_option
		*options;                 /* ended by a NULL name, or NULL */
	const struct command_verb *verbs; /* ended by a NULL name, or NULL */
	int (*run)(struct arguments *arguments); /* answers the exit code */
};

enum command_exit {
	COMMAND_DONE = 0,
	COMMAND_FAILED = 1,
	COMMAND_MISUSED = 2,
};

extern const struct command actions_command;
extern const struct command cache_command;
extern const struct command rooms_command;
extern const struct command new_command;
extern const struct command publish_command;
extern const struct command rpc_command;
extern const struct command peers_command;
extern const struct command stats_command;
extern const struct command start_cluster_command;
extern const struct command subscribe_command;
extern const struct command tasks_command;
extern const struct command completion_command;
extern const struct command help_command;
extern const struct command version_command;

/* All of them, ended by NULL. */
extern const struct command *const command_table[];

/* NULL where there is none of that name. */
const struct command *command_find(const char *name);

/*
 * One line on stderr: the thing and the cause, the way out in brackets.
 * Answers the exit code.
 */
__attribute__((format(printf, 1, 2))) int command_failed(const char *format,
							 ...);
/* The same for wrong usage; it ends with where to read on about `command`,
 * which may be NULL. */
__attribute__((format(printf, 2, 3))) int
command_misused(const struct command *command, const char *format, ...);
int command_unknown(const char *name);
