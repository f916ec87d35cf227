#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/must.h"
#include "store/redis_internal.h"

/*
 * New tasks are refused while there still is room, so that what tasks do on
 * their way (and whatever else lives there) never meets the end of it. The
 * server is asked about its memory as tasks are enqueued, not with each: once
 * a second, and sooner where what was sent since might have filled half of
 * what was left. Where it may evict what has a time to live it makes room
 * itself: then a full memory is how it should be, while there is such a thing.
 */

#define FULL_PERCENT  80
#define ASK_MS        1000
#define ASK_AGAIN_MS  100 /* while it is nearly full */
#define ASK_LEAST_MS  2   /* as it costs the server some 0.1 */
#define TAKES_MORE_BY 3   /* than the bytes that are sent: its own records */

static uint64_t field(const char *info, const char *name)
{
	const char *at = strstr(info, name);

	return at == NULL ? 0 : strtoull(at + strlen(name), NULL, 10);
}

void redis_memory_read(struct redis *redis, const char *info)
{
	struct redis_memory *memory = &redis->memory;
	uint64_t most = field(info, "\nmaxmemory:");
	uint64_t used = field(info, "\nused_memory:");
	uint64_t others = field(info, "\nmem_not_counted_for_evict:");
	bool is_evicting =
		strstr(info, "\nmaxmemory_policy:volatile") != NULL &&
		strstr(info, "expires=") != NULL &&
		(strstr(info, "expires=0") == NULL ||
		 strstr(info, "expires=0") != strstr(info, "expires="));
	uint64_t line = most / 100 * FULL_PERCENT;

	used -= others < used ? others : used;
	memory->is_nearly_full = most > 0 && used >= line && !is_evicting;
	memory->left_bytes = most > 0 && used < line ? line - used : UINT64_MAX;
	memory->sent_bytes = 0;
}

static void on_info(struct redis *redis, struct redis_command *command,
		    const redisReply *reply)
{
	redis->memory.is_asking = false;
	if (reply->type == REDIS_REPLY_STRING)
		redis_memory_read(redis, reply->str);
	redis_command_free(command);
}

/* Where the tasks are. */
static void ask(struct redis *redis, uint64_t now_ms)
{
	struct redis_memory *memory = &redis->memory;
	struct redis_command *command = redis_command_new(redis, NULL, on_info);

	memory->is_asking = true;
	memory->asked_ms = now_ms;
	command->takes_errors = true;
	command->slot = redis_tasks_slot(redis);
	redis_text(command, "INFO");
	redis_send(redis, command);
}

static bool is_time_to_ask(const struct redis_memory *memory, uint64_t now_ms)
{
	uint64_t since_ms = now_ms - memory->asked_ms;

	if (memory->is_asking)
		return since_ms >= ASK_MS * 10; /* that one was lost */
	if (memory->is_nearly_full)
		return since_ms >= ASK_AGAIN_MS;
	return since_ms >= ASK_MS ||
	       (since_ms >= ASK_LEAST_MS &&
		memory->sent_bytes * TAKES_MORE_BY > memory->left_bytes / 2);
}

bool redis_memory_takes(struct redis *redis, struct redis_command *command)
{
	struct redis_memory *memory = &redis->memory;
	uint64_t now_ms = loop_now_ms(redis->store->loop);

	memory->sent_bytes += buffer_length(&command->bytes);
	if (is_time_to_ask(memory, now_ms))
		ask(redis, now_ms);
	if (!memory->is_nearly_full)
		return true;
	store_call_fail(command->call, -ENOSPC, "STORE_NEARLY_FULL",
			"Redis has used %d %% of its maxmemory, and the rest "
			"is for the tasks that it has (let them be done, or "
			"give it more)",
			FULL_PERCENT);
	redis_fail_later(redis, command);
	return false;
}
