/* The commands publish and subscribe. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <muster/pubsub.h>

#include "base/json.h"
#include "base/quantity.h"
#include "cli/guest.h"
#include "cli/print.h"

/* ---- publish ---- */

enum {
	REPLAY = GUEST_OPTIONS,
	REPLAY_TIME,
	PUBLISH_OPTIONS,
};

static const struct command_option publish_options[PUBLISH_OPTIONS + 1] = {
	GUEST_ROWS,
	[REPLAY] = { 0, "replay", NULL, "N",
		     "keep the last N of the channel for who was cut off "
		     "(none)" },
	[REPLAY_TIME] = { 0, "replay-time", NULL, "TIME",
			  "and for how long (60s)" },
};

static int take_publish(void *context, int option, const char *value)
{
	struct muster_publish_options *options = context;
	long number;

	if (option == REPLAY_TIME)
		return quantity_read_time_ms(value, &options->replay_ms) &&
				       options->replay_ms > 0
			       ? COMMAND_DONE
			       : guest_wants(&publish_command, option,
					     "a time such as 30s", value);
	if (!arguments_read_number(value, 1, MUSTER_REPLAY_MAX, &number))
		return guest_wants(&publish_command, option,
				   "a number of messages from 1 to 65536",
				   value);
	options->replay = (uint32_t)number;
	return COMMAND_DONE;
}

static int check_payload(const struct guest *guest)
{
	const char *payload = guest->operands[1];

	if (json_is_value(payload, strlen(payload)))
		return COMMAND_DONE;
	return command_misused(
		guest->command,
		"publish: a message is JSON, and '%.60s' is none "
		"(a text has quotes: '\"x\"')",
		payload);
}

static int publish(struct guest *guest)
{
	struct muster_publish_options *options = guest->context;
	int64_t receivers = 0;

	options->receivers = &receivers;
	if (muster_publish_with(guest->muster, guest->operands[0],
				guest->operands[1], options) < 0)
		return guest_failed(guest);
	if (guest->is_json)
		print_json(json_pack("{s:s, s:o}", "channel",
				     guest->operands[0], "receivers",
				     receivers < 0 ? json_null()
						   : json_integer(receivers)));
	return COMMAND_DONE;
}

static int run_publish(struct arguments *arguments)
{
	struct muster_publish_options options = { 0 };

	return guest_run(arguments, &(struct guest_plan){
					    .take = take_publish,
					    .check = check_payload,
					    .run = publish,
					    .least = 2,
					    .most = 2,
					    .context = &options,
				    });
}

const struct command publish_command = {
	.name = "publish",
	.operands = "CHANNEL|TYPE JSON",
	.summary = "send a message to all servers that subscribe to it",
	.details = "  muster publish /prices/gold '{\"eur\": 64000}'\n"
		   "  muster publish priceChanged 1",
	.options = publish_options,
	.run = run_publish,
};

/* ---- subscribe ---- */

enum {
	COUNT = GUEST_OPTIONS,
	SINCE,
	SUBSCRIBE_OPTIONS,
};

static const struct command_option subscribe_options[SUBSCRIBE_OPTIONS + 1] = {
	GUEST_ROWS,
	[COUNT] = { 'n', "count", NULL, "N",
		    "end after so many messages (never)" },
	[SINCE] = { 0, "since", NULL, "TIME",
		    "what was kept in that time first, and what is missed "
		    "later" },
};

struct listening {
	const struct guest *guest;
	long left; /* 0: for ever */
	struct muster_subscribe_options options;
	bool is_done;
	int where_width; /* of the longest so far */
	int from_width;
};

static int take(void *context, int option, const char *value)
{
	struct listening *listening = context;

	if (option == SINCE) {
		listening->options.replay = true;
		return quantity_read_time_ms(value,
					     &listening->options.since_ms)
			       ? COMMAND_DONE
			       : guest_wants(&subscribe_command, option,
					     "a time such as 30s", value);
	}
	if (arguments_read_number(value, 1, 1000000000, &listening->left))
		return COMMAND_DONE;
	return guest_wants(&subscribe_command, option,
			   "a number of messages from 1 on", value);
}

static void widen(int *width, const char *text)
{
	if ((int)strlen(text) > *width)
		*width = (int)strlen(text);
}

static void print_news(struct listening *listening,
		       const struct muster_news *news)
{
	const char *where =
		news->channel[0] != '\0' ? news->channel : news->type;

	if (!listening->guest->is_json) {
		widen(&listening->where_width, where);
		widen(&listening->from_width, news->from);
		printf("%-*s  %-*s  %s\n", listening->where_width, where,
		       listening->from_width, news->from, news->payload);
		return;
	}
	json_t *payload =
		json_loadb(news->payload, news->length, JSON_DECODE_ANY, NULL);

	print_json(json_pack("{s:s, s:s, s:I, s:o}",
			     news->channel[0] != '\0' ? "channel" : "type",
			     where, "from", news->from, "sentAt",
			     (json_int_t)news->sent_ms, "payload",
			     payload != NULL ? payload : json_null()));
}

static void on_news(struct muster *muster, const struct muster_news *news,
		    void *arg)
{
	struct listening *listening = arg;

	if (listening->is_done)
		return;
	print_news(listening, news);
	fflush(stdout);
	if (listening->left > 0 && --listening->left == 0) {
		listening->is_done = true;
		muster_stop(muster, 0);
	}
}

static void on_gap(struct muster *muster, const struct muster_gap *gap,
		   void *arg)
{
	(void)muster;
	(void)arg;
	if (gap->missed > 0)
		fprintf(stderr, "muster: %" PRIu64 " missed on %s%s%s\n",
			gap->missed, gap->where,
			gap->from[0] != '\0' ? " from " : "", gap->from);
	else
		fprintf(stderr,
			"muster: the way was interrupted, messages on "
			"%s may be missing\n",
			gap->where);
}

static int subscribe(struct guest *guest)
{
	struct listening *listening = guest->context;

	listening->guest = guest;
	muster_on_gap(guest->muster, on_gap, NULL);
	for (size_t i = 0; i < guest->operand_count; i++)
		if (muster_subscribe_with(guest->muster, guest->operands[i],
					  &listening->options, on_news,
					  listening, NULL) < 0)
			return guest_failed(guest);
	if (!guest->is_json)
		fprintf(stderr, "listening, Ctrl-C ends it\n");
	while (!listening->is_done && !muster_is_stopping(guest->muster))
		if (muster_sleep(guest->muster, UINT32_MAX) == -ECANCELED)
			break;
	return COMMAND_DONE;
}

static int run_subscribe(struct arguments *arguments)
{
	struct listening listening = { 0 };

	return guest_run(arguments, &(struct guest_plan){
					    .take = take,
					    .run = subscribe,
					    .least = 1,
					    .most = 64,
					    .context = &listening,
				    });
}

const struct command subscribe_command = {
	.name = "subscribe",
	.operands = "CHANNEL|TYPE...",
	.summary = "show the messages of channels and types, as they come",
	.details = "  muster subscribe '/prices/*' priceChanged\n"
		   "The last part of a channel may be '*' (one part) or '**' "
		   "(one or more).\n"
		   "With --since each is a channel, no type and no pattern.",
	.options = subscribe_options,
	.run = run_subscribe,
};
