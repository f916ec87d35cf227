/* rooms_sync - after the store was away, or has lost what it had: the rooms
 * that the application names are there again, and so are the rows of all
 * members of this node. A room that was destroyed meanwhile is not. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/must.h"
#include "service/rooms_internal.h"
#include "service/rpc.h"

#define AGAIN_MS 1000

static int make_given(struct muster *muster)
{
	const struct muster_room *given = muster->settings.options.rooms;
	int error = 0;

	for (; given != NULL && given->name != NULL && error >= 0; given++) {
		size_t length = strlen(given->name);

		if (length > 0 && given->name[length - 1] != '*')
			error = muster_room_create(muster, given->name);
	}
	return error < 0 ? error : 0;
}

static void vanish(struct rooms_here *here, uint64_t number)
{
	struct buffer text = { 0 };

	rooms_write(here->rooms->muster, &text, ROOMS_DELETED, here->name,
		    ROOMS_NOBODY);
	rooms_vanish(here, (const char *)buffer_bytes(&text),
		     buffer_length(&text), number);
	buffer_fini(&text);
}

/* The member may be gone when the store answers: its row is removed then by
 * who saw it go, after this was asked. */
static int put_again(struct rooms_here *here, struct rooms_member *member)
{
	struct muster *muster = here->rooms->muster;
	const char *id =
		routine_keep(muster, store_text(member->client->id)).data;
	struct rooms_row row = {
		.room = here->name,
		.member = id,
		.owner = muster->nonce,
		.record = routine_keep(muster, store_text(member->record)).data,
		.number = member->number,
	};
	uint64_t number = member->number;
	int error = rooms_put_row(muster, &row);

	if (error < 0)
		return error;
	if (error == MUSTER_NOT_FOUND) {
		vanish(here, number);
		return 0;
	}
	struct rooms_client *client = rpc_connection_client(muster, id);

	member = client == NULL ? NULL : rooms_member_of(client, here->name);
	if (member != NULL && member->is_joined && member->number == number)
		member->number = row.number;
	return 0;
}

static int put_members(struct rooms_here *here)
{
	struct muster *muster = here->rooms->muster;
	struct rooms_walk walk;
	struct rooms_member *member;
	int error = 0;

	rooms_walk_begin(&walk, here);
	while (error >= 0 && (member = rooms_walk_next(&walk)) != NULL)
		if (member->is_joined) {
			error = put_again(here, member);
			muster_clear_answers(muster);
		}
	rooms_walk_end(&walk);
	return error;
}

/* Rooms come and go meanwhile: by their names. */
static int put_all(struct rooms *rooms, bool is_all)
{
	char **names = mem_zalloc((rooms->count + 1) * sizeof(*names));
	size_t count = 0;
	int error = 0;

	for (size_t i = 0; i < rooms->bucket_count; i++)
		for (const struct rooms_here *here = rooms->buckets[i];
		     here != NULL; here = here->next)
			names[count++] = mem_text(here->name);
	for (size_t i = 0; i < count; i++) {
		int found = MUSTER_NOT_FOUND;

		if (!is_all && error >= 0)
			error = found =
				muster_room_exists(rooms->muster, names[i]);
		struct rooms_here *here = rooms_find(rooms, names[i]);

		if (here != NULL && error >= 0 && found == MUSTER_NOT_FOUND)
			error = put_members(here);
		free(names[i]);
	}
	free(names);
	return error;
}

static void run_sync(struct muster *muster, void *arg)
{
	struct rooms *rooms = arg;
	int error = 0;

	while ((rooms->is_stale || rooms->is_doubtful) &&
	       muster->state < NODE_STOPPING) {
		bool is_all = rooms->is_stale;

		rooms->is_stale = rooms->is_doubtful = false;
		error = is_all ? make_given(muster) : 0;
		if (error == 0)
			error = put_all(rooms, is_all);
		if (error < 0) {
			rooms->is_stale = rooms->is_stale || is_all;
			rooms->is_doubtful = true;
		}
		if (error == -ECANCELED)
			break;
		if (error < 0)
			log_debug(&muster->log,
				  "members are written again later text=\"%s\"",
				  muster_problem(muster));
		/* Not again and again, where much is missed. */
		if (muster_sleep(muster, AGAIN_MS) < 0)
			break;
	}
	rooms->is_syncing = false;
}

void rooms_sync(struct rooms *rooms, bool is_all)
{
	struct muster *muster = rooms->muster;

	rooms->is_stale = rooms->is_stale || is_all;
	rooms->is_doubtful = true;
	if (rooms->is_syncing || muster->state >= NODE_STOPPING ||
	    muster->settings.options.is_guest)
		return;
	rooms->is_syncing = true;
	if (routine_start(muster, "rooms", run_sync, rooms, NULL) < 0)
		rooms->is_syncing = false; /* when it is next asked for */
}
