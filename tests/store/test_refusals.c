/* What a store does not start with: each in one sentence that says what to
 * change. */
#include "fixture.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/mem.h"
#include "base/must.h"
#include "scripted.h"

#define NFS_MAGIC 0x6969
#define NOBODY    65534

/* What the next directory lies on; 0: what it really lies on. */
static unsigned pretended_file_system;

/* In the place of the C library's own: no network is needed. */
/* NOLINTNEXTLINE(readability-inconsistent-declaration-parameter-name) */
int statfs(const char *path, struct statfs *status)
{
	int error = (int)syscall(SYS_statfs, path, status);

	if (error == 0 && pretended_file_system != 0)
		status->f_type = pretended_file_system;
	return error;
}

/* The thing, the cause, and the way out in parentheses. */
static void assert_one_sentence(const char *text)
{
	assert_true(strlen(text) > 20 && strlen(text) < 255);
	assert_null(strchr(text, '\n'));
	assert_non_null(strchr(text, '('));
	assert_int_equal(text[strlen(text) - 1], ')');
}

static void assert_not_opened(struct fixture *f, const char *url,
			      const char *name)
{
	struct problem problem = { 0 };

	assert_null(store_open(f->loop, url, &f->options, &problem));
	assert_string_equal(problem.name, name);
	assert_true(problem.code < 0);
	assert_one_sentence(problem.text);
}

static void close_store(struct fixture *f)
{
	if (f->store != NULL)
		fixture_close(f, f->store);
	f->store = NULL;
}

static struct reply *ready_at(struct fixture *f, const char *url)
{
	struct reply *ready = reply_new(f, DO_ready);

	close_store(f);
	f->store = fixture_open(f, url);
	store_ready(f->store, on_reply, ready);
	return reply_wait(ready);
}

static void assert_not_ready(struct fixture *f, const char *url, int code,
			     const char *name)
{
	struct reply *ready = ready_at(f, url);

	assert_problem(ready, code, name);
	assert_one_sentence(ready->problem);
	/* And so with all that is asked afterwards. */
	assert_problem(ASK(cache_load, .key = T("a")), code, name);
}

static void assert_scripted(struct fixture *f,
			    const struct scripted_line *lines, int code,
			    const char *name)
{
	char *path = mem_format("%s/scripted.sock", f->directory);
	char *url = mem_format("unix:%s", path);
	pid_t pid = scripted_start(path, lines);

	assert_not_ready(f, url, code, name);
	fixture_stop(pid, SIGKILL);
	unlink(path);
	free(url);
	free(path);
}

/* ---- the URL ---- */

static void a_scheme_that_is_not_known(void **state)
{
	struct fixture *f = *state;

	assert_not_opened(f, "mysql://localhost/db", "STORE_URL_INVALID");
	assert_not_opened(f, "", "STORE_URL_INVALID");
}

/* ---- Redis ---- */

static void a_password_that_is_wrong(void **state)
{
	struct fixture *f = *state;
	static const char *const more[] = { "--requirepass", "right", NULL };
	char *url = mem_format("unix://:wrong@%s/redis.sock", f->directory);

	f->server = fixture_start_redis(f->directory, more);
	assert_not_ready(f, url, -EACCES, "STORE_PASSWORD");
	free(url);
	url = mem_format("unix:%s/redis.sock", f->directory);
	assert_not_ready(f, url, -EACCES, "STORE_PASSWORD");
	free(url);
}

static void a_user_without_the_right(void **state)
{
	struct fixture *f = *state;
	char *url = mem_format("unix://app:secret@%s/redis.sock", f->directory);
	char line[64];

	f->server = fixture_start_redis(f->directory, NULL);
	fixture_redis_cli(
		f, "acl setuser app on '>secret' '~*' +@all -script -info",
		line, sizeof(line));
	assert_string_equal(line, "OK");
	assert_not_ready(f, url, -EACCES, "STORE_REFUSED");
	free(url);
}

static void a_server_that_is_too_old(void **state)
{
	struct fixture *f = *state;
	static const struct scripted_line old[] = {
		{ .command = "INFO",
		  .reply = "$33\r\nredis_version:6.0.16\r\nredis_x:1\r\n\r\n" },
		{ 0 },
	};
	static const struct scripted_line none[] = {
		{ .command = "INFO", .reply = "+PONG\r\n" },
		{ 0 },
	};

	assert_scripted(f, old, -EPROTONOSUPPORT, "STORE_TOO_OLD");
	assert_scripted(f, none, -EPROTO, "STORE_REFUSED");
}

static void an_eviction_policy_that_drops_tasks(void **state)
{
	struct fixture *f = *state;
	static const char *const policies[] = { "allkeys-lru", "allkeys-lfu",
						"allkeys-random" };
	static const char *const fine[] = { "noeviction", "volatile-lru",
					    "volatile-ttl" };
	char *url = mem_format("unix:%s/redis.sock", f->directory);
	char line[64];

	f->server = fixture_start_redis(f->directory, NULL);
	for (size_t i = 0; i < 3; i++) {
		char *command = mem_format("config set maxmemory-policy %s",
					   policies[i]);

		fixture_redis_cli(f, command, line, sizeof(line));
		assert_not_ready(f, url, -EPERM, "STORE_EVICTS");
		free(command);
		command = mem_format("config set maxmemory-policy %s", fine[i]);
		fixture_redis_cli(f, command, line, sizeof(line));
		assert_done(ready_at(f, url));
		free(command);
	}
	free(url);
}

static void a_replica_in_the_place_of_its_primary(void **state)
{
	struct fixture *f = *state;
	static const char *const more[] = { "--replicaof", "127.0.0.1", "1",
					    NULL };
	char *url = mem_format("unix:%s/redis.sock", f->directory);
	char line[64];

	f->server = fixture_start_redis(f->directory, more);
	assert_not_ready(f, url, -EROFS, "STORE_REPLICA");
	/* Made a primary, it is taken: nobody has to be restarted. */
	fixture_redis_cli(f, "replicaof no one", line, sizeof(line));
	struct reply *save = NULL;

	for (int i = 0; i < 400; i++) {
		save = ASK(cache_save, .key = T("a"), .value = T("v"));
		if (save->error == 0)
			break;
		fixture_run_ms(f, 10);
	}
	assert_done(save);
	free(url);
}

static void a_cluster_that_is_none(void **state)
{
	struct fixture *f = *state;
	uint16_t port = fixture_free_port();
	char *url = mem_format("redis+cluster://127.0.0.1:%u", port);

	f->server = fixture_start_redis_at(f->directory, port, NULL);
	assert_not_ready(f, url, -EPERM, "STORE_MODE");
	free(url);
}

/* ---- LMDB ---- */

static void a_network_file_system(void **state)
{
	struct fixture *f = *state;

	close_store(f);
	pretended_file_system = NFS_MAGIC;
	assert_not_opened(f, f->url, "STORE_REMOTE");
	pretended_file_system = 0;
	f->store = fixture_open(f, f->url);
}

static void a_path_that_is_a_file(void **state)
{
	struct fixture *f = *state;
	char *path = mem_format("%s/file", f->directory);
	char *url = mem_format("lmdb:%s", path);
	char *below = mem_format("lmdb:%s/store", path);

	close(open(path, O_CREAT | O_WRONLY | O_CLOEXEC, 0600));
	assert_not_opened(f, url, "STORE_OPEN_FAILED");
	assert_not_opened(f, below, "STORE_OPEN_FAILED");
	free(below);
	free(url);
	free(path);
}

/* As somebody whom directories' permissions hold for. */
static void open_as_nobody(struct fixture *f, const char *url)
{
	struct problem problem = { 0 };

	if (getuid() == 0)
		MUST(setgid(NOBODY) == 0 && setuid(NOBODY) == 0);
	struct store *store =
		store_open(loop_new(&f->log), url, &f->options, &problem);

	if (store == NULL && problem.code == -EACCES &&
	    strcmp(problem.name, "STORE_OPEN_FAILED") == 0 &&
	    strstr(problem.text, "(give this user the right to write there)"))
		_exit(0);
	fprintf(stderr, "%s: %s\n", problem.name, problem.text);
	_exit(1);
}

static void assert_refused_to_nobody(struct fixture *f, const char *url)
{
	int status;
	pid_t pid = fork();

	MUST(pid >= 0);
	if (pid == 0)
		open_as_nobody(f, url);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(WEXITSTATUS(status), 0);
}

static void a_directory_that_is_not_writable(void **state)
{
	struct fixture *f = *state;
	char *locked = mem_format("%s/locked", f->directory);
	char *url = mem_format("lmdb:%s", locked);
	char *open_url = mem_format("lmdb:%s/open", f->directory);
	char *open_path = mem_format("%s/open", f->directory);

	close_store(f);
	MUST(chmod(f->directory, 0777) == 0);
	MUST(mkdir(locked, 0555) == 0 && mkdir(open_path, 0777) == 0);
	MUST(chmod(open_path, 0777) == 0);
	assert_refused_to_nobody(f, url);
	/* The same with the half that may go with the boot. */
	f->options.volatile_path = locked;
	assert_refused_to_nobody(f, open_url);
	f->options.volatile_path = f->directory;
	free(open_path);
	free(open_url);
	free(url);
	free(locked);
}

int main(void)
{
#define TEST(name)                                                             \
	cmocka_unit_test_setup_teardown(name, fixture_set_up, fixture_tear_down)
	const struct CMUnitTest tests[] = {
		TEST(a_scheme_that_is_not_known),
		TEST(a_password_that_is_wrong),
		TEST(a_user_without_the_right),
		TEST(a_server_that_is_too_old),
		TEST(an_eviction_policy_that_drops_tasks),
		TEST(a_replica_in_the_place_of_its_primary),
		TEST(a_cluster_that_is_none),
		TEST(a_network_file_system),
		TEST(a_path_that_is_a_file),
		TEST(a_directory_that_is_not_writable),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
