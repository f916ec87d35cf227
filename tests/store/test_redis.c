/* What can happen to a store on Redis, and to nothing else. */
#include "fixture.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/must.h"

static struct reply *enqueue_one(struct fixture *f, const char *id)
{
	const struct store_task task = { .id = T(id), .envelope = T("{}") };

	return ASK(enqueue, .tasks = &task, .count = 1);
}

static struct reply *claim_some(struct fixture *f, uint32_t want)
{
	static const struct store_bytes queues[] = { { "", 0 } };

	return ASK(claim, .owner = T("me"), .queues = queues, .queue_count = 1,
		   .want = want, .lease_ms = 60000);
}

static void cli(struct fixture *f, const char *command, const char *expected)
{
	char line[512];

	fixture_redis_cli(f, command, line, sizeof(line));
	if (expected != NULL)
		assert_string_equal(line, expected);
}

static struct reply *ready_of(struct fixture *f)
{
	struct reply *ready = reply_new(f, DO_ready);

	store_ready(f->store, on_reply, ready);
	return reply_wait(ready);
}

static void restart(struct fixture *f, const char *const *more)
{
	fixture_stop(f->server, SIGKILL);
	f->server = fixture_start_redis(f->directory, more);
}

static const char *const always[] = { "--appendonly", "yes", "--appendfsync",
				      "always", NULL };

static void a_server_that_was_killed_is_found_again(void **state)
{
	struct fixture *f = *state;

	restart(f, always);
	assert_int_equal(enqueue_one(f, "a")->results[0], STORE_DONE);
	for (int i = 0; i < 3; i++) {
		const struct store_task task = { .id = T("b"),
						 .envelope = T("{}") };
		struct reply *reply;

		/* Asked while it is stopped, sent, and then it dies. */
		kill(f->server, SIGSTOP);
		reply = START(enqueue, .tasks = &task, .count = 1);
		fixture_run_ms(f, 20);
		restart(f, always);
		reply_wait(reply);
		assert_string_equal(reply->problem, "");
		assert_int_equal(reply->results[0],
				 i == 0 ? STORE_DONE : STORE_KNOWN);
	}
	assert_int_equal(claim_some(f, 10)->count, 2);
}

static void what_must_not_happen_twice_is_not_repeated(void **state)
{
	struct fixture *f = *state;

	assert_done(ready_of(f));
	kill(f->server, SIGSTOP);
	struct reply *push = START(cache_push, .key = T("l"), .value = T("v"));
	struct reply *save = START(cache_save, .key = T("a"), .value = T("v"));

	fixture_run_ms(f, 20);
	restart(f, NULL);
	assert_problem(reply_wait(push), -ECONNRESET, "STORE_ANSWER_LOST");
	assert_done(reply_wait(save));
}

static void a_server_that_is_away_costs_the_timeout(void **state)
{
	struct fixture *f = *state;

	fixture_close(f, f->store);
	f->options.timeout_ms = 150;
	f->store = fixture_open(f, f->url);
	assert_done(ready_of(f));
	kill(f->server, SIGSTOP);
	assert_problem(ASK(cache_load, .key = T("a")), -ETIMEDOUT,
		       "STORE_TIMEOUT");
	fixture_stop(f->server, SIGKILL);
	f->server = 0;
	assert_problem(ASK(cache_load, .key = T("a")), -ETIMEDOUT,
		       "STORE_TIMEOUT");
	assert_problem(ready_of(f), -ETIMEDOUT, "STORE_TIMEOUT");
}

static void scripts_that_were_flushed_are_loaded_again(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(enqueue_one(f, "a")->results[0], STORE_DONE);
	cli(f, "script flush", "OK");
	struct reply *adds[10];

	for (size_t i = 0; i < 10; i++)
		adds[i] = START(cache_add, .key = T("n"), .delta = 1);
	reply_wait(adds[9]);
	assert_string_equal(ASK(cache_load, .key = T("n"))->text, "10");
	assert_int_equal(claim_some(f, 10)->count, 1);
}

static void a_connection_that_was_cut_is_made_again(void **state)
{
	struct fixture *f = *state;
	static const struct store_bytes queues[] = { { "", 0 } };
	struct reply *wait = START(wait, .queues = queues, .queue_count = 1,
				   .timeout_ms = 20000);

	fixture_run_ms(f, 50);
	cli(f, "client kill type normal", NULL);
	fixture_run_ms(f, 100);
	assert_int_equal(enqueue_one(f, "a")->results[0], STORE_DONE);
	assert_int_equal(reply_wait(wait)->result, STORE_WOKEN);
	assert_int_equal(claim_some(f, 1)->count, 1);
}

static void with_password(struct fixture *f, const char *password)
{
	static const char *const more[] = { "--requirepass", "right", NULL };
	char url[160];

	fixture_close(f, f->store);
	restart(f, more);
	snprintf(url, sizeof(url), "unix://%s%.100s/redis.sock", password,
		 f->directory);
	f->store = fixture_open(f, url);
}

static void a_password_is_given(void **state)
{
	struct fixture *f = *state;

	with_password(f, ":right@");
	assert_done(ready_of(f));
	assert_done(ASK(cache_save, .key = T("a"), .value = T("v")));
}

static void a_wrong_password_is_one_clear_sentence(void **state)
{
	struct fixture *f = *state;

	with_password(f, ":wrong@");
	struct reply *ready = ready_of(f);

	assert_problem(ready, -EACCES, "STORE_PASSWORD");
	assert_null(strstr(ready->problem, "wrong"));
	assert_problem(ASK(cache_load, .key = T("a")), -EACCES,
		       "STORE_PASSWORD");
}

static void a_missing_password_is_told(void **state)
{
	struct fixture *f = *state;

	with_password(f, "");
	assert_problem(ready_of(f), -EACCES, "STORE_PASSWORD");
}

static void an_eviction_policy_that_drops_tasks_is_refused(void **state)
{
	struct fixture *f = *state;
	static const char *const more[] = { "--maxmemory", "100mb",
					    "--maxmemory-policy", "allkeys-lru",
					    NULL };

	fixture_close(f, f->store);
	restart(f, more);
	f->store = fixture_open(f, f->url);
	assert_problem(ready_of(f), -EPERM, "STORE_EVICTS");
	cli(f, "config set maxmemory-policy noeviction", "OK");
	/* Set right, it is taken: nobody has to be restarted. */
	struct reply *save = NULL;

	for (int i = 0; i < 400; i++) {
		save = ASK(cache_save, .key = T("a"), .value = T("v"));
		if (save->error == 0)
			break;
		fixture_run_ms(f, 10);
	}
	assert_done(save);
}

static void a_full_memory_is_told(void **state)
{
	struct fixture *f = *state;

	assert_done(ready_of(f));
	cli(f, "config set maxmemory 1", "OK");
	assert_problem(enqueue_one(f, "a"), -ENOSPC, "STORE_FULL");
	cli(f, "config set maxmemory 0", "OK");
	/* Noticed with the next ones. */
	struct reply *reply = enqueue_one(f, "a");

	for (int i = 0; i < 400 && reply->error < 0; i++) {
		assert_problem(reply, -ENOSPC, "STORE_NEARLY_FULL");
		fixture_run_ms(f, 10);
		reply = enqueue_one(f, "a");
	}
	assert_int_equal(reply->results[0], STORE_DONE);
}

static void a_replica_is_waited_for_to_be_the_primary(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(enqueue_one(f, "a")->results[0], STORE_DONE);
	cli(f, "replicaof 127.0.0.1 1", NULL);
	const struct store_task task = { .id = T("b"), .envelope = T("{}") };
	struct reply *reply = START(enqueue, .tasks = &task, .count = 1);

	fixture_run_ms(f, 100);
	assert_int_equal(reply->times, 0);
	cli(f, "replicaof no one", NULL);
	assert_int_equal(reply_wait(reply)->results[0], STORE_DONE);
}

/* Answers everything as an old server would. */
static void be_old(int listener)
{
	static const char info[] = "redis_version:5.0.3\r\n";
	char answer[128];
	char text[65536];
	int length = snprintf(answer, sizeof(answer), "$%zu\r\n%s\r\n",
			      sizeof(info) - 1, info);

	for (;;) {
		int descriptor = accept(listener, NULL, NULL);

		while (read(descriptor, text, sizeof(text)) > 0)
			if (write(descriptor, answer, (size_t)length) < 0)
				break;
		close(descriptor);
	}
}

static void an_old_server_is_refused(void **state)
{
	struct fixture *f = *state;
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	char url[160];
	int listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	fixture_close(f, f->store);
	snprintf(address.sun_path, sizeof(address.sun_path), "%.60s/old.sock",
		 f->directory);
	MUST(bind(listener, (const struct sockaddr *)&address,
		  sizeof(address)) == 0);
	MUST(listen(listener, 5) == 0);
	pid_t pid = fork();

	MUST(pid >= 0);
	if (pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		be_old(listener);
	}
	close(listener);
	snprintf(url, sizeof(url), "unix:%.60s/old.sock", f->directory);
	f->store = fixture_open(f, url);
	assert_problem(ready_of(f), -EPROTONOSUPPORT, "STORE_TOO_OLD");
	fixture_stop(pid, SIGKILL);
}

static void keys_are_those_of_the_contract(void **state)
{
	struct fixture *f = *state;
	const struct store_task tasks[] = {
		{ .id = T("a"), .envelope = T("{\"method\":\"m\"}") },
		{ .id = T("b"), .envelope = T("{}"), .delay_ms = 60000 },
		{ .id = T("c"), .envelope = T("{}"), .queue = T("api-1") },
		{ .id = T("d"), .envelope = T("{}"), .priority = 3 },
	};
	const struct store_stat stat = { T("requests"), 3, false, false };

	ASK(enqueue, .tasks = tasks, .count = 4);
	cli(f, "lindex muster:tasks:global 0", "a");
	cli(f, "lindex muster:tasks:global:p3 0", "d");
	cli(f, "lindex muster:tasks:api-1 0", "c");
	cli(f, "zrange muster:tasks:delayed 0 -1", "b");
	cli(f, "hget muster:tasks:data a", "{\"method\":\"m\"}");
	claim_some(f, 1);
	cli(f, "zrange muster:tasks:processing 0 -1", "a");
	ASK(peer_ping, .id = T("api-1"), .nonce = T("n"),
	    .record = T("{\"pid\":1}"), .is_joining = true);
	cli(f, "hget muster:peers api-1", "{\"pid\":1}");
	cli(f, "hlen muster:peerPings", "1");
	ASK(stats_flush, .source = T("n"), .sequence = 1, .stats = &stat,
	    .count = 1);
	cli(f, "hget muster:stats requests", "3");
	ASK(cache_save, .key = T("a:b"), .value = T("v"));
	cli(f, "hget muster:cache:a%3Ab v", "v");
	ASK(cache_lock, .key = T("k"), .owner = T("o"), .ttl_ms = 60000);
	cli(f, "type muster:lock:k", "string");
}

static void a_prefix_keeps_stores_apart(void **state)
{
	struct fixture *f = *state;

	f->options.prefix = "actionHero";
	struct store *other = fixture_open(f, f->url);

	assert_done(ASK(cache_save, .key = T("a"), .value = T("1")));
	assert_int_equal(ASK_AT(other, cache_load, .key = T("a"))->result,
			 STORE_NOT_FOUND);
	assert_done(ASK_AT(other, cache_save, .key = T("a"), .value = T("2")));
	cli(f, "hget actionHero:cache:a v", "2");
	assert_int_equal(ASK_AT(other, cache_clear)->value, 1);
	assert_string_equal(ASK(cache_load, .key = T("a"))->text, "1");
	fixture_close(f, other);
}

static void what_was_damaged_by_hand_harms_nobody(void **state)
{
	struct fixture *f = *state;

	enqueue_one(f, "good");
	cli(f, "lpush muster:tasks:global ghost", NULL);
	cli(f, "hset muster:tasks:_meta bad nonsense", NULL);
	cli(f, "lpush muster:tasks:global bad", NULL);
	cli(f, "zadd muster:tasks:delayed 1 ghost2", NULL);
	cli(f, "zadd muster:tasks:processing 1 ghost3", NULL);
	cli(f, "hset muster:tasks:_meta half \"q|0|0|5|9||\"", NULL);
	cli(f, "rpush muster:tasks:global half", NULL);
	struct reply *claim = claim_some(f, 10);

	assert_string_equal(claim->problem, "");
	assert_int_equal(claim->count, 1);
	assert_string_equal(claim->items[0].id, "good");
	assert_true(ASK(counts)->orphans >= 3);
	assert_int_equal(ASK(counts)->delayed, 0);
}

static void an_outage_takes_nobodys_lease(void **state)
{
	struct fixture *f = *state;
	static const struct store_bytes queues[] = { { "", 0 } };

	enqueue_one(f, "a");
	struct reply *claim = ASK(claim, .owner = T("me"), .queues = queues,
				  .queue_count = 1, .want = 1, .lease_ms = 200);

	assert_int_equal(claim->count, 1);
	/* Nobody could prolong anything while the server stood still. */
	kill(f->server, SIGSTOP);
	fixture_run_ms(f, 400);
	kill(f->server, SIGCONT);
	claim = ASK(claim, .owner = T("you"), .queues = queues,
		    .queue_count = 1, .want = 1, .lease_ms = 200);
	assert_int_equal(claim->count, 0);
}

int main(void)
{
#define TEST(name)                                                             \
	cmocka_unit_test_setup_teardown(name, fixture_set_up, fixture_tear_down)
	const struct CMUnitTest tests[] = {
		TEST(a_server_that_was_killed_is_found_again),
		TEST(what_must_not_happen_twice_is_not_repeated),
		TEST(a_server_that_is_away_costs_the_timeout),
		TEST(scripts_that_were_flushed_are_loaded_again),
		TEST(a_connection_that_was_cut_is_made_again),
		TEST(a_password_is_given),
		TEST(a_wrong_password_is_one_clear_sentence),
		TEST(a_missing_password_is_told),
		TEST(an_eviction_policy_that_drops_tasks_is_refused),
		TEST(a_full_memory_is_told),
		TEST(a_replica_is_waited_for_to_be_the_primary),
		TEST(an_old_server_is_refused),
		TEST(keys_are_those_of_the_contract),
		TEST(a_prefix_keeps_stores_apart),
		TEST(what_was_damaged_by_hand_harms_nobody),
		TEST(an_outage_takes_nobodys_lease),
	};

	fixture_back_end = "redis";
	return cmocka_run_group_tests(tests, NULL, NULL);
}
