#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/mem.h"
#include "base/must.h"
#include "store/redis_internal.h"

#define HEAD_BYTES 16 /* "*4294967295\r\n" goes before the arguments */

struct redis_command *redis_command_new(struct redis *redis,
					struct store_call *call,
					redis_reply_fn on_reply)
{
	struct redis_command *command = mem_zalloc(sizeof(*command));

	command->redis = redis;
	command->call = call;
	if (call != NULL)
		call->back_data = command;
	command->on_reply = on_reply;
	command->script = -1;
	command->node = -1;
	command->slot = REDIS_SLOTS;
	command->is_repeatable = true;
	buffer_reserve(&command->bytes, 512);
	buffer_extend(&command->bytes, HEAD_BYTES);
	return command;
}

void redis_command_free(struct redis_command *command)
{
	if (command->reply != NULL)
		freeReplyObject(command->reply);
	buffer_fini(&command->bytes);
	free(command);
}

void redis_argument(struct redis_command *command, const void *bytes,
		    size_t length)
{
	char *room = (char *)buffer_reserve(&command->bytes, length + 26);
	char digits[24];
	size_t count = 0;
	size_t rest = length;
	char *at = room;

	do
		digits[count++] = (char)('0' + rest % 10);
	while ((rest /= 10) != 0);
	*at++ = '$';
	while (count > 0)
		*at++ = digits[--count];
	*at++ = '\r';
	*at++ = '\n';
	if (length > 0)
		memcpy(at, bytes, length);
	at += length;
	*at++ = '\r';
	*at++ = '\n';
	buffer_extend(&command->bytes, (size_t)(at - room));
	command->arguments++;
}

void redis_text(struct redis_command *command, const char *text)
{
	redis_argument(command, text, strlen(text));
}

void redis_bytes(struct redis_command *command, struct store_bytes bytes)
{
	redis_argument(command, bytes.data, bytes.length);
}

void redis_number(struct redis_command *command, uint64_t number)
{
	char text[24];
	int length = snprintf(text, sizeof(text), "%" PRIu64, number);

	redis_argument(command, text, (size_t)length);
}

void redis_integer(struct redis_command *command, int64_t number)
{
	char text[24];
	int length = snprintf(text, sizeof(text), "%" PRId64, number);

	redis_argument(command, text, (size_t)length);
}

void redis_key(struct redis_command *command, struct store_bytes key)
{
	if (command->slot == REDIS_SLOTS && command->redis->is_cluster)
		command->slot = redis_slot(key);
	redis_bytes(command, key);
}

void redis_script(struct redis_command *command, enum redis_script script,
		  size_t keys)
{
	command->script = (int)script;
	redis_text(command, "EVALSHA");
	redis_text(command, redis_script_sha(script));
	redis_number(command, keys);
}

/* The head is as long as its number and ends where the arguments begin. */
struct store_bytes redis_command_bytes(struct redis_command *command)
{
	char head[HEAD_BYTES + 1];

	if (command->is_bundle)
		return store_bytes(buffer_bytes(&command->bytes),
				   buffer_length(&command->bytes));
	size_t length = (size_t)snprintf(head, sizeof(head), "*%u\r\n",
					 command->arguments);
	char *first = (char *)buffer_bytes(&command->bytes) + HEAD_BYTES;

	memcpy(first - length, head, length);
	return store_bytes(first - length, buffer_length(&command->bytes) -
						   HEAD_BYTES + length);
}

/* ---- replies ---- */

int64_t redis_reply_integer(const redisReply *reply)
{
	if (reply->type == REDIS_REPLY_INTEGER)
		return reply->integer;
	if (reply->type == REDIS_REPLY_STRING ||
	    reply->type == REDIS_REPLY_STATUS)
		return strtoll(reply->str, NULL, 10);
	return 0;
}

const redisReply *redis_reply_at(const redisReply *reply, size_t i)
{
	static const redisReply nothing = { .type = REDIS_REPLY_NIL };

	return i < redis_reply_count(reply) ? reply->element[i] : &nothing;
}

size_t redis_reply_count(const redisReply *reply)
{
	return reply->type == REDIS_REPLY_ARRAY ? reply->elements : 0;
}

void redis_reply_odd(struct redis_command *command)
{
	if (command->call != NULL)
		store_call_fail(command->call, -EPROTO, "STORE_FAILED",
				"the server's answer is not what was asked "
				"for (is something between us and Redis?)");
	redis_finish(command);
}

void redis_finish(struct redis_command *command)
{
	struct store_call *call = command->call;

	if (command->on_dropped != NULL)
		command->on_dropped(command);
	redis_command_free(command);
	if (call != NULL)
		store_call_finish(call);
}
