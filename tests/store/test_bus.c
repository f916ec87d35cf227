/* Bytes between those who have joined, on each back end. */
#include "fixture.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/mem.h"
#include "base/must.h"
#include "loop/timer.h"
#include "store/store_bus.h"

struct member {
	struct fixture *fixture;
	struct store *store; /* its own; NULL: the fixture's */
	struct store_bus *bus;
	size_t seen;
	char channel[256]; /* of the last one */
	char *last;        /* message, with a NUL */
	size_t last_length;
	size_t out_of_order;
	unsigned long next;
	size_t ups;
	size_t downs;
	size_t published;
	int error;
	int64_t receivers;
	int64_t receivers_sum;
};

static void wake(const struct member *member)
{
	loop_stop(member->fixture->loop);
}

static void on_message(void *owner, struct store_bytes channel,
		       struct store_bytes bytes)
{
	struct member *member = owner;

	snprintf(member->channel, sizeof(member->channel), "%.*s",
		 (int)channel.length, channel.data);
	free(member->last);
	member->last = mem_alloc(bytes.length + 1);
	memcpy(member->last, bytes.data, bytes.length);
	member->last[bytes.length] = '\0';
	member->last_length = bytes.length;
	member->out_of_order +=
		strtoul(member->last, NULL, 10) != member->next++;
	member->seen++;
	wake(member);
}

static void on_subscribed(void *owner, struct store_bytes channel)
{
	struct member *member = owner;

	(void)channel;
	member->ups++;
	wake(member);
}

static void on_interrupted(void *owner, struct store_bytes channel)
{
	struct member *member = owner;

	(void)channel;
	member->downs++;
	wake(member);
}

static void on_publishing(void *owner)
{
	wake(owner);
}

static const struct store_bus_events events = {
	.on_message = on_message,
	.on_subscribed = on_subscribed,
	.on_interrupted = on_interrupted,
	.on_publishing = on_publishing,
};

static void on_published(void *owner, int error, int64_t receivers)
{
	struct member *member = owner;

	member->published++;
	member->error = error;
	member->receivers = receivers;
	member->receivers_sum += receivers;
	wake(member);
}

static void on_late(void *owner)
{
	fprintf(stderr, "did not come to pass: %s\n", (const char *)owner);
	abort();
}

#define AWAIT(fixture, condition)                                              \
	do {                                                                   \
		static char awaited_[] = #condition;                           \
		struct timer *timer_ =                                         \
			timer_open((fixture)->loop, on_late, awaited_, false); \
		timer_start(timer_, 20000, 0);                                 \
		while (!(condition))                                           \
			loop_run((fixture)->loop);                             \
		timer_close(timer_);                                           \
	} while (0)

static struct member *join(struct fixture *f, struct store *store)
{
	struct problem problem = { 0 };
	struct member *member = mem_zalloc(sizeof(*member));

	member->fixture = f;
	member->bus = store_bus_join(store,
				     &(struct store_bus_join){
					     .id = T("api-worker-1"),
					     .nonce = T("5f3a"),
					     .events = &events,
					     .owner = member,
				     },
				     &problem);
	assert_string_equal(problem.text, "");
	assert_non_null(member->bus);
	return member;
}

static void leave(struct member *member)
{
	store_bus_leave(member->bus);
	free(member->last);
	free(member);
}

static void subscribe(struct member *member, const char *channel)
{
	size_t ups = member->ups;

	assert_int_equal(store_bus_subscribe(member->bus, T(channel)), 0);
	AWAIT(member->fixture, member->ups > ups);
}

static void publish(struct member *member, const char *channel,
		    struct store_bytes bytes)
{
	assert_int_equal(store_bus_publish(member->bus, T(channel), bytes, NULL,
					   on_published, member),
			 0);
}

static bool knows_receivers(const struct fixture *f)
{
	return !f->is_cluster;
}

/* ---- */

static void
a_message_comes_to_who_subscribed_on_each_kind_of_channel(void **state)
{
	struct fixture *f = *state;
	struct member *member = join(f, f->store);
	static const char *const channels[] = { "", "/3", "node:api-worker-1",
						"node:{odd} one" };

	for (size_t i = 0; i < 4; i++) {
		subscribe(member, channels[i]);
		publish(member, channels[i], T("hello"));
		AWAIT(f, member->seen == i + 1 && member->published == i + 1);
		assert_string_equal(member->channel, channels[i]);
		assert_string_equal(member->last, "hello");
		assert_int_equal(member->error, 0);
		assert_int_equal(member->receivers,
				 knows_receivers(f) ? 1 : -1);
	}
	leave(member);
}

static void nobody_receives_what_nobody_subscribed_to(void **state)
{
	struct fixture *f = *state;
	struct member *member = join(f, f->store);

	subscribe(member, "/1");
	subscribe(member, "/2");
	store_bus_unsubscribe(member->bus, T("/1"));
	publish(member, "/1", T("a"));
	publish(member, "/3", T("b"));
	publish(member, "/2", T("c"));
	AWAIT(f, member->seen == 1 && member->published == 3);
	assert_string_equal(member->last, "c");
	assert_int_equal(member->receivers_sum, knows_receivers(f) ? 1 : -3);
	leave(member);
}

static void subscriptions_are_counted(void **state)
{
	struct fixture *f = *state;
	struct member *member = join(f, f->store);

	subscribe(member, "/1");
	assert_int_equal(store_bus_subscribe(member->bus, T("/1")), 0);
	store_bus_unsubscribe(member->bus, T("/1"));
	publish(member, "/1", T("a"));
	AWAIT(f, member->seen == 1);
	store_bus_unsubscribe(member->bus, T("/1"));
	subscribe(member, "/2");
	publish(member, "/1", T("b"));
	publish(member, "/2", T("c"));
	AWAIT(f, member->seen == 2);
	assert_string_equal(member->last, "c");
	leave(member);
}

static void bytes_of_any_kind_and_length_arrive_whole(void **state)
{
	struct fixture *f = *state;
	struct member *member = join(f, f->store);
	char *big = mem_alloc(STORE_BUS_MESSAGE_MAX + 1);
	static const size_t lengths[] = { 0,     1,      100,    65536,
					  65537, 300000, 1 << 20 };

	for (size_t i = 0; i <= STORE_BUS_MESSAGE_MAX; i++)
		big[i] = (char)(i * 31 >> 3);
	subscribe(member, "");
	for (size_t i = 0; i < sizeof(lengths) / sizeof(lengths[0]); i++) {
		publish(member, "", store_bytes(big, lengths[i]));
		AWAIT(f, member->seen == i + 1);
		assert_int_equal(member->last_length, lengths[i]);
		assert_memory_equal(member->last, big, lengths[i]);
	}
	publish(member, "", store_bytes(big, STORE_BUS_MESSAGE_MAX));
	AWAIT(f, member->last_length == STORE_BUS_MESSAGE_MAX);
	assert_int_equal(
		store_bus_publish(member->bus, T(""),
				  store_bytes(big, STORE_BUS_MESSAGE_MAX + 1),
				  NULL, NULL, NULL),
		-EMSGSIZE);
	char name[STORE_BUS_CHANNEL_MAX + 2] = "";

	memset(name, 'n', sizeof(name) - 1);
	assert_int_equal(store_bus_publish(member->bus, T(name), T("a"), NULL,
					   NULL, NULL),
			 -EINVAL);
	assert_int_equal(store_bus_subscribe(member->bus, T(name)), -EINVAL);
	subscribe(member, name + 1);
	publish(member, name + 1, T("long"));
	AWAIT(f, strcmp(member->last, "long") == 0);
	free(big);
	leave(member);
}

static void many_arrive_in_the_order_they_were_published(void **state)
{
	struct fixture *f = *state;
	struct member *member = join(f, f->store);
	char text[16];

	subscribe(member, "/1");
	for (unsigned round = 0; round < 20; round++) {
		for (unsigned i = 0; i < 1000; i++) {
			snprintf(text, sizeof(text), "%u", round * 1000 + i);
			publish(member, "/1", T(text));
		}
		AWAIT(f, member->seen >= round * 1000);
	}
	AWAIT(f, member->seen == 20000 && member->published == 20000);
	assert_int_equal(member->out_of_order, 0);
	leave(member);
}

static void
what_is_too_much_at_once_is_refused_or_dropped_and_counted(void **state)
{
	struct fixture *f = *state;
	struct member *member = join(f, f->store);
	struct store_bus_counters counters;
	size_t refused = 0;
	size_t length = (size_t)1 << 20;
	char *big = mem_zalloc(length);

	subscribe(member, "");
	for (unsigned i = 0; i < 40; i++)
		refused += store_bus_publish(member->bus, T(""),
					     store_bytes(big, length), NULL,
					     on_published, member) < 0;
	AWAIT(f, member->published == 40 - refused);
	store_bus_counters(member->bus, &counters);
	assert_true(counters.dropped >= refused);
	assert_true(counters.dropped > 0 && counters.dropped < 40);
	AWAIT(f, member->seen == 40 - counters.dropped);
	/* And it goes on. */
	publish(member, "", T("after"));
	AWAIT(f, strcmp(member->last, "after") == 0);
	free(big);
	leave(member);
}

static void nothing_is_told_to_who_has_left_or_is_to_be_forgotten(void **state)
{
	struct fixture *f = *state;
	struct member *member = join(f, f->store);
	struct member *other = mem_zalloc(sizeof(*other));

	other->fixture = f;
	subscribe(member, "");
	assert_int_equal(store_bus_publish(member->bus, T(""), T("1"), NULL,
					   on_published, other),
			 0);
	store_bus_forget(member->bus, other);
	publish(member, "", T("2"));
	AWAIT(f, member->published == 1);
	assert_int_equal(other->published, 0);
	publish(member, "", T("3"));
	leave(member);
	fixture_run_ms(f, 20);
	free(other);
	/* Once more from the beginning. */
	member = join(f, f->store);
	subscribe(member, "");
	publish(member, "", T("4"));
	AWAIT(f, member->seen >= 1 && strcmp(member->last, "4") == 0);
	leave(member);
}

static void more_channels_than_a_page_has_room_for(void **state)
{
	struct fixture *f = *state;
	struct member *member = join(f, f->store);
	char name[16];

	for (unsigned i = 0; i < 600; i++) {
		snprintf(name, sizeof(name), "/%u", i);
		assert_int_equal(store_bus_subscribe(member->bus, T(name)), 0);
	}
	AWAIT(f, member->ups == 600);
	for (unsigned i = 0; i < 600; i++) {
		snprintf(name, sizeof(name), "/%u", i);
		publish(member, name, T(name));
	}
	publish(member, "/600", T("nobody's"));
	AWAIT(f, member->seen == 600 && member->published == 601);
	for (unsigned i = 0; i < 599; i++) {
		snprintf(name, sizeof(name), "/%u", i);
		store_bus_unsubscribe(member->bus, T(name));
	}
	publish(member, "/1", T("gone"));
	publish(member, "/599", T("there"));
	AWAIT(f, strcmp(member->last, "there") == 0);
	assert_int_equal(member->seen, 601);
	leave(member);
}

static void the_secret_of_an_embedded_store_is_kept(void **state)
{
	struct fixture *f = *state;
	struct problem problem = { 0 };
	char secret[STORE_BUS_SECRET_BYTES];
	char again[STORE_BUS_SECRET_BYTES];
	struct stat status;

	if (strcmp(fixture_back_end, "lmdb") != 0) {
		assert_int_equal(store_bus_secret(f->store, secret, &problem),
				 -EREMOTE);
		return;
	}
	assert_int_equal(store_bus_secret(f->store, secret, &problem), 0);
	assert_int_equal(strlen(secret), 64);
	fixture_reopen(f);
	assert_int_equal(store_bus_secret(f->store, again, &problem), 0);
	assert_string_equal(secret, again);
	char *path = mem_format("%s/tasks/token", f->directory);

	assert_int_equal(stat(path, &status), 0);
	assert_int_equal(status.st_mode & 0777, 0600);
	FILE *file = fopen(path, "we");

	assert_non_null(file);
	fclose(file);
	assert_true(store_bus_secret(f->store, again, &problem) < 0);
	assert_string_equal(problem.name, "TOKEN_UNREADABLE");
	free(path);
}

static void the_stores_clock_is_known(void **state)
{
	struct fixture *f = *state;
	struct member *member = join(f, f->store);

	subscribe(member, "");
	fixture_run_ms(f, 50);
	/* All of them run here: on the same clock. */
	assert_true(llabs(store_bus_clock_offset_ms(member->bus)) < 1000);
	leave(member);
}

static void two_stores_are_two_receivers(void **state)
{
	struct fixture *f = *state;

	struct store *store = fixture_open(f, f->url);
	struct member *first = join(f, f->store);
	struct member *second = join(f, store);

	subscribe(first, "");
	subscribe(second, "");
	publish(first, "", T("to both"));
	AWAIT(f,
	      first->seen == 1 && second->seen == 1 && first->published == 1);
	assert_int_equal(first->receivers, knows_receivers(f) ? 2 : -1);
	leave(second);
	fixture_close(f, store);
	leave(first);
}

/* ---- what is kept ---- */

static void keep(struct member *member, const char *log, const char *text,
		 uint32_t entries, uint32_t keep_ms)
{
	const struct store_bus_log kept = { T(log), entries, keep_ms };
	size_t published = member->published;

	assert_int_equal(store_bus_publish(member->bus, T("/3"), T(text), &kept,
					   on_published, member),
			 0);
	AWAIT(member->fixture, member->published > published);
	assert_int_equal(member->error, 0);
}

/* All that is kept there, with spaces between. */
static const char *kept(struct fixture *f, const char *log)
{
	static char all[1024];
	struct reply *reply = ASK(log_read, .channel = T("/3"), .name = T(log));

	assert_int_equal(reply->error, 0);
	assert_int_equal(reply->result, STORE_DONE);
	assert_true(reply->count <= 64);
	all[0] = '\0';
	for (size_t i = 0; i < reply->count; i++) {
		strcat(all, i > 0 ? " " : "");
		strcat(all, reply->items[i].id);
	}
	return all;
}

static void what_is_kept_is_published_and_read_in_order(void **state)
{
	struct fixture *f = *state;
	struct member *member = join(f, f->store);

	subscribe(member, "/3");
	assert_string_equal(kept(f, "/a"), "");
	keep(member, "/a", "1", 10, 60000);
	keep(member, "/a", "2", 10, 60000);
	keep(member, "/b", "3", 10, 60000);
	publish(member, "/3", T("4"));
	AWAIT(f, member->seen == 4 && member->published == 4);
	assert_int_equal(member->receivers_sum, knows_receivers(f) ? 4 : -4);
	assert_string_equal(kept(f, "/a"), "1 2");
	assert_string_equal(kept(f, "/b"), "3");
	leave(member);
}

static void no_more_is_kept_than_was_said(void **state)
{
	struct fixture *f = *state;
	struct member *member = join(f, f->store);
	char text[16];

	for (int i = 1; i <= 20; i++) {
		snprintf(text, sizeof(text), "%d", i);
		keep(member, "/a", text, 5, 60000);
	}
	assert_string_equal(kept(f, "/a"), "16 17 18 19 20");
	keep(member, "/a", "21", 2, 60000);
	assert_string_equal(kept(f, "/a"), "20 21");
	leave(member);
}

static void what_is_too_much_for_a_log_makes_room(void **state)
{
	struct fixture *f = *state;
	struct member *member = join(f, f->store);
	const struct store_bus_log log = { T("/a"), 1000, 60000 };
	size_t length = STORE_BUS_LOG_BYTES / 16;
	char *big = mem_alloc(length);

	memset(big, 'x', length);
	for (size_t i = 0; i < 40; i++) {
		assert_int_equal(store_bus_publish(member->bus, T("/3"),
						   store_bytes(big, length),
						   &log, on_published, member),
				 0);
		AWAIT(f, member->published == i + 1);
	}
	/* Each has a few bytes more. */
	assert_int_equal(
		ASK(log_read, .channel = T("/3"), .name = T("/a"))->count, 15);
	free(big);
	leave(member);
}

static void nothing_is_kept_for_longer_than_was_said(void **state)
{
	struct fixture *f = *state;
	struct member *member = join(f, f->store);

	keep(member, "/a", "1", 10, 50);
	fixture_run_ms(f, 100);
	assert_string_equal(kept(f, "/a"), "");
	/* It starts anew. */
	keep(member, "/a", "2", 10, 60000);
	assert_string_equal(kept(f, "/a"), "2");
	leave(member);
}

static void the_life_of_a_store_is_the_same_for_all(void **state)
{
	struct fixture *f = *state;
	struct member *member = join(f, f->store);
	char life[sizeof(((struct reply *)0)->text)];

	snprintf(life, sizeof(life), "%s",
		 ASK(log_read, .channel = T("/3"), .name = T("/a"))->text);
	assert_string_not_equal(life, "");
	keep(member, "/a", "1", 10, 60000);
	assert_string_equal(
		ASK(log_read, .channel = T("/3"), .name = T("/b"))->text, life);
	leave(member);
}

static void bounds_that_are_none_are_refused(void **state)
{
	struct fixture *f = *state;
	struct member *member = join(f, f->store);
	const struct store_bus_log wrong[] = {
		{ T("/a"), 0, 1 },
		{ T("/a"), 1, 0 },
		{ T("/a"), STORE_BUS_LOG_ENTRIES_MAX + 1, 1 },
	};

	for (size_t i = 0; i < 3; i++)
		assert_int_equal(store_bus_publish(member->bus, T("/3"), T("1"),
						   &wrong[i], NULL, NULL),
				 -EINVAL);
	leave(member);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
#define TEST(name)                                                             \
	cmocka_unit_test_setup_teardown(name, fixture_set_up, fixture_tear_down)
		TEST(a_message_comes_to_who_subscribed_on_each_kind_of_channel),
		TEST(nobody_receives_what_nobody_subscribed_to),
		TEST(subscriptions_are_counted),
		TEST(bytes_of_any_kind_and_length_arrive_whole),
		TEST(many_arrive_in_the_order_they_were_published),
		TEST(what_is_too_much_at_once_is_refused_or_dropped_and_counted),
		TEST(nothing_is_told_to_who_has_left_or_is_to_be_forgotten),
		TEST(more_channels_than_a_page_has_room_for),
		TEST(the_secret_of_an_embedded_store_is_kept),
		TEST(the_stores_clock_is_known),
		TEST(two_stores_are_two_receivers),
		TEST(what_is_kept_is_published_and_read_in_order),
		TEST(no_more_is_kept_than_was_said),
		TEST(what_is_too_much_for_a_log_makes_room),
		TEST(nothing_is_kept_for_longer_than_was_said),
		TEST(the_life_of_a_store_is_the_same_for_all),
		TEST(bounds_that_are_none_are_refused),
	};

	if (argc > 1)
		fixture_back_end = argv[1];
	return cmocka_run_group_tests(tests, NULL, NULL);
}
