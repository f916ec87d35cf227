/* A queue whose server is gone, moved to the global one. */
#include "store/redis_internal.h"

#define PIECE     500
#define FROM_LIST (-1)
#define OVER      (-2)

struct adoption {
	struct store_bytes mark; /* the claims' of its queue take it away */
	int64_t from;
	uint64_t moved;
};

static void adopt_some(struct redis *redis, struct store_call *call,
		       struct adoption *adoption);

static void on_adopted(struct redis *redis, struct redis_command *command,
		       const redisReply *reply)
{
	struct store_call *call = command->call;
	struct adoption *adoption =
		(struct adoption *)(uintptr_t)command->detail;

	if (redis_reply_count(reply) != 3) {
		redis_reply_odd(command);
		return;
	}
	int64_t mark = redis_reply_integer(reply->element[0]);
	struct store_bytes text = redis_reply_bytes(reply->element[0]);

	adoption->moved += (uint64_t)redis_reply_integer(reply->element[1]);
	adoption->from = redis_reply_integer(reply->element[2]);
	call->answer.result = mark == -1 ? STORE_BUSY : STORE_DONE;
	call->answer.number.value = adoption->moved;
	if (adoption->from == OVER || call->is_answered) {
		redis_finish(command);
		return;
	}
	if (adoption->mark.length == 0)
		adoption->mark =
			arena_copy(&call->arena, text.data, text.length);
	redis_command_free(command);
	adopt_some(redis, call, adoption);
}

static void adopt_some(struct redis *redis, struct store_call *call,
		       struct adoption *adoption)
{
	static const char *const keys[] = { "_meta", "delayed", "_ctl",
					    "_events" };
	const struct store_adopt_queue *request = call->request;
	struct redis_command *command =
		redis_command_new(redis, call, on_adopted);
	struct redis_queues queues = { .count = 0 };
	size_t count = sizeof(keys) / sizeof(keys[0]);

	redis_queue_index(&queues, (struct store_bytes){ "", 0 });
	redis_queue_index(&queues, request->queue);
	command->detail = (uint64_t)(uintptr_t)adoption;
	redis_script(command, SCRIPT_adopt, count + redis_queue_keys(&queues));
	for (size_t i = 0; i < count; i++)
		redis_key_tasks(command, keys[i]);
	redis_write_queue_keys(command, &queues);
	redis_number(command, request->after_ms);
	redis_bytes(command, adoption->mark);
	redis_integer(command, adoption->from);
	redis_number(command, PIECE);
	redis_write_queues(command, &queues);
	redis_send(redis, command);
}

void redis_adopt_queue(struct redis *redis, struct store_call *call)
{
	struct adoption *adoption =
		arena_take_zeroed(&call->arena, 1, sizeof(*adoption));

	adoption->mark = (struct store_bytes){ "", 0 };
	adoption->from = FROM_LIST;
	adopt_some(redis, call, adoption);
}
