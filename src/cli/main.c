#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "cli/arguments.h"
#include "cli/command.h"
#include "cli/help.h"

static const char *command_named(const char *word)
{
	if (strcmp(word, "-h") == 0 || strcmp(word, "--help") == 0)
		return "help";
	if (strcmp(word, "-v") == 0 || strcmp(word, "--version") == 0)
		return "version";
	return word;
}

/* What was printed must have arrived: `muster help >/dev/full` fails. */
static int flushed(int code)
{
	if (fflush(stdout) == 0)
		return code;
	return command_failed("cannot write the output: %s", strerror(errno));
}

int main(int argc, char **argv)
{
	if (argc < 2) {
		help_print(stderr);
		return COMMAND_MISUSED;
	}

	const struct command *command = command_find(command_named(argv[1]));

	if (command == NULL)
		return command_unknown(argv[1]);

	struct arguments arguments =
		arguments_of(command, (const char *const *)argv + 2);

	if (arguments_ask_for_help(arguments)) {
		help_print_command(stdout, command);
		return flushed(COMMAND_DONE);
	}
	return flushed(command->run(&arguments));
}
