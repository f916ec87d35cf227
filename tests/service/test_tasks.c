/* What runs, how it ends, and who has it: argv[1] is the back end. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/must.h"
#include "scene.h"
#include "service/tasks_internal.h"

/* ---- runs ---- */

static void say_once(struct muster *muster, void *arg)
{
	struct muster_task_info info;
	const char *id = NULL;

	(void)arg;
	assert_int_equal(muster_task_enqueue(muster, "say",
					     &(struct muster_enqueue){
						     .params = muster_json(
							     muster, "{s:s}",
							     "word", "h\"i\n"),
						     .made_id = &id }),
			 0);
	AWAIT(muster, seen.runs == 1);
	assert_string_equal(seen.log, "h\"i\n");
	AWAIT(muster, muster_task_show(muster, id, &info) == 0 &&
			      info.state == MUSTER_TASK_DONE);
	assert_string_equal(info.id, id);
}

static void what_is_enqueued_runs_and_is_done(void **state)
{
	PLAY(state, say_tasks, say_once);
}

static int look_at_itself(struct muster_job *job)
{
	assert_string_equal(muster_job_task(job), "look");
	assert_string_equal(muster_job_id(job), "look-1");
	assert_string_equal(muster_job_queue(job), "");
	assert_string_equal(muster_job_arg(job), "arg");
	assert_int_equal(muster_job_attempt(job), 1);
	assert_int_equal(muster_job_attempts(job), 3);
	assert_true(muster_job_token(job) > 0);
	assert_true(muster_job_enqueued_ms(job) > 1700000000000);
	assert_string_equal(muster_job_text(job, "text"), "t");
	assert_null(muster_job_text(job, "number"));
	assert_null(muster_job_text(job, "none"));
	assert_int_equal(muster_job_int(job, "number", 7), 42);
	assert_int_equal(muster_job_int(job, "none", 7), 7);
	assert_true(muster_job_number(job, "half", 0) == 0.5);
	assert_true(muster_job_bool(job, "yes", false));
	assert_true(muster_job_bool(job, "none", true));
	assert_string_equal(muster_job_json(job, "list"), "[1,{}]");
	assert_null(muster_job_json(job, "none"));
	assert_non_null(strstr(muster_job_params(job), "\"number\":42"));
	assert_false(muster_job_is_fenced(job));
	assert_false(muster_job_is_cancelled(job));
	assert_true(muster_job_lease_ms(job) > 20000);
	assert_int_equal(muster_job_set_result(job, "{"), -EINVAL);
	assert_int_equal(muster_job_set_result(job, "{\"sum\":3}"), 0);
	seen.runs++;
	return 0;
}

static void look(struct muster *muster, void *arg)
{
	struct muster_task_info info = { 0 };

	(void)arg;
	assert_int_equal(
		muster_task_enqueue(
			muster, "look",
			&(struct muster_enqueue){
				.params = "{\"text\":\"t\",\"number\":42,"
					  "\"half\":0.5,\"yes\":true,"
					  "\"list\":[1,{}]}",
				.id = "look-1" }),
		0);
	AWAIT(muster, muster_task_show(muster, "look-1", &info) == 0 &&
			      info.state == MUSTER_TASK_DONE);
	assert_int_equal(seen.runs, 1);
	assert_string_equal(info.result, "{\"sum\":3}");
	/* As long as it is remembered, once. */
	assert_int_equal(
		muster_task_enqueue(muster, "look",
				    &(struct muster_enqueue){ .id = "look-1" }),
		MUSTER_KNOWN);
}

static void a_run_sees_what_it_was_given(void **state)
{
	static char arg[] = "arg";
	static const struct muster_task tasks[] = {
		{ .name = "look",
		  .run = look_at_itself,
		  .arg = arg,
		  .attempts = 3 },
		{ 0 },
	};

	PLAY(state, tasks, look);
}

/* ---- ends that are no success ---- */

static int fail_at_first(struct muster_job *job)
{
	seen.runs++;
	if (seen.failures-- > 0)
		return muster_job_fail(job, "not yet: %u",
				       muster_job_attempt(job));
	note("done");
	return 0;
}

static int end_as_told(struct muster_job *job)
{
	const char *how = muster_job_text(job, "how");

	seen.runs++;
	if (strcmp(how, "give up") == 0)
		return muster_job_give_up(job, "there is no %s", "way");
	if (strcmp(how, "code") == 0)
		return -ENOENT;
	if (strcmp(how, "answer") == 0)
		return MUSTER_LOCKED;
	if (strcmp(how, "problem") == 0)
		return muster_task_enqueue(muster_job_node(job), "none", NULL);
	if (strcmp(how, "release") == 0)
		return seen.failures-- > 0 ? muster_job_release(job) : 0;
	if (strcmp(how, "later") == 0)
		return muster_job_attempt(job) == 1
			       ? muster_job_retry_in(job, 300, "later")
			       : 0;
	fail_msg("not told how");
	return 0;
}

static const struct muster_task ending_tasks[] = {
	{ .name = "fail", .run = fail_at_first, .backoff_list_ms = soon },
	{ .name = "end",
	  .run = end_as_told,
	  .backoff_list_ms = soon,
	  .attempts = 2 },
	{ 0 },
};

static void fail_twice(struct muster *muster, void *arg)
{
	struct muster_task_info info;

	(void)arg;
	seen.failures = 2;
	enqueue(muster, "fail", "f", NULL);
	await_state(muster, "f", MUSTER_TASK_DONE);
	assert_int_equal(seen.runs, 3);
	/* To the dead after its attempts, and back by hand. */
	seen.failures = 4;
	assert_int_equal(
		muster_task_enqueue(
			muster, "fail",
			&(struct muster_enqueue){ .id = "g", .attempts = 4 }),
		0);
	info = await_state(muster, "g", MUSTER_TASK_DEAD);
	assert_string_equal(info.error, "not yet: 4");
	assert_string_equal(info.task, "fail");
	assert_int_equal(info.attempt, 4);
	assert_int_equal(seen.runs, 7);
	assert_int_equal(muster_task_retry(muster, "g"), 0);
	await_state(muster, "g", MUSTER_TASK_DONE);
	assert_int_equal(muster_task_retry(muster, "g"), MUSTER_NOT_FOUND);
	assert_int_equal(seen.runs, 8);
}

static void what_failed_runs_again_until_it_is_dead(void **state)
{
	PLAY(state, ending_tasks, fail_twice);
}

static void end_in_every_way(struct muster *muster, void *arg)
{
	(void)arg;
	enqueue(muster, "end", "1", "{\"how\":\"give up\"}");
	assert_string_equal(await_state(muster, "1", MUSTER_TASK_DEAD).error,
			    "there is no way");
	assert_int_equal(seen.runs, 1);
	enqueue(muster, "end", "2", "{\"how\":\"code\"}");
	assert_string_equal(await_state(muster, "2", MUSTER_TASK_DEAD).error,
			    strerror(ENOENT));
	assert_int_equal(seen.runs, 3);
	enqueue(muster, "end", "3", "{\"how\":\"answer\"}");
	await_state(muster, "3", MUSTER_TASK_DEAD);
	enqueue(muster, "end", "4", "{\"how\":\"problem\"}");
	assert_non_null(strstr(await_state(muster, "4", MUSTER_TASK_DEAD).error,
			       "no task 'none'"));
	seen.runs = 0;
	seen.failures = 5;
	enqueue(muster, "end", "5", "{\"how\":\"release\"}");
	assert_int_equal(await_state(muster, "5", MUSTER_TASK_DONE).state,
			 MUSTER_TASK_DONE);
	assert_int_equal(seen.runs, 6); /* of two attempts: none counted */
	uint64_t began_ms = now_ms();

	enqueue(muster, "end", "6", "{\"how\":\"later\"}");
	await_state(muster, "6", MUSTER_TASK_DONE);
	assert_true(now_ms() - began_ms >= 299);
}

static void a_run_says_how_it_ends(void **state)
{
	PLAY(state, ending_tasks, end_in_every_way);
}

static void let_others_go_on(struct muster *muster, void *arg)
{
	(void)arg;
	assert_non_null(
		strstr(await_state(muster, "no-json", MUSTER_TASK_DEAD).error,
		       "no JSON object"));
	assert_non_null(
		strstr(await_state(muster, "no-name", MUSTER_TASK_DEAD).error,
		       "method"));
	assert_non_null(
		strstr(await_state(muster, "no-params", MUSTER_TASK_DEAD).error,
		       "params"));
	assert_non_null(
		strstr(await_state(muster, "unknown", MUSTER_TASK_DEAD).error,
		       "no task 'nobody has this'"));
	enqueue(muster, "say", "s", NULL);
	await_state(muster, "s", MUSTER_TASK_DONE);
	assert_int_equal(seen.runs, 1);
}

static void what_cannot_run_is_put_aside_and_the_queue_goes_on(void **state)
{
	static const char *const texts[][2] = {
		{ "no-json", "not {json" },
		{ "no-name", "{\"params\":{}}" },
		{ "no-params", "{\"method\":\"say\",\"params\":[1]}" },
		{ "unknown", "{\"method\":\"nobody has this\"}" },
	};
	struct fixture *f = *state;

	for (size_t i = 0; i < 4; i++)
		ASK(enqueue,
		    .tasks = &(struct store_task){ .id = T(texts[i][0]),
						   .envelope = T(texts[i][1]),
						   .max_attempts = 1 },
		    .count = 1);
	PLAY(state, say_tasks, let_others_go_on);
}

/* ---- limits of a run ---- */

static int wait_long(struct muster_job *job)
{
	seen.runs++;
	snprintf(seen.id, sizeof(seen.id), "%s", muster_job_id(job));
	seen.code = muster_sleep(muster_job_node(job), 60000);
	seen.was_cancelled = muster_job_is_cancelled(job);
	seen.was_fenced = muster_job_is_fenced(job);
	/* It may still wait while it cleans up. */
	assert_int_equal(muster_sleep(muster_job_node(job), 1), 0);
	return seen.code;
}

static void run_into_timeout(struct muster *muster, void *arg)
{
	(void)arg;
	enqueue(muster, "wait", "w", NULL);
	assert_non_null(strstr(await_state(muster, "w", MUSTER_TASK_DEAD).error,
			       "time-out"));
	assert_int_equal(seen.code, -ETIMEDOUT);
}

static void a_run_ends_with_its_time_out(void **state)
{
	static const struct muster_task tasks[] = {
		{ .name = "wait",
		  .run = wait_long,
		  .timeout_ms = 50,
		  .attempts = 1 },
		{ 0 },
	};

	PLAY(state, tasks, run_into_timeout);
}

static void cancel_it(struct muster *muster, void *arg)
{
	struct muster_task_info info;

	(void)arg;
	enqueue(muster, "wait", "c", NULL);
	AWAIT(muster, seen.runs == 1);
	assert_int_equal(muster_task_remove(muster, "c"), MUSTER_RUNNING);
	assert_int_equal(muster_task_cancel(muster, "c"), MUSTER_RUNNING);
	AWAIT(muster, seen.code == -ECANCELED);
	AWAIT(muster, muster_task_show(muster, "c", &info) == MUSTER_NOT_FOUND);
	assert_true(seen.was_cancelled);
	assert_int_equal(muster_task_cancel(muster, "c"), MUSTER_NOT_FOUND);
	/* One that waits is gone at once. */
	assert_int_equal(
		muster_task_enqueue(muster, "wait",
				    &(struct muster_enqueue){
					    .id = "d", .delay_ms = 60000 }),
		0);
	assert_int_equal(muster_task_cancel(muster, "d"), 0);
	assert_int_equal(muster_task_show(muster, "d", &info),
			 MUSTER_NOT_FOUND);
}

static const struct muster_task wait_tasks[] = {
	{ .name = "wait", .run = wait_long, .backoff_list_ms = soon },
	{ 0 },
};

static void a_run_that_is_cancelled_ends(void **state)
{
	PLAY(state, wait_tasks, cancel_it);
}

/* Another server cancels it: the keeper hears of it. */
static void cancel_elsewhere(struct muster *muster, void *arg)
{
	const char *id = "c";
	struct muster_task_info info;

	(void)arg;
	enqueue(muster, "wait", id, NULL);
	AWAIT(muster, seen.runs == 1);
	store_cancel(
		muster->store,
		&(struct store_cancel){ &(struct store_bytes){ id, 1 }, 1 },
		on_ignored, NULL);
	AWAIT(muster, seen.code == -ECANCELED);
	AWAIT(muster, muster_task_show(muster, id, &info) == MUSTER_NOT_FOUND);
}

static void the_keeper_hears_of_a_cancellation(void **state)
{
	PLAY(state, wait_tasks, cancel_elsewhere, .lease_ms = 300);
}

/* ---- leases ---- */

static int block(struct muster_job *job)
{
	uint64_t until_ms = now_ms() + 1200;

	(void)job;
	seen.runs++;
	while (now_ms() < until_ms)
		usleep(1000);
	seen.was_fenced = muster_job_is_fenced(job);
	return 0;
}

static void block_the_loop(struct muster *muster, void *arg)
{
	(void)arg;
	enqueue(muster, "block", "b", NULL);
	await_state(muster, "b", MUSTER_TASK_DONE);
	assert_false(seen.was_fenced);
	assert_int_equal(seen.runs, 1);
	/* The thread is gone when there is nothing to prolong. */
	AWAIT(muster, !keeper_is_running(muster->tasks->keeper));
}

static void a_blocked_loop_loses_no_lease(void **state)
{
	static const struct muster_task tasks[] = {
		{ .name = "block", .run = block },
		{ 0 },
	};

	PLAY(state, tasks, block_the_loop, .lease_ms = 300);
}

/* Somebody says that this node is dead. */
static void be_taken_for_dead(struct muster *muster, void *arg)
{
	(void)arg;
	seen.failures = 1;
	enqueue(muster, "wait", "w", NULL);
	AWAIT(muster, seen.runs == 1);
	store_reap_owner(
		muster->store,
		&(struct store_reap_owner){ store_text(muster->tasks->owner) },
		on_ignored, NULL);
	/* It hears of that, and the task runs again. */
	AWAIT(muster, seen.was_fenced && seen.runs == 2);
	assert_int_equal(seen.code, -ECANCELED);
	assert_int_equal(muster_task_cancel(muster, "w"), MUSTER_RUNNING);
}

static void a_run_that_lost_its_lease_is_fenced(void **state)
{
	PLAY(state, wait_tasks, be_taken_for_dead, .lease_ms = 300);
}

/* ---- several at once ---- */

static int be_counted(struct muster_job *job)
{
	seen.runs++;
	if (++seen.now > seen.most)
		seen.most = seen.now;
	assert_int_equal(muster_sleep(muster_job_node(job), 5), 0);
	seen.now--;
	return 0;
}

static void run_forty(struct muster *muster, void *arg)
{
	struct muster_enqueue list[40] = { 0 };
	int answers[40];

	(void)arg;
	for (size_t i = 0; i < 40; i++)
		list[i].task = "count";
	assert_int_equal(muster_task_enqueue_many(muster, list, 40, answers),
			 0);
	for (size_t i = 0; i < 40; i++)
		assert_int_equal(answers[i], 0);
	AWAIT(muster, seen.runs == 40 && seen.now == 0);
}

static void a_node_runs_as_many_as_it_may(void **state)
{
	static const struct muster_task tasks[] = {
		{ .name = "count", .run = be_counted },
		{ 0 },
	};
	static const struct muster_task single[] = {
		{ .name = "count", .run = be_counted, .concurrency = 2 },
		{ 0 },
	};

	PLAY(state, tasks, run_forty, .concurrency = 7);
	assert_int_equal(seen.most, 7);
	PLAY(state, single, run_forty, .concurrency = 7);
	assert_int_equal(seen.most, 2);
}

/* ---- the end ---- */

static int take_a_while(struct muster_job *job)
{
	seen.runs++;
	seen.code = muster_sleep(muster_job_node(job), 200);
	note("finished");
	return seen.code;
}

static void leave_while_it_runs(struct muster *muster, void *arg)
{
	(void)arg;
	enqueue(muster, "slow", "s1", NULL);
	AWAIT(muster, seen.runs == 1);
	enqueue(muster, "slow", "s2", NULL);
}

static const struct muster_task slow_tasks[] = {
	{ .name = "slow", .run = take_a_while },
	{ 0 },
};

static void told_to_stop_it_finishes_what_runs(void **state)
{
	struct fixture *f = *state;

	PLAY(state, slow_tasks, leave_while_it_runs, .concurrency = 1);
	assert_int_equal(seen.runs, 1);
	assert_string_equal(seen.log, "finished");
	assert_int_equal(ASK(show, .id = T("s1"))->items[0].state,
			 STORE_TASK_DONE);
	assert_int_equal(ASK(show, .id = T("s2"))->items[0].state,
			 STORE_TASK_QUEUED);
}

static void leave_waiting(struct muster *muster, void *arg)
{
	(void)arg;
	enqueue(muster, "wait", "w", NULL);
	AWAIT(muster, seen.runs == 1);
}

static void out_of_time_it_gives_back_what_runs(void **state)
{
	struct fixture *f = *state;
	struct reply *reply;

	PLAY(state, wait_tasks, leave_waiting, .drain_ms = 50);
	assert_int_equal(seen.runs, 1);
	assert_int_equal(seen.code, -ECANCELED);
	reply = ASK(show, .id = T("w"));
	assert_int_equal(reply->count, 1);
	assert_int_equal(reply->items[0].attempt, 0); /* it does not count */
	assert_true(reply->items[0].state == STORE_TASK_QUEUED ||
		    reply->items[0].state == STORE_TASK_DELAYED);
}

static int start_nothing(struct muster *muster, void *arg)
{
	(void)muster;
	(void)arg;
	return 0;
}

static void bad_tasks_are_refused(void **state)
{
	static const struct muster_task lists[][3] = {
		{ { .name = "a b", .run = say } },
		{ { .name = "a", .run = say, .priority = 4 } },
		{ { .name = "a", .run = say, .params = "[]" } },
		{ { .name = "a", .run = say }, { .name = "a" } },
		{ { .name = "a", .run = say, .cron = "* *" } },
		{ { .name = "a", .cron = "* * * * *", .every_ms = 5 } },
		{ { .name = "a", .cron = "* * * * *", .zone = "Nowhere" } },
	};
	const struct fixture *f = *state;

	for (size_t i = 0; i < sizeof(lists) / sizeof(lists[0]); i++) {
		struct muster *muster = muster_open(
			NULL, &(struct muster_node_options){
				      .name = "test",
				      .store = f->url,
				      .token = "a secret of this test",
				      .tasks = lists[i],
				      .on_start = start_nothing });

		assert_non_null(muster);
		assert_int_equal(muster_run(muster), 1);
	}
}

int main(int argc, char **argv)
{
	static const struct CMUnitTest tests[] = {
		TEST(what_is_enqueued_runs_and_is_done),
		TEST(a_run_sees_what_it_was_given),
		TEST(what_failed_runs_again_until_it_is_dead),
		TEST(a_run_says_how_it_ends),
		TEST(what_cannot_run_is_put_aside_and_the_queue_goes_on),
		TEST(a_run_ends_with_its_time_out),
		TEST(a_run_that_is_cancelled_ends),
		TEST(the_keeper_hears_of_a_cancellation),
		TEST(a_blocked_loop_loses_no_lease),
		TEST(a_run_that_lost_its_lease_is_fenced),
		TEST(a_node_runs_as_many_as_it_may),
		TEST(told_to_stop_it_finishes_what_runs),
		TEST(out_of_time_it_gives_back_what_runs),
		TEST(bad_tasks_are_refused),
	};

	return scene_main(argc, argv, tests, sizeof(tests) / sizeof(tests[0]));
}
