/* The cache, taken out and put back. */
#include "store/lmdb_cache_internal.h"

#define ENTRIES_MAX 1000
#define PAGE_BYTES  ((size_t)4 << 20) /* a page ends past that */

static const struct store_bytes nothing = { "", 0 };

/* ---- out ---- */

struct page {
	struct store_call *call;
	struct store_cache_entry *entries;
	size_t room;
	size_t bytes;
};

static struct store_bytes keep(struct page *page, struct store_bytes from)
{
	page->bytes += from.length;
	return arena_copy(&page->call->arena, from.data, from.length);
}

static struct store_cache_entry *add(struct page *page,
				     const struct entry *entry)
{
	struct store_answer *answer = &page->call->answer;
	struct store_cache_entry *added;

	if (answer->entries.count == page->room) {
		page->room *= 2;
		added = arena_take_zeroed(&page->call->arena, page->room,
					  sizeof(*added));
		memcpy(added, page->entries,
		       answer->entries.count * sizeof(*added));
		page->entries = added;
		answer->entries.list = added;
	}
	added = &page->entries[answer->entries.count++];
	added->key = keep(page, entry->key);
	added->type = keep(page, entry->type);
	added->created_ms = entry->head.created_ms;
	added->expires_ms = entry->head.expires_ms;
	return added;
}

static void add_value(struct page *page, const struct entry *entry)
{
	struct store_cache_entry *added = add(page, entry);

	added->value = keep(page, entry->value);
	added->kind =
		entry->type.length == 0 && lmdb_cache_is_integer(entry->value)
			? STORE_ENTRY_COUNTER
			: STORE_ENTRY_VALUE;
}

static void add_list(struct lmdb_batch *batch, struct page *page,
		     const struct cache_key *hash, const struct entry *entry)
{
	uint64_t number = entry->head.first;
	uint64_t end = number + entry->head.count;

	while (number < end) {
		size_t some = end - number < STORE_BATCH_MAX
				      ? (size_t)(end - number)
				      : STORE_BATCH_MAX;
		struct store_cache_entry *added = add(page, entry);
		struct store_bytes *values = arena_take_zeroed(
			&page->call->arena, some, sizeof(*values));

		added->kind = STORE_ENTRY_LIST;
		added->is_continued = number != entry->head.first;
		added->values = values;
		for (size_t i = 0; i < some; i++, number++) {
			struct lmdb_key key = lmdb_item_key(hash, number);
			struct store_bytes value;

			if (lmdb_get(batch, TABLE_ITEM, lmdb_key_all(&key),
				     &value))
				values[added->value_count++] =
					keep(page, value);
		}
	}
}

/* In the order of their hashes, as lmdb_cache_keys(). */
void lmdb_cache_export(struct lmdb_batch *batch, struct store_call *call)
{
	const struct store_cache_export *request = call->request;
	uint32_t limit = request->limit == 0 || request->limit > ENTRIES_MAX
				 ? ENTRIES_MAX
				 : request->limit;
	struct page page = { .call = call, .room = limit };
	struct store_bytes name;
	struct store_bytes value;
	struct cache_key hash = { { 0 } };

	page.entries =
		arena_take_zeroed(&call->arena, limit, sizeof(*page.entries));
	call->answer.result = STORE_DONE;
	call->answer.entries.list = page.entries;
	bool has_more =
		lmdb_seek(batch, TABLE_CACHE, request->cursor, &name, &value);

	if (has_more && store_bytes_equal(name, request->cursor))
		has_more = lmdb_next(batch, TABLE_CACHE, &name, &value);
	while (has_more && call->answer.entries.count < limit &&
	       page.bytes < PAGE_BYTES) {
		struct entry entry;

		if (name.length == HASH_BYTES)
			memcpy(hash.bytes, name.data, HASH_BYTES);
		if (!lmdb_entry_parse(name, value, &entry) ||
		    (entry.head.expires_ms != 0 &&
		     entry.head.expires_ms <= batch->real_ms))
			; /* damaged, or over */
		else if (entry.head.kind == ENTRY_LIST)
			add_list(batch, &page, &hash, &entry);
		else
			add_value(&page, &entry);
		has_more = lmdb_next(batch, TABLE_CACHE, &name, &value);
	}
	if (has_more)
		call->answer.entries.cursor =
			arena_copy(&call->arena, hash.bytes, HASH_BYTES);
}

/* ---- back in ---- */

static void put_items(struct lmdb_batch *batch, const struct cache_key *hash,
		      const struct store_cache_entry *from, struct entry *entry)
{
	for (size_t i = 0; i < from->value_count; i++) {
		struct lmdb_key key = lmdb_item_key(
			hash, entry->head.first + entry->head.count++);

		batch->shared.bytes += from->values[i].length;
		lmdb_put(batch, TABLE_ITEM, lmdb_key_all(&key),
			 from->values[i]);
	}
}

static bool all_fit(struct lmdb_batch *batch, struct store_call *call,
		    const struct store_cache_entry *entry)
{
	if (!lmdb_cache_fits(batch, call, entry->value))
		return false;
	for (size_t i = 0; i < entry->value_count; i++)
		if (!lmdb_cache_fits(batch, call, entry->values[i]))
			return false;
	return true;
}

void lmdb_cache_import(struct lmdb_batch *batch, struct store_call *call)
{
	const struct store_cache_import *request = call->request;
	const struct store_cache_entry *from = &request->entry;
	struct cache_key hash = lmdb_cache_key(batch->lmdb, from->key);
	bool is_list = from->kind == STORE_ENTRY_LIST;
	struct entry entry = { .head.kind = ENTRY_VALUE };

	call->answer.result = STORE_NOT_FOUND;
	if ((from->expires_ms != 0 && from->expires_ms <= batch->real_ms) ||
	    !all_fit(batch, call, from))
		return;
	if (is_list && from->value_count == 0)
		return;
	bool goes_on = is_list && from->is_continued &&
		       lmdb_entry_find(batch, &hash, &entry) &&
		       entry.head.kind == ENTRY_LIST;

	if (!goes_on) {
		lmdb_entry_remove(batch, hash);
		entry = (struct entry){ .head.kind = ENTRY_VALUE };
	}
	entry.head.created_ms =
		from->created_ms == 0 ? batch->real_ms : from->created_ms;
	entry.head.expires_ms = from->expires_ms;
	entry.key = from->key;
	entry.type = is_list ? nothing : from->type;
	entry.value = is_list ? nothing : from->value;
	if (is_list) {
		entry.head.kind = ENTRY_LIST;
		put_items(batch, &hash, from, &entry);
	}
	lmdb_entry_put(batch, &hash, &entry);
	call->answer.result = STORE_DONE;
}
