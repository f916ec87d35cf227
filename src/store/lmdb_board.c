#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/mem.h"
#include "base/must.h"
#include "loop/watch.h"
#include "store/lmdb_internal.h"

#define SLOTS       512
#define STUCK_MS    1000
#define HOPELESS_MS 5000

/*
 * A page of memory that all who have the store open share, a slot each. A slot
 * belongs to a pid and the time it was started at, so that one who died is
 * known from one who has got his number.
 *
 * Who waits sets the bits of his queues, then looks whether there is anything;
 * who adds something commits, then looks for bits: one of the two always sees
 * the other. Whoever clears a slot's bits owes its owner a datagram.
 */
struct slot {
	_Atomic uint32_t pid; /* 0: free */
	uint32_t unused;
	_Atomic uint64_t started;
	_Atomic uint64_t waits;
	_Atomic uint64_t writing_since_ms[LANES]; /* 0: holds no lock */
	_Atomic uint64_t lock_waits;
	uint64_t room[2];
};

struct datagram {
	uint64_t queues;
	uint64_t locks;
};

struct lmdb_board {
	struct lmdb *lmdb;
	struct slot *slots;
	pthread_mutex_t mutex; /* guards is_ours and is_heard */
	bool is_ours[SLOTS];
	unsigned own;          /* says what this process's lanes do, */
	bool is_heard;         /* and is one of its stores' ear */
	_Atomic unsigned next; /* who is woken first: all in turn */
	int directory;
	int socket; /* that others are told by */
};

/* Where a store is told; its slot is the board's own one or another. */
struct lmdb_ear {
	struct lmdb_store *user;
	struct lmdb_board *board;
	unsigned slot;
	int socket;
	struct watch *watch;
};

/* In clock ticks since the boot; 0: there is no such process. */
static uint64_t start_of(uint32_t pid)
{
	char path[64];
	char text[1024];

	snprintf(path, sizeof(path), "/proc/%u/stat", pid);
	int descriptor = open(path, O_RDONLY | O_CLOEXEC);

	if (descriptor < 0)
		return 0;
	ssize_t length = read(descriptor, text, sizeof(text) - 1);

	close(descriptor);
	text[length > 0 ? length : 0] = '\0';
	/* The name, in parentheses, may contain anything; field 3 follows. */
	const char *at = strrchr(text, ')');

	for (int field = 2; at != NULL && field < 22; field++)
		at = strchr(at + 1, ' ');
	return at == NULL ? 0 : strtoull(at, NULL, 10);
}

static bool is_alive(const struct slot *slot)
{
	uint32_t pid = slot->pid;

	return pid != 0 && start_of(pid) == slot->started;
}

/* Those who open take turns: see lmdb_place_begin(). */
static int take_slot(struct lmdb_board *board, unsigned *number)
{
	MUST(board->slots != NULL);
	for (unsigned i = 0; i < SLOTS; i++) {
		struct slot *slot = &board->slots[i];
		bool is_our_pid = slot->pid == (uint32_t)getpid();

		if (is_our_pid ? board->is_ours[i] : is_alive(slot))
			continue;
		slot->waits = slot->lock_waits = 0;
		slot->writing_since_ms[LANE_TASKS] = 0;
		slot->writing_since_ms[LANE_SHARED] = 0;
		slot->started = start_of((uint32_t)getpid());
		slot->pid = (uint32_t)getpid();
		board->is_ours[i] = true;
		*number = i;
		return 0;
	}
	return -EUSERS;
}

static void leave_slot(struct lmdb_board *board, unsigned number)
{
	MUST(board->slots != NULL);
	board->is_ours[number] = false;
	board->slots[number].waits = board->slots[number].lock_waits = 0;
	board->slots[number].pid = 0;
}

static struct sockaddr_un address_of(const struct lmdb_board *board,
				     unsigned number)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };

	/* A directory's own path may be longer than an address can be. */
	snprintf(address.sun_path, sizeof(address.sun_path),
		 "/proc/self/fd/%d/wake-%u", board->directory, number);
	return address;
}

static int map(struct lmdb_board *board)
{
	size_t bytes = SLOTS * sizeof(struct slot);
	char *path = mem_format("%s/board", board->lmdb->shared_path);
	int descriptor = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	int error = descriptor < 0 ? -errno : 0;

	free(path);
	if (error < 0)
		return error;
	error = -posix_fallocate(descriptor, 0, (off_t)bytes);
	if (error == 0) {
		board->slots = mmap(NULL, bytes, PROT_READ | PROT_WRITE,
				    MAP_SHARED, descriptor, 0);
		if (board->slots == MAP_FAILED) {
			error = -errno;
			board->slots = NULL;
		}
	}
	close(descriptor);
	return error;
}

int lmdb_board_open(struct lmdb *lmdb, struct problem *problem)
{
	struct lmdb_board *board = mem_zalloc(sizeof(*board));

	board->lmdb = lmdb;
	board->directory = board->socket = -1;
	board->own = SLOTS;
	pthread_mutex_init(&board->mutex, NULL);
	lmdb->board = board;
	int error = map(board);

	if (error == 0)
		error = take_slot(board, &board->own);
	if (error == 0)
		board->directory = open(lmdb->shared_path,
					O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (error == 0)
		board->socket = socket(
			AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (error == 0 && (board->directory < 0 || board->socket < 0))
		error = -errno;
	if (error == 0)
		return 0;
	lmdb_board_close(lmdb);
	return problem_set(problem, error, "STORE_OPEN_FAILED",
			   "cannot share memory in %s: %s", lmdb->shared_path,
			   strerror(-error));
}

void lmdb_board_close(struct lmdb *lmdb)
{
	struct lmdb_board *board = lmdb->board;

	if (board == NULL)
		return;
	lmdb->board = NULL;
	if (board->own < SLOTS)
		leave_slot(board, board->own);
	if (board->socket >= 0)
		close(board->socket);
	if (board->directory >= 0)
		close(board->directory);
	if (board->slots != NULL)
		munmap(board->slots, SLOTS * sizeof(struct slot));
	pthread_mutex_destroy(&board->mutex);
	free(board);
}

/* ---- ears ---- */

static void on_datagram(void *owner)
{
	struct lmdb_ear *ear = owner;
	struct datagram some;
	struct datagram all = { 0, 0 };

	while (recv(ear->socket, &some, sizeof(some), 0) == sizeof(some)) {
		all.queues |= some.queues;
		all.locks |= some.locks;
	}
	if (all.queues != 0)
		lmdb_wait_woken(ear->user, all.queues);
	if (all.locks != 0)
		lmdb_lock_woken(ear->user, all.locks);
}

/* The board's own slot, which one store can have, or another. */
static int pick_slot(struct lmdb_ear *ear)
{
	struct lmdb_board *board = ear->board;
	bool is_own = !board->is_heard;
	int error = 0;

	if (is_own) {
		board->is_heard = true;
		ear->slot = board->own;
		return 0;
	}
	error = lmdb_place_begin(board->lmdb);
	if (error == 0)
		error = take_slot(board, &ear->slot);
	lmdb_place_opened(board->lmdb);
	return error;
}

static int open_socket(struct lmdb_ear *ear)
{
	struct sockaddr_un address = address_of(ear->board, ear->slot);

	DISCARD(unlink(address.sun_path)); /* of one who died, if any */
	ear->socket =
		socket(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (ear->socket < 0 ||
	    bind(ear->socket, (const struct sockaddr *)&address,
		 sizeof(address)) < 0)
		return -errno;
	int error = watch_open(ear->user->store->loop, ear->socket, on_datagram,
			       ear, &ear->watch);

	if (error < 0)
		return error;
	watch_set_keeps_alive(ear->watch, false);
	watch_start(ear->watch);
	return 0;
}

int lmdb_ear_open(struct lmdb_store *user, struct problem *problem)
{
	struct lmdb_board *board = user->lmdb->board;
	struct lmdb_ear *ear = mem_zalloc(sizeof(*ear));

	ear->user = user;
	ear->board = board;
	ear->socket = -1;
	ear->slot = SLOTS;
	user->ear = ear;
	pthread_mutex_lock(&board->mutex);
	int error = pick_slot(ear);

	pthread_mutex_unlock(&board->mutex);
	if (error == 0)
		error = open_socket(ear);
	if (error == 0)
		return 0;
	lmdb_ear_close(user);
	return problem_set(problem, error, "STORE_OPEN_FAILED",
			   "cannot be told of changes in %s: %s",
			   user->lmdb->shared_path, strerror(-error));
}

void lmdb_ear_close(struct lmdb_store *user)
{
	struct lmdb_ear *ear = user->ear;

	if (ear == NULL)
		return;
	struct lmdb_board *board = ear->board;

	user->ear = NULL;
	watch_close(ear->watch);
	if (ear->slot < SLOTS) {
		struct sockaddr_un address = address_of(board, ear->slot);

		DISCARD(unlink(address.sun_path)); /* may not be there yet */
		board->slots[ear->slot].waits = 0;
		board->slots[ear->slot].lock_waits = 0;
		pthread_mutex_lock(&board->mutex);
		if (ear->slot == board->own)
			board->is_heard = false;
		else
			leave_slot(board, ear->slot);
		pthread_mutex_unlock(&board->mutex);
	}
	if (ear->socket >= 0)
		close(ear->socket);
	free(ear);
}

void lmdb_ear_wait(struct lmdb_ear *ear, uint64_t queues)
{
	ear->board->slots[ear->slot].waits = queues;
}

/* Two queues may have the same bit: then somebody wakes up for nothing. */
uint64_t lmdb_board_bit(struct store_bytes queue)
{
	uint32_t sum = 2166136261;

	for (size_t i = 0; i < queue.length; i++)
		sum = (sum ^ (uint8_t)queue.data[i]) * 16777619;
	return UINT64_C(1) << ((sum ^ sum >> 16) & 63);
}

void lmdb_ear_wait_locks(struct lmdb_ear *ear, uint64_t locks)
{
	ear->board->slots[ear->slot].lock_waits = locks;
}

static bool send_wake(struct lmdb_board *board, unsigned number,
		      const struct datagram *datagram)
{
	struct sockaddr_un address = address_of(board, number);

	return sendto(board->socket, datagram, sizeof(*datagram), 0,
		      (const struct sockaddr *)&address,
		      sizeof(address)) >= 0 ||
	       errno == EAGAIN; /* it has plenty to wake up for */
}

void lmdb_board_wake(struct lmdb_board *board, uint64_t queues, uint32_t count)
{
	for (unsigned i = 0; i < SLOTS && count > 0; i++) {
		unsigned number = (board->next + i) % SLOTS;
		struct slot *slot = &board->slots[number];
		uint64_t waits = slot->waits;

		if ((waits & queues) == 0 ||
		    !atomic_compare_exchange_strong(&slot->waits, &waits, 0))
			continue;
		if (!send_wake(board, number,
			       &(struct datagram){ waits & queues, 0 }))
			continue; /* died waiting */
		board->next = (number + 1) % SLOTS;
		count--;
	}
}

/* All of them: the lock was handed to one, but two locks may have one bit. */
void lmdb_board_wake_locks(struct lmdb_board *board, uint64_t locks)
{
	for (unsigned i = 0; i < SLOTS; i++) {
		struct slot *slot = &board->slots[i];
		uint64_t waits = slot->lock_waits;

		while ((waits & locks) != 0 &&
		       !atomic_compare_exchange_weak(&slot->lock_waits, &waits,
						     waits & ~locks))
			;
		/* One who has died meanwhile needs nothing. */
		if ((waits & locks) != 0)
			DISCARD(send_wake(
				board, i,
				&(struct datagram){ 0, waits & locks }));
	}
}

void lmdb_board_writing(struct lmdb_board *board, enum lmdb_lane_number lane,
			uint64_t since_ms)
{
	board->slots[board->own].writing_since_ms[lane] = since_ms;
}

void lmdb_board_watch(struct lmdb *lmdb, enum lmdb_lane_number lane,
		      const struct log *log)
{
	uint64_t now_ms = lmdb_boot_ms();

	for (unsigned i = 0; i < SLOTS; i++) {
		struct slot *slot = &lmdb->board->slots[i];
		uint64_t since_ms = slot->writing_since_ms[lane];

		if (since_ms == 0 || i == lmdb->board->own ||
		    now_ms < since_ms + STUCK_MS || !is_alive(slot))
			continue;
		bool is_hopeless = now_ms >= since_ms + HOPELESS_MS;

		log_warn(log,
			 "store writer is stopped pid=%u held_ms=%ju sent=%s",
			 slot->pid, (uintmax_t)(now_ms - since_ms),
			 is_hopeless ? "SIGKILL" : "SIGCONT");
		kill((pid_t)slot->pid, is_hopeless ? SIGKILL : SIGCONT);
	}
}
