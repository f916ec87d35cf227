#include "cli/arguments.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/nearest.h"

struct arguments arguments_of(const struct command *command,
			      const char *const *words)
{
	const char *const *end = words;

	while (*end != NULL)
		end++;
	return (struct arguments){
		.command = command,
		.words = words,
		.rest = end,
	};
}

static int wrong(struct arguments *arguments, const char *what,
		 const char *word, const char *hint)
{
	snprintf(arguments->problem, sizeof(arguments->problem), "%s: %s%s%s",
		 arguments->command->name, word, what, hint);
	return ARGUMENTS_WRONG;
}

static bool is_named(const char *name, const char *text, size_t length)
{
	return name != NULL && strlen(name) == length &&
	       strncmp(name, text, length) == 0;
}

static int unknown(struct arguments *arguments, const char *word)
{
	const struct command_option *options = arguments->command->options;
	struct nearest nearest = nearest_to(word + strspn(word, "-"));
	char hint[64] = "";

	for (int i = 0; options != NULL && options[i].name != NULL; i++) {
		nearest_offer(&nearest, options[i].name);
		if (options[i].also != NULL)
			nearest_offer(&nearest, options[i].also);
	}
	if (nearest.best != NULL)
		snprintf(hint, sizeof(hint), ": did you mean --%s?",
			 nearest.best);
	return wrong(arguments, " is no option", word, hint);
}

/* Takes the value from the same word, where `inside` is not NULL, else from
 * the next one. */
static int take(struct arguments *arguments, int index, const char *word,
		const char *inside)
{
	const struct command_option *option =
		&arguments->command->options[index];

	if (option->value == NULL) {
		if (inside != NULL)
			return wrong(arguments, " takes no value", word, "");
		return index;
	}
	if (inside == NULL && *arguments->words != NULL)
		inside = *arguments->words++;
	if (inside == NULL)
		return wrong(arguments, " needs a value: ", word,
			     option->value);
	arguments->value = inside;
	return index;
}

static int long_option(struct arguments *arguments, const char *word)
{
	const struct command_option *options = arguments->command->options;
	const char *name = word + 2;
	size_t length = strcspn(name, "=");
	const char *inside = name[length] == '=' ? name + length + 1 : NULL;

	if (is_named("help", name, length))
		return ARGUMENTS_HELP;
	for (int i = 0; options != NULL && options[i].name != NULL; i++)
		if (is_named(options[i].name, name, length) ||
		    is_named(options[i].also, name, length))
			return take(arguments, i, word, inside);
	return unknown(arguments, word);
}

static int short_option(struct arguments *arguments, const char *word)
{
	const struct command_option *options = arguments->command->options;

	if (strcmp(word, "-h") == 0)
		return ARGUMENTS_HELP;
	for (int i = 0; options != NULL && options[i].name != NULL; i++)
		if (options[i].letter == word[1])
			return take(arguments, i, word,
				    word[2] == '\0' ? NULL : word + 2);
	return unknown(arguments, word);
}

int arguments_next(struct arguments *arguments)
{
	const char *word = *arguments->words;

	if (word == NULL)
		return ARGUMENTS_END;
	arguments->words++;
	if (strcmp(word, "--") == 0) {
		arguments->rest = arguments->words;
		while (*arguments->words != NULL)
			arguments->words++;
		return ARGUMENTS_END;
	}
	if (strncmp(word, "--", 2) == 0)
		return long_option(arguments, word);
	if (word[0] == '-' && word[1] != '\0')
		return short_option(arguments, word);
	arguments->value = word;
	return ARGUMENTS_OPERAND;
}

bool arguments_ask_for_help(struct arguments arguments)
{
	for (;;) {
		int option = arguments_next(&arguments);

		if (option == ARGUMENTS_HELP)
			return true;
		if (option == ARGUMENTS_END || option == ARGUMENTS_WRONG)
			return false;
	}
}

bool arguments_read_number(const char *text, long least, long most,
			   long *number)
{
	char *end = NULL;

	errno = 0;
	*number = strtol(text, &end, 10);
	return errno == 0 && end != text && *end == '\0' && *number >= least &&
	       *number <= most;
}
