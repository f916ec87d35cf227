/* The embedded bus between processes of this host, which are killed and
 * stopped. argv[1] is bus_member. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/mem.h"
#include "base/must.h"

#define DEADLINE_MS 60000
#if defined(__has_feature)
#if __has_feature(address_sanitizer)
#define MEMORY_KIB (1024 * 1024) /* it keeps what was freed */
#endif
#endif
#ifndef MEMORY_KIB
#define MEMORY_KIB (64 * 1024)
#endif
#define MEMBERS_MAX 24

static const char *program;

struct member {
	pid_t pid;
	int to;
	int from;
	char text[4096]; /* that it said, and nobody has looked at */
	size_t length;
};

struct counts {
	unsigned long seen;
	unsigned long missed;
	unsigned long gaps;
	unsigned long refused;
	unsigned long dropped;
};

struct bench {
	char directory[64];
	struct member members[MEMBERS_MAX];
	size_t count;
};

static int64_t now_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

/* ---- members ---- */

static void run_member(const struct bench *bench, const char *id, int in,
		       int out)
{
	char *url = mem_format("lmdb:%s/tasks", bench->directory);

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	dup2(in, STDIN_FILENO);
	dup2(out, STDOUT_FILENO);
	execl(program, program, url, bench->directory, id, (char *)NULL);
	_exit(127);
}

/* The next line; NULL after the deadline. Good until the next one. */
static const char *next_line(struct member *member)
{
	static char line[512];
	int64_t deadline = now_ms() + DEADLINE_MS;

	for (;;) {
		char *end = memchr(member->text, '\n', member->length);

		if (end != NULL) {
			size_t length = (size_t)(end - member->text);

			MUST(length < sizeof(line));
			memcpy(line, member->text, length);
			line[length] = '\0';
			member->length -= length + 1;
			memmove(member->text, end + 1, member->length);
			return line;
		}
		struct pollfd poller = { .fd = member->from, .events = POLLIN };

		if (poll(&poller, 1, (int)(deadline - now_ms())) <= 0)
			return NULL;
		ssize_t got = read(member->from, member->text + member->length,
				   sizeof(member->text) - member->length);

		if (got <= 0)
			return NULL;
		member->length += (size_t)got;
	}
}

static void await(struct member *member, const char *wanted)
{
	const char *line = next_line(member);

	if (line == NULL)
		fail_msg("it never said %s", wanted);
	assert_string_equal(line, wanted);
}

static void say(const struct member *member, const char *line)
{
	char *text = mem_format("%s\n", line);

	assert_int_equal(write(member->to, text, strlen(text)), strlen(text));
	free(text);
}

static struct member *start(struct bench *bench, const char *id)
{
	struct member *member = &bench->members[bench->count++];
	int in[2];
	int out[2];

	MUST(pipe2(in, O_CLOEXEC) == 0 && pipe2(out, O_CLOEXEC) == 0);
	member->pid = fork();
	MUST(member->pid >= 0);
	if (member->pid == 0)
		run_member(bench, id, in[0], out[1]);
	close(in[0]);
	close(out[1]);
	member->to = in[1];
	member->from = out[0];
	member->length = 0;
	await(member, "up");
	return member;
}

static struct member *start_on(struct bench *bench, const char *id)
{
	struct member *member = start(bench, id);

	say(member, "on x");
	await(member, "on");
	return member;
}

static void end(struct member *member, int signal)
{
	int status;

	if (member->pid == 0)
		return;
	if (signal != 0)
		kill(member->pid, signal);
	close(member->to); /* an end without a signal */
	close(member->from);
	MUST(waitpid(member->pid, &status, 0) == member->pid);
	if (signal == 0)
		assert_int_equal(status, 0);
	member->pid = 0;
}

static void send_all(struct member *member, const char *line,
		     const char *answer)
{
	say(member, line);
	await(member, answer);
}

static struct counts counts_of(struct member *member)
{
	struct counts counts = { 0 };

	say(member, "counts");
	const char *line = next_line(member);

	if (line == NULL || sscanf(line, "counts %lu %lu %lu %lu %lu",
				   &counts.seen, &counts.missed, &counts.gaps,
				   &counts.refused, &counts.dropped) != 5)
		fail_msg("no counts: %s", line == NULL ? "nothing" : line);
	assert_int_equal(counts.refused, 0);
	return counts;
}

/* Until so many have come, or are known to be missing. */
static struct counts await_counts(struct member *member, unsigned long all)
{
	int64_t deadline = now_ms() + DEADLINE_MS;
	struct counts counts;

	do {
		counts = counts_of(member);
		if (now_ms() > deadline)
			fail_msg("%lu seen, %lu missed, of %lu", counts.seen,
				 counts.missed, all);
	} while (counts.seen + counts.missed < all);
	return counts;
}

/* ---- the place ---- */

static int set_up(void **state)
{
	struct bench *bench = mem_zalloc(sizeof(*bench));

	signal(SIGPIPE, SIG_IGN);
	snprintf(bench->directory, sizeof(bench->directory),
		 "/tmp/muster-bus-XXXXXX");
	MUST(mkdtemp(bench->directory) != NULL);
	*state = bench;
	return 0;
}

static int remove_one(const char *path, const struct stat *status, int kind,
		      struct FTW *place)
{
	(void)status;
	(void)kind;
	(void)place;
	return remove(path);
}

static int tear_down(void **state)
{
	struct bench *bench = *state;

	for (size_t i = 0; i < bench->count; i++)
		end(&bench->members[i], SIGKILL);
	nftw(bench->directory, remove_one, 16, FTW_DEPTH | FTW_PHYS);
	free(bench);
	return 0;
}

static size_t sockets;

static int count_socket(const char *path, const struct stat *status, int kind,
			struct FTW *place)
{
	(void)kind;
	sockets += S_ISSOCK(status->st_mode) &&
		   strncmp(path + place->base, "bus-", 4) == 0;
	return 0;
}

static size_t count_sockets(const struct bench *bench)
{
	sockets = 0;
	nftw(bench->directory, count_socket, 16, FTW_PHYS);
	return sockets;
}

/* ---- */

static void messages_go_from_process_to_process(void **state)
{
	struct bench *bench = *state;
	struct member *a = start_on(bench, "a");
	struct member *b = start_on(bench, "b");

	send_all(a, "send 5000 100", "sent 5000");
	send_all(b, "send 5000 100", "sent 5000");
	assert_int_equal(await_counts(a, 10000).seen, 10000);
	assert_int_equal(await_counts(b, 10000).seen, 10000);
	end(a, 0);
	end(b, 0);
	assert_int_equal(count_sockets(bench), 0);
}

static void
one_that_is_killed_is_forgotten_and_its_successor_found(void **state)
{
	struct bench *bench = *state;
	struct member *a = start_on(bench, "a");
	struct member *b = start_on(bench, "b");

	send_all(a, "send 10 100", "sent 10");
	await_counts(b, 10);
	end(b, SIGKILL);
	send_all(a, "send 10 100", "sent 10");
	struct member *again = start_on(bench, "b");

	assert_int_equal(count_sockets(bench), 2);
	send_all(a, "send 7 100", "sent 7");
	assert_int_equal(await_counts(again, 7).seen, 7);
	send_all(again, "send 5 100", "sent 5");
	assert_int_equal(await_counts(a, 32).seen, 32);
	/* One who died while nobody looked leaves nothing to who comes. */
	end(again, SIGKILL);
	end(a, SIGKILL);
	a = start_on(bench, "a");
	assert_int_equal(count_sockets(bench), 1);
	send_all(a, "send 3 100", "sent 3");
	assert_int_equal(await_counts(a, 3).seen, 3);
}

static unsigned long resident_kib(pid_t pid)
{
	char *path = mem_format("/proc/%d/status", (int)pid);
	FILE *file = fopen(path, "re");
	char line[128];
	unsigned long kib = 0;

	free(path);
	assert_non_null(file);
	while (fgets(line, sizeof(line), file) != NULL)
		if (strncmp(line, "VmHWM:", 6) == 0)
			kib = strtoul(line + 6, NULL, 10);
	fclose(file);
	return kib;
}

static void one_that_is_stopped_holds_nobody_up(void **state)
{
	struct bench *bench = *state;
	struct member *a = start_on(bench, "a");
	struct member *b = start_on(bench, "b");
	struct member *c = start_on(bench, "c");

	kill(b->pid, SIGSTOP);
	/* 40 MB: five times of what may wait for anybody. */
	send_all(a, "send 40000 1000", "sent 40000");
	struct counts at_c = await_counts(c, 40000);
	struct counts at_a = await_counts(a, 40000);

	assert_true(at_a.dropped > 0);
	kill(b->pid, SIGCONT);
	struct counts at_b = await_counts(b, 40000);

	/* What waited came; what did not fit is told by number. */
	assert_true(at_b.seen > 4000);
	assert_true(at_b.missed > 10000);
	assert_true(at_b.gaps > 0);
	assert_true(at_c.seen > 4000);
	/* Eight megabytes for each, and what is on its way. */
	assert_true(resident_kib(a->pid) < MEMORY_KIB);
	/* And everything is as before. */
	send_all(c, "send 10 100", "sent 10");
	await_counts(b, 40010);
}

static void one_that_dies_while_it_sends_harms_nobody(void **state)
{
	struct bench *bench = *state;
	struct member *a = start_on(bench, "a");
	struct member *b = start_on(bench, "b");
	struct member *c = start_on(bench, "c");

	/* Messages that take many reads: it dies within one. */
	say(a, "send 1000 1000000");
	await_counts(b, 5);
	end(a, SIGKILL);
	unsigned long before = counts_of(b).seen;

	send_all(c, "send 100 100", "sent 100");
	await_counts(b, before + 100);
	await_counts(c, 100);
}

static void sixteen_talk_to_sixteen(void **state)
{
	struct bench *bench = *state;
	struct member *members[16];

	for (size_t i = 0; i < 16; i++) {
		char id[8];

		snprintf(id, sizeof(id), "m%zu", i);
		members[i] = start_on(bench, id);
	}
	for (size_t i = 0; i < 16; i++)
		say(members[i], "send 200 100");
	for (size_t i = 0; i < 16; i++)
		await(members[i], "sent 200");
	for (size_t i = 0; i < 16; i++)
		assert_int_equal(await_counts(members[i], 3200).seen, 3200);
	for (size_t i = 0; i < 16; i++)
		end(members[i], 0);
	assert_int_equal(count_sockets(bench), 0);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
		TEST(messages_go_from_process_to_process),
		TEST(one_that_is_killed_is_forgotten_and_its_successor_found),
		TEST(one_that_is_stopped_holds_nobody_up),
		TEST(one_that_dies_while_it_sends_harms_nobody),
		TEST(sixteen_talk_to_sixteen),
	};

	MUST(argc == 2);
	program = argv[1];
	return cmocka_run_group_tests(tests, NULL, NULL);
}
