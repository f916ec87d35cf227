/*
 * A program with a loop of its own, epoll here, drives the cluster from it.
 *
 *     own_loop [PORT] [TICK_MS]
 *
 * The primary's loop also has a timer of the program's own, which shows the
 * workers every TICK_MS.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include <muster/cluster.h>

static void hello(struct muster_http *http, void *arg)
{
	(void)arg;
	muster_http_reply(http, 200, "text/plain", "hello\n", 6);
}

static int open_ticker(long tick_ms)
{
	struct timespec tick = { .tv_sec = tick_ms / 1000,
				 .tv_nsec = tick_ms % 1000 * 1000000 };
	struct itimerspec times = { .it_interval = tick, .it_value = tick };
	int ticker =
		timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);

	if (ticker < 0 || timerfd_settime(ticker, 0, &times, NULL) < 0)
		perror("timerfd");
	return ticker;
}

static void on_tick(struct muster_cluster *cluster, int ticker)
{
	struct muster_worker *worker = NULL;
	uint64_t ticks = 0;

	if (read(ticker, &ticks, sizeof(ticks)) < 0)
		return;
	while ((worker = muster_worker_next(cluster, worker)) != NULL)
		printf("%s is %s, %u connections\n", muster_worker_name(worker),
		       muster_worker_state(worker),
		       muster_worker_connections(worker));
}

static void watch(int loop, int descriptor)
{
	struct epoll_event event = { .events = EPOLLIN, .data.fd = descriptor };

	if (epoll_ctl(loop, EPOLL_CTL_ADD, descriptor, &event) < 0)
		perror("epoll_ctl");
}

static int run(struct muster_cluster *cluster, long tick_ms)
{
	struct epoll_event events[8];
	int loop = epoll_create1(EPOLL_CLOEXEC);
	int ticker = open_ticker(tick_ms);

	watch(loop, muster_cluster_descriptor(cluster));
	watch(loop, ticker);
	while (muster_cluster_dispatch(cluster) > 0) {
		int timeout_ms = muster_cluster_timeout_ms(cluster);
		int count = epoll_wait(loop, events, 8, timeout_ms);

		if (count < 0 && errno != EINTR)
			break;
		for (int i = 0; i < count; i++)
			if (events[i].data.fd == ticker)
				on_tick(cluster, ticker);
	}
	close(ticker);
	close(loop);
	return muster_cluster_close(cluster);
}

int main(int argc, char **argv)
{
	const char *port = argc > 1 ? argv[1] : "8080";
	long tick_ms = argc > 2 ? strtol(argv[2], NULL, 10) : 1000;
	struct muster_options options = { .workers = 2 };
	struct muster_cluster *cluster =
		muster_cluster_open(argc, argv, &options);

	setlinebuf(stdout);
	if (cluster == NULL)
		return 1;
	if (muster_is_primary(cluster))
		return run(cluster, tick_ms);
	if (muster_http_listen(cluster, port, hello, NULL) < 0) {
		fprintf(stderr, "%s\n", muster_problem_text(cluster));
		return 1;
	}
	return muster_cluster_run(cluster);
}
