#include "service/rooms_internal.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/json.h"
#include "base/mem.h"
#include "base/must.h"
#include "base/utf8.h"
#include "loop/timer.h"
#include "service/ask.h"
#include "service/node_bus.h"
#include "service/rpc_internal.h"

#define BUCKETS_FIRST 64
#define RETRY_MS      1000

/* ---- names ---- */

int rooms_check(struct muster *muster, const char *room)
{
	size_t length = strlen(room);
	bool is_name = length > 0 && length <= STORE_NAME_MAX &&
		       strchr(room, '|') == NULL && utf8_is_valid(room, length);

	for (const char *at = room; *at != '\0' && is_name; at++)
		is_name = (unsigned char)*at >= ' ' && *at != 0x7f;
	if (is_name)
		return 0;
	return problem_set(routine_problem(muster), -EINVAL,
			   "ROOM_NAME_INVALID",
			   "'%.80s' cannot be a room's name: it has 1 to %d "
			   "bytes, none of them a control byte or |",
			   room, STORE_NAME_MAX);
}

static bool is_about(const struct muster_room *given, const char *room)
{
	size_t length = strlen(given->name);

	if (length > 0 && given->name[length - 1] == '*')
		return strncmp(given->name, room, length - 1) == 0;
	return strcmp(given->name, room) == 0;
}

const struct muster_room *rooms_given(const struct rooms *rooms,
				      const char *room)
{
	const struct muster_room *given = rooms->muster->settings.options.rooms;

	for (; given != NULL && given->name != NULL; given++)
		if (is_about(given, room))
			return given;
	return NULL;
}

static uint64_t hash_of(const char *name)
{
	uint64_t hash = 14695981039346656037U; /* FNV-1a */

	for (; *name != '\0'; name++)
		hash = (hash ^ (unsigned char)*name) * 1099511628211U;
	return hash ^ hash >> 32;
}

uint64_t rooms_now_ms(const struct muster *muster)
{
	struct timespec now;
	uint64_t now_ms = muster->bus == NULL ? 0 : bus_now_ms(muster->bus);

	if (now_ms > 0)
		return now_ms;
	clock_gettime(CLOCK_REALTIME, &now);
	return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

void rooms_write_text(struct json_writer *writer, const char *name,
		      const char *text)
{
	json_write_name(writer, name);
	json_write_text(writer, text);
}

void rooms_write(struct muster *muster, struct buffer *buffer,
		 const char *message, const char *room, const char *from)
{
	struct json_writer writer = json_writer(buffer);

	json_write_object(&writer);
	json_write_name(&writer, "message");
	json_write_raw(&writer, message, strlen(message));
	rooms_write_text(&writer, "room", room);
	rooms_write_text(&writer, "from", from);
	rooms_write_text(&writer, "context", "user");
	json_write_name(&writer, "sentAt");
	json_write_integer(&writer, (int64_t)rooms_now_ms(muster));
	json_write_object_end(&writer);
}

int rooms_ask(struct muster *muster, muster_room_fn fn,
	      const struct muster_room *given, struct muster_room_event *event)
{
	enum muster_room_verdict verdict = fn(muster, event, given->arg);

	if (verdict != MUSTER_ROOM_CHANGE)
		return verdict == MUSTER_ROOM_DROP ? MUSTER_DROPPED : 0;
	if (event->json != NULL &&
	    json_is_value(event->json, strlen(event->json)))
		return 0;
	return problem_set(routine_problem(muster), -EINVAL,
			   "ROOM_CHANGE_INVALID",
			   "what a handler of the room '%.80s' has made of it "
			   "is no JSON",
			   given->name);
}

/* ---- rooms with members here ---- */

struct rooms_here *rooms_find(const struct rooms *rooms, const char *room)
{
	uint64_t hash = hash_of(room);
	struct rooms_here *here =
		rooms->count == 0
			? NULL
			: rooms->buckets[hash & (rooms->bucket_count - 1)];

	while (here != NULL &&
	       (here->hash != hash || strcmp(here->name, room) != 0))
		here = here->next;
	return here;
}

static void put(struct rooms *rooms, struct rooms_here *here)
{
	struct rooms_here **bucket =
		&rooms->buckets[here->hash & (rooms->bucket_count - 1)];

	here->next = *bucket;
	*bucket = here;
}

static void grow(struct rooms *rooms)
{
	struct rooms_here **old = rooms->buckets;
	size_t old_count = rooms->bucket_count;

	rooms->bucket_count = old_count == 0 ? BUCKETS_FIRST : old_count * 2;
	/* NOLINTNEXTLINE(bugprone-sizeof-expression): pointers it is */
	rooms->buckets = mem_zalloc(rooms->bucket_count * sizeof(*old));
	for (size_t i = 0; i < old_count; i++) {
		struct rooms_here *next;

		for (struct rooms_here *here = old[i]; here != NULL;
		     here = next) {
			next = here->next;
			put(rooms, here);
		}
	}
	free(old);
}

static void free_here(struct rooms_here *here)
{
	struct rooms *rooms = here->rooms;
	struct rooms_here **place =
		&rooms->buckets[here->hash & (rooms->bucket_count - 1)];

	while (*place != here)
		place = &(*place)->next;
	*place = here->next;
	rooms->count--;
	bus_handler_remove(here->handler);
	rooms_forget_heard(here);
	free(here->name);
	free(here);
}

static bool open_handler(struct rooms_here *here)
{
	struct muster *muster = here->rooms->muster;
	struct bus *bus = node_bus(muster);
	struct buffer channel = { 0 };

	if (bus == NULL)
		return false;
	here->handler = bus_on_channel(bus, rooms_channel(here->name, &channel),
				       rooms_on_message, here);
	buffer_fini(&channel);
	if (here->handler == NULL)
		problem_set(routine_problem(muster), -ENOBUFS, "ROOMS_TOO_MANY",
			    "no more rooms can have members on this server");
	return here->handler != NULL;
}

static struct rooms_here *here_new(struct rooms *rooms, const char *room)
{
	struct rooms_here *here = mem_zalloc(sizeof(*here));

	here->rooms = rooms;
	here->name = mem_text(room);
	here->hash = hash_of(room);
	here->given = rooms_given(rooms, room);
	list_init(&here->members);
	list_init(&here->walks);
	list_init(&here->waiting);
	list_init(&here->heard);
	if (rooms->count == rooms->bucket_count)
		grow(rooms);
	put(rooms, here);
	rooms->count++;
	return here;
}

struct rooms_here *rooms_hold(struct rooms *rooms, const char *room)
{
	struct rooms_here *here = rooms_find(rooms, room);

	if (here == NULL)
		here = here_new(rooms, room);
	here->users++;
	/* A guest's bus opens within, which may wait. */
	if (here->handler != NULL || open_handler(here))
		return here;
	rooms_release(here);
	return NULL;
}

/* What it holds for nobody goes. */
static void settle(struct rooms_here *here)
{
	if (here->users == 0 && list_is_empty(&here->members))
		free_here(here);
}

void rooms_release(struct rooms_here *here)
{
	MUST(here->users > 0);
	here->users--;
	settle(here);
}

/* ---- members here ---- */

struct rooms_member *rooms_member_new(struct rooms_here *here,
				      struct rooms_client *client)
{
	struct rooms_member *member = mem_zalloc(sizeof(*member));

	member->here = here;
	member->client = client;
	list_add_last(&here->members, &member->room_link);
	list_add_last(&client->memberships, &member->client_link);
	return member;
}

void rooms_member_free(struct rooms_member *member)
{
	struct rooms_here *here = member->here;

	LIST_EACH (&here->walks, link) {
		struct rooms_walk *walk =
			LIST_ENTRY(link, struct rooms_walk, link);

		if (walk->next == &member->room_link)
			walk->next = member->room_link.next;
	}
	list_remove(&member->room_link);
	if (member->client != NULL)
		list_remove(&member->client_link);
	free(member->record);
	free(member);
	settle(here);
}

void rooms_walk_begin(struct rooms_walk *walk, struct rooms_here *here)
{
	walk->here = here;
	walk->next = here->members.next;
	list_add_last(&here->walks, &walk->link);
	here->users++;
}

struct rooms_member *rooms_walk_next(struct rooms_walk *walk)
{
	struct list *link = walk->next;

	if (link == &walk->here->members)
		return NULL;
	walk->next = link->next;
	return LIST_ENTRY(link, struct rooms_member, room_link);
}

void rooms_walk_end(struct rooms_walk *walk)
{
	list_remove(&walk->link);
	rooms_release(walk->here);
}

struct rooms_member *rooms_member_of(const struct rooms_client *client,
				     const char *room)
{
	LIST_EACH (&client->memberships, link) {
		struct rooms_member *member =
			LIST_ENTRY(link, struct rooms_member, client_link);

		if (strcmp(member->here->name, room) == 0)
			return member;
	}
	return NULL;
}

bool rooms_is_member(const struct rooms_client *client, const char *room)
{
	const struct rooms_member *member = rooms_member_of(client, room);

	return member != NULL && member->is_joined;
}

void rooms_each(const struct rooms_client *client,
		void (*tell)(void *owner, const char *room), void *owner)
{
	LIST_EACH (&client->memberships, link) {
		const struct rooms_member *member =
			LIST_ENTRY(link, struct rooms_member, client_link);

		if (member->is_joined)
			tell(owner, member->here->name);
	}
}

/* ---- connections ---- */

void rooms_client_open(struct rooms_client *client)
{
	list_init(&client->memberships);
	rpc_connection_set(client->muster, client->id, client);
}

/* It has left already: on_leave is told, and asked nothing. */
struct goodbye {
	const struct muster_room *given;
	char *room;
	char *member;
};

static void run_goodbye(struct muster *muster, void *arg)
{
	struct goodbye *goodbye = arg;
	struct muster_room_event event = { .room = goodbye->room,
					   .member = goodbye->member,
					   .from = goodbye->member,
					   .json = "null" };

	goodbye->given->on_leave(muster, &event, goodbye->given->arg);
	free(goodbye->room);
	free(goodbye->member);
	free(goodbye);
}

static void say_goodbye(const struct rooms_here *here, const char *id)
{
	struct goodbye *goodbye;

	if (here->given == NULL || here->given->on_leave == NULL)
		return;
	goodbye = mem_zalloc(sizeof(*goodbye));
	goodbye->given = here->given;
	goodbye->room = mem_text(here->name);
	goodbye->member = mem_text(id);
	if (routine_start(here->rooms->muster, "room goodbye", run_goodbye,
			  goodbye, NULL) == 0)
		return;
	free(goodbye->room);
	free(goodbye->member);
	free(goodbye);
}

void rooms_client_close(struct rooms_client *client)
{
	struct list *link;

	if (client->memberships.next == NULL)
		return;
	while ((link = list_first(&client->memberships)) != NULL) {
		struct rooms_member *member =
			LIST_ENTRY(link, struct rooms_member, client_link);
		struct rooms_here *here = member->here;

		if (!member->is_joined) {
			list_remove(link);
			member->client = NULL; /* its fiber sees that */
			continue;
		}
		here->users++;
		rooms_member_free(member);
		rooms_owe(here->rooms, here->name, client->id);
		say_goodbye(here, client->id);
		rooms_release(here);
	}
}

/* A connection that the application serves itself. */
struct listener {
	struct rooms_client client;
	muster_heard_fn fn;
	void *arg;
};

static void on_heard(struct rooms_client *client, const char *text,
		     size_t length)
{
	struct listener *listener = LIST_ENTRY(client, struct listener, client);
	char *copy = mem_alloc(length + 1);

	memcpy(copy, text, length);
	copy[length] = '\0';
	listener->fn(client->muster, client->id, copy, listener->arg);
	free(copy);
}

static void free_listener(struct rooms_client *client)
{
	free(LIST_ENTRY(client, struct listener, client));
}

int muster_connection_receive(struct muster *muster, const char *connection,
			      muster_heard_fn fn, void *arg)
{
	struct rooms_client *client = rpc_connection_client(muster, connection);
	const char *id = rpc_connection_id(muster, connection);
	struct listener *listener;

	if (id == NULL || (client != NULL && client->receive != on_heard))
		return problem_set(routine_problem(muster), -ENOTCONN,
				   "CONNECTION_GONE",
				   "this server does not hold the connection, "
				   "or serves it itself");
	if (client != NULL) {
		listener = LIST_ENTRY(client, struct listener, client);
	} else {
		listener = mem_zalloc(sizeof(*listener));
		listener->client = (struct rooms_client){
			.muster = muster,
			.id = id,
			.receive = on_heard,
			.on_dropped = free_listener,
		};
		rooms_client_open(&listener->client);
	}
	listener->fn = fn;
	listener->arg = arg;
	return 0;
}

/* ---- rows that are to go ---- */

struct owed {
	struct list link;
	struct rooms *rooms;
	char *room;
	char *member;
	char owner[NODE_NONCE_BYTES];
	bool is_asked;
};

static void free_owed(struct owed *owed)
{
	list_remove(&owed->link);
	free(owed->room);
	free(owed->member);
	free(owed);
}

static void on_paid(void *owner, const struct store_answer *answer)
{
	struct owed *owed = owner;
	struct rooms *rooms = owed->rooms;

	owed->is_asked = false;
	if (answer->error == 0)
		free_owed(owed);
	else if (rooms->timer != NULL && !timer_is_started(rooms->timer))
		timer_start(rooms->timer, RETRY_MS, 0);
}

/* It may have joined again: then the row is the new one's. */
static bool is_wanted(const struct owed *owed)
{
	struct rooms_client *client =
		rpc_connection_client(owed->rooms->muster, owed->member);

	return client != NULL && rooms_member_of(client, owed->room) != NULL;
}

static void pay(struct owed *owed)
{
	struct muster *muster = owed->rooms->muster;

	if (owed->is_asked)
		return;
	if (muster->store == NULL || is_wanted(owed)) {
		free_owed(owed);
		return;
	}
	owed->is_asked = true;
	store_room_leave(muster->store,
			 &(struct store_room_leave){
				 .room = store_text(owed->room),
				 .member = store_text(owed->member),
				 .owner = store_text(owed->owner),
			 },
			 on_paid, owed);
}

static void on_time(void *owner)
{
	struct rooms *rooms = owner;

	LIST_EACH (&rooms->owed, link)
		pay(LIST_ENTRY(link, struct owed, link));
}

void rooms_owe(struct rooms *rooms, const char *room, const char *member)
{
	struct muster *muster = rooms->muster;
	struct owed *owed;

	/* A node that ends has all its rows removed at once. */
	if (muster->store == NULL || muster->state >= NODE_STOPPING)
		return;
	owed = mem_zalloc(sizeof(*owed));
	owed->rooms = rooms;
	owed->room = mem_text(room);
	owed->member = mem_text(member);
	memcpy(owed->owner, muster->nonce, sizeof(owed->owner));
	list_add_last(&rooms->owed, &owed->link);
	pay(owed);
}

/* ---- the part ---- */

static int make_rooms(struct muster *muster)
{
	const struct muster_room *given = muster->settings.options.rooms;
	int error = 0;

	for (; given != NULL && given->name != NULL && error >= 0; given++)
		if (given->name[0] == '\0' ||
		    given->name[strlen(given->name) - 1] != '*')
			error = muster_room_create(muster, given->name);
	return error < 0 ? error : 0;
}

static void on_up(void *owner)
{
	struct rooms *rooms = owner;

	if (rooms->was_down)
		rooms_sync(rooms, true);
	rooms->was_down = false;
}

static void on_down(void *owner)
{
	struct rooms *rooms = owner;

	rooms->was_down = true;
}

/* That a room was destroyed may be among what was missed. */
static void on_gap(void *owner, const struct bus_gap *gap)
{
	struct rooms *rooms = owner;

	if (rooms->count > 0 && gap->lane.length > 0 &&
	    gap->lane.data[0] == '/')
		rooms_sync(rooms, false);
}

static int start(struct muster *muster)
{
	static const struct bus_events events = { .on_up = on_up,
						  .on_down = on_down,
						  .on_gap = on_gap };
	struct rooms *rooms = mem_zalloc(sizeof(*rooms));

	muster->rooms = rooms;
	rooms->muster = muster;
	list_init(&rooms->owed);
	rooms->timer = timer_open(muster->loop, on_time, rooms, false);
	if (muster->bus != NULL)
		rooms->watcher = bus_watch(muster->bus, &events, rooms);
	return muster->settings.options.is_guest ? 0 : make_rooms(muster);
}

static int reap(struct muster *muster, const char *id, const char *nonce)
{
	struct ask ask;
	int error = ask_begin(&ask, muster);

	(void)id;
	if (error < 0)
		return error;
	store_room_reap(muster->store,
			&(struct store_room_reap){ store_text(nonce) },
			ask_on_answer, &ask);
	return ask_end(&ask);
}

static void on_rejoin(struct muster *muster)
{
	if (muster->rooms != NULL)
		rooms_sync(muster->rooms, true);
}

/* As if it had died. */
static void stop(struct muster *muster)
{
	if (muster->id[0] != '\0' && muster->rooms != NULL &&
	    muster->rooms->has_rows)
		DISCARD(reap(muster, muster->id, muster->nonce));
}

static void forget_members(struct rooms_here *here)
{
	struct list *link;

	here->users++;
	while ((link = list_first(&here->members)) != NULL)
		rooms_member_free(
			LIST_ENTRY(link, struct rooms_member, room_link));
	here->users = 0;
	free_here(here);
}

static void close_rooms(struct muster *muster)
{
	struct rooms *rooms = muster->rooms;

	if (rooms == NULL)
		return;
	bus_unwatch(rooms->watcher);
	rooms->watcher = NULL;
	timer_close(rooms->timer);
	rooms->timer = NULL;
	for (size_t i = 0; i < rooms->bucket_count; i++) {
		struct rooms_here *next;

		for (struct rooms_here *here = rooms->buckets[i]; here != NULL;
		     here = next) {
			next = here->next;
			forget_members(here);
		}
	}
}

static void free_rooms(struct muster *muster)
{
	struct rooms *rooms = muster->rooms;
	struct list *link;

	if (rooms == NULL)
		return;
	while ((link = list_first(&rooms->owed)) != NULL)
		free_owed(LIST_ENTRY(link, struct owed, link));
	free(rooms->buckets);
	free(rooms);
	muster->rooms = NULL;
}

const struct node_part rooms_part = {
	.name = "rooms",
	.start = start,
	.reap = reap,
	.on_rejoin = on_rejoin,
	.stop = stop,
	.close = close_rooms,
	.free = free_rooms,
};
