/* Locks that servers share, on each back end. */
#include <errno.h>
#include <signal.h>
#include <stdlib.h>

#include <muster/cache.h>

#include "base/mem.h"
#include "base/must.h"
#include "nodes.h"

/* ---- locks ---- */

static int lock(struct muster *muster, void *arg)
{
	static const struct muster_lock_options named = { .owner = "me" };
	struct muster_lock mine;
	struct muster_lock other;
	struct muster_cache_options with = { .lock = &mine };
	uint64_t token;

	(void)arg;
	assert_int_equal(muster_cache_lock(muster, "k", NULL, &mine), 0);
	token = mine.token;
	assert_true(token > 0);
	assert_int_equal(muster_cache_lock(muster, "k", NULL, &other),
			 MUSTER_LOCKED);
	assert_in_range(other.left_ms, 1, 10000);
	assert_int_equal(muster_cache_save_text(muster, "k", "x", NULL),
			 MUSTER_LOCKED);
	assert_int_equal(muster_cache_destroy(muster, "k", NULL),
			 MUSTER_LOCKED);
	assert_int_equal(muster_cache_save_text(muster, "k", "x", &with), 0);
	assert_int_equal(muster_cache_destroy(muster, "k", &mine), 0);
	assert_int_equal(muster_cache_unlock(muster, "k", &other), MUSTER_LOST);
	assert_int_equal(muster_cache_prolong(muster, "k", LONG_MS, &mine), 0);
	assert_int_equal(muster_cache_lock(muster, "k", NULL, &other),
			 MUSTER_LOCKED);
	assert_true(other.left_ms > 10000);
	assert_int_equal(muster_cache_unlock(muster, "k", &mine), 0);
	assert_int_equal(muster_cache_unlock(muster, "k", &mine), MUSTER_LOST);
	assert_int_equal(muster_cache_prolong(muster, "k", LONG_MS, &mine),
			 MUSTER_LOST);
	/* And that has left nothing behind. */
	assert_int_equal(muster_cache_lock(muster, "k", &named, &other), 0);
	assert_true(other.token > token);
	assert_string_equal(other.owner, "me");
	assert_int_equal(muster_cache_lock(muster, "k", &named, &mine), 0);
	assert_int_equal(muster_cache_unlock(muster, "k", &mine), 0);
	assert_int_equal(
		muster_cache_lock(
			muster, "k",
			&(struct muster_lock_options){ .owner = "a|b" }, &mine),
		-EINVAL);
	return 0;
}

static void a_lock_keeps_others_out(void **state)
{
	on_node(state, lock);
}

static int outlive(struct muster *muster, void *arg)
{
	static const struct muster_lock_options briefly = { .ttl_ms = 20 };
	struct muster_lock mine;
	struct muster_lock other;

	(void)arg;
	assert_int_equal(muster_cache_lock(muster, "k", &briefly, &mine), 0);
	assert_int_equal(muster_sleep(muster, 40), 0);
	assert_int_equal(muster_cache_prolong(muster, "k", LONG_MS, &mine),
			 MUSTER_LOST);
	assert_int_equal(muster_cache_lock(muster, "k", &briefly, &mine), 0);
	assert_int_equal(muster_sleep(muster, 40), 0);
	assert_int_equal(muster_cache_lock(muster, "k", NULL, &other), 0);
	assert_true(other.token > mine.token);
	assert_int_equal(muster_cache_unlock(muster, "k", &mine), MUSTER_LOST);
	assert_int_equal(muster_cache_unlock(muster, "k", &other), 0);
	return 0;
}

static void a_lock_ends_with_its_time(void **state)
{
	on_node(state, outlive);
}

static void wait_for_lock(struct muster *muster, void *arg)
{
	int *order = arg;
	struct muster_lock mine;

	assert_int_equal(muster_cache_lock(muster, "k",
					   &(struct muster_lock_options){
						   .wait_ms = LONG_MS },
					   &mine),
			 0);
	*order += 1;
	assert_int_equal(muster_sleep(muster, 1), 0);
	assert_int_equal(muster_cache_unlock(muster, "k", &mine), 0);
}

static int hand_over(struct muster *muster, void *arg)
{
	struct muster_lock mine;
	int done = 0;

	(void)arg;
	assert_int_equal(muster_cache_lock(muster, "k", NULL, &mine), 0);
	for (int i = 0; i < 5; i++)
		assert_int_equal(
			muster_spawn(muster, "waits", wait_for_lock, &done), 0);
	assert_int_equal(muster_sleep(muster, 20), 0);
	assert_int_equal(done, 0);
	assert_int_equal(muster_cache_unlock(muster, "k", &mine), 0);
	for (int i = 0; i < 2000 && done < 5; i++)
		assert_int_equal(muster_sleep(muster, 10), 0);
	assert_int_equal(done, 5);
	return 0;
}

static void a_lock_can_be_waited_for(void **state)
{
	on_node(state, hand_over);
}

static int hold_for_ever(struct muster *muster, void *arg)
{
	struct muster_lock mine;

	(void)arg;
	MUST(muster_cache_lock(muster, "k",
			       &(struct muster_lock_options){ .ttl_ms = 3000 },
			       &mine) == 0);
	printf("%llu\n", (unsigned long long)mine.token);
	fflush(stdout);
	return muster_sleep(muster, LONG_MS);
}

static int take_from_the_dead(struct muster *muster, void *arg)
{
	struct child child = child_start(arg, "hold");
	struct muster_lock mine;
	char line[64];

	child_says(&child, line);
	assert_int_equal(muster_cache_lock(muster, "k", NULL, &mine),
			 MUSTER_LOCKED);
	child_end(&child, SIGKILL);
	assert_int_equal(muster_cache_lock(muster, "k",
					   &(struct muster_lock_options){
						   .wait_ms = LONG_MS },
					   &mine),
			 0);
	assert_true(mine.token > strtoull(line, NULL, 10));
	return 0;
}

static void a_killed_holder_keeps_it_for_its_time_alone(void **state)
{
	on_node(state, take_from_the_dead);
}

/* ---- main ---- */

int main(int count, char **arguments)
{
	static const struct role roles[] = {
		{ "hold", hold_for_ever },
		{ 0 },
	};
	const struct CMUnitTest tests[] = {
		NODE_TEST(a_lock_keeps_others_out),
		NODE_TEST(a_lock_ends_with_its_time),
		NODE_TEST(a_lock_can_be_waited_for),
		NODE_TEST(a_killed_holder_keeps_it_for_its_time_alone),
	};

	return nodes_test(count, arguments, tests, roles);
}
