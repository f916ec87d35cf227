#include "cluster/board.h"

#include <errno.h>
#include <fcntl.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/must.h"

static struct board *map(int descriptor)
{
	void *memory = mmap(NULL, sizeof(struct board), PROT_READ | PROT_WRITE,
			    MAP_SHARED, descriptor, 0);

	if (memory == MAP_FAILED)
		return NULL;
	struct board *board = memory;

	/* Only a kernel without core dumps does not know that. */
	DISCARD(madvise(&board->keys,
			sizeof(*board) - offsetof(struct board, keys),
			MADV_DONTDUMP));
	return board;
}

struct board *board_new(int *descriptor)
{
	*descriptor =
		memfd_create("muster-board", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	MUST(*descriptor >= 0);
	MUST(ftruncate(*descriptor, sizeof(struct board)) == 0);
	/* Nobody may take pages away from under the others. */
	MUST(fcntl(*descriptor, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW) == 0);
	struct board *board = map(*descriptor);

	MUST(board != NULL);
	return board;
}

struct board *board_map(int descriptor)
{
	struct stat status;

	if (fstat(descriptor, &status) < 0)
		return NULL;
	if (status.st_size != sizeof(struct board)) {
		errno = EPROTO;
		return NULL;
	}
	return map(descriptor);
}

void board_free(struct board *board)
{
	if (board != NULL)
		munmap(board, sizeof(*board));
}

/* The place of a key; that of the next one is where nobody looks. */
static uint32_t place(uint32_t number)
{
	return number % BOARD_KEYS;
}

void board_make_key(struct board *board)
{
	struct board_keys *keys = &board->keys;
	uint32_t made = atomic_load(&keys->made);
	struct board_key *key = &keys->list[place(made)];

	MUST(getrandom(key, sizeof(*key), 0) == sizeof(*key));
	atomic_store(&keys->made, made + 1);
}

bool board_find_key(const struct board *board, unsigned age,
		    struct board_key *key)
{
	const struct board_keys *keys = &board->keys;
	uint32_t made = atomic_load(&keys->made);

	if (age >= BOARD_KEY_AGES || age >= made)
		return false;
	*key = keys->list[place(made - 1 - age)];
	return true;
}

uint64_t board_sum(const struct board *board, size_t meter)
{
	uint32_t used = atomic_load(&board->berths_used);
	uint64_t sum = 0;

	MUST(meter < METERS);
	for (uint32_t i = 0; i < used && i < BOARD_BERTHS; i++)
		sum += meter_get(board->meters[i], meter);
	return sum;
}
