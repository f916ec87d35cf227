#include "app/main_options.h"

#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/must.h"

#define WORKERS_MAX 1024

/* ---- values ---- */

static bool set_listen(struct main_options *options, const char *value)
{
	options->listen = value;
	return true;
}

/* Port 0 would be another one in each place that asks for it. */
static bool set_tcp(struct main_options *options, const char *value)
{
	bool is_off = strcmp(value, "none") == 0 || strcmp(value, "0") == 0;

	options->tcp = is_off ? NULL : value;
	return true;
}

static bool set_max_connections(struct main_options *options, const char *value)
{
	char *end = NULL;
	long long count = strtoll(value, &end, 10);

	options->max_connections = (uint32_t)count;
	return *end == '\0' && end != value && count >= 0 &&
	       count <= UINT32_MAX;
}

static bool set_workers(struct main_options *options, const char *value)
{
	char *end = NULL;
	long workers = strtol(value, &end, 10);

	if (strcmp(value, "max") == 0) {
		options->workers = MUSTER_PER_CORE;
		return true;
	}
	options->workers = (int)workers;
	return *end == '\0' && workers > 0 && workers <= WORKERS_MAX;
}

static bool set_schedule(struct main_options *options, const char *value)
{
	static const struct {
		const char *name;
		enum muster_schedule schedule;
	} policies[] = {
		{ "least", MUSTER_LEAST },         { "rr", MUSTER_ROUND_ROBIN },
		{ "shared", MUSTER_SHARED },       { "none", MUSTER_SHARED },
		{ "reuseport", MUSTER_REUSEPORT },
	};

	for (size_t i = 0; i < sizeof(policies) / sizeof(policies[0]); i++)
		if (strcmp(policies[i].name, value) == 0) {
			options->schedule = policies[i].schedule;
			return true;
		}
	return false;
}

/* What is no URL is the path of an embedded one. */
static bool set_store(struct main_options *options, const char *value)
{
	options->store = value;
	if (strchr(value, ':') != NULL)
		return true;
	int length = snprintf(options->room, sizeof(options->room), "lmdb:%s",
			      value);

	options->store = options->room;
	return length > 0 && (size_t)length < sizeof(options->room);
}

static bool set_token(struct main_options *options, const char *value)
{
	options->token = value;
	return true;
}

static bool set_public(struct main_options *options, const char *value)
{
	options->public_folder = value;
	return true;
}

/* "https://a.example,https://b.example", or "*". */
static bool set_origins(struct main_options *options, const char *value)
{
	size_t length = strlen(value);
	size_t count = 0;
	char *state = NULL;

	options->origins = NULL;
	if (strcmp(value, "*") == 0)
		return true;
	if (length >= sizeof(options->listed))
		return false;
	memcpy(options->listed, value, length + 1);
	for (char *one = strtok_r(options->listed, ", ", &state); one != NULL;
	     one = strtok_r(NULL, ", ", &state)) {
		if (count == MAIN_ORIGINS_MAX || strstr(one, "://") == NULL)
			return false;
		options->list[count++] = one;
	}
	options->list[count] = NULL;
	options->origins = options->list;
	return count > 0;
}

static bool set_access_log(struct main_options *options, const char *value)
{
	options->access_log = value;
	return true;
}

static bool set_log(struct main_options *options, const char *value)
{
	static const char *const levels[] = { "off", "error", "warn", "info",
					      "debug" };

	options->log = value;
	for (size_t i = 0; i < sizeof(levels) / sizeof(levels[0]); i++)
		if (strcmp(levels[i], value) == 0)
			return true;
	return false;
}

/* ---- the table ---- */

static const struct {
	const char *name;
	const char *other_name;  /* another spelling; NULL */
	const char *environment; /* NULL: none */
	const char *argument;
	const char *wants;
	const char *help;
	bool (*set)(struct main_options *options, const char *value);
} table[] = {
	{ "listen", "port", "PORT", "WHERE", "a port or an address",
	  "PORT, HOST:PORT or unix:PATH (8080)", set_listen },
	{ "tcp", "tcp-port", "TCP_PORT", "WHERE", "a port, an address or none",
	  "the same for lines over TCP; none", set_tcp },
	{ "max-connections", NULL, NULL, "N", "a number",
	  "of a worker, on each address (no limit)", set_max_connections },
	{ "workers", NULL, "WORKERS", "N|max",
	  "a number from 1 to 1024, or max",
	  "how many; max is one a core (max)", set_workers },
	{ "schedule", NULL, "MUSTER_SCHED_POLICY", "POLICY",
	  "least, rr, shared or reuseport",
	  "least, rr, shared or reuseport (least)", set_schedule },
	{ "store", NULL, "STORE", "URL", "a URL or a path",
	  "redis://HOST:PORT, lmdb:PATH (in MUSTER_HOME)", set_store },
	{ "token", NULL, "MUSTER_TOKEN", "SECRET", "a text",
	  "the cluster's secret; rather in the environment", set_token },
	{ "public", NULL, NULL, "DIR", "a folder",
	  "files to serve where there is no action", set_public },
	{ "origins", NULL, "ORIGINS", "LIST",
	  "origins with commas between them, or *",
	  "whose pages may use it: https://a.example,... (*)", set_origins },
	{ "access-log", NULL, NULL, "FILE", "a file", "a line a request",
	  set_access_log },
	{ "log", NULL, "MUSTER_LOG", "LEVEL", "off, error, warn, info or debug",
	  "off, error, warn, info or debug (warn)", set_log },
};
#define OPTIONS (sizeof(table) / sizeof(table[0]))

#define HELP_CODE (OPTIONS * 2)

static void show(FILE *to, const char *name)
{
	fprintf(to, "usage: %s [options]\n", name);
	for (size_t i = 0; i < OPTIONS; i++) {
		fprintf(to, "  --%s %s%*s%s", table[i].name, table[i].argument,
			(int)(22 - strlen(table[i].name) -
			      strlen(table[i].argument)),
			"", table[i].help);
		if (table[i].environment != NULL)
			fprintf(to, "; %s", table[i].environment);
		fputc('\n', to);
	}
	fprintf(to, "  --help                   this\n"
		    "A name in capitals at the end of a line is that of the "
		    "variable that does the same.\n");
}

static enum main_answer misused(const char *name, size_t option,
				const char *value, const char *where)
{
	fprintf(stderr, "%s: %s%s wants %s, not '%s'\n", name,
		where == NULL ? "--" : "",
		where == NULL ? table[option].name : where, table[option].wants,
		value);
	return MAIN_MISUSED;
}

static enum main_answer read_environment(struct main_options *options,
					 const char *name)
{
	for (size_t i = 0; i < OPTIONS; i++) {
		const char *value = table[i].environment == NULL
					    ? NULL
					    : getenv(table[i].environment);

		if (value != NULL && value[0] != '\0' &&
		    !table[i].set(options, value))
			return misused(name, i, value, table[i].environment);
	}
	return MAIN_GO;
}

static size_t add_known(struct option *known, size_t count, const char *name,
			int code)
{
	known[count] = (struct option){ name, required_argument, NULL, code };
	return count + 1;
}

static void list_known(struct option known[HELP_CODE + 2])
{
	size_t count = 0;

	for (size_t i = 0; i < OPTIONS; i++) {
		count = add_known(known, count, table[i].name, (int)(256 + i));
		if (table[i].other_name != NULL)
			count = add_known(known, count, table[i].other_name,
					  (int)(256 + i));
	}
	known[count++] = (struct option){ "help", no_argument, NULL, 'h' };
	known[count] = (struct option){ 0 };
}

static enum main_answer read_line(struct main_options *options, int argc,
				  char **argv, const char *name)
{
	struct option known[HELP_CODE + 2];
	int code;

	list_known(known);
	optind = 1;
	while ((code = getopt_long(argc, argv, "h", known, NULL)) != -1) {
		if (code == 'h') {
			show(stdout, name);
			return MAIN_HELPED;
		}
		if (code == '?') {
			show(stderr, name);
			return MAIN_MISUSED;
		}
		size_t option = (size_t)(code - 256);

		if (!table[option].set(options, optarg))
			return misused(name, option, optarg, NULL);
	}
	if (optind == argc)
		return MAIN_GO;
	show(stderr, name);
	return MAIN_MISUSED;
}

enum main_answer main_options_read(struct main_options *options, int argc,
				   char **argv, const struct muster_app *app)
{
	const char *name =
		app->name != NULL ? app->name : program_invocation_short_name;

	*options = (struct main_options){
		.listen = app->listen != NULL ? app->listen : "8080",
		.tcp = app->tcp,
		.max_connections = app->max_connections,
		.origins = app->origins,
		.public_folder = app->public_folder,
		.workers = MUSTER_PER_CORE,
	};
	enum main_answer answer = read_environment(options, name);

	return answer != MAIN_GO ? answer
				 : read_line(options, argc, argv, name);
}
