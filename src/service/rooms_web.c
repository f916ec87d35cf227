/* rooms_web - clients that come over HTTP, to whichever server. All that is
 * known of them is in the store. */
#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "base/utf8.h"
#include "service/ask.h"
#include "service/rooms_internal.h"
#include "wire/alias.h"

static int check_client(struct muster *muster, const char *client)
{
	size_t length = strlen(client);
	bool is_name = length > 0 && length <= STORE_NAME_MAX &&
		       utf8_is_valid(client, length);

	for (const char *at = client; *at != '\0' && is_name; at++)
		is_name = (unsigned char)*at >= ' ' && *at != 0x7f &&
			  strchr("|\"\\", *at) == NULL;
	if (is_name)
		return 0;
	return problem_set(routine_problem(muster), -EINVAL,
			   "CLIENT_NAME_INVALID",
			   "a web client's name has 1 to %d bytes, none of "
			   "them a control byte, |, \" or \\",
			   STORE_NAME_MAX);
}

static int check(struct muster *muster, const char *room, const char *client)
{
	int error = routine_check(muster);

	if (error == 0 && room != NULL)
		error = rooms_check(muster, room);
	if (error == 0)
		error = check_client(muster, client);
	if (error == 0 && muster->rooms == NULL)
		error = problem_set(routine_problem(muster), -ENOTCONN,
				    "NODE_CLOSED", "this node has ended");
	return error;
}

const char *muster_web_id(struct muster *muster, const char *client)
{
	char alias[ALIAS_BYTES];

	alias_make(client, alias);
	return muster_text(muster, "%s", alias);
}

static const char *owner_of(struct muster *muster, const char *client)
{
	return muster_text(muster, ROOMS_WEB "%s", client);
}

static int ask_given(struct muster *muster, muster_room_fn fn,
		     const struct muster_room *given,
		     struct muster_room_event *event)
{
	return fn == NULL ? 0 : rooms_ask(muster, fn, given, event);
}

int muster_web_join(struct muster *muster, const char *room, const char *client,
		    const char *data)
{
	int answer = check(muster, room, client);

	if (answer < 0)
		return answer;
	const struct muster_room *given = rooms_given(muster->rooms, room);
	const char *id = muster_web_id(muster, client);
	struct muster_room_event event = { .room = room,
					   .member = id,
					   .from = id,
					   .json = data == NULL ? "null" : data,
					   .is_web = true };

	if (given != NULL)
		answer = ask_given(muster, given->on_join, given, &event);
	if (answer != 0)
		return answer;
	const char *record = rooms_record(muster, id, event.json, true);

	if (record == NULL)
		return routine_problem(muster)->code;
	return rooms_put_row(muster, &(struct rooms_row){
					     .room = room,
					     .member = id,
					     .owner = owner_of(muster, client),
					     .record = record,
				     });
}

int muster_web_leave(struct muster *muster, const char *room,
		     const char *client)
{
	int answer = check(muster, room, client);

	if (answer < 0)
		return answer;
	const struct muster_room *given = rooms_given(muster->rooms, room);
	const char *id = muster_web_id(muster, client);
	struct muster_room_event event = { .room = room,
					   .member = id,
					   .from = id,
					   .json = "null",
					   .is_web = true };

	if (given != NULL)
		answer = ask_given(muster, given->on_leave, given, &event);
	if (answer != 0)
		return answer;
	return rooms_row_gone(muster, room, muster_web_id(muster, client),
			      owner_of(muster, client));
}

int muster_web_say(struct muster *muster, const char *room, const char *client,
		   const char *message)
{
	int error = check(muster, room, client);

	if (error < 0)
		return error;
	if (!json_is_value(message, strlen(message)))
		return problem_set(routine_problem(muster), -EINVAL,
				   "ROOM_MESSAGE_INVALID",
				   "what is said in a room is no JSON");
	return rooms_say(muster, &(struct rooms_saying){
					 .room = room,
					 .from = muster_web_id(muster, client),
					 .client = client,
					 .message = message,
				 });
}

static int visit(struct muster *muster, const char *client, size_t take,
		 struct ask *ask)
{
	int error = check(muster, NULL, client);

	if (error == 0)
		error = ask_begin(ask, muster);
	if (error < 0)
		return error;
	store_web_visit(
		muster->store,
		&(struct store_web_visit){
			.client = store_text(client),
			.take = take > INT_MAX ? INT_MAX : (uint32_t)take,
			.web_ms = muster->settings.options.web_ms,
		},
		ask_on_answer, ask);
	return ask_end(ask);
}

static struct muster_texts
keep_texts(struct muster *muster, const struct store_bytes *list, size_t count)
{
	const char **texts = arena_take_zeroed(routine_answers(muster), count,
					       sizeof(*texts));

	for (size_t i = 0; i < count; i++)
		texts[i] = routine_keep(muster, list[i]).data;
	return (struct muster_texts){ texts, count };
}

int muster_web_messages(struct muster *muster, const char *client, size_t most,
			struct muster_texts *messages)
{
	struct ask ask;
	int error = visit(muster, client, most == 0 ? INT_MAX : most, &ask);

	if (error == 0)
		*messages = keep_texts(muster, ask.answer->web.messages,
				       ask.answer->web.count);
	return error;
}

static int by_text(const void *first, const void *second)
{
	const char *const *a = first;
	const char *const *b = second;

	return strcmp(*a, *b);
}

int muster_web_rooms(struct muster *muster, const char *client,
		     struct muster_texts *rooms)
{
	struct ask ask;
	int error = visit(muster, client, 0, &ask);

	if (error < 0)
		return error;
	*rooms = keep_texts(muster, ask.answer->web.rooms,
			    ask.answer->web.room_count);
	qsort((void *)(uintptr_t)rooms->texts, rooms->count,
	      sizeof(*rooms->texts), by_text);
	return 0;
}

int muster_web_message(struct muster *muster, const char *client,
		       const char *json)
{
	const struct muster_node_options *options = &muster->settings.options;
	struct ask ask;
	int error = check(muster, NULL, client);

	if (error == 0 && !json_is_value(json, strlen(json)))
		error = problem_set(routine_problem(muster), -EINVAL,
				    "ROOM_MESSAGE_INVALID",
				    "a message for a web client is no JSON");
	if (error == 0)
		error = ask_begin(&ask, muster);
	if (error < 0)
		return error;
	store_web_push(muster->store,
		       &(struct store_web_push){
			       .client = store_text(client),
			       .message = store_text(json),
			       .web_ms = options->web_ms,
			       .messages_max = options->web_messages,
		       },
		       ask_on_answer, &ask);
	return ask_end(&ask);
}
