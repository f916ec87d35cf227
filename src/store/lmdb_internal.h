/*
 * What the files of the embedded back end share.
 *
 * There are two environments: `tasks` on disk, and `shared` on a tmpfs for all
 * that may go with the boot. Each has a lane: a thread that runs what the loop
 * gathered in one turn as one transaction, so that neither the fsync of a
 * commit nor a writer in another process that holds the lock ever blocks the
 * loop. While one batch is being committed the next one gathers.
 *
 * A process opens an environment once, whatever stores it has of that path, on
 * whatever threads: a struct lmdb, which they share and count, and which only
 * the lanes' threads work with. What belongs to a store, and to its loop's
 * thread alone, is a struct lmdb_store.
 *
 * A call belongs to its lane's thread from the moment it is handed over until
 * it comes back; the loop touches no more of it than link and is_answered.
 * Numbers in keys are big-endian, in values as the host has them: an
 * environment never leaves its host.
 */
#pragma once
#include <lmdb.h>
#include <pthread.h>
#include <stdatomic.h>

#include "base/buffer.h"
#include "store/hash.h"
#include "store/store_internal.h"

enum lmdb_lane_number { LANE_TASKS, LANE_SHARED, LANES };

/* name, lane */
#define LMDB_TABLES(TABLE)                                                     \
	TABLE(CONTROL, TASKS)    /* "counters", "boot", "adopt:QUEUE" */       \
	TABLE(TASK, TASKS)       /* id -> record */                            \
	TABLE(PAYLOAD, TASKS)    /* id -> an envelope too large for that */    \
	TABLE(QUEUED, TASKS)     /* queue(2) priority(1) place(8) -> id */     \
	TABLE(DELAYED, TASKS)    /* due(8) id -> */                            \
	TABLE(LEASED, TASKS)     /* end of lease(8) id -> */                   \
	TABLE(DEAD, TASKS)       /* since(8) id -> */                          \
	TABLE(DONE, TASKS)       /* id -> token(8) at(8) attempt(4) result */  \
	TABLE(DONE_AT, TASKS)    /* at(8) id -> */                             \
	TABLE(UNIQUE, TASKS)     /* unique key -> id */                        \
	TABLE(QUEUE, TASKS)      /* number(2) -> queue record, name */         \
	TABLE(QUEUE_NAME, TASKS) /* name -> number(2) */                       \
	TABLE(CRON, TASKS)       /* name -> at(8) spec */                      \
	TABLE(PROGRESS, TASKS)   /* id -> what it says of itself */            \
	TABLE(EVENT, TASKS)      /* number(8) -> what happened */              \
	TABLE(OUTBOX, TASKS)     /* number(8) -> a cache effect to be made */  \
	TABLE(SHARED, SHARED)    /* "counters", "secret" */                    \
	TABLE(CACHE, SHARED)     /* hash -> entry, key, type, value */         \
	TABLE(EXPIRY, SHARED)    /* at(8) table(1) hash -> */                  \
	TABLE(READ, SHARED)      /* hash -> when it was read last(8) */        \
	TABLE(ITEM, SHARED)      /* hash number(8) -> item of a list */        \
	TABLE(LOCK, SHARED)      /* hash -> lock, owner */                     \
	TABLE(AWAIT, SHARED)     /* hash place(8) -> until(8) who waits */     \
	TABLE(PEER, SHARED)      /* id -> peer, nonce, record */               \
	TABLE(NAME, SHARED)      /* name -> holder, nonce, host */             \
	TABLE(STAT, SHARED)      /* name -> value(8) */                        \
	TABLE(SEQUENCE, SHARED)  /* source -> last flush(8) */                 \
	TABLE(LOG, SHARED)       /* hash -> what is known of a log */          \
	TABLE(ENTRY, SHARED)     /* hash number(8) -> at(8) message */         \
	TABLE(ROOM, SHARED)      /* name -> number, destroyed at */            \
	TABLE(MEMBER, SHARED)    /* room kind id -> owner, record */           \
	TABLE(MEMBER_OF, SHARED) /* owner room id -> */                        \
	TABLE(WEB, SHARED)       /* client -> until, first and next item */    \
	TABLE(WEB_AT, SHARED)    /* until(8) client -> */                      \
	TABLE(WEB_ITEM, SHARED)  /* client number(8) -> message */

enum lmdb_table {
#define TABLE_NUMBER(NAME, LANE) TABLE_##NAME,
	LMDB_TABLES(TABLE_NUMBER)
#undef TABLE_NUMBER
		TABLES
};

/* In CONTROL; read at the start of a batch and written at its end. */
struct lmdb_task_counters {
	uint64_t token;
	uint64_t front; /* places go down from the middle, */
	uint64_t back;  /* and up */
	uint64_t outbox;
	uint64_t orphans;
	uint64_t clock_ms; /* the last claim, by any process */
	uint64_t grace_ms; /* no lease runs out before */
	uint64_t queues;
	uint64_t events; /* the last one's number */
};

/* In SHARED. */
struct lmdb_shared_counters {
	uint64_t token;
	uint64_t entries;
	uint64_t bytes;
	uint64_t applied; /* of the outbox */
};

struct lmdb_queue {
	struct store_bytes name; /* in the batch's arena */
	bool is_changed;
	struct lmdb_queue_record {
		uint64_t queued;
		uint64_t running;
		uint64_t depth;
		uint64_t rate_us; /* when its rate is used up, at the latest */
		uint32_t running_max;
		uint32_t per_second;
		uint16_t number;
		uint8_t is_paused;
		uint8_t is_marked; /* by lmdb_adopt.c, in CONTROL */
	} record;
	struct lmdb_queue *next;
};

struct lmdb;
struct lmdb_lane;

/* A transaction under way, in a lane's thread. The first error of the library
 * stays in `error`; from then on nothing is read or written. */
struct lmdb_batch {
	struct lmdb *lmdb;
	struct lmdb_lane *lane;
	MDB_txn *txn;
	bool is_writing;
	int full; /* only what makes room is let through: an error; 0 */
	int error;
	uint64_t boot_ms; /* leases: does not jump */
	uint64_t real_ms; /* due times, for people */
	uint64_t real_us;
	MDB_cursor *cursors[TABLES]; /* of walks */
	MDB_cursor *points[TABLES];  /* of what has one key */
	struct arena arena;
	struct buffer scratch;
	struct lmdb_queue *queues; /* that were looked at */
	uint64_t wakes;            /* bits of queues with something new */
	uint32_t wake_count;
	uint64_t lock_wakes; /* bits of locks that were handed on */
	bool has_outbox;
	union {
		struct lmdb_task_counters tasks;
		struct lmdb_shared_counters shared;
	};
};

typedef void (*lmdb_run_fn)(struct lmdb_batch *batch, struct store_call *call);

struct lmdb_operation {
	lmdb_run_fn run;
	enum lmdb_lane_number lane;
	bool is_writing;
	bool needs_room; /* refused when it is nearly full */
};

struct watch;

struct lmdb_lane {
	struct lmdb *lmdb;
	enum lmdb_lane_number number;
	MDB_env *env;
	uint64_t claims;                   /* the thread's alone */
	uint64_t reserve_bytes;            /* 0: not known yet */
	uint64_t reserved_bytes;           /* of the file, that are on disk */
	_Atomic uint64_t locking_since_ms; /* 0: not waiting for the lock */
	pthread_t thread;
	bool has_thread;
	pthread_mutex_t mutex; /* guards what follows, and who has finished */
	pthread_cond_t has_work;
	struct list pending;
	bool is_stopping;
};

struct lmdb_board;
struct timer;

/* An environment that this process has open, for all of its stores. */
struct lmdb {
	unsigned users;   /* guarded by the list's mutex, as is link */
	struct list link; /* in the list of those open */
	char *tasks_path;
	char *shared_path;
	dev_t device; /* of the tasks' directory */
	ino_t inode;
	/* Of the first one to open it; its texts only while that opens. */
	struct store_options options;
	MDB_dbi tables[TABLES];
	struct lmdb_lane lanes[LANES];
	struct hash_secret secret;
	uint64_t cache_bytes;
	struct lmdb_board *board;
	bool is_first; /* nobody else had it open */
	int opening_fd;
	int users_fd;
	uint64_t map_bytes;
	uint64_t shared_bytes;
	_Atomic uint64_t outbox_done;
};

/* What a store has to do with one lane. */
struct lmdb_tray {
	struct lmdb_store *user;
	struct lmdb_lane *lane;
	struct list gathered; /* in this turn */
	struct loop_task hand_over;
	size_t away;          /* with the lane, or gathered */
	struct list finished; /* guarded by the lane's mutex */
};

/* A store_wait() of this store, in its call's memory. */
struct lmdb_waiter {
	struct list link;
	struct store_call *call;
	uint64_t queues; /* bits */
	uint64_t until_ms;
};

struct lmdb_store {
	struct store *store;
	struct lmdb *lmdb;
	struct lmdb_tray trays[LANES];
	int wake_fd; /* something has finished */
	struct watch *watch;
	/* Its own reading, for store_cache_peek(). */
	MDB_txn *peek;
	bool is_peeking;
	struct loop_task end_peek;
	uint64_t peek_ms;
	struct lmdb_reads *reads;
	struct timer *tick;
	uint64_t ticks;
	struct lmdb_ear *ear;
	struct list waiters;
	struct timer *waiting;
	struct list lock_waits;
	struct timer *locking;
	bool is_closing;
	struct list ready;
	struct loop_task say_ready;
	struct loop_task look; /* is there something for who waits? */
};

static inline struct lmdb *lmdb_of(const struct store *store)
{
	const struct lmdb_store *user = store->back_end;

	return user->lmdb;
}

extern const struct lmdb_operation lmdb_operations[STORE_READY_CALL];

/* ---- lmdb_place.c ---- */

/* Directories and what stands against them. */
__attribute__((warn_unused_result)) int
lmdb_place_find(struct lmdb *lmdb, const char *path, struct problem *problem);
void lmdb_place_leave(struct lmdb *lmdb);
/* The list of those that this process has open is held from looking for one
 * until it is counted, and from the last one's going until it is closed. */
void lmdb_places_hold(void);
void lmdb_places_release(void);
struct lmdb *lmdb_place_known(const char *path); /* NULL: none */
/* Whoever takes part in the board after the opening asks others to wait. */
__attribute__((warn_unused_result)) int lmdb_place_begin(struct lmdb *lmdb);
/* What this boot is called; 36 characters. */
void lmdb_place_boot(char boot[37]);
void lmdb_place_opened(struct lmdb *lmdb); /* others may open it now */

/* ---- lmdb_lane.c ---- */

__attribute__((warn_unused_result)) int
lmdb_lane_open(struct lmdb *lmdb, enum lmdb_lane_number number,
	       struct problem *problem);
/* Nobody uses it any more; its thread has ended afterwards. */
void lmdb_lane_stop(struct lmdb_lane *lane);
void lmdb_lane_close(struct lmdb_lane *lane);
/* From the loop's thread, as all about trays. */
__attribute__((warn_unused_result)) int
lmdb_trays_open(struct lmdb_store *user);
void lmdb_trays_close(struct lmdb_store *user);
void lmdb_submit(struct lmdb_store *user, enum lmdb_lane_number lane,
		 struct store_call *call);
/* What has not begun comes back undone: lmdb_came_back(). Its own work, such as
 * what was read, is still done. */
void lmdb_trays_recall(struct lmdb_store *user);
bool lmdb_trays_are_empty(const struct lmdb_store *user);
void lmdb_came_back(struct lmdb_store *user, struct store_call *call);
/* All that came has been told of. */
void lmdb_all_came_back(struct lmdb_store *user);
/* The request of a STORE_OWN_CALL. */
struct lmdb_own {
	struct lmdb_operation operation;
	const void *detail;
};
struct store_call *lmdb_own_call(struct lmdb_store *user, lmdb_run_fn run,
				 enum lmdb_lane_number lane, const void *detail,
				 size_t size);

void lmdb_fail(struct store_call *call, int error);
/* For lack of room, though there is some left: for others. */
void lmdb_fail_nearly_full(struct store_call *call, int error);
int lmdb_open_failed(const char *path, int error, struct problem *problem);

/* ---- lmdb_batch.c ---- */

struct lmdb_key {
	size_t length;
	uint8_t bytes[400]; /* two names, and an owner of one */
};

void lmdb_key_start(struct lmdb_key *key);
void lmdb_key_number(struct lmdb_key *key, uint64_t number, unsigned bytes);
void lmdb_key_bytes(struct lmdb_key *key, const void *bytes, size_t length);
struct lmdb_key lmdb_key_at(uint64_t at, struct store_bytes id);
static inline struct store_bytes lmdb_key_all(const struct lmdb_key *key)
{
	return store_bytes(key->bytes, key->length);
}
uint64_t lmdb_number(struct store_bytes bytes, size_t offset, unsigned count);

/* False: not there, or batch->error. What they give is good until the next
 * thing that is written. */
bool lmdb_get(struct lmdb_batch *batch, enum lmdb_table table,
	      struct store_bytes key, struct store_bytes *value);
void lmdb_put(struct lmdb_batch *batch, enum lmdb_table table,
	      struct store_bytes key, struct store_bytes value);
/* Room for a value of that length; NULL after an error. */
void *lmdb_reserve(struct lmdb_batch *batch, enum lmdb_table table,
		   struct store_bytes key, size_t length);
bool lmdb_delete(struct lmdb_batch *batch, enum lmdb_table table,
		 struct store_bytes key);
/* The first key from `from` on, then the one after it. */
bool lmdb_seek(struct lmdb_batch *batch, enum lmdb_table table,
	       struct store_bytes from, struct store_bytes *key,
	       struct store_bytes *value);
bool lmdb_next(struct lmdb_batch *batch, enum lmdb_table table,
	       struct store_bytes *key, struct store_bytes *value);
/* What was found by one of these. */
void lmdb_delete_here(struct lmdb_batch *batch, enum lmdb_table table);
uint64_t lmdb_count(struct lmdb_batch *batch, enum lmdb_table table);

/* Takes the environment's lock, or a look alone. */
void lmdb_batch_begin(struct lmdb_batch *batch, struct lmdb_lane *lane,
		      bool is_writing);
/* Before a table is dropped: no cursor is in it any more. */
void lmdb_batch_let_go(struct lmdb_batch *batch, enum lmdb_table table);
/* Commits, or aborts where batch->error says so. */
int lmdb_batch_end(struct lmdb_batch *batch);

/* ---- tasks ---- */

struct lmdb_queue *lmdb_queue_named(struct lmdb_batch *batch,
				    struct store_bytes name, bool is_made);
struct lmdb_queue *lmdb_queue_numbered(struct lmdb_batch *batch,
				       uint16_t number);
void lmdb_queues_write(struct lmdb_batch *batch);
/* Something of the queue may be claimed now. */
void lmdb_queue_wake(struct lmdb_batch *batch, struct store_bytes name);

void lmdb_enqueue(struct lmdb_batch *batch, struct store_call *call);
void lmdb_claim(struct lmdb_batch *batch, struct store_call *call);
void lmdb_heartbeat(struct lmdb_batch *batch, struct store_call *call);
void lmdb_complete(struct lmdb_batch *batch, struct store_call *call);
void lmdb_fail_tasks(struct lmdb_batch *batch, struct store_call *call);
void lmdb_release(struct lmdb_batch *batch, struct store_call *call);
void lmdb_cancel(struct lmdb_batch *batch, struct store_call *call);
void lmdb_reap_owner(struct lmdb_batch *batch, struct store_call *call);
void lmdb_retry_dead(struct lmdb_batch *batch, struct store_call *call);
void lmdb_remove(struct lmdb_batch *batch, struct store_call *call);
void lmdb_progress(struct lmdb_batch *batch, struct store_call *call);
void lmdb_adopt_queue(struct lmdb_batch *batch, struct store_call *call);
/* It was committed; is there more to be moved? */
bool lmdb_adoption_goes_on(struct store_call *call);
void lmdb_audit(struct lmdb_batch *batch, struct store_call *call);
void lmdb_events(struct lmdb_batch *batch, struct store_call *call);
void lmdb_show(struct lmdb_batch *batch, struct store_call *call);
void lmdb_list(struct lmdb_batch *batch, struct store_call *call);
void lmdb_counts(struct lmdb_batch *batch, struct store_call *call);
void lmdb_pause(struct lmdb_batch *batch, struct store_call *call);
void lmdb_limits(struct lmdb_batch *batch, struct store_call *call);
void lmdb_cron_fire(struct lmdb_batch *batch, struct store_call *call);
/* After a boot nobody holds a lease any more. */
void lmdb_tasks_take_back(struct lmdb_batch *batch);
/* Is there anything to claim in one of these queues? */
bool lmdb_tasks_wait_for(struct lmdb_batch *batch, uint64_t queues);

/* ---- rooms ---- */

void lmdb_room_create(struct lmdb_batch *batch, struct store_call *call);
void lmdb_room_destroy(struct lmdb_batch *batch, struct store_call *call);
void lmdb_room_list(struct lmdb_batch *batch, struct store_call *call);
void lmdb_room_join(struct lmdb_batch *batch, struct store_call *call);
void lmdb_room_leave(struct lmdb_batch *batch, struct store_call *call);
void lmdb_room_members(struct lmdb_batch *batch, struct store_call *call);
void lmdb_room_say(struct lmdb_batch *batch, struct store_call *call);
void lmdb_room_reap(struct lmdb_batch *batch, struct store_call *call);
void lmdb_web_push(struct lmdb_batch *batch, struct store_call *call);
void lmdb_web_visit(struct lmdb_batch *batch, struct store_call *call);

/* ---- cache ---- */

void lmdb_cache_save(struct lmdb_batch *batch, struct store_call *call);
void lmdb_cache_load(struct lmdb_batch *batch, struct store_call *call);
void lmdb_cache_destroy(struct lmdb_batch *batch, struct store_call *call);
void lmdb_cache_keys(struct lmdb_batch *batch, struct store_call *call);
void lmdb_cache_size(struct lmdb_batch *batch, struct store_call *call);
void lmdb_cache_clear(struct lmdb_batch *batch, struct store_call *call);
void lmdb_cache_push(struct lmdb_batch *batch, struct store_call *call);
void lmdb_cache_pop(struct lmdb_batch *batch, struct store_call *call);
void lmdb_cache_length(struct lmdb_batch *batch, struct store_call *call);
void lmdb_cache_add(struct lmdb_batch *batch, struct store_call *call);
void lmdb_cache_lock(struct lmdb_batch *batch, struct store_call *call);
void lmdb_cache_unlock(struct lmdb_batch *batch, struct store_call *call);
void lmdb_cache_expire(struct lmdb_batch *batch, struct store_call *call);
void lmdb_cache_export(struct lmdb_batch *batch, struct store_call *call);
void lmdb_cache_import(struct lmdb_batch *batch, struct store_call *call);
enum store_result lmdb_cache_peek(struct store *store,
				  const struct store_cache_load *request,
				  struct store_answer *answer);
/* What has expired goes, a bounded number at a time. */
void lmdb_cache_sweep(struct lmdb_batch *batch, struct store_call *call);
bool lmdb_cache_is_sweep_due(struct lmdb *lmdb);
/* What the cache has been read since the last call, noted for good. */
void lmdb_cache_flush_reads(struct lmdb_store *user);
void lmdb_cache_reads_free(struct lmdb_store *user);
void lmdb_cache_was_read(struct lmdb_store *user,
			 const struct store_call *call);
void lmdb_cache_stop_peeking(struct lmdb_store *user);
/* Effects of completions, which wait in the outbox of the other environment. */
void lmdb_cache_apply(struct lmdb_batch *batch, struct store_call *call);
void lmdb_cache_effect(struct lmdb_batch *batch,
		       const struct store_effect *effect);

/* ---- lmdb_log.c: what is kept of what was published ---- */

struct store_bus_log;
void lmdb_log_read(struct lmdb_batch *batch, struct store_call *call);
/* From the loop; nobody is told. */
void lmdb_log_append(struct store *store, const struct store_bus_log *log,
		     struct store_bytes bytes);

/* ---- peers, names, statistics ---- */

void lmdb_peer_ping(struct lmdb_batch *batch, struct store_call *call);
void lmdb_peer_list(struct lmdb_batch *batch, struct store_call *call);
void lmdb_peer_down(struct lmdb_batch *batch, struct store_call *call);
void lmdb_peer_leave(struct lmdb_batch *batch, struct store_call *call);
void lmdb_name_take(struct lmdb_batch *batch, struct store_call *call);
void lmdb_name_free(struct lmdb_batch *batch, struct store_call *call);
void lmdb_stats_flush(struct lmdb_batch *batch, struct store_call *call);
void lmdb_stats_read(struct lmdb_batch *batch, struct store_call *call);

/* ---- lmdb_board.c: who waits, and who holds a lock ---- */

__attribute__((warn_unused_result)) int
lmdb_board_open(struct lmdb *lmdb, struct problem *problem);
void lmdb_board_close(struct lmdb *lmdb);
uint64_t lmdb_board_bit(struct store_bytes queue);
/* A store's own place on it, where it is told of what it waits for. */
__attribute__((warn_unused_result)) int lmdb_ear_open(struct lmdb_store *user,
						      struct problem *problem);
void lmdb_ear_close(struct lmdb_store *user);
void lmdb_ear_wait(struct lmdb_ear *ear, uint64_t queues);
void lmdb_ear_wait_locks(struct lmdb_ear *ear, uint64_t locks);
void lmdb_board_wake_locks(struct lmdb_board *board, uint64_t locks);
/* Wakes up to `count` processes that wait for one of the queues. */
void lmdb_board_wake(struct lmdb_board *board, uint64_t queues, uint32_t count);
void lmdb_board_writing(struct lmdb_board *board, enum lmdb_lane_number lane,
			uint64_t since_ms);
/* Another process has held a lock for longer than is good: it is continued,
 * and later killed. */
void lmdb_board_watch(struct lmdb *lmdb, enum lmdb_lane_number lane,
		      const struct log *log);
uint64_t lmdb_boot_ms(void);
uint64_t lmdb_real_ms(void);

/* ---- lmdb_lock.c: waiting for a lock ---- */

void lmdb_lock_start(struct lmdb_store *user, struct store_call *call);
/* The lane has tried once. */
void lmdb_lock_came_back(struct lmdb_store *user, struct store_call *call);
void lmdb_lock_abandon(struct lmdb_store *user, struct store_call *call);
void lmdb_lock_woken(struct lmdb_store *user, uint64_t locks);
void lmdb_lock_on_time(void *owner);
void lmdb_locks_end(struct lmdb_store *user);

/* ---- lmdb_wait.c ---- */
void lmdb_wait_start(struct lmdb_store *user, struct store_call *call);
void lmdb_wait_look(struct loop_task *task);
void lmdb_wait_timed_out(void *owner);
void lmdb_wait_abandon(struct lmdb_store *user, struct store_call *call);
void lmdb_wait_woken(struct lmdb_store *user, uint64_t queues);
