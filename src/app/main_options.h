/*
 * main_options - what muster_main() is asked for: by the application, in a
 * file, in the environment and on the command line; the later in this list
 * counts. Each is one row of a table, main_option_table.c, from which all four
 * are read and --help and --show-config are written. Why like this:
 * decision 23.
 */
#pragma once
#include <muster/muster.h>
#include <stdio.h>

#include "base/arena.h"
#include "base/problem.h"
#include "wire/document.h"

#define MAIN_OPTIONS_MAX 64

/* What is done instead of serving. */
enum main_mode {
	MAIN_SERVE = 0,
	MAIN_CHECK,
	MAIN_SHOW_CONFIG,
	MAIN_SHOW_ACTIONS,
	MAIN_HELP,
};

/* Who said it; a later one is stronger. */
enum main_source {
	MAIN_DEFAULT = 0,
	MAIN_APPLICATION,
	MAIN_FILE,
	MAIN_ENVIRONMENT,
	MAIN_LINE,
};

struct main_given {
	enum main_source source;
	const char *text; /* as it was said; of a list "a, b"; NULL: never */
	const char *variable; /* of the environment */
	uint32_t line;        /* of the file */
};

/* Texts and lists (which end with NULL) are the arena's, or outlast it. */
struct main_options {
	const char *const *listen;
	const char *tcp; /* NULL: off */
	struct muster_certificate certificate;
	const char *store; /* NULL: the embedded one */
	const char *token;
	const char *token_file;
	const char *prefix;
	const char *public_folder;
	const char *access_log;
	enum muster_http_log_format access_log_format;
	const char *log;
	const char *trusted_proxies;
	const char *const *origins; /* NULL, or "*": anybody */
	const char *const *queues;
	struct muster_http_limits limits;
	uint32_t max_connections; /* 0: no limit */
	uint32_t message_bytes;
	uint32_t line_bytes;
	uint32_t file_bytes;
	uint32_t client_rate;
	uint32_t client_burst;
	uint32_t gzip_bytes;
	uint32_t timeout_ms;
	uint32_t pending_max; /* actions of a connection */
	uint32_t drain_ms;
	uint32_t drain_idle_ms;
	uint32_t store_ms;
	uint32_t task_concurrency;
	int workers;
	enum muster_schedule schedule;

	const char *file;    /* NULL: there is none */
	const char *section; /* of the file; NULL: none was asked for */
	const struct document_node *app; /* the application's own; NULL */
	enum main_mode mode;

	const char *name;
	struct arena arena;
	struct main_given given[MAIN_OPTIONS_MAX]; /* a row of the table each */
};

enum main_answer {
	MAIN_GO = 0,
	MAIN_MISUSED, /* told on stderr; exit code 2 */
};

enum main_answer main_options_read(struct main_options *options, int argc,
				   char **argv, const struct muster_app *app);
void main_options_fini(struct main_options *options);

/* --help, and --show-config: YAML that can be a configuration, with who said
 * each; secrets are "***". */
void main_options_help(FILE *to, const char *name);
void main_options_show(FILE *to, const struct main_options *options);
