#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/mem.h"
#include "base/must.h"
#include "service/bus_internal.h"

#define LOG_MS      1000
#define WHO_TYPE    "_bus:who"
#define MARK_TYPE   "_bus:mark"
#define ANSWER_MS   200 /* after somebody asked; for all who ask meanwhile */
#define BIT(number) (UINT32_C(1) << (number))

/* ---- names ---- */

static const char *lane_name(const struct bus *bus, size_t lane,
			     char room[BUS_LANE_BYTES])
{
	if (lane == BUS_LANE_GENERAL)
		return "";
	if (lane == BUS_LANE_OWN)
		return bus->own_lane;
	snprintf(room, BUS_LANE_BYTES, "/%zu", lane - BUS_LANE_FIRST);
	return room;
}

/* BUS_LANES_IN: none of ours. */
static size_t lane_number(const struct bus *bus, struct store_bytes name)
{
	if (name.length == 0)
		return BUS_LANE_GENERAL;
	if (name.data[0] != '/')
		return strlen(bus->own_lane) == name.length &&
				       memcmp(bus->own_lane, name.data,
					      name.length) == 0
			       ? BUS_LANE_OWN
			       : BUS_LANES_IN;
	if (name.length < 2 || name.length > 3)
		return BUS_LANES_IN;
	size_t number = (size_t)(name.data[1] - '0');

	if (name.length == 3)
		number = number * 10 + (size_t)(name.data[2] - '0');
	return number < BUS_LANES ? number + BUS_LANE_FIRST : BUS_LANES_IN;
}

static struct envelope_text to_text(struct store_bytes bytes)
{
	return (struct envelope_text){ bytes.data, bytes.length };
}

/* ---- telling ---- */

#define TELL(bus, event, ...)                                                  \
	do {                                                                   \
		bus_call_begin(bus);                                           \
		for (struct list *at_ = (bus)->watchers.next;                  \
		     at_ != &(bus)->watchers; at_ = at_->next) {               \
			const struct bus_watcher *watcher_ =                   \
				LIST_ENTRY(at_, struct bus_watcher, link);     \
			if (watcher_->events != NULL &&                        \
			    watcher_->events->event != NULL)                   \
				watcher_->events->event(watcher_->owner,       \
							##__VA_ARGS__);        \
		}                                                              \
		bus_call_end(bus);                                             \
	} while (0)

static void tell_gap(struct bus *bus, const struct bus_gap *gap)
{
	bus->gaps++;
	log_info(loop_log(bus->loop),
		 "bus gap from=%.*s lane=\"%.*s\" missed=%ju",
		 (int)gap->from.length, gap->from.data, (int)gap->lane.length,
		 gap->lane.data, (uintmax_t)gap->missed);
	TELL(bus, on_gap, gap);
}

bool bus_gap_concerns(const struct bus_gap *gap, struct envelope_text pattern)
{
	if (gap->lane.length == 0 || gap->lane.data[0] != '/')
		return pattern.length == 0;
	if (!bus_is_channel(pattern, true))
		return false;
	const uint32_t lanes = bus_lanes_of(pattern);

	for (size_t i = 0; i < BUS_LANES; i++) {
		char room[BUS_LANE_BYTES];
		int length = snprintf(room, sizeof(room), "/%zu", i);

		if ((lanes & BIT(i + BUS_LANE_FIRST)) != 0 &&
		    gap->lane.length == (size_t)length &&
		    memcmp(gap->lane.data, room, gap->lane.length) == 0)
			return true;
	}
	return false;
}

/* A line a second for each kind: whoever floods us does not fill the disk. */
static void log_refusal(struct bus *bus, const struct bus_refusal *refusal)
{
	uint64_t now_ms = loop_now_ms(bus->loop);
	enum envelope_answer why = refusal->why;

	bus->refused[why]++;
	if (bus->refused_ms[why] != 0 && now_ms < bus->refused_ms[why] + LOG_MS)
		return;
	bus->refused_ms[why] = now_ms;
	log_warn(loop_log(bus->loop),
		 "bus message refused why=%s from=\"%.*s\" lane=\"%.*s\" "
		 "count=%ju",
		 envelope_answer_name(why), (int)refusal->from.length,
		 refusal->from.data, (int)refusal->lane.length,
		 refusal->lane.data, (uintmax_t)bus->refused[why]);
	bus->refused[why] = 0;
}

struct bus_watcher *bus_watch(struct bus *bus, const struct bus_events *events,
			      void *owner)
{
	struct bus_watcher *watcher = mem_zalloc(sizeof(*watcher));

	watcher->bus = bus;
	watcher->events = events;
	watcher->owner = owner;
	list_add_last(&bus->watchers, &watcher->link);
	return watcher;
}

void bus_unwatch(struct bus_watcher *watcher)
{
	if (watcher == NULL)
		return;
	struct bus *bus = watcher->bus;

	watcher->events = NULL;
	if (bus->calling > 0) {
		bus->has_removed_watchers = true;
		return; /* its place is needed until that is over */
	}
	list_remove(&watcher->link);
	free(watcher);
}

void bus_lanes_bury_watchers(struct bus *bus)
{
	if (!bus->has_removed_watchers)
		return;
	bus->has_removed_watchers = false;
	LIST_EACH (&bus->watchers, link) {
		struct bus_watcher *watcher =
			LIST_ENTRY(link, struct bus_watcher, link);

		if (watcher->events != NULL)
			continue;
		list_remove(link);
		free(watcher);
	}
}

/* ---- lanes ---- */

int bus_lanes_need(struct bus *bus, uint32_t lanes)
{
	char room[BUS_LANE_BYTES];

	for (size_t i = 0; i < BUS_LANES_IN; i++) {
		if ((lanes & BIT(i)) == 0)
			continue;
		if (bus->lane_counts[i]++ > 0)
			continue;
		bus->lanes_wanted |= BIT(i);
		int error = store_bus_subscribe(
			bus->transport, store_text(lane_name(bus, i, room)));

		if (error < 0) {
			bus_lanes_spare(bus, lanes & (BIT(i) - 1));
			bus->lane_counts[i] = 0;
			bus->lanes_wanted &= ~BIT(i);
			return error;
		}
	}
	return 0;
}

void bus_lanes_spare(struct bus *bus, uint32_t lanes)
{
	char room[BUS_LANE_BYTES];

	for (size_t i = 0; i < BUS_LANES_IN; i++) {
		if ((lanes & BIT(i)) == 0 || --bus->lane_counts[i] > 0)
			continue;
		const char *name = lane_name(bus, i, room);

		bus->lanes_wanted &= ~BIT(i);
		bus->lanes_up &= ~BIT(i);
		bus->lanes_lost &= ~BIT(i);
		envelope_book_pause(bus->book, bus_text(name));
		store_bus_unsubscribe(bus->transport, store_text(name));
	}
}

void bus_lanes_move_own(struct bus *bus, const char *old_name)
{
	bus->lanes_up &= ~BIT(BUS_LANE_OWN);
	bus->lanes_lost &= ~BIT(BUS_LANE_OWN);
	envelope_book_pause(bus->book, bus_text(old_name));
	store_bus_unsubscribe(bus->transport, store_text(old_name));
	/* The place of the old one is free. */
	MUST(store_bus_subscribe(bus->transport, store_text(bus->own_lane)) ==
	     0);
}

bool bus_is_up(const struct bus *bus)
{
	return bus->is_up;
}

/* All are to show what they have published last. */
static void ask_who(struct bus *bus)
{
	const struct bus_outgoing who = { .type = bus_text(WHO_TYPE) };

	/* Where it cannot be sent now the way is interrupted again, and this
	 * is done anew when it is open. */
	DISCARD(bus_send(bus, bus_text(""), &who, NULL, NULL));
}

static void on_subscribed(void *owner, struct store_bytes name)
{
	struct bus *bus = owner;
	size_t lane = lane_number(bus, name);

	if (lane == BUS_LANES_IN)
		return; /* of the name that this server had */
	bus->lanes_up |= BIT(lane);
	if ((bus->lanes_lost & BIT(lane)) != 0) {
		const struct bus_gap gap = { .from = bus_text(""),
					     .nonce = bus_text(""),
					     .lane = to_text(name) };

		bus->lanes_lost &= ~BIT(lane);
		tell_gap(bus, &gap);
		bus->owes_who = true;
	}
	bus_topics_ready(bus);
	if ((bus->lanes_wanted & ~bus->lanes_up) != 0)
		return;
	if (bus->owes_who)
		ask_who(bus);
	bus->owes_who = false;
	/* A lane that somebody has just asked for is nothing to tell of. */
	if (bus->is_up)
		return;
	bus->is_up = true;
	log_debug(loop_log(bus->loop), "bus is up id=%s", bus->id);
	TELL(bus, on_up);
}

static void on_interrupted(void *owner, struct store_bytes name)
{
	struct bus *bus = owner;
	size_t lane = lane_number(bus, name);

	if (lane == BUS_LANES_IN)
		return; /* of the name that this server had */
	bus->lanes_up &= ~BIT(lane);
	bus->lanes_lost |= BIT(lane);
	if (!bus->is_up)
		return;
	bus->is_up = false;
	log_warn(loop_log(bus->loop),
		 "bus is interrupted, messages may be missed id=%s", bus->id);
	TELL(bus, on_down);
}

/* ---- messages ---- */

uint64_t bus_now_ms(const struct bus *bus)
{
	struct timespec now;

	clock_gettime(CLOCK_REALTIME, &now);
	return (uint64_t)((int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000 +
			  store_bus_clock_offset_ms(bus->transport));
}

/* Once a turn of the loop, in which hundreds of messages may come. What leaves
 * says when exactly: whoever gets it takes the time it was on its way off. */
static uint64_t turn_now_ms(struct bus *bus)
{
	uint64_t turn = loop_turns(bus->loop);

	if (bus->turn_seen != turn || bus->turn_now_ms == 0) {
		bus->turn_seen = turn;
		bus->turn_now_ms = bus_now_ms(bus);
	}
	return bus->turn_now_ms;
}

static bool is_text(struct envelope_text text, const char *other)
{
	return text.length == strlen(other) &&
	       memcmp(text.data, other, text.length) == 0;
}

void bus_describe(const struct bus *bus, const struct envelope *envelope,
		  struct bus_message *message)
{
	*message = (struct bus_message){
		.type = envelope->type,
		.channel = envelope->channel,
		.from = envelope->from,
		.nonce = envelope->nonce,
		.body = envelope->body,
		.seq = envelope->seq,
		.ts_ms = envelope->ts_ms,
		.kept = envelope->kept,
		.is_own = is_text(envelope->from, bus->id) &&
			  is_text(envelope->nonce, bus->nonce),
	};
}

/* True: it was the bus's own. */
static bool take_own(struct bus *bus, const struct bus_message *message)
{
	if (message->type.data[0] != '_')
		return false;
	/* Our own, too: we have missed some of what we published ourselves. */
	if (is_text(message->type, WHO_TYPE))
		bus_mark_all(bus, ANSWER_MS);
	return is_text(message->type, WHO_TYPE) ||
	       is_text(message->type, MARK_TYPE);
}

static void on_message(void *owner, struct store_bytes lane,
		       struct store_bytes bytes)
{
	struct bus *bus = owner;
	struct envelope envelope;
	enum envelope_answer answer =
		envelope_open(bus->book, to_text(bytes), to_text(lane),
			      turn_now_ms(bus), &envelope);

	if (answer != ENVELOPE_TAKEN) {
		const struct bus_refusal refusal = { .why = answer,
						     .lane = to_text(lane),
						     .from = envelope.from };

		log_refusal(bus, &refusal);
		TELL(bus, on_refused, &refusal);
		return;
	}
	if (envelope.missed > 0) {
		const struct bus_gap gap = { .from = envelope.from,
					     .nonce = envelope.nonce,
					     .lane = envelope.lane,
					     .missed = envelope.missed };

		tell_gap(bus, &gap);
	}
	struct bus_message message;

	bus_describe(bus, &envelope, &message);
	message.is_direct = lane.length > 0 && lane.data[0] != '/';
	if (!take_own(bus, &message))
		bus_dispatch(bus, &message);
}

/* Somebody has missed some of what we published: the next mark shows it. */
static void on_publishing(void *owner)
{
	bus_mark_all(owner, ANSWER_MS);
}

const struct store_bus_events bus_transport_events = {
	.on_message = on_message,
	.on_subscribed = on_subscribed,
	.on_interrupted = on_interrupted,
	.on_publishing = on_publishing,
};
