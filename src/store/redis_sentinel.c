#include <stdlib.h>

#include "base/mem.h"
#include "base/must.h"
#include "store/redis_internal.h"

/*
 * The Sentinels are asked in turn, the one that answered last first, each time
 * a connection is about to be made: whoever was the primary may be none now.
 */
struct redis_sentinels {
	struct redis_connection *list[STORE_HOSTS_MAX];
	size_t count;
	size_t current;
	size_t failures; /* since somebody answered */
	bool is_asking;
};

static void ask(struct redis *redis);

static void give_up(struct redis *redis)
{
	struct redis_connection *const waiting[] = { redis->main,
						     redis->blocking,
						     redis_bus_link(redis) };

	redis->sentinels->is_asking = false;
	redis->sentinels->failures = 0;
	for (size_t i = 0; i < 3; i++)
		if (waiting[i] != NULL && waiting[i]->state == REDIS_RESOLVING)
			redis_connection_lose(waiting[i]);
}

static void ask_next(struct redis *redis)
{
	struct redis_sentinels *sentinels = redis->sentinels;

	sentinels->current = (sentinels->current + 1) % sentinels->count;
	if (++sentinels->failures >= sentinels->count)
		give_up(redis);
	else
		ask(redis);
}

static void on_address(struct redis *redis, struct redis_command *command,
		       const redisReply *reply)
{
	struct redis_sentinels *sentinels = redis->sentinels;

	redis_command_free(command);
	if (redis_reply_count(reply) != 2) {
		ask_next(redis); /* it knows no primary of that name */
		return;
	}
	int64_t port = redis_reply_integer(reply->element[1]);

	sentinels->is_asking = false;
	sentinels->failures = 0;
	redis_connection_go(redis->main, reply->element[0]->str,
			    (uint16_t)port);
	if (redis->blocking != NULL)
		redis_connection_go(redis->blocking, reply->element[0]->str,
				    (uint16_t)port);
	if (redis_bus_link(redis) != NULL)
		redis_connection_go(redis_bus_link(redis),
				    reply->element[0]->str, (uint16_t)port);
}

static void ask(struct redis *redis)
{
	struct redis_sentinels *sentinels = redis->sentinels;
	struct redis_connection *connection =
		sentinels->list[sentinels->current];
	struct redis_command *command =
		redis_command_new(redis, NULL, on_address);

	command->is_repeatable = false;
	command->takes_errors = true;
	redis_text(command, "SENTINEL");
	redis_text(command, "get-master-addr-by-name");
	redis_text(command, redis->url.master);
	redis_connection_send(connection, command);
}

void redis_sentinel_ask(struct redis *redis)
{
	if (redis->sentinels->is_asking)
		return;
	redis->sentinels->is_asking = true;
	ask(redis);
}

void redis_sentinel_lost(struct redis *redis,
			 struct redis_connection *connection)
{
	struct redis_sentinels *sentinels = redis->sentinels;
	struct list *link;

	/* The question goes to another one. */
	while ((link = list_first(&connection->waiting)) != NULL) {
		list_remove(link);
		redis_command_free(
			LIST_ENTRY(link, struct redis_command, link));
	}
	if (sentinels->is_asking &&
	    sentinels->list[sentinels->current] == connection)
		ask_next(redis);
}

void redis_sentinel_open(struct redis *redis)
{
	struct redis_sentinels *sentinels = mem_zalloc(sizeof(*sentinels));

	redis->sentinels = sentinels;
	for (size_t i = 0; i < redis->url.host_count; i++) {
		struct redis_address at = { .host = redis->url.hosts[i].name,
					    .port = redis->url.hosts[i].port };

		sentinels->list[sentinels->count++] =
			redis_connection_open(redis, REDIS_SENTINEL, &at);
	}
}

void redis_sentinel_close(struct redis *redis)
{
	if (redis->sentinels == NULL)
		return;
	for (size_t i = 0; i < redis->sentinels->count; i++)
		redis_connection_close(redis->sentinels->list[i]);
	free(redis->sentinels);
	redis->sentinels = NULL;
}
