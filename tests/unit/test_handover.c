/* Connections on their way to workers: the primary's half is real, the workers
 * are played, on a channel and a board of their own each. */
#include "loop_bench.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/must.h"
#include "cluster/handover.h"

#define WORKERS 3
#define CLIENTS 200
#define LANE    1

/* What a worker does with a connection. */
enum mood { TAKES, REFUSES, LEAVES_LYING, HOLDS };

struct worker {
	struct channel *ours; /* the primary's end; NULL: not there */
	struct channel *theirs;
	uint32_t berth;
	enum mood mood;
	bool is_silent; /* sends no WAKE */
	size_t given;
	int kept[CLIENTS]; /* what it took, or lets lie */
	uint32_t seats[CLIENTS];
	uint32_t turns[CLIENTS];
	size_t count;
};

static struct loop_bench bench;
static struct board *board;
static int board_descriptor = -1;
static struct handover *handover;
static struct handover_line *line;
static struct worker workers[WORKERS];
static int clients[CLIENTS];
static size_t client_count;
static size_t room_told;

static struct board_berth *berth_of(const struct worker *worker)
{
	return &board->berths[worker->berth];
}

static void wake(struct worker *worker)
{
	struct board_berth *berth = berth_of(worker);

	if (worker->is_silent || atomic_load(&berth->wants_wake) == 0)
		return;
	atomic_store(&berth->wants_wake, 0);
	channel_send(worker->theirs,
		     &(struct message){ .type = MESSAGE_WAKE,
					.wake = { worker->berth } },
		     -1);
}

/* As self.c does, when it may. */
static bool claim(struct worker *worker, size_t index, enum seat_state to)
{
	_Atomic uint32_t *seat = &berth_of(worker)->seats[worker->seats[index]];

	if (!seat_move(seat, worker->turns[index], SEAT_HELD))
		return false;
	if (to != SEAT_HELD)
		atomic_store(seat, seat_word(worker->turns[index], to));
	return true;
}

static void on_workers_message(void *owner, const struct message *message,
			       struct channel_descriptors *descriptors)
{
	struct worker *worker = owner;
	size_t index = worker->count;

	if (message->type != MESSAGE_CONNECTION)
		return;
	assert_int_equal(descriptors->count, 1);
	assert_int_equal(message->connection.listener, 77);
	assert_true(message->connection.seat < BOARD_SEATS);
	worker->given++;
	worker->seats[index] = message->connection.seat;
	worker->turns[index] = message->connection.turn;
	if (worker->mood == REFUSES) {
		if (claim(worker, index, SEAT_REFUSED))
			atomic_store(&berth_of(worker)->wants_wake, 1);
		wake(worker);
		return;
	}
	if (worker->mood == HOLDS)
		assert_true(claim(worker, index, SEAT_HELD));
	else if (worker->mood == TAKES && !claim(worker, index, SEAT_TAKEN))
		return;
	worker->kept[worker->count++] = descriptors->list[0];
	descriptors->list[0] = -1;
	if (worker->mood == TAKES)
		wake(worker);
}

static void on_primarys_message(void *owner, const struct message *message,
				struct channel_descriptors *descriptors)
{
	struct worker *worker = owner;

	(void)descriptors;
	if (message->type == MESSAGE_WAKE)
		handover_wake(handover, worker->berth);
}

static void on_end(void *owner, const struct problem *problem)
{
	(void)owner;
	(void)problem;
}

static void on_drained(void *owner, bool was_busy)
{
	(void)was_busy;
	(void)owner;
}

static const struct channel_events workers_events = { on_workers_message,
						      on_end, on_drained };
static const struct channel_events primarys_events = { on_primarys_message,
						       on_end, on_drained };

static void on_room(void *owner)
{
	assert_ptr_equal(owner, &bench);
	room_told++;
}

static struct worker *start(uint32_t berth, enum mood mood)
{
	struct worker *worker = &workers[berth];
	int ends[2];

	open_pair(ends);
	*worker = (struct worker){ .berth = berth, .mood = mood };
	worker->ours =
		channel_open(bench.loop, ends[0], &primarys_events, worker);
	worker->theirs =
		channel_open(bench.loop, ends[1], &workers_events, worker);
	channel_start(worker->ours);
	channel_start(worker->theirs);
	handover_join(handover, berth, worker->ours);
	return worker;
}

static struct worker *start_serving(uint32_t berth, enum mood mood,
				    uint32_t limit)
{
	struct worker *worker = start(berth, mood);

	handover_line_join(line, berth, LANE, limit);
	return worker;
}

static void drop_kept(struct worker *worker)
{
	while (worker->count > 0)
		close(worker->kept[--worker->count]);
}

/* As when its process dies: what it has is closed by the kernel. */
static void end(struct worker *worker)
{
	if (worker->ours == NULL)
		return;
	channel_close(worker->theirs);
	drop_kept(worker);
	handover_leave(handover, worker->berth);
	channel_close(worker->ours);
	worker->ours = worker->theirs = NULL;
}

static int set_up(void **state)
{
	(void)state;
	loop_bench_open(&bench);
	board = board_new(&board_descriptor);
	handover = handover_new(bench.loop, board);
	line = handover_line_open(handover, 77, MUSTER_LEAST, on_room, &bench);
	client_count = room_told = 0;
	return 0;
}

static void end_all(void)
{
	for (size_t i = 0; i < WORKERS; i++)
		end(&workers[i]);
	if (line != NULL)
		handover_line_close(line);
	line = NULL;
}

static int tear_down(void **state)
{
	(void)state;
	end_all();
	handover_free(handover);
	for (size_t i = 0; i < client_count; i++)
		close(clients[i]);
	board_free(board);
	close(board_descriptor);
	loop_bench_close(&bench);
	return 0;
}

/* A connection comes, and is ours to give. */
static size_t give(void)
{
	int ends[2];

	assert_true(client_count < CLIENTS);
	open_pair(ends);
	clients[client_count] = ends[0];
	handover_give_take(line, ends[1]);
	return client_count++;
}

static void give_many(size_t count)
{
	handover_refresh(line);
	for (size_t i = 0; i < count; i++)
		give();
	handover_send(line);
}

static size_t given_in_all(void)
{
	size_t sum = 0;

	for (size_t i = 0; i < WORKERS; i++)
		sum += workers[i].count;
	return sum;
}

/* Has everybody who had the other end closed it? */
static bool is_closed(size_t client)
{
	char byte;

	return recv(clients[client], &byte, 1, MSG_DONTWAIT) == 0;
}

static size_t closed_in_all(void)
{
	size_t sum = 0;

	for (size_t i = 0; i < client_count; i++)
		sum += is_closed(i);
	return sum;
}

/* ---- Who gets what ---- */

static void connections_are_handed_out_evenly(void **state)
{
	(void)state;
	for (uint32_t i = 0; i < WORKERS; i++)
		start_serving(i, TAKES, 0);
	give_many(60);
	AWAIT(&bench, given_in_all() == 60);
	for (uint32_t i = 0; i < WORKERS; i++) {
		assert_int_equal(workers[i].count, 20);
		assert_int_equal(handover_open(handover, i), 20);
	}
}

static void a_taken_connection_is_the_workers_alone(void **state)
{
	(void)state;
	struct worker *worker = start_serving(0, TAKES, 0);

	give_many(3);
	AWAIT(&bench, worker->count == 3);
	loop_bench_settle(&bench);
	AWAIT(&bench, (handover_refresh(line), true));
	drop_kept(worker);
	assert_int_equal(closed_in_all(), 3);
}

static void a_closed_connection_makes_room(void **state)
{
	(void)state;
	struct worker *worker = start_serving(0, TAKES, 2);

	give_many(2);
	AWAIT(&bench, worker->count == 2);
	assert_false(handover_has_room(line));
	assert_int_equal(room_told, 0);
	close(worker->kept[--worker->count]);
	atomic_fetch_add(&berth_of(worker)->closed[LANE], 1);
	wake(worker);
	AWAIT(&bench, room_told == 1);
	assert_true(handover_has_room(line));
	give_many(1);
	AWAIT(&bench, worker->count == 2);
	assert_int_equal(handover_open(handover, 0), 2);
}

static void what_nobody_can_take_waits_in_order(void **state)
{
	(void)state;
	give_many(5);
	assert_false(handover_has_room(line));
	loop_bench_settle(&bench);
	assert_int_equal(closed_in_all(), 0);
	struct worker *worker = start_serving(0, TAKES, 0);

	AWAIT(&bench, worker->count == 5);
	for (size_t i = 0; i < 5; i++) {
		char byte = 0;

		assert_int_equal(send(worker->kept[i], &"01234"[i], 1, 0), 1);
		assert_int_equal(recv(clients[i], &byte, 1, 0), 1);
		assert_int_equal(byte, '0' + (int)i);
	}
}

static void no_more_are_given_than_there_are_seats(void **state)
{
	(void)state;
	struct worker *worker = start_serving(0, LEAVES_LYING, 0);

	for (int i = 0; i < 10; i++)
		give_many(16);
	AWAIT(&bench, worker->count == BOARD_SEATS);
	loop_bench_settle(&bench);
	assert_int_equal(worker->count, BOARD_SEATS);
	assert_false(handover_has_room(line));
}

/* ---- Refused ---- */

static void a_refused_connection_goes_to_another_worker(void **state)
{
	(void)state;
	start_serving(0, REFUSES, 0);
	struct worker *other = start_serving(1, TAKES, 0);

	give_many(10);
	AWAIT(&bench, other->count == 10);
	assert_int_equal(workers[0].given, 5);
	assert_int_equal(handover_open(handover, 0), 0);
	assert_int_equal(handover_open(handover, 1), 10);
	assert_int_equal(closed_in_all(), 0);
}

static void what_all_have_refused_is_closed(void **state)
{
	(void)state;
	for (uint32_t i = 0; i < WORKERS; i++)
		start_serving(i, REFUSES, 0);
	give_many(4);
	AWAIT(&bench, closed_in_all() == 4);
	for (uint32_t i = 0; i < WORKERS; i++)
		assert_int_equal(workers[i].given, 4);
}

/* The one that did not refuse is only busy, so it is waited for. */
static void what_a_busy_worker_has_not_refused_waits_for_it(void **state)
{
	(void)state;
	struct worker *busy = start_serving(0, TAKES, 1);

	give_many(1);
	AWAIT(&bench, busy->count == 1);
	struct worker *gone = start_serving(1, REFUSES, 0);

	give_many(1);
	AWAIT(&bench, gone->given == 1);
	loop_bench_settle(&bench);
	end(gone);
	struct worker *third = start_serving(2, REFUSES, 0);

	AWAIT(&bench, third->given == 1);
	loop_bench_settle(&bench);
	assert_int_equal(closed_in_all(), 0);
	close(busy->kept[--busy->count]);
	atomic_fetch_add(&berth_of(busy)->closed[LANE], 1);
	wake(busy);
	AWAIT(&bench, busy->count == 1);
	assert_int_equal(closed_in_all(), 1); /* the first one */
}

/* ---- Left lying ---- */

static void what_a_stalled_worker_left_lying_goes_to_an_idle_one(void **state)
{
	(void)state;
	struct worker *stalled = start_serving(0, LEAVES_LYING, 0);
	struct worker *idle = start_serving(1, TAKES, 0);

	give_many(4);
	AWAIT(&bench, idle->count == 4);
	assert_int_equal(stalled->count, 2);
	/* It comes too late. */
	for (size_t i = 0; i < 2; i++)
		assert_false(claim(stalled, i, SEAT_TAKEN));
	give_many(4);
	AWAIT(&bench, idle->count == 8);
	assert_int_equal(stalled->count, 2);

	stalled->mood = TAKES;
	drop_kept(stalled);
	wake(stalled);
	loop_bench_settle(&bench);
	give_many(2);
	AWAIT(&bench, stalled->count == 2);
}

static void what_is_held_stays_where_it_is(void **state)
{
	(void)state;
	struct worker *slow = start_serving(0, HOLDS, 0);
	struct worker *idle = start_serving(1, TAKES, 0);
	int64_t begin = clock_ms();

	give_many(2);
	AWAIT(&bench, slow->count == 1 && idle->count == 1);
	AWAIT(&bench, clock_ms() - begin > 50);
	assert_int_equal(idle->count, 1);
}

static void with_nobody_idle_a_stalled_worker_keeps_what_it_has(void **state)
{
	(void)state;
	struct worker *first = start_serving(0, LEAVES_LYING, 0);
	struct worker *second = start_serving(1, LEAVES_LYING, 0);
	int64_t begin = clock_ms();

	give_many(6);
	AWAIT(&bench, clock_ms() - begin > 50);
	for (size_t i = 0; i < 3; i++) {
		assert_true(claim(first, i, SEAT_TAKEN));
		assert_true(claim(second, i, SEAT_TAKEN));
	}
}

/* Passed on by the look itself, which must go on looking. */
static void what_was_passed_on_does_not_lie_for_ever_either(void **state)
{
	(void)state;
	struct worker *first = start_serving(0, REFUSES, 0);

	struct worker *second = start_serving(1, LEAVES_LYING, 0);
	struct worker *third = start_serving(2, TAKES, 0);

	first->is_silent = true;
	give_many(1);
	AWAIT(&bench, third->count == 1);
	assert_int_equal(first->given, 1);
	assert_int_equal(second->given, 1);
}

/* ---- Full channels ---- */

static void fill(struct worker *worker)
{
	static uint8_t content[1000000];

	DISCARD(channel_send_content(worker->ours, content, sizeof(content),
				     NULL, 0));
	assert_true(channel_queued_bytes(worker->ours) > 0);
}

static void
a_worker_that_reads_other_things_first_is_given_it_later(void **state)
{
	(void)state;
	struct worker *worker = start_serving(0, TAKES, 0);

	worker->is_silent = true;
	fill(worker);
	give_many(2);
	AWAIT(&bench, worker->count == 2);
}

static void a_full_channel_does_not_stop_accepting_for_good(void **state)
{
	(void)state;
	struct worker *worker = start_serving(0, TAKES, 0);

	worker->is_silent = true;
	fill(worker);
	give_many(1);
	assert_false(handover_has_room(line));
	AWAIT(&bench, worker->count == 1);
	AWAIT(&bench, room_told > 0);
	assert_true(handover_has_room(line));
}

static void what_a_full_channel_does_not_take_goes_to_another_one(void **state)
{
	(void)state;
	struct worker *full = start_serving(0, TAKES, 0);
	struct worker *other = start_serving(1, TAKES, 0);

	channel_close(full->theirs); /* reads no more, but is still there */
	int ends[2];

	open_pair(ends);
	channel_close(full->ours);
	handover_leave(handover, 0);
	full->ours = channel_open(bench.loop, ends[0], &primarys_events, full);
	handover_join(handover, 0, full->ours);
	handover_line_join(line, 0, LANE, 0);
	fill(full);
	give_many(6);
	AWAIT(&bench, other->count == 6);
	full->theirs = channel_open(bench.loop, ends[1], &workers_events, full);
}

/* ---- The end of a worker ---- */

static void what_a_dead_worker_had_not_taken_goes_to_others(void **state)
{
	(void)state;
	struct worker *dead = start_serving(0, LEAVES_LYING, 0);
	struct worker *other = start_serving(1, TAKES, 0);

	give_many(8);
	AWAIT(&bench, dead->count == 4 && other->count == 4);
	end(dead);
	AWAIT(&bench, other->count == 8);
	assert_int_equal(closed_in_all(), 0);
}

static void what_a_dead_worker_held_is_closed(void **state)
{
	(void)state;
	struct worker *dead = start_serving(0, HOLDS, 0);

	give_many(4);
	AWAIT(&bench, dead->count == 4);
	end(dead);
	start_serving(1, TAKES, 0);
	AWAIT(&bench, closed_in_all() == 4);
	assert_int_equal(workers[1].given, 0);
}

static void what_never_reached_a_worker_goes_to_others(void **state)
{
	(void)state;
	struct worker *dead = start_serving(0, TAKES, 0);

	channel_close(dead->theirs);
	dead->theirs = NULL;
	give_many(5);
	struct worker *other = start_serving(1, TAKES, 0);

	AWAIT(&bench, other->count == 5);
}

static void a_berth_that_is_used_again_begins_anew(void **state)
{
	(void)state;
	struct worker *worker = start_serving(0, TAKES, 0);

	give_many(5);
	AWAIT(&bench, worker->count == 5);
	atomic_store(&berth_of(worker)->accepted, 9);
	end(worker);
	worker = start_serving(0, TAKES, 0);
	assert_int_equal(handover_open(handover, 0), 0);
	assert_int_equal(atomic_load(&berth_of(worker)->accepted), 0);
	give_many(5);
	AWAIT(&bench, worker->count == 5);
	assert_int_equal(handover_open(handover, 0), 5);
}

static void the_end_of_a_line_closes_what_waits(void **state)
{
	(void)state;
	struct worker *worker = start_serving(0, LEAVES_LYING, 0);

	give_many(3);
	AWAIT(&bench, worker->count == 3);
	handover_line_leave(line, 0);
	give_many(4);
	handover_line_close(line);
	line = NULL;
	assert_int_equal(closed_in_all(), 4);
	/* The others are still the worker's to take. */
	assert_true(claim(worker, 0, SEAT_TAKEN));
	assert_true(claim(worker, 1, SEAT_REFUSED));
	handover_wake(handover, 0);
	close(worker->kept[1]);
	worker->kept[1] = worker->kept[2];
	worker->kept[2] = -1;
	worker->count = 2;
	assert_int_equal(closed_in_all(), 5);
}

/* ---- A worker that writes what it likes to its berth ---- */

static void
what_a_worker_says_before_it_was_given_anything_is_not_heard(void **state)
{
	(void)state;
	struct worker *liar = start_serving(0, LEAVES_LYING, 0);
	struct worker *other = start_serving(1, TAKES, 0);
	static const enum seat_state lies[] = { SEAT_TAKEN, SEAT_REFUSED,
						SEAT_REVOKED };

	for (size_t lie = 0; lie < 3; lie++) {
		handover_refresh(line);
		for (int i = 0; i < 8; i++) {
			give();
			for (uint32_t seat = 0; seat < BOARD_SEATS; seat++) {
				_Atomic uint32_t *word =
					&berth_of(liar)->seats[seat];

				atomic_store(word, (atomic_load(word) & ~7u) |
							   lies[lie]);
			}
			handover_refresh(line); /* as when there is no room */
		}
		handover_send(line);
		AWAIT(&bench, other->count >= 4 * (lie + 1));
		loop_bench_settle(&bench);
		for (uint32_t seat = 0; seat < BOARD_SEATS; seat++)
			atomic_store(&berth_of(liar)->seats[seat], 0);
	}
	/* It was sent what was meant for it, and nothing that had been opened
	 * in its place: neither a client's end nor what the other one has. */
	assert_true(liar->count >= 4);
	for (size_t i = 0; i < liar->count; i++)
		for (size_t j = 0; j < client_count; j++)
			assert_true(number_of(liar->kept[i]) !=
				    number_of(clients[j]));
	for (size_t i = 0; i < other->count; i++)
		assert_int_equal(send(other->kept[i], "x", 1, MSG_NOSIGNAL), 1);
	size_t served = 0;
	char bytes[8];

	for (size_t i = 0; i < client_count; i++) {
		ssize_t length =
			recv(clients[i], bytes, sizeof(bytes), MSG_DONTWAIT);

		assert_true(length <= 1);
		served += length == 1;
	}
	assert_int_equal(served, other->count);
}

static void garbage_in_a_berth_harms_nobody_else(void **state)
{
	(void)state;
	struct worker *mad = start_serving(0, LEAVES_LYING, 0);
	struct worker *sane = start_serving(1, TAKES, 0);
	uint32_t random = 11;

	for (int round = 0; round < 60; round++) {
		_Atomic uint32_t *words = &berth_of(mad)->wants_wake;

		for (size_t i = 0; i < sizeof(struct board_berth) / 4; i++) {
			random = random * 1664525 + 1013904223;
			/* Sometimes what would mean something. */
			uint32_t word = random % 3 == 0
						? seat_word(random >> 24,
							    (random >> 16) % 8)
						: random;

			if (random % 5 != 0)
				atomic_store(&words[i], word);
		}
		atomic_store(&board->berths_used, random);
		give_many(2);
		loop_bench_settle(&bench);
	}
	assert_true(sane->count >= 60);
	end(mad);
	loop_bench_settle(&bench);
	for (size_t i = 0; i < sane->count; i++) {
		char byte;

		assert_int_equal(recv(sane->kept[i], &byte, 1, MSG_DONTWAIT),
				 -1);
		assert_int_equal(errno, EAGAIN);
	}
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(connections_are_handed_out_evenly),
		TEST(a_taken_connection_is_the_workers_alone),
		TEST(a_closed_connection_makes_room),
		TEST(what_nobody_can_take_waits_in_order),
		TEST(no_more_are_given_than_there_are_seats),
		TEST(a_refused_connection_goes_to_another_worker),
		TEST(what_all_have_refused_is_closed),
		TEST(what_a_busy_worker_has_not_refused_waits_for_it),
		TEST(what_a_stalled_worker_left_lying_goes_to_an_idle_one),
		TEST(what_is_held_stays_where_it_is),
		TEST(with_nobody_idle_a_stalled_worker_keeps_what_it_has),
		TEST(what_was_passed_on_does_not_lie_for_ever_either),
		TEST(a_worker_that_reads_other_things_first_is_given_it_later),
		TEST(a_full_channel_does_not_stop_accepting_for_good),
		TEST(what_a_full_channel_does_not_take_goes_to_another_one),
		TEST(what_a_dead_worker_had_not_taken_goes_to_others),
		TEST(what_a_dead_worker_held_is_closed),
		TEST(what_never_reached_a_worker_goes_to_others),
		TEST(a_berth_that_is_used_again_begins_anew),
		TEST(the_end_of_a_line_closes_what_waits),
		TEST(what_a_worker_says_before_it_was_given_anything_is_not_heard),
		TEST(garbage_in_a_berth_harms_nobody_else),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
