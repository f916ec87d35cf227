/*
 * What store.c and the back ends share: a call under way, and the table of
 * functions that a back end is.
 *
 * A call belongs to its back end from submit() until store_call_finish(), also
 * where its owner has been answered meanwhile (deadline, close): is_answered
 * then says that nobody waits any more. Its request is a copy in its arena.
 */
#pragma once
#include "base/list.h"
#include "store/arena.h"
#include "store/store.h"
#include "store/store_url.h"

enum store_operation {
#define STORE_NUMBER(NAME, name) STORE_##NAME##_CALL,
	STORE_OPERATIONS(STORE_NUMBER)
#undef STORE_NUMBER
		STORE_READY_CALL,
	STORE_OWN_CALL, /* a back end's own work */
};

struct store_call {
	struct list link;      /* by deadline, while somebody waits */
	struct list back_link; /* the back end's */
	void *back_data;
	struct store *store;
	enum store_operation operation;
	bool is_answered;
	uint64_t deadline_ms;
	store_answer_fn on_answer;
	void *owner;
	const void *request;
	struct arena arena;
	struct store_answer answer;
	struct problem problem;
};

struct store_bus;
struct store_bus_join;
struct store_bus_ops;

struct store_ops {
	const char *name;
	/* Fills store->back_end. */
	int (*open)(struct store *store, const struct store_url *url,
		    struct problem *problem);
	/* Ends, now or later, with store_closed(). */
	void (*close)(struct store *store);
	void (*submit)(struct store *store, struct store_call *call);
	/* Nobody waits for it any more. May finish it within. */
	void (*abandon)(struct store *store, struct store_call *call);
	enum store_result (*peek)(struct store *store,
				  const struct store_cache_load *request,
				  struct store_answer *answer);
	const struct store_bus_ops *bus;
};

extern const struct store_ops lmdb_ops;
extern const struct store_ops redis_ops;

struct timer;

struct store {
	const struct store_ops *ops;
	void *back_end;
	struct loop *loop;
	struct store_options options; /* no zeroes where there is a default */
	char *prefix;
	struct list calls; /* that somebody waits for, by deadline */
	struct timer *timer;
	struct store_bus *bus; /* NULL: this process has not joined */
	bool is_closing;
	struct loop_task closing;
	store_closed_fn on_closed;
	void *owner;
};

/* A call of the back end's own, which nobody waits for. The request is put
 * into its arena by the caller. */
struct store_call *store_call_new(struct store *store,
				  enum store_operation operation);

/* Gives the answer and frees the call. The callback may do anything but free
 * the store's memory. */
void store_call_finish(struct store_call *call);

/* With room for the results of `count` items. */
enum store_result *store_call_results(struct store_call *call, size_t count);

/* Fills the call's problem and answer; finishing is the caller's. */
__attribute__((format(printf, 4, 5))) void
store_call_fail(struct store_call *call, int code, const char *name,
		const char *format, ...);
void store_call_fail_as(struct store_call *call, const struct problem *problem);

/* STORE_EVENT_KINDS: there is none of that name. */
enum store_event_kind store_event_kind(struct store_bytes name);

/* By the back end: it is closed, and holds nothing any more. */
void store_closed(struct store *store);

static inline bool store_bytes_equal(struct store_bytes a, struct store_bytes b)
{
	return a.length == b.length &&
	       (a.length == 0 || memcmp(a.data, b.data, a.length) == 0);
}
