/*
 * scene - a node with tasks on a test's store, and a fiber that drives it: what
 * the tests of tasks have in common.
 *
 * The node is up when the fiber begins, and ends with it.
 */
#pragma once
#include <muster/node.h>
#include <muster/task.h>

#include "fixture.h"

#define DEADLINE_MS 20000

struct scene {
	const struct muster_task *tasks;
	muster_fiber_fn drive;
	struct muster_node_options options;
};

/* What the tasks of a test say: one test at a time. */
struct seen {
	unsigned runs;
	unsigned now;  /* at once */
	unsigned most; /* ever at once */
	char log[2048];
	char id[64];
	bool was_fenced;
	bool was_cancelled;
	int code;
	int failures; /* still to come */
};

extern struct seen seen;
/* "say" notes its "word". */
extern const struct muster_task say_tasks[];
extern const uint32_t soon[]; /* pauses that are none */

/* Another word of seen.log. */
void note(const char *word);
int say(struct muster_job *job);

void play(void **state, struct scene *scene);
#define PLAY(state, list, fn, ...)                                             \
	play((state), &(struct scene){ .tasks = (list),                        \
				       .drive = (fn),                          \
				       .options = { __VA_ARGS__ } })

/* Until it holds: the test fails where it never does. */
#define AWAIT(muster, condition)                                               \
	do {                                                                   \
		uint64_t until_ms = now_ms() + DEADLINE_MS;                    \
		while (!(condition)) {                                         \
			if (now_ms() > until_ms)                               \
				fail_msg("never: %s", #condition);             \
			MUST(muster_sleep((muster), 2) == 0);                  \
		}                                                              \
	} while (0)

void enqueue(struct muster *muster, const char *task, const char *id,
	     const char *params);
struct muster_task_info await_state(struct muster *muster, const char *id,
				    enum muster_task_state state);
/* An answer that has to be a good one, and no more. */
void on_ignored(void *owner, const struct store_answer *answer);

uint64_t now_ms(void);
uint64_t real_ms(void);

#define TEST(fn)                                                               \
	cmocka_unit_test_setup_teardown(fn, fixture_set_up, fixture_tear_down)
/* NAME BACKEND [FILTER] */
int scene_main(int argc, char **argv, const struct CMUnitTest *tests,
	       size_t count);
