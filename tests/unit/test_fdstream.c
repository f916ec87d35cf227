/* Bytes and descriptors over a unix socket. The other side is a stream as
 * well, or the bare socket. */
#include "loop_bench.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/buffer.h"
#include "loop/fdstream.h"

/* A stream and what it told. */
struct side {
	struct fdstream *stream;
	struct buffer in;
	size_t ends;
	int end_error;
	size_t drained;
	bool closes_on_bytes;
	bool closes_on_end;
	bool closes_on_drained;
	const char *answers; /* sent within on_bytes, once */
};

static struct loop_bench bench;
static struct side here;
static struct side there;
static int ends[2]; /* the bare sockets; -1: taken over */

static void close_side(struct side *side)
{
	if (side->stream != NULL)
		fdstream_close(side->stream);
	side->stream = NULL;
}

static void queue(struct side *side, const void *bytes, size_t length)
{
	memcpy(fdstream_queue(side->stream, length), bytes, length);
}

static void on_bytes(void *owner, const uint8_t *bytes, size_t length)
{
	struct side *side = owner;

	buffer_append(&side->in, bytes, length);
	if (side->answers != NULL) {
		queue(side, side->answers, strlen(side->answers));
		side->answers = NULL;
	}
	if (side->closes_on_bytes)
		close_side(side);
}

static void on_end(void *owner, int error)
{
	struct side *side = owner;

	side->ends++;
	side->end_error = error;
	if (side->closes_on_end)
		close_side(side);
}

static void on_drained(void *owner)
{
	struct side *side = owner;

	side->drained++;
	if (side->closes_on_drained)
		close_side(side);
}

static const struct fdstream_events events = { on_bytes, on_end, on_drained };

static void open_side(struct side *side, int *end)
{
	side->stream = fdstream_open(bench.loop, *end, &events, side);
	*end = -1;
	fdstream_start_reading(side->stream);
}

static void open_both(void)
{
	open_side(&here, &ends[0]);
	open_side(&there, &ends[1]);
}

static int set_up(void **state)
{
	(void)state;
	memset(&here, 0, sizeof(here));
	memset(&there, 0, sizeof(there));
	loop_bench_open(&bench);
	open_pair(ends);
	return 0;
}

static int tear_down(void **state)
{
	(void)state;
	close_side(&here);
	close_side(&there);
	buffer_fini(&here.in);
	buffer_fini(&there.in);
	for (int i = 0; i < 2; i++)
		if (ends[i] >= 0)
			close(ends[i]);
	loop_bench_close(&bench);
	return 0;
}

/* Until no more goes into the socket; what is left waits in the queue. */
static void block(struct side *side)
{
	static const uint8_t zeroes[100000];

	do
		queue(side, zeroes, sizeof(zeroes));
	while (fdstream_flush(side->stream) == 0);
	assert_true(fdstream_queued_bytes(side->stream) > 0);
}

/* Reads what there is from a bare socket. */
static size_t empty(int descriptor)
{
	static uint8_t bytes[65536];
	size_t sum = 0;
	ssize_t length;

	while ((length = recv(descriptor, bytes, sizeof(bytes), 0)) > 0)
		sum += (size_t)length;
	return sum;
}

/* ---- Bytes -------------------------------------------------------------- */

static void bytes_arrive_in_order(void **state)
{
	(void)state;
	uint32_t random = 7;
	uint8_t next = 0;
	size_t sum = 0;

	open_both();
	for (int piece = 0; piece < 500; piece++) {
		random = random * 1664525 + 1013904223;
		size_t length = (random >> 16) % 9000;
		uint8_t *room = fdstream_queue(here.stream, length);

		for (size_t i = 0; i < length; i++)
			room[i] = next++;
		sum += length;
		if (piece % 50 == 0)
			loop_turn(bench.loop);
	}
	AWAIT(&bench, buffer_length(&there.in) == sum);
	for (size_t i = 0; i < sum; i++)
		if (buffer_bytes(&there.in)[i] != (uint8_t)i)
			fail_msg("byte %zu", i);
	assert_int_equal(fdstream_queued_bytes(here.stream), 0);
}

static void what_is_queued_in_a_turn_leaves_in_one_piece(void **state)
{
	(void)state;
	char bytes[64];

	open_side(&here, &ends[0]);
	queue(&here, "one ", 4);
	queue(&here, "two ", 4);
	queue(&here, "three", 5);
	assert_int_equal(recv(ends[1], bytes, sizeof(bytes), 0), -1);
	assert_int_equal(fdstream_queued_bytes(here.stream), 13);
	loop_turn(bench.loop);
	assert_int_equal(recv(ends[1], bytes, sizeof(bytes), 0), 13);
}

static void a_small_socket_buffer_only_takes_longer(void **state)
{
	(void)state;
	size_t sum = 3000000;

	shrink_buffer(ends[0]);
	open_both();
	uint8_t *room = fdstream_queue(here.stream, sum);

	for (size_t i = 0; i < sum; i++)
		room[i] = (uint8_t)(i * 31 >> 3);
	assert_int_equal(fdstream_flush(here.stream), -EAGAIN);
	AWAIT(&bench, buffer_length(&there.in) == sum);
	for (size_t i = 0; i < sum; i++)
		if (buffer_bytes(&there.in)[i] != (uint8_t)(i * 31 >> 3))
			fail_msg("byte %zu", i);
}

/* ---- Descriptors ---------------------------------------------------------
 *
 * A piece: how many it has, its own length, and the number of each file. */

#define PER_PIECE_MAX 64

struct piece {
	uint32_t length;
	uint32_t count;
	uint64_t numbers[PER_PIECE_MAX];
};

static void queue_piece(size_t count, size_t padding)
{
	int list[PER_PIECE_MAX];
	struct piece piece = { .count = (uint32_t)count };
	size_t head = offsetof(struct piece, numbers) + count * 8;

	piece.length = (uint32_t)(head + padding);
	for (size_t i = 0; i < count; i++) {
		list[i] = open_file();
		piece.numbers[i] = number_of(list[i]);
	}
	fdstream_queue_descriptors_take(here.stream, list, count);
	uint8_t *room = fdstream_queue(here.stream, piece.length);

	memcpy(room, &piece, head);
	memset(room + head, 'p', padding);
}

static size_t pieces;
static size_t most_ahead;

/* Takes the whole pieces that are there, with their descriptors. */
static void take_pieces(void)
{
	struct piece piece;
	size_t head = offsetof(struct piece, numbers);

	while (buffer_length(&there.in) >= head) {
		memcpy(&piece, buffer_bytes(&there.in), head);
		if (buffer_length(&there.in) < piece.length)
			break;
		memcpy(&piece, buffer_bytes(&there.in), head + piece.count * 8);
		buffer_consume(&there.in, piece.length);
		pieces++;
		for (size_t i = 0; i < piece.count; i++) {
			int descriptor = fdstream_take_descriptor(there.stream);

			assert_true(descriptor >= 0);
			assert_true(number_of(descriptor) == piece.numbers[i]);
			close(descriptor);
		}
	}
	size_t ahead = fdstream_descriptor_count(there.stream);

	if (ahead > most_ahead)
		most_ahead = ahead;
}

static bool have_come(size_t count)
{
	take_pieces();
	return pieces == count;
}

static void send_pieces(size_t count, size_t per_piece, size_t padding)
{
	pieces = most_ahead = 0;
	for (size_t i = 0; i < count; i++)
		queue_piece(per_piece == 0 ? i * 7 % 5 : per_piece, padding);
	AWAIT(&bench, have_come(count));
	assert_int_equal(fdstream_descriptor_count(there.stream), 0);
	assert_int_equal(fdstream_take_descriptor(there.stream), -1);
	assert_true(most_ahead <= FDSTREAM_BATCH);
}

static void descriptors_come_with_their_piece(void **state)
{
	(void)state;
	open_both();
	send_pieces(100, 0, 3);
	send_pieces(1, 64, 0);
	send_pieces(3, 1, 200000);
}

static void
more_descriptors_than_one_send_can_carry_stay_with_their_pieces(void **state)
{
	(void)state;
	open_both();
	send_pieces(253, 1, 0);
	send_pieces(254, 1, 0);
	send_pieces(900, 1, 0);
	send_pieces(12, 64, 1000);
	send_pieces(253, 3, 0);
}

static void descriptors_are_never_more_than_a_batch_ahead(void **state)
{
	(void)state;
	shrink_buffer(ends[0]);
	open_both();
	send_pieces(900, 1, 100);
	send_pieces(12, 64, 5000);
	send_pieces(300, 3, 700);
}

static void what_was_not_taken_and_not_sent_is_closed(void **state)
{
	(void)state;
	open_both();
	queue_piece(20, 0);
	AWAIT(&bench, fdstream_descriptor_count(there.stream) == 20);
	block(&there);
	for (int i = 0; i < 10; i++) {
		int list[2] = { open_file(), open_file() };

		fdstream_queue_descriptors_take(there.stream, list, 2);
		queue(&there, "x", 1);
	}
}

static void a_reader_that_may_open_no_more_is_told(void **state)
{
	(void)state;
	struct rlimit limit;
	struct rlimit low;

	open_both();
	assert_int_equal(getrlimit(RLIMIT_NOFILE, &limit), 0);
	low = limit;
	low.rlim_cur = count_descriptors() + 10;
	queue_piece(60, 0);
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &low), 0);
	AWAIT(&bench, there.ends > 0);
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &limit), 0);
	assert_int_equal(there.end_error, -EMFILE);
}

/* The kernel counts the descriptors under way of all a user's processes, and
 * lets root pass. */
static void
too_many_descriptors_under_way_are_waited_for_without_spinning(void **state)
{
	(void)state;
	struct rlimit limit;
	struct rlimit low;
	uid_t user = geteuid();
	struct pollfd look = { .fd = loop_descriptor(bench.loop),
			       .events = POLLIN };

	if (user == 0)
		assert_int_equal(seteuid(65534), 0);
	assert_int_equal(getrlimit(RLIMIT_NOFILE, &limit), 0);
	low = limit;
	low.rlim_cur = 300;
	open_side(&here, &ends[0]);
	for (int i = 0; i < 2; i++)
		queue_piece(64, 0);
	assert_int_equal(fdstream_flush(here.stream), 0);
	queue_piece(64, 0);
	low.rlim_cur = 100;
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &low), 0);
	int error = fdstream_flush(here.stream);
	int timeout_ms = loop_timeout_ms(bench.loop);

	loop_turn(bench.loop); /* joins the poll, if it does */
	int ready = poll(&look, 1, 0);

	assert_int_equal(setrlimit(RLIMIT_NOFILE, &limit), 0);
	if (user == 0)
		assert_int_equal(seteuid(user), 0);
	assert_int_equal(error, -EAGAIN);
	assert_in_range(timeout_ms, 0, 5);
	assert_int_equal(ready, 0);

	open_side(&there, &ends[1]);
	pieces = 0;
	AWAIT(&bench, have_come(3));
	AWAIT(&bench, here.drained == 1);
}

/* ---- Drained ------------------------------------------------------------- */

static void drained_is_told_once_when_all_has_left(void **state)
{
	(void)state;
	open_side(&here, &ends[0]);
	queue(&here, "small", 5);
	loop_bench_settle(&bench);
	assert_int_equal(here.drained, 0); /* it never had to wait */

	block(&here);
	loop_bench_settle(&bench);
	assert_int_equal(here.drained, 0);
	AWAIT(&bench, (empty(ends[1]), here.drained > 0));
	assert_int_equal(fdstream_queued_bytes(here.stream), 0);
	loop_bench_settle(&bench);
	assert_int_equal(here.drained, 1);
}

static void drained_is_told_though_more_was_sent_in_the_same_turn(void **state)
{
	(void)state;
	open_side(&here, &ends[0]);
	block(&here);
	while (fdstream_queued_bytes(here.stream) > 100000) {
		empty(ends[1]);
		fdstream_flush(here.stream);
	}
	if (fdstream_flush(here.stream) == 0)
		block(&here);
	loop_bench_settle(&bench);
	here.answers = "an answer";
	empty(ends[1]);
	assert_int_equal(send(ends[1], "x", 1, 0), 1);
	AWAIT(&bench, (empty(ends[1]), here.drained > 0));
	assert_null(here.answers);
	assert_int_equal(here.drained, 1);
}

/* ---- The end ------------------------------------------------------------- */

static void the_peers_end_is_told_once(void **state)
{
	(void)state;
	open_side(&here, &ends[0]);
	assert_int_equal(send(ends[1], "last", 4, 0), 4);
	close(ends[1]);
	ends[1] = -1;
	AWAIT(&bench, here.ends > 0);
	assert_int_equal(here.end_error, 0);
	assert_int_equal(buffer_length(&here.in), 4);
	loop_bench_settle(&bench);
	assert_int_equal(here.ends, 1);
}

static void a_peer_that_closed_with_bytes_unread_is_told(void **state)
{
	(void)state;
	open_side(&here, &ends[0]);
	queue(&here, "never read", 10);
	loop_bench_settle(&bench);
	close(ends[1]);
	ends[1] = -1;
	AWAIT(&bench, here.ends > 0);
	assert_int_equal(here.end_error, -ECONNRESET);
}

static void
what_the_peer_said_last_is_read_though_nothing_can_be_sent(void **state)
{
	(void)state;
	open_side(&here, &ends[0]);
	block(&here);
	loop_bench_settle(&bench);
	assert_int_equal(send(ends[1], "last words", 10, 0), 10);
	close(ends[1]);
	ends[1] = -1;
	AWAIT(&bench, here.ends > 0);
	assert_int_equal(buffer_length(&here.in), 10);
	assert_true(here.end_error < 0);
	loop_bench_settle(&bench);
	assert_int_equal(here.ends, 1);
}

static void a_flush_that_failed_is_told_by_the_end_later(void **state)
{
	(void)state;
	here.stream = fdstream_open(bench.loop, ends[0], &events, &here);
	ends[0] = -1;
	close(ends[1]);
	ends[1] = -1;
	queue(&here, "x", 1);
	assert_int_equal(fdstream_flush(here.stream), -EPIPE);
	assert_int_equal(here.ends, 0);
	AWAIT(&bench, here.ends > 0);
	assert_int_equal(here.end_error, -EPIPE);
	queue(&here, "y", 1);
	loop_bench_settle(&bench);
	assert_int_equal(here.ends, 1);
}

static void closing_is_seen_by_the_peer_at_once(void **state)
{
	(void)state;
	char byte;

	open_side(&here, &ends[0]);
	close_side(&here);
	assert_int_equal(recv(ends[1], &byte, 1, 0), 0);
	loop_bench_settle(&bench);
	assert_int_equal(here.ends, 0);
}

static void a_stream_may_be_closed_when_bytes_come(void **state)
{
	(void)state;
	open_side(&here, &ends[0]);
	here.closes_on_bytes = true;
	block(&here);
	assert_int_equal(send(ends[1], "x", 1, 0), 1);
	AWAIT(&bench, here.stream == NULL);
	empty(ends[1]);
	loop_bench_settle(&bench);
	assert_int_equal(here.ends + here.drained, 0);
}

static void a_stream_may_be_closed_at_its_end(void **state)
{
	(void)state;
	open_side(&here, &ends[0]);
	here.closes_on_end = true;
	close(ends[1]);
	ends[1] = -1;
	AWAIT(&bench, here.stream == NULL);
	loop_bench_settle(&bench);
	assert_int_equal(here.ends, 1);
}

static void a_stream_may_be_closed_when_a_send_fails(void **state)
{
	(void)state;
	here.stream = fdstream_open(bench.loop, ends[0], &events, &here);
	ends[0] = -1;
	here.closes_on_end = true;
	close(ends[1]);
	ends[1] = -1;
	queue_piece(3, 0);
	AWAIT(&bench, here.stream == NULL);
	assert_int_equal(here.end_error, -EPIPE);
}

static void a_stream_may_be_closed_when_it_has_drained(void **state)
{
	(void)state;
	open_side(&here, &ends[0]);
	here.closes_on_drained = true;
	block(&here);
	AWAIT(&bench, (empty(ends[1]), here.stream == NULL));
}

/* ---- Past the queue, and waiting ------------------------------------------
 */

static void what_is_sent_now_goes_all_or_not_at_all(void **state)
{
	(void)state;
	static uint8_t bytes[320];
	int list[16];
	size_t sent = 0;

	for (size_t i = 0; i < 16; i++)
		list[i] = open_file();
	open_side(&here, &ends[0]);
	while (fdstream_send_now(here.stream, bytes, sizeof(bytes), list, 16) ==
	       0)
		sent++;
	assert_true(sent > 10);
	assert_int_equal(fdstream_queued_bytes(here.stream), 0);
	open_side(&there, &ends[1]);
	AWAIT(&bench, buffer_length(&there.in) == sent * sizeof(bytes));
	assert_int_equal(fdstream_descriptor_count(there.stream), sent * 16);
	for (size_t i = 0; i < 16; i++)
		close(list[i]); /* they stayed ours */
}

static void nothing_is_sent_past_a_queue(void **state)
{
	(void)state;
	open_side(&here, &ends[0]);
	queue(&here, "x", 1);
	assert_int_equal(fdstream_send_now(here.stream, "y", 1, NULL, 0),
			 -EAGAIN);
	assert_int_equal(fdstream_flush(here.stream), 0);
	assert_int_equal(fdstream_send_now(here.stream, "y", 1, NULL, 0), 0);
}

static void sending_now_to_nobody_fails(void **state)
{
	(void)state;
	open_side(&here, &ends[0]);
	close(ends[1]);
	ends[1] = -1;
	assert_int_equal(fdstream_send_now(here.stream, "y", 1, NULL, 0),
			 -EPIPE);
}

static void waiting_for_bytes_reads_or_times_out(void **state)
{
	(void)state;
	open_side(&here, &ends[0]);
	int64_t before = clock_ms();

	assert_int_equal(fdstream_read_within(here.stream, 20), -ETIMEDOUT);
	assert_true(clock_ms() - before >= 19);
	assert_false(fdstream_read_now(here.stream));
	assert_int_equal(send(ends[1], "abc", 3, 0), 3);
	assert_int_equal(fdstream_read_within(here.stream, 20), 0);
	assert_int_equal(buffer_length(&here.in), 3);
	close(ends[1]);
	ends[1] = -1;
	assert_int_equal(fdstream_read_within(here.stream, 20), 0);
	assert_int_equal(here.ends, 1);
}

static void waiting_for_bytes_sends_what_is_queued(void **state)
{
	(void)state;
	open_side(&here, &ends[0]);
	block(&here);
	size_t queued = fdstream_queued_bytes(here.stream);

	while (fdstream_queued_bytes(here.stream) > 0) {
		assert_true(empty(ends[1]) > 0);
		if (fdstream_read_within(here.stream, 10) == -ETIMEDOUT)
			assert_int_equal(fdstream_queued_bytes(here.stream), 0);
		assert_true(fdstream_queued_bytes(here.stream) <= queued);
		queued = fdstream_queued_bytes(here.stream);
	}
}

static void a_stream_keeps_the_loop_going_unless_told_not_to(void **state)
{
	(void)state;
	open_side(&here, &ends[0]);
	assert_true(loop_turn(bench.loop));
	fdstream_set_keeps_alive(here.stream, false);
	assert_false(loop_turn(bench.loop));
	loop_run(bench.loop); /* returns */
	fdstream_set_keeps_alive(here.stream, true);
	assert_true(loop_turn(bench.loop));
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(bytes_arrive_in_order),
		TEST(what_is_queued_in_a_turn_leaves_in_one_piece),
		TEST(a_small_socket_buffer_only_takes_longer),
		TEST(descriptors_come_with_their_piece),
		TEST(more_descriptors_than_one_send_can_carry_stay_with_their_pieces),
		TEST(descriptors_are_never_more_than_a_batch_ahead),
		TEST(what_was_not_taken_and_not_sent_is_closed),
		TEST(a_reader_that_may_open_no_more_is_told),
		TEST(too_many_descriptors_under_way_are_waited_for_without_spinning),
		TEST(drained_is_told_once_when_all_has_left),
		TEST(drained_is_told_though_more_was_sent_in_the_same_turn),
		TEST(the_peers_end_is_told_once),
		TEST(a_peer_that_closed_with_bytes_unread_is_told),
		TEST(what_the_peer_said_last_is_read_though_nothing_can_be_sent),
		TEST(a_flush_that_failed_is_told_by_the_end_later),
		TEST(closing_is_seen_by_the_peer_at_once),
		TEST(a_stream_may_be_closed_when_bytes_come),
		TEST(a_stream_may_be_closed_at_its_end),
		TEST(a_stream_may_be_closed_when_a_send_fails),
		TEST(a_stream_may_be_closed_when_it_has_drained),
		TEST(what_is_sent_now_goes_all_or_not_at_all),
		TEST(nothing_is_sent_past_a_queue),
		TEST(sending_now_to_nobody_fails),
		TEST(waiting_for_bytes_reads_or_times_out),
		TEST(waiting_for_bytes_sends_what_is_queued),
		TEST(a_stream_keeps_the_loop_going_unless_told_not_to),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
