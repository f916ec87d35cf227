/* peers_internal - what the files of peers have in common. */
#pragma once
#include "base/fiber.h"
#include "base/list.h"
#include "service/machine.h"
#include "service/peers.h"

struct store_answer;

/* What a record says, texts of its own. */
struct peers_record {
	char *host;
	char *machine;
	char *version;
	char **urls; /* ends with NULL */
	enum muster_peer_state state;
	int pid;
	uint32_t slots;
	uint64_t pid_start;
	uint64_t started_ms;
};

/* A peer as it was last seen. */
struct peers_known {
	struct list link;
	char *id;
	char *nonce;
	char *text; /* the record's, to see that it has changed */
	struct peers_record record;
	uint64_t silent_ms;
	bool is_seen;
	bool is_suspect;
	bool is_told_up;
	bool is_being_buried;
};

struct peers {
	struct muster *muster;
	struct peers_record own;
	char *prefix; /* of the name: "api-worker" */
	uint32_t ping_ms;
	uint32_t suspect_ms;
	uint32_t dead_ms;
	uint32_t number;  /* of its name; 0: had none yet */
	uint32_t refused; /* a number whose record is another's; 0 */
	uint32_t floor;   /* numbers below were refused for good */
	char lost_nonce[NODE_NONCE_BYTES]; /* the name is still under it */
	bool is_started;
	bool has_name;
	bool has_joined;    /* there is a record of this nonce */
	bool is_beating;    /* there is the fiber that pings */
	bool is_due;        /* it is to do so now */
	uint64_t heard_ms;  /* when the store last answered a ping; */
	uint64_t steady_ms; /* since when in time; by the loop's clock */
	struct fiber_wait pause;
	struct list known;
	struct list watchers;
	struct list waiters;
};

/* ---- peers.c ---- */

struct peers *peers_of(struct muster *muster);
/* Pings and looks now. */
void peers_hurry(struct peers *peers);
/* On a fiber: asks the store, and tells of what has changed. */
__attribute__((warn_unused_result)) int peers_look_now(struct peers *peers);
/* Sees to it that there is a fiber that looks. */
void peers_watch(struct peers *peers);
/* Is what looks silent silent? Not after a silence of our own. */
bool peers_is_steady(const struct peers *peers);

/* ---- peers_record.c ---- */

void peers_record_own(struct peers *peers);
void peers_record_fini(struct peers_record *record);
char *peers_record_write(const struct peers *peers); /* free() it */
/* What is not as it should be is as if it were not there. */
void peers_record_read(struct peers_record *record, const char *text,
		       size_t length);
char *peers_make_prefix(const struct muster *muster); /* free() it */

/* ---- peers_view.c ---- */

/* Takes over what the store has, and tells of what has changed. */
void peers_look(struct peers *peers, const struct store_answer *answer);
void peers_view_fini(struct peers *peers);
struct peers_known *peers_find(struct peers *peers, struct store_bytes nonce);
bool peers_is_here(const struct peers *peers,
		   const struct peers_record *record);

/* ---- peers_bury.c ---- */

/* Buries the dead among those known, each on a fiber of its own. */
void peers_bury_dead(struct peers *peers);
/* On a fiber: buries those of this machine whose process is gone, and those
 * that were silent for too long under the name that this node wants. */
__attribute__((warn_unused_result)) int peers_sweep(struct peers *peers);
