#include <errno.h>
#include <time.h>

#include "base/must.h"
#include "store/lmdb_internal.h"

/* Room that only completing and removing may use: deleting needs pages too. */
#define RESERVE_PERCENT 10

/* ---- keys ---- */

void lmdb_key_start(struct lmdb_key *key)
{
	key->length = 0;
}

void lmdb_key_number(struct lmdb_key *key, uint64_t number, unsigned bytes)
{
	MUST(key->length + bytes <= sizeof(key->bytes));
	for (unsigned i = bytes; i > 0; i--, number >>= 8)
		key->bytes[key->length + i - 1] = (uint8_t)number;
	key->length += bytes;
}

void lmdb_key_bytes(struct lmdb_key *key, const void *bytes, size_t length)
{
	MUST(key->length + length <= sizeof(key->bytes));
	if (length > 0)
		memcpy(key->bytes + key->length, bytes, length);
	key->length += length;
}

struct lmdb_key lmdb_key_at(uint64_t at, struct store_bytes id)
{
	struct lmdb_key key;

	lmdb_key_start(&key);
	lmdb_key_number(&key, at, 8);
	lmdb_key_bytes(&key, id.data, id.length);
	return key;
}

uint64_t lmdb_number(struct store_bytes bytes, size_t offset, unsigned count)
{
	uint64_t number = 0;

	MUST(offset + count <= bytes.length);
	for (unsigned i = 0; i < count; i++)
		number = number << 8 | (uint8_t)bytes.data[offset + i];
	return number;
}

/* ---- reading and writing ---- */

static MDB_val to_value(struct store_bytes bytes)
{
	return (MDB_val){ .mv_size = bytes.length,
			  .mv_data = (void *)(uintptr_t)bytes.data };
}

static struct store_bytes from_value(MDB_val value)
{
	return (struct store_bytes){ value.mv_data, value.mv_size };
}

static bool has_failed(struct lmdb_batch *batch, int error)
{
	if (error == 0)
		return false;
	if (error != MDB_NOTFOUND && batch->error == 0)
		batch->error = error;
	return true;
}

bool lmdb_get(struct lmdb_batch *batch, enum lmdb_table table,
	      struct store_bytes key, struct store_bytes *value)
{
	MDB_val name = to_value(key);
	MDB_val found;

	*value = (struct store_bytes){ 0 };
	if (batch->error != 0 || key.length == 0 ||
	    has_failed(batch, mdb_get(batch->txn, batch->lmdb->tables[table],
				      &name, &found)))
		return false;
	*value = from_value(found);
	return true;
}

void lmdb_put(struct lmdb_batch *batch, enum lmdb_table table,
	      struct store_bytes key, struct store_bytes value)
{
	MDB_val name = to_value(key);
	MDB_val content = to_value(value);

	MUST(batch->is_writing);
	if (batch->error == 0)
		has_failed(batch,
			   mdb_put(batch->txn, batch->lmdb->tables[table],
				   &name, &content, 0));
}

void *lmdb_reserve(struct lmdb_batch *batch, enum lmdb_table table,
		   struct store_bytes key, size_t length)
{
	MDB_val name = to_value(key);
	MDB_val content = { .mv_size = length };

	MUST(batch->is_writing);
	if (batch->error != 0 ||
	    has_failed(batch, mdb_put(batch->txn, batch->lmdb->tables[table],
				      &name, &content, MDB_RESERVE)))
		return NULL;
	return content.mv_data;
}

bool lmdb_delete(struct lmdb_batch *batch, enum lmdb_table table,
		 struct store_bytes key)
{
	MDB_val name = to_value(key);

	MUST(batch->is_writing);
	return batch->error == 0 && key.length > 0 &&
	       !has_failed(batch,
			   mdb_del(batch->txn, batch->lmdb->tables[table],
				   &name, NULL));
}

static bool move(struct lmdb_batch *batch, enum lmdb_table table, MDB_val *name,
		 MDB_val *content, MDB_cursor_op how)
{
	if (batch->error == 0 && batch->cursors[table] == NULL)
		has_failed(batch, mdb_cursor_open(batch->txn,
						  batch->lmdb->tables[table],
						  &batch->cursors[table]));
	return batch->error == 0 &&
	       !has_failed(batch, mdb_cursor_get(batch->cursors[table], name,
						 content, how));
}

bool lmdb_seek(struct lmdb_batch *batch, enum lmdb_table table,
	       struct store_bytes from, struct store_bytes *key,
	       struct store_bytes *value)
{
	MDB_val name = to_value(from);
	MDB_val content;

	if (!move(batch, table, &name, &content,
		  from.length == 0 ? MDB_FIRST : MDB_SET_RANGE))
		return false;
	*key = from_value(name);
	*value = from_value(content);
	return true;
}

bool lmdb_next(struct lmdb_batch *batch, enum lmdb_table table,
	       struct store_bytes *key, struct store_bytes *value)
{
	MDB_val name;
	MDB_val content;

	if (!move(batch, table, &name, &content, MDB_NEXT))
		return false;
	*key = from_value(name);
	*value = from_value(content);
	return true;
}

void lmdb_delete_here(struct lmdb_batch *batch, enum lmdb_table table)
{
	MUST(batch->is_writing && batch->cursors[table] != NULL);
	if (batch->error == 0)
		has_failed(batch, mdb_cursor_del(batch->cursors[table], 0));
}

uint64_t lmdb_count(struct lmdb_batch *batch, enum lmdb_table table)
{
	MDB_stat stat;

	if (batch->error != 0 ||
	    has_failed(batch,
		       mdb_stat(batch->txn, batch->lmdb->tables[table], &stat)))
		return 0;
	return stat.ms_entries;
}

/* ---- transactions ---- */

uint64_t lmdb_boot_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_BOOTTIME, &now);
	return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

uint64_t lmdb_real_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_REALTIME, &now);
	return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

static void read_clocks(struct lmdb_batch *batch)
{
	struct timespec now;

	clock_gettime(CLOCK_REALTIME, &now);
	batch->real_us =
		(uint64_t)now.tv_sec * 1000000 + (uint64_t)now.tv_nsec / 1000;
	batch->real_ms = batch->real_us / 1000;
	batch->boot_ms = lmdb_boot_ms();
}

/* As of the last commit: a transaction that writes may not look. */
static uint64_t free_pages(struct lmdb_batch *batch)
{
	MDB_txn *txn;
	MDB_cursor *cursor;
	MDB_val key;
	MDB_val value;
	uint64_t pages = 0;

	if (mdb_txn_begin(batch->lane->env, NULL, MDB_RDONLY, &txn) != 0)
		return 0;
	/* Table 0 is LMDB's list of free pages: a count, then their numbers. */
	if (mdb_cursor_open(txn, 0, &cursor) == 0) {
		while (mdb_cursor_get(cursor, &key, &value, MDB_NEXT) == 0) {
			size_t count = 0;

			if (value.mv_size >= sizeof(count))
				memcpy(&count, value.mv_data, sizeof(count));
			pages += count;
		}
		mdb_cursor_close(cursor);
	}
	mdb_txn_abort(txn);
	return pages;
}

static bool is_nearly_full(struct lmdb_batch *batch)
{
	struct lmdb_lane *lane = batch->lane;
	MDB_envinfo info;
	MDB_stat stat;

	if (mdb_env_info(lane->env, &info) != 0 ||
	    mdb_env_stat(lane->env, &stat) != 0)
		return false;
	uint64_t pages = info.me_mapsize / stat.ms_psize;
	uint64_t most = pages - pages * RESERVE_PERCENT / 100;

	/* The file never shrinks: what is free in it has to be counted. */
	return info.me_last_pgno >= most &&
	       info.me_last_pgno - free_pages(batch) >= most;
}

static void read_counters(struct lmdb_batch *batch)
{
	bool is_tasks = batch->lane->number == LANE_TASKS;
	struct store_bytes value;

	batch->tasks = (struct lmdb_task_counters){ 0 };
	if (is_tasks)
		batch->tasks.front = batch->tasks.back = UINT64_C(1) << 62;
	if (!lmdb_get(batch, is_tasks ? TABLE_CONTROL : TABLE_SHARED,
		      store_text("counters"), &value))
		return;
	if (is_tasks && value.length == sizeof(batch->tasks))
		memcpy(&batch->tasks, value.data, sizeof(batch->tasks));
	else if (!is_tasks && value.length == sizeof(batch->shared))
		memcpy(&batch->shared, value.data, sizeof(batch->shared));
	else
		batch->error = MDB_VERSION_MISMATCH;
}

static void write_counters(struct lmdb_batch *batch)
{
	if (batch->lane->number == LANE_TASKS)
		lmdb_put(batch, TABLE_CONTROL, store_text("counters"),
			 store_bytes(&batch->tasks, sizeof(batch->tasks)));
	else
		lmdb_put(batch, TABLE_SHARED, store_text("counters"),
			 store_bytes(&batch->shared, sizeof(batch->shared)));
}

void lmdb_batch_begin(struct lmdb_batch *batch, struct lmdb_lane *lane,
		      bool is_writing)
{
	*batch = (struct lmdb_batch){ .lmdb = lane->lmdb,
				      .lane = lane,
				      .is_writing = is_writing };
	if (is_writing)
		lane->locking_since_ms = lmdb_boot_ms();
	batch->error = mdb_txn_begin(lane->env, NULL,
				     is_writing ? 0 : MDB_RDONLY, &batch->txn);
	if (batch->error == MDB_READERS_FULL) {
		mdb_reader_check(lane->env, NULL);
		batch->error =
			mdb_txn_begin(lane->env, NULL, MDB_RDONLY, &batch->txn);
	}
	/* Looks are made by the loop, too, while the thread waits. */
	if (is_writing)
		lane->locking_since_ms = 0;
	if (batch->error != 0)
		return;
	if (is_writing && lane->lmdb->board != NULL)
		lmdb_board_writing(lane->lmdb->board, lane->number,
				   lmdb_boot_ms());
	/* Waiting for the lock may have taken long. */
	read_clocks(batch);
	read_counters(batch);
	batch->is_full = is_writing && is_nearly_full(batch);
}

int lmdb_batch_end(struct lmdb_batch *batch)
{
	if (batch->is_writing && batch->error == 0) {
		lmdb_queues_write(batch);
		write_counters(batch);
	}
	for (size_t i = 0; i < TABLES; i++)
		if (batch->cursors[i] != NULL)
			mdb_cursor_close(batch->cursors[i]);
	if (batch->txn == NULL)
		; /* it never began */
	else if (batch->is_writing && batch->error == 0)
		batch->error = mdb_txn_commit(batch->txn);
	else
		mdb_txn_abort(batch->txn);
	if (batch->is_writing && batch->lmdb->board != NULL)
		lmdb_board_writing(batch->lmdb->board, batch->lane->number, 0);
	arena_fini(&batch->arena);
	buffer_fini(&batch->scratch);
	return batch->error;
}
