/*
 * What is kept of what was published: LOG has a head for each log, ENTRY its
 * entries by number. A log that nothing is added to goes with EXPIRY.
 */
#include <stdlib.h>

#include "base/mem.h"
#include "store/lmdb_cache_internal.h"
#include "store/store_bus.h"

#define SWEEP_MAX 256 /* entries that go at once, when a log has expired */
#define AT_BYTES  8

/* In LOG, by the name's hash. */
struct log_head {
	uint64_t first; /* number of the oldest entry */
	uint64_t next;
	uint64_t bytes;
	uint64_t keep_ms;
	uint64_t until_ms; /* when the last one has grown too old */
};

/* Its name and the message follow. */
struct appending {
	uint64_t entries;
	uint64_t keep_ms;
	size_t name_length;
	size_t length;
};

static const struct store_bytes nothing = { "", 0 };

/* False: there is none. */
static bool find_head(struct lmdb_batch *batch, const struct cache_key *key,
		      struct log_head *head)
{
	struct store_bytes bytes;

	*head = (struct log_head){ 0 };
	if (!lmdb_get(batch, TABLE_LOG, cache_key_bytes(key), &bytes) ||
	    bytes.length != sizeof(*head))
		return false;
	memcpy(head, bytes.data, sizeof(*head));
	return true;
}

static struct lmdb_key entry_key(const struct cache_key *key, uint64_t number)
{
	return lmdb_item_key(key, number);
}

/* When it was put there, and the message behind that. */
static bool find_entry(struct lmdb_batch *batch, const struct cache_key *key,
		       uint64_t number, uint64_t *at_ms,
		       struct store_bytes *bytes)
{
	struct lmdb_key name = entry_key(key, number);

	if (!lmdb_get(batch, TABLE_ENTRY, lmdb_key_all(&name), bytes) ||
	    bytes->length < AT_BYTES)
		return false;
	memcpy(at_ms, bytes->data, AT_BYTES);
	return true;
}

static void put_entry(struct lmdb_batch *batch, const struct cache_key *key,
		      uint64_t number, struct store_bytes bytes)
{
	struct lmdb_key name = entry_key(key, number);
	char *room = lmdb_reserve(batch, TABLE_ENTRY, lmdb_key_all(&name),
				  AT_BYTES + bytes.length);

	if (room == NULL)
		return;
	memcpy(room, &batch->real_ms, AT_BYTES);
	memcpy(room + AT_BYTES, bytes.data, bytes.length);
}

static void drop_first(struct lmdb_batch *batch, const struct cache_key *key,
		       struct log_head *head)
{
	struct lmdb_key name = entry_key(key, head->first);
	struct store_bytes bytes;

	if (lmdb_get(batch, TABLE_ENTRY, lmdb_key_all(&name), &bytes))
		head->bytes -= bytes.length;
	lmdb_delete(batch, TABLE_ENTRY, lmdb_key_all(&name));
	head->first++;
}

static bool is_first_too_old(struct lmdb_batch *batch,
			     const struct cache_key *key,
			     const struct log_head *head)
{
	struct store_bytes bytes;
	uint64_t at_ms;

	return !find_entry(batch, key, head->first, &at_ms, &bytes) ||
	       at_ms + head->keep_ms < batch->real_ms;
}

/* The newest one stays, whatever it is. */
static void trim(struct lmdb_batch *batch, const struct cache_key *key,
		 struct log_head *head, uint64_t entries)
{
	while (head->next - head->first > 1 &&
	       (head->next - head->first > entries ||
		head->bytes > STORE_BUS_LOG_BYTES ||
		is_first_too_old(batch, key, head)))
		drop_first(batch, key, head);
}

static void append(struct lmdb_batch *batch, struct store_call *call)
{
	const struct lmdb_own *own = call->request;
	const struct appending *what = own->detail;
	const char *texts = (const char *)(what + 1);
	struct cache_key key = lmdb_cache_key(
		batch->lmdb, store_bytes(texts, what->name_length));
	struct log_head head;

	/* What was published has gone; the room that is left is for what is
	 * asked for and answered. */
	if (batch->full != 0)
		return;
	if (!find_head(batch, &key, &head)) {
		struct lmdb_key expiry = lmdb_expiry_key(
			batch->real_ms + what->keep_ms, 'p', &key);

		lmdb_put(batch, TABLE_EXPIRY, lmdb_key_all(&expiry), nothing);
	}
	/* Not swept yet, and too old by the time that was said then. */
	if (head.until_ms < batch->real_ms)
		while (head.first < head.next)
			drop_first(batch, &key, &head);
	put_entry(batch, &key, head.next++,
		  store_bytes(texts + what->name_length, what->length));
	head.bytes += AT_BYTES + what->length;
	head.keep_ms = what->keep_ms;
	head.until_ms = batch->real_ms + what->keep_ms;
	trim(batch, &key, &head, what->entries);
	lmdb_put(batch, TABLE_LOG, cache_key_bytes(&key),
		 store_bytes(&head, sizeof(head)));
}

void lmdb_log_append(struct store *store, const struct store_bus_log *log,
		     struct store_bytes bytes)
{
	const struct appending what = { log->entries, log->keep_ms,
					log->name.length, bytes.length };
	size_t size = sizeof(what) + log->name.length + bytes.length;
	char *detail = mem_alloc(size);

	memcpy(detail, &what, sizeof(what));
	memcpy(detail + sizeof(what), log->name.data, log->name.length);
	memcpy(detail + sizeof(what) + log->name.length, bytes.data,
	       bytes.length);
	lmdb_submit(store->back_end, LANE_SHARED,
		    lmdb_own_call(store->back_end, append, LANE_SHARED, detail,
				  size));
	free(detail);
}

/* The environment goes with the boot, and so do all who have read it. */
void lmdb_log_read(struct lmdb_batch *batch, struct store_call *call)
{
	const struct store_log_read *request = call->request;
	struct cache_key key = lmdb_cache_key(batch->lmdb, request->name);
	struct log_head head;

	call->answer.result = STORE_DONE;
	call->answer.log.life = store_text("boot");
	if (!find_head(batch, &key, &head))
		return;
	struct store_bytes *list = arena_take_zeroed(
		&call->arena, (size_t)(head.next - head.first), sizeof(*list));
	struct store_bytes bytes;
	uint64_t at_ms;

	call->answer.log.list = list;
	for (uint64_t number = head.first; number < head.next; number++)
		if (find_entry(batch, &key, number, &at_ms, &bytes) &&
		    at_ms + head.keep_ms >= batch->real_ms)
			list[call->answer.log.count++] =
				arena_copy(&call->arena, bytes.data + AT_BYTES,
					   bytes.length - AT_BYTES);
}

void lmdb_log_sweep(struct lmdb_batch *batch, const struct cache_key *key)
{
	struct log_head head;

	if (!find_head(batch, key, &head))
		return;
	if (head.until_ms <= batch->real_ms) {
		for (int i = 0; i < SWEEP_MAX && head.first < head.next; i++)
			drop_first(batch, key, &head);
		if (head.first == head.next) {
			lmdb_delete(batch, TABLE_LOG, cache_key_bytes(key));
			return;
		}
		lmdb_put(batch, TABLE_LOG, cache_key_bytes(key),
			 store_bytes(&head, sizeof(head)));
		/* The rest in a moment. */
		head.until_ms = batch->real_ms + 1;
	}
	struct lmdb_key expiry = lmdb_expiry_key(head.until_ms, 'p', key);

	lmdb_put(batch, TABLE_EXPIRY, lmdb_key_all(&expiry), nothing);
}
