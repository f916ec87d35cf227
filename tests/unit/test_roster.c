/* Who is handed the next connection; the rules by hand, and every small case
 * against a model that is too simple to be wrong. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <string.h>

#include "cluster/roster.h"

static struct roster *roster;

static void begin(enum muster_schedule schedule, uint32_t count)
{
	roster = roster_new(schedule);
	for (uint32_t berth = 0; berth < count; berth++) {
		assert_int_equal(roster_add(roster, berth, 0), 0);
		roster_set_load(roster, berth,
				&(struct roster_load){ .seats = 100 });
	}
}

static int tear_down(void **state)
{
	(void)state;
	roster_free(roster);
	roster = NULL;
	return 0;
}

static void set_open(uint32_t berth, uint32_t open)
{
	roster_set_load(roster, berth,
			&(struct roster_load){ .open = open,
					       .open_here = open,
					       .seats = 100 });
}

/* -1: all busy. */
static int pick(void)
{
	uint32_t berth;

	return roster_pick(roster, NULL, 0, &berth) == ROSTER_OK ? (int)berth
								 : -1;
}

static int pick_without(const uint32_t *refusers, size_t count)
{
	uint32_t berth;

	return roster_pick(roster, refusers, count, &berth) == ROSTER_OK
		       ? (int)berth
		       : -1;
}

static void an_empty_roster_has_no_room(void **state)
{
	(void)state;
	begin(MUSTER_LEAST, 0);
	assert_false(roster_has_room(roster));
	assert_int_equal(pick(), -1);
	roster_remove(roster, 3);
	assert_int_equal(roster_count(roster), 0);
}

static void a_berth_is_listed_once(void **state)
{
	(void)state;
	begin(MUSTER_LEAST, 2);
	assert_int_equal(roster_add(roster, 1, 5), -EEXIST);
	assert_int_equal(roster_count(roster), 2);
	assert_int_equal(roster_berth(roster, 0), 0);
	assert_int_equal(roster_berth(roster, 1), 1);
}

static void a_worker_has_no_room_before_its_load_is_known(void **state)
{
	(void)state;
	begin(MUSTER_LEAST, 0);
	assert_int_equal(roster_add(roster, 4, 0), 0);
	assert_false(roster_has_room(roster));
	assert_int_equal(pick(), -1);
}

static void workers_take_turns(void **state)
{
	(void)state;
	begin(MUSTER_ROUND_ROBIN, 3);
	for (int i = 0; i < 9; i++)
		assert_int_equal(pick(), i % 3);
}

static void turns_do_not_care_who_has_less(void **state)
{
	(void)state;
	begin(MUSTER_ROUND_ROBIN, 3);
	set_open(0, 50);
	assert_int_equal(pick(), 0);
	assert_int_equal(pick(), 1);
	set_open(2, 99);
	assert_int_equal(pick(), 2);
}

static void who_has_the_fewest_is_next(void **state)
{
	(void)state;
	begin(MUSTER_LEAST, 3);
	set_open(0, 3);
	set_open(1, 1);
	set_open(2, 2);
	assert_int_equal(pick(), 1);
	assert_int_equal(pick(), 2); /* both have 2, and it is its turn */
	assert_int_equal(pick(), 1);
	for (int i = 0; i < 30; i++)
		assert_true(pick() >= 0);
	/* 6 + 33 connections: 13 each. */
	assert_int_equal(pick() + pick() + pick(), 3);
}

static void equals_take_turns(void **state)
{
	(void)state;
	begin(MUSTER_LEAST, 4);
	for (int i = 0; i < 12; i++)
		assert_int_equal(pick(), i % 4);
}

static void a_worker_at_its_limit_is_passed_over(void **state)
{
	(void)state;
	begin(MUSTER_ROUND_ROBIN, 1);
	assert_int_equal(roster_add(roster, 7, 2), 0);
	roster_set_load(roster, 7, &(struct roster_load){ .seats = 100 });
	assert_int_equal(pick(), 0);
	assert_int_equal(pick(), 7);
	assert_int_equal(pick(), 0);
	assert_int_equal(pick(), 7);
	assert_int_equal(pick(), 0);
	assert_int_equal(pick(), 0);
}

static void the_limit_is_of_this_listener_alone(void **state)
{
	(void)state;
	begin(MUSTER_LEAST, 0);
	assert_int_equal(roster_add(roster, 1, 2), 0);
	roster_set_load(roster, 1,
			&(struct roster_load){
				.open = 50, .open_here = 1, .seats = 9 });
	assert_int_equal(pick(), 1);
	assert_int_equal(pick(), -1);
}

static void a_worker_without_seats_is_passed_over(void **state)
{
	(void)state;
	begin(MUSTER_LEAST, 2);
	roster_set_load(roster, 0, &(struct roster_load){ .seats = 1 });
	set_open(1, 5);
	assert_int_equal(pick(), 0);
	assert_int_equal(pick(), 1);
}

static void a_stuck_worker_is_passed_over_and_keeps_its_turn(void **state)
{
	(void)state;
	begin(MUSTER_ROUND_ROBIN, 3);
	assert_int_equal(pick(), 0);
	roster_set_load(roster, 1,
			&(struct roster_load){ .seats = 9, .is_stuck = true });
	assert_int_equal(pick(), 2);
	assert_int_equal(pick(), 0);
	set_open(1, 0);
	assert_int_equal(pick(), 1);
}

static void who_refused_a_connection_is_not_given_it_again(void **state)
{
	(void)state;
	begin(MUSTER_LEAST, 3);
	assert_int_equal(pick_without((uint32_t[]){ 0, 2 }, 2), 1);
	assert_int_equal(pick_without((uint32_t[]){ 0, 1, 2 }, 3), -1);
	assert_true(roster_has_room(roster)); /* for another one */
}

static void all_have_refused_only_if_everybody_there_has(void **state)
{
	(void)state;
	uint32_t berth;

	begin(MUSTER_LEAST, 2);
	assert_int_equal(roster_pick(roster, (uint32_t[]){ 0, 1 }, 2, &berth),
			 ROSTER_ALL_REFUSED);
	/* One of those who refused has gone, one who did not is busy. */
	roster_set_load(roster, 1, &(struct roster_load){ .seats = 0 });
	assert_int_equal(roster_pick(roster, (uint32_t[]){ 0, 9 }, 2, &berth),
			 ROSTER_ALL_BUSY);
	roster_remove(roster, 1);
	assert_int_equal(roster_pick(roster, (uint32_t[]){ 0, 9 }, 2, &berth),
			 ROSTER_ALL_REFUSED);
	roster_remove(roster, 0);
	assert_int_equal(roster_pick(roster, (uint32_t[]){ 0, 9 }, 2, &berth),
			 ROSTER_ALL_BUSY); /* somebody may come */
}

static void removing_a_worker_keeps_the_turn(void **state)
{
	(void)state;
	begin(MUSTER_ROUND_ROBIN, 4);
	assert_int_equal(pick(), 0);
	assert_int_equal(pick(), 1);
	roster_remove(roster, 0); /* one before the turn */
	assert_int_equal(pick(), 2);
	roster_remove(roster, 3); /* whose turn it is, and the last */
	assert_int_equal(pick(), 1);
	assert_int_equal(pick(), 2);
	assert_int_equal(roster_add(roster, 9, 0), 0);
	set_open(9, 0);
	assert_int_equal(pick(), 1);
	assert_int_equal(pick(), 2);
	assert_int_equal(pick(), 9);
}

/* ---- Every small case against a model ----
 *
 * The model keeps the workers in the order in which they are next: who was
 * picked, and all that stood before it, go to the end of the line. */

#define WORKERS 3

struct model {
	uint32_t line[WORKERS]; /* berths, the next one first */
	size_t count;
	struct roster_load loads[WORKERS];
	uint32_t limits[WORKERS];
};

static bool model_can(const struct model *model, uint32_t berth,
		      uint32_t refused)
{
	const struct roster_load *load = &model->loads[berth];

	return !load->is_stuck && load->seats > 0 &&
	       (model->limits[berth] == 0 ||
		load->open_here < model->limits[berth]) &&
	       (refused & 1u << berth) == 0;
}

static int model_pick(struct model *model, enum muster_schedule schedule,
		      uint32_t refused)
{
	size_t best = model->count;

	for (size_t i = 0; i < model->count; i++) {
		if (!model_can(model, model->line[i], refused))
			continue;
		if (best == model->count)
			best = i;
		else if (schedule == MUSTER_LEAST &&
			 model->loads[model->line[i]].open <
				 model->loads[model->line[best]].open)
			best = i;
	}
	if (best == model->count)
		return -1;
	uint32_t berth = model->line[best];
	uint32_t rotated[WORKERS];

	for (size_t i = 0; i < model->count; i++)
		rotated[i] = model->line[(best + 1 + i) % model->count];
	memcpy(model->line, rotated, sizeof(rotated));
	model->loads[berth].open++;
	model->loads[berth].open_here++;
	model->loads[berth].seats--;
	return (int)berth;
}

static void model_remove(struct model *model, uint32_t berth)
{
	size_t kept = 0;

	for (size_t i = 0; i < model->count; i++)
		if (model->line[i] != berth)
			model->line[kept++] = model->line[i];
	model->count = kept;
}

/* Six of these in every order are done: 11^6 short lives for each schedule. */
enum deed {
	PICK,
	PICK_0_REFUSED,
	PICK_12_REFUSED,
	ADD,
	REMOVE = ADD + 3,
	STICK = REMOVE + 3,
	UNSTICK,
	DEEDS
};

#define DEEDS_IN_A_LIFE 6

static void do_pick(struct model *model, enum muster_schedule schedule,
		    uint32_t refused)
{
	uint32_t refusers[WORKERS];
	size_t count = 0;

	for (uint32_t i = 0; i < WORKERS; i++)
		if ((refused & 1u << i) != 0)
			refusers[count++] = i;
	int expected = model_pick(model, schedule, refused);
	int picked = pick_without(refusers, count);

	if (picked != expected)
		fail_msg("picked %d instead of %d", picked, expected);
}

/* A new one joins at the end of the round, which need not be the end of the
 * line: the roster is asked for the order after its turn. */
static bool is_listed(const struct model *model, uint32_t berth)
{
	for (size_t i = 0; i < model->count; i++)
		if (model->line[i] == berth)
			return true;
	return false;
}

static void model_add(struct model *model, uint32_t berth)
{
	size_t place = model->count;

	/* Before the first of the round, who is listed first. */
	for (size_t i = 0; i < model->count; i++)
		if (model->line[i] == roster_berth(roster, 0))
			place = i;
	if (place == 0)
		place = model->count;
	memmove(&model->line[place + 1], &model->line[place],
		(model->count - place) * sizeof(model->line[0]));
	model->line[place] = berth;
	model->count++;
}

static void do_deed(struct model *model, enum muster_schedule schedule,
		    unsigned deed)
{
	uint32_t berth;

	if (deed == PICK) {
		do_pick(model, schedule, 0);
	} else if (deed == PICK_0_REFUSED) {
		do_pick(model, schedule, 1);
	} else if (deed == PICK_12_REFUSED) {
		do_pick(model, schedule, 6);
	} else if (deed < REMOVE) {
		berth = deed - ADD;
		if (is_listed(model, berth)) {
			assert_int_equal(roster_add(roster, berth, 0), -EEXIST);
			return;
		}
		model_add(model, berth);
		model->loads[berth] = (struct roster_load){ .seats = 2 };
		model->limits[berth] = berth == 2 ? 1 : 0;
		assert_int_equal(
			roster_add(roster, berth, model->limits[berth]), 0);
		roster_set_load(roster, berth, &model->loads[berth]);
	} else if (deed < STICK) {
		model_remove(model, deed - REMOVE);
		roster_remove(roster, deed - REMOVE);
	} else if (is_listed(model, 1)) {
		model->loads[1].is_stuck = deed == STICK;
		roster_set_load(roster, 1, &model->loads[1]);
	}
	assert_int_equal(roster_count(roster), model->count);
	bool has_room = false;

	for (size_t i = 0; i < model->count; i++)
		has_room |= model_can(model, model->line[i], 0);
	assert_int_equal(roster_has_room(roster), has_room);
}

static void live_every_short_life(enum muster_schedule schedule)
{
	unsigned lives = 1;

	for (int i = 0; i < DEEDS_IN_A_LIFE; i++)
		lives *= DEEDS;
	for (unsigned life = 0; life < lives; life++) {
		struct model model = { .count = 0 };
		unsigned deeds = life;

		roster = roster_new(schedule);
		do_deed(&model, schedule, ADD);
		do_deed(&model, schedule, ADD + 1);
		for (int i = 0; i < DEEDS_IN_A_LIFE; i++) {
			do_deed(&model, schedule, deeds % DEEDS);
			deeds /= DEEDS;
		}
		for (int i = 0; i < 3; i++)
			do_deed(&model, schedule, PICK);
		roster_free(roster);
		roster = NULL;
	}
}

static void every_short_life_of_turns_is_that_of_the_model(void **state)
{
	(void)state;
	live_every_short_life(MUSTER_ROUND_ROBIN);
}

static void every_short_life_of_least_is_that_of_the_model(void **state)
{
	(void)state;
	live_every_short_life(MUSTER_LEAST);
}

#define TEST(name) cmocka_unit_test_teardown(name, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(an_empty_roster_has_no_room),
		TEST(a_berth_is_listed_once),
		TEST(a_worker_has_no_room_before_its_load_is_known),
		TEST(workers_take_turns),
		TEST(turns_do_not_care_who_has_less),
		TEST(who_has_the_fewest_is_next),
		TEST(equals_take_turns),
		TEST(a_worker_at_its_limit_is_passed_over),
		TEST(the_limit_is_of_this_listener_alone),
		TEST(a_worker_without_seats_is_passed_over),
		TEST(a_stuck_worker_is_passed_over_and_keeps_its_turn),
		TEST(who_refused_a_connection_is_not_given_it_again),
		TEST(all_have_refused_only_if_everybody_there_has),
		TEST(removing_a_worker_keeps_the_turn),
		TEST(every_short_life_of_turns_is_that_of_the_model),
		TEST(every_short_life_of_least_is_that_of_the_model),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
