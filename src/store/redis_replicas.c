#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>

#include "base/must.h"
#include "store/redis_internal.h"

/*
 * What has to be on replicas, too, before it is answered: its reply is kept
 * until a WAIT that was sent after it has been answered. One WAIT is under way
 * on a connection at a time, for all that was sent before it; what is sent
 * meanwhile gets the next one. So a replica that is away delays a call by two
 * of them, and not by one for each call before it.
 *
 * WAIT is about what the connection itself has written. A call that is sent
 * again after a lost connection may find its work done and write nothing: a
 * mark is written before each WAIT, after which everything earlier is counted.
 */

static void on_marked(struct redis *redis, struct redis_command *command,
		      const redisReply *reply)
{
	(void)redis;
	command->connection->replicas.is_marked =
		reply->type == REDIS_REPLY_INTEGER;
	redis_command_free(command);
}

static void answer_one(struct redis *redis, struct redis_command *command,
		       bool is_fine, int64_t count)
{
	redisReply *reply = command->reply;

	command->reply = NULL;
	if (is_fine) {
		command->on_reply(redis, command, reply);
	} else {
		if (command->call != NULL)
			store_call_fail(
				command->call, -EREMOTEIO,
				"STORE_NOT_REPLICATED",
				"it was done, but in %" PRIu32 " ms %" PRId64
				" of %" PRIu32 " replicas had it: a failover "
				"might undo it (see to the replicas, and ask "
				"again: that is safe)",
				redis->wait_ms, count, redis->wait_replicas);
		redis_finish(command);
	}
	freeReplyObject(reply);
}

static void on_waited(struct redis *redis, struct redis_command *command,
		      const redisReply *reply)
{
	struct redis_connection *connection = command->connection;
	struct redis_replicas *replicas = &connection->replicas;
	int64_t count = redis_reply_integer(reply);
	bool is_fine = replicas->is_marked &&
		       reply->type == REDIS_REPLY_INTEGER &&
		       count >= redis->wait_replicas;
	struct list covered;
	struct list *link;

	redis_command_free(command);
	replicas->is_waiting = replicas->is_marked = false;
	/* Their owners may ask for more, which waits for the next one. */
	list_init(&covered);
	while ((link = list_first(&replicas->held)) != NULL) {
		list_remove(link);
		list_add_last(&covered, link);
	}
	loop_defer(redis->store->loop, &connection->flush);
	while ((link = list_first(&covered)) != NULL) {
		list_remove(link);
		answer_one(redis, LIST_ENTRY(link, struct redis_command, link),
			   is_fine, count);
	}
}

void redis_replicas_ask(struct redis_connection *connection)
{
	struct redis *redis = connection->redis;
	struct redis_replicas *replicas = &connection->replicas;

	if (!replicas->is_owed || replicas->is_waiting)
		return;
	struct redis_command *mark = redis_command_new(redis, NULL, on_marked);
	struct redis_command *wait = redis_command_new(redis, NULL, on_waited);

	replicas->is_owed = false;
	replicas->is_waiting = true;
	mark->connection = wait->connection = connection;
	mark->is_repeatable = wait->is_repeatable = false;
	mark->takes_errors = wait->takes_errors = true;
	redis_text(mark, "HINCRBY");
	redis_key_tasks(mark, "_ctl");
	redis_text(mark, "waits");
	redis_text(mark, "1");
	redis_text(wait, "WAIT");
	redis_number(wait, redis->wait_replicas);
	redis_number(wait, redis->wait_ms);
	list_add_last(&connection->waiting, &mark->link);
	list_add_last(&connection->waiting, &wait->link);
}

void redis_replicas_hold(struct redis_connection *connection,
			 struct redis_command *command, redisReply *reply)
{
	command->reply = reply;
	command->is_sent = true; /* not to be taken back as if it were not */
	list_add_last(&connection->replicas.held, &command->link);
}

void redis_replicas_lost(struct redis_connection *connection,
			 struct list *again)
{
	struct redis_replicas *replicas = &connection->replicas;
	struct list *link;

	replicas->is_owed = replicas->is_waiting = replicas->is_marked = false;
	while ((link = list_first(&replicas->held)) != NULL) {
		struct redis_command *command =
			LIST_ENTRY(link, struct redis_command, link);

		list_remove(link);
		freeReplyObject(command->reply);
		command->reply = NULL;
		command->is_sent = false;
		list_add_last(again, link);
	}
}
