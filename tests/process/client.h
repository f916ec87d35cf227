/*
 * client - the test's end of a connection: blocking sockets with deadlines.
 *
 * Whatever fails, fails the test; the functions named try_ answer instead. All
 * sockets are closed when the test ends, if not before (let_go).
 */
#pragma once
#include <stdbool.h>
#include <stddef.h>

/* Host NULL: 127.0.0.1. A host with a colon is IPv6. */
int dial(const char *host, int port);
int dial_unix(const char *path);
int dial_udp(const char *host, int port);
/* 0, or -errno; the socket is closed again. */
int try_dial(const char *host, int port);
int try_dial_unix(const char *path);

void send_text(int connection, const char *format, ...)
	__attribute__((format(printf, 2, 3)));
/* One line without its end, or one datagram. Good until the next call. */
const char *receive_line(int connection);
/* 0, or -errno; -EPIPE where the other side closed before a whole line. */
int try_receive_line(int connection, char *line, size_t size);
/* The number that follows `prefix` in the next line. */
int receive_number(int connection, const char *prefix);
void expect_reply(int connection, const char *format, ...)
	__attribute__((format(printf, 2, 3)));
/* The other side closes, having said nothing more. */
void expect_closed(int connection);
/* Is there nothing to read, and no end, at this moment? */
bool is_quiet(int connection);

/* HTTP over a connection. */
struct reply {
	int status;
	bool closes;      /* Connection: close */
	size_t length;    /* of the body */
	char body[65536]; /* ends with NUL */
};
void http_ask(int connection, const char *path);
/* 0, or -errno; -EPIPE: the other side closed before a whole reply. */
int try_http_receive(int connection, struct reply *reply);
/* Status 200 is expected; the body, good until the next call. */
const char *http_receive(int connection);
const char *http_get(int connection, const char *path);
