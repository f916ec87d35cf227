/*
 * muster/pubsub.h - messages among the servers of a cluster.
 *
 *     static void on_price(struct muster *muster,
 *                          const struct muster_news *news, void *arg)
 *     {
 *             printf("%s says %s\n", news->from, news->payload);
 *     }
 *     ...
 *     muster_subscribe(muster, "/prices/gold", on_price, NULL, NULL);
 *     muster_publish(muster, "/prices/gold", "{\"eur\": 64000}");
 *
 * A message goes to a type ("priceChanged") or on a channel ("/prices/gold");
 * every server has it that subscribes to it, the publisher too. It is signed
 * with the cluster's token: what is forged, replayed or older than 30 s is
 * dropped and counted.
 *
 * At most once, in the order of each publisher. A message that was missed (an
 * outage of the store, a handler that is too slow) is told as a gap, never
 * passed over in silence. What is published with a replay is kept for a while,
 * so that who was cut off has it later, and only what is beyond that is a gap.
 * For what must arrive, see muster/task.h.
 */
#ifndef MUSTER_PUBSUB_H
#define MUSTER_PUBSUB_H

#include <muster/types.h>

#ifdef __cplusplus
extern "C" {
#endif

struct muster;
struct muster_subscription;

/* A message that has come; all texts end with NUL. */
struct muster_news {
	const char *type;    /* "" where it came on a channel */
	const char *channel; /* "" where it came to a type */
	const char *from;    /* the id of the server that sent it */
	const char *payload; /* one JSON value */
	size_t length;       /* of the payload */
	uint64_t sent_ms;    /* since 1970, by the store's clock */
	bool is_own;         /* this node published it */
};

/* On a fiber of the subscription's own, one message after the other: it may
 * wait. `news` is good until it returns. */
typedef void (*muster_news_fn)(struct muster *muster,
			       const struct muster_news *news, void *arg);

/*
 * Publishes to a type, or on a channel where `where` begins with '/'. Does not
 * wait, so from anywhere: it leaves with all others of this turn of the loop.
 *
 * -EINVAL: the name cannot be one, or the payload is no JSON; -EMSGSIZE: over
 * 1 MiB; -ELOOP: deeper than 64; -ENOBUFS: the store is away or slow and too
 * much waits for it: nothing was sent.
 */
MUSTER_PUBLIC MUSTER_MUST_READ int
muster_publish(struct muster *muster, const char *where, const char *payload);

/* How many can be kept on a channel; and 8 MiB of them. */
#define MUSTER_REPLAY_MAX 65536

struct muster_publish_options {
	/* How many of the channel's last messages are kept, so that those who
	 * subscribe with a replay have them after an outage; 0: this one is
	 * not. All who publish there should say the same. */
	uint32_t replay;
	uint32_t replay_ms; /* and for how long; 60,000 */
	/* Where not NULL it waits, as muster_publish_counted() does. */
	int64_t *receivers;
};

/* Publishes, and keeps it, in one step. -EINVAL too where a type is to have a
 * replay, or `replay` is over MUSTER_REPLAY_MAX. `options` may be NULL. */
MUSTER_PUBLIC MUSTER_MUST_READ int
muster_publish_with(struct muster *muster, const char *where,
		    const char *payload,
		    const struct muster_publish_options *options);

/* The same, and waits for how many servers it was handed to (-1: the store
 * cannot say). On a fiber. */
MUSTER_PUBLIC MUSTER_MUST_READ int muster_publish_counted(struct muster *muster,
							  const char *where,
							  const char *payload,
							  int64_t *receivers);

/*
 * Subscribes to a type, or to a channel; the last part of a channel may be "*"
 * (any one part) or "**" (one or more). On a fiber it waits until the store has
 * taken it, so that what is published from then on arrives. *subscription may
 * be NULL; it is good until unsubscribed, or the node ends.
 *
 * -EINVAL: the name or pattern cannot be one.
 */
MUSTER_PUBLIC int muster_subscribe(struct muster *muster, const char *where,
				   muster_news_fn fn, void *arg,
				   struct muster_subscription **subscription);
struct muster_subscribe_options {
	/* After an outage, and whenever a message is missing, what is kept of
	 * the channel is asked for, and comes before what is newer: once, in
	 * the order of each publisher. A gap is then what is kept no longer, of
	 * what was published with a replay. For a channel, not for a pattern.
	 */
	bool replay;
	/* And at first what was kept within that time until now; 0: nothing. */
	uint32_t since_ms;
	uint32_t room; /* see muster_subscription_set_room(); 1,024 */
};

/* The same, with options; NULL: none. -EINVAL too where a type or a pattern is
 * to have a replay. */
MUSTER_PUBLIC int
muster_subscribe_with(struct muster *muster, const char *where,
		      const struct muster_subscribe_options *options,
		      muster_news_fn fn, void *arg,
		      struct muster_subscription **subscription);
/* No message after the one that is being handled. May be called from its own
 * handler. NULL is fine. */
MUSTER_PUBLIC void muster_unsubscribe(struct muster_subscription *subscription);
/* How many messages may wait for a slow handler; 1,024. What comes when there
 * is no room takes the place of the oldest, which is told as a gap. */
MUSTER_PUBLIC void
muster_subscription_set_room(struct muster_subscription *subscription,
			     uint32_t messages);

/* ---- What was missed ----------------------------------------------------- */

enum muster_gap_cause {
	MUSTER_GAP_LOST = 1, /* published, and never came */
	MUSTER_GAP_OUTAGE,   /* the way was interrupted, nobody knows what of;
				or the store has lost what was kept */
	MUSTER_GAP_SLOW,     /* a handler here did not keep up */
};

struct muster_gap {
	enum muster_gap_cause cause;
	const char *where; /* of the subscription concerned */
	const char *from;  /* whose messages; "": anybody's */
	uint64_t missed;   /* how many; 0: nobody knows */
};

/* For each subscription that may have missed something. On a fiber. One
 * handler, set from on_start on; NULL takes it away. */
typedef void (*muster_gap_fn)(struct muster *muster,
			      const struct muster_gap *gap, void *arg);
MUSTER_PUBLIC void muster_on_gap(struct muster *muster, muster_gap_fn fn,
				 void *arg);

/* What was dropped, since the node began. */
struct muster_bus_counts {
	uint64_t published;
	uint64_t received;
	uint64_t delivered; /* to handlers */
	uint64_t unwanted;  /* of a type or on a channel without a handler */
	uint64_t missed;    /* that did not come when they were published */
	uint64_t recovered; /* of those, that came later: they had been kept */
	uint64_t dropped_slow;
	uint64_t forged; /* a wrong signature, or an unknown key */
	uint64_t replayed;
	uint64_t late;           /* older, or newer, than 30 s */
	uint64_t malformed;      /* no message of ours, too large, too deep */
	uint64_t answers_late;   /* to calls that had ended by then */
	uint64_t calls_repeated; /* that had come before: not done again */
};
MUSTER_PUBLIC void muster_bus_counts(const struct muster *muster,
				     struct muster_bus_counts *counts);

#ifdef __cplusplus
}
#endif

#endif
