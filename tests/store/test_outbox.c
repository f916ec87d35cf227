/* Effects of completions on the cache of a Redis Cluster, which cross from one
 * node to others: each is made once, whoever dies when. */
#include "fixture.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <time.h>
#include <unistd.h>

#include "base/mem.h"
#include "base/must.h"

#define TASKS    900
#define KILLS    12
#define COUNTERS 5

static const struct store_bytes queues[] = { { "", 0 } };

/* Of the node that has the key; -c follows it. */
static void cli(const char *command, char *line, size_t size)
{
	char *text = mem_format("redis-cli -c -p %u %s",
				fixture_cluster_port(0), command);
	/* NOLINTNEXTLINE(cert-env33-c): the words are ours alone */
	FILE *pipe = popen(text, "r");

	MUST(pipe != NULL);
	if (fgets(line, (int)size, pipe) == NULL)
		line[0] = '\0';
	line[strcspn(line, "\n")] = '\0';
	pclose(pipe);
	free(text);
}

static unsigned long in_outbox(void)
{
	char line[64];

	cli("hlen '{muster:tasks}:_outbox'", line, sizeof(line));
	return strtoul(line, NULL, 10);
}

static void enqueue(struct fixture *f, int first, int count)
{
	struct store_task tasks[50];
	char ids[50][16];

	for (int i = 0; i < count; i++) {
		snprintf(ids[i], sizeof(ids[i]), "t%d", first + i);
		tasks[i] = (struct store_task){ .id = T(ids[i]),
						.envelope = T("{}") };
	}
	assert_int_equal(ASK(enqueue, .tasks = tasks, .count = (size_t)count)
				 ->results[count - 1],
			 STORE_DONE);
}

/* Each task counts itself, on one of some keys. */
static size_t work_some(struct fixture *f)
{
	static const char *const names[COUNTERS] = { "n0", "n1", "n2", "n3",
						     "n4" };
	struct store_effect effects[3][2] = { 0 };
	struct store_completion items[3] = { 0 };
	struct reply *claim =
		ASK(claim, .owner = T("worker"), .queues = queues,
		    .queue_count = 1, .want = 3, .lease_ms = 60000);

	for (size_t i = 0; i < claim->count; i++) {
		const char *id = claim->items[i].id;

		effects[i][0] = (struct store_effect){
			.kind = STORE_EFFECT_CACHE_ADD,
			.key = T(names[atoi(id + 1) % COUNTERS]),
			.delta = 1
		};
		effects[i][1] =
			(struct store_effect){ .kind = STORE_EFFECT_CACHE_SAVE,
					       .key = T("last"),
					       .value = T(id) };
		items[i] = (struct store_completion){
			.id = T(id),
			.token = claim->items[i].token,
			.effects = effects[i],
			.effect_count = 2
		};
	}
	if (claim->count > 0)
		reply_wait(
			START(complete, .items = items, .count = claim->count));
	return claim->count;
}

static int64_t sum_of(struct fixture *f)
{
	int64_t sum = 0;

	for (int i = 0; i < COUNTERS; i++) {
		char key[8];

		snprintf(key, sizeof(key), "n%d", i);
		sum += atoi(ASK(cache_load, .key = T(key))->text);
	}
	return sum;
}

static void work_until_killed(struct fixture *f, int descriptor)
{
	f->loop = loop_new(&f->log);
	f->store = fixture_open(f, f->url);
	for (;;) {
		work_some(f);
		MUST(write(descriptor, "x", 1) == 1);
	}
}

/* Kills a worker somewhere after some of what it does. */
static void kill_one(struct fixture *f, int number)
{
	int ends[2];
	char byte;
	struct timespec moment = { .tv_nsec = (number * 173L % 60) * 20000 };

	MUST(pipe(ends) == 0);
	pid_t pid = fork();

	MUST(pid >= 0);
	if (pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		work_until_killed(f, ends[1]);
	}
	close(ends[1]);
	for (int i = 0; i < 3 + number % 4; i++)
		assert_int_equal(read(ends[0], &byte, 1), 1);
	nanosleep(&moment, NULL);
	fixture_stop(pid, SIGKILL);
	close(ends[0]);
}

static void effects_of_the_dead_are_made_once(void **state)
{
	struct fixture *f = *state;

	for (int i = 0; i < TASKS; i += 50)
		enqueue(f, i, 50);
	/* Who has a store open does not fork. */
	fixture_close(f, f->store);
	f->store = NULL;
	for (int i = 0; i < KILLS; i++)
		kill_one(f, i);
	f->store = fixture_open(f, f->url);
	ASK(reap_owner, .owner = T("worker"));
	for (int i = 0; i < 2000 && ASK(counts)->done < TASKS; i++)
		work_some(f);
	assert_int_equal(ASK(counts)->done, TASKS);
	/* What a dead one left is made by who claims some seconds later. */
	for (int i = 0; i < 1500 && in_outbox() > 0; i++) {
		work_some(f);
		fixture_run_ms(f, 10);
	}
	assert_int_equal(in_outbox(), 0);
	assert_int_equal(sum_of(f), TASKS);
}

/* As if somebody had died after recording, and before making, or after making
 * and before forgetting. */
static void what_is_left_in_the_outbox_is_made_once(void **state)
{
	struct fixture *f = *state;
	char line[64];

	for (int times = 0; times < 2; times++) {
		if (times == 0)
			cli("eval \"return redis.call('HSET', KEYS[1], 'name', "
			    "cmsgpack.pack({'a', '5', '', '0'}))\" 1 "
			    "'muster:_staged:{k}'",
			    line, sizeof(line));
		cli("hset '{muster:tasks}:_outbox' id 'name|1:k'", line,
		    sizeof(line));
		cli("zadd '{muster:tasks}:_outbox_at' 1 id", line,
		    sizeof(line));
		work_some(f);
		for (int i = 0; i < 1000 && in_outbox() > 0; i++)
			fixture_run_ms(f, 10);
		assert_int_equal(in_outbox(), 0);
		assert_string_equal(ASK(cache_load, .key = T("k"))->text, "5");
	}
}

static void a_completion_that_is_not_recorded_leaves_nothing(void **state)
{
	struct fixture *f = *state;
	const struct store_effect effect = { .kind = STORE_EFFECT_CACHE_ADD,
					     .key = T("k"),
					     .delta = 1 };
	struct store_completion item = {
		.id = T("t1"), .token = 1, .effects = &effect, .effect_count = 1
	};
	char line[64] = "1";

	enqueue(f, 1, 1);
	assert_int_equal(ASK(complete, .items = &item, .count = 1)->results[0],
			 STORE_LOST);
	item.token = ASK(claim, .owner = T("w"), .queues = queues,
			 .queue_count = 1, .want = 1, .lease_ms = 60000)
			     ->items[0]
			     .token;
	for (int i = 0; i < 2; i++)
		assert_int_equal(
			ASK(complete, .items = &item, .count = 1)->results[0],
			i == 0 ? STORE_DONE : STORE_KNOWN);
	assert_string_equal(ASK(cache_load, .key = T("k"))->text, "1");
	for (int i = 0; i < 1000 && strcmp(line, "0") != 0; i++)
		cli("exists 'muster:_staged:{k}'", line, sizeof(line));
	assert_string_equal(line, "0");
	assert_int_equal(in_outbox(), 0);
}

int main(void)
{
#define TEST(name)                                                             \
	cmocka_unit_test_setup_teardown(name, fixture_set_up, fixture_tear_down)
	const struct CMUnitTest tests[] = {
		TEST(a_completion_that_is_not_recorded_leaves_nothing),
		TEST(what_is_left_in_the_outbox_is_made_once),
		TEST(effects_of_the_dead_are_made_once),
	};

	fixture_back_end = "cluster";
	return cmocka_run_group_tests(tests, NULL, NULL);
}
