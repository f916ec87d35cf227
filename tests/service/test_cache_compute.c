/* Load or compute, on each back end: one of a herd does. */
#include <errno.h>
#include <string.h>

#include <muster/cache.h>

#include "base/mem.h"
#include "base/must.h"
#include "nodes.h"

/* ---- load or compute ---- */

static int computed;
static bool is_held; /* until others have looked */

static int compute_slowly(struct muster *muster, const char *key,
			  struct muster_computed *result, void *arg)
{
	(void)arg;
	do
		assert_int_equal(muster_sleep(muster, 30), 0);
	while (is_held);
	computed++;
	result->data = muster_text(muster, "%s=%d", key, computed);
	result->length = strlen(result->data);
	result->type = "text/plain";
	return 0;
}

static int answered;

static void ask(struct muster *muster, void *arg)
{
	struct muster_cached cached;

	assert_int_equal(muster_cache_compute(muster, "k", arg, &cached), 0);
	assert_string_equal(cached.data, "k=1");
	assert_string_equal(cached.type, "text/plain");
	answered++;
}

static int herd(struct muster *muster, void *arg)
{
	static const struct muster_cache_compute_options slowly = {
		.fn = compute_slowly, .ttl_ms = LONG_MS
	};
	struct muster_cached cached;

	(void)arg;
	computed = answered = 0;
	for (int i = 0; i < 50; i++)
		assert_int_equal(muster_spawn(muster, "asks", ask,
					      (void *)(uintptr_t)&slowly),
				 0);
	for (int i = 0; i < 2000 && answered < 50; i++)
		assert_int_equal(muster_sleep(muster, 10), 0);
	assert_int_equal(answered, 50);
	assert_int_equal(computed, 1);
	/* To others it is a value like any. */
	assert_int_equal(muster_cache_load(muster, "k", &cached), 0);
	assert_string_equal(cached.data, "k=1");
	assert_string_equal(cached.type, "text/plain");
	assert_in_range(cached.expires_ms, cached.created_ms + LONG_MS - 1000,
			cached.created_ms + LONG_MS + 1000);
	return 0;
}

static void a_herd_computes_once(void **state)
{
	on_node(state, herd);
}

/* Counts in the cache itself, where all processes see it. */
static int compute_and_count(struct muster *muster, const char *key,
			     struct muster_computed *result, void *arg)
{
	(void)key;
	(void)arg;
	MUST(muster_cache_add(muster, "computes", 1, 0, NULL) == 0);
	MUST(muster_sleep(muster, 200) == 0);
	*result = (struct muster_computed){ .data = "found", .length = 5 };
	return 0;
}

static void ask_in_herd(struct muster *muster, void *arg)
{
	static const struct muster_cache_compute_options with = {
		.fn = compute_and_count, .ttl_ms = LONG_MS
	};
	struct muster_cached cached;

	(void)arg;
	MUST(muster_cache_compute(muster, "herd", &with, &cached) == 0);
	MUST(strcmp(cached.data, "found") == 0);
	answered++;
}

static int graze(struct muster *muster, void *arg)
{
	(void)arg;
	/* All of them at once: the last to arrive lets them go. */
	MUST(muster_cache_add(muster, "arrived", 1, 0, NULL) == 0);
	for (;;) {
		int64_t arrived;

		MUST(muster_cache_add(muster, "arrived", 0, 0, &arrived) == 0);
		if (arrived == 4)
			break;
		MUST(muster_sleep(muster, 1) == 0);
	}
	for (int i = 0; i < 50; i++)
		MUST(muster_spawn(muster, "asks", ask_in_herd, NULL) == 0);
	while (answered < 50)
		MUST(muster_sleep(muster, 5) == 0);
	printf("%d\n", answered);
	return 0;
}

static int see_computes(struct muster *muster, void *arg)
{
	int64_t computes;

	(void)arg;
	assert_int_equal(muster_cache_add(muster, "computes", 0, 0, &computes),
			 0);
	assert_int_equal(computes, 1);
	return 0;
}

static void herds_of_four_processes_compute_once(void **state)
{
	struct child children[4];
	char line[64];

	for (int i = 0; i < 4; i++)
		children[i] = child_start(*state, "graze");
	for (int i = 0; i < 4; i++) {
		child_says(&children[i], line);
		assert_string_equal(line, "50");
		assert_int_equal(child_end(&children[i], 0), 0);
	}
	on_node(state, see_computes);
}

static int find_nothing(struct muster *muster, const char *key,
			struct muster_computed *result, void *arg)
{
	(void)muster;
	(void)key;
	(void)result;
	(void)arg;
	computed++;
	return MUSTER_NOT_FOUND;
}

static int remember_nothing(struct muster *muster, void *arg)
{
	static const struct muster_cache_compute_options brief = {
		.fn = find_nothing, .ttl_ms = LONG_MS, .negative_ms = 30
	};
	static const struct muster_cache_compute_options with = {
		.fn = find_nothing, .ttl_ms = LONG_MS, .negative_ms = LONG_MS
	};
	struct muster_cached cached;

	(void)arg;
	computed = 0;
	for (int i = 0; i < 5; i++)
		assert_int_equal(
			muster_cache_compute(muster, "n", &with, &cached),
			MUSTER_NOT_FOUND);
	assert_int_equal(computed, 1);
	assert_int_equal(muster_cache_load(muster, "n", &cached),
			 MUSTER_NOT_FOUND);
	assert_int_equal(muster_cache_compute(muster, "m", &brief, &cached),
			 MUSTER_NOT_FOUND);
	assert_int_equal(muster_sleep(muster, 50), 0);
	assert_int_equal(muster_cache_compute(muster, "m", &brief, &cached),
			 MUSTER_NOT_FOUND);
	assert_int_equal(computed, 3);
	return 0;
}

static void nothing_is_remembered_for_a_while(void **state)
{
	on_node(state, remember_nothing);
}

static int break_down(struct muster *muster, const char *key,
		      struct muster_computed *result, void *arg)
{
	(void)key;
	(void)result;
	(void)arg;
	assert_int_equal(muster_sleep(muster, 20), 0);
	computed++;
	return -EIO;
}

static void ask_in_vain(struct muster *muster, void *arg)
{
	struct muster_cached cached;

	assert_int_equal(muster_cache_compute(muster, "k", arg, &cached), -EIO);
	answered++;
}

static int fail_all(struct muster *muster, void *arg)
{
	static const struct muster_cache_compute_options with = {
		.fn = break_down, .ttl_ms = LONG_MS
	};
	struct muster_cached cached;

	(void)arg;
	computed = answered = 0;
	for (int i = 0; i < 5; i++)
		assert_int_equal(muster_spawn(muster, "asks", ask_in_vain,
					      (void *)(uintptr_t)&with),
				 0);
	for (int i = 0; i < 2000 && answered < 5; i++)
		assert_int_equal(muster_sleep(muster, 10), 0);
	assert_int_equal(answered, 5);
	assert_int_equal(computed, 1);
	/* It is not remembered. */
	assert_int_equal(muster_cache_compute(muster, "k", &with, &cached),
			 -EIO);
	assert_int_equal(computed, 2);
	return 0;
}

static void a_failure_goes_to_all_and_is_not_kept(void **state)
{
	on_node(state, fail_all);
}

static const struct muster_cache_compute_options stale_slowly = {
	.fn = compute_slowly, .ttl_ms = 20, .stale_ms = LONG_MS
};

static void compute_anew(struct muster *muster, void *arg)
{
	struct muster_cached cached;

	(void)arg;
	assert_int_equal(
		muster_cache_compute(muster, "k", &stale_slowly, &cached), 0);
	assert_string_equal(cached.data, "k=2");
	assert_false(cached.is_stale);
	answered++;
}

static int serve_stale(struct muster *muster, void *arg)
{
	static const struct muster_cache_compute_options broken = {
		.fn = break_down, .ttl_ms = 20, .stale_ms = LONG_MS
	};
	struct muster_cached cached;

	(void)arg;
	computed = answered = 0;
	assert_int_equal(
		muster_cache_compute(muster, "k", &stale_slowly, &cached), 0);
	assert_string_equal(cached.data, "k=1");
	assert_int_equal(muster_sleep(muster, 40), 0);
	assert_int_equal(muster_cache_load(muster, "k", &cached), 0);
	assert_true(cached.is_stale);
	/* One computes; others are not kept waiting. */
	is_held = true;
	assert_int_equal(muster_spawn(muster, "first", compute_anew, NULL), 0);
	assert_int_equal(
		muster_cache_compute(muster, "k", &stale_slowly, &cached), 0);
	assert_string_equal(cached.data, "k=1");
	assert_true(cached.is_stale);
	is_held = false;
	for (int i = 0; i < 2000 && answered < 1; i++)
		assert_int_equal(muster_sleep(muster, 10), 0);
	assert_int_equal(answered, 1);
	assert_int_equal(muster_sleep(muster, 40), 0);
	/* Better old than none. */
	assert_int_equal(muster_cache_compute(muster, "k", &broken, &cached),
			 0);
	assert_string_equal(cached.data, "k=2");
	assert_true(cached.is_stale);
	assert_int_equal(computed, 3);
	return 0;
}

static void the_old_value_is_served_meanwhile(void **state)
{
	on_node(state, serve_stale);
}

static int compute_once_for_ever(struct muster *muster, const char *key,
				 struct muster_computed *result, void *arg)
{
	int error = 0;

	if (computed++ == 0)
		error = muster_sleep(muster, LONG_MS);
	if (error < 0)
		return error;
	return compute_slowly(muster, key, result, arg);
}

static const struct muster_cache_compute_options for_ever = {
	.fn = compute_once_for_ever, .ttl_ms = LONG_MS
};

static void ask_impatiently(struct muster *muster, void *arg)
{
	struct muster_cached cached;

	(void)arg;
	assert_int_equal(muster_set_deadline(muster, 500), 0);
	assert_int_equal(muster_cache_compute(muster, "k", &for_ever, &cached),
			 -ETIMEDOUT);
	assert_string_equal(muster_problem_word(muster), "DEADLINE");
	answered++;
}

static int succeed(struct muster *muster, void *arg)
{
	struct muster_cached cached;

	(void)arg;
	computed = answered = 0;
	assert_int_equal(muster_spawn(muster, "leads", ask_impatiently, NULL),
			 0);
	assert_int_equal(muster_cache_compute(muster, "k", &for_ever, &cached),
			 0);
	assert_string_equal(cached.data, "k=3");
	assert_int_equal(answered, 1);
	return 0;
}

static void when_the_one_who_computes_must_end_another_does(void **state)
{
	on_node(state, succeed);
}

static int follow_impatiently(struct muster *muster, void *arg)
{
	static const struct muster_cache_compute_options with = {
		.fn = compute_slowly,
		.ttl_ms = LONG_MS,
		.lock_ms = LONG_MS,
		.wait_ms = 20
	};
	struct muster_cached cached;
	struct muster_lock other;

	(void)arg;
	computed = answered = 0;
	assert_int_equal(
		muster_spawn(muster, "leads", ask, (void *)(uintptr_t)&with),
		0);
	assert_int_equal(muster_set_deadline(muster, 5), 0);
	assert_int_equal(muster_cache_compute(muster, "k", &with, &cached),
			 -ETIMEDOUT);
	for (int i = 0; i < 2000 && answered < 1; i++)
		assert_int_equal(muster_sleep(muster, 10), 0);
	assert_int_equal(computed, 1);
	/* Another process that computes is not waited for for ever. */
	assert_int_equal(muster_cache_lock(muster, "compute:o", NULL, &other),
			 0);
	assert_int_equal(muster_cache_compute(muster, "o", &with, &cached),
			 MUSTER_LOCKED);
	assert_int_equal(computed, 1);
	return 0;
}

static void who_waits_has_a_limit(void **state)
{
	on_node(state, follow_impatiently);
}

static int compute_in_time(struct muster *muster, const char *key,
			   struct muster_computed *result, void *arg)
{
	(void)key;
	(void)arg;
	assert_int_equal(muster_sleep(muster, 100), 0);
	computed++;
	*result = (struct muster_computed){ .data = "x", .length = 1 };
	return 0;
}

/* It costs 100 ms: before its time is over it becomes all but certain that one
 * of the very many times it is asked for is the one. */
static int refresh_early(struct muster *muster, void *arg)
{
	static const struct muster_cache_compute_options with = {
		.fn = compute_in_time, .ttl_ms = 1500
	};
	struct muster_cached cached;
	struct muster_cached first;
	int asked = 0;

	(void)arg;
	computed = 0;
	assert_int_equal(muster_cache_compute(muster, "k", &with, &first), 0);
	do {
		assert_int_equal(muster_sleep(muster, 1), 0);
		assert_int_equal(
			muster_cache_compute(muster, "k", &with, &cached), 0);
		assert_true(cached.length == 1);
		asked++;
		muster_clear_answers(muster);
	} while (computed == 1);
	/* A machine that stood still has asked too seldom. */
	if (asked > 300)
		assert_true(cached.created_ms < first.expires_ms + 100);
	return 0;
}

static void what_is_dear_is_computed_before_its_time_is_over(void **state)
{
	on_node(state, refresh_early);
}

static int misuse_compute(struct muster *muster, void *arg)
{
	static const struct muster_cache_compute_options none = { .ttl_ms = 1 };
	static const struct muster_cache_compute_options with = {
		.fn = find_nothing
	};
	struct muster_cached cached;
	char key[MUSTER_CACHE_KEY_MAX - 6] = { 0 };

	(void)arg;
	computed = 0;
	memset(key, 'k', sizeof(key) - 1);
	assert_int_equal(muster_cache_compute(muster, "k", &none, &cached),
			 -EINVAL);
	assert_int_equal(muster_cache_compute(muster, key, &with, &cached),
			 -EMSGSIZE);
	assert_int_equal(muster_cache_compute(muster, "", &with, &cached),
			 -EINVAL);
	assert_int_equal(computed, 0);
	key[sizeof(key) - 2] = '\0';
	assert_int_equal(muster_cache_compute(muster, key, &with, &cached),
			 MUSTER_NOT_FOUND);
	return 0;
}

static void what_cannot_be_computed_is_refused(void **state)
{
	on_node(state, misuse_compute);
}

/* ---- main ---- */

int main(int count, char **arguments)
{
	static const struct role roles[] = {
		{ "graze", graze },
		{ 0 },
	};
	const struct CMUnitTest tests[] = {
		NODE_TEST(a_herd_computes_once),
		NODE_TEST(herds_of_four_processes_compute_once),
		NODE_TEST(nothing_is_remembered_for_a_while),
		NODE_TEST(a_failure_goes_to_all_and_is_not_kept),
		NODE_TEST(the_old_value_is_served_meanwhile),
		NODE_TEST(when_the_one_who_computes_must_end_another_does),
		NODE_TEST(who_waits_has_a_limit),
		NODE_TEST(what_is_dear_is_computed_before_its_time_is_over),
		NODE_TEST(what_cannot_be_computed_is_refused),
	};

	return nodes_test(count, arguments, tests, roles);
}
