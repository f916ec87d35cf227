#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/must.h"
#include "service/node_bus.h"
#include "service/pubsub_internal.h"
#include "service/routine.h"
#include "service/rpc.h"

#define ROOM_DEFAULT  1024
#define GAPS_MAX      256
#define WARN_EVERY_MS 1000
#define REPLAY_MS     60000
#define CHANNEL_TYPE  "publish" /* of what goes on a channel */

struct gap_item {
	struct list link;
	struct muster_gap gap; /* its texts are owned */
	char *where;
	char *from;
};

static struct envelope_text text_of(const char *text)
{
	return (struct envelope_text){ text, strlen(text) };
}

static bool is_channel(const char *where)
{
	return where[0] == '/';
}

/* ---- gaps ---- */

static void free_gap(struct gap_item *item)
{
	free(item->where);
	free(item->from);
	free(item);
}

static void tell_gaps(struct muster *muster, void *arg)
{
	struct pubsub *pubsub = arg;
	struct list *link;

	while ((link = list_first(&pubsub->gaps)) != NULL) {
		struct gap_item *item = LIST_ENTRY(link, struct gap_item, link);

		/* What comes meanwhile is another one. */
		list_remove(&item->link);
		pubsub->gap_count--;
		if (pubsub->on_gap != NULL)
			pubsub->on_gap(muster, &item->gap, pubsub->gap_arg);
		muster_clear_answers(muster);
		free_gap(item);
	}
	pubsub->tells_gaps = false;
}

/* Not where the gap is found: the application's code may end subscriptions
 * that are being looked at there. */
static void begin_to_tell(struct loop_task *task)
{
	struct pubsub *pubsub = LIST_ENTRY(task, struct pubsub, tell);

	if (pubsub->tells_gaps || pubsub->gap_count == 0)
		return;
	pubsub->tells_gaps = true;
	if (routine_start(pubsub->muster, "gap", tell_gaps, pubsub, NULL) < 0)
		pubsub->tells_gaps = false; /* told with the next one */
}

/* One that waits is made larger rather than joined by another: what is told is
 * bounded. */
static bool add_to_waiting(struct pubsub *pubsub, const struct muster_gap *gap)
{
	LIST_EACH (&pubsub->gaps, link) {
		struct gap_item *item = LIST_ENTRY(link, struct gap_item, link);

		if (item->gap.cause == gap->cause &&
		    strcmp(item->where, gap->where) == 0 &&
		    strcmp(item->from, gap->from) == 0) {
			item->gap.missed += gap->missed;
			return true;
		}
	}
	return pubsub->gap_count == GAPS_MAX;
}

void pubsub_note_gap(struct pubsub *pubsub, const struct muster_gap *gap)
{
	uint64_t now_ms = loop_now_ms(pubsub->muster->loop);

	if (now_ms - pubsub->warned_ms >= WARN_EVERY_MS) {
		pubsub->warned_ms = now_ms;
		log_warn(&pubsub->muster->log,
			 "messages were missed where=%s from=%s missed=%llu",
			 gap->where, gap->from,
			 (unsigned long long)gap->missed);
	}
	if (pubsub->on_gap == NULL || add_to_waiting(pubsub, gap))
		return;
	struct gap_item *item = mem_zalloc(sizeof(*item));

	item->where = mem_text(gap->where);
	item->from = mem_text(gap->from);
	item->gap = *gap;
	item->gap.where = item->where;
	item->gap.from = item->from;
	list_add_last(&pubsub->gaps, &item->link);
	pubsub->gap_count++;
	loop_defer(pubsub->muster->loop, &pubsub->tell);
}

static bool concerns(const struct bus_gap *gap, const char *where)
{
	if (!is_channel(where))
		return gap->lane.length == 0;
	return bus_gap_concerns(gap, text_of(where));
}

static void on_bus_gap(void *owner, const struct bus_gap *gap)
{
	struct pubsub *pubsub = owner;
	char from[ENVELOPE_NAME_MAX + 1];

	memcpy(from, gap->from.data != NULL ? gap->from.data : "",
	       gap->from.length);
	from[gap->from.length] = '\0';
	pubsub->missed += gap->missed;
	LIST_EACH (&pubsub->subscriptions, link) {
		struct muster_subscription *subscription =
			LIST_ENTRY(link, struct muster_subscription, link);

		if (subscription->is_removed ||
		    !concerns(gap, subscription->where))
			continue;
		/* It looks what of that is kept. */
		if (subscription->replay != NULL)
			replay_suspect(subscription->replay);
		else
			pubsub_note_gap(
				pubsub,
				&(struct muster_gap){
					.cause = gap->missed > 0
							 ? MUSTER_GAP_LOST
							 : MUSTER_GAP_OUTAGE,
					.where = subscription->where,
					.from = from,
					.missed = gap->missed,
				});
	}
}

void muster_on_gap(struct muster *muster, muster_gap_fn fn, void *arg)
{
	if (muster->pubsub == NULL)
		return; /* before on_start, or after on_stop */
	muster->pubsub->on_gap = fn;
	muster->pubsub->gap_arg = arg;
}

/* ---- messages ---- */

static char *put(char **at, struct envelope_text text)
{
	char *start = *at;

	if (text.length > 0)
		memcpy(start, text.data, text.length);
	start[text.length] = '\0';
	*at += text.length + 1;
	return start;
}

struct pubsub_item *pubsub_item_new(const struct bus_message *message)
{
	bool has_channel = message->channel.length > 0;
	struct envelope_text type =
		has_channel ? (struct envelope_text){ "", 0 } : message->type;
	size_t bytes = sizeof(struct pubsub_item) + type.length +
		       message->channel.length + message->from.length +
		       message->nonce.length + message->body.length + 5;
	struct pubsub_item *item = mem_alloc(bytes);
	char *at = (char *)(item + 1);

	*item = (struct pubsub_item){ .bytes = bytes };
	item->news.type = put(&at, type);
	item->news.channel = put(&at, message->channel);
	item->news.from = put(&at, message->from);
	item->nonce = put(&at, message->nonce);
	item->kept = message->kept;
	item->news.payload = put(&at, message->body);
	item->news.length = message->body.length;
	item->news.sent_ms = message->ts_ms;
	item->news.is_own = message->is_own;
	return item;
}

static struct pubsub_item *take_item(struct muster_subscription *subscription)
{
	struct list *link = list_take_first(&subscription->items);

	if (link == NULL)
		return NULL;
	struct pubsub_item *item = LIST_ENTRY(link, struct pubsub_item, link);

	subscription->waiting--;
	subscription->replayed -= item->is_replayed;
	subscription->bytes -= item->bytes;
	return item;
}

/* What is replayed comes all at once, and is bounded already. */
static bool is_over(const struct muster_subscription *subscription)
{
	size_t bytes_max =
		PUBSUB_ROOM_BYTES +
		(subscription->replayed > 0 ? STORE_BUS_LOG_BYTES : 0);

	return subscription->waiting >
		       subscription->room + subscription->replayed ||
	       (subscription->bytes > bytes_max && subscription->waiting > 1);
}

static void make_room(struct muster_subscription *subscription)
{
	struct pubsub *pubsub = subscription->muster->pubsub;

	while (is_over(subscription)) {
		struct pubsub_item *oldest = take_item(subscription);

		pubsub->dropped_slow++;
		pubsub_note_gap(pubsub, &(struct muster_gap){
						.cause = MUSTER_GAP_SLOW,
						.where = subscription->where,
						.from = oldest->news.from,
						.missed = 1,
					});
		free(oldest);
	}
}

static void free_subscription(struct muster_subscription *subscription)
{
	struct pubsub_item *item;

	while ((item = take_item(subscription)) != NULL)
		free(item);
	replay_free(subscription->replay);
	list_remove(&subscription->link);
	free(subscription->where);
	free(subscription);
}

static void handle(struct muster *muster, void *arg)
{
	struct muster_subscription *subscription = arg;
	struct pubsub_item *item;

	while (!subscription->is_removed &&
	       (item = take_item(subscription)) != NULL) {
		subscription->fn(muster, &item->news, subscription->arg);
		muster_clear_answers(muster);
		free(item);
	}
	subscription->is_running = false;
	if (subscription->is_removed)
		free_subscription(subscription);
}

void pubsub_give(struct muster_subscription *subscription,
		 struct pubsub_item *item)
{
	list_add_last(&subscription->items, &item->link);
	subscription->waiting++;
	subscription->replayed += item->is_replayed;
	subscription->bytes += item->bytes;
	make_room(subscription);
	if (subscription->is_running)
		return;
	subscription->is_running = true;
	/* Where there is no fiber for it now, the next message tries again. */
	if (routine_start(subscription->muster, subscription->where, handle,
			  subscription, NULL) < 0)
		subscription->is_running = false;
}

static void on_message(void *owner, const struct bus_message *message)
{
	struct muster_subscription *subscription = owner;

	if (subscription->replay != NULL)
		replay_take(subscription->replay, message);
	else
		pubsub_give(subscription, pubsub_item_new(message));
}

/* ---- subscribing ---- */

static void on_ready(void *owner)
{
	struct muster_subscription *subscription = owner;

	if (subscription->replay != NULL)
		replay_begin(subscription->replay);
	fiber_wake(subscription->ready, 0);
}

static int await_ready(struct muster *muster,
		       struct muster_subscription *subscription)
{
	bool waits = routine_current(muster) != NULL;

	if (!waits && subscription->replay == NULL)
		return 0;
	if (waits)
		subscription->ready = fiber_wait_begin();
	bus_handler_ready(subscription->handler, on_ready, subscription);
	return waits ? routine_park(muster, subscription->ready, 0) : 0;
}

static int refuse(struct muster *muster, const char *where)
{
	return problem_set(routine_problem(muster), -EINVAL, "CHANNEL_INVALID",
			   "'%.80s' can be neither a message's type nor a "
			   "channel ('/a/b'; the last part may be '*' or '**')",
			   where);
}

/* "do" and "doResponse" are those of muster/rpc.h. */
static bool is_reserved(const char *where)
{
	return strcmp(where, "do") == 0 || strcmp(where, "doResponse") == 0;
}

/* A log is a channel's. */
static bool can_replay(const char *where)
{
	size_t length = strlen(where);

	return is_channel(where) && length > 1 && where[length - 1] != '*' &&
	       length <= STORE_BUS_LOG_NAME_MAX;
}

static struct muster_subscription *
new_subscription(struct muster *muster, const char *where,
		 const struct muster_subscribe_options *options)
{
	struct muster_subscription *subscription =
		mem_zalloc(sizeof(*subscription));

	subscription->muster = muster;
	subscription->where = mem_text(where);
	subscription->room = options->room > 0 ? options->room : ROOM_DEFAULT;
	list_init(&subscription->items);
	list_add_last(&muster->pubsub->subscriptions, &subscription->link);
	if (options->replay)
		subscription->replay =
			replay_new(subscription, options->since_ms);
	return subscription;
}

int muster_subscribe_with(struct muster *muster, const char *where,
			  const struct muster_subscribe_options *options,
			  muster_news_fn fn, void *arg,
			  struct muster_subscription **subscription_out)
{
	static const struct muster_subscribe_options none = { 0 };
	struct bus *bus = node_bus(muster);

	if (bus == NULL)
		return routine_problem(muster)->code;
	if (options == NULL)
		options = &none;
	if (is_reserved(where) || (options->replay && !can_replay(where)))
		return refuse(muster, where);
	struct muster_subscription *subscription =
		new_subscription(muster, where, options);

	subscription->fn = fn;
	subscription->arg = arg;
	subscription->handler =
		is_channel(where) ? bus_on_channel(bus, text_of(where),
						   on_message, subscription)
				  : bus_on_type(bus, text_of(where), on_message,
						subscription);
	if (subscription->handler == NULL) {
		free_subscription(subscription);
		return refuse(muster, where);
	}
	int error = await_ready(muster, subscription);

	if (error < 0) {
		muster_unsubscribe(subscription);
		return error;
	}
	if (subscription_out != NULL)
		*subscription_out = subscription;
	return 0;
}

int muster_subscribe(struct muster *muster, const char *where,
		     muster_news_fn fn, void *arg,
		     struct muster_subscription **subscription)
{
	return muster_subscribe_with(muster, where, NULL, fn, arg,
				     subscription);
}

/* No message comes to it any more. */
static void detach(struct muster_subscription *subscription)
{
	bus_handler_remove(subscription->handler);
	subscription->handler = NULL;
	replay_free(subscription->replay);
	subscription->replay = NULL;
	subscription->is_removed = true;
}

void muster_unsubscribe(struct muster_subscription *subscription)
{
	if (subscription == NULL || subscription->is_removed)
		return;
	detach(subscription);
	if (!subscription->is_running)
		free_subscription(subscription);
}

void muster_subscription_set_room(struct muster_subscription *subscription,
				  uint32_t messages)
{
	subscription->room = messages > 0 ? messages : ROOM_DEFAULT;
}

/* ---- publishing ---- */

static int publish(struct muster *muster, const char *where,
		   const char *payload,
		   const struct muster_publish_options *options,
		   store_bus_published_fn on_published, void *owner)
{
	struct bus *bus = node_bus(muster);
	struct bus_outgoing message = { .type = text_of(where),
					.body = text_of(payload) };

	if (bus == NULL)
		return routine_problem(muster)->code;
	if (is_reserved(where))
		return refuse(muster, where);
	if (options != NULL && options->replay > 0) {
		if (!can_replay(where) || options->replay > MUSTER_REPLAY_MAX)
			return refuse(muster, where);
		message.keep = options->replay;
		message.keep_ms =
			options->replay_ms > 0 ? options->replay_ms : REPLAY_MS;
	}
	if (is_channel(where)) {
		message.type = text_of(CHANNEL_TYPE);
		message.channel = text_of(where);
	}
	/* "" is what muster_json() makes of what cannot be; the bus would take
	 * it for null. */
	int error = payload[0] == '\0'
			    ? -EINVAL
			    : bus_publish(bus, &message, on_published, owner);

	if (error < 0)
		bus_problem(error, routine_problem(muster));
	return error;
}

int muster_publish(struct muster *muster, const char *where,
		   const char *payload)
{
	return publish(muster, where, payload, NULL, NULL, NULL);
}

/* A fiber in muster_publish_counted(), on whose stack this is. */
struct counting {
	struct fiber_wait wait;
	int error;
	int64_t receivers;
};

static void on_published(void *owner, int error, int64_t receivers)
{
	struct counting *counting = owner;

	counting->error = error;
	counting->receivers = receivers;
	fiber_wake(counting->wait, 0);
}

static int publish_counted(struct muster *muster, const char *where,
			   const char *payload,
			   const struct muster_publish_options *options)
{
	int error = routine_check(muster);

	if (error < 0)
		return error;
	if (node_bus(muster) == NULL) /* a guest's opens, and may wait */
		return routine_problem(muster)->code;
	struct counting counting = { .wait = fiber_wait_begin() };

	error = publish(muster, where, payload, options, on_published,
			&counting);
	if (error < 0)
		return error;
	error = routine_park(muster, counting.wait, 0);
	if (error < 0) {
		if (muster->bus != NULL)
			bus_forget(muster->bus, &counting);
		return error;
	}
	if (counting.error < 0)
		bus_problem(counting.error, routine_problem(muster));
	*options->receivers = counting.receivers;
	return counting.error;
}

int muster_publish_with(struct muster *muster, const char *where,
			const char *payload,
			const struct muster_publish_options *options)
{
	if (options != NULL && options->receivers != NULL)
		return publish_counted(muster, where, payload, options);
	return publish(muster, where, payload, options, NULL, NULL);
}

int muster_publish_counted(struct muster *muster, const char *where,
			   const char *payload, int64_t *receivers)
{
	return publish_counted(
		muster, where, payload,
		&(struct muster_publish_options){ .receivers = receivers });
}

void muster_bus_counts(const struct muster *muster,
		       struct muster_bus_counts *counts)
{
	struct bus_counters all = { 0 };

	*counts = (struct muster_bus_counts){ 0 };
	if (muster->bus == NULL)
		return;
	bus_counters(muster->bus, &all);
	const uint64_t *answers = all.envelopes.answers;

	*counts = (struct muster_bus_counts){
		.published = all.published,
		.received = answers[ENVELOPE_TAKEN],
		.delivered = all.delivered,
		.unwanted = all.unhandled,
		.missed = muster->pubsub->missed,
		.recovered = muster->pubsub->recovered,
		.dropped_slow = muster->pubsub->dropped_slow,
		.forged = answers[ENVELOPE_FORGED] +
			  answers[ENVELOPE_UNKNOWN_KEY],
		.replayed = answers[ENVELOPE_REPLAYED],
		.late = answers[ENVELOPE_LATE] + answers[ENVELOPE_EARLY],
		.malformed = answers[ENVELOPE_MALFORMED] +
			     answers[ENVELOPE_TOO_LARGE] +
			     answers[ENVELOPE_TOO_DEEP],
	};
	rpc_counts(muster, &counts->answers_late, &counts->calls_repeated);
}

/* ---- the part ---- */

void pubsub_attach(struct muster *muster)
{
	static const struct bus_events events = { .on_gap = on_bus_gap };

	muster->pubsub->watcher =
		bus_watch(muster->bus, &events, muster->pubsub);
}

static int start(struct muster *muster)
{
	struct pubsub *pubsub = mem_zalloc(sizeof(*pubsub));

	muster->pubsub = pubsub;
	pubsub->muster = muster;
	pubsub->tell.run = begin_to_tell;
	list_init(&pubsub->subscriptions);
	list_init(&pubsub->gaps);
	if (muster->bus != NULL)
		pubsub_attach(muster);
	return 0;
}

static void close_pubsub(struct muster *muster)
{
	struct pubsub *pubsub = muster->pubsub;

	if (pubsub == NULL)
		return;
	loop_undefer(&pubsub->tell);
	bus_unwatch(pubsub->watcher);
	pubsub->watcher = NULL;
	LIST_EACH (&pubsub->subscriptions, link) {
		struct muster_subscription *subscription =
			LIST_ENTRY(link, struct muster_subscription, link);

		detach(subscription);
	}
}

static void free_pubsub(struct muster *muster)
{
	struct pubsub *pubsub = muster->pubsub;
	struct list *link;

	if (pubsub == NULL)
		return;
	while ((link = list_first(&pubsub->subscriptions)) != NULL)
		free_subscription(
			LIST_ENTRY(link, struct muster_subscription, link));
	while ((link = list_take_first(&pubsub->gaps)) != NULL)
		free_gap(LIST_ENTRY(link, struct gap_item, link));
	free(pubsub);
	muster->pubsub = NULL;
}

const struct node_part pubsub_part = {
	.name = "pubsub",
	.start = start,
	.close = close_pubsub,
	.free = free_pubsub,
};
