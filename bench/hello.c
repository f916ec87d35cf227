/*
 * hello - the program that is measured: an HTTP server as a user writes it.
 *
 *     hello PORT [WORKERS [DELAY_MS]]
 *
 * "/" answers "hello, world\n", DELAY_MS later where that is given; "/worker"
 * answers the worker's id; "/block?ms=N" holds up the whole worker for so long.
 * Any other path is a file's below HELLO_FILES, where that is set.
 * The policy is MUSTER_SCHED_POLICY's. A line on stdout for each worker that
 * listens, "listening PID", and that ended, "exit PID".
 */
#include <err.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <muster/cluster.h>
#include <muster/http.h>

static struct muster_cluster *cluster;
static uint64_t delay_ms;
static struct muster_http_files *files;

static void hello(struct muster_http *http)
{
	static const char body[] = "hello, world\n";

	muster_http_reply(http, 200, "text/plain", body, sizeof(body) - 1);
}

static void on_delay(struct muster_timer *timer, void *arg)
{
	(void)timer;
	hello(arg);
}

static void block(struct muster_http *http)
{
	const char *text = muster_http_parameter(http, "ms");
	long ms = text != NULL ? atol(text) : 0;
	const struct timespec time = { ms / 1000, ms % 1000 * 1000000 };

	nanosleep(&time, NULL);
	hello(http);
}

static void send_file(struct muster_http *http)
{
	if (muster_http_reply_file(http, files, NULL) != 0)
		muster_http_reply(http, 404, "text/plain", "no file\n", 8);
}

static void on_request(struct muster_http *http, void *arg)
{
	const char *path = muster_http_path(http);

	(void)arg;
	if (strcmp(path, "/worker") == 0)
		muster_http_reply_format(
			http, 200, "text/plain", "%d\n",
			muster_worker_id(muster_self(cluster)));
	else if (strcmp(path, "/block") == 0)
		block(http);
	else if (files != NULL && path[1] != 0)
		send_file(http);
	else if (delay_ms > 0)
		muster_timer_start(cluster, delay_ms, 0, on_delay, http);
	else
		hello(http);
}

static void on_listening(struct muster_worker *worker,
			 const struct muster_address *address, void *arg)
{
	(void)address;
	(void)arg;
	printf("listening %d\n", (int)muster_worker_pid(worker));
	fflush(stdout);
}

static void on_exit_of(struct muster_worker *worker, int code, int signal,
		       void *arg)
{
	(void)code;
	(void)signal;
	(void)arg;
	printf("exit %d\n", (int)muster_worker_pid(worker));
	fflush(stdout);
}

static void open_files(const char *root)
{
	const struct muster_http_files_options options = { .root = root };

	if (root != NULL &&
	    muster_http_files_open(cluster, &options, &files) < 0)
		errx(1, "%s", muster_problem_text(cluster));
}

int main(int argc, char **argv)
{
	char url[64];

	if (argc < 2)
		errx(2, "usage: hello PORT [WORKERS [DELAY_MS]]");
	delay_ms = argc > 3 ? strtoull(argv[3], NULL, 10) : 0;
	snprintf(url, sizeof(url), "127.0.0.1:%d", atoi(argv[1]));

	const struct muster_options options = {
		.workers = argc > 2 ? atoi(argv[2]) : MUSTER_PER_CORE,
	};

	cluster = muster_cluster_open(argc, argv, &options);
	if (cluster == NULL)
		return 1;
	if (muster_is_primary(cluster)) {
		muster_on_listening(cluster, on_listening, NULL);
		muster_on_exit(cluster, on_exit_of, NULL);
	} else {
		open_files(getenv("HELLO_FILES"));
		if (muster_http_listen(cluster, url, on_request, NULL) < 0)
			errx(1, "%s", muster_problem_text(cluster));
	}
	int code = muster_cluster_run(cluster);

	muster_http_files_close(files);
	return code;
}
