/* Fibers that end the process: overflows, and wrong use. */
#include "fiber_bench.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

/* The handler of a program that had one before us. */
static void restart_after(void (*handler)(int))
{
	fiber_pool_free(pool);
	signal(SIGSEGV, handler);
	pool = fiber_pool_new(NULL);
}

/* cmocka has its own handler, and sets it after fiber_set_up(). */
static void become_free_of_the_test(void)
{
	restart_after(SIG_DFL);
}

/* What fn() in a process of its own says on stderr, and how that ends. */
static int in_child(void (*fn)(void), char *said, size_t size)
{
	int ends[2], status = 0;
	size_t length = 0;
	ssize_t got;

	assert_int_equal(pipe(ends), 0);
	fflush(NULL);
	pid_t pid = fork();

	assert_true(pid >= 0);
	if (pid == 0) {
		setrlimit(RLIMIT_CORE, &(struct rlimit){ 0, 0 });
		dup2(ends[1], STDERR_FILENO);
		become_free_of_the_test();
		fn();
		_exit(0);
	}
	close(ends[1]);
	while ((got = read(ends[0], said + length, size - 1 - length)) > 0)
		length += (size_t)got;
	said[length] = '\0';
	close(ends[0]);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	return status;
}

static void assert_ends(void (*fn)(void), int signal, const char *expected)
{
	char said[4096];
	int status = in_child(fn, said, sizeof(said));

	if (strstr(said, expected) == NULL)
		fail_msg("'%s' is not in: %s", expected, said);
	assert_true(WIFSIGNALED(status));
	assert_int_equal(WTERMSIG(status), signal);
}

static void recurse_for_ever(void *arg)
{
	*(int *)arg = use_kib(1 << 20);
}

static void overflow(void)
{
	int result = 0;

	/* Someone else's pool, and someone else's fiber, are not confused. */
	struct fiber_pool *other = fiber_pool_new(NULL);

	(void)!fiber_start(other, "bystander", park_once, &fibers[0]);
	(void)!fiber_start(other, "greet", recurse_for_ever, &result);
}

static void an_overflow_is_named_and_ends_the_process(void **state)
{
	(void)state;
	assert_ends(overflow, SIGSEGV,
		    "muster: the stack of 'greet' overflowed (64 KiB; raise "
		    "stack_bytes)\n");
}

static void overflow_nested(void)
{
	int left = 3;

	(void)!fiber_start(pool, "deeper", note_depth, &left);
	struct fiber_pool *large = fiber_pool_new(
		&(struct fiber_pool_options){ .stack_bytes = 100 * 1024 });

	(void)!fiber_start(large, "load", recurse_for_ever, &left);
}

static void an_overflow_tells_the_size_that_there_was(void **state)
{
	(void)state;
	assert_ends(overflow_nested, SIGSEGV, "'load' overflowed (100 KiB;");
}

static void *forbidden;

static void touch(void *arg)
{
	*(volatile char *)arg = 1;
}

static void fault_on_a_fiber(void)
{
	(void)!fiber_start(pool, "faults", touch, forbidden);
}

static void on_segv(int number)
{
	static const char text[] = "the program's own handler\n";

	(void)!write(STDERR_FILENO, text, sizeof(text) - 1);
	signal(number, SIG_DFL);
}

static void fault_with_a_handler(void)
{
	restart_after(on_segv);
	fault_on_a_fiber();
}

static void be_sent_the_signal(void)
{
	kill(getpid(), SIGSEGV);
}

static void other_faults_go_where_they_went(void **state)
{
	(void)state;
	char said[4096];
	int status;

	forbidden =
		mmap(NULL, 4096, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	assert_ptr_not_equal(forbidden, MAP_FAILED);
	assert_ends(fault_with_a_handler, SIGSEGV, "own handler");
	status = in_child(fault_on_a_fiber, said, sizeof(said));
	assert_int_equal(WTERMSIG(status), SIGSEGV);
	assert_null(strstr(said, "muster:"));
	status = in_child(be_sent_the_signal, said, sizeof(said));
	assert_int_equal(WTERMSIG(status), SIGSEGV);
	munmap(forbidden, 4096);
}

static void free_all_pools(void)
{
	struct fiber_pool *other = fiber_pool_new(NULL);
	struct sigaction one, none;

	fiber_pool_free(pool);
	sigaction(SIGSEGV, NULL, &one);
	fiber_pool_free(other);
	sigaction(SIGSEGV, NULL, &none);
	if (one.sa_handler != SIG_DFL && none.sa_handler == SIG_DFL)
		fputs("given back", stderr);
	abort();
}

static void the_signal_is_given_back_with_the_last_pool(void **state)
{
	(void)state;
	assert_ends(free_all_pools, SIGABRT, "given back");
}

static void park_nowhere(void)
{
	(void)!fiber_park();
}

static void resume_self(void *arg)
{
	(void)arg;
	fiber_resume(fiber_current(), 0);
}

static void resume_the_current_one(void)
{
	(void)!fiber_start(pool, "self", resume_self, NULL);
}

static void resume_one_that_has_ended(void)
{
	(void)!fiber_start(pool, "ended", park_once, &fibers[0]);
	fiber_resume(fibers[0], 0);
	fiber_resume(fibers[0], 0);
}

static void resume_parent(void *arg)
{
	fiber_resume(*(struct fiber **)arg, 0);
}

static void be_resumed_by_a_child(void *arg)
{
	*(struct fiber **)arg = fiber_current();
	(void)!fiber_start(pool, "child", resume_parent, arg);
}

static void resume_one_that_waits_for_another(void)
{
	(void)!fiber_start(pool, "parent", be_resumed_by_a_child, &fibers[0]);
}

static void free_with_a_fiber(void)
{
	(void)!fiber_start(pool, "lives", park_once, &fibers[0]);
	fiber_pool_free(pool);
}

static void wrong_use_is_told(void **state)
{
	(void)state;
	static const struct {
		void (*fn)(void);
		const char *condition;
	} wrong[] = {
		{ park_nowhere, "fiber != NULL" },
		{ resume_the_current_one, "fiber->state == FIBER_PARKED" },
		{ resume_one_that_has_ended, "fiber->state == FIBER_PARKED" },
		{ resume_one_that_waits_for_another,
		  "fiber->state == FIBER_PARKED" },
		{ free_with_a_fiber, "counts.live == 0" },
	};

	for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++)
		assert_ends(wrong[i].fn, SIGABRT, wrong[i].condition);
}

#define TEST(name)                                                             \
	cmocka_unit_test_setup_teardown(name, fiber_set_up, fiber_tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(an_overflow_is_named_and_ends_the_process),
		TEST(an_overflow_tells_the_size_that_there_was),
		TEST(other_faults_go_where_they_went),
		TEST(the_signal_is_given_back_with_the_last_pool),
		TEST(wrong_use_is_told),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
