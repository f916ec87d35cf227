#include "cli/help.h"

#include <string.h>

#include "cli/arguments.h"

#define COLUMN 26 /* where explanations start */

static void print_row(FILE *file, const char *what, const char *help)
{
	int width = (int)strlen(what);

	if (width > COLUMN - 4)
		fprintf(file, "  %s\n%*s%s\n", what, COLUMN, "", help);
	else
		fprintf(file, "  %-*s%s\n", COLUMN - 2, what, help);
}

void help_print(FILE *file)
{
	fputs("usage: muster COMMAND [options]\n\n"
	      "Runs a program as a cluster of processes.\n\n",
	      file);
	for (size_t i = 0; command_table[i] != NULL; i++)
		print_row(file, command_table[i]->name,
			  command_table[i]->summary);
	fputs("\nmuster help COMMAND tells more; so does man muster.\n", file);
}

static void print_option(FILE *file, const struct command_option *option)
{
	char letter[8] = "    ";
	char what[128];

	if (option->letter != 0)
		snprintf(letter, sizeof(letter), "-%c, ", option->letter);
	snprintf(what, sizeof(what), "%s--%s%s%s%s%s", letter, option->name,
		 option->also ? ", --" : "", option->also ? option->also : "",
		 option->value ? " " : "", option->value ? option->value : "");
	print_row(file, what, option->help);
}

static void print_verb(FILE *file, const struct command_verb *verb)
{
	char what[128];

	snprintf(what, sizeof(what), "%s%s%s%s%s", verb->name,
		 verb->also ? ", " : "", verb->also ? verb->also : "",
		 verb->operands[0] != '\0' ? " " : "", verb->operands);
	print_row(file, what, verb->help);
}

void help_print_command(FILE *file, const struct command *command)
{
	const struct command_option *option = command->options;
	const struct command_verb *verb = command->verbs;

	fprintf(file, "usage: muster %s", command->name);
	if (option != NULL)
		fputs(" [options]", file);
	fprintf(file, "%s%s\n", command->operands[0] != '\0' ? " " : "",
		command->operands);
	if (command->also != NULL)
		fprintf(file, "also: muster %s\n", command->also);
	fprintf(file, "\n%s.\n", command->summary);
	if (command->details != NULL)
		fprintf(file, "%s\n", command->details);
	if (verb != NULL)
		fputc('\n', file);
	for (; verb != NULL && verb->name != NULL; verb++)
		print_verb(file, verb);
	if (option != NULL)
		fputc('\n', file);
	for (; option != NULL && option->name != NULL; option++)
		print_option(file, option);
}

static int run(struct arguments *arguments)
{
	const char *name = NULL;
	int option;

	while ((option = arguments_next(arguments)) == ARGUMENTS_OPERAND) {
		if (name != NULL)
			return command_misused(&help_command,
					       "help takes one command");
		name = arguments->value;
	}
	if (option == ARGUMENTS_WRONG)
		return command_misused(&help_command, "%s", arguments->problem);
	if (name == NULL) {
		help_print(stdout);
		return COMMAND_DONE;
	}

	const struct command *command = command_find(name);

	if (command == NULL)
		return command_unknown(name);
	help_print_command(stdout, command);
	return COMMAND_DONE;
}

const struct command help_command = {
	.name = "help",
	.operands = "[COMMAND]",
	.summary = "Shows what there is, or how a command is used",
	.run = run,
};
