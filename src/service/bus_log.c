/* What is kept of a channel: asked for, and checked. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/mem.h"
#include "service/bus_internal.h"

struct reading {
	struct list link;
	struct bus *bus;
	bus_log_fn on_log;
	void *owner;
	size_t length;
	char channel[];
};

void bus_lane_of(struct envelope_text channel, char name[BUS_LANE_BYTES])
{
	snprintf(name, BUS_LANE_BYTES, "/%u",
		 (unsigned)(bus_hash(channel) % BUS_LANES));
}

static void free_reading(struct reading *reading)
{
	list_remove(&reading->link);
	free(reading);
}

/* Whoever can write to the store can put anything there: what is no message
 * of this channel is left out. */
static size_t open_all(const struct reading *reading,
		       const struct store_answer *answer,
		       struct bus_message *list)
{
	const struct bus *bus = reading->bus;
	const struct envelope_text channel = { reading->channel,
					       reading->length };
	size_t count = 0;

	for (size_t i = 0; i < answer->log.count; i++) {
		const struct envelope_text bytes = {
			answer->log.list[i].data, answer->log.list[i].length
		};
		struct envelope envelope;

		if (envelope_open_kept(bus->keys, bytes, channel, &envelope) ==
		    ENVELOPE_TAKEN)
			bus_describe(bus, &envelope, &list[count++]);
	}
	if (count < answer->log.count)
		log_warn(loop_log(bus->loop),
			 "what is kept was refused channel=%s count=%zu",
			 reading->channel, answer->log.count - count);
	return count;
}

static void on_read(void *owner, const struct store_answer *answer)
{
	struct reading *reading = owner;
	bus_log_fn on_log = reading->on_log;
	void *to = reading->owner;
	struct bus_log log = { 0 };
	struct bus_message *list = NULL;

	if (answer->error == 0 && answer->log.count > 0) {
		list = mem_alloc(answer->log.count * sizeof(*list));
		log.count = open_all(reading, answer, list);
		log.list = list;
	}
	if (answer->error == 0)
		log.life = (struct envelope_text){ answer->log.life.data,
						   answer->log.life.length };
	free_reading(reading);
	on_log(to, answer->error, &log);
	free(list);
}

void bus_read_log(struct bus *bus, struct envelope_text channel,
		  bus_log_fn on_log, void *owner)
{
	struct reading *reading =
		mem_zalloc(sizeof(*reading) + channel.length + 1);
	char lane[BUS_LANE_BYTES];

	reading->bus = bus;
	reading->on_log = on_log;
	reading->owner = owner;
	reading->length = channel.length;
	memcpy(reading->channel, channel.data, channel.length);
	list_add_last(&bus->readings, &reading->link);
	bus_lane_of(channel, lane);
	store_log_read(
		bus->store,
		&(struct store_log_read){
			.channel = store_text(lane),
			.name = store_bytes(channel.data, channel.length),
		},
		on_read, reading);
}

static void drop_reading(struct reading *reading)
{
	store_forget(reading->bus->store, reading);
	free_reading(reading);
}

void bus_forget_log(struct bus *bus, const void *owner)
{
	LIST_EACH (&bus->readings, link) {
		struct reading *reading =
			LIST_ENTRY(link, struct reading, link);

		if (reading->owner == owner)
			drop_reading(reading);
	}
}

void bus_logs_fini(struct bus *bus)
{
	struct list *link;

	while ((link = list_first(&bus->readings)) != NULL)
		drop_reading(LIST_ENTRY(link, struct reading, link));
}
