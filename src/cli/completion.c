#include <stdio.h>
#include <string.h>

#include "cli/arguments.h"
#include "cli/command.h"

/* Calls for each spelling of each option of a command. */
static void each_option(const struct command *command,
			void (*print)(const struct command *command,
				      const struct command_option *option,
				      const char *name))
{
	const struct command_option *option = command->options;

	for (; option != NULL && option->name != NULL; option++) {
		print(command, option, option->name);
		if (option->also != NULL)
			print(command, option, option->also);
	}
}

static void print_word(const struct command *command,
		       const struct command_option *option, const char *name)
{
	(void)command;
	(void)option;
	printf(" --%s", name);
}

static void print_verbs(const struct command *command)
{
	const struct command_verb *verb = command->verbs;

	for (; verb != NULL && verb->name != NULL; verb++)
		printf(" %s", verb->name);
}

static void print_commands(void)
{
	for (size_t i = 0; command_table[i] != NULL; i++)
		printf("%s%s", i > 0 ? " " : "", command_table[i]->name);
}

static void print_bash(void)
{
	printf("_muster() {\n"
	       "\tlocal word=${COMP_WORDS[COMP_CWORD]} words=\n"
	       "\tif [ \"$COMP_CWORD\" = 1 ]; then\n"
	       "\t\twords='");
	print_commands();
	printf("'\n"
	       "\telse\n"
	       "\t\tcase ${COMP_WORDS[1]} in\n"
	       "\t\thelp) words='");
	print_commands();
	printf("' ;;\n");
	for (size_t i = 0; command_table[i] != NULL; i++) {
		const struct command *command = command_table[i];

		if (command->options == NULL)
			continue;
		printf("\t\t%s%s%s) words='--help", command->name,
		       command->also ? "|" : "",
		       command->also ? command->also : "");
		each_option(command, print_word);
		print_verbs(command);
		printf("' ;;\n");
	}
	printf("\t\tesac\n"
	       "\tfi\n"
	       "\tmapfile -t COMPREPLY < "
	       "<(compgen -W \"$words\" -- \"$word\")\n"
	       "}\n"
	       "complete -o default -F _muster muster\n");
}

/* In single quotes, and for _arguments, which has a meaning for [, ] and :. */
static void print_zsh_text(const char *text)
{
	for (; *text != '\0'; text++) {
		if (*text == '\'')
			fputs("'\\'", stdout);
		else if (strchr("[]:\\", *text) != NULL)
			putchar('\\');
		putchar(*text);
	}
}

static void print_zsh_option(const struct command *command,
			     const struct command_option *option,
			     const char *name)
{
	(void)command;
	printf(" '--%s[", name);
	print_zsh_text(option->help);
	putchar(']');
	if (option->value != NULL) {
		putchar(':');
		print_zsh_text(option->value);
	}
	putchar('\'');
}

static void print_zsh(void)
{
	printf("#compdef muster\n"
	       "_muster() {\n"
	       "\tif ((CURRENT == 2)) || "
	       "{ ((CURRENT == 3)) && [[ $words[2] == help ]] }; then\n"
	       "\t\tcompadd ");
	print_commands();
	printf("\n"
	       "\t\treturn\n"
	       "\tfi\n"
	       "\tlocal command=$words[2]\n"
	       "\tshift words\n"
	       "\t((CURRENT--))\n"
	       "\tcase $command in\n");
	for (size_t i = 0; command_table[i] != NULL; i++) {
		const struct command *command = command_table[i];

		if (command->options == NULL)
			continue;
		printf("\t%s%s%s) _arguments", command->name,
		       command->also ? "|" : "",
		       command->also ? command->also : "");
		each_option(command, print_zsh_option);
		if (command->verbs != NULL) {
			printf(" '1:verb:(");
			print_verbs(command);
			printf(")'");
		}
		printf(" '*:file:_files' ;;\n");
	}
	printf("\tesac\n"
	       "}\n"
	       "compdef _muster muster\n");
}

/* In single quotes, where fish knows two escapes. */
static void print_fish_text(const char *text)
{
	putchar('\'');
	for (; *text != '\0'; text++) {
		if (*text == '\'' || *text == '\\')
			putchar('\\');
		putchar(*text);
	}
	putchar('\'');
}

static void print_fish_option(const struct command *command,
			      const struct command_option *option,
			      const char *name)
{
	printf("complete -c muster -n '__fish_seen_subcommand_from %s%s%s' "
	       "-l %s",
	       command->name, command->also ? " " : "",
	       command->also ? command->also : "", name);
	if (option->letter != 0)
		printf(" -s %c", option->letter);
	printf("%s -d ", option->value ? " -r" : "");
	print_fish_text(option->help);
	putchar('\n');
}

static void print_fish_verbs(const struct command *command)
{
	const struct command_verb *verb = command->verbs;

	for (; verb != NULL && verb->name != NULL; verb++) {
		printf("complete -c muster -f -n "
		       "'__fish_seen_subcommand_from %s' -a %s -d ",
		       command->name, verb->name);
		print_fish_text(verb->help);
		putchar('\n');
	}
}

static void print_fish(void)
{
	for (size_t i = 0; command_table[i] != NULL; i++) {
		printf("complete -c muster -f -n __fish_use_subcommand -a %s "
		       "-d ",
		       command_table[i]->name);
		print_fish_text(command_table[i]->summary);
		putchar('\n');
		print_fish_verbs(command_table[i]);
		each_option(command_table[i], print_fish_option);
	}
}

static int run(struct arguments *arguments)
{
	static const struct {
		const char *name;
		void (*print)(void);
	} shells[] = {
		{ "bash", print_bash },
		{ "zsh", print_zsh },
		{ "fish", print_fish },
	};
	int option = arguments_next(arguments);

	if (option == ARGUMENTS_WRONG)
		return command_misused(&completion_command, "%s",
				       arguments->problem);
	if (option == ARGUMENTS_END)
		return command_misused(&completion_command,
				       "completion needs a shell: bash, zsh "
				       "or fish");
	for (size_t i = 0; i < sizeof(shells) / sizeof(shells[0]); i++) {
		if (strcmp(shells[i].name, arguments->value) == 0) {
			shells[i].print();
			return COMMAND_DONE;
		}
	}
	return command_misused(&completion_command,
			       "completion knows bash, zsh and fish, not '%s'",
			       arguments->value);
}

const struct command completion_command = {
	.name = "completion",
	.operands = "bash|zsh|fish",
	.summary = "Prints what makes a shell complete this command",
	.details = "\nFor bash: eval \"$(muster completion bash)\"",
	.run = run,
};
