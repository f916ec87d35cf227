/*
 * scripted - a server that speaks Redis's protocol and says what it is told
 * to, for what a real one cannot be made to say when a test wants it.
 *
 * It answers a connection's first questions as a healthy server would. A line
 * of the script counts for commands that begin with its words; the first one
 * that is not used up yet is taken.
 */
#pragma once
#include <stdbool.h>
#include <sys/types.h>

struct scripted_line {
	const char *command; /* "EVALSHA", "CLIENT ID"; NULL ends the script */
	const char *reply;   /* as it is sent */
	unsigned times;      /* 0: always */
	bool is_cut;         /* and then the connection is closed */
};

/* On a unix socket of its own; ended with fixture_stop(). */
pid_t scripted_start(const char *path, const struct scripted_line *lines);
