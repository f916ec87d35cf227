/*
 * board - the memory that a primary and its workers share.
 *
 * A page or so that says, without a message, how many connections each worker
 * has and which of those handed to it it has taken up. Each worker process has
 * a berth on it, other than its slot: during a reload two processes have the
 * same slot.
 *
 * A connection handed over sits in one of its worker's seats. The worker holds
 * it with one compare-and-swap before it touches the socket, and then says
 * whether it took or refused it; the primary revokes it with another, to give
 * it to somebody else. Exactly one of them wins. A seat is used again and
 * again: its turn tells one use from the next, so a frame that a stopped worker
 * reads late cannot claim a newer connection.
 *
 * Behind the berths are keys for the tickets of TLS sessions, which the primary
 * makes and the workers share (docs/decisions/0021-tls-tickets.md): a key is
 * written before it is counted, into a place where nobody looks.
 *
 * Workers are trusted no further than their own berth: what the primary reads
 * here it uses as a number within bounds, never as an index.
 */
#pragma once
#include <stdalign.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/meters.h"

#define BOARD_BERTHS 1056 /* 1,024 workers, and room for a reload */
#define BOARD_SEATS  128  /* connections handed over and not taken up */
#define BOARD_LANES  32   /* listeners of a worker */

#define BOARD_KEYS     4 /* one more than are looked at */
#define BOARD_KEY_AGES (BOARD_KEYS - 1)
#define BOARD_PAGE     4096

enum seat_state {
	SEAT_EMPTY,
	SEAT_GIVEN,   /* by the primary */
	SEAT_HELD,    /* by the worker, which is making up its mind */
	SEAT_TAKEN,   /* by the worker: the primary's copy may go */
	SEAT_REFUSED, /* by the worker: for somebody else */
	SEAT_REVOKED, /* by the primary */
};

struct board_berth {
	/* Is the primary waiting for news? Set by it, cleared by the worker,
	 * which then sends WAKE. */
	_Atomic uint32_t wants_wake;
	/* Open connections that the worker accepted by itself. */
	_Atomic uint32_t accepted;
	/* Does it accept by itself? Then it counts for the mean. */
	_Atomic uint32_t is_accepting;
	/* Connections closed, by lane: only ever up. */
	_Atomic uint32_t closed[BOARD_LANES];
	_Atomic uint32_t seats[BOARD_SEATS]; /* turn << 3 | enum seat_state */
};

struct board_key {
	uint8_t name[16];
	uint8_t cipher[32]; /* AES-256 */
	uint8_t mac[32];    /* HMAC-SHA-256 */
};

/* On a page of its own, which no core dump gets. */
struct board_keys {
	_Atomic uint32_t made; /* ever; the last is at (made - 1) % 4 */
	struct board_key list[BOARD_KEYS];
};

struct board {
	_Atomic uint32_t berths_used; /* those below may be in use */
	struct board_berth berths[BOARD_BERTHS];
	/* Each berth's; a worker's successor goes on with its counters. */
	meter_value meters[BOARD_BERTHS][METERS];
	alignas(BOARD_PAGE) struct board_keys keys;
};

/* The primary's: makes it; `descriptor` is a sealed memfd to pass on. */
struct board *board_new(int *descriptor);
/* A worker's: maps what it was passed. NULL with errno set. */
struct board *board_map(int descriptor);
void board_free(struct board *board); /* NULL is fine */

/* Of all workers there are, and there were. */
uint64_t board_sum(const struct board *board, size_t meter);

/* The primary's: from now on this is the key, and the oldest is gone. */
void board_make_key(struct board *board);
/* Age 0 is the newest; false: there is none that old. */
bool board_find_key(const struct board *board, unsigned age,
		    struct board_key *key);

static inline uint32_t seat_word(uint32_t turn, enum seat_state state)
{
	return turn << 3 | (uint32_t)state;
}

static inline enum seat_state seat_state(uint32_t word)
{
	return (enum seat_state)(word & 7);
}

/* Moves a seat from GIVEN in this turn; false: the other side was first. */
static inline bool seat_move(_Atomic uint32_t *seat, uint32_t turn,
			     enum seat_state to)
{
	uint32_t expected = seat_word(turn, SEAT_GIVEN);

	return atomic_compare_exchange_strong(seat, &expected,
					      seat_word(turn, to));
}
