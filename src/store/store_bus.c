#include "store/store_bus.h"

#include <errno.h>
#include <stdlib.h>

#include "base/mem.h"
#include "base/must.h"
#include "store/store_bus_internal.h"

uint64_t store_bus_hash(struct store_bytes channel)
{
	uint64_t sum = 0xcbf29ce484222325;

	for (size_t i = 0; i < channel.length; i++)
		sum = (sum ^ (uint8_t)channel.data[i]) * 0x100000001b3;
	sum ^= sum >> 32;
	return sum < 2 ? sum + 2 : sum;
}

static struct store_bus_channel **place_of(struct store_bus *bus, uint64_t hash,
					   struct store_bytes name)
{
	struct store_bus_channel **place =
		&bus->buckets[hash % STORE_BUS_BUCKETS];

	while (*place != NULL &&
	       ((*place)->hash != hash ||
		!store_bytes_equal(store_bus_name(*place), name)))
		place = &(*place)->next;
	return place;
}

struct store_bus_channel *store_bus_find(const struct store_bus *bus,
					 struct store_bytes channel)
{
	uint64_t hash = store_bus_hash(channel);
	struct store_bus_channel *known =
		bus->buckets[hash % STORE_BUS_BUCKETS];

	while (known != NULL &&
	       (known->hash != hash ||
		!store_bytes_equal(store_bus_name(known), channel)))
		known = known->next;
	return known;
}

void store_bus_deliver(struct store_bus *bus, struct store_bytes channel,
		       struct store_bytes bytes)
{
	bus->counters.received++;
	bus->events->on_message(bus->owner, channel, bytes);
}

void store_bus_set_up(struct store_bus *bus, struct store_bus_channel *channel,
		      bool is_up)
{
	if (channel->is_up == is_up)
		return;
	channel->is_up = is_up;
	bus->counters.interruptions += !is_up;
	if (is_up)
		bus->events->on_subscribed(bus->owner, store_bus_name(channel));
	else
		bus->events->on_interrupted(bus->owner,
					    store_bus_name(channel));
}

/* ---- life ---- */

static void copy_name(char room[STORE_NAME_MAX + 1], struct store_bytes name)
{
	MUST(name.length <= STORE_NAME_MAX);
	if (name.length > 0)
		memcpy(room, name.data, name.length);
	room[name.length] = '\0';
}

struct store_bus *store_bus_join(struct store *store,
				 const struct store_bus_join *join,
				 struct problem *problem)
{
	struct store_bus *bus = mem_zalloc(sizeof(*bus));

	MUST(!store->is_closing && store->bus == NULL);
	bus->store = store;
	bus->ops = store->ops->bus;
	bus->events = join->events;
	bus->owner = join->owner;
	copy_name(bus->id, join->id);
	copy_name(bus->nonce, join->nonce);
	list_init(&bus->channels);
	if (bus->ops->join(bus, problem) < 0) {
		free(bus);
		return NULL;
	}
	store->bus = bus;
	loop_hold(store->loop);
	return bus;
}

void store_bus_leave(struct store_bus *bus)
{
	struct list *link;

	if (bus == NULL)
		return;
	bus->store->bus = NULL;
	loop_release(bus->store->loop);
	bus->ops->leave(bus);
	while ((link = list_take_first(&bus->channels)) != NULL)
		free(LIST_ENTRY(link, struct store_bus_channel, link));
	free(bus);
}

/* ---- channels ---- */

int store_bus_subscribe(struct store_bus *bus, struct store_bytes channel)
{
	uint64_t hash = store_bus_hash(channel);

	if (channel.length > STORE_BUS_CHANNEL_MAX)
		return -EINVAL;
	struct store_bus_channel **place = place_of(bus, hash, channel);
	struct store_bus_channel *known = *place;

	if (known != NULL) {
		known->count++;
		return 0;
	}
	if (bus->channel_count == STORE_BUS_CHANNELS_MAX)
		return -EMFILE;
	known = mem_zalloc(sizeof(*known) + channel.length);
	known->hash = hash;
	known->count = 1;
	known->node = -1;
	known->length = channel.length;
	if (channel.length > 0)
		memcpy(known->name, channel.data, channel.length);
	*place = known;
	list_add_last(&bus->channels, &known->link);
	bus->channel_count++;
	bus->ops->subscribe(bus, known);
	return 0;
}

void store_bus_unsubscribe(struct store_bus *bus, struct store_bytes channel)
{
	struct store_bus_channel **place =
		place_of(bus, store_bus_hash(channel), channel);
	struct store_bus_channel *known = *place;

	MUST(known != NULL);
	if (--known->count > 0)
		return;
	*place = known->next;
	list_remove(&known->link);
	bus->channel_count--;
	bus->ops->unsubscribe(bus, known);
	free(known);
}

static bool is_log(const struct store_bus_log *log)
{
	return log->name.length <= STORE_BUS_LOG_NAME_MAX && log->entries > 0 &&
	       log->entries <= STORE_BUS_LOG_ENTRIES_MAX && log->keep_ms > 0;
}

int store_bus_publish(struct store_bus *bus, struct store_bytes channel,
		      struct store_bytes bytes, const struct store_bus_log *log,
		      store_bus_published_fn on_published, void *owner)
{
	if (bytes.length > STORE_BUS_MESSAGE_MAX)
		return -EMSGSIZE;
	if (channel.length > STORE_BUS_CHANNEL_MAX ||
	    (log != NULL && !is_log(log)))
		return -EINVAL;
	int error = bus->ops->publish(bus, channel, bytes, log, on_published,
				      owner);

	if (error == 0)
		bus->counters.published++;
	return error;
}

void store_bus_forget(struct store_bus *bus, const void *owner)
{
	bus->ops->forget(bus, owner);
}

int store_bus_secret(struct store *store, char secret[STORE_BUS_SECRET_BYTES],
		     struct problem *problem)
{
	return store->ops->bus->secret(store, secret, problem);
}

int64_t store_bus_clock_offset_ms(const struct store_bus *bus)
{
	return bus->clock_offset_ms;
}

bool store_bus_is_clock_known(const struct store_bus *bus)
{
	return bus->is_clock_known;
}

const char *store_bus_prefix(const struct store_bus *bus)
{
	return bus->store->prefix;
}

void store_bus_counters(const struct store_bus *bus,
			struct store_bus_counters *counters)
{
	*counters = bus->counters;
}
