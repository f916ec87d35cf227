/* A node alone, with an embedded store: its life, its fibers, its waits. */
#include <errno.h>
#include <muster/node.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

static char folder[64];

static int set_up(void **state)
{
	(void)state;
	snprintf(folder, sizeof(folder), "/tmp/muster-node-XXXXXX");
	return mkdtemp(folder) == NULL ? -1 : setenv("MUSTER_HOME", folder, 1);
}

static int tear_down(void **state)
{
	char command[128];

	(void)state;
	snprintf(command, sizeof(command), "rm -r '%s'", folder);
	/* NOLINTNEXTLINE(cert-env33-c): the words are ours alone */
	return system(command) == 0 ? 0 : -1;
}

static uint64_t now_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

/* Runs a guest whose on_start is `fn`: it ends by itself. */
static int run_guest(muster_start_fn fn, void *arg)
{
	struct muster *muster = muster_open(NULL, &(struct muster_node_options){
							  .name = "test",
							  .is_guest = true,
							  .on_start = fn,
							  .arg = arg,
						  });

	assert_non_null(muster);
	return muster_run(muster);
}

/* ---- waits ---- */

static void block(void *arg)
{
	*(int *)arg = 42;
}

static int wait_in_every_way(struct muster *muster, void *arg)
{
	uint64_t began_ms = now_ms();
	int answer = 0;

	assert_int_equal(muster_sleep(muster, 30), 0);
	assert_true(now_ms() - began_ms >= 29);
	assert_int_equal(muster_blocking(muster, block, &answer), 0);
	assert_int_equal(answer, 42);
	assert_int_equal(muster_set_deadline(muster, 20), 0);
	assert_int_equal(muster_sleep(muster, 60000), -ETIMEDOUT);
	assert_string_equal(muster_problem_word(muster), "DEADLINE");
	/* Once: it may clean up. */
	assert_int_equal(muster_sleep(muster, 1), 0);
	*(bool *)arg = true;
	return 0;
}

static void a_fiber_sleeps_blocks_and_meets_its_deadline(void **state)
{
	bool was_run = false;

	(void)state;
	assert_int_equal(run_guest(wait_in_every_way, &was_run), 0);
	assert_true(was_run);
}

static void count_down(struct muster *muster, void *arg)
{
	int *left = arg;

	assert_int_equal(muster_sleep(muster, (uint64_t)*left), 0);
	*left -= 1;
}

static int spawn_ten(struct muster *muster, void *arg)
{
	for (int i = 0; i < 10; i++)
		assert_int_equal(
			muster_spawn(muster, "counter", count_down, arg), 0);
	return 0;
}

static void a_guest_ends_when_its_fibers_have(void **state)
{
	int left = 10;

	(void)state;
	assert_int_equal(run_guest(spawn_ten, &left), 0);
	assert_int_equal(left, 0);
}

static int text_and_json(struct muster *muster, void *arg)
{
	(void)arg;
	assert_string_equal(muster_text(muster, "%d-%s", 7, "x"), "7-x");
	assert_string_equal(
		muster_json(muster, "{s:s,s:[i,b]}", "a", "\"q\"", "b", 1, 1),
		"{\"a\":\"\\\"q\\\"\",\"b\":[1,true]}");
	assert_string_equal(muster_json(muster, "{s:s}", "a", "\xff"), "");
	assert_string_equal(muster_problem_word(muster), "JSON_INVALID");
	muster_clear_answers(muster);
	return 0;
}

static void texts_belong_to_the_fiber(void **state)
{
	(void)state;
	assert_int_equal(run_guest(text_and_json, NULL), 0);
}

/* ---- life ---- */

static void loop_for_ever(struct muster *muster, void *arg)
{
	int *ended = arg;

	while (muster_sleep(muster, 3600 * 1000) != -ECANCELED)
		;
	/* What it cleans up may wait. */
	assert_int_equal(muster_sleep(muster, 1), 0);
	*ended += 1;
}

static int stop_soon(struct muster *muster, void *arg)
{
	assert_int_equal(muster_spawn(muster, "background", loop_for_ever, arg),
			 0);
	assert_int_equal(muster_spawn(muster, "background", loop_for_ever, arg),
			 0);
	assert_false(muster_is_stopping(muster));
	muster_stop(muster, 5);
	assert_true(muster_is_stopping(muster));
	return 0;
}

static void told_to_stop_it_cancels_what_is_left(void **state)
{
	int ended = 0;

	(void)state;
	assert_int_equal(run_guest(stop_soon, &ended), 5);
	assert_int_equal(ended, 2);
}

static int refuse(struct muster *muster, void *arg)
{
	(void)muster;
	(void)arg;
	return -EINVAL;
}

static void a_failed_start_ends_it_with_1(void **state)
{
	(void)state;
	assert_int_equal(run_guest(refuse, NULL), 1);
}

static void off_a_fiber_nothing_waits(void **state)
{
	struct muster *muster =
		muster_open(NULL, &(struct muster_node_options){
					  .name = "test", .is_guest = true });

	(void)state;
	assert_non_null(muster);
	assert_int_equal(muster_sleep(muster, 1), -EPERM);
	assert_string_equal(muster_problem_word(muster), "NOT_ON_A_FIBER");
	assert_int_equal(muster_run(muster), 0);
}

static void what_cannot_be_is_refused(void **state)
{
	static const struct {
		struct muster_node_options options;
		int code;
	} cases[] = {
		{ { .store = "ftp://x", .is_guest = true }, EINVAL },
		{ { .name = "a/b" }, EINVAL },
		{ { .store = "redis://127.0.0.1" }, EINVAL },
		{ { .store = "redis://127.0.0.1", .token = "change-me" },
		  EINVAL },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		errno = 0;
		assert_null(muster_open(NULL, &cases[i].options));
		assert_int_equal(errno, cases[i].code);
	}
}

static void a_guest_does_not_wait_for_a_server_that_is_away(void **state)
{
	struct muster *muster =
		muster_open(NULL, &(struct muster_node_options){
					  .store = "redis://127.0.0.1:1",
					  .store_ms = 50,
					  .is_guest = true,
				  });

	(void)state;
	assert_non_null(muster);
	assert_int_equal(muster_run(muster), 1);
}

static int raise_term(struct muster *muster, void *arg)
{
	(void)muster;
	(void)arg;
	return raise(SIGTERM) == 0 ? 0 : -EINVAL;
}

static void term_ends_it_in_order(void **state)
{
	struct muster *muster = muster_open(
		NULL, &(struct muster_node_options){ .name = "test",
						     .on_start = raise_term });

	(void)state;
	assert_non_null(muster);
	assert_int_equal(muster_run(muster), 0);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_fiber_sleeps_blocks_and_meets_its_deadline),
		cmocka_unit_test(a_guest_ends_when_its_fibers_have),
		cmocka_unit_test(texts_belong_to_the_fiber),
		cmocka_unit_test(told_to_stop_it_cancels_what_is_left),
		cmocka_unit_test(a_failed_start_ends_it_with_1),
		cmocka_unit_test(off_a_fiber_nothing_waits),
		cmocka_unit_test(what_cannot_be_is_refused),
		cmocka_unit_test(
			a_guest_does_not_wait_for_a_server_that_is_away),
		cmocka_unit_test(term_ends_it_in_order),
	};

	return cmocka_run_group_tests(tests, set_up, tear_down);
}
