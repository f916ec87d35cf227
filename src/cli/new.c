/* new - a project to start from: the files of templates/new, with its name. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/buffer.h"
#include "cli/arguments.h"
#include "cli/command.h"

#define NAME_MAX_BYTES 40
#define MARK           "@NAME@"

struct embedded_file {
	const char *path;
	bool is_program;
	const char *text;
};

#include "new_files.h"

struct project {
	const char *given; /* as it was typed */
	int folder;
	char name[NAME_MAX_BYTES + 1];
};

/* ---- its name ---- */

/* Of an application, of a program and in a Makefile. */
static bool is_name(const char *name)
{
	return name[0] != '\0' && name[0] != '.' && name[0] != '-' &&
	       strlen(name) <= NAME_MAX_BYTES &&
	       strspn(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWX"
			    "YZ0123456789.-_") == strlen(name);
}

/* A target of its Makefile, or a folder of it. */
static bool is_taken(const char *name)
{
	static const char *const taken[] = { "run", "test",     "clean",
					     "src", "Makefile", "README.md" };

	for (size_t i = 0; i < sizeof(taken) / sizeof(taken[0]); i++)
		if (strcmp(name, taken[i]) == 0)
			return true;
	return false;
}

static int choose_name(struct project *project)
{
	char path[PATH_MAX];
	char link[64];

	/* As "." and "a/.." are called, too. */
	snprintf(link, sizeof(link), "/proc/self/fd/%d", project->folder);
	ssize_t length = readlink(link, path, sizeof(path) - 1);

	path[length > 0 ? length : 0] = '\0';
	const char *slash = strrchr(path, '/');
	const char *name = slash != NULL ? slash + 1 : path;

	if (!is_name(name) || is_taken(name))
		return command_failed("'%s' cannot be the name of a project: "
				      "up to %d letters, digits, '.', '-' and "
				      "'_', and no word of its Makefile",
				      name, NAME_MAX_BYTES);
	memcpy(project->name, name, strlen(name) + 1);
	return COMMAND_DONE;
}

/* ---- its files ---- */

/* NAME.yml is called like the project, gitignore is hidden. */
static void path_of(const struct project *project,
		    const struct embedded_file *file, char *path, size_t size)
{
	if (strncmp(file->path, "NAME.", strlen("NAME.")) == 0)
		snprintf(path, size, "%s%s", project->name,
			 file->path + strlen("NAME"));
	else
		snprintf(path, size, "%s%s",
			 strcmp(file->path, "gitignore") == 0 ? "." : "",
			 file->path);
}

static void fill(const struct project *project, const char *text,
		 struct buffer *to)
{
	for (;;) {
		const char *mark = strstr(text, MARK);

		if (mark == NULL) {
			buffer_append_text(to, text);
			return;
		}
		buffer_append(to, text, (size_t)(mark - text));
		buffer_append_text(to, project->name);
		text = mark + strlen(MARK);
	}
}

/* The folder that it is in, one deep. */
static int make_folder(const struct project *project, const char *path)
{
	char folder[PATH_MAX];
	const char *slash = strchr(path, '/');

	if (slash == NULL)
		return 0;
	snprintf(folder, sizeof(folder), "%.*s", (int)(slash - path), path);
	return mkdirat(project->folder, folder, 0777) == 0 || errno == EEXIST
		       ? 0
		       : -errno;
}

static int write_all(int descriptor, const struct buffer *bytes)
{
	size_t written = 0;

	while (written < buffer_length(bytes)) {
		ssize_t length =
			write(descriptor, buffer_bytes(bytes) + written,
			      buffer_length(bytes) - written);

		if (length < 0 && errno != EINTR)
			return -errno;
		written += length > 0 ? (size_t)length : 0;
	}
	return 0;
}

static int write_file(const struct project *project,
		      const struct embedded_file *file, const char *path)
{
	struct buffer text = { 0 };
	int error = make_folder(project, path);

	if (error < 0)
		return error;
	int descriptor = openat(project->folder, path,
				O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC,
				file->is_program ? 0777 : 0666);

	if (descriptor < 0)
		return -errno;
	fill(project, file->text, &text);
	error = write_all(descriptor, &text);
	buffer_fini(&text);
	return close(descriptor) < 0 && error == 0 ? -errno : error;
}

static int write_files(const struct project *project)
{
	char path[PATH_MAX];

	for (const struct embedded_file *file = embedded_files;
	     file->path != NULL; file++) {
		path_of(project, file, path, sizeof(path));
		int error = write_file(project, file, path);

		if (error < 0)
			return command_failed("cannot write '%s/%s': %s (what "
					      "is there is not whole: remove "
					      "it)",
					      project->given, path,
					      strerror(-error));
	}
	return COMMAND_DONE;
}

/* ---- its folder ---- */

/* -1: it cannot be read. */
static int count_entries(int folder)
{
	DIR *entries = fdopendir(dup(folder));
	const struct dirent *entry;
	int count = 0;

	if (entries == NULL)
		return -1;
	while ((entry = readdir(entries)) != NULL)
		count += strcmp(entry->d_name, ".") != 0 &&
					 strcmp(entry->d_name, "..") != 0
				 ? 1
				 : 0;
	closedir(entries);
	return count;
}

static int open_folder(struct project *project, bool *is_new)
{
	*is_new = mkdir(project->given, 0777) == 0;
	if (!*is_new && errno != EEXIST)
		return command_failed("cannot make '%s': %s", project->given,
				      strerror(errno));
	project->folder =
		open(project->given, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (project->folder < 0)
		return command_failed("cannot make a project of '%s': %s",
				      project->given, strerror(errno));
	if (count_entries(project->folder) == 0)
		return COMMAND_DONE;
	return command_failed("'%s' is not empty (a project needs a folder of "
			      "its own)",
			      project->given);
}

static void tell(const struct project *project)
{
	printf("%s: a server with three actions, a task and a test. Next:\n\n",
	       project->name);
	if (strcmp(project->given, ".") != 0)
		printf("  cd %s\n", project->given);
	printf("  make         # builds ./%s\n"
	       "  make test    # starts it on a free port, and asks it\n"
	       "  make run     # serves http://localhost:8080; Ctrl-C stops "
	       "it\n"
	       "\nREADME.md says what is where.\n",
	       project->name);
}

static int make(struct project *project)
{
	bool is_new = false;
	int code = open_folder(project, &is_new);

	if (code == COMMAND_DONE) {
		code = choose_name(project);
		if (code != COMMAND_DONE && is_new)
			rmdir(project->given);
	}
	if (code == COMMAND_DONE)
		code = write_files(project);
	if (code == COMMAND_DONE)
		tell(project);
	if (project->folder >= 0)
		close(project->folder);
	return code;
}

static int run(struct arguments *arguments)
{
	struct project project = { .folder = -1 };
	int option;

	while ((option = arguments_next(arguments)) == ARGUMENTS_OPERAND) {
		if (project.given != NULL)
			return command_misused(&new_command,
					       "new: '%s' is one folder too "
					       "many",
					       arguments->value);
		project.given = arguments->value;
	}
	if (option == ARGUMENTS_WRONG)
		return command_misused(&new_command, "%s", arguments->problem);
	if (project.given == NULL || project.given[0] == '\0')
		return command_misused(&new_command, "new needs a DIR");
	return make(&project);
}

const struct command new_command = {
	.name = "new",
	.operands = "DIR",
	.summary = "Makes a project to start from",
	.details = "\nDIR, which is made or is empty, gets a server with "
		   "actions, a task, a test, a\nMakefile and a configuration. "
		   "Its last name is the project's.",
	.run = run,
};
