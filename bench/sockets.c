/*
 * What a WebSocket action costs: CONNECTIONS clients, each with one request
 * at a time, against a server on a core of its own; and beside it a bare
 * echo of as many bytes over the same sockets, which is what the system takes.
 *
 *     sockets actions|echo [SECONDS [CONNECTIONS [AT-ONCE]]]
 *     sockets room [SECONDS [MEMBERS [SPEAKERS]]]
 *     sockets idle [CONNECTIONS]
 *     sockets at PORT PID [SECONDS [CONNECTIONS [AT-ONCE]]]
 *
 * The last asks another server, which speaks as actionHero does.
 * Says requests per second, or how many messages to a room its members have
 * been given, and the server's CPU time for each; or the bytes of its memory
 * that an idle connection takes.
 */
#include <arpa/inet.h>
#include <muster/action.h>
#include <muster/node.h>
#include <muster/room.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "api/api.h"
#include "base/must.h"
#include "loop/watch.h"
#include "server/websocket_sessions.h"

#define CONNECTIONS_MAX 20000

static const char request_text[] =
	"{\"event\":\"action\",\"params\":{\"action\":\"randomNumber\"},"
	"\"messageId\":1}";

/* ---- The server with actions ---- */

static void random_number(struct muster_call *call)
{
	muster_set_number(call, "randomNumber",
			  (double)random() / (double)RAND_MAX);
}

static const struct muster_action actions[] = {
	{ .name = "randomNumber", .run = random_number },
	{ 0 },
};

static const struct muster_room rooms[] = { { .name = "bench" }, { 0 } };

static struct {
	int listener;
	struct sessions *sessions;
	struct http_server *http;
	struct websocket_server *websocket;
	struct watch *watch;
} server;

static void on_request(struct muster_http *http, void *arg)
{
	(void)arg;
	websocket_sessions_upgrade(server.sessions, server.websocket, http,
				   false);
}

static void on_closed(void *token)
{
	close((int)(intptr_t)token);
}

static int accept_one(void)
{
	int on = 1;
	int descriptor = accept4(server.listener, NULL, NULL,
				 SOCK_NONBLOCK | SOCK_CLOEXEC);

	if (descriptor >= 0)
		MUST(setsockopt(descriptor, IPPROTO_TCP, TCP_NODELAY, &on,
				sizeof(on)) == 0);
	return descriptor;
}

static void on_connection(void *owner)
{
	int descriptor = accept_one();

	(void)owner;
	if (descriptor >= 0)
		http_server_take(server.http, descriptor, on_closed,
				 (void *)(intptr_t)descriptor);
}

static int on_start(struct muster *muster, void *arg)
{
	struct problem problem = { 0 };
	struct api *api = api_new(
		muster, &(struct api_settings){ .actions = actions }, &problem);

	(void)arg;
	MUST(api != NULL);
	server.sessions =
		sessions_new(&(struct sessions_settings){ .api = api });
	server.http = http_server_new(
		muster->loop, &(struct http_settings){ .handler = on_request });
	server.websocket = websocket_server_new(
		muster->loop, &(struct websocket_settings){ 0 });
	MUST(watch_open(muster->loop, server.listener, on_connection, NULL,
			&server.watch) == 0);
	watch_start(server.watch);
	return 0;
}

static void serve_actions(void)
{
	struct muster *muster = muster_open(
		NULL, &(struct muster_node_options){ .name = "bench",
						     .rooms = rooms,
						     .on_start = on_start });

	exit(muster == NULL ? 1 : muster_run(muster));
}

/* ---- The server that is none ---- */

static void serve_echo(void)
{
	int poll = epoll_create1(EPOLL_CLOEXEC);
	struct epoll_event event = { .events = EPOLLIN,
				     .data.fd = server.listener };
	struct epoll_event events[64];
	char bytes[65536];

	MUST(epoll_ctl(poll, EPOLL_CTL_ADD, server.listener, &event) == 0);
	for (;;) {
		int count = epoll_wait(poll, events, 64, -1);

		for (int i = 0; i < count; i++) {
			int descriptor = events[i].data.fd;

			if (descriptor == server.listener) {
				event.data.fd = accept_one();
				MUST(epoll_ctl(poll, EPOLL_CTL_ADD,
					       event.data.fd, &event) == 0);
				continue;
			}
			ssize_t length = read(descriptor, bytes, sizeof(bytes));

			if (length <= 0)
				close(descriptor);
			else
				MUST(write(descriptor, bytes, (size_t)length) ==
				     length);
		}
	}
}

/* ---- The clients ---- */

static void pin(size_t core)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET(core, &set);
	/* Advice: there may be one alone. */
	DISCARD(sched_setaffinity(0, sizeof(set), &set));
}

static double now_s(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

static double cpu_s(pid_t pid)
{
	char path[64];
	unsigned long long ns = 0;

	snprintf(path, sizeof(path), "/proc/%d/schedstat", (int)pid);
	FILE *file = fopen(path, "r");

	MUST(file != NULL && fscanf(file, "%llu", &ns) == 1);
	fclose(file);
	return (double)ns / 1e9;
}

static size_t memory_of(pid_t pid)
{
	char path[64];
	size_t pages = 0, shared = 0;

	snprintf(path, sizeof(path), "/proc/%d/statm", (int)pid);
	FILE *file = fopen(path, "r");

	MUST(file != NULL && fscanf(file, "%*u %zu %zu", &pages, &shared) == 2);
	fclose(file);
	return (pages - shared) * 4096;
}

static uint16_t port;
static const char *path = "/ws";

static int open_client(bool is_websocket)
{
	char head[256];
	int head_length =
		snprintf(head, sizeof(head),
			 "GET %s HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\n"
			 "Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
			 "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
			 path);
	struct sockaddr_in address = { .sin_family = AF_INET,
				       .sin_port = htons(port),
				       .sin_addr.s_addr =
					       htonl(INADDR_LOOPBACK) };
	int client = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	char answer[4096] = "";
	size_t length = 0;
	int on = 1;

	MUST(connect(client, (struct sockaddr *)(void *)&address,
		     sizeof(address)) == 0);
	MUST(setsockopt(client, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on)) ==
	     0);
	if (!is_websocket)
		return client;
	MUST(write(client, head, (size_t)head_length) == head_length);
	while (strstr(answer, "\"context\":\"api\"}") == NULL) {
		ssize_t part = read(client, answer + length,
				    sizeof(answer) - 1 - length);

		MUST(part > 0);
		length += (size_t)part;
		/* No frame has a NUL in its text, but heads have. */
		for (size_t i = 0; i < length; i++)
			if (answer[i] == '\0')
				answer[i] = ' ';
	}
	return client;
}

/* The bytes of one request, masked with zeroes: the server unmasks anyway. */
static size_t make_request(uint8_t *to, size_t at_once)
{
	size_t length = sizeof(request_text) - 1, at = 0;

	for (size_t i = 0; i < at_once; i++) {
		memcpy(to + at,
		       (uint8_t[]){ 0x81, (uint8_t)(0x80 | length), 0, 0, 0,
				    0 },
		       6);
		memcpy(to + at + 6, request_text, length);
		at += 6 + length;
	}
	return at;
}

/* How long a frame that has begun is; 0: not known yet. Those of a server here
 * are of less than 64 KiB. */
static size_t frame_length(const uint8_t *frame, size_t length)
{
	if (length < 2 || (frame[1] == 126 && length < 4))
		return 0;
	MUST(frame[0] == 0x81 && frame[1] < 127);
	return frame[1] < 126 ? 2U + frame[1]
			      : 4U + (size_t)frame[2] * 256 + frame[3];
}

/* How many whole frames there are. */
static size_t count_frames(const uint8_t *bytes, size_t length, size_t *left)
{
	size_t count = 0, at = 0, one;

	while ((one = frame_length(bytes + at, length - at)) > 0 &&
	       length - at >= one) {
		at += one;
		count++;
	}
	*left = length - at;
	return count;
}

static uint64_t drive(const int *clients, size_t count, size_t at_once,
		      double seconds, bool is_websocket)
{
	static uint8_t kept[64][4096];
	static size_t kept_length[64], done_of[64];
	uint8_t request[4096];
	size_t request_length = make_request(request, at_once);
	int poll = epoll_create1(EPOLL_CLOEXEC);
	struct epoll_event events[64];
	uint64_t done = 0;
	double end = now_s() + seconds;

	MUST(count <= 64 && request_length <= sizeof(request));
	for (size_t i = 0; i < count; i++) {
		struct epoll_event event = { .events = EPOLLIN, .data.u64 = i };

		kept_length[i] = done_of[i] = 0;
		MUST(epoll_ctl(poll, EPOLL_CTL_ADD, clients[i], &event) == 0);
		MUST(write(clients[i], request, request_length) ==
		     (ssize_t)request_length);
	}
	while (now_s() < end) {
		int ready = epoll_wait(poll, events, 64, 1000);

		for (int j = 0; j < ready; j++) {
			size_t i = events[j].data.u64, left = 0, frames;
			ssize_t part =
				read(clients[i], kept[i] + kept_length[i],
				     sizeof(kept[i]) - kept_length[i]);

			MUST(part > 0);
			size_t length = kept_length[i] + (size_t)part;

			if (is_websocket) {
				frames = count_frames(kept[i], length, &left);
				memmove(kept[i], kept[i] + length - left, left);
			} else {
				size_t one = request_length / at_once;

				frames = length / one;
				left = length % one;
			}
			kept_length[i] = left;
			done += frames;
			done_of[i] += frames;
			if (done_of[i] < at_once)
				continue;
			done_of[i] = 0;
			MUST(write(clients[i], request, request_length) ==
			     (ssize_t)request_length);
		}
	}
	close(poll);
	return done;
}

/* ---- A room ---- */

static const char join_text[] = "{\"event\":\"roomAdd\",\"room\":\"bench\"}";
static const char say_text[] = "{\"event\":\"say\",\"room\":\"bench\","
			       "\"message\":\"to all of them\"}";

static void send_text(int client, const char *text, size_t length)
{
	uint8_t frame[256] = { 0x81, (uint8_t)(0x80 | length) };

	MUST(length < 126);
	memcpy(frame + 6, text, length);
	MUST(write(client, frame, 6 + length) == (ssize_t)(6 + length));
}

static void join(int client)
{
	char answer[1024];

	send_text(client, join_text, sizeof(join_text) - 1);
	ssize_t length = read(client, answer, sizeof(answer) - 1);

	MUST(length > 2);
	answer[length] = '\0';
	MUST(strstr(answer + 2, "\"status\":\"OK\"") != NULL);
}

/* What members are given all has one length, which the first of them finds
 * out. */
static size_t bytes_of_one(int speaker, int member)
{
	uint8_t frame[1024];

	send_text(speaker, say_text, sizeof(say_text) - 1);
	ssize_t length = read(member, frame, sizeof(frame));

	MUST(length > 4 && frame[0] == 0x81);
	size_t bytes = frame[1] < 126 ? 2U + frame[1]
				      : 4U + frame[2] * 256U + frame[3];

	MUST((size_t)length == bytes);
	return bytes;
}

static size_t drain(int client)
{
	static uint8_t bytes[1 << 18];
	ssize_t length = recv(client, bytes, sizeof(bytes), MSG_DONTWAIT);

	return length > 0 ? (size_t)length : 0;
}

/* What members have been given; speakers, who come last, do not count. */
static size_t take_all(int poll, const int *clients, size_t members)
{
	struct epoll_event events[256];
	int ready = epoll_wait(poll, events, 256, 1000);
	size_t given = 0;

	for (int j = 0; j < ready; j++) {
		size_t i = events[j].data.u64;
		size_t bytes = drain(clients[i]);

		given += i < members ? bytes : 0;
	}
	return given;
}

/* Each speaker says one thing at a time, and the next when all members have
 * been given as much: else it would be the server's queues that are measured.
 */
static uint64_t talk(const int *clients, size_t members, size_t speakers,
		     double seconds)
{
	int poll = epoll_create1(EPOLL_CLOEXEC);
	size_t count = members + speakers;

	for (size_t i = 0; i < count; i++) {
		struct epoll_event event = { .events = EPOLLIN, .data.u64 = i };

		join(clients[i]);
		MUST(epoll_ctl(poll, EPOLL_CTL_ADD, clients[i], &event) == 0);
	}
	size_t one = bytes_of_one(clients[members], clients[0]);
	uint64_t all = (uint64_t)one * members;
	uint64_t given = one, said = 1;

	while (given < all)
		given += take_all(poll, clients, members);
	double end = now_s() + seconds;

	while (now_s() < end) {
		for (; said * all < given + speakers * all; said++)
			send_text(clients[members + said % speakers], say_text,
				  sizeof(say_text) - 1);
		given += take_all(poll, clients, members);
	}
	close(poll);
	return given / one;
}

static pid_t start_server(bool is_websocket)
{
	struct sockaddr_in address = { .sin_family = AF_INET,
				       .sin_addr.s_addr =
					       htonl(INADDR_LOOPBACK) };
	struct sockaddr *any = (struct sockaddr *)(void *)&address;
	socklen_t length = sizeof(address);

	server.listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	MUST(bind(server.listener, any, length) == 0 &&
	     listen(server.listener, 1024) == 0);
	MUST(getsockname(server.listener, any, &length) == 0);
	port = ntohs(address.sin_port);
	pid_t pid = fork();

	MUST(pid >= 0);
	if (pid > 0)
		return pid;
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	pin(0);
	if (is_websocket)
		serve_actions();
	serve_echo();
	exit(1);
}

static void raise_limit(void)
{
	struct rlimit limit;

	MUST(getrlimit(RLIMIT_NOFILE, &limit) == 0);
	limit.rlim_cur = limit.rlim_max;
	MUST(setrlimit(RLIMIT_NOFILE, &limit) == 0);
}

int main(int argc, char **argv)
{
	static int clients[CONNECTIONS_MAX];
	const char *what = argc > 1 ? argv[1] : "actions";
	pid_t pid = 0;

	if (strcmp(what, "at") == 0 && argc > 3) {
		port = (uint16_t)atoi(argv[2]);
		pid = (pid_t)atoi(argv[3]);
		path = "/primus";
		argv += 2;
		argc -= 2;
	}
	bool is_ours = pid == 0;
	bool is_idle = strcmp(what, "idle") == 0;
	bool is_room = strcmp(what, "room") == 0;
	bool is_websocket = strcmp(what, "echo") != 0;
	double seconds = argc > 2 && !is_idle ? atof(argv[2]) : 2;
	size_t count = is_idle ? 10000 : is_room ? 1000 : 20;
	size_t at_once = argc > 4 ? (size_t)atoi(argv[4]) : 1;
	char home[] = "/tmp/muster-bench-XXXXXX", command[64];

	if (argc > (is_idle ? 2 : 3))
		count = (size_t)atoi(argv[is_idle ? 2 : 3]);
	count += is_room ? at_once : 0; /* who speak */
	MUST(count > 0 && count <= CONNECTIONS_MAX && at_once > 0 &&
	     (is_room || at_once <= 5));
	MUST(mkdtemp(home) != NULL && setenv("MUSTER_HOME", home, 1) == 0);
	signal(SIGPIPE, SIG_IGN);
	raise_limit();
	if (is_ours)
		pid = start_server(is_websocket);
	pin(1);
	clients[0] = open_client(is_websocket);
	size_t memory = memory_of(pid);

	for (size_t i = 1; i < count; i++)
		clients[i] = open_client(is_websocket);
	if (is_idle) {
		printf("connections %zu bytes_each %.0f\n", count,
		       (double)(memory_of(pid) - memory) / (double)(count - 1));
	} else {
		double cpu = cpu_s(pid), begin = now_s();
		uint64_t done = is_room ? talk(clients, count - at_once,
					       at_once, seconds)
					: drive(clients, count, at_once,
						seconds, is_websocket);
		double took = now_s() - begin;

		printf("%s per_second %.0f cpu_us %.2f\n", what,
		       (double)done / took,
		       (cpu_s(pid) - cpu) * 1e6 / (double)done);
	}
	if (is_ours) {
		kill(pid, SIGKILL);
		waitpid(pid, NULL, 0);
	}
	snprintf(command, sizeof(command), "rm -r '%s'", home);
	/* NOLINTNEXTLINE(cert-env33-c): the words are ours alone */
	return system(command) == 0 ? 0 : 1;
}
