#include <errno.h>
#include <grp.h>
#include <limits.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <muster/cluster.h>

#include "base/mem.h"
#include "base/quantity.h"
#include "cli/arguments.h"
#include "cli/command.h"
#include "cli/program.h"

#define WORKERS_MAX 1024

enum {
	WORKERS,
	NAME,
	CWD,
	ENV,
	SCHEDULE,
	READY,
	WAIT_READY,
	DRAIN,
	KILL,
	MIN_UPTIME,
	MAX_RESTARTS,
	RUN_AS_USER,
	RUN_AS_GROUP,
	LOG,
	OPTIONS,
};

static const struct command_option options[OPTIONS + 1] = {
	[WORKERS] = { 'i', "workers", "instances", "N|max",
		      "how many; max is one a core (max)" },
	[NAME] = { 'n', "name", NULL, "NAME",
		   "worker N is NAME-worker-N (the program's name)" },
	[CWD] = { 0, "cwd", NULL, "DIR", "where workers run (here)" },
	[ENV] = { 0, "env", NULL, "KEY=VALUE",
		  "added to their environment; may be repeated" },
	[SCHEDULE] = { 0, "schedule", NULL, "POLICY",
		       "least, rr, shared or reuseport (least)" },
	[READY] = { 0, "listen-timeout", "ready-ms", "TIME",
		    "a worker must be ready within (30s)" },
	[WAIT_READY] = { 0, "wait-ready", NULL, NULL,
			 "ready is when the program says so" },
	[DRAIN] = { 0, "drain-timeout", NULL, "TIME",
		    "to finish in, when told to go (30s)" },
	[KILL] = { 0, "kill-timeout", NULL, "TIME",
		   "from SIGTERM to SIGKILL (5s)" },
	[MIN_UPTIME] = { 0, "min-uptime", NULL, "TIME",
			 "gone sooner is a failed start (1s)" },
	[MAX_RESTARTS] = { 0, "max-restarts", NULL, "N",
			   "failed starts of one in a minute, then stop (8)" },
	[RUN_AS_USER] = { 0, "uid", NULL, "USER",
			  "who workers run as; needs root" },
	[RUN_AS_GROUP] = { 0, "gid", NULL, "GROUP", "the same for the group" },
	[LOG] = { 0, "log", NULL, "LEVEL",
		  "off, error, warn, info or debug (info)" },
};

/* What the command line asks for. */
struct request {
	struct muster_options cluster;
	const char *program;
	const char **env; /* NULL-ended */
	size_t env_count;
};

static int misused(const char *option, const char *wants, const char *value)
{
	return command_misused(&start_cluster_command,
			       "start-cluster: --%s wants %s, not '%s'", option,
			       wants, value);
}

static int read_time(int option, const char *value, uint32_t *time_ms)
{
	if (quantity_read_time_ms(value, time_ms))
		return COMMAND_DONE;
	return misused(options[option].name, "a time as in 500 (ms), 10s or 1m",
		       value);
}

static int read_workers(const char *value, int *workers)
{
	long number = 0;

	if (strcmp(value, "max") == 0) {
		*workers = MUSTER_PER_CORE;
		return COMMAND_DONE;
	}
	if (!arguments_read_number(value, 1, WORKERS_MAX, &number))
		return misused("workers", "a number from 1 to 1024, or max",
			       value);
	*workers = (int)number;
	return COMMAND_DONE;
}

static int read_schedule(const char *value, enum muster_schedule *schedule)
{
	static const struct {
		const char *name;
		enum muster_schedule schedule;
	} policies[] = {
		{ "least", MUSTER_LEAST },         { "rr", MUSTER_ROUND_ROBIN },
		{ "shared", MUSTER_SHARED },       { "none", MUSTER_SHARED },
		{ "reuseport", MUSTER_REUSEPORT },
	};

	for (size_t i = 0; i < sizeof(policies) / sizeof(policies[0]); i++) {
		if (strcmp(policies[i].name, value) == 0) {
			*schedule = policies[i].schedule;
			return COMMAND_DONE;
		}
	}
	return misused("schedule", "least, rr, shared or reuseport", value);
}

static int read_user(const char *value, struct muster_settings *settings)
{
	const struct passwd *user = getpwnam(value);
	long number = 0;

	if (user != NULL) {
		settings->uid = user->pw_uid;
		/* Root's group would be more than the user has. */
		if (settings->gid == 0)
			settings->gid = user->pw_gid;
		return COMMAND_DONE;
	}
	if (!arguments_read_number(value, 1, INT_MAX, &number))
		return misused("uid", "a user's name or number", value);
	settings->uid = (uid_t)number;
	return COMMAND_DONE;
}

static int read_group(const char *value, struct muster_settings *settings)
{
	const struct group *group = getgrnam(value);
	long number = 0;

	if (group != NULL) {
		settings->gid = group->gr_gid;
		return COMMAND_DONE;
	}
	if (!arguments_read_number(value, 1, INT_MAX, &number))
		return misused("gid", "a group's name or number", value);
	settings->gid = (gid_t)number;
	return COMMAND_DONE;
}

static int add_env(struct request *request, const char *value)
{
	if (strchr(value, '=') == NULL || value[0] == '=')
		return misused("env", "KEY=VALUE", value);
	request->env = mem_resize(request->env, request->env_count + 2,
				  sizeof(*request->env));
	request->env[request->env_count++] = value;
	request->env[request->env_count] = NULL;
	request->cluster.settings.env = request->env;
	return COMMAND_DONE;
}

static int read_log(const char *value, const char **level)
{
	static const char *const levels[] = { "off", "error", "warn", "info",
					      "debug" };

	for (size_t i = 0; i < sizeof(levels) / sizeof(levels[0]); i++) {
		if (strcmp(levels[i], value) == 0) {
			*level = value;
			return COMMAND_DONE;
		}
	}
	return misused("log", "off, error, warn, info or debug", value);
}

static int read_restarts(const char *value, uint32_t *restarts)
{
	long number = 0;

	if (!arguments_read_number(value, 1, INT_MAX, &number))
		return misused("max-restarts", "a number from 1", value);
	*restarts = (uint32_t)number;
	return COMMAND_DONE;
}

static int apply(struct request *request, int option, const char *value)
{
	struct muster_options *cluster = &request->cluster;

	switch (option) {
	case WORKERS:
		return read_workers(value, &cluster->workers);
	case NAME:
		cluster->name = value;
		return COMMAND_DONE;
	case CWD:
		cluster->settings.cwd = value;
		return COMMAND_DONE;
	case ENV:
		return add_env(request, value);
	case SCHEDULE:
		return read_schedule(value, &cluster->settings.schedule);
	case READY:
		return read_time(option, value, &cluster->ready_ms);
	case WAIT_READY:
		cluster->wait_ready = true;
		return COMMAND_DONE;
	case DRAIN:
		return read_time(option, value, &cluster->drain_ms);
	case KILL:
		return read_time(option, value, &cluster->kill_ms);
	case MIN_UPTIME:
		return read_time(option, value, &cluster->min_uptime_ms);
	case MAX_RESTARTS:
		return read_restarts(value, &cluster->failures_max);
	case RUN_AS_USER:
		return read_user(value, &cluster->settings);
	case RUN_AS_GROUP:
		return read_group(value, &cluster->settings);
	case LOG:
		return read_log(value, &cluster->log);
	default: /* ARGUMENTS_OPERAND */
		if (request->program != NULL)
			return command_misused(&start_cluster_command,
					       "start-cluster: '%s' is one "
					       "program too many: its "
					       "arguments go after --",
					       value);
		request->program = value;
		return COMMAND_DONE;
	}
}

static int read_request(struct arguments *arguments, struct request *request)
{
	for (;;) {
		int option = arguments_next(arguments);

		if (option == ARGUMENTS_END)
			break;
		if (option == ARGUMENTS_WRONG)
			return command_misused(&start_cluster_command, "%s",
					       arguments->problem);

		int code = apply(request, option, arguments->value);

		if (code != COMMAND_DONE)
			return code;
	}
	request->cluster.settings.args = arguments->rest;
	return COMMAND_DONE;
}

static const char *base_name(const char *path)
{
	const char *slash = strrchr(path, '/');

	return slash == NULL ? path : slash + 1;
}

static int start(struct request *request)
{
	struct muster_options *cluster_options = &request->cluster;

	if (request->program == NULL)
		return command_misused(&start_cluster_command,
				       "start-cluster needs a PROGRAM");

	char *path = program_locate(request->program);

	if (path == NULL)
		return COMMAND_FAILED;
	if (cluster_options->name == NULL)
		cluster_options->name = base_name(path);
	cluster_options->settings.exec = path;

	char *argv[] = { path, NULL };
	struct muster_cluster *cluster =
		muster_cluster_open(1, argv, cluster_options);
	int code = COMMAND_FAILED;

	if (cluster != NULL && muster_is_worker(cluster))
		command_failed("this is a worker of another cluster (unset "
			       "MUSTER_CHANNEL_FD to start a cluster within "
			       "it)");
	else if (cluster != NULL && muster_cluster_run(cluster) == 0)
		code = COMMAND_DONE;
	free(path);
	return code;
}

static int run(struct arguments *arguments)
{
	const char *level = getenv("MUSTER_LOG");
	struct request request = {
		.cluster = {
			.workers = MUSTER_PER_CORE,
			.log = level != NULL ? level : "info",
		},
	};
	int code = read_request(arguments, &request);

	if (code == COMMAND_DONE)
		code = start(&request);
	free(request.env);
	return code;
}

const struct command start_cluster_command = {
	.name = "start-cluster",
	.also = "startCluster",
	.operands = "PROGRAM [-- ARGUMENT...]",
	.summary = "Runs a program as a cluster, in the foreground",
	.details =
		"\nPROGRAM uses libmuster. It is a file, or is looked up in "
		"PATH. Its workers share\nthe ports it listens on; one that "
		"dies is replaced. SIGTERM and SIGINT stop,\nSIGHUP rolls over "
		"to what PROGRAM is by then, SIGTTIN and SIGTTOU add and take "
		"away\na worker. Exit code: 0 stopped, 1 failed, 2 wrong "
		"usage.",
	.options = options,
	.run = run,
};
