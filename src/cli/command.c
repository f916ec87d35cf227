#include "cli/command.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/nearest.h"

const struct command *const command_table[] = {
	/* clang-format off */
	&new_command,
	&start_cluster_command,
	&actions_command,
	&cache_command,
	&tasks_command,
	&peers_command,
	&stats_command,
	&rpc_command,
	&publish_command,
	&subscribe_command,
	&rooms_command,
	&completion_command,
	&help_command,
	&version_command,
	NULL,
	/* clang-format on */
};

const struct command *command_find(const char *name)
{
	for (size_t i = 0; command_table[i] != NULL; i++) {
		const struct command *command = command_table[i];

		if (strcmp(command->name, name) == 0 ||
		    (command->also != NULL && strcmp(command->also, name) == 0))
			return command;
	}
	return NULL;
}

int command_failed(const char *format, ...)
{
	va_list values;

	fputs("muster: ", stderr);
	va_start(values, format);
	vfprintf(stderr, format, values);
	va_end(values);
	fputc('\n', stderr);
	return COMMAND_FAILED;
}

int command_misused(const struct command *command, const char *format, ...)
{
	va_list values;

	fputs("muster: ", stderr);
	va_start(values, format);
	vfprintf(stderr, format, values);
	va_end(values);
	fprintf(stderr, " (see: muster help%s%s)\n", command ? " " : "",
		command ? command->name : "");
	return COMMAND_MISUSED;
}

int command_unknown(const char *name)
{
	struct nearest nearest = nearest_to(name);

	for (size_t i = 0; command_table[i] != NULL; i++) {
		nearest_offer(&nearest, command_table[i]->name);
		if (command_table[i]->also != NULL)
			nearest_offer(&nearest, command_table[i]->also);
	}
	if (nearest.best == NULL)
		return command_misused(NULL, "there is no command '%s'", name);
	return command_misused(NULL,
			       "there is no command '%s': did you mean '%s'?",
			       name, nearest.best);
}
