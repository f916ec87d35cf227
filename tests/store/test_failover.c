/* A primary that dies, and a replica that takes over: Sentinel. */
#include "fixture.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "base/mem.h"
#include "base/must.h"

struct group {
	struct fixture fixture;
	pid_t primary;
	pid_t replica;
	pid_t sentinel;
	uint16_t primary_port;
	uint16_t replica_port;
	uint16_t sentinel_port;
};

static void await_on(uint16_t port, const char *command, const char *wanted)
{
	char *arguments = mem_format("-p %u %s", port, command);

	fixture_await_cli(arguments, wanted);
	free(arguments);
}

static void start_sentinel(struct group *group)
{
	char *path = mem_format("%s/sentinel.conf", group->fixture.directory);
	FILE *file = fopen(path, "we");

	MUST(file != NULL);
	group->sentinel_port = fixture_free_port();
	fprintf(file,
		"port %u\nbind 127.0.0.1\nsentinel monitor main 127.0.0.1 %u "
		"1\n"
		"sentinel down-after-milliseconds main 200\n"
		"sentinel failover-timeout main 1000\n",
		group->sentinel_port, group->primary_port);
	fclose(file);
	pid_t pid = fork();

	MUST(pid >= 0);
	if (pid == 0) {
		int nowhere = open("/dev/null", O_WRONLY);

		prctl(PR_SET_PDEATHSIG, SIGKILL);
		dup2(nowhere, STDOUT_FILENO);
		execlp("redis-server", "redis-server", path, "--sentinel",
		       (char *)NULL);
		_exit(127);
	}
	group->sentinel = pid;
	free(path);
	await_on(group->sentinel_port, "sentinel replicas main", "name");
}

static void start_replica(struct group *group)
{
	char *port = mem_format("%u", group->primary_port);
	const char *const more[] = {
		"--replicaof", "127.0.0.1", port, "--repl-diskless-sync-delay",
		"0",           NULL
	};

	group->replica_port = fixture_free_port();
	group->replica = fixture_start_redis_at(group->fixture.directory,
						group->replica_port, more);
	free(port);
	await_on(group->replica_port, "info replication",
		 "master_link_status:up");
}

static int set_up(void **state)
{
	struct group *group = mem_zalloc(sizeof(*group));
	struct fixture *f = &group->fixture;
	static const char *const quick[] = { "--repl-diskless-sync-delay", "0",
					     NULL };

	signal(SIGPIPE, SIG_IGN);
	snprintf(f->directory, sizeof(f->directory),
		 "/tmp/muster-store-XXXXXX");
	MUST(mkdtemp(f->directory) != NULL);
	f->log = (struct log){ LOG_OFF, "test" };
	f->loop = loop_new(&f->log);
	f->options.timeout_ms = 15000;
	group->primary_port = fixture_free_port();
	group->primary = fixture_start_redis_at(f->directory,
						group->primary_port, quick);
	start_replica(group);
	start_sentinel(group);
	/* The first one is nobody's: it is passed over. */
	snprintf(f->url, sizeof(f->url),
		 "redis+sentinel://127.0.0.1:1,127.0.0.1:%u/main",
		 group->sentinel_port);
	f->store = fixture_open(f, f->url);
	*state = group;
	return 0;
}

static int tear_down(void **state)
{
	struct group *group = *state;
	struct fixture *f = &group->fixture;

	fixture_close(f, f->store);
	loop_free(f->loop);
	fixture_stop(group->sentinel, SIGKILL);
	fixture_stop(group->replica, SIGKILL);
	fixture_stop(group->primary, SIGKILL);
	fixture_remove(f->directory);
	while (f->replies != NULL) {
		struct reply *reply = f->replies;

		f->replies = reply->next;
		free(reply);
	}
	free(group);
	return 0;
}

static void a_replica_that_takes_over_is_found(void **state)
{
	struct group *group = *state;
	struct fixture *f = &group->fixture;
	const struct store_bytes queues[] = { T("") };
	const struct store_task tasks[] = {
		{ .id = T("a"), .envelope = T("{}") },
		{ .id = T("b"), .envelope = T("{}") },
	};

	assert_int_equal(
		ASK(enqueue, .tasks = &tasks[0], .count = 1)->results[0],
		STORE_DONE);
	/* The replica has it: what follows is not about its lag. */
	await_on(group->replica_port, "hlen muster:tasks:data", "1");
	fixture_stop(group->primary, SIGKILL);
	group->primary = 0;
	assert_int_equal(
		ASK(enqueue, .tasks = &tasks[1], .count = 1)->results[0],
		STORE_DONE);
	struct reply *wait = ASK(wait, .queues = queues, .queue_count = 1,
				 .timeout_ms = 10000);

	assert_int_equal(wait->result, STORE_WOKEN);
	struct reply *claim =
		ASK(claim, .owner = T("me"), .queues = queues, .queue_count = 1,
		    .want = 10, .lease_ms = 60000);

	assert_int_equal(claim->count, 2);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(
			a_replica_that_takes_over_is_found, set_up, tear_down),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
