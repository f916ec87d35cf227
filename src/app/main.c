/*
 * main - a whole application: see muster/muster.h.
 *
 * The primary checks what the application says and starts workers. A worker
 * opens its node; when the application has started on it, it listens; told to
 * go, the node waits for the last connection before its store closes.
 */
#include <errno.h>
#include <muster/muster.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "api/api.h"
#include "api/router.h"
#include "app/http_listen.h"
#include "app/main_options.h"
#include "app/talk.h"
#include "base/must.h"
#include "cluster/cluster.h"
#include "server/web.h"

#define EXIT_MISUSED       2
#define EXIT_CANNOT_LISTEN 3 /* of a worker */

struct program {
	const struct muster_app *app;
	const char *name;
	struct main_options options;
	struct muster_cluster *cluster;
	/* In the primary. */
	bool is_announced;
	char listening[256]; /* for HTTP; "": nobody does yet */
	char url[256];       /* the same, for people */
	int port;            /* 0: none */

	/* Of a worker. */
	struct muster *muster;
	struct api *api;
	struct web *web;
	struct files *files;
	struct talk_service *talk;
	struct loop_task listen;
};

static int complain(const struct program *program, const char *text)
{
	fprintf(stderr, "%s: %s\n", program->name, text);
	return 1;
}

/* ---- a worker ---- */

static void on_connections_gone(void *owner)
{
	struct program *program = owner;

	if (program->cluster->nodes > 0) /* it may be gone as well */
		node_release(program->muster);
}

static bool is_draining(void *owner)
{
	struct program *program = owner;

	return muster_is_draining(program->cluster);
}

static void on_upgrade(struct muster_http *http, bool is_primus, void *owner)
{
	struct program *program = owner;

	talk_upgrade(program->talk, http, is_primus);
}

static void on_drain(void *owner)
{
	struct program *program = owner;

	web_drain(program->web);
}

static int listen_http(struct program *program)
{
	struct muster_http_options options = {
		.handler = web_handle,
		.on_head = web_on_head,
		.arg = program->web,
		.listen.max_connections = program->options.max_connections,
		.limits = program->app->limits,
		.access_log = program->options.access_log,
	};
	struct http_listen_owner owner = {
		.on_freed = on_connections_gone,
		.on_drain = on_drain,
		.owner = program,
		.refuse = web_refuse,
		.wants_head = web_wants_head,
	};
	int error = http_listen(program->cluster, program->options.listen,
				&options, &owner, NULL);

	if (error == 0)
		node_hold(program->muster);
	return error;
}

static int listen_tcp(struct program *program)
{
	struct muster_listen_options options = {
		.max_connections = program->options.max_connections,
	};

	if (program->options.tcp == NULL)
		return 0;
	int error =
		talk_listen_tcp(program->talk, program->options.tcp, &options);

	if (error == 0)
		node_hold(program->muster);
	return error;
}

/* From the loop, as connections may be there already. */
static void run_listen(struct loop_task *task)
{
	struct program *program = LIST_ENTRY(task, struct program, listen);
	int error = listen_http(program);

	if (error == 0)
		error = listen_tcp(program);
	if (error == 0)
		return;
	if (error != -EPIPE) /* it was told to go */
		complain(program, muster_problem_text(program->cluster));
	muster_stop(program->muster, error == -EPIPE ? 0 : EXIT_CANNOT_LISTEN);
}

static int make_web(struct program *program, struct muster *muster,
		    struct problem *problem)
{
	const struct muster_app *app = program->app;
	struct api_settings api = { .actions = app->actions,
				    .middleware = app->middleware,
				    .timeout_ms = app->timeout_ms };

	program->api = api_new(muster, &api, problem);
	if (program->api == NULL)
		return problem->code;
	struct web_settings web = {
		.api = program->api,
		.name = program->name,
		.version = app->version,
		.origins = program->options.origins,
		.routes = app->routes,
		.files = program->files,
		.body_bytes = app->limits.body_bytes > 0
				      ? app->limits.body_bytes
				      : HTTP_BODY_BYTES,
		.client_rate = app->client_rate,
		.client_burst = app->client_burst,
		.no_server_information = app->no_server_information,
		.no_requester_information = app->no_requester_information,
		.is_draining = is_draining,
		.on_upgrade = on_upgrade,
		.owner = program,
	};

	program->web = web_new(&web, problem);
	return program->web == NULL ? problem->code : 0;
}

static void open_talk(struct program *program)
{
	const struct muster_app *app = program->app;
	struct talk_settings settings = {
		.sessions = { .api = program->api,
			      .welcome = app->welcome,
			      .files = program->files,
			      .file_bytes = app->file_bytes,
			      .origins = program->options.origins },
		.websocket.limits.message_bytes = app->message_bytes,
		.tcp.line_bytes = app->line_bytes,
		.on_freed = on_connections_gone,
		.owner = program,
	};

	program->talk = talk_open(program->cluster, &settings);
}

static int on_start(struct muster *muster, void *arg)
{
	struct program *program = arg;
	const struct muster_app *app = program->app;
	int error;

	program->muster = muster;
	if (app->on_start != NULL) {
		error = app->on_start(muster, app->arg);
		if (error < 0)
			return error;
	}
	loop_defer(program->cluster->loop, &program->listen);
	return 0;
}

static void on_stop(struct muster *muster, void *arg)
{
	struct program *program = arg;

	loop_undefer(&program->listen);
	web_close(program->web);
	talk_close(program->talk);
	files_close(program->files);
	if (program->app->on_stop != NULL)
		program->app->on_stop(muster, program->app->arg);
}

static int open_files(struct program *program)
{
	struct muster_http_files_options options = {
		.root = program->options.public_folder
	};

	if (options.root == NULL)
		return 0;
	return files_open(program->cluster->loop, &options,
			  &program->cluster->problem, &program->files);
}

static int open_worker(struct program *program)
{
	const struct muster_app *app = program->app;
	struct problem problem = { 0 };
	struct muster_node_options options = {
		.store = program->options.store,
		.token = program->options.token,
		.version = app->version,
		.methods = app->methods,
		.allowed = app->allowed,
		.rooms = app->rooms,
		.web_ms = app->web_ms,
		.web_messages = app->web_messages,
		.tasks = app->tasks,
		.on_start = on_start,
		.on_stop = on_stop,
		.arg = program,
	};

	program->listen.run = run_listen;
	if (open_files(program) < 0)
		return complain(program, program->cluster->problem.text);
	struct muster *muster = muster_open(program->cluster, &options);

	if (muster == NULL)
		return NODE_EXIT_CONFIG; /* it has been told */
	if (make_web(program, muster, &problem) < 0)
		return complain(program, problem.text);
	open_talk(program);
	return 0;
}

static int run_worker(struct program *program)
{
	int exit_code = open_worker(program);

	if (exit_code != 0)
		return exit_code;
	exit_code = muster_cluster_run(program->cluster);
	web_free(program->web);
	if (program->api->running == 0)
		api_free(program->api);
	return exit_code;
}

/* ---- the primary ---- */

static void name_http(struct program *program,
		      const struct muster_address *address)
{
	program->port = address->port;
	if (address->port > 0)
		snprintf(program->url, sizeof(program->url),
			 "http://localhost:%d", address->port);
	else
		snprintf(program->url, sizeof(program->url), "%s",
			 address->url);
}

static void announce_examples(const struct program *program, int port)
{
	const char *const *examples = program->app->examples;
	const char *before = "try:";

	if (program->options.public_folder != NULL) {
		printf("%s http://localhost:%d/ in a browser\n", before, port);
		before = "    ";
	}
	for (size_t i = 0; examples != NULL && examples[i] != NULL; i++) {
		printf("%s curl http://localhost:%d/api/%s\n", before, port,
		       examples[i]);
		before = "    ";
	}
}

static void announce_sockets(const struct program *program,
			     const struct muster_address *tcp)
{
	if (program->port > 0)
		printf("     ws://localhost:%d/ws   and /primus, for clients "
		       "of actionHero\n",
		       program->port);
	if (tcp != NULL && tcp->port > 0)
		printf("     telnet localhost %d       and a line: status\n",
		       tcp->port);
	else if (tcp != NULL)
		printf("     %s   and a line: status\n", tcp->url);
}

/* Of TCP; NULL where there is none. */
static void announce(struct program *program, const struct muster_address *tcp)
{
	program->is_announced = true;
	printf("%s: %zu workers serve %s\n", program->name,
	       muster_worker_count(program->cluster), program->url);
	if (program->port > 0)
		announce_examples(program, program->port);
	announce_sockets(program, tcp);
	printf("     kill -HUP %d   rolls every worker over\n"
	       "     kill -TTIN %d  adds a worker; TTOU takes one away\n"
	       "Ctrl-C stops it\n",
	       (int)getpid(), (int)getpid());
}

/* The first that a worker listens on is HTTP's, and another one is TCP's. */
static void on_listening(struct muster_worker *worker,
			 const struct muster_address *address, void *arg)
{
	struct program *program = arg;
	const char *tcp = program->options.tcp;

	(void)worker;
	if (program->is_announced)
		return;
	if (program->listening[0] == '\0') {
		snprintf(program->listening, sizeof(program->listening), "%s",
			 address->url);
		name_http(program, address);
		if (tcp == NULL)
			announce(program, NULL);
	} else if (strcmp(program->listening, address->url) != 0) {
		announce(program, address);
	}
}

/* Where no worker can work the next one cannot either. */
static void on_exit_of(struct muster_worker *worker, int code, int signal,
		       void *arg)
{
	struct program *program = arg;

	(void)worker;
	(void)signal;
	if ((code == EXIT_CANNOT_LISTEN || code == NODE_EXIT_CONFIG) &&
	    !program->is_announced)
		muster_cluster_stop(program->cluster, 1);
}

/* What is wrong with the program itself is told before there are workers. */
static int check(const struct muster_app *app, struct problem *problem)
{
	struct actions *actions =
		actions_new(app->actions, app->middleware, problem);

	if (actions == NULL)
		return problem->code;
	struct router *router = router_new(app->routes, actions, problem);
	int error = router == NULL ? problem->code : 0;

	router_free(router);
	actions_free(actions);
	return error;
}

static int run_primary(struct program *program)
{
	muster_on_listening(program->cluster, on_listening, program);
	muster_on_exit(program->cluster, on_exit_of, program);
	return muster_cluster_run(program->cluster);
}

/* ---- both ---- */

int muster_main(int argc, char **argv, const struct muster_app *app)
{
	struct program program = {
		.app = app,
		.name = app->name != NULL ? app->name
					  : program_invocation_short_name,
	};
	enum main_answer answer =
		main_options_read(&program.options, argc, argv, app);

	struct problem problem = { 0 };

	if (answer != MAIN_GO)
		return answer == MAIN_HELPED ? 0 : EXIT_MISUSED;
	if (check(app, &problem) < 0)
		return complain(&program, problem.text);
	setlinebuf(stdout);
	program.cluster = muster_cluster_open(
		argc, argv,
		&(struct muster_options){
			.name = app->name,
			.workers = program.options.workers,
			.settings.schedule = program.options.schedule,
			.log = program.options.log,
		});
	if (program.cluster == NULL)
		return 1;
	return muster_is_primary(program.cluster) ? run_primary(&program)
						  : run_worker(&program);
}
