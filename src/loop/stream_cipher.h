/*
 * stream_cipher - what stands between a stream and its socket, to encrypt.
 *
 * A stream with a cipher asks it in place of the system; when to ask, what is
 * queued and what is told to the owner stays the stream's own affair. Included
 * by stream.c and those that implement one alone.
 */
#pragma once
#include "loop/loop.h"
#include "loop/stream.h"

struct stream_cipher;

/* None of them blocks or calls back. */
struct stream_cipher_ops {
	/* Bytes; 0 at the peer's end; -EAGAIN; another -errno ends the stream.
	 * Shakes hands first, and says when that is done by is_ready. */
	ssize_t (*read)(struct stream_cipher *cipher, void *bytes, size_t size);
	/* Is there something that the system's poll will not tell of? */
	bool (*has_more)(struct stream_cipher *cipher);
	/* Bytes taken, which may be 0, or -errno. What was not taken is offered
	 * again, perhaps elsewhere in memory and with more behind it. `flags`:
	 * those of send(2). */
	ssize_t (*write)(struct stream_cipher *cipher,
			 const struct iovec *parts, size_t count, int flags);
	/* The same of a file; one that is shorter is -EIO. */
	ssize_t (*write_file)(struct stream_cipher *cipher, int descriptor,
			      uint64_t offset, uint64_t length);
	/* Says that this was all. False: not yet, as the socket is full. */
	bool (*shut)(struct stream_cipher *cipher);
	void (*free)(struct stream_cipher *cipher);
};

/* Embedded in whoever implements it. */
struct stream_cipher {
	const struct stream_cipher_ops *ops;
	bool is_ready;    /* the hands are shaken */
	bool wants_write; /* before it can read on */

	/* The stream's. */
	struct stream *stream;
	struct loop_task more; /* reads what the poll does not tell of */
	bool *is_closed;       /* where a callback may be closing it */
};

/* As stream_open(); the cipher is freed with the stream. */
struct stream *stream_open_secret(struct loop *loop, int descriptor,
				  struct stream_cipher *cipher,
				  const struct stream_events *events,
				  void *owner);
struct stream_cipher *stream_cipher(const struct stream *stream); /* NULL */
