/* What waits for tasks, on either back end. */
#include "task.h"

static struct reply *start_wait(struct fixture *f, const char *second,
				uint32_t timeout_ms)
{
	const struct store_bytes queues[] = { T(""), T(second) };

	return START(wait, .queues = queues, .queue_count = 2,
		     .timeout_ms = timeout_ms);
}

static void who_waits_is_woken(void **state)
{
	struct fixture *f = *state;
	struct reply *wait = start_wait(f, "api-worker-1", 30000);

	fixture_run_ms(f, 30);
	assert_int_equal(wait->times, 0);
	PUT(.id = T("a"));
	assert_int_equal(reply_wait(wait)->result, STORE_WOKEN);
	assert_int_equal(TAKE("me", 1)->count, 1);
	wait = start_wait(f, "api-worker-1", 30000);
	fixture_run_ms(f, 30);
	PUT(.id = T("b"), .queue = T("api-worker-1"));
	assert_int_equal(reply_wait(wait)->result, STORE_WOKEN);
	assert_int_equal(task_take_from(f, f->store, "me", "api-worker-1", 1,
					TASK_LEASE_MS)
				 ->count,
			 1);
}

static void what_is_there_already_wakes(void **state)
{
	struct fixture *f = *state;

	PUT(.id = T("a"));
	assert_int_equal(reply_wait(start_wait(f, "x-1", 30000))->result,
			 STORE_WOKEN);
}

static void waiting_ends_in_time(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(reply_wait(start_wait(f, "x-1", 50))->result,
			 STORE_TIMED_OUT);
}

static void a_delayed_task_shortens_the_wait(void **state)
{
	struct fixture *f = *state;
	struct reply *wait = start_wait(f, "x-1", 30000);

	fixture_run_ms(f, 30);
	PUT(.id = T("a"), .delay_ms = 5000);
	assert_int_equal(reply_wait(wait)->result, STORE_WOKEN);
	struct reply *claim = TAKE("me", 1);

	assert_int_equal(claim->count, 0);
	assert_true(claim->next_ms > 3000 && claim->next_ms <= 5000);
}

static void what_is_handed_back_wakes(void **state)
{
	struct fixture *f = *state;

	PUT(.id = T("a"));
	TAKE("dead", 1);
	/* A mark may be left over from before. */
	reply_wait(start_wait(f, "x-1", 20));
	struct reply *wait = start_wait(f, "x-1", 30000);

	fixture_run_ms(f, 30);
	assert_int_equal(wait->times, 0);
	assert_int_equal(ASK(reap_owner, .owner = T("dead"))->value, 1);
	assert_int_equal(reply_wait(wait)->result, STORE_WOKEN);
}

static void several_can_wait(void **state)
{
	struct fixture *f = *state;
	struct reply *waits[3];
	unsigned woken = 0;

	for (size_t i = 0; i < 3; i++)
		waits[i] = start_wait(f, i == 2 ? "y-1" : "x-1", 30000);
	fixture_run_ms(f, 30);
	PUT(.id = T("a"), .queue = T("y-1"));
	assert_int_equal(reply_wait(waits[2])->result, STORE_WOKEN);
	store_forget(f->store, waits[0]);
	PUT(.id = T("b"));
	assert_int_equal(reply_wait(waits[1])->result, STORE_WOKEN);
	for (size_t i = 0; i < 3; i++)
		woken += waits[i]->times;
	assert_int_equal(woken, 2);
}

static void who_leaves_a_claim_gives_it_back(void **state)
{
	struct fixture *f = *state;
	const struct store_bytes queues[] = { T("") };
	struct reply *claim = NULL;

	PUT(.id = T("a"));
	/* Under way, that is: an answer may be faster than we are. */
	for (int i = 0; i < 100; i++) {
		claim = START(claim, .owner = T("gone"), .queues = queues,
			      .queue_count = 1, .want = 1,
			      .lease_ms = TASK_LEASE_MS);
		loop_turn(f->loop);
		if (claim->times == 0)
			break;
		task_give_back(f, "a", claim->items[0].token);
	}
	assert_int_equal(claim->times, 0);
	store_forget(f->store, claim);
	struct reply *again = task_take_in_time(f, TASK_LEASE_MS);

	assert_int_equal(claim->times, 0);
	assert_int_equal(again->items[0].attempt, 1);
}

int main(int count, char **arguments)
{
#define TEST(name)                                                             \
	cmocka_unit_test_setup_teardown(name, fixture_set_up, fixture_tear_down)
	const struct CMUnitTest tests[] = {
		TEST(who_waits_is_woken),
		TEST(what_is_there_already_wakes),
		TEST(waiting_ends_in_time),
		TEST(a_delayed_task_shortens_the_wait),
		TEST(what_is_handed_back_wakes),
		TEST(several_can_wait),
		TEST(who_leaves_a_claim_gives_it_back),
	};

	if (count > 1)
		fixture_back_end = arguments[1];
	return cmocka_run_group_tests(tests, NULL, NULL);
}
