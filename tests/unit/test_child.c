/* Processes that are started, what they find, and how they end. */
#include "loop_bench.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/close_range.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "loop/child.h"

static struct loop_bench bench;
static struct child *child;
static size_t exits;
static int exit_code;
static int exit_signal;
static bool closes;

static int set_up(void **state)
{
	(void)state;
	/* As a primary does: what it did not open itself stays out. */
	close_range(3, ~0u, CLOSE_RANGE_CLOEXEC);
	loop_bench_open(&bench);
	child = NULL;
	exits = 0;
	closes = false;
	return 0;
}

static int tear_down(void **state)
{
	(void)state;
	child_close(child);
	loop_bench_close(&bench);
	return 0;
}

static void on_exited(void *owner, int code, int signal)
{
	assert_ptr_equal(owner, &bench);
	exits++;
	exit_code = code;
	exit_signal = signal;
	if (closes) {
		child_close(child);
		child = NULL;
	}
}

static char *environment[] = { (char *)(uintptr_t) "WORD=from here",
			       (char *)(uintptr_t) "PATH=/usr/bin:/bin", NULL };

/* A shell with a script, 0 to 2 as ours and `more` after them. */
static int start(const char *script, const int *list, size_t count)
{
	char *arguments[] = { (char *)(uintptr_t) "sh",
			      (char *)(uintptr_t) "-c",
			      (char *)(uintptr_t)script, NULL };
	struct child_options options = {
		.file = "/bin/sh",
		.arguments = arguments,
		.environment = environment,
		.descriptors = list,
		.descriptor_count = count,
	};

	return child_open(bench.loop, &options, on_exited, &bench, &child);
}

static const int plain[] = { -1, 1, 2 };

static void assert_ends_with(const char *script, int code, int signal)
{
	assert_int_equal(start(script, plain, 3), 0);
	AWAIT(&bench, exits == 1);
	assert_int_equal(exit_code, code);
	assert_int_equal(exit_signal, signal);
	loop_bench_settle(&bench);
	assert_int_equal(exits, 1);
	child_close(child);
	child = NULL;
	exits = 0;
}

static void an_exit_has_its_code(void **state)
{
	(void)state;
	assert_ends_with("exit 0", 0, 0);
	assert_ends_with("exit 7", 7, 0);
	assert_ends_with("exit 255", 255, 0);
}

static void a_death_has_its_signal(void **state)
{
	(void)state;
	assert_ends_with("kill -KILL $$", -1, SIGKILL);
	assert_ends_with("kill -TERM $$", -1, SIGTERM);
}

static void a_child_is_killed_by_its_number(void **state)
{
	(void)state;
	assert_int_equal(start("exec sleep 1000", plain, 3), 0);
	assert_true(child_pid(child) > 1);
	assert_int_equal(kill(child_pid(child), 0), 0);
	assert_int_equal(child_kill(child, SIGKILL), 0);
	AWAIT(&bench, exits == 1);
	assert_int_equal(exit_signal, SIGKILL);
	assert_int_equal(child_kill(child, SIGKILL), -ESRCH);
}

static void a_child_may_be_closed_when_it_has_exited(void **state)
{
	(void)state;
	closes = true;
	assert_int_equal(start("exit 3", plain, 3), 0);
	AWAIT(&bench, exits == 1);
	assert_null(child);
}

static void a_closed_child_lives_on_and_is_not_told_of(void **state)
{
	(void)state;
	int ends[2];
	char text[32];

	open_pair(ends);
	assert_int_equal(start("cat /dev/zero >/dev/null & echo $! >&3; wait",
			       (int[]){ -1, 1, 2, ends[1] }, 4),
			 0);
	pid_t shell = child_pid(child);

	child_close(child);
	child = NULL;
	struct pollfd wait = { .fd = ends[0], .events = POLLIN };

	assert_int_equal(poll(&wait, 1, 20000), 1);
	ssize_t length = recv(ends[0], text, sizeof(text) - 1, 0);

	assert_true(length > 0);
	text[length] = '\0';
	assert_int_equal(kill(shell, SIGKILL), 0);
	assert_int_equal(kill(atoi(text), SIGKILL), 0);
	loop_bench_settle(&bench);
	assert_int_equal(exits, 0);
	close(ends[0]);
	close(ends[1]);
}

/* What the script writes to its descriptor 1. */
static const char *output_of(const char *script, const int *more, size_t count)
{
	static char text[4096];
	int list[16] = { -1 };
	size_t length = 0;
	int ends[2];

	assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
	list[1] = ends[1];
	list[2] = 2;
	for (size_t i = 0; i < count; i++)
		list[3 + i] = more[i];
	assert_int_equal(start(script, list, 3 + count), 0);
	close(ends[1]);
	for (;;) {
		ssize_t more_bytes =
			read(ends[0], text + length, sizeof(text) - 1 - length);

		if (more_bytes <= 0)
			break;
		length += (size_t)more_bytes;
	}
	close(ends[0]);
	text[length] = '\0';
	AWAIT(&bench, exits == 1);
	child_close(child);
	child = NULL;
	exits = 0;
	return text;
}

static void a_child_has_the_environment_it_was_given_and_no_other(void **state)
{
	(void)state;
	setenv("OTHER", "ours", 1);
	assert_string_equal(output_of("echo \"$WORD,$OTHER\"", NULL, 0),
			    "from here,\n");
}

static void a_child_finds_the_descriptors_it_was_given(void **state)
{
	(void)state;
	int first = open_file();
	int second = open_file();
	char expected[128];

	/* The second twice, in an order that crosses our own numbers. */
	int list[] = { second, first, second };
	const char *found = output_of(
		"stat -L -c %i /dev/fd/3 /dev/fd/4 /dev/fd/5", list, 3);

	snprintf(expected, sizeof(expected), "%lu\n%lu\n%lu\n",
		 (unsigned long)number_of(second),
		 (unsigned long)number_of(first),
		 (unsigned long)number_of(second));
	assert_string_equal(found, expected);
	close(first);
	close(second);
}

static void an_entry_of_none_is_dev_null(void **state)
{
	(void)state;
	int file = open_file();

	assert_string_equal(
		output_of("readlink /proc/$$/fd/0 /proc/$$/fd/3 /proc/$$/fd/5;"
			  "echo x >&3 && cat <&5 && echo done",
			  (int[]){ -1, file, -1 }, 3),
		"/dev/null\n/dev/null\n/dev/null\ndone\n");
	close(file);
}

static void a_child_finds_nothing_else(void **state)
{
	(void)state;
	int file = open_file();

	assert_string_equal(output_of("ls -x /proc/$$/fd; true", NULL, 0),
			    "0  1  2\n");
	close(file);
}

static void a_child_starts_in_its_directory(void **state)
{
	(void)state;
	char *arguments[] = { (char *)(uintptr_t) "sh",
			      (char *)(uintptr_t) "-c",
			      (char *)(uintptr_t) "test \"$(pwd)\" = /proc",
			      NULL };
	struct child_options options = { .file = "sh", /* by PATH */
					 .arguments = arguments,
					 .environment = environment,
					 .directory = "/proc",
					 .descriptors = plain,
					 .descriptor_count = 3 };

	assert_int_equal(
		child_open(bench.loop, &options, on_exited, &bench, &child), 0);
	AWAIT(&bench, exits == 1);
	assert_int_equal(exit_code, 0);
}

static int start_file(const char *file, const char *directory)
{
	char *arguments[] = { (char *)(uintptr_t) "x", NULL };
	struct child_options options = { .file = file,
					 .arguments = arguments,
					 .environment = environment,
					 .directory = directory,
					 .descriptors = (int[]){ -1, 1, 2, -1 },
					 .descriptor_count = 4 };

	return child_open(bench.loop, &options, on_exited, &bench, &child);
}

static void what_cannot_be_started_fails_with_the_reason(void **state)
{
	(void)state;
	assert_int_equal(start_file("/no/such/program", NULL), -ENOENT);
	assert_int_equal(start_file("no-such-program", NULL), -ENOENT);
	assert_int_equal(start_file("/etc/passwd", NULL), -EACCES);
	assert_int_equal(start_file("/bin/true", "/no/such/directory"),
			 -ENOENT);
	loop_bench_settle(&bench);
	assert_int_equal(exits, 0);
	assert_null(child);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(an_exit_has_its_code),
		TEST(a_death_has_its_signal),
		TEST(a_child_is_killed_by_its_number),
		TEST(a_child_may_be_closed_when_it_has_exited),
		TEST(a_closed_child_lives_on_and_is_not_told_of),
		TEST(a_child_has_the_environment_it_was_given_and_no_other),
		TEST(a_child_finds_the_descriptors_it_was_given),
		TEST(an_entry_of_none_is_dev_null),
		TEST(a_child_finds_nothing_else),
		TEST(a_child_starts_in_its_directory),
		TEST(what_cannot_be_started_fails_with_the_reason),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
