#include "nodes.h"

#include <errno.h>
#include <signal.h>
#include <spawn.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/must.h"

static const char *self;

int nodes_run(const char *url, muster_start_fn fn, void *arg)
{
	struct muster *muster =
		muster_open(NULL, &(struct muster_node_options){
					  .name = "test",
					  .store = url,
					  .is_guest = true,
					  .cache_value_bytes = VALUE_BYTES_MAX,
					  .on_start = fn,
					  .arg = arg,
				  });

	MUST(muster != NULL);
	return muster_run(muster);
}

void on_node(void **state, muster_start_fn fn)
{
	const struct fixture *fixture = *state;

	assert_int_equal(nodes_run(fixture->url, fn, *state), 0);
}

struct child child_start(const struct fixture *fixture, const char *role)
{
	const char *words[] = { self, fixture_back_end, "child",
				role, fixture->url,     NULL };
	posix_spawn_file_actions_t actions;
	struct child child;
	char *argv[6];
	int ends[2];

	memcpy(argv, words, sizeof(argv));
	MUST(pipe(ends) == 0);
	posix_spawn_file_actions_init(&actions);
	posix_spawn_file_actions_adddup2(&actions, ends[1], STDOUT_FILENO);
	posix_spawn_file_actions_addclose(&actions, ends[0]);
	MUST(posix_spawn(&child.pid, self, &actions, NULL, argv, environ) == 0);
	posix_spawn_file_actions_destroy(&actions);
	close(ends[1]);
	child.output = fdopen(ends[0], "r");
	return child;
}

void child_says(const struct child *child, char line[64])
{
	if (fgets(line, 64, child->output) == NULL)
		fail_msg("a child ended without a word");
	line[strcspn(line, "\n")] = '\0';
}

int child_end(struct child *child, int with_signal)
{
	int status;

	if (with_signal != 0)
		kill(child->pid, with_signal);
	fclose(child->output);
	while (waitpid(child->pid, &status, 0) < 0 && errno == EINTR)
		;
	return status;
}

bool nodes_is_child(int count, char **arguments)
{
	self = arguments[0];
	MUST(unsetenv("MUSTER_TOKEN") == 0);
	if (count > 1)
		fixture_back_end = arguments[1];
	return count > 4 && strcmp(arguments[2], "child") == 0;
}

int nodes_run_child(char **arguments, const struct role *roles)
{
	for (; roles->name != NULL; roles++)
		if (strcmp(roles->name, arguments[3]) == 0)
			return nodes_run(arguments[4], roles->fn, NULL);
	return 2;
}
