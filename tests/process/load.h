/*
 * load - HTTP clients that ask all the time, in a thread of their own, and
 * count what fails: a connection that is refused or reset, a reply that is cut
 * short or is not 200. A server that closes after it has said so, or after a
 * reply to a request that asked for it, has not failed.
 */
#pragma once
#include <stdbool.h>
#include <stdint.h>

struct load;

struct load_options {
	int port; /* on 127.0.0.1 */
	const char *path;
	int connections;
	bool keep_alive; /* else a connection for each request */
};

struct load_result {
	uint64_t answered;
	uint64_t refused; /* could not connect */
	uint64_t reset;   /* an error, or the end, in place of a reply */
	uint64_t cut;     /* the end, or an error, within a reply */
	uint64_t wrong;   /* not 200, or not HTTP */
	uint64_t slowest_us;
};

struct load *load_start(const struct load_options *options);
/* Waits until so many more requests have been answered. */
void load_wait(struct load *load, uint64_t more);
/* Lets what was asked be answered, and ends. */
struct load_result load_stop(struct load *load);
/* The same; fails the test where anything failed. */
void load_expect_no_failure(struct load *load);
/* At the end of a test. */
void load_stop_all(void);
