/*
 * http_bench - a server on a loop of its own, and clients at socket pairs.
 *
 * A client's wait turns the loop, so that a test reads straight. Every wait
 * has a deadline and fails the test with what it waited for.
 */
#pragma once
#include <stdbool.h>
#include <stddef.h>

#include "server/http.h"

#define HELD_MAX 64

struct bench {
	struct loop *loop;
	struct http_server *server;
	/* What the handler does: holds the request, or answers `reply`. */
	bool holds;
	const char *reply;
	size_t reply_length; /* 0: that of the text */
	int status;          /* 0: 200 */
	size_t handled;
	struct muster_http *held[HELD_MAX];
	size_t held_count;
	size_t closed; /* how often on_closed was called */
	/* Called in the handler where it is set, before anything else. */
	void (*on_request)(struct bench *bench, struct muster_http *http);
};

struct client {
	struct bench *bench;
	int descriptor;
	int server_descriptor; /* closed when the server has done with it */
	bool is_done;
	char text[1 << 20]; /* received and not yet taken */
	size_t length;
	bool has_ended;
	int error;
};

void bench_open(struct bench *bench, const struct http_settings *settings);
void bench_close(struct bench *bench);
/* Another server in the place of the one that is there. */
void bench_serve(struct bench *bench, const struct http_settings *settings);

/* `type` of a unix socket pair: with SOCK_SEQPACKET each recv(2) is one write
 * of the server's. */
struct client *client_open(struct bench *bench, int type);
struct client *client_open_tcp(struct bench *bench);
void client_close(struct client *client);

void client_send(struct client *client, const char *text);
void client_send_bytes(struct client *client, const void *bytes, size_t length);
/* Waits for that, and forgets what was received up to its end. */
void client_expect(struct client *client, const char *text);
/* The same, and it must be all that came. */
void client_expect_only(struct client *client, const char *text);
/* Waits for the server's end with nothing before it. */
void client_expect_end(struct client *client);
/* Waits for the end of the connection, however it ends. */
void client_expect_gone(struct client *client);
/* Has nothing come once the server has nothing left to do? */
void client_expect_nothing(struct client *client);
/* One recv(2), as soon as there is something; NUL-ended. */
const char *client_receive_once(struct client *client);
/* All up to the end. */
size_t client_receive_all(struct client *client);

/* Turns the loop until `*counter` is `value`. */
void bench_await(struct bench *bench, const size_t *counter, size_t value);
/* Turns the loop until it has nothing to do. */
void bench_settle(struct bench *bench);
