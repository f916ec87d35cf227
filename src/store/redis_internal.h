/*
 * What the files of the Redis back end share.
 *
 * hiredis parses what comes and nothing else; the bytes go over streams of our
 * loop. A call becomes a command: its bytes are kept until it is answered, so
 * that it can be sent again, to another node or after a reconnect. What must
 * not happen twice is not repeated once it was sent (is_repeatable).
 */
#pragma once
#include <hiredis/hiredis.h>
#include <sys/socket.h>

#include "base/buffer.h"
#include "store/store_internal.h"

/* Each is scripts/NAME.lua. */
#define REDIS_SCRIPTS(SCRIPT)                                                  \
	SCRIPT(enqueue)                                                        \
	SCRIPT(claim)                                                          \
	SCRIPT(promote)                                                        \
	SCRIPT(heartbeat)                                                      \
	SCRIPT(progress)                                                       \
	SCRIPT(adopt)                                                          \
	SCRIPT(audit)                                                          \
	SCRIPT(outbox_stage)                                                   \
	SCRIPT(outbox_apply)                                                   \
	SCRIPT(outbox_done)                                                    \
	SCRIPT(events)                                                         \
	SCRIPT(complete)                                                       \
	SCRIPT(fail)                                                           \
	SCRIPT(release)                                                        \
	SCRIPT(cancel)                                                         \
	SCRIPT(reap_owner)                                                     \
	SCRIPT(retry_dead)                                                     \
	SCRIPT(remove)                                                         \
	SCRIPT(list)                                                           \
	SCRIPT(counts)                                                         \
	SCRIPT(control)                                                        \
	SCRIPT(cron_fire)                                                      \
	SCRIPT(peer_ping)                                                      \
	SCRIPT(peer_list)                                                      \
	SCRIPT(peer_remove)                                                    \
	SCRIPT(name_take)                                                      \
	SCRIPT(name_free)                                                      \
	SCRIPT(stats_flush)                                                    \
	SCRIPT(room_create)                                                    \
	SCRIPT(room_destroy)                                                   \
	SCRIPT(room_list)                                                      \
	SCRIPT(room_join)                                                      \
	SCRIPT(room_leave)                                                     \
	SCRIPT(room_members)                                                   \
	SCRIPT(room_say)                                                       \
	SCRIPT(room_reap)                                                      \
	SCRIPT(web_push)                                                       \
	SCRIPT(web_visit)                                                      \
	SCRIPT(cache_save)                                                     \
	SCRIPT(cache_slide)                                                    \
	SCRIPT(cache_touch)                                                    \
	SCRIPT(cache_destroy)                                                  \
	SCRIPT(cache_push)                                                     \
	SCRIPT(cache_add)                                                      \
	SCRIPT(cache_expire)                                                   \
	SCRIPT(cache_export)                                                   \
	SCRIPT(cache_import)                                                   \
	SCRIPT(cache_lock)                                                     \
	SCRIPT(cache_unlock)                                                   \
	SCRIPT(bus_publish)                                                    \
	SCRIPT(bus_log)

enum redis_script {
#define REDIS_SCRIPT_NUMBER(name) SCRIPT_##name,
	REDIS_SCRIPTS(REDIS_SCRIPT_NUMBER)
#undef REDIS_SCRIPT_NUMBER
		SCRIPTS
};

struct redis;
struct redis_connection;
struct redis_command;

/* The reply is never an error, unless the command takes those itself. It
 * finishes command->call, or hands it to another command. */
typedef void (*redis_reply_fn)(struct redis *redis,
			       struct redis_command *command,
			       const redisReply *reply);

struct redis_command {
	struct list link;
	struct redis *redis;
	struct store_call *call; /* NULL: our own, or nobody waits any more */
	redis_reply_fn on_reply; /* NULL: the reply does not matter */
	int script;              /* -1: none */
	unsigned tries;
	bool is_repeatable;
	bool takes_errors;
	bool is_sent;
	bool is_blocking; /* BLPOP: over a connection of its own */
	struct redis_connection *connection; /* that it was last given to */
	int node; /* cluster: this one, whatever the slot; -1 */
	unsigned slot;
	unsigned arguments;
	uint64_t detail; /* the reply function's own */
	/* Several commands in one: their bytes as they are sent, with replies
	 * to be awaited after the next one. */
	bool is_bundle;
	unsigned more_replies;
	void *bundle;
	void (*on_dropped)(struct redis_command *command); /* it is freed */
	bool must_replicate;
	redisReply *reply; /* that is kept until it has */
	struct buffer bytes;
};

enum redis_state {
	REDIS_IDLE,
	REDIS_RESOLVING,
	REDIS_GREETING, /* connecting, then the first questions */
	REDIS_READY,
	REDIS_PAUSING, /* until it tries again */
};

struct stream;
struct tls_context;
struct timer;
struct resolve;

/* A server, as one connection sees it. */
struct redis_address {
	char *path; /* a unix socket; else host and port */
	char *host;
	uint16_t port;
};

enum redis_purpose {
	REDIS_MAIN,
	REDIS_BLOCKING, /* waits in BLPOP */
	REDIS_SENTINEL, /* no store: asked for one */
	REDIS_BUS,      /* subscribes: is told, and answers nothing */
};

/* What a connection has sent and has to be on replicas, too. */
struct redis_replicas {
	struct list held; /* answered, but for that */
	bool is_owed;     /* something was sent after the last WAIT */
	bool is_waiting;
	bool is_marked;
};

struct redis_connection {
	struct redis *redis;
	enum redis_purpose purpose;
	enum redis_state state;
	struct redis_address address;
	struct stream *stream;
	redisReader *reader;
	struct resolve *resolve;
	struct timer *timer;
	struct list waiting; /* to be sent, in order */
	struct list sent;    /* to be answered, in order */
	struct redis_replicas replicas;
	struct loop_task flush;
	unsigned gathered; /* in this turn, and not written yet */
	bool is_full;      /* the socket takes no more for now */
	bool was_ready;    /* once, at least */
	bool has_heard;    /* anything from this server, over this stream */
	unsigned greetings;
	unsigned failures; /* in a row */
	uint64_t heard_ms;
	struct problem problem; /* why it is refused; code 0: it is not */
	char client_id[24];
};

#define REDIS_NODES_MAX 128
#define REDIS_SLOTS     16384

struct redis_waits;
struct redis_locks;
struct redis_sentinels;
struct redis_bus;

/* Of the server that has the tasks, when it was last asked. */
struct redis_memory {
	bool is_nearly_full;
	bool is_asking;
	uint64_t asked_ms;
	uint64_t left_bytes; /* until it is */
	uint64_t sent_bytes; /* since then */
};

struct redis {
	struct store *store;
	struct store_url url;    /* with what it points to */
	struct tls_context *tls; /* NULL: without */
	bool is_cluster;
	struct redis_connection *main;
	struct redis_connection *blocking; /* opened when something waits */
	struct redis_connection *nodes[REDIS_NODES_MAX];
	size_t node_count;
	int16_t slots[REDIS_SLOTS]; /* the node of each; -1: not known */
	struct redis_waits *waits;
	struct redis_locks *locks;
	struct redis_sentinels *sentinels;
	struct list pausing; /* commands that are tried again in a while */
	struct timer *again;
	struct list ready; /* who wants to know when it can be used */
	struct list refused;
	struct loop_task refuse;
	bool is_closing;
	struct loop_task say_ready;
	int blocking_node;     /* cluster */
	bool has_slots;        /* cluster: who has what is known */
	bool is_asking_slots;  /* cluster */
	bool has_no_shards;    /* cluster: an older server, without SPUBLISH */
	struct redis_bus *bus; /* NULL: not joined */
	uint64_t claims;
	uint64_t seed;
	struct redis_memory memory;
	uint32_t wait_replicas; /* 0: answers do not wait for any */
	uint32_t wait_ms;
};

/* ---- redis_connection.c ---- */

struct redis_connection *redis_connection_open(struct redis *redis,
					       enum redis_purpose purpose,
					       const struct redis_address *at);
/* What it holds fails; NULL is fine. */
void redis_connection_close(struct redis_connection *connection);
void redis_connection_send(struct redis_connection *connection,
			   struct redis_command *command);
/* Drops the connection, and tries again. */
void redis_connection_lose(struct redis_connection *connection);
/* Sentinel has said where. */
void redis_connection_go(struct redis_connection *connection, const char *host,
			 uint16_t port);
void redis_connection_start(struct redis_connection *connection);
/* From now on another server's. */
void redis_connection_turn(struct redis_connection *connection,
			   const struct redis_address *at);
/* At once, past those that wait; its replies are the purpose's affair. Frees
 * the command. */
void redis_connection_say(struct redis_connection *connection,
			  struct redis_command *command);
/* If it pauses before it tries again: the server can be reached. */
void redis_connection_hurry(struct redis_connection *connection);
/* It owes an answer: lost, if it has not been heard of for long. */
void redis_connection_suspect(struct redis_connection *connection);

/* ---- redis.c ---- */

void redis_send(struct redis *redis, struct redis_command *command);
/* The connection can be used, or is refused (its problem). */
void redis_is_ready(struct redis *redis, struct redis_connection *connection);
void redis_is_refused(struct redis *redis, struct redis_connection *connection);
/* An error that is the command's, not the connection's. */
void redis_command_failed(struct redis_command *command, const char *text);
void redis_command_lost(struct redis_command *command);
/* Tries it again in a while. */
void redis_command_later(struct redis_command *command);
/* Its call has failed already. */
void redis_fail_later(struct redis *redis, struct redis_command *command);
uint64_t redis_random(struct redis *redis);
void redis_cluster_known(struct redis *redis);

/* ---- redis_command.c ---- */

struct redis_command *redis_command_new(struct redis *redis,
					struct store_call *call,
					redis_reply_fn on_reply);
void redis_command_free(struct redis_command *command);
void redis_argument(struct redis_command *command, const void *bytes,
		    size_t length);
void redis_text(struct redis_command *command, const char *text);
void redis_bytes(struct redis_command *command, struct store_bytes bytes);
void redis_number(struct redis_command *command, uint64_t number);
void redis_integer(struct redis_command *command, int64_t number);
/* The first key decides where it goes. */
void redis_key(struct redis_command *command, struct store_bytes key);
/* EVALSHA with that many keys; keys and arguments follow. */
void redis_script(struct redis_command *command, enum redis_script script,
		  size_t keys);
/* All of it, as it is sent. */
struct store_bytes redis_command_bytes(struct redis_command *command);

/* ---- redis_scripts.c ---- */

const char *redis_script_sha(enum redis_script script);
const char *redis_script_text(enum redis_script script);

/* ---- redis_keys.c: the names of contract 8 ---- */

/* In the command's memory, which is the call's arena or a buffer of its own. */
void redis_key_tasks(struct redis_command *command, const char *what);
void redis_key_owned(struct redis_command *command, struct store_bytes owner);
void redis_key_queue(struct redis_command *command, struct store_bytes queue,
		     unsigned priority);
void redis_key_wake(struct redis_command *command, struct store_bytes queue);
void redis_key_plain(struct redis_command *command, const char *what);
void redis_key_cache(struct redis_command *command, const char *table,
		     struct store_bytes key);
void redis_key_fence(struct redis_command *command, struct store_bytes key);
void redis_cache_pattern(const struct redis *redis, const char *table,
			 struct store_bytes prefix, struct buffer *pattern);
/* The key of the cache that a name stands for; false: it is none. */
bool redis_cache_unname(const struct redis *redis, struct arena *arena,
			struct store_bytes name, struct store_bytes *key);
unsigned redis_slot(struct store_bytes key);
unsigned redis_tasks_slot(const struct redis *redis); /* all have one */
/* The queue a wake list belongs to; false: it is none. */
bool redis_wake_unname(const struct redis *redis, struct store_bytes name,
		       struct store_bytes *queue);

/* ---- replies ---- */

static inline struct store_bytes redis_reply_bytes(const redisReply *reply)
{
	if (reply->type != REDIS_REPLY_STRING &&
	    reply->type != REDIS_REPLY_STATUS)
		return (struct store_bytes){ "", 0 };
	return (struct store_bytes){ reply->str, (size_t)reply->len };
}

int64_t redis_reply_integer(const redisReply *reply);
const redisReply *redis_reply_at(const redisReply *reply, size_t i);
size_t redis_reply_count(const redisReply *reply);
/* The answer is not what the script gives: a server that is none. */
void redis_reply_odd(struct redis_command *command);
/* Finishes the command's call, if it has one, and frees the command. */
void redis_finish(struct redis_command *command);

/* ---- operations ---- */

void redis_submit_tasks(struct redis *redis, struct store_call *call);
void redis_submit_show(struct redis *redis, struct store_call *call);
void redis_submit_peers(struct redis *redis, struct store_call *call);
void redis_submit_rooms(struct redis *redis, struct store_call *call);
void redis_submit_cache(struct redis *redis, struct store_call *call);
void redis_adopt_queue(struct redis *redis, struct store_call *call);
void redis_audit(struct redis *redis, struct store_call *call);
/* How the outbox of a Cluster has a completion written: by what name the
 * effects of item i were staged, and for which keys. */
struct redis_outbox;
void redis_complete(struct redis *redis, struct store_call *call,
		    struct redis_outbox *outbox, redis_reply_fn on_reply);

/* ---- redis_outbox.c: effects on the cache of a Cluster's completions ---- */

void redis_outbox_complete(struct redis *redis, struct store_call *call);
struct store_bytes redis_outbox_entry(const struct redis_outbox *outbox,
				      size_t item);
/* What others left undone: id, entry of each. */
void redis_outbox_take(struct redis *redis, const redisReply *left);
extern const char *const redis_effect_kinds[];

/* After that the claim's own reply is answered. */
void redis_promote(struct redis *redis, const redisReply *strays);

struct redis_queues {
	struct store_bytes names[STORE_BATCH_MAX + STORE_QUEUES_MAX];
	size_t count;
};
size_t redis_queue_index(struct redis_queues *queues, struct store_bytes name);
size_t redis_queue_keys(const struct redis_queues *queues);
void redis_write_queue_keys(struct redis_command *command,
			    const struct redis_queues *queues);
void redis_write_queues(struct redis_command *command,
			const struct redis_queues *queues);
unsigned redis_lists_of(struct store_bytes queue);

void redis_write_task(struct redis_command *command,
		      const struct store_task *task, size_t queue);

/* ---- redis_sentinel.c ---- */

void redis_sentinel_open(struct redis *redis);
void redis_sentinel_close(struct redis *redis);
/* Connections that are resolving get an address, or are lost. */
void redis_sentinel_ask(struct redis *redis);
void redis_sentinel_lost(struct redis *redis,
			 struct redis_connection *connection);

/* ---- redis_cluster.c ---- */

void redis_cluster_open(struct redis *redis);
/* Is it known who has what? */
bool redis_cluster_ready(struct redis *redis,
			 struct redis_connection *connection);
void redis_cluster_lost(struct redis *redis,
			struct redis_connection *connection);
struct redis_connection *
redis_cluster_route(struct redis *redis, const struct redis_command *command);
void redis_cluster_redirect(struct redis *redis, struct redis_command *command,
			    const char *text);
/* The next node that has a part of the keys. */
/* Asks whoever is there which node has what. */
void redis_cluster_ask(struct redis *redis);
bool redis_cluster_next(const struct redis *redis, int *node);

/* ---- redis_walk.c ---- */

void redis_keys(struct redis *redis, struct store_call *call);
void redis_size(struct redis *redis, struct store_call *call);
void redis_clear(struct redis *redis, struct store_call *call);

/* ---- redis_log.c ---- */

void redis_log_read(struct redis *redis, struct store_call *call);

/* ---- redis_export.c ---- */

void redis_export(struct redis *redis, struct store_call *call);
void redis_import(struct redis *redis, struct store_call *call);

/* ---- a walk over all names of the cache, with SCAN ---- */

struct redis_walk {
	struct store_bytes prefix;
	const char *table; /* "cache"; clearing goes over "lock" after it */
	int node;
	char cursor[24];
	uint64_t count;
};

struct redis_walk *redis_walk_new(struct redis *redis, struct store_call *call,
				  struct store_bytes prefix);
/* Where an earlier answer said to go on. */
void redis_walk_go(struct redis_walk *walk, struct store_bytes cursor);
struct store_bytes redis_walk_cursor(const struct redis_walk *walk,
				     struct arena *arena);
/* The walk is the command's detail. */
void redis_scan(struct redis *redis, struct store_call *call,
		struct redis_walk *walk, uint64_t count,
		redis_reply_fn on_reply);
/* The next place, from a reply; false: there is none. */
bool redis_walk_on(struct redis *redis, const struct store_call *call,
		   struct redis_walk *walk, const redisReply *reply);

/* ---- redis_lock.c ---- */

void redis_lock(struct redis *redis, struct store_call *call);
void redis_unlock(struct redis *redis, struct store_call *call);
/* False: it is not asleep, but on its way like any other. */
bool redis_lock_abandon(struct redis *redis, struct store_call *call);
void redis_locks_free(struct redis *redis);
/* ---- redis_memory.c ---- */

/* What a server says of itself. */
void redis_memory_read(struct redis *redis, const char *info);
/* Is there room for a command that adds tasks? If not it is refused. */
bool redis_memory_takes(struct redis *redis, struct redis_command *command);

/* ---- redis_replicas.c ---- */

/* Puts a WAIT after what was sent, where one is owed. */
void redis_replicas_ask(struct redis_connection *connection);
/* Takes the command and its reply over. */
void redis_replicas_hold(struct redis_connection *connection,
			 struct redis_command *command, redisReply *reply);
/* Whatever was held is to be sent again. */
void redis_replicas_lost(struct redis_connection *connection,
			 struct list *again);

/* ---- redis_wait.c ---- */

void redis_wait_start(struct redis *redis, struct store_call *call);
void redis_wait_abandon(struct redis *redis, struct store_call *call);
void redis_waits_free(struct redis *redis);
/* The blocking connection came up. */
void redis_wait_ready(struct redis *redis);

/* ---- redis_bus.c ---- */

void redis_bus_link_ready(struct redis *redis,
			  struct redis_connection *connection);
void redis_bus_link_lost(struct redis *redis,
			 struct redis_connection *connection);
void redis_bus_reply(struct redis *redis, struct redis_connection *connection,
		     const redisReply *reply);
/* Commands go to the server again. */
void redis_bus_publishing(struct redis *redis);
void redis_bus_slots_known(struct redis *redis);
/* Sentinel: the connection that may wait for an address; NULL. */
struct redis_connection *redis_bus_link(struct redis *redis);
