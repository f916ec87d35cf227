#include "scripted.h"

#include <hiredis/hiredis.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/mem.h"
#include "base/must.h"

#define PEERS_MAX 16
#define LINES_MAX 32

static const char info[] = "redis_version:7.0.15\r\nrole:master\r\n"
			   "loading:0\r\nmaxmemory_policy:noeviction\r\n"
			   "cluster_enabled:0\r\n";

struct server {
	const struct scripted_line *lines;
	unsigned used[LINES_MAX];
	struct pollfd polled[PEERS_MAX + 1]; /* the first one listens */
	redisReader *readers[PEERS_MAX + 1];
	nfds_t count;
};

static void leave(struct server *server, nfds_t i)
{
	close(server->polled[i].fd);
	redisReaderFree(server->readers[i]);
	server->count--;
	server->polled[i] = server->polled[server->count];
	server->readers[i] = server->readers[server->count];
}

static bool say(int descriptor, const char *text)
{
	size_t length = strlen(text);

	return write(descriptor, text, length) == (ssize_t)length;
}

static bool say_info(int descriptor)
{
	char text[512];

	snprintf(text, sizeof(text), "$%zu\r\n%s\r\n", sizeof(info) - 1, info);
	return say(descriptor, text);
}

static void join_words(const redisReply *command, char *text, size_t size)
{
	size_t length = 0;

	text[0] = '\0';
	for (size_t i = 0; i < command->elements && length < size; i++)
		length += (size_t)snprintf(text + length, size - length, "%s%s",
					   i == 0 ? "" : " ",
					   command->element[i]->str);
}

/* False: the connection is over. */
static bool answer(struct server *server, int descriptor,
		   const redisReply *command)
{
	char text[256];

	join_words(command, text, sizeof(text));
	for (size_t i = 0; server->lines[i].command != NULL; i++) {
		const struct scripted_line *line = &server->lines[i];

		MUST(i < LINES_MAX);
		if (strncmp(text, line->command, strlen(line->command)) != 0 ||
		    (line->times > 0 && server->used[i] >= line->times))
			continue;
		server->used[i]++;
		return say(descriptor, line->reply) && !line->is_cut;
	}
	if (strncmp(text, "INFO", 4) == 0)
		return say_info(descriptor);
	if (strncmp(text, "CLIENT", 6) == 0)
		return say(descriptor, ":1\r\n");
	return say(descriptor, "+OK\r\n");
}

static bool serve(struct server *server, nfds_t i)
{
	char bytes[16384];
	int descriptor = server->polled[i].fd;
	ssize_t length = read(descriptor, bytes, sizeof(bytes));
	bool is_fine = length > 0;
	void *command = NULL;

	if (is_fine)
		MUST(redisReaderFeed(server->readers[i], bytes,
				     (size_t)length) == REDIS_OK);
	while (is_fine &&
	       redisReaderGetReply(server->readers[i], &command) == REDIS_OK &&
	       command != NULL) {
		is_fine = answer(server, descriptor, command);
		freeReplyObject(command);
	}
	return is_fine;
}

static _Noreturn void run(struct server *server)
{
	for (;;) {
		MUST(poll(server->polled, server->count, -1) > 0);
		for (nfds_t i = server->count; --i > 0;)
			if (server->polled[i].revents != 0 && !serve(server, i))
				leave(server, i);
		if (server->polled[0].revents == 0)
			continue;
		MUST(server->count <= PEERS_MAX);
		server->polled[server->count] =
			(struct pollfd){ .fd = accept(server->polled[0].fd,
						      NULL, NULL),
					 .events = POLLIN };
		server->readers[server->count++] = redisReaderCreate();
	}
}

pid_t scripted_start(const char *path, const struct scripted_line *lines)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	int listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	MUST(strlen(path) < sizeof(address.sun_path));
	strcpy(address.sun_path, path); /* NOLINT: measured above */
	MUST(bind(listener, (const struct sockaddr *)&address,
		  sizeof(address)) == 0);
	MUST(listen(listener, PEERS_MAX) == 0);
	pid_t pid = fork();

	MUST(pid >= 0);
	if (pid == 0) {
		struct server *server = mem_zalloc(sizeof(*server));

		prctl(PR_SET_PDEATHSIG, SIGKILL);
		server->lines = lines;
		server->polled[0] =
			(struct pollfd){ .fd = listener, .events = POLLIN };
		server->count = 1;
		run(server);
	}
	close(listener);
	return pid;
}
