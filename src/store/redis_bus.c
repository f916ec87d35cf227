#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "base/mem.h"
#include "base/must.h"
#include "loop/timer.h"
#include "store/redis_bus_internal.h"

#define TICK_MS    250
#define PING_MS    1000  /* of silence, then it is asked */
#define CLOCK_MS   10000 /* how often the server's time is asked for */
#define REFUSAL_MS 10000 /* how often it is logged */
#define CLOCK_SLOW 500   /* an answer that took longer says too little */

/* SUBSCRIBE or UNSUBSCRIBE of one channel. Answers come in order, but what a
 * server does on its own, when a slot leaves it, looks like an answer too. */
struct ask {
	uint64_t number;
	uint64_t hash;
	bool is_on;
};

/* ---- names ---- */

struct store_bytes redis_bus_name(struct redis_bus *own,
				  struct store_bytes channel)
{
	struct buffer *name = &own->name;

	buffer_truncate(name, 0);
	buffer_append(name, own->prefix, own->prefix_length);
	if (channel.length > 0 && channel.data[0] != '/')
		buffer_append(name, ":", 1);
	buffer_append(name, channel.data, channel.length);
	if (own->redis->is_cluster)
		buffer_append(name, "}", 1);
	MUST(name->data != NULL); /* a prefix is not empty */
	return store_bytes(buffer_bytes(name), buffer_length(name));
}

struct store_bytes redis_log_key(struct redis_bus *own,
				 struct store_bytes channel,
				 struct store_bytes name,
				 enum redis_log_key key)
{
	static const char *const tails[] = {
		[REDIS_LOG_LIST] = ":log:",
		[REDIS_LOG_FACTS] = ":log-facts:",
		[REDIS_LOG_LIFE] = ":log-life",
	};
	struct store_bytes start = redis_bus_name(own, channel);
	struct buffer *room = &own->log_name;

	buffer_truncate(room, 0);
	buffer_append(room, start.data, start.length);
	buffer_append(room, tails[key], strlen(tails[key]));
	if (key != REDIS_LOG_LIFE)
		buffer_append(room, name.data, name.length);
	return store_bytes(buffer_bytes(room), buffer_length(room));
}

static bool short_name(const struct redis_bus *own, struct store_bytes name,
		       struct store_bytes *channel)
{
	size_t end = name.length - (own->redis->is_cluster ? 1 : 0);
	size_t at = own->prefix_length;

	if (name.length < at + (own->redis->is_cluster ? 1 : 0) ||
	    memcmp(name.data, own->prefix, at) != 0)
		return false;
	if (at < end && name.data[at] == ':')
		at++;
	*channel = store_bytes(name.data + at, end - at);
	return true;
}

/* ---- subscribing ---- */

static struct store_bus_channel *
first_to_tell(struct redis_bus *own, const struct redis_connection *link)
{
	LIST_EACH (&own->bus->channels, at) {
		struct store_bus_channel *channel =
			LIST_ENTRY(at, struct store_bus_channel, link);

		if (channel->node >= 0 && own->links[channel->node] == link &&
		    channel->is_up && channel->ask == 0)
			return channel;
	}
	return NULL;
}

/* Those that are up, though not asked for any more. */
static void tell_interrupted(struct redis_bus *own,
			     const struct redis_connection *link)
{
	struct store_bus_channel *channel;

	/* The callback may subscribe and unsubscribe: look anew after each. */
	while ((channel = first_to_tell(own, link)) != NULL)
		store_bus_set_up(own->bus, channel, false);
}

static int node_for(struct redis_bus *own,
		    const struct store_bus_channel *channel)
{
	struct redis *redis = own->redis;

	if (!redis->is_cluster)
		return 0;
	/* Without shards every node tells everything. */
	return redis->slots[redis_slot(
		redis_bus_name(own, store_bus_name(channel)))];
}

static struct redis_connection *link_to(struct redis_bus *own, int node)
{
	struct redis *redis = own->redis;
	struct redis_address at = redis->is_cluster
					  ? redis->nodes[node]->address
					  : redis->main->address;

	if (own->links[node] != NULL)
		return own->links[node];
	/* Sentinel is asked for each connection. */
	if (redis->sentinels != NULL)
		at.host = NULL;
	own->links[node] = redis_connection_open(redis, REDIS_BUS, &at);
	redis_connection_start(own->links[node]);
	return own->links[node];
}

static uint64_t ask_for(struct redis_bus *own, int node,
			const struct store_bus_channel *channel, bool is_on)
{
	static const char *const words[2][2] = {
		{ "UNSUBSCRIBE", "SUBSCRIBE" },
		{ "SUNSUBSCRIBE", "SSUBSCRIBE" },
	};
	struct redis_command *command =
		redis_command_new(own->redis, NULL, NULL);
	const struct ask ask = { ++own->last_ask, channel->hash, is_on };

	redis_text(command, words[redis_bus_is_sharded(own->redis)][is_on]);
	redis_bytes(command, redis_bus_name(own, store_bus_name(channel)));
	redis_connection_say(own->links[node], command);
	buffer_append(&own->asks[node], &ask, sizeof(ask));
	return ask.number;
}

/* Only where the connection is as it was when it was asked. */
static void stop_asking(struct redis_bus *own,
			const struct store_bus_channel *channel)
{
	if (channel->ask != 0 &&
	    own->links[channel->node]->state == REDIS_READY)
		DISCARD(ask_for(own, channel->node, channel, false));
}

/* Asks for it where it is, unless that has been done. */
static void place(struct redis_bus *own, struct store_bus_channel *channel)
{
	int node = node_for(own, channel);

	if (node < 0)
		return; /* nobody knows yet */
	if (channel->node != node) {
		stop_asking(own, channel);
		channel->ask = 0;
		channel->node = node;
	}
	struct redis_connection *link = link_to(own, node);

	if (!own->bus->is_clock_known)
		return; /* nobody could check what comes */
	/* One that has moved is told to be interrupted first. */
	if (channel->ask != 0 || channel->is_up || link->state != REDIS_READY)
		return;
	channel->ask = ask_for(own, node, channel, true);
}

static void place_each(struct redis_bus *own)
{
	LIST_EACH (&own->bus->channels, link)
		place(own, LIST_ENTRY(link, struct store_bus_channel, link));
}

static void place_all(struct redis_bus *own)
{
	place_each(own);
	for (size_t i = 0; i < REDIS_NODES_MAX; i++)
		if (own->links[i] != NULL)
			tell_interrupted(own, own->links[i]);
	place_each(own);
}

void redis_bus_slots_known(struct redis *redis)
{
	if (redis->bus != NULL)
		place_all(redis->bus);
}

void redis_bus_link_ready(struct redis *redis,
			  struct redis_connection *connection)
{
	(void)connection;
	if (redis->main != NULL)
		redis_connection_hurry(redis->main);
	place_all(redis->bus);
}

void redis_bus_link_lost(struct redis *redis,
			 struct redis_connection *connection)
{
	struct redis_bus *own = redis->bus;

	LIST_EACH (&own->bus->channels, link) {
		struct store_bus_channel *channel =
			LIST_ENTRY(link, struct store_bus_channel, link);

		if (channel->node >= 0 &&
		    own->links[channel->node] == connection)
			channel->ask = 0;
	}
	for (size_t i = 0; i < REDIS_NODES_MAX; i++)
		if (own->links[i] == connection)
			buffer_fini(&own->asks[i]);
	if (redis->is_cluster)
		redis_cluster_ask(redis);
	tell_interrupted(own, connection);
}

struct redis_connection *redis_bus_link(struct redis *redis)
{
	return redis->bus == NULL ? NULL : redis->bus->links[0];
}

static struct store_bus_channel *channel_asked(const struct redis_bus *own,
					       uint64_t number)
{
	LIST_EACH (&own->bus->channels, link) {
		struct store_bus_channel *channel =
			LIST_ENTRY(link, struct store_bus_channel, link);

		if (channel->ask == number)
			return channel;
	}
	return NULL;
}

static bool take_ask(struct redis_bus *own, size_t node, struct ask *ask)
{
	if (buffer_length(&own->asks[node]) == 0)
		return false;
	memcpy(ask, buffer_bytes(&own->asks[node]), sizeof(*ask));
	buffer_consume(&own->asks[node], sizeof(*ask));
	return true;
}

static bool is_answer(const struct redis_bus *own, size_t node, uint64_t hash,
		      bool is_on)
{
	struct ask ask;

	if (buffer_length(&own->asks[node]) == 0)
		return false;
	memcpy(&ask, buffer_bytes(&own->asks[node]), sizeof(ask));
	return ask.hash == hash && ask.is_on == is_on;
}

static void on_confirmed(struct redis_bus *own, size_t node,
			 const redisReply *reply, bool is_on)
{
	struct store_bytes name;
	struct ask ask = { 0 };

	if (!short_name(own, redis_reply_bytes(redis_reply_at(reply, 1)),
			&name))
		return;
	struct store_bus_channel *channel = store_bus_find(own->bus, name);
	bool was_asked = is_answer(own, node, store_bus_hash(name), is_on) &&
			 take_ask(own, node, &ask);

	/* An answer may be about an earlier time. */
	if (channel == NULL || channel->node != (int)node)
		return;
	if (is_on && was_asked && channel->ask == ask.number) {
		store_bus_set_up(own->bus, channel, true);
	} else if (!is_on && !was_asked && channel->is_up) {
		/* The slot is leaving this node. */
		channel->ask = 0;
		redis_cluster_ask(own->redis);
		store_bus_set_up(own->bus, channel, false);
	}
}

static void on_told(struct redis_bus *own, const redisReply *reply)
{
	struct store_bytes name;

	if (!short_name(own, redis_reply_bytes(redis_reply_at(reply, 1)),
			&name))
		return;
	const struct store_bus_channel *channel =
		store_bus_find(own->bus, name);

	/* Before it is up, it is about an earlier time. */
	if (channel != NULL && channel->is_up)
		store_bus_deliver(own->bus, name,
				  redis_reply_bytes(redis_reply_at(reply, 2)));
}

/* The tick tries it again, where the channel is then. */
static void on_error(struct redis_bus *own, size_t node, const char *text)
{
	struct ask ask;

	if (!redis_bus_starts(text, "MOVED ") &&
	    !redis_bus_starts(text, "CLUSTERDOWN") &&
	    redis_bus_now_ms(own) >= own->refusal_ms) {
		own->refusal_ms = redis_bus_now_ms(own) + REFUSAL_MS;
		log_warn(loop_log(own->redis->store->loop),
			 "subscription refused by=redis reason=\"%.120s\"",
			 text);
	}
	if (take_ask(own, node, &ask)) {
		struct store_bus_channel *channel =
			channel_asked(own, ask.number);

		if (channel != NULL)
			channel->ask = 0;
	}
	if (own->redis->is_cluster)
		redis_cluster_ask(own->redis);
}

static size_t node_of(const struct redis_bus *own,
		      const struct redis_connection *connection)
{
	size_t node = 0;

	while (own->links[node] != connection)
		node++;
	return node;
}

void redis_bus_reply(struct redis *redis, struct redis_connection *connection,
		     const redisReply *reply)
{
	struct redis_bus *own = redis->bus;
	size_t node = node_of(own, connection);

	if (reply->type == REDIS_REPLY_ERROR) {
		on_error(own, node, reply->str);
		return;
	}
	if (redis_reply_count(reply) < 2 ||
	    reply->element[0]->type != REDIS_REPLY_STRING)
		return;
	const char *kind = reply->element[0]->str;

	kind += redis_bus_is_sharded(redis) && kind[0] == 's' ? 1 : 0;
	if (strcmp(kind, "message") == 0)
		on_told(own, reply);
	else if (strcmp(kind, "subscribe") == 0)
		on_confirmed(own, node, reply, true);
	else if (strcmp(kind, "unsubscribe") == 0)
		on_confirmed(own, node, reply, false);
	/* else it is the answer to PING */
}

static void subscribe(struct store_bus *bus, struct store_bus_channel *channel)
{
	place(bus->back_end, channel);
}

static void unsubscribe(struct store_bus *bus,
			struct store_bus_channel *channel)
{
	stop_asking(bus->back_end, channel);
}

/* ---- what goes on by itself ---- */

/* A connection that only listens would not notice that the other end is
 * gone. */
static void check_link(struct redis_bus *own, struct redis_connection *link)
{
	uint64_t silent_ms = redis_bus_now_ms(own) - link->heard_ms;

	if (link->state != REDIS_READY || silent_ms < PING_MS)
		return;
	if (silent_ms >= own->redis->store->options.timeout_ms) {
		redis_connection_lose(link);
		return;
	}
	struct redis_command *ping = redis_command_new(own->redis, NULL, NULL);

	redis_text(ping, "PING");
	redis_connection_say(link, ping);
}

static int64_t local_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_REALTIME, &now);
	return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

static void on_clock(struct redis *redis, struct redis_command *command,
		     const redisReply *reply)
{
	struct redis_bus *own = redis->bus;
	int64_t asked_ms = (int64_t)command->detail;
	int64_t answered_ms = local_ms();

	command->on_dropped = NULL;
	redis_finish(command);
	if (own == NULL)
		return;
	own->is_asking_clock = false;
	/* One that had to wait for the connection says too little. */
	if (redis_reply_count(reply) != 2 || answered_ms < asked_ms ||
	    answered_ms - asked_ms > CLOCK_SLOW) {
		own->clock_ms = 0;
		return;
	}
	own->bus->clock_offset_ms =
		redis_reply_integer(reply->element[0]) * 1000 +
		redis_reply_integer(reply->element[1]) / 1000 -
		(asked_ms + answered_ms) / 2;
	if (!own->bus->is_clock_known) {
		own->bus->is_clock_known = true;
		place_all(own);
	}
}

static void on_clock_dropped(struct redis_command *command)
{
	if (command->redis->bus == NULL)
		return;
	command->redis->bus->is_asking_clock = false;
	command->redis->bus->clock_ms = 0;
}

static void ask_clock(struct redis_bus *own)
{
	struct redis_command *command =
		redis_command_new(own->redis, NULL, on_clock);

	own->is_asking_clock = true;
	own->clock_ms = redis_bus_now_ms(own);
	command->takes_errors = true;
	command->is_repeatable = false;
	command->on_dropped = on_clock_dropped;
	command->detail = (uint64_t)local_ms();
	redis_text(command, "TIME");
	redis_send(own->redis, command);
}

static void on_tick(void *owner)
{
	struct redis_bus *own = owner;
	bool has_down = false;

	redis_bus_check_bundles(own);
	for (size_t i = 0; i < REDIS_NODES_MAX; i++)
		if (own->links[i] != NULL)
			check_link(own, own->links[i]);
	if (!own->is_asking_clock &&
	    (own->clock_ms == 0 ||
	     redis_bus_now_ms(own) >= own->clock_ms + CLOCK_MS))
		ask_clock(own);
	LIST_EACH (&own->bus->channels, link)
		has_down |= !LIST_ENTRY(link, struct store_bus_channel, link)
				     ->is_up;
	if (!has_down)
		return;
	/* Their node may be another one by now. */
	if (own->redis->is_cluster)
		redis_cluster_ask(own->redis);
	place_each(own);
}

static void run_mark(struct loop_task *task)
{
	struct redis_bus *own = LIST_ENTRY(task, struct redis_bus, mark);

	own->bus->events->on_publishing(own->bus->owner);
}

void redis_bus_publishing(struct redis *redis)
{
	if (redis->bus == NULL)
		return;
	loop_defer(redis->store->loop, &redis->bus->mark);
	/* What others publish now is to be received. */
	for (size_t i = 0; i < REDIS_NODES_MAX; i++)
		if (redis->bus->links[i] != NULL)
			redis_connection_hurry(redis->bus->links[i]);
}

/* ---- joining and leaving ---- */

static int join(struct store_bus *bus, struct problem *problem)
{
	struct redis *redis = bus->store->back_end;
	struct redis_bus *own = mem_zalloc(sizeof(*own));

	(void)problem;
	bus->back_end = own;
	redis->bus = own;
	own->redis = redis;
	own->bus = bus;
	own->mark.run = run_mark;
	list_init(&own->bundles);
	own->prefix = mem_format("%s%s:bus", redis->is_cluster ? "{" : "",
				 bus->store->prefix);
	own->prefix_length = strlen(own->prefix);
	own->tick = timer_open(bus->store->loop, on_tick, own, false);
	timer_start(own->tick, TICK_MS, TICK_MS);
	ask_clock(own);
	return 0;
}

static void leave(struct store_bus *bus)
{
	struct redis_bus *own = bus->back_end;

	redis_bus_leave_bundles(own);
	own->redis->bus = NULL;
	for (size_t i = 0; i < REDIS_NODES_MAX; i++) {
		redis_connection_close(own->links[i]);
		buffer_fini(&own->asks[i]);
	}
	timer_close(own->tick);
	loop_undefer(&own->mark);
	buffer_fini(&own->name);
	buffer_fini(&own->log_name);
	free(own->prefix);
	free(own);
}

static int secret(struct store *store, char text[STORE_BUS_SECRET_BYTES],
		  struct problem *problem)
{
	(void)store;
	(void)text;
	(void)problem;
	return -EREMOTE;
}

const struct store_bus_ops redis_bus_ops = {
	.join = join,
	.leave = leave,
	.subscribe = subscribe,
	.unsubscribe = unsubscribe,
	.publish = redis_bus_publish,
	.forget = redis_bus_forget,
	.secret = secret,
};
