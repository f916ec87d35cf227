#include "cli/guest.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/nearest.h"

/* A command on its way from the command line to the fiber. */
struct visit {
	const struct guest_plan *plan;
	struct guest guest;
	struct muster_node_options options;
	const char **words; /* the verb and its operands, ended by NULL */
	size_t word_count;
	uint64_t given; /* a bit an option */
	int code;
};

/* ---- the command line ---- */

static int take(struct visit *visit, int option, const char *value)
{
	visit->given |= 1ULL << option;
	switch (option) {
	case GUEST_STORE:
		visit->options.store = value;
		return COMMAND_DONE;
	case GUEST_TOKEN:
		visit->options.token = value;
		return COMMAND_DONE;
	case GUEST_PREFIX:
		visit->options.prefix = value;
		return COMMAND_DONE;
	case GUEST_JSON:
		visit->guest.is_json = true;
		return COMMAND_DONE;
	default:
		return visit->plan->take(visit->plan->context, option, value);
	}
}

static void add_word(struct visit *visit, const char *word)
{
	visit->words = mem_resize(visit->words, visit->word_count + 2,
				  sizeof(*visit->words));
	visit->words[visit->word_count++] = word;
	visit->words[visit->word_count] = NULL;
}

static int read_words(struct visit *visit, struct arguments *arguments)
{
	for (;;) {
		int option = arguments_next(arguments);
		int code = COMMAND_DONE;

		if (option == ARGUMENTS_END)
			break;
		if (option == ARGUMENTS_WRONG)
			return command_misused(arguments->command, "%s",
					       arguments->problem);
		if (option == ARGUMENTS_OPERAND)
			add_word(visit, arguments->value);
		else
			code = take(visit, option, arguments->value);
		if (code != COMMAND_DONE)
			return code;
	}
	/* After "--": a key may look like an option. */
	for (const char *const *word = arguments->rest; *word != NULL; word++)
		add_word(visit, *word);
	return COMMAND_DONE;
}

static int find_verb(struct visit *visit)
{
	const struct command *command = visit->guest.command;
	const struct command_verb *verb = command->verbs;

	if (visit->word_count == 0)
		return command_misused(command,
				       "%s needs a verb, as in: "
				       "muster %s %s %s",
				       command->name, command->name, verb->name,
				       verb->operands);
	struct nearest nearest = nearest_to(visit->words[0]);

	for (; verb->name != NULL; verb++) {
		if (strcmp(verb->name, visit->words[0]) == 0 ||
		    (verb->also != NULL &&
		     strcmp(verb->also, visit->words[0]) == 0)) {
			visit->guest.verb = verb;
			return COMMAND_DONE;
		}
		nearest_offer(&nearest, verb->name);
	}
	if (nearest.best == NULL)
		return command_misused(command, "%s: there is no '%s'",
				       command->name, visit->words[0]);
	return command_misused(command,
			       "%s: there is no '%s': did you mean '%s'?",
			       command->name, visit->words[0], nearest.best);
}

static int check_options(const struct visit *visit)
{
	const struct command *command = visit->guest.command;
	const struct command_verb *verb = visit->guest.verb;

	for (int i = GUEST_OPTIONS; command->options[i].name != NULL; i++)
		if ((visit->given & 1ULL << i) != 0 &&
		    (verb->takes & 1ULL << i) == 0)
			return command_misused(command,
					       "%s %s: --%s means nothing here",
					       command->name, verb->name,
					       command->options[i].name);
	return COMMAND_DONE;
}

static int check_operands(const struct visit *visit)
{
	const struct command *command = visit->guest.command;
	const struct command_verb *verb = visit->guest.verb;
	const char *space = verb == NULL ? "" : " ";
	const char *name = verb == NULL ? "" : verb->name;
	unsigned least = verb == NULL ? visit->plan->least : verb->least;
	unsigned most = verb == NULL ? visit->plan->most : verb->most;

	if (visit->guest.operand_count < least)
		return command_misused(
			command, "%s%s%s needs %s", command->name, space, name,
			verb == NULL ? command->operands : verb->operands);
	if (visit->guest.operand_count > most)
		return command_misused(command, "%s%s%s: '%s' is too many",
				       command->name, space, name,
				       visit->guest.operands[most]);
	return COMMAND_DONE;
}

static int read_line(struct visit *visit, struct arguments *arguments)
{
	static const char *const none[] = { NULL };
	const struct command *command = arguments->command;
	int code = read_words(visit, arguments);

	if (code == COMMAND_DONE && command->verbs != NULL)
		code = find_verb(visit);
	if (code != COMMAND_DONE)
		return code;
	size_t skipped = command->verbs != NULL ? 1 : 0;

	visit->guest.operands =
		visit->word_count > skipped ? visit->words + skipped : none;
	visit->guest.operand_count = visit->word_count - skipped;
	if (visit->guest.verb != NULL)
		code = check_options(visit);
	if (code == COMMAND_DONE)
		code = check_operands(visit);
	if (code == COMMAND_DONE && visit->plan->check != NULL)
		code = visit->plan->check(&visit->guest);
	return code;
}

/* ---- the node ---- */

static int find_store(struct visit *visit)
{
	const char *store = visit->options.store;

	if (store == NULL)
		store = getenv("MUSTER_STORE");
	if (store == NULL || store[0] == '\0')
		return command_misused(
			visit->guest.command,
			"%s needs the cluster's store: --store URL, or "
			"MUSTER_STORE",
			visit->guest.command->name);
	visit->options.store = store;
	return COMMAND_DONE;
}

static int on_start(struct muster *muster, void *arg)
{
	struct visit *visit = arg;

	visit->guest.muster = muster;
	visit->code = visit->plan->run != NULL
			      ? visit->plan->run(&visit->guest)
			      : visit->guest.verb->run(&visit->guest);
	return 0;
}

static int open_and_run(struct visit *visit)
{
	visit->options.name = "muster";
	visit->options.is_guest = true;
	visit->options.on_start = on_start;
	visit->options.arg = visit;
	/* Where the store does not answer, on_start is never called. */
	visit->code = COMMAND_FAILED;
	struct muster *muster = muster_open(NULL, &visit->options);

	if (muster == NULL)
		return errno == EINVAL ? COMMAND_MISUSED : COMMAND_FAILED;
	int code = muster_run(muster);

	return visit->code == COMMAND_DONE && code != 0 ? COMMAND_FAILED
							: visit->code;
}

int guest_run(struct arguments *arguments, const struct guest_plan *plan)
{
	struct visit visit = {
		.plan = plan,
		.guest = { .command = arguments->command,
			   .context = plan->context },
	};
	int code = read_line(&visit, arguments);

	if (code == COMMAND_DONE)
		code = find_store(&visit);
	if (code == COMMAND_DONE)
		code = open_and_run(&visit);
	free(visit.words);
	return code;
}

int guest_failed(const struct guest *guest)
{
	return command_failed("%s", muster_problem(guest->muster));
}

int guest_wants(const struct command *command, int option, const char *wants,
		const char *value)
{
	return command_misused(command, "%s: --%s wants %s, not '%s'",
			       command->name, command->options[option].name,
			       wants, value);
}
