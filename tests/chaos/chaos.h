/*
 * chaos - one program that plays all the parts of the checker: producers,
 * workers, schedulers, whoever reaps the dead, and who looks at what is left.
 *
 * It is started as `chaos ROLE KEY=VALUE...`. What it knows it writes to the
 * file that log= names, a line with a single write(2) before it acts and
 * another one after it was answered, so that a SIGKILL takes at most what was
 * never known. A line is microseconds of the monotonic clock, a word, and what
 * belongs to it; tests/chaos/history.py lists them.
 *
 * Most speak to store.h, on the fibers of a guest: a lease is theirs to lose,
 * and so is an answer. `node` and `client` are programs as an application's
 * author would write them.
 */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <muster/node.h>

#define NAME_BYTES     80
#define CHAOS_EVERY_MS 200 /* a recurring task is due */
/* A task that has nothing to do. */
#define NOTHING_TO_DO                                                          \
	"{\"method\":\"chaos\",\"params\":{\"ms\":0,\"do\":\"ok\",\"n\":0}}"

struct chaos {
	const char *url;
	const char *name;  /* of this process */
	const char *owner; /* what it claims as: another in each life */
	uint64_t seed;
	uint32_t lease_ms;
	uint32_t concurrency;
	uint32_t lost_answers; /* of 1,000 completions and claims */
	uint32_t count;        /* tasks of a producer */
	uint32_t rate;         /* tasks a second */
	uint32_t batch;        /* tasks at most in a call */
	uint32_t children;     /* 0: completions enqueue nothing */
	uint32_t deadline_ms;
	uint32_t workers;    /* of a cluster; 0: one process, without */
	uint32_t special;    /* of 100: how often tasks are other than plain */
	uint32_t recurs;     /* has the public API's recurring task */
	uint32_t no_effects; /* on the cache: a Redis Cluster has none */
	const char *kinds;   /* of tasks a producer makes; see producer.c */
	const char *server;  /* whose queue gets some of them; NULL: nobody's */
	/* What a role keeps. */
	void *own;
	struct muster *muster;
	bool is_client;
	bool is_stopping;
	int exit_code;
};

uint64_t chaos_now_us(void);
/* Where lines go from now on. */
void chaos_open_log(const char *path);
/* Lines are gathered until chaos_flush() writes them at once. */
void chaos_line(const char *format, ...) __attribute__((format(printf, 1, 2)));
void chaos_flush(void);
/* The path of the log. */
const char *chaos_log_path(void);
/* 0 to below `below`: the same for the same numbers. */
uint64_t chaos_random(uint64_t seed, uint64_t number, uint64_t below);

/* Each runs on a fiber, and its process ends with it. */
void worker_role(struct muster *muster, void *arg);
void producer_role(struct muster *muster, void *arg);
void scheduler_role(struct muster *muster, void *arg);
void reaper_role(struct muster *muster, void *arg);
void look_role(struct muster *muster, void *arg);
void watch_role(struct muster *muster, void *arg);
void effects_role(struct muster *muster, void *arg);
/* Before the process goes: gives back what it does not finish. */
void worker_drain(struct muster *muster, struct chaos *chaos);

/* The public API's worker, with a primary or without; what main returns. */
int node_main(int argc, char **argv, struct chaos *chaos);
