/* Stores that were damaged by hand, and what an audit makes of them. */
#include "fixture.h"

#include <lmdb.h>
#include <stdio.h>
#include <string.h>

#include "base/must.h"

static const struct store_bytes queues[] = { { "", 0 } };

/* One that waits ("a"), two of which one is active ("b"), one dead ("d"). */
static void fill(struct fixture *f)
{
	static const char *const ids[] = { "b", "d", "a", "c" };

	for (size_t i = 0; i < 4; i++) {
		const struct store_task task = { .id = T(ids[i]),
						 .envelope = T("{}"),
						 .unique = T(ids[i]) };

		assert_int_equal(
			ASK(enqueue, .tasks = &task, .count = 1)->results[0],
			STORE_DONE);
	}
	struct reply *claim =
		ASK(claim, .owner = T("w"), .queues = queues, .queue_count = 1,
		    .want = 2, .lease_ms = 60000);
	const struct store_failure item = { .id = T("d"),
					    .token = claim->items[1].token,
					    .error = T("x"),
					    .is_final = true };

	assert_string_equal(claim->items[1].id, "d");
	assert_int_equal(ASK(fail, .items = &item, .count = 1)->results[0],
			 STORE_DEAD);
	assert_int_equal(fixture_audit(f, false).total, 0);
}

/* What is found is repaired, once, and told. */
static void repair(struct fixture *f)
{
	struct fixture_audit found = fixture_audit(f, false);

	assert_int_equal(found.repaired, 0);
	for (size_t i = 0; i < STORE_DIFFERENCE_KINDS; i++)
		assert_true(found.found[i] >= 1);
	assert_true(fixture_audit(f, true).repaired >= found.total);
	assert_int_equal(fixture_audit(f, false).total, 0);
	struct reply *events = ASK(events);

	assert_true(events->count >= 2);
	assert_int_equal(events->items[events->count - 1].value,
			 STORE_EVENT_REPAIRED);
}

/* All that waited, waited nowhere, or had no lease is claimed once. */
static void assert_runs(struct fixture *f)
{
	unsigned times[3] = { 0, 0, 0 };

	for (int i = 0; i < 20; i++) {
		struct reply *claim =
			ASK(claim, .owner = T("w2"), .queues = queues,
			    .queue_count = 1, .want = 10, .lease_ms = 60000);

		for (size_t j = 0; j < claim->count; j++) {
			assert_in_range(claim->items[j].id[0], 'a', 'c');
			times[claim->items[j].id[0] - 'a']++;
		}
	}
	for (size_t i = 0; i < 3; i++)
		assert_int_equal(times[i], 1);
	assert_int_equal(ASK(counts)->dead, 1);
	assert_int_equal(fixture_audit(f, false).total, 0);
}

static void redis_is_repaired(void **state)
{
	struct fixture *f = *state;
	static const char *const commands[] = {
		"lrem muster:tasks:global 0 a",
		"rpush muster:tasks:global ghost",
		"rpush muster:tasks:global c",
		"zadd muster:tasks:delayed 99999999999999 ghost",
		"zrem muster:tasks:processing b",
		"zadd muster:tasks:processing 99999999999999 ghost",
		"zrem muster:tasks:_dead d",
		"hset muster:tasks:_meta bad garbage",
		"hset muster:tasks:_uniq u nobody",
		"hset muster:tasks:data gone x",
		"hset muster:tasks:_errors gone x",
		"hset muster:tasks:_ctl r: 7",
	};
	char line[256];

	fill(f);
	for (size_t i = 0; i < sizeof(commands) / sizeof(commands[0]); i++)
		fixture_redis_cli(f, commands[i], line, sizeof(line));
	repair(f);
	assert_runs(f);
}

/* ---- embedded ---- */

static MDB_dbi table(MDB_txn *txn, const char *name)
{
	MDB_dbi dbi;

	MUST(mdb_dbi_open(txn, name, 0, &dbi) == 0);
	return dbi;
}

static void drop_first(MDB_txn *txn, const char *name)
{
	MDB_cursor *cursor;
	MDB_val key;
	MDB_val value;

	MUST(mdb_cursor_open(txn, table(txn, name), &cursor) == 0);
	MUST(mdb_cursor_get(cursor, &key, &value, MDB_FIRST) == 0);
	MUST(mdb_cursor_del(cursor, 0) == 0);
	mdb_cursor_close(cursor);
}

static void put(MDB_txn *txn, const char *name, const char *key, size_t length,
		const char *value)
{
	char bytes[64];

	memcpy(bytes, key, length);
	MDB_val at = { length, bytes };
	char content[64];

	strcpy(content, value);
	MDB_val is = { strlen(value), content };

	MUST(mdb_put(txn, table(txn, name), &at, &is, 0) == 0);
}

static void damage(const char *path)
{
	MDB_env *env;
	MDB_txn *txn;

	MUST(mdb_env_create(&env) == 0);
	MUST(mdb_env_set_maxdbs(env, 64) == 0);
	MUST(mdb_env_set_mapsize(env, (size_t)1 << 30) == 0);
	MUST(mdb_env_open(env, path, 0, 0600) == 0);
	MUST(mdb_txn_begin(env, NULL, 0, &txn) == 0);
	drop_first(txn, "QUEUED"); /* a */
	drop_first(txn, "LEASED"); /* b */
	drop_first(txn, "DEAD");   /* d */
	put(txn, "QUEUED", "\0\0\0\x7f\0\0\0\0\0\0\0", 11, "ghost");
	put(txn, "DELAYED", "\x7f\0\0\0\0\0\0\0ghost", 13, "");
	put(txn, "TASK", "bad", 3, "garbage");
	put(txn, "UNIQUE", "u", 1, "nobody");
	put(txn, "PAYLOAD", "gone", 4, "x");
	put(txn, "PROGRESS", "gone", 4, "x");
	MUST(mdb_txn_commit(txn) == 0);
	mdb_env_close(env);
}

static void lmdb_is_repaired(void **state)
{
	struct fixture *f = *state;
	char path[120];

	snprintf(path, sizeof(path), "%s/tasks", f->directory);
	fill(f);
	fixture_close(f, f->store);
	damage(path);
	f->store = fixture_open(f, f->url);
	repair(f);
	assert_runs(f);
}

static int set_up_lmdb(void **state)
{
	fixture_back_end = "lmdb";
	return fixture_set_up(state);
}

static int set_up_redis(void **state)
{
	fixture_back_end = "redis";
	return fixture_set_up(state);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(lmdb_is_repaired, set_up_lmdb,
						fixture_tear_down),
		cmocka_unit_test_setup_teardown(redis_is_repaired, set_up_redis,
						fixture_tear_down),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
