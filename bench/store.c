/*
 * What the store does in a second:
 * store MODE URL [durable|normal|fast] [N] [PIPES]
 *
 *   get       cache reads at once (embedded)
 *   load      cache reads through the loop, 64 under way
 *   put       cache writes, 256 under way
 *   tasks     enqueue, then claim and complete, in batches of 32, PIPES (4) of
 *             them under way
 *   wake      from enqueue to claimed, one at a time, by whoever waits
 *   memory    what a queued task takes (lmdb:, unix:)
 *
 * Prints one JSON object.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/mem.h"
#include "base/must.h"
#include "loop/loop.h"
#include "store/store.h"

#define KEYS          10000
#define PAYLOAD_BYTES 200
#define BATCH         32
#define PIPES         4
#define PIPES_MAX     1024
#define ID_BYTES      22

struct bench {
	struct loop *loop;
	struct store *store;
	const char *url;
	uint64_t wanted;
	unsigned pipes;
	uint64_t started;
	uint64_t done;
	char payload[PAYLOAD_BYTES];
	uint64_t *samples;
	uint64_t since_us;
};

static uint64_t now_us(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000 + (uint64_t)now.tv_nsec / 1000;
}

static void check(const struct store_answer *answer)
{
	if (answer->error == 0)
		return;
	fprintf(stderr, "store: %s\n", answer->problem->text);
	exit(1);
}

/* CPU of all threads since it was last asked: hardly disturbed by whoever else
 * is on the machine. */
static uint64_t cpu_us(void)
{
	static uint64_t last_us;
	struct rusage usage;

	getrusage(RUSAGE_SELF, &usage);
	uint64_t all_us =
		(uint64_t)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) *
			1000000 +
		(uint64_t)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec);
	uint64_t used_us = all_us - last_us;

	last_us = all_us;
	return used_us;
}

static void report(const char *name, uint64_t count, uint64_t took_us)
{
	printf("\"%s_per_second\": %.0f, \"%s_cpu_us\": %.2f", name,
	       (double)count * 1e6 / (double)took_us, name,
	       (double)cpu_us() / (double)count);
}

static struct store_bytes key_of(uint64_t number, char text[32])
{
	int length = snprintf(text, 32, "key:%" PRIu64, number * 7919 % KEYS);

	return store_bytes(text, (size_t)length);
}

/* ---- cache ---- */

static void put_next(struct bench *bench);

static void on_put(void *owner, const struct store_answer *answer)
{
	struct bench *bench = owner;

	check(answer);
	if (++bench->done == bench->wanted)
		loop_stop(bench->loop);
	put_next(bench);
}

static void put_next(struct bench *bench)
{
	char text[32];

	if (bench->started == bench->wanted)
		return;
	store_cache_save(
		bench->store,
		&(struct store_cache_save){
			.key = key_of(bench->started++, text),
			.value = store_bytes(bench->payload, PAYLOAD_BYTES) },
		on_put, bench);
}

static uint64_t run(struct bench *bench, void (*next)(struct bench *bench),
		    unsigned under_way, uint64_t wanted)
{
	uint64_t began_us = now_us();

	cpu_us();
	bench->started = bench->done = 0;
	bench->wanted = wanted;
	for (unsigned i = 0; i < under_way; i++)
		next(bench);
	while (bench->done < wanted)
		loop_run(bench->loop);
	return now_us() - began_us;
}

static void load_next(struct bench *bench);

static void on_load(void *owner, const struct store_answer *answer)
{
	struct bench *bench = owner;

	check(answer);
	if (++bench->done == bench->wanted)
		loop_stop(bench->loop);
	load_next(bench);
}

static void load_next(struct bench *bench)
{
	char text[32];

	if (bench->started == bench->wanted)
		return;
	store_cache_load(bench->store,
			 &(struct store_cache_load){
				 .key = key_of(bench->started++, text) },
			 on_load, bench);
}

static void get(struct bench *bench)
{
	char keys[KEYS][32];
	struct store_bytes names[KEYS];
	uint64_t found = 0;

	run(bench, put_next, 256, KEYS);
	for (uint64_t i = 0; i < KEYS; i++)
		names[i] = key_of(i, keys[i]);
	uint64_t began_us = now_us();

	for (uint64_t i = 0; i < 2000000; i++) {
		struct store_answer answer;
		const struct store_cache_load request = {
			.key = names[i % KEYS]
		};

		found += store_cache_peek(bench->store, &request, &answer) ==
			 STORE_DONE;
		if (i % 100 == 0)
			loop_turn(bench->loop);
	}
	uint64_t took_us = now_us() - began_us;

	MUST(found == 2000000);
	printf("\"get_ns\": %.0f, ", (double)took_us * 1000 / 2000000);
	report("get", 2000000, took_us);
}

static void load(struct bench *bench, uint64_t count)
{
	run(bench, put_next, 256, KEYS);
	report("load", count, run(bench, load_next, 64, count));
	printf(", \"load_alone_us\": %.1f",
	       (double)run(bench, load_next, 1, 5000) / 5000);
}

/* ---- tasks ---- */

static void make_id(uint64_t number, char id[ID_BYTES + 1])
{
	snprintf(id, ID_BYTES + 1, "%0*" PRIu64, ID_BYTES, number);
}

static void enqueue_next(struct bench *bench);

static void on_enqueued(void *owner, const struct store_answer *answer)
{
	struct bench *bench = owner;

	check(answer);
	bench->done += BATCH;
	if (bench->done >= bench->wanted)
		loop_stop(bench->loop);
	enqueue_next(bench);
}

static void enqueue_next(struct bench *bench)
{
	struct store_task tasks[BATCH];
	char ids[BATCH][ID_BYTES + 1];

	if (bench->started >= bench->wanted)
		return;
	for (uint64_t i = 0; i < BATCH; i++) {
		make_id(bench->started++, ids[i]);
		tasks[i] = (struct store_task){
			.id = store_bytes(ids[i], ID_BYTES),
			.envelope = store_bytes(bench->payload, PAYLOAD_BYTES),
		};
	}
	store_enqueue(bench->store, &(struct store_enqueue){ tasks, BATCH },
		      on_enqueued, bench);
}

static void claim_next(struct bench *bench);

static void on_completed(void *owner, const struct store_answer *answer)
{
	struct bench *bench = owner;

	check(answer);
	for (size_t i = 0; i < answer->result_count; i++)
		MUST(answer->results[i] == STORE_DONE);
	bench->done += answer->result_count;
	if (bench->done >= bench->wanted)
		loop_stop(bench->loop);
	else
		claim_next(bench);
}

static void on_claimed(void *owner, const struct store_answer *answer)
{
	struct bench *bench = owner;
	struct store_completion items[BATCH] = { 0 };

	check(answer);
	for (size_t i = 0; i < answer->claim.count; i++) {
		items[i].id = answer->claim.tasks[i].id;
		items[i].token = answer->claim.tasks[i].token;
	}
	if (answer->claim.count > 0)
		store_complete(
			bench->store,
			&(struct store_complete){ items, answer->claim.count },
			on_completed, bench);
}

static const struct store_bytes global[] = { { "", 0 } };

static void claim_next(struct bench *bench)
{
	store_claim(bench->store,
		    &(struct store_claim){ .owner = store_text("bench"),
					   .queues = global,
					   .queue_count = 1,
					   .want = BATCH,
					   .lease_ms = 30000 },
		    on_claimed, bench);
}

static void tasks(struct bench *bench, uint64_t count)
{
	count = count / BATCH * BATCH;
	report("enqueue", count, run(bench, enqueue_next, bench->pipes, count));
	printf(", ");
	report("claim_complete", count,
	       run(bench, claim_next, bench->pipes, count));
}

/* ---- waking ---- */

static void wait_next(struct bench *bench);

static void on_woken_claimed(void *owner, const struct store_answer *answer)
{
	struct bench *bench = owner;

	check(answer);
	if (answer->claim.count == 0) {
		wait_next(bench);
		return;
	}
	bench->samples[bench->done++] = now_us() - bench->since_us;
	if (bench->done == bench->wanted)
		loop_stop(bench->loop);
	else
		wait_next(bench);
}

static void on_woken(void *owner, const struct store_answer *answer)
{
	struct bench *bench = owner;

	check(answer);
	store_claim(bench->store,
		    &(struct store_claim){ .owner = store_text("bench"),
					   .queues = global,
					   .queue_count = 1,
					   .want = 1,
					   .lease_ms = 30000 },
		    on_woken_claimed, bench);
}

static void on_wake_enqueued(void *owner, const struct store_answer *answer)
{
	(void)owner;
	check(answer);
}

static void wait_next(struct bench *bench)
{
	char id[ID_BYTES + 1];

	store_wait(bench->store, &(struct store_wait){ global, 1, 5000 },
		   on_woken, bench);
	make_id(bench->started++, id);
	struct store_task task = {
		.id = store_bytes(id, ID_BYTES),
		.envelope = store_bytes(bench->payload, PAYLOAD_BYTES),
	};

	bench->since_us = now_us();
	store_enqueue(bench->store, &(struct store_enqueue){ &task, 1 },
		      on_wake_enqueued, bench);
}

static int compare(const void *a, const void *b)
{
	const uint64_t *first = a;
	const uint64_t *second = b;

	return (*first > *second) - (*first < *second);
}

static void wake(struct bench *bench)
{
	enum { COUNT = 2000 };

	bench->samples = mem_zalloc(COUNT * sizeof(uint64_t));
	run(bench, wait_next, 1, COUNT);
	qsort(bench->samples, COUNT, sizeof(uint64_t), compare);
	printf("\"wake_p50_us\": %" PRIu64 ", \"wake_p99_us\": %" PRIu64,
	       bench->samples[COUNT / 2], bench->samples[COUNT * 99 / 100]);
	free(bench->samples);
}

/* ---- memory ---- */

static uint64_t used_bytes(const char *url)
{
	char text[512];
	struct stat status;
	uint64_t bytes = 0;

	if (strncmp(url, "lmdb:", 5) == 0) {
		snprintf(text, sizeof(text), "%s/data.mdb", url + 5);
		MUST(stat(text, &status) == 0);
		return (uint64_t)status.st_size;
	}
	snprintf(text, sizeof(text), "redis-cli -s %s info memory", url + 5);
	/* NOLINTNEXTLINE(cert-env33-c): the words are ours alone */
	FILE *pipe = popen(text, "r");

	MUST(pipe != NULL);
	while (fgets(text, sizeof(text), pipe) != NULL)
		if (strncmp(text, "used_memory:", 12) == 0)
			bytes = strtoull(text + 12, NULL, 10);
	pclose(pipe);
	return bytes;
}

static void memory(struct bench *bench, uint64_t count)
{
	count = count / BATCH * BATCH;
	run(bench, load_next, 1, 1); /* it is up */
	uint64_t before = used_bytes(bench->url);

	run(bench, enqueue_next, bench->pipes, count);
	printf("\"bytes_per_task\": %.0f",
	       (double)(used_bytes(bench->url) - before) / (double)count);
}

static void on_closed(void *owner)
{
	(void)owner;
}

int main(int argc, char **argv)
{
	static const struct log log = { LOG_WARN, "bench" };
	struct bench bench = { 0 };
	struct store_options options = { 0 };
	struct problem problem = { 0 };

	if (argc < 3) {
		fprintf(stderr, "store: MODE URL [durable|normal|fast] [N] "
				"[PIPES]\n");
		return 2;
	}
	const char *mode = argv[1];
	const char *durability = argc > 3 ? argv[3] : "normal";
	uint64_t count = argc > 4 ? strtoull(argv[4], NULL, 10) : 200000;

	bench.pipes = argc > 5 ? (unsigned)strtoul(argv[5], NULL, 10) : PIPES;
	MUST(bench.pipes > 0 && bench.pipes <= PIPES_MAX);

	if (strcmp(durability, "durable") == 0)
		options.durability = STORE_DURABLE;
	else if (strcmp(durability, "fast") == 0)
		options.durability = STORE_FAST;
	memset(bench.payload, 'x', sizeof(bench.payload));
	bench.url = argv[2];
	bench.loop = loop_new(&log);
	bench.store = store_open(bench.loop, argv[2], &options, &problem);
	if (bench.store == NULL) {
		fprintf(stderr, "store: %s\n", problem.text);
		return 1;
	}
	printf("{ \"mode\": \"%s\", \"durability\": \"%s\", ", mode,
	       durability);
	if (strcmp(mode, "get") == 0)
		get(&bench);
	else if (strcmp(mode, "load") == 0)
		load(&bench, count);
	else if (strcmp(mode, "put") == 0)
		report("put", count, run(&bench, put_next, 256, count));
	else if (strcmp(mode, "tasks") == 0)
		tasks(&bench, count);
	else if (strcmp(mode, "wake") == 0)
		wake(&bench);
	else if (strcmp(mode, "memory") == 0)
		memory(&bench, count);
	printf(" }\n");
	store_close(bench.store, on_closed, NULL);
	loop_run(bench.loop);
	loop_free(bench.loop);
	return 0;
}
