#include <stdlib.h>

#include "base/mem.h"
#include "base/must.h"
#include "service/bus_internal.h"

uint32_t bus_hash(struct envelope_text text)
{
	uint32_t sum = 2166136261;

	for (size_t i = 0; i < text.length; i++)
		sum = (sum ^ (uint8_t)text.data[i]) * 16777619;
	return sum;
}

static bool ends(struct envelope_text text, const char *with)
{
	size_t length = strlen(with);

	return text.length >= length &&
	       memcmp(text.data + text.length - length, with, length) == 0;
}

static bool is_pattern(struct envelope_text text)
{
	return ends(text, "/*") || ends(text, "/**");
}

uint32_t bus_lanes_of(struct envelope_text pattern)
{
	if (is_pattern(pattern))
		return ((UINT32_C(1) << BUS_LANES) - 1) << BUS_LANE_FIRST;
	return UINT32_C(1) << (bus_hash(pattern) % BUS_LANES + BUS_LANE_FIRST);
}

/* "/a/b": parts that are not empty, and stars as the last one alone. */
bool bus_is_channel(struct envelope_text text, bool may_be_pattern)
{
	struct envelope_text fixed = text;

	if (text.length == 0 || text.length > ENVELOPE_CHANNEL_MAX ||
	    text.data[0] != '/')
		return false;
	if (is_pattern(text)) {
		if (!may_be_pattern)
			return false;
		fixed.length -= ends(text, "/**") ? 3 : 2;
	}
	for (size_t i = 0; i < fixed.length; i++) {
		uint8_t byte = (uint8_t)fixed.data[i];
		bool is_last = i + 1 == fixed.length;

		if (byte < ' ' || byte == '"' || byte == '\\' || byte == 0x7f ||
		    byte == '*' ||
		    (byte == '/' && (is_last || fixed.data[i + 1] == '/')))
			return false;
	}
	return true;
}

/* ---- topics ---- */

static bool is_topic(const struct bus_topic *topic, uint32_t hash,
		     bool is_channel, struct envelope_text name)
{
	return topic->hash == hash && topic->is_channel == is_channel &&
	       topic->length == name.length &&
	       memcmp(topic->name, name.data, name.length) == 0;
}

static struct bus_topic **place_of(struct bus *bus, bool is_channel,
				   struct envelope_text name)
{
	uint32_t hash = bus_hash(name);
	struct bus_topic **place = &bus->topics[hash % BUS_BUCKETS];

	while (*place != NULL && !is_topic(*place, hash, is_channel, name))
		place = &(*place)->next;
	return place;
}

static struct bus_topic *topic_for(struct bus *bus, bool is_channel,
				   struct envelope_text name)
{
	struct bus_topic **place = place_of(bus, is_channel, name);
	struct bus_topic *topic = *place;

	if (topic != NULL)
		return topic;
	uint32_t lanes = is_channel ? bus_lanes_of(name)
				    : UINT32_C(1) << BUS_LANE_GENERAL |
					      UINT32_C(1) << BUS_LANE_OWN;

	if (bus->topic_count == BUS_TOPICS_MAX ||
	    bus_lanes_need(bus, lanes) < 0)
		return NULL;
	topic = mem_zalloc(sizeof(*topic) + name.length);
	topic->hash = bus_hash(name);
	topic->is_channel = is_channel;
	topic->lanes = lanes;
	topic->length = name.length;
	memcpy(topic->name, name.data, name.length);
	list_init(&topic->handlers);
	list_add_last(&bus->all_topics, &topic->link);
	bus->topic_count++;
	*place = topic;
	return topic;
}

static void free_topic(struct bus *bus, struct bus_topic *topic)
{
	struct bus_topic **place = &bus->topics[topic->hash % BUS_BUCKETS];

	while (*place != topic)
		place = &(*place)->next;
	*place = topic->next;
	list_remove(&topic->link);
	bus->topic_count--;
	bus_lanes_spare(bus, topic->lanes);
	free(topic);
}

/* ---- handlers ---- */

static struct bus_handler *add_handler(struct bus *bus, bool is_channel,
				       struct envelope_text name,
				       bus_message_fn on_message, void *owner)
{
	struct bus_topic *topic = topic_for(bus, is_channel, name);

	if (topic == NULL)
		return NULL;
	struct bus_handler *handler = mem_zalloc(sizeof(*handler));

	handler->bus = bus;
	handler->topic = topic;
	handler->on_message = on_message;
	handler->owner = owner;
	handler->born = bus->turn;
	list_add_last(&topic->handlers, &handler->link);
	return handler;
}

struct bus_handler *bus_on_type(struct bus *bus, struct envelope_text type,
				bus_message_fn on_message, void *owner)
{
	if (type.length == 0 || type.length > ENVELOPE_NAME_MAX)
		return NULL;
	return add_handler(bus, false, type, on_message, owner);
}

struct bus_handler *bus_on_channel(struct bus *bus,
				   struct envelope_text pattern,
				   bus_message_fn on_message, void *owner)
{
	if (!bus_is_channel(pattern, true))
		return NULL;
	return add_handler(bus, true, pattern, on_message, owner);
}

/* Its place in a list that is being gone through stays until that is over. */
void bus_handler_remove(struct bus_handler *handler)
{
	if (handler == NULL)
		return;
	struct bus *bus = handler->bus;

	handler->on_message = NULL;
	if (list_is_linked(&handler->waiting))
		list_remove(&handler->waiting);
	handler->on_ready = NULL;
	bus_call_begin(bus);
	list_add_last(&bus->removed, &handler->waiting);
	bus_call_end(bus);
}

void bus_call_begin(struct bus *bus)
{
	bus->calling++;
}

static void bury_handlers(struct bus *bus)
{
	struct list *link;

	while ((link = list_take_first(&bus->removed)) != NULL) {
		struct bus_handler *handler =
			LIST_ENTRY(link, struct bus_handler, waiting);
		struct bus_topic *topic = handler->topic;

		list_remove(&handler->link);
		free(handler);
		if (list_is_empty(&topic->handlers))
			free_topic(bus, topic);
	}
}

void bus_call_end(struct bus *bus)
{
	if (--bus->calling > 0)
		return;
	bury_handlers(bus);
	bus_lanes_bury_watchers(bus);
}

/* ---- dispatching ---- */

static size_t call_handlers(struct bus *bus, bool is_channel,
			    struct envelope_text name,
			    const struct bus_message *message)
{
	struct bus_topic *topic = *place_of(bus, is_channel, name);
	size_t count = 0;

	if (topic == NULL)
		return 0;
	/* What is added meanwhile is behind, and not for this message. */
	for (struct list *link = topic->handlers.next; link != &topic->handlers;
	     link = link->next) {
		struct bus_handler *handler =
			LIST_ENTRY(link, struct bus_handler, link);

		if (handler->on_message == NULL || handler->born == bus->turn)
			continue;
		count++;
		handler->on_message(handler->owner, message);
	}
	return count;
}

/* "/a/b" is also for "/a" and "/b"'s patterns: "/a" followed by each of the
 * stars, and "/" by two. */
static size_t call_patterns(struct bus *bus, const struct bus_message *message)
{
	char pattern[ENVELOPE_CHANNEL_MAX + 4];
	size_t at = message->channel.length;
	size_t count = 0;
	bool is_last = true;

	memcpy(pattern, message->channel.data, at);
	while (at > 0) {
		while (pattern[at - 1] != '/')
			at--;
		pattern[at] = '*';
		pattern[at + 1] = '*';
		if (is_last)
			count += call_handlers(
				bus, true,
				(struct envelope_text){ pattern, at + 1 },
				message);
		count += call_handlers(
			bus, true, (struct envelope_text){ pattern, at + 2 },
			message);
		is_last = false;
		at--;
	}
	return count;
}

void bus_dispatch(struct bus *bus, const struct bus_message *message)
{
	size_t count;

	bus->turn++;
	bus_call_begin(bus);
	if (message->channel.length > 0)
		count = call_handlers(bus, true, message->channel, message) +
			call_patterns(bus, message);
	else
		count = call_handlers(bus, false, message->type, message);
	bus->delivered += count;
	if (bus->meters != NULL)
		meter_add(bus->meters, METER_MESSAGES_DELIVERED, count);
	bus->unhandled += count == 0;
	bus_call_end(bus);
}

/* ---- readiness ---- */

static struct bus_handler *first_ready(const struct bus *bus)
{
	LIST_EACH (&bus->waiting, link) {
		struct bus_handler *handler =
			LIST_ENTRY(link, struct bus_handler, waiting);

		if ((handler->topic->lanes & ~bus->lanes_up) == 0)
			return handler;
	}
	return NULL;
}

static void run_tell_ready(struct loop_task *task)
{
	struct bus *bus = LIST_ENTRY(task, struct bus, tell_ready);
	struct bus_handler *handler;

	bus_call_begin(bus);
	while ((handler = first_ready(bus)) != NULL) {
		bus_ready_fn on_ready = handler->on_ready;

		MUST(list_is_linked(&handler->waiting));
		list_remove(&handler->waiting);
		handler->on_ready = NULL;
		on_ready(handler->ready_owner);
	}
	bus_call_end(bus);
}

void bus_topics_ready(struct bus *bus)
{
	if (!list_is_empty(&bus->waiting))
		loop_defer(bus->loop, &bus->tell_ready);
}

void bus_handler_ready(struct bus_handler *handler, bus_ready_fn on_ready,
		       void *owner)
{
	MUST(handler->on_message != NULL && handler->on_ready == NULL);
	handler->on_ready = on_ready;
	handler->ready_owner = owner;
	list_add_last(&handler->bus->waiting, &handler->waiting);
	bus_topics_ready(handler->bus);
}

/* ---- life ---- */

void bus_topics_init(struct bus *bus)
{
	list_init(&bus->all_topics);
	list_init(&bus->waiting);
	list_init(&bus->removed);
	bus->turn = 1;
	bus->tell_ready.run = run_tell_ready;
}

void bus_topics_fini(struct bus *bus)
{
	struct list *link;
	struct list *of_topic;

	loop_undefer(&bus->tell_ready);
	while ((link = list_take_first(&bus->all_topics)) != NULL) {
		struct bus_topic *topic =
			LIST_ENTRY(link, struct bus_topic, link);

		while ((of_topic = list_take_first(&topic->handlers)) != NULL)
			free(LIST_ENTRY(of_topic, struct bus_handler, link));
		free(topic);
	}
}
