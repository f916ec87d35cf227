/*
 * floor_epoll - what an HTTP answer costs when nothing is parsed.
 *
 *     floor_epoll PORT [close]
 *
 * One process, one epoll instance: level-triggered for the listener,
 * edge-triggered for connections. Where a request ends is all it looks for; the
 * answers to one read go out in one write. A server cannot be much cheaper than
 * this, so the others are measured as a multiple of it.
 */
#include <arpa/inet.h>
#include <err.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#define BACKLOG         4096
#define EVENTS_MAX      256
#define CONNECTIONS_MAX 16384
#define INPUT_BYTES     4096
#define ANSWERS_MAX     128

static const char keep_answer[] = "HTTP/1.1 200 OK\r\n"
				  "Content-Type: text/plain\r\n"
				  "Content-Length: 13\r\n"
				  "\r\n"
				  "hello, world\n";
static const char close_answer[] = "HTTP/1.1 200 OK\r\n"
				   "Content-Type: text/plain\r\n"
				   "Content-Length: 13\r\n"
				   "Connection: close\r\n"
				   "\r\n"
				   "hello, world\n";

struct connection {
	size_t used; /* the start of a request that is not complete */
	char input[INPUT_BYTES];
};

static struct connection *connections[CONNECTIONS_MAX]; /* by descriptor */
static char answers[ANSWERS_MAX * sizeof(close_answer)];
static size_t answer_bytes;
static bool closes;

static void prepare_answers(void)
{
	const char *answer = closes ? close_answer : keep_answer;

	answer_bytes = strlen(answer);
	for (size_t i = 0; i < ANSWERS_MAX; i++)
		memcpy(answers + i * answer_bytes, answer, answer_bytes);
}

static int open_listener(int port)
{
	struct sockaddr_in address = {
		.sin_family = AF_INET,
		.sin_port = htons((uint16_t)port),
		.sin_addr.s_addr = htonl(INADDR_LOOPBACK),
	};
	const int on = 1;
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

	if (fd < 0)
		err(1, "socket");
	if (setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) < 0)
		err(1, "setsockopt");
	if (bind(fd, (struct sockaddr *)&address, sizeof(address)) < 0)
		err(1, "bind to port %d", port);
	if (listen(fd, BACKLOG) < 0)
		err(1, "listen");
	return fd;
}

static void watch(int epoll, int fd, uint32_t events)
{
	struct epoll_event event = { .events = events, .data.fd = fd };

	if (epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event) < 0)
		err(1, "epoll_ctl");
}

static void accept_all(int epoll, int listener)
{
	const int on = 1;
	int fd;

	while ((fd = accept4(listener, NULL, NULL,
			     SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0) {
		if (fd >= CONNECTIONS_MAX)
			errx(1, "more than %d connections", CONNECTIONS_MAX);
		if (connections[fd] == NULL)
			connections[fd] = malloc(sizeof(struct connection));
		if (connections[fd] == NULL)
			err(1, "malloc");
		connections[fd]->used = 0;
		setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
		watch(epoll, fd, EPOLLIN | EPOLLRDHUP | EPOLLET);
	}
	if (errno != EAGAIN && errno != ECONNABORTED)
		err(1, "accept4");
}

/* Answers what is complete; false: the connection is at its end. */
static bool answer(int fd, struct connection *connection, size_t length)
{
	char *input = connection->input;
	const char *end;
	size_t taken = 0, count = 0;

	length += connection->used;
	while ((end = memmem(input + taken, length - taken, "\r\n\r\n", 4)) !=
	       NULL) {
		taken = (size_t)(end + 4 - input);
		count++;
	}
	connection->used = length - taken;
	if (connection->used == sizeof(connection->input) ||
	    count > ANSWERS_MAX)
		return false;
	if (taken > 0 && connection->used > 0)
		memmove(input, input + taken, connection->used);
	if (count == 0)
		return true;
	if (closes)
		count = 1;
	return write(fd, answers, count * answer_bytes) ==
		       (ssize_t)(count * answer_bytes) &&
	       !closes;
}

/* As events are edge-triggered, a read that filled the buffer is followed by
 * another one, and so is one that comes with the peer's end. */
static bool serve(int fd, uint32_t events)
{
	struct connection *connection = connections[fd];

	for (;;) {
		size_t room = sizeof(connection->input) - connection->used;
		ssize_t length =
			read(fd, connection->input + connection->used, room);

		if (length < 0)
			return errno == EAGAIN;
		if (length == 0)
			return false;
		if (!answer(fd, connection, (size_t)length))
			return false;
		if ((size_t)length < room && (events & EPOLLRDHUP) == 0)
			return true;
	}
}

int main(int argc, char **argv)
{
	struct epoll_event events[EVENTS_MAX];

	if (argc < 2 || (argc > 2 && strcmp(argv[2], "close") != 0))
		errx(2, "usage: floor_epoll PORT [close]");
	closes = argc > 2;
	prepare_answers();

	int listener = open_listener(atoi(argv[1]));
	int epoll = epoll_create1(EPOLL_CLOEXEC);

	if (epoll < 0)
		err(1, "epoll_create1");
	watch(epoll, listener, EPOLLIN);
	for (;;) {
		int count = epoll_wait(epoll, events, EVENTS_MAX, -1);

		if (count < 0 && errno != EINTR)
			err(1, "epoll_wait");
		for (int i = 0; i < count; i++) {
			int fd = events[i].data.fd;

			if (fd == listener)
				accept_all(epoll, listener);
			else if (!serve(fd, events[i].events))
				close(fd);
		}
	}
}
