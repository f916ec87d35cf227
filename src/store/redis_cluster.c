#include <stdlib.h>

#include "base/must.h"
#include "store/redis_internal.h"

#define HOPS_MAX 8 /* at a stretch */

static int find_node(struct redis *redis, const char *host, size_t length,
		     uint16_t port)
{
	for (size_t i = 0; i < redis->node_count; i++) {
		const struct redis_address *at = &redis->nodes[i]->address;

		if (at->port == port && strlen(at->host) == length &&
		    memcmp(at->host, host, length) == 0)
			return (int)i;
	}
	if (redis->node_count == REDIS_NODES_MAX || length == 0 || length > 255)
		return -1;
	char name[256];
	struct redis_address at = { .host = name, .port = port };

	memcpy(name, host, length);
	name[length] = '\0';
	redis->nodes[redis->node_count] =
		redis_connection_open(redis, REDIS_MAIN, &at);
	return (int)redis->node_count++;
}

/* ---- which node has what ---- */

/* What waits for a node that is away may be another's to do by now. */
static void route_again(struct redis *redis)
{
	for (size_t i = 0; i < redis->node_count; i++) {
		struct redis_connection *node = redis->nodes[i];
		struct list again;
		struct list *link;

		if (node->state == REDIS_READY)
			continue;
		list_init(&again);
		while ((link = list_first(&node->waiting)) != NULL) {
			list_remove(link);
			list_add_last(&again, link);
		}
		while ((link = list_first(&again)) != NULL) {
			list_remove(link);
			redis_send(redis, LIST_ENTRY(link, struct redis_command,
						     link));
		}
	}
}

static void read_range(struct redis *redis, const redisReply *range)
{
	int64_t first = redis_reply_integer(redis_reply_at(range, 0));
	int64_t last = redis_reply_integer(redis_reply_at(range, 1));
	const redisReply *primary = redis_reply_at(range, 2);
	struct store_bytes host = redis_reply_bytes(redis_reply_at(primary, 0));
	int64_t port = redis_reply_integer(redis_reply_at(primary, 1));

	if (first < 0 || last >= REDIS_SLOTS || host.length == 0)
		return;
	int node = find_node(redis, host.data, host.length, (uint16_t)port);

	for (int64_t slot = first; slot <= last; slot++)
		redis->slots[slot] = (int16_t)node;
}

static void on_slots(struct redis *redis, struct redis_command *command,
		     const redisReply *reply)
{
	redis->is_asking_slots = false;
	redis_command_free(command);
	for (size_t i = 0; i < redis_reply_count(reply); i++)
		read_range(redis, reply->element[i]);
	redis->has_slots |= redis_reply_count(reply) > 0;
	route_again(redis);
	if (redis->has_slots)
		redis_cluster_known(redis);
	redis_bus_slots_known(redis);
}

static void ask_slots(struct redis *redis, struct redis_connection *node)
{
	if (redis->is_asking_slots)
		return;
	struct redis_command *command =
		redis_command_new(redis, NULL, on_slots);

	redis->is_asking_slots = true;
	command->takes_errors = true;
	redis_text(command, "CLUSTER");
	redis_text(command, "SLOTS");
	redis_connection_send(node, command);
}

static struct redis_connection *any_ready(struct redis *redis)
{
	for (size_t i = 0; i < redis->node_count; i++)
		if (redis->nodes[i]->state == REDIS_READY)
			return redis->nodes[i];
	return NULL;
}

bool redis_cluster_ready(struct redis *redis,
			 struct redis_connection *connection)
{
	if (!redis->has_slots)
		ask_slots(redis, connection);
	return redis->has_slots;
}

void redis_cluster_lost(struct redis *redis,
			struct redis_connection *connection)
{
	struct redis_connection *other = any_ready(redis);

	/* A question that was asked of it will not be answered. */
	LIST_EACH (&connection->waiting, link) {
		struct redis_command *command =
			LIST_ENTRY(link, struct redis_command, link);

		if (command->on_reply != on_slots)
			continue;
		list_remove(link);
		redis_command_free(command);
		redis->is_asking_slots = false;
	}
	if (other != NULL)
		ask_slots(redis, other);
}

void redis_cluster_ask(struct redis *redis)
{
	struct redis_connection *node = any_ready(redis);

	if (node != NULL)
		ask_slots(redis, node);
}

struct redis_connection *
redis_cluster_route(struct redis *redis, const struct redis_command *command)
{
	int node = command->node;

	if (node < 0 && command->slot < REDIS_SLOTS)
		node = redis->slots[command->slot];
	if (node >= 0 && (size_t)node < redis->node_count)
		return redis->nodes[node];
	/* Whoever gets it says where it belongs. */
	struct redis_connection *any = any_ready(redis);

	return any != NULL ? any : redis->nodes[0];
}

/* MOVED SLOT HOST:PORT, or ASK: for this once, while a slot is on its way. */
void redis_cluster_redirect(struct redis *redis, struct redis_command *command,
			    const char *text)
{
	bool is_moved = text[0] == 'M';
	const char *number = strchr(text, ' ');
	const char *place = strrchr(text, ' ');
	const char *colon = strrchr(text, ':');
	unsigned long slot = REDIS_SLOTS;
	int node = -1;

	if (number != place && colon > place) {
		slot = strtoul(number, NULL, 10);
		node = find_node(redis, place + 1, (size_t)(colon - place) - 1,
				 (uint16_t)strtoul(colon + 1, NULL, 10));
	}
	if (node < 0 || slot >= REDIS_SLOTS) {
		redis_command_failed(command, text);
		return;
	}
	/* Sent to and fro: a slot that is on its way takes a while. */
	if (++command->tries % HOPS_MAX == 0) {
		redis_command_later(command);
		return;
	}
	if (is_moved) {
		redis->slots[slot] = (int16_t)node;
		redis_send(redis, command);
		return;
	}
	struct redis_command *asking = redis_command_new(redis, NULL, NULL);

	asking->takes_errors = true;
	redis_text(asking, "ASKING");
	redis_connection_send(redis->nodes[node], asking);
	redis_connection_send(redis->nodes[node], command);
}

bool redis_cluster_next(const struct redis *redis, int *node)
{
	for (size_t i = (size_t)*node + 1; i < redis->node_count; i++)
		for (size_t slot = 0; slot < REDIS_SLOTS; slot++)
			if (redis->slots[slot] == (int16_t)i) {
				*node = (int)i;
				return true;
			}
	return false;
}

void redis_cluster_open(struct redis *redis)
{
	for (size_t i = 0; i < REDIS_SLOTS; i++)
		redis->slots[i] = -1;
	for (size_t i = 0; i < redis->url.host_count; i++)
		DISCARD(find_node(redis, redis->url.hosts[i].name,
				  strlen(redis->url.hosts[i].name),
				  redis->url.hosts[i].port));
	for (size_t i = 0; i < redis->node_count; i++)
		redis_connection_start(redis->nodes[i]);
}
