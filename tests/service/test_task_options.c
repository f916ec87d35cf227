/* Ways to enqueue, queues, and what surrounds a run: argv[1] is the back end.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/must.h"
#include "scene.h"
#include "service/tasks_internal.h"

/* ---- how it is enqueued ---- */

static void enqueue_in_every_way(struct muster *muster, void *arg)
{
	struct muster_task_info info;
	const char *id = NULL;
	const char *other = NULL;
	uint64_t began_ms = now_ms();

	(void)arg;
	assert_int_equal(
		muster_task_enqueue(muster, "say",
				    &(struct muster_enqueue){
					    .params = "{\"word\":\"later\"}",
					    .delay_ms = 200,
					    .unique = "one",
					    .made_id = &id }),
		0);
	assert_int_equal(strlen(id), 36);
	assert_int_equal(muster_task_enqueue(
				 muster, "say",
				 &(struct muster_enqueue){ .unique = "one",
							   .made_id = &other }),
			 MUSTER_DUPLICATE);
	assert_string_equal(id, other);
	assert_int_equal(muster_task_show(muster, id, &info), 0);
	assert_int_equal(info.state, MUSTER_TASK_DELAYED);
	assert_string_equal(info.unique, "one");
	assert_string_equal(info.params, "{\"word\":\"later\"}");
	AWAIT(muster, seen.runs == 1);
	assert_true(now_ms() - began_ms >= 199);
	AWAIT(muster, muster_task_enqueue(muster, "say",
					  &(struct muster_enqueue){
						  .unique = "one",
						  .params = "{\"word\":\"again"
							    "\"}" }) == 0);
	AWAIT(muster, seen.runs == 2);
	assert_int_equal(
		muster_task_enqueue(muster, "say",
				    &(struct muster_enqueue){
					    .server = muster_id(muster),
					    .params = "{\"word\":\"mine\"}" }),
		0);
	AWAIT(muster, seen.runs == 3);
	assert_int_equal(
		muster_task_enqueue(muster, "say",
				    &(struct muster_enqueue){
					    .all = true,
					    .id = "all-1",
					    .made_id = &id,
					    .params = "{\"word\":\"all\"}" }),
		0);
	AWAIT(muster, seen.runs == 4);
	await_state(muster, muster_text(muster, "%s.%s", id, muster_id(muster)),
		    MUSTER_TASK_DONE);
	assert_int_equal(
		muster_task_enqueue(muster, "say",
				    &(struct muster_enqueue){
					    .queue = "side",
					    .params = "{\"word\":\"side\"}" }),
		0);
	AWAIT(muster, seen.runs == 5);
	assert_string_equal(seen.log, "later again mine all side");
}

static void it_is_enqueued_now_later_once_here_and_everywhere(void **state)
{
	static const char *const queues[] = { "side", NULL };

	PLAY(state, say_tasks, enqueue_in_every_way, .queues = queues);
}

static void refuse_in_every_way(struct muster *muster, void *arg)
{
	const struct {
		const char *task;
		struct muster_enqueue enqueue;
		int code;
		const char *word;
	} cases[] = {
		{ "nobody", { 0 }, -ENOENT, "TASK_UNKNOWN" },
		{ "", { .is_foreign = true }, -EINVAL, "TASK_INVALID" },
		{ "say", { .params = "" }, -EINVAL, "PARAMS_INVALID" },
		{ "say", { .params = "[]" }, -EINVAL, "PARAMS_INVALID" },
		{ "say", { .params = "{" }, -EINVAL, "PARAMS_INVALID" },
		{ "say", { .priority = 4 }, -EINVAL, "PRIORITY_INVALID" },
		{ "say", { .attempts = 60001 }, -EINVAL, "ATTEMPTS_INVALID" },
		{ "say",
		  { .delay_ms = 1, .at_ms = 1 },
		  -EINVAL,
		  "TIME_INVALID" },
		{ "say",
		  { .queue = "a", .server = "b" },
		  -EINVAL,
		  "QUEUE_INVALID" },
		{ "say",
		  { .queue = "delayed" },
		  -EINVAL,
		  "STORE_NAME_INVALID" },
		{ "say", { .id = "a|b" }, -EINVAL, "STORE_NAME_INVALID" },
		{ "say", { .id = "" }, -EINVAL, "STORE_NAME_INVALID" },
	};

	(void)arg;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		assert_int_equal(muster_task_enqueue(muster, cases[i].task,
						     &cases[i].enqueue),
				 cases[i].code);
		assert_string_equal(muster_problem_word(muster), cases[i].word);
	}
	char *large = malloc(1200000);

	MUST(large != NULL);
	memset(large, ' ', 1200000 - 1);
	large[0] = '{';
	large[1199998] = '}';
	large[1199999] = '\0';
	assert_int_equal(muster_task_enqueue(
				 muster, "say",
				 &(struct muster_enqueue){ .params = large }),
			 -EMSGSIZE);
	free(large);
	struct muster_enqueue list[2] = { { .task = "say" },
					  { .task = "nobody" } };
	int answers[2];

	assert_int_equal(muster_task_enqueue_many(muster, list, 2, NULL),
			 -ENOENT);
	assert_int_equal(muster_task_enqueue_many(muster, list, 2, answers), 0);
	assert_int_equal(answers[0], 0);
	assert_int_equal(answers[1], -ENOENT);
	AWAIT(muster, seen.runs == 1);
}

static void what_cannot_be_enqueued_is_refused(void **state)
{
	PLAY(state, say_tasks, refuse_in_every_way);
}

static void miss_the_deadline(struct muster *muster, void *arg)
{
	(void)arg;
	assert_int_equal(muster_task_pause(muster, NULL), 0);
	assert_int_equal(
		muster_task_enqueue(muster, "say",
				    &(struct muster_enqueue){
					    .id = "late", .deadline_ms = 20 }),
		0);
	assert_int_equal(muster_sleep(muster, 30), 0);
	assert_int_equal(muster_task_resume(muster, NULL), 0);
	assert_non_null(
		strstr(await_state(muster, "late", MUSTER_TASK_DEAD).error,
		       "deadline"));
	assert_int_equal(seen.runs, 0);
}

static void past_its_deadline_it_is_not_started(void **state)
{
	PLAY(state, say_tasks, miss_the_deadline);
}

/* ---- queues ---- */

static void pause_and_limit(struct muster *muster, void *arg)
{
	struct muster_task_counts counts;
	const struct muster_task_info *list;
	size_t count;

	(void)arg;
	assert_int_equal(muster_task_pause(muster, ""), 0);
	assert_int_equal(
		muster_task_limit(muster, NULL,
				  &(struct muster_queue_limits){ .depth = 2 }),
		0);
	enqueue(muster, "say", "1", "{\"word\":\"1\"}");
	enqueue(muster, "say", "2", "{\"word\":\"2\"}");
	assert_int_equal(muster_task_enqueue(muster, "say", NULL), MUSTER_FULL);
	assert_int_equal(muster_sleep(muster, 50), 0);
	assert_int_equal(seen.runs, 0);
	assert_int_equal(muster_task_count(muster, &counts), 0);
	assert_int_equal(counts.queued, 2);
	assert_true(counts.queue_count >= 1);
	assert_string_equal(counts.queues[0].name, "");
	assert_true(counts.queues[0].is_paused);
	assert_int_equal(counts.queues[0].depth, 2);
	assert_int_equal(muster_task_list(muster,
					  &(struct muster_task_filter){
						  .state = MUSTER_TASK_QUEUED },
					  &list, &count),
			 0);
	assert_int_equal(count, 2);
	assert_string_equal(list[0].id, "1");
	assert_string_equal(list[1].task, "say");
	assert_int_equal(muster_task_remove(muster, "1"), 0);
	assert_int_equal(muster_task_resume(muster, ""), 0);
	await_state(muster, "2", MUSTER_TASK_DONE);
	assert_string_equal(seen.log, "2");
}

static void a_queue_is_paused_limited_and_goes_on(void **state)
{
	PLAY(state, say_tasks, pause_and_limit);
}

static void inherit(struct muster *muster, void *arg)
{
	(void)arg;
	assert_int_equal(
		muster_task_enqueue(
			muster, "say",
			&(struct muster_enqueue){
				.server = "gone-worker-7",
				.params = "{\"word\":\"inherited\"}" }),
		0);
	assert_int_equal(
		muster_task_enqueue(muster, "say",
				    &(struct muster_enqueue){
					    .id = "kept", .queue = "mail-7" }),
		0);
	AWAIT(muster, seen.runs == 1);
	assert_string_equal(seen.log, "inherited");
	/* A queue of its own name is nobody's to take. */
	await_state(muster, "kept", MUSTER_TASK_QUEUED);
}

static void the_queue_of_a_server_that_is_gone_is_everybodys(void **state)
{
	PLAY(state, say_tasks, inherit, .adopt_ms = 200);
}

/* ---- with the completion ---- */

static int have_effects(struct muster_job *job)
{
	seen.runs++;
	assert_int_equal(muster_job_then_enqueue(
				 job, "say",
				 &(struct muster_enqueue){
					 .id = "child",
					 .params = "{\"word\":\"child\"}" }),
			 0);
	assert_int_equal(muster_job_then_enqueue(job, "none", NULL), -ENOENT);
	if (muster_job_bool(job, "cache", false)) {
		assert_int_equal(muster_job_then_add(job, "sum", 5, 0), 0);
		assert_int_equal(muster_job_then_save(job, "text", "v", 1, 0),
				 0);
		assert_int_equal(muster_job_then_destroy(job, "gone"), 0);
		assert_int_equal(muster_job_then_destroy(job, ""), -EINVAL);
	}
	assert_int_equal(muster_job_set_progress(job, "half"), -EINVAL);
	assert_int_equal(muster_job_set_progress(job, "{\"half\":true}"), 0);
	struct muster_task_info info = { 0 };

	AWAIT(muster_job_node(job),
	      muster_task_show(muster_job_node(job), muster_job_id(job),
			       &info) == 0 &&
		      strcmp(info.progress, "{\"half\":true}") == 0);
	assert_string_equal(info.server, muster_id(muster_job_node(job)));
	return seen.failures-- > 0 ? -EIO : 0;
}

static void complete_with_effects(struct muster *muster, void *arg)
{
	struct muster_task_info info;

	(void)arg;
	seen.failures = 1;
	enqueue(muster, "effects", "e",
		strcmp(fixture_back_end, "cluster") == 0 ? "{}"
							 : "{\"cache\":true}");
	await_state(muster, "child", MUSTER_TASK_DONE);
	await_state(muster, "e", MUSTER_TASK_DONE);
	/* The one that failed made none. */
	assert_string_equal(seen.log, "child");
	assert_int_equal(muster_task_show(muster, "e", &info), 0);
}

static void what_is_added_to_a_completion_happens_with_it(void **state)
{
	static const struct muster_task tasks[] = {
		{ .name = "effects",
		  .run = have_effects,
		  .backoff_list_ms = soon },
		{ .name = "say", .run = say },
		{ 0 },
	};
	struct fixture *f = *state;

	PLAY(state, tasks, complete_with_effects);
	if (f->is_cluster)
		return;
	assert_string_equal(ASK(cache_load, .key = T("sum"))->text, "5");
	assert_string_equal(ASK(cache_load, .key = T("text"))->text, "v");
}

/* A completion that the store will never take is a failure. */
static int be_refused(struct muster_job *job)
{
	char key[2000];

	seen.runs++;
	memset(key, 'k', sizeof(key) - 1);
	key[sizeof(key) - 1] = '\0';
	assert_int_equal(muster_job_then_add(job, key, 1, 0), 0);
	return 0;
}

static void complete_in_vain(struct muster *muster, void *arg)
{
	(void)arg;
	enqueue(muster, "refused", "r", NULL);
	enqueue(muster, "say", "s", NULL);
	await_state(muster, "s", MUSTER_TASK_DONE);
	assert_non_null(strstr(await_state(muster, "r", MUSTER_TASK_DEAD).error,
			       "key has 1999 bytes"));
	assert_int_equal(seen.runs, 2);
}

static void a_completion_that_cannot_be_recorded_fails(void **state)
{
	static const struct muster_task tasks[] = {
		{ .name = "refused", .run = be_refused, .attempts = 1 },
		{ .name = "say", .run = say },
		{ 0 },
	};

	PLAY(state, tasks, complete_in_vain);
}

/* ---- middleware ---- */

static int change_enqueue(struct muster *muster, const char *task,
			  struct muster_enqueue *enqueue_, void *arg)
{
	(void)muster;
	assert_string_equal(task, "say");
	note("before-enqueue");
	if (enqueue_->params != NULL && strstr(enqueue_->params, "drop"))
		return MUSTER_DROPPED;
	if (enqueue_->params == NULL)
		enqueue_->params = arg;
	return 0;
}

static void see_enqueue(struct muster *muster, const char *task, const char *id,
			int answer, void *arg)
{
	(void)muster;
	(void)task;
	(void)arg;
	assert_true(id[0] != '\0');
	assert_int_equal(answer, 0);
	note("after-enqueue");
}

static int before_run(struct muster_job *job, void *arg)
{
	(void)arg;
	note("before-run");
	return strcmp(muster_job_text(job, "word"), "skip") == 0
		       ? MUSTER_DROPPED
		       : 0;
}

static int after_run(struct muster_job *job, int code, void *arg)
{
	(void)arg;
	(void)job;
	note(code == 0 ? "after-run" : "after-failure");
	return 0;
}

static void pass_middleware(struct muster *muster, void *arg)
{
	(void)arg;
	assert_int_equal(muster_task_enqueue(muster, "say", NULL), 0);
	AWAIT(muster, seen.runs == 1 && strstr(seen.log, "after-run"));
	assert_string_equal(seen.log, "before-enqueue after-enqueue before-run "
				      "changed after-run");
	seen.log[0] = '\0';
	assert_int_equal(
		muster_task_enqueue(
			muster, "say",
			&(struct muster_enqueue){ .params = "{\"drop\":1}" }),
		MUSTER_DROPPED);
	assert_int_equal(
		muster_task_enqueue(muster, "say",
				    &(struct muster_enqueue){
					    .id = "skipped",
					    .params = "{\"word\":\"skip\"}" }),
		0);
	await_state(muster, "skipped", MUSTER_TASK_DONE);
	assert_int_equal(seen.runs, 1);
	assert_string_equal(seen.log, "before-enqueue before-enqueue "
				      "after-enqueue before-run after-run");
}

static void middleware_passes_changes_and_drops(void **state)
{
	static char changed[] = "{\"word\":\"changed\"}";
	static const struct muster_task_middleware one = {
		.before_enqueue = change_enqueue,
		.after_enqueue = see_enqueue,
		.before_run = before_run,
		.after_run = after_run,
		.arg = changed,
	};
	static const struct muster_task_middleware *const list[] = { &one,
								     NULL };
	static const struct muster_task tasks[] = {
		{ .name = "say", .run = say, .middleware = list },
		{ 0 },
	};

	PLAY(state, tasks, pass_middleware);
}

int main(int argc, char **argv)
{
	static const struct CMUnitTest tests[] = {
		TEST(it_is_enqueued_now_later_once_here_and_everywhere),
		TEST(what_cannot_be_enqueued_is_refused),
		TEST(past_its_deadline_it_is_not_started),
		TEST(a_queue_is_paused_limited_and_goes_on),
		TEST(the_queue_of_a_server_that_is_gone_is_everybodys),
		TEST(what_is_added_to_a_completion_happens_with_it),
		TEST(a_completion_that_cannot_be_recorded_fails),
		TEST(middleware_passes_changes_and_drops),
	};

	return scene_main(argc, argv, tests, sizeof(tests) / sizeof(tests[0]));
}
