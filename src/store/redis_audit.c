/* Does what is kept of tasks fit together? */
#include "store/redis_internal.h"

#define PIECE 300

static void on_audited(struct redis *redis, struct redis_command *command,
		       const redisReply *reply)
{
	struct store_call *call = command->call;

	(void)redis;
	if (redis_reply_count(reply) != STORE_DIFFERENCE_KINDS + 3) {
		redis_reply_odd(command);
		return;
	}
	redisReply **at = reply->element;

	call->answer.result = STORE_DONE;
	call->answer.audit.looked_at = (uint64_t)redis_reply_integer(*at++);
	for (size_t i = 0; i < STORE_DIFFERENCE_KINDS; i++)
		call->answer.audit.found[i] =
			(uint64_t)redis_reply_integer(*at++);
	call->answer.audit.repaired = (uint64_t)redis_reply_integer(*at++);
	call->answer.audit.cursor = redis_reply_bytes(*at);
	redis_finish(command);
}

static bool is_number(struct store_bytes text)
{
	for (size_t i = 0; i < text.length; i++)
		if (text.data[i] < '0' || text.data[i] > '9')
			return false;
	return text.length > 0;
}

/* A cursor is a letter, a number, '|', and a queue. */
void redis_audit(struct redis *redis, struct store_call *call)
{
	static const char *const keys[] = {
		"data",      "_meta",   "processing", "delayed",
		"_dead",     "_uniq",   "_errors",    "_ctl",
		"_progress", "_events", "_queues",    "_audit",
	};
	const struct store_audit *request = call->request;
	struct store_bytes cursor = request->cursor;
	struct redis_queues queues = { .count = 0 };
	size_t count = sizeof(keys) / sizeof(keys[0]);
	const char *bar = cursor.length == 0
				  ? NULL
				  : memchr(cursor.data, '|', cursor.length);
	size_t head = bar == NULL ? 0 : (size_t)(bar - cursor.data);

	if (head < 2 || !is_number(store_bytes(cursor.data + 1, head - 1))) {
		cursor = store_text("l0|");
		head = 2;
	}
	redis_queue_index(&queues, store_bytes(cursor.data + head + 1,
					       cursor.length - head - 1));
	struct redis_command *command =
		redis_command_new(redis, call, on_audited);

	redis_script(command, SCRIPT_audit, count + redis_queue_keys(&queues));
	for (size_t i = 0; i < count; i++)
		redis_key_tasks(command, keys[i]);
	redis_write_queue_keys(command, &queues);
	redis_bytes(command, store_bytes(cursor.data, 1));
	redis_bytes(command, store_bytes(cursor.data + 1, head - 1));
	redis_number(command, PIECE);
	redis_number(command, request->is_repairing);
	redis_write_queues(command, &queues);
	redis_send(redis, command);
}
