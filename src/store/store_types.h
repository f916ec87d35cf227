/*
 * store_types - what is asked of a store, and what it answers.
 *
 * A request is read while the call that takes it runs and may be on the stack.
 * An answer, with all it points to, is good until the callback returns.
 * Texts are bytes with a length and need no NUL. Times are milliseconds;
 * those of the store itself, where not said otherwise.
 *
 * Names (of tasks' ids, queues, owners, peers, locks' owners) are 1 to
 * STORE_NAME_MAX bytes without control bytes and without '|'. A queue's name
 * does not begin with '_' and is none of the words in contract 8 that have a
 * meaning there; the empty name is the global queue.
 */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "base/problem.h"

#define STORE_NAME_MAX     128
#define STORE_QUEUES_MAX   8
#define STORE_PRIORITIES   4
#define STORE_BATCH_MAX    1024
#define STORE_UNIQUE_MAX   255
#define STORE_ATTEMPTS_MAX 60000

struct store_bytes {
	const char *data;
	size_t length;
};

static inline struct store_bytes store_text(const char *text)
{
	return (struct store_bytes){ text, text == NULL ? 0 : strlen(text) };
}

static inline struct store_bytes store_bytes(const void *data, size_t length)
{
	return (struct store_bytes){ data, length };
}

/* What became of one item of a batch, or of the call where it has none. */
enum store_result {
	STORE_DONE = 1,
	STORE_KNOWN,      /* enqueue: this id was enqueued before.
			     complete: this very completion is recorded */
	STORE_DUPLICATE,  /* enqueue: its unique key belongs to another task */
	STORE_QUEUE_FULL, /* enqueue: the queue's depth is reached */
	STORE_NOT_FOUND,
	STORE_LOST,      /* the lease is somebody else's by now, or nobody's */
	STORE_CANCELLED, /* heartbeat: stop. cancel: will be told to stop */
	STORE_RETRYING,  /* fail: runs again */
	STORE_DEAD,      /* fail: was its last attempt */
	STORE_BUSY,      /* locked by another, active, name taken */
	STORE_WOKEN,
	STORE_TIMED_OUT, /* wait: nothing came; not a failure */
	STORE_STALE,     /* peers: the record has gone, or has another nonce.
			    cron: another one was faster.
			    stats: this flush has been counted before */
};

/* ---- tasks ---- */

enum store_unique_scope {
	STORE_UNIQUE_UNTIL_DONE,
	STORE_UNIQUE_UNTIL_START,
};

struct store_task {
	/* Made by the caller before the first try, so that trying again adds
	 * no second task. */
	struct store_bytes id;
	struct store_bytes queue;    /* empty: global */
	struct store_bytes envelope; /* a JSON object; not looked into */
	struct store_bytes unique;   /* empty: none */
	enum store_unique_scope unique_scope;
	uint32_t priority;     /* 0 first to 3; of the global queue alone */
	uint32_t max_attempts; /* 0: 25 */
	uint64_t delay_ms;     /* from now, or */
	uint64_t at_ms;        /* at that time; 0: delay_ms counts */
};

struct store_enqueue {
	const struct store_task *tasks;
	size_t count;
};

/* The first queue is served first. So that a full one starves nobody, every
 * eighth call of an owner begins with the others. */
struct store_claim {
	struct store_bytes owner;
	const struct store_bytes *queues;
	size_t queue_count;
	uint32_t want;
	uint32_t lease_ms;
};

struct store_lease {
	struct store_bytes id;
	uint64_t token;
};

struct store_heartbeat {
	const struct store_lease *leases;
	size_t count;
	uint32_t lease_ms;
};

/* Made in the same step as the completion they belong to: when that is
 * recorded, and never else. Where the cache is elsewhere (LMDB, a Redis
 * Cluster) they are made before the completion is answered, each once; if the
 * process dies meanwhile, soon after, by another one (Cluster: by who claims
 * some seconds later, and then perhaps after those of a later completion). */
enum store_effect_kind {
	STORE_EFFECT_ENQUEUE,
	STORE_EFFECT_CACHE_SAVE,
	STORE_EFFECT_CACHE_ADD,
	STORE_EFFECT_CACHE_DESTROY,
};

struct store_effect {
	enum store_effect_kind kind;
	struct store_task task;   /* ENQUEUE: depth limits do not apply */
	struct store_bytes key;   /* CACHE_* */
	struct store_bytes value; /* CACHE_SAVE */
	struct store_bytes type;  /* CACHE_SAVE */
	uint64_t ttl_ms;          /* CACHE_SAVE, CACHE_ADD; 0: none */
	int64_t delta;            /* CACHE_ADD */
};

struct store_completion {
	struct store_bytes id;
	uint64_t token;
	struct store_bytes result;
	const struct store_effect *effects;
	size_t effect_count;
};

struct store_complete {
	const struct store_completion *items;
	size_t count;
};

struct store_failure {
	struct store_bytes id;
	uint64_t token;
	struct store_bytes error; /* kept with the task */
	uint64_t delay_ms;        /* until the next attempt */
	bool is_final;            /* to the dead set at once */
};

struct store_fail {
	const struct store_failure *items;
	size_t count;
};

/* Back to the front of its queue; the attempt does not count. */
struct store_release {
	const struct store_lease *leases;
	size_t count;
};

/* DONE (it waited, and is gone), CANCELLED (it runs), NOT_FOUND. */
struct store_cancel {
	const struct store_bytes *ids;
	size_t count;
};

/* Hands back all that an owner, who is dead, has leased. */
struct store_reap_owner {
	struct store_bytes owner;
};

/* DONE or NOT_FOUND (not among the dead). Attempts count from 0 again. */
struct store_retry_dead {
	const struct store_bytes *ids;
	size_t count;
};

/* Whatever is not active: DONE, BUSY, NOT_FOUND. */
struct store_remove {
	const struct store_bytes *ids;
	size_t count;
};

/* DONE, LOST or CANCELLED. What a task says of itself while it runs stays until
 * it says something else, is done, or is removed. */
struct store_progress {
	struct store_bytes id;
	uint64_t token;
	struct store_bytes progress; /* JSON; up to 4 KiB */
};

/* For a server's own queue whose server is gone. The first call marks it; once
 * nobody has claimed from it for after_ms, a call moves all that waits in it,
 * and those of it that are delayed, to the end of the global queue: DONE with
 * how many. BUSY: that time is not over. A claim of the queue takes the mark
 * away, and ends a move under way. */
struct store_adopt_queue {
	struct store_bytes queue;
	uint64_t after_ms; /* 0: at once */
};

/* What a store holds of tasks, looked through for what does not fit together, a
 * piece at a time. Meant for a store at rest: tasks that move meanwhile may be
 * counted, but are not harmed. */
#define STORE_DIFFERENCES(DIFFERENCE)                                          \
	DIFFERENCE(LOST, lost)         /* waits, but nowhere */                \
	DIFFERENCE(UNLEASED, unleased) /* active without a lease */            \
	DIFFERENCE(STRAY, stray)       /* an id somewhere, its task not so */  \
	DIFFERENCE(DAMAGED, damaged)   /* a record that cannot be run */       \
	DIFFERENCE(UNIQUE, unique)     /* a unique key without a task */       \
	DIFFERENCE(LEFT, left)         /* parts of a task that is gone */      \
	DIFFERENCE(COUNT, count)       /* of what runs, or waits, is wrong */

enum store_difference {
#define STORE_DIFFERENCE_NUMBER(NAME, name) STORE_DIFFERENCE_##NAME,
	STORE_DIFFERENCES(STORE_DIFFERENCE_NUMBER)
#undef STORE_DIFFERENCE_NUMBER
		STORE_DIFFERENCE_KINDS
};

/* `cursor` empty at first, then what the last answer said. */
struct store_audit {
	struct store_bytes cursor;
	bool is_repairing;
};

enum store_task_state {
	STORE_TASK_QUEUED,
	STORE_TASK_DELAYED,
	STORE_TASK_ACTIVE,
	STORE_TASK_CANCELLED, /* active, and to be told so */
	STORE_TASK_DEAD,
	STORE_TASK_DONE,
};

struct store_show {
	struct store_bytes id;
};

/* In the order they would run, or by time. */
struct store_list {
	enum store_task_state state; /* not CANCELLED: those are ACTIVE */
	struct store_bytes queue;    /* QUEUED: of this queue */
	struct store_bytes owner;    /* ACTIVE: of this owner alone */
	uint64_t offset;
	uint32_t limit;
};

struct store_counts {
	char unused;
};

struct store_pause {
	struct store_bytes queue;
	bool is_paused;
};

/* Zero is no limit. All of a queue's limits are set. */
struct store_limits {
	struct store_bytes queue;
	uint64_t depth;      /* tasks that wait in it */
	uint32_t running;    /* tasks of it that run at once */
	uint32_t per_second; /* tasks of it that start in a second */
};

/* Enqueues `task` if the name's time is still `expected_ms` (0: it has none
 * yet), and sets it to next_ms, in one step. DONE, or STALE with the time. */
struct store_cron_fire {
	struct store_bytes name;
	struct store_bytes spec; /* kept for people to read */
	uint64_t expected_ms;
	uint64_t next_ms;
	const struct store_task *task; /* NULL: only the time is set */
};

/* What is out of the ordinary, told in the same step as it happens. The oldest
 * are dropped: some 10,000 are kept. `id` is a task's, or a queue's name. */
#define STORE_EVENT_LIST(EVENT)                                                \
	EVENT(EXPIRED, expired)     /* its lease ran out */                    \
	EVENT(REAPED, reaped)       /* its owner is dead */                    \
	EVENT(FAILED, failed)       /* runs again; detail: the error */        \
	EVENT(DEAD, dead)           /* was its last attempt */                 \
	EVENT(RELEASED, released)   /* its worker stops */                     \
	EVENT(CANCELLED, cancelled) /* detail: waiting, running */             \
	EVENT(RETRIED, retried)     /* by hand, from the dead */               \
	EVENT(ADOPTED, adopted)     /* a queue; detail: how many tasks */      \
	EVENT(ORPHAN, orphan)       /* an id without a record was dropped */   \
	EVENT(PAUSED, paused)       /* a queue */                              \
	EVENT(RESUMED, resumed)     /* a queue */                              \
	EVENT(STALE, stale)         /* a completion came too late */           \
	EVENT(REPAIRED, repaired)   /* by an audit; detail: what */

enum store_event_kind {
#define STORE_EVENT_NUMBER(NAME, name) STORE_EVENT_##NAME,
	STORE_EVENT_LIST(STORE_EVENT_NUMBER)
#undef STORE_EVENT_NUMBER
		STORE_EVENT_KINDS /* and one that is not known */
};

struct store_events {
	uint64_t after; /* a sequence; 0: from the oldest */
	uint32_t limit; /* 0, or more than 1000: 1000 */
};

/* Until something may be had from one of the queues. */
struct store_wait {
	const struct store_bytes *queues;
	size_t queue_count;
	uint32_t timeout_ms;
};

/* ---- peers and names ---- */

/* DONE, or STALE: the record is gone or another's, and the caller has to
 * rejoin under a new nonce. Whoever has not been heard of for dead_ms is
 * removed and told of once, to the one who removed it. */
struct store_peer_ping {
	struct store_bytes id;
	struct store_bytes nonce;
	struct store_bytes record; /* JSON; empty: keep what is there */
	bool is_joining;           /* takes the place of a dead record */
	uint32_t dead_ms;          /* 0: removes nobody */
};

struct store_peer_list {
	char unused;
};

/* The caller knows that it is dead. DONE: removed; STALE: not there. */
struct store_peer_down {
	struct store_bytes id;
	struct store_bytes nonce;
};

/* The peer itself goes. */
struct store_peer_leave {
	struct store_bytes id;
	struct store_bytes nonce;
};

/* The lowest free PREFIX-N from 1, or `wanted` where it is free. A name is
 * free when nobody has it, or its holder has not pinged as a peer of that
 * name for dead_ms, or is of the same host and vouched for as dead. */
struct store_name_take {
	struct store_bytes prefix;
	struct store_bytes nonce;
	struct store_bytes host;
	uint32_t wanted; /* 0: any */
	bool is_vouched; /* the last holder of `wanted` is dead */
	uint32_t dead_ms;
};

struct store_name_free {
	struct store_bytes name;
	struct store_bytes nonce;
};

/* ---- statistics ---- */

struct store_stat {
	struct store_bytes name;
	int64_t value;
	bool is_gauge;   /* set, not added */
	bool is_removed; /* is no more; the value does not count */
};

/* Counted once for each source and growing sequence: trying again is safe. An
 * empty source is counted each time: for what may be done twice. */
struct store_stats_flush {
	struct store_bytes source;
	bool is_last; /* of this source, which is forgotten */
	uint64_t sequence;
	const struct store_stat *stats;
	size_t count;
};

struct store_stats_read {
	struct store_bytes prefix; /* empty: all */
};

/* ---- what was published ---- */

/* DONE with what is kept in the log of that name, on that channel of the bus,
 * and has not grown too old: see store_bus_publish(). */
struct store_log_read {
	struct store_bytes channel;
	struct store_bytes name;
};

/* ---- rooms, and messages for web clients ---- */

/* A member is a name; it belongs to an owner, with whom it goes: the nonce of a
 * server's life, or, for a web client, "web:CLIENT" (made by whoever asks). A
 * web client is there until it was not heard of for a time; its messages wait,
 * and its memberships last, so long. */

/* DONE, or KNOWN; with the room's number, which is another one for each that is
 * called so. */
struct store_room_create {
	struct store_bytes room;
};

/* DONE with its number, or NOT_FOUND. Its web clients are left a message. */
struct store_room_destroy {
	struct store_bytes room;
	struct store_bytes message; /* one JSON value */
	uint32_t messages_max;      /* that a client may have */
};

struct store_room_list {
	struct store_bytes room; /* that one alone; empty: all */
};

/* DONE with the room's number, KNOWN (it is a member), NOT_FOUND (there is no
 * such room). Whoever was told a number before gets its room again where the
 * store has lost it, and not where it was destroyed. */
struct store_room_join {
	struct store_bytes room;
	struct store_bytes member;
	struct store_bytes owner;
	struct store_bytes record; /* a JSON object with a member or more */
	uint64_t number;           /* that was told; 0: none */
	uint64_t web_ms;           /* for so long, where it is a web client */
};

/* DONE, or NOT_FOUND: it is no member, or another owner's. */
struct store_room_leave {
	struct store_bytes room;
	struct store_bytes member;
	struct store_bytes owner;
};

/* DONE, or NOT_FOUND: there is no such room. */
struct store_room_members {
	struct store_bytes room;
};

/* Leaves a message to the room's web clients: DONE with how many, NOT_FOUND
 * (there is no such room), LOST (`speaker` is no member). */
struct store_room_say {
	struct store_bytes room;
	struct store_bytes message; /* one JSON value */
	struct store_bytes but;     /* this client is not told; empty */
	struct store_bytes speaker; /* a web client; empty: somebody else */
	uint64_t web_ms;            /* it stays for so long from now */
	uint32_t messages_max;      /* that a client may have */
};

/* Removes all members of an owner: DONE with how many. */
struct store_room_reap {
	struct store_bytes owner;
};

/* The oldest go where there are more than messages_max. */
struct store_web_push {
	struct store_bytes client;
	struct store_bytes message; /* one JSON value */
	uint64_t web_ms;
	uint32_t messages_max;
};

/* A client that is known stays for web_ms from now. */
struct store_web_visit {
	struct store_bytes client;
	uint32_t take; /* messages, at most */
	uint64_t web_ms;
};

/* ---- cache ---- */

/* DONE; BUSY where another than `owner` has locked the key. */
struct store_cache_save {
	struct store_bytes key;
	struct store_bytes value;
	struct store_bytes type;  /* of its content; kept beside it */
	struct store_bytes owner; /* of a lock; empty: none */
	uint64_t ttl_ms;          /* 0: for ever */
};

/* DONE or NOT_FOUND. */
struct store_cache_load {
	struct store_bytes key;
	uint64_t slide_ms; /* not 0: it expires that much after now */
};

struct store_cache_destroy {
	struct store_bytes key;
	struct store_bytes owner;
};

/* `cursor` empty at first, then what the last answer said. A page may be
 * empty though more follow. */
struct store_cache_keys {
	struct store_bytes prefix;
	struct store_bytes cursor;
	uint32_t limit;
};

struct store_cache_size {
	char unused;
};

struct store_cache_clear {
	struct store_bytes prefix; /* empty: all of them, locks too */
};

/* Lists: pushed at the end, popped from the front. */
struct store_cache_push {
	struct store_bytes key;
	struct store_bytes value;
	uint64_t ttl_ms; /* set anew where not 0 */
};

struct store_cache_pop {
	struct store_bytes key;
};

struct store_cache_length {
	struct store_bytes key;
};

/* A counter is a value of decimal digits. ttl_ms counts where it is new. */
struct store_cache_add {
	struct store_bytes key;
	int64_t delta;
	uint64_t ttl_ms;
};

/* DONE with a token that grows with every lock of the key; BUSY with the time
 * that is left. An owner who has it already gets it prolonged. Those who wait
 * get it in the order they came: whoever unlocks hands it on. */
struct store_cache_lock {
	struct store_bytes key;
	struct store_bytes owner;
	uint64_t ttl_ms;
	uint32_t wait_ms; /* for the lock, before BUSY; 0: not at all */
};

/* DONE, or LOST: it is not, or no longer, this owner's. */
struct store_cache_unlock {
	struct store_bytes key;
	struct store_bytes owner;
	uint64_t token; /* 0: any */
};

/* DONE or NOT_FOUND: a value, a counter or a list expires that much after now.
 * Does not ask for its lock. */
struct store_cache_expire {
	struct store_bytes key;
	uint64_t ttl_ms; /* 0: never */
};

enum store_entry_kind {
	STORE_ENTRY_VALUE,
	STORE_ENTRY_COUNTER, /* a value of decimal digits, without a type */
	STORE_ENTRY_LIST,
};

/* What the cache holds under a key, to be taken elsewhere. Times are since
 * 1970. A list comes in pieces of up to STORE_BATCH_MAX values. */
struct store_cache_entry {
	enum store_entry_kind kind;
	struct store_bytes key;
	struct store_bytes value;
	struct store_bytes type;
	const struct store_bytes *values; /* LIST */
	size_t value_count;
	bool is_continued;   /* LIST: goes on where the last piece ended */
	uint64_t created_ms; /* 0: not known, as of lists on Redis */
	uint64_t expires_ms; /* 0: never */
};

/* A page of all there is, as cache_keys. What is changed meanwhile may be among
 * it or not; locks are not. */
struct store_cache_export {
	struct store_bytes cursor;
	uint32_t limit;
};

/* In the place of what is there, with what is left of its time: DONE, or
 * NOT_FOUND where nothing is left. Does not ask for its lock. */
struct store_cache_import {
	struct store_cache_entry entry;
};

/* ---- answers ---- */

struct store_claimed {
	struct store_bytes id;
	struct store_bytes queue;
	struct store_bytes envelope;
	uint64_t token; /* grows with every claim, of any task */
	uint32_t attempt;
	uint32_t max_attempts;
};

struct store_task_info {
	struct store_bytes id;
	struct store_bytes queue;
	struct store_bytes owner;
	struct store_bytes envelope;
	struct store_bytes unique;
	struct store_bytes error;
	struct store_bytes result;
	struct store_bytes progress;
	enum store_task_state state;
	uint32_t priority;
	uint32_t attempt;
	uint32_t max_attempts;
	uint64_t token;
	/* DELAYED: in how long it is due; ACTIVE: when its lease ends, from
	 * now; DEAD, DONE: since when. */
	int64_t in_ms;
};

struct store_queue_info {
	struct store_bytes name;
	uint64_t queued;
	uint64_t running;
	uint64_t depth;
	uint32_t running_max;
	uint32_t per_second;
	bool is_paused;
};

struct store_event {
	uint64_t sequence; /* grows */
	uint64_t time_ms;  /* since 1970 */
	enum store_event_kind kind;
	struct store_bytes id;
	struct store_bytes owner;  /* where there was one */
	struct store_bytes detail; /* for people */
};

struct store_peer_info {
	struct store_bytes id;
	struct store_bytes nonce;
	struct store_bytes record;
	uint64_t silent_ms; /* since its last ping */
};

/* One that was removed. For a minute it is known how, so that everyone who
 * looks learns it. */
struct store_peer_gone {
	struct store_bytes id;
	struct store_bytes nonce;
	bool has_left; /* by itself; else it was dead */
};

struct store_room_info {
	struct store_bytes name;
	uint64_t created_ms; /* since 1970 */
	uint64_t members;
};

struct store_member_info {
	struct store_bytes id;
	struct store_bytes record;
};

struct store_answer {
	int error;                     /* 0, or -errno */
	const struct problem *problem; /* where error is negative */
	enum store_result result;      /* of calls that are about one thing */
	/* One each for the items of a batch. */
	const enum store_result *results;
	size_t result_count;
	union {
		struct { /* enqueue: whom a DUPLICATE's key belongs to */
			const struct store_bytes *ids;
		} enqueue;
		struct {
			const struct store_claimed *tasks;
			size_t count;
			/* Until a claim may find something that is not there
			 * now; -1: nothing is known to come. */
			int64_t next_ms;
		} claim;
		struct { /* reap_owner, adopt_queue, cache_size, cache_clear,
			    cache_length, push: the length. room_create, _join,
			    _destroy: the room's. room_say, room_reap */
			uint64_t value;
		} number;
		struct { /* show, list */
			const struct store_task_info *tasks;
			size_t count;
		} list;
		struct {
			const struct store_queue_info *queues;
			size_t queue_count;
			uint64_t queued;
			uint64_t delayed;
			uint64_t active;
			uint64_t dead;
			uint64_t done;
			uint64_t orphans; /* ids without a record, dropped */
		} counts;
		struct { /* of this piece */
			uint64_t looked_at;
			uint64_t found[STORE_DIFFERENCE_KINDS];
			uint64_t repaired;
			struct store_bytes cursor; /* empty: that was all */
		} audit;
		struct {
			const struct store_event *list;
			size_t count;
			uint64_t last; /* there is, whether listed or not */
		} events;
		struct {
			uint64_t at_ms;
		} cron;
		struct { /* peer_ping: who was found dead; peer_list: all */
			const struct store_peer_info *list;
			size_t count;
			const struct store_peer_gone *gone; /* peer_list */
			size_t gone_count;
		} peers;
		struct {
			struct store_bytes name;
			uint32_t number;
		} name;
		struct {
			const struct store_stat *list;
			size_t count;
		} stats;
		struct {
			const struct store_room_info *list;
			size_t count;
		} rooms;
		struct {
			const struct store_member_info *list;
			size_t count;
		} members;
		struct { /* web_visit: what it takes, and where it is */
			const struct store_bytes *messages;
			size_t count;
			const struct store_bytes *rooms;
			size_t room_count;
		} web;
		struct { /* cache_load, cache_pop */
			struct store_bytes value;
			struct store_bytes type;
			uint64_t created_ms; /* since 1970, as the next two */
			uint64_t expires_ms; /* 0: never */
			uint64_t read_ms;    /* the last time before; 0: never.
						Kept to the second */
		} cache;
		struct {
			const struct store_bytes *keys;
			size_t count;
			struct store_bytes cursor; /* empty: that was all */
		} keys;
		struct { /* log_read: the oldest first */
			const struct store_bytes *list;
			size_t count;
			/* Another one: the store has lost what it had. */
			struct store_bytes life;
		} log;
		struct { /* cache_export */
			const struct store_cache_entry *list;
			size_t count;
			struct store_bytes cursor; /* empty: that was all */
		} entries;
		struct {
			int64_t value;
		} counter;
		struct {
			uint64_t token;
			uint64_t left_ms;
			bool is_new; /* else this owner had it already */
		} lock;
	};
};
