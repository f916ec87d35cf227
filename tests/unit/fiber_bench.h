/*
 * fiber_bench - a pool, fibers that most tests run, and what they note. What
 * runs on one only takes notes: an assertion that fails jumps out of the test,
 * which must not happen from another stack.
 */
#pragma once
#include <stdbool.h>
#include <stddef.h>

#include "base/fiber.h"

#ifndef __has_feature
#define __has_feature(feature) 0
#endif
/* What a sanitizer keeps beside each stack is not ours to measure, and
 * ThreadSanitizer has room for 8,000. */
#if defined(__SANITIZE_ADDRESS__) || __has_feature(address_sanitizer)
#define FIBERS_MAX   10000
#define HAS_OWN_COST true
#elif defined(__SANITIZE_THREAD__) || __has_feature(thread_sanitizer)
#define FIBERS_MAX   1000
#define HAS_OWN_COST true
#else
#define FIBERS_MAX   10000
#define HAS_OWN_COST false
#endif

extern struct fiber_pool *pool;
extern struct fiber *fibers[FIBERS_MAX];
extern size_t notes_length;

/* For cmocka. */
int fiber_set_up(void **state);
int fiber_tear_down(void **state);

void note(const char *text);
void note_number(int number);
/* What was noted since, each with a blank behind it. */
void assert_notes(const char *expected);

/* Another pool in the place of the one that is there. */
void restart(const struct fiber_pool_options *options);
void start(const char *name, fiber_fn fn, void *arg);
size_t live(void);

/* ---- What most of them run ----------------------------------------------- */

void note_name(void *arg);
/* Says who it is, parks once, and takes note of the value. */
void park_once(void *arg);
/* Starts one like itself while the number at `arg`, counted down, is left. */
void note_depth(void *arg);

/* As many KiB of stack as are asked for, each of them written to. */
int use_kib(int kib);
