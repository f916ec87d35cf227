/*
 * task - what is done with a task, in a word each. A test calls its fixture f.
 */
#pragma once
#include "fixture.h"

#define TASK_LEASE_MS 60000

/* With an envelope where it has none. Fails where that has a problem. */
struct reply *task_put(struct fixture *f, struct store_task task);
#define PUT(...) task_put(f, (struct store_task){ __VA_ARGS__ })

/* From the global queue, and from a second one where that has a name. */
struct reply *task_take_from(struct fixture *f, struct store *store,
			     const char *owner, const char *second,
			     uint32_t want, uint32_t lease_ms);
#define TAKE(owner, want)                                                      \
	task_take_from(f, f->store, owner, "", want, TASK_LEASE_MS)

/* Again and again, as a worker would, until there is something. */
struct reply *task_take_in_time(struct fixture *f, uint32_t lease_ms);

enum store_result task_finish(struct fixture *f, const char *id,
			      uint64_t token);
enum store_result task_flunk(struct fixture *f, const char *id, uint64_t token,
			     uint64_t delay_ms, bool is_final);
enum store_result task_give_back(struct fixture *f, const char *id,
				 uint64_t token);
enum store_result task_prolong(struct fixture *f, const char *id,
			       uint64_t token);
enum store_result task_cancel(struct fixture *f, const char *id);
struct reply *task_look_at(struct fixture *f, const char *id);

/* Nothing waits, nothing runs. */
void task_assert_at_rest(struct fixture *f);
