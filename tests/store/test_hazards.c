/* What a Redis server may say or do when it is not well, and what a call that
 * meets it answers: that it is done, that nothing happened, or that it may have
 * happened. */
#include "fixture.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/mem.h"
#include "base/must.h"
#include "scripted.h"

static const struct store_bytes global[] = { { "", 0 } };

static struct reply *enqueue_one(struct fixture *f, const char *id)
{
	const struct store_task task = { .id = T(id), .envelope = T("{}") };

	return ASK(enqueue, .tasks = &task, .count = 1);
}

static struct reply *claim_some(struct fixture *f, uint32_t want)
{
	return ASK(claim, .owner = T("me"), .queues = global, .queue_count = 1,
		   .want = want, .lease_ms = 60000);
}

static void cli(struct fixture *f, const char *command, const char *expected)
{
	char line[512];

	fixture_redis_cli(f, command, line, sizeof(line));
	if (expected != NULL)
		assert_string_equal(line, expected);
}

/* One that a test may ask for more than an application. */
static void use_server(struct fixture *f, const char *const *more)
{
	fixture_close(f, f->store);
	fixture_stop(f->server, SIGKILL);
	f->server = fixture_start_redis(f->directory, more);
	f->store = fixture_open(f, f->url);
}

/* Runs redis-cli beside the test; its pid. */
static pid_t start_cli(struct fixture *f, const char *command)
{
	char *text = mem_format("exec redis-cli -s %s/redis.sock %s >/dev/null",
				f->directory, command);
	pid_t pid = fork();

	MUST(pid >= 0);
	if (pid == 0) {
		execl("/bin/sh", "sh", "-c", text, (char *)NULL);
		_exit(127);
	}
	free(text);
	return pid;
}

/* Until the server refuses `command` with `wanted` to others. */
static void await_cli(struct fixture *f, const char *command,
		      const char *wanted)
{
	char *text = mem_format("-s %s/redis.sock %s", f->directory, command);

	fixture_await_cli(text, wanted);
	free(text);
}

/* ---- not now: tried again ---- */

static void a_server_that_loads_is_waited_for(void **state)
{
	struct fixture *f = *state;
	static const char *const more[] = {
		"--enable-debug-command", "yes",
		"--loading-process-events-interval-bytes", "1024", NULL
	};

	use_server(f, more);
	assert_int_equal(enqueue_one(f, "a")->results[0], STORE_DONE);
	cli(f, "debug populate 5000", "OK");
	cli(f, "config set key-load-delay 500", "OK");
	pid_t reload = start_cli(f, "debug reload");

	await_cli(f, "get x", "LOADING");
	assert_int_equal(enqueue_one(f, "b")->results[0], STORE_DONE);
	assert_int_equal(claim_some(f, 10)->count, 2);
	fixture_stop(reload, 0);
}

static void a_script_that_runs_for_long_is_waited_for(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(enqueue_one(f, "a")->results[0], STORE_DONE);
	cli(f, "config set busy-reply-threshold 20", "OK");
	pid_t endless = start_cli(f, "eval 'while true do end' 0");

	await_cli(f, "get x", "BUSY");
	struct reply *push = START(cache_push, .key = T("l"), .value = T("v"));

	fixture_run_ms(f, 100);
	assert_int_equal(push->times, 0);
	cli(f, "script kill", "OK");
	reply_wait(push);
	assert_string_equal(push->problem, "");
	assert_int_equal(push->value, 1);
	fixture_stop(endless, 0);
}

static void a_server_that_pauses_is_waited_for(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(enqueue_one(f, "a")->results[0], STORE_DONE);
	cli(f, "client pause 300 all", "OK");
	struct reply *push = START(cache_push, .key = T("l"), .value = T("v"));

	fixture_run_ms(f, 100);
	assert_int_equal(push->times, 0);
	reply_wait(push);
	assert_int_equal(push->value, 1);
}

static void a_server_that_stands_still_goes_on(void **state)
{
	struct fixture *f = *state;
	struct reply *pushes[20];

	assert_int_equal(enqueue_one(f, "a")->results[0], STORE_DONE);
	kill(f->server, SIGSTOP);
	for (size_t i = 0; i < 20; i++)
		pushes[i] = START(cache_push, .key = T("l"), .value = T("v"));
	fixture_run_ms(f, 200);
	assert_int_equal(pushes[0]->times, 0);
	kill(f->server, SIGCONT);
	for (size_t i = 0; i < 20; i++)
		assert_int_equal(reply_wait(pushes[i])->value, i + 1);
}

/* Past its time it may have happened, and here it has. */
static void what_took_too_long_may_have_happened(void **state)
{
	struct fixture *f = *state;

	fixture_close(f, f->store);
	f->options.timeout_ms = 1500;
	f->store = fixture_open(f, f->url);
	assert_int_equal(enqueue_one(f, "a")->results[0], STORE_DONE);
	kill(f->server, SIGSTOP);
	assert_problem(enqueue_one(f, "b"), -ETIMEDOUT, "STORE_TIMEOUT");
	kill(f->server, SIGCONT);
	struct reply *again = enqueue_one(f, "b");

	for (int i = 0; i < 100 && again->error < 0; i++)
		again = enqueue_one(f, "b");
	assert_int_equal(again->results[0], STORE_KNOWN);
	assert_int_equal(claim_some(f, 10)->count, 2);
}

/* ---- no: nothing happened ---- */

static void a_failing_disk_is_told(void **state)
{
	struct fixture *f = *state;
	char *path = mem_format("%s/dump.rdb/x", f->directory);

	assert_int_equal(enqueue_one(f, "a")->results[0], STORE_DONE);
	/* Where the dump should go there is a directory. */
	*strrchr(path, '/') = '\0';
	MUST(mkdir(path, 0700) == 0);
	cli(f, "config set save '3600 1'", "OK");
	cli(f, "bgsave", NULL);
	await_cli(f, "set x y", "MISCONF");
	assert_problem(enqueue_one(f, "b"), -EROFS, "STORE_READ_ONLY");
	assert_problem(ASK(cache_push, .key = T("l"), .value = T("v")), -EROFS,
		       "STORE_READ_ONLY");
	MUST(rmdir(path) == 0);
	cli(f, "bgsave", NULL);
	await_cli(f, "set x y", "OK");
	assert_int_equal(enqueue_one(f, "b")->results[0], STORE_DONE);
	assert_int_equal(ASK(cache_length, .key = T("l"))->value, 0);
	free(path);
}

static void missing_replicas_are_told(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(enqueue_one(f, "a")->results[0], STORE_DONE);
	cli(f, "config set min-replicas-to-write 1", "OK");
	assert_problem(enqueue_one(f, "b"), -EROFS, "STORE_READ_ONLY");
	cli(f, "config set min-replicas-to-write 0", "OK");
	assert_int_equal(enqueue_one(f, "b")->results[0], STORE_DONE);
}

/* Without a byte left, what is there is finished. */
static void a_full_memory_does_not_stop_what_runs(void **state)
{
	struct fixture *f = *state;
	char id[2] = "a";

	for (; id[0] <= 'e'; id[0]++)
		assert_int_equal(enqueue_one(f, id)->results[0], STORE_DONE);
	cli(f, "config set maxmemory 1", "OK");
	assert_problem(ASK(cache_save, .key = T("k"), .value = T("v")), -ENOSPC,
		       "STORE_FULL");
	struct reply *claim = claim_some(f, 4);

	assert_string_equal(claim->problem, "");
	assert_int_equal(claim->count, 4);
	struct store_lease leases[4];

	for (size_t i = 0; i < 4; i++)
		leases[i] = (struct store_lease){ T(claim->items[i].id),
						  claim->items[i].token };
	struct reply *beat =
		ASK(heartbeat, .leases = leases, .count = 4, .lease_ms = 60000);

	assert_string_equal(beat->problem, "");
	assert_int_equal(beat->results[3], STORE_DONE);
	const struct store_completion done = { .id = leases[0].id,
					       .token = leases[0].token,
					       .result = T("{}") };
	const struct store_failure failed = { .id = leases[1].id,
					      .token = leases[1].token,
					      .error = T("why") };

	assert_int_equal(ASK(complete, .items = &done, .count = 1)->results[0],
			 STORE_DONE);
	assert_int_equal(ASK(fail, .items = &failed, .count = 1)->results[0],
			 STORE_RETRYING);
	assert_int_equal(
		ASK(release, .leases = &leases[2], .count = 1)->results[0],
		STORE_DONE);
	assert_int_equal(ASK(reap_owner, .owner = T("me"))->value, 1);
	struct reply *counts = ASK(counts);

	assert_int_equal(counts->done, 1);
	assert_int_equal(counts->active, 0);
}

/* ---- before it is too late ---- */

static void a_nearly_full_memory_takes_no_new_tasks(void **state)
{
	struct fixture *f = *state;
	static char envelope[20000];
	static const char *const more[] = { "--maxmemory", "12mb", NULL };
	struct reply *reply;
	unsigned accepted = 0;
	char line[64];

	use_server(f, more);
	memset(envelope, 'x', sizeof(envelope));
	assert_int_equal(enqueue_one(f, "first")->results[0], STORE_DONE);
	do {
		char id[16];

		snprintf(id, sizeof(id), "t%u", accepted);
		const struct store_task task = {
			.id = T(id),
			.envelope = store_bytes(envelope, sizeof(envelope))
		};

		reply = ASK(enqueue, .tasks = &task, .count = 1);
		accepted += reply->error == 0;
	} while (reply->error == 0 && accepted < 1000);
	assert_problem(reply, -ENOSPC, "STORE_NEARLY_FULL");
	assert_in_range(accepted, 100, 560);
	fixture_redis_cli(f, "info memory | grep used_memory:", line,
			  sizeof(line));
	unsigned long used = strtoul(strchr(line, ':') + 1, NULL, 10);

	/* Half of what was left, at most, is sent before it looks again. */
	assert_true(used < 12ul << 20);
	/* What is there goes on, and makes room. */
	for (unsigned i = 0; i <= accepted; i++) {
		struct reply *claim = claim_some(f, 1);
		const struct store_completion item = {
			.id = T(claim->items[0].id),
			.token = claim->items[0].token
		};

		assert_int_equal(claim->count, 1);
		assert_int_equal(
			ASK(complete, .items = &item, .count = 1)->results[0],
			STORE_DONE);
	}
	reply = enqueue_one(f, "again");
	for (int i = 0; i < 400 && reply->error < 0; i++) {
		assert_problem(reply, -ENOSPC, "STORE_NEARLY_FULL");
		fixture_run_ms(f, 10);
		reply = enqueue_one(f, "again");
	}
	assert_int_equal(reply->results[0], STORE_DONE);
}

/* What may be evicted is room: then a full memory is how it should be. */
static void a_cache_that_fills_the_rest_is_in_nobodys_way(void **state)
{
	struct fixture *f = *state;
	static char value[20000];

	memset(value, 'x', sizeof(value));
	assert_int_equal(enqueue_one(f, "a")->results[0], STORE_DONE);
	cli(f, "config set maxmemory 8mb", "OK");
	cli(f, "config set maxmemory-policy volatile-lru", "OK");
	for (int i = 0; i < 600; i++) {
		char key[16];

		snprintf(key, sizeof(key), "k%d", i);
		assert_done(ASK(cache_save, .key = T(key), .ttl_ms = 600000,
				.value = store_bytes(value, sizeof(value))));
	}
	fixture_run_ms(f, 1100); /* it looks once a second */
	for (int i = 0; i < 5; i++) {
		char id[2] = { (char)('b' + i), '\0' };

		assert_int_equal(enqueue_one(f, id)->results[0], STORE_DONE);
		fixture_run_ms(f, 30);
	}
	assert_int_equal(claim_some(f, 10)->count, 6);
}

/* ---- cut ---- */

static void what_was_under_way_is_done_or_told(void **state)
{
	struct fixture *f = *state;
	struct reply *pushes[200];
	struct reply *saves[200];
	uint64_t done = 0;
	uint64_t lost = 0;

	assert_int_equal(enqueue_one(f, "a")->results[0], STORE_DONE);
	for (size_t round = 0; round < 5; round++) {
		for (size_t i = 0; i < 40; i++) {
			size_t n = round * 40 + i;

			pushes[n] = START(cache_push, .key = T("l"),
					  .value = T("v"));
			saves[n] = START(cache_save, .key = T("k"),
					 .value = T("v"));
		}
		/* They are on their way while the connection is cut. */
		pid_t killer = start_cli(f, "client kill type normal");

		for (size_t i = 0; i < 40; i++) {
			reply_wait(pushes[round * 40 + i]);
			assert_done(reply_wait(saves[round * 40 + i]));
		}
		fixture_stop(killer, 0);
	}
	for (size_t i = 0; i < 200; i++) {
		if (pushes[i]->error == 0) {
			done++;
			continue;
		}
		assert_problem(pushes[i], -ECONNRESET, "STORE_ANSWER_LOST");
		lost++;
	}
	uint64_t length = ASK(cache_length, .key = T("l"))->value;

	assert_true(length >= done && length <= done + lost);
}

static void use_script(struct fixture *f, const struct scripted_line *lines)
{
	char *path = mem_format("%s/scripted.sock", f->directory);
	char *url = mem_format("unix:%s", path);

	fixture_close(f, f->store);
	fixture_stop(f->server, SIGKILL);
	f->server = scripted_start(path, lines);
	f->store = fixture_open(f, url);
	free(url);
	free(path);
}

static void a_reply_that_was_cut_counts_for_nothing(void **state)
{
	struct fixture *f = *state;
	static const struct scripted_line lines[] = {
		{ "EVALSHA", "*2\r\n:1\r\n$5\r\nab", 1, true },
		{ "EVALSHA", "*2\r\n:1\r\n$0\r\n\r\n", 1, false },
		{ "EVALSHA", "*2\r\n:", 1, true },
		{ "EVALSHA", ":1\r\n", 0, false },
		{ 0 },
	};

	use_script(f, lines);
	assert_int_equal(enqueue_one(f, "a")->results[0], STORE_DONE);
	/* Not to be repeated: whether it happened nobody knows. */
	assert_problem(ASK(cache_push, .key = T("l"), .value = T("v")),
		       -ECONNRESET, "STORE_ANSWER_LOST");
	assert_string_equal(
		ASK(cache_push, .key = T("l"), .value = T("v"))->problem, "");
}

static void what_is_no_reply_ends_the_connection(void **state)
{
	struct fixture *f = *state;
	static const struct scripted_line lines[] = {
		{ "EVALSHA", "HTTP/1.1 400 Bad Request\r\n\r\n", 1, false },
		{ "EVALSHA", "$-7\r\n*99999999999\r\n", 1, false },
		{ "EVALSHA", "*2\r\n:1\r\n$0\r\n\r\n:7\r\n:8\r\n", 1, false },
		{ "EVALSHA", "*1\r\n:1\r\n", 1, false },
		{ "EVALSHA", "*2\r\n:1\r\n$0\r\n\r\n", 0, false },
		{ 0 },
	};

	use_script(f, lines);
	/* Twice it is no reply: it is asked again. */
	assert_int_equal(enqueue_one(f, "a")->results[0], STORE_DONE);
	/* Well formed, but of a server that is none. */
	struct reply *reply = enqueue_one(f, "b");

	if (reply->error < 0)
		assert_problem(reply, -EPROTO, "STORE_FAILED");
	assert_int_equal(enqueue_one(f, "c")->results[0], STORE_DONE);
}

static void a_replica_without_its_primary_is_asked_again(void **state)
{
	struct fixture *f = *state;
	static const struct scripted_line lines[] = {
		{ "EVALSHA",
		  "-MASTERDOWN Link with MASTER is down and "
		  "replica-serve-stale-data is set to 'no'.\r\n",
		  3, false },
		{ "EVALSHA", "-LOADING Redis is loading the dataset\r\n", 2,
		  false },
		/* As a 6.2 words what was refused within a script. */
		{ "EVALSHA",
		  "-ERR Error running script (call to f_0): @user_script:1: "
		  "-READONLY You can't write against a read only replica.\r\n",
		  1, false },
		{ "EVALSHA", "*2\r\n:1\r\n$0\r\n\r\n", 1, false },
		{ "EVALSHA",
		  "-ERR Error running script (call to f_0): @user_script:1: "
		  "-OOM command not allowed when used memory > "
		  "'maxmemory'.\r\n",
		  0, false },
		{ 0 },
	};

	use_script(f, lines);
	assert_int_equal(enqueue_one(f, "a")->results[0], STORE_DONE);
	assert_problem(enqueue_one(f, "b"), -ENOSPC, "STORE_FULL");
}

int main(void)
{
#define TEST(name)                                                             \
	cmocka_unit_test_setup_teardown(name, fixture_set_up, fixture_tear_down)
	const struct CMUnitTest tests[] = {
		TEST(a_server_that_loads_is_waited_for),
		TEST(a_script_that_runs_for_long_is_waited_for),
		TEST(a_server_that_pauses_is_waited_for),
		TEST(a_server_that_stands_still_goes_on),
		TEST(what_took_too_long_may_have_happened),
		TEST(a_failing_disk_is_told),
		TEST(missing_replicas_are_told),
		TEST(a_full_memory_does_not_stop_what_runs),
		TEST(a_nearly_full_memory_takes_no_new_tasks),
		TEST(a_cache_that_fills_the_rest_is_in_nobodys_way),
		TEST(what_was_under_way_is_done_or_told),
		TEST(a_reply_that_was_cut_counts_for_nothing),
		TEST(what_is_no_reply_ends_the_connection),
		TEST(a_replica_without_its_primary_is_asked_again),
	};

	fixture_back_end = "redis";
	return cmocka_run_group_tests(tests, NULL, NULL);
}
