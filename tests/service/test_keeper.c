/* Leases that a thread of their own prolongs, on each back end: argv[1]. */
#include <stdio.h>
#include <string.h>

#include "base/must.h"
#include "fixture.h"
#include "service/keeper.h"

#define LEASE_MS    300
#define DEADLINE_MS 20000
#define MANY        300

static unsigned news;

static void on_news(void *owner)
{
	(void)owner;
	news++;
}

static struct keeper *open_keeper(struct fixture *f)
{
	news = 0;
	return keeper_new(f->loop, &f->log,
			  &(struct keeper_settings){
				  .store_url = f->url,
				  .store = f->options,
				  .lease_ms = LEASE_MS,
				  .on_news = on_news,
			  });
}

#define AWAIT(f, condition)                                                    \
	do {                                                                   \
		uint64_t until_ms = keeper_now_ms() + DEADLINE_MS;             \
		while (!(condition)) {                                         \
			if (keeper_now_ms() > until_ms)                        \
				fail_msg("never: %s", #condition);             \
			fixture_run_ms((f), 5);                                \
		}                                                              \
	} while (0)

static const struct store_bytes global = { "", 0 };

/* Enqueues and claims one, whose lease is to be kept. */
static void take(struct fixture *f, struct keeper_lease *lease, const char *id,
		 uint64_t *token)
{
	struct reply *reply;

	assert_int_equal(
		ASK(enqueue,
		    .tasks = &(struct store_task){ .id = T(id),
						   .envelope = T("{}") },
		    .count = 1)
			->results[0],
		STORE_DONE);
	reply = ASK(claim, .owner = T("me"), .queues = &global,
		    .queue_count = 1, .want = 1, .lease_ms = LEASE_MS);
	assert_int_equal(reply->count, 1);
	memset(lease, 0, sizeof(*lease));
	lease->id = id;
	lease->token = reply->items[0].token;
	*token = lease->token;
}

static void a_lease_lasts_as_long_as_it_is_kept(void **state)
{
	struct fixture *f = *state;
	struct keeper *keeper = open_keeper(f);
	struct keeper_lease lease;
	uint64_t token;

	take(f, &lease, "a", &token);
	assert_false(keeper_is_running(keeper));
	keeper_add(keeper, &lease);
	assert_true(keeper_is_running(keeper));
	fixture_run_ms(f, LEASE_MS * 4);
	assert_false(atomic_load(&lease.is_fenced));
	assert_int_equal(ASK(claim, .owner = T("other"), .queues = &global,
			     .queue_count = 1, .want = 1, .lease_ms = LEASE_MS)
				 ->count,
			 0);
	assert_true(atomic_load(&lease.sure_until_ms) > keeper_now_ms());
	keeper_remove(keeper, &lease);
	AWAIT(f, !keeper_is_running(keeper));
	/* Let go of, it is somebody else's in the end. */
	AWAIT(f, ASK(claim, .owner = T("other"), .queues = &global,
		     .queue_count = 1, .want = 1, .lease_ms = LEASE_MS)
				 ->count == 1);
	/* Which the keeper finds out, started anew. */
	keeper_add(keeper, &lease);
	AWAIT(f, atomic_load(&lease.is_fenced) && news > 0);
	keeper_remove(keeper, &lease);
	keeper_free(keeper);
}

static void a_cancellation_is_heard_of(void **state)
{
	struct fixture *f = *state;
	struct keeper *keeper = open_keeper(f);
	struct keeper_lease lease;
	uint64_t token;

	take(f, &lease, "a", &token);
	keeper_add(keeper, &lease);
	ASK(cancel, .ids = &(struct store_bytes){ "a", 1 }, .count = 1);
	AWAIT(f, atomic_load(&lease.is_cancelled) && news > 0);
	assert_false(atomic_load(&lease.is_fenced));
	keeper_free(keeper); /* with what it still keeps */
}

static void past_its_time_a_lease_is_let_go(void **state)
{
	struct fixture *f = *state;
	struct keeper *keeper = open_keeper(f);
	struct keeper_lease lease;
	uint64_t token;

	take(f, &lease, "a", &token);
	lease.until_ms = keeper_now_ms() + LEASE_MS / 2;
	keeper_add(keeper, &lease);
	AWAIT(f, atomic_load(&lease.is_fenced) && news > 0);
	AWAIT(f, ASK(claim, .owner = T("other"), .queues = &global,
		     .queue_count = 1, .want = 1, .lease_ms = LEASE_MS)
				 ->count == 1);
	keeper_remove(keeper, &lease);
	keeper_free(keeper);
}

static void many_come_and_go_while_it_works(void **state)
{
	static struct keeper_lease leases[MANY];
	static char ids[MANY][8];
	static uint64_t tokens[MANY];
	struct fixture *f = *state;
	struct keeper *keeper = open_keeper(f);
	uint64_t until_ms = keeper_now_ms() + LEASE_MS * 3;

	for (size_t i = 0; i < MANY; i++) {
		snprintf(ids[i], sizeof(ids[i]), "t%zu", i);
		take(f, &leases[i], ids[i], &tokens[i]);
		keeper_add(keeper, &leases[i]);
	}
	for (size_t i = 0; keeper_now_ms() < until_ms; i = (i + 7) % MANY) {
		keeper_remove(keeper, &leases[i]);
		keeper_add(keeper, &leases[i]);
		/* The others are as old as they were: they are prolonged. */
		if (i == 0)
			fixture_run_ms(f, 1);
	}
	for (size_t i = 0; i < MANY; i++)
		assert_int_equal(leases[i].token, tokens[i]);
	keeper_free(keeper);
}

int main(int argc, char **argv)
{
#define TEST(fn)                                                               \
	cmocka_unit_test_setup_teardown(fn, fixture_set_up, fixture_tear_down)
	static const struct CMUnitTest tests[] = {
		TEST(a_lease_lasts_as_long_as_it_is_kept),
		TEST(a_cancellation_is_heard_of),
		TEST(past_its_time_a_lease_is_let_go),
		TEST(many_come_and_go_while_it_works),
	};

	if (argc > 1)
		fixture_back_end = argv[1];
	return cmocka_run_group_tests(tests, NULL, NULL);
}
