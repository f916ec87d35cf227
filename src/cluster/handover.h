/*
 * handover - connections on their way from the primary to its workers.
 *
 * A connection that was handed over stays open here until the worker has taken
 * it up; one that it refused, that it left lying, or that it died over goes to
 * another worker of the same listener. Those nobody can take wait here in
 * their order: they are few, as accepting pauses meanwhile.
 *
 * Bounded: BOARD_SEATS a worker, and one round of accepting (HANDOVER_ROUND).
 * Used by the primary's loop alone.
 */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <muster/cluster.h>

#include "cluster/board.h"
#include "cluster/channel.h"

/* How many are accepted before the loop looks at anything else. */
#define HANDOVER_ROUND 64

struct handover;
struct handover_line; /* one listener's */

/* There may be room again: ask handover_has_room(). */
typedef void (*handover_room_fn)(void *owner);

struct handover *handover_new(struct loop *loop, struct board *board);
void handover_free(struct handover *handover);

/* A worker at its berth, and its end: what it had not taken up goes to
 * others. */
void handover_join(struct handover *handover, uint32_t berth,
		   struct channel *channel);
void handover_leave(struct handover *handover, uint32_t berth);
/* WAKE: the worker changed what was waited for. */
void handover_wake(struct handover *handover, uint32_t berth);
/* Missed pings: stuck until it wakes. */
void handover_set_stuck(struct handover *handover, uint32_t berth);

struct handover_line *handover_line_open(struct handover *handover,
					 uint32_t listener,
					 enum muster_schedule schedule,
					 handover_room_fn on_room, void *owner);
/* Closes the connections that wait for a worker of this line. */
void handover_line_close(struct handover_line *line);

/* The worker at this berth takes connections of the line; `lane` counts what
 * it closes. limit 0: none. */
void handover_line_join(struct handover_line *line, uint32_t berth,
			uint32_t lane, uint32_t limit);
void handover_line_leave(struct handover_line *line, uint32_t berth);

/* Looks at the board: whoever is about to give calls it once a round. */
void handover_refresh(struct handover_line *line);
/* Can one be given? Otherwise on_room tells when it is worth asking. */
bool handover_has_room(struct handover_line *line);
/* Takes the descriptor over. It leaves with handover_send(). */
void handover_give_take(struct handover_line *line, int descriptor);
void handover_send(struct handover_line *line);

/* Connections the worker has that were handed to it, as far as is known. */
uint32_t handover_open(const struct handover *handover, uint32_t berth);
