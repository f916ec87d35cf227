/* What the files of the embedded cache share: how an entry is kept. */
#pragma once
#include "store/lmdb_internal.h"

enum entry_kind { ENTRY_VALUE, ENTRY_LIST };

struct entry_head {
	uint64_t created_ms;
	uint64_t expires_ms; /* 0: never */
	uint64_t first;      /* LIST: the number of its first item */
	uint64_t count;      /* LIST */
	uint32_t key_length;
	uint8_t kind;
	uint8_t type_length;
	uint16_t unused;
};

/* With what it points to in the page: good until the next write. */
struct entry {
	struct entry_head head;
	struct store_bytes hash;
	struct store_bytes key;
	struct store_bytes type;
	struct store_bytes value;
};

struct lock {
	uint64_t token;
	uint64_t until_ms; /* of the boot's clock */
	struct store_bytes owner;
};

struct cache_key {
	uint8_t bytes[HASH_BYTES];
};

static inline struct store_bytes cache_key_bytes(const struct cache_key *key)
{
	return store_bytes(key->bytes, sizeof(key->bytes));
}

struct cache_key lmdb_cache_key(const struct lmdb *lmdb,
				struct store_bytes key);

/* False: there is none, or it has expired. */
bool lmdb_entry_find(struct lmdb_batch *batch, const struct cache_key *key,
		     struct entry *entry);
bool lmdb_entry_parse(struct store_bytes hash, struct store_bytes bytes,
		      struct entry *entry);
/* Takes its expiry, its items and when it was read with it. */
void lmdb_entry_remove(struct lmdb_batch *batch, struct cache_key key);
/* In the place of what is there. Makes room where the cache is full. */
void lmdb_entry_put(struct lmdb_batch *batch, const struct cache_key *key,
		    const struct entry *entry);
void lmdb_entry_set_expiry(struct lmdb_batch *batch,
			   const struct cache_key *key, uint64_t expires_ms);
bool lmdb_lock_find(struct lmdb_batch *batch, const struct cache_key *key,
		    struct lock *lock);
/* Those who waited for it, and do no longer. */
void lmdb_lock_sweep(struct lmdb_batch *batch, const struct cache_key *key);
/* Of a log that has expired, as much as may go at once. */
void lmdb_log_sweep(struct lmdb_batch *batch, const struct cache_key *key);
/* In EXPIRY; tables are 'c' (CACHE), 'l' (LOCK), 'w' (AWAIT), 'p' (LOG). */
struct lmdb_key lmdb_expiry_key(uint64_t at_ms, char table,
				const struct cache_key *key);
void lmdb_wrong_type(struct store_call *call);
/* Too large for this cache: the call has failed. */
bool lmdb_cache_fits(const struct lmdb_batch *batch, struct store_call *call,
		     struct store_bytes value);
struct lmdb_key lmdb_item_key(const struct cache_key *hash, uint64_t number);
bool lmdb_cache_is_integer(struct store_bytes text);
void lmdb_evict(struct lmdb_batch *batch, const struct cache_key *but);
int lmdb_cache_do_add(struct lmdb_batch *batch, struct store_bytes name,
		      int64_t delta, uint64_t ttl_ms, int64_t *value);
