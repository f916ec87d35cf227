/* main_options - what muster_main() is asked for: on the command line, in the
 * environment, by the application, in this order. Each is in one table. */
#pragma once
#include <muster/muster.h>

#define MAIN_ORIGINS_MAX 64

struct main_options {
	const char *listen;
	const char *tcp; /* NULL: off */
	uint32_t max_connections;
	const char *store; /* NULL: the embedded one */
	const char *token;
	const char *public_folder;
	const char *access_log;
	const char *const *origins; /* NULL: anybody's */
	const char *log;
	int workers;
	enum muster_schedule schedule;
	char room[4096]; /* of a store that was given as a path */
	char listed[4096];
	const char *list[MAIN_ORIGINS_MAX + 1]; /* of origins, in `listed` */
};

enum main_answer {
	MAIN_GO = 0,
	MAIN_HELPED,  /* shown; exit code 0 */
	MAIN_MISUSED, /* told on stderr; exit code 2 */
};

enum main_answer main_options_read(struct main_options *options, int argc,
				   char **argv, const struct muster_app *app);
