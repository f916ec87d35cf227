#include "group.h"

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

void group_await(uint16_t port, const char *command, const char *wanted)
{
	char *arguments = mem_format("-p %u %s", port, command);

	fixture_await_cli(arguments, wanted);
	free(arguments);
}

void group_start_sentinel(struct group *group)
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
		int nowhere = open("/dev/null", O_WRONLY | O_CLOEXEC);

		prctl(PR_SET_PDEATHSIG, SIGKILL);
		dup2(nowhere, STDOUT_FILENO);
		execlp("redis-server", "redis-server", path, "--sentinel",
		       (char *)NULL);
		_exit(127);
	}
	group->sentinel = pid;
	free(path);
	group_await(group->sentinel_port, "sentinel replicas main", "name");
}

void group_start_replica(struct group *group)
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
	group_await(group->replica_port, "info replication",
		    "master_link_status:up");
}

int group_set_up(void **state)
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
	group_start_replica(group);
	group_start_sentinel(group);
	/* The first one is nobody's: it is passed over. */
	snprintf(f->url, sizeof(f->url),
		 "redis+sentinel://127.0.0.1:1,127.0.0.1:%u/main",
		 group->sentinel_port);
	f->store = fixture_open(f, f->url);
	*state = group;
	return 0;
}

int group_tear_down(void **state)
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
