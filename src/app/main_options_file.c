/*
 * main_options_file - the file that a server is configured by.
 *
 *     workers: 4
 *     store: redis://10.0.0.5
 *     app:
 *       mailer: { host: mail.example.com }
 *
 * or, where the file has "default", a map like this for each environment, of
 * which the one that is asked for is laid over that.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "app/main_option.h"
#include "base/buffer.h"
#include "base/nearest.h"

#define LIST_MAX        64
#define DEFAULT_SECTION "default"
#define USUAL_SECTION   "development"

/* ---- where it is ---- */

/* NAME.yml and its like in the working directory; false: it was told that there
 * are two. */
static bool find(struct main_options *options)
{
	static const char *const ends[] = { "yml", "yaml", "json" };

	if (strchr(options->name, '/') != NULL)
		return true;
	for (size_t i = 0; i < sizeof(ends) / sizeof(ends[0]); i++) {
		char path[300];
		int length = snprintf(path, sizeof(path), "%s.%s",
				      options->name, ends[i]);

		if ((size_t)length >= sizeof(path) || access(path, F_OK) != 0)
			continue;
		if (options->file != NULL) {
			(void)main_options_refuse(options,
						  "'%s' and '%s' are both here "
						  "(say which with --config)",
						  options->file, path);
			return false;
		}
		options->file =
			arena_text(&options->arena, path, (size_t)length);
	}
	return true;
}

static enum main_answer refuse_file(const struct main_options *options,
				    const char *why)
{
	return main_options_refuse(options,
				   "cannot read the configuration '%s': %s",
				   options->file, why);
}

static enum main_answer read_bytes(const struct main_options *options,
				   struct buffer *bytes)
{
	int file = open(options->file, O_RDONLY | O_CLOEXEC);
	struct stat status;
	ssize_t length = -1;

	if (file < 0)
		return refuse_file(options, strerror(errno));
	if (fstat(file, &status) == 0 && S_ISDIR(status.st_mode))
		errno = EISDIR;
	else
		do {
			uint8_t *room = buffer_reserve(bytes, 65536);

			length = read(file, room, 65536);
			if (length > 0)
				buffer_extend(bytes, (size_t)length);
		} while (length > 0 &&
			 buffer_length(bytes) <= DOCUMENT_BYTES_MAX);
	int error = errno;

	close(file);
	return length < 0 ? refuse_file(options, strerror(error)) : MAIN_GO;
}

/* ---- what it says ---- */

static const char *kind_of(const struct document_node *node)
{
	return node->kind == DOCUMENT_MAP ? "a map" : "a list";
}

static enum main_answer refuse_kind(const struct main_options *options,
				    const struct document_node *node,
				    const char *wants)
{
	return main_options_refuse(options, "%s:%u: %s wants %s, not %s",
				   options->file, node->line, node->name, wants,
				   kind_of(node));
}

static enum main_answer refuse_unknown(const struct main_options *options,
				       const struct document_node *node)
{
	const char *best = main_option_nearest(node->name);

	return main_options_refuse(
		options,
		"%s:%u: there is no setting '%s'%s%s%s (--help lists "
		"them)",
		options->file, node->line, node->name,
		best != NULL ? ": did you mean '" : "",
		best != NULL ? best : "", best != NULL ? "'?" : "");
}

static enum main_answer set_list(struct main_options *options,
				 const struct main_option *option,
				 const struct document_node *list,
				 const struct main_given *given,
				 const char *where)
{
	const char *texts[LIST_MAX + 1];
	size_t count = 0;

	for (const struct document_node *node = list->first; node != NULL;
	     node = node->next) {
		if (node->kind != DOCUMENT_VALUE)
			return main_options_refuse(options,
						   "%s wants texts, not %s",
						   where, kind_of(node));
		if (count < LIST_MAX + 1)
			texts[count++] = node->text;
	}
	return main_option_set(options, option, texts, count, given, where);
}

static enum main_answer set(struct main_options *options,
			    const struct document_node *node)
{
	const struct main_option *option =
		main_option_find(node->name, strlen(node->name));
	struct main_given given = { .source = MAIN_FILE, .line = node->line };
	char where[256];

	if (option == NULL || option->kind == MAIN_MODE)
		return refuse_unknown(options, node);
	if (option->is_for_the_line)
		return main_options_refuse(
			options, "%s:%u: %s cannot be said in a file",
			options->file, node->line, option->name);
	if (document_is_null(node))
		return MAIN_GO; /* as if it were not there */
	/* Under two spellings it is there twice. */
	if (options->given[option - main_option_table].source == MAIN_FILE)
		return main_options_refuse(
			options,
			"%s:%u: %s is here a second time (line %u has "
			"the first)",
			options->file, node->line, option->name,
			options->given[option - main_option_table].line);
	snprintf(where, sizeof(where), "%s:%u: %s", options->file, node->line,
		 node->name);
	if (node->kind == DOCUMENT_LIST && option->kind == MAIN_LIST)
		return set_list(options, option, node, &given, where);
	if (node->kind != DOCUMENT_VALUE)
		return refuse_kind(options, node,
				   option->kind == MAIN_LIST ? "a list"
							     : "one value");
	return main_option_set_text(options, option, node->text, &given, where);
}

static enum main_answer set_all(struct main_options *options,
				const struct document_node *map)
{
	enum main_answer answer = MAIN_GO;

	for (const struct document_node *node = map->first;
	     node != NULL && answer == MAIN_GO; node = node->next) {
		if (strcmp(node->name, "app") != 0) {
			answer = set(options, node);
			continue;
		}
		if (document_is_null(node))
			continue;
		if (node->kind != DOCUMENT_MAP)
			return main_options_refuse(options,
						   "%s:%u: app wants a map",
						   options->file, node->line);
		options->app = node;
	}
	return answer;
}

/* ---- sections ---- */

static enum main_answer check_sections(const struct main_options *options,
				       const struct document_node *root)
{
	for (const struct document_node *node = root->first; node != NULL;
	     node = node->next)
		if (node->kind != DOCUMENT_MAP && !document_is_null(node))
			return main_options_refuse(
				options,
				"%s:%u: %s is beside sections, and so has to "
				"be one, a map (move it into %s)",
				options->file, node->line, node->name,
				DEFAULT_SECTION);
	return MAIN_GO;
}

static enum main_answer refuse_section(const struct main_options *options,
				       const struct document_node *root)
{
	struct nearest nearest = nearest_to(options->section);

	for (const struct document_node *node = root->first; node != NULL;
	     node = node->next)
		nearest_offer(&nearest, node->name);
	return main_options_refuse(
		options,
		"%s has no section '%s'%s%s%s (MUSTER_ENV or "
		"--environment asks for it)",
		options->file, options->section,
		nearest.best != NULL ? ": did you mean '" : "",
		nearest.best != NULL ? nearest.best : "",
		nearest.best != NULL ? "'?" : "");
}

static enum main_answer choose(struct main_options *options,
			       const struct document_node *root,
			       const struct document_node **chosen)
{
	const struct document_node *under =
		document_find(root, DEFAULT_SECTION);
	const char *name =
		options->section != NULL ? options->section : USUAL_SECTION;
	const struct document_node *over = document_find(root, name);

	*chosen = root;
	if (under == NULL)
		return MAIN_GO; /* there are no sections */
	if (check_sections(options, root) != MAIN_GO)
		return MAIN_MISUSED;
	if (over == NULL && options->section != NULL)
		return refuse_section(options, root);
	if (over == NULL || over->kind != DOCUMENT_MAP)
		*chosen = under;
	else if (under->kind != DOCUMENT_MAP)
		*chosen = over;
	else
		*chosen = document_merge(&options->arena, under, over);
	return MAIN_GO;
}

enum main_answer main_options_read_text(struct main_options *options,
					const char *bytes, size_t length)
{
	struct document_node *root = NULL;
	const struct document_node *chosen = NULL;
	struct problem problem = { 0 };

	if (document_read(&options->arena, options->file, bytes, length, &root,
			  &problem) < 0)
		return main_options_refuse(options, "%s", problem.text);
	if (document_is_null(root))
		return MAIN_GO;
	if (root->kind != DOCUMENT_MAP)
		return main_options_refuse(options,
					   "%s:%u: a configuration has to be "
					   "'NAME: VALUE' lines, or a JSON "
					   "object",
					   options->file, root->line);
	if (choose(options, root, &chosen) != MAIN_GO)
		return MAIN_MISUSED;
	return chosen->kind == DOCUMENT_MAP ? set_all(options, chosen)
					    : MAIN_GO;
}

enum main_answer main_options_read_file(struct main_options *options)
{
	struct buffer bytes = { 0 };

	if (options->file == NULL && !find(options))
		return MAIN_MISUSED;
	if (options->file == NULL)
		return MAIN_GO;
	enum main_answer answer = read_bytes(options, &bytes);

	if (answer == MAIN_GO)
		answer = main_options_read_text(
			options, (const char *)buffer_bytes(&bytes),
			buffer_length(&bytes));
	buffer_fini(&bytes);
	return answer;
}
