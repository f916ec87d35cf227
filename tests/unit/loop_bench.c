#include "loop_bench.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <dirent.h>
#include <poll.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define DEADLINE_MS 20000

int64_t clock_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

size_t count_descriptors(void)
{
	DIR *directory = opendir("/proc/self/fd");
	size_t count = 0;

	assert_non_null(directory);
	while (readdir(directory) != NULL)
		count++;
	closedir(directory);
	return count;
}

void loop_bench_open(struct loop_bench *bench)
{
	struct rlimit limit;

	assert_int_equal(getrlimit(RLIMIT_NOFILE, &limit), 0);
	if (limit.rlim_cur < 4096 && limit.rlim_max >= 4096) {
		limit.rlim_cur = 4096;
		assert_int_equal(setrlimit(RLIMIT_NOFILE, &limit), 0);
	}
	*bench = (struct loop_bench){ .log = { LOG_OFF, "test" } };
	/* What the library opens once and keeps. */
	loop_free(loop_new(&bench->log));
	bench->descriptors = count_descriptors();
	bench->loop = loop_new(&bench->log);
}

void loop_bench_close(struct loop_bench *bench)
{
	loop_free(bench->loop);
	bench->loop = NULL;
	assert_int_equal(count_descriptors(), bench->descriptors);
}

void loop_bench_begin(struct loop_bench *bench)
{
	bench->deadline_ms = clock_ms() + DEADLINE_MS;
}

void loop_bench_turn(struct loop_bench *bench, const char *what, int line)
{
	struct pollfd wait = { .fd = loop_descriptor(bench->loop),
			       .events = POLLIN };
	int64_t left = bench->deadline_ms - clock_ms();
	int timeout = loop_timeout_ms(bench->loop);

	if (left <= 0)
		fail_msg("line %d: in vain: %s", line, what);
	if (timeout < 0 || timeout > left)
		timeout = (int)left;
	poll(&wait, 1, timeout);
	loop_turn(bench->loop);
}

void loop_bench_settle(struct loop_bench *bench)
{
	struct pollfd wait = { .fd = loop_descriptor(bench->loop),
			       .events = POLLIN };

	/* A loop that nothing keeps going would not look at all; and a turn
	 * may leave something for the next one. */
	loop_hold(bench->loop);
	for (int quiet = 0; quiet < 3; quiet++) {
		if (poll(&wait, 1, 0) > 0)
			quiet = 0;
		loop_turn(bench->loop);
	}
	loop_release(bench->loop);
}

void open_pair(int ends[2])
{
	assert_int_equal(socketpair(AF_UNIX,
				    SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC,
				    0, ends),
			 0);
}

void shrink_buffer(int descriptor)
{
	int size = 1;

	assert_int_equal(setsockopt(descriptor, SOL_SOCKET, SO_SNDBUF, &size,
				    sizeof(size)),
			 0);
}

int open_file(void)
{
	int descriptor = memfd_create("test", MFD_CLOEXEC);

	assert_true(descriptor >= 0);
	return descriptor;
}

uint64_t number_of(int descriptor)
{
	struct stat status;

	assert_int_equal(fstat(descriptor, &status), 0);
	return status.st_ino;
}
