/*
 * socket - the connection of a client that stays: bytes both ways, bounded.
 *
 * What is written within a turn of the loop leaves in one write at its end, or
 * as soon as what was read has been worked through. A client that does not
 * read what it is sent is not read from either, past high_bytes; past
 * most_bytes, or stall_ms without progress, it is stuck. While nothing is on
 * its way a socket holds no buffer.
 *
 * Embedded in its owner, and in the list of its server's struct sockets.
 * Nothing the owner calls frees or closes: that is the owner's own affair, by
 * socket_close(), and only from on_bytes, on_end, on_tick or the loop.
 */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buffer.h"
#include "base/list.h"
#include "base/shared.h"
#include "loop/loop.h"
#include "loop/stream.h"

struct socket;
struct timer;

struct socket_events {
	/* Answers how many bytes it has used. Those that are left come again
	 * when socket_is_full() is no more; there it is to stop. */
	size_t (*on_bytes)(struct socket *socket, const uint8_t *bytes,
			   size_t length);
	/* After on_bytes: whether the owner still wants the socket. It may
	 * close it here. */
	void (*on_settle)(struct socket *socket);
	/* The client has sent its end (0), or the connection is broken. */
	void (*on_end)(struct socket *socket, int error);
	/* About every second. */
	void (*on_tick)(struct socket *socket, uint64_t now_ms);
};

struct socket_limits {
	uint32_t high_bytes; /* 0: 1 MiB */
	uint32_t most_bytes; /* 0: 4 MiB */
	uint32_t stall_ms;   /* 0: 10,000 */
};

/* What a server's sockets share. */
struct sockets {
	struct loop *loop;
	const struct socket_events *events;
	struct socket_limits limits;
	struct list all;
	size_t count;
	struct list dirty; /* with output to be written */
	struct loop_task flush;
	struct timer *tick; /* runs while there are any */
	struct buffer spare;
};

struct socket {
	struct sockets *sockets;
	struct stream *stream;
	struct list link;
	struct list dirty;
	struct buffer output; /* of this turn */
	struct buffer input;  /* what the owner has left */
	uint64_t heard_ms;    /* when something last came */
	uint64_t moved_ms;    /* when something last left, or nothing waited */
	uint64_t put;         /* bytes, ever */
	uint64_t sent;        /* of them, at the last tick */
	bool is_reading : 1;  /* up the stack */
	bool is_held : 1;     /* not read from, as it is full */
	bool is_over : 1;     /* past most_bytes: what is written is dropped */
	bool is_ended : 1;    /* our end is sent, or will be */
	void (*on_closed)(void *token);
	void *token;
};

void sockets_init(struct sockets *sockets, struct loop *loop,
		  const struct socket_events *events,
		  const struct socket_limits *limits);
/* All have been closed. */
void sockets_fini(struct sockets *sockets);

/* Takes the stream over. `socket` is zeroed. on_closed(token) is called once
 * the descriptor is its owner's again. */
void socket_open(struct socket *socket, struct sockets *sockets,
		 struct stream *stream, void (*on_closed)(void *token),
		 void *token);
/* Begins to read, with `early` first: bytes that came already. May close. */
void socket_start(struct socket *socket, const void *early, size_t length);

void socket_write(struct socket *socket, const void *bytes, size_t length);
/* The same without a copy where that pays. */
void socket_write_shared(struct socket *socket, struct shared *shared);
/* Are its answers not read, so that nothing more is to be asked? */
bool socket_is_full(const struct socket *socket);
/* Has all that was written left? */
bool socket_is_sent(const struct socket *socket);
/* Past most_bytes, or without progress for stall_ms. */
bool socket_is_stuck(const struct socket *socket, uint64_t now_ms);

/* Sends the end after what is written; nothing may be written from then on. */
void socket_end(struct socket *socket);
/* Drops what has not been sent. The owner may free the socket afterwards. */
void socket_close(struct socket *socket);
