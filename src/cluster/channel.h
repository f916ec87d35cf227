/*
 * channel - messages between a primary and one worker.
 *
 * Frames over an fdstream: what is sent during a turn of the loop leaves in
 * one piece at its end. Both sides use the same module; `role` names the other
 * side in problems. A frame that cannot be understood ends the channel with a
 * named reason.
 */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/problem.h"
#include "loop/loop.h"
#include "wire/messages.h"

/* Past this much queued the sender is told to wait... */
#define CHANNEL_BUSY_BYTES 131072
/* ...and past this much it is refused. */
#define CHANNEL_QUEUE_MAX ((size_t)64 * 1024 * 1024)

struct channel;

/* What came with a message; the callback takes what it wants to keep, and
 * leaves -1. What is left is closed. */
struct channel_descriptors {
	int list[FRAME_DESCRIPTORS_MAX];
	size_t count;
};

struct channel_events {
	/* Points into the read bytes: good until the callback returns. */
	void (*on_message)(void *owner, const struct message *message,
			   struct channel_descriptors *descriptors);
	/* The other side is gone (problem->code 0: it closed; else an error
	 * or a broken frame). At most once; the owner closes the channel. */
	void (*on_end)(void *owner, const struct problem *problem);
	/* What had to wait has left; `was_busy`: a sender was told to wait. */
	void (*on_drained)(void *owner, bool was_busy);
};

/* Takes `descriptor` over. Reads once it is started. */
struct channel *channel_open(struct loop *loop, int descriptor,
			     const struct channel_events *events, void *owner);
void channel_close(struct channel *channel); /* NULL is fine */

void channel_start(struct channel *channel);
void channel_set_keeps_alive(struct channel *channel, bool keeps_alive);

/* Queues a control message; they are small and few. Takes `descriptor` over
 * (-1: none). */
void channel_send(struct channel *channel, const struct message *message,
		  int descriptor);

/*
 * Queues application content, with descriptors that it takes over (those of a
 * refused one stay the caller's). 1: done, but busy. -ENOBUFS: more than
 * CHANNEL_QUEUE_MAX wait. That the other side is gone is told by on_end alone.
 */
int channel_send_content(struct channel *channel, const void *content,
			 size_t length, const int *descriptors, size_t count);

/* Queued and not yet with the kernel. */
size_t channel_queued_bytes(const struct channel *channel);
/* Sends what is queued now, as far as it goes. -EAGAIN: some is left. */
int channel_flush(struct channel *channel);

/* Sends frames that are encoded already, past an empty queue, all or nothing;
 * the descriptors stay the caller's. -EAGAIN: no room now. */
int channel_send_now(struct channel *channel, const void *frames, size_t length,
		     const int *descriptors, size_t count);

/*
 * Waits for a message of this type, up to the deadline; others, before it and
 * after it, are kept and come by on_message later, in order. `handle` is called
 * with it, as on_message would be; false: it was another one, wait on. on_end
 * may come meanwhile, and close the channel. -ETIMEDOUT, -EPIPE.
 */
typedef bool (*channel_handle_fn)(void *owner, const struct message *message,
				  struct channel_descriptors *descriptors);
__attribute__((warn_unused_result)) int channel_await(struct channel *channel,
						      enum message_type type,
						      int timeout_ms,
						      channel_handle_fn handle);

/* Reads what is there, without waiting, up to the end: for a worker that has
 * exited. Calls back as usual. Ends even if somebody goes on writing. */
void channel_drain(struct channel *channel);
