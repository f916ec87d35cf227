#include <errno.h>

#include "base/must.h"
#include "store/lmdb_cache_internal.h"

#define SAMPLES   16
#define EVICT_MAX 256

struct cache_key lmdb_cache_key(const struct lmdb *lmdb, struct store_bytes key)
{
	struct cache_key hash;

	hash_key(&lmdb->secret, key.data, key.length, hash.bytes);
	return hash;
}

bool lmdb_entry_parse(struct store_bytes hash, struct store_bytes bytes,
		      struct entry *entry)
{
	struct entry_head *head = &entry->head;

	if (bytes.length < sizeof(*head))
		return false;
	memcpy(head, bytes.data, sizeof(*head));
	size_t fixed = sizeof(*head) + head->key_length + head->type_length;

	if (bytes.length < fixed)
		return false;
	entry->hash = hash;
	entry->key = store_bytes(bytes.data + sizeof(*head), head->key_length);
	entry->type = store_bytes(entry->key.data + head->key_length,
				  head->type_length);
	entry->value = store_bytes(bytes.data + fixed, bytes.length - fixed);
	return true;
}

static bool find_any(struct lmdb_batch *batch, const struct cache_key *key,
		     struct entry *entry)
{
	struct store_bytes bytes;

	return lmdb_get(batch, TABLE_CACHE, cache_key_bytes(key), &bytes) &&
	       lmdb_entry_parse(cache_key_bytes(key), bytes, entry);
}

bool lmdb_entry_find(struct lmdb_batch *batch, const struct cache_key *key,
		     struct entry *entry)
{
	return find_any(batch, key, entry) &&
	       (entry->head.expires_ms == 0 ||
		entry->head.expires_ms > batch->real_ms);
}

static uint64_t entry_bytes(const struct entry *entry)
{
	return sizeof(entry->head) + HASH_BYTES + entry->key.length +
	       entry->type.length + entry->value.length;
}

struct lmdb_key lmdb_expiry_key(uint64_t at_ms, char table,
				const struct cache_key *key)
{
	struct lmdb_key expiry;

	lmdb_key_start(&expiry);
	lmdb_key_number(&expiry, at_ms, 8);
	lmdb_key_bytes(&expiry, &table, 1);
	lmdb_key_bytes(&expiry, key->bytes, HASH_BYTES);
	return expiry;
}

static void remove_items(struct lmdb_batch *batch, const struct cache_key *key)
{
	struct store_bytes name;
	struct store_bytes value;

	while (lmdb_seek(batch, TABLE_ITEM, cache_key_bytes(key), &name,
			 &value) &&
	       name.length == HASH_BYTES + 8 &&
	       memcmp(name.data, key->bytes, HASH_BYTES) == 0) {
		struct lmdb_key copy;

		lmdb_key_start(&copy);
		lmdb_key_bytes(&copy, name.data, name.length);
		batch->shared.bytes -= value.length;
		lmdb_delete(batch, TABLE_ITEM, lmdb_key_all(&copy));
	}
}

void lmdb_entry_remove(struct lmdb_batch *batch, struct cache_key key)
{
	struct entry entry;

	if (!find_any(batch, &key, &entry))
		return;
	struct lmdb_key expiry =
		lmdb_expiry_key(entry.head.expires_ms, 'c', &key);
	bool has_expiry = entry.head.expires_ms != 0;
	bool has_items = entry.head.kind == ENTRY_LIST;

	batch->shared.entries--;
	batch->shared.bytes -= entry_bytes(&entry);
	lmdb_delete(batch, TABLE_CACHE, cache_key_bytes(&key));
	lmdb_delete(batch, TABLE_READ, cache_key_bytes(&key));
	if (has_expiry)
		lmdb_delete(batch, TABLE_EXPIRY, lmdb_key_all(&expiry));
	if (has_items)
		remove_items(batch, &key);
}

void lmdb_entry_put(struct lmdb_batch *batch, const struct cache_key *key,
		    const struct entry *entry)
{
	struct entry old;
	size_t length = sizeof(entry->head) + entry->key.length +
			entry->type.length + entry->value.length;
	uint64_t old_expiry = 0;

	if (find_any(batch, key, &old)) {
		if (old.head.kind == ENTRY_LIST &&
		    entry->head.kind != ENTRY_LIST) {
			lmdb_entry_remove(batch, *key);
		} else {
			batch->shared.entries--;
			batch->shared.bytes -= entry_bytes(&old);
			old_expiry = old.head.expires_ms;
		}
	}
	batch->shared.entries++;
	batch->shared.bytes += entry_bytes(entry);
	char *room =
		lmdb_reserve(batch, TABLE_CACHE, cache_key_bytes(key), length);

	if (room == NULL)
		return;
	struct entry_head head = entry->head;

	head.key_length = (uint32_t)entry->key.length;
	head.type_length = (uint8_t)entry->type.length;
	room = (char *)memcpy(room, &head, sizeof(head)) + sizeof(head);
	room = (char *)memcpy(room, entry->key.data, entry->key.length) +
	       entry->key.length;
	if (entry->type.length > 0)
		memcpy(room, entry->type.data, entry->type.length);
	room += entry->type.length;
	if (entry->value.length > 0)
		memcpy(room, entry->value.data, entry->value.length);
	if (old_expiry != head.expires_ms) {
		struct lmdb_key from = lmdb_expiry_key(old_expiry, 'c', key);
		struct lmdb_key to = lmdb_expiry_key(head.expires_ms, 'c', key);

		if (old_expiry != 0)
			lmdb_delete(batch, TABLE_EXPIRY, lmdb_key_all(&from));
		if (head.expires_ms != 0)
			lmdb_put(batch, TABLE_EXPIRY, lmdb_key_all(&to),
				 (struct store_bytes){ "", 0 });
	}
	lmdb_evict(batch, key);
}

static uint64_t last_use(struct lmdb_batch *batch, const struct entry *entry)
{
	struct store_bytes value;
	uint64_t read_ms = 0;

	if (lmdb_get(batch, TABLE_READ, entry->hash, &value) &&
	    value.length == sizeof(read_ms))
		memcpy(&read_ms, value.data, sizeof(read_ms));
	return read_ms > entry->head.created_ms ? read_ms
						: entry->head.created_ms;
}

/* Keys are hashes, so what follows a random one is a random entry. */
static bool pick_victim(struct lmdb_batch *batch, const struct cache_key *but,
			struct cache_key *victim)
{
	uint64_t oldest = UINT64_MAX;

	for (unsigned i = 0; i < SAMPLES; i++) {
		uint64_t seed[2] = { batch->shared.bytes * SAMPLES + i,
				     batch->real_us };
		struct cache_key place;
		struct store_bytes name;
		struct store_bytes value;
		struct entry entry;

		hash_key(&batch->lmdb->secret, seed, sizeof(seed), place.bytes);
		if (!lmdb_seek(batch, TABLE_CACHE, cache_key_bytes(&place),
			       &name, &value) &&
		    !lmdb_seek(batch, TABLE_CACHE,
			       (struct store_bytes){ "", 0 }, &name, &value))
			return false;
		if (name.length != HASH_BYTES ||
		    !lmdb_entry_parse(name, value, &entry) ||
		    memcmp(name.data, but->bytes, HASH_BYTES) == 0)
			continue;
		uint64_t used = last_use(batch, &entry);

		if (used >= oldest)
			continue;
		oldest = used;
		memcpy(victim->bytes, name.data, HASH_BYTES);
	}
	return oldest != UINT64_MAX;
}

void lmdb_evict(struct lmdb_batch *batch, const struct cache_key *but)
{
	const struct lmdb *lmdb = batch->lmdb;
	struct cache_key victim;

	for (unsigned i = 0; i < EVICT_MAX; i++) {
		bool is_over =
			batch->shared.bytes > lmdb->cache_bytes ||
			(lmdb->options.cache_entries != 0 &&
			 batch->shared.entries > lmdb->options.cache_entries);

		if (!is_over || !pick_victim(batch, but, &victim))
			return;
		lmdb_entry_remove(batch, victim);
	}
}

void lmdb_entry_set_expiry(struct lmdb_batch *batch,
			   const struct cache_key *key, uint64_t expires_ms)
{
	struct entry entry;

	if (!find_any(batch, key, &entry) ||
	    entry.head.expires_ms == expires_ms)
		return;
	struct lmdb_key from = lmdb_expiry_key(entry.head.expires_ms, 'c', key);
	struct lmdb_key to = lmdb_expiry_key(expires_ms, 'c', key);
	bool had_expiry = entry.head.expires_ms != 0;
	size_t length = sizeof(entry.head) + entry.key.length +
			entry.type.length + entry.value.length;
	struct store_bytes copy = arena_copy(
		&batch->arena, entry.key.data - sizeof(entry.head), length);
	char *room =
		lmdb_reserve(batch, TABLE_CACHE, cache_key_bytes(key), length);

	if (room == NULL)
		return;
	memcpy(room, copy.data, length);
	memcpy(room + offsetof(struct entry_head, expires_ms), &expires_ms,
	       sizeof(expires_ms));
	if (had_expiry)
		lmdb_delete(batch, TABLE_EXPIRY, lmdb_key_all(&from));
	if (expires_ms != 0)
		lmdb_put(batch, TABLE_EXPIRY, lmdb_key_all(&to),
			 (struct store_bytes){ "", 0 });
}

/* ---- what has expired ---- */

#define SWEEP_MAX 512

void lmdb_cache_sweep(struct lmdb_batch *batch, struct store_call *call)
{
	struct store_bytes name;
	struct store_bytes value;

	(void)call;
	for (unsigned i = 0; i < SWEEP_MAX; i++) {
		struct cache_key key;
		struct lmdb_key expiry;
		struct lock lock;
		struct entry entry;

		if (!lmdb_seek(batch, TABLE_EXPIRY,
			       (struct store_bytes){ "", 0 }, &name, &value) ||
		    name.length != 8 + 1 + HASH_BYTES ||
		    lmdb_number(name, 0, 8) > batch->real_ms)
			return;
		memcpy(key.bytes, name.data + 9, HASH_BYTES);
		char table = name.data[8];

		lmdb_key_start(&expiry);
		lmdb_key_bytes(&expiry, name.data, name.length);
		lmdb_delete(batch, TABLE_EXPIRY, lmdb_key_all(&expiry));
		/* A lock that was prolonged has another entry further on. */
		if (table == 'w')
			lmdb_lock_sweep(batch, &key);
		else if (table == 'p')
			lmdb_log_sweep(batch, &key);
		else if (table == 'l' && !lmdb_lock_find(batch, &key, &lock))
			lmdb_delete(batch, TABLE_LOCK, cache_key_bytes(&key));
		else if (table == 'c' && !lmdb_entry_find(batch, &key, &entry))
			lmdb_entry_remove(batch, key);
	}
}

bool lmdb_cache_is_sweep_due(struct lmdb *lmdb)
{
	struct lmdb_batch batch;
	struct store_bytes name;
	struct store_bytes value;

	lmdb_batch_begin(&batch, &lmdb->lanes[LANE_SHARED], false);
	bool is_due = lmdb_seek(&batch, TABLE_EXPIRY,
				(struct store_bytes){ "", 0 }, &name, &value) &&
		      name.length >= 8 &&
		      lmdb_number(name, 0, 8) <= batch.real_ms;

	return lmdb_batch_end(&batch) == 0 && is_due;
}
