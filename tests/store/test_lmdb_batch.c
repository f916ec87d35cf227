/* What a transaction finds and leaves, held against an array: keys that are
 * put, changed, looked for, walked over and deleted in any order. */
#include "fixture.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "store/lmdb_internal.h"

#define KEYS    3000
#define STEPS   4000
#define BATCHES 60

struct model {
	size_t lengths[KEYS]; /* 0: not there; else of the value */
	uint8_t marks[KEYS];  /* that it consists of */
};

static uint64_t seed = 88172645463325252;

static unsigned any(unsigned below)
{
	seed ^= seed << 13;
	seed ^= seed >> 7;
	seed ^= seed << 17;
	return (unsigned)(seed >> 16) % below;
}

static struct store_bytes key_of(unsigned number, char text[8])
{
	return store_bytes(text, (size_t)snprintf(text, 8, "k%05u", number));
}

static void assert_value(struct store_bytes value, const struct model *model,
			 unsigned number)
{
	assert_int_equal(value.length, model->lengths[number]);
	for (size_t i = 0; i < value.length; i++)
		assert_int_equal((uint8_t)value.data[i], model->marks[number]);
}

static void put_one(struct lmdb_batch *batch, struct model *model,
		    unsigned number)
{
	static char value[3000];
	char text[8];
	/* Now and then one that has pages of its own. */
	size_t length = 1 + any(any(40) == 0 ? sizeof(value) - 1 : 900);

	model->lengths[number] = length;
	model->marks[number] = (uint8_t)any(256);
	if (any(2) == 0) {
		memset(value, model->marks[number], length);
		lmdb_put(batch, TABLE_DONE, key_of(number, text),
			 store_bytes(value, length));
		return;
	}
	memset(lmdb_reserve(batch, TABLE_DONE, key_of(number, text), length),
	       model->marks[number], length);
}

static void look_for_one(struct lmdb_batch *batch, const struct model *model,
			 unsigned number)
{
	struct store_bytes value;
	char text[8];

	assert_int_equal(
		lmdb_get(batch, TABLE_DONE, key_of(number, text), &value),
		model->lengths[number] > 0);
	if (model->lengths[number] > 0)
		assert_value(value, model, number);
}

static void delete_one(struct lmdb_batch *batch, struct model *model,
		       unsigned number)
{
	char text[8];

	assert_int_equal(lmdb_delete(batch, TABLE_DONE, key_of(number, text)),
			 model->lengths[number] > 0);
	model->lengths[number] = 0;
}

/* Over some, from one on, deleting a few where the walk stands. */
static void walk(struct lmdb_batch *batch, struct model *model, unsigned number,
		 unsigned steps)
{
	struct store_bytes key;
	struct store_bytes value;
	char text[8];
	bool is_there = lmdb_seek(batch, TABLE_DONE, key_of(number, text), &key,
				  &value);

	for (; steps > 0; steps--) {
		while (number < KEYS && model->lengths[number] == 0)
			number++;
		assert_int_equal(is_there, number < KEYS);
		if (!is_there)
			return;
		assert_true(store_bytes_equal(key, key_of(number, text)));
		assert_value(value, model, number);
		/* Its own looks do not move it. */
		look_for_one(batch, model, any(KEYS));
		is_there = lmdb_next(batch, TABLE_DONE, &key, &value);
		number++;
	}
	if (is_there && any(2) == 0) {
		while (number < KEYS && model->lengths[number] == 0)
			number++;
		lmdb_delete_here(batch, TABLE_DONE);
		model->lengths[number] = 0;
	}
}

static void step(struct lmdb_batch *batch, struct model *model)
{
	/* Mostly side by side, as what a batch is about lies. */
	static unsigned place;
	unsigned what = any(100);

	place = any(8) == 0 ? any(KEYS) : (place + 1) % KEYS;
	if (what < 40)
		put_one(batch, model, place);
	else if (what < 60)
		look_for_one(batch, model, place);
	else if (what < 95)
		delete_one(batch, model, place);
	else
		walk(batch, model, place, any(30));
	assert_int_equal(batch->error, 0);
}

static void assert_all(struct lmdb_lane *lane, const struct model *model)
{
	struct lmdb_batch batch;
	uint64_t count = 0;

	lmdb_batch_begin(&batch, lane, false);
	for (unsigned i = 0; i < KEYS; i++) {
		look_for_one(&batch, model, i);
		count += model->lengths[i] > 0;
	}
	assert_int_equal(lmdb_count(&batch, TABLE_DONE), count);
	assert_int_equal(lmdb_batch_end(&batch), 0);
}

static void a_batch_does_what_it_is_told(void **state)
{
	struct fixture *f = *state;
	struct lmdb *lmdb = lmdb_of(f->store);
	struct lmdb_lane *lane = &lmdb->lanes[LANE_TASKS];
	struct model model = { 0 };

	for (unsigned i = 0; i < BATCHES; i++) {
		struct lmdb_batch batch;
		struct model before = model;
		bool is_undone = any(6) == 0;

		lmdb_batch_begin(&batch, lane, true);
		for (unsigned j = 0; j < STEPS; j++)
			step(&batch, &model);
		/* Down to nothing, and on from there. */
		for (unsigned j = 0; i % 10 == 9 && j < KEYS; j++)
			delete_one(&batch, &model, j);
		if (i % 10 == 9)
			put_one(&batch, &model, any(KEYS));
		if (is_undone) {
			batch.error = MDB_MAP_FULL;
			model = before;
		}
		assert_int_equal(lmdb_batch_end(&batch),
				 is_undone ? MDB_MAP_FULL : 0);
		assert_all(lane, &model);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(a_batch_does_what_it_is_told,
						fixture_set_up,
						fixture_tear_down),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
