/* Values, counters and lists that servers share, on each back end. */
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <muster/cache.h>

#include "base/mem.h"
#include "base/must.h"
#include "nodes.h"

static uint64_t now_ms(clockid_t clock)
{
	struct timespec now;

	clock_gettime(clock, &now);
	return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

/* ---- values ---- */

static int save_and_load(struct muster *muster, void *arg)
{
	uint64_t before_ms = now_ms(CLOCK_REALTIME);
	struct muster_cached cached;

	(void)arg;
	assert_int_equal(muster_cache_load(muster, "k", &cached),
			 MUSTER_NOT_FOUND);
	assert_int_equal(muster_cache_save(
				 muster, "k", "a\0b\xff", 4,
				 &(struct muster_cache_options){
					 .ttl_ms = LONG_MS, .type = "text/x" }),
			 0);
	assert_int_equal(muster_cache_load(muster, "k", &cached), 0);
	assert_int_equal(cached.length, 4);
	assert_memory_equal(cached.data, "a\0b\xff", 5);
	assert_string_equal(cached.type, "text/x");
	assert_false(cached.is_stale);
	/* Redis's clock is this host's as well. */
	assert_true(cached.created_ms + 1000 >= before_ms);
	assert_in_range(cached.expires_ms, cached.created_ms + LONG_MS - 1000,
			cached.created_ms + LONG_MS + 1000);
	assert_int_equal(muster_cache_save_text(muster, "k", "", NULL), 0);
	assert_int_equal(muster_cache_load(muster, "k", &cached), 0);
	assert_int_equal(cached.length, 0);
	assert_string_equal(cached.data, "");
	assert_string_equal(cached.type, "");
	assert_int_equal(cached.expires_ms, 0);
	assert_int_equal(muster_cache_destroy(muster, "k", NULL), 0);
	assert_int_equal(muster_cache_destroy(muster, "k", NULL),
			 MUSTER_NOT_FOUND);
	assert_int_equal(muster_cache_load(muster, "k", &cached),
			 MUSTER_NOT_FOUND);
	return 0;
}

static void what_is_saved_is_loaded(void **state)
{
	on_node(state, save_and_load);
}

static int json(struct muster *muster, void *arg)
{
	struct muster_cached cached;

	(void)arg;
	assert_int_equal(muster_cache_save_json(muster, "j", NULL, "{s:[i,s]}",
						"a", 1, "\"x\""),
			 0);
	assert_int_equal(muster_cache_load_json(muster, "j", &cached), 0);
	assert_string_equal(cached.data, "{\"a\":[1,\"\\\"x\\\"\"]}");
	assert_string_equal(cached.type, "application/json");
	assert_int_equal(
		muster_cache_save_json(muster, "j", NULL, "{s:s}", "a", "\xff"),
		-EINVAL);
	assert_string_equal(muster_problem_word(muster), "JSON_INVALID");
	assert_int_equal(muster_cache_load_json(muster, "j", &cached), 0);
	assert_int_equal(muster_cache_save_text(muster, "j", "{\"a\":", NULL),
			 0);
	assert_int_equal(muster_cache_load_json(muster, "j", &cached),
			 -EBADMSG);
	assert_string_equal(muster_problem_word(muster), "CACHE_NOT_JSON");
	assert_int_equal(muster_cache_load_json(muster, "none", &cached),
			 MUSTER_NOT_FOUND);
	return 0;
}

static void json_is_made_and_checked(void **state)
{
	on_node(state, json);
}

static int expire(struct muster *muster, void *arg)
{
	static const struct muster_cache_options briefly = { .ttl_ms = 40 };
	struct muster_cached cached;

	(void)arg;
	assert_int_equal(muster_cache_save_text(muster, "a", "x", &briefly), 0);
	assert_int_equal(muster_cache_save_text(muster, "b", "x", &briefly), 0);
	assert_int_equal(muster_cache_save_text(muster, "c", "x", &briefly), 0);
	/* Slow as this machine may be: what had expired is saved again. */
	while (muster_cache_load_sliding(muster, "a", LONG_MS, &cached) != 0)
		assert_int_equal(
			muster_cache_save_text(muster, "a", "x", &briefly), 0);
	while (muster_cache_expire(muster, "b", 0) != 0)
		assert_int_equal(
			muster_cache_save_text(muster, "b", "x", &briefly), 0);
	assert_int_equal(muster_sleep(muster, 60), 0);
	assert_int_equal(muster_cache_load(muster, "a", &cached), 0);
	assert_true(cached.expires_ms > cached.created_ms + LONG_MS / 2);
	assert_int_equal(muster_cache_load(muster, "b", &cached), 0);
	assert_int_equal(cached.expires_ms, 0);
	assert_int_equal(muster_cache_load(muster, "c", &cached),
			 MUSTER_NOT_FOUND);
	assert_int_equal(muster_cache_expire(muster, "c", 1), MUSTER_NOT_FOUND);
	assert_int_equal(
		muster_cache_load_sliding(muster, "c", LONG_MS, &cached),
		MUSTER_NOT_FOUND);
	assert_int_equal(muster_cache_expire(muster, "b", 1), 0);
	assert_int_equal(muster_sleep(muster, 20), 0);
	assert_int_equal(muster_cache_load(muster, "b", &cached),
			 MUSTER_NOT_FOUND);
	return 0;
}

static void time_can_be_given_and_taken(void **state)
{
	on_node(state, expire);
}

static int vary(struct muster *muster, void *arg)
{
	uint64_t least = UINT64_MAX;
	uint64_t most = 0;

	(void)arg;
	for (int i = 0; i < 200; i++) {
		struct muster_cached cached;

		assert_int_equal(
			muster_cache_save_text(muster, "k", "x",
					       &(struct muster_cache_options){
						       .ttl_ms = 100000000,
						       .has_jitter = true }),
			0);
		assert_int_equal(muster_cache_load(muster, "k", &cached), 0);
		uint64_t ttl_ms = cached.expires_ms - cached.created_ms;

		assert_in_range(ttl_ms, 89900000, 110100000);
		least = ttl_ms < least ? ttl_ms : least;
		most = ttl_ms > most ? ttl_ms : most;
	}
	assert_true(most - least > 10000000);
	return 0;
}

static void jitter_spreads_ends(void **state)
{
	on_node(state, vary);
}

static int misuse(struct muster *muster, void *arg)
{
	struct muster_cached cached;
	char key[MUSTER_CACHE_KEY_MAX + 2] = { 0 };
	char *value = mem_zalloc(100001);
	const struct {
		const char *key;
		size_t length;
		const char *type;
		const char *word;
	} cases[] = {
		{ "", 1, NULL, "KEY_INVALID" },
		{ "a\nb", 1, NULL, "KEY_INVALID" },
		{ "a\x7f", 1, NULL, "KEY_INVALID" },
		{ key, 1, NULL, "KEY_TOO_LONG" },
		{ "k", 100001, NULL, "VALUE_TOO_LARGE" },
		{ "k", 1, "a\tb", "TYPE_INVALID" },
		{ "k", 1, key, "TYPE_INVALID" },
	};

	(void)arg;
	memset(key, 'k', MUSTER_CACHE_KEY_MAX + 1);
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		assert_true(muster_cache_save(muster, cases[i].key, value,
					      cases[i].length,
					      &(struct muster_cache_options){
						      .type = cases[i].type }) <
			    0);
		assert_string_equal(muster_problem_word(muster), cases[i].word);
	}
	assert_int_equal(muster_cache_load(muster, "a\x01", &cached), -EINVAL);
	assert_int_equal(muster_cache_load(muster, key, &cached), -EMSGSIZE);
	assert_int_equal(muster_cache_push(muster, "k", value, 100001, 0),
			 -EMSGSIZE);
	/* And what just fits. */
	key[MUSTER_CACHE_KEY_MAX] = '\0';
	assert_int_equal(muster_cache_save(muster, key, value, 100000, NULL),
			 0);
	assert_int_equal(muster_cache_load(muster, key, &cached), 0);
	assert_int_equal(cached.length, 100000);
	assert_int_equal(
		muster_cache_save_text(muster, "\xc3\xa4 b", "x", NULL), 0);
	free(value);
	return 0;
}

static void what_cannot_be_is_refused_with_a_word(void **state)
{
	on_node(state, misuse);
}

static void off_a_fiber_it_fails(void **state)
{
	const struct fixture *fixture = *state;
	struct muster *muster = muster_open(
		NULL, &(struct muster_node_options){ .store = fixture->url,
						     .is_guest = true });
	struct muster_cached cached;
	uint64_t size;

	assert_int_equal(muster_cache_load(muster, "k", &cached), -EPERM);
	assert_int_equal(muster_cache_size(muster, &size), -EPERM);
	assert_int_equal(muster_cache_save_text(muster, "k", "x", NULL),
			 -EPERM);
	assert_string_equal(muster_problem_word(muster), "NOT_ON_A_FIBER");
	assert_int_equal(muster_run(muster), 0);
}

/* ---- counters and lists ---- */

static int count(struct muster *muster, void *arg)
{
	struct muster_cached cached;
	int64_t value = 0;

	(void)arg;
	assert_int_equal(muster_cache_add(muster, "n", 5, 0, &value), 0);
	assert_int_equal(value, 5);
	assert_int_equal(muster_cache_add(muster, "n", -7, 0, &value), 0);
	assert_int_equal(value, -2);
	assert_int_equal(muster_cache_add(muster, "n", 1, 0, NULL), 0);
	assert_int_equal(muster_cache_load(muster, "n", &cached), 0);
	assert_string_equal(cached.data, "-1");
	assert_int_equal(muster_cache_save_text(muster, "t", "x", NULL), 0);
	assert_int_equal(muster_cache_add(muster, "t", 1, 0, &value), -EINVAL);
	assert_string_equal(muster_problem_word(muster), "CACHE_NOT_A_NUMBER");
	assert_int_equal(muster_cache_add(muster, "b", INT64_MAX, 0, NULL), 0);
	assert_true(muster_cache_add(muster, "b", 1, 0, NULL) < 0);
	return 0;
}

static void counters_count(void **state)
{
	on_node(state, count);
}

static int queue(struct muster *muster, void *arg)
{
	struct muster_cached cached;
	uint64_t length = 9;

	(void)arg;
	assert_int_equal(muster_cache_length(muster, "l", &length), 0);
	assert_int_equal(length, 0);
	assert_int_equal(muster_cache_pop(muster, "l", &cached),
			 MUSTER_NOT_FOUND);
	assert_int_equal(muster_cache_push(muster, "l", "a\0", 2, 0), 0);
	assert_int_equal(muster_cache_push(muster, "l", "b", 1, LONG_MS), 0);
	assert_int_equal(muster_cache_length(muster, "l", &length), 0);
	assert_int_equal(length, 2);
	assert_int_equal(muster_cache_load(muster, "l", &cached), -EINVAL);
	assert_string_equal(muster_problem_word(muster), "CACHE_WRONG_TYPE");
	assert_int_equal(muster_cache_pop(muster, "l", &cached), 0);
	assert_int_equal(cached.length, 2);
	assert_memory_equal(cached.data, "a\0", 3);
	assert_int_equal(muster_cache_pop(muster, "l", &cached), 0);
	assert_string_equal(cached.data, "b");
	assert_int_equal(muster_cache_pop(muster, "l", &cached),
			 MUSTER_NOT_FOUND);
	assert_int_equal(muster_cache_save_text(muster, "v", "x", NULL), 0);
	assert_int_equal(muster_cache_push(muster, "v", "x", 1, 0), -EINVAL);
	return 0;
}

static void lists_are_queues(void **state)
{
	on_node(state, queue);
}

/* ---- all of it ---- */

static int see_all(struct muster *muster, void *arg)
{
	struct muster_cache_page page = { .limit = 7 };
	bool seen[50] = { false };
	uint64_t total = 0;
	int answer;

	(void)arg;
	for (int i = 0; i < 50; i++)
		assert_int_equal(muster_cache_save_text(
					 muster, muster_text(muster, "a:%d", i),
					 "x", NULL),
				 0);
	assert_int_equal(muster_cache_save_text(muster, "b", "x", NULL), 0);
	do {
		answer = muster_cache_keys(muster, "a:", &page);
		for (size_t i = 0; i < page.count; i++) {
			assert_memory_equal(page.keys[i], "a:", 2);
			seen[atoi(page.keys[i] + 2)] = true;
		}
	} while (answer == 0 && page.has_more);
	assert_int_equal(answer, 0);
	for (int i = 0; i < 50; i++)
		assert_true(seen[i]);
	assert_int_equal(muster_cache_size(muster, &total), 0);
	assert_int_equal(total, 51);
	assert_int_equal(muster_cache_clear(muster, "a:", &total), 0);
	assert_int_equal(total, 50);
	assert_int_equal(muster_cache_size(muster, &total), 0);
	assert_int_equal(total, 1);
	assert_int_equal(muster_cache_clear(muster, "", NULL), 0);
	assert_int_equal(muster_cache_size(muster, &total), 0);
	assert_int_equal(total, 0);
	assert_int_equal(muster_cache_clear(muster, "a\n", NULL), -EINVAL);
	return 0;
}

static void keys_are_listed_counted_and_cleared(void **state)
{
	on_node(state, see_all);
}

/* ---- races ---- */

static int load_again_and_again(struct muster *muster, void *arg)
{
	(void)arg;
	puts("loading");
	fflush(stdout);
	for (;;) {
		struct muster_cached cached;
		int answer = muster_cache_load_sliding(muster, "race", LONG_MS,
						       &cached);

		if (answer < 0)
			return answer;
		muster_clear_answers(muster);
	}
}

/* Loading writes nothing back: what was destroyed or replaced stays so. */
static int race(struct muster *muster, void *arg)
{
	struct child children[2] = { child_start(arg, "load"),
				     child_start(arg, "load") };
	struct muster_cached cached;
	char line[64];

	child_says(&children[0], line);
	child_says(&children[1], line);
	for (int i = 0; i < 500; i++) {
		const char *value = muster_text(muster, "%d", i);

		assert_int_equal(
			muster_cache_save_text(muster, "race", value, NULL), 0);
		assert_int_equal(muster_cache_load(muster, "race", &cached), 0);
		assert_string_equal(cached.data, value);
		assert_int_equal(muster_cache_destroy(muster, "race", NULL), 0);
		assert_int_equal(muster_cache_load(muster, "race", &cached),
				 MUSTER_NOT_FOUND);
		muster_clear_answers(muster);
	}
	child_end(&children[0], SIGKILL);
	child_end(&children[1], SIGKILL);
	return 0;
}

static void loading_brings_nothing_back(void **state)
{
	on_node(state, race);
}

/* ---- what only one back end knows ---- */

static int fill(struct muster *muster, void *arg)
{
	struct muster_cached cached;
	uint64_t total;

	(void)arg;
	for (int i = 0; i < 300; i++)
		assert_int_equal(muster_cache_save_text(
					 muster, muster_text(muster, "%d", i),
					 "x", NULL),
				 0);
	assert_int_equal(muster_cache_size(muster, &total), 0);
	assert_in_range(total, 50, 100);
	/* What came last is there. */
	assert_int_equal(muster_cache_load(muster, "299", &cached), 0);
	return 0;
}

static void a_full_embedded_cache_drops_the_oldest(void **state)
{
	struct fixture *fixture = *state;

	if (fixture->is_redis || fixture->is_cluster)
		return;
	fixture_close(fixture, fixture->store);
	fixture->options.cache_entries = 100;
	fixture->store = fixture_open(fixture, fixture->url);
	on_node(state, fill);
}

static int exceed_the_share(struct muster *muster, void *arg)
{
	char *value = mem_zalloc(90000);

	(void)arg;
	assert_int_equal(muster_cache_save(muster, "k", value, 90000, NULL),
			 -EMSGSIZE);
	assert_string_equal(muster_problem_word(muster), "VALUE_TOO_LARGE");
	free(value);
	return 0;
}

static void one_value_does_not_take_all_of_an_embedded_cache(void **state)
{
	struct fixture *fixture = *state;

	if (fixture->is_redis || fixture->is_cluster)
		return;
	fixture_close(fixture, fixture->store);
	fixture->options.cache_bytes = 1 << 22;
	fixture->store = fixture_open(fixture, fixture->url);
	on_node(state, exceed_the_share);
}

static int lose_the_server(struct muster *muster, void *arg)
{
	struct fixture *fixture = arg;
	struct muster_cached cached;

	assert_int_equal(muster_cache_save_text(muster, "k", "x", NULL), 0);
	fixture_stop(fixture->server, SIGKILL);
	fixture->server = 0;
	assert_int_equal(muster_set_deadline(muster, 0), 0);
	assert_true(muster_cache_load(muster, "k", &cached) < 0);
	assert_true(strlen(muster_problem(muster)) > 0);
	return 0;
}

static void without_the_server_it_fails_with_a_word(void **state)
{
	const struct fixture *fixture = *state;

	if (fixture->is_redis)
		on_node(state, lose_the_server);
}

/* ---- main ---- */

int main(int count, char **arguments)
{
	static const struct role roles[] = {
		{ "load", load_again_and_again },
		{ 0 },
	};
	const struct CMUnitTest tests[] = {
		NODE_TEST(what_is_saved_is_loaded),
		NODE_TEST(json_is_made_and_checked),
		NODE_TEST(time_can_be_given_and_taken),
		NODE_TEST(jitter_spreads_ends),
		NODE_TEST(what_cannot_be_is_refused_with_a_word),
		NODE_TEST(off_a_fiber_it_fails),
		NODE_TEST(counters_count),
		NODE_TEST(lists_are_queues),
		NODE_TEST(keys_are_listed_counted_and_cleared),
		NODE_TEST(loading_brings_nothing_back),
		NODE_TEST(a_full_embedded_cache_drops_the_oldest),
		NODE_TEST(one_value_does_not_take_all_of_an_embedded_cache),
		NODE_TEST(without_the_server_it_fails_with_a_word),
	};

	return nodes_test(count, arguments, tests, roles);
}
