/*
 * nodes - a node on a test's store, and other processes that have one.
 *
 * A program's tests are given to nodes_test() with the roles that it plays when
 * it is started again as a child: NAME BACKEND child ROLE URL.
 */
#pragma once
#include <stdio.h>
#include <sys/types.h>

#include <muster/node.h>

#include "fixture.h"

#define LONG_MS         60000 /* never waited for */
#define VALUE_BYTES_MAX 100000

/* What `fn` gives back becomes the exit code: not 0 where it fails. */
int nodes_run(const char *url, muster_start_fn fn, void *arg);

/* fn(muster, fixture) on a guest of the test's store; it has to succeed. */
void on_node(void **state, muster_start_fn fn);

/* Another process, and what it prints. */
struct child {
	pid_t pid;
	FILE *output;
};

struct child child_start(const struct fixture *fixture, const char *role);
/* The next line, without its end; fails the test where there is none. */
void child_says(const struct child *child, char line[64]);
/* Waits for it, after a signal where that is not 0. 0: it ended well. */
int child_end(struct child *child, int with_signal);

struct role {
	const char *name; /* NULL: there is no more */
	muster_start_fn fn;
};

#define nodes_test(count, arguments, tests, roles)                             \
	(nodes_is_child((count), (arguments))                                  \
		 ? nodes_run_child((arguments), (roles))                       \
		 : cmocka_run_group_tests((tests), NULL, NULL))

bool nodes_is_child(int count, char **arguments);
int nodes_run_child(char **arguments, const struct role *roles);

#define NODE_TEST(name)                                                        \
	cmocka_unit_test_setup_teardown(name, fixture_set_up, fixture_tear_down)
