/*
 * messages - how many messages pass between a primary and a worker.
 *
 *     messages MODE SECONDS [json]
 *
 * up, down: 100 bytes one way, worker to primary or primary to worker, as many
 * as the channel takes. ping, ping64: 100 bytes there and back, 1 or 64 on
 * their way at a time. descriptors: a message with one socket each, to the
 * worker, which closes it.
 *
 * Bytes, or JSON values of the same length. Whoever receives counts; half a
 * second is not counted. Says "start" and then "done COUNT SECONDS", and waits
 * for the end of its input, so that what it cost can be looked at.
 */
#include <err.h>
#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include <muster/cluster.h>

#define CONTENT_BYTES 100
#define WARM_MS       500

enum mode { UP, DOWN, PING, PING64, DESCRIPTORS, MODES };

static const char *const mode_names[MODES] = {
	[UP] = "up",
	[DOWN] = "down",
	[PING] = "ping",
	[PING64] = "ping64",
	[DESCRIPTORS] = "descriptors",
};

static struct muster_cluster *cluster;
static struct muster_worker *peer; /* whom this process sends to */
static enum mode mode;
static uint64_t measure_ms;
static char content[CONTENT_BYTES];
static int descriptor = -1;

static uint64_t received, started_ns;

static uint64_t now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

static void check(int code)
{
	if (code < 0)
		errx(1, "%s: %s", mode_names[mode], strerror(-code));
}

/* ---- The receiver's clock --------------------------------------------- */

static void on_measured(struct muster_timer *timer, void *arg)
{
	(void)timer;
	(void)arg;
	printf("done %llu %.6f\n", (unsigned long long)received,
	       (double)(now_ns() - started_ns) / 1e9);
	fflush(stdout);
	while (getchar() != EOF)
		;
	if (muster_is_primary(cluster))
		muster_cluster_stop(cluster, 0);
	else
		check(muster_worker_disconnect(muster_self(cluster)));
}

static void on_warm(struct muster_timer *timer, void *arg)
{
	(void)timer;
	(void)arg;
	puts("start");
	fflush(stdout);
	received = 0;
	started_ns = now_ns();
	muster_timer_start(cluster, measure_ms, 0, on_measured, NULL);
}

static void count(void)
{
	static bool is_started;

	received++;
	if (is_started)
		return;
	is_started = true;
	muster_timer_start(cluster, WARM_MS, 0, on_warm, NULL);
}

/* ---- Sending ------------------------------------------------------------ */

static int send_one(void)
{
	if (mode == DESCRIPTORS)
		return muster_send_descriptors(peer, content, CONTENT_BYTES,
					       &descriptor, 1);
	return muster_send(peer, content, CONTENT_BYTES);
}

static void send_many(struct muster_worker *worker, void *arg)
{
	int code;

	(void)worker;
	(void)arg;
	do {
		code = send_one();
		if (code == -EPIPE)
			return; /* the other side has measured enough */
		check(code);
	} while (code != MUSTER_BUSY);
}

static void start_sending(struct muster_worker *worker)
{
	peer = worker;
	muster_worker_on_drain(worker, send_many, NULL);
	send_many(worker, NULL);
}

/* ---- The two roles --------------------------------------------------------
 */

static void on_message(struct muster_worker *worker,
		       struct muster_message *message, void *arg)
{
	bool is_primary = muster_is_primary(cluster);

	(void)arg;
	if (muster_message_length(message) != CONTENT_BYTES)
		errx(1, "a message of another length");
	if (mode == DESCRIPTORS) {
		int fd = muster_message_take_descriptor(message, 0);

		if (fd < 0)
			errx(1, "a message without its descriptor");
		close(fd);
	}
	if (!is_primary && mode == UP) {
		start_sending(worker); /* this was the word to go */
		return;
	}
	if (is_primary == (mode == UP || mode == PING || mode == PING64))
		count();
	if (mode == PING || mode == PING64)
		check(muster_send(worker, content, CONTENT_BYTES));
}

static void on_online(struct muster_worker *worker, void *arg)
{
	int outstanding = mode == PING64 ? 64 : 1;

	(void)arg;
	if (mode == DOWN || mode == DESCRIPTORS) {
		start_sending(worker);
		return;
	}
	for (int i = 0; i < outstanding; i++)
		check(muster_send(worker, content, CONTENT_BYTES));
}

static void read_arguments(int argc, char **argv)
{
	bool is_json = argc > 3 && strcmp(argv[3], "json") == 0;

	if (argc < 3)
		errx(2, "usage: messages MODE SECONDS [json]");
	while (mode < MODES && strcmp(argv[1], mode_names[mode]) != 0)
		mode++;
	if (mode == MODES)
		errx(2, "no such mode: %s", argv[1]);
	measure_ms = (uint64_t)(atof(argv[2]) * 1000);
	memset(content, 'x', sizeof(content));
	if (is_json)
		content[0] = content[CONTENT_BYTES - 1] = '"';
}

int main(int argc, char **argv)
{
	read_arguments(argc, argv);

	const struct muster_options options = {
		.settings.serialization = argc > 3 ? MUSTER_JSON : MUSTER_BYTES,
	};

	cluster = muster_cluster_open(argc, argv, &options);
	if (cluster == NULL)
		return 1;
	muster_on_message(cluster, on_message, NULL);
	if (muster_is_primary(cluster)) {
		descriptor = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
		if (descriptor < 0)
			err(1, "socket");
		muster_on_online(cluster, on_online, NULL);
		check(muster_fork(cluster, NULL, NULL));
	}
	return muster_cluster_run(cluster);
}
