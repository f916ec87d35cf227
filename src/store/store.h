/*
 * store - what the processes of a cluster share: tasks, cache, locks, peers,
 * names, statistics, rooms. Two back ends, LMDB for one host and Redis (or
 * Valkey) for many, behind one set of operations; the URL picks.
 *
 * Each operation is one atomic step, and answers exactly once, from the loop,
 * after the step is committed or has failed, and within its deadline. Past the
 * deadline (STORE_TIMEOUT), after a lost connection (STORE_ANSWER_LOST) and
 * where the store was closed meanwhile (STORE_CLOSED) it may have happened or
 * not, and with STORE_NOT_REPLICATED it has; after every other failure it has
 * not. enqueue, complete, cron_fire and stats_flush may be repeated as they
 * are.
 *
 * A store that is nearly full (80 % of Redis's maxmemory, 90 % of the map)
 * takes no new tasks (STORE_NEARLY_FULL): the rest is for those it has.
 *
 * Operations of one turn of the loop are gathered: one transaction, one write
 * to the socket. They are applied in the order they were asked for within each
 * of two groups: tasks and cron; all others.
 *
 * A store is used by its loop's thread alone. A process may have several of one
 * URL, on threads with a loop each; those of one LMDB path share what they have
 * open, as the options of the first say (limits of a single call are each
 * one's own). What is under way, and a connection to Redis, keeps loop_run()
 * going. A process that has a store open must not fork without an exec.
 */
#pragma once
#include "loop/loop.h"
#include "store/store_types.h"

struct store;

enum store_durability {
	STORE_NORMAL,  /* consistent after a power loss; may lose the last step
			*/
	STORE_DURABLE, /* nothing that was answered is lost */
	STORE_FAST,    /* survives any process, not a power loss */
};

struct store_options {
	const char *prefix;               /* NULL: "muster" */
	enum store_durability durability; /* LMDB: Redis has its own settings */
	const char *volatile_path;        /* LMDB: a directory; NULL: found */
	uint64_t map_bytes;   /* LMDB: the most tasks may take; 0: 64 GiB */
	uint64_t cache_bytes; /* LMDB: the most the cache may take; 0: found */
	uint64_t cache_entries;      /* LMDB: 0: no limit */
	uint32_t timeout_ms;         /* of an operation; 0: 5000 */
	uint32_t envelope_bytes_max; /* 0: 1 MiB */
	uint32_t result_bytes_max;   /* 0: 64 KiB */
	uint32_t key_bytes_max;      /* of the cache; 0: 1024 */
	uint32_t value_bytes_max;    /* of the cache; 0: 1 MiB */
	uint64_t done_count;         /* completions that are remembered; */
	uint64_t done_ms;            /* 0: 100,000, and a day */
	uint64_t dead_count;         /* tasks that are kept though given up; */
	uint64_t dead_ms;            /* 0: 10,000, and 90 days */
	/* Redis: enqueue, complete and cron_fire are answered once that many
	 * replicas have them, too; 0: at once. Where they have not after
	 * wait_ms (0: 1000, or half of timeout_ms) the call fails though it was
	 * made (STORE_NOT_REPLICATED). Redis does not promise that the replica
	 * that takes over is one of those. */
	uint32_t wait_replicas;
	uint32_t wait_ms;
	bool waits_for_none; /* Redis: whatever the URL says. For who asks for
				nothing of that kind, and has little time */
};

typedef void (*store_answer_fn)(void *owner, const struct store_answer *answer);
typedef void (*store_closed_fn)(void *owner);

/*
 * LMDB: the store is open afterwards, or *problem says why not. Redis: only
 * the URL is checked; what is asked before the connection is up waits for it,
 * and where the server is refused (its version, the password) fails with the
 * same problem that store_ready() tells. NULL with *problem filled.
 */
struct store *store_open(struct loop *loop, const char *url,
			 const struct store_options *options,
			 struct problem *problem);
/* What is under way fails with -ECANCELED before this returns. */
void store_close(struct store *store, store_closed_fn on_closed, void *owner);

/* Answers when the back end can be used, or with why it cannot. */
void store_ready(struct store *store, store_answer_fn on_answer, void *owner);

/* The answers that `owner` still waits for will not be given. What was asked
 * for may happen or not; tasks that are claimed meanwhile are given back. */
void store_forget(struct store *store, const void *owner);

/* Everything a back end can do: its name, and what it is about. The request of
 * store_enqueue() is a struct store_enqueue, and so on. */
#define STORE_OPERATIONS(OP)                                                   \
	OP(ENQUEUE, enqueue)                                                   \
	OP(CLAIM, claim)                                                       \
	OP(HEARTBEAT, heartbeat)                                               \
	OP(COMPLETE, complete)                                                 \
	OP(FAIL, fail)                                                         \
	OP(RELEASE, release)                                                   \
	OP(CANCEL, cancel)                                                     \
	OP(REAP_OWNER, reap_owner)                                             \
	OP(RETRY_DEAD, retry_dead)                                             \
	OP(REMOVE, remove)                                                     \
	OP(PROGRESS, progress)                                                 \
	OP(ADOPT_QUEUE, adopt_queue)                                           \
	OP(AUDIT, audit)                                                       \
	OP(SHOW, show)                                                         \
	OP(LIST, list)                                                         \
	OP(COUNTS, counts)                                                     \
	OP(PAUSE, pause)                                                       \
	OP(LIMITS, limits)                                                     \
	OP(EVENTS, events)                                                     \
	OP(CRON_FIRE, cron_fire)                                               \
	OP(WAIT, wait)                                                         \
	OP(PEER_PING, peer_ping)                                               \
	OP(PEER_LIST, peer_list)                                               \
	OP(PEER_DOWN, peer_down)                                               \
	OP(PEER_LEAVE, peer_leave)                                             \
	OP(NAME_TAKE, name_take)                                               \
	OP(NAME_FREE, name_free)                                               \
	OP(STATS_FLUSH, stats_flush)                                           \
	OP(STATS_READ, stats_read)                                             \
	OP(ROOM_CREATE, room_create)                                           \
	OP(ROOM_DESTROY, room_destroy)                                         \
	OP(ROOM_LIST, room_list)                                               \
	OP(ROOM_JOIN, room_join)                                               \
	OP(ROOM_LEAVE, room_leave)                                             \
	OP(ROOM_MEMBERS, room_members)                                         \
	OP(ROOM_SAY, room_say)                                                 \
	OP(ROOM_REAP, room_reap)                                               \
	OP(WEB_PUSH, web_push)                                                 \
	OP(WEB_VISIT, web_visit)                                               \
	OP(CACHE_SAVE, cache_save)                                             \
	OP(CACHE_LOAD, cache_load)                                             \
	OP(CACHE_DESTROY, cache_destroy)                                       \
	OP(CACHE_KEYS, cache_keys)                                             \
	OP(CACHE_SIZE, cache_size)                                             \
	OP(CACHE_CLEAR, cache_clear)                                           \
	OP(CACHE_PUSH, cache_push)                                             \
	OP(CACHE_POP, cache_pop)                                               \
	OP(CACHE_LENGTH, cache_length)                                         \
	OP(CACHE_ADD, cache_add)                                               \
	OP(CACHE_LOCK, cache_lock)                                             \
	OP(CACHE_UNLOCK, cache_unlock)                                         \
	OP(CACHE_EXPIRE, cache_expire)                                         \
	OP(CACHE_EXPORT, cache_export)                                         \
	OP(CACHE_IMPORT, cache_import)                                         \
	OP(LOG_READ, log_read)

#define STORE_DECLARE(NAME, name)                                              \
	void store_##name(struct store *store,                                 \
			  const struct store_##name *request,                  \
			  store_answer_fn on_answer, void *owner);
STORE_OPERATIONS(STORE_DECLARE)
#undef STORE_DECLARE

const char *store_event_name(enum store_event_kind kind);

/*
 * The cache's answer at once, where the back end has it at hand (LMDB):
 * STORE_DONE with answer->cache filled, good until the caller returns to the
 * loop; STORE_NOT_FOUND. Else STORE_BUSY: ask store_cache_load(). It sees what
 * has been answered, not what is under way.
 */
enum store_result store_cache_peek(struct store *store,
				   const struct store_cache_load *request,
				   struct store_answer *answer);
