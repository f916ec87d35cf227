/* rooms_say - what is said in a room: first to the store, which knows whether
 * there is one and leaves it for web clients, then to all servers that have
 * members. */
#include <errno.h>
#include <string.h>

#include "base/json.h"
#include "service/ask.h"
#include "service/node_bus.h"
#include "service/rooms_internal.h"
#include "service/rpc_internal.h"

static int ask_say(struct muster *muster, const struct rooms_saying *saying,
		   const struct buffer *text, bool has_echo)
{
	const struct muster_node_options *options = &muster->settings.options;
	const char *client = saying->client == NULL ? "" : saying->client;
	struct ask ask;
	int error = ask_begin(&ask, muster);

	if (error < 0)
		return error;
	store_room_say(muster->store,
		       &(struct store_room_say){
			       .room = store_text(saying->room),
			       .message = store_bytes(buffer_bytes(text),
						      buffer_length(text)),
			       .but = store_text(has_echo ? "" : client),
			       .speaker = store_text(client),
			       .web_ms = options->web_ms,
			       .messages_max = options->web_messages,
		       },
		       ask_on_answer, &ask);
	error = ask_end(&ask);
	if (error < 0)
		return error;
	if (ask.answer->result == STORE_NOT_FOUND)
		return MUSTER_NOT_FOUND;
	return ask.answer->result == STORE_LOST ? MUSTER_LOST : 0;
}

static int publish(struct muster *muster, const char *room,
		   const struct buffer *text)
{
	struct bus *bus = node_bus(muster);
	struct buffer channel = { 0 };

	if (bus == NULL)
		return routine_problem(muster)->code;
	int error = bus_publish(
		bus,
		&(struct bus_outgoing){
			.type = { ROOMS_SAY, sizeof(ROOMS_SAY) - 1 },
			.channel = rooms_channel(room, &channel),
			.body = { (const char *)buffer_bytes(text),
				  buffer_length(text) },
		},
		NULL, NULL);

	buffer_fini(&channel);
	if (error < 0)
		bus_problem(error, routine_problem(muster));
	return error;
}

int rooms_say(struct muster *muster, const struct rooms_saying *saying)
{
	const struct muster_room *given =
		rooms_given(muster->rooms, saying->room);
	struct muster_room_event event = { .room = saying->room,
					   .member = saying->from,
					   .from = saying->from,
					   .json = saying->message,
					   .is_web = saying->client != NULL };
	struct buffer text = { 0 };
	int answer = 0;

	/* What cannot go to the members is not left for web clients either. */
	if (node_bus(muster) == NULL)
		return routine_problem(muster)->code;
	if (given != NULL && given->on_say != NULL)
		answer = rooms_ask(muster, given->on_say, given, &event);
	if (answer != 0)
		return answer;
	rooms_write(muster, &text, event.json, saying->room, saying->from);
	answer = ask_say(muster, saying, &text,
			 given == NULL || !given->no_echo);
	if (answer == 0)
		answer = publish(muster, saying->room, &text);
	buffer_fini(&text);
	/* It was destroyed unheard, or the store has lost it. */
	if (answer == MUSTER_NOT_FOUND &&
	    rooms_find(muster->rooms, saying->room) != NULL)
		rooms_sync(muster->rooms, false);
	return answer;
}

int muster_room_say(struct muster *muster, const char *room, const char *from,
		    const char *message)
{
	int error = routine_check(muster);

	if (error == 0)
		error = rooms_check(muster, room);
	if (error < 0)
		return error;
	if (!json_is_value(message, strlen(message)))
		return problem_set(routine_problem(muster), -EINVAL,
				   "ROOM_MESSAGE_INVALID",
				   "what is said in a room is no JSON");
	if (from != NULL && rpc_connection_id(muster, from) != NULL) {
		const struct rooms_client *client =
			rpc_connection_client(muster, from);

		if (client == NULL || !rooms_is_member(client, room))
			return MUSTER_LOST;
	}
	return rooms_say(muster,
			 &(struct rooms_saying){
				 .room = room,
				 .from = from == NULL ? ROOMS_NOBODY : from,
				 .message = message,
			 });
}
