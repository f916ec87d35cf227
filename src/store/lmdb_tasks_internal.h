/* What the files of the embedded task queue share: how a task is kept. */
#pragma once
#include "store/lmdb_internal.h"

/* Larger envelopes are kept apart, so that a claim does not write them anew. */
#define ENVELOPE_INLINE 1024

struct task_head {
	uint64_t token;
	uint64_t when; /* QUEUED: its place; DELAYED: due; ACTIVE: the end of
			  its lease, by the boot's clock; DEAD: since */
	uint32_t envelope_length;
	uint16_t queue;
	uint16_t attempt;
	uint16_t max_attempts;
	uint16_t error_length;
	uint8_t state;
	uint8_t priority;
	uint8_t unique_length;
	uint8_t owner_length;
	uint8_t unique_scope;
	uint8_t is_apart; /* the envelope is in PAYLOAD */
	uint8_t has_progress;
	uint8_t unused;
};

/* What it points to may be in the page: good until the next write. */
struct task {
	struct task_head head;
	struct store_bytes id;
	struct store_bytes unique;
	struct store_bytes owner;
	struct store_bytes error;
	struct store_bytes envelope; /* empty where it is apart */
};

bool lmdb_task_find(struct lmdb_batch *batch, struct store_bytes id,
		    struct task *task);
/* What it points to, envelopes that are apart excepted, is copied into the
 * batch's memory. */
void lmdb_task_keep(struct lmdb_batch *batch, struct task *task);
void lmdb_task_put(struct lmdb_batch *batch, const struct task *task);
struct store_bytes lmdb_task_envelope(struct lmdb_batch *batch,
				      const struct task *task);
/* Out of the table that its state has it in: its queue, DELAYED, LEASED,
 * DEAD. */
void lmdb_task_leave(struct lmdb_batch *batch, const struct task *task);
/* What happened to it, by its name and owner of now. */
void lmdb_task_tell(struct lmdb_batch *batch, enum store_event_kind kind,
		    const struct task *task, struct store_bytes detail);
void lmdb_tell(struct lmdb_batch *batch, enum store_event_kind kind,
	       struct store_bytes id, struct store_bytes owner,
	       struct store_bytes detail);
/* An id without a record was dropped. */
void lmdb_tell_orphan(struct lmdb_batch *batch, struct store_bytes id);
/* Into one, and the record with it. `task` is a kept one. */
void lmdb_task_queue(struct lmdb_batch *batch, struct task *task,
		     bool is_front);
void lmdb_task_delay(struct lmdb_batch *batch, struct task *task,
		     uint64_t due_ms);
void lmdb_task_lease(struct lmdb_batch *batch, struct task *task,
		     uint64_t end_ms);
void lmdb_task_bury(struct lmdb_batch *batch, struct task *task);
/* With all that belongs to it. */
void lmdb_task_forget(struct lmdb_batch *batch, const struct task *task);
void lmdb_task_free_unique(struct lmdb_batch *batch, const struct task *task);
/* Back to the front, or to the dead after its last attempt, or away if it was
 * cancelled. */
void lmdb_task_hand_back(struct lmdb_batch *batch, struct task *task);
/* The same, and tells why. */
void lmdb_task_lost(struct lmdb_batch *batch, struct task *task,
		    enum store_event_kind why);
enum store_result lmdb_task_add(struct lmdb_batch *batch,
				const struct store_task *request,
				bool has_limits, struct store_bytes *whose);
struct lmdb_key lmdb_queued_key(uint16_t queue, unsigned priority,
				uint64_t place);

/* Somebody claims from it: it is not to be adopted. */
void lmdb_queue_is_served(struct lmdb_batch *batch, struct lmdb_queue *queue);
/* How many of a queue may start now. 0: *wait_ms until one may, or -1. */
uint32_t lmdb_queue_allowance(const struct lmdb_batch *batch,
			      const struct lmdb_queue *queue, int64_t *wait_ms);
void lmdb_queue_started(struct lmdb_batch *batch, struct lmdb_queue *queue,
			uint32_t count);
