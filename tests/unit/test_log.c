/* One line an event. What is written to stderr is caught with a socket that
 * keeps each write apart. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/log.h"

static int caught = -1;
static int real_stderr = -1;
static char line[8192];

static int set_up(void **state)
{
	int ends[2];

	(void)state;
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) < 0)
		return -1;
	real_stderr = dup(STDERR_FILENO);
	dup2(ends[1], STDERR_FILENO);
	close(ends[1]);
	caught = ends[0];
	return 0;
}

static int tear_down(void **state)
{
	(void)state;
	dup2(real_stderr, STDERR_FILENO);
	close(real_stderr);
	close(caught);
	return 0;
}

/* The next write, NUL-ended; -1: there is none. */
static ssize_t next_write(void)
{
	ssize_t length = recv(caught, line, sizeof(line) - 1, MSG_DONTWAIT);

	line[length > 0 ? length : 0] = '\0';
	return length;
}

/* What stands after the time, the level and the role. */
static const char *text(void)
{
	const char *end = strstr(line, "] ");

	assert_non_null(end);
	return end + 2;
}

static void levels_are_read_by_name(void **state)
{
	(void)state;
	assert_int_equal(log_level_read("off", LOG_WARN), LOG_OFF);
	assert_int_equal(log_level_read("error", LOG_WARN), LOG_ERROR);
	assert_int_equal(log_level_read("warn", LOG_INFO), LOG_WARN);
	assert_int_equal(log_level_read("info", LOG_WARN), LOG_INFO);
	assert_int_equal(log_level_read("debug", LOG_WARN), LOG_DEBUG);
}

static void what_is_no_level_is_the_other_one(void **state)
{
	(void)state;
	assert_int_equal(log_level_read(NULL, LOG_WARN), LOG_WARN);
	assert_int_equal(log_level_read("", LOG_INFO), LOG_INFO);
	assert_int_equal(log_level_read("INFO", LOG_WARN), LOG_WARN);
	assert_int_equal(log_level_read("infos", LOG_DEBUG), LOG_DEBUG);
	assert_int_equal(log_level_read("3", LOG_OFF), LOG_OFF);
}

static void a_line_is_one_write_with_time_level_and_role(void **state)
{
	(void)state;
	struct log log = { LOG_INFO, "api-worker-3" };
	char head[64];
	int year, month, day, hour, minute, second, ms, length = 0;

	log_info(&log, "worker exited id=%d signal=%s", 3, "SIGKILL");
	assert_true(next_write() > 0);
	assert_int_equal(sscanf(line, "%4d-%2d-%2dT%2d:%2d:%2d.%3dZ %n", &year,
				&month, &day, &hour, &minute, &second, &ms,
				&length),
			 7);
	snprintf(head, sizeof(head), "info api-worker-3[%d] ", (int)getpid());
	assert_memory_equal(line + length, head, strlen(head));
	assert_string_equal(text(), "worker exited id=3 signal=SIGKILL\n");
	assert_true(next_write() < 0);
}

static void what_is_above_the_level_is_not_written(void **state)
{
	(void)state;
	static const enum log_level levels[] = { LOG_ERROR, LOG_WARN, LOG_INFO,
						 LOG_DEBUG };

	for (int level = LOG_OFF; level <= LOG_DEBUG; level++) {
		struct log log = { (enum log_level)level, NULL };
		int written = 0;

		for (size_t i = 0; i < 4; i++)
			log_write(&log, levels[i], "text");
		while (next_write() > 0)
			written++;
		assert_int_equal(written, level);
	}
}

static void a_line_too_long_is_cut_and_still_ends(void **state)
{
	(void)state;
	static char much[5000];
	struct log log = { LOG_INFO, NULL };

	memset(much, 'm', sizeof(much) - 1);
	for (size_t from = 0; from < 200; from++) {
		log_info(&log, "%s", much + sizeof(much) - 900 - from);
		ssize_t length = next_write();

		assert_in_range(length, 900, 1024);
		assert_int_equal(line[length - 1], '\n');
		assert_true(next_write() < 0);
	}
}

static void a_long_role_leaves_room_for_the_text(void **state)
{
	(void)state;
	static char role[3000];
	struct log log = { LOG_INFO, role };

	memset(role, 'r', sizeof(role) - 1);
	log_info(&log, "the text");
	assert_true(next_write() > 0);
	assert_non_null(strstr(line, "the text\n"));
}

static void a_value_cannot_begin_a_line_of_its_own(void **state)
{
	(void)state;
	struct log log = { LOG_INFO, "a\nb" };

	log_info(&log, "closed address=%s",
		 "unix:/x\n2026 error forged\r\x1b[");
	assert_true(next_write() > 0);
	assert_string_equal(text(),
			    "closed address=unix:/x?2026 error forged??[\n");
	assert_ptr_equal(strchr(line, '\n'), line + strlen(line) - 1);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(levels_are_read_by_name),
		cmocka_unit_test(what_is_no_level_is_the_other_one),
		TEST(a_line_is_one_write_with_time_level_and_role),
		TEST(what_is_above_the_level_is_not_written),
		TEST(a_line_too_long_is_cut_and_still_ends),
		TEST(a_long_role_leaves_room_for_the_text),
		TEST(a_value_cannot_begin_a_line_of_its_own),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
