/* Preloaded: the wall clock is off by CLOCK_OFFSET_S seconds, and goes on from
 * there. The monotonic clocks are as they are. */
#include <stdlib.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

static time_t offset_s(void)
{
	static time_t known;
	static int is_known;

	if (!is_known) {
		const char *text = getenv("CLOCK_OFFSET_S");

		known = text == NULL ? 0 : strtol(text, NULL, 10);
		is_known = 1;
	}
	return known;
}

/* The parameters' names are not the C library's.
 * NOLINTBEGIN(readability-inconsistent-declaration-parameter-name) */

__attribute__((visibility("default"))) int clock_gettime(clockid_t clock,
							 struct timespec *now)
{
	int result = (int)syscall(SYS_clock_gettime, clock, now);

	if (result == 0 &&
	    (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE))
		now->tv_sec += offset_s();
	return result;
}

__attribute__((visibility("default"))) int
gettimeofday(struct timeval *restrict now, void *restrict zone)
{
	struct timespec exact;

	(void)zone;
	if (clock_gettime(CLOCK_REALTIME, &exact) < 0)
		return -1;
	now->tv_sec = exact.tv_sec;
	now->tv_usec = exact.tv_nsec / 1000;
	return 0;
}

__attribute__((visibility("default"))) time_t time(time_t *now)
{
	struct timespec exact = { 0 };

	clock_gettime(CLOCK_REALTIME, &exact);
	if (now != NULL)
		*now = exact.tv_sec;
	return exact.tv_sec;
}

/* NOLINTEND(readability-inconsistent-declaration-parameter-name) */
