#include "service/bus.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/mem.h"
#include "base/must.h"
#include "loop/timer.h"
#include "service/bus_internal.h"

#define MARK_MS    1000 /* of silence behind what was published */
#define OUTS_MAX   16384
#define ROOM_BYTES ((size_t)1 << 16) /* that are kept */
#define SHORT      16                /* a token that is worth a word */

/* ---- what goes out ---- */

static struct bus_out **out_place(struct bus *bus, uint32_t hash,
				  struct envelope_text name)
{
	struct bus_out **place = &bus->outs[hash % BUS_BUCKETS];

	while (*place != NULL &&
	       ((*place)->hash != hash || (*place)->length != name.length ||
		memcmp((*place)->name, name.data, name.length) != 0))
		place = &(*place)->next;
	return place;
}

static void forget_out(struct bus *bus)
{
	struct bus_out *oldest =
		LIST_ENTRY(bus->all_outs.next, struct bus_out, link);

	*out_place(bus, oldest->hash,
		   (struct envelope_text){ oldest->name, oldest->length }) =
		oldest->next;
	list_remove(&oldest->link);
	if (list_is_linked(&oldest->marked))
		list_remove(&oldest->marked);
	free(oldest);
	bus->out_count--;
}

/* The numbers of a lane that was forgotten must not come again: one that is
 * new begins behind all others, once anything has been forgotten. */
static struct bus_out *out_for(struct bus *bus, struct envelope_text name)
{
	uint32_t hash = bus_hash(name);
	struct bus_out *out = *out_place(bus, hash, name);

	if (out != NULL) {
		list_remove(&out->link);
		list_add_last(&bus->all_outs, &out->link);
		return out;
	}
	if (bus->out_count == OUTS_MAX) {
		forget_out(bus);
		bus->has_forgotten_outs = true;
	}
	out = mem_zalloc(sizeof(*out) + name.length);
	out->hash = hash;
	out->seq = bus->has_forgotten_outs ? bus->highest_seq : 0;
	out->length = name.length;
	if (name.length > 0)
		memcpy(out->name, name.data, name.length);
	struct bus_out **bucket = &bus->outs[hash % BUS_BUCKETS];

	out->next = *bucket;
	*bucket = out;
	list_add_last(&bus->all_outs, &out->link);
	/* Those to one server are answered, or missed by who asked. */
	if (name.length == 0 || name.data[0] == '/')
		list_add_last(&bus->marked, &out->marked);
	bus->out_count++;
	return out;
}

static bool is_mark(const struct bus_outgoing *message)
{
	return message->type.data[0] == '_' && message->body.length == 0;
}

static void mark_in(struct bus *bus, struct bus_out *out, uint64_t delay_ms)
{
	out->mark_ms = loop_now_ms(bus->loop) + delay_ms;
	/* One that is on its way looks for itself when the next is due. */
	if (!timer_is_started(bus->tick))
		timer_start(bus->tick, delay_ms, 0);
}

/* The numbers of what is kept are a channel's own. NULL: it is not kept. */
static struct bus_out *kept_for(struct bus *bus,
				const struct bus_outgoing *message)
{
	char name[ENVELOPE_CHANNEL_MAX + 1] = "=";
	size_t length = message->channel.length;

	if (message->keep == 0 || length == 0 || length > ENVELOPE_CHANNEL_MAX)
		return NULL;
	memcpy(name + 1, message->channel.data, length);
	return out_for(bus, (struct envelope_text){ name, length + 1 });
}

static void count_sent(struct bus *bus, struct bus_out *out)
{
	out->seq++;
	if (bus->highest_seq < out->seq)
		bus->highest_seq = out->seq;
}

int bus_send(struct bus *bus, struct envelope_text lane,
	     const struct bus_outgoing *message,
	     store_bus_published_fn on_published, void *owner)
{
	struct bus_out *out = out_for(bus, lane);
	struct bus_out *kept = kept_for(bus, message);
	size_t size = ENVELOPE_HEAD_MAX + message->body.length;
	const struct envelope envelope = {
		.type = message->type,
		.from = bus_text(bus->id),
		.nonce = bus_text(bus->nonce),
		.lane = lane,
		.channel = message->channel,
		.body = message->body.length > 0 ? message->body
						 : bus_text("null"),
		.is_checked = message->is_checked,
		.seq = out->seq + 1,
		.ts_ms = bus_now_ms(bus),
		.kept = kept == NULL ? 0 : kept->seq + 1,
	};
	const struct store_bus_log log = { store_bytes(message->channel.data,
						       message->channel.length),
					   message->keep, message->keep_ms };

	if (message->body.length > ENVELOPE_BODY_MAX)
		return -EMSGSIZE;
	buffer_truncate(&bus->room, 0);
	char *room = (char *)buffer_reserve(&bus->room, size);
	ssize_t length = envelope_seal(bus->keys, &envelope, room, size);

	if (length < 0)
		return (int)length;
	int error = store_bus_publish(
		bus->transport, store_bytes(lane.data, lane.length),
		store_bytes(room, (size_t)length), kept == NULL ? NULL : &log,
		on_published, owner);

	buffer_trim(&bus->room, ROOM_BYTES);
	if (error < 0)
		return error;
	count_sent(bus, out);
	if (kept != NULL)
		count_sent(bus, kept);
	/* Those to one server are answered, or missed by who asked. */
	if (lane.length > 0 && lane.data[0] != '/')
		return 0;
	out->mark_ms = 0;
	if (!is_mark(message))
		mark_in(bus, out, MARK_MS);
	return 0;
}

int bus_publish(struct bus *bus, const struct bus_outgoing *message,
		store_bus_published_fn on_published, void *owner)
{
	char name[STORE_BUS_CHANNEL_MAX + BUS_LANE_BYTES] = "";

	if (!store_bus_is_clock_known(bus->transport))
		return -EAGAIN;
	if (message->type.length == 0 || message->to.length > STORE_NAME_MAX ||
	    (message->type.length >= 5 &&
	     memcmp(message->type.data, "_bus:", 5) == 0) ||
	    (message->channel.length > 0 &&
	     !bus_is_channel(message->channel, false)))
		return -EINVAL;
	if (message->to.length > 0) {
		memcpy(name, "node:", 5);
		memcpy(name + 5, message->to.data, message->to.length);
		name[5 + message->to.length] = '\0';
	} else if (message->channel.length > 0) {
		bus_lane_of(message->channel, name);
	}
	int error = bus_send(bus, bus_text(name), message, on_published, owner);

	if (error == 0) {
		bus->published++;
		if (bus->meters != NULL)
			meter_add(bus->meters, METER_MESSAGES_SENT, 1);
	}
	return error;
}

void bus_forget(struct bus *bus, const void *owner)
{
	store_bus_forget(bus->transport, owner);
}

void bus_problem(int error, struct problem *problem)
{
	static const struct {
		int code;
		const char *name;
		const char *text;
	} known[] = {
		{ -EINVAL, "MESSAGE_INVALID",
		  "the message cannot be sent: its type, channel or receiver "
		  "is no name, or its body is no JSON value" },
		{ -EMSGSIZE, "TOO_LARGE",
		  "the message is longer than 1 MiB (send a reference to it)" },
		{ -ELOOP, "TOO_DEEP",
		  "the message's body is more than 64 containers deep (make it "
		  "flatter)" },
		{ -ENOBUFS, "BUS_FULL",
		  "too many messages wait for the store already (is it "
		  "reachable? publish less)" },
		{ -EAGAIN, "BUS_NOT_UP",
		  "the bus has not been up yet (wait for the store)" },
		{ -ETIMEDOUT, "STORE_TIMEOUT",
		  "the message could not be sent in time (is the store "
		  "reachable?)" },
		{ -ECONNRESET, "STORE_ANSWER_LOST",
		  "the connection to the store was lost; the message may have "
		  "been sent" },
		{ -EACCES, "STORE_REFUSED",
		  "the store does not let us publish (give the user of the URL "
		  "the right to its channels)" },
	};

	for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++) {
		if (known[i].code != error)
			continue;
		problem_set(problem, error, known[i].name, "%s", known[i].text);
		return;
	}
	problem_set(problem, error, "BUS_FAILED",
		    "the message could not be sent: %s", strerror(-error));
}

/* ---- marks ---- */

void bus_mark_all(struct bus *bus, uint64_t delay_ms)
{
	uint64_t due_ms = loop_now_ms(bus->loop) + delay_ms;

	LIST_EACH (&bus->marked, link) {
		struct bus_out *out = LIST_ENTRY(link, struct bus_out, marked);

		if (out->seq > 0 &&
		    (out->mark_ms == 0 || out->mark_ms > due_ms)) {
			timer_stop(bus->tick);
			mark_in(bus, out, delay_ms);
		}
	}
}

/* Behind what was published last, so that who missed that knows it. */
static void mark(struct bus *bus, struct bus_out *out)
{
	const struct envelope_text lane = { out->name, out->length };
	const struct bus_outgoing message = { .type = bus_text("_bus:mark") };

	out->mark_ms = 0;
	if (bus_send(bus, lane, &message, NULL, NULL) < 0)
		out->mark_ms = loop_now_ms(bus->loop) + MARK_MS;
}

static void on_tick(void *owner)
{
	struct bus *bus = owner;
	uint64_t now_ms = loop_now_ms(bus->loop);
	uint64_t next_ms = UINT64_MAX;

	LIST_EACH (&bus->marked, link) {
		struct bus_out *out = LIST_ENTRY(link, struct bus_out, marked);

		if (out->mark_ms != 0 && out->mark_ms <= now_ms)
			mark(bus, out);
		if (out->mark_ms != 0 && out->mark_ms < next_ms)
			next_ms = out->mark_ms;
	}
	if (next_ms != UINT64_MAX)
		timer_start(bus->tick, next_ms - now_ms, 0);
}

/* ---- life ---- */

static bool is_default(const char *token)
{
	static const char *const defaults[] = {
		"change-me", "change_me",   "changeme", "change me", "default",
		"token",     "servertoken", "secret",   "password",
	};

	for (size_t i = 0; i < sizeof(defaults) / sizeof(defaults[0]); i++)
		if (strcasecmp(token, defaults[i]) == 0)
			return true;
	return false;
}

static int check_token(const char *token, struct problem *problem)
{
	if (token == NULL || token[0] == '\0')
		return problem_set(
			problem, -EINVAL, "TOKEN_MISSING",
			"servers that share a remote store need a token, and "
			"there is none (set MUSTER_TOKEN to a long random "
			"text, "
			"the same for all of them)");
	if (is_default(token))
		return problem_set(
			problem, -EINVAL, "TOKEN_DEFAULT",
			"the token is one that everybody knows (set "
			"MUSTER_TOKEN to a long random text, the same for all "
			"servers of the cluster)");
	return 0;
}

/* The token itself, or, where there is none, what the embedded store keeps. */
static int find_token(struct store *store, const struct bus_options *options,
		      char secret[STORE_BUS_SECRET_BYTES], const char **token,
		      struct problem *problem)
{
	int error = store_bus_secret(store, secret, problem);

	*token = options->token;
	if (error == -EREMOTE)
		return check_token(options->token, problem);
	if (*token != NULL && **token != '\0')
		return 0;
	*token = secret;
	return error;
}

static void free_bus(struct bus *bus)
{
	envelope_book_free(bus->book);
	envelope_keys_free(bus->keys);
	buffer_fini(&bus->room);
	free(bus->id);
	free(bus->nonce);
	free(bus->own_lane);
	free(bus);
}

static int join(struct bus *bus, struct problem *problem)
{
	bus->transport = store_bus_join(bus->store,
					&(struct store_bus_join){
						.id = store_text(bus->id),
						.nonce = store_text(bus->nonce),
						.events = &bus_transport_events,
						.owner = bus,
					},
					problem);
	return bus->transport == NULL ? problem->code : 0;
}

static void begin(struct bus *bus, const char *token, const char *second)
{
	bus->keys = envelope_keys_new(store_bus_prefix(bus->transport),
				      bus_text(token),
				      bus_text(second == NULL ? "" : second));
	bus->book = envelope_book_new(bus->keys, 0);
	bus->tick = timer_open(bus->loop, on_tick, bus, false);
	/* Both names are short enough, and they are the first channels. */
	MUST(bus_lanes_need(bus, UINT32_C(1) << BUS_LANE_GENERAL |
					 UINT32_C(1) << BUS_LANE_OWN) == 0);
}

struct bus *bus_open(struct loop *loop, struct store *store,
		     const struct bus_options *options, struct problem *problem)
{
	char secret[STORE_BUS_SECRET_BYTES] = "";
	const char *token;

	if (find_token(store, options, secret, &token, problem) < 0)
		return NULL;
	struct bus *bus = mem_zalloc(sizeof(*bus));

	bus->loop = loop;
	bus->store = store;
	bus->id = mem_text(options->id);
	bus->nonce = mem_text(options->nonce);
	bus->meters = options->meters;
	bus->own_lane = mem_format("node:%s", options->id);
	list_init(&bus->watchers);
	list_init(&bus->all_outs);
	list_init(&bus->marked);
	list_init(&bus->readings);
	bus_topics_init(bus);
	if (join(bus, problem) < 0) {
		free_bus(bus);
		return NULL;
	}
	if (strlen(token) < SHORT)
		log_warn(loop_log(loop),
			 "the cluster's token is short, and may be guessed "
			 "bytes=%zu",
			 strlen(token));
	begin(bus, token, options->second_token);
	return bus;
}

void bus_close(struct bus *bus)
{
	struct list *link;

	if (bus == NULL)
		return;
	MUST(bus->calling == 0);
	store_bus_leave(bus->transport);
	timer_close(bus->tick);
	bus_logs_fini(bus);
	bus_topics_fini(bus);
	while ((link = list_take_first(&bus->watchers)) != NULL)
		free(LIST_ENTRY(link, struct bus_watcher, link));
	while ((link = list_take_first(&bus->all_outs)) != NULL)
		free(LIST_ENTRY(link, struct bus_out, link));
	free_bus(bus);
}

void bus_rename(struct bus *bus, const char *id)
{
	if (strcmp(bus->id, id) == 0)
		return;
	char *old_lane = bus->own_lane;

	free(bus->id);
	bus->id = mem_text(id);
	bus->own_lane = mem_format("node:%s", id);
	bus_lanes_move_own(bus, old_lane);
	free(old_lane);
}

void bus_counters(const struct bus *bus, struct bus_counters *counters)
{
	*counters = (struct bus_counters){
		.published = bus->published,
		.delivered = bus->delivered,
		.unhandled = bus->unhandled,
		.gaps = bus->gaps,
	};
	envelope_book_counters(bus->book, &counters->envelopes);
	store_bus_counters(bus->transport, &counters->transport);
}
