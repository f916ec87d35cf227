/* Waiting for a lock of the cache, on either back end. */
#include "fixture.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#define LONG_MS 60000

static uint64_t now_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

static struct reply *take(struct fixture *f, const char *owner)
{
	return ASK(cache_lock, .key = T("k"), .owner = T(owner),
		   .ttl_ms = LONG_MS);
}

static struct reply *await(struct fixture *f, const char *owner,
			   uint32_t wait_ms)
{
	return START(cache_lock, .key = T("k"), .owner = T(owner),
		     .ttl_ms = LONG_MS, .wait_ms = wait_ms);
}

static void let_go(struct fixture *f, const char *owner)
{
	assert_done(ASK(cache_unlock, .key = T("k"), .owner = T(owner)));
}

/* What is asked after it at the same store is done after it. */
static void stand_in_line(struct fixture *f, struct store *store)
{
	assert_int_equal(ASK_AT(store, cache_load, .key = T("k"))->result,
			 STORE_NOT_FOUND);
}

static void what_is_free_needs_no_waiting(void **state)
{
	struct fixture *f = *state;
	struct reply *mine = reply_wait(await(f, "me", LONG_MS));

	assert_done(mine);
	assert_true(mine->is_new);
	struct reply *again = reply_wait(await(f, "me", LONG_MS));

	assert_done(again);
	assert_false(again->is_new);
	assert_int_equal(again->token, mine->token);
}

static void waiting_ends_with_its_time(void **state)
{
	struct fixture *f = *state;

	assert_done(take(f, "me"));
	uint64_t before_ms = now_ms();
	struct reply *yours = reply_wait(await(f, "you", 150));

	assert_int_equal(yours->result, STORE_BUSY);
	assert_true(yours->left_ms > LONG_MS / 2);
	assert_true(now_ms() >= before_ms + 140);
	/* Nobody stands in line any more. */
	let_go(f, "me");
	assert_done(take(f, "someone"));
}

static void who_waits_gets_it_when_it_is_free(void **state)
{
	struct fixture *f = *state;
	struct reply *mine = take(f, "me");
	struct reply *yours = await(f, "you", LONG_MS);

	fixture_run_ms(f, 100);
	assert_int_equal(yours->times, 0);
	uint64_t before_ms = now_ms();

	let_go(f, "me");
	assert_done(reply_wait(yours));
	assert_true(yours->is_new);
	assert_true(yours->token > mine->token);
	/* Not when the lock would have ended. */
	assert_true(now_ms() < before_ms + LONG_MS / 2);
	/* For its own time, not for the moment that it was kept. */
	assert_true(take(f, "me")->left_ms > LONG_MS / 2);
	let_go(f, "you");
}

static void those_who_wait_come_in_turn(void **state)
{
	struct fixture *f = *state;
	struct store *other = fixture_open(f, f->url);
	struct reply *waits[4];
	uint64_t token = take(f, "me")->token;

	for (int i = 0; i < 4; i++) {
		char owner[8];

		snprintf(owner, sizeof(owner), "w%d", i);
		struct store *store = i % 2 == 0 ? f->store : other;

		waits[i] = START_AT(store, cache_lock, .key = T("k"),
				    .owner = T(owner), .ttl_ms = LONG_MS,
				    .wait_ms = LONG_MS);
		stand_in_line(f, store);
	}
	let_go(f, "me");
	for (int i = 0; i < 4; i++) {
		char owner[8];

		assert_done(reply_wait(waits[i]));
		assert_true(waits[i]->token > token);
		token = waits[i]->token;
		for (int j = i + 1; j < 4; j++)
			assert_int_equal(waits[j]->times, 0);
		snprintf(owner, sizeof(owner), "w%d", i);
		let_go(f, owner);
	}
	assert_done(take(f, "me"));
	fixture_close(f, other);
}

/* Whoever takes it again and again must not shut out who waits. */
static void who_comes_back_does_not_pass_who_waits(void **state)
{
	struct fixture *f = *state;

	assert_done(take(f, "me"));
	struct reply *yours = await(f, "you", LONG_MS);

	stand_in_line(f, f->store);
	let_go(f, "me");
	assert_int_equal(take(f, "me")->result, STORE_BUSY);
	assert_done(reply_wait(yours));
}

static void a_dead_holder_is_followed_when_its_time_is_over(void **state)
{
	struct fixture *f = *state;

	assert_done(ASK(cache_lock, .key = T("k"), .owner = T("dead"),
			.ttl_ms = 200));
	struct reply *yours = await(f, "you", LONG_MS);

	fixture_run_ms(f, 20);
	assert_done(reply_wait(yours));
	assert_true(yours->is_new);
}

/* Those who wait look again when a lock goes, or ends sooner, without a word of
 * its holder. */
static void a_lock_that_goes_is_noticed(void **state)
{
	struct fixture *f = *state;

	assert_done(take(f, "me"));
	struct reply *yours = await(f, "you", LONG_MS);

	stand_in_line(f, f->store);
	ASK(cache_clear);
	assert_done(reply_wait(yours));
	struct reply *mine = await(f, "me", LONG_MS);

	stand_in_line(f, f->store);
	assert_done(ASK(cache_lock, .key = T("k"), .owner = T("you"),
			.ttl_ms = 100));
	assert_done(reply_wait(mine));
}

static void who_has_left_holds_nothing(void **state)
{
	struct fixture *f = *state;

	assert_done(take(f, "me"));
	struct reply *yours = await(f, "you", LONG_MS);

	stand_in_line(f, f->store);
	store_forget(f->store, yours);
	let_go(f, "me");
	struct reply *someone = reply_wait(await(f, "someone", LONG_MS));

	assert_done(someone);
	assert_int_equal(yours->times, 0);
	assert_int_equal(take(f, "you")->result, STORE_BUSY);
}

/* The lock is on its way to somebody who goes. */
static void what_comes_too_late_is_given_back(void **state)
{
	struct fixture *f = *state;
	struct reply *mine = START(cache_lock, .key = T("k"), .owner = T("me"),
				   .ttl_ms = LONG_MS, .wait_ms = LONG_MS);

	store_forget(f->store, mine);
	struct reply *yours = reply_wait(await(f, "you", LONG_MS));

	assert_done(yours);
	assert_int_equal(mine->times, 0);
}

/* What an owner had before is not taken from it. */
static void what_was_held_before_is_not_given_back(void **state)
{
	struct fixture *f = *state;

	assert_done(take(f, "me"));
	struct reply *again = await(f, "me", LONG_MS);

	store_forget(f->store, again);
	fixture_run_ms(f, 100);
	assert_int_equal(take(f, "you")->result, STORE_BUSY);
	let_go(f, "me");
}

static void who_is_next_and_dead_is_passed_over(void **state)
{
	struct fixture *f = *state;
	struct store *other = fixture_open(f, f->url);

	assert_done(take(f, "me"));
	struct reply *dead =
		START_AT(other, cache_lock, .key = T("k"), .owner = T("dead"),
			 .ttl_ms = LONG_MS, .wait_ms = LONG_MS);

	stand_in_line(f, other);
	struct reply *yours = await(f, "you", LONG_MS);

	stand_in_line(f, f->store);
	fixture_close(f, other);
	assert_problem(dead, -ECANCELED, "STORE_CLOSED");
	uint64_t before_ms = now_ms();

	let_go(f, "me");
	assert_done(reply_wait(yours));
	assert_true(now_ms() < before_ms + LONG_MS / 2);
}

static void many_take_turns(void **state)
{
	struct fixture *f = *state;
	struct reply *waits[20];
	size_t left = 20;

	for (size_t i = 0; i < 20; i++) {
		char owner[8];

		snprintf(owner, sizeof(owner), "w%zu", i);
		waits[i] = START(cache_lock, .key = T("k"), .owner = T(owner),
				 .ttl_ms = LONG_MS, .wait_ms = LONG_MS);
	}
	while (left > 0) {
		size_t held = 20;

		fixture_run_ms(f, 1);
		for (size_t i = 0; i < 20; i++) {
			if (waits[i] == NULL || waits[i]->times == 0)
				continue;
			assert_int_equal(held, 20); /* one at a time */
			assert_done(waits[i]);
			held = i;
		}
		if (held == 20)
			continue;
		char owner[8];

		snprintf(owner, sizeof(owner), "w%zu", held);
		let_go(f, owner);
		waits[held] = NULL;
		left--;
	}
	assert_done(take(f, "me"));
}

static void closing_ends_waiting(void **state)
{
	struct fixture *f = *state;

	assert_done(take(f, "me"));
	struct reply *yours = await(f, "you", LONG_MS);

	stand_in_line(f, f->store);
	fixture_close(f, f->store);
	f->store = NULL;
	assert_problem(yours, -ECANCELED, "STORE_CLOSED");
}

int main(int count, char **arguments)
{
#define TEST(name)                                                             \
	cmocka_unit_test_setup_teardown(name, fixture_set_up, fixture_tear_down)
	const struct CMUnitTest tests[] = {
		TEST(what_is_free_needs_no_waiting),
		TEST(waiting_ends_with_its_time),
		TEST(who_waits_gets_it_when_it_is_free),
		TEST(those_who_wait_come_in_turn),
		TEST(who_comes_back_does_not_pass_who_waits),
		TEST(a_dead_holder_is_followed_when_its_time_is_over),
		TEST(a_lock_that_goes_is_noticed),
		TEST(who_has_left_holds_nothing),
		TEST(what_comes_too_late_is_given_back),
		TEST(what_was_held_before_is_not_given_back),
		TEST(who_is_next_and_dead_is_passed_over),
		TEST(many_take_turns),
		TEST(closing_ends_waiting),
	};

	if (count > 1)
		fixture_back_end = arguments[1];
	return cmocka_run_group_tests(tests, NULL, NULL);
}
