#include "client.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

#include "harness.h"

union any_address {
	struct sockaddr any;
	struct sockaddr_in v4;
	struct sockaddr_in6 v6;
	struct sockaddr_un path;
};

static socklen_t set_address(union any_address *address, const char *host,
			     int port)
{
	memset(address, 0, sizeof(*address));
	if (host == NULL)
		host = "127.0.0.1";
	if (strchr(host, ':') != NULL) {
		address->v6.sin6_family = AF_INET6;
		address->v6.sin6_port = htons((uint16_t)port);
		inet_pton(AF_INET6, host, &address->v6.sin6_addr);
		return sizeof(address->v6);
	}
	address->v4.sin_family = AF_INET;
	address->v4.sin_port = htons((uint16_t)port);
	inet_pton(AF_INET, host, &address->v4.sin_addr);
	return sizeof(address->v4);
}

static socklen_t set_path(union any_address *address, const char *path)
{
	size_t length = strlen(path);

	memset(address, 0, sizeof(*address));
	address->path.sun_family = AF_UNIX;
	if (length >= sizeof(address->path.sun_path))
		give_up("the path %s is too long", path);
	memcpy(address->path.sun_path, path, length);
	if (path[0] == '@')
		address->path.sun_path[0] = '\0';
	return (socklen_t)(offsetof(struct sockaddr_un, sun_path) + length +
			   (path[0] != '@'));
}

static int open_to(const union any_address *address, socklen_t length, int type)
{
	struct timeval limit = { .tv_sec = DEADLINE_MS / 1000 };
	int connection = socket(address->any.sa_family, type | SOCK_CLOEXEC, 0);

	if (connection < 0)
		return -errno;
	setsockopt(connection, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
	setsockopt(connection, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof(limit));
	if (connect(connection, &address->any, length) != 0) {
		int code = -errno;

		close(connection);
		return code;
	}
	return connection;
}

static int keep_or_fail(int connection, const char *to, int port)
{
	if (connection < 0)
		give_up("cannot connect to %s %d: %s", to, port,
			strerror(-connection));
	return keep(connection);
}

int dial(const char *host, int port)
{
	union any_address address;
	socklen_t length = set_address(&address, host, port);

	return keep_or_fail(open_to(&address, length, SOCK_STREAM),
			    host != NULL ? host : "127.0.0.1", port);
}

int dial_udp(const char *host, int port)
{
	union any_address address;
	socklen_t length = set_address(&address, host, port);

	return keep_or_fail(open_to(&address, length, SOCK_DGRAM),
			    host != NULL ? host : "127.0.0.1", port);
}

/* The name is relative to the test's directory. */
static int open_unix(const char *path)
{
	union any_address address;
	const char *place = path[0] == '/' || path[0] == '@'
				    ? path
				    : path_in_directory(path);
	socklen_t length = set_path(&address, place);

	return open_to(&address, length, SOCK_STREAM);
}

int dial_unix(const char *path)
{
	return keep_or_fail(open_unix(path), path, 0);
}

static int close_again(int connection)
{
	if (connection < 0)
		return connection;
	close(connection);
	return 0;
}

int try_dial(const char *host, int port)
{
	union any_address address;
	socklen_t length = set_address(&address, host, port);

	return close_again(open_to(&address, length, SOCK_STREAM));
}

int try_dial_unix(const char *path)
{
	return close_again(open_unix(path));
}

void send_text(int connection, const char *format, ...)
{
	char text[4096];
	va_list arguments;

	va_start(arguments, format);
	int length = vsnprintf(text, sizeof(text), format, arguments);

	va_end(arguments);
	if (send(connection, text, (size_t)length, MSG_NOSIGNAL) != length)
		give_up("cannot send \"%s\": %s", text, strerror(errno));
}

static bool is_datagram(int connection)
{
	int type = 0;
	socklen_t length = sizeof(type);

	getsockopt(connection, SOL_SOCKET, SO_TYPE, &type, &length);
	return type == SOCK_DGRAM;
}

static int receive_datagram(int connection, char *line, size_t size)
{
	ssize_t length = recv(connection, line, size - 1, 0);

	if (length < 0)
		return -errno;
	line[length] = '\0';
	return 0;
}

int try_receive_line(int connection, char *line, size_t size)
{
	if (is_datagram(connection))
		return receive_datagram(connection, line, size);
	for (size_t used = 0; used < size; used++) {
		ssize_t length = recv(connection, line + used, 1, 0);

		if (length < 0)
			return -errno;
		if (length == 0)
			return -EPIPE;
		if (line[used] == '\n') {
			line[used] = '\0';
			return 0;
		}
	}
	return -EMSGSIZE;
}

const char *receive_line(int connection)
{
	static char line[65536];
	int code = try_receive_line(connection, line, sizeof(line));

	if (code != 0)
		give_up("awaited a line on a connection: %s", strerror(-code));
	return line;
}

int receive_number(int connection, const char *prefix)
{
	const char *line = receive_line(connection);

	if (strncmp(line, prefix, strlen(prefix)) != 0)
		give_up("awaited \"%s\" on a connection, got \"%s\"", prefix,
			line);
	return atoi(line + strlen(prefix));
}

void expect_reply(int connection, const char *format, ...)
{
	char text[4096];
	va_list arguments;

	va_start(arguments, format);
	vsnprintf(text, sizeof(text), format, arguments);
	va_end(arguments);
	const char *line = receive_line(connection);

	if (strcmp(line, text) != 0)
		give_up("awaited \"%s\" on a connection, got \"%s\"", text,
			line);
}

void expect_closed(int connection)
{
	char byte;
	ssize_t length = recv(connection, &byte, 1, 0);

	if (length > 0)
		give_up("awaited the end of a connection, got more");
	if (length < 0 && errno != ECONNRESET)
		give_up("awaited the end of a connection: %s", strerror(errno));
}

bool is_quiet(int connection)
{
	struct pollfd polled = { .fd = connection, .events = POLLIN };

	return poll(&polled, 1, 0) == 0;
}

/* ---- HTTP --------------------------------------------------------------- */

void http_ask(int connection, const char *path)
{
	send_text(connection, "GET %s HTTP/1.1\r\nHost: test\r\n\r\n", path);
}

static int receive_all(int connection, char *bytes, size_t length)
{
	for (size_t used = 0; used < length;) {
		ssize_t count =
			recv(connection, bytes + used, length - used, 0);

		if (count < 0)
			return -errno;
		if (count == 0)
			return -EPIPE;
		used += (size_t)count;
	}
	return 0;
}

static int receive_head(int connection, struct reply *reply)
{
	char line[4096];
	int code = try_receive_line(connection, line, sizeof(line));

	if (code != 0)
		return code;
	if (sscanf(line, "HTTP/1.1 %d", &reply->status) != 1)
		return -EBADMSG;
	while ((code = try_receive_line(connection, line, sizeof(line))) == 0 &&
	       strcmp(line, "\r") != 0) {
		if (strncasecmp(line, "content-length:", 15) == 0)
			reply->length = strtoul(line + 15, NULL, 10);
		if (strcasecmp(line, "connection: close\r") == 0)
			reply->closes = true;
	}
	return code;
}

int try_http_receive(int connection, struct reply *reply)
{
	reply->status = 0;
	reply->closes = false;
	reply->length = 0;
	int code = receive_head(connection, reply);

	if (code != 0)
		return code;
	if (reply->length >= sizeof(reply->body))
		return -EMSGSIZE;
	reply->body[reply->length] = '\0';
	return receive_all(connection, reply->body, reply->length);
}

const char *http_receive(int connection)
{
	static struct reply reply;
	int code = try_http_receive(connection, &reply);

	if (code != 0)
		give_up("awaited an HTTP reply: %s", strerror(-code));
	if (reply.status != 200)
		give_up("awaited status 200, got %d: %s", reply.status,
			reply.body);
	return reply.body;
}

const char *http_get(int connection, const char *path)
{
	http_ask(connection, path);
	return http_receive(connection);
}
