/* Peers, names and statistics, on either back end. */
#include "fixture.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

static struct reply *ping(struct fixture *f, const char *id, const char *nonce,
			  bool is_joining, uint32_t dead_ms)
{
	return ASK(peer_ping, .id = T(id), .nonce = T(nonce),
		   .record = T(is_joining ? "{\"pid\":1}" : ""),
		   .is_joining = is_joining, .dead_ms = dead_ms);
}

static struct reply *take_name(struct fixture *f, const char *nonce,
			       uint32_t wanted)
{
	return ASK(name_take, .prefix = T("api-worker"), .nonce = T(nonce),
		   .host = T("h"), .wanted = wanted, .dead_ms = 60000);
}

static void a_peer_joins_and_leaves(void **state)
{
	struct fixture *f = *state;

	assert_done(ping(f, "a-1", "n1", true, 1000));
	assert_done(ping(f, "a-1", "n1", false, 1000));
	struct reply *list = ASK(peer_list);

	assert_int_equal(list->count, 1);
	assert_string_equal(list->items[0].id, "a-1");
	assert_string_equal(list->items[0].owner, "n1");
	assert_string_equal(list->items[0].text, "{\"pid\":1}");
	assert_int_equal(
		ASK(peer_leave, .id = T("a-1"), .nonce = T("n2"))->result,
		STORE_STALE);
	assert_done(ASK(peer_leave, .id = T("a-1"), .nonce = T("n1")));
	assert_int_equal(ASK(peer_list)->count, 0);
	assert_int_equal(ping(f, "a-1", "n1", false, 1000)->result,
			 STORE_STALE);
}

static void a_name_is_one_peers(void **state)
{
	struct fixture *f = *state;

	assert_done(ping(f, "a-1", "n1", true, 60000));
	assert_int_equal(ping(f, "a-1", "n2", true, 60000)->result,
			 STORE_STALE);
	assert_done(ASK(peer_down, .id = T("a-1"), .nonce = T("n1")));
	assert_int_equal(
		ASK(peer_down, .id = T("a-1"), .nonce = T("n1"))->result,
		STORE_STALE);
	assert_done(ping(f, "a-1", "n2", true, 60000));
	assert_int_equal(ping(f, "a-1", "n1", false, 60000)->result,
			 STORE_STALE);
}

static void a_silent_peer_is_found_dead_once(void **state)
{
	struct fixture *f = *state;

	assert_done(ping(f, "a-1", "n1", true, 60000));
	assert_done(ping(f, "a-2", "n2", true, 60000));
	fixture_run_ms(f, 60);
	struct reply *found = ping(f, "a-2", "n2", false, 50);

	assert_done(found);
	assert_int_equal(found->count, 1);
	assert_string_equal(found->items[0].id, "a-1");
	assert_string_equal(found->items[0].owner, "n1");
	assert_int_equal(ping(f, "a-2", "n2", false, 50)->count, 0);
	assert_int_equal(ping(f, "a-1", "n1", false, 50)->result, STORE_STALE);
}

static void what_became_of_a_peer_is_known(void **state)
{
	struct fixture *f = *state;

	assert_done(ping(f, "a-1", "n1", true, 60000));
	assert_string_equal(ASK(peer_list)->gone, "");
	assert_done(ASK(peer_leave, .id = T("a-1"), .nonce = T("n1")));
	assert_string_equal(ASK(peer_list)->gone, "a-1:n1=left ");
	assert_done(ping(f, "a-1", "n2", true, 60000));
	assert_done(ASK(peer_down, .id = T("a-1"), .nonce = T("n2")));
	struct reply *list = ASK(peer_list);

	assert_int_equal(list->count, 0);
	assert_non_null(strstr(list->gone, "a-1:n1=left "));
	assert_non_null(strstr(list->gone, "a-1:n2=dead "));
	assert_int_equal(strlen(list->gone), 24);
}

static void a_dead_peers_place_can_be_taken(void **state)
{
	struct fixture *f = *state;

	assert_done(ping(f, "a-1", "n1", true, 60000));
	fixture_run_ms(f, 60);
	struct reply *joined = ping(f, "a-1", "n2", true, 50);

	assert_done(joined);
	assert_int_equal(joined->count, 1);
	assert_string_equal(joined->items[0].owner, "n1");
	struct reply *list = ASK(peer_list);

	assert_int_equal(list->count, 1);
	assert_string_equal(list->items[0].owner, "n2");
}

static void names_are_the_lowest_free(void **state)
{
	struct fixture *f = *state;

	assert_string_equal(take_name(f, "n1", 0)->text, "api-worker-1");
	assert_string_equal(take_name(f, "n2", 0)->text, "api-worker-2");
	assert_int_equal(take_name(f, "n3", 0)->value, 3);
	assert_done(
		ASK(name_free, .name = T("api-worker-2"), .nonce = T("n2")));
	assert_int_equal(
		ASK(name_free, .name = T("api-worker-1"), .nonce = T("n9"))
			->result,
		STORE_STALE);
	assert_int_equal(take_name(f, "n4", 0)->value, 2);
	assert_int_equal(take_name(f, "n5", 0)->value, 4);
}

static void a_wanted_name_is_had_if_free(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(take_name(f, "n1", 7)->value, 7);
	assert_int_equal(take_name(f, "n2", 7)->value, 1);
	assert_int_equal(ASK(name_take, .prefix = T("api-worker"),
			     .nonce = T("n3"), .host = T("h"), .wanted = 7,
			     .is_vouched = true, .dead_ms = 60000)
				 ->value,
			 7);
	assert_int_equal(ASK(name_take, .prefix = T("api-worker"),
			     .nonce = T("n4"), .host = T("elsewhere"),
			     .wanted = 7, .is_vouched = true, .dead_ms = 60000)
				 ->value,
			 2);
}

static void a_silent_holder_loses_its_name(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(take_name(f, "n1", 0)->value, 1);
	fixture_run_ms(f, 60);
	assert_done(ping(f, "api-worker-1", "n1", true, 60000));
	assert_int_equal(ASK(name_take, .prefix = T("api-worker"),
			     .nonce = T("n2"), .host = T("h"), .dead_ms = 50)
				 ->value,
			 2);
	fixture_run_ms(f, 60);
	assert_int_equal(ASK(name_take, .prefix = T("api-worker"),
			     .nonce = T("n3"), .host = T("h"), .dead_ms = 50)
				 ->value,
			 1);
}

static int64_t stat_named(struct fixture *f, const char *name)
{
	struct reply *read = ASK(stats_read);

	for (size_t i = 0; i < read->count; i++)
		if (strcmp(read->items[i].id, name) == 0)
			return read->items[i].value;
	return -1;
}

static void statistics_are_counted_once(void **state)
{
	struct fixture *f = *state;
	const struct store_stat stats[] = {
		{ T("api-worker-1:requests"), 5, false, false },
		{ T("connections"), 7, true, false },
		{ T("requests"), 5, false, false },
	};

	assert_done(ASK(stats_flush, .source = T("n1"), .sequence = 1,
			.stats = stats, .count = 3));
	assert_int_equal(ASK(stats_flush, .source = T("n1"), .sequence = 1,
			     .stats = stats, .count = 3)
				 ->result,
			 STORE_STALE);
	assert_done(ASK(stats_flush, .source = T("n1"), .sequence = 2,
			.stats = stats, .count = 3));
	assert_done(ASK(stats_flush, .source = T("n2"), .sequence = 1,
			.stats = stats, .count = 3));
	assert_int_equal(stat_named(f, "requests"), 15);
	assert_int_equal(stat_named(f, "connections"), 7);
	assert_int_equal(ASK(stats_read, .prefix = T("api-"))->count, 1);
}

static void statistics_are_removed_and_sources_forgotten(void **state)
{
	struct fixture *f = *state;
	struct store_stat stat = { T("requests"), 5, .is_gauge = false };

	assert_done(ASK(stats_flush, .source = T("n1"), .sequence = 7,
			.stats = &stat, .count = 1, .is_last = true));
	assert_done(ASK(stats_flush, .source = T("n1"), .sequence = 7,
			.stats = &stat, .count = 1));
	assert_int_equal(stat_named(f, "requests"), 10);
	/* Without a source nothing is remembered. */
	assert_done(ASK(stats_flush, .stats = &stat, .count = 1));
	assert_done(ASK(stats_flush, .stats = &stat, .count = 1));
	assert_int_equal(stat_named(f, "requests"), 20);
	stat.is_removed = true;
	assert_done(ASK(stats_flush, .stats = &stat, .count = 1));
	assert_done(ASK(stats_flush, .stats = &stat, .count = 1));
	assert_int_equal(ASK(stats_read)->count, 0);
}

static void it_says_when_it_is_ready(void **state)
{
	struct fixture *f = *state;
	struct reply *ready = reply_new(f, DO_ready);

	store_ready(f->store, on_reply, ready);
	assert_done(reply_wait(ready));
	ready = reply_new(f, DO_ready);
	store_ready(f->store, on_reply, ready);
	assert_done(reply_wait(ready));
}

int main(int count, char **arguments)
{
#define TEST(name)                                                             \
	cmocka_unit_test_setup_teardown(name, fixture_set_up, fixture_tear_down)
	const struct CMUnitTest tests[] = {
		TEST(a_peer_joins_and_leaves),
		TEST(a_name_is_one_peers),
		TEST(a_silent_peer_is_found_dead_once),
		TEST(what_became_of_a_peer_is_known),
		TEST(a_dead_peers_place_can_be_taken),
		TEST(names_are_the_lowest_free),
		TEST(a_wanted_name_is_had_if_free),
		TEST(a_silent_holder_loses_its_name),
		TEST(statistics_are_counted_once),
		TEST(statistics_are_removed_and_sources_forgotten),
		TEST(it_says_when_it_is_ready),
	};

	if (count > 1)
		fixture_back_end = arguments[1];
	return cmocka_run_group_tests(tests, NULL, NULL);
}
