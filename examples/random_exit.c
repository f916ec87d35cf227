/*
 * A program that knows nothing of muster: lives for a second and a bit, then
 * says so. all_done.c runs it, one a core.
 *
 *     random_exit [LONGEST_MS]
 */
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

int main(int argc, char **argv)
{
	long longest_ms = argc > 1 ? strtol(argv[1], NULL, 10) : 6000;
	struct timespec now;

	clock_gettime(CLOCK_REALTIME, &now);

	long life_ms = (now.tv_nsec / 1000 + getpid()) % (longest_ms + 1);
	struct timespec life = { .tv_sec = life_ms / 1000,
				 .tv_nsec = life_ms % 1000 * 1000000 };

	nanosleep(&life, NULL);
	printf("timeout\n%d\n", (int)getpid());
	return 0;
}
