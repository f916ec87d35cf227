/* Several stores of one place in a process, each on a thread with a loop of its
 * own. */
#include "fixture.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/must.h"

#define ROUNDS 40
#define TASKS  120

static const struct store_bytes queues[] = { { "", 0 } };

/* What a thread has, as far as the others may know of it. */
struct side {
	struct fixture fixture; /* its own loop, store and answers */
	pthread_t thread;
	void (*run)(struct side *side);
	pthread_barrier_t *barrier;
	uint64_t token;
	size_t done;
};

static void open_side(struct side *side)
{
	struct fixture *f = &side->fixture;

	f->loop = loop_new(&f->log);
	f->store = fixture_open(f, f->url);
}

static void close_side(struct side *side)
{
	fixture_close(&side->fixture, side->fixture.store);
	loop_free(side->fixture.loop);
	while (side->fixture.replies != NULL) {
		struct reply *reply = side->fixture.replies;

		side->fixture.replies = reply->next;
		free(reply);
	}
}

static void *run_side(void *argument)
{
	struct side *side = argument;

	open_side(side);
	side->run(side);
	close_side(side);
	return NULL;
}

static void start_side(struct fixture *f, struct side *side,
		       void (*run)(struct side *side),
		       pthread_barrier_t *barrier)
{
	struct fixture *its = &side->fixture;

	memcpy(its->url, f->url, sizeof(its->url));
	its->options = f->options;
	its->log = f->log;
	side->run = run;
	side->barrier = barrier;
	MUST(pthread_create(&side->thread, NULL, run_side, side) == 0);
}

static void join_side(struct side *side)
{
	MUST(pthread_join(side->thread, NULL) == 0);
}

static enum store_result enqueue_one(struct fixture *f, const char *id)
{
	const struct store_task task = { .id = T(id), .envelope = T("{}") };

	return ASK(enqueue, .tasks = &task, .count = 1)->results[0];
}

static struct reply *claim_some(struct fixture *f, const char *owner,
				uint32_t want)
{
	return ASK(claim, .owner = T(owner), .queues = queues, .queue_count = 1,
		   .want = want, .lease_ms = 60000);
}

static enum store_result complete_one(struct fixture *f, const char *id,
				      uint64_t token)
{
	const struct store_completion item = { .id = T(id), .token = token };

	return ASK(complete, .items = &item, .count = 1)->results[0];
}

static void keep_and_complete(struct side *side)
{
	struct fixture *f = &side->fixture;
	const struct store_lease lease = { T("kept"), side->token };

	for (size_t i = 0; i < ROUNDS; i++)
		MUST(ASK(heartbeat, .leases = &lease, .count = 1,
			 .lease_ms = 60000)
			     ->results[0] == STORE_DONE);
	MUST(complete_one(f, "kept", side->token) == STORE_DONE);
}

static void a_lease_is_kept_by_another_thread(void **state)
{
	struct fixture *f = *state;
	struct side *side = mem_zalloc(sizeof(*side));

	assert_int_equal(enqueue_one(f, "kept"), STORE_DONE);
	side->token = claim_some(f, "worker", 1)->items[0].token;
	start_side(f, side, keep_and_complete, NULL);
	for (size_t i = 0; i < ROUNDS; i++) {
		char id[16];

		snprintf(id, sizeof(id), "t%zu", i);
		assert_int_equal(enqueue_one(f, id), STORE_DONE);
	}
	join_side(side);
	assert_int_equal(complete_one(f, "kept", side->token), STORE_KNOWN);
	assert_int_equal(ASK(counts)->queued, ROUNDS);
	free(side);
}

static void work(struct side *side)
{
	struct fixture *f = &side->fixture;
	char id[32];

	for (size_t i = 0; i < TASKS; i++) {
		snprintf(id, sizeof(id), "%p-%zu", (void *)side, i);
		MUST(enqueue_one(f, id) == STORE_DONE);
		struct reply *claim = claim_some(f, "worker", 3);

		for (size_t j = 0; j < claim->count; j++)
			side->done += complete_one(f, claim->items[j].id,
						   claim->items[j].token) ==
				      STORE_DONE;
	}
}

static void tasks_are_done_once_by_all_threads(void **state)
{
	struct fixture *f = *state;
	struct side *sides = mem_zalloc(3 * sizeof(*sides));
	size_t done = 0;

	for (size_t i = 0; i < 3; i++)
		start_side(f, &sides[i], work, NULL);
	for (size_t i = 0; i < 3; i++) {
		join_side(&sides[i]);
		done += sides[i].done;
	}
	struct reply *counts = ASK(counts);

	assert_int_equal(done + counts->queued, 3 * TASKS);
	assert_int_equal(counts->done, done);
	assert_int_equal(counts->active, 0);
	assert_int_equal(counts->orphans, 0);
	free(sides);
}

static void await_one(struct side *side)
{
	struct fixture *f = &side->fixture;
	struct reply *wait = START(wait, .queues = queues, .queue_count = 1,
				   .timeout_ms = 60000);

	/* What the queue gets from now on wakes it, or is found at once. */
	pthread_barrier_wait(side->barrier);
	MUST(reply_wait(wait)->result == STORE_WOKEN);
	struct reply *claim = claim_some(f, "worker", 1);

	MUST(claim->count == 1);
	MUST(complete_one(f, claim->items[0].id, claim->items[0].token) ==
	     STORE_DONE);
}

static void a_thread_is_woken_by_another(void **state)
{
	struct fixture *f = *state;
	struct side *side = mem_zalloc(sizeof(*side));
	pthread_barrier_t barrier;

	pthread_barrier_init(&barrier, NULL, 2);
	start_side(f, side, await_one, &barrier);
	pthread_barrier_wait(&barrier);
	assert_int_equal(enqueue_one(f, "a"), STORE_DONE);
	join_side(side);
	pthread_barrier_destroy(&barrier);
	assert_int_equal(ASK(counts)->done, 1);
	free(side);
}

static void work_after_the_other_has_gone(struct side *side)
{
	struct fixture *f = &side->fixture;

	pthread_barrier_wait(side->barrier);
	/* The other side closes its store. */
	pthread_barrier_wait(side->barrier);
	MUST(enqueue_one(f, "b") == STORE_DONE);
	MUST(ASK(cache_save, .key = T("k"), .value = T("v"))->result ==
	     STORE_DONE);
	struct reply *claim = claim_some(f, "worker", 5);

	MUST(claim->count == 2);
	for (size_t i = 0; i < 2; i++)
		MUST(complete_one(f, claim->items[i].id,
				  claim->items[i].token) == STORE_DONE);
}

static void the_first_to_open_may_close_first(void **state)
{
	struct fixture *f = *state;
	struct side *side = mem_zalloc(sizeof(*side));
	pthread_barrier_t barrier;

	pthread_barrier_init(&barrier, NULL, 2);
	assert_int_equal(enqueue_one(f, "a"), STORE_DONE);
	start_side(f, side, work_after_the_other_has_gone, &barrier);
	pthread_barrier_wait(&barrier);
	fixture_close(f, f->store);
	pthread_barrier_wait(&barrier);
	join_side(side);
	f->store = fixture_open(f, f->url);
	assert_int_equal(ASK(counts)->done, 2);
	assert_string_equal(ASK(cache_load, .key = T("k"))->text, "v");
	pthread_barrier_destroy(&barrier);
	free(side);
}

static void come_and_go(struct side *side)
{
	struct fixture *f = &side->fixture;

	for (size_t i = 0; i < 15; i++) {
		char id[32];

		snprintf(id, sizeof(id), "%p-%zu", (void *)side, i);
		MUST(enqueue_one(f, id) == STORE_DONE);
		/* Some of it is under way while it closes. */
		START(cache_save, .key = T(id), .value = T("v"));
		fixture_close(f, f->store);
		f->store = fixture_open(f, f->url);
	}
}

static void threads_may_come_and_go(void **state)
{
	struct fixture *f = *state;
	struct side *sides = mem_zalloc(3 * sizeof(*sides));

	fixture_close(f, f->store);
	for (size_t i = 0; i < 3; i++)
		start_side(f, &sides[i], come_and_go, NULL);
	for (size_t i = 0; i < 3; i++)
		join_side(&sides[i]);
	f->store = fixture_open(f, f->url);
	assert_int_equal(ASK(counts)->queued, 45);
	free(sides);
}

static void count_under_a_lock(struct side *side)
{
	struct fixture *f = &side->fixture;
	char owner[32];

	snprintf(owner, sizeof(owner), "%p", (void *)side);
	for (size_t i = 0; i < ROUNDS / 2; i++) {
		struct reply *lock =
			ASK(cache_lock, .key = T("k"), .owner = T(owner),
			    .ttl_ms = 60000, .wait_ms = 60000);

		MUST(lock->result == STORE_DONE && lock->is_new);
		/* Not in one step: only the lock keeps it right. */
		struct reply *load = ASK(cache_load, .key = T("n"));
		char text[16];

		snprintf(text, sizeof(text), "%d", atoi(load->text) + 1);
		MUST(ASK(cache_save, .key = T("n"), .value = T(text))->result ==
		     STORE_DONE);
		MUST(ASK(cache_unlock, .key = T("k"), .owner = T(owner),
			 .token = lock->token)
			     ->result == STORE_DONE);
	}
}

static void threads_wait_for_each_others_locks(void **state)
{
	struct fixture *f = *state;
	struct side *sides = mem_zalloc(3 * sizeof(*sides));

	assert_done(ASK(cache_save, .key = T("n"), .value = T("0")));
	for (size_t i = 0; i < 3; i++)
		start_side(f, &sides[i], count_under_a_lock, NULL);
	for (size_t i = 0; i < 3; i++)
		join_side(&sides[i]);
	assert_string_equal(ASK(cache_load, .key = T("n"))->text, "60");
	free(sides);
}

#define TEST(name)                                                             \
	cmocka_unit_test_setup_teardown(name, fixture_set_up, fixture_tear_down)

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		TEST(a_lease_is_kept_by_another_thread),
		TEST(tasks_are_done_once_by_all_threads),
		TEST(a_thread_is_woken_by_another),
		TEST(threads_wait_for_each_others_locks),
		TEST(the_first_to_open_may_close_first),
		TEST(threads_may_come_and_go),
	};

	if (argc > 1)
		fixture_back_end = argv[1];
	return cmocka_run_group_tests(tests, NULL, NULL);
}
