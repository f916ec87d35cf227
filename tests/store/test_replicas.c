/* Answers that wait until replicas have what was written. */
#include "fixture.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/mem.h"
#include "base/must.h"

#define LONG_MS  10000 /* for what is to succeed on a busy machine */
#define SHORT_MS 100

struct group {
	struct fixture *f;
	pid_t replica;
	uint16_t port;
};

static struct group group;

static void wait_for_ms(struct fixture *f, uint32_t wait_ms)
{
	struct reply *ready = reply_new(f, DO_ready);

	f->options.wait_ms = wait_ms;
	fixture_close(f, f->store);
	f->store = fixture_open(f, f->url);
	store_ready(f->store, on_reply, ready);
	assert_done(reply_wait(ready));
}

/* The primary listens on a port for the replica, and on its socket for us. */
static int set_up(void **state)
{
	if (fixture_set_up(state) != 0)
		return -1;
	struct fixture *f = *state;
	uint16_t primary = fixture_free_port();
	char *port = mem_format("%u", primary);
	char *path = mem_format("%s/redis.sock", f->directory);
	const char *const more[] = { "--unixsocket", path,
				     "--repl-diskless-sync-delay", "0", NULL };
	const char *const following[] = { "--replicaof", "127.0.0.1", port,
					  NULL };

	fixture_stop(f->server, SIGKILL);
	f->server = fixture_start_redis_at(f->directory, primary, more);
	group.port = fixture_free_port();
	group.replica =
		fixture_start_redis_at(f->directory, group.port, following);
	char *arguments = mem_format("-p %u info replication", primary);
	char *wanted = mem_format("slave0:ip=127.0.0.1,port=%u,state=online",
				  group.port);

	fixture_await_cli(arguments, wanted);
	f->options.wait_replicas = 1;
	f->options.timeout_ms = 15000;
	wait_for_ms(f, LONG_MS);
	free(wanted);
	free(arguments);
	free(path);
	free(port);
	return 0;
}

static int tear_down(void **state)
{
	fixture_stop(group.replica, SIGKILL);
	return fixture_tear_down(state);
}

static struct reply *start_enqueue(struct fixture *f, const char *id)
{
	const struct store_task task = { .id = T(id), .envelope = T("{}") };

	return START(enqueue, .tasks = &task, .count = 1);
}

static struct reply *enqueue_one(struct fixture *f, const char *id)
{
	return reply_wait(start_enqueue(f, id));
}

static struct reply *claim_some(struct fixture *f, uint32_t want)
{
	static const struct store_bytes queues[] = { { "", 0 } };

	return ASK(claim, .owner = T("me"), .queues = queues, .queue_count = 1,
		   .want = want, .lease_ms = 60000);
}

static void cli_of_replica(const char *command, char *line, size_t size)
{
	char *text = mem_format("redis-cli -p %u %s", group.port, command);
	/* NOLINTNEXTLINE(cert-env33-c): the words are ours alone */
	FILE *pipe = popen(text, "r");

	MUST(pipe != NULL);
	if (fgets(line, (int)size, pipe) == NULL)
		line[0] = '\0';
	line[strcspn(line, "\n")] = '\0';
	pclose(pipe);
	free(text);
}

static void what_is_acknowledged_is_on_the_replica(void **state)
{
	struct fixture *f = *state;
	char line[64];

	for (int i = 0; i < 20; i++) {
		char id[8];
		char *command;

		snprintf(id, sizeof(id), "t%d", i);
		assert_int_equal(enqueue_one(f, id)->results[0], STORE_DONE);
		/* At once: nothing has to be waited for any more. */
		command = mem_format("hexists muster:tasks:data %s", id);
		cli_of_replica(command, line, sizeof(line));
		assert_string_equal(line, "1");
		free(command);
	}
	struct reply *claim = claim_some(f, 1);
	const struct store_completion item = { .id = T(claim->items[0].id),
					       .token = claim->items[0].token };

	assert_int_equal(ASK(complete, .items = &item, .count = 1)->results[0],
			 STORE_DONE);
	cli_of_replica("hexists muster:tasks:_done t0", line, sizeof(line));
	assert_string_equal(line, "1");
}

static void a_replica_that_stands_still_is_told(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(enqueue_one(f, "a")->results[0], STORE_DONE);
	struct reply *claim = claim_some(f, 1);
	const struct store_completion item = { .id = T(claim->items[0].id),
					       .token = claim->items[0].token };
	const struct store_task task = { .id = T("c"), .envelope = T("{}") };

	kill(group.replica, SIGSTOP);
	wait_for_ms(f, SHORT_MS);
	struct reply *enqueued = enqueue_one(f, "b");

	assert_problem(enqueued, -EREMOTEIO, "STORE_NOT_REPLICATED");
	assert_problem(ASK(complete, .items = &item, .count = 1), -EREMOTEIO,
		       "STORE_NOT_REPLICATED");
	assert_problem(ASK(cron_fire, .name = T("n"), .spec = T("s"),
			   .next_ms = 5, .task = &task),
		       -EREMOTEIO, "STORE_NOT_REPLICATED");
	/* Others do not wait for it: nothing was promised there. */
	assert_done(ASK(cache_save, .key = T("k"), .value = T("v")));
	/* It was made, and asked again it is acknowledged. */
	kill(group.replica, SIGCONT);
	wait_for_ms(f, LONG_MS);
	assert_int_equal(enqueue_one(f, "b")->results[0], STORE_KNOWN);
	assert_int_equal(ASK(complete, .items = &item, .count = 1)->results[0],
			 STORE_KNOWN);
	struct reply *fired = ASK(cron_fire, .name = T("n"), .spec = T("s"),
				  .next_ms = 5, .task = &task);

	assert_int_equal(fired->result, STORE_STALE);
	assert_int_equal(fired->value, 5);
	assert_int_equal(claim_some(f, 10)->count, 2);
}

/* A thousand calls of many turns wait for one and the next, not for each. */
static void calls_share_their_waiting(void **state)
{
	struct fixture *f = *state;
	struct reply *replies[1000];
	uint64_t before_ms;
	unsigned failed = 0;

	kill(group.replica, SIGSTOP);
	wait_for_ms(f, SHORT_MS);
	before_ms = loop_now_ms(f->loop);
	for (size_t i = 0; i < 1000; i++) {
		char id[8];

		snprintf(id, sizeof(id), "t%zu", i);
		replies[i] = start_enqueue(f, id);
		if (i % 50 == 0)
			fixture_run_ms(f, 2);
	}
	for (size_t i = 0; i < 1000; i++) {
		reply_wait(replies[i]);
		failed += replies[i]->error == -EREMOTEIO;
	}
	assert_int_equal(failed, 1000);
	assert_true(loop_now_ms(f->loop) - before_ms < 100 * SHORT_MS);
	kill(group.replica, SIGCONT);
	wait_for_ms(f, LONG_MS);
	for (size_t i = 0; i < 1000; i++) {
		char id[8];

		snprintf(id, sizeof(id), "t%zu", i);
		replies[i] = start_enqueue(f, id);
	}
	for (size_t i = 0; i < 1000; i++)
		assert_int_equal(reply_wait(replies[i])->results[0],
				 STORE_KNOWN);
}

/* It was written before, over a connection that is gone: that it is known says
 * nothing about replicas, and so it is not taken for an answer. */
static void what_is_known_already_waits_as_well(void **state)
{
	struct fixture *f = *state;
	struct reply *kept = NULL;
	char line[64];

	assert_int_equal(enqueue_one(f, "a")->results[0], STORE_DONE);
	kill(group.replica, SIGSTOP);
	wait_for_ms(f, 500);
	kept = start_enqueue(f, "b");
	fixture_run_ms(f, 100);
	fixture_redis_cli(f, "client kill type normal", line, sizeof(line));
	assert_problem(reply_wait(kept), -EREMOTEIO, "STORE_NOT_REPLICATED");
	assert_problem(enqueue_one(f, "b"), -EREMOTEIO, "STORE_NOT_REPLICATED");
	kill(group.replica, SIGCONT);
	wait_for_ms(f, LONG_MS);
	assert_int_equal(enqueue_one(f, "b")->results[0], STORE_KNOWN);
}

static void waiting_may_be_given_up(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(enqueue_one(f, "a")->results[0], STORE_DONE);
	kill(group.replica, SIGSTOP);
	struct reply *left = start_enqueue(f, "b");
	struct reply *closed = start_enqueue(f, "c");

	fixture_run_ms(f, 50);
	store_forget(f->store, left);
	fixture_run_ms(f, 50);
	/* Closed with what is held: nothing is left behind. */
	fixture_close(f, f->store);
	f->store = NULL;
	assert_int_equal(left->times, 0);
	assert_problem(closed, -ECANCELED, "STORE_CLOSED");
}

static void the_url_may_say_it(void **state)
{
	struct fixture *f = *state;
	struct problem problem = { 0 };
	char *url = mem_format("%s?wait_replicas=2&wait_ms=50", f->url);

	f->options.wait_replicas = 0;
	f->options.wait_ms = 0;
	f->options.timeout_ms = 5000;
	fixture_close(f, f->store);
	f->store = fixture_open(f, url);
	struct reply *reply = enqueue_one(f, "a");

	assert_problem(reply, -EREMOTEIO, "STORE_NOT_REPLICATED");
	assert_non_null(strstr(reply->problem, "of 2 replicas"));
	free(url);
	url = mem_format("%s?wait_ms=5000", f->url);
	assert_null(store_open(f->loop, url, &f->options, &problem));
	assert_string_equal(problem.name, "STORE_OPTION");
	free(url);
}

static void whoever_has_no_time_to_wait_need_not(void **state)
{
	struct fixture *f = *state;
	char *url = mem_format("%s?wait_replicas=2&wait_ms=5000", f->url);

	f->options.wait_replicas = 2;
	f->options.timeout_ms = 2000;
	f->options.waits_for_none = true;
	fixture_close(f, f->store);
	f->store = fixture_open(f, url);
	struct reply *reply = enqueue_one(f, "a");

	assert_string_equal(reply->problem, "");
	assert_int_equal(reply->results[0], STORE_DONE);
	free(url);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
	const struct CMUnitTest tests[] = {
		TEST(what_is_acknowledged_is_on_the_replica),
		TEST(a_replica_that_stands_still_is_told),
		TEST(calls_share_their_waiting),
		TEST(what_is_known_already_waits_as_well),
		TEST(waiting_may_be_given_up),
		TEST(the_url_may_say_it),
		TEST(whoever_has_no_time_to_wait_need_not),
	};

	fixture_back_end = "redis";
	return cmocka_run_group_tests(tests, NULL, NULL);
}
