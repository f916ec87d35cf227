#include "scene.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

#include "base/must.h"

struct seen seen;
const uint32_t soon[] = { 1, 0 };
const struct muster_task say_tasks[] = {
	{ .name = "say", .run = say },
	{ 0 },
};

static uint64_t clock_ms(clockid_t clock)
{
	struct timespec now;

	clock_gettime(clock, &now);
	return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

uint64_t now_ms(void)
{
	return clock_ms(CLOCK_MONOTONIC);
}

uint64_t real_ms(void)
{
	return clock_ms(CLOCK_REALTIME);
}

void note(const char *word)
{
	size_t used = strlen(seen.log);

	snprintf(seen.log + used, sizeof(seen.log) - used, "%s%s",
		 used > 0 ? " " : "", word);
}

int say(struct muster_job *job)
{
	const char *word = muster_job_text(job, "word");

	seen.runs++;
	note(word != NULL ? word : "-");
	return 0;
}

void on_ignored(void *owner, const struct store_answer *answer)
{
	(void)owner;
	MUST(answer->error == 0);
}

static void drive(struct muster *muster, void *arg)
{
	const struct scene *scene = arg;

	/* Tasks are taken, as of now. */
	MUST(muster_sleep(muster, 1) == 0);
	scene->drive(muster, arg);
	muster_stop(muster, 0);
}

static int start(struct muster *muster, void *arg)
{
	return muster_spawn(muster, "driver", drive, arg);
}

void play(void **state, struct scene *scene)
{
	const struct fixture *fixture = *state;

	memset(&seen, 0, sizeof(seen));
	scene->options.name = "test";
	scene->options.store = fixture->url;
	scene->options.token = "a secret of this test";
	scene->options.tasks = scene->tasks;
	scene->options.on_start = start;
	scene->options.arg = scene;
	struct muster *muster = muster_open(NULL, &scene->options);

	assert_non_null(muster);
	assert_int_equal(muster_run(muster), 0);
}

void enqueue(struct muster *muster, const char *task, const char *id,
	     const char *params)
{
	assert_int_equal(
		muster_task_enqueue(
			muster, task,
			&(struct muster_enqueue){ .id = id, .params = params }),
		0);
}

struct muster_task_info await_state(struct muster *muster, const char *id,
				    enum muster_task_state state)
{
	struct muster_task_info info = { 0 };

	AWAIT(muster,
	      muster_task_show(muster, id, &info) == 0 && info.state == state);
	return info;
}

int scene_main(int argc, char **argv, const struct CMUnitTest *tests,
	       size_t count)
{
	if (argc > 1)
		fixture_back_end = argv[1];
	if (argc > 2)
		cmocka_set_test_filter(argv[2]);
	return _cmocka_run_group_tests(argv[0], tests, count, NULL, NULL);
}
