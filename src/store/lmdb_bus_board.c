#include "store/lmdb_bus_board.h"

#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <unistd.h>

#include "base/mem.h"
#include "base/must.h"

#define NAME_BYTES 136
#define HASHES     472 /* makes a slot 4,096 bytes */
#define REMOVED    1   /* no hash is 0, free, or 1 */

struct bus_slot {
	_Atomic uint32_t takes_all;
	uint32_t pid;
	char id[NAME_BYTES]; /* for people who look */
	char nonce[NAME_BYTES];
	uint64_t room[5];
	_Atomic uint64_t hashes[HASHES]; /* open addressing */
};

/* Version 1 of all that the processes of a host say to each other here. The
 * page of a slot is looked at only while it has a life: to look at a hole in
 * the file would be to fill it. */
struct bus_memory {
	_Atomic uint32_t changes;
	uint32_t unused;
	_Atomic uint64_t lives[BUS_SLOTS]; /* 0: nobody has joined here */
	char room[4096 - 8 - 8 * BUS_SLOTS];
	struct bus_slot slots[BUS_SLOTS];
};

struct bus_board {
	struct bus_memory *memory;
	char *directory;
	int descriptor;
	unsigned own; /* BUS_SLOTS: none */
	unsigned hash_count;
};

_Static_assert(sizeof(struct bus_slot) == 4096, "a page for each");

/* ---- locks ---- */

static bool lock(const struct bus_board *board, unsigned slot, short type)
{
	struct flock what = {
		.l_type = type,
		.l_whence = SEEK_SET,
		.l_start = (off_t)slot,
		.l_len = 1,
	};

	return fcntl(board->descriptor, F_OFD_SETLK, &what) == 0;
}

static void clear(struct bus_board *board, unsigned number)
{
	MUST(board->memory != NULL);
	struct bus_slot *slot = &board->memory->slots[number];

	board->memory->lives[number] = 0;
	slot->takes_all = 0;
	for (size_t i = 0; i < HASHES; i++)
		slot->hashes[i] = 0;
}

/* A page that the file has no room for would be a SIGBUS. */
static int reserve(const struct bus_board *board, unsigned slot)
{
	off_t start = (off_t)offsetof(struct bus_memory, slots) +
		      (off_t)slot * (off_t)sizeof(struct bus_slot);

	return -posix_fallocate(board->descriptor, start,
				sizeof(struct bus_slot));
}

static int take_slot(struct bus_board *board)
{
	for (unsigned i = 0; i < BUS_SLOTS; i++) {
		if (!lock(board, i, F_WRLCK))
			continue;
		int error = reserve(board, i);

		if (error < 0)
			return error;
		board->own = i;
		clear(board, i);
		return 0;
	}
	return -EUSERS;
}

/* ---- opening ---- */

static int map(struct bus_board *board, const char *directory)
{
	size_t bytes = sizeof(struct bus_memory);
	char *path = mem_format("%s/bus.1", directory);

	board->descriptor = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	free(path);
	if (board->descriptor < 0)
		return -errno;
	int error = -posix_fallocate(board->descriptor, 0,
				     offsetof(struct bus_memory, slots));

	if (error < 0)
		return error;
	/* Longer, with holes; as long as it is where others were first. */
	if (ftruncate(board->descriptor, (off_t)bytes) < 0)
		return -errno;
	board->memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED,
			     board->descriptor, 0);
	if (board->memory == MAP_FAILED) {
		board->memory = NULL;
		return -errno;
	}
	return 0;
}

struct bus_board *bus_board_open(const char *directory, const char *id,
				 const char *nonce, struct problem *problem)
{
	struct bus_board *board = mem_zalloc(sizeof(*board));

	board->descriptor = -1;
	board->own = BUS_SLOTS;
	board->directory = mem_text(directory);
	int error = map(board, directory);

	if (error == 0)
		error = take_slot(board);
	if (error == 0) {
		struct bus_slot *slot = &board->memory->slots[board->own];

		slot->pid = (uint32_t)getpid();
		strncpy(slot->id, id, NAME_BYTES - 1);
		strncpy(slot->nonce, nonce, NAME_BYTES - 1);
		for (unsigned i = 0; i < BUS_SLOTS; i++)
			DISCARD(bus_board_bury(board, i)); /* most live */
		return board;
	}
	bus_board_close(board);
	if (error == -EUSERS)
		problem_set(problem, error, "BUS_FULL",
			    "%d processes have joined the bus in %s, and no "
			    "more can (start fewer, or use Redis)",
			    BUS_SLOTS, directory);
	else
		problem_set(problem, error, "BUS_FAILED",
			    "cannot join the bus in %s: %s", directory,
			    strerror(-error));
	return NULL;
}

void bus_board_close(struct bus_board *board)
{
	if (board == NULL)
		return;
	if (board->own < BUS_SLOTS) {
		clear(board, board->own);
		board->memory->changes++;
	}
	if (board->memory != NULL)
		munmap(board->memory, sizeof(*board->memory));
	if (board->descriptor >= 0)
		close(board->descriptor); /* and with it the lock */
	free(board->directory);
	free(board);
}

unsigned bus_board_own(const struct bus_board *board)
{
	return board->own;
}

void bus_board_appear(struct bus_board *board)
{
	uint64_t life;

	do
		MUST(getrandom(&life, sizeof(life), 0) == sizeof(life));
	while (life == 0);
	board->memory->lives[board->own] = life;
	board->memory->changes++;
}

/* ---- others ---- */

uint32_t bus_board_changes(const struct bus_board *board)
{
	return board->memory->changes;
}

uint64_t bus_board_life(const struct bus_board *board, unsigned slot)
{
	return board->memory->lives[slot];
}

bool bus_board_bury(struct bus_board *board, unsigned number)
{
	bool is_empty = board->memory->lives[number] == 0;

	if (number == board->own || is_empty)
		return is_empty;
	if (!lock(board, number, F_WRLCK))
		return false; /* it lives */
	char *path = mem_format("%s/bus-%u", board->directory, number);

	DISCARD(unlink(path)); /* it may have died before it was there */
	free(path);
	clear(board, number);
	board->memory->changes++;
	lock(board, number, F_UNLCK);
	return true;
}

/* ---- channels ---- */

void bus_board_subscribe(struct bus_board *board, uint64_t hash)
{
	struct bus_slot *slot = &board->memory->slots[board->own];

	/* Half empty, so that who looks for what is not there finds that out
	 * soon. Beyond, it gets everything, and drops what it does not want. */
	if (++board->hash_count > HASHES / 2) {
		slot->takes_all = 1;
		return;
	}
	size_t at = hash % HASHES;

	while (slot->hashes[at] > REMOVED)
		at = (at + 1) % HASHES;
	slot->hashes[at] = hash;
}

void bus_board_unsubscribe(struct bus_board *board, uint64_t hash)
{
	struct bus_slot *slot = &board->memory->slots[board->own];
	size_t at = hash % HASHES;

	board->hash_count--;
	/* What did not find room is not there, now as before. */
	for (size_t i = 0; i < HASHES && slot->hashes[at] != hash; i++)
		at = (at + 1) % HASHES;
	if (slot->hashes[at] != hash)
		return;
	slot->hashes[at] = REMOVED;
	/* Behind the last of a row nobody looks on. */
	while (slot->hashes[at] == REMOVED &&
	       slot->hashes[(at + 1) % HASHES] == 0) {
		slot->hashes[at] = 0;
		at = (at + HASHES - 1) % HASHES;
	}
}

bool bus_board_is_subscribed(const struct bus_board *board, unsigned number,
			     uint64_t hash)
{
	const struct bus_slot *slot = &board->memory->slots[number];
	size_t at = hash % HASHES;

	if (slot->takes_all != 0)
		return true;
	for (size_t i = 0; i < HASHES; i++) {
		uint64_t found = slot->hashes[at];

		if (found == hash)
			return true;
		if (found == 0)
			return false;
		at = (at + 1) % HASHES;
	}
	return false;
}
