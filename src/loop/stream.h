/*
 * stream - a connected socket (TCP, unix) or pipe: bytes in, bytes out.
 *
 * Reads and writes go straight to the system; the poll of the loop is only
 * joined when there is something to wait for, so a connection that is read,
 * answered and closed in one go never enters it. The poll is left before the
 * descriptor is closed: a passed descriptor may live on in another process,
 * and its registration would too (reference: epoll(7), questions 6 and 9).
 *
 * One that was opened by tls_connect() or tls_accept() encrypts what it carries
 * (loop/tls.h), and is otherwise the same: what is written before the hands are
 * shaken is queued until then.
 *
 * All of a stream's callbacks may close it. While it waits for something, a
 * stream keeps loop_run() going. Where pipes are written to, or files sent, the
 * process must ignore SIGPIPE.
 */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

#include "loop/loop.h"

struct stream;

struct stream_events {
	/* In the loop's scratch memory: good until the callback returns. */
	void (*on_bytes)(void *owner, const uint8_t *bytes, size_t length);
	/* 0: the peer has sent its end, which leaves the way there open.
	 * Negative: an error, reading or writing; the stream can only be
	 * closed. Each at most once, an error last. */
	void (*on_end)(void *owner, int error);
	/* What was queued has been written. */
	void (*on_written)(void *owner);
};

/* Takes `descriptor` over, which must be non-blocking. Not reading yet.
 * `events` must outlive the stream. */
struct stream *stream_open(struct loop *loop, int descriptor,
			   const struct stream_events *events, void *owner);
/* Drops what is queued. */
void stream_close(struct stream *stream);
/* The same, but gives the descriptor, which has left the poll, back. */
__attribute__((warn_unused_result)) int stream_release(struct stream *stream);

int stream_descriptor(const struct stream *stream);

/* Reads once, at once: for a descriptor that probably has bytes waiting. Calls
 * back as from the loop. The stream may be gone afterwards. Not to be called
 * within an on_bytes, which has the scratch memory. */
void stream_read_now(struct stream *stream);
void stream_start_reading(struct stream *stream); /* fine if it reads */
void stream_stop_reading(struct stream *stream);  /* fine if it does not */

/* Writes what goes at once and queues the rest (copied). False: something is
 * queued, on_written follows. An error comes by on_end, later; what is written
 * from then on is dropped. */
bool stream_write(struct stream *stream, const struct iovec *parts,
		  size_t count);

/* Something of the caller's that a stream sends without a copy: bytes, or a
 * part of a regular file (sendfile(2)). release(arg) is called once, when the
 * stream needs it no more: it has been sent, or never will be; perhaps before
 * the write returns. A file that is shorter than that ends the stream. */
struct stream_piece {
	const void *bytes; /* NULL: of the file */
	int descriptor;
	uint64_t offset;
	uint64_t length;            /* not 0 */
	void (*release)(void *arg); /* may be NULL */
	void *arg;
};
/* The same as stream_write(), with the piece behind the parts. */
bool stream_write_piece(struct stream *stream, const struct iovec *parts,
			size_t count, const struct stream_piece *piece);
uint64_t stream_queued_bytes(const struct stream *stream);

/* Does it encrypt? */
bool stream_is_secret(const struct stream *stream);
/* Do bytes pass? Not before the hands are shaken. */
bool stream_is_ready(const struct stream *stream);

/* Has it failed? Then on_end has told, or will. */
bool stream_has_failed(const struct stream *stream);

/* From now on somebody else is told. */
void stream_set_events(struct stream *stream,
		       const struct stream_events *events, void *owner);

/* Sends the end after what is queued; nothing may be written from then on. A
 * pipe's end is sent by closing it alone. */
void stream_shutdown(struct stream *stream);
