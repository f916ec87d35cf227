#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/mem.h"
#include "base/must.h"
#include "store/lmdb_cache_internal.h"

#define VALUE_SHARE 64 /* of the whole cache, for a single value */
#define KEYS_MAX    1000
#define LOOKS       8 /* at entries for each key that is wanted */

void lmdb_wrong_type(struct store_call *call)
{
	store_call_fail(call, -EINVAL, "CACHE_WRONG_TYPE",
			"the key holds a list where a value is meant, or a "
			"value where a list is (destroy it first)");
}

static bool is_locked(struct lmdb_batch *batch, const struct cache_key *key,
		      struct store_bytes owner)
{
	struct lock lock;

	return lmdb_lock_find(batch, key, &lock) &&
	       !store_bytes_equal(lock.owner, owner);
}

bool lmdb_cache_fits(const struct lmdb_batch *batch, struct store_call *call,
		     struct store_bytes value)
{
	uint64_t most = batch->lmdb->cache_bytes / VALUE_SHARE;

	if (value.length <= most)
		return true;
	store_call_fail(call, -EMSGSIZE, "STORE_TOO_LONG",
			"the value has %zu bytes, but %ju are the most in a "
			"cache of this size (make it larger)",
			value.length, (uintmax_t)most);
	return false;
}

static void save(struct lmdb_batch *batch, const struct cache_key *hash,
		 struct store_bytes key, struct store_bytes type,
		 struct store_bytes value, uint64_t ttl_ms)
{
	struct entry entry = {
		.head.kind = ENTRY_VALUE,
		.head.created_ms = batch->real_ms,
		.head.expires_ms = ttl_ms == 0 ? 0 : batch->real_ms + ttl_ms,
		.key = key,
		.type = type,
		.value = value,
	};

	lmdb_entry_put(batch, hash, &entry);
}

void lmdb_cache_save(struct lmdb_batch *batch, struct store_call *call)
{
	const struct store_cache_save *request = call->request;
	struct cache_key hash = lmdb_cache_key(batch->lmdb, request->key);

	if (!lmdb_cache_fits(batch, call, request->value))
		return;
	if (is_locked(batch, &hash, request->owner)) {
		call->answer.result = STORE_BUSY;
		return;
	}
	save(batch, &hash, request->key, request->type, request->value,
	     request->ttl_ms);
	call->answer.result = STORE_DONE;
}

static uint64_t read_time(struct lmdb_batch *batch, const struct cache_key *key)
{
	struct store_bytes value;
	uint64_t read_ms = 0;

	if (lmdb_get(batch, TABLE_READ, cache_key_bytes(key), &value) &&
	    value.length == sizeof(read_ms))
		memcpy(&read_ms, value.data, sizeof(read_ms));
	return read_ms;
}

void lmdb_cache_load(struct lmdb_batch *batch, struct store_call *call)
{
	const struct store_cache_load *request = call->request;
	struct cache_key hash = lmdb_cache_key(batch->lmdb, request->key);
	struct entry entry;

	call->answer.result = STORE_NOT_FOUND;
	if (!lmdb_entry_find(batch, &hash, &entry))
		return;
	if (entry.head.kind != ENTRY_VALUE) {
		lmdb_wrong_type(call);
		return;
	}
	call->answer.result = STORE_DONE;
	call->answer.cache.value =
		arena_copy(&call->arena, entry.value.data, entry.value.length);
	call->answer.cache.type =
		arena_copy(&call->arena, entry.type.data, entry.type.length);
	call->answer.cache.created_ms = entry.head.created_ms;
	call->answer.cache.expires_ms = entry.head.expires_ms;
	call->answer.cache.read_ms = read_time(batch, &hash);
	if (request->slide_ms == 0)
		return;
	call->answer.cache.expires_ms = batch->real_ms + request->slide_ms;
	lmdb_entry_set_expiry(batch, &hash, call->answer.cache.expires_ms);
}

void lmdb_cache_destroy(struct lmdb_batch *batch, struct store_call *call)
{
	const struct store_cache_destroy *request = call->request;
	struct cache_key hash = lmdb_cache_key(batch->lmdb, request->key);
	struct entry entry;

	if (is_locked(batch, &hash, request->owner)) {
		call->answer.result = STORE_BUSY;
		return;
	}
	call->answer.result = lmdb_entry_find(batch, &hash, &entry)
				      ? STORE_DONE
				      : STORE_NOT_FOUND;
	lmdb_entry_remove(batch, hash);
}

void lmdb_cache_expire(struct lmdb_batch *batch, struct store_call *call)
{
	const struct store_cache_expire *request = call->request;
	struct cache_key hash = lmdb_cache_key(batch->lmdb, request->key);
	struct entry entry;

	call->answer.result = STORE_NOT_FOUND;
	if (!lmdb_entry_find(batch, &hash, &entry))
		return;
	call->answer.result = STORE_DONE;
	lmdb_entry_set_expiry(
		batch, &hash,
		request->ttl_ms == 0 ? 0 : batch->real_ms + request->ttl_ms);
}

static bool has_prefix(struct store_bytes text, struct store_bytes prefix)
{
	return text.length >= prefix.length &&
	       (prefix.length == 0 ||
		memcmp(text.data, prefix.data, prefix.length) == 0);
}

/* In the order of their hashes: the cursor is the last one seen. */
void lmdb_cache_keys(struct lmdb_batch *batch, struct store_call *call)
{
	const struct store_cache_keys *request = call->request;
	uint32_t limit = request->limit == 0 || request->limit > KEYS_MAX
				 ? KEYS_MAX
				 : request->limit;
	struct store_bytes *keys =
		arena_take_zeroed(&call->arena, limit, sizeof(*keys));
	size_t count = 0;
	struct store_bytes name;
	struct store_bytes value;
	struct cache_key last;
	bool has_more =
		lmdb_seek(batch, TABLE_CACHE, request->cursor, &name, &value);

	if (has_more && store_bytes_equal(name, request->cursor))
		has_more = lmdb_next(batch, TABLE_CACHE, &name, &value);
	for (uint64_t looks = (uint64_t)limit * LOOKS;
	     has_more && looks > 0 && count < limit; looks--) {
		struct entry entry;

		if (name.length == HASH_BYTES)
			memcpy(last.bytes, name.data, HASH_BYTES);
		if (lmdb_entry_parse(name, value, &entry) &&
		    (entry.head.expires_ms == 0 ||
		     entry.head.expires_ms > batch->real_ms) &&
		    has_prefix(entry.key, request->prefix))
			keys[count++] = arena_copy(&call->arena, entry.key.data,
						   entry.key.length);
		has_more = lmdb_next(batch, TABLE_CACHE, &name, &value);
	}
	call->answer.result = STORE_DONE;
	call->answer.keys.keys = keys;
	call->answer.keys.count = count;
	if (has_more)
		call->answer.keys.cursor =
			arena_copy(&call->arena, last.bytes, HASH_BYTES);
}

/* What has expired and is not swept yet does not count. */
void lmdb_cache_size(struct lmdb_batch *batch, struct store_call *call)
{
	uint64_t size = batch->shared.entries;
	struct store_bytes name;
	struct store_bytes value;
	bool has_more = lmdb_seek(batch, TABLE_EXPIRY,
				  (struct store_bytes){ "", 0 }, &name, &value);

	while (has_more && name.length > 8 &&
	       lmdb_number(name, 0, 8) <= batch->real_ms) {
		size -= name.data[8] == 'c';
		has_more = lmdb_next(batch, TABLE_EXPIRY, &name, &value);
	}
	call->answer.result = STORE_DONE;
	call->answer.number.value = size;
}

static void clear_all(struct lmdb_batch *batch, struct store_call *call)
{
	static const enum lmdb_table tables[] = { TABLE_CACHE, TABLE_EXPIRY,
						  TABLE_READ,  TABLE_ITEM,
						  TABLE_LOCK,  TABLE_AWAIT };

	call->answer.number.value = batch->shared.entries;
	for (size_t i = 0; i < sizeof(tables) / sizeof(tables[0]); i++) {
		MDB_dbi table = batch->lmdb->tables[tables[i]];

		lmdb_batch_let_go(batch, tables[i]);
		if (batch->error == 0)
			batch->error = mdb_drop(batch->txn, table, 0);
	}
	batch->lock_wakes = UINT64_MAX; /* whoever waits for one */
	batch->shared.entries = 0;
	batch->shared.bytes = 0;
}

void lmdb_cache_clear(struct lmdb_batch *batch, struct store_call *call)
{
	const struct store_cache_clear *request = call->request;
	struct store_bytes name;
	struct store_bytes value;
	struct cache_key hash = { { 0 } };

	call->answer.result = STORE_DONE;
	if (request->prefix.length == 0) {
		clear_all(batch, call);
		return;
	}
	while (lmdb_seek(batch, TABLE_CACHE, cache_key_bytes(&hash), &name,
			 &value) &&
	       name.length == HASH_BYTES) {
		struct entry entry;

		memcpy(hash.bytes, name.data, HASH_BYTES);
		if (lmdb_entry_parse(name, value, &entry) &&
		    has_prefix(entry.key, request->prefix)) {
			lmdb_entry_remove(batch, hash);
			call->answer.number.value++;
		}
		/* The place after it, whether it is there or not. */
		for (size_t i = HASH_BYTES; i > 0 && ++hash.bytes[i - 1] == 0;
		     i--)
			if (i == 1)
				return;
	}
}

/* ---- lists ---- */

struct lmdb_key lmdb_item_key(const struct cache_key *hash, uint64_t number)
{
	struct lmdb_key key;

	lmdb_key_start(&key);
	lmdb_key_bytes(&key, hash->bytes, HASH_BYTES);
	lmdb_key_number(&key, number, 8);
	return key;
}

void lmdb_cache_push(struct lmdb_batch *batch, struct store_call *call)
{
	const struct store_cache_push *request = call->request;
	struct cache_key hash = lmdb_cache_key(batch->lmdb, request->key);
	struct entry entry = { .head.created_ms = batch->real_ms };

	if (!lmdb_cache_fits(batch, call, request->value))
		return;
	bool is_there = lmdb_entry_find(batch, &hash, &entry);

	if (is_there && entry.head.kind != ENTRY_LIST) {
		lmdb_wrong_type(call);
		return;
	}
	if (!is_there) {
		lmdb_entry_remove(batch, hash); /* one that has expired */
		entry = (struct entry){ .head.created_ms = batch->real_ms };
	}
	uint64_t number = entry.head.first + entry.head.count;

	entry.head.kind = ENTRY_LIST;
	entry.head.count++;
	entry.key = request->key;
	entry.type = entry.value = (struct store_bytes){ "", 0 };
	if (request->ttl_ms != 0)
		entry.head.expires_ms = batch->real_ms + request->ttl_ms;
	struct lmdb_key key = lmdb_item_key(&hash, number);

	batch->shared.bytes += request->value.length;
	lmdb_put(batch, TABLE_ITEM, lmdb_key_all(&key), request->value);
	call->answer.result = STORE_DONE;
	call->answer.number.value = entry.head.count;
	lmdb_entry_put(batch, &hash, &entry);
}

void lmdb_cache_pop(struct lmdb_batch *batch, struct store_call *call)
{
	const struct store_cache_pop *request = call->request;
	struct cache_key hash = lmdb_cache_key(batch->lmdb, request->key);
	struct entry entry;
	struct store_bytes value;

	call->answer.result = STORE_NOT_FOUND;
	if (!lmdb_entry_find(batch, &hash, &entry))
		return;
	if (entry.head.kind != ENTRY_LIST) {
		lmdb_wrong_type(call);
		return;
	}
	struct lmdb_key key = lmdb_item_key(&hash, entry.head.first);

	if (lmdb_get(batch, TABLE_ITEM, lmdb_key_all(&key), &value))
		call->answer.result = STORE_DONE;
	call->answer.cache.value =
		arena_copy(&call->arena, value.data, value.length);
	call->answer.cache.created_ms = entry.head.created_ms;
	call->answer.cache.expires_ms = entry.head.expires_ms;
	if (entry.head.count <= 1) {
		lmdb_entry_remove(batch, hash);
		return;
	}
	batch->shared.bytes -= value.length;
	entry.head.first++;
	entry.head.count--;
	entry.key = request->key;
	entry.type = entry.value = (struct store_bytes){ "", 0 };
	lmdb_delete(batch, TABLE_ITEM, lmdb_key_all(&key));
	lmdb_entry_put(batch, &hash, &entry);
}

void lmdb_cache_length(struct lmdb_batch *batch, struct store_call *call)
{
	const struct store_cache_length *request = call->request;
	struct cache_key hash = lmdb_cache_key(batch->lmdb, request->key);
	struct entry entry;

	call->answer.result = STORE_DONE;
	if (!lmdb_entry_find(batch, &hash, &entry))
		return;
	if (entry.head.kind != ENTRY_LIST)
		lmdb_wrong_type(call);
	else
		call->answer.number.value = entry.head.count;
}

/* ---- counters ---- */

static bool read_integer(struct store_bytes text, int64_t *value)
{
	char copy[24];
	char *end;

	if (text.length == 0 || text.length >= sizeof(copy))
		return false;
	memcpy(copy, text.data, text.length);
	copy[text.length] = '\0';
	errno = 0;
	*value = strtoll(copy, &end, 10);
	return errno == 0 && *end == '\0' && copy[0] != ' ' && copy[0] != '+';
}

bool lmdb_cache_is_integer(struct store_bytes text)
{
	int64_t value;

	return read_integer(text, &value);
}

/* -EINVAL: no number. -ERANGE: too large a one. -EPROTOTYPE: a list. */
int lmdb_cache_do_add(struct lmdb_batch *batch, struct store_bytes name,
		      int64_t delta, uint64_t ttl_ms, int64_t *value)
{
	struct cache_key hash = lmdb_cache_key(batch->lmdb, name);
	struct entry entry;
	char text[24];
	bool is_there = lmdb_entry_find(batch, &hash, &entry);

	*value = 0;
	if (is_there && entry.head.kind != ENTRY_VALUE)
		return -EPROTOTYPE;
	if (is_there && !read_integer(entry.value, value))
		return -EINVAL;
	if (__builtin_add_overflow(*value, delta, value))
		return -ERANGE;
	struct store_bytes digits = store_bytes(
		text, (size_t)snprintf(text, sizeof(text), "%" PRId64, *value));

	if (!is_there) {
		save(batch, &hash, name, (struct store_bytes){ "", 0 }, digits,
		     ttl_ms);
		return 0;
	}
	entry.key = name;
	entry.type =
		arena_copy(&batch->arena, entry.type.data, entry.type.length);
	entry.value = digits;
	lmdb_entry_put(batch, &hash, &entry);
	return 0;
}

void lmdb_cache_add(struct lmdb_batch *batch, struct store_call *call)
{
	const struct store_cache_add *request = call->request;
	int64_t value;
	int error = lmdb_cache_do_add(batch, request->key, request->delta,
				      request->ttl_ms, &value);

	if (error == -EPROTOTYPE) {
		lmdb_wrong_type(call);
	} else if (error < 0) {
		store_call_fail(call, error, "CACHE_NOT_A_NUMBER",
				"the key holds no number that this can be "
				"added to (destroy it first)");
	} else {
		call->answer.result = STORE_DONE;
		call->answer.counter.value = value;
	}
}

/* ---- effects of completions ---- */

struct outbox_head {
	int64_t delta;
	uint64_t ttl_ms;
	uint32_t key_length;
	uint32_t value_length;
	uint8_t kind;
	uint8_t type_length;
	uint8_t unused[6];
};

/* In the tasks' lane: in the same transaction as the completion. */
void lmdb_cache_effect(struct lmdb_batch *batch,
		       const struct store_effect *effect)
{
	struct outbox_head head = {
		.delta = effect->delta,
		.ttl_ms = effect->ttl_ms,
		.key_length = (uint32_t)effect->key.length,
		.value_length = (uint32_t)effect->value.length,
		.kind = (uint8_t)effect->kind,
		.type_length = (uint8_t)effect->type.length,
	};
	struct lmdb_key number;

	lmdb_key_start(&number);
	lmdb_key_number(&number, ++batch->tasks.outbox, 8);
	char *room = lmdb_reserve(batch, TABLE_OUTBOX, lmdb_key_all(&number),
				  sizeof(head) + effect->key.length +
					  effect->type.length +
					  effect->value.length);

	if (room == NULL)
		return;
	room = (char *)memcpy(room, &head, sizeof(head)) + sizeof(head);
	room = (char *)memcpy(room, effect->key.data, effect->key.length) +
	       effect->key.length;
	room = (char *)memcpy(room, effect->type.data, effect->type.length) +
	       effect->type.length;
	memcpy(room, effect->value.data, effect->value.length);
}

static void apply(struct lmdb_batch *batch, struct store_bytes bytes)
{
	struct outbox_head head;
	int64_t value;

	if (bytes.length < sizeof(head))
		return;
	memcpy(&head, bytes.data, sizeof(head));
	const char *at = bytes.data + sizeof(head);

	if (bytes.length != sizeof(head) + head.key_length + head.type_length +
				    head.value_length)
		return;
	struct store_bytes key = { at, head.key_length };
	struct store_bytes type = { at + key.length, head.type_length };
	struct cache_key hash = lmdb_cache_key(batch->lmdb, key);

	if (head.kind == STORE_EFFECT_CACHE_SAVE)
		save(batch, &hash, key, type,
		     store_bytes(type.data + type.length, head.value_length),
		     head.ttl_ms);
	else if (head.kind == STORE_EFFECT_CACHE_DESTROY)
		lmdb_entry_remove(batch, hash);
	else
		/* To what is no number nothing can be added: as with a value
		 * that was evicted, there is nobody left to tell. */
		DISCARD(lmdb_cache_do_add(batch, key, head.delta, head.ttl_ms,
					  &value));
}

/*
 * In the shared lane. Effects cross from one environment to the other here:
 * how far they have been made is written in the same transaction as they, so
 * each is made once, by whichever process comes first.
 */
void lmdb_cache_apply(struct lmdb_batch *batch, struct store_call *call)
{
	struct lmdb_batch outbox;
	struct lmdb_key from;
	struct store_bytes name;
	struct store_bytes value;

	lmdb_key_start(&from);
	lmdb_key_number(&from, batch->shared.applied + 1, 8);
	lmdb_batch_begin(&outbox, &batch->lmdb->lanes[LANE_TASKS], false);
	/* A cache that is newer than the tasks begins with the next effect. */
	if (outbox.error == 0 && batch->shared.applied > outbox.tasks.outbox)
		batch->shared.applied = outbox.tasks.outbox;
	bool has_more = lmdb_seek(&outbox, TABLE_OUTBOX, lmdb_key_all(&from),
				  &name, &value);

	while (has_more && name.length == 8) {
		apply(batch, value);
		batch->shared.applied = lmdb_number(name, 0, 8);
		has_more = lmdb_next(&outbox, TABLE_OUTBOX, &name, &value);
	}
	int error = lmdb_batch_end(&outbox);

	if (error != 0 && batch->error == 0)
		batch->error = error;
	call->answer.number.value = batch->shared.applied;
}

/* ---- reading at once ---- */

#define READS_MAX       4096 /* a power of two */
#define READS_FULL      (READS_MAX / 4 * 3)
#define READ_RESOLUTION 1000

/* What was read lately, by this process; written down once a second. */
struct lmdb_reads {
	size_t count; /* that are to be written down */
	struct read {
		struct cache_key key;
		uint64_t read_ms;
		bool is_new;
	} slots[READS_MAX];
};

static void note_read(struct lmdb_store *user, const struct cache_key *key,
		      uint64_t now_ms)
{
	uint64_t start;

	if (user->reads == NULL)
		user->reads = mem_zalloc(sizeof(*user->reads));
	memcpy(&start, key->bytes, sizeof(start));
	struct read *slot = &user->reads->slots[start % READS_MAX];

	/* Of two keys with one slot the older one's time is not kept: it is
	 * only what eviction goes by. */
	if (memcmp(&slot->key, key, sizeof(*key)) == 0) {
		if (now_ms - slot->read_ms < READ_RESOLUTION)
			return;
	} else {
		slot->key = *key;
		user->reads->count -= slot->is_new;
		slot->is_new = false;
	}
	slot->read_ms = now_ms;
	user->reads->count += !slot->is_new;
	slot->is_new = true;
}

struct reads_list {
	size_t count;
	struct read reads[];
};

static void write_reads(struct lmdb_batch *batch, struct store_call *call)
{
	const struct lmdb_own *own = call->request;
	const struct reads_list *list = own->detail;

	for (size_t i = 0; i < list->count; i++) {
		struct store_bytes key = cache_key_bytes(&list->reads[i].key);
		struct store_bytes value;

		if (lmdb_get(batch, TABLE_CACHE, key, &value))
			lmdb_put(batch, TABLE_READ, key,
				 store_bytes(&list->reads[i].read_ms, 8));
	}
}

void lmdb_cache_flush_reads(struct lmdb_store *user)
{
	struct lmdb_reads *reads = user->reads;

	if (reads == NULL || reads->count == 0)
		return;
	size_t size =
		sizeof(struct reads_list) + reads->count * sizeof(struct read);
	struct reads_list *list = mem_zalloc(size);

	for (size_t i = 0; i < READS_MAX; i++) {
		if (!reads->slots[i].is_new)
			continue;
		reads->slots[i].is_new = false;
		list->reads[list->count++] = reads->slots[i];
	}
	reads->count = 0;
	lmdb_submit(user, LANE_SHARED,
		    lmdb_own_call(user, write_reads, LANE_SHARED, list, size));
	free(list);
}

void lmdb_cache_reads_free(struct lmdb_store *user)
{
	free(user->reads);
	user->reads = NULL;
}

void lmdb_cache_was_read(struct lmdb_store *user, const struct store_call *call)
{
	const struct store_cache_load *request = call->request;
	struct cache_key key = lmdb_cache_key(user->lmdb, request->key);

	if (call->answer.error == 0 && call->answer.result == STORE_DONE)
		note_read(user, &key, lmdb_real_ms());
}

void lmdb_cache_stop_peeking(struct lmdb_store *user)
{
	if (!user->is_peeking)
		return;
	user->is_peeking = false;
	mdb_txn_reset(user->peek);
}

static void run_end_peek(struct loop_task *task)
{
	lmdb_cache_stop_peeking(LIST_ENTRY(task, struct lmdb_store, end_peek));
}

/* One look for all that is peeked at in a turn of the loop. */
static bool start_peeking(struct lmdb_store *user)
{
	MDB_env *env = user->lmdb->lanes[LANE_SHARED].env;
	int error;

	if (user->is_peeking)
		return true;
	if (user->peek == NULL)
		error = mdb_txn_begin(env, NULL, MDB_RDONLY, &user->peek);
	else
		error = mdb_txn_renew(user->peek);
	if (error != 0)
		return false;
	user->is_peeking = true;
	user->peek_ms = lmdb_real_ms();
	user->end_peek.run = run_end_peek;
	loop_defer(user->store->loop, &user->end_peek);
	return true;
}

enum store_result lmdb_cache_peek(struct store *store,
				  const struct store_cache_load *request,
				  struct store_answer *answer)
{
	struct lmdb_store *user = store->back_end;
	struct cache_key hash = lmdb_cache_key(user->lmdb, request->key);
	MDB_val name = { .mv_size = HASH_BYTES, .mv_data = hash.bytes };
	MDB_val value;
	struct entry entry;

	if (request->slide_ms != 0 || !start_peeking(user))
		return STORE_BUSY;
	int error = mdb_get(user->peek, user->lmdb->tables[TABLE_CACHE], &name,
			    &value);

	if (error == MDB_NOTFOUND)
		return STORE_NOT_FOUND;
	if (error != 0 ||
	    !lmdb_entry_parse(cache_key_bytes(&hash),
			      store_bytes(value.mv_data, value.mv_size),
			      &entry) ||
	    entry.head.kind != ENTRY_VALUE)
		return STORE_BUSY;
	if (entry.head.expires_ms != 0 &&
	    entry.head.expires_ms <= user->peek_ms)
		return STORE_NOT_FOUND;
	*answer = (struct store_answer){
		.result = STORE_DONE,
		.cache = { .value = entry.value,
			   .type = entry.type,
			   .created_ms = entry.head.created_ms,
			   .expires_ms = entry.head.expires_ms },
	};
	if (mdb_get(user->peek, user->lmdb->tables[TABLE_READ], &name,
		    &value) == 0 &&
	    value.mv_size == 8)
		memcpy(&answer->cache.read_ms, value.mv_data, 8);
	note_read(user, &hash, user->peek_ms);
	return STORE_DONE;
}
