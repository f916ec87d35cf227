/* What can happen to the processes, the memory and the disk under an embedded
 * store. */
#include "fixture.h"

#include <errno.h>
#include <fcntl.h>
#include <lmdb.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/mem.h"
#include "base/must.h"

static const struct store_bytes global[] = { { "", 0 } };

static struct reply *enqueue_large(struct fixture *f, const char *id,
				   size_t bytes)
{
	static char envelope[100000];
	const struct store_task task = { .id = T(id),
					 .envelope =
						 store_bytes(envelope, bytes) };

	memset(envelope, 'x', bytes);
	return ASK(enqueue, .tasks = &task, .count = 1);
}

static struct reply *enqueue_one(struct fixture *f, const char *id)
{
	return enqueue_large(f, id, 2);
}

static struct reply *claim_some(struct fixture *f, uint32_t want)
{
	return ASK(claim, .owner = T("me"), .queues = global, .queue_count = 1,
		   .want = want, .lease_ms = 60000);
}

static struct reply *complete_one(struct fixture *f, const struct reply *claim)
{
	const struct store_completion item = { .id = T(claim->items[0].id),
					       .token = claim->items[0].token };

	return ASK(complete, .items = &item, .count = 1);
}

static void put_away(struct fixture *f)
{
	if (f->store != NULL)
		fixture_close(f, f->store);
	f->store = NULL;
}

/* ---- a writer that is stopped while it holds the lock ---- */

static unsigned stops; /* how often a sync stops the process it is in */

/* In the place of the C library's own, which LMDB calls within a commit. */
/* NOLINTNEXTLINE(readability-inconsistent-declaration-parameter-name) */
int fdatasync(int descriptor)
{
	while (stops > 0) {
		stops--;
		raise(SIGSTOP);
	}
	return (int)syscall(SYS_fdatasync, descriptor);
}

/* A child that has the store open, and goes on to stop `times` times within its
 * first commit when it is continued. */
static pid_t start_child(struct fixture *f, unsigned times)
{
	int status;

	put_away(f);
	pid_t pid = fork();

	MUST(pid >= 0);
	if (pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		f->loop = loop_new(&f->log);
		f->store = fixture_open(f, f->url);
		raise(SIGSTOP); /* until we have it open, too */
		stops = times;
		enqueue_one(f, "theirs");
		pause();
	}
	assert_int_equal(waitpid(pid, &status, WUNTRACED), pid);
	f->options.timeout_ms = 18000;
	return pid;
}

static void let_it_stop(pid_t pid)
{
	int status;

	kill(pid, SIGCONT);
	assert_int_equal(waitpid(pid, &status, WUNTRACED), pid);
	assert_true(WIFSTOPPED(status));
}

static pid_t start_stopping(struct fixture *f, unsigned times)
{
	pid_t pid = start_child(f, times);

	f->store = fixture_open(f, f->url);
	let_it_stop(pid);
	return pid;
}

static void a_stopped_writer_is_continued(void **state)
{
	struct fixture *f = *state;
	pid_t pid = start_stopping(f, 1);

	/* Who waits for the lock for a second looks who has it. */
	assert_int_equal(enqueue_one(f, "ours")->results[0], STORE_DONE);
	assert_int_equal(ASK(show, .id = T("theirs"))->result, STORE_DONE);
	assert_int_equal(kill(pid, 0), 0);
	fixture_stop(pid, SIGKILL);
}

/* Nobody else has it open: who opens it looks after that by itself. */
static void a_stopped_writer_keeps_nobody_from_opening(void **state)
{
	struct fixture *f = *state;
	pid_t pid = start_child(f, 1);

	let_it_stop(pid);
	f->store = fixture_open(f, f->url);
	assert_int_equal(ASK(show, .id = T("theirs"))->result, STORE_DONE);
	assert_int_equal(kill(pid, 0), 0);
	fixture_stop(pid, SIGKILL);
}

static void a_writer_that_stays_stopped_is_killed(void **state)
{
	struct fixture *f = *state;
	int status;
	pid_t pid = start_stopping(f, 1000);

	assert_int_equal(enqueue_one(f, "ours")->results[0], STORE_DONE);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFSIGNALED(status));
	assert_int_equal(WTERMSIG(status), SIGKILL);
	/* What it had not committed is not there. */
	assert_int_equal(ASK(show, .id = T("theirs"))->result, STORE_NOT_FOUND);
	assert_int_equal(ASK(counts)->queued, 1);
}

/* ---- a boot ---- */

static void change_boot(struct fixture *f)
{
	char *path = mem_format("%s/tasks/place", f->directory);
	int descriptor = open(path, O_WRONLY | O_CLOEXEC);

	assert_int_equal(pwrite(descriptor, "00000000", 8, 0), 8);
	close(descriptor);
	free(path);
}

static void what_may_go_with_the_boot_goes(void **state)
{
	struct fixture *f = *state;

	for (int has_booted = 0; has_booted < 2; has_booted++) {
		char id[8];

		snprintf(id, sizeof(id), "t%d", has_booted);
		assert_int_equal(enqueue_one(f, id)->results[0], STORE_DONE);
		assert_true(claim_some(f, 9)->count >= 1);
		assert_done(ASK(cache_save, .key = T("k"), .value = T("v")));
		ASK(peer_ping, .id = T("p"), .nonce = T("n"), .record = T("{}"),
		    .is_joining = true);
		put_away(f);
		if (has_booted)
			change_boot(f);
		f->store = fixture_open(f, f->url);
		assert_int_equal(ASK(cache_load, .key = T("k"))->result,
				 has_booted ? STORE_NOT_FOUND : STORE_DONE);
		assert_int_equal(ASK(peer_list)->count, has_booted ? 0 : 1);
		/* Nobody has a lease any more: all can be had at once. */
		struct reply *claim = claim_some(f, 9);

		assert_int_equal(claim->count, has_booted + 1);
		assert_int_equal(ASK(counts)->active, has_booted + 1);
	}
}

/* ---- readers ---- */

static void hold_look(struct fixture *f, int descriptor)
{
	char *path = mem_format("%s/tasks", f->directory);
	MDB_env *env;
	MDB_txn *txn;

	MUST(mdb_env_create(&env) == 0);
	MUST(mdb_env_set_mapsize(env, (size_t)2 << 20) == 0);
	MUST(mdb_env_open(env, path, 0, 0600) == 0);
	MUST(mdb_txn_begin(env, NULL, MDB_RDONLY, &txn) == 0);
	MUST(write(descriptor, "x", 1) == 1);
	pause();
}

/* What it read is kept for it; with its slot all old pages would be. */
static void a_dead_readers_pages_are_used_again(void **state)
{
	struct fixture *f = *state;
	int ends[2];
	char byte;

	put_away(f);
	f->options.map_bytes = (uint64_t)2 << 20;
	f->store = fixture_open(f, f->url);
	assert_int_equal(enqueue_one(f, "first")->results[0], STORE_DONE);
	MUST(pipe2(ends, O_CLOEXEC) == 0);
	pid_t pid = fork();

	MUST(pid >= 0);
	if (pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		hold_look(f, ends[1]);
	}
	close(ends[1]);
	assert_int_equal(read(ends[0], &byte, 1), 1);
	close(ends[0]);
	fixture_stop(pid, SIGKILL);
	/* Far more than fits, were nothing used again. */
	for (int i = 0; i < 400; i++) {
		char id[8];
		struct reply *reply;

		snprintf(id, sizeof(id), "t%d", i);
		reply = enqueue_large(f, id, 20000);
		assert_string_equal(reply->problem, "");
		assert_int_equal(complete_one(f, claim_some(f, 1))->results[0],
				 STORE_DONE);
	}
}

/* ---- full disks: each on a tmpfs of its own, which nobody else sees ---- */

#define NOT_PERMITTED 77

/* The user we are stays one outside of it. */
static int mount_tmpfs(const char *path, const char *options)
{
	if (unshare(CLONE_NEWNS) < 0)
		return -errno;
	if (mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0 ||
	    mount("tmpfs", path, "tmpfs", 0, options) < 0)
		return -errno;
	return 0;
}

/* Runs `test` in a child with f->directory/small being a tmpfs. */
static void run_on_tmpfs(struct fixture *f, const char *options,
			 void (*test)(struct fixture *f))
{
	char *path = mem_format("%s/small", f->directory);
	int status;

	put_away(f);
	MUST(mkdir(path, 0700) == 0);
	pid_t pid = fork();

	MUST(pid >= 0);
	if (pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		int error = mount_tmpfs(path, options);

		if (error < 0) {
			print_message("no private mount: %s\n",
				      strerror(-error));
			_exit(NOT_PERMITTED);
		}
		f->loop = loop_new(&f->log);
		test(f);
		/* A failed assertion has not come here. */
		put_away(f);
		_exit(0);
	}
	free(path);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	if (WIFEXITED(status) && WEXITSTATUS(status) == NOT_PERMITTED)
		skip();
	assert_true(WIFEXITED(status));
	assert_int_equal(WEXITSTATUS(status), 0);
}

/* In the child cmocka is not there to catch what fails. */
#define CHECK(condition)                                                       \
	do {                                                                   \
		if (!(condition)) {                                            \
			fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__,     \
				#condition);                                   \
			_exit(1);                                              \
		}                                                              \
	} while (0)

static void open_small(struct fixture *f, bool has_tasks, bool has_shared)
{
	char *small = mem_format("%s/small", f->directory);
	char *url =
		mem_format("lmdb:%s/tasks", has_tasks ? small : f->directory);

	f->options.volatile_path = has_shared ? small : f->directory;
	f->options.map_bytes = (uint64_t)1 << 30;
	f->store = fixture_open(f, url);
	free(url);
	/* `small` is the options' for as long as the child lives. */
}

static void fill(struct fixture *f)
{
	char *path = mem_format("%s/small/filler", f->directory);
	int descriptor =
		open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
	static const char zeroes[4096];

	while (write(descriptor, zeroes, sizeof(zeroes)) > 0)
		;
	close(descriptor);
	free(path);
}

static void fill_with_tasks(struct fixture *f)
{
	struct reply *reply;
	int accepted = 0;
	char id[16];

	open_small(f, true, false);
	for (;;) {
		snprintf(id, sizeof(id), "t%d", accepted);
		reply = enqueue_large(f, id, 10000);
		if (reply->error < 0)
			break;
		accepted++;
	}
	CHECK(strcmp(reply->name, "STORE_NEARLY_FULL") == 0 ||
	      strcmp(reply->name, "STORE_FULL") == 0);
	CHECK(reply->error == -ENOSPC);
	CHECK(accepted > 300);
	/* And whatever is left goes to somebody else. */
	fill(f);
	CHECK(ASK(counts)->queued == (uint64_t)accepted);
	for (int i = 0; i < accepted; i++) {
		struct reply *claim = claim_some(f, 1);

		CHECK(claim->error == 0 && claim->count == 1);
		reply = complete_one(f, claim);
		CHECK(reply->error == 0 && reply->results[0] == STORE_DONE);
	}
	/* The disk is as full as it was, but there is room in the file. */
	CHECK(enqueue_one(f, "again")->results[0] == STORE_DONE);
}

static void a_full_disk_lets_tasks_be_completed(void **state)
{
	run_on_tmpfs(*state, "size=8m", fill_with_tasks);
}

static void fill_with_cache(struct fixture *f)
{
	static char value[8000];
	char key[16];
	unsigned kept;

	open_small(f, false, true);
	memset(value, 'x', sizeof(value));
	/* Ten times what fits: old ones go. */
	for (int i = 0; i < 10000; i++) {
		struct reply *save;

		snprintf(key, sizeof(key), "k%d", i);
		save = ASK(cache_save, .key = T(key),
			   .value = store_bytes(value, sizeof(value)));
		CHECK(save->error == 0 && save->result == STORE_DONE);
	}
	kept = (unsigned)ASK(cache_size)->value;
	CHECK(kept > 200 && kept < 700);
	CHECK(ASK(cache_load, .key = T(key))->result == STORE_DONE);
	/* Others take the rest: what is vital goes on. */
	fill(f);
	for (int i = 0; i < 50; i++) {
		struct reply *ping =
			ASK(peer_ping, .id = T("p"), .nonce = T("n"),
			    .record = T("{}"), .is_joining = true);

		CHECK(ping->error == 0 && ping->result == STORE_DONE);
	}
	CHECK(ASK(cache_load, .key = T(key))->result == STORE_DONE);
	put_away(f);
	/* Nor does opening it end in a SIGBUS. */
	open_small(f, false, true);
	CHECK(ASK(cache_load, .key = T(key))->error == 0);
}

static void a_cache_fits_into_the_memory_there_is(void **state)
{
	run_on_tmpfs(*state, "size=8m", fill_with_cache);
}

static void open_without_room(struct fixture *f)
{
	struct problem problem = { 0 };
	char *small = mem_format("%s/small", f->directory);
	char *url = mem_format("lmdb:%s/tasks", f->directory);

	f->options.volatile_path = small;
	CHECK(store_open(f->loop, url, &f->options, &problem) == NULL);
	CHECK(strcmp(problem.name, "STORE_OPEN_FAILED") == 0);
	CHECK(problem.code == -ENOSPC);
	free(url);
	url = mem_format("lmdb:%s/tasks", small);
	f->options.volatile_path = f->directory;
	CHECK(store_open(f->loop, url, &f->options, &problem) == NULL);
	CHECK(problem.code == -ENOSPC);
	free(url);
}

static void without_any_room_it_is_not_opened(void **state)
{
	run_on_tmpfs(*state, "size=16k", open_without_room);
}

int main(void)
{
#define TEST(name)                                                             \
	cmocka_unit_test_setup_teardown(name, fixture_set_up, fixture_tear_down)
	const struct CMUnitTest tests[] = {
		TEST(a_stopped_writer_is_continued),
		TEST(a_stopped_writer_keeps_nobody_from_opening),
		TEST(a_writer_that_stays_stopped_is_killed),
		TEST(what_may_go_with_the_boot_goes),
		TEST(a_dead_readers_pages_are_used_again),
		TEST(a_full_disk_lets_tasks_be_completed),
		TEST(a_cache_fits_into_the_memory_there_is),
		TEST(without_any_room_it_is_not_opened),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
