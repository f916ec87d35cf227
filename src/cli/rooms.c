#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include <muster/room.h>

#include "cli/guest.h"
#include "cli/print.h"

enum { OPTIONS = GUEST_OPTIONS };

static const struct command_option options[OPTIONS + 1] = {
	GUEST_ROWS,
};

/* What an answer means for a command about one room. */
static int tell(const struct guest *guest, int answer)
{
	const char *room = guest->operands[0];

	if (answer == 0)
		return COMMAND_DONE;
	if (answer == MUSTER_NOT_FOUND)
		return command_failed("there is no room '%s' (muster rooms ls "
				      "shows what there is)",
				      room);
	if (answer == MUSTER_KNOWN)
		return command_failed("there is a room '%s' already", room);
	return guest_failed(guest);
}

static int widest(int width, const char *text)
{
	return (int)strlen(text) > width ? (int)strlen(text) : width;
}

static int ls(struct guest *guest)
{
	struct muster_room_list list;
	int width = (int)strlen("ROOM");

	if (muster_room_list(guest->muster, &list) < 0)
		return guest_failed(guest);
	json_t *array = json_array();

	for (size_t i = 0; i < list.count; i++) {
		const struct muster_room_info *room = &list.rooms[i];

		width = widest(width, room->name);
		json_array_append_new(
			array,
			json_pack("{s:s, s:I, s:I}", "room", room->name,
				  "createdAt", (json_int_t)room->created_ms,
				  "membersCount", (json_int_t)room->members));
	}
	if (guest->is_json) {
		print_json(array);
		return COMMAND_DONE;
	}
	json_decref(array);
	if (list.count > 0)
		printf("%-*s  %7s\n", width, "ROOM", "MEMBERS");
	for (size_t i = 0; i < list.count; i++)
		printf("%-*s  %7" PRIu64 "\n", width, list.rooms[i].name,
		       list.rooms[i].members);
	return COMMAND_DONE;
}

static json_t *json_of(const struct muster_member *member)
{
	json_t *data = json_loads(member->data, JSON_DECODE_ANY, NULL);

	return json_pack("{s:s, s:I, s:s, s:s, s:b, s:o}", "id", member->id,
			 "joinedAt", (json_int_t)member->joined_ms, "server",
			 member->server, "host", member->host, "web",
			 member->is_web, "data",
			 data == NULL ? json_null() : data);
}

static void print_members(const struct muster_member_list *list)
{
	int id = (int)strlen("MEMBER"), server = (int)strlen("SERVER");

	for (size_t i = 0; i < list->count; i++) {
		id = widest(id, list->members[i].id);
		server = widest(server, list->members[i].server);
	}
	if (list->count > 0)
		printf("%-*s  %-*s  %-3s  %s\n", id, "MEMBER", server, "SERVER",
		       "WEB", "DATA");
	for (size_t i = 0; i < list->count; i++) {
		const struct muster_member *member = &list->members[i];

		printf("%-*s  %-*s  %-3s  %s\n", id, member->id, server,
		       member->server, member->is_web ? "yes" : "no",
		       strcmp(member->data, "null") == 0 ? "" : member->data);
	}
}

static int members(struct guest *guest)
{
	struct muster_member_list list;
	int answer =
		muster_room_members(guest->muster, guest->operands[0], &list);

	if (answer != 0)
		return tell(guest, answer);
	if (!guest->is_json) {
		print_members(&list);
		return COMMAND_DONE;
	}
	json_t *array = json_array();

	for (size_t i = 0; i < list.count; i++)
		json_array_append_new(array, json_of(&list.members[i]));
	print_json(array);
	return COMMAND_DONE;
}

static int say(struct guest *guest)
{
	return tell(guest, muster_room_say(guest->muster, guest->operands[0],
					   NULL, guest->operands[1]));
}

static int create(struct guest *guest)
{
	return tell(guest,
		    muster_room_create(guest->muster, guest->operands[0]));
}

static int destroy(struct guest *guest)
{
	return tell(guest,
		    muster_room_destroy(guest->muster, guest->operands[0]));
}

static const struct command_verb verbs[] = {
	{ "ls", "list", "", "shows the rooms there are", 0, 0, 0, ls },
	{ "members", NULL, "ROOM", "shows who is in it", 1, 1, 0, members },
	{ "say", NULL, "ROOM MESSAGE", "says one JSON value to all of them", 2,
	  2, 0, say },
	{ "create", NULL, "ROOM", "makes a room", 1, 1, 0, create },
	{ "destroy", NULL, "ROOM", "tells its members, and removes it", 1, 1, 0,
	  destroy },
	{ 0 },
};

static int run(struct arguments *arguments)
{
	return guest_run(arguments, &(struct guest_plan){ 0 });
}

const struct command rooms_command = {
	.name = "rooms",
	.operands = "VERB [OPERAND...]",
	.summary = "Shows rooms and who is in them, and speaks there",
	.options = options,
	.verbs = verbs,
	.run = run,
};
