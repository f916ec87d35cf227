/* What the cache promises, on either back end. */
#include "fixture.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

static void what_is_saved_is_loaded(void **state)
{
	struct fixture *f = *state;

	assert_done(ASK(cache_save, .key = T("a"), .value = T("{\"x\":1}"),
			.type = T("application/json")));
	struct reply *load = ASK(cache_load, .key = T("a"));

	assert_done(load);
	assert_string_equal(load->text, "{\"x\":1}");
	assert_string_equal(load->type, "application/json");
	assert_int_equal(load->expires_ms, 0);
	assert_true(load->created_ms > 1600000000000);
	assert_int_equal(ASK(cache_load, .key = T("b"))->result,
			 STORE_NOT_FOUND);
}

static void values_are_bytes(void **state)
{
	struct fixture *f = *state;
	static const char bytes[] = "a\0b\r\n\xff";

	assert_done(ASK(cache_save, .key = T("a"),
			.value = store_bytes(bytes, sizeof(bytes))));
	struct reply *load = ASK(cache_load, .key = T("a"));

	assert_int_equal(load->text_length, sizeof(bytes));
	assert_memory_equal(load->text, bytes, sizeof(bytes));
	assert_done(ASK(cache_save, .key = T("e"), .value = T("")));
	assert_done(ASK(cache_load, .key = T("e")));
}

static void keys_are_bytes(void **state)
{
	struct fixture *f = *state;
	static const char key[] = "{a}:b %\0\n\xfe|";

	assert_done(ASK(cache_save, .key = store_bytes(key, sizeof(key)),
			.value = T("v")));
	assert_done(ASK(cache_load, .key = store_bytes(key, sizeof(key))));
	struct reply *keys = ASK(cache_keys, .limit = 10);

	while (keys->count == 0 && keys->text_length > 0)
		keys = ASK(cache_keys, .limit = 10,
			   .cursor =
				   store_bytes(keys->text, keys->text_length));
	assert_int_equal(keys->count, 1);
	assert_memory_equal(keys->items[0].id, key, sizeof(key));
}

static void saving_again_replaces(void **state)
{
	struct fixture *f = *state;

	assert_done(ASK(cache_save, .key = T("a"), .value = T("one"),
			.type = T("t"), .ttl_ms = 100000));
	assert_done(ASK(cache_save, .key = T("a"), .value = T("two")));
	struct reply *load = ASK(cache_load, .key = T("a"));

	assert_string_equal(load->text, "two");
	assert_string_equal(load->type, "");
	assert_int_equal(load->expires_ms, 0);
	assert_int_equal(ASK(cache_size)->value, 1);
}

static void what_has_expired_is_gone(void **state)
{
	struct fixture *f = *state;

	assert_done(
		ASK(cache_save, .key = T("a"), .value = T("v"), .ttl_ms = 30));
	assert_done(ASK(cache_save, .key = T("b"), .value = T("v"),
			.ttl_ms = 60000));
	fixture_run_ms(f, 50);
	assert_int_equal(ASK(cache_load, .key = T("a"))->result,
			 STORE_NOT_FOUND);
	assert_done(ASK(cache_load, .key = T("b")));
	assert_int_equal(ASK(cache_size)->value, 1);
	assert_int_equal(ASK(cache_destroy, .key = T("a"))->result,
			 STORE_NOT_FOUND);
}

static void loading_can_prolong(void **state)
{
	struct fixture *f = *state;

	assert_done(
		ASK(cache_save, .key = T("a"), .value = T("v"), .ttl_ms = 60));
	struct reply *load = ASK(cache_load, .key = T("a"), .slide_ms = 60000);

	assert_done(load);
	assert_true(load->expires_ms > load->created_ms + 50000);
	fixture_run_ms(f, 80);
	load = ASK(cache_load, .key = T("a"));
	assert_done(load);
	assert_string_equal(load->text, "v");
	assert_true(load->expires_ms > load->created_ms + 50000);
}

static void the_time_of_reading_is_kept(void **state)
{
	struct fixture *f = *state;

	assert_done(ASK(cache_save, .key = T("a"), .value = T("v")));
	struct reply *first = ASK(cache_load, .key = T("a"));

	assert_int_equal(first->read_ms, 0);
	/* It is kept to the second, and written down within another one. */
	struct reply *again = first;

	for (int i = 0; i < 40 && again->read_ms == 0; i++) {
		fixture_run_ms(f, 50);
		again = ASK(cache_load, .key = T("a"));
	}
	assert_true(again->read_ms >= first->created_ms);
	assert_string_equal(again->text, "v");
}

static void an_entry_can_be_made_to_expire(void **state)
{
	struct fixture *f = *state;

	assert_done(ASK(cache_save, .key = T("v"), .value = T("x"),
			.type = T("t")));
	assert_done(ASK(cache_add, .key = T("n"), .delta = 3));
	assert_done(ASK(cache_push, .key = T("l"), .value = T("1")));
	assert_done(ASK(cache_expire, .key = T("v"), .ttl_ms = 60000));
	struct reply *load = ASK(cache_load, .key = T("v"));

	assert_string_equal(load->text, "x");
	assert_string_equal(load->type, "t");
	assert_true(load->expires_ms > load->created_ms + 50000);
	assert_done(ASK(cache_expire, .key = T("v"), .ttl_ms = 30));
	assert_done(ASK(cache_expire, .key = T("n"), .ttl_ms = 30));
	assert_done(ASK(cache_expire, .key = T("l"), .ttl_ms = 30));
	fixture_run_ms(f, 50);
	assert_int_equal(ASK(cache_load, .key = T("v"))->result,
			 STORE_NOT_FOUND);
	assert_int_equal(ASK(cache_add, .key = T("n"), .delta = 1)->counter, 1);
	assert_int_equal(ASK(cache_length, .key = T("l"))->value, 0);
	assert_int_equal(ASK(cache_expire, .key = T("v"), .ttl_ms = 30)->result,
			 STORE_NOT_FOUND);
}

static void an_entry_can_be_made_to_stay(void **state)
{
	struct fixture *f = *state;

	assert_done(
		ASK(cache_save, .key = T("v"), .value = T("x"), .ttl_ms = 60));
	assert_done(
		ASK(cache_push, .key = T("l"), .value = T("1"), .ttl_ms = 60));
	assert_done(ASK(cache_expire, .key = T("v")));
	assert_done(ASK(cache_expire, .key = T("l")));
	fixture_run_ms(f, 80);
	struct reply *load = ASK(cache_load, .key = T("v"));

	assert_string_equal(load->text, "x");
	assert_int_equal(load->expires_ms, 0);
	assert_int_equal(ASK(cache_length, .key = T("l"))->value, 1);
	assert_int_equal(ASK(cache_size)->value, 2);
}

/* Carries what one store exports over to another one. */
struct carrier {
	struct reply *page;
	struct store *to;
	size_t entries;
	size_t counters;
	size_t pieces; /* of lists, the first one not counted */
};

static void on_page(void *owner, const struct store_answer *answer)
{
	struct carrier *carrier = owner;
	struct fixture *f = carrier->page->fixture;

	for (size_t i = 0; i < answer->entries.count; i++) {
		const struct store_cache_entry *entry =
			&answer->entries.list[i];

		carrier->entries += !entry->is_continued;
		carrier->pieces += entry->is_continued;
		carrier->counters += entry->kind == STORE_ENTRY_COUNTER;
		START_AT(carrier->to, cache_import, .entry = *entry);
	}
	on_reply(carrier->page, answer);
}

static void carry(struct fixture *f, struct carrier *carrier, uint32_t limit)
{
	struct store_cache_export request = { .limit = limit };

	do {
		carrier->page = reply_new(f, DO_cache_export);
		store_cache_export(f->store, &request, on_page, carrier);
		assert_done(reply_wait(carrier->page));
		request.cursor = store_bytes(carrier->page->text,
					     carrier->page->text_length);
	} while (request.cursor.length > 0);
	/* What was imported is there when this has been answered. */
	ASK_AT(carrier->to, cache_size);
}

static struct store *open_elsewhere(struct fixture *f)
{
	char url[200];

	snprintf(url, sizeof(url), "%s%s", f->url,
		 f->is_redis || f->is_cluster ? "" : "-2");
	f->options.prefix = "elsewhere";
	struct store *store = fixture_open(f, url);

	f->options.prefix = NULL;
	return store;
}

static void what_is_exported_can_be_imported(void **state)
{
	struct fixture *f = *state;
	struct carrier carrier = { .to = open_elsewhere(f) };
	static const char key[] = "{k}:\0 %|";

	assert_done(ASK(cache_save, .key = store_bytes(key, sizeof(key)),
			.value = T("v\r\n"), .type = T("text/plain")));
	assert_done(ASK(cache_save, .key = T("short"), .value = T("x"),
			.ttl_ms = 600000));
	assert_done(ASK(cache_save, .key = T("empty"), .value = T("")));
	assert_done(ASK(cache_add, .key = T("n"), .delta = -42));
	assert_done(ASK(cache_push, .key = T("l"), .value = T("1")));
	assert_done(ASK(cache_push, .key = T("l"), .value = T("2"),
			.ttl_ms = 600000));
	struct reply *before = ASK(cache_load, .key = T("short"));

	carry(f, &carrier, 2);
	/* SCAN may name one twice. */
	assert_true(carrier.entries >= 5);
	assert_true(carrier.counters >= 1);
	assert_int_equal(ASK_AT(carrier.to, cache_size)->value, 5);
	struct reply *load = ASK_AT(carrier.to, cache_load,
				    .key = store_bytes(key, sizeof(key)));

	assert_string_equal(load->text, "v\r\n");
	assert_string_equal(load->type, "text/plain");
	assert_int_equal(load->expires_ms, 0);
	load = ASK_AT(carrier.to, cache_load, .key = T("short"));
	assert_string_equal(load->text, "x");
	assert_true(load->created_ms == before->created_ms);
	assert_true(load->expires_ms == before->expires_ms);
	assert_done(ASK_AT(carrier.to, cache_load, .key = T("empty")));
	assert_int_equal(
		ASK_AT(carrier.to, cache_add, .key = T("n"), .delta = 1)
			->counter,
		-41);
	assert_int_equal(ASK_AT(carrier.to, cache_length, .key = T("l"))->value,
			 2);
	assert_string_equal(ASK_AT(carrier.to, cache_pop, .key = T("l"))->text,
			    "1");
	fixture_close(f, carrier.to);
}

static void long_lists_are_exported_in_pieces(void **state)
{
	struct fixture *f = *state;
	struct carrier carrier = { .to = open_elsewhere(f) };
	struct reply *last = NULL;

	for (int i = 0; i < 2500; i++) {
		char text[16];

		snprintf(text, sizeof(text), "%d", i);
		last = START(cache_push, .key = T("l"), .value = T(text));
	}
	assert_done(reply_wait(last));
	carry(f, &carrier, 0);
	assert_int_equal(carrier.entries, 1);
	assert_int_equal(carrier.pieces, 2);
	assert_int_equal(ASK_AT(carrier.to, cache_length, .key = T("l"))->value,
			 2500);
	for (int i = 0; i < 2500; i += 500) {
		char text[16];

		snprintf(text, sizeof(text), "%d", i);
		assert_string_equal(
			ASK_AT(carrier.to, cache_pop, .key = T("l"))->text,
			text);
		for (int j = 1; j < 500; j++)
			last = START_AT(carrier.to, cache_pop, .key = T("l"));
		reply_wait(last);
	}
	fixture_close(f, carrier.to);
}

static void importing_replaces_and_minds_the_time(void **state)
{
	struct fixture *f = *state;
	static const struct store_bytes items[] = { { "1", 1 }, { "2", 1 } };

	assert_done(ASK(cache_push, .key = T("a"), .value = T("old")));
	assert_done(
		ASK(cache_import, .entry = { .key = T("a"),
					     .value = T("new"),
					     .created_ms = 1600000000123 }));
	struct reply *load = ASK(cache_load, .key = T("a"));

	assert_string_equal(load->text, "new");
	assert_true(load->created_ms == 1600000000123);
	assert_done(ASK(cache_import, .entry = { .kind = STORE_ENTRY_LIST,
						 .key = T("a"),
						 .values = items,
						 .value_count = 2 }));
	assert_int_equal(ASK(cache_length, .key = T("a"))->value, 2);
	/* Its time was over before it came. */
	assert_int_equal(
		ASK(cache_import, .entry = { .key = T("b"),
					     .value = T("x"),
					     .expires_ms = 1600000000000 })
			->result,
		STORE_NOT_FOUND);
	assert_int_equal(ASK(cache_load, .key = T("b"))->result,
			 STORE_NOT_FOUND);
	assert_problem(ASK(cache_import, .entry = { .value = T("x") }), -EINVAL,
		       "STORE_NAME_INVALID");
}

static void destroying_tells_whether_it_was_there(void **state)
{
	struct fixture *f = *state;

	assert_done(ASK(cache_save, .key = T("a"), .value = T("v")));
	assert_done(ASK(cache_destroy, .key = T("a")));
	assert_int_equal(ASK(cache_destroy, .key = T("a"))->result,
			 STORE_NOT_FOUND);
	assert_int_equal(ASK(cache_size)->value, 0);
}

static size_t count_keys(struct fixture *f, const char *prefix)
{
	struct reply *page = ASK(cache_keys, .prefix = T(prefix), .limit = 20);
	size_t count = page->count;

	for (int i = 0; i < 1000 && page->text_length > 0; i++) {
		page = ASK(cache_keys, .prefix = T(prefix), .limit = 20,
			   .cursor =
				   store_bytes(page->text, page->text_length));
		count += page->count;
	}
	assert_int_equal(page->text_length, 0);
	return count;
}

static void keys_come_in_pages(void **state)
{
	struct fixture *f = *state;

	for (int i = 0; i < 200; i++) {
		char key[32];

		snprintf(key, sizeof(key), "%s%d", i % 4 == 0 ? "x[*]" : "y",
			 i);
		assert_done(ASK(cache_save, .key = T(key), .value = T("v")));
	}
	assert_int_equal(count_keys(f, ""), 200);
	assert_int_equal(count_keys(f, "x[*]"), 50);
	assert_int_equal(count_keys(f, "z"), 0);
	assert_int_equal(ASK(cache_size)->value, 200);
}

static void clearing_can_be_by_prefix(void **state)
{
	struct fixture *f = *state;

	for (int i = 0; i < 30; i++) {
		char key[32];

		snprintf(key, sizeof(key), "%c%d", i % 3 == 0 ? 'x' : 'y', i);
		assert_done(ASK(cache_save, .key = T(key), .value = T("v")));
	}
	assert_int_equal(ASK(cache_clear, .prefix = T("x"))->value, 10);
	assert_int_equal(ASK(cache_size)->value, 20);
	assert_int_equal(ASK(cache_clear)->value, 20);
	assert_int_equal(ASK(cache_size)->value, 0);
	assert_int_equal(count_keys(f, ""), 0);
}

static void lists_are_queues(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(ASK(cache_length, .key = T("l"))->value, 0);
	assert_int_equal(ASK(cache_push, .key = T("l"), .value = T("1"))->value,
			 1);
	assert_int_equal(ASK(cache_push, .key = T("l"), .value = T("2"))->value,
			 2);
	assert_int_equal(ASK(cache_length, .key = T("l"))->value, 2);
	assert_string_equal(ASK(cache_pop, .key = T("l"))->text, "1");
	assert_string_equal(ASK(cache_pop, .key = T("l"))->text, "2");
	assert_int_equal(ASK(cache_pop, .key = T("l"))->result,
			 STORE_NOT_FOUND);
	assert_int_equal(ASK(cache_size)->value, 0);
}

static void lists_expire(void **state)
{
	struct fixture *f = *state;

	assert_done(
		ASK(cache_push, .key = T("l"), .value = T("1"), .ttl_ms = 30));
	fixture_run_ms(f, 50);
	assert_int_equal(ASK(cache_length, .key = T("l"))->value, 0);
	assert_int_equal(ASK(cache_push, .key = T("l"), .value = T("2"))->value,
			 1);
	assert_string_equal(ASK(cache_pop, .key = T("l"))->text, "2");
}

static void a_list_is_no_value(void **state)
{
	struct fixture *f = *state;

	assert_done(ASK(cache_push, .key = T("l"), .value = T("1")));
	assert_done(ASK(cache_save, .key = T("v"), .value = T("x")));
	assert_problem(ASK(cache_load, .key = T("l")), -EINVAL,
		       "CACHE_WRONG_TYPE");
	assert_problem(ASK(cache_load, .key = T("l"), .slide_ms = 5), -EINVAL,
		       "CACHE_WRONG_TYPE");
	assert_problem(ASK(cache_add, .key = T("l"), .delta = 1), -EINVAL,
		       "CACHE_WRONG_TYPE");
	assert_problem(ASK(cache_push, .key = T("v"), .value = T("1")), -EINVAL,
		       "CACHE_WRONG_TYPE");
	assert_problem(ASK(cache_pop, .key = T("v")), -EINVAL,
		       "CACHE_WRONG_TYPE");
	assert_problem(ASK(cache_length, .key = T("v")), -EINVAL,
		       "CACHE_WRONG_TYPE");
	/* Saving replaces whatever it is. */
	assert_done(ASK(cache_save, .key = T("l"), .value = T("x")));
	assert_string_equal(ASK(cache_load, .key = T("l"))->text, "x");
}

static void counters_count(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(ASK(cache_add, .key = T("n"), .delta = 5)->counter, 5);
	assert_int_equal(ASK(cache_add, .key = T("n"), .delta = -7)->counter,
			 -2);
	assert_string_equal(ASK(cache_load, .key = T("n"))->text, "-2");
	assert_done(ASK(cache_save, .key = T("n"), .value = T("40")));
	assert_int_equal(ASK(cache_add, .key = T("n"), .delta = 2)->counter,
			 42);
}

static void a_counter_expires_from_its_birth(void **state)
{
	struct fixture *f = *state;

	assert_done(ASK(cache_add, .key = T("n"), .delta = 1, .ttl_ms = 60000));
	struct reply *first = ASK(cache_load, .key = T("n"));

	assert_true(first->expires_ms > 0);
	assert_done(ASK(cache_add, .key = T("n"), .delta = 1, .ttl_ms = 1));
	assert_int_equal(ASK(cache_load, .key = T("n"))->expires_ms,
			 first->expires_ms);
}

static void what_is_no_number_cannot_be_added_to(void **state)
{
	struct fixture *f = *state;

	assert_done(ASK(cache_save, .key = T("a"), .value = T("x1")));
	assert_int_not_equal(ASK(cache_add, .key = T("a"), .delta = 1)->error,
			     0);
	assert_string_equal(ASK(cache_add, .key = T("a"), .delta = 1)->name,
			    "CACHE_NOT_A_NUMBER");
	assert_done(ASK(cache_add, .key = T("m"), .delta = INT64_MAX));
	assert_string_equal(ASK(cache_add, .key = T("m"), .delta = 1)->name,
			    "CACHE_NOT_A_NUMBER");
}

static void a_lock_has_one_owner(void **state)
{
	struct fixture *f = *state;
	struct reply *mine = ASK(cache_lock, .key = T("k"), .owner = T("me"),
				 .ttl_ms = 60000);

	assert_done(mine);
	assert_true(mine->token > 0);
	struct reply *yours = ASK(cache_lock, .key = T("k"), .owner = T("you"),
				  .ttl_ms = 60000);

	assert_int_equal(yours->result, STORE_BUSY);
	assert_true(yours->left_ms > 50000 && yours->left_ms <= 60000);
	struct reply *again = ASK(cache_lock, .key = T("k"), .owner = T("me"),
				  .ttl_ms = 90000);

	assert_done(again);
	assert_int_equal(again->token, mine->token);
	assert_int_equal(
		ASK(cache_unlock, .key = T("k"), .owner = T("you"))->result,
		STORE_LOST);
	assert_int_equal(ASK(cache_unlock, .key = T("k"), .owner = T("me"),
			     .token = mine->token + 1)
				 ->result,
			 STORE_LOST);
	assert_done(ASK(cache_unlock, .key = T("k"), .owner = T("me"),
			.token = mine->token));
	yours = ASK(cache_lock, .key = T("k"), .owner = T("you"),
		    .ttl_ms = 60000);
	assert_done(yours);
	assert_true(yours->token > mine->token);
}

static void a_lock_ends_by_itself(void **state)
{
	struct fixture *f = *state;
	struct reply *mine =
		ASK(cache_lock, .key = T("k"), .owner = T("me"), .ttl_ms = 30);

	assert_done(mine);
	fixture_run_ms(f, 50);
	assert_int_equal(
		ASK(cache_unlock, .key = T("k"), .owner = T("me"))->result,
		STORE_LOST);
	struct reply *yours = ASK(cache_lock, .key = T("k"), .owner = T("you"),
				  .ttl_ms = 60000);

	assert_done(yours);
	assert_true(yours->token > mine->token);
}

static void a_locked_key_is_its_owners_to_change(void **state)
{
	struct fixture *f = *state;

	assert_done(ASK(cache_save, .key = T("k"), .value = T("old")));
	assert_done(ASK(cache_lock, .key = T("k"), .owner = T("me"),
			.ttl_ms = 60000));
	assert_int_equal(
		ASK(cache_save, .key = T("k"), .value = T("new"))->result,
		STORE_BUSY);
	assert_int_equal(ASK(cache_save, .key = T("k"), .value = T("new"),
			     .owner = T("you"))
				 ->result,
			 STORE_BUSY);
	assert_int_equal(ASK(cache_destroy, .key = T("k"))->result, STORE_BUSY);
	assert_string_equal(ASK(cache_load, .key = T("k"))->text, "old");
	assert_done(ASK(cache_save, .key = T("k"), .value = T("new"),
			.owner = T("me")));
	assert_done(ASK(cache_destroy, .key = T("k"), .owner = T("me")));
}

static void calls_of_a_turn_keep_their_order(void **state)
{
	struct fixture *f = *state;
	struct reply *adds[50];
	struct reply *load;

	for (size_t i = 0; i < 50; i++)
		adds[i] = START(cache_add, .key = T("n"), .delta = 1);
	load = START(cache_load, .key = T("n"));
	reply_wait(load);
	assert_string_equal(load->text, "50");
	for (size_t i = 0; i < 50; i++) {
		assert_int_equal(adds[i]->times, 1);
		assert_int_equal(adds[i]->counter, (int64_t)i + 1);
	}
}

static void what_is_too_long_is_refused(void **state)
{
	struct fixture *f = *state;
	static char large[2 << 20];

	memset(large, 'x', sizeof(large));
	assert_problem(ASK(cache_save, .key = T("k"),
			   .value = store_bytes(large, sizeof(large))),
		       -EMSGSIZE, "STORE_TOO_LONG");
	assert_problem(ASK(cache_load, .key = store_bytes(large, 1025)),
		       -EMSGSIZE, "STORE_TOO_LONG");
	assert_problem(ASK(cache_load, .key = T("")), -EINVAL,
		       "STORE_NAME_INVALID");
	assert_problem(
		ASK(cache_lock, .key = T("k"), .owner = T("a\nb"), .ttl_ms = 1),
		-EINVAL, "STORE_NAME_INVALID");
	assert_done(ASK(cache_save, .key = store_bytes(large, 1024),
			.value = store_bytes(large, 1 << 20)));
	assert_int_equal(
		ASK(cache_load, .key = store_bytes(large, 1024))->text_length,
		1 << 20);
}

static void whoever_forgets_is_not_called(void **state)
{
	struct fixture *f = *state;
	struct reply *save = START(cache_save, .key = T("a"), .value = T("v"));

	store_forget(f->store, save);
	assert_done(ASK(cache_save, .key = T("b"), .value = T("v")));
	assert_int_equal(save->times, 0);
}

static void closing_answers_what_is_under_way(void **state)
{
	struct fixture *f = *state;
	struct reply *save = START(cache_save, .key = T("a"), .value = T("v"));

	fixture_close(f, f->store);
	f->store = NULL;
	assert_int_equal(save->times, 1);
	assert_problem(save, -ECANCELED, "STORE_CLOSED");
}

static void a_second_process_sees_the_same(void **state)
{
	struct fixture *f = *state;

	assert_done(ASK(cache_save, .key = T("a"), .value = T("v")));
	fixture_reopen(f);
	assert_string_equal(ASK(cache_load, .key = T("a"))->text, "v");
}

int main(int count, char **arguments)
{
#define TEST(name)                                                             \
	cmocka_unit_test_setup_teardown(name, fixture_set_up, fixture_tear_down)
	const struct CMUnitTest tests[] = {
		TEST(what_is_saved_is_loaded),
		TEST(values_are_bytes),
		TEST(keys_are_bytes),
		TEST(saving_again_replaces),
		TEST(what_has_expired_is_gone),
		TEST(loading_can_prolong),
		TEST(the_time_of_reading_is_kept),
		TEST(an_entry_can_be_made_to_expire),
		TEST(an_entry_can_be_made_to_stay),
		TEST(what_is_exported_can_be_imported),
		TEST(long_lists_are_exported_in_pieces),
		TEST(importing_replaces_and_minds_the_time),
		TEST(destroying_tells_whether_it_was_there),
		TEST(keys_come_in_pages),
		TEST(clearing_can_be_by_prefix),
		TEST(lists_are_queues),
		TEST(lists_expire),
		TEST(a_list_is_no_value),
		TEST(counters_count),
		TEST(a_counter_expires_from_its_birth),
		TEST(what_is_no_number_cannot_be_added_to),
		TEST(a_lock_has_one_owner),
		TEST(a_lock_ends_by_itself),
		TEST(a_locked_key_is_its_owners_to_change),
		TEST(calls_of_a_turn_keep_their_order),
		TEST(what_is_too_long_is_refused),
		TEST(whoever_forgets_is_not_called),
		TEST(closing_answers_what_is_under_way),
		TEST(a_second_process_sees_the_same),
	};

	if (count > 1)
		fixture_back_end = arguments[1];
	return cmocka_run_group_tests(tests, NULL, NULL);
}
