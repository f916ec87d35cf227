#include "commands.h"

#include <poll.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static void (*obey_line)(struct muster *muster, const char *line);

struct reading {
	char *line; /* NULL: none has come */
	bool has_ended;
};

/* Not for ever: nothing ends a wait in another thread. */
static void read_line(void *arg)
{
	struct reading *reading = arg;
	struct pollfd ready = { .fd = STDIN_FILENO, .events = POLLIN };
	size_t size = 0;

	reading->line = NULL;
	if (poll(&ready, 1, 20) <= 0)
		return;
	if (getline(&reading->line, &size, stdin) >= 0)
		return;
	free(reading->line);
	reading->line = NULL;
	reading->has_ended = true;
}

static void take_commands(struct muster *muster, void *arg)
{
	struct reading reading = { 0 };

	(void)arg;
	while (!reading.has_ended && !muster_is_stopping(muster) &&
	       muster_blocking(muster, read_line, &reading) == 0) {
		if (reading.line == NULL)
			continue;
		obey_line(muster, reading.line);
		free(reading.line);
	}
	muster_stop(muster, 0);
}

int commands_begin(struct muster *muster,
		   void (*obey)(struct muster *muster, const char *line))
{
	obey_line = obey;
	setvbuf(stdin, NULL, _IONBF, 0); /* poll() sees what is left */
	return muster_spawn(muster, "commands", take_commands, NULL);
}
