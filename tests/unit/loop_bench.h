/*
 * loop_bench - a loop that a test turns until something has happened, with a
 * deadline, and that leaves no descriptor behind.
 */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "loop/loop.h"

struct loop_bench {
	struct loop *loop;
	struct log log;
	size_t descriptors; /* that were open before */
	int64_t deadline_ms;
};

void loop_bench_open(struct loop_bench *bench);
/* Fails where more descriptors are open than before. */
void loop_bench_close(struct loop_bench *bench);

void loop_bench_begin(struct loop_bench *bench);
void loop_bench_turn(struct loop_bench *bench, const char *what, int line);
/* Turns until nothing is ready. */
void loop_bench_settle(struct loop_bench *bench);

#define AWAIT(bench, condition)                                                \
	for (loop_bench_begin(bench); !(condition);)                           \
	loop_bench_turn(bench, #condition, __LINE__)

/* Of a unix stream socket: non-blocking, close-on-exec. */
void open_pair(int ends[2]);
/* The least there is: some 2 KiB. */
void shrink_buffer(int descriptor);
size_t count_descriptors(void);
/* A file of its own, to be told by its number. */
int open_file(void);
uint64_t number_of(int descriptor);
int64_t clock_ms(void);
