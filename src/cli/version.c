#include <stdio.h>

#include <muster/cluster.h>

#include "cli/arguments.h"
#include "cli/command.h"

static int run(struct arguments *arguments)
{
	int option = arguments_next(arguments);

	if (option == ARGUMENTS_WRONG)
		return command_misused(&version_command, "%s",
				       arguments->problem);
	if (option != ARGUMENTS_END)
		return command_misused(&version_command,
				       "version takes nothing, not '%s'",
				       arguments->value);
	printf("muster %s\n", muster_version());
	return COMMAND_DONE;
}

const struct command version_command = {
	.name = "version",
	.operands = "",
	.summary = "Shows the version",
	.run = run,
};
