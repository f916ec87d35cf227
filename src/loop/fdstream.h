/*
 * fdstream - a unix stream socket that carries bytes and descriptors.
 *
 * Bytes are queued and leave at the end of the turn, many frames in one
 * system call, with up to FDSTREAM_BATCH descriptors (SCM_RIGHTS, unix(7)).
 * The kernel delivers descriptors no later than the first byte they were sent
 * with, and in order. So whoever reads frames that say how many descriptors
 * they own takes that many from the front, and the pairing is exact. There are
 * never more than FDSTREAM_BATCH ahead of their bytes.
 */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "loop/loop.h"

#define FDSTREAM_BATCH 253 /* SCM_MAX_FD */

struct fdstream;

struct fdstream_events {
	/* In the loop's scratch memory: good until the callback returns. */
	void (*on_bytes)(void *owner, const uint8_t *bytes, size_t length);
	/* 0: the peer has closed. Negative: an error, reading or writing, once
	 * all has been read. At most once. */
	void (*on_end)(void *owner, int error);
	/* All that was queued has left. */
	void (*on_drained)(void *owner);
};

/* Takes `descriptor` over and makes it non-blocking. */
struct fdstream *fdstream_open(struct loop *loop, int descriptor,
			       const struct fdstream_events *events,
			       void *owner);
/* Closes what was received and not taken, drops what is queued. */
void fdstream_close(struct fdstream *stream);

void fdstream_start_reading(struct fdstream *stream);
void fdstream_set_keeps_alive(struct fdstream *stream, bool keeps_alive);

/* Room for `length` bytes at the end of the queue, counted from now on. */
uint8_t *fdstream_queue(struct fdstream *stream, size_t length);
/* Takes descriptors over, to travel with what is queued next. At most
 * FDSTREAM_BATCH for what is then one piece. */
void fdstream_queue_descriptors_take(struct fdstream *stream,
				     const int *descriptors, size_t count);
size_t fdstream_queued_bytes(const struct fdstream *stream);

/* Sends what is queued, as far as it goes. -EAGAIN: some is left. After any
 * other error on_end follows. */
int fdstream_flush(struct fdstream *stream);

/* Past the queue, which must be empty: all or nothing. -EAGAIN: no room now.
 * The descriptors stay the caller's. */
int fdstream_send_now(struct fdstream *stream, const void *bytes, size_t length,
		      const int *descriptors, size_t count);

/* Waits for bytes and reads once, and sends what is queued meanwhile; calls
 * back as from the loop. 0: look whether it was enough. -ETIMEDOUT. */
int fdstream_read_within(struct fdstream *stream, int timeout_ms);
/* Reads once if there is something. False: nothing is there, or the end. */
bool fdstream_read_now(struct fdstream *stream);
/* Reads what has come by now, to the end if that has, and nothing that comes
 * meanwhile: for a peer that has gone, whose end somebody else may hold. */
void fdstream_read_arrived(struct fdstream *stream);

/* The next descriptor that came; -1 where there is none. */
int fdstream_take_descriptor(struct fdstream *stream);
size_t fdstream_descriptor_count(const struct fdstream *stream);
