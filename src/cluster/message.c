#include "cluster/message.h"

#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/json.h"
#include "base/mem.h"
#include "cluster/events.h"

/* Copied to the stack to get its NUL; longer ones to the heap. */
#define SMALL_BYTES 1024

void message_tell(struct muster_worker *worker,
		  const struct message_rest *content,
		  struct channel_descriptors *descriptors)
{
	char small[SMALL_BYTES];
	char *text = content->length < sizeof(small)
			     ? small
			     : mem_alloc(content->length + 1);
	struct muster_message message = {
		.content = text,
		.length = content->length,
		.descriptors = descriptors,
	};

	if (content->length > 0)
		memcpy(text, content->bytes, content->length);
	text[content->length] = '\0';
	events_tell_message(worker, &message);
	json_decref(message.json);
	if (text != small)
		free(text);
}

static int check(enum muster_serialization kind, const void *content,
		 size_t length)
{
	if (length > FRAME_PAYLOAD_MAX)
		return -EMSGSIZE;
	if (kind == MUSTER_BYTES)
		return 0;
	return json_is_value(content, length) ? 0 : -EINVAL;
}

int message_send(struct channel *channel, enum muster_serialization kind,
		 const void *content, size_t length)
{
	if (channel == NULL)
		return -EPIPE;
	int error = check(kind, content, length);

	return error < 0 ? error
			 : channel_send_content(channel, content, length, NULL,
						0);
}

int message_send_descriptors(struct channel *channel,
			     enum muster_serialization kind,
			     const struct iovec *content,
			     const int *descriptors, size_t count)
{
	int copies[FRAME_DESCRIPTORS_MAX];
	size_t copied = 0;

	if (channel == NULL)
		return -EPIPE;
	if (count == 0 || count > MUSTER_DESCRIPTORS_MAX)
		return -EINVAL;
	int answer = check(kind, content->iov_base, content->iov_len);

	if (answer < 0)
		return answer;
	/* The caller may close its own at once; ours wait in the queue. */
	for (; copied < count; copied++) {
		copies[copied] = fcntl(descriptors[copied], F_DUPFD_CLOEXEC, 3);
		if (copies[copied] < 0) {
			answer = -errno;
			goto fail;
		}
	}
	answer = channel_send_content(channel, content->iov_base,
				      content->iov_len, copies, count);
	if (answer >= 0)
		return answer;
fail:
	while (copied > 0)
		close(copies[--copied]);
	return answer;
}

const void *muster_message_content(const struct muster_message *message)
{
	return message->content;
}

size_t muster_message_length(const struct muster_message *message)
{
	return message->length;
}

size_t muster_message_descriptor_count(const struct muster_message *message)
{
	return message->descriptors->count;
}

int muster_message_take_descriptor(struct muster_message *message, size_t index)
{
	if (index >= message->descriptors->count)
		return -1;
	int descriptor = message->descriptors->list[index];

	message->descriptors->list[index] = -1;
	return descriptor;
}

static json_t *member_of(struct muster_message *message, const char *member)
{
	if (!message->is_read)
		message->json =
			json_loadb(message->content, message->length, 0, NULL);
	message->is_read = true;
	return json_object_get(message->json, member);
}

const char *muster_message_text(struct muster_message *message,
				const char *member)
{
	return json_string_value(member_of(message, member));
}

int64_t muster_message_int(struct muster_message *message, const char *member,
			   int64_t otherwise)
{
	json_t *value = member_of(message, member);

	return json_is_integer(value) ? json_integer_value(value) : otherwise;
}
