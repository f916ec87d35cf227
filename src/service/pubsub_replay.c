/*
 * A subscription that misses nothing which is kept. Each publisher numbers what
 * is kept on a channel, so that what is missing shows, and what comes twice.
 *
 *             replay_begin                 nothing is missing any more
 *   (HOLDING)─────────────▶ READING ─────────────────────▶ LIVE
 *                            ▲ │ ▲                           │
 *             in a while:    └─┘ └───────────────────────────┘
 *             it failed, or          a number is missing, or the
 *             is behind              way was interrupted
 *
 * But for LIVE, what comes is held, behind what is read.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/must.h"
#include "loop/timer.h"
#include "service/pubsub_internal.h"

#define KNOWN_MAX 4096 /* lives of publishers */
#define RETRY_MS  500  /* the store could not be asked */
#define BEHIND_MS 100  /* what came is not in the log yet, */
#define TRIES_MAX 5    /* and after so many looks will not be */

enum replay_state { HOLDING, READING, LIVE };

/* A life of a publisher. */
struct known {
	struct list link; /* by use: the one heard last is last */
	uint64_t last;    /* that was given, or is none of ours */
	bool was_skipped; /* what was in the log at the beginning, and nothing
			     has come since */
	char nonce[];
};

struct replay {
	struct muster_subscription *subscription;
	enum replay_state state;
	bool is_first; /* what was kept before is none of ours */
	bool is_asking;
	bool looks_again; /* something happened while it was asking */
	unsigned tries;
	uint32_t since_ms;
	struct list known;
	size_t known_count;
	struct list held;
	size_t held_bytes;
	char *life; /* of the store; NULL: not known yet */
	struct timer *timer;
};

static void set_state(struct replay *replay, enum replay_state state)
{
	static const unsigned may_become[] = {
		[HOLDING] = 1u << READING,
		[READING] = 1u << READING | 1u << LIVE,
		[LIVE] = 1u << READING,
	};

	MUST((may_become[replay->state] >> state & 1u) != 0);
	replay->state = state;
}

/* ---- publishers ---- */

static struct known *find_known(struct replay *replay, const char *nonce)
{
	LIST_EACH (&replay->known, link) {
		struct known *known = LIST_ENTRY(link, struct known, link);

		if (strcmp(known->nonce, nonce) != 0)
			continue;
		list_remove(&known->link);
		list_add_last(&replay->known, &known->link);
		return known;
	}
	return NULL;
}

static struct known *add_known(struct replay *replay, const char *nonce,
			       uint64_t last)
{
	size_t length = strlen(nonce);
	struct known *known = mem_zalloc(sizeof(*known) + length + 1);

	if (replay->known_count == KNOWN_MAX) {
		free(LIST_ENTRY(list_take_first(&replay->known), struct known,
				link));
		replay->known_count--;
	}
	memcpy(known->nonce, nonce, length);
	known->last = last;
	list_add_last(&replay->known, &known->link);
	replay->known_count++;
	return known;
}

/* ---- telling and giving ---- */

static void tell_gap(struct replay *replay, const char *from, uint64_t missed)
{
	struct muster_subscription *subscription = replay->subscription;

	pubsub_note_gap(subscription->muster->pubsub,
			&(struct muster_gap){
				.cause = missed > 0 ? MUSTER_GAP_LOST
						    : MUSTER_GAP_OUTAGE,
				.where = subscription->where,
				.from = from,
				.missed = missed,
			});
}

static struct pubsub_item *take_held(struct replay *replay)
{
	struct list *link = list_take_first(&replay->held);

	if (link == NULL)
		return NULL;
	struct pubsub_item *item = LIST_ENTRY(link, struct pubsub_item, link);

	replay->held_bytes -= item->bytes;
	return item;
}

/* What is too much is in the log as well; where it is not, it is missing there
 * by its number. */
static void hold(struct replay *replay, struct pubsub_item *item)
{
	list_add_last(&replay->held, &item->link);
	replay->held_bytes += item->bytes;
	while (replay->held_bytes > PUBSUB_ROOM_BYTES) {
		struct pubsub_item *oldest = take_held(replay);

		if (oldest->kept == 0)
			tell_gap(replay, oldest->news.from, 1);
		free(oldest);
	}
}

/* ---- what is read ---- */

static void read_log(struct replay *replay);

static void read_in(struct replay *replay, uint64_t delay_ms)
{
	timer_start(replay->timer, delay_ms, 0);
}

static void on_time(void *owner)
{
	read_log(owner);
}

static bool is_recent(const struct replay *replay,
		      const struct pubsub_item *item)
{
	const struct bus *bus = replay->subscription->muster->bus;

	return replay->since_ms > 0 &&
	       item->news.sent_ms + replay->since_ms >= bus_now_ms(bus);
}

/* At first the numbers are learnt; what was kept before is given where it was
 * asked for. */
static void take_first(struct replay *replay, struct pubsub_item *item)
{
	struct known *known = find_known(replay, item->nonce);

	if (known == NULL)
		known = add_known(replay, item->nonce, 0);
	if (item->kept <= known->last) {
		free(item);
		return;
	}
	known->last = item->kept;
	known->was_skipped = !is_recent(replay, item);
	if (known->was_skipped)
		free(item);
	else
		pubsub_give(replay->subscription, item);
}

static void take_missed(struct replay *replay, struct pubsub_item *item)
{
	struct known *known = find_known(replay, item->nonce);
	struct pubsub *pubsub = replay->subscription->muster->pubsub;

	if (known != NULL && item->kept <= known->last) {
		free(item);
		return;
	}
	/* Of one that began meanwhile nobody knows what else there was. */
	if (known == NULL && item->kept > 1)
		tell_gap(replay, item->news.from, 0);
	else if (known != NULL && item->kept > known->last + 1)
		tell_gap(replay, item->news.from, item->kept - known->last - 1);
	if (known == NULL)
		known = add_known(replay, item->nonce, 0);
	known->last = item->kept;
	pubsub->recovered++;
	pubsub_give(replay->subscription, item);
}

/* What comes is ours, also where it was in the log at the beginning. */
static void step_back(struct known *known, const struct pubsub_item *item)
{
	if (known->was_skipped && item->kept <= known->last)
		known->last = item->kept - 1;
	known->was_skipped = false;
}

/* False: something before it is missing. */
static bool pass(struct replay *replay, struct pubsub_item *item)
{
	struct known *known =
		item->kept == 0 ? NULL : find_known(replay, item->nonce);

	if (known != NULL)
		step_back(known, item);
	if (known != NULL && item->kept > known->last + 1)
		return false;
	if (known != NULL && item->kept <= known->last) {
		free(item);
		return true;
	}
	if (known == NULL && item->kept > 0)
		add_known(replay, item->nonce, item->kept);
	else if (known != NULL)
		known->last = item->kept;
	pubsub_give(replay->subscription, item);
	return true;
}

/* It is nowhere. */
static void give_up(struct replay *replay, const struct pubsub_item *item)
{
	struct known *known = find_known(replay, item->nonce);

	tell_gap(replay, item->news.from, item->kept - known->last - 1);
	known->last = item->kept - 1;
}

static void give_held(struct replay *replay)
{
	struct pubsub_item *item;

	while ((item = take_held(replay)) != NULL) {
		if (pass(replay, item))
			continue;
		/* Back to where it was: the first. */
		list_add_last(replay->held.next, &item->link);
		replay->held_bytes += item->bytes;
		if (++replay->tries < TRIES_MAX) {
			read_in(replay, BEHIND_MS);
			return;
		}
		give_up(replay, item);
	}
	replay->tries = 0;
	set_state(replay, LIVE);
	if (replay->looks_again)
		replay_suspect(replay);
}

static void note_life(struct replay *replay, struct envelope_text life)
{
	char *now = mem_format("%.*s", (int)life.length, life.data);

	/* Nobody knows what it had. */
	if (replay->life != NULL && strcmp(replay->life, now) != 0)
		tell_gap(replay, "", 0);
	free(replay->life);
	replay->life = now;
}

static void on_log(void *owner, int error, const struct bus_log *log)
{
	struct replay *replay = owner;

	replay->is_asking = false;
	if (error < 0) {
		read_in(replay, RETRY_MS);
		return;
	}
	note_life(replay, log->life);
	for (size_t i = 0; i < log->count; i++) {
		struct pubsub_item *item = pubsub_item_new(&log->list[i]);

		item->is_replayed = true;
		if (replay->is_first)
			take_first(replay, item);
		else
			take_missed(replay, item);
	}
	replay->is_first = false;
	give_held(replay);
}

static void read_log(struct replay *replay)
{
	const struct muster_subscription *subscription = replay->subscription;

	set_state(replay, READING);
	replay->is_asking = true;
	replay->looks_again = false;
	bus_read_log(subscription->muster->bus,
		     (struct envelope_text){ subscription->where,
					     strlen(subscription->where) },
		     on_log, replay);
}

/* ---- what happens ---- */

void replay_begin(struct replay *replay)
{
	if (replay->state == HOLDING)
		read_log(replay);
}

void replay_suspect(struct replay *replay)
{
	if (replay->state == LIVE)
		read_log(replay);
	else
		replay->looks_again = replay->is_asking;
}

void replay_take(struct replay *replay, const struct bus_message *message)
{
	struct pubsub_item *item = pubsub_item_new(message);

	if (replay->state == LIVE && pass(replay, item))
		return;
	hold(replay, item);
	if (replay->state == LIVE)
		read_log(replay);
}

/* ---- life ---- */

struct replay *replay_new(struct muster_subscription *subscription,
			  uint32_t since_ms)
{
	struct replay *replay = mem_zalloc(sizeof(*replay));

	replay->subscription = subscription;
	replay->is_first = true;
	replay->since_ms = since_ms;
	replay->timer =
		timer_open(subscription->muster->loop, on_time, replay, false);
	list_init(&replay->known);
	list_init(&replay->held);
	return replay;
}

void replay_free(struct replay *replay)
{
	struct list *link;
	struct pubsub_item *item;

	if (replay == NULL)
		return;
	if (replay->is_asking)
		bus_forget_log(replay->subscription->muster->bus, replay);
	timer_close(replay->timer);
	while ((item = take_held(replay)) != NULL)
		free(item);
	while ((link = list_take_first(&replay->known)) != NULL)
		free(LIST_ENTRY(link, struct known, link));
	free(replay->life);
	free(replay);
}
