/* main_options_show - the options as a person reads them: --help and
 * --show-config. */
#include <ctype.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "app/main_option.h"

#define COLUMN 31 /* where helps begin */

/* ---- --help ---- */

static void show_end(FILE *to, const struct main_option *option)
{
	fputs(option->help, to);
	if (option->otherwise != NULL)
		fprintf(to, " (%s)", option->otherwise);
	for (size_t i = 0; i < 2 && option->variables[i] != NULL; i++)
		fprintf(to, "%s %s", i == 0 ? ";" : " or",
			option->variables[i]);
	fputc('\n', to);
}

void main_options_help(FILE *to, const char *name)
{
	fprintf(to, "usage: %s [options]\n", name);
	for (size_t i = 0; i < main_option_count; i++) {
		const struct main_option *option = &main_option_table[i];
		int width = fprintf(to, "  --%s%s%s", option->name,
				    option->argument != NULL ? " " : "",
				    option->argument != NULL ? option->argument
							     : "");

		fprintf(to, "%*s", width < COLUMN ? COLUMN - width : 1, "");
		show_end(to, option);
	}
	fputs("A name in capitals at the end of a line is that of the variable "
	      "that does the\nsame; in the file it is the option's, without "
	      "the dashes. The command line counts\nbefore the environment, "
	      "and that before the file.\n",
	      to);
}

/* ---- --show-config ---- */

static void show_text(FILE *to, const char *text)
{
	fputc('"', to);
	for (; *text != '\0'; text++) {
		unsigned char letter = (unsigned char)*text;

		if (letter == '"' || letter == '\\')
			fprintf(to, "\\%c", letter);
		else if (letter < 0x20 || letter == 0x7f)
			fprintf(to, "\\x%02x", letter);
		else
			fputc(letter, to);
	}
	fputc('"', to);
}

/* Without what stands between "USER:" and "@" in a URL. */
static void show_url(FILE *to, const char *text)
{
	const char *user = strstr(text, "://");
	const char *end = text + strcspn(text, "?");
	const char *at = NULL;
	char shown[1024];

	for (const char *found = user; found != NULL && found < end; found++)
		if (*found == '@')
			at = found;
	const char *colon = at == NULL ? NULL : strchr(user + 3, ':');

	if (colon == NULL || colon > at) {
		show_text(to, text);
		return;
	}
	snprintf(shown, sizeof(shown), "%.*s:***%s", (int)(colon - text), text,
		 at);
	show_text(to, shown);
}

static void show_list(FILE *to, const char *const *list)
{
	fputc('[', to);
	for (size_t i = 0; list[i] != NULL; i++) {
		fputs(i > 0 ? ", " : "", to);
		show_text(to, list[i]);
	}
	fputc(']', to);
}

static void show_source(FILE *to, const struct main_options *options,
			const struct main_option *option)
{
	const struct main_given *given =
		&options->given[option - main_option_table];

	switch (given->source) {
	case MAIN_DEFAULT:
		fputs("default", to);
		return;
	case MAIN_APPLICATION:
		fputs("the application", to);
		return;
	case MAIN_FILE:
		fprintf(to, "%s:%u", options->file, given->line);
		return;
	case MAIN_ENVIRONMENT:
		fputs(given->variable, to);
		return;
	case MAIN_LINE:
		fprintf(to, "--%s", option->name);
		return;
	}
}

static void show_value(FILE *to, const struct main_options *options,
		       const struct main_option *option)
{
	const char *text = options->given[option - main_option_table].text;

	if (text == NULL)
		return;
	fputc(' ', to);
	if (option->is_secret) {
		show_text(to, "***");
	} else if (option->kind == MAIN_LIST) {
		const char *const *list = NULL;

		memcpy(&list, (const char *)options + option->at, sizeof(list));
		show_list(to, list);
	} else if (option->kind == MAIN_TEXT) {
		show_url(to, text);
	} else {
		fputs(text, to); /* a number and its unit, or a word */
	}
}

static bool is_secret(const char *name)
{
	static const char *const parts[] = { "password", "secret",     "token",
					     "passwd",   "credential", "key" };

	for (size_t i = 0; i < sizeof(parts) / sizeof(parts[0]); i++)
		if (strcasestr(name, parts[i]) != NULL)
			return true;
	return false;
}

/* What is below app, in YAML's flow style, a line for each of its members. */
static void show_node(FILE *to, const struct document_node *node)
{
	bool is_map = node->kind == DOCUMENT_MAP;

	if (node->kind == DOCUMENT_VALUE) {
		if (node->name != NULL && is_secret(node->name))
			show_text(to, "***");
		else if (document_is_null(node))
			fputs("null", to);
		else
			show_url(to, node->text);
		return;
	}
	fputc(is_map ? '{' : '[', to);
	for (node = node->first; node != NULL; node = node->next) {
		if (is_map) {
			show_text(to, node->name);
			fputs(": ", to);
		}
		show_node(to, node);
		fputs(node->next != NULL ? ", " : "", to);
	}
	fputc(is_map ? '}' : ']', to);
}

static void show_app(FILE *to, const struct main_options *options)
{
	if (options->app == NULL)
		return;
	fputs("app:\n", to);
	for (const struct document_node *node = options->app->first;
	     node != NULL; node = node->next) {
		fputs("  ", to);
		show_text(to, node->name);
		fputs(": ", to);
		show_node(to, node);
		fprintf(to, "  # %s:%u\n", options->file, node->line);
	}
}

void main_options_show(FILE *to, const struct main_options *options)
{
	if (options->file != NULL)
		fprintf(to, "# file %s%s%s\n", options->file,
			options->section != NULL ? ", environment " : "",
			options->section != NULL ? options->section : "");
	for (size_t i = 0; i < main_option_count; i++) {
		const struct main_option *option = &main_option_table[i];

		if (option->kind == MAIN_MODE || option->is_for_the_line)
			continue;
		fprintf(to, "%s:", option->name);
		show_value(to, options, option);
		fputs("  # ", to);
		show_source(to, options, option);
		fputc('\n', to);
	}
	show_app(to, options);
}
