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
#include "api/documentation.h"
#include "api/router.h"
#include "app/http_listen.h"
#include "app/main_options.h"
#include "app/talk.h"
#include "base/must.h"
#include "cluster/board.h"
#include "cluster/cluster.h"
#include "cluster/self.h"
#include "server/web.h"
#include "wire/address.h"

#define URLS_MAX           8
#define URL_BYTES          256
#define EXIT_MISUSED       2
#define EXIT_CANNOT_LISTEN 3 /* of a worker */
#define ADDRESSES_MAX      70

struct heard {
	char url[256];
	int port; /* 0: none */
};

struct urls {
	char texts[URLS_MAX][URL_BYTES];
	const char *list[URLS_MAX + 1];
	size_t count;
};

struct program {
	const struct muster_app *app;
	const char *name;
	struct main_options options;
	struct muster_cluster *cluster;
	/* In the primary. */
	bool is_announced;
	struct heard heard[ADDRESSES_MAX]; /* where workers listen */
	size_t heard_count;

	/* Of a worker. */
	struct muster *muster;
	struct api *api;
	struct web *web;
	struct files *files;
	struct urls urls;
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

static uint64_t sum(void *owner, size_t meter)
{
	struct program *program = owner;

	return board_sum(self_board(program->cluster->self), meter);
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
	const struct main_options *given = &program->options;
	struct muster_http_options options = {
		.handler = web_handle,
		.on_head = web_on_head,
		.arg = program->web,
		.listen.max_connections = given->max_connections,
		.limits = given->limits,
		.gzip_bytes = given->gzip_bytes,
		.trusted_proxies = given->trusted_proxies,
		.access_log = given->access_log,
		.access_log_format = given->access_log_format,
		.certificate = given->certificate,
	};
	struct http_listen_owner owner = {
		.on_freed = on_connections_gone,
		.on_drain = on_drain,
		.owner = program,
		.refuse = web_refuse,
		.wants_head = web_wants_head,
	};
	int error = 0;

	for (size_t i = 0; given->listen[i] != NULL && error == 0; i++) {
		error = http_listen(program->cluster, given->listen[i],
				    &options, &owner, NULL);
		if (error == 0)
			node_hold(program->muster);
	}
	return error;
}

static int listen_tcp(struct program *program)
{
	struct muster_listen_options options = {
		.max_connections = program->options.max_connections,
	};

	if (program->options.tcp == NULL)
		return 0;
	int error = talk_listen_tcp(program->talk, program->options.tcp,
				    &options, &program->options.certificate);

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

/* NULL: anybody's, which is "*" as well. */
static const char *const *origins_of(const struct program *program)
{
	const char *const *origins = program->options.origins;

	for (size_t i = 0; origins != NULL && origins[i] != NULL; i++)
		if (strcmp(origins[i], "*") == 0)
			return NULL;
	return origins;
}

static int make_web(struct program *program, struct muster *muster,
		    struct problem *problem)
{
	const struct muster_app *app = program->app;
	struct api_settings api = {
		.actions = app->actions,
		.middleware = app->middleware,
		.timeout_ms = program->options.timeout_ms,
		.pending_max = program->options.pending_max,
	};

	program->api = api_new(muster, &api, problem);
	if (program->api == NULL)
		return problem->code;
	struct web_settings web = {
		.api = program->api,
		.name = program->name,
		.version = app->version,
		.origins = origins_of(program),
		.routes = app->routes,
		.files = program->files,
		.body_bytes = program->options.limits.body_bytes,
		.client_rate = program->options.client_rate,
		.client_burst = program->options.client_burst,
		.no_server_information = app->no_server_information,
		.no_requester_information = app->no_requester_information,
		.sum = sum,
		.is_draining = is_draining,
		.on_upgrade = on_upgrade,
		.owner = program,
	};

	program->web = web_new(&web, problem);
	return program->web == NULL ? problem->code : 0;
}

static void open_talk(struct program *program)
{
	const struct main_options *given = &program->options;
	struct talk_settings settings = {
		.sessions = { .api = program->api,
			      .welcome = program->app->welcome,
			      .files = program->files,
			      .file_bytes = given->file_bytes,
			      .origins = origins_of(program) },
		.websocket = { .limits.message_bytes = given->message_bytes,
			       .refuse = web_refuse_upgrade,
			       .owner = program->web },
		.tcp.line_bytes = given->line_bytes,
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

static void close_files(struct program *program)
{
	files_close(program->files);
	program->files = NULL;
}

static void on_stop(struct muster *muster, void *arg)
{
	struct program *program = arg;

	loop_undefer(&program->listen);
	web_close(program->web);
	talk_close(program->talk);
	close_files(program);
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

/* ---- what its peers are told ---- */

static void add_url(struct urls *urls, const char *scheme, const char *where)
{
	bool is_port = where[strspn(where, "0123456789")] == '\0';
	bool is_whole =
		strstr(where, "://") != NULL || strncmp(where, "unix:", 5) == 0;

	if (urls->count == URLS_MAX)
		return;
	char *text = urls->texts[urls->count];
	int length = snprintf(text, URL_BYTES, "%s%s%s", is_whole ? "" : scheme,
			      is_port ? "*:" : "", where);

	if (length > 0 && length < URL_BYTES)
		urls->list[urls->count++] = text;
}

static void list_urls(struct program *program)
{
	const struct main_options *given = &program->options;
	struct urls *urls = &program->urls;

	for (size_t i = 0; given->listen[i] != NULL; i++)
		add_url(urls, "http://", given->listen[i]);
	if (given->tcp != NULL)
		add_url(urls, "tcp://", given->tcp);
}

static int open_worker(struct program *program)
{
	const struct muster_app *app = program->app;
	const struct main_options *given = &program->options;
	struct problem problem = { 0 };
	struct muster_node_options options = {
		.store = given->store,
		.token = given->token,
		.prefix = given->prefix,
		.store_ms = given->store_ms,
		.concurrency = given->task_concurrency,
		.queues = given->queues,
		.version = app->version,
		.urls = program->urls.list,
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

	list_urls(program);
	program->listen.run = run_listen;
	if (open_files(program) < 0)
		return complain(program, program->cluster->problem.text);
	struct muster *muster = muster_open(program->cluster, &options);

	if (muster == NULL)
		return NODE_EXIT_CONFIG; /* it has been told */
	muster->config = given->app;
	if (make_web(program, muster, &problem) < 0)
		return complain(program, problem.text);
	open_talk(program);
	return 0;
}

static int run_worker(struct program *program)
{
	int exit_code = open_worker(program);

	if (exit_code == 0) {
		exit_code = muster_cluster_run(program->cluster);
		web_free(program->web);
		if (program->api->running == 0)
			api_free(program->api);
	}
	close_files(program); /* its node may not have got as far */
	return exit_code;
}

/* ---- the primary ---- */

static bool is_secure(const char *url, const char *scheme)
{
	return url != NULL && strncmp(url, scheme, strlen(scheme)) == 0;
}

/* "s" where it is to be https:// and wss://. */
static const char *s_of(const struct program *program, size_t listener)
{
	return is_secure(program->options.listen[listener], "https://") ? "s"
									: "";
}

static void announce_examples(const struct program *program, int port)
{
	const char *const *examples = program->app->examples;
	const char *before = "try:";

	if (program->options.public_folder != NULL) {
		printf("%s http%s://localhost:%d/ in a browser\n", before,
		       s_of(program, 0), port);
		before = "    ";
	}
	for (size_t i = 0; examples != NULL && examples[i] != NULL; i++) {
		/* Shells take a '?' for a pattern. */
		const char *quote = strchr(examples[i], '?') ? "'" : "";

		printf("%s curl %shttp%s://localhost:%d/api/%s%s\n", before,
		       quote, s_of(program, 0), port, examples[i], quote);
		before = "    ";
	}
}

static void announce_http(const struct program *program)
{
	const struct heard *first = &program->heard[0];

	printf("%s: %zu workers serve ", program->name,
	       muster_worker_count(program->cluster));
	for (size_t i = 0; program->options.listen[i] != NULL; i++) {
		const struct heard *address = &program->heard[i];

		if (address->port > 0)
			printf("%shttp%s://localhost:%d", i > 0 ? ", " : "",
			       s_of(program, i), address->port);
		else
			printf("%s%s", i > 0 ? ", " : "", address->url);
	}
	putchar('\n');
	if (first->port == 0)
		return;
	announce_examples(program, first->port);
	printf("     ws%s://localhost:%d/ws   and /primus, for clients of "
	       "actionHero\n",
	       s_of(program, 0), first->port);
}

static void announce_tcp(const struct program *program,
			 const struct heard *address)
{
	if (address->port > 0 && is_secure(program->options.tcp, "tls://"))
		printf("     openssl s_client -connect localhost:%d   and a "
		       "line: status\n",
		       address->port);
	else if (address->port > 0)
		printf("     telnet localhost %d       and a line: status\n",
		       address->port);
	else
		printf("     %s   and a line: status\n", address->url);
}

static void announce(struct program *program)
{
	program->is_announced = true;
	announce_http(program);
	if (program->options.tcp != NULL)
		announce_tcp(program,
			     &program->heard[program->heard_count - 1]);
	printf("     kill -HUP %d   rolls every worker over\n"
	       "     kill -TTIN %d  adds a worker; TTOU takes one away\n"
	       "Ctrl-C stops it\n",
	       (int)getpid(), (int)getpid());
}

static bool was_heard(const struct program *program, const char *url)
{
	for (size_t i = 0; i < program->heard_count; i++)
		if (strcmp(program->heard[i].url, url) == 0)
			return true;
	return false;
}

static size_t count_addresses(const struct main_options *options)
{
	size_t count = 0;

	while (options->listen[count] != NULL)
		count++;
	return options->tcp != NULL ? count + 1 : count;
}

/* Every worker listens at its addresses in the same order, that for TCP last,
 * so they are first heard of in that order. */
static void on_listening(struct muster_worker *worker,
			 const struct muster_address *address, void *arg)
{
	struct program *program = arg;
	struct heard *heard = &program->heard[program->heard_count];

	(void)worker;
	if (program->is_announced || was_heard(program, address->url))
		return;
	MUST(program->heard_count < ADDRESSES_MAX);
	snprintf(heard->url, sizeof(heard->url), "%s", address->url);
	heard->port = address->port;
	program->heard_count++;
	if (program->heard_count == count_addresses(&program->options))
		announce(program);
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

/* What a worker would find, as far as it can be told before there is one. */
static int check_options(const struct program *program, struct problem *problem)
{
	const struct main_options *given = &program->options;
	struct muster_node_options options = {
		.store = given->store,
		.token = given->token,
		.tasks = program->app->tasks,
	};
	struct address address;
	int error = node_check(&options, problem);

	for (size_t i = 0; given->listen[i] != NULL && error == 0; i++)
		error = address_read(given->listen[i], &address, problem);
	if (error == 0 && given->tcp != NULL)
		error = address_read(given->tcp, &address, problem);
	if (error == 0 && given->public_folder != NULL &&
	    access(given->public_folder, X_OK) < 0)
		error = problem_set(problem, -errno, "FILES_UNUSABLE",
				    "cannot serve files of '%.150s': %s",
				    given->public_folder, strerror(errno));
	return error;
}

static int run_primary(struct program *program)
{
	muster_on_listening(program->cluster, on_listening, program);
	muster_on_exit(program->cluster, on_exit_of, program);
	return muster_cluster_run(program->cluster);
}

/* ---- both ---- */

/* {"name", "version", "actions": [...]}, in a line. */
static int show_actions(const struct program *program)
{
	const struct muster_app *app = program->app;
	struct problem problem = { 0 };
	struct actions *actions =
		actions_new(app->actions, app->middleware, &problem);

	if (actions == NULL)
		return complain(program, problem.text);
	struct buffer text = { 0 };
	struct json_writer writer = json_writer(&text);

	json_write_object(&writer);
	json_write_name(&writer, "name");
	json_write_text(&writer, program->name);
	json_write_name(&writer, "version");
	json_write_text(&writer, app->version != NULL ? app->version : "");
	json_write_name(&writer, "actions");
	documentation_list(actions, &writer);
	json_write_object_end(&writer);
	printf("%.*s\n", (int)buffer_length(&text),
	       (const char *)buffer_bytes(&text));
	buffer_fini(&text);
	actions_free(actions);
	return 0;
}

static int serve(struct program *program, int argc, char **argv)
{
	const struct main_options *given = &program->options;

	setlinebuf(stdout);
	program->cluster = muster_cluster_open(
		argc, argv,
		&(struct muster_options){
			.name = program->app->name,
			.workers = given->workers,
			.settings.schedule = given->schedule,
			.drain_ms = given->drain_ms,
			.drain_idle_ms = given->drain_idle_ms,
			.log = given->log,
		});
	if (program->cluster == NULL)
		return 1;
	return muster_is_primary(program->cluster) ? run_primary(program)
						   : run_worker(program);
}

static int run(struct program *program, int argc, char **argv)
{
	struct problem problem = { 0 };

	if (main_options_read(&program->options, argc, argv, program->app) !=
	    MAIN_GO)
		return EXIT_MISUSED;
	switch (program->options.mode) {
	case MAIN_HELP:
		main_options_help(stdout, program->name);
		return 0;
	case MAIN_SHOW_CONFIG:
		main_options_show(stdout, &program->options);
		return 0;
	case MAIN_SHOW_ACTIONS:
		return show_actions(program);
	case MAIN_CHECK:
	case MAIN_SERVE:
		break;
	}
	if (check(program->app, &problem) < 0)
		return complain(program, problem.text);
	if (program->options.mode == MAIN_CHECK) {
		if (check_options(program, &problem) < 0)
			return complain(program, problem.text);
		printf("%s: configuration and actions are good\n",
		       program->name);
		return 0;
	}
	return serve(program, argc, argv);
}

int muster_main(int argc, char **argv, const struct muster_app *app)
{
	struct program program = {
		.app = app,
		.name = app->name != NULL ? app->name
					  : program_invocation_short_name,
	};
	int exit_code = run(&program, argc, argv);

	main_options_fini(&program.options);
	return exit_code;
}
