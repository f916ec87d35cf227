/*
 * open - introduces the cluster's workers to the node: the functions of
 * muster/node.h that take a cluster, or make a loop where there is none.
 */
#include <errno.h>
#include <limits.h>
#include <pwd.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/mem.h"
#include "base/must.h"
#include "cluster/cluster.h"
#include "cluster/self.h"
#include "loop/signals.h"
#include "service/node.h"
#include "service/peers.h"

#define STORE_MS              5000
#define DRAIN_MS              30000
#define WEB_MS                300000
#define WEB_MESSAGES          200
#define CACHE_VALUE_BYTES     ((size_t)1024 * 1024)
#define CACHE_VALUE_BYTES_MAX ((size_t)512 * 1024 * 1024) /* Redis's own */

/* A node and what it lives in: a cluster's loop, or one of its own. */
struct home {
	struct cluster_part part;
	struct muster_cluster *cluster; /* NULL: alone */
	struct log log;
	struct loop *loop;
	struct signals *signals; /* alone */
	struct muster *muster;   /* NULL: closed */
	int exit_code;
};

/* ---- what a node is made of ---- */

static int make_folder(const char *path, struct problem *problem)
{
	if (mkdir(path, 0700) == 0 || errno == EEXIST)
		return 0;
	return problem_set(problem, -errno, "HOME_UNUSABLE",
			   "cannot make '%.120s': %s (set MUSTER_HOME or "
			   "MUSTER_STORE)",
			   path, strerror(errno));
}

static int find_home(char *path, size_t size, struct problem *problem)
{
	const char *home = getenv("MUSTER_HOME");
	const struct passwd *user = NULL;
	int length;

	if (home != NULL && home[0] != '\0') {
		length = snprintf(path, size, "%s", home);
	} else {
		home = getenv("HOME");
		if (home == NULL || home[0] == '\0')
			user = getpwuid(geteuid());
		if (user != NULL)
			home = user->pw_dir;
		if (home == NULL || home[0] == '\0')
			home = "/tmp";
		length = snprintf(path, size, "%s/.muster", home);
	}
	if (length < 0 || (size_t)length >= size)
		return problem_set(problem, -ENAMETOOLONG, "HOME_UNUSABLE",
				   "the path of MUSTER_HOME is too long");
	return make_folder(path, problem);
}

/* lmdb:MUSTER_HOME/store/NAME, with the folders above it. */
static int default_store(char *url, size_t size, const char *name,
			 struct problem *problem)
{
	char path[PATH_MAX];
	int error = find_home(path, sizeof(path), problem);

	if (error < 0)
		return error;
	int length = snprintf(url, size, "lmdb:%s/store", path);

	if (length > 0 && (size_t)length < size)
		error = make_folder(url + strlen("lmdb:"), problem);
	if (error < 0)
		return error;
	length = snprintf(url, size, "lmdb:%s/store/%s", path, name);
	if (length < 0 || (size_t)length >= size)
		return problem_set(problem, -ENAMETOOLONG, "HOME_UNUSABLE",
				   "the path of the store is too long (set "
				   "MUSTER_STORE)");
	return 0;
}

static const char *or_environment(const char *text, const char *name)
{
	if (text == NULL)
		text = getenv(name);
	return text != NULL && text[0] != '\0' ? text : NULL;
}

static bool is_name(const char *name)
{
	return name[0] != '\0' && name[0] != '.' && strlen(name) <= 64 &&
	       strspn(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWX"
			    "YZ0123456789.-_") == strlen(name);
}

/* A worker's name is its application's with "-worker-SLOT" behind it: all of
 * them have the store of one application. */
static const char *application_of(const struct muster_cluster *cluster,
				  char *room, size_t size)
{
	char end[24];
	int length = snprintf(end, sizeof(end), "-worker-%d",
			      self_worker(cluster->self)->id);
	size_t whole = strlen(cluster->name);
	size_t rest = whole - (size_t)length;

	if (whole <= (size_t)length || rest >= size ||
	    strcmp(cluster->name + rest, end) != 0)
		return cluster->name;
	memcpy(room, cluster->name, rest);
	room[rest] = '\0';
	return room;
}

/* Room for what a node's options are made of. */
struct texts {
	char name[128];
	char url[PATH_MAX + 8];
};

/* From options, the worker's primary, and the environment, in this order. */
static int complete(struct muster_node_options *options,
		    const struct muster_cluster *cluster, struct texts *texts,
		    struct problem *problem)
{
	if (options->name == NULL)
		options->name = cluster != NULL
					? application_of(cluster, texts->name,
							 sizeof(texts->name))
					: program_invocation_short_name;
	if (!is_name(options->name))
		return problem_set(problem, -EINVAL, "NAME_INVALID",
				   "'%.64s' cannot be the name of an "
				   "application: up to 64 letters, digits, "
				   "'.', '-' and '_'",
				   options->name);
	options->store = or_environment(options->store, "MUSTER_STORE");
	options->token = or_environment(options->token, "MUSTER_TOKEN");
	if (options->prefix == NULL)
		options->prefix = "muster";
	if (options->store_ms == 0)
		options->store_ms = STORE_MS;
	if (options->cache_value_bytes == 0)
		options->cache_value_bytes = CACHE_VALUE_BYTES;
	if (options->cache_value_bytes > CACHE_VALUE_BYTES_MAX)
		return problem_set(problem, -EINVAL, "OPTION_INVALID",
				   "cache_value_bytes is %zu, but %zu are the "
				   "most",
				   options->cache_value_bytes,
				   CACHE_VALUE_BYTES_MAX);
	if (options->web_ms == 0)
		options->web_ms = WEB_MS;
	if (options->web_messages == 0)
		options->web_messages = WEB_MESSAGES;
	/* The worker itself leaves when its own time is over. */
	if (options->drain_ms == 0)
		options->drain_ms =
			cluster != NULL ? self_drain_ms(cluster->self) / 10 * 9
					: DRAIN_MS;
	if (options->store != NULL)
		return 0;
	options->store = texts->url;
	return default_store(texts->url, sizeof(texts->url), options->name,
			     problem);
}

/* ---- with a cluster ---- */

static void on_closed(void *owner, int exit_code)
{
	struct home *home = owner;

	node_free(home->muster);
	home->muster = NULL;
	home->exit_code = exit_code;
	if (home->cluster == NULL)
		return;
	struct muster_cluster *cluster = home->cluster;
	bool was_abandoned = !list_is_linked(&home->part.link);

	cluster_remove_part(&home->part);
	free(home);
	if (was_abandoned)
		return; /* by the cluster, which is going */
	if (exit_code != 0)
		cluster->exit_code = exit_code;
	self_leave(cluster->self, false);
	cluster->nodes--;
	cluster_release(cluster);
}

/* By servers of this worker: they go on until it leaves. */
static void on_held(void *owner)
{
	struct home *home = owner;

	self_leave(home->cluster->self, false);
}

static void on_drain(struct cluster_part *part)
{
	node_stop(LIST_ENTRY(part, struct home, part)->muster, 0);
}

static void on_died(struct cluster_part *part, int pid)
{
	peers_died(LIST_ENTRY(part, struct home, part)->muster, pid);
}

/* The cluster's loop runs dry after this, and on_closed() comes within. */
static void on_close(struct cluster_part *part)
{
	struct home *home = LIST_ENTRY(part, struct home, part);

	home->cluster->nodes--;
	cluster_release(home->cluster);
	node_abandon(home->muster);
}

/* ---- alone ---- */

static void on_signal(void *owner, int signal)
{
	struct home *home = owner;

	(void)signal;
	if (home->muster != NULL)
		node_stop(home->muster, 0);
}

static void make_loop(struct home *home)
{
	static const int list[] = { SIGTERM, SIGINT };

	home->log.role = "node";
	home->log.level = log_level_read(getenv("MUSTER_LOG"), LOG_WARN);
	home->loop = loop_new(&home->log);
	home->signals =
		signals_open(home->loop, list, sizeof(list) / sizeof(list[0]),
			     on_signal, home);
}

static void free_alone(struct home *home)
{
	signals_close(home->signals);
	loop_free(home->loop);
	free(home);
}

/* ---- what applications see ---- */

static struct muster *refuse(struct muster_cluster *cluster,
			     const struct problem *problem)
{
	fprintf(stderr, "%s: %s\n",
		cluster != NULL ? cluster->name : program_invocation_short_name,
		problem->text);
	if (cluster != NULL)
		cluster->problem = *problem;
	errno = -problem->code;
	return NULL;
}

struct muster *muster_open(struct muster_cluster *cluster,
			   const struct muster_node_options *options)
{
	struct problem problem = { 0 };
	struct node_settings settings = { .on_closed = on_closed };
	struct texts texts;

	if (options != NULL)
		settings.options = *options;
	if (cluster != NULL && cluster->self == NULL) {
		problem_set(&problem, -EPERM, "NOT_A_WORKER",
			    "a primary is no node (open it in the workers, or "
			    "without a cluster)");
		return refuse(cluster, &problem);
	}
	if (complete(&settings.options, cluster, &texts, &problem) < 0)
		return refuse(cluster, &problem);
	struct home *home = mem_zalloc(sizeof(*home));

	home->cluster = cluster;
	home->part.on_drain = on_drain;
	home->part.on_close = on_close;
	home->part.on_died = on_died;
	settings.owner = home;
	if (cluster != NULL) {
		settings.on_held = on_held;
		settings.slot = self_worker(cluster->self)->id;
		settings.meters = self_meters(cluster->self);
		home->loop = cluster->loop;
		home->log = cluster->log;
	} else {
		make_loop(home);
	}
	home->muster = node_new(home->loop, &home->log, &settings, &problem);
	if (home->muster == NULL) {
		if (cluster == NULL)
			free_alone(home);
		else
			free(home);
		return refuse(cluster, &problem);
	}
	if (cluster != NULL) {
		cluster_add_part(cluster, &home->part);
		cluster->nodes++;
		cluster_hold(cluster);
		if (muster_is_draining(cluster))
			node_stop(home->muster, 0);
	}
	return home->muster;
}

int muster_run(struct muster *muster)
{
	struct home *home = muster->settings.owner;

	MUST(home->cluster == NULL);
	while (home->muster != NULL)
		loop_run(home->loop);
	int exit_code = home->exit_code;

	free_alone(home);
	return exit_code;
}

void muster_stop(struct muster *muster, int exit_code)
{
	node_stop(muster, exit_code);
}
