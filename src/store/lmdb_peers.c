#include <stdio.h>
#include <stdlib.h>

#include "base/must.h"
#include "store/lmdb_internal.h"

#define DEAD_MAX 64    /* peers that one ping removes */
#define GONE_MS  60000 /* how long is known what became of one */

static const struct store_bytes nothing = { "", 0 };

/* Who is gone stands in the same table, under this byte and the nonce. No
 * peer's name begins with it, or with the next one. */
#define GONE_BYTE '\x01'
static const struct store_bytes first_gone = { "\x01", 1 };
static const struct store_bytes first_peer = { "\x02", 1 };

struct peer {
	uint64_t pinged_ms; /* by the boot's clock: it does not jump */
	struct store_bytes nonce;
	struct store_bytes record;
};

static bool parse_peer(struct store_bytes bytes, struct peer *peer)
{
	if (bytes.length < 9)
		return false;
	memcpy(&peer->pinged_ms, bytes.data, 8);
	size_t nonce = (uint8_t)bytes.data[8];

	if (bytes.length < 9 + nonce)
		return false;
	peer->nonce = store_bytes(bytes.data + 9, nonce);
	peer->record =
		store_bytes(bytes.data + 9 + nonce, bytes.length - 9 - nonce);
	return true;
}

static bool find_peer(struct lmdb_batch *batch, struct store_bytes id,
		      struct peer *peer)
{
	struct store_bytes bytes;

	return lmdb_get(batch, TABLE_PEER, id, &bytes) &&
	       parse_peer(bytes, peer);
}

static void put_peer(struct lmdb_batch *batch, struct store_bytes id,
		     const struct peer *peer)
{
	char *room = lmdb_reserve(batch, TABLE_PEER, id,
				  9 + peer->nonce.length + peer->record.length);

	if (room == NULL)
		return;
	memcpy(room, &peer->pinged_ms, 8);
	room[8] = (char)(uint8_t)peer->nonce.length;
	memcpy(room + 9, peer->nonce.data, peer->nonce.length);
	memcpy(room + 9 + peer->nonce.length, peer->record.data,
	       peer->record.length);
}

static uint64_t silence(const struct lmdb_batch *batch, const struct peer *peer)
{
	return batch->boot_ms > peer->pinged_ms
		       ? batch->boot_ms - peer->pinged_ms
		       : 0;
}

static void tell(struct lmdb_batch *batch, struct store_call *call,
		 struct store_bytes id, const struct peer *peer,
		 struct store_peer_info *info)
{
	info->id = arena_copy(&call->arena, id.data, id.length);
	info->nonce =
		arena_copy(&call->arena, peer->nonce.data, peer->nonce.length);
	info->record = arena_copy(&call->arena, peer->record.data,
				  peer->record.length);
	info->silent_ms = silence(batch, peer);
}

/* ---- those that are gone: the time, whether it left, its name ---- */

static bool is_gone(struct store_bytes key)
{
	return key.length > 1 && key.data[0] == GONE_BYTE;
}

static uint64_t gone_since(struct store_bytes bytes)
{
	uint64_t since_ms;

	memcpy(&since_ms, bytes.data, sizeof(since_ms));
	return since_ms;
}

static void forget_gone(struct lmdb_batch *batch)
{
	struct store_bytes old[DEAD_MAX];
	struct store_bytes key;
	struct store_bytes bytes;
	size_t count = 0;
	bool has_more = lmdb_seek(batch, TABLE_PEER, first_gone, &key, &bytes);

	while (has_more && is_gone(key) && count < DEAD_MAX) {
		if (bytes.length < 9 ||
		    batch->boot_ms > gone_since(bytes) + GONE_MS)
			old[count++] =
				arena_copy(&batch->arena, key.data, key.length);
		has_more = lmdb_next(batch, TABLE_PEER, &key, &bytes);
	}
	for (size_t i = 0; i < count; i++)
		lmdb_delete(batch, TABLE_PEER, old[i]);
}

static void note_gone(struct lmdb_batch *batch, struct store_bytes id,
		      struct store_bytes nonce, bool has_left)
{
	char key[1 + STORE_NAME_MAX];

	MUST(nonce.length <= STORE_NAME_MAX);
	key[0] = GONE_BYTE;
	memcpy(key + 1, nonce.data, nonce.length);
	id = arena_copy(&batch->arena, id.data, id.length);
	forget_gone(batch);
	char *room =
		lmdb_reserve(batch, TABLE_PEER,
			     store_bytes(key, 1 + nonce.length), 9 + id.length);

	if (room == NULL)
		return;
	memcpy(room, &batch->boot_ms, 8);
	room[8] = has_left;
	memcpy(room + 9, id.data, id.length);
}

static void tell_gone(struct lmdb_batch *batch, struct store_call *call)
{
	size_t most = (size_t)lmdb_count(batch, TABLE_PEER);
	struct store_peer_gone *list =
		arena_take_zeroed(&call->arena, most, sizeof(*list));
	struct store_bytes key;
	struct store_bytes bytes;
	size_t count = 0;
	bool has_more = lmdb_seek(batch, TABLE_PEER, first_gone, &key, &bytes);

	while (has_more && is_gone(key) && count < most) {
		if (bytes.length >= 9) {
			list[count].nonce = arena_copy(
				&call->arena, key.data + 1, key.length - 1);
			list[count].id = arena_copy(
				&call->arena, bytes.data + 9, bytes.length - 9);
			list[count++].has_left = bytes.data[8] != 0;
		}
		has_more = lmdb_next(batch, TABLE_PEER, &key, &bytes);
	}
	call->answer.peers.gone = list;
	call->answer.peers.gone_count = count;
}

/* The one that removes a dead peer is the one that is told of it. */
static void remove_dead(struct lmdb_batch *batch, struct store_call *call,
			uint32_t dead_ms)
{
	struct store_peer_info *dead =
		arena_take_zeroed(&call->arena, DEAD_MAX, sizeof(*dead));
	size_t count = 0;
	struct store_bytes id;
	struct store_bytes bytes;
	bool has_more = lmdb_seek(batch, TABLE_PEER, first_peer, &id, &bytes);

	while (has_more && count < DEAD_MAX) {
		struct peer peer;

		if (parse_peer(bytes, &peer) && silence(batch, &peer) > dead_ms)
			tell(batch, call, id, &peer, &dead[count++]);
		has_more = lmdb_next(batch, TABLE_PEER, &id, &bytes);
	}
	for (size_t i = 0; i < count; i++) {
		lmdb_delete(batch, TABLE_PEER, dead[i].id);
		note_gone(batch, dead[i].id, dead[i].nonce, false);
	}
	call->answer.peers.list = dead;
	call->answer.peers.count = count;
}

void lmdb_peer_ping(struct lmdb_batch *batch, struct store_call *call)
{
	const struct store_peer_ping *request = call->request;
	struct peer peer = { .record = nothing };
	bool is_there = find_peer(batch, request->id, &peer);
	bool is_own = is_there && store_bytes_equal(peer.nonce, request->nonce);

	call->answer.result = STORE_STALE;
	if (!is_own &&
	    (!request->is_joining ||
	     (is_there && (request->dead_ms == 0 ||
			   silence(batch, &peer) <= request->dead_ms))))
		return;
	/* What it says now is kept before others are removed: the page that it
	 * stands in may change. */
	peer.record =
		arena_copy(&batch->arena, peer.record.data, peer.record.length);
	if (is_own) {
		peer.nonce = request->nonce;
		peer.pinged_ms = batch->boot_ms;
		put_peer(batch, request->id, &peer);
	}
	/* A dead one is told of before its place is taken. */
	if (request->dead_ms != 0)
		remove_dead(batch, call, request->dead_ms);
	if (request->record.length > 0)
		peer.record = request->record;
	else if (!is_own)
		peer.record = nothing;
	peer.nonce = request->nonce;
	peer.pinged_ms = batch->boot_ms;
	put_peer(batch, request->id, &peer);
	call->answer.result = STORE_DONE;
}

void lmdb_peer_list(struct lmdb_batch *batch, struct store_call *call)
{
	size_t most = (size_t)lmdb_count(batch, TABLE_PEER);
	struct store_peer_info *list =
		arena_take_zeroed(&call->arena, most, sizeof(*list));
	struct store_bytes id;
	struct store_bytes bytes;
	size_t count = 0;
	bool has_more = lmdb_seek(batch, TABLE_PEER, first_peer, &id, &bytes);

	while (has_more && count < most) {
		struct peer peer;

		if (parse_peer(bytes, &peer))
			tell(batch, call, id, &peer, &list[count++]);
		has_more = lmdb_next(batch, TABLE_PEER, &id, &bytes);
	}
	call->answer.result = STORE_DONE;
	call->answer.peers.list = list;
	call->answer.peers.count = count;
	tell_gone(batch, call);
}

static enum store_result remove_peer(struct lmdb_batch *batch,
				     struct store_bytes id,
				     struct store_bytes nonce, bool has_left)
{
	struct peer peer;

	if (!find_peer(batch, id, &peer) ||
	    !store_bytes_equal(peer.nonce, nonce))
		return STORE_STALE;
	lmdb_delete(batch, TABLE_PEER, id);
	note_gone(batch, id, nonce, has_left);
	return STORE_DONE;
}

void lmdb_peer_down(struct lmdb_batch *batch, struct store_call *call)
{
	const struct store_peer_down *request = call->request;

	call->answer.result =
		remove_peer(batch, request->id, request->nonce, false);
}

void lmdb_peer_leave(struct lmdb_batch *batch, struct store_call *call)
{
	const struct store_peer_leave *request = call->request;

	call->answer.result =
		remove_peer(batch, request->id, request->nonce, true);
}

/* ---- names ---- */

struct holder {
	uint64_t taken_ms;
	struct store_bytes nonce;
	struct store_bytes host;
};

static bool find_holder(struct lmdb_batch *batch, struct store_bytes name,
			struct holder *holder)
{
	struct store_bytes bytes;

	if (!lmdb_get(batch, TABLE_NAME, name, &bytes) || bytes.length < 9)
		return false;
	size_t nonce = (uint8_t)bytes.data[8];

	if (bytes.length < 9 + nonce)
		return false;
	memcpy(&holder->taken_ms, bytes.data, 8);
	holder->nonce = store_bytes(bytes.data + 9, nonce);
	holder->host =
		store_bytes(bytes.data + 9 + nonce, bytes.length - 9 - nonce);
	return true;
}

/* A holder is silent from the later of two times: when it took the name, and
 * its last ping as the peer of that name. */
static bool is_free(struct lmdb_batch *batch,
		    const struct store_name_take *request,
		    struct store_bytes name, bool is_vouched)
{
	struct holder holder;
	struct peer peer;

	if (!find_holder(batch, name, &holder) ||
	    store_bytes_equal(holder.nonce, request->nonce))
		return true;
	if (is_vouched && store_bytes_equal(holder.host, request->host))
		return true;
	uint64_t heard_ms = holder.taken_ms;

	if (find_peer(batch, name, &peer) && peer.pinged_ms > heard_ms &&
	    store_bytes_equal(peer.nonce, holder.nonce))
		heard_ms = peer.pinged_ms;
	return request->dead_ms != 0 &&
	       batch->boot_ms > heard_ms + request->dead_ms;
}

static struct store_bytes numbered(struct arena *arena,
				   struct store_bytes prefix, uint32_t number)
{
	char *text = arena_take(arena, prefix.length + 12);

	memcpy(text, prefix.data, prefix.length);
	int digits = snprintf(text + prefix.length, 12, "-%u", number);

	return store_bytes(text, prefix.length + (size_t)digits);
}

void lmdb_name_take(struct lmdb_batch *batch, struct store_call *call)
{
	const struct store_name_take *request = call->request;
	uint32_t number = request->wanted;
	struct store_bytes name = nothing;

	if (number != 0)
		name = numbered(&call->arena, request->prefix, number);
	if (number == 0 ||
	    !is_free(batch, request, name, request->is_vouched)) {
		number = 0;
		do
			name = numbered(&call->arena, request->prefix,
					++number);
		while (!is_free(batch, request, name, false));
	}
	char *room =
		lmdb_reserve(batch, TABLE_NAME, name,
			     9 + request->nonce.length + request->host.length);

	if (room == NULL)
		return;
	memcpy(room, &batch->boot_ms, 8);
	room[8] = (char)(uint8_t)request->nonce.length;
	memcpy(room + 9, request->nonce.data, request->nonce.length);
	memcpy(room + 9 + request->nonce.length, request->host.data,
	       request->host.length);
	call->answer.result = STORE_DONE;
	call->answer.name.name = name;
	call->answer.name.number = number;
}

void lmdb_name_free(struct lmdb_batch *batch, struct store_call *call)
{
	const struct store_name_free *request = call->request;
	struct holder holder;

	call->answer.result = STORE_STALE;
	if (!find_holder(batch, request->name, &holder) ||
	    !store_bytes_equal(holder.nonce, request->nonce))
		return;
	lmdb_delete(batch, TABLE_NAME, request->name);
	call->answer.result = STORE_DONE;
}

/* ---- statistics ---- */

static int64_t stat_of(struct lmdb_batch *batch, struct store_bytes name)
{
	struct store_bytes bytes;
	int64_t value = 0;

	if (lmdb_get(batch, TABLE_STAT, name, &bytes) && bytes.length == 8)
		memcpy(&value, bytes.data, 8);
	return value;
}

void lmdb_stats_flush(struct lmdb_batch *batch, struct store_call *call)
{
	const struct store_stats_flush *request = call->request;
	struct store_bytes bytes;
	uint64_t last = 0;

	bool has_source = request->source.length > 0;

	if (has_source &&
	    lmdb_get(batch, TABLE_SEQUENCE, request->source, &bytes) &&
	    bytes.length == 8)
		memcpy(&last, bytes.data, 8);
	call->answer.result = STORE_STALE;
	if (has_source && request->sequence <= last)
		return;
	if (has_source && request->is_last)
		lmdb_delete(batch, TABLE_SEQUENCE, request->source);
	else if (has_source)
		lmdb_put(batch, TABLE_SEQUENCE, request->source,
			 store_bytes(&request->sequence, 8));
	for (size_t i = 0; i < request->count; i++) {
		const struct store_stat *stat = &request->stats[i];
		int64_t value = stat->value;

		if (stat->is_removed) {
			lmdb_delete(batch, TABLE_STAT, stat->name);
			continue;
		}
		if (!stat->is_gauge)
			value = (int64_t)((uint64_t)value +
					  (uint64_t)stat_of(batch, stat->name));
		lmdb_put(batch, TABLE_STAT, stat->name, store_bytes(&value, 8));
	}
	call->answer.result = STORE_DONE;
}

void lmdb_stats_read(struct lmdb_batch *batch, struct store_call *call)
{
	const struct store_stats_read *request = call->request;
	size_t most = (size_t)lmdb_count(batch, TABLE_STAT);
	struct store_stat *list =
		arena_take_zeroed(&call->arena, most, sizeof(*list));
	struct store_bytes name;
	struct store_bytes bytes;
	size_t count = 0;
	bool has_more =
		lmdb_seek(batch, TABLE_STAT, request->prefix, &name, &bytes);

	while (has_more && count < most &&
	       name.length >= request->prefix.length &&
	       memcmp(name.data, request->prefix.data,
		      request->prefix.length) == 0) {
		if (bytes.length == 8) {
			list[count].name = arena_copy(&call->arena, name.data,
						      name.length);
			memcpy(&list[count++].value, bytes.data, 8);
		}
		has_more = lmdb_next(batch, TABLE_STAT, &name, &bytes);
	}
	call->answer.result = STORE_DONE;
	call->answer.stats.list = list;
	call->answer.stats.count = count;
}
