#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <sys/statfs.h>
#include <time.h>

#include "base/must.h"
#include "store/lmdb_internal.h"

/* Room that only completing and removing may use: deleting needs pages too. */
#define RESERVE_PERCENT 10
/* The same on the disk, which others fill as well. */
#define RESERVE_BYTES ((uint64_t)4 << 20)
#define RESERVE_SHARE 32 /* of a small file system */

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

/* What a batch touches one after the other lies side by side, mostly: a cursor
 * that is on the right page already need not come down from the root. Walks
 * have others, which these do not move. */
static MDB_cursor *point(struct lmdb_batch *batch, enum lmdb_table table)
{
	if (batch->error == 0 && batch->points[table] == NULL)
		has_failed(batch, mdb_cursor_open(batch->txn,
						  batch->lmdb->tables[table],
						  &batch->points[table]));
	return batch->error == 0 ? batch->points[table] : NULL;
}

bool lmdb_get(struct lmdb_batch *batch, enum lmdb_table table,
	      struct store_bytes key, struct store_bytes *value)
{
	MDB_val name = to_value(key);
	MDB_val found;

	*value = (struct store_bytes){ 0 };
	if (key.length == 0)
		return false;
	MDB_cursor *cursor = point(batch, table);

	if (cursor == NULL ||
	    has_failed(batch, mdb_cursor_get(cursor, &name, &found, MDB_SET)))
		return false;
	*value = from_value(found);
	return true;
}

static void *put(struct lmdb_batch *batch, enum lmdb_table table,
		 struct store_bytes key, MDB_val *content, unsigned flags)
{
	MDB_val name = to_value(key);
	MDB_cursor *cursor = point(batch, table);

	MUST(batch->is_writing);
	if (cursor == NULL ||
	    has_failed(batch, mdb_cursor_put(cursor, &name, content, flags)))
		return NULL;
	return content->mv_data;
}

void lmdb_put(struct lmdb_batch *batch, enum lmdb_table table,
	      struct store_bytes key, struct store_bytes value)
{
	MDB_val content = to_value(value);

	DISCARD(put(batch, table, key, &content, 0)); /* batch->error */
}

void *lmdb_reserve(struct lmdb_batch *batch, enum lmdb_table table,
		   struct store_bytes key, size_t length)
{
	MDB_val content = { .mv_size = length };

	return put(batch, table, key, &content, MDB_RESERVE);
}

bool lmdb_delete(struct lmdb_batch *batch, enum lmdb_table table,
		 struct store_bytes key)
{
	struct store_bytes value;

	MUST(batch->is_writing);
	return lmdb_get(batch, table, key, &value) &&
	       !has_failed(batch, mdb_cursor_del(batch->points[table], 0));
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
	if (info.me_last_pgno < most)
		return false;
	/* Slots of readers that died keep pages from being used again. */
	mdb_reader_check(lane->env, NULL);
	return info.me_last_pgno - free_pages(batch) >= most;
}

static uint64_t reserve_of(struct lmdb_lane *lane, int descriptor,
			   uint64_t map_bytes)
{
	struct statfs status;
	uint64_t most = map_bytes;

	if (lane->reserve_bytes != 0)
		return lane->reserve_bytes;
	if (fstatfs(descriptor, &status) == 0 && status.f_blocks > 0 &&
	    (uint64_t)status.f_blocks < map_bytes / (uint64_t)status.f_bsize)
		most = (uint64_t)status.f_blocks * (uint64_t)status.f_bsize;
	lane->reserve_bytes = most / RESERVE_SHARE < RESERVE_BYTES
				      ? most / RESERVE_SHARE
				      : RESERVE_BYTES;
	return lane->reserve_bytes;
}

/* Space after the file's end is taken from the disk before it is needed, so
 * that tasks can be completed when the disk has become full. A file system
 * that cannot do that has none to give. */
static int reserve_disk(struct lmdb_batch *batch)
{
	struct lmdb_lane *lane = batch->lane;
	MDB_envinfo info;
	MDB_stat stat;
	int descriptor;

	if (mdb_env_info(lane->env, &info) != 0 ||
	    mdb_env_stat(lane->env, &stat) != 0 ||
	    mdb_env_get_fd(lane->env, &descriptor) != 0)
		return 0;
	uint64_t end = ((uint64_t)info.me_last_pgno + 1) * stat.ms_psize;
	uint64_t wanted = reserve_of(lane, descriptor, info.me_mapsize);

	if (lane->reserved_bytes >= end + wanted / 2)
		return 0;
	if (fallocate(descriptor, FALLOC_FL_KEEP_SIZE, (off_t)end,
		      (off_t)wanted) == 0)
		lane->reserved_bytes = end + wanted;
	else if (errno != ENOSPC && errno != EDQUOT)
		lane->reserved_bytes = UINT64_MAX;
	else if (free_pages(batch) * stat.ms_psize < wanted)
		return ENOSPC; /* nor is there room within the file */
	return 0;
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
	/* Members are added at the end: an older one is shorter. */
	if (is_tasks && value.length <= sizeof(batch->tasks))
		memcpy(&batch->tasks, value.data, value.length);
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

void lmdb_batch_let_go(struct lmdb_batch *batch, enum lmdb_table table)
{
	if (batch->cursors[table] != NULL)
		mdb_cursor_close(batch->cursors[table]);
	if (batch->points[table] != NULL)
		mdb_cursor_close(batch->points[table]);
	batch->cursors[table] = batch->points[table] = NULL;
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
	if (is_writing)
		batch->full = is_nearly_full(batch) ? MDB_MAP_FULL
						    : reserve_disk(batch);
}

int lmdb_batch_end(struct lmdb_batch *batch)
{
	if (batch->is_writing && batch->error == 0) {
		lmdb_queues_write(batch);
		write_counters(batch);
	}
	for (size_t i = 0; i < TABLES; i++)
		lmdb_batch_let_go(batch, (enum lmdb_table)i);
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
