/*
 * harness - process tests: starts real programs, waits for what they say, and
 * leaves nothing behind.
 *
 * A test file is both sides. Run as it is, it runs its tests; run as
 * `FILE program NAME ARGUMENTS...` it is one of its programs, and the workers
 * of that program are re-executions of the same command line.
 *
 * Each test has a directory of its own, which is where its programs run. Each
 * process is the leader of a session; what is left of it is killed when the
 * test ends, and a process that outlived its primary fails the test. Nothing
 * here sleeps: every wait is for a descriptor, and has a deadline.
 *
 * The verbs have no prefix, so that a test reads as a sentence. Those that wait
 * or check fail the test by themselves and say what was awaited and what came.
 */
#pragma once
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include <cmocka.h>

/* Far longer than anything takes; only a failing test waits for so long. */
#define DEADLINE_MS 20000

struct test {
	const char *name;
	void (*run)(void);
};
struct test_program {
	const char *name;
	int (*run)(int argc, char **argv); /* all of them: own start at [3] */
};
#define TEST(function)                                                         \
	{                                                                      \
#function, function                                            \
	}
#define PROGRAM(function)                                                      \
	{                                                                      \
#function, function                                            \
	}

/* Both lists end with a NULL name. FILE TEST runs the tests that match TEST,
 * a cmocka filter. */
int harness_main(int argc, char **argv, const struct test_program *programs,
		 const struct test *tests);

/* ---- The test's processes ---------------------------------------------- */

struct process;

/* Starts `FILE program NAME ARGUMENTS...`; the list ends with NULL. */
struct process *start(const char *name, ...) __attribute__((sentinel));

struct start_options {
	const char *name;
	const char *const *arguments;   /* NULL-ended; NULL: none */
	const char *const *environment; /* NULL-ended "K=V", added to own */
	int descriptor; /* what the program finds as 3, where not 0 */
};
struct process *start_with(const struct start_options *options);

pid_t pid_of(const struct process *process);
/* Writes a line to its standard input. */
void command(struct process *process, const char *format, ...)
	__attribute__((format(printf, 2, 3)));
void send_signal(const struct process *process, int signal);

/*
 * The process says lines on its standard output, and so do its workers. Expect
 * waits for the first line that matches and that no earlier expect took; in a
 * pattern, * stands for anything. The line is good until the test ends.
 */
const char *expect(struct process *process, const char *pattern, ...)
	__attribute__((format(printf, 2, 3)));
/* Expects lines that are said in this order; the list ends with NULL. */
void expect_in_order(struct process *process, ...) __attribute__((sentinel));
/* The number that follows `prefix` in the first such line. */
int expect_number(struct process *process, const char *prefix, ...)
	__attribute__((format(printf, 2, 3)));
/* The number that follows `name` and "=" in a line. */
int field(const char *line, const char *name);
/* How many of the lines that were said so far match, taken or not. */
int count_lines(struct process *process, const char *pattern, ...)
	__attribute__((format(printf, 2, 3)));
/* Where the line stands among all that were said; -1. */
int line_number(const struct process *process, const char *line);
/* The index-th line of all that were said so far; NULL after the last. */
const char *line_at(const struct process *process, int index);
/* Fails if such a line was said so far. */
void expect_none(struct process *process, const char *pattern, ...)
	__attribute__((format(printf, 2, 3)));

/* Waits for the end of the process; its exit code, or minus the signal. */
int wait_for_exit(struct process *process);
void expect_exit(struct process *process, int code);
/* The same, and everyone who could write to its output is gone as well. */
void expect_end(struct process *process, int code);
/* Waits until nobody is left who descends from the test. */
void expect_nobody_left(void);

/* What it wrote to standard error so far. Good until the next call. */
const char *errors_of(const struct process *process);

/* ---- Any process ----------------------------------------------------------
 */

bool is_alive(pid_t pid); /* a zombie is not */
void expect_gone(pid_t pid);
size_t count_descriptors(pid_t pid);
size_t count_children(pid_t pid);
size_t list_children(pid_t pid, pid_t *children, size_t size);
size_t resident_kib(pid_t pid);
uint64_t cpu_ms(pid_t pid);

/* ---- The rest ---------------------------------------------------------------
 */

/* The test's directory, good until the test ends, and a path in it, until the
 * next one. */
const char *directory(void);
const char *path_in_directory(const char *name);
int64_t now_ms(void);
/* A loopback address that no other test uses while this one runs, so that a
 * port can be chosen, left and taken again. */
const char *own_host(void);
/* A port of own_host() that nobody holds, and one that `descriptor` holds. */
int free_port(void);
int held_port(int *descriptor);
/* Is the program built with a sanitizer that costs memory and time? */
bool is_sanitized(void);
/* Keeps a descriptor until the test ends, or closes it now. */
int keep(int descriptor);
void let_go(int descriptor);
/* Fails; what the processes said is shown at the end of the test. */
void give_up(const char *format, ...) __attribute__((format(printf, 1, 2)))
__attribute__((noreturn));
