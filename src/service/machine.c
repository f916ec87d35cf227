#include "service/machine.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* Up to size - 1 bytes and a NUL; false where there is nothing. */
static bool read_text(const char *path, char *text, size_t size)
{
	int descriptor = open(path, O_RDONLY | O_CLOEXEC);

	if (descriptor < 0)
		return false;
	ssize_t length = read(descriptor, text, size - 1);

	close(descriptor);
	if (length <= 0)
		return false;
	text[length] = '\0';
	return true;
}

void machine_read(char machine[MACHINE_BYTES])
{
	char boot[40];
	struct stat space;

	machine[0] = '\0';
	if (!read_text("/proc/sys/kernel/random/boot_id", boot, sizeof(boot)) ||
	    stat("/proc/self/ns/pid", &space) < 0)
		return;
	boot[strcspn(boot, "\n")] = '\0';
	snprintf(machine, MACHINE_BYTES, "%s/%ju", boot,
		 (uintmax_t)space.st_ino);
}

/* State and start. The name before them may hold anything, so they are
 * counted from its last bracket. */
static bool read_stat(pid_t pid, char *state, uint64_t *start)
{
	char path[32];
	char text[1024];

	snprintf(path, sizeof(path), "/proc/%d/stat", (int)pid);
	if (!read_text(path, text, sizeof(text)))
		return false;
	const char *at = strrchr(text, ')');

	if (at == NULL || at[1] != ' ' || at[2] == '\0')
		return false;
	*state = at[2];
	/* The state is field 3, the start field 22. */
	for (int field = 3; at != NULL && field <= 22; field++)
		at = strchr(at + 1, ' ');
	if (at == NULL)
		return false;
	*start = strtoull(at, NULL, 10);
	return true;
}

uint64_t machine_process_start(pid_t pid)
{
	char state;
	uint64_t start;

	return read_stat(pid, &state, &start) ? start : 0;
}

enum machine_process machine_process(pid_t pid, uint64_t start)
{
	char state = '\0';
	uint64_t now = 0;

	if (pid <= 0 || (kill(pid, 0) < 0 && errno == ESRCH))
		return MACHINE_PROCESS_GONE;
	/* /proc may hide the processes of others. */
	if (!read_stat(pid, &state, &now))
		return MACHINE_PROCESS_RUNNING;
	if (state == 'Z' || state == 'X' || (start != 0 && now != start))
		return MACHINE_PROCESS_GONE;
	return state == 'T' || state == 't' ? MACHINE_PROCESS_STOPPED
					    : MACHINE_PROCESS_RUNNING;
}
