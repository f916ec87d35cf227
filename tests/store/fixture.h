/*
 * fixture - a store of its own for each test, and calls that read straight.
 *
 * argv[1] says which back end: "lmdb" makes a directory, "redis" starts a
 * server on a unix socket in one, "cluster" three servers that are one Redis
 * Cluster. Waits have a deadline, and fail the test.
 */
#pragma once
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <sys/types.h>

#include "loop/loop.h"
#include "store/store.h"

enum operation {
#define OPERATION(NAME, name) DO_##name,
	STORE_OPERATIONS(OPERATION)
#undef OPERATION
		DO_ready
};

struct fixture {
	char directory[64];
	char url[160];
	bool is_redis;   /* a server of its own, on a unix socket */
	bool is_cluster; /* one for all tests, emptied for each */
	pid_t server;
	struct log log;
	struct loop *loop;
	struct store *store;
	struct store_options options;
	struct reply *replies;
};

/* An answer, copied: texts end with a NUL. */
struct reply {
	struct reply *next;
	struct fixture *fixture;
	enum operation operation;
	unsigned times; /* that it was given */
	int error;
	char name[40];
	char problem[256];
	enum store_result result;
	enum store_result results[64];
	size_t count; /* of results, tasks, keys, peers, statistics, queues */
	uint64_t value;
	int64_t counter;
	uint64_t token;
	uint64_t left_ms;
	bool is_new;
	int64_t next_ms;
	char text[2048]; /* a value, a cursor, a name */
	size_t text_length;
	char type[64];
	uint64_t created_ms;
	uint64_t expires_ms;
	uint64_t read_ms;
	struct {
		char id[64];
		char text[1024]; /* envelope, record */
		char queue[64];
		char owner[64];
		char error[128];
		char result[128];
		char progress[64];
		uint64_t token;
		uint32_t attempt;
		enum store_task_state state;
		int64_t in_ms;
		int64_t value;
	} items[64];
	char gone[256]; /* "id:nonce=left " or dead of each */
	uint64_t queued;
	uint64_t delayed;
	uint64_t active;
	uint64_t dead;
	uint64_t done;
	uint64_t orphans;
	uint64_t found[STORE_DIFFERENCE_KINDS];
};

extern const char *fixture_back_end;

int fixture_set_up(void **state);
int fixture_tear_down(void **state);

/* A second one for the same data; closed by fixture_close(). */
struct store *fixture_open(struct fixture *fixture, const char *url);
void fixture_close(struct fixture *fixture, struct store *store);
void fixture_reopen(struct fixture *fixture);

pid_t fixture_start_redis(const char *directory, const char *const *more);
void fixture_stop(pid_t pid, int signal);
void fixture_remove(const char *directory); /* with all in it */
/* A server on a TCP port of 127.0.0.1, without the rest of the above. */
pid_t fixture_start_redis_at(const char *directory, uint16_t port,
			     const char *const *more);
uint16_t fixture_free_port(void);
uint16_t fixture_cluster_port(size_t node); /* 0 to 2 */
/* Runs it until a line of what it says begins with `wanted`. */
void fixture_await_cli(const char *arguments, const char *wanted);
/* Runs a command of redis-cli and gives the first line of what it says. */
void fixture_redis_cli(const struct fixture *fixture, const char *command,
		       char *line, size_t size);

struct reply *reply_new(struct fixture *fixture, enum operation operation);
void on_reply(void *owner, const struct store_answer *answer);
struct reply *reply_wait(struct reply *reply);
/* Lets the loop run for a while, which is what the test is about. */
void fixture_run_ms(struct fixture *fixture, unsigned ms);

/* All pieces of an audit, summed up. */
struct fixture_audit {
	uint64_t looked_at;
	uint64_t repaired;
	uint64_t total;
	uint64_t found[STORE_DIFFERENCE_KINDS];
};
struct fixture_audit fixture_audit(struct fixture *fixture, bool is_repairing);

#define T(text) store_text(text)

#define START_AT(at, op, ...)                                                  \
	({                                                                     \
		struct reply *reply_ = reply_new(f, DO_##op);                  \
		store_##op((at), &(struct store_##op){ __VA_ARGS__ },          \
			   on_reply, reply_);                                  \
		reply_;                                                        \
	})
#define START(op, ...)      START_AT(f->store, op, __VA_ARGS__)
#define ASK(op, ...)        reply_wait(START(op, __VA_ARGS__))
#define ASK_AT(at, op, ...) reply_wait(START_AT(at, op, __VA_ARGS__))

#define assert_done(given)                                                     \
	do {                                                                   \
		const struct reply *done_ = (given);                           \
		assert_string_equal(done_->problem, "");                       \
		assert_int_equal(done_->error, 0);                             \
		assert_int_equal(done_->result, STORE_DONE);                   \
	} while (0)
#define assert_problem(given, code, text)                                      \
	do {                                                                   \
		const struct reply *problem_ = (given);                        \
		assert_string_equal(problem_->name, text);                     \
		assert_int_equal(problem_->error, code);                       \
	} while (0)
