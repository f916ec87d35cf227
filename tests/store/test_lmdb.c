/* What can happen to the embedded store, and to nothing else. */
#include "fixture.h"

#include <errno.h>
#include <fcntl.h>
#include <lmdb.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/must.h"

#define KILLS 12

/* A fork of a process that has the store open must not touch it. */
static void put_away(struct fixture *f)
{
	if (f->store != NULL)
		fixture_close(f, f->store);
	f->store = NULL;
}

/* A child with a loop and a store of its own; it ends by being killed. */
static pid_t start_child(struct fixture *f,
			 void (*run)(struct fixture *f, int descriptor),
			 int *descriptor)
{
	int ends[2];

	put_away(f);
	MUST(pipe2(ends, O_CLOEXEC) == 0);
	pid_t pid = fork();

	MUST(pid >= 0);
	if (pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		close(ends[0]);
		f->loop = loop_new(&f->log);
		f->store = fixture_open(f, f->url);
		run(f, ends[1]);
		_exit(0);
	}
	close(ends[1]);
	*descriptor = ends[0];
	return pid;
}

static void await_byte(int descriptor)
{
	char byte;

	assert_int_equal(read(descriptor, &byte, 1), 1);
}

static struct reply *claim_some(struct fixture *f, const char *owner,
				uint32_t want)
{
	static const struct store_bytes queues[] = { { "", 0 } };

	return ASK(claim, .owner = T(owner), .queues = queues, .queue_count = 1,
		   .want = want, .lease_ms = 60000);
}

static struct reply *enqueue_one(struct fixture *f, const char *id)
{
	const struct store_task task = { .id = T(id), .envelope = T("{}") };

	return ASK(enqueue, .tasks = &task, .count = 1);
}

/* Says each id once it is acknowledged: four bytes. */
static void work(struct fixture *f, int descriptor)
{
	for (uint32_t i = 0;; i++) {
		struct store_completion item = { 0 };
		uint32_t number = (uint32_t)getpid() * 10000 + i;
		char id[16];

		snprintf(id, sizeof(id), "%u", number);
		if (enqueue_one(f, id)->results[0] != STORE_DONE)
			_exit(1);
		MUST(write(descriptor, &number, 4) == 4);
		struct reply *claim = claim_some(f, "worker", 1);

		if (i % 3 != 0 || claim->count == 0)
			continue;
		item.id = T(claim->items[0].id);
		item.token = claim->items[0].token;
		reply_wait(START(complete, .items = &item, .count = 1));
	}
}

static void what_was_acknowledged_survives_its_writer(void **state)
{
	struct fixture *f = *state;
	uint32_t acknowledged[20000];
	size_t count = 0;

	for (int i = 0; i < KILLS; i++) {
		int descriptor;
		pid_t pid = start_child(f, work, &descriptor);
		size_t most = count + 10 + (size_t)(i * 7);
		struct timespec moment = { .tv_nsec = (i * 137L % 50) * 10000 };

		/* After some, at an instant of its own. */
		while (count < most &&
		       read(descriptor, &acknowledged[count], 4) == 4)
			count++;
		nanosleep(&moment, NULL);
		fixture_stop(pid, SIGKILL);
		while (read(descriptor, &acknowledged[count], 4) == 4)
			count++;
		close(descriptor);
	}
	f->store = fixture_open(f, f->url);
	assert_true(count >= (size_t)KILLS * 10);
	for (size_t i = 0; i < count; i++) {
		char id[16];

		snprintf(id, sizeof(id), "%u", acknowledged[i]);
		assert_int_equal(ASK(show, .id = T(id))->result, STORE_DONE);
	}
	struct reply *counts = ASK(counts);

	assert_int_equal(counts->active, 0);
	assert_int_equal(counts->orphans, 0);
	assert_true(counts->queued + counts->done >= count);
}

static void claim_and_hang(struct fixture *f, int descriptor)
{
	claim_some(f, "worker", 10);
	MUST(write(descriptor, "x", 1) == 1);
	pause();
}

static void leases_of_the_dead_come_back_with_the_next_start(void **state)
{
	struct fixture *f = *state;
	int descriptor;

	enqueue_one(f, "a");
	pid_t pid = start_child(f, claim_and_hang, &descriptor);

	await_byte(descriptor);
	fixture_stop(pid, SIGKILL);
	close(descriptor);
	f->store = fixture_open(f, f->url);
	struct reply *claim = claim_some(f, "me", 10);

	assert_int_equal(claim->count, 1);
	assert_int_equal(claim->items[0].attempt, 2);
}

static void wait_and_claim(struct fixture *f, int descriptor)
{
	static const struct store_bytes queues[] = { { "", 0 } };

	for (;;) {
		struct reply *wait =
			START(wait, .queues = queues, .queue_count = 1,
			      .timeout_ms = 20000);

		fixture_run_ms(f, 20);
		MUST(write(descriptor, "w", 1) == 1);
		reply_wait(wait);
		MUST(claim_some(f, "waiter", 1)->count == 1);
		MUST(write(descriptor, "c", 1) == 1);
	}
}

static void another_process_is_woken(void **state)
{
	struct fixture *f = *state;
	int descriptor;
	pid_t pid = start_child(f, wait_and_claim, &descriptor);

	f->store = fixture_open(f, f->url);
	for (int i = 0; i < 3; i++) {
		char id[8];

		await_byte(descriptor);
		snprintf(id, sizeof(id), "t%d", i);
		assert_int_equal(enqueue_one(f, id)->results[0], STORE_DONE);
		await_byte(descriptor);
	}
	fixture_stop(pid, SIGKILL);
	close(descriptor);
	/* One who died waiting is in nobody's way. */
	assert_int_equal(enqueue_one(f, "z")->results[0], STORE_DONE);
}

/* Straight with LMDB, as a debugger or a backup would. */
static void hold(struct fixture *f, int descriptor, unsigned flags)
{
	char path[128];
	MDB_env *env;
	MDB_txn *txn;

	fixture_close(f, f->store);
	snprintf(path, sizeof(path), "%s/tasks", f->directory);
	MUST(mdb_env_create(&env) == 0);
	MUST(mdb_env_set_mapsize(env, (size_t)1 << 30) == 0);
	MUST(mdb_env_open(env, path, 0, 0600) == 0);
	MUST(mdb_txn_begin(env, NULL, flags, &txn) == 0);
	MUST(write(descriptor, "x", 1) == 1);
	pause();
}

static void hold_look(struct fixture *f, int descriptor)
{
	hold(f, descriptor, MDB_RDONLY);
}

/* Takes the lock when it is told to, so that others have opened by then. */
static void hold_lock(struct fixture *f, int descriptor)
{
	raise(SIGSTOP);
	hold(f, descriptor, 0);
}

static void whoever_sits_on_the_lock_delays_nobody_for_ever(void **state)
{
	struct fixture *f = *state;
	int descriptor;
	int status;
	pid_t pid = start_child(f, hold_lock, &descriptor);

	assert_int_equal(waitpid(pid, &status, WUNTRACED), pid);
	f->options.timeout_ms = 300;
	f->store = fixture_open(f, f->url);
	kill(pid, SIGCONT);
	await_byte(descriptor);
	assert_problem(enqueue_one(f, "a"), -ETIMEDOUT, "STORE_TIMEOUT");
	assert_done(ASK(cache_save, .key = T("k"), .value = T("v")));
	/* The dead one's lock is handed on, and what waited is done. */
	fixture_stop(pid, SIGKILL);
	close(descriptor);
	assert_int_equal(enqueue_one(f, "b")->results[0], STORE_DONE);
	assert_int_equal(enqueue_one(f, "a")->results[0], STORE_KNOWN);
}

static void a_reader_that_died_is_forgotten(void **state)
{
	struct fixture *f = *state;
	int descriptor;
	pid_t pid = start_child(f, hold_look, &descriptor);

	await_byte(descriptor);
	fixture_stop(pid, SIGKILL);
	close(descriptor);
	f->store = fixture_open(f, f->url);
	for (int i = 0; i < 50; i++) {
		char id[8];

		snprintf(id, sizeof(id), "t%d", i);
		assert_int_equal(enqueue_one(f, id)->results[0], STORE_DONE);
	}
}

static void a_full_store_can_be_emptied(void **state)
{
	struct fixture *f = *state;
	static char envelope[60000];
	int accepted = 0;
	struct reply *reply = NULL;

	put_away(f);
	f->options.map_bytes = (uint64_t)4 << 20;
	f->store = fixture_open(f, f->url);
	memset(envelope, 'x', sizeof(envelope));
	for (int i = 0; i < 200; i++) {
		char id[8];

		snprintf(id, sizeof(id), "t%d", i);
		const struct store_task task = {
			.id = T(id),
			.envelope = store_bytes(envelope, sizeof(envelope))
		};

		reply = ASK(enqueue, .tasks = &task, .count = 1);
		if (reply->error < 0)
			break;
		accepted++;
	}
	assert_problem(reply, -ENOSPC, "STORE_NEARLY_FULL");
	assert_true(accepted > 20);
	for (int i = 0; i < accepted; i++) {
		struct reply *claim = claim_some(f, "me", 1);

		assert_string_equal(claim->problem, "");
		const struct store_completion item = {
			.id = T(claim->items[0].id),
			.token = claim->items[0].token
		};

		assert_int_equal(claim->count, 1);
		reply = ASK(complete, .items = &item, .count = 1);
		assert_string_equal(reply->problem, "");
		assert_int_equal(reply->results[0], STORE_DONE);
	}
	assert_int_equal(enqueue_one(f, "again")->results[0], STORE_DONE);
}

static void assert_refused(struct fixture *f, const char *url, const char *name)
{
	struct problem problem = { 0 };

	assert_null(store_open(f->loop, url, &f->options, &problem));
	assert_string_equal(problem.name, name);
	assert_true(problem.code < 0);
}

/* Closing one must not drop the locks of the other: fcntl(2). */
static void a_process_may_open_a_store_twice(void **state)
{
	struct fixture *f = *state;
	struct store *second = fixture_open(f, f->url);

	assert_int_equal(enqueue_one(f, "a")->results[0], STORE_DONE);
	assert_int_equal(ASK_AT(second, show, .id = T("a"))->result,
			 STORE_DONE);
	fixture_close(f, second);
	second = fixture_open(f, f->url);
	fixture_close(f, f->store);
	f->store = second;
	assert_int_equal(enqueue_one(f, "a")->results[0], STORE_KNOWN);
}

static void what_is_no_store_is_refused(void **state)
{
	struct fixture *f = *state;
	char url[160];
	char path[120];

	snprintf(path, sizeof(path), "%.60s/file", f->directory);
	close(open(path, O_CREAT | O_WRONLY, 0600));
	snprintf(url, sizeof(url), "lmdb:%s", path);
	assert_refused(f, url, "STORE_OPEN_FAILED");
	put_away(f);
	snprintf(path, sizeof(path), "%.60s/tasks/data.mdb", f->directory);
	int descriptor = open(path, O_WRONLY);

	assert_true(descriptor >= 0);
	for (int i = 0; i < 1000; i++)
		assert_int_equal(write(descriptor, "garbage!", 8), 8);
	close(descriptor);
	assert_refused(f, f->url, "STORE_DAMAGED");
}

static void stay_open(struct fixture *f, int descriptor)
{
	(void)f;
	MUST(write(descriptor, "x", 1) == 1);
	pause();
}

/* 0: refused as foreign; 77: this user may make no namespace. */
static int open_elsewhere(struct fixture *f)
{
	struct problem problem = { 0 };
	int status;

	if (unshare(CLONE_NEWPID) < 0)
		return 77;
	pid_t pid = fork();

	if (pid == 0) {
		struct store *store = store_open(loop_new(&f->log), f->url,
						 &f->options, &problem);

		_exit(store == NULL &&
				      strcmp(problem.name, "STORE_FOREIGN") == 0
			      ? 0
			      : 1);
	}
	return waitpid(pid, &status, 0) == pid ? WEXITSTATUS(status) : 1;
}

static void a_foreign_pid_namespace_is_refused(void **state)
{
	struct fixture *f = *state;
	int descriptor;
	int status;
	pid_t holder = start_child(f, stay_open, &descriptor);

	await_byte(descriptor);
	pid_t pid = fork();

	MUST(pid >= 0);
	if (pid == 0)
		_exit(open_elsewhere(f));
	assert_int_equal(waitpid(pid, &status, 0), pid);
	fixture_stop(holder, SIGKILL);
	close(descriptor);
	if (WEXITSTATUS(status) == 77)
		skip();
	assert_int_equal(WEXITSTATUS(status), 0);
}

static void a_full_cache_forgets_what_was_not_read(void **state)
{
	struct fixture *f = *state;
	static char value[2000];
	static char large[20000];
	unsigned kept = 0;

	put_away(f);
	f->options.cache_bytes = (uint64_t)1 << 20;
	f->store = fixture_open(f, f->url);
	memset(value, 'x', sizeof(value));
	for (int i = 0; i < 2000; i++) {
		char key[16];

		snprintf(key, sizeof(key), "k%d", i);
		assert_done(ASK(cache_save, .key = T(key),
				.value = store_bytes(value, sizeof(value))));
	}
	kept = (unsigned)ASK(cache_size)->value;
	assert_true(kept > 300 && kept < 525);
	/* The last ones are more likely there than the first ones. */
	unsigned first = 0;
	unsigned last = 0;

	for (int i = 0; i < 400; i++) {
		char key[16];

		snprintf(key, sizeof(key), "k%d", i);
		first += ASK(cache_load, .key = T(key))->result == STORE_DONE;
		snprintf(key, sizeof(key), "k%d", 1999 - i);
		last += ASK(cache_load, .key = T(key))->result == STORE_DONE;
	}
	assert_true(last > first);
	assert_problem(ASK(cache_save, .key = T("big"),
			   .value = store_bytes(large, sizeof(large))),
		       -EMSGSIZE, "STORE_TOO_LONG");
}

static void the_cache_answers_at_once(void **state)
{
	struct fixture *f = *state;
	struct store_answer answer;
	const struct store_cache_load request = { .key = T("k") };

	assert_int_equal(store_cache_peek(f->store, &request, &answer),
			 STORE_NOT_FOUND);
	assert_done(ASK(cache_save, .key = T("k"), .value = T("v"),
			.type = T("t"), .ttl_ms = 50));
	assert_int_equal(store_cache_peek(f->store, &request, &answer),
			 STORE_DONE);
	assert_int_equal(answer.cache.value.length, 1);
	assert_int_equal(*answer.cache.value.data, 'v');
	assert_int_equal(*answer.cache.type.data, 't');
	fixture_run_ms(f, 70);
	assert_int_equal(store_cache_peek(f->store, &request, &answer),
			 STORE_NOT_FOUND);
}

int main(void)
{
#define TEST(name)                                                             \
	cmocka_unit_test_setup_teardown(name, fixture_set_up, fixture_tear_down)
	const struct CMUnitTest tests[] = {
		TEST(what_was_acknowledged_survives_its_writer),
		TEST(leases_of_the_dead_come_back_with_the_next_start),
		TEST(another_process_is_woken),
		TEST(whoever_sits_on_the_lock_delays_nobody_for_ever),
		TEST(a_reader_that_died_is_forgotten),
		TEST(a_full_store_can_be_emptied),
		TEST(a_process_may_open_a_store_twice),
		TEST(what_is_no_store_is_refused),
		TEST(a_foreign_pid_namespace_is_refused),
		TEST(a_full_cache_forgets_what_was_not_read),
		TEST(the_cache_answers_at_once),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
