/* What is published over Redis: bundles of commands, each with its replies. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/mem.h"
#include "base/must.h"
#include "store/redis_bus_internal.h"

#define BUNDLE_BYTES ((size_t)1 << 18)

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
	bundle->since_ms = redis_bus_now_ms(own);
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

/* A script with all that it keeps, and what it publishes. */
static void add_keeping(struct redis_bus *own, struct redis_command *command,
			struct store_bytes channel, struct store_bytes bytes,
			const struct store_bus_log *log)
{
	const struct store_bytes text =
		store_text(redis_script_text(SCRIPT_bus_publish));
	const size_t numbers[] = { log->entries, log->keep_ms,
				   STORE_BUS_LOG_BYTES };
	struct store_bytes name = redis_bus_name(own, channel);
	char *room = (char *)buffer_reserve(&command->bytes,
					    text.length + 3 * name.length +
						    2 * log->name.length +
						    bytes.length + 512);
	char *at = put_length(room, '*', 11);

	at = put_argument(at, store_text("EVAL"));
	at = put_argument(at, text);
	at = put_argument(at, store_text("2"));
	at = put_argument(
		at, redis_log_key(own, channel, log->name, REDIS_LOG_LIST));
	at = put_argument(
		at, redis_log_key(own, channel, log->name, REDIS_LOG_FACTS));
	at = put_argument(at, store_text(redis_bus_is_sharded(own->redis)
						 ? "SPUBLISH"
						 : "PUBLISH"));
	at = put_argument(at, redis_bus_name(own, channel));
	at = put_argument(at, bytes);
	for (size_t i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++) {
		char digits[24];

		snprintf(digits, sizeof(digits), "%zu", numbers[i]);
		at = put_argument(at, store_text(digits));
	}
	buffer_extend(&command->bytes, (size_t)(at - room));
}

static void add_publish(struct redis_bus *own, struct redis_command *command,
			struct store_bytes channel, struct store_bytes bytes)
{
	struct store_bytes name = redis_bus_name(own, channel);
	char *room = (char *)buffer_reserve(&command->bytes,
					    name.length + bytes.length + 96);
	char *at = put_length(room, '*', 3);

	at = put_argument(at, store_text(redis_bus_is_sharded(own->redis)
						 ? "SPUBLISH"
						 : "PUBLISH"));
	at = put_argument(at, name);
	at = put_argument(at, bytes);
	buffer_extend(&command->bytes, (size_t)(at - room));
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

/* True: it is under way once more. */
static bool is_cured(struct bundle *bundle, const char *text)
{
	struct redis *redis = bundle->command->redis;

	if (bundle->bus == NULL)
		return false;
	if (redis->is_cluster && (redis_bus_starts(text, "MOVED ") ||
				  redis_bus_starts(text, "ASK "))) {
		redis_cluster_redirect(redis, split_first(bundle), text);
		return true;
	}
	if (redis_bus_starts(text, "LOADING") ||
	    redis_bus_starts(text, "TRYAGAIN") ||
	    redis_bus_starts(text, "CLUSTERDOWN") ||
	    redis_bus_starts(text, "MASTERDOWN") ||
	    redis_bus_starts(text, "READONLY") ||
	    redis_bus_starts(text, "BUSY ")) {
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
				  redis_bus_starts(reply->str, "NOPERM");

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

int redis_bus_publish(struct store_bus *bus, struct store_bytes channel,
		      struct store_bytes bytes, const struct store_bus_log *log,
		      store_bus_published_fn on_published_fn, void *owner)
{
	struct redis_bus *own = bus->back_end;

	if (own->waiting_bytes + bytes.length > STORE_BUS_WAITING_BYTES) {
		bus->counters.dropped++;
		return -ENOBUFS;
	}
	struct redis_command *command = open_bundle(
		own, own->redis->is_cluster
			     ? redis_slot(redis_bus_name(own, channel))
			     : REDIS_SLOTS);
	struct bundle *bundle = bundle_of(command);
	bool is_new = entry_count(bundle) == 0;
	size_t before = buffer_length(&command->bytes);

	if (log == NULL)
		add_publish(own, command, channel, bytes);
	else
		add_keeping(own, command, channel, bytes, log);
	const struct entry entry = {
		.on_published = on_published_fn,
		.owner = owner,
		.bytes = buffer_length(&command->bytes) - before,
	};

	buffer_append(&bundle->entries, &entry, sizeof(entry));
	own->waiting_bytes += entry.bytes;
	if (is_new)
		redis_send(own->redis, command);
	else
		command->more_replies++;
	return 0;
}

void redis_bus_forget(struct store_bus *bus, const void *owner)
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

void redis_bus_check_bundles(struct redis_bus *own)
{
	uint64_t timeout_ms = own->redis->store->options.timeout_ms;

	while (!list_is_empty(&own->bundles)) {
		struct bundle *bundle =
			LIST_ENTRY(own->bundles.next, struct bundle, link);
		struct redis_command *command = bundle->command;

		if (bundle->since_ms + timeout_ms > redis_bus_now_ms(own))
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

void redis_bus_leave_bundles(struct redis_bus *own)
{
	struct list *link;

	while ((link = list_take_first(&own->bundles)) != NULL)
		LIST_ENTRY(link, struct bundle, link)->bus = NULL;
}
