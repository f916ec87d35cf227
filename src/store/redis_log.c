/* What is kept of what was published: redis_bus_publish.c writes it. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>

#include "store/redis_bus_internal.h"

static void on_log(struct redis *redis, struct redis_command *command,
		   const redisReply *reply)
{
	struct store_call *call = command->call;
	size_t count = redis_reply_count(reply);

	(void)redis;
	if (count == 0) {
		redis_reply_odd(command);
		return;
	}
	struct store_bytes *list =
		arena_take_zeroed(&call->arena, count, sizeof(*list));

	for (size_t i = 1; i < count; i++)
		list[i - 1] = redis_reply_bytes(reply->element[i]);
	call->answer.result = STORE_DONE;
	call->answer.log.life = redis_reply_bytes(reply->element[0]);
	call->answer.log.list = list;
	call->answer.log.count = count - 1;
	redis_finish(command);
}

void redis_log_read(struct redis *redis, struct store_call *call)
{
	const struct store_log_read *request = call->request;
	struct redis_bus *own = redis->bus;
	struct redis_command *command = redis_command_new(redis, call, on_log);
	char life[24];

	if (own == NULL) {
		store_call_fail(call, -EPIPE, "STORE_BUS_CLOSED",
				"a log is read by who has joined the bus");
		redis_fail_later(redis, command);
		return;
	}
	redis_script(command, SCRIPT_bus_log, 3);
	for (enum redis_log_key key = REDIS_LOG_LIST; key <= REDIS_LOG_LIFE;
	     key++)
		redis_key(command, redis_log_key(own, request->channel,
						 request->name, key));
	snprintf(life, sizeof(life), "%" PRIx64, redis_random(redis));
	redis_text(command, life);
	redis_send(redis, command);
}
