#include "app/main_options.h"

#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "app/main_option.h"
#include "base/must.h"

enum main_answer main_options_refuse(const struct main_options *options,
				     const char *format, ...)
{
	va_list values;

	fprintf(stderr, "%s: ", options->name);
	va_start(values, format);
	vfprintf(stderr, format, values);
	va_end(values);
	fputc('\n', stderr);
	return MAIN_MISUSED;
}

/* ---- defaults, and the application ---- */

static void set_defaults(struct main_options *options)
{
	static const struct main_given given = { MAIN_DEFAULT, NULL, NULL, 0 };

	for (size_t i = 0; i < main_option_count; i++) {
		const struct main_option *option = &main_option_table[i];

		if (option->otherwise != NULL)
			MUST(main_option_set_text(options, option,
						  option->otherwise, &given,
						  option->name) == MAIN_GO);
	}
}

static bool is_given(const struct main_option *option,
		     const struct muster_app *app, void *value)
{
	size_t size = option->kind == MAIN_TEXT || option->kind == MAIN_LIST
			      ? sizeof(const char *)
			      : sizeof(uint32_t);
	static const char zeros[sizeof(const char *)];

	if (option->kind == MAIN_MODE || option->at_application == NOWHERE)
		return false;
	const char *from = (const char *)app + option->at_application;

	if (memcmp(from, zeros, size) == 0)
		return false;
	memcpy(value, from, size);
	return true;
}

/* What it says is taken as it is: it knows what it does. */
static enum main_answer read_application(struct main_options *options,
					 const struct muster_app *app)
{
	static const struct main_given given = { MAIN_APPLICATION, NULL, NULL,
						 0 };
	const struct main_option *listen =
		main_option_find("listen", strlen("listen"));

	for (size_t i = 0; i < main_option_count; i++) {
		const struct main_option *option = &main_option_table[i];
		union {
			const char *text;
			const char *const *list;
			uint32_t number;
		} value;
		size_t count = 0;
		char text[16];

		if (!is_given(option, app, &value))
			continue;
		options->given[i] = given;
		if (option->kind == MAIN_TEXT) {
			options->given[i].text = value.text;
		} else if (option->kind == MAIN_LIST) {
			while (value.list[count] != NULL)
				count++;
			options->given[i].text = main_option_join(
				&options->arena, value.list, count);
		} else {
			snprintf(text, sizeof(text), "%u", value.number);
			options->given[i].text =
				arena_text(&options->arena, text, strlen(text));
		}
		memcpy((char *)options + option->at, &value,
		       option->kind == MAIN_TEXT || option->kind == MAIN_LIST
			       ? sizeof(value.text)
			       : sizeof(value.number));
	}
	return app->listen == NULL
		       ? MAIN_GO
		       : main_option_set_text(options, listen, app->listen,
					      &given, "muster_app.listen");
}

/* ---- the environment ---- */

static enum main_answer read_variable(struct main_options *options,
				      const struct main_option *option)
{
	struct main_given given = { .source = MAIN_ENVIRONMENT };

	for (size_t i = 0; i < 2 && option->variables[i] != NULL; i++) {
		const char *text = getenv(option->variables[i]);

		if (text == NULL || text[0] == '\0')
			continue;
		given.variable = option->variables[i];
		return main_option_set_text(options, option, text, &given,
					    given.variable);
	}
	return MAIN_GO;
}

/* ---- the command line ---- */

struct said {
	const char *texts[MAIN_LIST_MAX];
	size_t count;
};

#define CODE 256 /* of the first row, apart from letters */

static void list_known(struct option *known)
{
	size_t count = 0;

	for (size_t i = 0; i < main_option_count; i++) {
		const struct main_option *option = &main_option_table[i];
		int takes = option->kind == MAIN_MODE ? no_argument
						      : required_argument;

		known[count++] = (struct option){ option->name, takes, NULL,
						  (int)(CODE + i) };
		if (option->also != NULL)
			known[count++] =
				(struct option){ option->also, takes, NULL,
						 (int)(CODE + i) };
	}
	known[count] = (struct option){ 0 };
}

static enum main_answer refuse_line(const struct main_options *options,
				    const char *word, int code)
{
	if (code == ':')
		return main_options_refuse(options,
					   "%s wants a value (usage: %s "
					   "[options]; --help lists them)",
					   word, options->name);
	char name[64];

	snprintf(name, sizeof(name), "%.*s",
		 (int)strcspn(word + strspn(word, "-"), "="),
		 word + strspn(word, "-"));
	const char *best = main_option_nearest(name);

	if (best != NULL && word[0] == '-')
		return main_options_refuse(options,
					   "'%s' is no option: did you mean "
					   "--%s? (usage: %s [options]; --help "
					   "lists them)",
					   word, best, options->name);
	return main_options_refuse(
		options,
		"'%s' is no option (usage: %s [options]; --help "
		"lists them)",
		word, options->name);
}

/* Several of one option are a list, or the last one counts. */
static enum main_answer take(struct main_options *options,
			     const struct main_option *option,
			     struct said *said, const char *text)
{
	if (option->kind != MAIN_LIST) {
		said->texts[0] = text;
		said->count = 1;
		return MAIN_GO;
	}
	const char *texts[MAIN_LIST_MAX];
	size_t count = main_option_split(&options->arena, text, texts);

	if (said->count + count > MAIN_LIST_MAX)
		return main_options_refuse(options,
					   "--%s is there more than %d times",
					   option->name, MAIN_LIST_MAX);
	memcpy(said->texts + said->count, texts, count * sizeof(texts[0]));
	said->count += count;
	if (count == 0) /* "--origins ''": an empty list, which was said */
		said->texts[0] = NULL;
	return MAIN_GO;
}

static enum main_answer read_words(struct main_options *options, int argc,
				   char **argv, struct said *said)
{
	struct option known[2 * MAIN_OPTIONS_MAX + 1];
	int code;

	list_known(known);
	optind = 1;
	opterr = 0;
	while ((code = getopt_long(argc, argv, ":h", known, NULL)) != -1) {
		if (code == ':' || code == '?')
			return refuse_line(options, argv[optind - 1], code);
		if (code == 'h') {
			options->mode = MAIN_HELP;
			continue;
		}
		size_t row = (size_t)(code - CODE);

		if (main_option_table[row].kind == MAIN_MODE) {
			options->mode = main_option_table[row].mode;
			continue;
		}
		if (take(options, &main_option_table[row], &said[row],
			 optarg) != MAIN_GO)
			return MAIN_MISUSED;
	}
	return optind == argc ? MAIN_GO
			      : refuse_line(options, argv[optind], '?');
}

static enum main_answer set_said(struct main_options *options, size_t row,
				 const struct said *said)
{
	static const struct main_given given = { MAIN_LINE, NULL, NULL, 0 };
	char where[64];

	if (said->count == 0)
		return MAIN_GO;
	snprintf(where, sizeof(where), "--%s", main_option_table[row].name);
	return main_option_set(options, &main_option_table[row], said->texts,
			       said->count, &given, where);
}

/* ---- the secret in a file ---- */

static const char *read_token(struct main_options *options)
{
	char bytes[MAIN_TOKEN_BYTES_MAX + 2];
	int file = open(options->token_file, O_RDONLY | O_CLOEXEC);
	ssize_t length = -1;

	if (file >= 0) {
		length = read(file, bytes, sizeof(bytes));
		int error = errno;

		close(file);
		errno = error;
	}
	if (length < 0) {
		(void)main_options_refuse(options,
					  "cannot read the token from '%s': %s",
					  options->token_file, strerror(errno));
		return NULL;
	}
	while (length > 0 && strchr("\r\n", bytes[length - 1]) != NULL)
		length--;
	if (length == 0 || length > MAIN_TOKEN_BYTES_MAX ||
	    memchr(bytes, '\0', (size_t)length) != NULL) {
		(void)main_options_refuse(options,
					  "'%s' has no token in it: one line "
					  "of up to %d bytes",
					  options->token_file,
					  MAIN_TOKEN_BYTES_MAX);
		return NULL;
	}
	return arena_text(&options->arena, bytes, (size_t)length);
}

static const struct main_given *given_of(const struct main_options *options,
					 const char *name)
{
	return &options->given[main_option_find(name, strlen(name)) -
			       main_option_table];
}

static enum main_answer choose_token(struct main_options *options)
{
	const struct main_given *token = given_of(options, "token");
	const struct main_given *file = given_of(options, "token-file");

	if (options->token_file == NULL || token->source > file->source)
		return MAIN_GO;
	if (options->token != NULL && token->source == file->source)
		return main_options_refuse(options, "token and token-file: "
						    "only one of them can be");
	options->token = read_token(options);
	return options->token != NULL ? MAIN_GO : MAIN_MISUSED;
}

/* ---- all of it ---- */

/* The weaker comes first, but which file it is has to be known before. */
static enum main_answer read_all(struct main_options *options,
				 const struct muster_app *app,
				 const struct said *said)
{
	enum main_answer answer = read_application(options, app);

	for (size_t pass = 0; pass < 2 && answer == MAIN_GO; pass++) {
		for (size_t i = 0; i < main_option_count && answer == MAIN_GO;
		     i++) {
			const struct main_option *option =
				&main_option_table[i];

			if (option->is_for_the_line != (pass == 0))
				continue;
			answer = read_variable(options, option);
			if (answer == MAIN_GO)
				answer = set_said(options, i, &said[i]);
		}
		if (pass == 0 && answer == MAIN_GO)
			answer = main_options_read_file(options);
	}
	return answer == MAIN_GO ? choose_token(options) : answer;
}

enum main_answer main_options_read(struct main_options *options, int argc,
				   char **argv, const struct muster_app *app)
{
	struct said said[MAIN_OPTIONS_MAX] = { 0 };

	*options = (struct main_options){ 0 };
	options->name =
		app->name != NULL ? app->name : program_invocation_short_name;
	set_defaults(options);
	enum main_answer answer = read_words(options, argc, argv, said);

	if (answer != MAIN_GO || options->mode == MAIN_HELP)
		return answer;
	return read_all(options, app, said);
}

void main_options_fini(struct main_options *options)
{
	arena_fini(&options->arena);
}
