#include "cli/program.h"

#include <errno.h>
#include <limits.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/mem.h"
#include "cli/command.h"

static bool is_program(const char *path)
{
	struct stat status;

	return stat(path, &status) == 0 && S_ISREG(status.st_mode) &&
	       access(path, X_OK) == 0;
}

/* NULL where no folder of PATH has it. */
static char *find_in_path(const char *name)
{
	const char *folder = getenv("PATH");

	while (folder != NULL && *folder != '\0') {
		int length = (int)strcspn(folder, ":");
		char *path = mem_format("%.*s/%s", length, folder, name);

		if (is_program(path))
			return path;
		free(path);
		folder += length;
		folder += *folder == ':' ? 1 : 0;
	}
	return NULL;
}

/*
 * From the root, because workers may run elsewhere; links are kept as they
 * are, so that a reload follows one that points to a new release.
 */
static char *absolute(const char *path)
{
	char here[PATH_MAX];

	if (path[0] == '/' || getcwd(here, sizeof(here)) == NULL)
		return mem_text(path);
	return mem_format("%s/%s", here, path);
}

char *program_locate(const char *program)
{
	char *found = NULL;

	if (is_program(program))
		return absolute(program);
	if (strchr(program, '/') == NULL)
		found = find_in_path(program);
	if (found != NULL)
		return found;
	if (access(program, F_OK) == 0)
		command_failed("cannot start '%s': it is not an executable "
			       "program (chmod +x makes it one)",
			       program);
	else if (strchr(program, '/') == NULL)
		command_failed("cannot start '%s': there is no such file here "
			       "and no such program in PATH (give its path)",
			       program);
	else
		command_failed("cannot start '%s': %s (give the path of a "
			       "program)",
			       program, strerror(errno));
	return NULL;
}
