/*
 * roster - decides which worker is handed the next connection of a listener.
 *
 * `least`: the fewest open connections; equals take turns, so that with equal
 * workers it is round-robin. `rr`: strict turns. Either way one that is stuck
 * (did not take up what it was given), has no seat left or is at its limit is
 * passed over and keeps its turn.
 * Invariants: a berth is listed once; next < count, or both are 0. No I/O;
 * used by the primary's loop alone.
 */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <muster/cluster.h>

struct roster;

enum roster_answer {
	ROSTER_OK = 0,
	ROSTER_ALL_BUSY,    /* nobody can take one now: ask again later */
	ROSTER_ALL_REFUSED, /* everybody there is has refused this one */
};

/* What is known of a worker before a round of picks. */
struct roster_load {
	uint32_t open;      /* its connections, of all listeners */
	uint32_t open_here; /* those of this listener */
	uint32_t seats;     /* how many more may wait to be taken up */
	bool is_stuck;
};

struct roster *roster_new(enum muster_schedule schedule);
void roster_free(struct roster *roster); /* NULL is fine */
size_t roster_count(const struct roster *roster);

/* Fails with -EEXIST (listed already). limit 0: none. */
__attribute__((warn_unused_result)) int
roster_add(struct roster *roster, uint32_t berth, uint32_t limit);
void roster_remove(struct roster *roster, uint32_t berth); /* fine if absent */
/* Walks the berths: index from 0 to roster_count. */
uint32_t roster_berth(const struct roster *roster, size_t index);

void roster_set_load(struct roster *roster, uint32_t berth,
		     const struct roster_load *load);

/* Could roster_pick() succeed for a connection that nobody refused? */
bool roster_has_room(const struct roster *roster);

/* Passes over those who refused this connection. Counts it in, until the next
 * roster_set_load(). */
enum roster_answer roster_pick(struct roster *roster, const uint32_t *refusers,
			       size_t refuser_count, uint32_t *berth);
