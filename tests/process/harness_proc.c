/* harness_proc - what the kernel tells of any process. */
#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "harness_internal.h"

size_t list_children(pid_t pid, pid_t *children, size_t size)
{
	char path[64];
	size_t count = 0;
	DIR *tasks;
	struct dirent *task;

	snprintf(path, sizeof(path), "/proc/%d/task", (int)pid);
	tasks = opendir(path);
	while (tasks != NULL && (task = readdir(tasks)) != NULL) {
		char file[384];
		int child;

		snprintf(file, sizeof(file), "%s/%s/children", path,
			 task->d_name);
		FILE *list = fopen(file, "re");

		if (list == NULL)
			continue;
		while (count < size && fscanf(list, "%d", &child) == 1)
			children[count++] = child;
		fclose(list);
	}
	if (tasks != NULL)
		closedir(tasks);
	return count;
}

size_t count_children(pid_t pid)
{
	pid_t children[HARNESS_CHILDREN_MAX];

	return list_children(pid, children, HARNESS_CHILDREN_MAX);
}

bool is_alive(pid_t pid)
{
	char path[64];
	char text[512];

	snprintf(path, sizeof(path), "/proc/%d/stat", (int)pid);
	int file = open(path, O_RDONLY | O_CLOEXEC);

	if (file < 0)
		return false;
	ssize_t length = read(file, text, sizeof(text) - 1);

	close(file);
	if (length <= 0)
		return false;
	text[length] = '\0';
	const char *state = strrchr(text, ')');

	return state != NULL && state[2] != 'Z' && state[2] != 'X';
}

size_t count_descriptors(pid_t pid)
{
	char path[64];
	size_t count = 0;

	snprintf(path, sizeof(path), "/proc/%d/fd", (int)pid);
	DIR *entries = opendir(path);

	if (entries == NULL)
		give_up("cannot list the descriptors of %d", (int)pid);
	for (struct dirent *e; (e = readdir(entries)) != NULL;)
		count += e->d_name[0] != '.';
	closedir(entries);
	return count;
}

size_t resident_kib(pid_t pid)
{
	char path[64];
	char line[256];
	size_t kib = 0;

	snprintf(path, sizeof(path), "/proc/%d/status", (int)pid);
	FILE *file = fopen(path, "re");

	while (file != NULL && fgets(line, sizeof(line), file) != NULL)
		if (sscanf(line, "VmRSS: %zu", &kib) == 1)
			break;
	if (file != NULL)
		fclose(file);
	return kib;
}

uint64_t cpu_ms(pid_t pid)
{
	char path[64];
	unsigned long long run_ns = 0;

	snprintf(path, sizeof(path), "/proc/%d/schedstat", (int)pid);
	FILE *file = fopen(path, "re");

	if (file == NULL || fscanf(file, "%llu", &run_ns) != 1)
		give_up("cannot read the CPU time of %d", (int)pid);
	fclose(file);
	return run_ns / 1000000;
}
