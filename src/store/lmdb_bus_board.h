/*
 * lmdb_bus_board - who of this host has joined the bus, and what for: a page
 * of memory for each, in the volatile directory, that all of them share.
 *
 * A slot belongs to whoever holds the lock on its byte of the file (an open
 * file description's, fcntl(2)), which the kernel takes back at death: so a
 * slot whose lock can be had is nobody's, whatever is in it. Each holder has a
 * number of its own (`life`), by which one who came after another is known.
 *
 * Who subscribes writes the channel's hash into its own slot; who publishes
 * looks there: what is published after a subscription is seen to be for it,
 * without a message between the two. A slot's page is written by its holder
 * alone, or by who has found it dead and holds its lock.
 */
#pragma once
#include <stdbool.h>
#include <stdint.h>

#include "base/problem.h"

#define BUS_SLOTS 256

struct bus_board;

/* Takes a slot. NULL with *problem filled. */
struct bus_board *bus_board_open(const char *directory, const char *id,
				 const char *nonce, struct problem *problem);
void bus_board_close(struct bus_board *board); /* NULL is fine */

unsigned bus_board_own(const struct bus_board *board);
/* From now on others may connect. */
void bus_board_appear(struct bus_board *board);

/* Changes whenever somebody came or went. */
uint32_t bus_board_changes(const struct bus_board *board);
/* 0: nobody is there. */
uint64_t bus_board_life(const struct bus_board *board, unsigned slot);
/* Clears the slot if its holder is dead; true: it is empty now. */
bool bus_board_bury(struct bus_board *board, unsigned slot);

void bus_board_subscribe(struct bus_board *board, uint64_t hash);
void bus_board_unsubscribe(struct bus_board *board, uint64_t hash);
/* Hashes that meet make it say yes where no is true. */
bool bus_board_is_subscribed(const struct bus_board *board, unsigned slot,
			     uint64_t hash);
