#include "cluster/board.h"

#include <errno.h>
#include <fcntl.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/must.h"

static struct board *map(int descriptor)
{
	void *memory = mmap(NULL, sizeof(struct board), PROT_READ | PROT_WRITE,
			    MAP_SHARED, descriptor, 0);

	return memory == MAP_FAILED ? NULL : memory;
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

uint64_t board_sum(const struct board *board, size_t meter)
{
	uint32_t used = atomic_load(&board->berths_used);
	uint64_t sum = 0;

	MUST(meter < METERS);
	for (uint32_t i = 0; i < used && i < BOARD_BERTHS; i++)
		sum += meter_get(board->meters[i], meter);
	return sum;
}
