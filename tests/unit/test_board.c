/* The memory that a primary and its workers share: a seat has one winner. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cluster/board.h"

static struct board *board;
static int descriptor = -1;

static int set_up(void **state)
{
	(void)state;
	board = board_new(&descriptor);
	return board == NULL;
}

static int tear_down(void **state)
{
	(void)state;
	board_free(board);
	close(descriptor);
	return 0;
}

static void a_new_board_is_empty(void **state)
{
	(void)state;
	assert_int_equal(atomic_load(&board->berths_used), 0);
	for (size_t i = 0; i < BOARD_BERTHS; i++) {
		struct board_berth *berth = &board->berths[i];

		assert_int_equal(atomic_load(&berth->wants_wake), 0);
		assert_int_equal(atomic_load(&berth->accepted), 0);
		for (size_t seat = 0; seat < BOARD_SEATS; seat++)
			assert_int_equal(
				seat_state(atomic_load(&berth->seats[seat])),
				SEAT_EMPTY);
	}
}

/* docs/protocol.md says so, to those who write in other languages. */
static void the_layout_is_what_is_documented(void **state)
{
	(void)state;
	assert_int_equal(sizeof(struct board), 1245184);
	assert_int_equal(offsetof(struct board, keys.made), 1241088);
	assert_int_equal(offsetof(struct board, keys.list), 1241092);
	assert_int_equal(offsetof(struct board, meters), 688520);
	assert_int_equal(sizeof(meter_value[METERS]), 520);
	assert_int_equal(sizeof(struct board_key), 80);
	assert_int_equal(offsetof(struct board_key, cipher), 16);
	assert_int_equal(offsetof(struct board_key, mac), 48);
	assert_int_equal(BOARD_KEYS, 4);
	assert_int_equal(sizeof(struct board_berth), 652);
	assert_int_equal(offsetof(struct board, berths_used), 0);
	assert_int_equal(offsetof(struct board, berths), 4);
	assert_int_equal(offsetof(struct board_berth, wants_wake), 0);
	assert_int_equal(offsetof(struct board_berth, accepted), 4);
	assert_int_equal(offsetof(struct board_berth, is_accepting), 8);
	assert_int_equal(offsetof(struct board_berth, closed), 12);
	assert_int_equal(offsetof(struct board_berth, seats), 140);
	assert_int_equal(BOARD_BERTHS, 1056);
	assert_int_equal(BOARD_LANES, 32);
	assert_int_equal(BOARD_SEATS, 128);
	assert_int_equal(SEAT_EMPTY, 0);
	assert_int_equal(SEAT_GIVEN, 1);
	assert_int_equal(SEAT_HELD, 2);
	assert_int_equal(SEAT_TAKEN, 3);
	assert_int_equal(SEAT_REFUSED, 4);
	assert_int_equal(SEAT_REVOKED, 5);
	assert_int_equal(seat_word(5, SEAT_HELD), 42);
}

static void what_one_side_writes_the_other_reads(void **state)
{
	(void)state;
	struct board *other = board_map(descriptor);

	assert_non_null(other);
	assert_ptr_not_equal(other, board);
	atomic_store(&board->berths[7].closed[3], 9);
	assert_int_equal(atomic_load(&other->berths[7].closed[3]), 9);
	board_free(other);
}

static bool is_key(unsigned age, const struct board_key *wanted)
{
	struct board_key key;

	return board_find_key(board, age, &key) &&
	       memcmp(&key, wanted, sizeof(key)) == 0;
}

static void three_keys_are_known_and_the_newest_is_first(void **state)
{
	(void)state;
	struct board_key keys[6];

	assert_false(board_find_key(board, 0, &keys[0]));
	for (unsigned i = 0; i < 6; i++) {
		board_make_key(board);
		assert_true(board_find_key(board, 0, &keys[i]));
		for (unsigned age = 0; age <= i && age < BOARD_KEY_AGES; age++)
			assert_true(is_key(age, &keys[i - age]));
		assert_false(is_key(i < BOARD_KEY_AGES ? i + 1 : BOARD_KEY_AGES,
				    &keys[0]));
	}
	for (unsigned i = 1; i < 6; i++)
		assert_memory_not_equal(&keys[i], &keys[i - 1],
					sizeof(keys[i]));
}

static void nobody_can_take_pages_away(void **state)
{
	(void)state;
	assert_int_equal(ftruncate(descriptor, 0), -1);
	assert_int_equal(errno, EPERM);
	assert_int_equal(ftruncate(descriptor, 1 << 24), -1);
	assert_int_not_equal(fcntl(descriptor, F_GETFD) & FD_CLOEXEC, 0);
}

static void a_board_of_another_size_is_not_mapped(void **state)
{
	(void)state;
	int other = memfd_create("test", MFD_CLOEXEC);

	assert_int_equal(ftruncate(other, sizeof(struct board) - 1), 0);
	assert_null(board_map(other));
	assert_int_equal(errno, EPROTO);
	close(other);
	assert_null(board_map(other));
	assert_int_equal(errno, EBADF);
}

static void only_a_given_seat_moves(void **state)
{
	(void)state;
	_Atomic uint32_t *seat = &board->berths[0].seats[0];

	for (int state_now = SEAT_EMPTY; state_now <= SEAT_REVOKED;
	     state_now++) {
		uint32_t word = seat_word(3, (enum seat_state)state_now);

		atomic_store(seat, word);
		bool is_moved = seat_move(seat, 3, SEAT_HELD);

		assert_int_equal(is_moved, state_now == SEAT_GIVEN);
		assert_int_equal(atomic_load(seat),
				 is_moved ? seat_word(3, SEAT_HELD) : word);
	}
}

static void a_late_claim_of_an_earlier_turn_fails(void **state)
{
	(void)state;
	_Atomic uint32_t *seat = &board->berths[0].seats[0];
	static const uint32_t turns[] = { 0, 1, 2, UINT32_MAX >> 3 };

	for (size_t now = 0; now < 4; now++) {
		atomic_store(seat, seat_word(turns[now], SEAT_GIVEN));
		for (size_t late = 0; late < 4; late++) {
			if (late == now)
				continue;
			assert_false(seat_move(seat, turns[late], SEAT_HELD));
			assert_int_equal(atomic_load(seat),
					 seat_word(turns[now], SEAT_GIVEN));
		}
		assert_true(seat_move(seat, turns[now], SEAT_HELD));
	}
}

/* ---- Two at once ---- */

#define ROUNDS 20000u

static _Atomic uint32_t started; /* the turn that may be claimed */
static _Atomic uint32_t finished[2];
static uint32_t wins[2][ROUNDS + 1];

struct claimer {
	int index;
	enum seat_state to;
};

/* Plain memory that only who wins the seat may touch: TSan watches. */
static uint32_t treasure;

static void *claim(void *arg)
{
	const struct claimer *claimer = arg;
	_Atomic uint32_t *seat = &board->berths[1].seats[5];

	for (uint32_t turn = 1; turn <= ROUNDS; turn++) {
		while (atomic_load(&started) < turn)
			sched_yield();
		if (seat_move(seat, turn, claimer->to)) {
			wins[claimer->index][turn] = 1;
			treasure++;
		}
		atomic_store(&finished[claimer->index], turn);
	}
	return NULL;
}

static void exactly_one_of_two_threads_wins_a_seat(void **state)
{
	(void)state;
	struct claimer claimers[2] = { { 0, SEAT_HELD }, { 1, SEAT_REVOKED } };
	_Atomic uint32_t *seat = &board->berths[1].seats[5];
	pthread_t threads[2];

	for (int i = 0; i < 2; i++)
		assert_int_equal(
			pthread_create(&threads[i], NULL, claim, &claimers[i]),
			0);
	for (uint32_t turn = 1; turn <= ROUNDS; turn++) {
		atomic_store(seat, seat_word(turn, SEAT_GIVEN));
		atomic_store(&started, turn);
		while (atomic_load(&finished[0]) < turn ||
		       atomic_load(&finished[1]) < turn)
			sched_yield();
	}
	for (int i = 0; i < 2; i++)
		pthread_join(threads[i], NULL);
	for (uint32_t turn = 1; turn <= ROUNDS; turn++)
		assert_int_equal(wins[0][turn] + wins[1][turn], 1);
	assert_int_equal(treasure, ROUNDS);
}

/* The child holds as many seats as it can, the parent revokes. */
static uint32_t hold_all(struct board *shared)
{
	uint32_t count = 0;

	for (uint32_t turn = 0; turn < 200; turn++)
		for (size_t seat = 0; seat < BOARD_SEATS; seat++)
			if (seat_move(&shared->berths[2].seats[seat], 1,
				      SEAT_HELD))
				count++;
	return count;
}

static void exactly_one_of_two_processes_wins_a_seat(void **state)
{
	(void)state;
	uint32_t revoked = 0;
	uint32_t held = 0;
	int status;

	for (size_t seat = 0; seat < BOARD_SEATS; seat++)
		atomic_store(&board->berths[2].seats[seat],
			     seat_word(1, SEAT_GIVEN));
	pid_t child = fork();

	if (child == 0) {
		struct board *shared = board_map(descriptor);

		_exit(shared == NULL ? 255 : (int)hold_all(shared));
	}
	for (size_t seat = BOARD_SEATS; seat-- > 0;)
		if (seat_move(&board->berths[2].seats[seat], 1, SEAT_REVOKED))
			revoked++;
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_true(WIFEXITED(status));
	for (size_t seat = 0; seat < BOARD_SEATS; seat++)
		held += atomic_load(&board->berths[2].seats[seat]) ==
			seat_word(1, SEAT_HELD);
	assert_int_equal(WEXITSTATUS(status), held);
	assert_int_equal(held + revoked, BOARD_SEATS);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(a_new_board_is_empty),
		TEST(the_layout_is_what_is_documented),
		TEST(what_one_side_writes_the_other_reads),
		TEST(three_keys_are_known_and_the_newest_is_first),
		TEST(nobody_can_take_pages_away),
		TEST(a_board_of_another_size_is_not_mapped),
		TEST(only_a_given_seat_moves),
		TEST(a_late_claim_of_an_earlier_turn_fails),
		TEST(exactly_one_of_two_threads_wins_a_seat),
		TEST(exactly_one_of_two_processes_wins_a_seat),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
