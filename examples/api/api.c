/*
 * An HTTP program on every core, behind one port.
 *
 *     api [--port N] [--workers N|max] [--schedule POLICY] [--store URL]
 *
 * PORT, WORKERS and STORE in the environment do the same. Nothing in here
 * keeps anything, so any store will do.
 */
#include <errno.h>
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>
#include <unistd.h>

#include <muster/cluster.h>

#define SLEEP_MAX_MS  60000
#define CANNOT_LISTEN 3 /* exit code of a worker */

struct api {
	struct muster_cluster *cluster;
	const char *port;
	uint64_t started_ms;
	uint64_t requests;
	bool is_announced; /* in the primary */
};

static uint64_t now_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_REALTIME, &now);
	return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

static void fail(struct muster_http *http, int status, const char *text)
{
	muster_http_reply_format(http, status, "application/json",
				 "{\"error\": \"%s\"}\n", text);
}

/* ---- What it answers ---------------------------------------------------- */

static void show_index(struct muster_http *http, struct api *api)
{
	muster_http_reply_format(http, 200, "text/plain",
				 "%s serves /api/status, /api/randomNumber, "
				 "/api/sleepTest, /healthz and /readyz\n",
				 muster_worker_name(muster_self(api->cluster)));
}

static void show_status(struct muster_http *http, struct api *api)
{
	struct muster_worker *self = muster_self(api->cluster);

	muster_http_reply_format(
		http, 200, "application/json",
		"{\"name\": \"%s\", \"worker\": %d, "
		"\"pid\": %d, \"uptime_ms\": %llu, "
		"\"requests\": %llu}\n",
		muster_worker_name(self), muster_worker_id(self), (int)getpid(),
		(unsigned long long)(now_ms() - api->started_ms),
		(unsigned long long)api->requests);
}

static void random_number(struct muster_http *http, struct api *api)
{
	uint32_t number = 0;

	(void)api;
	if (getrandom(&number, sizeof(number), 0) < 0) {
		fail(http, 500, "the system has no random numbers");
		return;
	}
	muster_http_reply_format(http, 200, "application/json",
				 "{\"randomNumber\": %.9f}\n",
				 number / 4294967296.0);
}

struct nap {
	struct muster_http *http;
	uint64_t began_ms;
	long duration_ms;
};

static void on_awake(struct muster_timer *timer, void *arg)
{
	struct nap *nap = arg;
	uint64_t ended_ms = now_ms();

	(void)timer;
	muster_http_reply_format(
		nap->http, 200, "application/json",
		"{\"sleepStarted\": %llu, \"sleepEnded\": %llu, "
		"\"sleepDelta\": %llu, \"sleepDuration\": %ld}\n",
		(unsigned long long)nap->began_ms, (unsigned long long)ended_ms,
		(unsigned long long)(ended_ms - nap->began_ms),
		nap->duration_ms);
	free(nap);
}

/* Answers later; its worker serves others meanwhile. */
static void sleep_test(struct muster_http *http, struct api *api)
{
	const char *text = muster_http_parameter(http, "sleepDuration");
	char *end = NULL;
	long duration_ms = text != NULL ? strtol(text, &end, 10) : 1000;

	if (text != NULL && (end == text || *end != '\0' || duration_ms < 0 ||
			     duration_ms > SLEEP_MAX_MS)) {
		fail(http, 422, "sleepDuration is a number from 0 to 60000");
		return;
	}

	struct nap *nap = malloc(sizeof(*nap));

	if (nap == NULL) {
		fail(http, 500, "out of memory");
		return;
	}
	*nap = (struct nap){ http, now_ms(), duration_ms };
	muster_timer_start(api->cluster, (uint64_t)duration_ms, 0, on_awake,
			   nap);
}

static void show_health(struct muster_http *http, struct api *api)
{
	(void)api;
	muster_http_reply(http, 200, "text/plain", "ok\n", 3);
}

static void show_readiness(struct muster_http *http, struct api *api)
{
	if (muster_is_draining(api->cluster))
		fail(http, 503, "the server is shutting down");
	else
		muster_http_reply(http, 200, "text/plain", "ready\n", 6);
}

static void crash(struct muster_http *http, struct api *api)
{
	const char *allowed = getenv("ALLOW_CRASH");

	(void)api;
	if (allowed != NULL && strcmp(allowed, "1") == 0)
		abort();
	fail(http, 403, "only with ALLOW_CRASH=1 in the environment");
}

static const struct {
	const char *path;
	void (*answer)(struct muster_http *http, struct api *api);
} routes[] = {
	{ "/", show_index },
	{ "/api/status", show_status },
	{ "/api/randomNumber", random_number },
	{ "/api/sleepTest", sleep_test },
	{ "/api/crash", crash },
	{ "/healthz", show_health },
	{ "/readyz", show_readiness },
};

static void on_request(struct muster_http *http, void *arg)
{
	struct api *api = arg;
	const char *path = muster_http_path(http);

	api->requests++;
	for (size_t i = 0; i < sizeof(routes) / sizeof(routes[0]); i++) {
		if (strcmp(routes[i].path, path) == 0) {
			routes[i].answer(http, api);
			return;
		}
	}
	fail(http, 404, "there is no such action");
}

/* ---- The primary --------------------------------------------------------- */

static void on_listening(struct muster_worker *worker,
			 const struct muster_address *address, void *arg)
{
	struct api *api = arg;

	(void)worker;
	if (api->is_announced)
		return;
	api->is_announced = true;
	printf("api: %zu workers serve http://localhost:%d\n"
	       "try: curl http://localhost:%d/api/status\n"
	       "     curl http://localhost:%d/api/sleepTest?sleepDuration=500\n"
	       "     kill -HUP %d   rolls every worker over\n"
	       "     kill -TTIN %d  adds a worker; TTOU takes one away\n"
	       "Ctrl-C stops it\n",
	       muster_worker_count(api->cluster), address->port, address->port,
	       address->port, (int)getpid(), (int)getpid());
}

/* Where no worker can listen the next one cannot either. */
static void on_exit_of(struct muster_worker *worker, int code, int signal,
		       void *arg)
{
	struct api *api = arg;

	(void)worker;
	(void)signal;
	if (code == CANNOT_LISTEN && !api->is_announced)
		muster_cluster_stop(api->cluster, 1);
}

/* ---- The beginning --------------------------------------------------------
 */

static int usage(void)
{
	fprintf(stderr, "usage: api [--port N] [--workers N|max] "
			"[--schedule least|rr|shared|reuseport] "
			"[--store URL]\n");
	return 2;
}

/* 0 where it is neither a number nor "max". */
static int read_workers(const char *text)
{
	char *end = NULL;
	long workers = strtol(text, &end, 10);

	if (strcmp(text, "max") == 0)
		return MUSTER_PER_CORE;
	return *end == '\0' && workers > 0 && workers <= 1024 ? (int)workers
							      : 0;
}

static enum muster_schedule read_schedule(const char *text)
{
	static const char *const names[] = {
		[MUSTER_LEAST] = "least",
		[MUSTER_ROUND_ROBIN] = "rr",
		[MUSTER_SHARED] = "shared",
		[MUSTER_REUSEPORT] = "reuseport",
	};

	for (int i = MUSTER_LEAST; i <= MUSTER_REUSEPORT; i++)
		if (strcmp(names[i], text) == 0)
			return (enum muster_schedule)i;
	return MUSTER_SCHEDULE_DEFAULT;
}

static const char *from_environment(const char *name, const char *otherwise)
{
	const char *value = getenv(name);

	return value != NULL && value[0] != '\0' ? value : otherwise;
}

int main(int argc, char **argv)
{
	static const struct option known[] = {
		{ "port", required_argument, NULL, 'p' },
		{ "workers", required_argument, NULL, 'w' },
		{ "schedule", required_argument, NULL, 's' },
		{ "store", required_argument, NULL, 'u' },
		{ 0 },
	};
	struct api api = { .port = from_environment("PORT", "8080"),
			   .started_ms = now_ms() };
	struct muster_options options = {
		.name = "api",
		.workers = read_workers(from_environment("WORKERS", "max")),
	};
	int option;

	setlinebuf(stdout);
	while ((option = getopt_long(argc, argv, "", known, NULL)) != -1) {
		if (option == 'p')
			api.port = optarg;
		else if (option == 'w')
			options.workers = read_workers(optarg);
		else if (option == 's')
			options.settings.schedule = read_schedule(optarg);
		else if (option != 'u')
			return usage();
	}
	if (optind < argc || options.workers == 0)
		return usage();

	api.cluster = muster_cluster_open(argc, argv, &options);
	if (api.cluster == NULL)
		return 1;
	if (muster_is_primary(api.cluster)) {
		muster_on_listening(api.cluster, on_listening, &api);
		muster_on_exit(api.cluster, on_exit_of, &api);
		return muster_cluster_run(api.cluster);
	}

	int error = muster_http_listen(api.cluster, api.port, on_request, &api);

	if (error < 0 && error != -EPIPE) { /* EPIPE: it was told to go */
		fprintf(stderr, "api: %s\n", muster_problem_text(api.cluster));
		return CANNOT_LISTEN;
	}
	return muster_cluster_run(api.cluster);
}
