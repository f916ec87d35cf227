/*
 * floor_ping - what a round trip between two processes costs by itself.
 *
 *     floor_ping SECONDS
 *
 * 100 bytes there and back over a socketpair, one at a time, each side in
 * epoll_wait between. Across two cores nearly all of it is the time a sleeping
 * core needs to wake, which no program can change. Says what messages.c says.
 */
#include <err.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define CONTENT_BYTES 100
#define WARM_SECONDS  0.5

static double now(void)
{
	struct timespec time;

	clock_gettime(CLOCK_MONOTONIC, &time);
	return (double)time.tv_sec + (double)time.tv_nsec / 1e9;
}

/* False at the other side's end. */
static bool receive(int epoll, int fd)
{
	struct epoll_event event;
	char content[CONTENT_BYTES];

	if (epoll_wait(epoll, &event, 1, -1) < 0)
		err(1, "epoll_wait");
	return read(fd, content, sizeof(content)) == sizeof(content);
}

static void send_one(int fd)
{
	static const char content[CONTENT_BYTES];

	if (write(fd, content, sizeof(content)) < 0)
		err(1, "write");
}

static void measure(int epoll, int fd, double seconds)
{
	double begun = now(), started = 0, elapsed = 0;
	unsigned long count = 0;

	do {
		send_one(fd);
		if (!receive(epoll, fd))
			errx(1, "the other side has ended");
		count++;
		if (started > 0) {
			elapsed = now() - started;
		} else if (now() - begun > WARM_SECONDS) {
			puts("start");
			fflush(stdout);
			count = 0;
			started = now();
		}
	} while (elapsed < seconds);
	printf("done %lu %.6f\n", count, elapsed);
	fflush(stdout);
	while (getchar() != EOF)
		;
}

int main(int argc, char **argv)
{
	struct epoll_event event = { .events = EPOLLIN };
	int ends[2];

	if (argc != 2)
		errx(2, "usage: floor_ping SECONDS");
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, ends) < 0)
		err(1, "socketpair");
	pid_t pid = fork();

	if (pid < 0)
		err(1, "fork");
	int fd = pid == 0 ? ends[1] : ends[0];
	int epoll = epoll_create1(EPOLL_CLOEXEC);

	close(pid == 0 ? ends[0] : ends[1]);
	if (epoll < 0 || epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event) < 0)
		err(1, "epoll");
	if (pid == 0)
		while (receive(epoll, fd))
			send_one(fd);
	else
		measure(epoll, fd, atof(argv[1]));
	return 0;
}
