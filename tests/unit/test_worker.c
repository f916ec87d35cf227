/* A worker's pipes, with shells as workers, through the public functions. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <muster/cluster.h>
#include <string.h>
#include <unistd.h>

static struct muster_cluster *cluster;
static struct muster_worker *worker;
static char output[65536];
static size_t output_bytes;
static size_t output_ends;
static size_t exits;

static void on_output(struct muster_worker *from, int descriptor,
		      const char *bytes, size_t length, void *arg)
{
	(void)from;
	(void)descriptor;
	(void)arg;
	output_bytes += length;
	output_ends += length == 0;
	if (strlen(output) + length < sizeof(output))
		memcpy(output + strlen(output), bytes, length);
}

static void on_exit_told(struct muster_worker *from, int code, int signal,
			 void *arg)
{
	(void)from;
	(void)arg;
	assert_int_equal(code, 0);
	assert_int_equal(signal, 0);
	exits++;
}

static const int in_and_out[] = { MUSTER_STDIO_PIPE, MUSTER_STDIO_PIPE, 2,
				  MUSTER_STDIO_CHANNEL };

static void start(const char *script)
{
	const char *args[] = { "-c", script, NULL };
	struct muster_options options = {
		.no_signals = true,
		.settings = { .exec = "/bin/sh",
			      .args = args,
			      .stdio = in_and_out,
			      .stdio_count = 4 },
	};
	char *argv[] = { output, NULL };

	memset(output, 0, sizeof(output));
	output_bytes = output_ends = exits = 0;
	alarm(60); /* what is tested here would hang */
	cluster = muster_cluster_open(1, argv, &options);
	assert_non_null(cluster);
	muster_on_output(cluster, on_output, NULL);
	muster_on_exit(cluster, on_exit_told, NULL);
	assert_int_equal(muster_fork(cluster, NULL, &worker), 0);
}

static void run(void)
{
	assert_int_equal(muster_cluster_run(cluster), 0);
	assert_int_equal(exits, 1);
	alarm(0);
}

static void what_was_written_before_the_exit_is_told_before_it(void **state)
{
	(void)state;
	start("head -c 150000 /dev/zero | tr '\\0' x");
	run();
	assert_int_equal(output_bytes, 150000);
	assert_int_equal(output_ends, 2);
}

static void what_is_written_to_a_pipe_is_read_up_to_its_end(void **state)
{
	(void)state;
	start("cat");
	assert_int_equal(muster_worker_write(worker, 0, "one ", 4), 0);
	assert_int_equal(muster_worker_write(worker, 0, "two", 3), 0);
	assert_int_equal(muster_worker_close_pipe(worker, 0), 0);
	run();
	assert_string_equal(output, "one two");
}

static void a_pipe_that_was_closed_cannot_be_written_to(void **state)
{
	(void)state;
	start("cat");
	assert_int_equal(muster_worker_close_pipe(worker, 0), 0);
	assert_int_equal(muster_worker_write(worker, 0, "more", 4), -EBADF);
	assert_int_equal(muster_worker_close_pipe(worker, 0), -EBADF);
	assert_int_equal(muster_worker_write(worker, 2, "x", 1), -EBADF);
	run();
	assert_string_equal(output, "");
}

/* Its child has the pipe, and never stops. */
static void an_exit_is_told_though_a_child_goes_on_writing(void **state)
{
	(void)state;
	start("yes & exit 0");
	run();
	assert_int_equal(output_ends, 2);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(
			what_was_written_before_the_exit_is_told_before_it),
		cmocka_unit_test(
			what_is_written_to_a_pipe_is_read_up_to_its_end),
		cmocka_unit_test(a_pipe_that_was_closed_cannot_be_written_to),
		cmocka_unit_test(
			an_exit_is_told_though_a_child_goes_on_writing),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
