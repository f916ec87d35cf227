/* lmdb_rooms - rooms, their members, and the messages of web clients. */
#include <stdlib.h>

#include "base/must.h"
#include "store/lmdb_internal.h"

#define SWEEP_MAX 32     /* clients that one call forgets */
#define GONE_MS   600000 /* how long is known that a room was destroyed */
#define WEB       "web:"
#define WEB_BYTES (sizeof(WEB) - 1)

/* Web members come first, so that those who say something find them together.
 */
#define WEB_MEMBER '\x01'
#define MEMBER     '\x02'

static const struct store_bytes nothing = { "", 0 };

/* ---- rooms ---- */

struct room {
	uint64_t number;  /* when it was made, in microseconds */
	uint64_t gone_ms; /* when it was destroyed, by the boot's clock; 0 */
};

static bool find_any(struct lmdb_batch *batch, struct store_bytes name,
		     struct room *room)
{
	struct store_bytes bytes;

	if (!lmdb_get(batch, TABLE_ROOM, name, &bytes) ||
	    bytes.length != sizeof(*room))
		return false;
	memcpy(room, bytes.data, sizeof(*room));
	return true;
}

static bool find_room(struct lmdb_batch *batch, struct store_bytes name,
		      struct room *room)
{
	return find_any(batch, name, room) && room->gone_ms == 0;
}

static void put_room(struct lmdb_batch *batch, struct store_bytes name,
		     const struct room *room)
{
	lmdb_put(batch, TABLE_ROOM, name, store_bytes(room, sizeof(*room)));
}

static struct room make_room(struct lmdb_batch *batch, struct store_bytes name)
{
	struct room room = { .number = batch->real_us };

	put_room(batch, name, &room);
	return room;
}

/* ---- members: {room} {kind} member -> {owner} record. {} has its length in
 * front. OF: {owner} {room} member -> nothing ---- */

static void add_text(struct lmdb_key *key, struct store_bytes text)
{
	lmdb_key_number(key, text.length, 1);
	lmdb_key_bytes(key, text.data, text.length);
}

static bool is_web(struct store_bytes owner)
{
	return owner.length > WEB_BYTES &&
	       memcmp(owner.data, WEB, WEB_BYTES) == 0;
}

static struct store_bytes client_of(struct store_bytes owner)
{
	return store_bytes(owner.data + WEB_BYTES, owner.length - WEB_BYTES);
}

static struct lmdb_key member_key(struct store_bytes room, char kind,
				  struct store_bytes member)
{
	struct lmdb_key key;

	lmdb_key_start(&key);
	add_text(&key, room);
	lmdb_key_bytes(&key, &kind, 1);
	lmdb_key_bytes(&key, member.data, member.length);
	return key;
}

static struct lmdb_key owned_key(struct store_bytes owner,
				 struct store_bytes room,
				 struct store_bytes member)
{
	struct lmdb_key key;

	lmdb_key_start(&key);
	add_text(&key, owner);
	add_text(&key, room);
	lmdb_key_bytes(&key, member.data, member.length);
	return key;
}

/* A text with its length in front, and what is behind it. */
static bool split(struct store_bytes bytes, struct store_bytes *text,
		  struct store_bytes *rest)
{
	if (bytes.length == 0)
		return false;
	size_t length = (uint8_t)bytes.data[0];

	if (bytes.length < 1 + length)
		return false;
	*text = store_bytes(bytes.data + 1, length);
	*rest = store_bytes(bytes.data + 1 + length, bytes.length - 1 - length);
	return true;
}

static bool find_member(struct lmdb_batch *batch, struct store_bytes room,
			char kind, struct store_bytes member,
			struct store_bytes *owner)
{
	struct lmdb_key key = member_key(room, kind, member);
	struct store_bytes bytes;
	struct store_bytes record;

	return lmdb_get(batch, TABLE_MEMBER, lmdb_key_all(&key), &bytes) &&
	       split(bytes, owner, &record);
}

/* Only where it is this owner's: another one may have it by now. */
static bool remove_member(struct lmdb_batch *batch, struct store_bytes room,
			  struct store_bytes member, struct store_bytes owner)
{
	char kind = is_web(owner) ? WEB_MEMBER : MEMBER;
	struct lmdb_key owned = owned_key(owner, room, member);
	struct lmdb_key key = member_key(room, kind, member);
	struct store_bytes its;

	lmdb_delete(batch, TABLE_MEMBER_OF, lmdb_key_all(&owned));
	return find_member(batch, room, kind, member, &its) &&
	       store_bytes_equal(its, owner) &&
	       lmdb_delete(batch, TABLE_MEMBER, lmdb_key_all(&key));
}

static bool begins_with(struct store_bytes bytes, const struct lmdb_key *start)
{
	return bytes.length >= start->length &&
	       memcmp(bytes.data, start->bytes, start->length) == 0;
}

/* What follows `start` in the first key of the table that begins with it. */
static bool first_with(struct lmdb_batch *batch, enum lmdb_table table,
		       const struct lmdb_key *start, struct store_bytes *rest,
		       struct store_bytes *value)
{
	struct store_bytes key;

	if (!lmdb_seek(batch, table, lmdb_key_all(start), &key, value) ||
	    !begins_with(key, start))
		return false;
	*rest = store_bytes(key.data + start->length,
			    key.length - start->length);
	return true;
}

static bool next_with(struct lmdb_batch *batch, enum lmdb_table table,
		      const struct lmdb_key *start, struct store_bytes *rest,
		      struct store_bytes *value)
{
	struct store_bytes key;

	if (!lmdb_next(batch, table, &key, value) || !begins_with(key, start))
		return false;
	*rest = store_bytes(key.data + start->length,
			    key.length - start->length);
	return true;
}

static uint64_t remove_owner(struct lmdb_batch *batch, struct store_bytes owner)
{
	struct lmdb_key start;
	struct store_bytes rest;
	struct store_bytes value;
	uint64_t removed = 0;

	lmdb_key_start(&start);
	add_text(&start, owner);
	while (first_with(batch, TABLE_MEMBER_OF, &start, &rest, &value)) {
		struct store_bytes room;
		struct store_bytes member;

		rest = arena_copy(&batch->arena, rest.data, rest.length);
		if (!split(rest, &room, &member)) {
			lmdb_delete_here(batch, TABLE_MEMBER_OF);
			continue;
		}
		removed += remove_member(batch, room, member, owner);
	}
	return removed;
}

static void put_member(struct lmdb_batch *batch,
		       const struct store_room_join *request, char kind)
{
	struct lmdb_key key = member_key(request->room, kind, request->member);
	struct lmdb_key owned =
		owned_key(request->owner, request->room, request->member);
	char *room = lmdb_reserve(batch, TABLE_MEMBER, lmdb_key_all(&key),
				  1 + request->owner.length +
					  request->record.length);

	if (room == NULL)
		return;
	room[0] = (char)(uint8_t)request->owner.length;
	memcpy(room + 1, request->owner.data, request->owner.length);
	if (request->record.length > 0)
		memcpy(room + 1 + request->owner.length, request->record.data,
		       request->record.length);
	lmdb_put(batch, TABLE_MEMBER_OF, lmdb_key_all(&owned), nothing);
}

/* ---- web clients ---- */

struct client {
	uint64_t until_ms;
	uint64_t first; /* of its messages; */
	uint64_t next;  /* none, where that is the same */
};

static bool find_client(struct lmdb_batch *batch, struct store_bytes name,
			struct client *client)
{
	struct store_bytes bytes;

	if (!lmdb_get(batch, TABLE_WEB, name, &bytes) ||
	    bytes.length != sizeof(*client))
		return false;
	memcpy(client, bytes.data, sizeof(*client));
	return true;
}

static void put_client(struct lmdb_batch *batch, struct store_bytes name,
		       const struct client *client)
{
	lmdb_put(batch, TABLE_WEB, name, store_bytes(client, sizeof(*client)));
}

static struct lmdb_key item_key(struct store_bytes name, uint64_t number)
{
	struct lmdb_key key;

	lmdb_key_start(&key);
	add_text(&key, name);
	lmdb_key_number(&key, number, 8);
	return key;
}

static void drop_first(struct lmdb_batch *batch, struct store_bytes name,
		       struct client *client)
{
	struct lmdb_key key = item_key(name, client->first++);

	lmdb_delete(batch, TABLE_WEB_ITEM, lmdb_key_all(&key));
}

static struct store_bytes owner_of(struct lmdb_batch *batch,
				   struct store_bytes client)
{
	char *owner = arena_take(&batch->arena, WEB_BYTES + client.length);

	memcpy(owner, WEB, WEB_BYTES);
	memcpy(owner + WEB_BYTES, client.data, client.length);
	return store_bytes(owner, WEB_BYTES + client.length);
}

static void forget_client(struct lmdb_batch *batch, struct store_bytes name)
{
	struct client client;

	if (!find_client(batch, name, &client))
		return;
	while (client.first < client.next && batch->error == 0)
		drop_first(batch, name, &client);
	remove_owner(batch, owner_of(batch, name));
	lmdb_delete(batch, TABLE_WEB, name);
}

/* Clients that were not heard of for too long, some at a time. */
static void sweep(struct lmdb_batch *batch)
{
	struct store_bytes key;
	struct store_bytes value;

	for (int i = 0; i < SWEEP_MAX; i++) {
		if (!lmdb_seek(batch, TABLE_WEB_AT, nothing, &key, &value) ||
		    key.length < 9 || lmdb_number(key, 0, 8) > batch->boot_ms)
			return;
		struct store_bytes name =
			arena_copy(&batch->arena, key.data + 8, key.length - 8);

		lmdb_delete_here(batch, TABLE_WEB_AT);
		forget_client(batch, name);
	}
}

/* It is there from now on, for so long at the least. */
static struct client prolong(struct lmdb_batch *batch, struct store_bytes name,
			     uint64_t web_ms)
{
	struct client client = { 0 };

	if (find_client(batch, name, &client)) {
		struct lmdb_key old = lmdb_key_at(client.until_ms, name);

		lmdb_delete(batch, TABLE_WEB_AT, lmdb_key_all(&old));
	}
	client.until_ms = batch->boot_ms + web_ms;
	struct lmdb_key at = lmdb_key_at(client.until_ms, name);

	lmdb_put(batch, TABLE_WEB_AT, lmdb_key_all(&at), nothing);
	put_client(batch, name, &client);
	return client;
}

static bool push(struct lmdb_batch *batch, struct store_bytes name,
		 struct store_bytes message, uint32_t most)
{
	struct client client;

	if (!find_client(batch, name, &client))
		return false;
	struct lmdb_key key = item_key(name, client.next++);

	lmdb_put(batch, TABLE_WEB_ITEM, lmdb_key_all(&key), message);
	while (client.next - client.first > most && batch->error == 0)
		drop_first(batch, name, &client);
	put_client(batch, name, &client);
	return true;
}

static uint64_t tell_clients(struct lmdb_batch *batch, struct store_bytes room,
			     struct store_bytes message, uint32_t most,
			     struct store_bytes but)
{
	struct lmdb_key start = member_key(room, WEB_MEMBER, nothing);
	struct store_bytes rest;
	struct store_bytes value;
	uint64_t told = 0;
	bool has_more = first_with(batch, TABLE_MEMBER, &start, &rest, &value);

	for (; has_more;
	     has_more = next_with(batch, TABLE_MEMBER, &start, &rest, &value)) {
		struct store_bytes owner;

		if (!split(value, &owner, &rest) || !is_web(owner))
			continue;
		struct store_bytes name = client_of(owner);

		if (!store_bytes_equal(name, but))
			told += push(batch,
				     arena_copy(&batch->arena, name.data,
						name.length),
				     message, most);
	}
	return told;
}

/* ---- calls ---- */

void lmdb_room_create(struct lmdb_batch *batch, struct store_call *call)
{
	const struct store_room_create *request = call->request;
	struct room room;
	bool is_there = find_room(batch, request->room, &room);

	if (!is_there)
		room = make_room(batch, request->room);
	call->answer.result = is_there ? STORE_KNOWN : STORE_DONE;
	call->answer.number.value = room.number;
}

static void remove_members(struct lmdb_batch *batch, struct store_bytes name)
{
	struct lmdb_key start;
	struct store_bytes rest;
	struct store_bytes value;

	lmdb_key_start(&start);
	add_text(&start, name);
	while (first_with(batch, TABLE_MEMBER, &start, &rest, &value)) {
		struct store_bytes owner;
		struct store_bytes record;
		struct lmdb_key owned;

		if (rest.length > 0 && split(value, &owner, &record)) {
			owned = owned_key(
				owner, name,
				store_bytes(rest.data + 1, rest.length - 1));
			lmdb_delete_here(batch, TABLE_MEMBER);
			lmdb_delete(batch, TABLE_MEMBER_OF,
				    lmdb_key_all(&owned));
		} else {
			lmdb_delete_here(batch, TABLE_MEMBER);
		}
	}
}

/* Those that were destroyed long ago are no longer known. */
static void forget_gone(struct lmdb_batch *batch)
{
	struct store_bytes name;
	struct store_bytes value;
	bool has_more = lmdb_seek(batch, TABLE_ROOM, nothing, &name, &value);

	for (; has_more;
	     has_more = lmdb_next(batch, TABLE_ROOM, &name, &value)) {
		struct room room;

		if (value.length != sizeof(room))
			continue;
		memcpy(&room, value.data, sizeof(room));
		if (room.gone_ms != 0 &&
		    batch->boot_ms > room.gone_ms + GONE_MS)
			lmdb_delete_here(batch, TABLE_ROOM);
	}
}

void lmdb_room_destroy(struct lmdb_batch *batch, struct store_call *call)
{
	const struct store_room_destroy *request = call->request;
	struct room room;

	sweep(batch);
	call->answer.result = STORE_NOT_FOUND;
	if (!find_room(batch, request->room, &room))
		return;
	tell_clients(batch, request->room, request->message,
		     request->messages_max, nothing);
	remove_members(batch, request->room);
	forget_gone(batch);
	room.gone_ms = batch->boot_ms;
	put_room(batch, request->room, &room);
	call->answer.result = STORE_DONE;
	call->answer.number.value = room.number;
}

static uint64_t count_members(struct lmdb_batch *batch, struct store_bytes name)
{
	struct lmdb_key start;
	struct store_bytes rest;
	struct store_bytes value;
	uint64_t count = 0;

	lmdb_key_start(&start);
	add_text(&start, name);
	bool has_more = first_with(batch, TABLE_MEMBER, &start, &rest, &value);

	for (; has_more;
	     has_more = next_with(batch, TABLE_MEMBER, &start, &rest, &value))
		count++;
	return count;
}

static void tell_room(struct lmdb_batch *batch, struct store_call *call,
		      struct store_bytes name, const struct room *room)
{
	struct store_room_info *info =
		(struct store_room_info *)(uintptr_t)call->answer.rooms.list +
		call->answer.rooms.count++;

	info->name = arena_copy(&call->arena, name.data, name.length);
	info->created_ms = room->number / 1000;
	info->members = count_members(batch, name);
}

void lmdb_room_list(struct lmdb_batch *batch, struct store_call *call)
{
	const struct store_room_list *request = call->request;
	size_t most = request->room.length > 0
			      ? 1
			      : (size_t)lmdb_count(batch, TABLE_ROOM);
	struct store_bytes name;
	struct store_bytes value;
	struct room room;

	sweep(batch);
	call->answer.result = STORE_DONE;
	call->answer.rooms.list = arena_take_zeroed(
		&call->arena, most, sizeof(struct store_room_info));
	if (request->room.length > 0) {
		if (find_room(batch, request->room, &room))
			tell_room(batch, call, request->room, &room);
		return;
	}
	bool has_more = lmdb_seek(batch, TABLE_ROOM, nothing, &name, &value);

	for (; has_more && call->answer.rooms.count < most;
	     has_more = lmdb_next(batch, TABLE_ROOM, &name, &value)) {
		if (value.length != sizeof(room))
			continue;
		memcpy(&room, value.data, sizeof(room));
		if (room.gone_ms == 0)
			tell_room(batch, call, name, &room);
	}
}

void lmdb_room_join(struct lmdb_batch *batch, struct store_call *call)
{
	const struct store_room_join *request = call->request;
	char kind = is_web(request->owner) ? WEB_MEMBER : MEMBER;
	struct store_bytes before;
	struct room room = { 0 };

	sweep(batch);
	if (!find_any(batch, request->room, &room) && request->number != 0)
		room = make_room(batch, request->room); /* it was lost */
	call->answer.result = STORE_NOT_FOUND;
	if (room.number == 0 || room.gone_ms != 0)
		return;
	if (is_web(request->owner))
		prolong(batch, client_of(request->owner), request->web_ms);
	call->answer.number.value = room.number;
	call->answer.result = STORE_KNOWN;
	bool is_there = find_member(batch, request->room, kind, request->member,
				    &before);

	if (is_there && store_bytes_equal(before, request->owner) &&
	    request->number == 0)
		return;
	if (is_there)
		remove_member(
			batch, request->room, request->member,
			arena_copy(&batch->arena, before.data, before.length));
	put_member(batch, request, kind);
	call->answer.result = STORE_DONE;
}

void lmdb_room_leave(struct lmdb_batch *batch, struct store_call *call)
{
	const struct store_room_leave *request = call->request;

	sweep(batch);
	call->answer.result = remove_member(batch, request->room,
					    request->member, request->owner)
				      ? STORE_DONE
				      : STORE_NOT_FOUND;
}

void lmdb_room_members(struct lmdb_batch *batch, struct store_call *call)
{
	const struct store_room_members *request = call->request;
	struct lmdb_key start;
	struct store_bytes rest;
	struct store_bytes value;
	struct room room;
	size_t count = 0;

	sweep(batch);
	size_t most = (size_t)count_members(batch, request->room);
	struct store_member_info *list =
		arena_take_zeroed(&call->arena, most, sizeof(*list));

	lmdb_key_start(&start);
	add_text(&start, request->room);
	bool has_more = first_with(batch, TABLE_MEMBER, &start, &rest, &value);

	for (; has_more && count < most;
	     has_more = next_with(batch, TABLE_MEMBER, &start, &rest, &value)) {
		struct store_bytes owner;
		struct store_bytes record;

		if (rest.length < 2 || !split(value, &owner, &record))
			continue;
		list[count].id = arena_copy(&call->arena, rest.data + 1,
					    rest.length - 1);
		list[count++].record =
			arena_copy(&call->arena, record.data, record.length);
	}
	call->answer.result = find_room(batch, request->room, &room)
				      ? STORE_DONE
				      : STORE_NOT_FOUND;
	call->answer.members.list = list;
	call->answer.members.count = count;
}

static bool is_in(struct lmdb_batch *batch, struct store_bytes client,
		  struct store_bytes room)
{
	struct lmdb_key start =
		owned_key(owner_of(batch, client), room, nothing);
	struct store_bytes rest;
	struct store_bytes value;

	return first_with(batch, TABLE_MEMBER_OF, &start, &rest, &value);
}

void lmdb_room_say(struct lmdb_batch *batch, struct store_call *call)
{
	const struct store_room_say *request = call->request;
	struct room room;

	sweep(batch);
	call->answer.result = STORE_NOT_FOUND;
	if (!find_room(batch, request->room, &room))
		return;
	call->answer.result = STORE_LOST;
	if (request->speaker.length > 0) {
		if (!is_in(batch, request->speaker, request->room))
			return;
		prolong(batch, request->speaker, request->web_ms);
	}
	call->answer.result = STORE_DONE;
	call->answer.number.value =
		tell_clients(batch, request->room, request->message,
			     request->messages_max, request->but);
}

void lmdb_room_reap(struct lmdb_batch *batch, struct store_call *call)
{
	const struct store_room_reap *request = call->request;

	sweep(batch);
	call->answer.number.value = remove_owner(batch, request->owner);
	call->answer.result = STORE_DONE;
}

void lmdb_web_push(struct lmdb_batch *batch, struct store_call *call)
{
	const struct store_web_push *request = call->request;

	sweep(batch);
	prolong(batch, request->client, request->web_ms);
	push(batch, request->client, request->message, request->messages_max);
	call->answer.result = STORE_DONE;
}

static void take_messages(struct lmdb_batch *batch, struct store_call *call,
			  struct client *client)
{
	const struct store_web_visit *request = call->request;
	uint64_t left = client->next - client->first;
	size_t count = left < request->take ? (size_t)left : request->take;
	struct store_bytes *list =
		arena_take_zeroed(&call->arena, count, sizeof(*list));

	for (size_t i = 0; i < count && batch->error == 0; i++) {
		struct lmdb_key key = item_key(request->client, client->first);
		struct store_bytes message;

		if (lmdb_get(batch, TABLE_WEB_ITEM, lmdb_key_all(&key),
			     &message))
			list[call->answer.web.count++] = arena_copy(
				&call->arena, message.data, message.length);
		drop_first(batch, request->client, client);
	}
	call->answer.web.messages = list;
}

static void tell_rooms(struct lmdb_batch *batch, struct store_call *call)
{
	const struct store_web_visit *request = call->request;
	size_t most = (size_t)lmdb_count(batch, TABLE_MEMBER_OF);
	size_t room_size = most < STORE_BATCH_MAX ? most : STORE_BATCH_MAX;
	struct store_bytes *list =
		arena_take_zeroed(&call->arena, room_size, sizeof(*list));
	struct lmdb_key start;
	struct store_bytes rest;
	struct store_bytes value;
	size_t count = 0;

	lmdb_key_start(&start);
	add_text(&start, owner_of(batch, request->client));
	bool has_more =
		first_with(batch, TABLE_MEMBER_OF, &start, &rest, &value);

	for (; has_more && count < room_size;
	     has_more =
		     next_with(batch, TABLE_MEMBER_OF, &start, &rest, &value)) {
		struct store_bytes room;
		struct store_bytes member;

		if (split(rest, &room, &member))
			list[count++] = arena_copy(&call->arena, room.data,
						   room.length);
	}
	call->answer.web.rooms = list;
	call->answer.web.room_count = count;
}

void lmdb_web_visit(struct lmdb_batch *batch, struct store_call *call)
{
	const struct store_web_visit *request = call->request;
	struct client client;

	sweep(batch);
	call->answer.result = STORE_DONE;
	if (!find_client(batch, request->client, &client))
		return;
	client = prolong(batch, request->client, request->web_ms);
	take_messages(batch, call, &client);
	put_client(batch, request->client, &client);
	tell_rooms(batch, call);
}
