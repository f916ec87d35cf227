/*
 * The cache through the public API: cache MODE URL [N [FIBERS]]
 *
 *   get       loads on one fiber, at once (embedded)
 *   load      loads on FIBERS fibers (256)
 *   alone     loads on one, one at a time, and waited for (Redis)
 *   put       saves on FIBERS fibers (256)
 *
 * Prints one JSON object.
 */
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>

#include <muster/cache.h>
#include <muster/node.h>

#define KEYS          10000
#define KEY_BYTES     32
#define PAYLOAD_BYTES 200
#define SPAN          1000 /* loads between two turns of the loop */

typedef void (*one_fn)(struct muster *muster, uint64_t number);

static struct {
	const char *mode;
	uint64_t wanted;
	uint64_t fibers;
	uint64_t begun;
	uint64_t done;
	one_fn one;
	char keys[KEYS][KEY_BYTES];
	char payload[PAYLOAD_BYTES];
} bench;

static uint64_t now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

static double cpu_us(void)
{
	struct rusage usage;

	getrusage(RUSAGE_SELF, &usage);
	return (double)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) * 1e6 +
	       (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec);
}

static void must(struct muster *muster, int answer)
{
	if (answer == 0)
		return;
	fprintf(stderr, "cache: answer %d: %s\n", answer,
		muster_problem(muster));
	exit(1);
}

static const char *key_of(uint64_t number)
{
	return bench.keys[number * 7919 % KEYS];
}

static void save_one(struct muster *muster, uint64_t number)
{
	must(muster, muster_cache_save(muster, key_of(number), bench.payload,
				       PAYLOAD_BYTES, NULL));
}

static void load_one(struct muster *muster, uint64_t number)
{
	struct muster_cached cached;

	must(muster, muster_cache_load(muster, key_of(number), &cached));
	if (cached.length != PAYLOAD_BYTES)
		exit(1);
	if (number % 100 == 0)
		muster_clear_answers(muster);
}

/* ---- many fibers ---- */

static void do_some(struct muster *muster, void *arg)
{
	(void)arg;
	while (bench.begun < bench.wanted) {
		bench.one(muster, bench.begun++);
		bench.done++;
	}
}

static void run(struct muster *muster, uint64_t wanted, uint64_t fibers,
		one_fn one)
{
	bench.begun = bench.done = 0;
	bench.wanted = wanted;
	bench.one = one;
	for (uint64_t i = 1; i < fibers; i++)
		must(muster, muster_spawn(muster, "bench", do_some, NULL));
	do_some(muster, NULL);
	while (bench.done < bench.wanted)
		must(muster, muster_sleep(muster, 1));
}

static void report(uint64_t count, uint64_t took_ns, double used_us)
{
	printf("{\"per_second\": %.0f, \"ns\": %.0f, \"cpu_us\": %.3f}\n",
	       (double)count * 1e9 / (double)took_ns,
	       (double)took_ns / (double)count, used_us / (double)count);
}

static void measure(struct muster *muster, uint64_t fibers, one_fn one)
{
	uint64_t count = bench.wanted;
	uint64_t began_ns = now_ns();
	double before_us = cpu_us();

	run(muster, count, fibers, one);
	report(count, now_ns() - began_ns, cpu_us() - before_us);
}

/* What it takes to begin reading anew in each turn of the loop counts; the
 * turn itself is a sleep, and does not. */
static void measure_gets(struct muster *muster)
{
	uint64_t took_ns = 0;
	double used_us = 0;

	for (uint64_t i = 0; i < bench.wanted; i += SPAN) {
		uint64_t began_ns = now_ns();
		double before_us = cpu_us();

		for (uint64_t j = 0; j < SPAN; j++)
			load_one(muster, i + j);
		took_ns += now_ns() - began_ns;
		used_us += cpu_us() - before_us;
		must(muster, muster_sleep(muster, 0));
	}
	report(bench.wanted, took_ns, used_us);
}

static int start(struct muster *muster, void *arg)
{
	uint64_t wanted = bench.wanted;

	(void)arg;
	for (int i = 0; i < KEYS; i++)
		snprintf(bench.keys[i], KEY_BYTES, "key:%012d", i);
	if (strcmp(bench.mode, "put") != 0)
		run(muster, KEYS, 256, save_one);
	bench.wanted = wanted;
	if (strcmp(bench.mode, "get") == 0)
		measure_gets(muster);
	else if (strcmp(bench.mode, "load") == 0)
		measure(muster, bench.fibers, load_one);
	else if (strcmp(bench.mode, "alone") == 0)
		measure(muster, 1, load_one);
	else if (strcmp(bench.mode, "put") == 0)
		measure(muster, bench.fibers, save_one);
	else
		return -1;
	return 0;
}

int main(int argc, char **argv)
{
	if (argc < 3) {
		fputs("usage: cache get|load|alone|put URL [N [FIBERS]]\n",
		      stderr);
		return 2;
	}
	bench.mode = argv[1];
	bench.wanted = argc > 3 ? strtoull(argv[3], NULL, 10) : 200000;
	bench.fibers = argc > 4 ? strtoull(argv[4], NULL, 10) : 256;
	struct muster *muster = muster_open(
		NULL, &(struct muster_node_options){ .name = "bench",
						     .store = argv[2],
						     .durability = MUSTER_FAST,
						     .is_guest = true,
						     .on_start = start });

	return muster == NULL ? 1 : muster_run(muster);
}
