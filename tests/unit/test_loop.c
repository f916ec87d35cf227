/* The loop itself: deferred tasks, holds, timers, watches. */
#include "loop_bench.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <arpa/inet.h>
#include <cmocka.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "loop/timer.h"
#include "loop/watch.h"

static struct loop_bench bench;

static int set_up(void **state)
{
	(void)state;
	loop_bench_open(&bench);
	return 0;
}

static int tear_down(void **state)
{
	(void)state;
	loop_bench_close(&bench);
	return 0;
}

/* ---- Tasks ---- */

struct job {
	struct loop_task task;
	char name;
	struct job *defers;
	struct job *undefers;
	bool stops;
};

static char ran[32];

static void run_job(struct loop_task *task)
{
	struct job *job = LIST_ENTRY(task, struct job, task);

	ran[strlen(ran)] = job->name;
	if (job->defers != NULL)
		loop_defer(bench.loop, &job->defers->task);
	if (job->undefers != NULL)
		loop_undefer(&job->undefers->task);
	if (job->stops)
		loop_stop(bench.loop);
}

static struct job job(char name)
{
	memset(ran, 0, sizeof(ran));
	return (struct job){ .task.run = run_job, .name = name };
}

static void tasks_run_once_in_the_order_they_were_deferred(void **state)
{
	(void)state;
	struct job a = job('a');
	struct job b = job('b');

	loop_defer(bench.loop, &a.task);
	loop_defer(bench.loop, &b.task);
	loop_defer(bench.loop, &a.task); /* stays where it is */
	assert_string_equal(ran, "");
	assert_int_equal(loop_timeout_ms(bench.loop), 0);
	loop_run(bench.loop); /* nothing else keeps it going */
	assert_string_equal(ran, "ab");
	loop_turn(bench.loop);
	assert_string_equal(ran, "ab");
}

static void what_a_task_defers_runs_before_the_loop_blocks(void **state)
{
	(void)state;
	struct job a = job('a');
	struct job b = job('b');
	struct job c = job('c');

	a.defers = &b;
	b.defers = &c;
	loop_defer(bench.loop, &a.task);
	loop_turn(bench.loop);
	assert_string_equal(ran, "abc");
}

static void a_task_can_be_taken_back(void **state)
{
	(void)state;
	struct job a = job('a');
	struct job b = job('b');

	loop_undefer(&a.task);
	a.undefers = &b;
	loop_defer(bench.loop, &a.task);
	loop_defer(bench.loop, &b.task);
	loop_run(bench.loop);
	assert_string_equal(ran, "a");
	loop_defer(bench.loop, &b.task);
	loop_run(bench.loop);
	assert_string_equal(ran, "ab");
}

/* ---- Holds and the end ---- */

static struct timer *timer;
static int ticks;
static int ticks_wanted;

static void on_tick(void *owner)
{
	(void)owner;
	if (++ticks == ticks_wanted)
		loop_release(bench.loop);
}

static void a_held_loop_goes_on_until_it_is_released(void **state)
{
	(void)state;
	timer = timer_open(bench.loop, on_tick, NULL, false);
	ticks = 0;
	ticks_wanted = 3;
	assert_false(loop_turn(bench.loop));
	loop_hold(bench.loop);
	loop_hold(bench.loop);
	loop_release(bench.loop);
	assert_true(loop_turn(bench.loop));
	timer_start(timer, 1, 1);
	loop_run(bench.loop);
	assert_int_equal(ticks, 3);
	timer_close(timer);
}

static void a_stopped_loop_can_run_again(void **state)
{
	(void)state;
	struct job a = job('a');

	a.stops = true;
	loop_hold(bench.loop);
	loop_defer(bench.loop, &a.task);
	loop_run(bench.loop);
	loop_defer(bench.loop, &a.task);
	loop_run(bench.loop);
	loop_release(bench.loop);
	assert_string_equal(ran, "aa");
}

/* ---- Timers ---- */

static void count_tick(void *owner)
{
	++*(int *)owner;
}

static void close_timer(void *owner)
{
	++*(int *)owner;
	timer_close(timer);
	timer = NULL;
}

static void a_timer_calls_once_or_again_and_again(void **state)
{
	(void)state;
	static int once;
	static int again;
	struct timer *first = timer_open(bench.loop, count_tick, &once, true);
	struct timer *second = timer_open(bench.loop, count_tick, &again, true);
	int64_t begin = clock_ms();

	assert_false(timer_is_started(first));
	timer_start(first, 5, 0);
	timer_start(second, 1, 2);
	assert_true(timer_is_started(first));
	AWAIT(&bench, once == 1 && again >= 3);
	assert_true(clock_ms() - begin >= 5);
	assert_false(timer_is_started(first));
	assert_true(timer_is_started(second));
	timer_stop(second);
	assert_false(timer_is_started(second));
	loop_run(bench.loop);
	timer_close(first);
	timer_close(second);
	timer_close(NULL);
}

static void starting_a_timer_again_sets_it_anew(void **state)
{
	(void)state;
	static int ticked;
	struct timer *one = timer_open(bench.loop, count_tick, &ticked, true);

	timer_start(one, 1, 1);
	timer_start(one, 3600000, 0);
	loop_turn(bench.loop);
	assert_true(loop_timeout_ms(bench.loop) > 3000000);
	timer_start(one, 0, 0);
	AWAIT(&bench, ticked == 1);
	timer_close(one);
}

static void a_timer_may_be_closed_when_it_calls(void **state)
{
	(void)state;
	int ticked = 0;

	timer = timer_open(bench.loop, close_timer, &ticked, true);
	timer_start(timer, 0, 1);
	loop_run(bench.loop);
	assert_int_equal(ticked, 1);
}

static void a_timer_keeps_the_loop_going_if_it_is_to(void **state)
{
	(void)state;
	int ticked = 0;
	struct timer *one = timer_open(bench.loop, count_tick, &ticked, false);

	timer_start(one, 1, 0);
	loop_run(bench.loop); /* returns at once */
	assert_int_equal(ticked, 0);
	timer_close(one);
	one = timer_open(bench.loop, count_tick, &ticked, true);
	timer_start(one, 1, 0);
	loop_run(bench.loop);
	assert_int_equal(ticked, 1);
	timer_close(one);
}

/* ---- Watches ---- */

static struct watch *watch;
static struct watch *started_by_it;
static int watched = -1;
static size_t readable;
static bool closes;

static void on_readable(void *owner)
{
	char bytes[64];

	(void)owner;
	readable++;
	if (recv(watched, bytes, sizeof(bytes), 0) < 0)
		assert_true(errno == ECONNREFUSED || errno == EAGAIN);
	if (started_by_it != NULL)
		watch_start(started_by_it);
	if (closes) {
		watch_close(watch);
		watch = NULL;
	}
}

static void begin_watching(int descriptor)
{
	watched = descriptor;
	readable = 0;
	closes = false;
	started_by_it = NULL;
	assert_int_equal(
		watch_open(bench.loop, descriptor, on_readable, NULL, &watch),
		0);
}

static void a_watch_tells_while_it_is_started(void **state)
{
	(void)state;
	int ends[2];

	open_pair(ends);
	begin_watching(ends[0]);
	assert_int_equal(send(ends[1], "x", 1, 0), 1);
	loop_bench_settle(&bench);
	assert_int_equal(readable, 0);
	watch_start(watch);
	watch_start(watch);
	AWAIT(&bench, readable == 1);
	watch_stop(watch);
	watch_stop(watch);
	assert_int_equal(send(ends[1], "x", 1, 0), 1);
	loop_bench_settle(&bench);
	assert_int_equal(readable, 1);
	watch_start(watch);
	AWAIT(&bench, readable == 2);
	watch_set_keeps_alive(watch, false);
	loop_run(bench.loop);
	watch_close(watch);
	close(ends[0]);
	close(ends[1]);
}

static void a_watch_may_be_closed_when_it_tells(void **state)
{
	(void)state;
	int ends[2];

	open_pair(ends);
	begin_watching(ends[0]);
	closes = true;
	watch_start(watch);
	assert_int_equal(send(ends[1], "x", 1, 0), 1);
	AWAIT(&bench, watch == NULL);
	loop_bench_settle(&bench);
	assert_int_equal(readable, 1);
	close(ends[0]);
	close(ends[1]);
}

static void what_cannot_be_polled_is_not_watched(void **state)
{
	(void)state;
	int file = open_file();

	assert_int_equal(
		watch_open(bench.loop, file, on_readable, NULL, &watch),
		-EPERM);
	close(file);
}

/* A datagram that nobody took comes back as an error of the socket. */
static void a_watch_goes_on_after_an_error_of_the_descriptor(void **state)
{
	(void)state;
	struct sockaddr_in nobody = { .sin_family = AF_INET };
	socklen_t length = sizeof(nobody);
	int other =
		socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	int one = socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	struct sockaddr_in here = nobody;

	here.sin_addr.s_addr = nobody.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	assert_int_equal(bind(other, (struct sockaddr *)&nobody, length), 0);
	assert_int_equal(
		getsockname(other, (struct sockaddr *)&nobody, &length), 0);
	assert_int_equal(bind(one, (struct sockaddr *)&here, length), 0);
	assert_int_equal(getsockname(one, (struct sockaddr *)&here, &length),
			 0);
	assert_int_equal(connect(one, (struct sockaddr *)&nobody, length), 0);
	close(other);
	begin_watching(one);
	watch_start(watch);
	assert_int_equal(send(one, "x", 1, 0), 1);
	AWAIT(&bench, readable == 1);

	other = socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	assert_int_equal(bind(other, (struct sockaddr *)&nobody, length), 0);
	assert_int_equal(
		sendto(other, "y", 1, 0, (struct sockaddr *)&here, length), 1);
	AWAIT(&bench, readable == 2);
	watch_close(watch);
	close(other);
	close(one);
}

/* As the kernel tells it: the events that the loop's poll has for it. */
static bool is_exclusive(int descriptor)
{
	char path[64];
	char text[256];
	unsigned number;
	unsigned events;
	bool is_found = false;

	snprintf(path, sizeof(path), "/proc/self/fdinfo/%d",
		 loop_descriptor(bench.loop));
	FILE *file = fopen(path, "re");

	assert_non_null(file);
	while (fgets(text, sizeof(text), file) != NULL)
		if (sscanf(text, "tfd: %u events: %x", &number, &events) == 2 &&
		    number == (unsigned)descriptor)
			is_found = (events & EPOLLEXCLUSIVE) != 0;
	fclose(file);
	return is_found;
}

static void an_exclusive_watch_wakes_one_of_many(void **state)
{
	(void)state;
	int ends[2];

	open_pair(ends);
	begin_watching(ends[0]);
	watch_set_exclusive(watch);
	for (size_t round = 1; round <= 3; round++) {
		watch_start(watch);
		loop_bench_settle(&bench);
		assert_true(is_exclusive(ends[0]));
		assert_int_equal(send(ends[1], "x", 1, 0), 1);
		AWAIT(&bench, readable == round);
		assert_true(is_exclusive(ends[0]));
		watch_stop(watch);
		loop_bench_settle(&bench);
	}
	watch_close(watch);
	close(ends[0]);
	close(ends[1]);
}

static void a_watch_started_by_another_one_is_exclusive_too(void **state)
{
	(void)state;
	struct watch *second;
	int ends[2];
	int others[2];

	open_pair(ends);
	open_pair(others);
	begin_watching(ends[0]);
	assert_int_equal(
		watch_open(bench.loop, others[0], on_readable, NULL, &second),
		0);
	watch_set_exclusive(second);
	started_by_it = second;
	watch_start(watch);
	assert_int_equal(send(ends[1], "x", 1, 0), 1);
	AWAIT(&bench, readable == 1);
	loop_bench_settle(&bench);
	assert_true(is_exclusive(others[0]));
	watch_close(watch);
	watch_close(second);
	for (int i = 0; i < 2; i++) {
		close(ends[i]);
		close(others[i]);
	}
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(tasks_run_once_in_the_order_they_were_deferred),
		TEST(what_a_task_defers_runs_before_the_loop_blocks),
		TEST(a_task_can_be_taken_back),
		TEST(a_held_loop_goes_on_until_it_is_released),
		TEST(a_stopped_loop_can_run_again),
		TEST(a_timer_calls_once_or_again_and_again),
		TEST(starting_a_timer_again_sets_it_anew),
		TEST(a_timer_may_be_closed_when_it_calls),
		TEST(a_timer_keeps_the_loop_going_if_it_is_to),
		TEST(a_watch_tells_while_it_is_started),
		TEST(a_watch_may_be_closed_when_it_tells),
		TEST(what_cannot_be_polled_is_not_watched),
		TEST(a_watch_goes_on_after_an_error_of_the_descriptor),
		TEST(an_exclusive_watch_wakes_one_of_many),
		TEST(a_watch_started_by_another_one_is_exclusive_too),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
