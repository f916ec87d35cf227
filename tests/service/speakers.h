/*
 * speakers - servers that call each other and publish, as real processes, for
 * tests: "node" has methods and subscriptions, "caller" has none; both do what
 * lines on their standard input say. MUSTER_TEST_STORE is the back end: lmdb,
 * redis, or cluster.
 */
#pragma once
#include "harness.h"

#define SPEAKERS_TOKEN "of these tests alone"

extern const struct test_program speakers[];
extern struct process *server; /* Redis; NULL: embedded */

const char *back_end(void);
/* Does Redis, started again, have what it had? */
extern bool store_lasts;
/* A new one, in the test's directory. */
void open_store(void);
/* Again, after the server has ended. */
void start_server(void);

/* Each has joined. */
struct process *start_node(int number);
struct process *start_caller(void);
/* Any, with more in its environment (NULL: nothing); not awaited. */
struct process *start_speaker(const char *name, const char *argument,
			      const char *one, const char *other);
