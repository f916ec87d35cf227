#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "base/mem.h"
#include "base/must.h"
#include "loop/timer.h"
#include "store/redis_internal.h"
#include "store/store_bus_internal.h"

#define TICK_MS      250
#define PING_MS      1000  /* of silence, then it is asked */
#define CLOCK_MS     10000 /* how often the server's time is asked for */
#define REFUSAL_MS   10000 /* how often it is logged */
#define CLOCK_SLOW   500   /* an answer that took longer says too little */
#define BUNDLE_BYTES ((size_t)1 << 18)

/*
 * What we subscribe to comes over connections of their own, one to each node
 * that has a channel of ours (`links`; without a Cluster the first one). They
 * reconnect by themselves, and then ask for their channels again.
 *
 * What we publish goes over the ordinary connections, gathered in bundles: a
 * command of many, each with a reply of its own. A bundle that was on its way
 * when the connection broke is sent again from the first one without a reply;
 * who gets a message twice knows it by its number.
 */
struct redis_bus {
	struct redis *redis;
	struct store_bus *bus;
	struct redis_connection *links[REDIS_NODES_MAX];
	struct buffer asks[REDIS_NODES_MAX]; /* struct ask, not answered yet */
	uint64_t last_ask;
	struct redis_command *open[REDIS_NODES_MAX + 1]; /* that take more */
	struct list bundles;
	size_t waiting_bytes; /* in all bundles */
	struct timer *tick;
	uint64_t clock_ms; /* when the time was asked for */
	bool is_asking_clock;
	uint64_t refusal_ms;
	struct buffer name; /* of a channel, in full */
	char *prefix;       /* that all of them begin with */
	size_t prefix_length;
	struct loop_task mark;
};

/* SUBSCRIBE or UNSUBSCRIBE of one channel. Answers come in order, but what a
 * server does on its own, when a slot leaves it, looks like an answer too. */
struct ask {
	uint64_t number;
	uint64_t hash;
	bool is_on;
};

struct entry {
	store_bus_published_fn on_published;
	void *owner;
	size_t bytes;
};

struct bundle {
	struct list link;
	struct redis_bus *bus; /* NULL: left meanwhile */
	struct redis_command *command;
	uint64_t since_ms;
	size_t open;           /* its place among those */
	struct buffer entries; /* that have no reply yet */
};

static uint64_t now_ms(const struct redis_bus *own)
{
	return loop_now_ms(own->redis->store->loop);
}

/* ---- names ---- */

/* PREFIX:bus, and what follows; on a Cluster all of it in braces. Good until
 * the next one. */
static struct store_bytes full_name(struct redis_bus *own,
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
	return store_bytes(buffer_bytes(name), buffer_length(name));
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

static bool is_sharded(const struct redis *redis)
{
	return redis->is_cluster && !redis->has_no_shards;
}

/* ---- publishing ---- */

static struct bundle *bundle_of(const struct redis_command *command)
{
	return command->bundle;
}

static size_t entry_count(const struct bundle *bundle)
{
	return buffer_length(&bundle->entries) / sizeof(struct entry);
}

/* The first one has its answer. */
static struct entry take_entry(struct bundle *bundle)
{
	struct entry entry;

	MUST(entry_count(bundle) > 0);
	memcpy(&entry, buffer_bytes(&bundle->entries), sizeof(entry));
	buffer_consume(&bundle->entries, sizeof(entry));
	buffer_consume(&bundle->command->bytes, entry.bytes);
	if (bundle->bus != NULL)
		bundle->bus->waiting_bytes -= entry.bytes;
	return entry;
}

static void answer_entry(const struct bundle *bundle, const struct entry *entry,
			 int error, int64_t receivers)
{
	if (bundle->bus == NULL)
		return;
	if (error < 0)
		bundle->bus->bus->counters.dropped++;
	if (entry->on_published != NULL)
		entry->on_published(entry->owner, error, receivers);
}

static void close_bundle(struct bundle *bundle)
{
	struct redis_bus *own = bundle->bus;

	if (own != NULL && own->open[bundle->open] == bundle->command)
		own->open[bundle->open] = NULL;
}

static void free_bundle(struct bundle *bundle)
{
	close_bundle(bundle);
	if (bundle->bus != NULL)
		list_remove(&bundle->link);
	buffer_fini(&bundle->entries);
	free(bundle);
}

static void fail_bundle(struct bundle *bundle, int error)
{
	close_bundle(bundle);
	while (entry_count(bundle) > 0) {
		struct entry entry = take_entry(bundle);

		answer_entry(bundle, &entry, error, -1);
	}
}

/* The command ends without its replies, and frees itself. */
static void on_bundle_dropped(struct redis_command *command)
{
	struct bundle *bundle = bundle_of(command);

	fail_bundle(bundle, -ECONNRESET);
	free_bundle(bundle);
}

static void on_published(struct redis *redis, struct redis_command *command,
			 const redisReply *reply);

static struct redis_command *new_bundle(struct redis_bus *own, size_t open)
{
	struct redis_command *command =
		redis_command_new(own->redis, NULL, on_published);
	struct bundle *bundle = mem_zalloc(sizeof(*bundle));

	command->is_bundle = true;
	command->takes_errors = true;
	command->bundle = bundle;
	command->on_dropped = on_bundle_dropped;
	/* The room for a head, which a bundle has none of. */
	buffer_consume(&command->bytes, buffer_length(&command->bytes));
	bundle->bus = own;
	bundle->command = command;
	bundle->open = open;
	bundle->since_ms = now_ms(own);
	list_add_last(&own->bundles, &bundle->link);
	return command;
}

static char *put_length(char *at, char kind, size_t number)
{
	char digits[24];
	size_t count = 0;

	do
		digits[count++] = (char)('0' + number % 10);
	while ((number /= 10) != 0);
	*at++ = kind;
	while (count > 0)
		*at++ = digits[--count];
	*at++ = '\r';
	*at++ = '\n';
	return at;
}

static char *put_argument(char *at, struct store_bytes bytes)
{
	at = put_length(at, '$', bytes.length);
	if (bytes.data != NULL)
		memcpy(at, bytes.data, bytes.length);
	at += bytes.length;
	*at++ = '\r';
	*at++ = '\n';
	return at;
}

/* How many bytes it takes. */
static size_t add_publish(struct redis_command *command, bool is_to_shard,
			  struct store_bytes channel, struct store_bytes bytes)
{
	char *room = (char *)buffer_reserve(&command->bytes,
					    channel.length + bytes.length + 96);
	char *at = put_length(room, '*', 3);

	at = put_argument(at, store_text(is_to_shard ? "SPUBLISH" : "PUBLISH"));
	at = put_argument(at, channel);
	at = put_argument(at, bytes);
	buffer_extend(&command->bytes, (size_t)(at - room));
	return (size_t)(at - room);
}

/* Another way for the first one alone: its slot has moved, or the server is
 * not ready for it. */
static struct redis_command *split_first(struct bundle *bundle)
{
	struct redis_bus *own = bundle->bus;
	struct redis_command *command = new_bundle(own, REDIS_NODES_MAX);
	struct bundle *single = bundle_of(command);
	const struct entry *first =
		(const void *)buffer_bytes(&bundle->entries);
	size_t bytes = first->bytes;

	buffer_append(&command->bytes, buffer_bytes(&bundle->command->bytes),
		      bytes);
	buffer_append(&single->entries, first, sizeof(*first));
	single->since_ms = bundle->since_ms;
	command->slot = bundle->command->slot;
	command->tries = bundle->command->tries;
	own->waiting_bytes += bytes;
	DISCARD(take_entry(bundle)); /* its copy goes on */
	return command;
}

static bool starts(const char *text, const char *with)
{
	return strncmp(text, with, strlen(with)) == 0;
}

/* True: it is under way once more. */
static bool is_cured(struct bundle *bundle, const char *text)
{
	struct redis *redis = bundle->command->redis;

	if (bundle->bus == NULL)
		return false;
	if (redis->is_cluster &&
	    (starts(text, "MOVED ") || starts(text, "ASK "))) {
		redis_cluster_redirect(redis, split_first(bundle), text);
		return true;
	}
	if (starts(text, "LOADING") || starts(text, "TRYAGAIN") ||
	    starts(text, "CLUSTERDOWN") || starts(text, "MASTERDOWN") ||
	    starts(text, "READONLY") || starts(text, "BUSY ")) {
		redis_command_later(split_first(bundle));
		return true;
	}
	return false;
}

static void on_published(struct redis *redis, struct redis_command *command,
			 const redisReply *reply)
{
	struct bundle *bundle = bundle_of(command);

	(void)redis;
	if (reply->type == REDIS_REPLY_INTEGER) {
		struct entry entry = take_entry(bundle);

		answer_entry(bundle, &entry, 0,
			     command->redis->is_cluster ? -1 : reply->integer);
	} else if (reply->type != REDIS_REPLY_ERROR ||
		   !is_cured(bundle, reply->str)) {
		struct entry entry = take_entry(bundle);
		bool is_refused = reply->type == REDIS_REPLY_ERROR &&
				  starts(reply->str, "NOPERM");

		answer_entry(bundle, &entry, is_refused ? -EACCES : -EIO, -1);
	}
	if (entry_count(bundle) > 0)
		return; /* it is still the connection's */
	redis_finish(command);
}

/* Where the message goes, as far as is known: those to one node are sent
 * together. */
static size_t open_for(const struct redis_bus *own, unsigned slot)
{
	const struct redis *redis = own->redis;

	if (!redis->is_cluster)
		return 0;
	return redis->slots[slot] >= 0 ? (size_t)redis->slots[slot]
				       : REDIS_NODES_MAX;
}

static struct redis_command *open_bundle(struct redis_bus *own, unsigned slot)
{
	size_t open = open_for(own, slot);
	struct redis_command *command = own->open[open];

	if (command != NULL && !command->is_sent &&
	    buffer_length(&command->bytes) < BUNDLE_BYTES)
		return command;
	command = new_bundle(own, open);
	command->slot = slot;
	/* One whose node is not known is for one slot, so for one message. */
	if (open < REDIS_NODES_MAX)
		own->open[open] = command;
	return command;
}

static int publish(struct store_bus *bus, struct store_bytes channel,
		   struct store_bytes bytes,
		   store_bus_published_fn on_published_fn, void *owner)
{
	struct redis_bus *own = bus->back_end;
	struct store_bytes name = full_name(own, channel);

	if (own->waiting_bytes + bytes.length > STORE_BUS_WAITING_BYTES) {
		bus->counters.dropped++;
		return -ENOBUFS;
	}
	struct redis_command *command = open_bundle(
		own, own->redis->is_cluster ? redis_slot(name) : REDIS_SLOTS);
	struct bundle *bundle = bundle_of(command);
	bool is_new = entry_count(bundle) == 0;
	const struct entry entry = {
		.on_published = on_published_fn,
		.owner = owner,
		.bytes = add_publish(command, is_sharded(own->redis), name,
				     bytes),
	};

	buffer_append(&bundle->entries, &entry, sizeof(entry));
	own->waiting_bytes += entry.bytes;
	if (is_new)
		redis_send(own->redis, command);
	else
		command->more_replies++;
	return 0;
}

static void forget(struct store_bus *bus, const void *owner)
{
	struct redis_bus *own = bus->back_end;

	LIST_EACH (&own->bundles, link) {
		struct bundle *bundle = LIST_ENTRY(link, struct bundle, link);
		struct entry *list = (void *)buffer_bytes(&bundle->entries);

		for (size_t i = 0; i < entry_count(bundle); i++)
			if (list[i].owner == owner)
				list[i].on_published = NULL;
	}
}

/* What has waited for too long to be sent; and who does not answer. */
static void check_bundles(struct redis_bus *own)
{
	uint64_t timeout_ms = own->redis->store->options.timeout_ms;

	while (!list_is_empty(&own->bundles)) {
		struct bundle *bundle =
			LIST_ENTRY(own->bundles.next, struct bundle, link);
		struct redis_command *command = bundle->command;

		if (bundle->since_ms + timeout_ms > now_ms(own))
			return;
		if (command->is_sent) {
			/* One that was lost already is sent again later. */
			redis_connection_suspect(command->connection);
			return;
		}
		list_remove(&command->link);
		fail_bundle(bundle, -ETIMEDOUT);
		redis_finish(command);
	}
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
	return redis
		->slots[redis_slot(full_name(own, store_bus_name(channel)))];
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

	redis_text(command, words[is_sharded(own->redis)][is_on]);
	redis_bytes(command, full_name(own, store_bus_name(channel)));
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

	if (!starts(text, "MOVED ") && !starts(text, "CLUSTERDOWN") &&
	    now_ms(own) >= own->refusal_ms) {
		own->refusal_ms = now_ms(own) + REFUSAL_MS;
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

	kind += is_sharded(redis) && kind[0] == 's' ? 1 : 0;
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
	uint64_t silent_ms = now_ms(own) - link->heard_ms;

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
	own->clock_ms = now_ms(own);
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

	check_bundles(own);
	for (size_t i = 0; i < REDIS_NODES_MAX; i++)
		if (own->links[i] != NULL)
			check_link(own, own->links[i]);
	if (!own->is_asking_clock &&
	    (own->clock_ms == 0 || now_ms(own) >= own->clock_ms + CLOCK_MS))
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

	struct list *link;

	while ((link = list_take_first(&own->bundles)) != NULL)
		LIST_ENTRY(link, struct bundle, link)->bus = NULL;
	own->redis->bus = NULL;
	for (size_t i = 0; i < REDIS_NODES_MAX; i++) {
		redis_connection_close(own->links[i]);
		buffer_fini(&own->asks[i]);
	}
	timer_close(own->tick);
	loop_undefer(&own->mark);
	buffer_fini(&own->name);
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
	.publish = publish,
	.forget = forget,
	.secret = secret,
};
