/* Tasks that recur: argv[1] is the back end. */
#include <stdio.h>
#include <string.h>

#include "base/must.h"
#include "scene.h"
#include "service/tasks_internal.h"

/* ---- recurring ---- */

static int recur(struct muster_job *job)
{
	seen.runs++;
	snprintf(seen.id, sizeof(seen.id), "%s", muster_job_id(job));
	note(muster_job_text(job, "word"));
	return 0;
}

static void see_it_recur(struct muster *muster, void *arg)
{
	(void)arg;
	AWAIT(muster, seen.runs >= 3);
	assert_memory_equal(seen.id, "cron:tick:", 10);
	assert_memory_equal(seen.log, "tock tock", 9);
}

static void a_task_recurs(void **state)
{
	static const struct muster_task by_interval[] = {
		{ .name = "tick",
		  .run = recur,
		  .every_ms = 50,
		  .params = "{\"word\":\"tock\"}" },
		{ 0 },
	};
	static const struct muster_task by_cron[] = {
		{ .name = "tick",
		  .run = recur,
		  .cron = "* * * * * *",
		  .zone = "Europe/Vienna",
		  .params = "{\"word\":\"tock\"}" },
		{ 0 },
	};

	/* The second finds what the first has left, an interval away, and is
	 * not later than it. */
	PLAY(state, by_interval, see_it_recur);
	PLAY(state, by_cron, see_it_recur);
}

static void see_what_was_missed(struct muster *muster, void *arg)
{
	(void)arg;
	AWAIT(muster, strstr(seen.log, "all all all") != NULL &&
			      strstr(seen.log, "once") != NULL);
	enqueue(muster, "say", "last", "{\"word\":\"last\"}");
	await_state(muster, "last", MUSTER_TASK_DONE);
}

static unsigned count_of(const char *word)
{
	unsigned count = 0;

	for (const char *at = seen.log; (at = strstr(at, word)) != NULL; at++)
		count++;
	return count;
}

static void what_was_missed_is_made_up_for_as_it_says(void **state)
{
	static const struct muster_task tasks[] = {
		{ .name = "once",
		  .run = recur,
		  .every_ms = 3600000,
		  .params = "{\"word\":\"once\"}" },
		{ .name = "skip",
		  .run = recur,
		  .every_ms = 3600000,
		  .missed = MUSTER_MISSED_SKIP,
		  .params = "{\"word\":\"skip\"}" },
		{ .name = "all",
		  .run = recur,
		  .every_ms = 3600000,
		  .missed = MUSTER_MISSED_ALL,
		  .params = "{\"word\":\"all\"}" },
		{ .name = "say", .run = say },
		{ 0 },
	};
	struct fixture *f = *state;
	uint64_t past_ms = real_ms() - 2 * 3600000 - 1800000;

	for (size_t i = 0; i < 3; i++)
		assert_done(ASK(cron_fire, .name = T(tasks[i].name),
				.spec = T("before"), .next_ms = past_ms));
	PLAY(state, tasks, see_what_was_missed);
	assert_int_equal(count_of("once"), 1);
	assert_int_equal(count_of("skip"), 0);
	assert_int_equal(count_of("all"), 3);
	/* All go on in step. */
	for (size_t i = 0; i < 3; i++)
		assert_int_equal(ASK(cron_fire, .name = T(tasks[i].name),
				     .expected_ms = past_ms + 3 * 3600000,
				     .next_ms = 1)
					 ->result,
				 STORE_DONE);
}

static void see_it_once(struct muster *muster, void *arg)
{
	(void)arg;
	AWAIT(muster, seen.runs >= 1);
}

static void one_that_recurs_more_often_than_before_is_set_back(void **state)
{
	static const struct muster_task tasks[] = {
		{ .name = "tick",
		  .run = recur,
		  .every_ms = 20,
		  .params = "{\"word\":\"now\"}" },
		{ 0 },
	};
	struct fixture *f = *state;

	assert_done(ASK(cron_fire, .name = T("tick"), .spec = T("yearly"),
			.next_ms = real_ms() + 3600000));
	PLAY(state, tasks, see_it_once);
}

static int hold_on(struct muster_job *job)
{
	seen.now++;
	if (seen.now > seen.most)
		seen.most = seen.now;
	assert_int_equal(muster_sleep(muster_job_node(job), 150), 0);
	seen.now--;
	seen.runs++;
	return 0;
}

static void see_no_overlap(struct muster *muster, void *arg)
{
	(void)arg;
	AWAIT(muster, seen.runs == 3);
}

static void one_that_goes_on_is_not_run_again_where_it_says_so(void **state)
{
	static const struct muster_task tasks[] = {
		{ .name = "long",
		  .run = hold_on,
		  .every_ms = 20,
		  .no_overlap = true },
		{ 0 },
	};

	PLAY(state, tasks, see_no_overlap);
	assert_int_equal(seen.most, 1);
}

int main(int argc, char **argv)
{
	static const struct CMUnitTest tests[] = {
		TEST(a_task_recurs),
		TEST(what_was_missed_is_made_up_for_as_it_says),
		TEST(one_that_recurs_more_often_than_before_is_set_back),
		TEST(one_that_goes_on_is_not_run_again_where_it_says_so),
	};

	return scene_main(argc, argv, tests, sizeof(tests) / sizeof(tests[0]));
}
