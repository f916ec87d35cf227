/* message - an application's message in the callback that is told of it. */
#pragma once
#include <muster/cluster.h>
#include <sys/uio.h>

#include "cluster/channel.h"
#include "wire/messages.h"

struct json_t;

/* On the stack of whoever tells; nothing outlives the callback. */
struct muster_message {
	const char *content; /* with a NUL after it */
	size_t length;
	struct channel_descriptors *descriptors;
	struct json_t *json; /* once somebody asked for a member */
	bool is_read;        /* json was tried */
};

/* Tells `worker`'s callbacks. */
void message_tell(struct muster_worker *worker,
		  const struct message_rest *content,
		  struct channel_descriptors *descriptors);

/* 0, 1: busy, or as muster_send(). */
int message_send(struct channel *channel, enum muster_serialization kind,
		 const void *content, size_t length);
int message_send_descriptors(struct channel *channel,
			     enum muster_serialization kind,
			     const struct iovec *content,
			     const int *descriptors, size_t count);
