/* rooms_hear - what comes on a room's channel, to its members here. */
#include <stdlib.h>
#include <string.h>

#include "base/json_walk.h"
#include "base/mem.h"
#include "base/must.h"
#include "service/rooms_internal.h"
#include "service/rpc.h"

#define HEARD_MAX 1024

/* A message that waits for on_receive. */
struct heard {
	struct list link;
	size_t length;
	char text[];
};

/* /_rooms/NAME, with what a channel may not have as %XX. */
struct envelope_text rooms_channel(const char *room, struct buffer *buffer)
{
	static const char plain[] = "abcdefghijklmnopqrstuvwxyz"
				    "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
				    "0123456789-_.:";

	buffer_append_text(buffer, "/_rooms/");
	for (; *room != '\0'; room++)
		if (strchr(plain, *room) != NULL)
			buffer_append(buffer, room, 1);
		else
			buffer_append_format(buffer, "%%%02X",
					     (unsigned char)*room);
	return (struct envelope_text){ (const char *)buffer_bytes(buffer),
				       buffer_length(buffer) };
}

static bool has_echo(const struct rooms_here *here)
{
	return here->given == NULL || !here->given->no_echo;
}

/* Is this member the one who speaks? Only asked where there is no echo. */
static bool is_from(const struct rooms_member *member, struct json_value from)
{
	const char *id = member->client->id;

	return json_string_is(from, id, strlen(id));
}

static struct json_value speaker_of(const char *text, size_t length)
{
	struct json_value from = { "\"\"", 2 };
	struct json_value whole = json_value_of(text, length);

	if (json_kind_of(whole) == JSON_OBJECT)
		json_find(whole, "from", &from);
	return from;
}

/* The same bytes for each. */
static void tell_all(struct rooms_here *here, const char *text, size_t length)
{
	struct json_value from = { "\"\"", 2 };
	bool echoes = has_echo(here);
	struct rooms_walk walk;
	struct rooms_member *member;

	if (!echoes)
		from = speaker_of(text, length);
	rooms_walk_begin(&walk, here);
	while ((member = rooms_walk_next(&walk)) != NULL)
		if (member->is_joined && (echoes || !is_from(member, from)))
			member->client->receive(member->client, text, length);
	rooms_walk_end(&walk);
}

void rooms_vanish(struct rooms_here *here, const char *text, size_t length,
		  uint64_t number)
{
	struct rooms_walk walk;
	struct rooms_member *member;

	rooms_walk_begin(&walk, here);
	while ((member = rooms_walk_next(&walk)) != NULL) {
		struct rooms_client *client = member->client;

		if (!member->is_joined) {
			member->gone_number = number;
		} else if (member->number <= number) {
			rooms_member_free(member);
			client->receive(client, text, length);
		}
	}
	rooms_walk_end(&walk);
}

/* ---- on_receive ---- */

/* The message as this member is to have it; NULL: not at all. */
static const char *change(struct muster *muster, const struct rooms_here *here,
			  const char *id, const struct heard *heard)
{
	struct json_value whole = json_value_of(heard->text, heard->length);
	struct json_value message, from = { "\"\"", 2 };
	struct arena *arena = routine_answers(muster);
	size_t length;

	if (json_kind_of(whole) != JSON_OBJECT ||
	    !json_find(whole, "message", &message))
		return heard->text;
	json_find(whole, "from", &from);
	char *room = arena_take(arena, from.length);
	const char *speaker = json_string_of(from, room, &length);
	struct muster_room_event event = {
		.room = here->name,
		.member = id,
		.from = arena_text(arena, speaker, length),
		.json = arena_text(arena, message.text, message.length),
	};
	const char *before = event.json;

	if (rooms_ask(muster, here->given->on_receive, here->given, &event) !=
	    0)
		return NULL;
	if (event.json == before)
		return heard->text;
	struct buffer changed = { 0 };

	buffer_append(&changed, heard->text,
		      (size_t)(message.text - heard->text));
	buffer_append_text(&changed, event.json);
	const char *rest = message.text + message.length;

	buffer_append(&changed, rest,
		      heard->length - (size_t)(rest - heard->text));
	const char *text = arena_text(arena, buffer_bytes(&changed),
				      buffer_length(&changed));

	buffer_fini(&changed);
	return text;
}

/* Each may wait, and the member be gone then. */
static void hand_out(struct muster *muster, struct rooms_here *here,
		     const struct heard *heard)
{
	struct json_value from = speaker_of(heard->text, heard->length);
	struct rooms_walk walk;
	struct rooms_member *member;

	rooms_walk_begin(&walk, here);
	while ((member = rooms_walk_next(&walk)) != NULL) {
		if (!member->is_joined ||
		    (!has_echo(here) && is_from(member, from)))
			continue;
		struct rooms_client *client = member->client;
		const char *id = arena_text(routine_answers(muster), client->id,
					    strlen(client->id));
		const char *text = change(muster, here, id, heard);

		client = rpc_connection_client(muster, id);
		if (text != NULL && client != NULL &&
		    rooms_is_member(client, here->name))
			client->receive(client, text, strlen(text));
		muster_clear_answers(muster);
	}
	rooms_walk_end(&walk);
}

static void run_heard(struct muster *muster, void *arg)
{
	struct rooms_here *here = arg;
	struct list *link;

	while ((link = list_take_first(&here->heard)) != NULL) {
		struct heard *heard = LIST_ENTRY(link, struct heard, link);

		here->heard_count--;
		hand_out(muster, here, heard);
		free(heard);
	}
	here->is_hearing = false;
	rooms_release(here);
}

static void put_heard(struct rooms_here *here, const char *text, size_t length)
{
	struct muster *muster = here->rooms->muster;
	struct heard *heard = mem_alloc(sizeof(*heard) + length + 1);

	*heard = (struct heard){ .length = length };
	memcpy(heard->text, text, length);
	heard->text[length] = '\0';
	list_add_last(&here->heard, &heard->link);
	if (++here->heard_count > HEARD_MAX) {
		free(LIST_ENTRY(list_take_first(&here->heard), struct heard,
				link));
		here->heard_count--;
		log_warn(&muster->log,
			 "a message to a room was dropped, as its on_receive "
			 "is slow room=%s",
			 here->name);
	}
	if (here->is_hearing)
		return;
	here->is_hearing = true;
	here->users++;
	if (routine_start(muster, "room", run_heard, here, NULL) == 0)
		return;
	here->is_hearing = false; /* the next message tries again */
	rooms_release(here);
}

void rooms_forget_heard(struct rooms_here *here)
{
	struct list *link;

	while ((link = list_take_first(&here->heard)) != NULL)
		free(LIST_ENTRY(link, struct heard, link));
}

/* ---- the bus ---- */

static bool starts_with(struct envelope_text text, const char *start)
{
	size_t length = strlen(start);

	return text.length >= length && memcmp(text.data, start, length) == 0;
}

static uint64_t number_behind(struct envelope_text text, const char *start)
{
	uint64_t number = 0;

	for (size_t i = strlen(start); i < text.length; i++)
		number = number * 10 + (uint64_t)(text.data[i] - '0');
	return number;
}

void rooms_on_message(void *owner, const struct bus_message *message)
{
	struct rooms_here *here = owner;
	const char *text = message->body.data;
	size_t length = message->body.length;

	if (starts_with(message->type, ROOMS_GONE))
		rooms_vanish(here, text, length,
			     number_behind(message->type, ROOMS_GONE));
	else if (!starts_with(message->type, ROOMS_SAY))
		return; /* on the same channel, and nothing of ours */
	else if (here->given != NULL && here->given->on_receive != NULL)
		put_heard(here, text, length);
	else
		tell_all(here, text, length);
}
