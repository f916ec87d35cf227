/* harness_start - programs that start, and what they are told. */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "harness_internal.h"

#define ARGUMENTS_MAX 32

static size_t copy_environment(char **to, size_t size,
			       const char *const *additions)
{
	size_t count = 0;

	/* What the tests are run with must not reach the programs. */
	for (char **entry = environ; *entry != NULL; entry++)
		if (strncmp(*entry, "MUSTER_", 7) != 0 && count + 1 < size)
			to[count++] = *entry;
	for (; additions != NULL && *additions != NULL; additions++)
		if (count + 1 < size)
			to[count++] = (char *)(uintptr_t)*additions;
	to[count] = NULL;
	return count;
}

static void spawn(struct process *process, char **arguments, char **environment,
		  int input, int output, int descriptor)
{
	posix_spawn_file_actions_t actions;
	posix_spawnattr_t attributes;
	sigset_t none;
	sigset_t all;

	sigemptyset(&none);
	sigfillset(&all);
	posix_spawn_file_actions_init(&actions);
	posix_spawn_file_actions_adddup2(&actions, input, 0);
	posix_spawn_file_actions_adddup2(&actions, output, 1);
	posix_spawn_file_actions_addopen(&actions, 2, process->errors_path,
					 O_WRONLY | O_CREAT | O_APPEND, 0600);
	if (descriptor > 0)
		posix_spawn_file_actions_adddup2(&actions, descriptor, 3);
	posix_spawn_file_actions_addchdir_np(&actions, harness_stage.directory);
	posix_spawnattr_init(&attributes);
	posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSID |
						      POSIX_SPAWN_SETSIGMASK |
						      POSIX_SPAWN_SETSIGDEF);
	posix_spawnattr_setsigmask(&attributes, &none);
	posix_spawnattr_setsigdefault(&attributes, &all);
	int code = posix_spawn(&process->pid, harness_stage.binary, &actions,
			       &attributes, arguments, environment);

	posix_spawn_file_actions_destroy(&actions);
	posix_spawnattr_destroy(&attributes);
	if (code != 0)
		give_up("cannot start %s: %s", process->name, strerror(code));
}

struct process *start_with(const struct start_options *options)
{
	char *arguments[ARGUMENTS_MAX] = {
		harness_stage.binary,
		(char *)(uintptr_t) "program",
		(char *)(uintptr_t)options->name,
	};
	char *environment[512];
	int input[2];
	int output[2];
	struct process *process = calloc(1, sizeof(*process));

	for (size_t i = 0; options->arguments != NULL &&
			   options->arguments[i] != NULL && i < 28;
	     i++)
		arguments[i + 3] = (char *)(uintptr_t)options->arguments[i];
	copy_environment(environment, 512, options->environment);
	if (process == NULL || pipe2(input, O_CLOEXEC) != 0 ||
	    pipe2(output, O_CLOEXEC) != 0)
		give_up("cannot start %s: %s", options->name, strerror(errno));

	snprintf(process->name, sizeof(process->name), "%s", options->name);
	snprintf(process->errors_path, sizeof(process->errors_path),
		 "%s/errors.%d", harness_stage.directory,
		 ++harness_stage.process_count);
	process->next = harness_stage.processes;
	process->pidfd = -1;
	spawn(process, arguments, environment, input[0], output[1],
	      options->descriptor);
	close(input[0]);
	close(output[1]);
	process->input = input[1];
	process->output = output[0];
	fcntl(process->output, F_SETFL, O_NONBLOCK);
	process->pidfd = (int)syscall(SYS_pidfd_open, process->pid, 0);
	harness_stage.processes = process;
	return process;
}

struct process *start(const char *name, ...)
{
	const char *arguments[ARGUMENTS_MAX] = { NULL };
	va_list list;

	va_start(list, name);
	for (size_t i = 0; i < 28; i++) {
		arguments[i] = va_arg(list, const char *);
		if (arguments[i] == NULL)
			break;
	}
	va_end(list);
	return start_with(&(struct start_options){ .name = name,
						   .arguments = arguments });
}

pid_t pid_of(const struct process *process)
{
	return process->pid;
}

void command(struct process *process, const char *format, ...)
{
	char line[1024];
	va_list arguments;

	va_start(arguments, format);
	int length = vsnprintf(line, sizeof(line) - 1, format, arguments);

	va_end(arguments);
	line[length++] = '\n';
	if (write(process->input, line, (size_t)length) != length)
		give_up("cannot tell %s: %s", process->name, strerror(errno));
}

void send_signal(const struct process *process, int signal)
{
	if (process->has_ended || kill(process->pid, signal) != 0)
		give_up("cannot send signal %d to %s, which has ended", signal,
			process->name);
}
